//! The experts of sparse feed-forward blocks: how many there are, how many a token gets, and which blocks have them.

use std::collections::HashSet;

use serde_json::Value;

use super::family::{Family, Sparse};
use super::object::Object;
use crate::json::show;

/// More experts of all blocks together than any model has. Data is allocated for each before the weights are read.
const MAX_EXPERTS: usize = 100_000;

/// The experts of a model, under the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Number of experts of a sparse block.
    pub num_experts: usize,
    /// Number of experts that compute a token.
    pub num_experts_per_tok: usize,
    /// Width inside an expert.
    pub moe_intermediate_size: usize,
    /// Whether the weights of a token's experts are divided by their sum.
    pub norm_topk_prob: bool,
    /// For every block, whether it is sparse.
    pub sparse: Vec<bool>,
}

impl Experts {
    /// The share of a sparse block's experts that compute a token.
    #[must_use]
    pub fn active_share(&self) -> f64 {
        self.num_experts_per_tok as f64 / self.num_experts as f64
    }

    /// Number of sparse blocks.
    #[must_use]
    pub fn sparse_blocks(&self) -> usize {
        self.sparse.iter().filter(|&&is_sparse| is_sparse).count()
    }
}

/// Reads the experts of a family that may have them. `width` is the value of `intermediate_size`.
pub(super) fn parse(
    object: &mut Object<'_>,
    family: &Family,
    blocks: usize,
    width: usize,
) -> Option<Experts> {
    let (num_experts, moe_intermediate_size) = match family.sparse {
        Sparse::Never => return None,
        Sparse::All => (count(object, 64).max(1), width),
        Sparse::ByStep => (count(object, 128), object.positive("moe_intermediate_size", 768)),
    };
    let num_experts_per_tok = object.positive("num_experts_per_tok", 8);
    let norm_topk_prob = object.flag("norm_topk_prob");
    let sparse = match family.sparse {
        Sparse::ByStep => by_step(object, blocks, num_experts),
        _ => vec![true; blocks],
    };
    if object.flag("output_router_logits") {
        object.problem(
            "`output_router_logits` is `true`; the loss that balances experts is not supported, and the other loss does not depend on \
             it: set `false`"
                .to_owned(),
        );
    }
    let experts = Experts {
        num_experts,
        num_experts_per_tok,
        moe_intermediate_size,
        norm_topk_prob,
        sparse,
    };
    if experts.sparse_blocks() == 0 {
        return None;
    }
    if num_experts_per_tok > num_experts {
        object.problem(format!(
            "`num_experts_per_tok` `{num_experts_per_tok}` is above `num_experts` `{num_experts}`"
        ));
    }
    if experts.sparse_blocks() * num_experts > MAX_EXPERTS {
        object.problem(format!(
            "`num_experts` is `{num_experts}`; all blocks together may have at most `{MAX_EXPERTS}` experts"
        ));
    }
    Some(experts)
}

/// The number of experts, which transformers reads and writes under two names.
fn count(object: &mut Object<'_>, default: usize) -> usize {
    let [one, other] = ["num_experts", "num_local_experts"];
    if object.get(one).is_some() && object.get(other).is_some() {
        let counts = [object.whole(one, 0), object.whole(other, 0)];
        if counts[0] != counts[1] {
            object.problem(format!(
                "`{one}` is `{}`, but `{other}` is `{}`; both name the number of experts",
                counts[0], counts[1]
            ));
        }
        return counts[0];
    }
    let key = if object.get(one).is_some() { one } else { other };
    object.whole(key, default)
}

/// Which blocks are sparse: every `decoder_sparse_step`-th, without `mlp_only_layers`.
fn by_step(object: &mut Object<'_>, blocks: usize, num_experts: usize) -> Vec<bool> {
    let step = object.positive("decoder_sparse_step", 1);
    let key = "mlp_only_layers";
    let dense = match object.get(key) {
        None => HashSet::new(),
        Some(value) => {
            let indices = value
                .as_array()
                .and_then(|indices| indices.iter().map(Value::as_u64).collect::<Option<HashSet<_>>>());
            indices.unwrap_or_else(|| {
                object.problem(format!("`{key}` is `{}`; expected a list of blocks", show(value)));
                HashSet::new()
            })
        }
    };
    (0..blocks)
        .map(|block| num_experts > 0 && (block + 1) % step == 0 && !dense.contains(&(block as u64)))
        .collect()
}
