//! The methods of Python's strings.

mod pieces;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::fuel::afford;
use super::printf;
use super::python::{bind, integer, invalid, is_printable, is_space, required, string};
pub(super) use pieces::lines;
use pieces::pieces;

/// Calls a method of a string.
pub(super) fn method(state: &State<'_, '_>, this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    match name {
        "split" | "rsplit" | "splitlines" | "partition" | "rpartition" | "join" => {
            pieces(state, this, name, given)
        }
        "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" => {
            search(this, name, given)
        }
        "ljust" | "rjust" | "center" | "zfill" | "expandtabs" => padded(state, this, name, given),
        "strip" | "lstrip" | "rstrip" => stripped(this, name, given),
        "replace" | "removeprefix" | "removesuffix" | "translate" => replaced(state, this, name, given),
        "format" => printf::braces(state, this, given).map(Value::from),
        "format_map" => {
            let [map] = bind(name, ["mapping"], given)?;
            printf::braces(state, this, &[keywords(&required(name, map)?)?]).map(Value::from)
        }
        _ => {
            let [] = bind(name, [], given)?;
            plain(this, name)
        }
    }
}

/// Converts a dictionary to keyword arguments.
fn keywords(map: &Value) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for key in map.try_iter()? {
        let name = string("format_map", &key)?.to_owned();
        pairs.push((name, map.get_item(&key)?));
    }
    Ok(Value::from(minijinja::value::Kwargs::from_iter(pairs)))
}

/// Calls a method without arguments.
fn plain(this: &str, name: &str) -> Result<Value, Error> {
    let all = |is: fn(char) -> bool| Value::from(!this.is_empty() && this.chars().all(is));
    Ok(match name {
        "upper" => Value::from(this.to_uppercase()),
        "lower" => Value::from(this.to_lowercase()),
        "casefold" => Value::from(this.to_lowercase().replace('ß', "ss").replace('ς', "σ")),
        "title" => Value::from(title(this)),
        "capitalize" => Value::from(capitalized(this)),
        "swapcase" => Value::from(swapped(this)),
        "islower" => Value::from(has_case(this, char::is_lowercase, char::is_uppercase)),
        "isupper" => Value::from(has_case(this, char::is_uppercase, char::is_lowercase)),
        "istitle" => Value::from(title(this) == this && this.chars().any(is_cased)),
        "isspace" => all(is_space),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(is_digit),
        "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => Value::from(this.is_ascii()),
        "isprintable" => Value::from(this.chars().all(is_printable)),
        "isidentifier" => {
            let mut letters = this.chars();
            let starts = letters
                .next()
                .is_some_and(|first| first == '_' || first.is_alphabetic());
            Value::from(starts && letters.all(|letter| letter == '_' || letter.is_alphanumeric()))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn is_cased(letter: char) -> bool {
    letter.is_lowercase() || letter.is_uppercase()
}

fn has_case(this: &str, is: fn(char) -> bool, is_not: fn(char) -> bool) -> bool {
    this.chars().any(is) && !this.chars().any(is_not)
}

/// Whether a character is a decimal digit of any script.
fn is_decimal(letter: char) -> bool {
    // A script's ten digits are consecutive; other numerals, such as fractions and superscripts, are not.
    letter.is_ascii_digit() || (letter.is_numeric() && !letter.is_ascii() && is_in_digits(letter))
}

/// The zero digits of the scripts (Unicode's category Nd).
const ZEROS: [u32; 40] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x11066, 0x1D7CE, 0x1D7D8,
];

fn is_in_digits(letter: char) -> bool {
    let code = u32::from(letter);
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&code))
}

fn is_digit(letter: char) -> bool {
    is_decimal(letter)
        || matches!(letter,
            '²' | '³' | '¹' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}'
            | '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247C}' | '\u{2488}'..='\u{2490}')
}

/// Capitalises the first letter of every run of letters.
fn title(this: &str) -> String {
    let mut out = String::with_capacity(this.len());
    let mut follows_letter = false;
    for letter in this.chars() {
        if follows_letter {
            out.extend(letter.to_lowercase());
        } else {
            out.push_str(&first_upper(letter));
        }
        follows_letter = is_cased(letter);
    }
    out
}

/// The title case of a character.
fn first_upper(letter: char) -> String {
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.len()) {
        (Some(first), 0) => first.to_string(),
        // `ß` becomes `Ss`.
        (Some(first), _) => std::iter::once(first)
            .chain(upper.flat_map(char::to_lowercase))
            .collect(),
        (None, _) => String::new(),
    }
}

pub(super) fn capitalized(this: &str) -> String {
    let mut letters = this.chars();
    let first = letters.next().map(first_upper).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}

fn swapped(this: &str) -> String {
    let mut out = String::with_capacity(this.len());
    for letter in this.chars() {
        if letter.is_uppercase() {
            out.extend(letter.to_lowercase());
        } else {
            out.extend(letter.to_uppercase());
        }
    }
    out
}

