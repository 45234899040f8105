//! What a file in the directory of a data set holds, by its name.

use std::path::Path;

use crate::read::unread_kind;

/// Files that lie beside data in directories of data sets; `datasets` passes them over too.
const METADATA: [&str; 5] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
];

/// What a file holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Rows, in files of this kind.
    Rows(&'static str),
    /// Data that are not read, and what to do about it.
    Unread(&'static str),
    /// The ending of a data file is in the name, but not at its end: a copy, or a part.
    Unclear,
    /// No data.
    Other,
}

pub(super) fn content(path: &Path) -> Content {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if METADATA.contains(&&*name) {
        return Content::Other;
    }
    let name = name.to_lowercase();
    if let Some(hint) = unread_kind(&name) {
        return Content::Unread(hint);
    }
    let packed = [".gz", ".gzip", ".zst", ".zstd"];
    let bare = packed
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(&name);
    let endings: Vec<_> = bare.split('.').skip(1).map(kind).collect();
    match endings.as_slice() {
        [.., Some(kind)] => Content::Rows(kind),
        endings if endings.iter().any(Option::is_some) => Content::Unclear,
        _ => Content::Other,
    }
}

/// The kind of the files with an ending. `datasets` reads those of one kind together.
fn kind(ending: &str) -> Option<&'static str> {
    match ending {
        "jsonl" | "ndjson" | "json" => Some("JSON"),
        "csv" => Some("CSV"),
        "tsv" => Some("TSV"),
        "parquet" | "pq" => Some("Parquet"),
        _ => None,
    }
}
