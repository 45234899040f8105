//! The experts of a block in one tensor, as transformers 5 holds them: the matrix of each, as files on the Hub have it.

use safetensors::tensor::TensorView;

use crate::config::ModelConfig;

/// The ends of the names of such tensors, and the matrices of an expert that they hold, one below the other.
const FUSED: [(&str, &[&str]); 2] = [
    (".mlp.experts.gate_up_proj", &["gate_proj", "up_proj"]),
    (".mlp.experts.down_proj", &["down_proj"]),
];

/// The matrices in a tensor with all experts of a sparse block, by name; `None` if it is another tensor, or not of this model.
/// So a file gives no more matrices than its configuration has.
///
/// # Shapes
/// - `view`: `[experts, parts * output, input]`
/// - results: `[output, input]`
pub(super) fn matrices<'a>(
    config: &ModelConfig,
    name: &str,
    view: &TensorView<'a>,
) -> Option<Vec<(String, TensorView<'a>)>> {
    let (block, parts) = (FUSED.iter()).find_map(|(end, parts)| Some((name.strip_suffix(end)?, *parts)))?;
    let own = config.experts.as_ref()?;
    let index: usize = block.strip_prefix("model.layers.")?.parse().ok()?;
    if !*own.sparse.get(index)? || block != format!("model.layers.{index}") {
        return None;
    }
    let &[experts, rows, input] = view.shape() else {
        return None;
    };
    if experts != own.num_experts {
        return None;
    }
    let count = experts.checked_mul(parts.len())?;
    let bytes = view.data().len().checked_div(count)?;
    if bytes == 0 || !rows.is_multiple_of(parts.len()) {
        return None;
    }
    let shape = vec![rows / parts.len(), input];
    let matrices = view.data().chunks_exact(bytes).enumerate().map(|(index, data)| {
        let (expert, part) = (index / parts.len(), parts[index % parts.len()]);
        let matrix = TensorView::new(view.dtype(), shape.clone(), data).ok()?;
        Some((format!("{block}.mlp.experts.{expert}.{part}.weight"), matrix))
    });
    matrices.collect()
}
