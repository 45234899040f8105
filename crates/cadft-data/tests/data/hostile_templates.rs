//! A template that would use all time or memory quickly ends with a clear error.

use std::time::Duration;

use cadft_data::{ChatTemplate, DataError, GenerationPrompt, with_hints};

use crate::fixture::messages;

/// The stack size of a worker thread; a template must not need more.
const STACK: usize = 2 << 20;

/// Far longer than any of them takes, and far shorter than an unlimited template would take.
const SOON: Duration = Duration::from_secs(30);

/// Renders on a separate thread with a worker's stack size.
fn render(source: String) -> Result<String, DataError> {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        ChatTemplate::new(&source, &[])?.render(&messages(&[("user", "q")]), &[], GenerationPrompt::Add)
    });
    thread.unwrap().join().unwrap()
}

/// A template that stores a value in a namespace and runs `body` sixty times.
fn grown(value: &str, body: &str) -> String {
    repeated(value, 60, body)
}

fn repeated(value: &str, times: usize, body: &str) -> String {
    format!(
        "{{% set a = namespace(x={value}) %}}{{% set b = namespace(x={value}) %}}\
         {{% for i in range({times}) %}}{body}{{% endfor %}}"
    )
}

fn assert_out_of_fuel(cases: &[(&str, String)]) {
    for (name, source) in cases {
        let started = std::time::Instant::now();
        let error = with_hints(&render(source.clone()).unwrap_err());
        let took = started.elapsed();
        assert!(
            error.contains("the chat template failed: engine ran out of fuel"),
            "{name}: {error}"
        );
        assert!(error.contains("(at line 1)"), "{name}: {error}");
        assert!(
            error.contains("\nhint: the template computes or writes more"),
            "{name}: {error}"
        );
        assert!(took < SOON, "{name}: {took:?}");
    }
}

#[test]
fn strings_that_grow_without_end_are_stopped() {
    let d = "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}";
    assert_out_of_fuel(&[
        ("~", grown("'x'", "{% set a.x = a.x ~ a.x %}")),
        ("+", grown("'x'", "{% set a.x = a.x + a.x %}")),
        (
            "set",
            grown(
                "'x'",
                "{% set t %}{{ a.x }}{{ a.x }}{% endset %}{% set a.x = t %}",
            ),
        ),
        ("macro", format!("{d}{}", grown("'x'", "{% set a.x = d(a.x) %}"))),
        ("*", "{{ 'x' * 1000000000 }}".to_owned()),
        (
            "replace",
            grown("'xx'", "{% set a.x = a.x | replace('x', 'xx') %}"),
        ),
        (
            ".replace",
            grown("'xx'", "{% set a.x = a.x.replace('x', 'xx') %}"),
        ),
        ("join", "{{ range(100000) | join('x' * 100000) }}".to_owned()),
        (
            ".join",
            "{{ ('x' * 100000).join(range(100000) | map('string')) }}".to_owned(),
        ),
        ("indent", "{{ 'a' | indent(1000000000, true) }}".to_owned()),
        ("format", "{{ '%999999999d' | format(1) }}".to_owned()),
        (
            "format again",
            "{{ ('%(a)s' * 10000) | format(a='x' * 1000000) }}".to_owned(),
        ),
        (".format", "{{ '{:999999999d}'.format(1) }}".to_owned()),
        (
            ".format again",
            "{{ ('{0}' * 10000).format('x' * 1000000) }}".to_owned(),
        ),
        (
            "tojson indent",
            "{{ range(9999) | list | tojson(indent=1000000) }}".to_owned(),
        ),
        ("%", "{{ '%999999999d' % 1 }}".to_owned()),
        (
            "% again",
            "{% set n = 10000 %}{{ ('%(a)s' * n) % {'a': 'x' * 1000000} }}".to_owned(),
        ),
        ("zfill", "{{ 'x'.zfill(1000000000) }}".to_owned()),
        ("ljust", "{{ 'x'.ljust(1000000000) }}".to_owned()),
        ("center", "{{ 'x' | center(1000000000) }}".to_owned()),
        (
            "expandtabs",
            "{{ ('\\t' * 100000).expandtabs(100000) }}".to_owned(),
        ),
        (
            "translate",
            "{{ ('x' * 100000).translate({120: 'y' * 100000}) }}".to_owned(),
        ),
        (
            "wordwrap",
            "{{ ('x ' * 100000) | wordwrap(1, wrapstring='y' * 100000) }}".to_owned(),
        ),
        ("rsplit", "{{ (',' * 40000000).rsplit(',') | length }}".to_owned()),
        (
            "indent text",
            "{{ ('\\n' * 100000) | indent('x' * 100000, blank=true) }}".to_owned(),
        ),
        (
            "tojson separators",
            "{% set s = 'x' * 1000000 %}{{ range(9999) | list | tojson(separators=(s, s)) }}".to_owned(),
        ),
        ("split", "{{ (',' * 40000000).split(',') | length }}".to_owned()),
        (
            "splitlines",
            "{{ ('\\n' * 40000000).splitlines() | length }}".to_owned(),
        ),
    ]);
}

