//! Byte-level BPE without the bookkeeping: the same ids and offsets as `tokenizers`, several times faster.
//!
//! `tokenizers` keeps, for every byte of a text, where it came from through each change of the text. A byte-level
//! pipeline changes nothing but the spelling of bytes, so words can be cut as ranges of the text with the
//! pipeline's own regular expressions, and what the model makes of a word can be remembered. Pipelines with
//! anything else in them are left to `tokenizers`, see [`FastBpe::new`].

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

/// The words of GPT-2, which `ByteLevel` cuts at.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// How many words a thread remembers, and how long they may be in bytes.
const REMEMBERED: usize = 1 << 17;
const LONGEST: usize = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// What the model made of words: ids and how many bytes of the word each stands for.
type Known = HashMap<Box<str>, Box<[(u32, u32)]>>;

thread_local! {
    /// The words of the tokenizer with this number.
    static WORDS: RefCell<(u64, Known)> = RefCell::new((u64::MAX, Known::new()));
}

/// One step that cuts pieces of text into smaller ones.
enum Cut {
    /// Every numeric character by itself.
    EachDigit,
    /// Runs of numeric characters.
    Digits,
    /// Matches, and what lies between them.
    Matches(Words),
}

/// A tokenizer's byte-level pipeline.
pub(super) struct FastBpe {
    number: u64,
    /// Added tokens, in the two passes in which they are looked for.
    added: Vec<(AhoCorasick, Vec<u32>)>,
    cuts: Vec<Cut>,
    needs_nfc: bool,
    spelling: [char; 256],
}

impl FastBpe {
    /// The fast way of a tokenizer, if it has one: BPE without dropout; no normaliser or NFC; digits, splits at
    /// a pattern's matches and a byte-level step without added space, last; no added token that takes spaces
    /// with it or must be a whole word.
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

    /// The ids of a text and their bytes, offsets widened to whole characters; nothing where the text or a word
    /// of it needs the slow way.
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

/// Where the tokens of one text go.
struct Output<'a> {
    fast: &'a FastBpe,
    model: &'a ModelWrapper,
    text: &'a str,
    words: &'a mut Known,
    encoded: &'a mut Encoded,
}

impl Output<'_> {
    /// Takes added tokens out, pass by pass, and cuts the rest.
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

    /// Cuts into runs of numeric characters and others; runs that `is_whole` denies, into characters.
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
            // A byte without a token, or one that joins others: not this way.
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

/// The added tokens as automata: those looked for in the text first, then those of normalised text.
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

/// The steps of a pre-tokenizer that ends with the byte-level spelling.
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

/// How the byte level spells each byte: printable ones as themselves, others as characters from U+0100 on.
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

/// Whether NFC leaves a character alone wherever it stands: a part of those of which that is true.
fn is_composed(character: char) -> bool {
    matches!(character,
        '\0'..='\u{2FF}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3041}'..='\u{3096}'
        | '\u{30A1}'..='\u{30FA}' | '\u{4E00}'..='\u{9FFF}' | '\u{FF01}'..='\u{FFEE}'
        | '\u{1F300}'..='\u{1FAFF}')
}
