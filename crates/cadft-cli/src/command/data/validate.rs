//! `cadft data validate`.

use crate::args::ValidateArgs;
use crate::console::{count, note};
use crate::exit::Exit;
use crate::hint::UsageError;
use crate::model::{directory, sources};
use crate::output;
use anyhow::Result;
use cadft_data::{
    DataError, Mixing, Place, Problem, Row, Source, TokenizeOptions, Tokenizer, rows, tokenize,
};
use serde::Serialize;

/// Rows that are rendered together.
const PORTION: usize = 512;

/// A problem, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    message: &'a str,
}

/// What has been found so far.
struct Validation {
    tokenizer: Option<Tokenizer>,
    options: TokenizeOptions,
    json: bool,
    rows: usize,
    problems: usize,
    /// Rows that wait to be rendered.
    portion: Vec<Row>,
}

pub(crate) fn run(args: &ValidateArgs) -> Result<Exit> {
    let sources = sources(&args.data, &args.source)?;
    let tokenizer = match &args.model {
        Some(model) => Some(
            args.template
                .tokenizer(Tokenizer::from_dir(&directory(model)?)?)?,
        ),
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
        rows: 0,
        problems: 0,
        portion: Vec::new(),
    };
    for source in &sources {
        validation.read(source)?;
    }
    let Validation { rows, problems, .. } = validation;
    note(&match problems {
        0 => format!("{} rows, nothing wrong", count(rows)),
        _ => format!("{} problems; {} rows are good", count(problems), count(rows)),
    });
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
                Ok(row) if self.tokenizer.is_some() => self.portion.push(row),
                Ok(_) => self.rows += 1,
                Err(Problem { path, place, message }) => self.report(&path, place, &message)?,
            }
            if self.portion.len() == PORTION {
                self.render()?;
            }
        }
        self.render()
    }

    /// Renders and masks the rows that wait.
    fn render(&mut self) -> Result<()> {
        let portion = std::mem::take(&mut self.portion);
        let Some(tokenizer) = self.tokenizer.as_ref().filter(|_| !portion.is_empty()) else {
            return Ok(());
        };
        let problems = match tokenize(&portion, tokenizer, &self.options) {
            Err(DataError::Rows { problems, .. }) => problems,
            // Rows without a trained token are left out of training, and no error.
            Ok(_) | Err(DataError::NothingToTrain { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        self.rows += portion.len() - problems.len();
        for problem in problems {
            self.report(&problem.file, problem.place, &problem.message)?;
        }
        Ok(())
    }

    fn report(&mut self, path: &str, place: Place, message: &str) -> Result<()> {
        self.problems += 1;
        if !self.json {
            let problem = Problem {
                path: path.to_owned(),
                place,
                message: message.to_owned(),
            };
            return output::line(&problem.to_string());
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

/// What is wrong with a source, without its path and a hint.
fn wrong_with(error: &DataError) -> String {
    match error {
        DataError::Source { message, .. } => message.clone(),
        DataError::Io { source, .. } => format!("cannot be read: {source}"),
        other => other.to_string(),
    }
}
