//! Keys and values of the earlier tokens, or the state that they leave in linear attention, for every block.

mod recurrent;

#[cfg(feature = "flex")]
use burn::tensor::TensorData;
use burn::tensor::{Bool, Int, Tensor};

use crate::config::ModelConfig;
use crate::fused::portable::{attend, merge_heads, rotate, split_heads};
#[cfg(feature = "flex")]
use crate::fused::{self, SequenceCache};
use crate::fused::{AttentionInput, CacheRow};
use recurrent::Recurrent;

/// The keys and values of several sequences of any lengths, each in a separate slot.
///
/// [`KvCache::set_rows`] assigns the rows of the next forward pass to slots; each row continues at the end of its slot.
/// Memory is allocated in advance, and doubled if it does not suffice.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use cadft_model::{CausalLm, KvCache, ModelConfig};
///
/// let config = ModelConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
///         "num_hidden_layers": 2, "num_attention_heads": 4}"#,
/// )?;
/// let device = Device::default();
/// let model = CausalLm::new(&config, &device, 1);
/// let mut cache = KvCache::new(&config, 2, 16);
/// cache.set_rows(&[1]);
/// let prompt = Tensor::from_data([[5, 6, 7]], &device);
/// let hidden = model.hidden_states_with_cache(prompt, &mut cache);
/// assert_eq!(hidden.dims(), [1, 3, 32]);
/// assert_eq!((cache.len(0), cache.len(1)), (0, 3));
/// # Ok::<(), cadft_model::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    lengths: Vec<usize>,
    rows: Vec<usize>,
    /// Whether a block has linear attention, whose state cannot go back to earlier tokens.
    is_recurrent: bool,
}

impl KvCache {
    /// Creates empty slots with room for `capacity` positions each. Initially, row `i` belongs to slot `i`.
    #[must_use]
    pub fn new(config: &ModelConfig, slots: usize, capacity: usize) -> Self {
        let is_recurrent = config.linear_attention.is_some();
        Self::with_layers(config.num_hidden_layers, is_recurrent, slots, capacity)
    }

    /// Like [`KvCache::new`], for `layers` blocks, of which some have linear attention or none has.
    pub(crate) fn with_layers(layers: usize, is_recurrent: bool, slots: usize, capacity: usize) -> Self {
        let layer = LayerCache {
            slots,
            capacity,
            buffers: Buffers::Empty,
        };
        Self {
            layers: vec![layer; layers],
            lengths: vec![0; slots],
            rows: (0..slots).collect(),
            is_recurrent,
        }
    }

    /// Whether a block has linear attention. Slots then can be emptied, or copied whole, but not cut.
    #[must_use]
    pub fn is_recurrent(&self) -> bool {
        self.is_recurrent
    }

    /// Number of positions in a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn len(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    /// Whether all slots are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&length| length == 0)
    }

    /// Assigns the rows of the next forward pass to slots. Rows of the same slot continue each other, in their order; for linear
    /// attention they must follow each other.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn set_rows(&mut self, slots: &[usize]) {
        for &slot in slots {
            assert!(slot < self.lengths.len(), "there is no slot `{slot}`");
        }
        self.rows = slots.to_vec();
    }

    /// Keeps only the first `length` positions of a slot.
    ///
    /// # Panics
    /// If there is no such slot, or if the cache [is recurrent](KvCache::is_recurrent) and positions would be cut off.
    pub fn truncate(&mut self, slot: usize, length: usize) {
        if length < self.lengths[slot] {
            self.copy_prefix(slot, slot, length);
        }
    }

    /// Replaces a slot by the first `length` positions of another slot, or of itself.
    ///
    /// # Panics
    /// If there is no such slot, if `length > self.len(from)`, or if the cache [is recurrent](KvCache::is_recurrent) and `length` is
    /// neither 0 nor `self.len(from)`.
    pub fn copy_prefix(&mut self, from: usize, to: usize, length: usize) {
        assert!(length <= self.lengths[from], "slot `{from}` holds less");
        let is_whole = length == 0 || length == self.lengths[from];
        assert!(
            is_whole || !self.is_recurrent,
            "the state of linear attention cannot be cut"
        );
        for layer in &mut self.layers {
            layer.copy_prefix(from, to, length);
        }
        self.lengths[to] = length;
    }

    /// Where each row of the next forward pass starts, if each has `positions` positions.
    pub(crate) fn next_rows(&self, positions: usize) -> Vec<CacheRow> {
        let mut lengths = self.lengths.clone();
        let row = |&slot: &usize| {
            let start = lengths[slot];
            lengths[slot] += positions;
            CacheRow { slot, start }
        };
        self.rows.iter().map(row).collect()
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Adds positions to the lengths, after every block has stored them.
    pub(crate) fn advance(&mut self, positions: usize) {
        for &slot in &self.rows {
            self.lengths[slot] += positions;
        }
    }
}

