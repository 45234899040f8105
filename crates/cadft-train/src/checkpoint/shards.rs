//! The optimizer files of a checkpoint: one for each shard, written by the rank that owns the shard.
//!
//! ```text
//! training/optimizer.safetensors                   with one shard
//! training/optimizer-00001-of-00004.safetensors    with four; each has a block of rows of every large parameter
//! ```
//!
//! Other ranks write their files into a directory next to the checkpoint that is being written. A file gets its name
//! when it is complete and on the disk. The first rank waits for these files, and moves them into the checkpoint.

use super::{CheckpointError, Manifest, TRAINING, durable, tensors};
use burn::tensor::TensorData;
use cadft_files::Action;
use cadft_model::parameters::NamedTensor;
use cadft_step::Ranks;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The file of one shard.
pub(crate) struct Shard {
    pub(crate) file: String,
    pub(crate) tensors: Vec<NamedTensor>,
}

/// The name of a shard's file within `training`.
fn file_name(shard: usize, shards: usize) -> String {
    match shards {
        1 => "optimizer.safetensors".to_owned(),
        _ => format!("optimizer-{:05}-of-{shards:05}.safetensors", shard + 1),
    }
}

/// The optimizer tensors of this rank, by file; `held` is [`Ranks::held`].
pub(crate) fn shards(
    ranks: &Ranks,
    state: Vec<NamedTensor>,
    held: Vec<Vec<(String, Option<Range<usize>>)>>,
) -> Vec<Shard> {
    let mut by_parameter: BTreeMap<String, Vec<NamedTensor>> = BTreeMap::new();
    for tensor in state {
        let parameter = parameter_of(&tensor.name).to_owned();
        by_parameter.entry(parameter).or_default().push(tensor);
    }
    (ranks.own_shards().zip(held))
        .map(|(shard, held)| {
            let mut tensors = vec![];
            for (name, rows) in held {
                match rows {
                    None => tensors.extend(by_parameter.remove(&name).unwrap_or_default()),
                    Some(rows) => {
                        let own = by_parameter.get(&name).into_iter().flatten();
                        tensors.extend(own.map(|tensor| rows_of(tensor, &rows)));
                    }
                }
            }
            Shard {
                file: file_name(shard, ranks.shards()),
                tensors,
            }
        })
        .collect()
}

/// Some rows of a moment. The number of updates (`.step`) is the same for all rows.
fn rows_of(tensor: &NamedTensor, rows: &Range<usize>) -> NamedTensor {
    let (name, data, dtype) = (tensor.name.clone(), tensor.to_data(), tensor.dtype());
    let mut shape = tensor.shape.clone();
    let mut bytes = data.as_bytes();
    if !name.ends_with(".step") {
        let row = shape[1..].iter().product::<usize>() * dtype.size();
        bytes = &bytes[rows.start * row..rows.end * row];
        shape[0] = rows.len();
    }
    let part = TensorData::from_bytes_vec(bytes.to_vec(), shape.clone(), dtype);
    NamedTensor::of_data(name, shape, dtype, move || part.clone())
}

fn parameter_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parameter, _)| parameter)
}

/// The optimizer tensors in the checkpoint at `path`: those of this rank's shards if the checkpoint has the same number
/// of shards, else all of them.
pub(crate) fn read(
    path: &Path,
    manifest: &Manifest,
    ranks: &Ranks,
) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let prefix = format!("{TRAINING}/optimizer");
    let mut files: Vec<&String> = (manifest.files.keys())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    if files.is_empty() {
        let file = path.join(TRAINING).join(file_name(0, 1));
        return Err(CheckpointError::damaged(&file, &"the manifest has no moments"));
    }
    if files.len() == ranks.shards() {
        files = files[ranks.own_shards()].to_vec();
    }
    let mut all: BTreeMap<String, TensorData> = BTreeMap::new();
    for file in files {
        for (name, data) in tensors::read_moments(&path.join(file))? {
            let joined = match all.remove(&name) {
                Some(before) if !name.ends_with(".step") => stacked(&before, &data),
                _ => data,
            };
            all.insert(name, joined);
        }
    }
    Ok(all)
}

