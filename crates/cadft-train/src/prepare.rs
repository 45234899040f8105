//! Reads and checks everything that a run needs, before anything is trained or written.

mod reference;

use crate::config::{AdapterSection, Init, Recipe};
use crate::data::{Question, SampleReader, adapted_tokenizer};
use crate::device::{Kernels, host_for};
use crate::error::TrainError;
use crate::evaluate::Before;
use crate::fit;
use crate::hub;
use crate::inputs::{Inputs, WeightsDigests};
use crate::plan::{Plan, RanksOfRun};
use crate::run_model::{instead_of_model, model_of};
use burn::module::Module;
use burn::tensor::{DType, Device};
use cadft_data::{Samples, TemplateTime, Tokenizer};
use cadft_kernels::{Tf32, set_tf32};
use cadft_model::adapter::{ADAPTER_CONFIG, AdapterTargets};
use cadft_model::checkpoint::has_tokenizer;
use cadft_model::decoder::Precision;
use cadft_model::{AdapterConfig, CausalLm, FrozenBase, ModelConfig, ModelError, adapter, checkpoint};
use std::path::{Path, PathBuf};

/// A run that is ready to start.
pub struct Prepared {
    /// The recipe.
    pub recipe: Recipe,
    /// The device, without autodiff.
    pub device: Device,
    /// The tokenizer of the model's directory, with the recipe's chat template.
    pub tokenizer: Tokenizer,
    /// The model's directory, on disk.
    pub model_directory: PathBuf,
    /// `config.json` of the model's directory, with changes by an adapter that is trained further: it may untie the
    /// output weight.
    pub config: ModelConfig,
    /// The adapter that is trained: the recipe's, or the one of `adapter.path`.
    pub adapter: Option<AdapterConfig>,
    /// Training samples.
    pub train: Samples,
    /// Evaluation samples.
    pub eval: Samples,
    /// Evaluation questions to answer by generation.
    pub questions: Vec<Question>,
    /// The evaluation before the first step, if another run that began with the same model made it. What is absent is
    /// measured.
    pub before: Before,
    /// The plan of the run.
    pub plan: Plan,
    /// The ranks of the run, and those that share the memory of this machine.
    pub(crate) ranks: RanksOfRun,
    /// The directory of the tokenizer files: the model's, or that of an adapter that is trained further.
    pub(crate) carried: PathBuf,
    /// The layers that the adapter updates.
    targets: Option<AdapterTargets>,
    /// The directory of the frozen model, where it is not the one that the run begins with.
    frozen: Option<PathBuf>,
    inputs: Inputs,
    weights: WeightsDigests,
}

impl Prepared {
    /// Reads the tokenizer, the configuration and the data of `recipe`. [`Prepared::model`] reads the weights.
    ///
    /// Sets, for this process, whether products of f32 are computed in TF32 (`model.tf32`).
    ///
    /// # Errors
    /// Errors of files, and data that does not fit the model.
    pub fn new(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        Self::begun_at(recipe, device, None, RanksOfRun::threads(1))
    }

