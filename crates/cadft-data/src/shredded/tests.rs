//! Levels against the paper, and tables against the library's own reader.

use super::*;
use bytes::Bytes;
use parquet::file::properties::WriterVersion;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record;
use proptest::prelude::*;
use serde_json::json;

/// Columns with rows: `(columns, rows)`.
pub(crate) type Table = (Vec<(String, Shape)>, Vec<Map<String, Value>>);

fn shapes() -> impl Strategy<Value = Shape> {
    let scalars = [
        Shape::Text,
        Shape::Json,
        Shape::Integer,
        Shape::Float,
        Shape::Flag,
        Shape::Null,
    ];
    prop::sample::select(scalars.to_vec()).prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Shape::List(Box::new(item))),
            prop::collection::vec(inner, 1..4).prop_map(|fields| Shape::Struct(named(fields))),
        ]
    })
}

fn named(shapes: Vec<Shape>) -> Vec<(String, Shape)> {
    let names = (0..).map(|index| format!("f{index}"));
    names.zip(shapes).collect()
}

fn values(shape: &Shape) -> BoxedStrategy<Value> {
    let some = match shape {
        Shape::Text => prop_oneof!["[a-c]{0,3}", "\\PC{0,40}"]
            .prop_map(Value::from)
            .boxed(),
        Shape::Json => {
            let texts = [
                json!([1, null, {"a": []}]),
                json!({"b": {}}),
                json!("c"),
                json!(1.5),
            ];
            prop::sample::select(texts.to_vec()).boxed()
        }
        Shape::Integer => any::<i64>().prop_map(Value::from).boxed(),
        Shape::Float => prop::num::f64::NORMAL.prop_map(Value::from).boxed(),
        Shape::Flag => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Null => Just(Value::Null).boxed(),
        Shape::List(item) => prop::collection::vec(values(item), 0..4)
            .prop_map(Value::Array)
            .boxed(),
        Shape::Struct(fields) => objects(fields).prop_map(Value::Object).boxed(),
    };
    match shape {
        // A null is a JSON text like any other.
        Shape::Json => some,
        _ => prop_oneof![1 => Just(Value::Null), 4 => some].boxed(),
    }
}

/// Objects with some of the fields.
fn objects(fields: &[(String, Shape)]) -> BoxedStrategy<Map<String, Value>> {
    let parts: Vec<_> = fields
        .iter()
        .map(|(name, of)| (Just(name.clone()), prop::option::weighted(0.8, values(of))))
        .collect();
    let object = |parts: Vec<(String, Option<Value>)>| {
        let there = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        there.collect()
    };
    parts.prop_map(object).boxed()
}

pub(crate) fn tables() -> impl Strategy<Value = Table> {
    let columns = prop::collection::vec(shapes(), 1..4).prop_map(named);
    columns.prop_flat_map(|columns| {
        let rows = prop::collection::vec(objects(&columns), 1..20);
        (Just(columns), rows)
    })
}

/// How a file is laid out.
pub(crate) fn layouts() -> impl Strategy<Value = WriterProperties> {
    (1..5_usize, any::<bool>(), any::<bool>()).prop_map(|(rows, has_dictionary, is_second)| {
        let version = if is_second {
            WriterVersion::PARQUET_2_0
        } else {
            WriterVersion::PARQUET_1_0
        };
        let layout = WriterProperties::builder()
            .set_writer_version(version)
            .set_dictionary_enabled(has_dictionary)
            .set_write_batch_size(1)
            .set_data_page_row_count_limit(rows);
        layout.build()
    })
}

pub(crate) fn written(table: &Table, properties: WriterProperties) -> Bytes {
    let (columns, rows) = table;
    let mut bytes = Vec::new();
    let mut file = Shredded::new(&mut bytes, columns.clone(), properties).unwrap();
    for row in rows {
        file.write(row.clone()).unwrap();
    }
    file.finish().unwrap();
    Bytes::from(bytes)
}

