//! Settings with which a run takes less memory: those that cost least first, those that change most last.

use crate::config::{AdapterSection, Init, Recipe};
use crate::warning::Warning;
use cadft_model::adapter::BaseFormat;
use cadft_model::decoder::Recompute;
use cadft_step::optimizer::MomentFormat;
use cadft_step::ranks::ZeroStage;
use schemars::JsonSchema;
use serde::Serialize;

/// A rung that takes more than this share of the one above it is left out.
const SPARES: f64 = 0.99;

/// Settings with which a run takes less memory.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rung {
    /// The settings, as `--set` takes them: those of this rung and of the rungs above it.
    pub settings: Vec<String>,
    /// The estimate with them, in MiB.
    pub memory_mib: f64,
    /// The additional memory while a checkpoint is written, in MiB.
    pub saving_mib: f64,
    /// What they cost in time.
    pub time: &'static str,
    /// What they change in the numbers.
    pub numbers: &'static str,
    /// Whether the same parameters are trained, so that `guard.memory = "auto"` may take it.
    pub is_same_training: bool,
    #[serde(skip)]
    steps: Vec<Step>,
}

impl Rung {
    /// Puts its settings into a recipe.
    pub(crate) fn apply(&self, recipe: &mut Recipe) {
        self.steps.iter().for_each(|step| step.apply(recipe));
    }

    /// A rung of one setting, which does nothing.
    #[cfg(test)]
    pub(crate) fn of(setting: &str, memory_mib: f64) -> Self {
        Self {
            settings: vec![setting.to_owned()],
            memory_mib,
            saving_mib: 0.0,
            time: "",
            numbers: "",
            is_same_training: true,
            steps: vec![],
        }
    }

    /// Its settings in one line.
    #[must_use]
    pub fn shown(&self) -> String {
        let quoted: Vec<String> = self
            .settings
            .iter()
            .map(|setting| format!("`{setting}`"))
            .collect();
        quoted.join(" and ")
    }

    /// What to say when `guard.memory = "auto"` takes it, in place of `before` MiB.
    pub(crate) fn warning(&self, before: f64) -> Warning {
        Warning::new(
            format!(
                "`guard.memory = \"auto\"` takes {}: about {:.0} MiB of memory in place of {before:.0}",
                self.shown(),
                self.memory_mib
            ),
            format!("time: {}; changes in the numbers: {}", self.time, self.numbers),
        )
    }

    /// The most that it takes, in MiB, while a checkpoint is written.
    #[must_use]
    pub fn most_mib(&self) -> f64 {
        self.memory_mib + self.saving_mib
    }
}

/// What a rung changes in the one above it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Micro,
    Recompute,
    Stage,
    Moments(MomentFormat),
    Base(BaseFormat),
    /// An adapter in place of all weights, on a base in this format, with moments in f32.
    Adapter(BaseFormat),
}

/// All, in the order of the ladder.
const STEPS: [Step; 11] = [
    Step::Micro,
    Step::Recompute,
    Step::Stage,
    Step::Moments(MomentFormat::Host),
    Step::Moments(MomentFormat::Bf16),
    Step::Moments(MomentFormat::Int8),
    Step::Base(BaseFormat::Bf16),
    Step::Base(BaseFormat::Int8),
    Step::Base(BaseFormat::Nf4),
    Step::Adapter(BaseFormat::F32),
    Step::Adapter(BaseFormat::Nf4),
];

impl Step {
    /// Whether it changes a recipe, on one of `ranks` ranks.
    fn is_open(self, recipe: &Recipe, (is_host, ranks): (bool, usize)) -> bool {
        let base = recipe.adapter.as_ref().map(|adapter| adapter.base);
        match self {
            Self::Micro => recipe.batch.micro > 1 && recipe.batch.max_tokens.is_none(),
            Self::Recompute => recipe.model.recompute == Recompute::None,
            Self::Stage => ranks > 1 && recipe.batch.zero_stage == ZeroStage::One,
            // A device without kernels for smaller moments has a host for them.
            Self::Moments(MomentFormat::Host) => !is_host && recipe.optimizer.moments == MomentFormat::F32,
            Self::Moments(format) => is_host && bits(recipe.optimizer.moments) > bits(format),
            Self::Base(format) => base.is_some_and(|base| weight_bits(base) > weight_bits(format)),
            Self::Adapter(_) => base.is_none() && recipe.model.init == Init::Pretrained,
        }
    }

