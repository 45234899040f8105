//! What ranks share besides the step: results of work that was dealt, and the moments of a checkpoint.

use cadft_model::parameters::NamedTensor;
use cadft_step::Ranks;
use cadft_step::ranks::Owned;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The results of work that was dealt ([`Ranks::has`]), in the order of the work, on every rank.
pub(crate) fn shared<T: Serialize + DeserializeOwned>(ranks: &Ranks, count: usize, own: Vec<T>) -> Vec<T> {
    if ranks.count() == 1 {
        return own;
    }
    let bytes = serde_json::to_vec(&own).expect("results are JSON");
    let mut of_ranks: Vec<_> = (ranks.tell(&bytes).into_iter())
        .map(|bytes| {
            let results: Vec<T> = serde_json::from_slice(&bytes).expect("every rank tells its results");
            results.into_iter()
        })
        .collect();
    (0..count)
        .map(|number| {
            let of_rank = &mut of_ranks[number % ranks.count()];
            of_rank.next().expect("every rank has its share of the work")
        })
        .collect()
}

/// The optimizer's tensors of all ranks on the first, in the order of the model's parameters; nothing on the others.
pub(crate) fn tensors_of_all(
    ranks: &Ranks,
    own: Vec<NamedTensor>,
    order: &[(String, Owned)],
) -> Vec<NamedTensor> {
    if ranks.count() == 1 {
        return own;
    }
    let names: Vec<(&str, &[usize])> = (own.iter())
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
        .collect();
    let names = ranks.tell(&serde_json::to_vec(&names).expect("names are JSON"));
    let values: Vec<f32> = (own.iter())
        .flat_map(|tensor| tensor.to_data().iter::<f32>().collect::<Vec<_>>())
        .collect();
    // Ranks own rows of large parameters, in the order of ranks.
    let mut all: Vec<(String, Vec<usize>, Vec<f32>)> = vec![];
    for (names, values) in names.into_iter().zip(ranks.to_first(&values)) {
        let names: Vec<(String, Vec<usize>)> =
            serde_json::from_slice(&names).expect("every rank tells its names");
        let mut rest = values.as_slice();
        for (name, shape) in names {
            let (own, after) = rest.split_at(shape.iter().product());
            match all.iter_mut().find(|(known, ..)| *known == name) {
                None => all.push((name, shape, own.to_vec())),
                Some(_) if name.ends_with(".step") => {}
                Some((_, whole, values)) => {
                    whole[0] += shape[0];
                    values.extend_from_slice(own);
                }
            }
            rest = after;
        }
    }
    let place = |(name, ..): &(String, Vec<usize>, Vec<f32>)| {
        let parameter = name.rsplit_once('.').map_or("", |(parameter, _)| parameter);
        order.iter().position(|(name, _)| name == parameter)
    };
    all.sort_by_cached_key(place);
    all.into_iter()
        .map(|(name, shape, values)| NamedTensor::of_shape(name, shape, values))
        .collect()
}
