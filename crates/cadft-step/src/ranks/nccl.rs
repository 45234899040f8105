//! Tensors between the devices of ranks, by NCCL. The only file that names it.
//!
//! NCCL moves values and adds none but zeros, so that sums are by the tree of shards, and have the same bits for every number
//! of ranks wherever the kernels have. It works on a stream of its own. Events of the device's context order that after all
//! that CubeCL has queued on any stream, and all that is queued later after it; the host does not wait for the device.
//!
//! ```text
//! kernels so far ──event──▶ NCCL: send, receive ──event──▶ later kernels
//! ```
//!
//! Before the first call of each kind in a step the ranks meet on the host, so that one that has stopped is named there: a device
//! would wait for it without end.

use super::{Collective, Plane};
use crate::sum::tree;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::cubecl::cuda::CudaRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use cubecl_runtime::runtime::Runtime;
use cudarc::driver::result::{ctx, device, event, primary_ctx, stream};
use cudarc::driver::sys as driver;
use cudarc::nccl::result as calls;
use cudarc::nccl::sys as nccl;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::mem::{Discriminant, MaybeUninit, discriminant};
use std::ops::Range;
use std::rc::Rc;

/// The devices of all ranks, one for each.
#[derive(Debug)]
pub(super) struct Nccl {
    host: Rc<dyn Collective>,
    wire: Wire,
    /// What was called last.
    last: Cell<Option<Discriminant<Kind>>>,
}

/// Version of the library, `2.27.3`, say; `None` if it is not there.
#[must_use]
pub(super) fn version() -> Option<String> {
    let code = is_there().then(calls::get_nccl_version)?.ok()?;
    Some(format!("{}.{}.{}", code / 10_000, code / 100 % 100, code % 100))
}

/// Whether the library can be loaded.
fn is_there() -> bool {
    // SAFETY: loads the library, whose initialisers are NVIDIA's, and lets go of it.
    unsafe { nccl::is_culib_present() }
}

impl Nccl {
    /// Joins the devices of all ranks. `None` on all ranks if one has no NCCL, a device of another kind, or the device of another
    /// rank, which NCCL does not allow.
    ///
    /// # Panics
    /// If the driver or NCCL refuses.
    #[must_use]
    pub(super) fn join(host: &Rc<dyn Collective>, device: &Device) -> Option<Self> {
        let own = number(device).filter(|_| is_there());
        let all = host.tell(&own.map_or_else(Vec::new, card));
        let cards: BTreeSet<_> = all.iter().filter(|card| !card.is_empty()).collect();
        let own = own.filter(|_| cards.len() == host.ranks())?;
        let id = match host.rank() {
            0 => checked("id", calls::get_uniqueid())
                .internal
                .map(|byte| byte as u8)
                .to_vec(),
            _ => vec![],
        };
        let id = host.tell(&id).swap_remove(0);
        let id: [u8; 128] = id.try_into().expect("the first rank tells 128 bytes");
        Some(Self {
            wire: Wire::new(own, &id, (host.rank(), host.ranks())),
            host: host.clone(),
            last: Cell::default(),
        })
    }

    /// Queues a call on `values`, `[n]`; what it gives, `[length]`.
    fn queue(&self, values: Tensor<1>, kind: Kind, length: usize) -> Tensor<1> {
        let this = Some(discriminant(&kind));
        if self.last.replace(this) != this {
            self.host.sum(&mut [0.0]);
        }
        let device = values.device();
        let call = Call {
            wire: self.wire,
            kind,
            length,
        };
        // Fusion would hold calls back, and each rank has other kernels besides: queued now, they have one order on all.
        let flushed = || device.flush().expect("the device has not failed");
        flushed();
        let result = Tensor::from_dispatch(Dispatch::exchange(values.into_dispatch(), call));
        flushed();
        result
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: `join` made the communicator, and nothing uses it later. What is under way is broken off: a rank that ends in an
        // error must not wait for others.
        let _ = unsafe { calls::comm_abort(self.wire.communicator as nccl::ncclComm_t) };
    }
}

impl Plane for Nccl {
    fn sum(&self, values: Tensor<1>) -> Tensor<1> {
        let [length] = values.dims();
        self.queue(values, Kind::Sum, length)
    }

