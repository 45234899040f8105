//! Jinja filters that the engine lacks, or whose arguments or results differ.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use minijinja_contrib::filters as contrib;

use super::fuel::{afford, measure, pay};
use super::printf;
use super::python::{bind, integer, invalid, is_space, required, string, text};
use super::strings::{capitalized, lines};
use super::wrap::{Wrap, wrapped};

type Filter = fn(&State<'_, '_>, &[Value]) -> Result<Value, Error>;

const ALL: [(&str, Filter); 18] = [
    ("capitalize", capitalize),
    ("center", center),
    ("d", default),
    ("default", default),
    ("e", escape),
    ("escape", escape),
    ("forceescape", force_escape),
    ("format", printf::filter),
    ("indent", indent),
    ("join", join),
    ("replace", replace),
    ("string", as_string),
    ("striptags", striptags),
    ("title", title),
    ("truncate", truncate),
    ("urlencode", urlencode),
    ("wordcount", wordcount),
    ("wordwrap", wordwrap),
];

/// Adds these filters; the cost of their inputs is paid before they run.
pub(super) fn install(environment: &mut Environment<'static>) {
    for (name, filter) in ALL {
        environment.add_filter(
            name,
            move |state: &State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
                let arguments = arguments.into_values();
                for argument in &arguments {
                    measure(state, argument)?;
                }
                filter(state, &arguments)
            },
        );
    }
}

fn count(call: &str, value: Option<Value>, otherwise: usize) -> Result<usize, Error> {
    value.map_or(Ok(otherwise), |value| {
        usize::try_from(integer(call, &value)?).map_err(|_| invalid(format!("`{call}`: a number below 0")))
    })
}

fn is_set(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

fn capitalize(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("capitalize", ["s"], given)?;
    Ok(Value::from(capitalized(&text(&required("capitalize", value)?))))
}

fn center(state: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value, width] = bind("center", ["value", "width"], given)?;
    let value = text(&required("center", value)?);
    let width = width.unwrap_or_else(|| Value::from(80));
    super::strings::method(state, &value, "center", &[width])
}

fn default(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value, default, boolean] = bind("default", ["value", "default_value", "boolean"], given)?;
    let value = value.unwrap_or_default();
    if value.is_undefined() || (is_set(boolean) && !value.is_true()) {
        return Ok(default.unwrap_or_else(|| Value::from("")));
    }
    Ok(value)
}

fn escape(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("escape", ["s"], given)?;
    let value = required("escape", value)?;
    if value.is_safe() {
        return Ok(value);
    }
    Ok(escaped(&text(&value)))
}

fn force_escape(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("forceescape", ["value"], given)?;
    Ok(escaped(&text(&required("forceescape", value)?)))
}

fn escaped(plain: &str) -> Value {
    let mut out = String::with_capacity(plain.len());
    for letter in plain.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(letter),
        }
    }
    Value::from_safe_string(out)
}

fn indent(state: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value, width, first, blank] = bind("indent", ["s", "width", "first", "blank"], given)?;
    let value = required("indent", value)?;
    let value = string("indent", &value)?;
    let width = width.unwrap_or_else(|| Value::from(4));
    let indention = match width.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let width = count("indent", Some(width), 0)?;
            afford(state, width as u64)?;
            " ".repeat(width)
        }
    };
    let breaks = value
        .matches(|letter: char| letter.is_control() || letter > '\x7f')
        .count() as u64
        + 2;
    afford(state, breaks.saturating_mul(indention.len() as u64))?;
    let whole = format!("{value}\n");
    let blank = is_set(blank);
    let mut out = String::new();
    for (index, (line, _)) in lines(&whole).enumerate() {
        if index > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        } else if is_set(first.clone()) {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn join(state: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value, separator, attribute] = bind("join", ["value", "d", "attribute"], given)?;
    let value = required("join", value)?;
    let separator = separator.map(|separator| text(&separator)).unwrap_or_default();
    let attribute = attribute.filter(|attribute| !attribute.is_none());
    let mut out = String::new();
    for (index, item) in value.try_iter()?.checked().enumerate() {
        let mut item = item?;
        if let Some(attribute) = &attribute {
            item = at_path(&item, attribute)?;
        }
        let item = text(&item);
        afford(state, (out.len() + separator.len() + item.len()) as u64)?;
        if index > 0 {
            out.push_str(&separator);
        }
        out.push_str(&item);
    }
    Ok(Value::from(out))
}

