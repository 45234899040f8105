//! Values and gradients against PyTorch and transformers, from `tests/fixtures`.

mod adapters;
mod bf16;
mod cache;
mod families;
mod foreign;
mod generation_keys;
mod keys;
mod moments;
mod objectives;
mod optimizers;
mod packed;
mod probe;
mod probe_cases;
mod sampling;
mod training;

/// The tiny models: every family with tied and untied embeddings, and every scaling of rotary frequencies.
const MODELS: [&str; 38] = [
    "tiny-llama-tied",
    "tiny-llama-untied",
    "tiny-llama-llama3-rope",
    "tiny-llama-dynamic-rope",
    "tiny-mistral-tied",
    "tiny-mistral-untied",
    "tiny-qwen2-tied",
    "tiny-qwen2-untied",
    "tiny-qwen3-tied",
    "tiny-qwen3-untied",
    "tiny-smollm3-tied",
    "tiny-smollm3-untied",
    "tiny-gemma3-tied",
    "tiny-gemma3-untied",
    "tiny-olmo2-tied",
    "tiny-olmo2-untied",
    "tiny-olmo3-tied",
    "tiny-olmo3-untied",
    "tiny-phi3-tied",
    "tiny-phi3-untied",
    "tiny-glm4-tied",
    "tiny-glm4-untied",
    "tiny-granite-tied",
    "tiny-granite-untied",
    "tiny-ministral3-tied",
    "tiny-ministral3-untied",
    "tiny-granite4-tied",
    "tiny-granite4-untied",
    "tiny-gemma2-tied",
    "tiny-gemma2-untied",
    "tiny-qwen3-moe-tied",
    "tiny-qwen3-moe-untied",
    "tiny-olmoe-tied",
    "tiny-olmoe-untied",
    "tiny-qwen3-5-tied",
    "tiny-qwen3-5-untied",
    "tiny-gemma4-tied",
    "tiny-gemma4-untied",
];
