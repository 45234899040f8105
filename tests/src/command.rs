//! Runs the command under test.

use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The output of a command, and its exit code.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; `None` if a signal ended the command.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The cache directory of the commands under test: shared by all of them, and not the user's.
pub(crate) fn cache() -> PathBuf {
    std::env::temp_dir().join("cadft-tests-cache")
}

/// Runs `binary` with `args` in `directory`.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run(binary: &str, directory: &Path, args: &[&str]) -> Outcome {
    run_with(binary, directory, args, &[])
}

/// As [`run`], with these environment variables.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run_with(binary: &str, directory: &Path, args: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(binary)
        .args(args)
        .current_dir(directory)
        .env("NO_COLOR", "1")
        .env("CADFT_CACHE", cache())
        .envs(variables.iter().copied())
        .output()
        .expect("the command starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        code: status.code(),
        stdout: text(&stdout),
        stderr: text(&stderr),
    }
}

/// The resources that a command used.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time of all threads together: independent of other programs on the machine.
    pub elapsed: Duration,
    /// The largest resident memory in MiB; 0 if the system does not report it.
    pub peak_mib: u64,
}

/// As [`run`], and measures resources. The command is killed, without an exit code, if it uses more than `most` of CPU
/// time, or ten times that of wall-clock time.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run_measured(binary: &str, directory: &Path, args: &[&str], most: Duration) -> (Outcome, Cost) {
    let outputs = tempfile::tempdir().expect("a temporary directory");
    let output = |name: &str| Stdio::from(File::create(outputs.path().join(name)).expect("a file"));
    let start = Instant::now();
    let mut child = Command::new(binary)
        .args(args)
        .current_dir(directory)
        .env("NO_COLOR", "1")
        .env("CADFT_CACHE", cache())
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .spawn()
        .expect("the command starts");
    let (mut peak_mib, mut elapsed) = (0, Duration::ZERO);
    let status = loop {
        peak_mib = peak_mib.max(peak_mib_of(child.id()).unwrap_or(0));
        elapsed = elapsed.max(processor_time_of(child.id()).unwrap_or(Duration::ZERO));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if elapsed > most || start.elapsed() > 10 * most {
            let _ = child.kill();
        }
        sleep(Duration::from_millis(2));
    };
    let text =
        |name| String::from_utf8_lossy(&fs::read(outputs.path().join(name)).expect("a file")).into_owned();
    let outcome = Outcome {
        code: status.code(),
        stdout: text("stdout"),
        stderr: text("stderr"),
    };
    (outcome, Cost { elapsed, peak_mib })
}

fn processor_time_of(process: u32) -> Option<Duration> {
    /// The unit of CPU times that the kernel reports to programs.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}

fn peak_mib_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// Runs `binary` as a user to whom file permissions apply, unlike root.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run_without_privileges(binary: &str, directory: &Path, args: &[&str]) -> Outcome {
    let drop = ["--inh-caps=-all", "--bounding-set=-all", binary];
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
    if is_root {
        run("setpriv", directory, &[&drop, args].concat())
    } else {
        run(binary, directory, args)
    }
}

/// Makes a named pipe.
///
/// # Panics
/// If it cannot be made.
pub fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "{}", path.display());
}

/// Runs `binary` with the size of files limited to `kib`, which behaves like a full disk for larger files. The system
/// sends a signal for it, which ends a process that does not handle it.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run_on_a_full_disk(binary: &str, directory: &Path, kib: usize, args: &[&str]) -> Outcome {
    let script = format!("ulimit -f {}", 2 * kib);
    run_after(&script, binary, directory, args)
}

/// Runs `binary` in a shell after the commands `script`. If `script` begins with a redirection, it applies to `binary`.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn run_after(script: &str, binary: &str, directory: &Path, args: &[&str]) -> Outcome {
    let script = match script.starts_with(['>', '<', '2']) {
        true => format!("exec \"$0\" \"$@\" {script}"),
        false => format!("{script}; exec \"$0\" \"$@\""),
    };
    run("sh", directory, &[&["-c", &script, binary], args].concat())
}

impl Outcome {
    /// Asserts success.
    ///
    /// # Panics
    /// If the command failed.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts an input error: exit code 2, no panic, every part in the message, nothing on standard output.
    ///
    /// # Panics
    /// If it ended differently.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) {
        let Self { code, stdout, stderr } = self;
        assert_eq!(*code, Some(2), "stdout:\n{stdout}\nstderr:\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(stdout, "", "an error belongs on standard error");
        for part in parts {
            assert!(stderr.contains(part), "`{part}` is not in:\n{stderr}");
        }
    }
}

/// The lines of a JSONL text that have a `step` and no `event`.
///
/// # Panics
/// If a line is not JSON.
#[must_use]
pub fn steps(jsonl: &str) -> Vec<Value> {
    lines(jsonl)
        .into_iter()
        .filter(|line| line.get("step").is_some() && line.get("event").is_none())
        .collect()
}

/// The lines of a JSONL text.
///
/// # Panics
/// If a line is not JSON.
#[must_use]
pub fn lines(jsonl: &str) -> Vec<Value> {
    jsonl
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSONL is JSON"))
        .collect()
}
