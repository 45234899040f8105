//! Pages that are whole, and pages that claim too much.

use super::*;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

/// A column of optional texts with these pages.
fn column(pages: Vec<Page>) -> Column {
    let schema = parse_message_type("message m { optional binary text (STRING); }").unwrap();
    let slot = Slot::default();
    pages.into_iter().for_each(|page| slot.put(Some(page)));
    Column::new(&SchemaDescriptor::new(Arc::new(schema)).column(0), Box::new(slot))
}

fn dictionary(count: u32, bytes: &'static [u8]) -> Page {
    Page::DictionaryPage {
        buf: Bytes::from_static(bytes),
        num_values: count,
        encoding: Encoding::PLAIN,
        is_sorted: false,
    }
}

fn data(count: u32, encoding: Encoding, bytes: &[u8]) -> Page {
    Page::DataPage {
        buf: Bytes::copy_from_slice(bytes),
        num_values: count,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    }
}

#[test]
fn pages_with_values_of_a_dictionary_and_with_nulls_are_read_in_order() {
    let mut column = column(vec![
        dictionary(2, b"\x01\0\0\0a\x02\0\0\0bc"),
        // Null, `bc`, `a`.
        data(3, Encoding::RLE_DICTIONARY, &[2, 0, 0, 0, 3, 0b110, 1, 3, 0b01]),
        data(2000, Encoding::PLAIN, &[3, 0, 0, 0, 0xA0, 0x1F, 0]),
        data(1, Encoding::PLAIN, &[2, 0, 0, 0, 2, 1, 1, 0, 0, 0, b'z']),
    ]);
    let mut found = Vec::new();
    while column.peek().unwrap().is_some() {
        found.push(column.take().unwrap().map(|raw| match raw {
            Raw::Bytes(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(found.len(), 2004);
    assert_eq!(found[..3], [None, Some(b"bc".to_vec()), Some(b"a".to_vec())]);
    assert!(found[3..2003].iter().all(Option::is_none));
    assert_eq!(found[2003], Some(b"z".to_vec()));
    assert!(column.take().is_err());
}

#[test]
fn pages_that_claim_more_than_they_have_are_refused_before_they_are_decoded() {
    let some = [2, 0, 0, 0, 2, 1];
    let delta = [&some[..], &[128, 1, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0]].concat();
    for (page, said) in [
        (
            dictionary(u32::MAX, b"\x01\0\0\0a"),
            "a dictionary claims more values than it has",
        ),
        (
            data(1, Encoding::DELTA_BYTE_ARRAY, &delta),
            "the lengths of a page's values are damaged",
        ),
        (
            data(1, Encoding::PLAIN, &[9, 0, 0, 0, 2, 1]),
            "a page is shorter than its levels",
        ),
        (
            data(2, Encoding::PLAIN, &some),
            "the levels of a page are damaged",
        ),
    ] {
        let error = column(vec![page]).peek().unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let zeros = vec![0; 4 * (MAX_DICTIONARY as usize + 1)];
    let large = Page::DictionaryPage {
        buf: Bytes::from(zeros),
        num_values: MAX_DICTIONARY + 1,
        encoding: Encoding::PLAIN,
        is_sorted: false,
    };
    assert!(
        column(vec![large])
            .peek()
            .unwrap_err()
            .contains("a dictionary of more than")
    );
}
