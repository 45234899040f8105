//! Lines that are typed into `cadft chat`.

use crate::CADFT;
use cadft_tests::Workspace;
use cadft_tests::command::run_after;
use cadft_tests::terminal::{Terminal, run_on};

const CHAT: [&str; 6] = ["chat", "--model", "model", "--greedy", "--max-new-tokens", "1"];

/// The prompt before anything is typed.
const EMPTY: &str = "> \r\u{1b}[2C";

/// What a terminal of 60 columns shows when this is typed, and how the program ends.
fn typed(keys: &[(&str, &str)]) -> (Option<i32>, String) {
    let workspace = Workspace::new();
    let terminal = Terminal {
        columns: 60,
        typed: keys,
        ..Terminal::default()
    };
    run_on(terminal, CADFT, workspace.root(), &CHAT)
}

/// How often a line was drawn to its end and sent.
fn sent(screen: &str, line: &str) -> usize {
    screen.matches(&format!("> {line}\r")).count()
}

#[test]
fn a_line_is_edited_with_arrows_and_comes_back_from_the_history() {
    let (code, screen) = typed(&[
        // "helo", one to the left, and the missing letter.
        (EMPTY, "helo\u{1b}[Dl\r"),
        // The line before, with more at its end.
        (EMPTY, "\u{1b}[A you\r"),
        // Up twice, and down again: the newest.
        (EMPTY, "\u{1b}[A\u{1b}[A\u{1b}[B\u{1}\u{b}/exit\r"),
    ]);
    assert_eq!(code, Some(0), "{screen:?}");
    for line in ["hello", "hello you", "/exit"] {
        assert!(sent(&screen, line) > 0, "`{line}` was not typed: {screen:?}");
    }
    assert!(
        !screen.contains("^["),
        "no key is shown as it is sent: {screen:?}"
    );
}

#[test]
fn control_d_ends_the_talk_and_control_c_the_program() {
    let (code, screen) = typed(&[(EMPTY, "\u{4}")]);
    assert_eq!(code, Some(0), "{screen:?}");
    let (code, screen) = typed(&[(EMPTY, "half\u{3}")]);
    assert_eq!(code, Some(130), "{screen:?}");
}

#[test]
fn the_help_names_what_can_be_typed() {
    // The terminal gives keys as they are only while a line is asked for.
    let (_, screen) = typed(&[(EMPTY, "/help\r"), ("`/reset`", ""), (EMPTY, "\u{4}")]);
    assert!(
        screen.matches("`/exit`").count() >= 2,
        "at the start, and when asked: {screen:?}"
    );
}

#[test]
fn where_nobody_types_lines_are_read_as_they_are() {
    let workspace = Workspace::new();
    workspace.write("lines.txt", "hello\n/exit\n");
    let ran = run_after("< lines.txt", CADFT, workspace.root(), &CHAT).succeeded();
    assert!(
        !ran.stderr.contains("> ") && !ran.stderr.contains('\u{1b}'),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
}
