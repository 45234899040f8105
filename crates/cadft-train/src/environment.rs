//! The environment of a run: program, command line, machine, and the git revision of the working directory.

use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of Burn, an exact pin.
pub const BURN: &str = "0.22.1";

/// The content of `environment.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Environment {
    /// Version of the file's format.
    pub format_version: u32,
    /// Version of cadft.
    pub cadft: &'static str,
    /// Version of Burn.
    pub burn: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: Option<String>,
    /// State of the git repository of that directory; `None` if there is none.
    pub git: Option<Git>,
    /// Name of the device.
    pub device: String,
    /// The backends that are compiled in.
    pub backends: Vec<&'static str>,
    /// Whether the program was compiled without optimisation.
    pub debug: bool,
    /// Operating system.
    pub os: &'static str,
    /// Instruction set.
    pub arch: &'static str,
    /// Name of the machine, if the system reports it.
    pub host: Option<String>,
    /// Name of the processor, if the system reports it.
    pub processor: Option<String>,
    /// Number of threads that can run at the same time.
    pub cpus: usize,
    /// Memory of the machine in MiB, if the system reports it.
    pub memory_mib: Option<u64>,
    /// Seconds since 1970 when the run was started.
    pub started_unix_secs: u64,
}

/// State of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Git {
    /// The commit that is checked out.
    pub revision: String,
    /// Whether tracked files differ from it.
    pub dirty: bool,
}

impl Environment {
    /// The environment of this process; `device` is the name of the training device.
    #[must_use]
    pub fn current(device: &str) -> Self {
        let directory = std::env::current_dir().ok();
        Self {
            format_version: 1,
            cadft: env!("CARGO_PKG_VERSION"),
            burn: BURN,
            command: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            git: directory.as_deref().and_then(git),
            directory: directory.map(|path| path.to_string_lossy().into_owned()),
            device: device.to_owned(),
            backends: crate::device::compiled(),
            debug: cfg!(debug_assertions),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            host: first_line("/proc/sys/kernel/hostname"),
            processor: processor(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|value| value.strip_suffix(" kB")?.trim().parse::<u64>().ok())
                .map(|kib| kib / 1024),
            started_unix_secs: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
        }
    }
}

/// The state of the repository that contains `directory`; `None` if there is none, or no `git` program.
fn git(directory: &Path) -> Option<Git> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(directory)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            // Do not take the index lock, which somebody may need who works in the repository.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    Some(Git {
        revision: ask(&["rev-parse", "HEAD"])?,
        dirty: !ask(&["status", "--porcelain", "--untracked-files=no"])?.is_empty(),
    })
}

fn first_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Name of the processor, if the system reports it.
pub(crate) fn processor() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

/// The value of the first line `name : value` in a system file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_burn_is_the_one_in_the_lock_file() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
        let wanted = format!("name = \"burn\"\nversion = \"{BURN}\"\n");
        assert!(lock.expect("the workspace has a lock file").contains(&wanted));
    }

    #[test]
    fn the_revision_and_uncommitted_changes_are_told() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(git(&directory.path().join("nowhere")), None);
        let run = |arguments: &[&str]| {
            let status = Command::new("git")
                .arg("-C")
                .arg(directory.path())
                .args(["-c", "user.name=n", "-c", "user.email=e"])
                .args(arguments)
                .stdout(Stdio::null())
                .status();
            assert!(status.expect("git runs").success(), "{arguments:?}");
        };
        let file = directory.path().join("file");
        std::fs::write(&file, "one").expect("a file");
        run(&["init", "--quiet"]);
        run(&["add", "file"]);
        run(&["commit", "--quiet", "--message", "one"]);
        let clean = git(directory.path()).expect("a repository");
        assert_eq!((clean.revision.len(), clean.dirty), (40, false));
        std::fs::write(&file, "two").expect("a file");
        let dirty = git(directory.path()).expect("a repository");
        assert_eq!((dirty.revision, dirty.dirty), (clean.revision, true));
    }
}
