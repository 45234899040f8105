//! Writes a checkpoint: completely, synchronised to the disk, then renamed.

use super::parameters::{Trained, copy_to};
use super::shards::{self, Others, Shard};
use super::tensors::{self, NamedTensor};
use super::{
    CheckpointError, Manifest, PARAMETERS, REFERENCE, STATE, TRAINING, TrainingState, durable, name,
};
use super::{MANIFEST, rotate};
use crate::device::host_for;
use crate::export::Export;
use crate::warning::Warning;
use burn::module::Module;
use burn::tensor::Device;
use cadft_files::Action;
use cadft_model::CausalLm;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The state of a run at one step. Later steps do not change it.
pub(crate) struct Snapshot {
    model: CausalLm,
    export: Export,
    /// The trained parameters, if the model files do not store them bit for bit.
    parameters: Option<Vec<NamedTensor>>,
    /// The optimizer tensors of this rank's shards.
    optimizer: Vec<Shard>,
    others: Others,
    /// What a frozen model says of the tokens of later steps.
    reference: Vec<NamedTensor>,
    state: TrainingState,
    /// The logs whose lines are counted in `state`.
    logs: Vec<File>,
}

impl Snapshot {
    /// Takes a snapshot. Tensors in host memory are shared, and the next update writes to new tensors; tensors on
    /// another device are copied.
    pub(crate) fn new(model: &CausalLm, optimizer: Vec<Shard>, export: Export, state: TrainingState) -> Self {
        let Trained { tensors, frozen, .. } = Trained::of(model);
        let is_exact = frozen == 0 && export.is_exact();
        let mut snapshot = Self {
            model: model.valid(),
            export,
            parameters: (!is_exact).then_some(tensors),
            optimizer: on_host(optimizer, &model.device()),
            others: Others::default(),
            reference: vec![],
            state,
            logs: vec![],
        };
        if let Some(host) = host_for(&model.device()) {
            let on_host = |tensors: Vec<NamedTensor>| tensors.into_iter().map(NamedTensor::on_host).collect();
            snapshot.model = copy_to(snapshot.model, &host);
            snapshot.parameters = snapshot.parameters.map(on_host);
        }
        snapshot
    }

    /// Sets logs to synchronise before the checkpoint records their lengths.
    pub(crate) fn with_logs(self, logs: Vec<File>) -> Self {
        Self { logs, ..self }
    }

    /// Sets the other ranks, whose shards must be waited for.
    pub(crate) fn with_others(self, others: Others) -> Self {
        Self { others, ..self }
    }

    /// With what a frozen model says of the tokens of later steps.
    pub(crate) fn with_reference(self, reference: Vec<NamedTensor>) -> Self {
        Self { reference, ..self }
    }

    pub(crate) fn state(&self) -> &TrainingState {
        &self.state
    }

    /// Number of bytes of the tensors to write.
    fn bytes(&self) -> u64 {
        let sum = |tensors: &[NamedTensor]| tensors.iter().map(NamedTensor::bytes).sum::<usize>();
        let own: usize = self.optimizer.iter().map(|shard| sum(&shard.tensors)).sum();
        // An estimate: all ranks have about equally many bytes.
        let of_all = own * self.others.of_shards.len().max(1) / self.optimizer.len().max(1);
        let others = self.parameters.as_deref().map_or(0, sum) + sum(&self.reference);
        (self.export.bytes(&self.model) + of_all + others) as u64
    }

    /// Writes `step-NNNNNN` into `directory`. Returns its path, and a warning if there is one. `is_ending` is set when
    /// other ranks have ended.
    pub(crate) fn write(
        &self,
        directory: &Path,
        is_ending: &AtomicBool,
    ) -> Result<(PathBuf, Option<Warning>), CheckpointError> {
        fs::create_dir_all(directory).map_err(CheckpointError::io(Action::Create, directory))?;
        let path = directory.join(name(self.state.step));
        let partial = durable::hidden(&path, "partial");
        let written = (self.check_space(directory))
            .and_then(|()| durable::remove_if_there(&partial))
            .and_then(|()| self.fill(&partial, &path, is_ending));
        if written.is_err() {
            // A partly written checkpoint takes space that the next attempt may need.
            let _ = durable::remove_if_there(&partial);
            let _ = durable::remove_if_there(&shards::meeting_place(&path));
        }
        let warning = written?;
        rotate::put_in_place(&partial, &path)?;
        Ok((path, warning))
    }

    fn fill(
        &self,
        partial: &Path,
        path: &Path,
        is_ending: &AtomicBool,
    ) -> Result<Option<Warning>, CheckpointError> {
        let warning = self.export.write(partial, &self.model)?;
        let training = partial.join(TRAINING);
        fs::create_dir(&training).map_err(CheckpointError::io(Action::Create, &training))?;
        for shard in &self.optimizer {
            tensors::write(&training.join(&shard.file), &shard.tensors)?;
        }
        if let Some(parameters) = &self.parameters {
            tensors::write(&partial.join(PARAMETERS), parameters)?;
        }
        if !self.reference.is_empty() {
            tensors::write(&partial.join(REFERENCE), &self.reference)?;
        }
        write_state(&partial.join(STATE), &self.state)?;
        shards::take(&self.others, path, &training, is_ending)?;
        for log in &self.logs {
            log.sync_data()
                .map_err(CheckpointError::io(Action::Synchronise, "a log"))?;
        }
        let manifest = Manifest::of(partial)?;
        write(&partial.join(MANIFEST), &manifest.to_json())?;
        durable::sync_tree(partial)?;
        Ok(warning)
    }

    fn check_space(&self, directory: &Path) -> Result<(), CheckpointError> {
        // For the tokenizer, the configuration and the state.
        let needed = self.bytes() + (16 << 20);
        match fs4::available_space(directory) {
            Ok(available) if available < needed => Err(CheckpointError::NoSpace {
                path: directory.to_owned(),
                needed,
                available,
            }),
            // If the system does not report free space, the write itself fails.
            _ => Ok(()),
        }
    }
}

/// Moves tensors to host memory; those of another device are copied.
pub(crate) fn on_host(shards: Vec<Shard>, device: &Device) -> Vec<Shard> {
    if host_for(device).is_none() {
        return shards;
    }
    (shards.into_iter())
        .map(|shard| Shard {
            tensors: shard.tensors.into_iter().map(NamedTensor::on_host).collect(),
            ..shard
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), CheckpointError> {
    cadft_files::write_new(path, text).map_err(CheckpointError::io(Action::Write, path))
}

fn write_state(path: &Path, state: &TrainingState) -> Result<(), CheckpointError> {
    let mut file = cadft_files::create_new(path)
        .map(BufWriter::new)
        .map_err(CheckpointError::io(Action::Create, path))?;
    serde_json::to_writer(&mut file, state)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(file))
        .and_then(|()| file.flush())
        .map_err(CheckpointError::io(Action::Write, path))
}