#[test]
fn lists_that_grow_without_end_are_stopped() {
    let doubled = grown("[0]", "{% set a.x = a.x + a.x %}");
    let half = repeated("[0]", 30, "{% set a.x = a.x + a.x %}");
    let items = "{% set n = 100000000 %}{% set l = [0] * n %}";
    assert_out_of_fuel(&[
        ("+", doubled.clone()),
        ("in", format!("{half}{{{{ 1 in a.x }}}}")),
        ("length", format!("{half}{{{{ a.x | length }}}}")),
        ("slice", format!("{half}{{{{ a.x[100000000:] | first }}}}")),
        ("unpack", format!("{half}{{% set c, d = a.x %}}")),
        ("values", format!("{half}{{{{ {{'k': a.x}}.values() | list }}}}")),
        ("*", format!("{items}{{{{ l | first }}}}")),
        (
            "* tuple",
            "{% set n = 10000000 %}{% set l = (0,) * n %}".to_owned(),
        ),
        ("batch", "{{ [1] | batch(1000000000, 0) }}".to_owned()),
        ("slice", "{{ [1] | slice(1000000000, 0) }}".to_owned()),
        (
            "sum",
            repeated("[[0]]", 40, "{% set a.x = a.x + [a.x | sum(start=[]) + a.x] %}"),
        ),
        ("list", "{{ ('x' * 100000000) | list | length }}".to_owned()),
    ]);
}

#[test]
fn values_that_hold_themselves_twice_again_and_again_are_stopped() {
    let twice = |body: &str| {
        let body = format!(
            "{{% set a.x = {body} %}}{{% set b.x = {} %}}",
            body.replace("a.x", "b.x")
        );
        grown("[0]", &body)
    };
    let (lists, tuples) = (twice("[a.x, a.x]"), twice("(a.x, a.x)"));
    let dictionaries = twice("{'k': a.x, 'l': a.x}");
    let uses = [
        "{{ a.x == b.x }}",
        "{{ a.x < b.x }}",
        "{{ 1 < 2 == a.x != b.x }}",
        "{{ a.x in [b.x] }}",
        "{{ a.x in 'text' }}",
        "{{ a.x is eq(b.x) }}",
        "{{ [a.x] | select('eq', b.x) | list }}",
        "{{ a.x ~ '' }}",
        "{{ a.x }}",
        "{% set t %}{{ a.x }}{% endset %}",
        "{{ a.x | tojson }}",
        "{{ a.x | string }}",
        "{{ a.x | join }}",
        "{{ ''.join(a.x) }}",
        "{{ '%s' | format(a.x) }}",
        "{{ '{}'.format(a.x) }}",
        "{{ [a.x, b.x] | sort }}",
        "{{ [a.x, b.x] | unique }}",
        "{{ [a.x, b.x] | max }}",
        "{{ [a.x].count(b.x) }}",
        "{{ {}.get(a.x) }}",
        "{{ dict(k=a.x) }}",
        "{{ [a.x, a.x] | map('string') | list }}",
    ];
    // The value is already refused when it is stored, before any use.
    assert_out_of_fuel(&[
        ("list", lists.clone()),
        ("tuple", tuples),
        ("dictionary", dictionaries),
    ]);
    // Without a namespace, the value grows along a chain of variables.
    let chain: String = (0..40)
        .map(|i| format!("{{% set v{} = [v{i}, v{i}] %}}", i + 1))
        .collect();
    let same = chain.replace('v', "w");
    let made = format!("{{% set v0 = [0] %}}{chain}{{% set w0 = [0] %}}{same}");
    for used in uses {
        let source = format!("{made}{}", used.replace("a.x", "v40").replace("b.x", "w40"));
        assert_out_of_fuel(&[(used, source)]);
    }
}

