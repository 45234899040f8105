//! Facts about this process.

/// Largest resident memory of this process so far, in MiB; `None` if the system does not report it.
#[must_use]
pub fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time of all threads, in seconds.
    pub cpu_secs: f64,
    /// Pages that were touched for the first time.
    pub page_faults: u64,
}

impl Usage {
    /// That of this process; `None` if the system does not report it.
    #[must_use]
    pub fn now() -> Option<Self> {
        // Linux counts in hundredths of a second here, whatever the clock of the processor.
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            cpu_secs: (field(11)? + field(12)?) as f64 / TICKS,
            page_faults: field(7)?,
        })
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_secs: self.cpu_secs - before.cpu_secs,
            page_faults: self.page_faults - before.page_faults,
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn touching_memory_is_seen() {
        let before = super::Usage::now().unwrap();
        let pages = std::hint::black_box(vec![1_u8; 64 << 20]);
        let used = super::Usage::now().unwrap().since(before);
        assert!(
            used.page_faults >= 16 && used.cpu_secs >= 0.0,
            "{used:?} {}",
            pages.len()
        );
    }
}
