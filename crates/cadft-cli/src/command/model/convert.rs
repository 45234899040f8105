//! `cadft model convert`.

use super::modelfile::{self, Template};
use super::quality::Quality;
use crate::args::{ConvertArgs, InputArgs, Layout, SourceArgs, StoredName};
use crate::console::{Activity, count, next, note};
use crate::destination;
use crate::facts::Converted;
use crate::hint::{self, UsageError};
use crate::{device, model, output};
use anyhow::Result;
use cadft_data::Tokenizer;
use cadft_model::Dtype;
use cadft_model::checkpoint::{self, SaveOptions};
use cadft_model::gguf::{self, GgufDtype};
use cadft_train::Warning;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    let of_gguf = [
        ("--data", !args.data.is_empty()),
        ("--modelfile", args.modelfile.is_some()),
    ];
    if let Some((option, _)) = of_gguf
        .iter()
        .find(|(_, is_given)| *is_given && args.to != Layout::Gguf)
    {
        return Err(UsageError::new(
            format!("`{option}` belongs to a GGUF file, and none is written"),
            "add `--to gguf`",
        )
        .into());
    }
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
    facts(
        args,
        &Converted {
            parameters: Some(import.parameters),
            ..Converted::new(args, dtype.torch_name())
        },
    )
}

/// Prints what was written, as JSON.
fn facts(args: &ConvertArgs, converted: &Converted) -> Result<()> {
    if !args.json {
        return Ok(());
    }
    output::json_line(converted)
}

impl Converted {
    fn new(args: &ConvertArgs, dtype: &str) -> Self {
        Self {
            out: args.out.to_string_lossy().into_owned(),
            dtype: dtype.to_owned(),
            parameters: None,
            difference: None,
            perplexity: None,
        }
    }
}

fn export(directory: &str, args: &ConvertArgs) -> Result<()> {
    let (dtype, name) = match args.dtype {
        None | Some(StoredName::F16) => (GgufDtype::F16, "F16"),
        Some(StoredName::Q8_0) => (GgufDtype::Q8_0, "Q8_0"),
        Some(StoredName::Q6K) => (GgufDtype::Q6K, "Q6_K"),
        Some(StoredName::Q5KM) => (GgufDtype::Q5KM, "Q5_K_M"),
        Some(StoredName::Q4KM) => (GgufDtype::Q4KM, "Q4_K_M"),
        Some(StoredName::Q4_0) => (GgufDtype::Q4_0, "Q4_0"),
        Some(StoredName::F32 | StoredName::Bf16) => {
            return Err(UsageError::new(
                "`--dtype`: a GGUF file is not written as `f32` or `bf16`",
                "`f16` is the most exact format of such a file, `q4_k_m` the usual small one",
            )
            .into());
        }
    };
    let directory = whole(directory)?;
    let input = InputArgs {
        model: directory.to_string_lossy().into_owned(),
        adapter: None,
        data: args.data.clone(),
        source: SourceArgs::default(),
    };
    destination::file_of(Some(&args.out), &input)?;
    if let Some(path) = &args.modelfile {
        let mut read = destination::files_of(&model::sources(&args.data, &input.source)?);
        read.push(directory.clone());
        destination::file_of_option("--modelfile", path, read)?;
        destination::not_one_file(("--modelfile", path), ("--out", &args.out))?;
    }
    let before = Quality::of(&input, args.recipe.as_deref())?;
    let converting = Activity::begin("converting the weights");
    let parameters = gguf::export_gguf(&directory, &args.out, dtype)?;
    drop(converting);
    let change = before.change_to(&args.out)?;
    note(format!(
        "{} parameters are in `{}` as {name}; {change}",
        count(parameters),
        cadft_files::shown(&args.out)
    ));
    if let Some(path) = &args.modelfile {
        write_modelfile(path, &directory, args)?;
    }
    next::wrote_gguf(&args.out);
    facts(
        args,
        &Converted {
            parameters: Some(parameters),
            difference: Some(change.difference),
            perplexity: change.perplexity,
            ..Converted::new(args, name)
        },
    )
}

fn write_modelfile(path: &Path, directory: &Path, args: &ConvertArgs) -> Result<()> {
    let template = modelfile::write(path, &args.out, &Tokenizer::from_dir(directory)?)?;
    if template == Template::Irregular {
        hint::warn(&Warning {
            message: format!(
                "the chat template has no form that Ollama knows, so `{}` has none",
                cadft_files::shown(&path)
            ),
            hint: "Ollama then takes its own for a known model; compare `ollama show --template` with it, or write one"
                .to_owned(),
        });
    }
    note(format!(
        "`ollama create NAME -f {}` takes the file",
        cadft_files::shown(&path)
    ));
    Ok(())
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
    facts(args, &Converted::new(args, dtype.torch_name()))
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
        Some(of_gguf) => {
            let name = of_gguf.to_possible_value();
            let name = name.as_ref().map_or("", |name| name.get_name());
            return Err(UsageError::new(
                format!("`--dtype {name}`: a Hugging Face directory holds `f32`, `bf16` or `f16`"),
                "write a GGUF file with `--to gguf`",
            )
            .into());
        }
    })
}