/// Where cached keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory, for the kernels of Flex.
    Host,
    /// In tensors of the device.
    Device,
}

impl Place {
    /// The place for the activations of a model with this weight.
    pub(crate) fn of(weight: &Tensor<2>) -> Self {
        #[cfg(feature = "flex")]
        if crate::fused::is_plain_flex(weight) {
            return Self::Host;
        }
        let _ = weight;
        Self::Device
    }
}

/// The keys and values of one block.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    slots: usize,
    capacity: usize,
    buffers: Buffers,
}

#[derive(Clone, Debug)]
enum Buffers {
    /// No position has been stored yet.
    Empty,
    /// On Flex: vectors that are updated in place.
    #[cfg(feature = "flex")]
    Host {
        sequences: Vec<SequenceCache>,
        kv_width: usize,
    },
    /// On other backends: keys and values, each `[slots, kv_heads, capacity, head_dim]`.
    Device(Box<[Tensor<4>; 2]>),
    /// The state of linear attention, on every backend.
    Recurrent(Recurrent),
}

impl LayerCache {
    /// The state of linear attention.
    ///
    /// # Panics
    /// If the block has keys and values.
    pub(crate) fn state(&mut self) -> &mut Recurrent {
        if let Buffers::Empty = self.buffers {
            self.buffers = Buffers::Recurrent(Recurrent::new(self.slots));
        }
        match &mut self.buffers {
            Buffers::Recurrent(state) => state,
            _ => panic!("a block has full or linear attention"),
        }
    }

    /// Stores the keys and values of new positions, and attends each query to all stored positions up to its own.
    ///
    /// # Shapes
    /// - `is_hidden`: `[batch or 1, 1, 1, seq, keys]`; given only if the cache is on the device and some keys are
    ///   hidden
    /// - output: `[batch, seq, heads * head_dim]`
    pub(crate) fn attention(
        &mut self,
        input: AttentionInput,
        (rows, place): (&[CacheRow], Place),
        is_hidden: Option<Tensor<5, Bool>>,
    ) -> Tensor<3> {
        #[cfg(feature = "flex")]
        if place == Place::Host {
            return self.host_attention(input, rows);
        }
        let _ = place;
        let AttentionInput {
            query,
            key,
            value,
            rotation,
            options,
        } = input;
        let heads = |x: Tensor<3>| split_heads(x, options.head_dim); // [batch, heads, seq, head_dim]
        let query = rotate(heads(query), rotation.as_ref());
        let key = rotate(heads(key), rotation.as_ref());
        let (key, value) = self.append(key, heads(value), rows);
        merge_heads(attend([query, key, value], is_hidden, &options))
    }

    #[cfg(feature = "flex")]
    fn host_attention(&mut self, input: AttentionInput, rows: &[CacheRow]) -> Tensor<3> {
        let (shape, device) = (input.query.shape(), input.query.device());
        let [_, _, kv_width] = input.key.dims();
        if let Buffers::Empty = self.buffers {
            let room = self.capacity * kv_width;
            let sequences = (0..self.slots).map(|_| SequenceCache::with_capacity(room));
            self.buffers = Buffers::Host {
                sequences: sequences.collect(),
                kv_width,
            };
        }
        let Buffers::Host { sequences, .. } = &mut self.buffers else {
            panic!("a cache belongs to the device it was first used on");
        };
        let output = fused::cached_attention(input, sequences, rows);
        Tensor::from_data(TensorData::new(output, shape), &device)
    }

