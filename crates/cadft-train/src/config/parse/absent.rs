//! What other programs have under these names and cadft does not: what to do instead.

const QUANTISED: &str = "an adapter is trained on a base in 4 or 8 bits (QLoRA) with `adapter.base = \"nf4\"` or `\"int8\"`: `--adapter \
                         lora --set adapter.base=nf4`";
const HUB: &str = "a trained model is sent to the Hub afterwards: `cadft push RUN OWNER/NAME`";
const PREFERENCES: &str = "there is no preference training and no reinforcement learning: TRL does it, and takes a trained model as it is";
const SHARDED: &str = "weights are not shared out: every rank (`--ranks N`, or `mpirun`) has a whole model, and with \
                       `batch.zero-stage` its own part of moments and gradients";
const SPLIT: &str = "evaluation data are files of their own: split the data, and name a part in `data.eval`";
const LIVE: &str = "numbers of a run are in its `metrics.jsonl`, and with `log.tensorboard = true` in event files: other trackers read those";
const FUSED: &str =
    "attention, output projection and likelihood are fused already: there is nothing to choose";
const WORKERS: &str = "data are read on all processors; `RAYON_NUM_THREADS` sets fewer";
const SERVER: &str = "there is no server: the trained model is one for others, as in `vllm serve RUN/model`, or as GGUF by `cadft model \
                      convert --to gguf`";
const RESUME: &str = "`cadft train --resume RUN` continues a run; none is overwritten";
const LOGGED: &str = "every step is logged, in `metrics.jsonl`";
const CODE: &str = "no code of a model's directory is ever run";

const PARALLEL: &str =
    "a sequence is computed by one rank: `--ranks N` or `mpirun` share out the samples of a batch";
const ONE_RATE: &str = "all that is trained has one learning rate, `optimizer.lr`";
const TWO_RATES: &str = "LoRA+ is `optimizer.loraplus-lr-ratio`, of all that an adapter trains";
const FROZEN: &str = "layers are not frozen one by one: train an adapter, whose `adapter.target-modules` and \
                      `adapter.modules-to-save` say what is trained";
const TOKENS: &str = "the vocabulary stays as it is: add tokens to model and tokenizer with transformers first, and train `embed_tokens`";
const NOISE: &str = "there is no noise in embeddings";
const PATIENCE: &str = "a run ends at its last step, or with Ctrl-C; the checkpoint with the best evaluation is kept (`checkpoint.best`)";
const STREAMED: &str =
    "data are tokenised once, into a file that is mapped: the disk must hold them, not the memory";
const COMPILED: &str =
    "there is nothing to compile: kernels are part of the program, or made when they are first used";
const PADDING: &str = "padding is known by length: no token stands for it";

const ABSENT: &[(&str, &str)] = &[
    ("add-special-tokens", TOKENS),
    ("add-tokens", TOKENS),
    ("additional-special-tokens", TOKENS),
    ("api", SERVER),
    ("attn-implementation", FUSED),
    ("bnb-4bit-compute-dtype", QUANTISED),
    ("bnb-4bit-quant-type", QUANTISED),
    ("context-parallel-size", PARALLEL),
    ("dataloader-num-workers", WORKERS),
    ("dataset-num-proc", WORKERS),
    ("dataset-processes", WORKERS),
    ("deepspeed", SHARDED),
    ("dpo", PREFERENCES),
    ("early-stopping-patience", PATIENCE),
    ("early-stopping-steps", PATIENCE),
    ("embedding-lr", ONE_RATE),
    ("flash-attention", FUSED),
    ("flash-attn", FUSED),
    ("freeze-trainable-layers", FROZEN),
    ("fsdp", SHARDED),
    ("fsdp-config", SHARDED),
    ("grpo", PREFERENCES),
    ("hub-model-id", HUB),
    ("hub-strategy", HUB),
    ("kto", PREFERENCES),
    ("liger-kernel", FUSED),
    ("load-in-4bit", QUANTISED),
    ("load-in-8bit", QUANTISED),
    ("logging-steps", LOGGED),
    ("lora-plus", TWO_RATES),
    ("loraplus-lr-embedding", TWO_RATES),
    ("neftune-noise-alpha", NOISE),
    ("orpo", PREFERENCES),
    ("overwrite-output-dir", RESUME),
    ("pad-token", PADDING),
    ("ppo", PREFERENCES),
    ("preprocessing-num-workers", WORKERS),
    ("push", HUB),
    ("push-to-hub", HUB),
    ("qlora", QUANTISED),
    ("quantization", QUANTISED),
    ("quantization-bit", QUANTISED),
    ("resize-vocab", TOKENS),
    ("resume-from-checkpoint", RESUME),
    ("reward", PREFERENCES),
    ("rl", PREFERENCES),
    ("rlhf", PREFERENCES),
    ("rloo", PREFERENCES),
    ("sequence-parallel-degree", PARALLEL),
    ("serve", SERVER),
    ("simpo", PREFERENCES),
    ("special-tokens", TOKENS),
    ("streaming", STREAMED),
    ("tensor-parallel-size", PARALLEL),
    ("torch-compile", COMPILED),
    ("trust-remote-code", CODE),
    ("unfrozen-parameters", FROZEN),
    ("upload", HUB),
    ("use-flash-attention-2", FUSED),
    ("use-liger-kernel", FUSED),
    ("use-wandb", LIVE),
    ("val-set-size", SPLIT),
    ("val-size", SPLIT),
    ("vllm", SERVER),
    ("wandb", LIVE),
    ("wandb-project", LIVE),
];

/// What to do instead of what is not there.
pub(in crate::config) fn instead(name: &str) -> Option<&'static str> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let name = name.trim().to_lowercase().replace('_', "-");
    let found = ABSENT.iter().find(|(absent, _)| *absent == name);
    found.map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::names;

    #[test]
    fn what_is_absent_is_not_suggested_as_a_key_too() {
        for (name, _) in ABSENT {
            assert_eq!(names::suggested(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_known_however_it_is_spelt() {
        for name in ["load_in_4bit", "model.load-in-4bit", "LOAD_IN_4BIT"] {
            assert_eq!(instead(name), Some(QUANTISED), "{name}");
        }
        assert_eq!(instead("lr"), None);
    }
}
