//! Parses the numbers of a page header, a struct in Thrift's compact protocol.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>, and `PageHeader` in
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use std::io::{self, Read, Take};

/// Largest size of a header: it may contain the smallest and the largest value of its page.
const MAX_BYTES: u64 = 256 << 20;

/// Largest nesting depth of structs and lists.
const MAX_DEPTH: usize = 16;

/// The encoding `DELTA_BYTE_ARRAY`.
const SHARING: i64 = 7;

/// The properties of a page, from its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Size of the unpacked page in bytes.
    pub(super) unpacked: u64,
    /// Number of values, including nulls.
    pub(super) values: u64,
    /// Number of uncompressed bytes before the compressed data.
    pub(super) levels: usize,
    /// Whether values share prefixes with the previous value.
    pub(super) shares_bytes: bool,
}

impl Header {
    /// Parses a header and returns its length in bytes.
    pub(super) fn read(input: impl Read) -> io::Result<(Self, u64)> {
        let mut header = Self::default();
        let mut parser = Parser {
            input: input.take(MAX_BYTES),
        };
        parser.structure(&mut Vec::new(), &mut |path, number| header.set(path, number))?;
        Ok((header, MAX_BYTES - parser.input.limit()))
    }

    fn set(&mut self, path: &[i64], number: i64) {
        let count = u64::try_from(number).unwrap_or(u64::MAX);
        match path {
            [2] => self.unpacked = count,
            // The number of values, in the header of a data page (version 1), of a dictionary page, or of a data page
            // (version 2).
            [5 | 7 | 8, 1] => self.values = count,
            [5, 2] | [8, 4] => self.shares_bytes = number == SHARING,
            [8, 5 | 6] => {
                let length = usize::try_from(number).unwrap_or(0);
                self.levels = self.levels.saturating_add(length);
            }
            _ => {}
        }
    }
}

/// A callback for each integer, with the path of field ids.
type Visit<'a> = dyn FnMut(&[i64], i64) + 'a;

struct Parser<R> {
    input: Take<R>,
}

impl<R: Read> Parser<R> {
    fn structure(&mut self, path: &mut Vec<i64>, visit: &mut Visit<'_>) -> io::Result<()> {
        if path.len() >= MAX_DEPTH {
            return Err(damaged());
        }
        path.push(0);
        loop {
            let head = self.byte()?;
            if head == 0 {
                path.pop();
                return Ok(());
            }
            let id = match head >> 4 {
                0 => self.integer()?,
                step => path.last().copied().unwrap_or(0) + i64::from(step),
            };
            if let Some(last) = path.last_mut() {
                *last = id;
            }
            self.value(head & 15, path, visit)?;
        }
    }

    fn value(&mut self, kind: u8, path: &mut Vec<i64>, visit: &mut Visit<'_>) -> io::Result<()> {
        match kind {
            // True and false are part of the field header and have no bytes.
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => {
                let number = self.integer()?;
                visit(path, number);
                Ok(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            12 => self.structure(path, visit),
            // Page headers have no lists.
            _ => Err(damaged()),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err(damaged())
    }

    /// A zigzag-encoded number: its sign is in the last bit.
    fn integer(&mut self) -> io::Result<i64> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(damaged()) }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_header_are_found() {
        // type DATA_PAGE_V2 (3), 1000 bytes, 10 packed, and in field 8: 7 values, 0 nulls, 7 rows, encoding 7, levels
        // of 3 and 2 bytes.
        let bytes = [
            0x15, 6, 0x15, 0xD0, 0x0F, 0x15, 20, 0x5C, 0x15, 14, 0x15, 0, 0x15, 14, 0x15, 14, 0x15, 6, 0x15,
            4, 0, 0,
        ];
        let expected = Header {
            unpacked: 1000,
            values: 7,
            levels: 5,
            shares_bytes: true,
        };
        assert_eq!(Header::read(&bytes[..]).unwrap(), (expected, bytes.len() as u64));
        for end in 0..bytes.len() {
            assert!(Header::read(&bytes[..end]).is_err(), "{end}");
        }
    }
}
