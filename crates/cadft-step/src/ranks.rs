//! The ranks of a run: processes or threads that compute one global batch together.
//!
//! A global batch is dealt into *shards* by tokens ([`cadft_batch::deal`]). Each rank computes some of them. Results depend on
//! the number of shards and not on the number of ranks:
//!
//! - the host sums vectors in which at most one rank has a nonzero value at each place, so that no sum rounds;
//! - gradients are summed by a tree over the shards, which is the same for every number of ranks (`sum.rs`);
//! - a parameter, or a block of rows of a large one, has one rank as its owner. The owner alone keeps its optimizer
//!   moments, updates it and sends it to the others (stage 1 of ZeRO, Rajbhandari et al., arXiv 1910.02054). In stage 2
//!   only the owner keeps its gradient too.
//!
//! With one rank, a step runs the same kernels and reads as it would without this module.

mod buckets;
mod checked;
mod collective;
mod engines;
mod flat;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod owners;
mod staged;

pub use checked::Checked;
pub use collective::{Collective, Lost, Plane, Watch};
pub use engines::{Engine, between_devices, devices_engine, processes, processes_engine};
pub use local::Local;
pub use owners::{Owned, owned_values};
pub use staged::Staged;

pub(crate) use flat::{Flat, flat_gradients, gradients_of};
pub(crate) use owners::Owners;

pub use buckets::BUCKET;

use buckets::buckets;
use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor};
use flat::{flat_values, with_values};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The ranks of a run, and the number of this one.
#[derive(Clone, Debug)]
pub struct Ranks {
    several: Option<Rc<Several>>,
    sharing: Sharing,
}

/// How a global batch and its gradients are shared out. Results depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The shards that a global batch is dealt into.
    pub shards: usize,
    /// What only the owner of a parameter keeps.
    pub stage: ZeroStage,
}

/// What only the owner of a parameter keeps, by the stages of ZeRO: 1 or 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(with = "u8")]
pub enum ZeroStage {
    /// Moments. Gradients of all micro-batches of a shard are added before ranks add theirs.
    #[default]
    One,
    /// Moments and gradients. Ranks add the gradients of the first micro-batch of every shard, then of the second, ….
    Two,
}

#[derive(Debug)]
struct Several {
    host: Rc<dyn Collective>,
    device: Box<dyn Plane>,
    /// Time spent on exchanges and waiting for others.
    waited: Cell<Duration>,
}

impl Several {
    fn timed<T>(&self, call: impl FnOnce(&Self) -> T) -> T {
        let since = Instant::now();
        let result = call(self);
        self.waited.set(self.waited.get() + since.elapsed());
        result
    }
}

impl TryFrom<u8> for ZeroStage {
    type Error = String;

    fn try_from(stage: u8) -> Result<Self, String> {
        match stage {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err(format!("{stage} is no stage: 1 or 2")),
        }
    }
}

impl From<ZeroStage> for u8 {
    fn from(stage: ZeroStage) -> Self {
        match stage {
            ZeroStage::One => 1,
            ZeroStage::Two => 2,
        }
    }
}

impl Default for Ranks {
    fn default() -> Self {
        Self::solo()
    }
}

impl Ranks {
    /// One rank and one shard, without communication.
    #[must_use]
    pub fn solo() -> Self {
        Self {
            several: None,
            sharing: Sharing {
                shards: 1,
                stage: ZeroStage::One,
            },
        }
    }

    /// Ranks that communicate through host memory; tensors are copied to the host and back.
    #[must_use]
    pub fn new(host: Rc<dyn Collective>) -> Self {
        let device = Box::new(Staged(host.clone()));
        Self::with_plane(host, device)
    }

    /// Ranks whose host values go through `host`, and whose device tensors go through `device`.
    #[must_use]
    pub fn with_plane(host: Rc<dyn Collective>, device: Box<dyn Plane>) -> Self {
        let (waited, shards) = (Cell::default(), host.ranks());
        Self {
            several: (shards > 1).then(|| Rc::new(Several { host, device, waited })),
            ..Self::solo()
        }
        .with_sharing(Sharing {
            shards,
            stage: ZeroStage::One,
        })
    }

    /// Sets the number of shards (the number of ranks by default) and the ZeRO stage.
    ///
    /// # Panics
    /// If the number of shards is not a multiple of the number of ranks.
    #[must_use]
    pub fn with_sharing(self, sharing: Sharing) -> Self {
        let (shards, ranks) = (sharing.shards, self.count());
        assert!(
            shards > 0 && shards.is_multiple_of(ranks),
            "{shards} shards on {ranks} ranks"
        );
        Self { sharing, ..self }
    }

