//! Tensor communication through host memory, for every backend.

use super::{Collective, Plane};
use crate::sum::tree;
use burn::tensor::{Tensor, TensorData};
use std::ops::Range;
use std::rc::Rc;

/// Reads a tensor from the device, sends it with the collective, and writes the result to the device.
#[derive(Debug)]
pub struct Staged(pub Rc<dyn Collective>);

impl Plane for Staged {
    fn sum(&self, values: Tensor<1>) -> Tensor<1> {
        let mut sums: Vec<f64> = read(&values).into_iter().map(f64::from).collect();
        self.0.sum(&mut sums);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a value of one rank, or a sum that is looked at as finite or not"
        )]
        let sums = sums.into_iter().map(|sum| sum as f32).collect();
        like(&values, sums)
    }

    fn fold(&self, values: Tensor<1>, cuts: &[Range<usize>], present: &[bool]) -> Tensor<1> {
        let all = read(&values);
        let own = present[self.0.rank()];
        let parts: Vec<&[f32]> = (cuts.iter())
            .map(|cut| if own { &all[cut.clone()] } else { &[][..] })
            .collect();
        let length = cuts[self.0.rank()].len();
        let lengths: Vec<usize> = present.iter().map(|&is| if is { length } else { 0 }).collect();
        let received = self.0.swap(&parts, &lengths);
        let leaves = (received.into_iter().zip(present)).map(|(part, &is)| is.then_some(part));
        let sum = tree(leaves, |mut left: Vec<f32>, right| {
            for (sum, value) in left.iter_mut().zip(right) {
                *sum += value;
            }
            left
        });
        like(&values, sum.unwrap_or_default())
    }

    fn gather(&self, part: Tensor<1>, cuts: &[Range<usize>]) -> Tensor<1> {
        let lengths: Vec<usize> = cuts.iter().map(Range::len).collect();
        let all = self.0.gather(&read(&part), &lengths);
        like(&part, all.concat())
    }
}

fn read(values: &Tensor<1>) -> Vec<f32> {
    values.to_data().iter().collect()
}

fn like(values: &Tensor<1>, new: Vec<f32>) -> Tensor<1> {
    let length = new.len();
    Tensor::from_data(TensorData::new(new, [length]), &values.device())
}
