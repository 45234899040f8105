//! What people see on a narrow terminal and a wide one, with colours, without, and where there is no terminal.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::terminal::{Terminal, run_on};

const ESCAPE: char = '\u{1b}';

/// What is shown.
struct Case {
    words: &'static str,
    code: i32,
    /// Parts that are there on every terminal, unbroken.
    parts: &'static [&'static str],
    /// Whether it has colours where they are wanted.
    is_coloured: bool,
    /// Whether every line fits, however narrow the terminal is.
    fits: bool,
}

const CASES: [Case; 9] = [
    Case {
        words: "train recipe.toml --dry-run",
        code: 0,
        parts: &["evaluation samples", "messages.jsonl", "warning", "hint"],
        is_coloured: true,
        fits: false,
    },
    Case {
        words: "train recipe.nll.toml --set schedule.steps=3 --out OUT",
        code: 0,
        parts: &[
            "nll",
            "token accuracy",
            "3 steps",
            "next   cadft chat --model OUT",
        ],
        is_coloured: true,
        fits: false,
    },
    Case {
        words: "data stats --model model --data messages.jsonl eval.jsonl",
        code: 0,
        parts: &["duplicates", "messages.jsonl", "eval.jsonl", "longest"],
        is_coloured: false,
        fits: false,
    },
    Case {
        words: "data inspect --model model --data eval.jsonl --limit 1",
        code: 0,
        parts: &["eval-00"],
        is_coloured: true,
        fits: false,
    },
    Case {
        words: "evaluate --model model --data eval.jsonl",
        code: 0,
        parts: &["perplexity", "token accuracy"],
        is_coloured: false,
        fits: true,
    },
    Case {
        words: "recipe diff recipe.toml recipe.nll.toml",
        code: 0,
        parts: &["objective"],
        is_coloured: false,
        fits: false,
    },
    Case {
        words: "model inspect model",
        code: 0,
        parts: &["positions", "operations a token"],
        is_coloured: false,
        fits: true,
    },
    Case {
        words: "train recipe.toml --set batch.global=0",
        code: 2,
        parts: &["error", "must be at least 1", "hint"],
        is_coloured: true,
        fits: false,
    },
    Case {
        words: "generate --help",
        code: 0,
        parts: &["--max-new-tokens", "Longest answer"],
        is_coloured: true,
        fits: false,
    },
];

/// The text without the sequences that move the cursor and colour.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == ESCAPE {
            let _ = characters.find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Whether a text has a sequence that colours.
fn is_coloured(text: &str) -> bool {
    let sequences = text.split("\u{1b}[").skip(1);
    let mut ends = sequences.filter_map(|rest| rest.chars().find(char::is_ascii_alphabetic));
    ends.any(|end| end == 'm')
}

/// A line as it is on the screen in the end: what comes after a return is written over it.
fn last_of(line: &str) -> &str {
    line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line)
}

#[track_caller]
fn assert_shows(case: &Case, text: &str, columns: u16, what: &str) {
    let plain = plain(text);
    let what = format!("{} on {what}:\n{plain}", case.words);
    // The words of a part may be in two lines, but no word is.
    let joined = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in case.parts {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains(&part), "`{part}` is not in {what}");
    }
    // A command stays one line, so that it can be copied.
    let lines = plain
        .lines()
        .map(last_of)
        .filter(|line| !line.starts_with("next "));
    let widest = lines.map(|line| line.chars().count()).max();
    assert!(
        !case.fits || widest <= Some(usize::from(columns)),
        "{widest:?} columns: {what}"
    );
}

/// The words of a case, with a directory of its own for what it writes.
fn words_of(case: &Case, number: usize) -> Vec<String> {
    let out = format!("out{number}");
    case.words
        .split(' ')
        .map(|word| word.replace("OUT", &out))
        .collect()
}

/// Every terminal: its columns, and variables of the environment.
const TERMINALS: [(u16, &[(&str, &str)]); 4] = [
    (40, &[]),
    (40, &[("NO_COLOR", "1")]),
    (120, &[]),
    (120, &[("NO_COLOR", "1")]),
];

#[test]
fn every_width_is_read_with_colours_and_without() {
    let workspace = Workspace::new();
    for case in &CASES {
        for (number, (columns, variables)) in TERMINALS.into_iter().enumerate() {
            let args = words_of(case, number);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let terminal = Terminal {
                columns,
                variables,
                typed: &[],
            };
            let (code, text) = run_on(terminal, CADFT, workspace.root(), &args);
            let what = format!("{columns} columns {variables:?}");
            assert_eq!(code, Some(case.code), "{what}: {text}");
            let text = text.replace(&format!("out{number}"), "OUT");
            assert_shows(case, &text, columns, &what);
            let wants = case.is_coloured && variables.is_empty();
            assert_eq!(is_coloured(&text), wants, "{} on {what}: {text:?}", case.words);
        }
        let number = TERMINALS.len();
        let args = words_of(case, number);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = cadft_tests::command::run_with(CADFT, workspace.root(), &args, &[]);
        let text = (ran.stdout + &ran.stderr).replace(&format!("out{number}"), "OUT");
        assert_shows(case, &text, 120, "no terminal");
        assert!(!text.contains([ESCAPE, '\r']), "{}: {text:?}", case.words);
    }
}

#[test]
fn a_table_that_does_not_fit_goes_row_by_row_and_no_number_is_broken() {
    let workspace = Workspace::new();
    let args = [
        "data",
        "stats",
        "--model",
        "model",
        "--data",
        "messages.jsonl",
        "eval.jsonl",
    ];
    let on = |columns| {
        let terminal = Terminal {
            columns,
            variables: &[("NO_COLOR", "1")],
            typed: &[],
        };
        plain(&run_on(terminal, CADFT, workspace.root(), &args).1)
    };
    let [narrow, wide] = [on(40), on(160)];
    let header = wide.lines().next().unwrap_or_default();
    assert!(header.contains("source") && header.contains("longest"), "{wide}");
    let rows: Vec<&str> = narrow.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(rows.len(), 13, "one line a column: {narrow}");
    assert!(
        rows[0].starts_with("source") && rows[0].trim_end().ends_with("messages.jsonl"),
        "{narrow}"
    );
}

#[test]
fn the_time_left_is_told_from_the_second_step_on() {
    let workspace = Workspace::new();
    let args = [
        "train",
        "recipe.nll.toml",
        "--set",
        "schedule.steps=4",
        "--out",
        "run",
    ];
    let (code, screen) = run_on(Terminal::default(), CADFT, workspace.root(), &args);
    assert_eq!(code, Some(0), "{screen}");
    let screen = plain(&screen);
    let drawn = |bar: &str| -> Vec<&str> {
        screen
            .split(['\r', '\n'])
            .filter(|line| line.contains(bar))
            .collect()
    };
    assert!(
        !drawn(" 1/4 ").is_empty() && !drawn(" 4/4 ").is_empty(),
        "{screen}"
    );
    assert!(
        drawn(" 1/4 ").iter().all(|line| !line.contains("left")),
        "{screen}"
    );
    assert!(
        drawn(" 4/4 ").iter().any(|line| line.contains("left")),
        "{screen}"
    );
}
