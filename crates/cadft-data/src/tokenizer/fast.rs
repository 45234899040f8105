//! A fast byte-level BPE: the same ids and offsets as `tokenizers`, several times faster.
//!
//! `tokenizers` tracks the origin of every byte of a text through all its changes. A byte-level pipeline changes only
//! how bytes are written. So words can be cut as ranges of the text, with the pipeline's own regular expressions, and
//! the ids of words can be cached. Pipelines with any other step are left to `tokenizers`, see [`FastBpe::new`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{Model, ModelWrapper};

use super::Encoded;
use super::words::Words;

/// The regular expression of GPT-2, at which `ByteLevel` splits.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Number of words in a thread's cache, and largest size of a cached word in bytes.
const REMEMBERED: usize = 1 << 17;
const LONGEST: usize = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Cached words: the ids, and the number of bytes of the word for each.
type Known = HashMap<Box<str>, Box<[(u32, u32)]>>;

thread_local! {
    /// The cached words of the tokenizer with this number.
    static WORDS: RefCell<(u64, Known)> = RefCell::new((u64::MAX, Known::new()));
}

/// A step that splits text into smaller pieces.
enum Cut {
    /// Every numeric character is a piece.
    EachDigit,
    /// Runs of numeric characters are pieces.
    Digits,
    /// Matches, and the text between them, are pieces.
    Matches(Words),
}

/// A tokenizer's byte-level pipeline.
pub(super) struct FastBpe {
    number: u64,
    /// Added tokens, for the two passes in which they are matched.
    added: Vec<(AhoCorasick, Vec<u32>)>,
    cuts: Vec<Cut>,
    needs_nfc: bool,
    spelling: [char; 256],
}

impl FastBpe {
    /// The fast path for a tokenizer, if it is possible. It requires BPE without dropout; no normaliser or NFC; as
    /// pre-tokenizer only digits, splits at a pattern's matches and finally a byte-level step without an added space;
    /// and no added token that strips spaces or must be a whole word.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        if model.dropout.is_some_and(|dropout| dropout > 0.0) || model.continuing_subword_prefix.is_some() {
            return None;
        }
        let needs_nfc = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        Some(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            added: added(tokenizer)?,
            cuts: cuts(tokenizer.get_pre_tokenizer()?)?,
            needs_nfc,
            spelling: spelling(),
        })
    }

    /// The ids of a text and their byte ranges, widened to whole characters; `None` if the text or one of its words
    /// needs the slow path.
    pub(super) fn encode(&self, tokenizer: &tokenizers::Tokenizer, text: &str) -> Option<Encoded> {
        if self.needs_nfc && !text.chars().all(is_composed) {
            return None;
        }
        let mut encoded = Encoded {
            ids: Vec::with_capacity(text.len() / 3),
            offsets: Vec::with_capacity(text.len() / 3),
        };
        WORDS.with_borrow_mut(|(owner, words)| {
            if *owner != self.number {
                *owner = self.number;
                words.clear();
            }
            let mut out = Output {
                fast: self,
                model: tokenizer.get_model(),
                text,
                words,
                encoded: &mut encoded,
            };
            out.segment(0..text.len(), 0)
        })?;
        Some(encoded)
    }
}

/// The state of encoding one text.
struct Output<'a> {
    fast: &'a FastBpe,
    model: &'a ModelWrapper,
    text: &'a str,
    words: &'a mut Known,
    encoded: &'a mut Encoded,
}

