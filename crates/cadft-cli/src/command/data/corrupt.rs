//! `cadft data corrupt`.

use crate::args::CorruptArgs;
use crate::console::{Activity, count, counted, next, note};
use crate::destination;
use crate::facts::Corrupted;
use crate::hint::UsageError;
use crate::model::sources;
use crate::output;
use anyhow::Result;
use cadft_data::Corruption;

pub(crate) fn run(args: &CorruptArgs) -> Result<()> {
    if args.out.extension().is_none_or(|extension| extension != "jsonl") {
        let message = format!(
            "`--out`: `{}` does not end in .jsonl",
            cadft_files::shown(&args.out)
        );
        return Err(UsageError::new(message, "planted noise is written as JSON Lines").into());
    }
    let sources = sources(&args.data, &args.source)?;
    destination::file(&args.out, destination::files_of(&sources))?;
    let mut kinds = vec![];
    for kind in &args.kinds {
        let kind = (*kind).into();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let corruption = Corruption {
        kinds,
        share: args.share,
        seed: args.seed,
    };
    let planting = Activity::begin("planting noise");
    let (rows, planted) = cadft_data::corrupt(&sources, &corruption, &args.out)?;
    drop(planting);
    let kinds: Vec<String> = (planted.iter())
        .map(|(kind, planted)| format!("{} `{}`", count(*planted), kind.name()))
        .collect();
    note(format!(
        "{} in `{}`, noise in {} of them: {}",
        counted(rows, "row"),
        cadft_files::shown(&args.out),
        count(planted.iter().map(|(_, planted)| planted).sum()),
        kinds.join(", ")
    ));
    next::corrupted(&args.out);
    if args.json {
        return output::json_line(&Corrupted {
            out: args.out.to_string_lossy().into_owned(),
            rows,
            planted: planted
                .iter()
                .map(|(kind, planted)| (kind.name(), *planted))
                .collect(),
        });
    }
    Ok(())
}