/// The value that the record reader of the library should give.
fn expected(shape: &Shape, value: Option<&Value>) -> Value {
    match (shape, value) {
        (_, None) => Value::Null,
        (Shape::Json, Some(value)) => Value::from(value.to_string()),
        (Shape::List(item), Some(Value::Array(items))) => {
            items.iter().map(|value| expected(item, Some(value))).collect()
        }
        (Shape::Struct(fields), Some(Value::Object(object))) => {
            let field = |(name, of): &(String, Shape)| (name.clone(), expected(of, object.get(name)));
            fields.iter().map(field).collect::<Map<_, _>>().into()
        }
        (_, Some(value)) => value.clone(),
    }
}

fn found(field: &record::Field) -> Value {
    match field {
        record::Field::Null => Value::Null,
        record::Field::Bool(value) => Value::from(*value),
        record::Field::Long(value) => Value::from(*value),
        record::Field::Double(value) => Value::from(*value),
        record::Field::Str(text) => Value::from(text.as_str()),
        record::Field::ListInternal(list) => list.elements().iter().map(found).collect(),
        record::Field::Group(row) => row_of(row),
        other => panic!("{other:?}"),
    }
}

fn row_of(row: &record::Row) -> Value {
    let fields = row.get_column_iter();
    let fields = fields.map(|(name, field)| (name.clone(), found(field)));
    fields.collect::<Map<_, _>>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_record_reader_of_the_library_gives_what_was_written(table in tables(), layout in layouts()) {
        let bytes = written(&table, layout);
        let reader = SerializedFileReader::new(bytes).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row_of(&row.unwrap())).collect();
        let (columns, records) = table;
        let shape = Shape::Struct(columns);
        let meant: Vec<_> = records
            .into_iter()
            .map(|row| expected(&shape, Some(&Value::Object(row))))
            .collect();
        prop_assert_eq!(rows, meant);
    }
}

#[test]
fn the_levels_are_those_of_the_paper() {
    // Section 4, figure 2: `name.language.code` of two documents. Everything is optional here, and lists have a group
    // around them, so definition levels are larger than in the paper.
    let language = Shape::Struct(vec![("code".to_owned(), Shape::Text)]);
    let name = Shape::Struct(vec![("language".to_owned(), Shape::List(Box::new(language)))]);
    let shape = Shape::List(Box::new(name));
    let mut columns = Vec::new();
    shape.columns(&mut columns);
    let languages = json!([{"language": [{"code": "en-us"}, {"code": "en"}]}, {"language": []}, {"language": [{"code": "en-gb"}]}]);
    let levels = Levels {
        definition: 0,
        repetition: 0,
        depth: 0,
    };
    for value in [languages, json!([{}]), json!([]), json!(null)] {
        shred(&shape, Some(value), levels, &mut columns).unwrap();
    }
    assert_eq!(columns[0].repetitions, [0, 2, 1, 1, 0, 0, 0]);
    assert_eq!(columns[0].definitions, [7, 7, 4, 7, 3, 1, 0]);
}

#[test]
fn a_value_of_another_kind_is_an_error_with_its_column() {
    let list = Shape::List(Box::new(Shape::Struct(vec![("a".to_owned(), Shape::Integer)])));
    for (shape, value, said) in [
        (Shape::Text, json!(1), "1 is none"),
        (Shape::Flag, json!("a"), "\"a\" is none"),
        (Shape::Null, json!(true), "true is none"),
        (list.clone(), json!([1]), "1 is none"),
        (list.clone(), json!([{"b": 1}]), "`b` is no field"),
        (list, json!([{"a": 1.5}]), "1.5 is none"),
    ] {
        let columns = vec![("c".to_owned(), shape)];
        let mut file = Shredded::new(Vec::new(), columns, WriterProperties::default()).unwrap();
        let row = Map::from_iter([("c".to_owned(), value)]);
        let error = file.write(row).unwrap_err().to_string();
        assert!(error.contains("column `c`: ") && error.contains(said), "{error}");
    }
}
