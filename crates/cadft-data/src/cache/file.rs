//! The format of cached samples.
//!
//! ```text
//! magic, format version                          8 + 4 bytes, little-endian throughout
//! records, one per sample
//!   tokens, supervised, id bytes, answer bytes   4 × u32; no answer: u32::MAX
//!   weight                                       f64
//!   source, file, line, row                      4 × u32: the origin; file: index in the list of files
//!   tokens                                       u32 each; the highest bit is set if the token is trained
//!   id, answer                                   UTF-8
//! offsets                                        u64 each: the start of every record
//! report, list of files                          JSON
//! samples, offset of the offsets, of the report  3 × u64
//! SHA-256 of everything before it                32 bytes
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cadft_batch::{Example, Origin};
use memmap2::{Advice, Mmap, UncheckedAdvice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::tokenize::Report;

/// The version of the format; also part of every cache key.
pub(super) const VERSION: u32 = 4;

const MAGIC: &[u8; 8] = b"cadfttok";
const TRAINED: u32 = 1 << 31;
const NO_ANSWER: u32 = u32::MAX;
const RECORD: usize = 40;
const FOOTER: usize = 24 + 32;
/// Number of bytes read from the map after which its pages are released, so that reading a large file in any order does
/// not fill the memory.
const RESIDENT: usize = 64 << 20;

/// The data after the samples.
#[derive(Serialize, Deserialize)]
struct Summary {
    report: Report,
    files: Vec<String>,
}

/// Writes samples one at a time; only their offsets stay in memory.
pub(super) struct Writer<'a> {
    out: BufWriter<&'a File>,
    digest: Sha256,
    at: u64,
    offsets: Vec<u64>,
    /// The files of the samples so far, and the index of each in the list.
    files: Vec<String>,
    places: HashMap<Arc<str>, usize>,
    record: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 20, file),
            digest: Sha256::new(),
            at: 0,
            offsets: Vec::new(),
            files: Vec::new(),
            places: HashMap::new(),
            record: Vec::new(),
        };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Appends a sample.
    pub(super) fn push(&mut self, example: &Example) -> io::Result<()> {
        self.offsets.push(self.at);
        let answer = example.answer.as_deref();
        let lengths = [
            length(example.token_ids.len())?,
            length(example.supervised())?,
            length(example.id.len())?,
            answer.map_or(Ok(NO_ANSWER), |answer| length(answer.len()))?,
        ];
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        record.extend(example.weight.to_le_bytes());
        let Origin {
            source,
            path,
            line,
            row,
        } = &example.origin;
        for number in [*source, self.place_of(path), *line, *row] {
            let number = u32::try_from(number)
                .map_err(|_| io::Error::other(format!("`{path}`: row {row} is above 2³²")))?;
            record.extend(number.to_le_bytes());
        }
        for (&id, &trained) in example.token_ids.iter().zip(&example.loss_mask) {
            if id & TRAINED != 0 {
                return Err(io::Error::other(format!("token id {id} is above 2³¹")));
            }
            let word = if trained { id | TRAINED } else { id };
            record.extend(word.to_le_bytes());
        }
        record.extend(example.id.bytes());
        record.extend(answer.unwrap_or_default().bytes());
        self.put(&record)?;
        self.record = record;
        Ok(())
    }

    /// The index of a file in the list of files; a new file is appended.
    fn place_of(&mut self, path: &Arc<str>) -> usize {
        if let Some(&place) = self.places.get(path) {
            return place;
        }
        let place = self.files.len();
        self.files.push(path.to_string());
        self.places.insert(Arc::clone(path), place);
        place
    }

    /// Writes the data after the samples, and synchronises everything to the disk.
    pub(super) fn finish(mut self, report: Report) -> io::Result<()> {
        let offsets = std::mem::take(&mut self.offsets);
        let files = std::mem::take(&mut self.files);
        let offsets_at = self.at;
        for offset in &offsets {
            self.put(&offset.to_le_bytes())?;
        }
        let report_at = self.at;
        self.put(&serde_json::to_vec(&Summary { report, files }).map_err(io::Error::other)?)?;
        for number in [offsets.len() as u64, offsets_at, report_at] {
            self.put(&number.to_le_bytes())?;
        }
        let digest = self.digest.finalize();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }
}

fn length(length: usize) -> io::Result<u32> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length < NO_ANSWER)
        .ok_or_else(|| io::Error::other("a sample of four thousand million bytes"))
}

/// A file of samples, mapped into memory.
#[derive(Debug)]
pub(crate) struct TokenFile {
    map: Mmap,
    samples: usize,
    offsets: usize,
    /// The files from which the samples were read.
    files: Vec<Arc<str>>,
    /// Bytes read since pages were last released.
    read: AtomicUsize,
}

