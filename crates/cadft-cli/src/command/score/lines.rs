//! One line for each sample, on standard output or in a file.

use crate::output;
use anyhow::{Context, Result};
use cadft_data::write_parquet;
use cadft_files::NewFile;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The facts of a sample.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Line<'a> {
    /// The row's id.
    pub(super) id: &'a str,
    /// Its tokens.
    pub(super) tokens: usize,
    /// Its supervised tokens.
    pub(super) supervised: usize,
    /// Mean negative log-likelihood over its supervised tokens, nats (CADFT-1).
    pub(super) nll: f64,
    /// That, standardised over all samples that were given (CADFT-2).
    pub(super) z: f64,
    /// The weight that CADFT would give it (CADFT-3).
    pub(super) weight: f64,
    /// Moving average of `z` in the run of `--run`; null where the run did not see the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) average: Option<Option<f64>>,
    /// The file of its row.
    pub(super) path: &'a str,
    /// The line there, from 1; in Parquet the row.
    pub(super) line: usize,
}

/// The output of the lines. A file is written completely, or not at all.
pub(super) enum Lines {
    Printed,
    File(BufWriter<NewFile>, PathBuf),
    /// The columns of a table are known only after the last line.
    Table(Vec<Value>, PathBuf),
}

impl Lines {
    /// Starts the output: to `out`, as a table if its name ends in `.parquet`; without `out`, to standard output.
    pub(super) fn begin(out: Option<&Path>) -> Result<Self> {
        Ok(match out {
            None => Self::Printed,
            Some(path) if path.extension().is_some_and(|extension| extension == "parquet") => {
                Self::Table(vec![], path.to_owned())
            }
            Some(path) => {
                let file = NewFile::create(path).with_context(|| cannot_write(path))?;
                Self::File(BufWriter::new(file), path.to_owned())
            }
        })
    }

    pub(super) fn push(&mut self, line: &Line<'_>) -> Result<()> {
        match self {
            Self::Printed => output::json_line(line)?,
            Self::File(out, path) => {
                writeln!(out, "{}", serde_json::to_string(line)?).with_context(|| cannot_write(path))?;
            }
            Self::Table(records, _) => records.push(serde_json::to_value(line)?),
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::Printed => Ok(()),
            Self::File(out, path) => {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error);
                file.and_then(NewFile::finish)
                    .with_context(|| cannot_write(&path))
            }
            Self::Table(records, path) => Ok(write_parquet(&path, &records)?),
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", cadft_files::shown(&path))
}