    /// Stores `[batch, kv_heads, seq, head_dim]`. Returns all keys and values of these rows, up to the longest row.
    fn append(&mut self, key: Tensor<4>, value: Tensor<4>, rows: &[CacheRow]) -> (Tensor<4>, Tensor<4>) {
        let [_, kv_heads, seq, head_dim] = key.dims();
        let end = rows.iter().map(|row| row.start + seq).max().unwrap_or(0);
        let is_every_slot = rows.len() == self.slots && (0..).zip(rows).all(|(slot, row)| row.slot == slot);
        let (old_key, old_value) = match std::mem::replace(&mut self.buffers, Buffers::Empty) {
            Buffers::Device(buffers) => {
                let [key, value] = *buffers;
                (Some(key), Some(value))
            }
            _ => (None, None),
        };
        let mut write = |new: Tensor<4>, old: Option<Tensor<4>>| {
            let mut buffer = self.with_room(end, old, &new);
            for (index, row) in rows.iter().enumerate() {
                let at = [
                    row.slot..row.slot + 1,
                    0..kv_heads,
                    row.start..row.start + seq,
                    0..head_dim,
                ];
                buffer = buffer.slice_assign(at, new.clone().slice_dim(0, index..index + 1));
            }
            buffer
        };
        let buffers = [write(key, old_key), write(value, old_value)];
        self.buffers = Buffers::Device(Box::new(buffers.clone()));
        let [key, value] = buffers.map(|buffer| {
            let device = buffer.device();
            let used = buffer.slice_dim(2, 0..end);
            if is_every_slot {
                return used;
            }
            let slots: Vec<i64> = rows.iter().map(|row| row.slot as i64).collect();
            used.select(0, Tensor::<1, Int>::from_data(slots.as_slice(), &device))
        });
        (key, value)
    }

    /// A buffer with room for `end` positions and the content of `old`; `old` itself if it has room.
    fn with_room(&mut self, end: usize, old: Option<Tensor<4>>, like: &Tensor<4>) -> Tensor<4> {
        while self.capacity < end {
            self.capacity = (2 * self.capacity).max(1);
        }
        let [_, kv_heads, _, head_dim] = like.dims();
        let shape = [self.slots, kv_heads, self.capacity, head_dim];
        let old = match old {
            Some(old) if old.dims() == shape => return old,
            old => old,
        };
        let buffer = Tensor::zeros(shape, (&like.device(), like.dtype()));
        let Some(old) = old else { return buffer };
        let [slots, kv_heads, held, head_dim] = old.dims();
        buffer.slice_assign([0..slots, 0..kv_heads, 0..held, 0..head_dim], old)
    }

    fn copy_prefix(&mut self, from: usize, to: usize, length: usize) {
        match &mut self.buffers {
            Buffers::Empty => {}
            Buffers::Recurrent(state) => state.copy((length > 0).then_some(from), to),
            _ if from == to || length == 0 => {}
            #[cfg(feature = "flex")]
            Buffers::Host { sequences, kv_width } => {
                if let Ok([from, to]) = sequences.get_disjoint_mut([from, to]) {
                    to.copy_prefix(from, length * *kv_width);
                }
            }
            Buffers::Device(buffers) => {
                for buffer in buffers.iter_mut() {
                    let [_, kv_heads, _, head_dim] = buffer.dims();
                    let at = |slot: usize| [slot..slot + 1, 0..kv_heads, 0..length, 0..head_dim];
                    let prefix = buffer.clone().slice(at(from));
                    *buffer = buffer.clone().slice_assign(at(to), prefix);
                }
            }
        }
    }
}
