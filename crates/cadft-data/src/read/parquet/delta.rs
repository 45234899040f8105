//! Counts the values of delta-encoded lengths before they are decoded: the decoder makes room for as many as the page says.
//!
//! `DELTA_BINARY_PACKED` in <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

use parquet::basic::Encoding;

use super::levels::varint;

/// Refuses a page of byte strings that claims more lengths than it has values.
pub(super) fn check_lengths(encoding: Encoding, data: &[u8], values: u64) -> Result<(), String> {
    let mut at = 0;
    let lists = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return Ok(()),
    };
    for _ in 0..lists {
        let count =
            skip(data, &mut at).ok_or_else(|| "the lengths of a page's values are damaged".to_owned())?;
        if count > values {
            return Err(format!("a page of {values} values has {count} lengths"));
        }
    }
    Ok(())
}

/// Steps over a list of numbers and returns their count.
fn skip(data: &[u8], at: &mut usize) -> Option<u64> {
    let block = varint(data, at)?;
    let parts = varint(data, at).filter(|&parts| parts > 0)?;
    let count = varint(data, at)?;
    varint(data, at)?;
    let in_part = block / parts;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        // An empty block would never end.
        if in_part == 0 {
            return None;
        }
        varint(data, at)?;
        let end = at.checked_add(usize::try_from(parts).ok()?)?;
        let widths = data.get(*at..end)?;
        *at = end;
        for &width in widths {
            // Widths after the last value mean nothing.
            if left == 0 {
                break;
            }
            let bytes = u64::from(width).checked_mul(in_part)? / 8;
            *at = at.checked_add(usize::try_from(bytes).ok()?)?;
            left = left.saturating_sub(in_part);
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 128 numbers a block in four parts; `count` equal numbers need no bits.
    fn equal(count: u8) -> Vec<u8> {
        let mut data = vec![128, 1, 4, count, 0];
        for _ in 0..usize::from(count.saturating_sub(1)).div_ceil(128) {
            data.extend([0, 0, 0, 0, 0]);
        }
        data
    }

    #[test]
    fn the_counts_of_both_lists_are_checked() {
        let two = [equal(3), equal(3)].concat();
        let checked = |encoding, data: &[u8], values| check_lengths(encoding, data, values);
        assert_eq!(checked(Encoding::DELTA_BYTE_ARRAY, &two, 3), Ok(()));
        assert!(checked(Encoding::DELTA_BYTE_ARRAY, &two, 2).is_err());
        let wrong = [equal(3), equal(100)].concat();
        assert!(checked(Encoding::DELTA_BYTE_ARRAY, &wrong, 3).is_err());
        assert_eq!(checked(Encoding::DELTA_LENGTH_BYTE_ARRAY, &wrong, 3), Ok(()));
        assert!(checked(Encoding::DELTA_LENGTH_BYTE_ARRAY, &two[..3], 3).is_err());
        assert_eq!(checked(Encoding::PLAIN, &[], 0), Ok(()));
    }

    #[test]
    fn numbers_with_bits_are_stepped_over() {
        // Two numbers: the first part has 32 numbers of 3 bits, 12 bytes.
        let mut data = vec![128, 1, 4, 2, 0, 0, 3, 7, 7, 7];
        data.extend([0; 12]);
        let end = data.len();
        data.push(99);
        let mut at = 0;
        assert_eq!(skip(&data, &mut at), Some(2));
        assert_eq!(at, end);
    }

    #[test]
    fn blocks_without_end_are_damaged() {
        // A block of no numbers, and more parts than there are bytes.
        assert_eq!(skip(&[0, 1, 9, 0, 0, 0], &mut 0), None);
        assert_eq!(skip(&[128, 1, 255, 255, 255, 127, 9, 0, 0], &mut 0), None);
    }
}
