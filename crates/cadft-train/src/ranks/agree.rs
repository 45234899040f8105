//! Checks, before the first step, that all ranks run the same program on the same recipe, weights and data.

use crate::checkpoint::{DataDigests, Manifest, Restored};
use crate::dotted;
use crate::prepare::Prepared;
use cadft_step::Ranks;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The inputs of a rank, or why it cannot run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Facts by name; settings of the recipe by dotted key.
    facts: BTreeMap<String, String>,
    /// The error with its hints, and whether the input is at fault.
    error: Option<(String, bool)>,
}

/// Differences between ranks, or errors of ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// All differences or errors, one line each.
    pub message: String,
    /// Whether an input is at fault.
    pub is_input: bool,
    /// Whether there is a single error: on one rank only, or the same on every rank.
    pub is_shared: bool,
}

impl Statement {
    /// The statement of a prepared run; `device` is the name of the device.
    #[must_use]
    pub fn of(prepared: &Prepared, device: &str, from: Option<&Restored>) -> Self {
        let mut facts = BTreeMap::new();
        let mut add = |name: &str, value: String| {
            let _ = facts.insert(name.to_owned(), value);
        };
        add("the program", executable());
        add(
            "the kind of device",
            device.split(':').next().unwrap_or(device).to_owned(),
        );
        let data = DataDigests::of(prepared);
        add("the training data", data.train);
        add("the evaluation data", data.eval);
        add("the questions", data.questions.unwrap_or_default());
        for (name, digest) in &prepared.inputs().digests {
            add(&format!("`{name}`"), digest.clone());
        }
        let from = from.map_or_else(String::new, |from| format!("step {}", from.state.step));
        add("the checkpoint", from);
        let mut recipe = prepared.recipe.clone();
        // The run directory may have different paths on different machines.
        recipe.run.out = None;
        let recipe = serde_json::to_value(&recipe).unwrap_or_default();
        for (key, value) in dotted::flatten(&recipe) {
            add(&format!("`{key}`"), value.to_string());
        }
        Self { facts, error: None }
    }

    /// The statement of a rank that cannot run; `error` includes the hints.
    #[must_use]
    pub fn failed(error: String, is_input: bool) -> Self {
        Self {
            facts: BTreeMap::new(),
            error: Some((error, is_input)),
        }
    }
}

/// Checks that all ranks can run, with the same inputs. The result is the same on every rank.
///
/// # Errors
/// The differences of each rank from the first, or the errors of ranks.
pub fn agree(ranks: &Ranks, own: &Statement) -> Result<(), Disagreement> {
    let own = serde_json::to_vec(own).unwrap_or_default();
    let all: Vec<Statement> = (ranks.tell(&own).iter())
        .map(|told| serde_json::from_slice(told).unwrap_or_default())
        .collect();
    let failed: Vec<(usize, &(String, bool))> = (all.iter().enumerate())
        .filter_map(|(rank, statement)| Some((rank, statement.error.as_ref()?)))
        .collect();
    if let Some((rank, (first, is_input))) = failed.first() {
        let others = failed.iter().skip(1).filter(|(_, (error, _))| error != first);
        let lines = [format!("{}: {first}", ranks.name(*rank))].into_iter();
        let lines = lines.chain(others.map(|(rank, (error, _))| format!("{}: {error}", ranks.name(*rank))));
        return Err(Disagreement {
            message: lines.collect::<Vec<_>>().join("\n"),
            is_input: *is_input,
            is_shared: (failed.len() == all.len() || failed.len() == 1)
                && failed.iter().all(|(_, (error, _))| error == first),
        });
    }
    let lines = differences(ranks, &all);
    if lines.is_empty() {
        return Ok(());
    }
    Err(Disagreement {
        message: lines.join("\n"),
        is_input: true,
        is_shared: false,
    })
}

fn differences(ranks: &Ranks, all: &[Statement]) -> Vec<String> {
    let Some((first, others)) = all.split_first() else {
        return vec![];
    };
    let absent = "absent".to_owned();
    let mut lines = vec![];
    for (rank, other) in (1..).zip(others) {
        let names: BTreeSet<&String> = first.facts.keys().chain(other.facts.keys()).collect();
        for name in names {
            let [of_first, of_other] = [first, other].map(|statement| {
                let value = statement.facts.get(name).unwrap_or(&absent);
                value.chars().take(80).collect::<String>()
            });
            if first.facts.get(name) != other.facts.get(name) {
                lines.push(format!(
                    "{}: {name} is {of_other}, and {of_first} on {}",
                    ranks.name(rank),
                    ranks.name(0)
                ));
            }
        }
    }
    lines
}

/// The version, and the SHA-256 of the executable file.
fn executable() -> String {
    let digest = std::env::current_exe().map(|path| Manifest::member(&path).map(|member| member.sha256));
    let digest = match digest {
        Ok(Ok(digest)) => digest,
        _ => "that cannot be read".to_owned(),
    };
    format!("{} {digest}", env!("CARGO_PKG_VERSION"))
}