    /// The number of shards that a global batch is dealt into.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.sharing.shards
    }

    /// What only the owner of a parameter keeps.
    #[must_use]
    pub fn stage(&self) -> ZeroStage {
        self.sharing.stage
    }

    /// The number of this rank, counted from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.several.as_ref().map_or(0, |several| several.host.rank())
    }

    /// The number of ranks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.several.as_ref().map_or(1, |several| several.host.ranks())
    }

    /// The name of `rank` in messages: its number, and where it runs.
    #[must_use]
    pub fn name(&self, rank: usize) -> String {
        let place = self
            .several
            .as_ref()
            .map_or_else(String::new, |several| several.host.name(rank));
        format!("rank {rank} ({place})")
    }

    /// The number of ranks on the machine of this rank.
    #[must_use]
    pub fn on_machine(&self) -> usize {
        self.several
            .as_ref()
            .map_or(1, |several| several.host.on_machine())
    }

    /// Which of the ranks on its machine this one is.
    #[must_use]
    pub fn place_on_machine(&self) -> usize {
        self.several
            .as_ref()
            .map_or(0, |several| several.host.place_on_machine())
    }

    /// The same ranks, which talk between their devices without the host if [`between_devices`] can. All ranks call it.
    ///
    /// # Panics
    /// If a device or its library refuses.
    #[must_use]
    pub fn on_device(&self, device: &Device) -> Self {
        let host = self.several.as_ref().map(|several| several.host.clone());
        let plane = host.and_then(|host| Some((between_devices(&host, device)?, host)));
        let Some((plane, host)) = plane else {
            return self.clone();
        };
        Self::with_plane(host, plane).with_sharing(self.sharing)
    }

    /// Sets how long to wait for other ranks before the run is ended, and who is notified of long waits.
    pub fn watch(&self, patience: Duration, watch: Box<dyn Watch>) {
        if let Some(several) = &self.several {
            several.host.watch(patience, watch);
        }
    }

    /// Ends the processes of all ranks with this exit code; does nothing if ranks are threads.
    pub fn end_all(&self, code: i32) {
        if let Some(several) = &self.several {
            several.host.end_all(code);
        }
    }

    /// Whether this is the rank that writes, prints and decides.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this rank does the piece of work `number`: rank `r` of `R` does `r`, `r + R`, ….
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        number % self.count() == self.rank()
    }

    /// Fills in the values that other ranks know. A rank passes 0 at places that it does not know; no place is known by
    /// two.
    pub fn exchange(&self, values: &mut [f64]) {
        if let Some(several) = &self.several {
            several.timed(|several| several.host.sum(values));
        }
    }

    /// Time spent on exchanges and waiting for others since the last call.
    #[must_use]
    pub fn take_waited(&self) -> Duration {
        self.several
            .as_ref()
            .map_or(Duration::ZERO, |several| several.waited.take())
    }

    /// As [`Ranks::exchange`], for values of a global batch. With several shards, -0 becomes 0 for every number of
    /// ranks, because adding the zeros of other ranks does the same.
    pub(crate) fn complete(&self, values: &mut [f64]) {
        if self.shards() > 1 {
            values.iter_mut().for_each(|value| *value += 0.0);
            self.exchange(values);
        }
    }

    /// Whether `flag` is set on any rank.
    #[must_use]
    pub fn any(&self, flag: bool) -> bool {
        let mut count = [f64::from(u8::from(flag))];
        self.exchange(&mut count);
        count[0] > 0.0
    }

    /// The `bytes` of the first rank, on every rank.
    #[must_use]
    pub fn from_first(&self, bytes: &[u8]) -> Vec<u8> {
        let own = if self.is_first() { bytes } else { &[] };
        self.tell(own).swap_remove(0)
    }

    /// The `bytes` of every rank, on every rank, in the order of ranks.
    #[must_use]
    pub fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        match &self.several {
            Some(several) => several.timed(|several| several.host.tell(bytes)),
            None => vec![bytes.to_vec()],
        }
    }

    /// The owners of the trained parameters of a model.
    pub(crate) fn owners<M: Module>(&self, model: &M) -> Owners {
        Owners::of(model, self)
    }

    /// The sums of gradients over ranks: the part that this rank owns. `present` says which ranks have gradients.
    ///
    /// # Panics
    /// If a rank is lost: [`Lost`].
    pub(crate) fn fold(&self, owners: &Owners, gradients: &[Flat], present: &[bool]) -> Owns {
        let Some(several) = &self.several else {
            return (gradients.iter()).map(|flat| (flat.id, flat.values())).collect();
        };
        let mut own = vec![];
        for bucket in buckets(gradients, owners, self.count()) {
            let joined = bucket.joined(gradients);
            let sum = several.timed(|several| several.device.fold(joined, &bucket.cuts, present));
            own.extend(bucket.split(self.rank(), &sum));
        }
        own
    }

    /// Sums over ranks of small vectors, `[n]` each; a rank passes 0 at places that it does not know.
    pub(crate) fn sum(&self, values: Tensor<1>) -> Tensor<1> {
        match &self.several {
            Some(several) => several.timed(|several| several.device.sum(values)),
            None => values,
        }
    }

    /// The model with the owner's values of every trained parameter.
    pub(crate) fn spread<M: Module>(&self, model: M) -> M {
        let Some(several) = &self.several else {
            return model;
        };
        let flat = flat_values(&model);
        let owners = Owners::of(&model, self);
        let mut all = vec![];
        for bucket in buckets(&flat, &owners, self.count()) {
            let part = bucket.part(self.rank(), &flat);
            let values = several.timed(|several| several.device.gather(part, &bucket.cuts));
            all.extend(bucket.split_all(&values));
        }
        with_values(model, all)
    }
}

/// The values that a rank owns, by parameter.
pub(crate) type Owns = Vec<(ParamId, Tensor<1>)>;
