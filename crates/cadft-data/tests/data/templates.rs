//! The behaviour of Hugging Face's templates.

use cadft_data::{ChatTemplate, DataError, GenerationPrompt, with_hints};

use crate::fixture::messages;

fn render(source: &str) -> Result<String, DataError> {
    let template = ChatTemplate::new(source, &[("bos_token", "<s>".to_owned())])?;
    template.render(
        &messages(&[("user", " Hi "), ("assistant", "Yo")]),
        &[],
        GenerationPrompt::Add,
    )
}

#[test]
fn templates_render_as_in_python() {
    for (source, expected) in [
        ("{{ bos_token }}{{ messages[0].content.strip() }}", "<s>Hi"),
        ("{{ messages[1]['content'].startswith('Y') }}", "True"),
        (
            "{{ 'a,b'.split(',')[1] }}{{ 'AB'.lower() }}{{ {'k': 1}.items() | list | length }}",
            "bab1",
        ),
        ("{% if add_generation_prompt %}\n  yes\n{% endif %}\n", "  yes\n"),
        ("a\n    {% if true %}\nb\n    {% endif %}\nc\n", "a\nb\nc"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        (
            "{{ tools is none }}{{ tools is defined }}{{ custom is defined }}",
            "TrueTrueFalse",
        ),
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": " Hi "}"#,
        ),
        ("{{ '<&é>' | tojson }}", r#""<&é>""#),
        ("{{ none }}{{ undefined_variable }}", "None"),
        (
            "{{ messages | map(attribute='role') | join(' ') }}{{ messages[-1].role }}{{ messages[1:] | length }}",
            "user assistantassistant1",
        ),
        (
            "{%- generation -%} x {%- endgeneration -%}{% generation %}y{% endgeneration %}",
            "xy",
        ),
        ("{%generation%}\nz\n{%endgeneration%}\n", "z\n"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}", "<1>"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn the_date_has_the_form_asked_for() {
    let date = render("{{ strftime_now('%d %b %Y') }}").unwrap();
    let parts: Vec<_> = date.split(' ').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 3, 4],
        "{date}"
    );
}

#[test]
fn a_template_can_reject_a_conversation_with_its_own_words() {
    let error = with_hints(&render("{{ raise_exception('roles must alternate') }}").unwrap_err());
    assert!(error.contains("roles must alternate"), "{error}");
    assert!(error.contains("\nhint: "), "{error}");
}

#[test]
fn a_template_that_would_run_for_ever_is_stopped() {
    let rows = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}";
    let error = with_hints(&render(rows).unwrap_err());
    assert!(error.contains("out of fuel"), "{error}");
    let recursion = "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}";
    assert!(render(recursion).is_err());
}

#[test]
fn a_template_that_would_write_without_end_is_stopped() {
    for source in [
        "{% set ns = namespace(t='x') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
        "{% set ns = namespace(t='x') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{{ 'x' * 100000000000 }}",
        "{{ range(100000000000) | list }}",
        "{% macro f(n) %}{% for i in range(9) %}{{ f(n) }}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% for i in range(100000) %}{{ 'xxxxxxxxxx' | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyy') | replace('y', \
         'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz') }}{% endfor %}",
    ] {
        let error = with_hints(&render(source).unwrap_err());
        assert!(error.contains("the chat template failed"), "{source}: {error}");
        assert!(error.contains("\nhint: "), "{source}: {error}");
    }
}

#[test]
fn a_template_reads_no_files() {
    for source in [
        "{% include '/etc/hostname' %}",
        "{% extends '/etc/hostname' %}",
        "{% import '/etc/hostname' as x %}{{ x }}",
        "{{ open('/etc/hostname') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ] {
        let error = ChatTemplate::new(source, &[])
            .and_then(|template| template.render(&messages(&[("user", "q")]), &[], GenerationPrompt::Omit));
        if let Ok(text) = &error {
            assert!(text.is_empty(), "{source}: {text}");
        }
    }
    let included = with_hints(&render("{% include '/etc/hostname' %}").unwrap_err());
    assert!(
        included.contains("hint: a chat template reads no other files"),
        "{included}"
    );
}

#[test]
fn variables_are_defined_for_the_template() {
    let template = ChatTemplate::new("{{ enable_thinking is defined }}{{ enable_thinking }}", &[]).unwrap();
    let mut variables = serde_json::Map::new();
    variables.insert("enable_thinking".to_owned(), false.into());
    let text =
        template
            .with_variables(&variables)
            .render(&messages(&[("user", "q")]), &[], GenerationPrompt::Omit);
    assert_eq!(text.unwrap(), "TrueFalse");
}

#[test]
fn a_long_conversation_has_fuel_to_spare() {
    let source = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}";
    let template = ChatTemplate::new(source, &[]).unwrap();
    let content = "word ".repeat(1000);
    let messages = messages(&vec![("user", content.as_str()); 1000]);
    let text = template.render(&messages, &[], GenerationPrompt::Omit).unwrap();
    assert_eq!(text.len(), 1000 * (4 + content.len()));
}

#[test]
fn a_template_that_does_not_parse_says_where_it_is_read_from() {
    for source in [
        "{% for %}",
        "{{ unclosed",
        "{% generation %}",
        "{%",
        "{% endgeneration %}",
        "{%é%}",
    ] {
        let error = with_hints(&ChatTemplate::new(source, &[]).unwrap_err());
        assert!(
            error.contains("cannot be parsed") && error.contains("hint: it is read from"),
            "{source}: {error}"
        );
    }
}