/// The attribute of a value at a name, an index, or a path of these.
fn at_path(value: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else {
        return value.get_item(path);
    };
    path.split('.')
        .try_fold(value.clone(), |value, key| match key.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index),
            Err(_) => value.get_attr(key),
        })
}

fn replace(state: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value, old, new, count] = bind("replace", ["s", "old", "new", "count"], given)?;
    let value = text(&required("replace", value)?);
    let mut arguments = vec![
        Value::from(text(&required("replace", old)?)),
        Value::from(text(&required("replace", new)?)),
    ];
    arguments.extend(count.filter(|count| !count.is_none()));
    super::strings::method(state, &value, "replace", &arguments)
}

fn as_string(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("string", ["object"], given)?;
    let value = required("string", value)?;
    Ok(match value.as_str() {
        Some(_) => value,
        None => Value::from(text(&value)),
    })
}

fn striptags(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("striptags", ["value"], given)?;
    let value = text(&required("striptags", value)?);
    let mut out = String::new();
    let mut rest = value.as_str();
    while let Some(start) = rest.find('<') {
        let close = if rest[start..].starts_with("<!--") {
            "-->"
        } else {
            ">"
        };
        let skipped = if close == "-->" { start + 4 } else { start };
        let Some(end) = rest.get(skipped..).and_then(|tail| tail.find(close)) else {
            break;
        };
        out.push_str(&rest[..start]);
        rest = &rest[skipped + end + close.len()..];
    }
    out.push_str(rest);
    let words: Vec<&str> = out.split(is_space).filter(|word| !word.is_empty()).collect();
    // Tags are already removed, so a remaining `<` is text. Words are decoded one by one, because decoded spaces do not
    // count as whitespace of the text.
    let decoded: Vec<String> = words
        .into_iter()
        .map(|word| match word.contains('&') {
            true => entities(word),
            false => word.to_owned(),
        })
        .collect();
    Ok(Value::from(decoded.join(" ")))
}

/// Decodes the HTML entities of a word.
fn entities(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, letter)| !letter.is_ascii_alphanumeric() && *letter != '#')
            .map_or(rest.len(), |(at, letter)| if letter == ';' { at + 1 } else { at });
        let entity = &rest[..end];
        match space(entity) {
            Some(space) => out.push(space),
            None => {
                let decoded = contrib::striptags(format!("x{entity}x"));
                let decoded = decoded.strip_prefix('x').and_then(|text| text.strip_suffix('x'));
                out.push_str(decoded.filter(|decoded| !decoded.is_empty()).unwrap_or(entity));
            }
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Entities for whitespace characters, which the engine's `striptags` turns into plain spaces.
fn space(entity: &str) -> Option<char> {
    Some(match entity.trim_start_matches('&').trim_end_matches(';') {
        "nbsp" | "NonBreakingSpace" | "#160" | "#xa0" | "#xA0" => '\u{a0}',
        "ensp" => '\u{2002}',
        "emsp" => '\u{2003}',
        "emsp13" => '\u{2004}',
        "emsp14" => '\u{2005}',
        "numsp" => '\u{2007}',
        "puncsp" => '\u{2008}',
        "thinsp" | "ThinSpace" => '\u{2009}',
        "hairsp" | "VeryThinSpace" => '\u{200a}',
        "MediumSpace" => '\u{205f}',
        "NewLine" | "#10" => '\n',
        "Tab" | "#9" => '\t',
        _ => return None,
    })
}

fn title(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("title", ["s"], given)?;
    let value = text(&required("title", value)?);
    let mut out = String::with_capacity(value.len());
    let mut rest = value.as_str();
    let is_start = |letter: char| is_space(letter) || matches!(letter, '-' | '(' | '{' | '[' | '<');
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|letter: char| is_start(letter) != is_start(first))
            .unwrap_or(rest.len());
        let mut letters = rest[..end].chars();
        out.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        out.push_str(&letters.as_str().to_lowercase());
        rest = &rest[end..];
    }
    Ok(Value::from(out))
}

