//! Dates, times and spans of time as ISO 8601 has them.

use jiff::civil::{Date, Time};
use jiff::{Span, ToSpan};
use serde_json::Value;

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// How an instant is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// It is the time of some unnamed place.
    None,
    /// Seconds east of UTC.
    Offset(i32),
}

impl Zone {
    pub(super) const UTC: Self = Self::Offset(0);

    /// A zone by its name. An instant in a zone with rules, such as `Europe/Oslo`, is shown in UTC: which rules hold
    /// depends on the machine.
    pub(super) fn of(name: Option<&str>) -> Self {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Self::None;
        };
        offset(name).map_or(Self::UTC, Self::Offset)
    }
}

/// Seconds of an offset such as `+01:00`, `+0100` or `+01`.
fn offset(name: &str) -> Option<i32> {
    let (sign, rest) = match name.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = rest.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes = if minutes.is_empty() { "0" } else { minutes };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

/// The day that is `days` days after 1970-01-01.
pub(super) fn date(days: i64) -> Result<Date, String> {
    let span = Span::new().try_days(days).ok();
    let date = span.and_then(|span| Date::constant(1970, 1, 1).checked_add(span).ok());
    date.ok_or_else(|| "a date beyond the years -9999 to 9999".to_owned())
}

/// The instant that is `nanos` nanoseconds after 1970-01-01, in UTC or in an unnamed zone.
pub(super) fn shown_instant(nanos: i128, zone: Zone) -> Result<Value, String> {
    let east = match zone {
        Zone::None => 0,
        Zone::Offset(east) => east,
    };
    let local = nanos + i128::from(east) * 1_000_000_000;
    let day = i128::from(DAY) * 1_000_000_000;
    let days = i64::try_from(local.div_euclid(day)).unwrap_or(i64::MAX);
    let (date, clock) = (date(days)?, clock(local.rem_euclid(day)));
    let zone = match zone {
        Zone::None => String::new(),
        Zone::UTC => "Z".to_owned(),
        Zone::Offset(east) => {
            let minutes = east.abs() / 60;
            let sign = if east < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    Ok(Value::from(format!("{date}T{clock}{zone}")))
}

/// A time of the day.
pub(super) fn clock(nanos: i128) -> String {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(0);
    let time = Time::midnight().wrapping_add(seconds.seconds());
    let part = (nanos % 1_000_000_000).unsigned_abs();
    format!("{time}{}", fraction(part, 3))
}

/// The part of a second, without zeros at its end: as many digits as are needed, in groups of `group`.
pub(super) fn fraction(nanos: u128, group: usize) -> String {
    if nanos == 0 {
        return String::new();
    }
    let digits = format!("{nanos:09}");
    let needed = digits.trim_end_matches('0').len().next_multiple_of(group);
    format!(".{}", &digits[..needed])
}

pub(super) fn interval(bytes: &[u8]) -> Result<Value, String> {
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|word| word.iter().rev().fold(0, |all, &byte| all << 8 | u32::from(byte)))
        .collect();
    let &[months, days, millis] = &words[..] else {
        return Err(format!("an interval of {} bytes", bytes.len()));
    };
    let mut text = "P".to_owned();
    if months > 0 {
        text += &format!("{months}M");
    }
    if days > 0 || months == 0 && millis == 0 {
        text += &format!("{days}D");
    }
    if millis > 0 {
        let part = u128::from(millis % 1000) * 1_000_000;
        text += &format!("T{}{}S", millis / 1000, fraction(part, 1));
    }
    Ok(Value::from(text))
}
