//! What a file in the directory of a data set contains, from its name.

use std::path::Path;

use crate::read::unread_kind;

/// Files stored beside the data in directories of data sets; `datasets` skips them too.
const METADATA: [&str; 5] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
];

/// The content of a file, from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Rows, in a file of this kind.
    Rows(&'static str),
    /// Data in an unsupported format, with the hint.
    Unread(&'static str),
    /// The name contains the extension of a data file, but not at its end: a copy, or a part.
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

/// The kind of files with an extension. `datasets` reads only files of one kind together.
fn kind(ending: &str) -> Option<&'static str> {
    match ending {
        "jsonl" | "ndjson" | "json" => Some("JSON"),
        "csv" => Some("CSV"),
        "tsv" => Some("TSV"),
        "parquet" | "pq" => Some("Parquet"),
        _ => None,
    }
}
