//! Memory that a run may use, before it uses it: a clear error instead of a process that is killed.

use crate::config::OnLowMemory;
use crate::device::host_for;
use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::warning::Warning;
use burn::tensor::Device;
use cadft_files::shown;
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;
use std::fs;
use std::path::Path;

const MIB: f64 = (1 << 20) as f64;
/// Above the available memory by this factor, an estimate is certain.
const CERTAIN: f64 = 1.5;

/// Compares the estimate of the plan with what the system says is available; a warning where it may not be enough.
///
/// # Errors
/// [`TrainError::Memory`] where it certainly is not, unless `guard.memory` is `warn`.
pub fn check(prepared: &Prepared) -> Result<Option<Warning>, TrainError> {
    if host_for(&prepared.device).is_some() {
        return Ok(None);
    }
    let available = available_mib(Path::new("/"));
    let plan = &prepared.plan;
    let needed = (plan.memory_mib, plan.memory_mib + plan.saving_mib);
    judge(needed, available, prepared.recipe.guard.memory)
}

/// Refuses a model whose weights alone do not fit, where the device computes in the memory of the host.
///
/// The estimate is what they need at least: in f32 in any case, and the address space of the files that they are read
/// from. So it is certain, and there is nothing to warn of.
///
/// # Errors
/// [`TrainError::Mismatch`] with both sizes.
pub fn check_weights(config: &ModelConfig, directory: &Path, device: &Device) -> Result<(), TrainError> {
    if host_for(device).is_some() {
        return Ok(());
    }
    let root = Path::new("/");
    let sizes = expected_parameters(config);
    let weights = sizes
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum::<usize>()
        * 4;
    let mapped: u64 = (cadft_files::entries(directory).unwrap_or_default().iter())
        .filter(|name| name.ends_with(".safetensors"))
        .filter_map(|name| Some(fs::metadata(directory.join(name)).ok()?.len()))
        .sum();
    let of_memory = [machine_bytes(root), group_bytes(root)]
        .into_iter()
        .flatten()
        .min();
    let of_addresses = address_bytes(root).map(|bytes| bytes.saturating_sub(mapped));
    let Some(available) = of_memory.into_iter().chain(of_addresses).min() else {
        return Ok(());
    };
    if weights as u64 <= available {
        return Ok(());
    }
    Err(TrainError::mismatch(
        format!(
            "the weights of `{}` take {:.0} MiB of memory, and {:.0} MiB are available",
            shown(directory),
            weights as f64 / MIB,
            available as f64 / MIB
        ),
        "take a smaller model, or free some memory; `ulimit -v` limits it, too",
    ))
}

/// `needed` is what the run needs, and what it may need while a checkpoint is written.
fn judge(
    (needed, most): (f64, f64),
    available: Option<f64>,
    on_low_memory: OnLowMemory,
) -> Result<Option<Warning>, TrainError> {
    let Some(available) = available.filter(|&available| most > available) else {
        return Ok(None);
    };
    if on_low_memory == OnLowMemory::Refuse && needed > CERTAIN * available {
        return Err(TrainError::Memory { needed, available });
    }
    Ok(Some(Warning::new(
        format!("the run may need {most:.0} MiB of memory, and {available:.0} MiB are available"),
        "lower `batch.micro` or `data.max-length`, or train a smaller model",
    )))
}

/// What the system below `root` (`/`, but for tests) can still give: the least of what the machine has, what the control
/// groups of this process allow, and what its limit of address space (`ulimit -v`) leaves. `None` where the system does
/// not tell.
fn available_mib(root: &Path) -> Option<f64> {
    let least = [machine_bytes(root), group_bytes(root), address_bytes(root)];
    let bytes = least.into_iter().flatten().min()?;
    Some(bytes as f64 / MIB)
}

/// What is left of the address space that this process may have.
fn address_bytes(root: &Path) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(root.join("proc/self").join(name)).ok();
    let limits = text("limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = text("status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(limit.saturating_sub(kib * 1024))
}

fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)) * 1024)
}

/// The least that a control group of this process, or one above it, has left.
fn group_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let left = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (base, files) = if controllers.is_empty() {
            ("sys/fs/cgroup", ["memory.max", "memory.current"])
        } else if controllers.split(',').any(|name| name == "memory") {
            (
                "sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            )
        } else {
            return None;
        };
        let base = root.join(base);
        let group = base.join(path.trim_start_matches('/'));
        group
            .ancestors()
            .take_while(|directory| directory.starts_with(&base))
            .filter_map(|directory| left_in(directory, files))
            .min()
    });
    left.min()
}

/// Limit less use of one group; cached files that can be dropped do not count as used.
fn left_in(group: &Path, [limit, usage]: [&str; 2]) -> Option<u64> {
    let number =
        |name: &str| -> Option<u64> { fs::read_to_string(group.join(name)).ok()?.trim().parse().ok() };
    let cached = fs::read_to_string(group.join("memory.stat"))
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file "))?;
            line.trim().parse::<u64>().ok()
        });
    let used = number(usage)?.saturating_sub(cached.unwrap_or(0));
    Some(number(limit)?.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn the_tightest_limit_counts() {
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 9 kB\nMemAvailable:  4096000 kB\nSwapFree: 1024 kB\n",
        );
        let root = system(&[meminfo]);
        assert_eq!(available_mib(root.path()), Some(4001.0));
        let root = system(&[
            meminfo,
            ("proc/self/cgroup", "0::/user/job\n"),
            ("sys/fs/cgroup/user/job/memory.max", "max\n"),
            ("sys/fs/cgroup/user/job/memory.current", "5\n"),
            ("sys/fs/cgroup/user/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/user/memory.current", "314572800\n"),
            (
                "sys/fs/cgroup/user/memory.stat",
                "anon 1\ninactive_file 104857600\n",
            ),
        ]);
        assert_eq!(available_mib(root.path()), Some(824.0));
        let root = system(&[
            ("proc/self/cgroup", "7:cpu:/\n5:memory:/job\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "209715200\n"),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "104857600\n"),
        ]);
        assert_eq!(available_mib(root.path()), Some(100.0));
        let root = system(&[
            (
                "proc/self/limits",
                "Limit   Soft Limit   Hard Limit   Units\nMax address space   314572800   unlimited   bytes\n",
            ),
            ("proc/self/status", "VmPeak:\t 409600 kB\nVmSize:\t 102400 kB\n"),
        ]);
        assert_eq!(available_mib(root.path()), Some(200.0));
        assert_eq!(available_mib(system(&[]).path()), None);
    }

    #[test]
    fn what_cannot_fit_is_refused_and_what_may_not_is_told() {
        let judge = |needed, available| judge((needed, needed), available, OnLowMemory::Refuse);
        assert_eq!(judge(100.0, None).unwrap(), None);
        assert_eq!(judge(100.0, Some(100.0)).unwrap(), None);
        assert!(judge(100.0, Some(90.0)).unwrap().is_some());
        let saving = |available| super::judge((100.0, 200.0), available, OnLowMemory::Refuse);
        assert!(saving(Some(110.0)).unwrap().is_some() && saving(Some(200.0)).unwrap().is_none());
        let error = cadft_files::with_hints(&judge(100.0, Some(60.0)).unwrap_err());
        assert!(
            error.contains("100 MiB") && error.contains("60 MiB") && error.contains("hint:"),
            "{error}"
        );
        assert!(
            super::judge((100.0, 100.0), Some(60.0), OnLowMemory::Warn)
                .unwrap()
                .is_some()
        );
    }
}
