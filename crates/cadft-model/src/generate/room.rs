//! Memory for the keys and values of a sequence: initial and maximal.

use super::{GenerateOptions, Request};
use crate::decoder::CausalLm;

/// Largest number of positions that slots initially have room for.
const MOST_AT_FIRST: usize = 4096;
/// Extra positions for the padding of a prefill, whose rows all have the length of the longest.
const PADDING: usize = crate::fused::FEW_ROWS;

/// Bytes of the keys and values of one sequence in all blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceBytes {
    /// Bytes reserved before the first token.
    pub first: u64,
    /// Bytes reserved when a sequence has the maximum length.
    pub most: u64,
}

/// The bytes of one of these sequences; [`GenerateOptions::batch`] of them exist at a time.
#[must_use]
pub fn sequence_bytes(model: &CausalLm, requests: &[Request], options: &GenerateOptions) -> SequenceBytes {
    // One key and one value of each width, in f32 at most.
    let widths = model
        .model
        .layers
        .iter()
        .filter_map(|block| Some(8 * block.self_attn.as_ref()?.kept_width() as u64));
    let position: u64 = widths.sum();
    let states = model
        .model
        .layers
        .iter()
        .filter_map(|block| Some(block.linear_attn.as_ref()?.state_bytes()));
    let state: u64 = states.sum();
    let first = first_positions(requests, options);
    let last = positions(requests, options).saturating_add(PADDING);
    SequenceBytes {
        first: position.saturating_mul(first as u64).saturating_add(state),
        most: position
            .saturating_mul(doubled(first, last) as u64)
            .saturating_add(state),
    }
}

/// Number of positions that a slot initially has room for.
pub(super) fn first_positions(requests: &[Request], options: &GenerateOptions) -> usize {
    positions(requests, options).min(MOST_AT_FIRST) + PADDING
}

/// Number of positions of the longest possible sequence.
fn positions(requests: &[Request], options: &GenerateOptions) -> usize {
    let longest = requests.iter().map(|request| request.prompt.len()).max();
    let new = options.max_new_tokens.min(options.max_positions);
    longest
        .unwrap_or(0)
        .saturating_add(new)
        .min(options.max_positions)
}

/// Doubles `room` until it holds `positions`.
fn doubled(mut room: usize, positions: usize) -> usize {
    while room < positions {
        room = room.saturating_mul(2);
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use burn::tensor::Device;

    fn bytes(prompt: usize, max_new_tokens: usize, max_positions: usize) -> SequenceBytes {
        let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 8,
            "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2}"#;
        let config = ModelConfig::from_json(config).expect("a configuration");
        let model = CausalLm::new(&config, &Device::flex(), 1);
        let requests = [Request {
            prompt: vec![1; prompt],
            stream: 0,
        }];
        let options = GenerateOptions {
            max_new_tokens,
            max_positions,
            ..GenerateOptions::default()
        };
        sequence_bytes(&model, &requests, &options)
    }

    #[test]
    fn a_sequence_takes_two_values_of_each_width_for_each_position() {
        // Three blocks, two heads of four values, keys and values, four bytes.
        let position = 3 * 2 * 4 * 2 * 4;
        let padding = PADDING as u64;
        let found = bytes(10, 20, 1000);
        assert_eq!(
            (found.first, found.most),
            (position * (30 + padding), position * (30 + padding))
        );
        let found = bytes(900, usize::MAX, 1000);
        assert_eq!(found.most, position * (1000 + padding));
        let found = bytes(1, usize::MAX, 10_000);
        assert_eq!(found.first, position * (4096 + padding));
        assert_eq!(found.most, position * 4 * (4096 + padding));
        assert_eq!(bytes(1, usize::MAX, usize::MAX).most, u64::MAX);
    }
}
