//! `cadft model convert`.

use crate::args::{ConvertArgs, Layout, StoredName};
use crate::console::{Activity, count, next, note};
use crate::destination;
use crate::facts::Converted;
use crate::hint::UsageError;
use crate::{device, model, output};
use anyhow::Result;
use cadft_model::Dtype;
use cadft_model::checkpoint::{self, SaveOptions};
use cadft_model::gguf::{self, GgufDtype};
use std::path::{Path, PathBuf};

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    match (&args.gguf, &args.model, args.to) {
        (Some(file), _, Layout::Safetensors) => import(file, args),
        (Some(_), _, Layout::Gguf) => Err(UsageError::new(
            "`--to gguf`: the input is a GGUF file already",
            "give a Hugging Face directory with `--model`",
        )
        .into()),
        (None, Some(directory), Layout::Gguf) => export(directory, args),
        (None, directory, Layout::Safetensors) => rewrite(directory.as_deref().unwrap_or_default(), args),
        (None, None, Layout::Gguf) => {
            Err(UsageError::new("there is nothing to convert", "give `--model DIR`").into())
        }
    }
}

fn import(file: &Path, args: &ConvertArgs) -> Result<()> {
    let dtype = directory_dtype(args.dtype)?;
    destination::new_directory(&args.out)?;
    let converting = Activity::begin("converting the weights");
    let import = gguf::import_gguf(file, &args.out, dtype)?;
    drop(converting);
    let types: Vec<_> = import
        .tensor_types
        .iter()
        .map(|(name, tensors)| format!("{tensors} {name}"))
        .collect();
    note(format!(
        "{} parameters (tensors: {}) are in `{}` as {}",
        count(import.parameters),
        types.join(", "),
        cadft_files::shown(&args.out),
        dtype.torch_name(),
    ));
    next::wrote_model(&args.out);
    facts(args, dtype.torch_name(), Some(import.parameters))
}

/// Prints what was written, as JSON.
fn facts(args: &ConvertArgs, dtype: &str, parameters: Option<usize>) -> Result<()> {
    if !args.json {
        return Ok(());
    }
    output::json_line(&Converted {
        out: args.out.to_string_lossy().into_owned(),
        dtype: dtype.to_owned(),
        parameters,
    })
}

fn export(directory: &str, args: &ConvertArgs) -> Result<()> {
    let (dtype, name) = match args.dtype {
        None | Some(StoredName::F16) => (GgufDtype::F16, "F16"),
        Some(StoredName::Q8_0) => (GgufDtype::Q8_0, "Q8_0"),
        Some(StoredName::F32 | StoredName::Bf16) => {
            return Err(UsageError::new(
                "`--dtype`: a GGUF file is written as `f16` or `q8_0`",
                "other formats are made from it with llama.cpp's `llama-quantize`",
            )
            .into());
        }
    };
    let directory = whole(directory)?;
    destination::file(&args.out, [&directory])?;
    let converting = Activity::begin("converting the weights");
    let parameters = gguf::export_gguf(&directory, &args.out, dtype)?;
    drop(converting);
    note(format!(
        "{} parameters are in `{}` as {name}",
        count(parameters),
        cadft_files::shown(&args.out)
    ));
    next::wrote_gguf(&args.out);
    facts(args, name, Some(parameters))
}

fn rewrite(directory: &str, args: &ConvertArgs) -> Result<()> {
    let directory = whole(directory)?;
    let dtype = directory_dtype(args.dtype)?;
    destination::new_directory(&args.out)?;
    let device = device::open(device::name(None))?;
    model::check_weights(&directory, &device)?;
    let converting = Activity::begin("converting the weights");
    let loaded = checkpoint::load(&directory, &device)?;
    let options = SaveOptions {
        dtype,
        max_shard_bytes: args.max_shard_size * 1_000_000,
        carry_from: Some(directory),
        ..SaveOptions::default()
    };
    checkpoint::save(&args.out, &loaded.model, &loaded.config, &options)?;
    drop(converting);
    note(format!(
        "the weights are in `{}` as {}",
        cadft_files::shown(&args.out),
        dtype.torch_name()
    ));
    next::wrote_model(&args.out);
    facts(args, dtype.torch_name(), None)
}

/// The directory of a model that has all of its weight files.
fn whole(directory: &str) -> Result<PathBuf> {
    let found = model::directory(directory)?;
    if !model::is_adapter(&found) {
        return Ok(found);
    }
    Err(UsageError::new(
        format!("`--model`: `{}` is an adapter", cadft_files::shown(&found)),
        format!(
            "merge it first: `cadft model merge --model {} --out DIR`, then convert that directory",
            cadft_files::shown(&directory)
        ),
    )
    .into())
}

fn directory_dtype(name: Option<StoredName>) -> Result<Dtype> {
    Ok(match name {
        None | Some(StoredName::F32) => Dtype::F32,
        Some(StoredName::Bf16) => Dtype::Bf16,
        Some(StoredName::F16) => Dtype::F16,
        Some(StoredName::Q8_0) => {
            return Err(UsageError::new(
                "`--dtype q8_0`: a Hugging Face directory holds `f32`, `bf16` or `f16`",
                "write a GGUF file with `--to gguf`",
            )
            .into());
        }
    })
}
