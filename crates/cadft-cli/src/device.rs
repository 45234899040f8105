//! A device by name, opened and probed.

use crate::panics;
use burn::tensor::{Device, Tensor};
use cadft_step::Ranks;
use cadft_train::{TrainError, device};
use std::panic;

/// The name of the device to compute on.
pub(crate) fn name(asked: Option<&str>) -> &str {
    let compiled = device::compiled();
    let default = if compiled.contains(&"flex") {
        "flex"
    } else {
        compiled.first().copied().unwrap_or("flex")
    };
    asked.unwrap_or(default)
}

/// The name of the device of one of several processes. Cards without a number are dealt out: a rank has the one with its place
/// among the ranks of its machine, unless it sees one only, which its launcher has chosen then.
pub(crate) fn of_rank(asked: Option<&str>, ranks: &Ranks) -> String {
    let name = name(asked);
    match ranks.place_on_machine() {
        0 => name.to_owned(),
        place => dealt(name, place, cards(name)),
    }
}

fn dealt(name: &str, place: usize, cards: usize) -> String {
    if cards > 1 {
        format!("{name}:{place}")
    } else {
        name.to_owned()
    }
}

/// The cards that this process sees, if `name` is of cards and has no number.
fn cards(name: &str) -> usize {
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => Device::enumerate(burn::tensor::DeviceType::Cuda).len(),
        #[cfg(feature = "rocm")]
        "rocm" => Device::enumerate(burn::tensor::DeviceType::Rocm).len(),
        _ => 0,
    }
}

/// The device of this name, after a small test computation.
///
/// If there is no such device, backends panic; this is turned into an error here.
pub(crate) fn open(name: &str) -> Result<Device, TrainError> {
    let before = panics::kept();
    let opened = panic::catch_unwind(|| {
        let device = device::parse(name)?;
        let sum: f32 = Tensor::<1>::ones([2], &device).sum().into_scalar();
        Ok((device, sum))
    });
    let failed = |reason: String| {
        let (reason, hint) = match missing_library(&reason) {
            Some(missing) => (missing, NAME_LIBRARIES),
            None => (reason, "`cadft doctor` shows what can"),
        };
        TrainError::Device {
            message: format!("`{name}`: the device cannot be used: {reason}"),
            hint: Some(hint.to_owned()),
        }
    };
    match opened {
        Ok(Ok((device, 2.0))) => Ok(device),
        Ok(Ok((_, sum))) => Err(failed(format!("it says that 1 + 1 is {sum}"))),
        Ok(Err(error)) => Err(error),
        Err(payload) => Err(failed(
            // The device's thread knows the reason; this thread knows only that it has ended.
            panics::first_since(before)
                .unwrap_or_else(|| panics::reason(panics::message_of(payload.as_ref()))),
        )),
    }
}

/// The hint for a missing driver library.
const NAME_LIBRARIES: &str = "NVIDIA's driver brings `libcuda`, the CUDA toolkit `libnvrtc`; name their directory in \
                              `LD_LIBRARY_PATH` where they are installed";

/// A shorter message for a missing driver library than that of `cudarc`; `None` for other messages.
fn missing_library(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("Unable to dynamically load the \"")?;
    let (library, _) = rest.split_once('"')?;
    Some(format!("there is no `lib{library}.so`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_dealt_to_the_ranks_of_a_machine_unless_each_sees_its_own() {
        assert_eq!(dealt("cuda", 3, 4), "cuda:3");
        assert_eq!(dealt("cuda", 3, 1), "cuda");
        assert_eq!(dealt("flex", 1, cards("flex")), "flex");
        assert_eq!(dealt("cuda:1", 2, cards("cuda:1")), "cuda:1");
    }

    #[test]
    fn a_missing_driver_is_named_in_a_few_words() {
        let message = "Unable to dynamically load the \"cuda\" shared library - searched for library names: [\"libcuda.so\"]";
        let said = missing_library(message).unwrap();
        assert_eq!(said, "there is no `libcuda.so`");
        assert_eq!(missing_library("index out of bounds"), None);
    }
}