    fn fold(&self, values: Tensor<1>, cuts: &[Range<usize>], present: &[bool]) -> Tensor<1> {
        let length = cuts[self.wire.rank].len();
        let device = values.device();
        let swap = Kind::Swap {
            cuts: cuts.to_vec(),
            present: present.to_vec(),
        };
        let count = present.iter().filter(|is| **is).count();
        // A buffer of no values has no address.
        let received = self.queue(values, swap, (count * length).max(1));
        let mut next = 0;
        let leaves = present.iter().map(|&is| {
            is.then(|| {
                let part = received.clone().narrow(0, next * length, length);
                next += 1;
                part
            })
        });
        let sum = if length == 0 {
            None
        } else {
            tree(leaves, |left, right| left + right)
        };
        sum.unwrap_or_else(|| Tensor::empty([0], &device))
    }

    fn gather(&self, part: Tensor<1>, cuts: &[Range<usize>]) -> Tensor<1> {
        let length = cuts.last().map_or(0, |cut| cut.end);
        self.queue(part, Kind::Gather { cuts: cuts.to_vec() }, length)
    }
}

/// What ranks do together.
#[derive(Clone, Debug)]
enum Kind {
    /// Adds the values of all, on all.
    Sum,
    /// Each rank that is present gives each rank its cut.
    Swap {
        cuts: Vec<Range<usize>>,
        present: Vec<bool>,
    },
    /// Each rank gives all the others what it has.
    Gather { cuts: Vec<Range<usize>> },
}

/// One call, as the thread that queues kernels is given it.
#[derive(Clone, Debug)]
struct Call {
    wire: Wire,
    kind: Kind,
    /// Values that it gives.
    length: usize,
}

/// What the driver and NCCL gave, as addresses: threads hand them on to each other.
#[derive(Clone, Copy, Debug)]
struct Wire {
    rank: usize,
    context: usize,
    stream: usize,
    /// That kernels before a call are done, and that the call is.
    events: [usize; 2],
    communicator: usize,
}

impl Wire {
    fn new(number: i32, id: &[u8; 128], (rank, ranks): (usize, usize)) -> Self {
        let card = checked("device", device::get(number));
        // SAFETY: `card` is from `device::get`. CubeCL has retained the context, and so keeps it for as long as the process runs.
        let context = checked("context", unsafe { primary_ctx::retain(card) });
        make_current(context as usize);
        let new_event = || {
            let flags = driver::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            checked("event", event::create(flags)) as usize
        };
        let id = nccl::ncclUniqueId {
            internal: id.map(|byte| byte as std::ffi::c_char),
        };
        let mut communicator = MaybeUninit::uninit();
        // SAFETY: the address is that of a communicator to be, which is one if the call succeeds.
        let communicator = unsafe {
            let made = calls::comm_init_rank(communicator.as_mut_ptr(), ranks as i32, id, rank as i32);
            let _ = checked("communicator", made);
            communicator.assume_init()
        };
        Self {
            rank,
            context: context as usize,
            stream: checked("stream", stream::create(stream::StreamKind::NonBlocking)) as usize,
            events: [new_event(), new_event()],
            communicator: communicator as usize,
        }
    }

    /// Queues a call between all kernels before and all kernels after it. `from` and `to` are addresses on the device.
    fn queue(&self, kind: &Kind, from: u64, to: u64, length: usize) {
        make_current(self.context);
        let [before, after] = self.events.map(|event| event as driver::CUevent);
        let context = self.context as driver::CUcontext;
        let stream = self.stream as driver::CUstream;
        // SAFETY: context, stream and events are of one device, and are kept as long as the program runs.
        unsafe {
            checked("event", driver::cuCtxRecordEvent(context, before).result());
            let flags = driver::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            checked("event", stream::wait_event(stream, before, flags));
        }
        let _ = checked("group", calls::group_start());
        match kind {
            Kind::Sum => self.sum(from, to, length),
            Kind::Swap { cuts, present } => self.swap(from, to, cuts, present),
            Kind::Gather { cuts } => self.gather(from, to, cuts),
        }
        let _ = checked("group", calls::group_end());
        // SAFETY: as above.
        unsafe {
            checked("event", event::record(after, stream));
            checked("event", driver::cuCtxWaitEvent(context, after).result());
        }
    }

    fn sum(&self, from: u64, to: u64, length: usize) {
        let (communicator, stream) = self.handles();
        // SAFETY: both addresses are of `length` values, which stay where they are until later kernels, which wait.
        let summed = unsafe {
            calls::all_reduce(
                from as _,
                to as _,
                length,
                F32,
                nccl::ncclRedOp_t::ncclSum,
                communicator,
                stream,
            )
        };
        let _ = checked("sum", summed);
    }

