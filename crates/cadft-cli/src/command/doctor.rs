//! `cadft doctor`.

use crate::args::DoctorArgs;
use crate::{device, output};
use anyhow::Result;
use burn::tensor::{DType, Device};
use cadft_files::with_hints;
use cadft_train::device::{BACKENDS, Kernels};
use cadft_train::environment::BURN;
use serde::Serialize;
use std::thread;

#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    commit: &'static str,
    burn: &'static str,
    os: &'static str,
    arch: &'static str,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_memory_mib: Option<u64>,
    backends: Vec<BackendReport>,
}

/// A compiled backend on this machine.
#[derive(Serialize)]
struct BackendReport {
    name: &'static str,
    /// Whether its first device can be used.
    works: bool,
    /// The device's name for itself, if it reports one.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    /// Device memory in MiB, total and free, if NVIDIA's driver reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<[u64; 2]>,
    /// Number formats that it computes in.
    dtypes: Vec<&'static str>,
    /// The kernels that run the operations cadft adds to Burn.
    kernels: Kernels,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let diagnosis = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("CADFT_COMMIT"),
        burn: BURN,
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        threads: thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory_mib("MemTotal:"),
        available_memory_mib: memory_mib("MemAvailable:"),
        backends: BACKENDS
            .iter()
            .filter(|(_, compiled)| *compiled)
            .map(|(name, _)| examine(name))
            .collect(),
    };
    if args.json {
        return output::json_line(&diagnosis);
    }
    let mib = |memory: Option<u64>| memory.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib} MiB"));
    let mut rows = vec![
        ("cadft", diagnosis.version.to_owned()),
        ("commit", diagnosis.commit.to_owned()),
        ("burn", diagnosis.burn.to_owned()),
        ("system", format!("{} {}", diagnosis.os, diagnosis.arch)),
        ("threads", diagnosis.threads.to_string()),
        (
            "memory",
            format!(
                "{}, {} available",
                mib(diagnosis.memory_mib),
                mib(diagnosis.available_memory_mib)
            ),
        ),
    ];
    for backend in &diagnosis.backends {
        let state = match &backend.error {
            None => backend.describe(),
            Some(error) => error.lines().next().unwrap_or_default().to_owned(),
        };
        rows.push((backend.name, state));
    }
    let missing: Vec<_> = BACKENDS
        .iter()
        .filter(|(_, compiled)| !compiled)
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        rows.push((
            "not built in",
            format!("{} (`cargo xtask train --backend NAME`)", missing.join(", ")),
        ));
    }
    output::table(&rows)
}

impl BackendReport {
    fn describe(&self) -> String {
        let adapter = self
            .adapter
            .as_ref()
            .map_or_else(String::new, |adapter| format!("{adapter}; "));
        let portable: Vec<_> = self.kernels.portable().collect();
        let portable = if portable.is_empty() {
            String::new()
        } else {
            format!("; portable: {}", portable.join(", "))
        };
        let memory = self.memory_mib.map_or_else(String::new, |[total, free]| {
            format!("{total} MiB, {free} available; ")
        });
        format!("works: {adapter}{memory}{}{portable}", self.dtypes.join(", "))
    }
}

fn examine(name: &'static str) -> BackendReport {
    match device::open(name) {
        Ok(device) => BackendReport {
            name,
            works: true,
            adapter: adapter(&device),
            memory_mib: device_memory_mib(&device),
            kernels: Kernels::of(name),
            dtypes: [("f32", DType::F32), ("f16", DType::F16), ("bf16", DType::BF16)]
                .into_iter()
                .filter(|(_, dtype)| device.supports_dtype(*dtype))
                .map(|(name, _)| name)
                .collect(),
            error: None,
        },
        Err(error) => BackendReport {
            name,
            works: false,
            adapter: None,
            memory_mib: None,
            kernels: Kernels::of(name),
            dtypes: vec![],
            error: Some(with_hints(&error)),
        },
    }
}

#[cfg(feature = "cube")]
fn adapter(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

#[cfg(not(feature = "cube"))]
fn adapter(_device: &Device) -> Option<String> {
    None
}

/// Memory of the device in MiB, total and free; `None` if it is not an NVIDIA device.
#[cfg(feature = "cuda")]
fn device_memory_mib(device: &Device) -> Option<[u64; 2]> {
    let address = device.identity()?.physical?.pci_address?;
    let driver = nvml_wrapper::Nvml::init().ok()?;
    let card = driver.device_by_pci_bus_id(address.to_string()).ok()?;
    let memory = card.memory_info().ok()?;
    Some([memory.total >> 20, memory.free >> 20])
}

#[cfg(not(feature = "cuda"))]
fn device_memory_mib(_device: &Device) -> Option<[u64; 2]> {
    None
}

/// A value of `/proc/meminfo` in MiB; `None` if the system has no such file.
fn memory_mib(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}
