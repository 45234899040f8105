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
use cadft_kernels::{Tf32, set_tf32};
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
    // The comparison below is of f32.
    set_tf32(Tf32::Refused);
    model::check_weights(&directory, &device)?;
    let merging = Activity::begin("merging");
    let packed = frozen_base(args.base.into(), (&directory, &adapter))?;
    let base = checkpoint::load_on_base(&directory, &device, packed.as_ref())?;
    let adapted =
        adapter::load(&adapter, base.model, &base.config).map_err(|error| error.on_model(&directory))?;
    let config = adapted.config;
    let before = logits(&adapted.model, &config);
    let merged = adapted.model.merge_adapter();
    let after = logits(&merged, &config);
    let difference = relative_difference(&before, &after, of_tokens(&config));
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
    let trained = adapter::saved_modules(adapter, &config).map_err(|error| error.on_model(model))?;
    Ok(Some(FrozenBase { format, trained }))
}

/// The stop tokens of the adapter; empty if neither the adapter nor its model has a tokenizer.
fn stop_token_ids(model: &Path, adapter: &Path) -> Result<Vec<u32>> {
    if !has_tokenizer(model) && !has_tokenizer(adapter) {
        return Ok(vec![]);
    }
    Ok(adapted_tokenizer(model, adapter)?.stop_token_ids().to_vec())
}

/// How the differences at single tokens make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfTokens {
    /// The largest.
    Largest,
    /// The median. Where two experts are nearly equal, rounding decides which of them a token goes to.
    Median,
}

fn of_tokens(config: &ModelConfig) -> OfTokens {
    match config.experts {
        None => OfTokens::Largest,
        Some(_) => OfTokens::Median,
    }
}

/// The logits of each token of a text that is spread over the vocabulary, `[TOKENS][vocab]`. In a model with experts each token is a text
/// of its own, so that the experts of one do not change the logits of the others.
fn logits(model: &CausalLm, config: &ModelConfig) -> Vec<Vec<f32>> {
    let vocab = config.vocab_size;
    let ids: Vec<i64> = (0..TOKENS)
        .map(|index| ((index * vocab / TOKENS + index * index) % vocab) as i64)
        .collect();
    let shape = match of_tokens(config) {
        OfTokens::Largest => [1, TOKENS],
        OfTokens::Median => [TOKENS, 1],
    };
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &model.device());
    let logits = model.logits(model.hidden_states(ids)).into_data();
    let logits: Vec<f32> = logits.iter().collect();
    logits.chunks(vocab).map(<[f32]>::to_vec).collect()
}

/// How far two lists of logits are apart, relative to the largest logit.
fn relative_difference(before: &[Vec<f32>], after: &[Vec<f32>], of: OfTokens) -> f64 {
    let all = before.iter().flatten();
    let largest = all.fold(0.0f64, |largest, logit| largest.max(f64::from(logit.abs())));
    let of_token = |(before, after): (&Vec<f32>, &Vec<f32>)| {
        before.iter().zip(after).fold(0.0f64, |worst, (before, after)| {
            let difference = f64::from((before - after).abs());
            if difference.is_nan() {
                f64::INFINITY
            } else {
                worst.max(difference)
            }
        })
    };
    let mut differences: Vec<f64> = before.iter().zip(after).map(of_token).collect();
    differences.sort_by(f64::total_cmp);
    let place = match of {
        OfTokens::Largest => differences.len().checked_sub(1),
        OfTokens::Median => Some(differences.len() / 2),
    };
    let difference = place.and_then(|place| differences.get(place)).copied();
    difference.unwrap_or_default() / largest.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_relative_to_the_largest_logit_and_never_hides_nan() {
        let largest = |before: &[f32], after: &[f32]| {
            relative_difference(&[before.to_vec()], &[after.to_vec()], OfTokens::Largest)
        };
        assert!((largest(&[1.0, -4.0], &[1.0, -4.2]) - 0.05).abs() < 1e-6);
        assert!(largest(&[1.0, 2.0], &[f32::NAN, 2.0]).is_infinite());
    }

    #[test]
    fn with_experts_single_tokens_may_go_another_way_but_not_most_of_them() {
        let before = vec![vec![1.0, 4.0]; 5];
        let moved = |count: usize| {
            let mut after = before.clone();
            after[..count].iter_mut().for_each(|token| token[0] = 3.0);
            relative_difference(&before, &after, OfTokens::Median)
        };
        assert_eq!([moved(2), moved(3)], [0.0, 0.5]);
    }
}
