//! Ranks that are processes: they give the same bytes as threads, and a run ends properly if one of them fails.

use super::CADFT;
use super::kill::{Random, steps_of};
use super::ranks::{RUN, alone, wait_for_steps};
use crate::study::Study;
use cadft_tests::command::{Outcome, run_with};
use cadft_tests::{Workspace, runs};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Open MPI needs these on a machine with two cores, as root, in a container.
const VARIABLES: [(&str, &str); 4] = [
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
];

/// Number of kills in the test.
const KILLS: usize = 20;

fn mpirun(directory: &Path, ranks: &str, program: &str, args: &[&str]) -> Outcome {
    run_with(
        "mpirun",
        directory,
        &[&["-n", ranks, program], args].concat(),
        &VARIABLES,
    )
}

/// A program that is the command on every rank; the second does something else before.
fn second_rank_differs(directory: &Path, what: &str) -> &'static str {
    let text =
        format!("#!/bin/sh\nif [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then {what}; fi\nexec {CADFT} \"$@\"\n");
    fs::write(directory.join("rank.sh"), text).expect("a script");
    make_executable(&directory.join("rank.sh"));
    "./rank.sh"
}

fn make_executable(path: &Path) {
    let status = Command::new("chmod").arg("+x").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "{}", path.display());
}

/// A run started by `mpirun`.
struct Job(Child);

