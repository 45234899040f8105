//! Sums over the shards of a global batch, always by the same tree.
//!
//! ```text
//! shard v:  G_v = Σ over its micro-batches, in their order
//! batch:    G   = tree(G_0 … G_{V−1}), which is split at the largest power of two below the number of leaves
//! ```
//!
//! Empty shards are skipped. If the number of shards of a rank is a power of two, its shards, which are consecutive,
//! form a subtree. So each rank sums its own subtree, and the tree over ranks continues with the results. The sum has
//! the same bits for every number of ranks.

use crate::accumulator::Accumulator;
use burn::module::Module;
use burn::tensor::Tensor;
use cadft_model::CausalLm;
use cadft_model::ParamGradients;

/// The sum of leaves by the tree. Absent leaves are skipped.
pub(crate) fn tree<T>(
    leaves: impl IntoIterator<Item = Option<T>>,
    mut add: impl FnMut(T, T) -> T,
) -> Option<T> {
    let mut sums = Sums(vec![]);
    for leaf in leaves {
        sums.push(leaf, &mut add);
    }
    sums.total(&mut add)
}

/// Sums of whole subtrees, largest first, with the number of leaves of each.
struct Sums<T>(Vec<(usize, Option<T>)>);

impl<T> Sums<T> {
    fn push(&mut self, leaf: Option<T>, add: &mut impl FnMut(T, T) -> T) {
        self.0.push((1, leaf));
        while let [.., (left, _), (right, _)] = self.0[..]
            && left == right
        {
            self.join(add);
        }
    }

    /// Joins the last two subtrees.
    fn join(&mut self, add: &mut impl FnMut(T, T) -> T) {
        if let (Some((right_leaves, right)), Some((left_leaves, left))) = (self.0.pop(), self.0.pop()) {
            let sum = match (left, right) {
                (Some(left), Some(right)) => Some(add(left, right)),
                (left, right) => left.or(right),
            };
            self.0.push((left_leaves + right_leaves, sum));
        }
    }

    fn total(mut self, add: &mut impl FnMut(T, T) -> T) -> Option<T> {
        while self.0.len() > 1 {
            self.join(add);
        }
        self.0.pop()?.1
    }
}

/// Accumulates the gradients of the shards of one rank.
pub(crate) struct ShardSum<'a, M> {
    model: &'a M,
    /// The current shard, counted from the first of this rank.
    shard: usize,
    gradients: Accumulator,
    done: Sums<ParamGradients>,
}

impl<'a, M: Module> ShardSum<'a, M> {
    pub(crate) fn new(model: &'a M) -> Self {
        Self {
            model,
            shard: 0,
            gradients: Accumulator::new(),
            done: Sums(vec![]),
        }
    }

    /// The accumulator of a shard. Calls must follow the order of shards.
    pub(crate) fn of(&mut self, shard: usize) -> &mut Accumulator {
        self.close(shard);
        &mut self.gradients
    }

    /// The sum over `shards` shards; `None` if all of them were empty.
    pub(crate) fn total(mut self, shards: usize) -> Option<ParamGradients> {
        self.close(shards);
        self.done.total(&mut added(self.model))
    }

    fn close(&mut self, shard: usize) {
        while self.shard < shard {
            let gradients = self.gradients.take();
            let leaf = (!gradients.is_empty()).then_some(gradients);
            self.done.push(leaf, &mut added(self.model));
            self.shard += 1;
        }
    }
}

/// Collects the losses of the micro-batches of one rank.
#[derive(Default)]
pub(crate) struct LossSum(Vec<Tensor<1>>);

impl LossSum {
    /// Adds the loss of a micro-batch, `[1]`.
    pub(crate) fn add(&mut self, loss: &Tensor<1>) {
        self.0.push(loss.clone().inner());
    }

    /// The sum, `[1]`; 0 if this rank has no micro-batch.
    pub(crate) fn total(self, model: &CausalLm) -> Tensor<1> {
        if self.0.is_empty() {
            return Tensor::zeros([1], &model.device().inner());
        }
        Tensor::cat(self.0, 0).sum()
    }
}

fn added<M: Module>(model: &M) -> impl FnMut(ParamGradients, ParamGradients) -> ParamGradients {
    |left, right| {
        let mut sum = Accumulator::new();
        sum.add(model, left);
        sum.add(model, right);
        sum.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(leaves: usize) -> String {
        let leaves = (0..leaves).map(|leaf| Some(leaf.to_string()));
        tree(leaves, |left, right| format!("({left}+{right})")).unwrap()
    }

    #[test]
    fn a_tree_is_split_at_the_largest_power_of_two() {
        assert_eq!(shown(1), "0");
        assert_eq!(shown(3), "((0+1)+2)");
        assert_eq!(shown(4), "((0+1)+(2+3))");
        assert_eq!(shown(6), "(((0+1)+(2+3))+(4+5))");
        assert_eq!(shown(7), "(((0+1)+(2+3))+((4+5)+6))");
    }

    #[test]
    fn ranks_that_add_their_own_shards_first_give_the_same_tree() {
        let add = |left: String, right: String| format!("({left}+{right})");
        for (shards, ranks) in [(4, 2), (6, 3), (8, 2), (12, 3), (12, 6)] {
            let own = shards / ranks;
            let of_ranks = (0..ranks).map(|rank| {
                tree(
                    (rank * own..(rank + 1) * own).map(|leaf| Some(leaf.to_string())),
                    add,
                )
            });
            assert_eq!(
                tree(of_ranks, add).unwrap(),
                shown(shards),
                "{shards} shards on {ranks} ranks"
            );
        }
    }

    #[test]
    fn absent_leaves_are_passed_over() {
        let leaves = [None, Some("1"), None, None, Some("2"), Some("3")];
        let leaves = leaves.map(|leaf| leaf.map(str::to_owned));
        let sum = tree(leaves, |left, right| format!("({left}+{right})"));
        assert_eq!(sum.as_deref(), Some("(1+(2+3))"));
        assert_eq!(tree([None, None::<u8>], |left, _| left), None);
    }
}
