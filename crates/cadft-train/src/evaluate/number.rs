//! Finds numbers in text, and computes their exact value.

use std::cmp::Ordering;

/// A fraction in lowest terms, with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    /// `None` if the denominator is zero or a number overflows.
    pub(super) fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = gcd(numerator, denominator)?;
        let sign = if denominator < 0 { -1 } else { 1 };
        Some(Self {
            numerator: numerator.checked_mul(sign)? / divisor,
            denominator: denominator.checked_mul(sign)? / divisor,
        })
    }

    /// A decimal number such as `-12`, `3.50`, `.5` or `1e-3`, without separators.
    pub(super) fn decimal(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (sign, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let all = format!("{whole}{fraction}");
        if !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value: i128 = all.parse().ok()?;
        let power = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let ten = 10i128.checked_pow(power.unsigned_abs())?;
        match power.cmp(&0) {
            Ordering::Less => Self::new(sign * value, ten),
            _ => Self::new((sign * value).checked_mul(ten)?, 1),
        }
    }

    pub(super) fn divide(self, other: Self) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(other.denominator)?,
            self.denominator.checked_mul(other.numerator)?,
        )
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(other.numerator)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(
            left.checked_add(right)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    /// As an integer or a finite decimal number if possible, else as a fraction.
    pub(super) fn text(self) -> String {
        let Self {
            numerator,
            denominator,
        } = self;
        let mut rest = denominator;
        for factor in [2, 5] {
            while rest % factor == 0 {
                rest /= factor;
            }
        }
        // A finite decimal has a denominator of twos and fives, which divides a power of ten.
        let scaled = (0..=18u32).find_map(|digits| {
            let ten = 10i128.pow(digits);
            (rest == 1 && ten % denominator == 0)
                .then(|| numerator.checked_mul(ten / denominator))
                .flatten()
                .map(|value| (value, digits as usize))
        });
        match scaled {
            Some((value, 0)) => value.to_string(),
            Some((value, digits)) => {
                let sign = if value < 0 { "-" } else { "" };
                let text = format!("{:0>width$}", value.unsigned_abs(), width = digits + 1);
                let (whole, fraction) = text.split_at(text.len() - digits);
                format!("{sign}{whole}.{fraction}")
            }
            None => format!("{numerator}/{denominator}"),
        }
    }
}

fn gcd(a: i128, b: i128) -> Option<i128> {
    let (mut a, mut b) = (a.checked_abs()?, b.checked_abs()?);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some(a)
}

/// The numbers in a text, in order: integers, decimals and fractions, with thousands separators.
///
/// A minus sign belongs to a number only if nothing before it could be a minuend: the last number of `3-4` is 4.
pub(super) fn numbers(text: &str) -> Vec<Rational> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (vec![], 0);
    while at < bytes.len() {
        let Some((mut value, mut end)) = unsigned(bytes, at) else {
            // Digits that do not form a number are too many to represent: skip all of them.
            at += digits(bytes, at).max(1);
            continue;
        };
        if bytes.get(end) == Some(&b'/')
            && let Some((divisor, after)) = unsigned(bytes, end + 1)
            && let Some(quotient) = value.divide(divisor)
        {
            (value, end) = (quotient, after);
        }
        if is_negated(&bytes[..at]) {
            value.numerator = -value.numerator;
        }
        found.push(value);
        at = end;
    }
    found
}

/// The number of digits from position `from` on.
fn digits(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// The number without sign that begins at `at`, and the position of its end.
fn unsigned(bytes: &[u8], at: usize) -> Option<(Rational, usize)> {
    let digits = |from: usize| digits(bytes, from);
    let mut end = at + digits(at);
    let mut text = bytes[at..end].to_vec();
    while !text.is_empty() && bytes.get(end) == Some(&b',') && digits(end + 1) == 3 {
        text.extend(&bytes[end + 1..end + 4]);
        end += 4;
    }
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        let fraction = digits(end + 1);
        text.extend(&bytes[end..=end + fraction]);
        end += 1 + fraction;
    }
    let text = String::from_utf8(text).ok()?;
    Some((Rational::decimal(&text)?, end))
}

/// Whether a number after these bytes is negative. `$` may stand between the sign and the number.
fn is_negated(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"$").unwrap_or(before);
    let before = before.strip_suffix(b"\\").unwrap_or(before);
    let Some(before) = before.strip_suffix(b"-") else {
        return false;
    };
    !before
        .last()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        numbers(text).into_iter().map(Rational::text).collect()
    }

    #[test]
    fn numbers_are_found_with_sign_separators_and_fractions() {
        assert_eq!(
            found("a 1,200.50 b -3 c 7-4 d .5"),
            ["1200.5", "-3", "7", "4", "0.5"]
        );
        assert_eq!(
            found("3/4, 1,2,3 and 12,345,678"),
            ["0.75", "1", "2", "3", "12345678"]
        );
        assert_eq!(found("-$5 and (2)-1 and x-2"), ["-5", "2", "1", "2"]);
        assert_eq!(found("it is 5. Or 6,"), ["5", "6"]);
        assert_eq!(found("1/0"), ["1", "0"]);
        assert_eq!(found("nothing"), [""; 0]);
        assert_eq!(found(&"9".repeat(60)), [""; 0]);
    }

    #[test]
    fn values_are_exact_and_written_in_one_way() {
        let decimal = |text| Rational::decimal(text).map(Rational::text);
        assert_eq!(decimal("-0").as_deref(), Some("0"));
        assert_eq!(decimal("0.50").as_deref(), Some("0.5"));
        assert_eq!(decimal("1.5e3").as_deref(), Some("1500"));
        assert_eq!(decimal("25e-4").as_deref(), Some("0.0025"));
        assert_eq!(decimal("1e99"), None);
        assert_eq!(decimal("."), None);
        let third = Rational::new(-2, -6).unwrap();
        assert_eq!(third.text(), "1/3");
        assert_eq!(third.add(Rational::new(1, 6).unwrap()).unwrap().text(), "0.5");
        assert_eq!(Rational::new(1, 0), None);
    }
}
