//! Decodes the repetition and definition levels of a page, a few at a time: a run of a few bytes can stand for billions.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>: runs of one level or of packed levels (`RLE`), and
//! the older `BIT_PACKED`.

use bytes::Bytes;

/// The levels of a page that were not decoded yet.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    data: Bytes,
    /// The next byte.
    at: usize,
    /// Number of bits of a level, and the largest level.
    width: usize,
    max: u16,
    run: Run,
    order: Order,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Same {
        level: u16,
        left: u64,
    },
    /// `bit` is counted from the start of the data.
    Packed {
        bit: usize,
        left: u64,
    },
}

/// How the bits of packed levels lie in bytes.
#[derive(Clone, Copy, Debug)]
enum Order {
    LowFirst,
    HighFirst,
}

impl Levels {
    /// Levels in runs.
    pub(super) fn runs(data: Bytes, max: u16) -> Self {
        Self {
            data,
            at: 0,
            width: bits(max),
            max,
            run: Run::Same { level: 0, left: 0 },
            order: Order::LowFirst,
        }
    }

    /// Packed levels without runs, the highest bit first. Returns them with their number of bytes.
    pub(super) fn packed(data: &Bytes, max: u16, count: u32) -> Result<(Self, usize), String> {
        let bytes = (u64::from(count) * bits(max) as u64).div_ceil(8);
        let bytes = usize::try_from(bytes)
            .ok()
            .filter(|&bytes| bytes <= data.len())
            .ok_or_else(damaged)?;
        let levels = Self {
            at: bytes,
            run: Run::Packed {
                bit: 0,
                left: u64::from(count),
            },
            order: Order::HighFirst,
            ..Self::runs(data.slice(..bytes), max)
        };
        Ok((levels, bytes))
    }

    /// Appends the next `count` levels.
    pub(super) fn take(&mut self, count: usize, out: &mut Vec<u16>) -> Result<(), String> {
        let mut wanted = count;
        while wanted > 0 {
            match &mut self.run {
                Run::Same { left: 0, .. } | Run::Packed { left: 0, .. } => self.next_run()?,
                Run::Same { level, left } => {
                    let part = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out.resize(out.len() + part, *level);
                    *left -= part as u64;
                    wanted -= part;
                }
                Run::Packed { bit, left } => {
                    let part = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    for _ in 0..part {
                        let level = packed(&self.data, *bit, self.width, self.order).ok_or_else(damaged)?;
                        if level > self.max {
                            return Err(damaged());
                        }
                        out.push(level);
                        *bit += self.width;
                    }
                    *left -= part as u64;
                    wanted -= part;
                }
            }
        }
        Ok(())
    }

    /// How many of the next `count` levels are the largest one: the page has that number of values.
    pub(super) fn largest(&self, count: u64) -> Result<u64, String> {
        let mut levels = self.clone();
        let (mut left_over, mut found, mut some) = (count, 0, Vec::new());
        while left_over > 0 {
            match &mut levels.run {
                Run::Same { left, level } if *left > 0 => {
                    let part = left_over.min(*left);
                    found += if *level == self.max { part } else { 0 };
                    *left -= part;
                    left_over -= part;
                }
                _ => {
                    let part = left_over.min(match levels.run {
                        Run::Packed { left, .. } => left.min(1024),
                        Run::Same { .. } => 0,
                    });
                    if part == 0 {
                        levels.next_run()?;
                        continue;
                    }
                    some.clear();
                    levels.take(part as usize, &mut some)?;
                    found += some.iter().filter(|&&level| level == self.max).count() as u64;
                    left_over -= part;
                }
            }
        }
        Ok(found)
    }

    fn next_run(&mut self) -> Result<(), String> {
        if let Order::HighFirst = self.order {
            return Err(damaged());
        }
        let head = varint(&self.data, &mut self.at).ok_or_else(damaged)?;
        if head & 1 == 1 {
            // Groups of eight levels; the last group of a page may be cut short.
            let groups = head >> 1;
            let bytes =
                usize::try_from(groups).map_or(usize::MAX, |groups| groups.saturating_mul(self.width));
            self.run = Run::Packed {
                bit: self.at * 8,
                left: groups.saturating_mul(8),
            };
            self.at = self.at.saturating_add(bytes).min(self.data.len());
        } else {
            let bytes = self.width.div_ceil(8);
            let level = self.data.get(self.at..self.at + bytes).ok_or_else(damaged)?;
            let level = level
                .iter()
                .rev()
                .fold(0, |level, &byte| level << 8 | u16::from(byte));
            if level > self.max {
                return Err(damaged());
            }
            self.at += bytes;
            self.run = Run::Same {
                level,
                left: head >> 1,
            };
        }
        Ok(())
    }
}

