//! The local time that `strftime_now` returns to a template.

use std::fmt::{self, Display};
use std::fs;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// Largest size of a time zone file in bytes; real ones have a few thousand.
const LARGEST_ZONE: u64 = 1 << 20;

/// A local time with seconds, in the form `2026-11-28T16:43:51`.
///
/// A template that writes the date gives other tokens on another day. So a run keeps its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateTime(DateTime);

impl TemplateTime {
    /// The present time in the local time zone.
    pub fn now() -> Self {
        let now = zone().to_datetime(Timestamp::now());
        Self(now.round(Unit::Second).unwrap_or(now))
    }

    /// The date without the time of day.
    pub(crate) fn date(self) -> String {
        self.0.date().to_string()
    }

    /// Python's `strftime` for a time without a zone.
    pub(super) fn format(self, format: &str) -> Result<String, jiff::Error> {
        let mut known = String::with_capacity(format.len());
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                known.push(letter);
                continue;
            }
            match letters.next() {
                Some('Z' | 'z') => {}
                Some('f') => known.push_str("000000"),
                Some('c') => known.push_str("%a %b %e %H:%M:%S %Y"),
                Some('x') => known.push_str("%m/%d/%y"),
                Some('X') => known.push_str("%H:%M:%S"),
                Some('r') => known.push_str("%I:%M:%S %p"),
                Some(other) => known.extend(['%', other]),
                None => known.push_str("%%"),
            }
        }
        strtime::format(&known, self.0)
    }
}

impl Display for TemplateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TemplateTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: jiff::Error| format!("`{text}` is no local time: {error}"))
    }
}

impl TryFrom<String> for TemplateTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TemplateTime> for String {
    fn from(time: TemplateTime) -> Self {
        time.to_string()
    }
}

/// Whether a format in this template may contain the time of day.
pub(super) fn asks_for_time(source: &str) -> bool {
    source.match_indices('%').any(|(at, _)| {
        let letter = source[at + 1..]
            .trim_start_matches(['-', '_', '0', '^', '#'])
            .chars()
            .next();
        letter.is_some_and(|letter| "HIMSTRrpPXcsklf".contains(letter))
    })
}

/// The local time zone. `TZ` may name any file; only a small regular file is read.
fn zone() -> TimeZone {
    let Some(name) = std::env::var_os("TZ") else {
        return TimeZone::system();
    };
    zone_of(&name.to_string_lossy())
}

fn zone_of(name: &str) -> TimeZone {
    let name = name.strip_prefix(':').unwrap_or(name);
    let found = if name.starts_with('/') {
        let is_small = fs::metadata(name).is_ok_and(|file| file.is_file() && file.len() <= LARGEST_ZONE);
        let bytes = is_small.then(|| fs::read(name).ok()).flatten();
        bytes.and_then(|bytes| TimeZone::tzif(name, &bytes).ok())
    } else {
        TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok()
    };
    found.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{TemplateTime, asks_for_time, zone_of};

    #[test]
    fn a_time_zone_is_never_read_from_a_special_file() {
        for name in [
            "/dev/zero",
            ":/../../../dev/zero",
            "/",
            "/nowhere",
            "garbage/../x",
            "",
        ] {
            assert_eq!(zone_of(name), TimeZone::UTC, "{name}");
        }
        let offset = |name: &str| zone_of(name).to_offset(jiff::Timestamp::UNIX_EPOCH).seconds();
        assert_eq!(offset("UTC-3"), 3 * 3600);
    }

    #[test]
    fn times_are_written_as_python_writes_them() {
        let time: TemplateTime = "2026-03-07T09:05:03".parse().unwrap();
        assert_eq!(time.to_string(), "2026-03-07T09:05:03");
        // Expected values: `datetime(2026, 3, 7, 9, 5, 3).strftime(..)` of Python 3.11 on Linux, in the locale C.
        for (format, expected) in [
            ("%d %b %Y", "07 Mar 2026"),
            ("%Y-%m-%d %H:%M:%S", "2026-03-07 09:05:03"),
            ("%A, %B %-d, %Y", "Saturday, March 7, 2026"),
            ("%c|%x|%X", "Sat Mar  7 09:05:03 2026|03/07/26|09:05:03"),
            (
                "%I:%M %p %j %U %W %u %w %y %f",
                "09:05 AM 066 09 09 6 6 26 000000",
            ),
            ("%Z%z%%", "%"),
            (
                "%e %D %F %T %R %h %G-W%V",
                " 7 03/07/26 2026-03-07 09:05:03 09:05 Mar 2026-W10",
            ),
        ] {
            assert_eq!(time.format(format).unwrap(), expected, "{format}");
        }
        assert!(
            asks_for_time("{{ strftime_now('%Y %-H') }}")
                && !asks_for_time("{{ strftime_now('%d %b %Y') }}{% if a %}")
        );
    }
}
