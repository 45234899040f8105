//! What the blocks of one forward pass share: rotary tables of the positions, and which keys may be attended to.

use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{Packing, Rope};
use crate::cache::{KvCache, Place};
use crate::config::{LayerAttention, ModelConfig, Positions, Temperature};
use crate::fused::{CacheRow, Rotation};

/// What the blocks of a model ask of every forward pass.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The rotary embeddings in use, by how blocks name them.
    ropes: Vec<(Positions, Rope)>,
    /// The windows in use.
    windows: Vec<Option<usize>>,
    /// How queries are scaled by their position.
    temperature: Option<Temperature>,
}

impl Shared {
    /// How many positions a cache of keys may hold.
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

    /// What queries at these positions are multiplied by, `[rows, seq, 1]`; `None` where that is 1 for all.
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

/// What the blocks of one forward pass share.
pub(crate) struct Context {
    rotations: Vec<(Positions, Rotation)>,
    temperature: Option<Tensor<3>>,
    keys: Keys,
}

/// Which keys the queries of a forward pass may attend to.
enum Keys {
    /// Those of the same pass, up to their own position, from where their sample begins: `batch · seq` indices, none
    /// where every row is one sample.
    Own { starts: Option<Arc<[usize]>> },
    /// Those of a cache too.
    Cached {
        /// Where each row continues.
        rows: Vec<CacheRow>,
        /// Where the cache is kept.
        place: Place,
        /// For each window, `true` where a key is hidden, `[batch or 1, 1, 1, seq, keys]`; `None` if no key is. Empty
        /// where the cache is in memory: its kernels need no mask.
        hidden: Vec<(Option<usize>, Option<Tensor<5, Bool>>)>,
    },
}

impl Context {
    /// The context of `seq` tokens that follow those in `cache`; `weight` is one of the model's.
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

    /// The context of rows that hold several samples each.
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

    /// What rotates the queries and keys of a block.
    pub(super) fn rotation(&self, layer: LayerAttention) -> Option<&Rotation> {
        self.rotations
            .iter()
            .find(|(positions, _)| *positions == layer.positions)
            .map(|(_, rotation)| rotation)
    }

    /// What queries are multiplied by, `[batch or 1, seq, 1]`; `None` where that is 1 for all.
    pub(super) fn temperature(&self) -> Option<&Tensor<3>> {
        self.temperature.as_ref()
    }

    /// Where each row continues in the cache, and where that is kept.
    ///
    /// # Panics
    /// Without a cache.
    pub(crate) fn cached(&self) -> (&[CacheRow], Place) {
        match &self.keys {
            Keys::Own { .. } => panic!("a forward pass without a cache has no rows in one"),
            Keys::Cached { rows, place, .. } => (rows, *place),
        }
    }

    /// Where the samples begin, `batch · seq` indices; `None` if every row is one sample.
    pub(super) fn starts(&self) -> Option<Arc<[usize]>> {
        match &self.keys {
            Keys::Own { starts } => starts.clone(),
            Keys::Cached { .. } => None,
        }
    }

    /// The keys of a cache that are hidden from the queries of a block.
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

/// Hides keys after each query and before its window, up to the longest row; `None` if there are no such keys.
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
