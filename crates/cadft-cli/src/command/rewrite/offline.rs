//! `cadft rewrite run`: one round on a data set, without training.

use crate::args::RewriteRunArgs;
use crate::console::{Activity, counted, next, note};
use crate::destination;
use crate::hint::{self, UsageError};
use crate::model::{OpenInput, directory};
use crate::{interrupt, output};
use anyhow::{Context, Result, bail};
use cadft_files::{NewDirectory, shown};
use cadft_step::Ranks;
use cadft_train::config::RewriteSection;
use cadft_train::data::SampleReader;
use cadft_train::rewrite::{
    Generator, Header, Offline, Record, RewriteLog, RoundSummary, export, rewrite_offline,
};
use cadft_train::run_files::REWRITES;

pub(super) fn run(args: &RewriteRunArgs) -> Result<()> {
    let section = section(args)?;
    destination::new_directory(&args.out)?;
    let model_directory = directory(&args.input.model)?.to_string_lossy().into_owned();
    let opened = OpenInput::open(&args.input, &args.scoring)?;
    let OpenInput {
        model,
        reader,
        data,
        micro,
        ..
    } = &opened;
    let tokenizer = reader.tokenizer();
    if tokenizer.stop_token_ids().is_empty() {
        return Err(UsageError::new(
            format!("`{model_directory}`: the model has no stop token, so nothing that it writes would be complete"),
            "name one as `eos_token` in `tokenizer_config.json`",
        )
        .into());
    }
    let samples = opened.samples()?;
    let stop = interrupt::stop_flag()?;
    let ranks = Ranks::solo();
    let generator = Generator {
        ranks: &ranks,
        model,
        tokenizer,
        section: &section,
        max_length: data.max_length,
        seed: args.seed,
        micro: *micro,
        stop: &stop,
        guide: None,
    };
    let source = Offline {
        model: &model_directory,
        data,
    };
    let rewriting = Activity::begin("scoring and rewriting");
    let round = rewrite_offline(&generator, &samples, &source)?;
    drop(rewriting);
    let Some(round) = round else {
        bail!("interrupted: nothing was written");
    };
    let Some(Record::Header(header)) = round.records.first() else {
        bail!("the round left no header");
    };
    save(args, header, &round.records, reader)?;
    if let Some(warning) = round.summary.warning(0) {
        hint::warn(&warning);
    }
    report(args, &round.summary)
}

/// Writes the log, and the data set with its rewrites, into a new directory.
fn save(args: &RewriteRunArgs, header: &Header, records: &[Record], reader: &SampleReader) -> Result<()> {
    let exported = export(records, header, reader)?;
    let context = || format!("cannot write `{}`", shown(&args.out));
    let new = NewDirectory::begin(&args.out).with_context(context)?;
    RewriteLog::open(&new.path().join(REWRITES))?.append(records)?;
    cadft_files::write_new(&new.path().join("data.jsonl"), &exported.lines).with_context(context)?;
    new.finish().with_context(context)
}

fn section(args: &RewriteRunArgs) -> Result<RewriteSection> {
    let section = RewriteSection {
        fraction: args.fraction,
        probability: args.probability,
        min_observations: 1,
        temperature: args.temperature,
        top_p: args.top_p,
        max_new_tokens: args.max_new_tokens,
        require_lower_score: !args.allow_higher_score,
        same_answer: args.same_answer,
        ..RewriteSection::default()
    };
    let wrong = section.problems();
    if let Some((key, message)) = wrong.first() {
        let option = key.trim_start_matches("rewrite.");
        return Err(UsageError::new(
            format!("`--{option}` {message}"),
            "`cadft rewrite run --help` has the defaults",
        )
        .into());
    }
    Ok(section)
}

fn report(args: &RewriteRunArgs, summary: &RoundSummary) -> Result<()> {
    if args.json {
        return output::json_line(summary);
    }
    note(format!(
        "{} of {} rewritten; `{}` has the data, `cadft rewrite list {}` says what was decided",
        summary.replaced,
        counted(summary.chosen, "sample"),
        cadft_files::shown(&args.out.join("data.jsonl")),
        cadft_files::shown(&args.out)
    ));
    next::rewrites_listed(&args.out);
    Ok(())
}
