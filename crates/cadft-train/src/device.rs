//! Devices by name: `flex`, `ndarray`, `cpu`, `cuda[:N]`, `rocm[:N]`, `wgpu`, `vulkan`, `metal`, `webgpu`.

use crate::error::TrainError;
use burn::tensor::Device;
use schemars::JsonSchema;
use serde::Serialize;

/// Every backend and whether this program was built with it.
pub const BACKENDS: &[(&str, bool)] = &[
    ("flex", cfg!(feature = "flex")),
    ("ndarray", cfg!(feature = "ndarray")),
    ("cpu", cfg!(feature = "cpu")),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("metal", cfg!(feature = "metal")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("webgpu", cfg!(feature = "webgpu")),
    ("wgpu", cfg!(feature = "wgpu")),
];

/// The names of the backends that are compiled in.
#[must_use]
pub fn compiled() -> Vec<&'static str> {
    BACKENDS
        .iter()
        .filter(|(_, compiled)| *compiled)
        .map(|(name, _)| *name)
        .collect()
}

/// The implementations, on one backend, of the operations that cadft adds to Burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kernels {
    /// Output projection and likelihood, forward and backward.
    pub likelihood: Body,
    /// Attention, `SwiGLU`, `RMSNorm` and linear layers, forward and backward.
    pub decoder: Body,
}

/// The implementation of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// By kernels written for this backend.
    Kernel,
    /// By Burn's tensor operations, with Burn's autodiff.
    Portable,
}

impl Kernels {
    /// The implementations on the backend of this name.
    #[must_use]
    pub fn of(backend: &str) -> Self {
        Self::all(cadft_kernels::backend_has_kernels(backend))
    }

    /// The implementations on a device.
    #[must_use]
    pub fn on(device: &Device) -> Self {
        Self::all(cadft_kernels::has_kernels(device))
    }

    fn all(has_kernels: bool) -> Self {
        let body = if has_kernels { Body::Kernel } else { Body::Portable };
        Self {
            likelihood: body,
            decoder: body,
        }
    }

    /// The operations that are portable.
    pub fn portable(self) -> impl Iterator<Item = &'static str> {
        [("likelihood", self.likelihood), ("decoder", self.decoder)]
            .into_iter()
            .filter(|(_, body)| *body == Body::Portable)
            .map(|(name, _)| name)
    }
}

/// The device of this name, without autodiff.
///
/// # Errors
/// [`TrainError::Device`] if the name is unknown, or is not compiled in; the hint has the build command.
pub fn parse(name: &str) -> Result<Device, TrainError> {
    let error = |message| TrainError::Device { message, hint: None };
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => {
            let index: usize = index
                .parse()
                .map_err(|_| error(format!("`{name}`: `{index}` is not the number of a device")))?;
            (backend, Some(index))
        }
        None => (name, None),
    };
    let Some((_, compiled_in)) = BACKENDS.iter().find(|(known, _)| *known == backend) else {
        let names: Vec<_> = BACKENDS.iter().map(|(name, _)| *name).collect();
        return Err(error(format!(
            "`{name}`: unknown device; known are {}",
            names.join(", ")
        )));
    };
    if !compiled_in {
        let has = compiled().join(", ");
        return Err(TrainError::Device {
            message: format!("`{name}`: this program was not built with `{backend}`; it has {has}"),
            hint: Some(format!(
                "build it in with `cargo xtask train --backend {backend}`, or \
                 `cargo build --release -p cadft --features {backend}`"
            )),
        });
    }
    if index.is_some() && !matches!(backend, "cuda" | "rocm") {
        return Err(error(format!(
            "`{name}`: only `cuda` and `rocm` devices have a number"
        )));
    }
    Ok(build(backend, index.unwrap_or(0)))
}

/// Keeps compiled kernels on disk between runs, in the directory of CubeCL's `environment.path`. Otherwise every run on
/// CUDA begins with minutes of compilation.
#[cfg(feature = "kept-kernels")]
fn keep_kernels() {
    use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    // Fails if it is set already or a device is open; the existing setting then stays.
    let _ = CubeClRuntimeConfig::try_set(config);
}

#[allow(unused_variables, reason = "only numbered devices use the index")]
fn build(backend: &str, index: usize) -> Device {
    #[cfg(feature = "kept-kernels")]
    if matches!(backend, "cuda" | "rocm") {
        keep_kernels();
    }
    match backend {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        "ndarray" => ndarray(),
        #[cfg(feature = "cpu")]
        "cpu" => Device::cpu(),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(index),
        #[cfg(feature = "rocm")]
        "rocm" => Device::rocm(index),
        #[cfg(feature = "metal")]
        "metal" => Device::metal(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "webgpu")]
        "webgpu" => Device::webgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        _ => unreachable!("`{backend}` was checked against the compiled backends"),
    }
}

/// A device in host memory for the values of `device`; `None` if they are in host memory already, or if no such device
/// is compiled in.
#[must_use]
pub(crate) fn host_for(device: &Device) -> Option<Device> {
    let hosts: Vec<Device> = [
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        ndarray(),
    ]
    .into();
    let device = device.clone().inner();
    if hosts.contains(&device) {
        return None;
    }
    hosts.into_iter().next()
}

#[cfg(feature = "ndarray")]
#[allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")]
fn ndarray() -> Device {
    Device::ndarray()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_checked() {
        assert!(parse("tpu").unwrap_err().to_string().contains("known are flex"));
        assert!(parse("flex:1").unwrap_err().to_string().contains("number"));
        assert!(parse("cuda:x").unwrap_err().to_string().contains("`x`"));
    }

    #[cfg(not(feature = "rocm"))]
    #[test]
    fn a_backend_that_is_not_compiled_in_names_the_command() {
        let message = cadft_files::with_hints(&parse("rocm").unwrap_err());
        assert!(
            message.contains("not built with `rocm`") && message.contains("--backend rocm"),
            "{message}"
        );
    }
}
