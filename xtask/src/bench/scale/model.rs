//! What a step costs and holds on many cards, from a few numbers: the tables of the guide's page.
//!
//! ```text
//! compute    tokens · (2P scores, if a rank has several samples + 2P forward + 4P backward + 2P again) / (0.4 · peak)
//! exchange   twice, gradients to owners and values back:
//!   as it is       4T/R to each of the others, at the speed to them; 5 µs a message
//!   hierarchical   first within a machine of 8 cards, then 1/8 of it between machines
//! held       4P weights + gradients + moments, by the stage of ZeRO
//! ```
//!
//! `P` parameters, `T` of them trained, `R` ranks; in the backward pass an adapter takes 2P. Computing and exchanging do not overlap, and ranks
//! have as many tokens. Both are measured on small runs (`bench/scale.json`), not on cards.

use std::fmt::Write as _;

/// Cards of a machine.
const CARDS: f64 = 8.0;
/// Operations a second of a card: 40 % of what NVIDIA's data sheet of the H100 SXM says of dense products in bf16.
const COMPUTE: f64 = 0.4 * 989e12;
/// Bytes a second between cards of a machine, by NVLink 4: the all-reduce of `nccl-tests` on eight H100 reports 460e9 to 480e9; 360e9 is
/// three quarters of that.
const INSIDE: f64 = 360e9;
/// What a message costs besides its bytes, in seconds. Assumed.
const MESSAGE: f64 = 5e-6;
/// Values that travel together: `BUCKET` of `cadft-step`.
const BUCKET: f64 = 16.0 * 1_048_576.0;
/// Tokens of a sample.
const TOKENS: f64 = 2048.0;
const GIB: f64 = 1_073_741_824.0;
const F32: f64 = 4.0;

/// Ranks of the columns.
const RANKS: [u32; 5] = [8, 16, 64, 256, 1024];

/// Networks, and bytes a second that each card has of what its machine has to others: 90 % of the line.
const NETWORKS: [(&str, f64); 3] = [
    ("8 × 400 Gbit/s InfiniBand", 0.9 * 8.0 * 50e9 / CARDS),
    ("400 Gbit/s InfiniBand", 0.9 * 50e9 / CARDS),
    ("100 Gbit/s Ethernet", 0.9 * 12.5e9 / CARDS),
];

/// Models by name, with their parameters.
const MODELS: [(&str, f64); 3] = [
    ("Qwen2.5-Math-1.5B", 1.54e9),
    ("Llama 3.2 3B", 3.21e9),
    ("Llama 3.1 8B", 8.03e9),
];

/// How sums between ranks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    /// Every rank sends every owner its part.
    ToOwners,
    /// Within machines first.
    Hierarchical,
}

/// A run of the 8B model.
#[derive(Clone, Copy, Debug)]
struct Run {
    parameters: f64,
    trained: f64,
    samples: f64,
}

impl Run {
    /// Seconds of computing of each of `ranks` ranks.
    fn compute(self, ranks: f64) -> f64 {
        let own = self.samples / ranks;
        let scores = if own > 1.0 { 2.0 } else { 0.0 };
        let backward = if self.trained < self.parameters { 2.0 } else { 4.0 };
        own * TOKENS * self.parameters * (scores + 2.0 + backward + 2.0) / COMPUTE
    }

    /// Seconds of exchanging, at `outside` bytes a second to other machines.
    fn exchange(self, ranks: f64, outside: f64, sums: Sums) -> f64 {
        let all = F32 * self.trained;
        let near = ranks.min(CARDS);
        let machines = ranks / near;
        let buckets = (self.trained / BUCKET).ceil();
        let (inside, between, messages) = match sums {
            Sums::ToOwners => (
                all * (near - 1.0) / ranks,
                all * (ranks - near) / ranks,
                ranks - 1.0,
            ),
            Sums::Hierarchical => (
                all * (near - 1.0) / near,
                all / near * (machines - 1.0) / machines,
                near + machines - 2.0,
            ),
        };
        2.0 * ((inside / INSIDE).max(between / outside) + buckets * messages * MESSAGE)
    }

    /// `1.66 + 0.18 s, 90 %`; a dash where there are more ranks than samples.
    fn cell(self, ranks: u32, outside: f64, sums: Sums) -> String {
        let ranks = f64::from(ranks);
        if ranks > self.samples {
            return "–".to_owned();
        }
        let (compute, exchange) = (self.compute(ranks), self.exchange(ranks, outside, sums));
        let share = 100.0 * compute / (compute + exchange);
        format!("{compute:.2} + {exchange:.2}, {share:.0} %")
    }
}

