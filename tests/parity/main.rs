//! Values and gradients against PyTorch and transformers, from `tests/fixtures`.

mod objectives;
mod tiny_llama;
