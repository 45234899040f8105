//! Splits text into words by a published pattern, with an automaton instead of a backtracking engine.
//!
//! The patterns of byte-level tokenizers end in `\s+(?!\S)|\s+`: a run of spaces, except the last one before a word.
//! Only this part looks ahead. So one pattern is replaced by three without look-ahead: the rest of the pattern; spaces
//! that are followed by a space, of which the last one is given back; and spaces. The words are the same as those of
//! onig, which `tokenizers` uses; `tests.rs` checks this.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};
use tokenizers::utils::SysRegex;

/// The end of each pattern in [`HEADS`].
const TAIL: &str = r"|\s+(?!\S)|\s+";

/// The patterns of GPT-2, Llama 3, Qwen 2 and 3, Qwen 3.5, and gpt-oss, without the tail.
const HEADS: [&str; 5] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+",
];

/// The index of `\s+\s` among the patterns of the automaton.
const SPACES_BEFORE_SPACE: usize = 1;

/// Size in bytes of the states that a thread caches for one automaton.
const STATES: usize = 4 << 20;

static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The cached states of this thread, by the number of the automaton.
    static FOUND: RefCell<Vec<(u64, Cache)>> = const { RefCell::new(Vec::new()) };
}

/// Number of automata whose states a thread caches.
const KEPT: usize = 4;

/// A pattern that splits text into words.
pub(super) struct Words {
    pattern: SysRegex,
    /// The head of the pattern, if it is a published one.
    head: Option<&'static str>,
    /// Created at the first use: not needed if all tokens are read from the cache.
    automaton: OnceLock<Option<Box<Automaton>>>,
}

struct Automaton {
    number: u64,
    dfa: DFA,
}

impl Words {
    /// A pattern in onig's syntax; `None` if onig cannot parse it.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let head = pattern.strip_suffix(TAIL);
        Some(Self {
            pattern: SysRegex::new(pattern).ok()?,
            head: HEADS.into_iter().find(|known| head == Some(*known)),
            automaton: OnceLock::new(),
        })
    }

    fn automaton(&self) -> Option<&Automaton> {
        let made = self
            .automaton
            .get_or_init(|| Automaton::new(self.head?).map(Box::new));
        made.as_deref()
    }

    /// Calls `each` with the start and the end byte of every word, until it returns `None`.
    pub(super) fn each(&self, text: &str, mut each: impl FnMut(usize, usize) -> Option<()>) -> Option<()> {
        let from = match self.automaton() {
            Some(automaton) => automaton.each(text, &mut each)?,
            None => 0,
        };
        for (start, end) in self.pattern.find_iter(&text[from..]) {
            each(from + start, from + end)?;
        }
        Some(())
    }
}

impl Automaton {
    /// The automaton of a published pattern with this head.
    fn new(head: &str) -> Option<Self> {
        let dfa = DFA::builder()
            .configure(DFA::config().cache_capacity(STATES))
            .build_many(&[&format!(r"{head}|\s+\z"), r"\s+\s", r"\s+"])
            .ok()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self { number, dfa })
    }

    /// The byte at which it stopped: the end of the text, or before a word that it cannot determine.
    fn each(&self, text: &str, each: &mut impl FnMut(usize, usize) -> Option<()>) -> Option<usize> {
        let mut states = self.states();
        let mut input = Input::new(text).anchored(Anchored::Yes);
        let mut at = 0;
        while at < text.len() {
            input.set_start(at);
            let Ok(Some(word)) = self.dfa.try_search_fwd(&mut states, &input) else {
                break;
            };
            let mut end = word.offset();
            if word.pattern().as_usize() == SPACES_BEFORE_SPACE {
                end = text.floor_char_boundary(end - 1);
            }
            each(at, end)?;
            at = end;
        }
        FOUND.with_borrow_mut(|found| {
            if found.len() == KEPT {
                found.remove(0);
            }
            found.push((self.number, states));
        });
        Some(at)
    }

    /// The cache is taken, not borrowed: another pattern may split a word while this one is running.
    fn states(&self) -> Cache {
        let known = FOUND.with_borrow_mut(|found| {
            let place = found.iter().position(|(number, _)| *number == self.number)?;
            Some(found.swap_remove(place).1)
        });
        known.unwrap_or_else(|| self.dfa.create_cache())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(words: &Words, text: &str) -> [Vec<(usize, usize)>; 2] {
        let mut found = Vec::new();
        let automaton = words.automaton().unwrap();
        let end = automaton.each(text, &mut |start, end| {
            found.push((start, end));
            Some(())
        });
        assert_eq!(end, Some(text.len()), "{text:?}");
        [found, words.pattern.find_iter(text).collect()]
    }

    fn published() -> Vec<Words> {
        HEADS
            .iter()
            .map(|head| Words::new(&format!("{head}{TAIL}")).unwrap())
            .collect()
    }

    #[test]
    fn every_character_stands_in_the_word_in_which_onig_has_it() {
        let planes = (0..0x3_4000)
            .chain(0xE_0000..0xE_0200)
            .chain((0x3_4000..0x11_0000).step_by(4093));
        let characters: Vec<char> = planes.filter_map(char::from_u32).collect();
        for words in published() {
            for some in characters.chunks(32) {
                let text: String = (some.iter())
                    .flat_map(|c| {
                        [
                            'a', *c, *c, ' ', *c, 'B', '1', *c, '\n', *c, '\'', *c, 't', ' ', ' ', *c,
                        ]
                    })
                    .collect();
                let [found, expected] = both(&words, &text);
                assert_eq!(found, expected, "{text:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn words_are_those_of_onig(
            parts in prop::collection::vec(prop_oneof![
                "[a-zA-Z0-9 .,'\n\r\t/-]{0,12}",
                "\\PC{0,6}",
                "('|'S|'ſ|'ll|'Ve| |\u{a0}|\u{3000}|\u{85}|\u{2028}|é|e\u{301}|½|猫|Ǆ|ʰ){0,6}",
            ], 0..6),
        ) {
            let text = parts.concat();
            for words in published() {
                let [found, expected] = both(&words, &text);
                prop_assert_eq!(found, expected, "{:?}", text);
            }
        }
    }

    #[test]
    fn other_patterns_have_no_automaton() {
        for pattern in [r"\s+(?!\S)|\s+", r"\p{L}++|\s+(?!\S)|\s+", r"\p{N}{1,3}"] {
            assert!(Words::new(pattern).unwrap().automaton().is_none(), "{pattern}");
        }
    }
}
