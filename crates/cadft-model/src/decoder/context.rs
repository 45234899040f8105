//! What the blocks of one forward pass share: rotary tables of the positions, and which keys may be attended to.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{Packing, Rope};
use crate::cache::KvCache;
use crate::config::{LayerAttention, ModelConfig, Positions};
use crate::fused::Rotation;

/// What the blocks of a model ask of every forward pass.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The rotary embeddings in use, by how blocks name them.
    ropes: Vec<(Positions, Rope)>,
    /// The windows in use.
    windows: Vec<Option<usize>>,
}

impl Shared {
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
        }
    }

    fn rotations(&self, positions: &[usize], rows: usize, device: &Device) -> Vec<(Positions, Rotation)> {
        self.ropes
            .iter()
            .map(|(name, rope)| (*name, rope.rotation(positions, rows, device)))
            .collect()
    }
}

/// What the blocks of one forward pass share.
pub(crate) struct Context {
    rotations: Vec<(Positions, Rotation)>,
    keys: Keys,
}

/// Which keys the queries of a forward pass may attend to.
enum Keys {
    /// Those of the same pass, up to their own position, from where their sample begins: `batch · seq` indices, none
    /// where every row is one sample.
    Own { starts: Option<Arc<[usize]>> },
    /// Those of a cache too: for each window, `true` where a key is hidden, `[batch or 1, 1, 1, seq, keys]`; none where
    /// no key is.
    Cached(Vec<(Option<usize>, Option<Tensor<5, Bool>>)>),
}

impl Context {
    /// The context of `seq` tokens that follow those in `cache`.
    pub(super) fn new(shared: &Shared, seq: usize, cache: Option<&KvCache>, device: &Device) -> Self {
        let Some(cache) = cache else {
            let positions: Vec<_> = (0..seq).collect();
            return Self {
                rotations: shared.rotations(&positions, 1, device),
                keys: Keys::Own { starts: None },
            };
        };
        let padding = cache.shared_left_padding();
        let indices = cache.len()..cache.len() + seq;
        if cache.is_empty() {
            return Self::first_of_cache(shared, seq, padding, device);
        }
        let positions: Vec<_> = padding
            .iter()
            .flat_map(|&padding| indices.clone().map(move |index| index.saturating_sub(padding)))
            .collect();
        let hidden =
            |&window: &Option<usize>| (window, hidden_keys(indices.clone(), padding, window, device));
        Self {
            rotations: shared.rotations(&positions, padding.len(), device),
            keys: Keys::Cached(shared.windows.iter().map(hidden).collect()),
        }
    }

    /// The context of the first tokens of a cache: padding on the left is a sample of its own, which nobody sees.
    fn first_of_cache(shared: &Shared, seq: usize, padding: &[usize], device: &Device) -> Self {
        if padding.iter().all(|&padding| padding == 0) {
            return Self::new(shared, seq, None, device);
        }
        let lengths = padding
            .iter()
            .map(|&padding| vec![padding, seq - padding])
            .collect();
        Self::packed(shared, seq, &Packing { lengths }, device)
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

    /// Whether queries see keys of earlier passes.
    pub(super) fn sees_cache(&self) -> bool {
        matches!(self.keys, Keys::Cached(_))
    }

    /// Where the samples begin, `batch · seq` indices; none where every row is one sample.
    pub(super) fn starts(&self) -> Option<Arc<[usize]>> {
        match &self.keys {
            Keys::Own { starts } => starts.clone(),
            Keys::Cached(_) => None,
        }
    }

    /// The keys of a cache that are hidden from the queries of a block.
    pub(super) fn hidden_keys(&self, layer: LayerAttention) -> Option<Tensor<5, Bool>> {
        match &self.keys {
            Keys::Own { .. } => None,
            Keys::Cached(hidden) => hidden
                .iter()
                .find(|(window, _)| *window == layer.window)
                .and_then(|(_, hidden)| hidden.clone()),
        }
    }
}

/// Hides keys after the query, before its window, and in the padding on the left; none where there are no such keys.
fn hidden_keys(
    queries: Range<usize>,
    padding: &[usize],
    window: Option<usize>,
    device: &Device,
) -> Option<Tensor<5, Bool>> {
    let (seq, keys) = (queries.len(), queries.end);
    let all_seen = padding.iter().all(|&padding| padding == 0) && window.is_none_or(|window| keys <= window);
    if seq == 1 && all_seen {
        return None;
    }
    let mut hidden = Vec::with_capacity(padding.len() * seq * keys);
    for &padding in padding {
        for query in queries.clone() {
            let first = window
                .map_or(0, |window| (query + 1).saturating_sub(window))
                .max(padding);
            hidden.extend((0..keys).map(|key| key > query || key < first));
        }
    }
    let data = TensorData::new(hidden, [padding.len(), 1, 1, seq, keys]);
    Some(Tensor::from_data(data, device))
}
