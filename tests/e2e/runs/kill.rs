//! Processes that are killed at random moments.

use super::{CADFT, args, train, uninterrupted};
use cadft_tests::Workspace;
use cadft_tests::runs::{self, Started};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Number of kills in the test. Runs are started until it is reached.
const KILLS: usize = 50;

/// The moment of a kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After this number of milliseconds, whatever the run is doing then.
    After(u64),
    /// As soon as a checkpoint is being written.
    Save,
    /// As soon as an old checkpoint is being removed.
    Rotation,
}

/// SplitMix64, sufficient to choose moments.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn moment(&mut self) -> Moment {
        match self.below(5) {
            0 => Moment::Save,
            1 => Moment::Rotation,
            _ => Moment::After(self.below(250)),
        }
    }
}

/// Kills a run at a moment, or after a time limit. Returns whether it was still running.
fn kill_at(moment: Moment, mut run: Started, directory: &Path) -> bool {
    let begun = Instant::now();
    let limit = match moment {
        Moment::After(millis) => Duration::from_millis(millis),
        Moment::Save | Moment::Rotation => Duration::from_millis(400),
    };
    let suffix = match moment {
        Moment::After(_) => None,
        Moment::Save => Some(".partial"),
        Moment::Rotation => Some(".old"),
    };
    while begun.elapsed() < limit && run.is_running() {
        if suffix.is_some_and(|suffix| has_entry(directory, suffix)) {
            break;
        }
        sleep(Duration::from_micros(500));
    }
    run.kill()
}

/// Whether the checkpoint directory has an entry with this suffix.
fn has_entry(directory: &Path, suffix: &str) -> bool {
    let entries = std::fs::read_dir(directory.join("checkpoints"))
        .into_iter()
        .flatten();
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| name.ends_with(suffix))
}

#[test]
fn a_run_that_is_killed_fifty_times_leaves_the_bytes_of_one_that_is_not() {
    let every_step = ["--set", "checkpoint.every=1", "--set", "checkpoint.keep=2"];
    let expected = uninterrupted(&every_step);
    let resumed = args(&[&every_step[..], &["--resume", "auto"]].concat());
    let mut random = Random(20_260_611);
    let (mut kills, mut in_save, mut in_rotation, mut completed) = (0, 0, 0, 0);
    while kills < KILLS {
        let workspace = Workspace::new();
        let directory = workspace.path("run");
        loop {
            let run = Started::new(CADFT, workspace.root(), &resumed);
            if !kill_at(random.moment(), run, &directory) {
                break;
            }
            kills += 1;
            in_save += usize::from(has_entry(&directory, ".partial"));
            in_rotation += usize::from(has_entry(&directory, ".old"));
            if kills >= KILLS {
                break;
            }
        }
        let _ = train(&workspace, &[&every_step[..], &["--resume", "auto"]].concat()).succeeded();
        runs::assert_same(&runs::remains(&directory), &expected, "after kills");
        completed += 1;
    }
    println!("{kills} kills of {completed} runs: {in_save} in a save, {in_rotation} in a rotation");
    assert!(in_save > 0, "no kill hit a save");
}

#[test]
fn sigterm_saves_the_step_and_the_run_goes_on_exactly() {
    let sparse = ["--set", "checkpoint.every=1000"];
    let expected = uninterrupted(&sparse);
    let workspace = Workspace::new();
    let directory = workspace.path("run");
    let mut codes = vec![];
    let mut begin = args(&sparse);
    begin.extend(["--resume", "auto"]);
    // Two interruptions, after these numbers of steps in the metrics.
    for steps in [3, 11] {
        // Let every process do at least one step, however far the previous one came.
        let steps = steps.max(steps_of(&directory) + 1);
        let run = Started::new(CADFT, workspace.root(), &begin);
        wait_for_steps(&directory, steps);
        codes.push(run.terminate());
    }
    assert_eq!(codes, [Some(130); 2], "interrupted after a save");
    let saved = runs::checkpoints(&directory);
    assert_eq!(saved.len(), 2, "one checkpoint for each interruption: {saved:?}");
    let _ = train(&workspace, &[&sparse[..], &["--resume"]].concat()).succeeded();
    runs::assert_same(&runs::remains(&directory), &expected, "after two SIGTERMs");
    let history = std::fs::read_to_string(directory.join("history.jsonl")).expect("a history");
    for event in ["started", "resumed", "saved", "finished"] {
        assert!(
            history.contains(&format!("\"event\":\"{event}\"")),
            "{event}: {history}"
        );
    }
}

#[test]
fn a_terminal_that_hangs_up_saves_the_step_unless_the_signal_is_ignored() {
    let sparse = ["--set", "checkpoint.every=1000"];
    let expected = uninterrupted(&sparse);
    let workspace = Workspace::new();
    let directory = workspace.path("run");
    let run = Started::new(CADFT, workspace.root(), &args(&sparse));
    wait_for_steps(&directory, 3);
    assert_eq!(run.signal("HUP"), Some(130), "interrupted after a save");
    assert_eq!(runs::checkpoints(&directory).len(), 1);
    let _ = train(&workspace, &[&sparse[..], &["--resume"]].concat()).succeeded();
    runs::assert_same(&runs::remains(&directory), &expected, "after SIGHUP");

    let workspace = Workspace::new();
    let directory = workspace.path("run");
    let script = ["-c", "trap '' HUP; exec \"$0\" \"$@\"", CADFT];
    let run = Started::new("sh", workspace.root(), &[&script[..], &args(&sparse)].concat());
    wait_for_steps(&directory, 3);
    assert_eq!(run.signal("HUP"), Some(0), "as `nohup` asks");
}

/// Number of steps in the metrics of a run.
pub(super) fn steps_of(directory: &Path) -> usize {
    let text = std::fs::read_to_string(directory.join("metrics.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("{\"step\"")).count()
}

/// Waits until the metrics of a run have `steps` steps.
fn wait_for_steps(directory: &Path, steps: usize) {
    let begun = Instant::now();
    while steps_of(directory) < steps {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step {steps}");
        sleep(Duration::from_millis(1));
    }
}
