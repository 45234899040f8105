//! `cadft data convert`.

use crate::args::DataConvertArgs;
use crate::console::{Activity, counted, next, note};
use crate::destination;
use crate::facts::WrittenRows;
use crate::model::sources;
use crate::output;
use anyhow::Result;
use cadft_files::shown;

pub(crate) fn run(args: &DataConvertArgs) -> Result<()> {
    let sources = sources(&args.data, &args.source)?;
    destination::file(&args.out, destination::files_of(&sources))?;
    let converting = Activity::begin("converting the data");
    let rows = cadft_data::convert(&sources, args.to.into(), &args.out)?;
    drop(converting);
    note(format!("{} in `{}`", counted(rows, "row"), shown(&args.out)));
    next::wrote_data(&args.out);
    if args.json {
        return output::json_line(&WrittenRows {
            out: args.out.to_string_lossy().into_owned(),
            rows,
            rewritten: None,
        });
    }
    Ok(())
}
