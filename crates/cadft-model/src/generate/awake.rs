//! Keeps the threads of the rayon pool awake between small parallel parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a thread looks for work before it spawns a new job.
const LOOKS: usize = 16;

/// Until this is dropped, idle threads of the pool look for work instead of sleeping.
///
/// A pass over few tokens consists of hundreds of parallel parts of about ten microseconds each. Waking a thread for
/// each part would take as long again.
pub(super) struct Awake(Arc<AtomicBool>);

impl Awake {
    /// Must be called on a thread of the pool, which does the work itself.
    pub(super) fn new() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        for _ in 1..rayon::current_num_threads() {
            look(Arc::clone(&done));
        }
        Self(done)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks for work a few times, then spawns itself as a new job. A thread that runs this while it waits for its own part
/// thus soon returns to that part.
fn look(done: Arc<AtomicBool>) {
    rayon::spawn(move || {
        for _ in 0..LOOKS {
            if done.load(Ordering::Relaxed) {
                return;
            }
            if rayon::yield_now() == Some(rayon::Yield::Idle) {
                std::hint::spin_loop();
            }
        }
        look(done);
    });
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn parallel_work_comes_to_its_end_whoever_else_keeps_the_pool_awake() {
        let numbers: Vec<u64> = (0..1000).collect();
        let work = || {
            for _ in 0..50 {
                let sum: u64 = rayon::scope(|_| {
                    let _awake = Awake::new();
                    (0..20).map(|_| numbers.par_iter().sum::<u64>()).sum()
                });
                assert_eq!(sum, 20 * 499_500);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
    }
}
