//! The memory that the system can still give this process.

use crate::config::MemoryOf;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

pub(crate) const MIB: f64 = (1 << 20) as f64;

/// What limits the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The machine's available memory.
    Machine,
    /// The limits of the control groups of this process.
    Group,
    /// The size of the address space of this process.
    Addresses,
    /// The device that `guard.memory-of` names.
    Device(MemoryOf),
}

impl Display for MemoryLimit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("on this machine"),
            Self::Group => f.write_str("in the control group of this process"),
            Self::Addresses => f.write_str("under `ulimit -v`"),
            Self::Device(device) => write!(f, "on `{}`", device.name()),
        }
    }
}

/// Memory that is still available under a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) mib: f64,
    pub(crate) limit: MemoryLimit,
}

/// What the system below `root` (`/`, except in tests) can still give under each limit that it reports.
pub(crate) fn rooms(root: &Path) -> Vec<Room> {
    let limits = [
        (MemoryLimit::Machine, machine_bytes(root)),
        (MemoryLimit::Group, group_bytes(root)),
        (MemoryLimit::Addresses, address_bytes(root)),
    ];
    let reported = limits.into_iter().filter_map(|(limit, bytes)| {
        let mib = bytes? as f64 / MIB;
        Some(Room { mib, limit })
    });
    reported.collect()
}

/// The least of [`rooms`] in MiB; `None` if there is none.
pub(crate) fn available_mib(root: &Path) -> Option<f64> {
    rooms(root).iter().map(|room| room.mib).min_by(f64::total_cmp)
}

/// The remaining address space of this process, in bytes.
pub(crate) fn address_bytes(root: &Path) -> Option<u64> {
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

pub(crate) fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)) * 1024)
}

/// Remaining memory in bytes: the least over the control groups of this process and their ancestors.
pub(crate) fn group_bytes(root: &Path) -> Option<u64> {
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

/// Limit minus usage of one group. Cached files that can be dropped do not count as used.
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
        let limits = rooms(root.path()).into_iter().map(|room| room.limit);
        assert_eq!(limits.collect::<Vec<_>>(), [MemoryLimit::Addresses]);
        assert_eq!(available_mib(system(&[]).path()), None);
    }
}
