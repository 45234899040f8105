//! The results of a probe, as one JSON object and as a table for a terminal.

use crate::noise::{Influenced, Recall};
use cadft_core::{AnyObjective, Normalisation};
use cadft_step::Probe;
use comfy_table::{CellAlignment, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Lower limits of the bins of weights; the last bin holds weights of 1.
const BINS: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// The results.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::command) struct Found {
    /// Samples of `--data`.
    pub(super) samples: usize,
    /// Samples of `--clean`.
    pub(super) clean_samples: Option<usize>,
    /// Parameters of the model.
    pub(super) parameters: usize,
    /// What the loss is divided by.
    pub(super) normalisation: Normalisation,
    /// The size of the sketch; absent if all coordinates were used.
    pub(super) sketch: Option<usize>,
    /// The seed of the sketch.
    pub(super) seed: Option<u64>,
    /// The β of the weights (CADFT-3) that the bins use.
    pub(super) beta: f64,
    /// One row for each objective.
    pub(super) objectives: Vec<Row>,
}

/// The results of one objective.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::command) struct Row {
    /// The name of the objective.
    name: &'static str,
    /// The objective with its settings, as a recipe spells it.
    objective: Value,
    /// `E‖u‖²` of the weighted gradients (PROBE-2).
    second_moment: f64,
    /// The same with all weights 1.
    unweighted_second_moment: f64,
    /// `‖ū‖`.
    mean_norm: f64,
    /// PROBE-3; absent if all samples have the same gradient.
    signal_to_noise: Option<f64>,
    /// `(Σw)²/Σw²`.
    effective_sample_size: f64,
    /// The cosine between the mean gradients of `--data` and of `--clean`.
    cosine_to_clean: Option<f64>,
    /// Statistics of planted noise, if the data have any.
    noise: Option<Recall>,
    /// Samples by CADFT's weight, also for objectives with other weights.
    bins: Vec<Bin>,
}

/// The samples whose weights are in one range.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Bin {
    /// Lower limit of the range; the upper limit is the next bin's `from`.
    from: f64,
    /// Samples of the range.
    samples: usize,
    /// Share of the second moment.
    second_moment: f64,
    /// Share of the second moment with all weights 1.
    unweighted_second_moment: f64,
}

impl Row {
    /// Of the samples, `weights` are those of the bins; `influenced` says which are planted noise, if that is known.
    pub(super) fn new(
        objective: &AnyObjective,
        probe: &Probe,
        clean: Option<&Probe>,
        (weights, influenced): (&[f64], Option<Vec<Influenced>>),
    ) -> Self {
        Self {
            name: objective.name(),
            objective: super::spelled(objective),
            second_moment: probe.second_moment(),
            unweighted_second_moment: probe.unweighted_second_moment(),
            mean_norm: probe.mean_norm(),
            signal_to_noise: finite(probe.signal_to_noise()),
            effective_sample_size: probe.effective_sample_size(),
            cosine_to_clean: clean.and_then(|clean| finite(probe.cosine(clean))),
            noise: influenced.map(|samples| Recall::of(&samples)),
            bins: bins(probe, weights),
        }
    }

    /// The name of the objective.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    fn cells(&self, with_clean: bool) -> Vec<String> {
        let optional =
            |value: Option<f64>, digits| value.map_or("–".to_owned(), |x| format!("{x:.digits$}"));
        let mut cells = vec![
            self.name.to_owned(),
            format!("{:.4e}", self.second_moment),
            format!("{:.4e}", self.unweighted_second_moment),
            format!("{:.4e}", self.mean_norm),
            optional(self.signal_to_noise, 4),
            format!("{:.1}", self.effective_sample_size),
        ];
        if with_clean {
            cells.push(optional(self.cosine_to_clean, 4));
        }
        cells.extend(self.noise.iter().flat_map(Recall::cells));
        cells.extend((self.bins.iter()).map(|bin| format!("{:.1} %", 100.0 * bin.second_moment)));
        cells
    }
}

impl Found {
    /// The table as text for a terminal.
    pub(super) fn terminal(&self) -> comfy_table::Table {
        let with_clean = self.clean_samples.is_some();
        let mut header = vec!["objective", "E‖u‖²", "E‖G‖²", "‖ū‖", "signal/noise", "effective"];
        if with_clean {
            header.push("cos clean");
        }
        if self.objectives.iter().any(|row| row.noise.is_some()) {
            header.extend(["noise AUC", "noise recall"]);
        }
        header.extend(["w < 0.2", "< 0.4", "< 0.6", "< 0.8", "< 1", "w = 1"]);
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header);
        table.add_rows(self.objectives.iter().map(|row| row.cells(with_clean)));
        for index in 1..table.column_count() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Shares of the second moments by range of weights.
fn bins(probe: &Probe, weights: &[f64]) -> Vec<Bin> {
    let (mut bins, mut sums) = (vec![], [0.0; 2]);
    for from in BINS {
        bins.push(Bin {
            from,
            samples: 0,
            second_moment: 0.0,
            unweighted_second_moment: 0.0,
        });
    }
    for (sample, &weight) in probe.samples.iter().zip(weights) {
        let index = BINS.iter().rposition(|&from| weight >= from).unwrap_or(0);
        let bin = &mut bins[index];
        let weighted = sample.weighted();
        bin.samples += 1;
        bin.second_moment += weighted;
        bin.unweighted_second_moment += sample.squared_norm;
        sums[0] += weighted;
        sums[1] += sample.squared_norm;
    }
    for bin in &mut bins {
        // If all gradients are 0, all shares are 0.
        bin.second_moment /= if sums[0] > 0.0 { sums[0] } else { 1.0 };
        bin.unweighted_second_moment /= if sums[1] > 0.0 { sums[1] } else { 1.0 };
    }
    bins
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
