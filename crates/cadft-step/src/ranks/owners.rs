//! Which rank owns which parameter, or which rows of it.
//!
//! Parameters are dealt to shards as samples are: the largest first, each to the shard that has the least so far. A
//! parameter larger than a quarter of an equal share would make that uneven: it is cut by rows into one piece for each
//! shard. A rank owns what its shards own. So the pieces whose squares are added for the norm, and the files of a
//! checkpoint, do not depend on the number of ranks.

use super::Ranks;
use super::flat::{Flat, flat_shapes, trained_names};
use burn::module::{Module, ParamId};
use std::collections::HashMap;
use std::ops::Range;

/// The part of a parameter that a rank owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// Nothing: another rank owns it.
    Not,
    /// All of it.
    Whole,
    /// These rows.
    Rows(Range<usize>),
}

/// The owner of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This shard.
    One(usize),
    /// All shards, each an equal number of rows, or one more.
    All,
}

/// The owners of all parameters. The same on every rank.
pub(crate) struct Owners {
    of: HashMap<ParamId, Owner>,
    /// Number of shards of a rank.
    per_rank: usize,
}

impl Owners {
    /// The owners of the trained parameters of a model.
    pub(super) fn of<M: Module>(model: &M, ranks: &Ranks) -> Self {
        let shapes = flat_shapes(model);
        let sizes: Vec<[usize; 2]> = shapes.iter().map(|flat| [flat.rows, flat.length]).collect();
        let owners = owners(&sizes, ranks.shards());
        Self {
            of: shapes.iter().map(|flat| flat.id).zip(owners).collect(),
            per_rank: ranks.own_shards().len(),
        }
    }

    /// The range of values of the parameter that `rank` owns.
    pub(super) fn values(&self, flat: &Flat, rank: usize, ranks: usize) -> Range<usize> {
        match self.of.get(&flat.id) {
            Some(Owner::All) => {
                let rows = rows_of(flat.rows, rank, ranks);
                let columns = flat.length / flat.rows;
                rows.start * columns..rows.end * columns
            }
            Some(&Owner::One(shard)) if shard / self.per_rank == rank => 0..flat.length,
            _ => 0..0,
        }
    }
}

/// The rows of part `part` of `parts`.
fn rows_of(rows: usize, part: usize, parts: usize) -> Range<usize> {
    rows * part / parts..rows * (part + 1) / parts
}

/// The owners of parameters of these sizes, `[rows, values]`.
fn owners(sizes: &[[usize; 2]], shards: usize) -> Vec<Owner> {
    let total: usize = sizes.iter().map(|[_, length]| length).sum();
    let is_cut = |&[rows, length]: &[usize; 2]| shards > 1 && rows >= shards && 4 * length * shards > total;
    let whole: Vec<usize> = (0..sizes.len()).filter(|&place| !is_cut(&sizes[place])).collect();
    let lengths: Vec<usize> = whole.iter().map(|&place| sizes[place][1]).collect();
    let mut owners = vec![Owner::All; sizes.len()];
    for (shard, places) in cadft_batch::deal(&lengths, shards).into_iter().enumerate() {
        for place in places {
            owners[whole[place]] = Owner::One(shard);
        }
    }
    owners
}

impl Ranks {
    /// The name of every trained parameter, in the order of the model, and the part of it that this rank owns.
    pub fn owned<M: Module>(&self, model: &M) -> Vec<(String, Owned)> {
        let owned = self.owned_by_id(model).into_iter().map(|(_, owned)| owned);
        trained_names(model).into_iter().zip(owned).collect()
    }

    /// For each parameter that is cut, the rows that this rank owns.
    pub(crate) fn own_rows<M: Module>(&self, model: &M) -> HashMap<ParamId, Range<usize>> {
        let rows = |owned| match owned {
            Owned::Rows(rows) => Some(rows),
            _ => None,
        };
        (self.owned_by_id(model).into_iter())
            .filter_map(|(id, owned)| Some((id, rows(owned)?)))
            .collect()
    }

    /// How the squares of a parameter of `rows` rows are added piece by piece: the number of this rank's first piece
    /// among the pieces of all shards, and the rows of its pieces, counted from the first row that it owns. `None` if
    /// the parameter is not cut.
    pub(crate) fn pieces(&self, owned: &Owned, rows: usize) -> Option<(usize, Vec<Range<usize>>)> {
        let Owned::Rows(own) = owned else { return None };
        let shards = self.own_shards();
        let first = shards.start;
        let pieces = shards.map(|piece| {
            let rows = rows_of(rows, piece, self.shards());
            rows.start - own.start..rows.end - own.start
        });
        Some((first, pieces.collect()))
    }

