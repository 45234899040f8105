//! `cadft probe`: statistics of the gradients of single demonstrations under several objectives, without training.

mod table;

pub(super) use table::Found;

use crate::args::ProbeArgs;
use crate::console::{Activity, next, note};
use crate::destination;
use crate::hint::UsageError;
use crate::model::{OpenInput, sources, warn_about};
use crate::noise::Influenced;
use crate::output;
use anyhow::{Context, Result, bail};
use burn::module::Module;
use cadft_core::{AnyObjective, Compatibility, Normalisation, Standardiser};
use cadft_data::{Example, Samples, Source};
use cadft_model::CausalLm;
use cadft_step::{Coordinates, Probe, probe};
use cadft_train::evaluate::score_samples;
use std::num::NonZeroUsize;
use table::Row;

/// Demonstrations and their scores.
struct Set {
    samples: Vec<Example>,
    scores: Vec<f64>,
}

pub(crate) fn run(args: &ProbeArgs) -> Result<()> {
    destination::file_of(args.out.as_deref(), &args.input)?;
    let recipe = args.scoring.tokens.recipe(usize::MAX)?;
    let objectives = super::compare::objectives(&args.objectives, &recipe)?;
    let clean = sources(&args.clean, &args.input.source)?;
    if let Some(out) = &args.out {
        destination::file(out, destination::files_of(&clean))?;
    }
    let opened = OpenInput::open(&args.input, &args.scoring)?;
    let data = Set::new(&opened.samples()?, &opened.model, opened.micro)?;
    let clean = if clean.is_empty() {
        None
    } else {
        let samples = opened.reader.samples(&clean, &opened.config)?;
        warn_about(samples.report(), opened.data.max_length);
        Some(Set::new(&samples, &opened.model, opened.micro)?)
    };
    let normalisation = (args.normalisation).map_or(recipe.loss.normalisation, Normalisation::from);
    let coordinates = coordinates(args);
    let model = opened.model.train();
    let compatibility = Compatibility {
        beta: args.beta,
        ..Compatibility::default()
    };
    let weights = data.weights(&compatibility);
    let planted = planted(&opened.data.train, &data.samples)?;
    let mut rows = vec![];
    for objective in &objectives {
        note(format!("probing `{}`", objective.name()));
        let _probing = Activity::begin("computing gradients");
        let of = |set: &Set| {
            probe(
                &model,
                &set.samples,
                &set.scores,
                objective,
                normalisation,
                coordinates,
            )
        };
        let probed = of(&data);
        let clean = clean.as_ref().map(of);
        rows.push(Row::new(
            objective,
            &probed,
            clean.as_ref(),
            (
                &weights,
                planted
                    .as_deref()
                    .map(|planted| influenced(&probed, &data.samples, planted)),
            ),
        ));
    }
    let parameters = (model.named_parameters().iter())
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    let found = Found {
        samples: data.samples.len(),
        clean_samples: clean.as_ref().map(|clean| clean.samples.len()),
        parameters,
        normalisation,
        sketch: args.sketch,
        seed: args.sketch.map(|_| args.seed),
        beta: args.beta,
        objectives: rows,
    };
    print(args, &found)
}

/// For each sample, whether it is planted noise; `None` if the files do not say so.
fn planted(sources: &[Source], samples: &[Example]) -> Result<Option<Vec<bool>>> {
    let marks = cadft_data::planted(sources)?;
    let is_planted = samples
        .iter()
        .map(|sample| marks.get(&sample.id).map(Option::is_some));
    Ok(is_planted.collect())
}

/// Every sample as an objective sees it.
fn influenced(probe: &Probe, samples: &[Example], planted: &[bool]) -> Vec<Influenced> {
    let probed = probe.samples.iter().zip(samples).zip(planted);
    probed
        .map(|((probed, sample), &is_planted)| Influenced {
            influence: probed.weight * probed.mean_gate,
            tokens: sample.supervised(),
            is_planted,
        })
        .collect()
}

fn coordinates(args: &ProbeArgs) -> Coordinates {
    match args.sketch.and_then(NonZeroUsize::new) {
        None => Coordinates::All,
        Some(size) => Coordinates::Sketch {
            size,
            seed: args.seed,
        },
    }
}

fn print(args: &ProbeArgs, found: &Found) -> Result<()> {
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(found)? + "\n";
        cadft_files::write(out, text)
            .with_context(|| format!("cannot write `{}`", cadft_files::shown(out)))?;
    }
    if args.json {
        return output::json_line(found);
    }
    output::grid(&found.terminal())?;
    let names: Vec<_> = found.objectives.iter().map(Row::name).collect();
    next::probed(&names);
    Ok(())
}

impl Set {
    fn new(samples: &Samples, model: &CausalLm, micro: usize) -> Result<Self> {
        if samples.is_empty() {
            return Err(UsageError::new(
                "no sample has a token that is trained",
                "`cadft data inspect` shows what becomes of the rows",
            )
            .into());
        }
        let scoring = Activity::of("scoring", samples.len());
        let mut scores = Vec::with_capacity(samples.len());
        for score in score_samples(model, samples, micro) {
            if !score.nll.is_finite() {
                bail!(
                    "{}: its likelihood is not a finite number",
                    score.origin.name_of(&score.id)
                );
            }
            scores.push(score.nll);
            scoring.at(scores.len());
        }
        Ok(Self {
            samples: samples.iter().collect(),
            scores,
        })
    }

    /// The weights of CADFT (CADFT-3), of all samples as one global batch.
    fn weights(&self, compatibility: &Compatibility) -> Vec<f64> {
        let batch: Standardiser = self.scores.iter().copied().collect();
        (self.scores.iter())
            .map(|&score| compatibility.weight(batch.z(score)))
            .collect()
    }
}

/// An objective in the spelling of recipes.
fn spelled(objective: &AnyObjective) -> serde_json::Value {
    serde_json::to_value(objective).unwrap_or_default()
}