#[test]
fn values_nested_without_end_are_stopped() {
    for body in [
        "[a.x]",
        "(a.x,)",
        "{'k': a.x}",
        "dict(k=a.x)",
        "namespace(x=a.x)",
        "a.x | batch(1) | list",
        "[a.x] | map('list') | list",
        "a",
        "[a]",
        "{'k': namespace(y=a)}",
        "loop",
        "cycler(a.x)",
        "{'k': {'l': a.x}.items}",
    ] {
        let source = repeated("[0]", 9999, &format!("{{% set a.x = {body} %}}"));
        assert_out_of_fuel(&[(body, source)]);
    }
    let changed = "{% for i in [1] %}{{ loop.changed([loop]) }}{% endfor %}";
    assert_out_of_fuel(&[("changed", changed.to_owned())]);
    let batches = "{% set x = [0] %}".to_owned() + &"{% set x = x | batch(1) | list %}".repeat(9999);
    assert_out_of_fuel(&[("batches", batches)]);
}

#[test]
fn work_that_costs_few_instructions_is_paid_for() {
    let long = "{% set n = 20000000 %}{% set s = 'x' * n %}{% set t = ('x' * (n - 1)) ~ 'x' %}";
    let often = |body: &str| {
        format!("{{% for i in range(9999) %}}{{% for j in range(9999) %}}{body}{{% endfor %}}{{% endfor %}}")
    };
    let map = "{% set k = namespace(d={}) %}{% for i in range(9999) %}{% set k.d = dict(k.d, **{i ~ '': 1}) %}{% endfor %}";
    assert_out_of_fuel(&[
        ("==", format!("{long}{}", often("{% set y = s == t %}"))),
        ("<", format!("{long}{}", often("{% set y = s < t %}"))),
        (
            "is",
            format!("{long}{}", often("{% set y = s is startingwith(t) %}")),
        ),
        ("strip", format!("{long}{}", often("{% set y = s.strip(t) %}"))),
        ("trim", format!("{long}{}", often("{% set y = s | trim(t) %}"))),
        (
            "index",
            format!("{long}{}", often("{% set y = {'a': 1, 'b': 2}[s] %}")),
        ),
        ("slice", format!("{long}{}", often("{% set y = s[-1:] %}"))),
        (
            "arguments",
            format!("{map}{}", often("{% set y = namespace(**k.d) %}")),
        ),
        ("round", often("{% set y = 1.5 | round(1000) %}")),
    ]);
}

