//! `cadft data convert`.

use crate::args::DataConvertArgs;
use crate::console::{count, note};
use crate::destination;
use crate::model::sources;
use anyhow::Result;

pub(crate) fn run(args: &DataConvertArgs) -> Result<()> {
    let sources = sources(&args.data, &args.source)?;
    destination::file(&args.out, destination::files_of(&sources))?;
    let rows = cadft_data::convert(&sources, args.to.into(), &args.out)?;
    note(format!(
        "{} rows in `{}`",
        count(rows),
        cadft_files::shown(&args.out)
    ));
    Ok(())
}
