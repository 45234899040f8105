//! `cadft model diff`.

use crate::args::DiffArgs;
use crate::console::{Activity, counted, next};
use crate::{model, output};
use anyhow::Result;
use cadft_files::visible_name;
use cadft_model::checkpoint::{self, TensorDifference};
use schemars::JsonSchema;
use serde::Serialize;

/// How a tensor differs.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Line<'a> {
    /// Its name.
    tensor: &'a str,
    #[serde(flatten)]
    difference: &'a TensorDifference,
}

pub(crate) fn diff(args: &DiffArgs) -> Result<()> {
    let (first, second) = (model::directory(&args.first)?, model::directory(&args.second)?);
    let comparing = Activity::begin("comparing the weights");
    let differences = checkpoint::compare(&first, &second)?;
    drop(comparing);
    if args.json {
        return differences
            .iter()
            .try_for_each(|(tensor, difference)| output::json_line(&Line { tensor, difference }));
    }
    let mut equal = 0;
    for (tensor, difference) in &differences {
        match describe(difference) {
            Some(text) => output::line(format!("{}: {text}", visible_name(tensor)))?,
            None => equal += 1,
        }
    }
    output::line(format!(
        "equal: {equal} of {}",
        counted(differences.len(), "tensor")
    ))?;
    next::model_diffed(&args.first, &args.second);
    Ok(())
}

/// The difference as text; `None` if there is none.
fn describe(difference: &TensorDifference) -> Option<String> {
    match difference {
        TensorDifference::OnlyFirst => Some("only in A".to_owned()),
        TensorDifference::OnlySecond => Some("only in B".to_owned()),
        TensorDifference::Shape { first, second } => Some(format!("shape {first:?} in A, {second:?} in B")),
        TensorDifference::Values { changed: 0, .. } => None,
        TensorDifference::Values {
            changed,
            elements,
            largest,
            relative,
        } => Some(format!(
            "differ: {changed} of {}, by up to {largest:.2e}; relative {relative:.2e}",
            counted(*elements, "element")
        )),
        _ => Some("of a type that is not compared".to_owned()),
    }
}
