//! Keys and values of the tokens already seen, one pair of buffers for each block.

use burn::tensor::{Int, Tensor};

use crate::config::ModelConfig;

/// Buffers grow to multiples of this many positions.
const CHUNK: usize = 64;

/// The keys and values of a batch of sequences, for decoding one token at a time.
///
/// Sequences of different length are aligned at their end: the shorter ones have padding on the left, which is
/// neither attended to nor counted in their positions.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    left_padding: Vec<usize>,
    len: usize,
}

impl KvCache {
    /// An empty cache; `left_padding` holds the number of padding tokens before each sequence of the batch.
    #[must_use]
    pub fn new(config: &ModelConfig, left_padding: Vec<usize>) -> Self {
        Self::with_layers(config.num_hidden_layers, left_padding)
    }

    /// An empty cache for that many blocks.
    pub(crate) fn with_layers(layers: usize, left_padding: Vec<usize>) -> Self {
        Self {
            layers: vec![LayerCache::default(); layers],
            left_padding,
            len: 0,
        }
    }

    /// Number of positions held, the padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the sequences at `rows` of the batch, in that order, and drops the others.
    ///
    /// # Panics
    /// When a row is not in the batch.
    pub fn keep_rows(&mut self, rows: &[usize]) {
        self.left_padding = rows.iter().map(|&row| self.left_padding[row]).collect();
        for layer in &mut self.layers {
            layer.keep_rows(rows);
        }
    }

    /// The padding of each sequence, or one number where it is the same for all.
    pub(crate) fn shared_left_padding(&self) -> &[usize] {
        match self.left_padding.first() {
            Some(first) if self.left_padding.iter().all(|padding| padding == first) => {
                &self.left_padding[..1]
            }
            _ => &self.left_padding,
        }
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Counts positions that every block has appended.
    pub(crate) fn advance(&mut self, positions: usize) {
        self.len += positions;
    }
}

/// The keys and values of one block, `[batch, kv_heads, capacity, head_dim]`, filled up to `len`.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    buffers: Option<[Tensor<4>; 2]>,
    len: usize,
}

impl LayerCache {
    /// Takes in the keys and values of new positions; returns those of all positions.
    pub(crate) fn append(&mut self, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, kv_heads, seq, head_dim] = key.dims();
        let end = self.len + seq;
        let grown = |new: &Tensor<4>, old: Option<Tensor<4>>| match old {
            Some(old) if capacity(&old) >= end => old,
            old => {
                let room = (2 * self.len).max(end).next_multiple_of(CHUNK);
                let buffer = Tensor::zeros([batch, kv_heads, room, head_dim], &new.device());
                match old {
                    Some(old) => {
                        let filled = old.slice_dim(2, 0..self.len);
                        buffer.slice_assign([0..batch, 0..kv_heads, 0..self.len, 0..head_dim], filled)
                    }
                    None => buffer,
                }
            }
        };
        let (old_key, old_value) = match self.buffers.take() {
            Some([key, value]) => (Some(key), Some(value)),
            None => (None, None),
        };
        let write = |new: Tensor<4>, old: Option<Tensor<4>>| {
            grown(&new, old).slice_assign([0..batch, 0..kv_heads, self.len..end, 0..head_dim], new)
        };
        let (key, value) = (write(key, old_key), write(value, old_value));
        self.buffers = Some([key.clone(), value.clone()]);
        self.len = end;
        (key.slice_dim(2, 0..end), value.slice_dim(2, 0..end))
    }

    fn keep_rows(&mut self, rows: &[usize]) {
        self.buffers = self.buffers.take().map(|buffers| {
            buffers.map(|buffer| {
                let device = buffer.device();
                let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
                buffer.select(0, Tensor::<1, Int>::from_data(rows.as_slice(), &device))
            })
        });
    }
}

/// Positions that a buffer has room for.
fn capacity(buffer: &Tensor<4>) -> usize {
    let [_, _, capacity, _] = buffer.dims();
    capacity
}
