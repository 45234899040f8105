//! `cadft model merge`.

use super::dtype;
use super::logits::Logits;
use crate::args::MergeArgs;
use crate::console::{Activity, next, note};
use crate::facts::Merged;
use crate::hint::UsageError;
use crate::model::Directories;
use crate::{destination, device, model, output};
use anyhow::{Result, bail};
use cadft_files::shown;
use cadft_kernels::{Tf32, set_tf32};
use cadft_model::checkpoint::{self, ChatFormat, SaveOptions, has_tokenizer};
use cadft_model::{BaseFormat, FrozenBase, ModelConfig, adapter};
use cadft_train::adapted_tokenizer;
use std::path::Path;

/// Largest change of a logit that merging may cause, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;

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
    let before = Logits::of(&adapted.model, &config);
    let merged = adapted.model.merge_adapter();
    let difference = before.difference(&Logits::of(&merged, &config));
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
