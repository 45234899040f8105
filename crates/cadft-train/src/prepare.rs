//! Reads and checks everything a run needs, before anything is trained or written.

use crate::config::{self, AdapterSection, Init, Recipe};
use crate::data;
use crate::device::Kernels;
use crate::error::TrainError;
use crate::export;
use crate::hub;
use crate::plan::Plan;
use burn::module::Module;
use burn::tensor::{DType, Device};
use cadft_data::{
    Bucketing, Dataset, Example, Mask, Mixing, Row, Samples, Source, TokenizeOptions, Tokenizer, prompt_ids,
    read_rows, tokenize,
};
use cadft_matmul::{Tf32, set_tf32};
use cadft_model::decoder::{Precision, Recompute};
use cadft_model::{AdapterConfig, CausalLm, ModelConfig, adapter, checkpoint};
use std::path::PathBuf;

/// A run that is ready to start.
pub struct Prepared {
    /// The recipe.
    pub recipe: Recipe,
    /// The device, without autodiff.
    pub device: Device,
    /// The tokenizer of the model's directory.
    pub tokenizer: Tokenizer,
    /// The model's directory, on disk.
    pub model_directory: PathBuf,
    /// `config.json` of the model's directory; an adapter that is trained on may untie the output weight.
    pub config: ModelConfig,
    /// The adapter that is trained: that of the recipe, or of the directory that it trains on from.
    pub adapter: Option<AdapterConfig>,
    /// Training samples.
    pub train: Samples,
    /// Evaluation samples.
    pub eval: Vec<Example>,
    /// Evaluation questions to be answered by generation.
    pub questions: Vec<Question>,
    /// What the run will do.
    pub plan: Plan,
}

/// A prompt with a known answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The row's id.
    pub id: String,
    /// Tokens of the prompt, up to where the answer begins.
    pub prompt_ids: Vec<u32>,
    /// The reference answer.
    pub answer: String,
}

impl Prepared {
    /// Reads tokenizer, configuration and data of `recipe`; the weights are read by [`Prepared::model`].
    ///
    /// Sets whether this process computes products of f32 in TF32, as `model.tf32` says.
    ///
    /// # Errors
    /// Whatever is wrong with a file, and data that does not fit the model.
    pub fn new(recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        let directory = hub::resolve(&recipe.model.path)?;
        if !directory.is_dir() {
            let hint =
                checkpoint::hint_for(&directory).unwrap_or("give the path of a Hugging Face model directory");
            return Err(TrainError::Mismatch {
                message: format!(
                    "`model.path`: `{}` is not a directory\nhint: {hint}",
                    directory.display()
                ),
            });
        }
        check_precision(&recipe, device)?;
        set_tf32(Tf32::from_flag(recipe.model.tf32));
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        let (adapter, config) = adapter_of(&recipe, config)?;
        let tokenizer = data::chat_tokenizer(&recipe, Tokenizer::from_dir(&directory)?)?;
        check_stop(&recipe, &tokenizer)?;
        let train = data::training_samples(&recipe, &on_disk(&recipe.data.train)?, &tokenizer, &config)?;
        let rows = load_rows(&recipe.data.eval)?;
        let questions = questions(&rows, &tokenizer, recipe.evaluate.answers)?;
        let eval = if rows.is_empty() {
            vec![]
        } else {
            tokenize(&rows, &tokenizer, &recipe.tokenize_options())?.examples
        };
        tracing::info!(
            train = train.len(),
            eval = eval.len(),
            tokens = train.report().tokens,
            "data are tokenized"
        );
        check_examples(&eval, &config)?;
        let targeted = match &adapter {
            Some(adapter) => Some((adapter.clone(), export::targets(adapter, &config)?)),
            None => None,
        };
        let plan = Plan::new(
            &recipe,
            &config,
            targeted.as_ref(),
            Kernels::on(device),
            (&train, &eval),
        );
        Ok(Self {
            recipe,
            device: device.clone(),
            tokenizer,
            model_directory: directory,
            config,
            adapter,
            train,
            eval,
            questions,
            plan,
        })
    }

    /// The model with its weights, trainable; with an adapter, only its parameters are.
    ///
    /// # Errors
    /// Everything that does not fit between `config.json` and the weights.
    pub fn model(&self) -> Result<CausalLm, TrainError> {
        let device = self.device.clone().autodiff();
        let seed = self.recipe.run.seed;
        let model = match self.recipe.model.init {
            Init::Pretrained => {
                let model = checkpoint::load(&self.model_directory, &device)?.model;
                tracing::info!(path = self.recipe.model.path, "weights are loaded");
                model
            }
            Init::Random => CausalLm::new(&self.config, &device, seed),
        };
        let model = model.with_precision(match self.recipe.model.precision {
            config::Precision::F32 => Precision::F32,
            config::Precision::Bf16 => Precision::Bf16,
        });
        let model = model.with_recompute(match self.recipe.model.recompute {
            config::Recompute::None => Recompute::None,
            config::Recompute::Blocks => Recompute::Blocks,
        });
        let Some(adapter) = &self.adapter else {
            return Ok(model);
        };
        if let Some(directory) = self.adapter_directory()? {
            let adapted = adapter::load(&directory, model, &self.config)?;
            tracing::info!(path = %directory.display(), "the adapter is loaded");
            return Ok(adapted.model);
        }
        let targets = export::targets(adapter, &self.config)?;
        let model = model.with_adapter(adapter, &targets, seed);
        let zero_rows = model.zero_rows();
        if zero_rows.is_empty() {
            return Ok(model);
        }
        Err(TrainError::Mismatch {
            message: format!(
                "`adapter.kind`: {}\nhint: set `adapter.kind = \"lora\"`, or leave these layers out of \
                 `adapter.target-modules`",
                zero_rows.join("\n")
            ),
        })
    }

