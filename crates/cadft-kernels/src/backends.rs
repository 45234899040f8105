//! Which backends have our kernels. The others run portable versions of the same operations.

use burn::tensor::Device;

/// Whether the backend of a device, with or without autodiff, has our kernels.
#[must_use]
pub fn has_kernels(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "ndarray")]
        burn::backend::DispatchDevice::NdArray(_) => false,
        _ => true,
    }
}

/// Whether the backend with this name has our kernels.
#[must_use]
pub fn backend_has_kernels(name: &str) -> bool {
    name != "ndarray"
}