fn truncate(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let names = ["s", "length", "killwords", "end", "leeway"];
    let [value, length, kills, end, leeway] = bind("truncate", names, given)?;
    let value = required("truncate", value)?;
    let value = string("truncate", &value)?;
    let length = count("truncate", length, 255)?;
    let leeway = count("truncate", leeway.filter(|leeway| !leeway.is_none()), 5)?;
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end = string("truncate", &end)?;
    let kept = length
        .checked_sub(end.chars().count())
        .ok_or_else(|| invalid("`truncate`: the length is less than that of the end"))?;
    if value.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(value));
    }
    let start: String = value.chars().take(kept).collect();
    let start = match start.rsplit_once(' ') {
        Some((words, _)) if !is_set(kills) => words.to_owned(),
        _ => start,
    };
    Ok(Value::from(start + end))
}

fn urlencode(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("urlencode", ["value"], given)?;
    let value = required("urlencode", value)?;
    let pairs: Vec<(Value, Value)> = match value.kind() {
        ValueKind::Map => value
            .as_object()
            .and_then(|object| object.try_iter_pairs().map(Iterator::collect))
            .unwrap_or_default(),
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|pair| Ok((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?)))
            .collect::<Result<_, Error>>()?,
        _ => return Ok(Value::from(quoted(&text(&value), "/"))),
    };
    let quoted = |value: &Value| quoted(&text(value), "").replace("%20", "+");
    let pairs = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", quoted(key), quoted(value)));
    Ok(Value::from(pairs.collect::<Vec<_>>().join("&")))
}

/// Percent-encodes a text, except letters, digits and the characters in `safe`.
fn quoted(plain: &str, safe: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        let letter = char::from(byte);
        if letter.is_ascii_alphanumeric() || "_.-~".contains(letter) || safe.contains(letter) {
            out.push(letter);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn wordcount(_: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let [value] = bind("wordcount", ["s"], given)?;
    contrib::wordcount(&Value::from(text(&required("wordcount", value)?)))
}

fn wordwrap(state: &State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let names = ["s", "width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [value, width, breaks_words, wrapstring, breaks_hyphens] = bind("wordwrap", names, given)?;
    let value = required("wordwrap", value)?;
    let value = string("wordwrap", &value)?;
    let options = Wrap {
        width: count("wordwrap", width, 79)?,
        breaks_words: breaks_words.is_none_or(|breaks| breaks.is_true()),
        breaks_hyphens: breaks_hyphens.is_none_or(|breaks| breaks.is_true()),
    };
    let wrapstring = wrapstring
        .filter(|text| !text.is_none())
        .unwrap_or_else(|| Value::from("\n"));
    let wrapstring = string("wordwrap", &wrapstring)?;
    let size = value.len() as u64;
    afford(state, size.saturating_mul(8 + wrapstring.len() as u64))?;
    // Within a run of hyphens, each hyphen causes another search.
    pay(state, size.saturating_mul(8 + value.matches("--").count() as u64))?;
    let paragraphs: Vec<String> = lines(value)
        .map(|(line, _)| wrapped(line, &options).map(|lines| lines.join(wrapstring)))
        .collect::<Result<_, _>>()?;
    Ok(Value::from(paragraphs.join(wrapstring)))
}
