//! `cadft data validate`.

use crate::args::ValidateArgs;
use crate::console::{Activity, count, counted, next, note};
use crate::exit::Exit;
use crate::hint::UsageError;
use crate::model::{sources, tokenizer, warn_about_lost};
use crate::output;
use anyhow::Result;
use cadft_data::{
    DataError, Mixing, Part, Place, Problem, Row, Source, TokenizeOptions, Tokenizer, check_rows, rows,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Number of rows that are checked together.
const PORTION: usize = 512;

/// A problem, as JSON.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Line<'a> {
    /// The file.
    path: &'a str,
    /// The line, from 1; absent in Parquet, and where the whole file is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The row of a Parquet file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    /// What is wrong.
    message: &'a str,
}

/// The results so far.
struct Validation {
    tokenizer: Option<Tokenizer>,
    options: TokenizeOptions,
    json: bool,
    /// Largest number of problems to print.
    limit: usize,
    rows: usize,
    problems: usize,
    /// For each part of rows, the number of rows whose chat template omits it.
    lost: BTreeMap<Part, usize>,
    /// Rows that are not checked yet.
    portion: Vec<Row>,
    /// Ends with the first problem, which is shown in its place.
    reading: Option<Activity>,
}

pub(crate) fn run(args: &ValidateArgs) -> Result<Exit> {
    let sources = sources(&args.data, &args.source)?;
    let tokenizer = match &args.model {
        Some(model) => Some(args.template.tokenizer(tokenizer(model, None)?)?),
        None if args.template.is_given() => {
            return Err(UsageError::new(
                "`--template` and `--template-variable` need `--model`",
                "rows are rendered only with a model's tokenizer: add `--model DIR`",
            )
            .into());
        }
        None => None,
    };
    let mut validation = Validation {
        tokenizer,
        options: TokenizeOptions::new(usize::MAX, args.mask.into()),
        json: args.json,
        limit: args.limit,
        rows: 0,
        problems: 0,
        lost: BTreeMap::new(),
        portion: Vec::new(),
        reading: Some(Activity::begin("reading the data")),
    };
    for source in &sources {
        validation.read(source)?;
    }
    validation.reading = None;
    let Validation {
        rows,
        problems,
        limit,
        lost,
        ..
    } = validation;
    warn_about_lost(&lost, rows);
    let shown = if problems > limit {
        format!(" ({} of them shown; `--limit` shows more)", count(limit))
    } else {
        String::new()
    };
    note(match problems {
        0 => format!("{}, nothing wrong", counted(rows, "row")),
        _ => format!(
            "{}{shown}; good: {}",
            counted(problems, "problem"),
            counted(rows, "row")
        ),
    });
    if problems == 0 {
        let model = args.model.as_deref().map(|model| next::Given(model, None));
        next::looked_at(model, &args.data);
    }
    Ok(match problems {
        0 => Exit::Done,
        _ => Exit::Usage,
    })
}

impl Validation {
    fn read(&mut self, source: &Source) -> Result<()> {
        let items = match rows(std::slice::from_ref(source), &Mixing::default()) {
            Ok(items) => items,
            Err(error) => return self.report(&source.path, Place::File, &wrong_with(&error)),
        };
        for item in items {
            match item {
                Ok(row) => self.portion.push(row),
                Err(problem) => self.report(&problem.path, problem.place, &problem.message)?,
            }
            if self.portion.len() == PORTION {
                self.check()?;
            }
        }
        self.check()
    }

    /// Checks the waiting rows: whether some of each is trained and, with a tokenizer, whether it can be rendered and
    /// masked.
    fn check(&mut self) -> Result<()> {
        let portion = std::mem::take(&mut self.portion);
        let checked = check_rows(&portion, self.tokenizer.as_ref(), &self.options)?;
        for (row, checked) in portion.iter().zip(checked) {
            match checked {
                Err(message) => self.report(&row.file, row.place(), &message)?,
                Ok(lost) => {
                    self.rows += 1;
                    lost.into_iter()
                        .for_each(|part| *self.lost.entry(part).or_default() += 1);
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, path: &str, place: Place, message: &str) -> Result<()> {
        self.problems += 1;
        self.reading = None;
        if self.problems > self.limit {
            return Ok(());
        }
        if !self.json {
            let problem = Problem {
                path: path.to_owned(),
                place,
                message: message.to_owned(),
                hint: None,
            };
            return output::line(problem.to_string());
        }
        let (line, row) = match place {
            Place::File => (None, None),
            Place::Line(line) => (Some(line), None),
            Place::Row(row) => (None, Some(row)),
        };
        output::json_line(&Line {
            path,
            line,
            row,
            message,
        })
    }
}

/// The error of a source, without its path and its hint.
fn wrong_with(error: &DataError) -> String {
    match error {
        DataError::Source { message, .. } => message.clone(),
        DataError::Io { source, .. } => format!("cannot be read: {source}"),
        other => other.to_string(),
    }
}
