//! The report in a real browser, if one is installed.

use cadft_tests::command::run;
use cadft_tests::synthetic::{self, HOSTILE, Kind};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Names of Chromium on different systems.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn browser() -> Option<&'static str> {
    BROWSERS.into_iter().find(|name| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

/// The document after its scripts have run, and their console output.
fn opened(browser: &str, page: &Path, profile: &Path) -> (String, String) {
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let console: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        console.join("\n"),
    )
}

#[test]
fn the_report_draws_every_kind_of_run_without_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let browser = browser();
    if browser.is_none() {
        eprintln!("there is no Chromium: only the page itself is checked");
    }
    for kind in Kind::ALL {
        let made = synthetic::run(directory.path(), kind);
        let args = ["report", made.to_str().expect("UTF-8")];
        let _ = run(env!("CARGO_BIN_EXE_cadft-under-test"), Path::new("."), &args).succeeded();
        let page = made.join("report.html");
        let text = fs::read_to_string(&page).expect("a page");
        assert!(
            text.contains("id=\"data\"") && !text.contains(HOSTILE),
            "{kind:?}"
        );
        let Some(browser) = browser else { continue };
        let (document, console) = opened(browser, &page, &directory.path().join("profile"));
        assert_eq!(console, "", "{kind:?}");
        assert!(!document.contains("<title>broken"), "{kind:?}");
        let curves = document.matches("class=\"curve\"").count();
        match kind {
            // One chart with the evaluation before training, and no other curve.
            Kind::Empty => assert_eq!(curves, 1, "{document}"),
            _ => assert_eq!(curves, 11, "{kind:?}"),
        }
        if kind == Kind::Long {
            assert!(document.contains("class=\"band\"") && document.contains("<rect"));
        }
        if kind == Kind::Diverged {
            assert!(document.contains(">not finite</text>"));
        }
    }
}