    /// What rank `r` sends here comes after what present ranks before it send.
    fn swap(&self, from: u64, to: u64, cuts: &[Range<usize>], present: &[bool]) {
        let (communicator, stream) = self.handles();
        let own = cuts[self.rank].len();
        let mut received = 0;
        for (peer, cut) in cuts.iter().enumerate() {
            if present[self.rank] && !cut.is_empty() {
                let from = at(from, cut.start) as _;
                // SAFETY: the cut is within the values, which stay where they are until later kernels, which wait.
                let sent = unsafe { calls::send(from, cut.len(), F32, peer as i32, communicator, stream) };
                let _ = checked("send", sent);
            }
            if present[peer] && own > 0 {
                let to = at(to, received) as _;
                received += own;
                // SAFETY: there is a place for `own` values from each rank that is present.
                let taken = unsafe { calls::recv(to, own, F32, peer as i32, communicator, stream) };
                let _ = checked("receive", taken);
            }
        }
    }

    fn gather(&self, from: u64, to: u64, cuts: &[Range<usize>]) {
        let (communicator, stream) = self.handles();
        for (root, cut) in cuts.iter().enumerate().filter(|(_, cut)| !cut.is_empty()) {
            let to = at(to, cut.start);
            let from = if root == self.rank { from } else { to };
            // SAFETY: the cut is within the values that are given; those that are sent are as many, and stay where they are.
            let spread = unsafe {
                calls::broadcast(
                    from as _,
                    to as _,
                    cut.len(),
                    F32,
                    root as i32,
                    communicator,
                    stream,
                )
            };
            let _ = checked("gather", spread);
        }
    }

    fn handles(&self) -> (nccl::ncclComm_t, nccl::cudaStream_t) {
        (self.communicator as _, self.stream as _)
    }
}

const F32: nccl::ncclDataType_t = nccl::ncclDataType_t::ncclFloat32;

/// The address of the value with this number.
fn at(address: u64, value: usize) -> u64 {
    address + (value * size_of::<f32>()) as u64
}

fn make_current(context: usize) {
    // SAFETY: the context was retained and is not released.
    checked("context", unsafe {
        ctx::set_current(context as driver::CUcontext)
    });
}

/// What a call gave.
///
/// # Panics
/// If it failed: the ranks cannot go on, and the others are ended with this one.
#[track_caller]
fn checked<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("NCCL: {what}: {error:?}"))
}

/// The number of a CUDA device; `None` for one of another kind.
fn number(device: &Device) -> Option<i32> {
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Cuda(cuda)) => i32::try_from(cuda.index).ok(),
        _ => None,
    }
}

/// What the device of this number is called everywhere.
fn card(number: i32) -> Vec<u8> {
    checked("driver", cudarc::driver::result::init());
    let card = checked("device", device::get(number));
    let id = checked("device", device::get_uuid(card));
    id.bytes.map(|byte| byte as u8).to_vec()
}

#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
/// A call of NCCL as an operation of Burn's, which gives it the memory of tensors.
trait Exchange: Backend {
    /// What `call` gives from `values`.
    #[fusion(meta = |_, call| TensorSpec::new(Shape::new([call.length]), DType::F32))]
    fn exchange(values: FloatTensor<Self>, call: Call) -> FloatTensor<Self>;
}

impl Exchange for CubeBackend {
    fn exchange(values: CubeTensor, call: Call) -> CubeTensor {
        let values = into_contiguous(values);
        let (client, device) = (values.client.clone(), values.device.clone());
        let result = empty_device_contiguous_dtype(client, device, Shape::new([call.length]), DType::F32);
        let memory = |tensor: &CubeTensor| {
            let held =
                (tensor.client).get_resource::<<CudaRuntime as Runtime>::Server>(tensor.handle.clone());
            checked("memory", held)
        };
        // Both are held until the call is queued; kernels that are given the same memory later come after it. What has no values
        // has no memory, and is not looked at.
        let from = (values.meta.num_elements() > 0).then(|| memory(&values));
        let from = from.as_ref().map_or(0, |memory| memory.resource().ptr);
        let to = memory(&result);
        call.wire.queue(&call.kind, from, to.resource().ptr, call.length);
        result
    }
}
