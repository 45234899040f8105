//! Models and samples that several tests share.

use burn::tensor::Device;
use cadft_data::{Example, Origin};
use cadft_model::{AdapterConfig, CausalLm, checkpoint};
use cadft_tests::fixture;

/// The fixture `name` on the autodiff graph of `device`.
pub(super) fn model(name: &str, device: &Device) -> CausalLm {
    checkpoint::load(&fixture(name), &device.clone().autodiff())
        .expect("the fixture loads")
        .model
}

/// The fixture `name` with an adapter, on the autodiff graph of `device`.
pub(super) fn adapted(name: &str, device: &Device, adapter: &AdapterConfig) -> CausalLm {
    let loaded = checkpoint::load(&fixture(name), &device.clone().autodiff()).expect("the fixture loads");
    let targets = adapter.targets(&loaded.config).expect("the names exist");
    loaded.model.with_adapter(adapter, &targets, 5)
}

/// Samples of different lengths. All tokens but the first are trained.
pub(super) fn unequal(count: u32) -> Vec<Example> {
    (0..count)
        .map(|i| {
            let length = 4 + (i * 3 % 7) as usize;
            Example {
                id: format!("{i}"),
                weight: 1.0,
                token_ids: (0..length as u32).map(|t| (t * 29 + i * 13) % 37).collect(),
                prompt_len: 1,
                loss_mask: (0..length).map(|t| t > 0).collect(),
                answer: None,
                origin: Origin::default(),
            }
        })
        .collect()
}
