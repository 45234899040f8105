//! Pre-tokenizers of byte-level BPE, by llama.cpp's names: how text is split before merging.

use serde_json::{Value as Json, json};

/// A pre-tokenizer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreTokenizer {
    /// llama.cpp's name.
    pub(super) name: &'static str,
    steps: &'static [Step],
    /// Whether a word that is a token is used without looking at merges.
    pub(super) ignores_merges: bool,
    /// Default for whether the beginning-of-sequence token is put before a text.
    pub(super) adds_bos: bool,
    /// Whether text is first normalised to Unicode's composed form (NFC). llama.cpp never does this.
    pub(super) composes: bool,
}

/// A step of the split.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Matches of the expression become pieces, and so does the text between them.
    Split(&'static str),
    /// Every digit becomes a piece.
    Digits,
    /// The regular expression of GPT-2.
    Gpt2,
}

const CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";
const LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const THREE_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const ONE_DIGIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const MARKS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const MANY_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_3: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

const PLAIN: PreTokenizer = PreTokenizer {
    name: "gpt-2",
    steps: &[Step::Gpt2],
    ignores_merges: false,
    adds_bos: false,
    composes: false,
};
const DIGITS: PreTokenizer = PreTokenizer {
    name: "smollm",
    steps: &[Step::Digits, Step::Gpt2],
    ..PLAIN
};
const LLAMA_3: PreTokenizer = PreTokenizer {
    name: "llama-bpe",
    steps: &[Step::Split(THREE_DIGITS)],
    ignores_merges: true,
    adds_bos: true,
    ..PLAIN
};
const QWEN_2: PreTokenizer = PreTokenizer {
    name: "qwen2",
    steps: &[Step::Split(ONE_DIGIT)],
    composes: true,
    ..PLAIN
};
const DEEPSEEK_V3: PreTokenizer = PreTokenizer {
    name: "deepseek-v3",
    steps: &[
        Step::Split(r"\p{N}{1,3}"),
        Step::Split("[一-龥\u{3040}-ゟ゠-ヿ]+"),
        Step::Split(DEEPSEEK_3),
    ],
    ..PLAIN
};
const SINGLE: PreTokenizer = PreTokenizer {
    composes: false,
    ..QWEN_2
};

/// The same split under another name.
const fn named(name: &'static str, like: PreTokenizer) -> PreTokenizer {
    PreTokenizer { name, ..like }
}

/// All known pre-tokenizers. The first of those with the same split gives the name that is written.
pub(super) const ALL: &[PreTokenizer] = &[
    PLAIN,
    named("phi-2", PLAIN),
    named("mpt", PLAIN),
    named("olmo", PLAIN),
    named("jais", PLAIN),
    named("trillion", PLAIN),
    named("gigachat", PLAIN),
    named("mellum", PLAIN),
    named("a.x-4.0", PLAIN),
    named("exaone4", PLAIN),
    DIGITS,
    named("starcoder", DIGITS),
    named("refact", DIGITS),
    named("command-r", DIGITS),
    named("codeshell", DIGITS),
    named("exaone", DIGITS),
    named("minerva-7b", DIGITS),
    named("mellum2", DIGITS),
    LLAMA_3,
    named("llama3", LLAMA_3),
    named("llama-v3", LLAMA_3),
    named("falcon3", LLAMA_3),
    named("falcon-h1", LLAMA_3),
    named("pixtral", LLAMA_3),
    named("midm-2.0", LLAMA_3),
    named("lfm2", LLAMA_3),
    PreTokenizer {
        name: "smaug-bpe",
        ignores_merges: false,
        adds_bos: false,
        ..LLAMA_3
    },
    PreTokenizer {
        name: "dbrx",
        ignores_merges: false,
        adds_bos: false,
        ..LLAMA_3
    },
    PreTokenizer {
        name: "glm4",
        ignores_merges: false,
        adds_bos: false,
        ..LLAMA_3
    },
    PreTokenizer {
        name: "chatglm-bpe",
        ignores_merges: false,
        adds_bos: false,
        ..LLAMA_3
    },
    QWEN_2,
    named("deepseek-r1-qwen", QWEN_2),
    named("megrez", QWEN_2),
    named("stablelm2", SINGLE),
    named("kormo", SINGLE),
    named("f2llmv2", SINGLE),
    named("hunyuan", SINGLE),
    named("solar-open", SINGLE),
    named("grok-2", SINGLE),
    PreTokenizer {
        name: "qwen35",
        steps: &[Step::Split(MARKS)],
        ..QWEN_2
    },
    PreTokenizer {
        name: "deepseek-llm",
        steps: &[
            Step::Split("[\r\n]"),
            Step::Split(LETTERS),
            Step::Split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Step::Split("\\s+$"),
            Step::Split(CJK),
            Step::Digits,
        ],
        ..PLAIN
    },
    PreTokenizer {
        name: "deepseek-coder",
        steps: &[
            Step::Split("[\r\n]"),
            Step::Split("\\s?\\p{L}+"),
            Step::Split("\\s?\\p{P}+"),
            Step::Split(CJK),
            Step::Digits,
        ],
        ..PLAIN
    },
    DEEPSEEK_V3,
    named("hunyuan-dense", DEEPSEEK_V3),
    named("joyai-llm", DEEPSEEK_V3),
    PreTokenizer {
        name: "tekken",
        steps: &[Step::Split(TEKKEN)],
        ..LLAMA_3
    },
    PreTokenizer {
        name: "gpt-4o",
        steps: &[Step::Split(GPT_4O)],
        ..PLAIN
    },
    PreTokenizer {
        name: "llama4",
        steps: &[Step::Split(GPT_4O)],
        ..PLAIN
    },
    PreTokenizer {
        name: "kanana2",
        steps: &[Step::Split(GPT_4O)],
        ..PLAIN
    },
    PreTokenizer {
        name: "seed-coder",
        steps: &[Step::Split(SEED_CODER)],
        ..PLAIN
    },
    PreTokenizer {
        name: "bailingmoe",
        steps: &[Step::Split(BAILING)],
        ..PLAIN
    },
    PreTokenizer {
        name: "minicpm5",
        steps: &[Step::Split(r"\p{N}{1,3}"), Step::Split(MANY_DIGITS)],
        ignores_merges: true,
        ..PLAIN
    },
];

impl PreTokenizer {
    /// The pre-tokenizer with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.name == name)
    }

    /// All names, for messages.
    pub(super) fn names() -> String {
        let names: Vec<_> = ALL.iter().map(|known| known.name).collect();
        names.join("`, `")
    }

    /// The description for `tokenizer.json`.
    pub(super) fn json(&self) -> Json {
        let byte_level = |use_regex: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex})
        };
        if let [Step::Gpt2] = self.steps {
            return byte_level(true);
        }
        let mut steps: Vec<Json> = (self.steps.iter())
            .map(|step| match step {
                Step::Split(pattern) => json!({"type": "Split", "pattern": {"Regex": pattern},
                    "behavior": "Isolated", "invert": false}),
                Step::Digits => json!({"type": "Digits", "individual_digits": true}),
                Step::Gpt2 => byte_level(true),
            })
            .collect();
        if !self.steps.iter().any(|step| matches!(step, Step::Gpt2)) {
            steps.push(byte_level(false));
        }
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_way() {
        for (index, one) in ALL.iter().enumerate() {
            let first = ALL.iter().position(|other| other.name == one.name);
            assert_eq!(first, Some(index), "{}", one.name);
        }
    }
}
