//! Values and gradients against PyTorch and transformers, from `tests/fixtures`.

mod adapters;
mod bf16;
mod cache;
mod families;
mod foreign;
mod generation_keys;
mod keys;
mod objectives;
mod probe;
mod probe_cases;
mod sampling;
mod training;

/// The tiny models: every family with tied and with untied embeddings, every scaling of rotary frequencies.
const MODELS: [&str; 14] = [
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
];
