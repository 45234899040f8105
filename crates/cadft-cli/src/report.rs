//! One self-contained HTML page about runs: what `cadft report` writes.
//!
//! ```text
//! run.rs        reads a run's directory               series.rs   curves with a limited number of points
//! samples.rs    weights over time, z against NLL      rewrites.rs rewritten demonstrations
//! settings.rs   recipes and environments, key by key  page/       template, style and script
//! summary.rs    facts next to the curves              text.rs     values as text
//! comparison.rs the result of `cadft compare`         texts.rs    questions and answers of samples
//! noise.rs      planted noise, over the steps          probe.rs    what `cadft probe` found
//! ```
//!
//! Curves and lists are reduced to what a screen can show, so that the page stays small: a run of 20,000 steps gives a
//! page of the same size as one of 500.

mod comparison;
mod noise;
mod probe;
mod rewrites;
mod run;
mod samples;
mod series;
mod settings;
mod summary;
mod text;
mod texts;

use crate::hint::UsageError;
use crate::noise::Recall;
use anyhow::Result;
use comparison::Comparison;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use probe::Probed;
use run::Run;
use serde::Serialize;
use series::Chart;
use std::path::{Path, PathBuf};
use summary::Summary;

const TEMPLATE: &str = include_str!("report/page/page.html");
const STYLE: &str = include_str!("report/page/style.css");
const SCRIPT: &str = include_str!("report/page/charts.js");

/// Largest number of runs: their colours must be distinguishable.
const MOST_RUNS: usize = 8;

/// The data that the script draws.
#[derive(Serialize)]
struct Drawn<'a> {
    charts: &'a [Chart],
    samples: Vec<Option<samples::Picture>>,
}

/// The page about the runs in these directories, or about those of a comparison.
///
/// # Errors
/// If a directory holds no run, or if there are more than [`MOST_RUNS`] runs.
pub(crate) fn render(directories: &[PathBuf]) -> Result<String> {
    let compared = match directories {
        [directory] => comparison::read(directory, MOST_RUNS),
        _ => None,
    };
    let mut probed: Vec<Probed> = (directories.iter().zip(names(directories)))
        .filter_map(|(directory, name)| probe::read(directory, &name))
        .collect();
    let (comparison, directories) = match compared {
        Some((comparison, runs)) => (Some(comparison), runs),
        None => (None, directories.to_vec()),
    };
    let directories = directories.as_slice();
    if directories.len() > MOST_RUNS {
        return Err(UsageError::new(
            format!("{} runs are too many for one page", directories.len()),
            format!("give at most {MOST_RUNS}"),
        )
        .into());
    }
    let names = names(directories);
    let runs = directories
        .iter()
        .zip(names)
        .map(|(directory, name)| Run::read(directory, name))
        .collect::<Result<Vec<Run>>>()?;
    if comparison.is_some() {
        let of_runs = directories.iter().zip(&runs);
        probed.extend(of_runs.filter_map(|(directory, run)| probe::read(directory, &run.name)));
    }
    page(&runs, comparison.as_ref(), &probed)
}

fn page(runs: &[Run], comparison: Option<&Comparison>, probed: &[Probed]) -> Result<String> {
    let charts = series::charts(runs);
    let drawn = Drawn {
        charts: &charts,
        samples: runs.iter().map(|run| samples::picture(run, runs.len())).collect(),
    };
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_template("page", TEMPLATE)?;
    let shown: Vec<Summary> = runs.iter().map(|run| Summary::of(run, runs.len())).collect();
    let recipe = settings::compare(runs.iter().map(|run| &run.recipe));
    let environment = settings::compare(runs.iter().map(|run| &run.environment));
    Ok(templates.get_template("page")?.render(context! {
        version => env!("CARGO_PKG_VERSION"),
        style => STYLE,
        script => SCRIPT,
        data => embedded_json(&drawn)?,
        comparison => Serde(&comparison),
        probed => Serde(&probed),
        charts => Serde(&charts),
        runs => Serde(&shown),
        recipe => Serde(&recipe),
        environment => Serde(&environment),
    })?)
}

/// How far a run separated planted noise from the rest in the last quarter of the steps that it recorded: mean AUC and mean recall.
pub(crate) fn noise_at_the_end(directory: &Path) -> Option<[f64; 2]> {
    let found = noise::of(&Run::read(directory, String::new()).ok()?);
    let last = &found[found.len() - found.len().div_ceil(4)..];
    let mean = |value: fn(&Recall) -> Option<f64>| {
        let values: Vec<f64> = last.iter().filter_map(|(_, recall)| value(recall)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Some([mean(|recall| recall.auc)?, mean(|recall| recall.recall)?])
}

/// JSON for a script element, escaped so that it cannot end the element.
fn embedded_json<T: Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

/// Names for the paths: the last parts of each, as many as needed to distinguish them.
fn names(directories: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = directories.iter().map(|path| components(path)).collect();
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let last = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    for count in 1..=longest {
        let names: Vec<String> = parts.iter().map(|parts| last(parts, count)).collect();
        let mut distinct = names.clone();
        distinct.sort();
        distinct.dedup();
        if distinct.len() == names.len() {
            return names;
        }
    }
    let number = |(index, parts): (usize, &Vec<String>)| format!("{} ({})", last(parts, 1), index + 1);
    parts.iter().enumerate().map(number).collect()
}

fn components(path: &Path) -> Vec<String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_it_takes_to_tell_runs_apart() {
        let paths = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(paths(&["runs/a", "runs/b/"]), ["a", "b"]);
        assert_eq!(paths(&["x/run", "y/run"]), ["x/run", "y/run"]);
        assert_eq!(paths(&["x/run", "x/run"]), ["run (1)", "run (2)"]);
    }

    #[test]
    fn no_text_can_end_the_script_element() {
        let json = embedded_json(&"</script><b>").unwrap();
        assert!(!json.contains('<'), "{json}");
        assert_eq!(
            serde_json::from_str::<String>(&json).unwrap(),
            "</script><b>",
            "it is the same text"
        );
    }
}
