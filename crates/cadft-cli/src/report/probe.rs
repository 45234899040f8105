//! What `cadft probe --out RUN/probe.json` found, as a table and a picture.

use super::text::rounded;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The file of a probe in the directory of a run or a comparison.
const PROBE: &str = "probe.json";

/// A probe as the page shows it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Probed {
    name: String,
    samples: u64,
    rows: Vec<Row>,
    /// What the bins of the weights are called.
    bins: Vec<String>,
    has_noise: bool,
    has_clean: bool,
}

/// An objective.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    name: String,
    /// Second moment over that without weights.
    ratio: String,
    signal_to_noise: String,
    effective: String,
    cosine: String,
    auc: String,
    recall: String,
    /// The bins that have a share of the second moment: where they begin and how wide they are, in percent, and which they are.
    parts: Vec<Part>,
}

/// The share of a bin, as the picture shows it.
#[derive(Debug, PartialEq, Serialize)]
struct Part {
    bin: usize,
    from: f64,
    width: f64,
    title: String,
}

/// The probe that lies in `directory`; `None` if there is none, or a file of that name that holds another thing.
pub(super) fn read(directory: &Path, name: &str) -> Option<Probed> {
    let text = cadft_files::read_to_string(&directory.join(PROBE)).ok()?;
    let found: Value = serde_json::from_str(&text).ok()?;
    let objectives = found["objectives"].as_array()?;
    let starts: Vec<f64> = (objectives.first()?["bins"].as_array()?.iter())
        .filter_map(|bin| bin["from"].as_f64())
        .collect();
    let bins: Vec<String> = (starts.iter().enumerate())
        .map(|(index, from)| match starts.get(index + 1) {
            Some(to) => format!("{from:.1} to {to:.1}"),
            None => format!("{from:.0}"),
        })
        .collect();
    let has = |key: &str| objectives.iter().any(|row| !row[key].is_null());
    Some(Probed {
        name: name.to_owned(),
        samples: found["samples"].as_u64()?,
        rows: objectives.iter().map(|found| row(found, &bins)).collect(),
        has_noise: has("noise"),
        has_clean: has("cosine_to_clean"),
        bins,
    })
}

fn row(found: &Value, bins: &[String]) -> Row {
    let number = |value: &Value| value.as_f64();
    let shown =
        |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |x| format!("{x:.digits$}"));
    let moments = number(&found["second_moment"]).zip(number(&found["unweighted_second_moment"]));
    let ratio = moments
        .filter(|(_, all)| *all > 0.0)
        .map(|(weighted, all)| weighted / all);
    let (mut parts, mut from) = (vec![], 0.0);
    let shares = found["bins"].as_array().into_iter().flatten().zip(bins);
    for (bin, (share, name)) in shares.enumerate() {
        let width = 100.0 * number(&share["second_moment"]).unwrap_or(0.0);
        if width > 0.0 {
            parts.push(Part {
                bin,
                from: rounded(from),
                width: rounded(width),
                title: format!("weight {name}: {width:.1} % of it, {} samples", share["samples"]),
            });
        }
        from += width;
    }
    Row {
        name: found["name"].as_str().unwrap_or_default().to_owned(),
        ratio: shown(ratio, 3),
        signal_to_noise: shown(number(&found["signal_to_noise"]), 4),
        effective: shown(number(&found["effective_sample_size"]), 1),
        cosine: shown(number(&found["cosine_to_clean"]), 4),
        auc: shown(number(&found["noise"]["auc"]), 3),
        recall: shown(number(&found["noise"]["recall"]), 3),
        parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shares_lie_side_by_side_and_empty_bins_are_not_drawn() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path(), "run"), None);
        let bin = |from: f64, share: f64| json!({"from": from, "samples": 3, "second_moment": share});
        let found = json!({"samples": 9, "objectives": [{"name": "cadft", "second_moment": 0.5,
            "unweighted_second_moment": 2.0, "signal_to_noise": null, "effective_sample_size": 7.25, "cosine_to_clean": 0.5,
            "noise": null, "bins": [bin(0.0, 0.25), bin(0.5, 0.0), bin(1.0, 0.75)]}]});
        std::fs::write(directory.path().join(PROBE), found.to_string()).unwrap();
        let probed = read(directory.path(), "run").unwrap();
        assert_eq!(probed.bins, ["0.0 to 0.5", "0.5 to 1.0", "1"]);
        assert_eq!((probed.has_noise, probed.has_clean), (false, true));
        let row = &probed.rows[0];
        assert_eq!(
            [&row.ratio, &row.signal_to_noise, &row.cosine],
            ["0.250", "–", "0.5000"]
        );
        let parts: Vec<_> = row
            .parts
            .iter()
            .map(|part| (part.bin, part.from, part.width))
            .collect();
        assert_eq!(parts, [(0, 0.0, 25.0), (2, 25.0, 75.0)]);
        std::fs::write(directory.path().join(PROBE), "{}").unwrap();
        assert_eq!(read(directory.path(), "run"), None);
    }
}
