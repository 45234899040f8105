//! The properties of the fuzz targets, which hold for any foreign bytes: with every committed input, and with inputs
//! that are mutated deterministically.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own when it is fuzzed")]
mod targets;

use cadft_tests::fixture;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// Number of mutated inputs of a target, over all seeds.
const CHANGED: usize = 400;
/// Longer inputs are not mutated: they consist mostly of numbers.
const LONGEST: usize = 64 << 10;
/// Time limit for one input. The slowest inputs are templates that use up their fuel.
const SLOWEST: Duration = Duration::from_secs(20);

/// Bytes to insert into an input: elements of the formats, and numbers that are too large.
const TOKENS: [&[u8]; 20] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\n",
    b"\xFF",
    b"\0",
    b"null",
    b"-1",
    b"1e999",
    b"{%",
    b"}}",
    b"../",
    b"/",
    b"18446744073709551615",
    b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
];

/// Pseudorandom numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    /// Mutates an input.
    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(20)).min(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => drop(bytes.drain(at..end)),
                3 if !bytes.is_empty() => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part).for_each(drop);
                }
                4 => bytes.truncate(at),
                _ => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    bytes.splice(at..at, token.iter().copied()).for_each(drop);
                }
            }
        }
        bytes
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// The committed inputs of a target.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut paths: Vec<PathBuf> = (target.fixtures.iter())
        .flat_map(|name| files(&fixture(name)))
        .collect();
    for kind in ["seeds", "corpus"] {
        paths.extend(files(&fuzz.join(kind).join(target.name)));
    }
    let read = |path: &PathBuf| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    paths.iter().map(read).collect()
}

fn check(target: &Target, bytes: &[u8]) {
    let start = Instant::now();
    let result = catch_unwind(|| targets::check(target.name, bytes));
    let shown = || {
        let start = &bytes[..bytes.len().min(2000)];
        format!(
            "`{}` of {} bytes: {}",
            target.name,
            bytes.len(),
            start.escape_ascii()
        )
    };
    assert!(result.is_ok(), "it does not hold for {}", shown());
    let taken = start.elapsed();
    assert!(taken < SLOWEST, "{taken:?} for {}", shown());
}

#[test]
fn every_target_holds_for_what_is_committed_and_for_changes_of_it() {
    for target in &TARGETS {
        let start = Instant::now();
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "`{}` has no inputs", target.name);
        for input in &inputs {
            check(target, input);
        }
        let short: Vec<&Vec<u8>> = inputs.iter().filter(|input| input.len() <= LONGEST).collect();
        let mut random = Random(1);
        for number in 0..CHANGED {
            check(target, &random.changed(short[number % short.len()]));
        }
        println!("{}: {} inputs, {:?}", target.name, inputs.len(), start.elapsed());
    }
}