/// The rows of `above`, then those of `below`.
fn stacked(above: &TensorData, below: &TensorData) -> TensorData {
    let mut shape = above.shape().clone();
    shape[0] += below.shape()[0];
    let bytes = [above.as_bytes(), below.as_bytes()].concat();
    TensorData::from_bytes_vec(bytes, shape, above.dtype())
}

/// The directory for the files of other ranks.
pub(crate) fn meeting_place(checkpoint: &Path) -> PathBuf {
    durable::hidden(checkpoint, "parts")
}

/// Makes an empty directory for the files of other ranks.
pub(crate) fn make_meeting_place(checkpoint: &Path) -> Result<(), CheckpointError> {
    let place = meeting_place(checkpoint);
    durable::remove_if_there(&place)?;
    fs::create_dir_all(&place).map_err(CheckpointError::io(Action::Create, &place))
}

/// Writes the files of this rank into the directory for the first rank. An error is written there too, as text.
pub(crate) fn give(shards: &[Shard], checkpoint: &Path, rank: &str) {
    let place = meeting_place(checkpoint);
    for shard in shards {
        if let Err(error) = put(shard, &place) {
            let message = format!("{rank}: {error}");
            let _ = cadft_files::write_new(&place.join(format!("{}.failed", shard.file)), &message);
        }
    }
}

fn put(shard: &Shard, place: &Path) -> Result<(), CheckpointError> {
    let (file, unfinished) = (place.join(&shard.file), place.join(format!(".{}", shard.file)));
    tensors::write(&unfinished, &shard.tensors)?;
    File::open(&unfinished)
        .and_then(|written| written.sync_all())
        .map_err(CheckpointError::io(Action::Synchronise, &unfinished))?;
    fs::rename(&unfinished, &file).map_err(CheckpointError::io(Action::Rename, &file))
}

/// The other ranks, which write their own shards.
#[derive(Default)]
pub(crate) struct Others {
    /// The name of the rank of each shard; empty if there are no other ranks.
    pub(crate) of_shards: Vec<String>,
    /// How long to wait for them.
    pub(crate) patience: Duration,
}

/// Moves the files of the other ranks into `training` when all exist. Once `is_ending` is set, waits for at most
/// [`LAST`].
///
/// # Errors
/// The error of another rank, or a file that was not written in time.
pub(crate) fn take(
    others: &Others,
    checkpoint: &Path,
    training: &Path,
    is_ending: &AtomicBool,
) -> Result<(), CheckpointError> {
    if others.of_shards.is_empty() {
        return Ok(());
    }
    let place = meeting_place(checkpoint);
    let mut waiting = Waiting {
        since: Instant::now(),
        last: None,
    };
    for (shard, rank) in others.of_shards.iter().enumerate() {
        let name = file_name(shard, others.of_shards.len());
        let to = training.join(&name);
        if to.exists() {
            continue;
        }
        let (file, failed) = (place.join(&name), place.join(format!("{name}.failed")));
        while !file.exists() {
            let of_rank = |message| Err(CheckpointError::OfRank { message });
            if failed.exists() {
                let message = cadft_files::read(&failed).unwrap_or_default();
                let message = String::from_utf8_lossy(&message).into_owned();
                return of_rank(if message.is_empty() { rank.clone() } else { message });
            }
            if waiting.is_over(others.patience, is_ending) {
                let secs = waiting.since.elapsed().as_secs();
                return of_rank(format!("{rank}: no `{name}` after {secs} s"));
            }
            sleep(Duration::from_millis(5));
        }
        fs::rename(&file, &to).map_err(CheckpointError::io(Action::Rename, &file))?;
    }
    durable::remove_if_there(&place)
}

/// Time for other ranks to finish writing when the run ends early.
const LAST: Duration = Duration::from_secs(5);

struct Waiting {
    since: Instant,
    /// The time at which `is_ending` was first seen.
    last: Option<Instant>,
}

impl Waiting {
    fn is_over(&mut self, patience: Duration, is_ending: &AtomicBool) -> bool {
        if is_ending.load(Ordering::Relaxed) {
            return self.last.get_or_insert_with(Instant::now).elapsed() > LAST;
        }
        self.since.elapsed() > patience
    }
}