    fn apply(self, recipe: &mut Recipe) {
        match self {
            Self::Micro => recipe.batch.micro = 1,
            Self::Recompute => recipe.model.recompute = Recompute::Blocks,
            Self::Stage => recipe.batch.zero_stage = ZeroStage::Two,
            Self::Moments(format) => recipe.optimizer.moments = format,
            Self::Base(format) => {
                if let Some(adapter) = &mut recipe.adapter {
                    adapter.base = format;
                }
            }
            Self::Adapter(base) => {
                recipe.optimizer.moments = MomentFormat::F32;
                recipe.adapter = Some(AdapterSection {
                    base,
                    ..AdapterSection::default()
                });
            }
        }
    }

    /// Whether it takes the place of what another step set.
    fn replaces(self, other: Self) -> bool {
        match self {
            Self::Moments(_) => matches!(other, Self::Moments(_)),
            Self::Base(_) => matches!(other, Self::Base(_)),
            Self::Adapter(_) => matches!(other, Self::Moments(_) | Self::Adapter(_)),
            Self::Micro | Self::Recompute | Self::Stage => false,
        }
    }

    fn settings(self) -> Vec<String> {
        let text = |text: &str| vec![text.to_owned()];
        match self {
            Self::Micro => text("batch.micro = 1"),
            Self::Recompute => text("model.recompute = \"blocks\""),
            Self::Stage => text("batch.zero-stage = 2"),
            Self::Moments(format) => vec![format!("optimizer.moments = \"{}\"", format.name())],
            Self::Base(format) => (format.packed().into_iter())
                .map(|packed| format!("adapter.base = \"{packed}\""))
                .collect(),
            Self::Adapter(BaseFormat::F32) => text("adapter.kind = \"lora\""),
            Self::Adapter(format) => [Self::Adapter(BaseFormat::F32), Self::Base(format)]
                .into_iter()
                .flat_map(Self::settings)
                .collect(),
        }
    }

    fn time(self) -> &'static str {
        match self {
            Self::Micro => "more passes, of fewer rows each",
            Self::Recompute => "a step takes about a third longer",
            Self::Stage => "gradients are exchanged after each micro-batch",
            Self::Moments(MomentFormat::Host) => "gradients and weights pass between device and host",
            Self::Moments(_) => "only the update is slower",
            Self::Base(_) => "weights are unpacked in each product",
            Self::Adapter(BaseFormat::F32) => "less: most weights have no gradient",
            Self::Adapter(_) => "less, but weights are unpacked in each product",
        }
    }

    fn numbers(self) -> &'static str {
        match self {
            Self::Micro => "the order of sums",
            Self::Recompute | Self::Stage | Self::Moments(MomentFormat::Host | MomentFormat::F32) => "none",
            Self::Moments(MomentFormat::Bf16) => "moments are rounded to 8 bits of precision",
            Self::Moments(MomentFormat::Int8) => "moments are rounded to 256 values",
            Self::Base(BaseFormat::Bf16) => "none, if the checkpoint is in bf16",
            Self::Base(BaseFormat::Int8) => "frozen weights are rounded to 8 bits",
            Self::Base(_) => "frozen weights are rounded to 4 bits",
            Self::Adapter(BaseFormat::F32) => "another training: updates of low rank",
            Self::Adapter(_) => "another training: updates of low rank, of weights rounded to 4 bits",
        }
    }
}

/// Bits of a moment, about.
fn bits(format: MomentFormat) -> usize {
    match format {
        MomentFormat::F32 | MomentFormat::Host => 32,
        MomentFormat::Bf16 => 16,
        MomentFormat::Int8 => 8,
    }
}

/// Bits of a weight, about.
fn weight_bits(format: BaseFormat) -> usize {
    match format {
        BaseFormat::F32 => 32,
        BaseFormat::Bf16 => 16,
        BaseFormat::Int8 => 8,
        BaseFormat::Nf4 => 4,
    }
}