/// Number of bits of levels up to `max`.
fn bits(max: u16) -> usize {
    (u16::BITS - max.leading_zeros()) as usize
}

/// The level that starts at a bit; it has at most 16 bits.
fn packed(data: &[u8], bit: usize, width: usize, order: Order) -> Option<u16> {
    let (start, end) = (bit / 8, (bit + width).div_ceil(8));
    let bytes = data.get(start..end)?;
    let shift = bit % 8;
    let level = match order {
        Order::LowFirst => {
            let word = bytes
                .iter()
                .rev()
                .fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
            word >> shift
        }
        Order::HighFirst => {
            let word = bytes
                .iter()
                .fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
            word >> (bytes.len() * 8 - shift - width)
        }
    };
    Some((level & ((1 << width) - 1)) as u16)
}

/// An unsigned number with seven bits a byte, the lowest first.
pub(super) fn varint(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

fn damaged() -> String {
    "the levels of a page are damaged".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(levels: &mut Levels, count: usize) -> Result<Vec<u16>, String> {
        let mut out = Vec::new();
        levels.take(count, &mut out).map(|()| out)
    }

    #[test]
    fn runs_and_packed_groups_are_decoded_in_parts() {
        // Five times 2, then the packed group 0, 1, 2, 3, 0, 1, 2, 3 of two bits, the lowest first.
        let levels = Levels::runs(Bytes::from_static(&[10, 2, 3, 0b1110_0100, 0b1110_0100]), 3);
        let expected = [2, 2, 2, 2, 2, 0, 1, 2, 3, 0, 1, 2, 3];
        for part in 1..=expected.len() {
            let (mut levels, mut found) = (levels.clone(), Vec::new());
            while found.len() < expected.len() {
                let part = part.min(expected.len() - found.len());
                levels.take(part, &mut found).unwrap();
            }
            assert_eq!(found, expected, "{part}");
            assert!(levels.take(1, &mut found).is_err());
        }
        assert_eq!(levels.largest(13), Ok(2));
        assert_eq!(levels.largest(9), Ok(1));
        assert!(levels.largest(14).is_err());
    }

    #[test]
    fn levels_wider_than_a_byte_and_groups_cut_short_are_decoded() {
        let mut levels = Levels::runs(Bytes::from_static(&[2, 0x2C, 0x01, 3, 0b0000_0101]), 300);
        assert_eq!(taken(&mut levels, 1).unwrap(), [300]);
        assert!(taken(&mut levels, 1).is_err(), "nine bits, but eight are there");
        let mut short = Levels::runs(Bytes::from_static(&[3, 0b1010_0101]), 1);
        assert_eq!(taken(&mut short, 8).unwrap(), [1, 0, 1, 0, 0, 1, 0, 1]);
        assert!(taken(&mut short, 1).is_err());
    }

    #[test]
    fn older_packed_levels_have_the_highest_bit_first() {
        // Format documentation: 0 to 7 with three bits are `00000101 00111001 01110111`.
        let data = Bytes::from_static(&[0b0000_0101, 0b0011_1001, 0b0111_0111, 9]);
        let (mut levels, bytes) = Levels::packed(&data, 7, 8).unwrap();
        assert_eq!(bytes, 3);
        assert_eq!(levels.largest(8), Ok(1));
        assert_eq!(taken(&mut levels, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(taken(&mut levels, 1).is_err());
        assert!(Levels::packed(&data, 7, 11).is_err());
    }

    #[test]
    fn levels_above_the_largest_and_endless_runs_are_errors_or_bounded() {
        assert!(taken(&mut Levels::runs(Bytes::from_static(&[2, 3]), 2), 1).is_err());
        assert!(taken(&mut Levels::runs(Bytes::from_static(&[3, 0xFF]), 2), 1).is_err());
        let billions = Bytes::from_static(&[0xFE, 0xFF, 0xFF, 0xFF, 0x7F, 1]);
        assert_eq!(Levels::runs(billions.clone(), 1).largest(1 << 33), Ok(1 << 33));
        assert_eq!(
            taken(&mut Levels::runs(billions, 1), 1000).unwrap(),
            vec![1; 1000]
        );
        let packed = Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1]);
        assert!(taken(&mut Levels::runs(packed, 1), 100).is_err());
    }
}