impl Job {
    fn start(directory: &Path, ranks: &str, args: &[&str]) -> Self {
        let child = Command::new("mpirun")
            .args([&["-n", ranks, CADFT], args].concat())
            .current_dir(directory)
            .envs(VARIABLES)
            .env("CADFT_CACHE", std::env::temp_dir().join("cadft-tests-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("mpirun starts"))
    }

    /// The process ids of the ranks.
    fn ranks(&self) -> Vec<u32> {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect()
    }

    fn signal_to(id: u32, name: &str) {
        let _ = Command::new("kill")
            .args([&format!("-{name}"), &id.to_string()])
            .status();
    }

    /// Its exit code, its standard error, and the time it took to end.
    fn end(self) -> (Option<i32>, String, Duration) {
        let begun = Instant::now();
        let Output { status, stderr, .. } = self.0.wait_with_output().expect("mpirun ends");
        (
            status.code(),
            String::from_utf8_lossy(&stderr).into_owned(),
            begun.elapsed(),
        )
    }
}

#[test]
fn processes_leave_the_bytes_of_one_rank() {
    let expected = alone();
    for ranks in ["1", "2", "4"] {
        let study = Study::new();
        let _ = mpirun(study.root(), ranks, CADFT, &RUN).succeeded();
        runs::assert_same(
            &runs::remains(&study.path("run")),
            &expected,
            &format!("{ranks} processes"),
        );
    }
}

#[test]
fn ranks_that_have_not_the_same_are_named_before_anything_is_written() {
    let study = Study::new();
    fs::copy(study.path("train.jsonl"), study.path("other.jsonl")).expect("a copy");
    let rows = study.read("train.jsonl");
    fs::write(
        study.path("shorter.jsonl"),
        rows.lines().skip(1).collect::<Vec<_>>().join("\n"),
    )
    .expect("rows");
    let mut program = fs::read(CADFT).expect("the program");
    program.push(0);
    fs::write(study.path("other-cadft"), program).expect("a program");
    make_executable(&study.path("other-cadft"));
    let with = |second: &str| {
        let script = second_rank_differs(study.root(), &format!("exec {second}"));
        mpirun(study.root(), "2", script, &RUN)
    };
    for (second, wanted) in [
        (
            format!("{CADFT} \"$@\" --set optimizer.lr=9e-4"),
            "`optimizer.lr` is 0.0009, and 0.0005 on rank 0",
        ),
        (
            format!("{CADFT} \"$@\" --set data.train=[\\\"shorter.jsonl\\\"]"),
            "the training data is",
        ),
        ("./other-cadft \"$@\"".to_owned(), "the program is"),
        (
            format!("{CADFT} \"$@\" --set optimizer.foo=1"),
            "`optimizer.foo`: unknown key",
        ),
    ] {
        let outcome = with(&second);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(wanted), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("rank 1 ("), "{}", outcome.stderr);
        assert!(!study.path("run").exists(), "{second}");
    }
    let both = mpirun(
        study.root(),
        "2",
        CADFT,
        &[&RUN[..], &["--set", "optimizer.foo=1"]].concat(),
    );
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    assert_eq!(both.stderr.matches("unknown key").count(), 1, "{}", both.stderr);
}

#[test]
fn a_rank_that_has_other_weights_is_named_before_anything_is_written() {
    let (first, second) = (Workspace::new(), Workspace::new());
    let weights = second.path("model/model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("weights") ^= 1;
    fs::write(&weights, bytes).expect("other weights");
    let script = second_rank_differs(first.root(), &format!("cd {}", second.root().display()));
    let script = first.path(script);
    let args = ["train", "--recipe", "recipe.nll.toml", "--out", "run"];
    let outcome = mpirun(first.root(), "2", &script.to_string_lossy(), &args);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    for wanted in ["rank 1 (", "`weights` is ", " on rank 0 ("] {
        assert!(outcome.stderr.contains(wanted), "{}", outcome.stderr);
    }
    assert_eq!(
        outcome.stderr.matches(" on rank 0 (").count(),
        1,
        "{}",
        outcome.stderr
    );
    for workspace in [&first, &second] {
        assert!(!workspace.path("run").exists());
    }
}

#[test]
fn a_disk_that_is_full_on_one_rank_is_told_and_the_run_goes_on_exactly_when_there_is_space() {
    let study = Study::new();
    let resume = [&RUN[..], &["--resume", "auto"]].concat();
    let job = Job::start(study.root(), "2", &resume);
    wait_for_steps(&study, 3);
    Job::signal_to(job.0.id(), "USR1");
    let (code, stderr, _) = job.end();
    assert_eq!(code, Some(130), "{stderr}");
    let run = study.path("run");
    let before = runs::checkpoints(&run);
    let bytes = || fs::read(before[0].join("training/manifest.json")).expect("a manifest");
    let manifest = bytes();
    // Files of 8 KiB; MPI's shared memory would be one, so that ranks talk by TCP.
    let script = second_rank_differs(study.root(), "ulimit -f 16");
    let by_tcp = |program| {
        let args = [&["-n", "2", program], &resume[..]].concat();
        let variables = [&VARIABLES[..], &[("OMPI_MCA_btl", "self,tcp")]].concat();
        run_with("mpirun", study.root(), &args, &variables)
    };
    let outcome = by_tcp(script);
    let stderr = outcome.stderr;
    assert_eq!(outcome.code, Some(1), "{stderr}");
    assert!(
        stderr.contains("could not be written")
            && stderr.contains("rank 1 (")
            && stderr.contains("optimizer-"),
        "{stderr}"
    );
    assert!(
        stderr.contains("still there") && !stderr.contains("panicked"),
        "{stderr}"
    );
    assert_eq!(
        runs::checkpoints(&run),
        before,
        "nothing half-written is called a checkpoint"
    );
    assert_eq!(bytes(), manifest);

    fs::remove_dir_all(run.join("model")).expect("the trained model");
    let _ = by_tcp(CADFT).succeeded();
    runs::assert_same(&runs::remains(&run), &alone(), "after a full disk, by TCP");
}

#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on_from_its_checkpoint() {
    let expected = alone();
    let mut random = Random(27);
    let resume = [&RUN[..], &["--resume", "auto"]].concat();
    let mut kills = 0;
    while kills < KILLS {
        let study = Study::new();
        loop {
            let ranks = ["2", "4"][random.below(2) as usize];
            let begun = steps_of(&study.path("run"));
            let job = Job::start(study.root(), ranks, &resume);
            let to = begun + random.below(4) as usize;
            let waiting = Instant::now();
            while steps_of(&study.path("run")) < to && waiting.elapsed() < Duration::from_secs(5) {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(random.below(40)));
            let processes = job.ranks();
            let Some(&process) = processes.get(random.below(processes.len().max(1) as u64) as usize) else {
                let _ = job.end();
                break;
            };
            Job::signal_to(process, "KILL");
            let (code, stderr, after) = job.end();
            if code == Some(0) {
                // It was finished before the signal came.
                break;
            }
            kills += 1;
            assert!(after < Duration::from_secs(5), "{after:?}");
            assert!(stderr.contains("rank"), "{stderr}");
            if kills >= KILLS {
                break;
            }
        }
        let _ = study.cadft(&resume);
        runs::assert_same(
            &runs::remains(&study.path("run")),
            &expected,
            "killed and continued",
        );
    }
}

#[test]
fn a_rank_that_stops_is_named_after_a_while() {
    let study = Study::new();
    let args = [&RUN[..], &["--set", "run.patience=2"]].concat();
    let job = Job::start(study.root(), "4", &args);
    wait_for_steps(&study, 2);
    let process = *job.ranks().last().expect("ranks");
    Job::signal_to(process, "STOP");
    let (code, stderr, after) = job.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(after < Duration::from_secs(12), "{after:?}");
    let wanted = format!("process {process})");
    assert!(
        stderr.contains("has waited 2 s in") && stderr.contains(&wanted),
        "{stderr}"
    );
}

/// Which process gets the signal that stops a run.
#[derive(Clone, Copy)]
enum Stopped {
    Launcher,
    LastRank,
}

/// Continues or begins the run on this many ranks, and stops it after `steps` steps in all.
fn stop_after(study: &Study, ranks: &str, steps: usize, (whom, signal): (Stopped, &str)) {
    let job = Job::start(study.root(), ranks, &[&RUN[..], &["--resume", "auto"]].concat());
    wait_for_steps(study, steps);
    let process = match whom {
        Stopped::Launcher => job.0.id(),
        Stopped::LastRank => *job.ranks().last().expect("ranks"),
    };
    Job::signal_to(process, signal);
    let (code, stderr, _) = job.end();
    assert_eq!(code, Some(130), "{signal}: {stderr}");
    assert!(steps_of(&study.path("run")) >= steps);
    assert!(!study.path("run/model").exists(), "it had not ended");
}

#[test]
fn a_signal_to_the_launcher_or_to_one_rank_saves_and_stops_on_all_ranks() {
    for how in [(Stopped::Launcher, "USR1"), (Stopped::LastRank, "TERM")] {
        let study = Study::new();
        stop_after(&study, "2", 3, how);
        let _ = study
            .cadft(&[&RUN[..], &["--resume", "auto"]].concat())
            .succeeded();
        let run = study.path("run");
        runs::assert_same(&runs::remains(&run), &alone(), "stopped and continued");
    }
}

#[test]
fn a_run_of_four_processes_continues_on_two_and_on_one() {
    let study = Study::new();
    let usr1 = (Stopped::Launcher, "USR1");
    stop_after(&study, "4", 2, usr1);
    stop_after(&study, "2", 5, usr1);
    let resume = [&RUN[..], &["--resume", "auto"]].concat();
    let _ = mpirun(study.root(), "1", CADFT, &resume).succeeded();
    let run = study.path("run");
    runs::assert_same(&runs::remains(&run), &alone(), "4, 2 and 1 processes");
}
