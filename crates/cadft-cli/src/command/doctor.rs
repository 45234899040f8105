//! `cadft doctor`.

use crate::args::DoctorArgs;
use crate::console::next;
use crate::{device, launch, output};
use anyhow::Result;
use burn::tensor::{DType, Device};
use cadft_files::with_hints;
use cadft_step::ranks::{self, Engine};
use cadft_train::device::{BACKENDS, Kernels};
use cadft_train::environment::BURN;
use schemars::JsonSchema;
use serde::Serialize;
use std::thread;

/// This build on this machine.
#[derive(Serialize, JsonSchema)]
pub(super) struct Diagnosis {
    /// The version of cadft.
    version: &'static str,
    /// The commit that it was built from, as far as that is known.
    commit: &'static str,
    /// The version of Burn.
    burn: &'static str,
    /// The operating system.
    os: &'static str,
    /// The architecture of the processor.
    arch: &'static str,
    /// Threads that the machine runs at the same time.
    threads: usize,
    /// The machine's memory; absent where the system does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
    /// What is free of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    available_memory_mib: Option<u64>,
    /// Backends that are built in.
    backends: Vec<BackendReport>,
    ranks: RanksReport,
}

/// What a run can be shared out among.
#[derive(Serialize, JsonSchema)]
struct RanksReport {
    /// Threads that `--ranks` may ask for without sharing a processor.
    threads: usize,
    /// What says that this process is one of several, and with which value.
    #[serde(skip_serializing_if = "Option::is_none")]
    launched_by: Option<(&'static str, String)>,
    /// What processes talk by, with its version.
    processes: EngineReport,
    /// What devices talk by.
    devices: EngineReport,
}

/// A library that ranks talk by.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum EngineReport {
    NotBuilt,
    NotFound,
    Found(String),
}

/// A compiled backend on this machine.
#[derive(Serialize, JsonSchema)]
struct BackendReport {
    /// Its name, for `--device`.
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
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let diagnosis = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("CADFT_COMMIT"),
        burn: BURN,
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        threads,
        memory_mib: memory_mib("MemTotal:"),
        available_memory_mib: memory_mib("MemAvailable:"),
        backends: BACKENDS
            .iter()
            .filter(|(_, compiled)| *compiled)
            .map(|(name, _)| examine(name))
            .collect(),
        ranks: RanksReport {
            threads,
            launched_by: launch::launched_by(),
            processes: ranks::processes_engine().into(),
            devices: ranks::devices_engine().into(),
        },
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
    rows.extend(diagnosis.ranks.rows());
    output::table(&rows)?;
    next::examined();
    Ok(())
}

impl From<Engine> for EngineReport {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::NotBuilt => Self::NotBuilt,
            Engine::NotFound => Self::NotFound,
            Engine::Found(version) => Self::Found(version),
        }
    }
}

impl RanksReport {
    fn rows(self) -> [(&'static str, String); 3] {
        let ranks = match self.launched_by {
            Some((name, value)) => format!("this process is one of several: `{name}` is {value}"),
            None => format!(
                "threads by `--ranks N`, with a processor each up to {}",
                self.threads
            ),
        };
        let processes = match self.processes {
            EngineReport::Found(version) => format!("by {version}, with `mpirun`"),
            EngineReport::NotFound => "no library".to_owned(),
            EngineReport::NotBuilt => format!("no MPI in this build; {}", launch::BUILD),
        };
        let devices = match self.devices {
            EngineReport::Found(version) => format!("by {version}"),
            EngineReport::NotFound => {
                "no `libnccl.so` on this machine; through the memory of the host".to_owned()
            }
            EngineReport::NotBuilt => {
                "no NCCL in this build (`--features cuda,nccl`); through the memory of the host".to_owned()
            }
        };
        [
            ("ranks", ranks),
            ("processes", processes),
            ("between devices", devices),
        ]
    }
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
