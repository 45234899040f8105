//! The backends that can be compiled in, named as Cargo features are.

/// A compute backend: the Cargo feature, and the value of `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// Burn's CPU backend, always compiled in.
    Flex,
    /// The older CPU backend.
    NdArray,
    /// NVIDIA GPUs.
    Cuda,
    /// AMD GPUs.
    Rocm,
    /// Apple GPUs.
    Metal,
    /// Vulkan, with SPIR-V kernels.
    Vulkan,
    /// WebGPU, with WGSL kernels.
    WebGpu,
    /// The graphics interface of the system, with WGSL kernels.
    Wgpu,
    /// The compiled CPU backend of CubeCL.
    Cpu,
}

impl Backend {
    /// The Cargo feature of this name in every crate that uses Burn.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
            Self::WebGpu => "webgpu",
            Self::Wgpu => "wgpu",
            Self::Cpu => "cpu",
        }
    }
}

/// The `--features` value for these backends. The CPU backend flex is always compiled in.
///
/// Empty for flex alone, the default of the command-line crate.
pub(crate) fn extra_features(backends: &[Backend]) -> Vec<&'static str> {
    let mut features = Vec::new();
    for backend in backends.iter().filter(|backend| **backend != Backend::Flex) {
        if !features.contains(&backend.feature()) {
            features.push(backend.feature());
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_value_typed_is_the_feature() {
        for backend in Backend::value_variants() {
            let value = backend.to_possible_value().unwrap();
            assert_eq!(value.get_name(), backend.feature());
        }
    }

    #[test]
    fn flex_needs_no_feature_and_repeats_are_dropped() {
        use Backend::{Flex, NdArray, Wgpu};
        assert!(extra_features(&[Flex]).is_empty());
        assert_eq!(extra_features(&[Wgpu, Flex, NdArray, Wgpu]), ["wgpu", "ndarray"]);
    }
}