    /// As [`Prepared::new`], for a run on several ranks, or a run that continues. If the chat template writes the date,
    /// it writes the date of `time`, when the run began.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn begun_at(
        mut recipe: Recipe,
        device: &Device,
        time: Option<TemplateTime>,
        ranks: RanksOfRun,
    ) -> Result<Self, TrainError> {
        let directory = model_directory(&recipe)?;
        check_precision(&recipe, device)?;
        recipe.check_moments(device)?;
        set_tf32(Tf32::from_flag(recipe.model.tf32));
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        let (adapter, config) = adapter_of(&recipe, (&directory, config))?;
        let from = adapter_directory(&recipe)?;
        let frozen = reference::directory(&recipe, (&directory, &config))?;
        let other = reference::other(&recipe, frozen.as_deref())?;
        let carried = match &from {
            Some(adapter) if has_tokenizer(adapter) => adapter.clone(),
            _ => directory.clone(),
        };
        let reader = SampleReader::new(&recipe, tokenizer_of(&directory, from.as_deref(), time)?)?;
        check_stop(&recipe, reader.tokenizer())?;
        let train = reader.samples(&recipe.data.train, &config)?;
        let eval = reader.samples(&recipe.data.eval, &config)?;
        let questions = reader.questions(&recipe.data.eval, recipe.evaluate.answers)?;
        tracing::info!(
            train = train.len(),
            eval = eval.len(),
            tokens = train.report().tokens,
            "data are tokenized"
        );
        let targeted = match &adapter {
            Some(adapter) => Some((adapter.clone(), targets(adapter, &config)?)),
            None => None,
        };
        let planned = |recipe: &Recipe| {
            Plan::new(
                recipe,
                (&config, other),
                targeted.as_ref(),
                (Kernels::on(device), host_for(device).is_none()),
                ranks.count,
                (&train, &eval),
            )
        };
        let mut plan = planned(&recipe);
        if let Some(rung) = fit::taken(&recipe, &plan, (device, ranks))? {
            rung.apply(&mut recipe);
            let before = plan.memory_mib;
            plan = planned(&recipe);
            plan.warnings.push(rung.warning(before));
        }
        plan.template_time = reader.tokenizer().template_time();
        Ok(Self {
            inputs: Inputs::new(&recipe, (&directory, &carried), &config, reader.tokenizer()),
            weights: WeightsDigests::new(&recipe, &directory, [from.as_deref(), frozen.as_deref()]),
            carried,
            recipe,
            device: device.clone(),
            tokenizer: reader.into_tokenizer(),
            model_directory: directory,
            config,
            adapter,
            targets: targeted.map(|(_, targets)| targets),
            frozen,
            train,
            eval,
            questions,
            before: Before::default(),
            plan,
            ranks,
        })
    }

    /// The inputs of the run besides recipe and data. Waits for the digests of the weights, which [`Prepared::model`]
    /// starts.
    pub(crate) fn inputs(&self) -> Inputs {
        self.inputs.clone().with_weights(&self.weights)
    }

    /// The model with its weights, ready for training. With an adapter, only the adapter's parameters are trainable.
    ///
    /// # Errors
    /// All mismatches between `config.json` and the weights, and weights that cannot be saved in the format
    /// `checkpoint.dtype`.
    pub fn model(&self) -> Result<CausalLm, TrainError> {
        self.weights.begin();
        let device = self.device.clone().autodiff();
        let seed = self.recipe.run.seed;
        let base = self.base();
        let model = match self.recipe.model.init {
            Init::Pretrained => {
                let model = checkpoint::load_on_base(&self.model_directory, &device, base.as_ref())?.model;
                tracing::info!(path = self.recipe.model.path, "weights are loaded");
                model
            }
            Init::Random => CausalLm::random_on_base(&self.config, &device, base.as_ref(), seed),
        };
        let model = model.with_precision(self.recipe.model.precision);
        let model = model.with_recompute(self.recipe.model.recompute);
        let (Some(adapter), Some(targets)) = (&self.adapter, &self.targets) else {
            self.check_dtype(&model)?;
            return Ok(model);
        };
        if let Some(directory) = adapter_directory(&self.recipe)? {
            let adapted = adapter::load(&directory, model, &self.config)
                .map_err(|error| error.on_model(&self.model_directory))?;
            tracing::info!(path = %cadft_files::shown(&directory), "the adapter is loaded");
            return Ok(adapted.model);
        }
        let model = model.with_adapter(adapter, targets, seed);
        let zero_rows = model.zero_rows();
        if zero_rows.is_empty() {
            return Ok(model);
        }
        Err(TrainError::mismatch(
            format!("`adapter.kind`: {}", zero_rows.join("\n")),
            "set `adapter.kind = \"lora\"`, or leave these layers out of `adapter.target-modules`",
        ))
    }

    /// How the frozen weights are packed, if they are.
    fn base(&self) -> Option<FrozenBase> {
        let section = self.recipe.adapter.as_ref()?;
        Some(FrozenBase {
            format: section.base.packed()?,
            trained: self.targets.as_ref()?.saved.clone(),
        })
    }

    /// Checks that the weights can be saved in the recipe's format: before the first step, not after the last.
    fn check_dtype(&self, model: &CausalLm) -> Result<(), TrainError> {
        match checkpoint::check_fits(model, self.recipe.checkpoint.dtype) {
            Err(ModelError::F16Overflow { tensor, value }) => Err(TrainError::mismatch(
                format!(
                    "`checkpoint.dtype`: `f16` has no number as large as `{value}`, which `{tensor}` holds"
                ),
                "set it to `bf16` or `f32`",
            )),
            fits => Ok(fits?),
        }
    }

    /// The model before training, without autodiff, as the reference of `model` during training.
    #[must_use]
    pub fn reference(&self, model: &CausalLm) -> CausalLm {
        if trained_on(&self.recipe).is_some() {
            model.valid()
        } else {
            model.reference()
        }
    }
}

impl Prepared {
    /// How the weights of the frozen model are packed: as those of the run, unless it is another model.
    pub(crate) fn frozen_base(&self) -> Option<FrozenBase> {
        self.base().filter(|_| self.frozen.is_none())
    }

    /// The frozen model of `[reference]`, off the autodiff graph: that of the recipe, or `model` as it is before training.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn frozen(&self, model: &CausalLm) -> Result<CausalLm, TrainError> {
        let Some(directory) = &self.frozen else {
            return Ok(self.reference(model));
        };
        let frozen = checkpoint::load(directory, &self.device)?.model;
        Ok(frozen.with_precision(self.recipe.model.precision))
    }
}

