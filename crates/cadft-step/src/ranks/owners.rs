//! Which rank owns which parameter, and in which pieces parameters travel.

use super::flat::Flat;
use burn::module::ParamId;
use burn::tensor::Tensor;
use std::ops::Range;

/// Most values that travel together, unless one parameter has more.
const BUCKET: usize = 16 << 20;

/// The owner of each parameter: the biggest first to the lightest rank, ties by place. The same on every rank.
pub(super) fn owners(parameters: &[Flat], ranks: usize) -> Vec<usize> {
    let sizes: Vec<usize> = parameters.iter().map(|parameter| parameter.length).collect();
    let mut owners = vec![0; sizes.len()];
    for (rank, places) in cadft_data::deal(&sizes, ranks).into_iter().enumerate() {
        for place in places {
            owners[place] = rank;
        }
    }
    owners
}

/// Place in the list, id, number of values.
type Place = (usize, ParamId, usize);

/// Parameters that travel together.
pub(super) struct Bucket {
    /// For each rank those that it owns.
    of_ranks: Vec<Vec<Place>>,
    /// Where the values of each rank stand.
    pub(super) cuts: Vec<Range<usize>>,
}

/// All parameters in their order, those of each bucket by owner.
pub(super) fn buckets(parameters: &[Flat], ranks: usize) -> Vec<Bucket> {
    let owners = owners(parameters, ranks);
    let mut buckets = vec![];
    let mut of_ranks = vec![vec![]; ranks];
    let mut size = 0;
    for (place, (parameter, owner)) in parameters.iter().zip(owners).enumerate() {
        if size > 0 && size + parameter.length > BUCKET {
            buckets.push(Bucket::new(std::mem::replace(&mut of_ranks, vec![vec![]; ranks])));
            size = 0;
        }
        of_ranks[owner].push((place, parameter.id, parameter.length));
        size += parameter.length;
    }
    if size > 0 {
        buckets.push(Bucket::new(of_ranks));
    }
    buckets
}

impl Bucket {
    fn new(of_ranks: Vec<Vec<Place>>) -> Self {
        let mut end = 0;
        let cuts = (of_ranks.iter())
            .map(|own| {
                let start = end;
                end += own.iter().map(|(_, _, length)| length).sum::<usize>();
                start..end
            })
            .collect();
        Self { of_ranks, cuts }
    }

    /// The values of all, by owner, `[n]`.
    pub(super) fn joined(&self, parameters: &[Flat]) -> Tensor<1> {
        cat(parameters, self.of_ranks.iter().flatten())
    }

    /// The values that a rank owns.
    pub(super) fn part(&self, rank: usize, parameters: &[Flat]) -> Tensor<1> {
        cat(parameters, self.of_ranks[rank].iter())
    }

    /// The parameters of a rank, from their values, `[length of its cut]`.
    pub(super) fn split(&self, rank: usize, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
        split(self.of_ranks[rank].iter(), values)
    }

    /// The parameters of all ranks, from their values by owner, `[n]`.
    pub(super) fn split_all(&self, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
        split(self.of_ranks.iter().flatten(), values)
    }
}

fn split<'a>(places: impl Iterator<Item = &'a Place>, values: &Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
    let mut start = 0;
    places
        .map(|&(_, id, length)| {
            start += length;
            (id, values.clone().narrow(0, start - length, length))
        })
        .collect()
}

fn cat<'a>(parameters: &[Flat], places: impl Iterator<Item = &'a Place>) -> Tensor<1> {
    let values: Vec<_> = places.map(|&(place, ..)| parameters[place].values()).collect();
    if values.is_empty() {
        return Tensor::empty([0], &parameters[0].device);
    }
    Tensor::cat(values, 0)
}
