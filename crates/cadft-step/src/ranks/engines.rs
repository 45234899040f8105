//! What ranks talk by, besides threads: what this program was built with, and what of that is there.

use super::{Collective, Plane};
use burn::tensor::Device;
use std::rc::Rc;

/// What ranks talk by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// This program was built without it.
    NotBuilt,
    /// Its library is not on this machine.
    NotFound,
    /// The library and its version.
    Found(String),
}

/// What processes talk by: MPI, by the feature `mpi`.
#[must_use]
pub fn processes_engine() -> Engine {
    #[cfg(feature = "mpi")]
    return Engine::Found(super::mpi::Mpi::library());
    #[cfg(not(feature = "mpi"))]
    Engine::NotBuilt
}

/// The rank that this process is among those it was started with; `None` if they cannot talk, or do already.
#[must_use]
pub fn processes() -> Option<Rc<dyn Collective>> {
    #[cfg(feature = "mpi")]
    return Some(Rc::new(super::mpi::Mpi::begin()?));
    #[cfg(not(feature = "mpi"))]
    None
}

/// What devices talk by: NCCL, by the feature `nccl`.
#[must_use]
pub fn devices_engine() -> Engine {
    #[cfg(feature = "nccl")]
    return super::nccl::version().map_or(Engine::NotFound, |version| {
        Engine::Found(format!("NCCL {version}"))
    });
    #[cfg(not(feature = "nccl"))]
    Engine::NotBuilt
}

/// A way between the devices of the ranks that does not go through the host. `None` on all ranks if this program was built without
/// one, or if one of them cannot take it. All ranks call it.
///
/// # Panics
/// If a device or its library refuses.
#[must_use]
pub fn between_devices(host: &Rc<dyn Collective>, device: &Device) -> Option<Box<dyn Plane>> {
    #[cfg(feature = "nccl")]
    return Some(Box::new(super::nccl::Nccl::join(host, device)?));
    #[cfg(not(feature = "nccl"))]
    {
        let _ = (host, device);
        None
    }
}
