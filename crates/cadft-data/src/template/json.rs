//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps` without HTML or ASCII escapes.

use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands over arguments by value"
)]
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    if arguments.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(invalid("tojson: `ensure_ascii=true` is not supported".to_owned()));
    }
    let indent: Option<usize> = arguments.get("indent")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let sort_keys: Option<bool> = arguments.get("sort_keys")?;
    arguments.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return Err(invalid("tojson: `separators` takes two strings".to_owned())),
    };
    let mut json = serde_json::to_value(value).map_err(|error| invalid(format!("tojson: {error}")))?;
    if sort_keys == Some(true) {
        json.sort_all_objects();
    }
    let mut bytes = Vec::new();
    let formatter = PythonFormatter {
        item,
        key,
        indent,
        depth: 0,
        is_empty: true,
    };
    json.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|error| invalid(format!("tojson: {error}")))?;
    String::from_utf8(bytes).map_err(|error| invalid(format!("tojson: {error}")))
}

/// Writes what Python's `json.dumps` writes.
struct PythonFormatter<'a> {
    item: &'a str,
    key: &'a str,
    indent: Option<usize>,
    depth: usize,
    is_empty: bool,
}

impl PythonFormatter<'_> {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_empty = false;
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.newline(writer)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.newline(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn newline<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.indent.map_or(Ok(()), |indent| {
            write!(writer, "\n{}", " ".repeat(indent * self.depth))
        })
    }
}

impl Formatter for PythonFormatter<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;
    use minijinja::value::Serde;

    #[test]
    fn tojson_writes_what_python_writes() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", super::tojson);
        let value = serde_json::json!({"b": [1, 2.0, null, true], "a": {"<é>": "x\n'"}, "e": [], "o": {}});
        let render = |call: &str| {
            let source = format!("{{{{ v | tojson{call} }}}}");
            environment
                .render_str(&source, minijinja::context! { v => Serde(&value) })
                .unwrap()
        };
        let compact = r#"{"b": [1, 2.0, null, true], "a": {"<é>": "x\n'"}, "e": [], "o": {}}"#;
        assert_eq!(render(""), compact);
        assert_eq!(render("(ensure_ascii=false)"), compact);
        let sorted = r#"{"a":{"<é>":"x\n'"},"b":[1,2.0,null,true],"e":[],"o":{}}"#;
        assert_eq!(render("(separators=(',', ':'), sort_keys=true)"), sorted);
        let pretty = "{\n  \"b\": [\n    1,\n    2.0,\n    null,\n    true\n  ],\n  \"a\": {\n    \"<é>\": \"x\\n'\"\n  },\n  \"e\": [],\n  \"o\": {}\n}";
        assert_eq!(render("(indent=2)"), pretty);
    }
}
