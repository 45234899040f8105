//! Templates that render a turn differently if others follow it.

use cadft_data::{Mask, Message, with_hints};

use crate::fixture::{Fixture, conversation, dataset, trained};

/// Like Qwen 3: reasoning is kept only in turns after the last question, and the last turn always has some.
const QWEN3: &str = "{% set ns = namespace(last=0) %}\
    {% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
    {% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% set content = m.content %}\
    {% if m.role == 'assistant' %}{% set thought = '' %}\
    {% if '</think>' in content %}\
    {% set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}\
    {% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}\
    {% if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}\
    {% endif %}{{ content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Like Mistral: the system prompt is moved to the last question.
const MISTRAL: &str = "{{ '<|begin_of_text|>' }}{% set system = '' %}\
    {% if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}{% endif %}\
    {% for m in messages %}{% if m.role == 'user' %}\
    {{ '[INST] ' + (system if not messages[loop.index0 + 1:] | selectattr('role', 'equalto', 'user') | list else '') + m.content + '[/INST]' }}\
    {% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}";

const THOUGHT: [(&str, &str); 4] = [
    ("user", "one"),
    ("assistant", "<think>\nhm\n</think>\n\nfirst"),
    ("user", "two"),
    ("assistant", "<think>\nhm\n</think>\n\nsecond"),
];

#[test]
fn qwen3_trains_each_turn_as_the_whole_conversation_shows_it() {
    let tokenizer = Fixture::new("<|im_end|>", QWEN3).build();
    assert_eq!(
        trained(&conversation(&THOUGHT), &tokenizer, Mask::Assistant),
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n[first<|im_end|>]\n\
         <|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n[<think>\nhm\n</think>\n\nsecond<|im_end|>]\n"
    );
}

#[test]
fn a_turn_is_found_behind_turns_that_a_later_question_rewrote() {
    // The first two answers belong to one question. So the prefix before the second answer still shows the reasoning of
    // the first, but the whole conversation does not.
    let tokenizer = Fixture::new("<|im_end|>", QWEN3).build();
    let row = conversation(&[
        THOUGHT[0],
        THOUGHT[1],
        ("tool", "result"),
        ("assistant", "middle"),
        THOUGHT[2],
        THOUGHT[3],
    ]);
    assert_eq!(
        trained(&row, &tokenizer, Mask::Assistant),
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n[first<|im_end|>]\n<|im_start|>tool\nresult<|im_end|>\n\
         <|im_start|>assistant\n[middle<|im_end|>]\n\
         <|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n[<think>\nhm\n</think>\n\nsecond<|im_end|>]\n"
    );
}

#[test]
fn qwen3_trains_the_empty_reasoning_it_puts_into_the_last_turn() {
    let tokenizer = Fixture::new("<|im_end|>", QWEN3).build();
    let text = trained(
        &conversation(&[("user", "q"), ("assistant", "a")]),
        &tokenizer,
        Mask::Assistant,
    );
    assert!(
        text.ends_with("<|im_start|>assistant\n[<think>\n\n</think>\n\na<|im_end|>]\n"),
        "{text}"
    );
}

#[test]
fn mistral_moves_the_system_prompt_and_every_turn_is_found() {
    let tokenizer = Fixture::new("</s>", MISTRAL).build();
    let row = conversation(&[
        ("system", "Sum."),
        ("user", "1+1"),
        ("assistant", "2"),
        ("user", "2+2"),
        ("assistant", "4"),
    ]);
    assert_eq!(
        trained(&row, &tokenizer, Mask::Assistant),
        "<|begin_of_text|>[INST] 1+1[/INST][ 2</s>][INST] Sum.\n\n2+2[/INST][ 4</s>]"
    );
}

#[test]
fn a_conversation_may_start_with_an_answer() {
    let tokenizer = Fixture::chatml().build();
    let text = trained(
        &conversation(&[("assistant", "hi"), ("user", "q"), ("assistant", "a")]),
        &tokenizer,
        Mask::Assistant,
    );
    assert_eq!(
        text,
        "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>assistant\n[hi<|im_end|>]\n\
         <|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n"
    );
}

#[test]
fn a_template_that_opens_turns_unlike_its_generation_prompt_is_refused() {
    // Like DeepSeek R1: the generation prompt opens the reasoning, but a rendered turn has none.
    let template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '</s>' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}";
    let row = conversation(&[("user", "q"), ("assistant", "a")]);
    let error =
        with_hints(&dataset(&row, &Fixture::new("</s>", template).build(), Mask::Assistant).unwrap_err());
    assert!(
        error.contains("`messages[1]`: the assistant turn cannot be found"),
        "{error}"
    );
    assert!(
        error.contains("hint: the chat template opens it differently"),
        "{error}"
    );
}

#[test]
fn a_template_that_shows_the_middle_of_a_text_trains_it() {
    for (begin, end) in [("", ""), ("{% generation %}", "{% endgeneration %}")] {
        let shown = format!("{begin}{{{{ m.content.split('<a>')[1].split('</a>')[0] + '</s>' }}}}{end}");
        let template = format!(
            "{{% for m in messages %}}{{{{ '<|' + m.role + '|>' }}}}{{% if m.role == 'assistant' %}}{shown}\
             {{% else %}}{{{{ m.content }}}}{{% endif %}}{{% endfor %}}\
             {{% if add_generation_prompt %}}<|assistant|>{{% endif %}}"
        );
        let row = conversation(&[
            ("user", "q"),
            ("assistant", "x<a>one</a>y"),
            ("user", "r"),
            ("assistant", "x<a>two</a>y"),
        ]);
        assert_eq!(
            trained(&row, &Fixture::new("</s>", &template).build(), Mask::Assistant),
            "<|user|>q<|assistant|>[one</s>]<|user|>r<|assistant|>[two</s>]"
        );
    }
}

#[test]
fn with_another_text_a_message_keeps_its_other_fields() {
    let fields = serde_json::json!({"role": "assistant", "content": "a", "name": "n"});
    let message = Message::from_fields(fields.as_object().unwrap().clone()).with_content("b");
    assert_eq!(
        (
            message.content(),
            message.field("name").and_then(|name| name.as_str())
        ),
        ("b", Some("n"))
    );
}
