//! How parameters are grouped into the messages that ranks exchange.

use super::flat::Flat;
use super::owners::Owners;
use burn::module::ParamId;
use burn::tensor::Tensor;
use std::ops::Range;

/// Most values in one message, unless a single parameter has more.
pub const BUCKET: usize = 16 << 20;

/// The part of a parameter that one rank owns.
#[derive(Clone)]
struct Piece {
    /// The parameter's place in the list.
    place: usize,
    id: ParamId,
    values: Range<usize>,
}

/// Parameters that are sent in one message.
pub(super) struct Bucket {
    /// For each rank, the pieces that it owns.
    of_ranks: Vec<Vec<Piece>>,
    /// For each rank, the range of its values in the message.
    pub(super) cuts: Vec<Range<usize>>,
}

/// Groups all parameters, in their order, into buckets. The values of a bucket are sorted by owner.
pub(super) fn buckets(parameters: &[Flat], owners: &Owners, ranks: usize) -> Vec<Bucket> {
    let mut buckets = vec![];
    let mut of_ranks = vec![vec![]; ranks];
    let mut size = 0;
    for (place, parameter) in parameters.iter().enumerate() {
        if size > 0 && size + parameter.length > BUCKET {
            buckets.push(Bucket::new(std::mem::replace(&mut of_ranks, vec![vec![]; ranks])));
            size = 0;
        }
        for (rank, own) in of_ranks.iter_mut().enumerate() {
            let values = owners.values(parameter, rank, ranks);
            if !values.is_empty() {
                own.push(Piece {
                    place,
                    id: parameter.id,
                    values,
                });
            }
        }
        size += parameter.length;
    }
    if size > 0 {
        buckets.push(Bucket::new(of_ranks));
    }
    buckets
}

impl Bucket {
    fn new(of_ranks: Vec<Vec<Piece>>) -> Self {
        let mut end = 0;
        let cuts = (of_ranks.iter())
            .map(|own| {
                let start = end;
                end += own.iter().map(|piece| piece.values.len()).sum::<usize>();
                start..end
            })
            .collect();
        Self { of_ranks, cuts }
    }

    /// The values of all parameters, sorted by owner, `[n]`.
    pub(super) fn joined(&self, parameters: &[Flat]) -> Tensor<1> {
        cat(parameters, self.of_ranks.iter().flatten())
    }

    /// The values that `rank` owns.
    pub(super) fn part(&self, rank: usize, parameters: &[Flat]) -> Tensor<1> {
        cat(parameters, self.of_ranks[rank].iter())
    }

    /// The pieces that `rank` owns, from its values `[length of its cut]`.
    pub(super) fn split(&self, rank: usize, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
        split(self.of_ranks[rank].iter(), values)
    }

    /// The pieces of all ranks, rank by rank, from values `[n]` sorted by owner.
    pub(super) fn split_all(&self, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
        split(self.of_ranks.iter().flatten(), values)
    }
}

fn split<'a>(pieces: impl Iterator<Item = &'a Piece>, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
    let mut end = 0;
    pieces
        .map(|piece| {
            let start = end;
            end += piece.values.len();
            (piece.id, values.clone().narrow(0, start, end - start))
        })
        .collect()
}

fn cat<'a>(parameters: &[Flat], pieces: impl Iterator<Item = &'a Piece>) -> Tensor<1> {
    let values: Vec<_> = pieces
        .map(|piece| {
            let parameter = &parameters[piece.place];
            let all = parameter.values();
            if piece.values.len() == parameter.length {
                all
            } else {
                all.slice([piece.values.clone()])
            }
        })
        .collect();
    if values.is_empty() {
        return Tensor::empty([0], &parameters[0].device);
    }
    Tensor::cat(values, 0)
}
