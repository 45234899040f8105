//! Which files of a repository are needed: those of a model or adapter, and data files.

use std::collections::BTreeMap;

/// The files of a model except its weights.
const AROUND_WEIGHTS: [&str; 12] = [
    ADAPTER_CONFIG,
    ADAPTER,
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer.model",
];
/// Files whose content `tokenizer.json` repeats.
const IN_TOKENIZER: [&str; 4] = ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model"];

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";

/// The card of a model, or of a data set, which may define configurations.
pub(crate) const CARD: &str = "README.md";

/// The extensions of data files; a compression extension may follow.
const EXTENSIONS: [&str; 7] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "pq"];
const COMPRESSED: [&str; 4] = [".gz", ".gzip", ".zst", ".zstd"];
/// Metadata stored beside data.
const METADATA: [&str; 4] = [
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
];

/// The files around the weights that a repository has.
pub(crate) fn around_weights<'a>(has: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'static str> + 'a {
    AROUND_WEIGHTS.into_iter().filter(move |name| has(name))
}

/// The files of [`around_weights`] that change the model's behaviour if they are absent.
pub(crate) fn needed_around_weights<'a>(
    has: impl Fn(&str) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'static str> + 'a {
    around_weights(has).filter(move |name| !(has(TOKENIZER) && IN_TOKENIZER.contains(name)))
}

/// Whether a file in a directory of data is read as data. Its extension decides. Hidden files, metadata and files below
/// directories such as `__pycache__` are not data.
#[must_use]
pub fn is_data_file(name: &str) -> bool {
    let name = name.to_lowercase();
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name.as_str()));
    let is_hidden = name.split('/').any(|part| part.starts_with('.'))
        || directory.split('/').any(|part| part.starts_with("__"));
    if is_hidden || METADATA.contains(&file) {
        return false;
    }
    let plain = COMPRESSED
        .iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(file);
    plain
        .rsplit_once('.')
        .is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

/// The absent shards of `names`, by their numbers: `train-00000-of-00002.parquet` implies a second shard.
pub(crate) fn absent_shards(names: &[String]) -> Vec<String> {
    /// No data set has more shards; a larger number is not a shard count.
    const MOST: usize = 100_000;
    let mut sets: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for name in names {
        if let Some((start, number, count, end)) = parts_of_shard(name) {
            sets.entry((start, count, end)).or_default().push(number);
        }
    }
    let mut absent = Vec::new();
    for ((start, count, end), numbers) in sets {
        let shards: usize = count.parse().unwrap_or(0);
        if shards > MOST {
            continue;
        }
        let all = (0..shards).map(|shard| format!("{shard:0width$}", width = count.len()));
        let is_absent = |number: &String| !numbers.contains(&number.as_str());
        absent.extend(
            all.filter(is_absent)
                .map(|number| format!("{start}-{number}-of-{count}{end}")),
        );
    }
    absent
}

/// The parts of a shard name: `train`, `00000`, `00002`, `.parquet` for `train-00000-of-00002.parquet`.
fn parts_of_shard(name: &str) -> Option<(&str, &str, &str, &str)> {
    let (front, back) = name.rsplit_once("-of-")?;
    let (start, number) = front.rsplit_once('-')?;
    let digits = back.bytes().take_while(u8::is_ascii_digit).count();
    let (count, end) = back.split_at(digits);
    let is_number = number.len() == digits && digits >= 5 && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && end.starts_with('.')).then_some((start, number, count, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_files_are_known_by_their_names() {
        for name in [
            "a.jsonl",
            "data/b.JSON.gz",
            "c.parquet",
            "d/e.csv.zst",
            "f.pq",
            "g.tsv",
            "_h/__i.csv",
        ] {
            assert!(is_data_file(name), "{name}");
        }
        for name in [
            "README.md",
            ".a.jsonl",
            "__b/c.csv",
            "dataset_infos.json",
            "d/config.json",
            "e.txt",
            "f.gz",
            "jsonl",
        ] {
            assert!(!is_data_file(name), "{name}");
        }
    }

    #[test]
    fn shards_tell_how_many_they_are() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            absent_shards(&names(&[
                "a/train-00001-of-00003.parquet",
                "test.jsonl",
                "test-00000-of-00001.parquet"
            ])),
            ["a/train-00000-of-00003.parquet", "a/train-00002-of-00003.parquet"]
        );
        let complete = [
            "x-00000-of-00002.json.gz",
            "x-00001-of-00002.json.gz",
            "1-of-2.csv",
            "y-1-of-9.csv",
        ];
        assert!(absent_shards(&names(&complete)).is_empty());
        assert!(absent_shards(&names(&["z-00000-of-99999999999999999999999.csv"])).is_empty());
    }
}
