//! Ranks that are processes, by MPI. The only file that uses the MPI bindings.
//!
//! Every call is started as nonblocking, then polled with pauses. So a waiting rank leaves its core to other processes,
//! and knows how long it has waited.

use super::{Collective, Watch};
use mpi::Threading;
use mpi::collective::{CommunicatorCollectives, SystemOperation};
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::request::{Request, Scope};
use mpi::topology::{Communicator, SimpleCommunicator};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One process of those that `mpirun` or a job manager started together. Dropping it finalizes MPI.
pub(super) struct Mpi {
    world: SimpleCommunicator,
    /// Host name and process id of each rank.
    places: Vec<(String, u32)>,
    calls: Cell<u64>,
    /// How long to wait for the others, and who is notified of long waits.
    watch: RefCell<Option<(Duration, Box<dyn Watch>)>>,
    _universe: Universe,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpi(rank {} of {})", self.rank(), self.ranks())
    }
}

impl Mpi {
    /// The ranks that this process was started with; `None` if MPI was initialized before.
    #[must_use]
    pub(super) fn begin() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)?;
        let mut mpi = Self {
            world: universe.world(),
            places: vec![],
            calls: Cell::new(0),
            watch: RefCell::default(),
            _universe: universe,
        };
        let host = mpi::environment::processor_name().unwrap_or_default();
        let place = [&std::process::id().to_le_bytes(), host.as_bytes()].concat();
        mpi.places = (mpi.tell(&place).iter())
            .map(|place| {
                let (id, host) = place.split_first_chunk().expect("every rank tells its process");
                (
                    String::from_utf8_lossy(host).into_owned(),
                    u32::from_le_bytes(*id),
                )
            })
            .collect();
        Some(mpi)
    }

    /// The library and its version: the first words of what it says of itself.
    #[must_use]
    pub(super) fn library() -> String {
        let said = mpi::environment::library_version().unwrap_or_default();
        let words = said.split(['\n', ',', '\0']).next().unwrap_or_default();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits for a call to end.
    fn finish<'a, D: ?Sized, S: Scope<'a>>(&self, what: &str, mut request: Request<'a, D, S>) {
        self.calls.set(self.calls.get() + 1);
        let since = Instant::now();
        let mut pause = Duration::from_micros(20);
        let mut is_noted = false;
        while let Err(unfinished) = request.test() {
            request = unfinished;
            // Most calls are short: poll without a pause at first.
            if since.elapsed() > Duration::from_millis(1) {
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(2));
                self.look_around(what, since.elapsed(), &mut is_noted);
            }
        }
        if is_noted && let Some((_, watch)) = &*self.watch.borrow() {
            watch.ended(self.calls.get());
        }
    }

    /// Notifies of the wait after half of the patience, and ends the run after all of it.
    fn look_around(&self, what: &str, waited: Duration, is_noted: &mut bool) {
        let watch = self.watch.borrow();
        let Some((patience, watch)) = watch.as_ref() else {
            return;
        };
        if !*is_noted && waited > *patience / 2 {
            watch.waits(self.calls.get(), what);
            *is_noted = true;
        }
        if waited > *patience {
            watch.gives_up(self.calls.get(), what, waited);
            self.end_all(1);
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.world.size() as usize
    }

    fn name(&self, rank: usize) -> String {
        (self.places.get(rank)).map_or_else(String::new, |(host, id)| format!("{host}, process {id}"))
    }

    fn on_machine(&self) -> usize {
        let own = &self.places[self.rank()].0;
        self.places.iter().filter(|(host, _)| host == own).count()
    }

    fn place_on_machine(&self) -> usize {
        let own = &self.places[self.rank()].0;
        let before = &self.places[..self.rank()];
        before.iter().filter(|(host, _)| host == own).count()
    }

    fn sum(&self, values: &mut [f64]) {
        let own = values.to_vec();
        mpi::request::scope(|scope| {
            let sum = SystemOperation::sum();
            self.finish(
                "sum",
                self.world.immediate_all_reduce_into(scope, &own[..], values, sum),
            );
        });
    }

    fn swap(&self, parts: &[&[f32]], lengths: &[usize]) -> Vec<Vec<f32>> {
        let (counts, starts, _) = layout(parts.iter().map(|part| part.len()));
        let (received, places, total) = layout(lengths.iter().copied());
        let own = parts.concat();
        let mut all = vec![0.0_f32; total];
        {
            let from = Partition::new(&own[..], counts, starts);
            let mut to = PartitionMut::new(&mut all[..], &received[..], places);
            mpi::request::scope(|scope| {
                self.finish(
                    "swap",
                    self.world
                        .immediate_all_to_all_varcount_into(scope, &from, &mut to),
                );
            });
        }
        cut(&all, &received)
    }

    fn gather(&self, part: &[f32], lengths: &[usize]) -> Vec<Vec<f32>> {
        self.gather_all("gather", part, lengths.iter().copied(), 0.0)
    }

    fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lengths = vec![0_u64; self.ranks()];
        let own = bytes.len() as u64;
        mpi::request::scope(|scope| {
            self.finish(
                "tell",
                self.world
                    .immediate_all_gather_into(scope, &own, &mut lengths[..]),
            );
        });
        self.gather_all("tell", bytes, lengths.iter().map(|&length| length as usize), 0)
    }

    fn watch(&self, patience: Duration, watch: Box<dyn Watch>) {
        *self.watch.borrow_mut() = Some((patience, watch));
    }

    fn end_all(&self, code: i32) {
        self.world.abort(code);
    }
}

impl Mpi {
    fn gather_all<T>(
        &self,
        what: &str,
        part: &[T],
        lengths: impl Iterator<Item = usize>,
        zero: T,
    ) -> Vec<Vec<T>>
    where
        T: Clone + Equivalence,
    {
        let (counts, starts, total) = layout(lengths);
        let mut all = vec![zero; total];
        {
            let mut to = PartitionMut::new(&mut all[..], &counts[..], starts);
            mpi::request::scope(|scope| {
                self.finish(
                    what,
                    self.world
                        .immediate_all_gather_varcount_into(scope, part, &mut to),
                );
            });
        }
        cut(&all, &counts)
    }
}

/// Offset and length of the part of each rank, and the total length.
fn layout(lengths: impl Iterator<Item = usize>) -> (Vec<i32>, Vec<i32>, usize) {
    let (mut counts, mut starts, mut end) = (vec![], vec![], 0);
    for length in lengths {
        counts.push(i32::try_from(length).expect("a part of less than 2³¹ values"));
        starts.push(i32::try_from(end).expect("parts of less than 2³¹ values together"));
        end += length;
    }
    (counts, starts, end)
}

fn cut<T: Clone>(values: &[T], counts: &[i32]) -> Vec<Vec<T>> {
    let mut rest = values;
    (counts.iter())
        .map(|&count| {
            let (part, after) = rest.split_at(count as usize);
            rest = after;
            part.to_vec()
        })
        .collect()
}