impl Output<'_> {
    /// Extracts added tokens pass by pass, and splits the rest.
    fn segment(&mut self, range: Range<usize>, pass: usize) -> Option<()> {
        let fast = self.fast;
        let Some((tokens, ids)) = fast.added.get(pass) else {
            return self.cut(range, 0);
        };
        let mut from = range.start;
        for found in tokens.find_iter(&self.text[range.clone()]) {
            let (start, end) = (range.start + found.start(), range.start + found.end());
            self.segment(from..start, pass + 1)?;
            self.encoded.ids.push(ids[found.pattern().as_usize()]);
            self.encoded.offsets.push((start, end));
            from = end;
        }
        self.segment(from..range.end, pass + 1)
    }

    fn cut(&mut self, range: Range<usize>, step: usize) -> Option<()> {
        if range.is_empty() {
            return Some(());
        }
        let fast = self.fast;
        let piece = &self.text[range.clone()];
        match fast.cuts.get(step) {
            None => self.word(range),
            Some(Cut::EachDigit) => {
                self.cut_digits(range, step, |run, digits| !digits || run.chars().nth(1).is_none())
            }
            Some(Cut::Digits) => self.cut_digits(range, step, |_, _| true),
            Some(Cut::Matches(pattern)) => {
                let mut from = 0;
                pattern.each(piece, |start, end| {
                    self.cut(range.start + from..range.start + start, step + 1)?;
                    self.cut(range.start + start..range.start + end, step + 1)?;
                    from = end;
                    Some(())
                })?;
                self.cut(range.start + from..range.end, step + 1)
            }
        }
    }

    /// Splits into runs of numeric and other characters; runs for which `is_whole` is false are split into characters.
    fn cut_digits(
        &mut self,
        range: Range<usize>,
        step: usize,
        is_whole: impl Fn(&str, bool) -> bool,
    ) -> Option<()> {
        let mut from = range.start;
        while from < range.end {
            let rest = &self.text[from..range.end];
            let digits = rest.starts_with(char::is_numeric);
            let length = rest
                .find(|c: char| c.is_numeric() != digits)
                .unwrap_or(rest.len());
            let run = from..from + length;
            if is_whole(&rest[..length], digits) {
                self.cut(run, step + 1)?;
            } else {
                for (at, digit) in rest[..length].char_indices() {
                    self.cut(from + at..from + at + digit.len_utf8(), step + 1)?;
                }
            }
            from += length;
        }
        Some(())
    }

    fn word(&mut self, range: Range<usize>) -> Option<()> {
        let word = &self.text[range.clone()];
        if let Some(pieces) = self.words.get(word) {
            put(self.encoded, self.text, range.start, pieces);
            return Some(());
        }
        let spelled: String = word
            .bytes()
            .map(|byte| self.fast.spelling[usize::from(byte)])
            .collect();
        let mut pieces = Vec::new();
        let mut at = 0;
        for token in self.model.tokenize(&spelled).ok()? {
            // A byte without a token, or one that is merged with others, needs the slow path.
            if token.offsets.0 != at {
                return None;
            }
            at = token.offsets.1;
            let bytes = spelled.get(token.offsets.0..at)?.chars().count();
            pieces.push((token.id, u32::try_from(bytes).ok()?));
        }
        if at != spelled.len() {
            return None;
        }
        put(self.encoded, self.text, range.start, &pieces);
        if word.len() <= LONGEST && self.words.len() < REMEMBERED {
            self.words.insert(word.into(), pieces.into());
        }
        Some(())
    }
}

/// Appends the tokens of a word that starts at byte `at`.
fn put(encoded: &mut Encoded, text: &str, mut at: usize, pieces: &[(u32, u32)]) {
    for &(id, bytes) in pieces {
        let end = at + bytes as usize;
        encoded.ids.push(id);
        encoded
            .offsets
            .push((text.floor_char_boundary(at), text.ceil_char_boundary(end)));
        at = end;
    }
}

/// The added tokens as automata: first those matched in the original text, then those in normalised text.
fn added(tokenizer: &tokenizers::Tokenizer) -> Option<Vec<(AhoCorasick, Vec<u32>)>> {
    let all = tokenizer.get_added_tokens_decoder();
    if all
        .values()
        .any(|token| token.single_word || token.lstrip || token.rstrip)
    {
        return None;
    }
    let mut passes = Vec::new();
    for normalized in [false, true] {
        let mut found: Vec<_> = (all.iter())
            .filter(|(_, token)| token.normalized == normalized && !token.content.is_empty())
            .collect();
        found.sort_unstable_by_key(|(id, _)| **id);
        if found.is_empty() {
            continue;
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(found.iter().map(|(_, token)| token.content.as_str()))
            .ok()?;
        passes.push((automaton, found.iter().map(|(id, _)| **id).collect()));
    }
    Some(passes)
}

/// The steps of a pre-tokenizer that ends with the byte-level step.
fn cuts(pre_tokenizer: &PreTokenizerWrapper) -> Option<Vec<Cut>> {
    let steps = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
        single => std::slice::from_ref(single),
    };
    let (last, steps) = steps.split_last()?;
    let PreTokenizerWrapper::ByteLevel(last) = last else {
        return None;
    };
    if last.add_prefix_space {
        return None;
    }
    let mut cuts = Vec::new();
    for step in steps {
        cuts.push(match step {
            PreTokenizerWrapper::Digits(digits) if digits.individual_digits => Cut::EachDigit,
            PreTokenizerWrapper::Digits(_) => Cut::Digits,
            PreTokenizerWrapper::Split(split) => {
                let SplitPattern::Regex(pattern) = &split.pattern else {
                    return None;
                };
                if split.behavior != SplitDelimiterBehavior::Isolated || split.invert {
                    return None;
                }
                Cut::Matches(Words::new(pattern)?)
            }
            _ => return None,
        });
    }
    if last.use_regex {
        cuts.push(Cut::Matches(Words::new(GPT2)?));
    }
    Some(cuts)
}

/// The character for each byte at the byte level: printable bytes stay, others become characters from U+0100 on.
fn spelling() -> [char; 256] {
    let alphabet = ByteLevel::alphabet();
    let mut next = 256_u32;
    std::array::from_fn(|byte| {
        let itself = char::from(byte as u8);
        if alphabet.contains(&itself) {
            return itself;
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or(itself)
    })
}

/// Whether NFC never changes a character in any context; true for only a part of such characters.
fn is_composed(character: char) -> bool {
    matches!(character,
        '\0'..='\u{2FF}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3041}'..='\u{3096}'
        | '\u{30A1}'..='\u{30FA}' | '\u{4E00}'..='\u{9FFF}' | '\u{FF01}'..='\u{FFEE}'
        | '\u{1F300}'..='\u{1FAFF}')
}
