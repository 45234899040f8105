//! Data shared by the blocks in one forward pass: rotary tables of the positions, and which keys are visible.

use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{Packing, Rope};
use crate::cache::{KvCache, Place};
use crate::config::{LayerAttention, ModelConfig, Positions, Temperature};
use crate::delta::{Pass, Segments};
use crate::fused::{CacheRow, Rotation};

/// What every forward pass of a model needs to prepare for the blocks.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The rotary embeddings in use, each with the kind of positions that selects it.
    ropes: Vec<(Positions, Rope)>,
    /// The windows in use.
    windows: Vec<Option<usize>>,
    /// How queries are scaled by their position.
    temperature: Option<Temperature>,
}

impl Shared {
    /// Largest number of positions in a key cache, if it is limited.
    pub(super) fn cached_positions(&self) -> Option<usize> {
        let of_ropes = self.ropes.iter().filter_map(|(_, rope)| rope.cached_positions());
        of_ropes.min()
    }

    pub(super) fn new(config: &ModelConfig) -> Self {
        let uses = |positions| config.layers.iter().any(|layer| layer.positions == positions);
        let ropes = [
            (Positions::Rotary, Rope::new(config)),
            (Positions::LocalRotary, Rope::local(config)),
        ];
        let mut windows = Vec::new();
        for layer in &config.layers {
            if !windows.contains(&layer.window) {
                windows.push(layer.window);
            }
        }
        Self {
            ropes: ropes
                .into_iter()
                .filter(|(positions, _)| uses(*positions))
                .collect(),
            windows,
            temperature: config.temperature,
        }
    }

    fn rotations(&self, positions: &[usize], rows: usize, device: &Device) -> Vec<(Positions, Rotation)> {
        self.ropes
            .iter()
            .map(|(name, rope)| (*name, rope.rotation(positions, rows, device)))
            .collect()
    }

    /// The factors of queries at these positions, `[rows, seq, 1]`; `None` if all are 1.
    fn temperatures(&self, positions: &[usize], rows: usize, device: &Device) -> Option<Tensor<3>> {
        let temperature = self.temperature?;
        let last = positions.iter().max().copied().unwrap_or(0);
        if temperature.at(last) == 1.0 {
            return None;
        }
        let factors: Vec<f32> = positions
            .iter()
            .map(|&position| temperature.at(position) as f32)
            .collect();
        let data = TensorData::new(factors, [rows, positions.len() / rows, 1]);
        Some(Tensor::from_data(data, device))
    }
}

/// Data shared by the blocks in one forward pass.
pub(crate) struct Context {
    rotations: Vec<(Positions, Rotation)>,
    temperature: Option<Tensor<3>>,
    keys: Keys,
}

/// Which keys the queries of a forward pass may attend to.
enum Keys {
    /// Keys of the same pass, from the start of the sample to the query's own position. `starts` has `batch · seq`
    /// indices; it is `None` if every row is one sample.
    Own { starts: Option<Arc<[usize]>> },
    /// Also the keys in a cache.
    Cached {
        /// Where each row continues.
        rows: Vec<CacheRow>,
        /// Where the cache is stored.
        place: Place,
        /// For each window, a mask that is `true` for hidden keys, `[batch or 1, 1, 1, seq, keys]`; `None` if no key is
        /// hidden. The list is empty if the cache is in host memory: its kernels need no mask.
        hidden: Vec<(Option<usize>, Option<Tensor<5, Bool>>)>,
    },
}

impl Context {
    /// The context of `seq` tokens that continue those in `cache`; `weight` is any weight of the model.
    pub(super) fn new(shared: &Shared, seq: usize, cache: Option<&KvCache>, weight: &Tensor<2>) -> Self {
        let device = weight.device();
        let Some(cache) = cache else {
            let positions: Vec<_> = (0..seq).collect();
            return Self {
                rotations: shared.rotations(&positions, 1, &device),
                temperature: shared.temperatures(&positions, 1, &device),
                keys: Keys::Own { starts: None },
            };
        };
        let (rows, place) = (cache.next_rows(seq), Place::of(weight));
        let mut starts: Vec<usize> = rows.iter().map(|row| row.start).collect();
        if starts.iter().all(|&start| start == starts[0]) {
            starts.truncate(1);
        }
        let positions: Vec<usize> = starts.iter().flat_map(|&start| start..start + seq).collect();
        let hidden = match place {
            Place::Host => vec![],
            Place::Device => shared
                .windows
                .iter()
                .map(|&window| (window, hidden_keys(seq, &starts, window, &device)))
                .collect(),
        };
        Self {
            rotations: shared.rotations(&positions, starts.len(), &device),
            temperature: shared.temperatures(&positions, starts.len(), &device),
            keys: Keys::Cached { rows, place, hidden },
        }
    }