/// The rungs below a recipe whose estimate is `from` MiB. `estimate` gives that of another recipe, and what a checkpoint adds;
/// `None` if the recipe does not fit the model. `is_host`: the device computes in the memory of the host.
pub(super) fn ladder(
    recipe: &Recipe,
    from: f64,
    (is_host, ranks): (bool, usize),
    estimate: impl Fn(&Recipe) -> Option<[f64; 2]>,
) -> Vec<Rung> {
    let mut rungs: Vec<Rung> = vec![];
    let (mut taken, mut least) = (vec![], from);
    for step in STEPS {
        let mut steps: Vec<Step> = taken.clone();
        steps.retain(|&other| !step.replaces(other));
        let mut smaller = recipe.clone();
        steps.iter().for_each(|other| other.apply(&mut smaller));
        if !step.is_open(&smaller, (is_host, ranks)) {
            continue;
        }
        step.apply(&mut smaller);
        let estimated = smaller.is_valid().then(|| estimate(&smaller)).flatten();
        let Some([memory_mib, saving_mib]) = estimated else {
            continue;
        };
        if memory_mib > SPARES * least {
            continue;
        }
        steps.push(step);
        rungs.push(Rung {
            settings: steps.iter().flat_map(|step| step.settings()).collect(),
            memory_mib,
            saving_mib,
            time: step.time(),
            numbers: step.numbers(),
            is_same_training: !matches!(step, Step::Adapter(_)),
            steps: steps.clone(),
        });
        (taken, least) = (steps, memory_mib);
    }
    rungs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const TEXT: &str = r#"
objective = "nll"
[model]
path = "m"
[data]
train = ["t"]
[batch]
micro = 4
[schedule]
steps = 2
"#;

    fn recipe(more: &[String]) -> Recipe {
        parse("test", TEXT, more).unwrap()
    }

    /// Bytes that every setting of the ladder changes.
    fn estimate(recipe: &Recipe) -> f64 {
        let activations = 100.0 * recipe.batch.micro as f64
            / if recipe.model.recompute == Recompute::Blocks {
                2.0
            } else {
                1.0
            };
        let weights = recipe
            .adapter
            .as_ref()
            .map_or(32, |adapter| weight_bits(adapter.base)) as f64;
        let moments = match recipe.optimizer.moments {
            _ if recipe.adapter.is_some() => 1.0,
            MomentFormat::Host => 0.0,
            format => 2.0 * bits(format) as f64,
        };
        let gradients = if recipe.batch.zero_stage == ZeroStage::Two {
            10.0
        } else {
            20.0
        };
        activations + weights + moments + gradients
    }

    /// The settings of each rung below the recipe with some more settings, after a check of what they do.
    fn settings(more: &[&str], device: (bool, usize)) -> Vec<String> {
        let more: Vec<String> = more.iter().map(|&setting| setting.to_owned()).collect();
        let first = recipe(&more);
        let rungs = ladder(&first, estimate(&first), device, |recipe| {
            Some([estimate(recipe), 0.0])
        });
        let mut above = estimate(&first);
        for rung in &rungs {
            let mut own = first.clone();
            rung.apply(&mut own);
            assert_eq!(estimate(&own), rung.memory_mib, "{}", rung.shown());
            assert!(rung.memory_mib < above, "{}", rung.shown());
            above = rung.memory_mib;
            let set = recipe(&[&more[..], &rung.settings].concat());
            assert_eq!(set, own, "{}", rung.shown());
        }
        rungs.iter().map(|rung| rung.settings.join(", ")).collect()
    }

    #[test]
    fn rungs_add_up_until_only_an_adapter_is_trained() {
        let both = "batch.micro = 1, model.recompute = \"blocks\"";
        assert_eq!(
            settings(&[], (true, 1)),
            [
                "batch.micro = 1".to_owned(),
                both.to_owned(),
                format!("{both}, optimizer.moments = \"bf16\""),
                format!("{both}, optimizer.moments = \"int8\""),
                format!("{both}, adapter.kind = \"lora\""),
                format!("{both}, adapter.kind = \"lora\", adapter.base = \"nf4\""),
            ]
        );
    }

    #[test]
    fn a_device_gives_its_moments_to_its_host_and_ranks_share_gradients() {
        let found = settings(&["batch.micro=1"], (false, 2));
        assert_eq!(found[1], "model.recompute = \"blocks\", batch.zero-stage = 2");
        assert!(found[2].ends_with("optimizer.moments = \"host\""), "{found:?}");
        assert!(
            !found.iter().any(|settings| settings.contains("int8")),
            "{found:?}"
        );
    }

    #[test]
    fn the_base_of_an_adapter_is_packed_and_one_format_takes_the_place_of_another() {
        let found = settings(
            &["adapter.rank=8", "adapter.base=bf16", "batch.max-tokens=64"],
            (true, 1),
        );
        let blocks = "model.recompute = \"blocks\"";
        let expected = ["int8", "nf4"].map(|base| format!("{blocks}, adapter.base = \"{base}\""));
        assert_eq!(found, [&[blocks.to_owned()], &expected[..]].concat());
    }

    #[test]
    fn what_spares_nothing_is_left_out() {
        let flat = |_: &Recipe| Some([100.0, 0.0]);
        assert_eq!(ladder(&recipe(&[]), 100.0, (true, 1), flat), []);
    }
}
