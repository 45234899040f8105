//! The experts of a block in one tensor, as transformers 5 holds them: the matrix of each, as files on the Hub have it.

use safetensors::tensor::TensorView;

/// The ends of the names of such tensors, and the matrices of an expert that they hold, one below the other.
const FUSED: [(&str, &[&str]); 2] = [
    (".mlp.experts.gate_up_proj", &["gate_proj", "up_proj"]),
    (".mlp.experts.down_proj", &["down_proj"]),
];

/// The matrices in a tensor with all experts of a block, by name; `None` if it is another tensor.
///
/// # Shapes
/// - `view`: `[experts, parts * output, input]`
/// - results: `[output, input]`
pub(super) fn matrices<'a>(name: &str, view: &TensorView<'a>) -> Option<Vec<(String, TensorView<'a>)>> {
    let (block, parts) = (FUSED.iter()).find_map(|(end, parts)| Some((name.strip_suffix(end)?, *parts)))?;
    let &[experts, rows, input] = view.shape() else {
        return None;
    };
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
