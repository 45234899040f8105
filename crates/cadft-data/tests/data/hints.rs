//! Prompts with a hint.

use cadft_data::{Content, Row, SpecialTokens, hinted_prompt_ids};

use crate::fixture::{Fixture, completion, conversation};

#[test]
fn a_hint_stands_after_the_last_question_and_the_answer_stays_hidden() {
    let tokenizer = Fixture::chatml().build();
    let shown = |row: &Row| {
        let ids = hinted_prompt_ids(row, &tokenizer, " Hint 4").expect("a prompt");
        ids.map(|ids| tokenizer.decode(&ids, SpecialTokens::Keep).expect("text"))
    };
    let turns = [
        ("user", "1+1"),
        ("assistant", "hello 2"),
        ("user", "2+2"),
        ("assistant", "5"),
    ];
    assert_eq!(
        shown(&conversation(&turns)).as_deref(),
        Some(
            "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\nhello 2<|im_end|>\n\
             <|im_start|>user\n2+2 Hint 4<|im_end|>\n<|im_start|>assistant\n"
        )
    );
    assert_eq!(shown(&completion("2+2", "5")).as_deref(), Some("2+2 Hint 4"));
    assert_eq!(
        shown(&conversation(&[("assistant", "5")])),
        None,
        "there is no question"
    );
    assert_eq!(shown(&Row::new(Content::Text("2+2".to_owned()))), None);
}
