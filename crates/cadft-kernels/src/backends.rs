//! Which backends run kernels of ours; the others run portable forms of the same operations.

use burn::tensor::Device;

/// Whether there are kernels for the backend of a device, with or without autodiff.
#[must_use]
pub fn has_kernels(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "ndarray")]
        burn::backend::DispatchDevice::NdArray(_) => false,
        _ => true,
    }
}

/// Whether there are kernels for the backend with this name.
#[must_use]
pub fn backend_has_kernels(name: &str) -> bool {
    name != "ndarray"
}
