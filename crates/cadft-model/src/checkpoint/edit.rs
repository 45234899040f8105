//! Changes to a JSON file that is copied with a model.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::file::read_object;
use crate::file::write_file;
use crate::json::pretty;

/// Changes the JSON object in `path`, if the file exists. The file is written only if something changed.
pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), ModelError> {
    if !path.is_file() {
        return Ok(());
    }
    let carried = read_object(path)?;
    let mut changed = carried.clone();
    change(&mut changed);
    if changed == carried {
        return Ok(());
    }
    write_file(path, &pretty(&changed))
}
