//! Limits the number of sequences that are generated at the same time by the memory for their keys and values.

use crate::available::{MIB, available_mib};
use crate::device::host_for;
use crate::error::TrainError;
use cadft_model::generate::{SequenceBytes, sequence_bytes};
use cadft_model::{CausalLm, GenerateOptions, Request};
use std::path::Path;

/// Share of the memory for keys and values; the rest is for the tensors of a forward pass.
const FOR_CACHES: f64 = 0.75;

/// The same options, with fewer sequences at the same time if the keys and values of all may not fit into memory. The
/// answers do not depend on it.
///
/// The memory of a GPU is not considered.
///
/// # Errors
/// [`TrainError::Mismatch`] if even one sequence has no room at its beginning.
pub fn fitting(
    model: &CausalLm,
    requests: &[Request],
    options: &GenerateOptions,
) -> Result<GenerateOptions, TrainError> {
    let is_elsewhere = host_for(&model.device()).is_some();
    let Some(available) = available_mib(Path::new("/")).filter(|_| !is_elsewhere) else {
        return Ok(options.clone());
    };
    let bytes = sequence_bytes(model, requests, options);
    let wanted = options.batch.min(requests.len());
    let batch = at_a_time(bytes, wanted, available)?;
    if batch >= wanted {
        return Ok(options.clone());
    }
    tracing::info!("{batch} answers at a time in place of {wanted}: more may not fit into memory");
    Ok(GenerateOptions {
        batch,
        ..options.clone()
    })
}

/// The number of sequences that fit, at most `wanted`. At least one if it can begin: most sequences end before they
/// reach their largest length.
fn at_a_time(bytes: SequenceBytes, wanted: usize, available: f64) -> Result<usize, TrainError> {
    let left = available * FOR_CACHES;
    let mib = |bytes: u64| bytes as f64 / MIB;
    if mib(bytes.first) > left {
        return Err(TrainError::mismatch(
            format!(
                "the keys and values of one answer take {:.0} MiB of memory from its beginning, and {available:.0} MiB are \
                 available",
                mib(bytes.first)
            ),
            "allow fewer new tokens, shorten the prompts, or free some memory; `ulimit -v` limits it, too",
        ));
    }
    if bytes.most == 0 {
        return Ok(wanted);
    }
    Ok(wanted.min((left / mib(bytes.most)) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_files::with_hints;

    #[test]
    fn as_many_sequences_are_made_at_a_time_as_fit_and_none_is_begun_that_cannot() {
        let mib = |first: u64, most: u64| SequenceBytes {
            first: first << 20,
            most: most << 20,
        };
        assert_eq!(at_a_time(mib(1, 2), 32, 1000.0).unwrap(), 32);
        assert_eq!(at_a_time(mib(10, 25), 32, 400.0).unwrap(), 12);
        assert_eq!(at_a_time(mib(10, 4000), 32, 400.0).unwrap(), 1);
        assert_eq!(at_a_time(mib(0, 0), 32, 0.0).unwrap(), 32);
        let error = with_hints(&at_a_time(mib(301, 301), 1, 400.0).unwrap_err());
        assert!(
            error.contains("301 MiB") && error.contains("400 MiB") && error.contains("\nhint: "),
            "{error}"
        );
    }
}