/// Methods that search between `start` and `end`, which are character indices.
fn search(this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [wanted, start, end] = bind(name, ["sub", "start", "end"], given)?;
    let wanted = required(name, wanted)?;
    let len = this.chars().count();
    let bound = |bound: Option<Value>, otherwise: usize| match bound.filter(|bound| !bound.is_none()) {
        None => Ok(otherwise),
        Some(bound) => integer(name, &bound).map(|bound| {
            let len = i64::try_from(len).unwrap_or(i64::MAX);
            let bound = if bound < 0 { (bound + len).max(0) } else { bound };
            usize::try_from(bound).unwrap_or(0)
        }),
    };
    let (start, end) = (bound(start, 0)?, bound(end, len)?.min(len));
    let byte = |at: usize| this.char_indices().nth(at).map_or(this.len(), |(byte, _)| byte);
    let window = (start <= end).then(|| &this[byte(start)..byte(end)]);
    if name == "startswith" || name == "endswith" {
        let wanted: Vec<Value> = match wanted.is_tuple() {
            true => wanted.try_iter()?.collect(),
            false => vec![wanted],
        };
        let mut found = false;
        for wanted in &wanted {
            let wanted = string(name, wanted)?;
            found |= window.is_some_and(|window| match name {
                "startswith" => window.starts_with(wanted),
                _ => window.ends_with(wanted),
            });
        }
        return Ok(Value::from(found));
    }
    let wanted = string(name, &wanted)?;
    if name == "count" {
        return Ok(Value::from(
            window.map_or(0, |window| window.matches(wanted).count()),
        ));
    }
    let place = window.and_then(|window| {
        let found = match name {
            "find" | "index" => window.find(wanted),
            _ => window.rfind(wanted),
        };
        found.map(|byte| start + window[..byte].chars().count())
    });
    match place {
        Some(place) => Ok(Value::from(place)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

/// Methods that pad a string.
fn padded(state: &State<'_, '_>, this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    if name == "expandtabs" {
        let [size] = bind(name, ["tabsize"], given)?;
        let size = size.map_or(Ok(8), |size| integer(name, &size))?;
        let size = usize::try_from(size).unwrap_or(0);
        let tabs = this.matches('\t').count() as u64;
        afford(state, tabs.saturating_mul(size as u64))?;
        return Ok(Value::from(expanded(this, size)));
    }
    let (width, fill) = if name == "zfill" {
        let [width] = bind(name, ["width"], given)?;
        (width, None)
    } else {
        let [width, fill] = bind(name, ["width", "fillchar"], given)?;
        (width, fill)
    };
    let width = integer(name, &required(name, width)?)?;
    let width = usize::try_from(width).unwrap_or(0);
    let fill = match &fill {
        Some(fill) => string(name, fill)?,
        None if name == "zfill" => "0",
        None => " ",
    };
    if fill.chars().count() != 1 {
        return Err(invalid("the fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(this.chars().count());
    afford(state, (missing as u64).saturating_mul(4))?;
    Ok(Value::from(match name {
        "ljust" => format!("{this}{}", fill.repeat(missing)),
        "rjust" => format!("{}{this}", fill.repeat(missing)),
        "center" => {
            // If the width is odd, Python puts the extra character on the left.
            let before = missing / 2 + (missing & width & 1);
            format!("{}{this}{}", fill.repeat(before), fill.repeat(missing - before))
        }
        _ => {
            let signed = this.len() - this.trim_start_matches(['+', '-']).len();
            let (sign, digits) = this.split_at(signed.min(1));
            format!("{sign}{}{digits}", fill.repeat(missing))
        }
    }))
}

fn expanded(this: &str, size: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for letter in this.chars() {
        match letter {
            '\t' if size == 0 => {}
            '\t' => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            _ => {
                out.push(letter);
                column = if matches!(letter, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    out
}

fn stripped(this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [letters] = bind(name, ["chars"], given)?;
    let letters = letters.filter(|letters| !letters.is_none());
    let letters: Option<Vec<char>> = letters
        .map(|letters| string(name, &letters).map(|letters| letters.chars().collect()))
        .transpose()?;
    let is_cut = |letter: char| match &letters {
        Some(letters) => letters.contains(&letter),
        None => is_space(letter),
    };
    Ok(Value::from(match name {
        "strip" => this.trim_matches(is_cut),
        "lstrip" => this.trim_start_matches(is_cut),
        _ => this.trim_end_matches(is_cut),
    }))
}

fn replaced(state: &State<'_, '_>, this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    match name {
        "removeprefix" | "removesuffix" => {
            let [part] = bind(name, ["part"], given)?;
            let part = required(name, part)?;
            let part = string(name, &part)?;
            let rest = if name == "removeprefix" {
                this.strip_prefix(part)
            } else {
                this.strip_suffix(part)
            };
            Ok(Value::from(rest.unwrap_or(this)))
        }
        "translate" => {
            let [table] = bind(name, ["table"], given)?;
            translated(state, this, &required(name, table)?)
        }
        _ => {
            let [old, new, count] = bind(name, ["old", "new", "count"], given)?;
            let (old, new) = (required(name, old)?, required(name, new)?);
            let (old, new) = (string(name, &old)?, string(name, &new)?);
            let count = count.map_or(Ok(-1), |count| integer(name, &count))?;
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let most = count.min(this.len() / old.len().max(1) + 1) as u64;
            afford(state, most.saturating_mul(new.len() as u64))?;
            Ok(Value::from(this.replacen(old, new, count)))
        }
    }
}

fn translated(state: &State<'_, '_>, this: &str, table: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for letter in this.chars() {
        let found = table
            .as_object()
            .and_then(|table| table.get_value(&Value::from(u32::from(letter))));
        match found {
            None => out.push(letter),
            Some(value) if value.is_none() => {}
            Some(value) => match (value.kind(), value.as_usize()) {
                (ValueKind::Number, Some(code)) => {
                    let code = u32::try_from(code).ok().and_then(char::from_u32);
                    out.push(code.ok_or_else(|| invalid("no character has this number"))?);
                }
                _ => {
                    afford(state, out.len() as u64)?;
                    out.push_str(string("translate", &value)?);
                }
            },
        }
    }
    Ok(Value::from(out))
}
