//! Updates of the embedding and of the output weight, which are merged when an adapter is loaded.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::targets::{EMBEDDING, OUTPUT};
use super::{AdapterConfig, DropoutClock};
use crate::decoder::{CausalLm, LowRank, Weight};
use crate::parameters::Parameters;

/// The names and shapes of the tensors of an update of a `[vocab, hidden]` weight. PEFT stores the factors of an
/// embedding in the reverse order of those of a linear layer.
pub(super) fn expected(end: &str, rank: usize, [vocab, hidden]: [usize; 2]) -> [(String, Vec<usize>); 2] {
    if end == EMBEDDING {
        [
            (format!("{end}.lora_embedding_A"), vec![rank, vocab]),
            (format!("{end}.lora_embedding_B"), vec![hidden, rank]),
        ]
    } else {
        [
            (format!("{end}.lora_A.weight"), vec![rank, hidden]),
            (format!("{end}.lora_B.weight"), vec![vocab, rank]),
        ]
    }
}

/// Adds the update of the embedding or of the output weight into the model.
pub(super) fn merge(
    mut model: CausalLm,
    end: &str,
    adapter: &AdapterConfig,
    values: &BTreeMap<String, Vec<f32>>,
) -> CausalLm {
    let device: Device = model.device();
    let is_embedding = end == EMBEDDING;
    let weight = match (&model.lm_head, is_embedding) {
        (Some(head), false) => head.weight.clone(),
        _ => Weight::Dense(model.model.embed_tokens.weight.clone()),
    };
    let [vocab, hidden] = weight.dims();
    let rank = adapter.rank_of(end);
    let stored = |name: &str| values.get(&format!("{end}.{name}")).cloned().unwrap_or_default();
    let mut make = Parameters {
        device: &device,
        base: None,
        values: &mut |name, _| match (is_embedding, name.rsplit_once(".lora_").map(|(_, part)| part)) {
            (true, Some("A.weight")) => transposed(&stored("lora_embedding_B"), [hidden, rank]),
            (true, Some("B.weight")) => transposed(&stored("lora_embedding_A"), [rank, vocab]),
            (_, Some(part)) => stored(&format!("lora_{part}")),
            (_, None) => vec![],
        },
    };
    debug_assert!(is_embedding || end == OUTPUT);
    let update = LowRank::new(end, [vocab, hidden], adapter, &DropoutClock::default(), &mut make);
    let merged = update.merged(&weight).detach();
    match &mut model.lm_head {
        Some(head) if !is_embedding => head.weight = weight.replaced(end, merged),
        _ => {
            let embedding = &mut model.model.embed_tokens.weight;
            *embedding = embedding.clone().map(|_| merged);
        }
    }
    model
}

/// The transpose of a `[rows, columns]` matrix.
fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).filter_map(move |row| values.get(row * columns + column).copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_has_rows_for_columns() {
        assert_eq!(
            transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