/// The tables of the page: seconds of a step, and memory.
pub(super) fn tables() -> [(&'static str, String); 2] {
    [("cost", cost()), ("memory", memory())]
}

fn header(first: &[&str]) -> String {
    let ranks = RANKS.map(|ranks| ranks.to_string());
    let names: Vec<&str> = first
        .iter()
        .copied()
        .chain(ranks.iter().map(String::as_str))
        .collect();
    format!("| {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

/// Seconds of a step of the largest model.
fn cost() -> String {
    let [.., (_, parameters)] = MODELS;
    let mut text = header(&["trained", "samples", "between machines", "sums"]);
    // Rank 16 in all linear layers.
    for (trained, name) in [(parameters, "all"), (42e6, "LoRA")] {
        for samples in [256.0, 4096.0] {
            for (network, outside) in NETWORKS {
                let run = Run {
                    parameters,
                    trained,
                    samples,
                };
                for (sums, how) in [(Sums::ToOwners, "as it is"), (Sums::Hierarchical, "hierarchical")] {
                    // Adapters are small enough as it is.
                    if trained == parameters || sums == Sums::ToOwners {
                        let cells = RANKS.map(|ranks| run.cell(ranks, outside, sums)).join(" | ");
                        let _ = writeln!(text, "| {name} | {samples} | {network} | {how} | {cells} |");
                    }
                }
            }
        }
    }
    text
}

/// GiB of weights, gradients and moments of a rank.
fn held(parameters: f64, ranks: f64, stage: u8) -> f64 {
    let share = parameters / ranks;
    let values = match stage {
        1 => 2.0 * parameters + 2.0 * share,
        2 => parameters + 3.0 * share,
        _ => 4.0 * share,
    };
    F32 * values / GIB
}

fn memory() -> String {
    let mut text = header(&["model", "stage", "1"]);
    for (name, parameters) in MODELS {
        for (stage, what) in [(1, "1"), (2, "2"), (3, "3 (not in cadft)")] {
            let cells = RANKS.map(|ranks| format!("{:.1}", held(parameters, f64::from(ranks), stage)));
            let alone = held(parameters, 1.0, stage);
            let _ = writeln!(text, "| {name} | {what} | {alone:.1} | {} |", cells.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell;

    const ALL: Run = Run {
        parameters: 8.03e9,
        trained: 8.03e9,
        samples: 4096.0,
    };

    #[test]
    fn the_page_has_the_tables() {
        let page = shell::workspace_root().join(super::super::PAGE);
        let page = std::fs::read_to_string(page).unwrap();
        for (name, table) in tables() {
            assert!(page.contains(&table), "the table of {name} is not:\n{table}");
        }
    }

    #[test]
    fn seconds_follow_from_bytes_and_speeds() {
        // 4096 samples of 2048 tokens, 10 operations a parameter and token, on 1024 cards.
        let compute = 4.0 * 2048.0 * 8.03e9 * 10.0 / (0.4 * 989e12);
        assert!((ALL.compute(1024.0) - compute).abs() < 1e-9);
        // One sample a rank needs no scores first.
        assert!(
            (Run {
                samples: 1024.0,
                ..ALL
            }
            .compute(1024.0)
                - compute / 5.0)
                .abs()
                < 1e-9
        );
        // One machine: seven eighths of 32.12 GB each way, and 479 buckets of 7 messages.
        let near = 2.0 * (32.12e9 * 7.0 / 8.0 / INSIDE + 479.0 * 7.0 * MESSAGE);
        for sums in [Sums::ToOwners, Sums::Hierarchical] {
            assert!((ALL.exchange(8.0, 45e9, sums) - near).abs() < 1e-6);
            assert_eq!(ALL.exchange(1.0, 45e9, sums), 0.0);
        }
        // Many machines: an eighth of the bytes between them.
        let [owners, hierarchical] =
            [Sums::ToOwners, Sums::Hierarchical].map(|sums| ALL.exchange(1024.0, 1.4e9, sums));
        let bytes = |seconds: f64, messages: f64| (seconds / 2.0 - 479.0 * messages * MESSAGE) * 1.4e9;
        let ratio = bytes(owners, 1023.0) / bytes(hierarchical, 134.0);
        assert!((ratio - 8.0).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn stages_hold_what_the_page_of_zero_says() {
        let gib = |bytes: f64| bytes * 8.03e9 / GIB;
        assert!((held(8.03e9, 8.0, 1) - gib(9.0)).abs() < 1e-9);
        assert!((held(8.03e9, 8.0, 2) - gib(5.5)).abs() < 1e-9);
        assert!((held(8.03e9, 8.0, 3) - gib(2.0)).abs() < 1e-9);
        for stage in [1, 2, 3] {
            assert!((held(8.03e9, 1.0, stage) - gib(16.0)).abs() < 1e-9);
        }
    }
}