    /// The shards of this rank.
    #[must_use]
    pub fn own_shards(&self) -> Range<usize> {
        let per_rank = self.shards() / self.count();
        self.rank() * per_rank..(self.rank() + 1) * per_rank
    }

    /// For each shard of this rank, the names of the parameters that it owns, in the order of the model. If a parameter
    /// is cut, also the rows, counted from the first row that this rank owns.
    pub fn held<M: Module>(&self, model: &M) -> Vec<Vec<(String, Option<Range<usize>>)>> {
        let owners = Owners::of(model, self);
        let shapes = flat_shapes(model);
        let named: Vec<(String, &Flat)> = trained_names(model).into_iter().zip(&shapes).collect();
        let own = self.own_shards();
        let of_shard = |shard: usize| {
            let held = |(name, flat): &(String, &Flat)| match owners.of.get(&flat.id)? {
                Owner::One(owner) => (*owner == shard).then(|| (name.clone(), None)),
                Owner::All => {
                    let rows = rows_of(flat.rows, shard, self.shards());
                    let first = rows_of(flat.rows, own.start, self.shards()).start;
                    Some((name.clone(), Some(rows.start - first..rows.end - first)))
                }
            };
            named.iter().filter_map(held).collect()
        };
        own.clone().map(of_shard).collect()
    }

    pub(crate) fn owned_by_id<M: Module>(&self, model: &M) -> Vec<(ParamId, Owned)> {
        let owners = Owners::of(model, self);
        (flat_shapes(model).iter())
            .map(|flat| {
                let owned = match owners.of.get(&flat.id) {
                    Some(Owner::All) => Owned::Rows(rows_of(flat.rows, self.rank(), self.count())),
                    Some(&Owner::One(shard)) if self.own_shards().contains(&shard) => Owned::Whole,
                    _ => Owned::Not,
                };
                (flat.id, owned)
            })
            .collect()
    }
}

/// For each of `ranks` ranks, the number of values that it owns of parameters of `[rows, values]`; for memory
/// estimates.
#[must_use]
pub fn owned_values(sizes: &[[usize; 2]], shards: usize, ranks: usize) -> Vec<usize> {
    let mut of_ranks = vec![0; ranks];
    for (&[rows, length], owner) in sizes.iter().zip(owners(sizes, shards)) {
        match owner {
            Owner::One(shard) => of_ranks[shard * ranks / shards] += length,
            Owner::All => {
                for (rank, values) in of_ranks.iter_mut().enumerate() {
                    *values += rows_of(rows, rank, ranks).len() * (length / rows);
                }
            }
        }
    }
    of_ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_cut_if_it_is_larger_than_a_quarter_of_an_equal_share() {
        let sizes = [[100, 1000], [10, 50], [10, 50], [1, 10]];
        assert_eq!(owners(&sizes, 1), [Owner::One(0); 4]);
        let owners = owners(&sizes, 4);
        assert_eq!(owners[0], Owner::All);
        assert!(owners[1] != owners[2] && owners[1] != Owner::All);
    }

    #[test]
    fn no_rank_owns_much_more_than_another() {
        // Qwen2.5-Math-1.5B's: a tied embedding and 28 blocks.
        let block = [
            1536 * 1536,
            256 * 1536,
            256 * 1536,
            1536 * 1536,
            8960 * 1536,
            8960 * 1536,
            8960 * 1536,
        ];
        let mut sizes = vec![[151_936, 151_936 * 1536]];
        for _ in 0..28 {
            sizes.extend(block.map(|length| [1536, length]));
        }
        let total: usize = sizes.iter().map(|[_, length]| length).sum();
        for ranks in [2, 4, 8, 32, 64] {
            let most = owned_values(&sizes, ranks, ranks).into_iter().max().unwrap();
            let share = most as f64 * ranks as f64 / total as f64;
            assert!(share < 1.05, "{share} of an equal share on {ranks} ranks");
        }
    }

    #[test]
    fn rows_of_parts_are_all_rows() {
        for (rows, parts) in [(7, 3), (8, 4), (5, 5)] {
            let all: Vec<usize> = (0..parts).flat_map(|part| rows_of(rows, part, parts)).collect();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            // The rows of a rank are the rows of its shards.
            assert_eq!(rows_of(rows, 0, 2).end, rows_of(rows, 1, 4).end);
        }
    }
}
