//! Values of every kind of column.

use super::super::number::magnitude;
use super::*;
use serde_json::json;

#[test]
fn numbers_keep_their_shortest_form_and_their_sign() {
    let value = |scalar: &Scalar, raw| scalar.value(raw);
    assert_eq!(value(&Scalar::Float, Raw::Float32(0.1)), Ok(json!(0.1)));
    assert_eq!(
        value(&Scalar::Half, Raw::Bytes(&[0x66, 0x2E])),
        Ok(json!(0.099975586))
    );
    assert_eq!(value(&Scalar::Unsigned, Raw::Int32(-1)), Ok(json!(u32::MAX)));
    assert_eq!(value(&Scalar::Unsigned, Raw::Int64(-1)), Ok(json!(u64::MAX)));
    assert_eq!(value(&Scalar::Signed, Raw::Int64(i64::MIN)), Ok(json!(i64::MIN)));
    for bad in [Raw::Float32(f32::NAN), Raw::Float64(f64::INFINITY)] {
        assert!(
            value(&Scalar::Float, bad)
                .unwrap_err()
                .starts_with("expected a finite number")
        );
    }
    assert!(value(&Scalar::Half, Raw::Bytes(b"abc")).is_err());
    assert!(value(&Scalar::Flag, Raw::Int32(1)).is_err());
}

#[test]
fn decimals_of_any_width_are_numbers() {
    for (bytes, scale, expected) in [
        (&[5][..], 2, json!(0.05)),
        (&[0xFF, 0x9C], 2, json!(-1.0)),
        (&[0xFB], 0, json!(-5)),
        (&[0; 17], 0, json!(0)),
        (&[0xFF; 32], 0, json!(-1)),
    ] {
        assert_eq!(decimal(bytes, scale), Ok(expected), "{bytes:?}");
    }
    // 2^128 in 17 bytes, and its negative.
    let mut large = vec![1];
    large.extend([0; 16]);
    assert_eq!(
        magnitude(&large, false),
        "340282366920938463463374607431768211456"
    );
    large[0] = 0xFF;
    assert_eq!(magnitude(&large, true), "340282366920938463463374607431768211456");
    assert_eq!(
        magnitude(&i128::MIN.to_be_bytes(), true),
        i128::MIN.unsigned_abs().to_string()
    );
    assert!(decimal(&[0; 33], 0).is_err() && decimal(&[], 0).is_err());
    assert!(decimal(&[127; 16], 0).unwrap_err().contains("beyond 64 bits"));
}

#[test]
fn times_are_shown_as_iso_8601_has_them() {
    let shown = |scalar: Scalar, count| {
        scalar
            .value(Raw::Int64(count))
            .map(|value| value.as_str().unwrap().to_owned())
    };
    let stamp = Scalar::Timestamp;
    for (scalar, count, expected) in [
        (Scalar::Date, -25_509, "1900-02-28"),
        (Scalar::Time(Unit::Milli), 3_723_004, "01:02:03.004"),
        (Scalar::Time(Unit::Nano), 0, "00:00:00"),
        (stamp(Unit::Second, Zone::None), -1, "1969-12-31T23:59:59"),
        (
            stamp(Unit::Micro, Zone::UTC),
            1_500_000,
            "1970-01-01T00:00:01.500Z",
        ),
        (
            stamp(Unit::Micro, Zone::of(Some("+05:30"))),
            1,
            "1970-01-01T05:30:00.000001+05:30",
        ),
        (
            stamp(Unit::Nano, Zone::of(Some("-0300"))),
            1,
            "1969-12-31T21:00:00.000000001-03:00",
        ),
        (
            stamp(Unit::Milli, Zone::of(Some("Europe/Oslo"))),
            0,
            "1970-01-01T00:00:00Z",
        ),
        (stamp(Unit::Day, Zone::None), 1, "1970-01-02T00:00:00"),
        (Scalar::Duration(Unit::Micro), -1_999_995, "-PT1.999995S"),
        (Scalar::Duration(Unit::Second), 90_061, "PT90061S"),
        (Scalar::Duration(Unit::Nano), 0, "P0D"),
    ] {
        assert_eq!(shown(scalar, count).unwrap(), expected);
    }
    for (scalar, count) in [
        (Scalar::Date, i64::MAX),
        (stamp(Unit::Second, Zone::UTC), i64::MIN),
        (Scalar::Time(Unit::Milli), 86_400_000),
        (Scalar::Time(Unit::Milli), -1),
    ] {
        assert!(shown(scalar, count).is_err());
    }
    let julian = Raw::Int96([1_000_000_000, 0, 2_440_589]);
    let found = Scalar::JulianTimestamp(Zone::None).value(julian);
    assert_eq!(found, Ok(json!("1970-01-02T00:00:01")));
    for (bytes, expected) in [
        ([1, 0, 0, 0, 2, 0, 0, 0, 0xBC, 0x0B, 0, 0], "P1M2DT3.004S"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0xD0, 7, 0, 0], "PT2S"),
        ([0; 12], "P0D"),
    ] {
        let found = Scalar::Interval.value(Raw::Bytes(&bytes)).unwrap();
        assert_eq!(found, expected);
    }
}
