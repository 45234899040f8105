//! The limits of spans: marked places, texts that templates move, and tokens that overlap a seam.

use super::*;

pub(super) fn marked_chatml() -> Tokenizer {
    let template = cadft_data::Preset::ChatMl
        .source()
        .replace("message['content'] +", "(message['content'] or '') +");
    Fixture::new("<|im_end|>", &template).build()
}

/// Like Mistral: the system text and the tools are moved to the last question.
const MOVES: &str = "{% set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}\
    {% set questions = messages | selectattr('role', 'equalto', 'user') | list %}\
    {% for m in messages %}{% if m.role == 'user' %}\
    {% if tools and m == questions[-1] %}{{ '[TOOLS]' + tools | tojson + '[/TOOLS]' }}{% endif %}\
    {{ '[INST] ' + (system if m == questions[-1] else '') + m.content + '[/INST]' }}\
    {% elif m.tool_calls %}{% for call in m.tool_calls %}{{ '[CALLS]' + call.function | tojson + call.id }}{% endfor %}</s>\
    {% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}\
    {% elif m.role == 'tool' %}{{ '[RESULT]' + m.content + m.tool_call_id + '[/RESULT]' }}{% endif %}{% endfor %}";

#[test]
fn turns_are_found_where_tools_and_system_move_to_the_last_question() {
    let tokenizer = Fixture::new("</s>", MOVES).build();
    let (row, ..) = conversation("system user calls tool assistant user assistant user calls tool assistant");
    let text = crate::fixture::trained(&row, &tokenizer, Mask::Assistant);
    let call = |turn: usize| {
        format!(
            "[[CALLS]{{\"name\": \"look\", \"arguments\": {{\"city\": \"wargument{turn}x\", \"days\": 2}}}}call00001</s>]"
        )
    };
    let result = |turn: usize| format!("[RESULT]wtool{turn}xcall00001[/RESULT]");
    let starts = format!(
        "[INST] wuser1x[/INST]{}{}[ wassistant4x</s>][INST] wuser5x[/INST][ wassistant6x</s>][TOOLS]",
        call(2),
        result(3)
    );
    assert!(text.starts_with(&starts), "{text}");
    let ends = format!(
        "[/TOOLS][INST] wsystem0x\n\nwuser7x[/INST]{}{}[ wassistant10x</s>]",
        call(8),
        result(9)
    );
    assert!(text.ends_with(&ends), "{text}");
}

#[test]
fn of_several_marked_places_in_a_turn_only_the_last_must_end_with_a_stop() {
    let template = "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}\
        {% generation %}{{ m.reasoning_content }}{% endgeneration %}</think>{% generation %}{{ m.content + '</s>' }}\
        {% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let tokenizer = Fixture::new("</s>", template).build();
    let (row, ..) = conversation("user thinks user thinks");
    let turn = |n: usize| format!("<|assistant|>[wreasoning{n}x]</think>[wanswer{n}x</s>]");
    assert_eq!(
        crate::fixture::trained(&row, &tokenizer, Mask::Assistant),
        format!("<|user|>wuser0x{}<|user|>wuser2x{}", turn(1), turn(3))
    );
    // The place of each turn is known as well.
    assert_eq!(
        crate::fixture::trained(&row, &tokenizer, Mask::LastTurn),
        format!(
            "<|user|>wuser0x<|assistant|>wreasoning1x</think>wanswer1x</s><|user|>wuser2x{}",
            turn(3)
        )
    );
    let without = template.replace("m.content + '</s>'", "m.content").replace(
        "{% endgeneration %}{% else %}",
        "{% endgeneration %}</s>{% else %}",
    );
    let error = error(&row, &without, Mask::Assistant);
    assert!(
        error.contains("(`wanswer1x`…) does not end with a stop token"),
        "{error}"
    );
}

#[test]
fn marks_around_another_message_are_refused() {
    let (row, ..) = conversation("user assistant user assistant");
    let error = error(&row, TRAPS[5].1, Mask::Assistant);
    assert!(
        error.contains("holds text of `messages[0]`, a turn of `user`"),
        "{error}"
    );
}

#[test]
fn a_token_that_takes_in_whitespace_beside_it_is_context() {
    let mut files = Fixture::new(
        "</s>",
        "{% for m in messages %}{{ '<|im_start|>' + m.content }}{% if m.role == 'assistant' %}</s>\
        {% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
    )
    .files();
    let mut json: Value = serde_json::from_slice(&files.tokenizer).unwrap();
    for token in json["added_tokens"].as_array_mut().unwrap() {
        token["rstrip"] = json!(token["content"] == "<|im_start|>");
    }
    files.tokenizer = json.to_string().into_bytes();
    let tokenizer = Tokenizer::from_bytes(&files).unwrap();
    let conversation = crate::fixture::conversation(&[("user", "q"), ("assistant", "\nyes")]);
    let completion = crate::fixture::completion("q<|im_start|>", "\nyes");
    for row in [conversation, completion] {
        let example = crate::fixture::example(&row, &tokenizer, Mask::Assistant);
        let ids = example.token_ids.iter().zip(&example.loss_mask);
        let trained: Vec<u32> = ids.filter(|(_, trained)| **trained).map(|(id, _)| *id).collect();
        assert_eq!(
            tokenizer.decode(&trained, SpecialTokens::Keep).unwrap(),
            "yes</s>"
        );
    }
}

#[test]
fn the_text_that_is_trained_is_the_rendered_one() {
    let (row, ..) = conversation("system user assistant user calls tool assistant");
    let tokenizer = Fixture::new("</s>", MOVES).build();
    let Content::Messages { messages, tools, .. } = &row.content else {
        panic!("a conversation")
    };
    let rendered = tokenizer
        .chat_template()
        .unwrap()
        .render(messages, tools, GenerationPrompt::Omit)
        .unwrap();
    let example = crate::fixture::example(&row, &tokenizer, Mask::Assistant);
    assert_eq!(
        tokenizer.decode(&example.token_ids, SpecialTokens::Keep).unwrap(),
        rendered
    );
}