    /// The context of rows with several samples each.
    pub(super) fn packed(shared: &Shared, seq: usize, packing: &Packing, device: &Device) -> Self {
        let starts = packing.starts(seq);
        let positions: Vec<_> = starts
            .iter()
            .enumerate()
            .map(|(index, start)| index % seq - start)
            .collect();
        Self {
            rotations: shared.rotations(&positions, packing.lengths.len(), device),
            temperature: shared.temperatures(&positions, packing.lengths.len(), device),
            keys: Keys::Own {
                starts: Some(starts.into()),
            },
        }
    }

    /// The rotation of the queries and keys of a block; `None` if it has no rotary embedding.
    pub(super) fn rotation(&self, layer: LayerAttention) -> Option<&Rotation> {
        self.rotations
            .iter()
            .find(|(positions, _)| *positions == layer.positions)
            .map(|(_, rotation)| rotation)
    }

    /// The factors of queries, `[batch or 1, seq, 1]`; `None` if all are 1.
    pub(super) fn temperature(&self) -> Option<&Tensor<3>> {
        self.temperature.as_ref()
    }

    /// Where each row continues in the cache, and where the cache is stored.
    ///
    /// # Panics
    /// If there is no cache.
    pub(crate) fn cached(&self) -> (&[CacheRow], Place) {
        match &self.keys {
            Keys::Own { .. } => panic!("a forward pass without a cache has no rows in one"),
            Keys::Cached { rows, place, .. } => (rows, *place),
        }
    }

    /// The start of the sample at each position, `batch · seq` indices; `None` if every row is one sample.
    pub(super) fn starts(&self) -> Option<Arc<[usize]>> {
        match &self.keys {
            Keys::Own { starts } => starts.clone(),
            Keys::Cached { .. } => None,
        }
    }

    /// The samples of a pass over `rows · seq` tokens, as linear attention needs them.
    ///
    /// # Panics
    /// If rows of the same slot are apart.
    pub(super) fn pass(&self, rows: usize, seq: usize) -> Pass {
        let (mut lengths, mut slots) = (vec![], vec![]);
        match &self.keys {
            Keys::Own { starts: None } => lengths = vec![seq; rows],
            Keys::Own { starts: Some(starts) } => {
                for (index, &start) in starts.iter().enumerate() {
                    if start == index % seq {
                        lengths.push(0);
                    }
                    if let Some(length) = lengths.last_mut() {
                        *length += 1;
                    }
                }
            }
            Keys::Cached { rows, .. } => {
                for row in rows {
                    if slots.last() == Some(&row.slot) {
                        lengths[slots.len() - 1] += seq;
                        continue;
                    }
                    assert!(
                        !slots.contains(&row.slot),
                        "rows of one slot must follow each other"
                    );
                    slots.push(row.slot);
                    lengths.push(seq);
                }
            }
        }
        Pass {
            segments: Segments::new(lengths),
            slots,
        }
    }

    /// The mask of cached keys that are hidden from the queries of a block.
    pub(super) fn hidden_keys(&self, layer: LayerAttention) -> Option<Tensor<5, Bool>> {
        match &self.keys {
            Keys::Own { .. } => None,
            Keys::Cached { hidden, .. } => hidden
                .iter()
                .find(|(window, _)| *window == layer.window)
                .and_then(|(_, hidden)| hidden.clone()),
        }
    }
}

/// Masks the keys after each query and before its window, up to the longest row; `None` if there are no such keys.
fn hidden_keys(
    seq: usize,
    starts: &[usize],
    window: Option<usize>,
    device: &Device,
) -> Option<Tensor<5, Bool>> {
    let keys = starts.iter().max().map_or(0, |start| start + seq);
    if seq == 1 && starts.len() == 1 && window.is_none_or(|window| keys <= window) {
        return None;
    }
    let mut hidden = Vec::with_capacity(starts.len() * seq * keys);
    for query in starts.iter().flat_map(|&start| start..start + seq) {
        let first = window.map_or(0, |window| (query + 1).saturating_sub(window));
        hidden.extend((0..keys).map(|key| key > query || key < first));
    }
    let data = TensorData::new(hidden, [starts.len(), 1, 1, seq, keys]);
    Some(Tensor::from_data(data, device))
}
