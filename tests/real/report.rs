//! The report in a real browser, if one is installed.

use cadft_tests::command::run;
use cadft_tests::synthetic::{self, HOSTILE, Kind};
use serde_json::Value;
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

/// Looks at a page in a frame of some width: how far it is wider than the frame, how many numbers of tables are broken into
/// lines (a digest in a path is none), and the colour of its background. Put in place of `PAGE` and `WIDTH`.
const FRAME: &str = r#"<!doctype html><body><iframe id="frame" src="PAGE" style="border:0;width:WIDTHpx;height:2000px"></iframe>
<p id="found"></p><script>
document.getElementById("frame").addEventListener("load", () => {
  const page = document.getElementById("frame").contentDocument;
  for (const details of page.querySelectorAll("details")) details.open = true;
  const root = page.documentElement;
  let broken = 0;
  for (const cell of page.querySelectorAll("td")) {
    const text = cell.firstChild;
    if (!text || text.nodeType !== 3 || text.data.includes("/")) continue;
    for (const number of text.data.matchAll(/[0-9][0-9.,e+-]*/g)) {
      const range = page.createRange();
      range.setStart(text, number.index);
      range.setEnd(text, number.index + number[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken += 1;
    }
  }
  const colour = getComputedStyle(page.body).backgroundColor;
  document.getElementById("found").textContent =
    JSON.stringify({ over: root.scrollWidth - root.clientWidth, broken, cells: page.querySelectorAll("td").length, colour });
});
</script>"#;

/// The document after its scripts have run, and their console output.
fn opened(browser: &str, page: &Path, profile: &Path, more: &[&str]) -> (String, String) {
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
        .args(more)
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
        let (document, console) = opened(browser, &page, &directory.path().join("profile"), &[]);
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

#[test]
fn the_report_fits_a_phone_and_a_desk_in_light_and_dark_and_breaks_no_number() {
    let Some(browser) = browser() else {
        eprintln!("there is no Chromium: nothing is looked at");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let made = synthetic::run(directory.path(), Kind::Long);
    let second = directory.path().join("second");
    fs::create_dir(&second).expect("a directory");
    let second = synthetic::run(&second, Kind::Long);
    let page = directory.path().join("page.html");
    let args = [made.as_path(), &second, Path::new("--out"), &page].map(|path| path.to_str().expect("UTF-8"));
    let binary = env!("CARGO_BIN_EXE_cadft-under-test");
    let _ = run(binary, Path::new("."), &[&["report"][..], &args].concat()).succeeded();
    let mut colours = vec![];
    for width in ["390", "1440"] {
        let frame = directory.path().join("frame.html");
        let text = FRAME.replace("PAGE", "page.html").replace("WIDTH", width);
        fs::write(&frame, text).expect("a page");
        for scheme in ["0", "1"] {
            let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
            let more = [
                &*scheme,
                "--allow-file-access-from-files",
                "--window-size=1600,2200",
            ];
            let (document, _) = opened(browser, &frame, &directory.path().join("profile"), &more);
            let found = document
                .split_once("<p id=\"found\">")
                .and_then(|(_, rest)| rest.split_once("</p>"))
                .map(|(found, _)| found.to_owned())
                .expect("the frame was looked at");
            let found: Value =
                serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"));
            assert_eq!(
                (&found["over"], &found["broken"]),
                (&0.into(), &0.into()),
                "{width} {scheme}: {found}"
            );
            assert!(found["cells"].as_u64() > Some(20), "{found}");
            colours.push(found["colour"].to_string());
        }
    }
    assert!(colours[0] != colours[1], "dark and light are two: {colours:?}");
    assert_eq!(colours[..2], colours[2..]);
}