    /// The model as it is before training, off the autodiff graph, to be looked at while `model` is trained.
    #[must_use]
    pub fn reference(&self, model: &CausalLm) -> CausalLm {
        if trained_on(&self.recipe).is_some() {
            model.valid()
        } else {
            model.reference()
        }
    }

    /// The directory of the adapter that is trained on, on disk.
    fn adapter_directory(&self) -> Result<Option<PathBuf>, TrainError> {
        Ok(trained_on(&self.recipe).map(hub::resolve).transpose()?)
    }
}

/// The adapter that a recipe trains on.
fn trained_on(recipe: &Recipe) -> Option<&str> {
    recipe.adapter.as_ref()?.path.as_deref()
}

/// The adapter of a recipe, and the configuration of the model as it leaves it.
fn adapter_of(
    recipe: &Recipe,
    config: ModelConfig,
) -> Result<(Option<AdapterConfig>, ModelConfig), TrainError> {
    let Some(path) = trained_on(recipe) else {
        return Ok((recipe.adapter.as_ref().map(AdapterSection::config), config));
    };
    if recipe.model.init == Init::Random {
        return Err(TrainError::Mismatch {
            message: "`adapter.path`: an adapter belongs to the weights of its model\n\
                      hint: remove `model.init = \"random\"`, or train a new adapter"
                .to_owned(),
        });
    }
    let (adapter, config) = adapter::resolve(&hub::resolve(path)?, &config)?;
    Ok((Some(adapter), config))
}

/// The rows of several sources, in order.
///
/// # Errors
/// Everything that is wrong with the files.
pub fn load_rows(sources: &[Source]) -> Result<Vec<Row>, TrainError> {
    Ok(read_rows(&on_disk(sources)?, &Mixing::default())?)
}

/// The sources with names on the Hub replaced by where they are on disk.
///
/// # Errors
/// As [`hub::resolve`].
pub fn on_disk(sources: &[Source]) -> Result<Vec<Source>, TrainError> {
    let resolved = |source: &Source| {
        let mut source = source.clone();
        // Other paths stay as they are written: a glob need not be a path.
        if source.path.starts_with("hf://") {
            source.path = hub::resolve(&source.path)?.to_string_lossy().into_owned();
        }
        Ok(source)
    };
    sources.iter().map(resolved).collect()
}

/// The samples of evaluation files, for use without a recipe.
///
/// # Errors
/// Whatever is wrong with the files, and tokens that the model does not have.
pub fn load_examples(
    sources: &[Source],
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<Dataset, TrainError> {
    let options = TokenizeOptions::new(config.max_position_embeddings, Mask::Assistant);
    let dataset = tokenize(&load_rows(sources)?, tokenizer, &options)?;
    check_examples(&dataset.examples, config)?;
    Ok(dataset)
}

/// The first `limit` rows that have an answer, as questions.
///
/// # Errors
/// A row whose prompt cannot be rendered, and fewer than one question where some were asked for.
pub fn questions(rows: &[Row], tokenizer: &Tokenizer, limit: usize) -> Result<Vec<Question>, TrainError> {
    let mut questions = vec![];
    for row in rows.iter().filter(|row| row.answer.is_some()).take(limit) {
        questions.push(Question {
            id: row.id.clone(),
            prompt_ids: prompt_ids(row, tokenizer)?,
            answer: row.answer.clone().unwrap_or_default(),
        });
    }
    if limit > 0 && questions.is_empty() {
        return Err(TrainError::Mismatch {
            message: "no evaluation row has an `answer`\nhint: add one, or set `evaluate.answers = 0`"
                .to_owned(),
        });
    }
    Ok(questions)
}

/// The device must have the number format of the recipe.
fn check_precision(recipe: &Recipe, device: &Device) -> Result<(), TrainError> {
    let is_bf16 = recipe.model.precision == config::Precision::Bf16;
    if is_bf16 && !device.supports_dtype(DType::BF16) {
        return Err(TrainError::Mismatch {
            message: "`model.precision`: the device has no `bf16`\n\
                      hint: set `model.precision = \"f32\"`, or use another device: `cadft doctor` shows their formats"
                .to_owned(),
        });
    }
    Ok(())
}

/// A rewrite must end with a stop token.
fn check_stop(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<(), TrainError> {
    if recipe.rewrite.is_none() || !tokenizer.stop_token_ids().is_empty() {
        return Ok(());
    }
    Err(TrainError::Mismatch {
        message: format!(
            "`{}`: the model has no stop token, so nothing that it writes would be complete\n\
             hint: name one as `eos_token` in `tokenizer_config.json`, or remove `[rewrite]`",
            recipe.model.path
        ),
    })
}

/// Every sample must fit the model: its tokens the embedding, its length the positions.
///
/// # Errors
/// The first sample that does not.
pub fn check_examples(examples: &[Example], config: &ModelConfig) -> Result<(), TrainError> {
    examples
        .iter()
        .try_for_each(|example| data::check_sample(example, config))
}

/// The bucketing of evaluation batches: the least padding.
pub(crate) const EVALUATION_BUCKETING: Bucketing = Bucketing::ByLength;
