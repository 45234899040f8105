//! Whether all ranks run the same program on the same recipe, weights and data, before the first step.

use crate::checkpoint::{DataDigests, Manifest, Restored};
use crate::dotted;
use crate::prepare::Prepared;
use cadft_step::Ranks;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a rank is about to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// By name; the settings of the recipe by their dotted keys.
    facts: BTreeMap<String, String>,
    /// Why it cannot run, with its hint, and whether its input is at fault.
    error: Option<(String, bool)>,
}

/// What ranks do not have in common, or could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Everything, a line each.
    pub message: String,
    /// Whether an input is at fault.
    pub is_input: bool,
    /// Whether every rank has the same error, or only one has an error.
    pub is_shared: bool,
}

impl Statement {
    /// What a prepared run is made of; `device` is the device's name.
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
        // Where its own copy of something lies is for each rank to know.
        recipe.run.out = None;
        let recipe = serde_json::to_value(&recipe).unwrap_or_default();
        for (key, value) in dotted::flatten(&recipe) {
            add(&format!("`{key}`"), value.to_string());
        }
        Self { facts, error: None }
    }

    /// A rank that cannot run; `error` with its hints.
    #[must_use]
    pub fn failed(error: String, is_input: bool) -> Self {
        Self {
            facts: BTreeMap::new(),
            error: Some((error, is_input)),
        }
    }
}

/// Whether all ranks can run, and run the same; the same answer on every rank.
///
/// # Errors
/// What each rank has that the first has not, or why ranks cannot run.
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

/// Version, and the SHA-256 of the file that runs.
fn executable() -> String {
    let digest = std::env::current_exe().map(|path| Manifest::member(&path).map(|member| member.sha256));
    let digest = match digest {
        Ok(Ok(digest)) => digest,
        _ => "that cannot be read".to_owned(),
    };
    format!("{} {digest}", env!("CARGO_PKG_VERSION"))
}