#[test]
fn a_template_that_cannot_be_compiled_soon_is_refused() {
    let row = |operand: &str, operator: &str| format!("{{{{ {} }}}}", vec![operand; 20_000].join(operator));
    for (source, expected) in [
        (row("x", "~"), "a tag has more than 1000 tokens (line 1)"),
        (row("'x'", " + "), "a tag has more than 1000 tokens"),
        (row("x", "|"), "a tag has more than 1000 tokens"),
        (row("x", "."), "a tag has more than 1000 tokens"),
        (row("x", " if x else "), "a tag has more than 1000 tokens"),
        (row("", " not "), "a tag has more than 1000 tokens"),
        (
            format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(20_000)),
            "it has more than 500 `elif`",
        ),
        ("x".repeat((1 << 20) + 1), "it has more than 1048576 bytes"),
        (
            "{% generation %}{% endgeneration %}".repeat(1 << 16),
            "it has more than 1048576 bytes",
        ),
        (
            "\n{{ [0] * 100000000 }}".to_owned(),
            "it multiplies a list and a number that are written out (line 2)",
        ),
        ("{{ 100000000 * [0] ~ '' }}".to_owned(), "it multiplies a list"),
        (
            "{{ ([0] + [1]) * 100000000 == 1 }}".to_owned(),
            "it multiplies a list",
        ),
        (
            "{{ (((0, 1) * 30, 1) * 30, 1) ~ '' }}".to_owned(),
            "it multiplies a list",
        ),
        ("{{ 9 * (0, 1) }}".to_owned(), "it multiplies a list"),
        ("{{ {'k': [0] * 100000000} }}".to_owned(), "it multiplies a list"),
        (
            "{{ 'x' ~ 1e16 }}".to_owned(),
            "it joins text and a very large or small number",
        ),
    ] {
        let error = with_hints(&render(source).unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("hint: it is read from"), "{error}");
    }
}

#[test]
fn what_is_checked_computes_what_python_does() {
    for (source, expected) in [
        (
            "{% set n = 3 %}{{ ([0, 1] * n) | length }}{{ n * [7] }}",
            "6[7, 7, 7]",
        ),
        (
            "{{ [1] + [2, 3] }}{{ ([1] + [2])[1] }}{{ (1,) + (2,) }}",
            "[1, 2, 3]2(1, 2)",
        ),
        (
            "{% set l = [0, 1, 2, 3] %}{{ l[1:] }}{{ l[:-1] }}{{ l[::-1] }}{{ l[::2] }}",
            "[1, 2, 3][0, 1, 2][3, 2, 1, 0][0, 2]",
        ),
        (
            "{% set l = [0, 1, 2, 3] %}{{ l[-2:] }}{{ l[3:1:-1] }}{{ l[9:] }}{{ l[-9:1] }}",
            "[2, 3][3, 2][][0]",
        ),
        (
            "{{ 'héllo'[1:3] }}{{ 'abc'[::-1] }}{{ 'abc'[5:] }}{{ (1, 2, 3)[1:] }}",
            "élcba(2, 3)",
        ),
        ("{{ x[1:] }}{{ none[1:] }}", "[][]"),
        (
            "{% set d = {'a': 1} %}{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}{{ d.keys() | list }}",
            "a1['a']",
        ),
        (
            "{% set v = 2 %}{{ 1 < v < 3 }}{{ 1 < v > 3 }}{{ [v] == [2] }}",
            "TrueFalseTrue",
        ),
        (
            "{{ [3, 1, 2] | sort | join(',') }}{{ [1, 1] | unique | list }}{{ ['a'] | map('upper') | list }}",
            "1,2,3[1]['A']",
        ),
        (
            "{{ [{'r': 'a'}, {'r': 'b'}] | selectattr('r', 'equalto', 'a') | list | length }}",
            "1",
        ),
        (
            "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('x', 'y') }}{% endfor %}",
            "TruexFalseyTruex",
        ),
        (
            "{% set a = namespace(x=[]) %}{% for i in range(3) %}{% set a.x = a.x + [i] %}{% endfor %}{{ a.x }}",
            "[0, 1, 2]",
        ),
        (
            "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
            "3210",
        ),
        (
            "{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
            "123",
        ),
        (
            "{% block b %}{{ ('a' in 'abc') ~ 1 }}{% endblock %}{{ 'x' if false }}",
            "True1",
        ),
        (
            "{{ '{} {:>3}'.format(1, 'b') }}{{ '%s-%02d' | format('a', 7) }}",
            "1   ba-07",
        ),
    ] {
        assert_eq!(render(source.to_owned()).unwrap(), expected, "{source}");
    }
}
