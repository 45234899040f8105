//! Keeps the threads of the pool awake between small parallel parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a thread looks for work before it starts over.
const LOOKS: usize = 16;

/// Until it is dropped, threads of the pool that have nothing to do look for work instead of going to sleep.
///
/// A pass over few tokens is hundreds of parallel parts of some ten microseconds, and waking a thread up for each takes
/// as long again.
pub(super) struct Awake(Arc<AtomicBool>);

impl Awake {
    /// To be called on a thread of the pool, which does the work itself.
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

/// Looks for work some times, then again as a new job: a thread that takes this up while it waits for a part of its own
/// comes back to that soon.
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