/// Bytes that Linux maps around a page when it is read (`fault_around_bytes`).
const AROUND: usize = 64 << 10;

impl TokenFile {
    /// Checks and maps a file; `None` if it is damaged or has another version.
    pub(crate) fn open(mut file: &File) -> io::Result<Option<(Self, Report)>> {
        if !is_whole(file)? {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0))?;
        // SAFETY: files in the cache are written under another name, renamed when complete and never changed.
        let map = unsafe { Mmap::map(file)? };
        let end = map.len() - FOOTER;
        let number = |index: usize| read_u64(&map, end + 8 * index) as usize;
        let (samples, offsets, summary) = (number(0), number(1), number(2));
        let Some(Summary { report, files }) = map
            .get(summary..end)
            .and_then(|json| serde_json::from_slice(json).ok())
        else {
            return Ok(None);
        };
        if map.get(offsets..offsets.saturating_add(8 * samples)).is_none() {
            return Ok(None);
        }
        // The advice affects only speed.
        let _ = map.advise(Advice::Random);
        let file = Self {
            map,
            samples,
            offsets,
            files: files.into_iter().map(Arc::from).collect(),
            read: AtomicUsize::new(0),
        };
        Ok(Some((file, report)))
    }

    pub(crate) fn len(&self) -> usize {
        self.samples
    }

    /// Number of tokens of a sample.
    pub(crate) fn tokens_of(&self, index: usize) -> usize {
        let tokens = read_u32(&self.map, self.start(index)) as usize;
        self.give_back(0);
        tokens
    }

    /// The start of a sample's record.
    fn start(&self, index: usize) -> usize {
        assert!(index < self.samples, "sample {index} of {}", self.samples);
        read_u64(&self.map, self.offsets + 8 * index) as usize
    }

    pub(crate) fn get(&self, index: usize) -> Example {
        let start = self.start(index);
        let number = |place: usize| read_u32(&self.map, start + 4 * place) as usize;
        let (tokens, id_len, answer_len) = (number(0), number(2), number(3));
        let weight = f64::from_bits(read_u64(&self.map, start + 16));
        let origin = Origin {
            source: number(6),
            path: self.files.get(number(7)).cloned().unwrap_or_default(),
            line: number(8),
            row: number(9),
        };
        let ids_end = start + RECORD + 4 * tokens;
        let words = self.map[start + RECORD..ids_end].as_chunks::<4>().0;
        let words = words.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let token_ids: Vec<u32> = words.clone().map(|word| word & !TRAINED).collect();
        let loss_mask: Vec<bool> = words.map(|word| word & TRAINED != 0).collect();
        let id_end = ids_end + id_len;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = (answer_len != NO_ANSWER as usize).then(|| text(&self.map[id_end..id_end + answer_len]));
        let example = Example {
            id: text(&self.map[ids_end..id_end]),
            weight,
            prompt_len: loss_mask.iter().position(|&trained| trained).unwrap_or(tokens),
            token_ids,
            loss_mask,
            answer,
            origin,
        };
        self.give_back(id_end - start);
        example
    }

    /// Asks the kernel to read samples ahead. This affects only speed.
    pub(crate) fn prefetch(&self, indices: &[usize]) {
        for &index in indices.iter().filter(|&&index| index < self.samples) {
            let start = read_u64(&self.map, self.offsets + 8 * index) as usize;
            let _ = self
                .map
                .advise_range(Advice::WillNeed, start, AROUND.min(self.map.len() - start));
        }
    }

    /// Counts the bytes that were read, and sometimes releases the pages.
    fn give_back(&self, bytes: usize) {
        if self.map.len() <= RESIDENT {
            return;
        }
        // The kernel maps 64 KiB around the page that is read, and a record may cross such a boundary.
        if self.read.fetch_add(bytes + 2 * AROUND, Ordering::Relaxed) > RESIDENT {
            self.read.store(0, Ordering::Relaxed);
            // SAFETY: the map is shared and read-only: a page given back is read from the file again.
            let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

/// Whether the file has the expected beginning, end and checksum. It is read, not mapped, so that its pages do not
/// count as memory of the process.
fn is_whole(mut file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(rest) = length.checked_sub(32) else {
        return Ok(false);
    };
    if length < (MAGIC.len() + 4 + FOOTER) as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut start = [0; 12];
    reader.read_exact(&mut start)?;
    if start[..8] != *MAGIC || start[8..] != VERSION.to_le_bytes() {
        return Ok(false);
    }
    let mut digest = Sha256::new();
    digest.update(start);
    let mut body = reader.by_ref().take(rest - start.len() as u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = body.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
    }
    let mut written = [0; 32];
    reader.read_exact(&mut written)?;
    Ok(digest.finalize()[..] == written)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
