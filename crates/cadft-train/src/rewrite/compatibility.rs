//! `compatibility.jsonl`: the compatibility of each sample, as measured by a run.

use crate::error::TrainError;
use crate::run_files::COMPATIBILITY;
use cadft_core::rewrite::Tracker;
use cadft_data::{Example, Samples};
use cadft_files::NewFile;
use serde::{Deserialize, Serialize};
use std::io::{BufWriter, Write};
use std::path::Path;

/// One line: one sample, in the order of the data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleCompatibility {
    /// The row's id.
    pub id: String,
    /// Moving average of its standardised scores; absent if it was not seen since its last change.
    pub average: Option<f64>,
    /// Its newest standardised score.
    pub last_z: Option<f64>,
    /// Number of scores since its last change.
    pub observations: u32,
    /// Number of times it was rewritten; absent for a sample whose rewrite was undone.
    pub rewrites: Option<u32>,
    /// The file of its row; absent in files of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The row's line in that file; for Parquet, the row number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
}

/// Writes the file under a temporary name, then renames it.
pub(super) fn write(path: &Path, source: &Samples, tracker: &Tracker) -> Result<(), TrainError> {
    let mut file = BufWriter::new(NewFile::create(path).map_err(TrainError::io(path))?);
    for sample in 0..source.len() {
        let state = tracker.sample(sample);
        let Example { id, origin, .. } = source.get(sample);
        let line = SampleCompatibility {
            id,
            average: tracker.average(sample),
            last_z: state.last(),
            observations: state.observations(),
            rewrites: Some(state.rewrites()).filter(|&rewrites| rewrites < u32::MAX),
            path: Some(origin.path.to_string()),
            line: Some(origin.line),
        };
        let line = serde_json::to_string(&line).map_err(|error| TrainError::io(path)(error.into()))?;
        writeln!(file, "{line}").map_err(TrainError::io(path))?;
    }
    let file = file
        .into_inner()
        .map_err(|error| TrainError::io(path)(error.into_error()))?;
    file.finish().map_err(TrainError::io(path))
}

/// Reads the file of a run.
///
/// # Errors
/// If the file is missing, or if a line is invalid; the error has the line number.
pub fn read_compatibility(run: &Path) -> Result<Vec<SampleCompatibility>, TrainError> {
    let path = run.join(COMPATIBILITY);
    let shown = cadft_files::shown(&path);
    let text = cadft_files::read_to_string(&path).map_err(|error| {
        TrainError::mismatch(
            format!("cannot read `{shown}`: {error}"),
            "`cadft train` leaves it in the directory of a run when the run ends",
        )
    })?;
    (text.lines().enumerate())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                TrainError::mismatch(
                    format!("{shown}:{}: {error}", number + 1),
                    "the file is written by `cadft train`",
                )
            })
        })
        .collect()
}
