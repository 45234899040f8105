//! Ranks that are threads of one process.

use super::{Collective, Lost};
use std::any::Any;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One rank of several in threads of one process, which meet at every call. If a thread drops its rank, it is lost, and
/// the threads that wait for it unwind.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// The argument of one rank in a meeting.
type Part = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
struct Meeting {
    ranks: usize,
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug)]
struct Now {
    /// Meetings that are over.
    over: u64,
    /// The parts of the ranks that have arrived.
    here: Vec<Option<Part>>,
    /// The parts of all ranks in the last meeting.
    brought: Vec<Part>,
    lost: Option<Lost>,
}

impl Local {
    /// Makes `ranks` ranks, one for each thread.
    #[must_use]
    pub fn all(ranks: usize) -> Vec<Self> {
        let now = Now {
            over: 0,
            here: vec![None; ranks],
            brought: vec![],
            lost: None,
        };
        let meeting = Arc::new(Meeting {
            ranks,
            now: Mutex::new(now),
            changed: Condvar::new(),
        });
        (0..ranks)
            .map(|rank| Self {
                rank,
                meeting: meeting.clone(),
            })
            .collect()
    }

    /// Waits until every rank has arrived. Returns their parts in the order of ranks.
    fn meet<T: Send + Sync + 'static>(&self, part: T) -> Vec<Arc<T>> {
        let meeting = &*self.meeting;
        let mut now = meeting.lock();
        let number = now.over;
        now.here[self.rank] = Some(Arc::new(part));
        if now.here.iter().all(Option::is_some) {
            now.brought = now.here.iter_mut().filter_map(Option::take).collect();
            now.over += 1;
            meeting.changed.notify_all();
        }
        while now.over == number {
            if let Some(lost) = now.lost {
                drop(now);
                resume_unwind(Box::new(lost));
            }
            now = meeting.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        let brought = now.brought.clone();
        drop(now);
        let same = brought.into_iter().map(Arc::downcast);
        same.map(|part| part.expect("all ranks make the same calls"))
            .collect()
    }
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut now = self.meeting.lock();
        now.lost.get_or_insert(Lost { rank: self.rank });
        self.meeting.changed.notify_all();
    }
}

impl Collective for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.meeting.ranks
    }

    fn sum(&self, values: &mut [f64]) {
        let all = self.meet(values.to_vec());
        values.fill(0.0);
        for part in all {
            for (sum, value) in values.iter_mut().zip(&*part) {
                *sum += value;
            }
        }
    }

    fn swap(&self, parts: &[&[f32]], _lengths: &[usize]) -> Vec<Vec<f32>> {
        let parts: Vec<Vec<f32>> = parts.iter().map(|part| part.to_vec()).collect();
        let all = self.meet(parts);
        all.iter().map(|parts| parts[self.rank].clone()).collect()
    }

    fn gather(&self, part: &[f32], _lengths: &[usize]) -> Vec<Vec<f32>> {
        let all = self.meet(part.to_vec());
        all.iter().map(|part| part.to_vec()).collect()
    }

    fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let all = self.meet(bytes.to_vec());
        all.iter().map(|part| part.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    fn on_each<T: Send>(ranks: usize, work: impl Fn(Local) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let threads: Vec<_> = (Local::all(ranks).into_iter())
                .map(|rank| scope.spawn(|| work(rank)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_call_gives_what_its_contract_says() {
        let found = on_each(3, |local| {
            let rank = local.rank();
            let mut sums = [1.0, rank as f64];
            local.sum(&mut sums);
            let own = [rank as f32; 2];
            let swapped = local.swap(&[&own[..1], &own, &[]], &[0; 3]);
            let gathered = local.gather(&own[..rank.min(2)], &[0, 1, 2]);
            (sums, swapped, gathered, local.tell(&vec![7; rank]))
        });
        for (rank, (sums, swapped, gathered, told)) in found.into_iter().enumerate() {
            assert_eq!(sums, [3.0, 3.0]);
            let expected: Vec<Vec<f32>> = (0..3).map(|from| vec![from as f32; [1, 2, 0][rank]]).collect();
            assert_eq!(swapped, expected);
            assert_eq!(gathered, [vec![], vec![1.0], vec![2.0, 2.0]]);
            assert_eq!(told, [vec![], vec![7], vec![7, 7]]);
        }
    }

    #[test]
    fn those_who_wait_for_a_lost_rank_learn_which() {
        let found = on_each(3, |local| {
            if local.rank() == 1 {
                return None;
            }
            let waiting = catch_unwind(AssertUnwindSafe(|| local.tell(b"here")));
            waiting.unwrap_err().downcast_ref::<Lost>().copied()
        });
        assert_eq!(found, [Some(Lost { rank: 1 }), None, Some(Lost { rank: 1 })]);
    }
}
