//! `cadft model merge`.

use super::dtype;
use crate::args::MergeArgs;
use crate::console::{Activity, next, note};
use crate::facts::Merged;
use crate::hint::UsageError;
use crate::model::Directories;
use crate::{destination, device, model, output};
use anyhow::{Result, bail};
use burn::tensor::{Int, Tensor, TensorData};
use cadft_files::shown;
use cadft_model::checkpoint::{self, ChatFormat, SaveOptions, has_tokenizer};
use cadft_model::{BaseFormat, CausalLm, FrozenBase, ModelConfig, adapter};
use cadft_train::adapted_tokenizer;
use std::path::Path;

/// Largest change of a logit that merging may cause, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;
/// Length of the text whose logits are compared, in tokens.
const TOKENS: usize = 64;

pub(crate) fn merge(args: &MergeArgs) -> Result<()> {
    let Directories {
        base: directory,
        adapter,
    } = model::directories(&args.model, args.adapter.as_deref())?;
    let Some(adapter) = adapter else {
        return Err(UsageError::new(
            format!("`--model`: `{}` is a model without an adapter", shown(&directory)),
            "give the adapter as `--model`, which names its model, or with `--adapter`",
        )
        .into());
    };
    destination::new_directory(&args.out)?;
    let device = device::open(device::name(args.device.device.as_deref()))?;
    model::check_weights(&directory, &device)?;
    let merging = Activity::begin("merging");
    let packed = frozen_base(args.base.into(), (&directory, &adapter))?;
    let base = checkpoint::load_on_base(&directory, &device, packed.as_ref())?;
    let adapted =
        adapter::load(&adapter, base.model, &base.config).map_err(|error| error.on_model(&directory))?;
    let config = adapted.config;
    let before = logits(&adapted.model, config.vocab_size);
    let merged = adapted.model.merge_adapter();
    let after = logits(&merged, config.vocab_size);
    let difference = relative_difference(&before, &after);
    if !difference.is_finite() || difference > TOLERANCE {
        bail!(
            "merging changes the logits by {difference:.1e} of the largest, more than {TOLERANCE:e}: nothing was written"
        );
    }
    let base_directory = directory.to_string_lossy().into_owned();
    let options = SaveOptions {
        dtype: dtype(args.dtype),
        chat: ChatFormat {
            stop_token_ids: stop_token_ids(&directory, &adapter)?,
            ..ChatFormat::default()
        },
        carry_from: Some(directory),
        carry_over: Some(adapter.clone()),
        ..SaveOptions::default()
    };
    checkpoint::save(&args.out, &merged, &config, &options)?;
    drop(merging);
    let stored = options.dtype.torch_name();
    note(format!(
        "`{}` is merged into `{}` as {stored}; logits before and after differ by {difference:.1e} of the largest",
        shown(&adapter),
        shown(&args.out),
    ));
    next::wrote_model(&args.out);
    if args.json {
        return output::json_line(&Merged {
            out: args.out.to_string_lossy().into_owned(),
            model: base_directory,
            adapter: adapter.to_string_lossy().into_owned(),
            difference,
        });
    }
    Ok(())
}

/// How the base was packed in training, if it was.
fn frozen_base(base: BaseFormat, (model, adapter): (&Path, &Path)) -> Result<Option<FrozenBase>> {
    let Some(format) = base.packed() else {
        return Ok(None);
    };
    let config = ModelConfig::from_file(&model.join("config.json"))?;
    let (settings, _) = adapter::resolve(adapter, &config).map_err(|error| error.on_model(model))?;
    Ok(Some(FrozenBase {
        format,
        // Names are full in a resolved adapter.
        trained: settings.modules_to_save,
    }))
}

/// The stop tokens of the adapter; empty if neither the adapter nor its model has a tokenizer.
fn stop_token_ids(model: &Path, adapter: &Path) -> Result<Vec<u32>> {
    if !has_tokenizer(model) && !has_tokenizer(adapter) {
        return Ok(vec![]);
    }
    Ok(adapted_tokenizer(model, adapter)?.stop_token_ids().to_vec())
}

/// The logits of a text whose tokens are spread over the vocabulary.
fn logits(model: &CausalLm, vocab: usize) -> Vec<f32> {
    let ids: Vec<i64> = (0..TOKENS)
        .map(|index| ((index * vocab / TOKENS + index * index) % vocab) as i64)
        .collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, TOKENS]), &model.device());
    model
        .logits(model.hidden_states(ids))
        .into_data()
        .iter::<f32>()
        .collect()
}

fn relative_difference(before: &[f32], after: &[f32]) -> f64 {
    let largest = before
        .iter()
        .fold(0.0f64, |largest, logit| largest.max(f64::from(logit.abs())));
    let difference = before.iter().zip(after).fold(0.0f64, |worst, (before, after)| {
        let difference = f64::from((before - after).abs());
        if difference.is_nan() {
            f64::INFINITY
        } else {
            worst.max(difference)
        }
    });
    difference / largest.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_relative_to_the_largest_logit_and_never_hides_nan() {
        assert!((relative_difference(&[1.0, -4.0], &[1.0, -4.2]) - 0.05).abs() < 1e-6);
        assert!(relative_difference(&[1.0, 2.0], &[f32::NAN, 2.0]).is_infinite());
    }
}