/// The directory, on disk, of the adapter that is trained further.
fn adapter_directory(recipe: &Recipe) -> Result<Option<PathBuf>, TrainError> {
    let found = trained_on(recipe).map(hub::resolve).transpose()?;
    Ok(found.map(|directory| model_of(&directory).unwrap_or(directory)))
}

/// The directory of the model, on disk.
fn model_directory(recipe: &Recipe) -> Result<PathBuf, TrainError> {
    let directory = hub::resolve(&recipe.model.path)?;
    let Some(directory) = model_of(&directory) else {
        return Err(TrainError::mismatch(
            format!(
                "`model.path`: the run `{}` has no model yet",
                cadft_files::shown(&directory)
            ),
            "train it to its first checkpoint, or name another model",
        ));
    };
    let is_adapter = directory.join(ADAPTER_CONFIG).is_file() && !directory.join("config.json").is_file();
    if is_adapter {
        return Err(TrainError::mismatch(
            format!("`model.path`: `{}` is an adapter", cadft_files::shown(&directory)),
            "give the model of the adapter as `model.path`, and this directory as `adapter.path` to train on from it",
        ));
    }
    if directory.is_dir() {
        return Ok(directory);
    }
    let shown = cadft_files::shown(&directory);
    Err(TrainError::mismatch(
        format!("`model.path`: `{shown}` is not a directory"),
        instead_of_model(&directory),
    ))
}

/// The tokenizer of a model or, if given, of its adapter. If `time` is given, the chat template shows this time.
fn tokenizer_of(
    model: &Path,
    adapter: Option<&Path>,
    time: Option<TemplateTime>,
) -> Result<Tokenizer, TrainError> {
    let tokenizer = match adapter {
        Some(adapter) => adapted_tokenizer(model, adapter)?,
        None => Tokenizer::from_dir(model)?,
    };
    Ok(match time {
        Some(time) => tokenizer.with_template_time(time),
        None => tokenizer,
    })
}

/// The path of the adapter that a recipe trains further.
fn trained_on(recipe: &Recipe) -> Option<&str> {
    recipe.adapter.as_ref()?.path.as_deref()
}

/// The layers of the model that an adapter updates.
fn targets(adapter: &AdapterConfig, config: &ModelConfig) -> Result<AdapterTargets, TrainError> {
    adapter.targets(config).map_err(|problems| {
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| format!("`adapter`: {problem}"))
            .collect();
        TrainError::Mismatch {
            message: lines.join("\n"),
            hint: None,
        }
    })
}

/// The adapter of a recipe, and the configuration of the model in a directory with the adapter's changes.
fn adapter_of(
    recipe: &Recipe,
    (model, config): (&Path, ModelConfig),
) -> Result<(Option<AdapterConfig>, ModelConfig), TrainError> {
    let Some(path) = trained_on(recipe) else {
        return Ok((recipe.adapter.as_ref().map(AdapterSection::config), config));
    };
    if recipe.model.init == Init::Random {
        return Err(TrainError::mismatch(
            "`adapter.path`: an adapter belongs to the weights of its model",
            "remove `model.init = \"random\"`, or train a new adapter",
        ));
    }
    let directory = hub::resolve(path)?;
    let adapter = model_of(&directory).unwrap_or(directory);
    let (adapter, config) = adapter::resolve(&adapter, &config).map_err(|error| error.on_model(model))?;
    Ok((Some(adapter), config))
}

/// `model` with the number formats of a run of `recipe`. Sets, for this process, whether products of f32 are computed
/// in TF32.
///
/// # Errors
/// If the device does not support the recipe's number format.
pub fn computing_as(recipe: &Recipe, model: CausalLm) -> Result<CausalLm, TrainError> {
    check_precision(recipe, &model.device())?;
    set_tf32(Tf32::from_flag(recipe.model.tf32));
    Ok(model.with_precision(recipe.model.precision))
}

/// Checks that the device supports the recipe's number format.
fn check_precision(recipe: &Recipe, device: &Device) -> Result<(), TrainError> {
    let is_bf16 = recipe.model.precision == Precision::Bf16;
    if is_bf16 && !device.supports_dtype(DType::BF16) {
        return Err(TrainError::mismatch(
            "`model.precision`: the device has no `bf16`",
            "set `model.precision = \"f32\"`, or use another device: `cadft doctor` shows their formats",
        ));
    }
    Ok(())
}

/// Checks that the tokenizer has a stop token, which every rewrite must end with.
fn check_stop(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<(), TrainError> {
    if recipe.rewrite.is_none() || !tokenizer.stop_token_ids().is_empty() {
        return Ok(());
    }
    let model = &recipe.model.path;
    Err(TrainError::mismatch(
        format!("`{model}`: the model has no stop token, so nothing that it writes would be complete"),
        "name one as `eos_token` in `tokenizer_config.json`, or remove `[rewrite]`",
    ))
}
