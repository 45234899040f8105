//! Truncation of sequences that are too long.

use cadft_data::{
    DropReason, Mask, Row, SourceReport, SpecialTokens, TokenizeOptions, Tokenizer, Truncation, tokenize,
};
use proptest::prelude::*;

use crate::fixture::{Fixture, completion, marked};

fn options(max_length: usize, truncation: Truncation) -> TokenizeOptions {
    TokenizeOptions {
        truncation,
        ..TokenizeOptions::new(max_length, Mask::Assistant)
    }
}

fn cut(row: &Row, tokenizer: &Tokenizer, max_length: usize, truncation: Truncation) -> String {
    let data = tokenize(
        std::slice::from_ref(row),
        tokenizer,
        &options(max_length, truncation),
    )
    .unwrap();
    assert_eq!(data.report.truncated, 1);
    marked(&data.examples[0], tokenizer)
}

#[test]
fn each_policy_cuts_where_it_says() {
    let tokenizer = Fixture::new("</s>", "").build();
    let row = completion("abcdef", "xyz");
    assert_eq!(cut(&row, &tokenizer, 8, Truncation::Right), "abcdef[xy]");
    assert_eq!(cut(&row, &tokenizer, 8, Truncation::LeftPrompt), "cdef[xyz</s>]");
    assert_eq!(cut(&row, &tokenizer, 5, Truncation::LeftPrompt), "f[xyz</s>]");
    // One token of context is kept: without it nothing would predict the first target.
    assert_eq!(cut(&row, &tokenizer, 3, Truncation::LeftPrompt), "f[xy]");
}

#[test]
fn a_bos_stays_when_the_prompt_is_cut() {
    let mut fixture = Fixture::llama3();
    fixture.config["eos_token"] = "</s>".into();
    let tokenizer = fixture.build();
    let row = completion("abcdef", "xyz");
    assert_eq!(
        cut(&row, &tokenizer, 7, Truncation::LeftPrompt),
        "<|begin_of_text|>ef[xyz</s>]"
    );
    assert_eq!(
        cut(&row, &tokenizer, 4, Truncation::LeftPrompt),
        "<|begin_of_text|>[xyz]"
    );
}

#[test]
fn rows_that_are_too_long_can_be_left_out_and_every_source_is_counted() {
    let tokenizer = Fixture::new("</s>", "").build();
    let mut rows = [
        completion("ab", "c"),
        completion("abcdef", "xyz"),
        completion("a", "b"),
        completion("abcdefgh", "i"),
    ];
    for (row, source) in rows.iter_mut().zip([0, 0, 1, 1]) {
        row.source = source;
    }
    let report = tokenize(&rows, &tokenizer, &options(5, Truncation::Drop))
        .unwrap()
        .report;
    assert_eq!((report.rows, report.kept, report.truncated), (4, 2, 0));
    assert!(
        report
            .dropped
            .iter()
            .all(|sample| sample.reason == DropReason::TooLong)
    );
    let counts = |truncation| {
        let report = tokenize(&rows, &tokenizer, &options(5, truncation))
            .unwrap()
            .report;
        let source = |source: &SourceReport| {
            [
                source.rows,
                source.kept,
                source.truncated,
                source.dropped,
                source.tokens,
            ]
        };
        report.sources.iter().map(source).collect::<Vec<_>>()
    };
    assert_eq!(counts(Truncation::Drop), [[2, 1, 0, 1, 4], [2, 1, 0, 1, 3]]);
    // After a cut on the right, the two long ones have no trained token left.
    assert_eq!(counts(Truncation::Right), [[2, 1, 0, 1, 4], [2, 1, 0, 1, 3]]);
    assert_eq!(counts(Truncation::LeftPrompt), [[2, 2, 1, 0, 9], [2, 2, 1, 0, 8]]);
}

proptest! {
    #[test]
    fn cutting_the_prompt_keeps_the_most_targets(prompt in "[a-z]{1,12}", answer in "[a-z]{1,12}", most in 2..16_usize) {
        let tokenizer = Fixture::new("</s>", "").build();
        let row = completion(&prompt, &answer);
        let data = tokenize(std::slice::from_ref(&row), &tokenizer, &options(most, Truncation::LeftPrompt)).unwrap();
        let example = &data.examples[0];
        let whole = tokenize(&[row], &tokenizer, &options(100, Truncation::Right)).unwrap().examples.remove(0);
        prop_assert_eq!(example.token_ids.len(), whole.token_ids.len().min(most));
        prop_assert_eq!(example.supervised(), whole.supervised().min(most - 1));
        prop_assert!(!example.loss_mask[0]);
        let text = tokenizer.decode(&example.token_ids, SpecialTokens::Keep).unwrap();
        let all = tokenizer.decode(&whole.token_ids, SpecialTokens::Keep).unwrap();
        prop_assert!(all.contains(&text));
    }
}
