//! Packed weights: their values against bitsandbytes (`python/packed_golden.py`), their products against those of the
//! unpacked weights, and adapters on packed models against adapters on the unpacked ones.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Tensor};
use cadft_kernels::{Packed, PackedFormat, Precision, bf16_linear};
use cadft_model::fused;
use cadft_model::{
    AdapterConfig, AdapterKind, CausalLm, Dtype, FrozenBase, SaveOptions, adapter, checkpoint,
};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, EXACT, REORDERED, REORDERED_GRADIENT, devices, fixture};

use super::MODELS;
use super::training::{gradients, loss};

const FORMATS: [PackedFormat; 3] = [PackedFormat::Bf16, PackedFormat::Int8, PackedFormat::Nf4];

#[test]
fn values_equal_those_of_bitsandbytes_to_the_last_bit() {
    let expected = Arrays::read("packed.safetensors");
    for (name, device) in devices() {
        for case in ["even", "odd", "one", "groups"] {
            let weight = expected.tensor::<2>(&format!("{case}.weight"), &device);
            let shape = weight.dims();
            let weight: Vec<f32> = weight.to_data().iter::<f32>().collect();
            for format in [PackedFormat::Int8, PackedFormat::Nf4] {
                let packed = Packed::new(&weight, shape, format, &device);
                let key = format!("{case}.{format}");
                EXACT.assert_close(
                    &format!("{name}: {key}"),
                    &values(packed.unpacked()),
                    expected.values(&key),
                );
            }
            // The weights are bf16.
            let packed = Packed::new(&weight, shape, PackedFormat::Bf16, &device);
            let key = format!("{case}.weight");
            EXACT.assert_close(
                &format!("{name}: {key}"),
                &values(packed.unpacked()),
                expected.values(&key),
            );
        }
    }
}

/// Rows of `x`, and shapes of the weight: parts of words, of blocks and of panels.
const SHAPES: [(usize, [usize; 2]); 9] = [
    (1, [1, 1]),
    (2, [3, 5]),
    (7, [7, 64]),
    (5, [65, 33]),
    (1, [130, 201]),
    (129, [9, 7]),
    (130, [601, 70]),
    (200, [1025, 31]),
    (3, [2, 9001]),
];

#[test]
fn a_product_and_its_gradient_equal_those_of_the_unpacked_weight() {
    for (name, device) in devices() {
        let has_bf16 = device.supports_dtype(burn::tensor::DType::BF16);
        for (rows, shape) in SHAPES {
            for format in FORMATS {
                for precision in [Precision::F32, Precision::Bf16] {
                    if precision == Precision::F32 || has_bf16 {
                        let what = format!("{name}: {rows} rows, {shape:?} in {format}, {precision:?}");
                        compare(&what, &device, (rows, shape), (format, precision));
                    }
                }
            }
        }
    }
}

fn compare(
    what: &str,
    device: &Device,
    (rows, [output, input]): (usize, [usize; 2]),
    (format, precision): (PackedFormat, Precision),
) {
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let (x, grad) = (random([rows, input]), random([rows, output]));
    let weight: Vec<f32> = random([output, input]).to_data().iter::<f32>().collect();
    let packed = Packed::new(&weight, [output, input], format, &device.clone().autodiff());
    let result = |f: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let x = Tensor::from_inner(x.clone()).require_grad();
        let y = f(x.clone());
        let grads = (y.clone() * Tensor::from_inner(grad.clone())).sum().backward();
        [values(y.inner()), values(x.grad(&grads).expect("a gradient"))]
    };
    let found = result(&|x| packed.project(x, precision));
    let expected = result(&|x| match precision {
        Precision::F32 => fused::linear(x, packed.unpacked()),
        Precision::Bf16 => bf16_linear(x, packed.unpacked()),
    });
    for (name, found, expected) in [("y", &found[0], &expected[0]), ("dx", &found[1], &expected[1])] {
        REORDERED.assert_close(&format!("{what}: {name}"), found, expected);
    }
    let plain = packed.valid();
    EXACT.assert_close(
        &format!("{what}: without autodiff"),
        &values(plain.project(x, precision)),
        &found[0],
    );
    let squares = plain.unpacked().square().sum_dim(1).reshape([output]);
    REORDERED.assert_close(
        &format!("{what}: squares"),
        &values(plain.row_squares()),
        &values(squares),
    );
}

fn base(format: PackedFormat) -> FrozenBase {
    FrozenBase {
        format,
        trained: vec![],
    }
}

#[test]
fn a_bf16_base_of_a_bf16_checkpoint_gives_the_same_logits_to_the_last_bit() {
    let out = tempfile::tempdir().expect("a temporary directory");
    for (backend, device) in devices() {
        for name in MODELS {
            let directory = out.path().join(name);
            let loaded = checkpoint::load(&fixture(name), &device).expect("the fixture loads");
            let options = SaveOptions {
                dtype: Dtype::Bf16,
                ..SaveOptions::default()
            };
            checkpoint::save(&directory, &loaded.model, &loaded.config, &options).expect("it is saved");
            let dense = checkpoint::load(&directory, &device).expect("it loads").model;
            let packed = checkpoint::load_on_base(&directory, &device, Some(&base(PackedFormat::Bf16)));
            let packed = packed.expect("it loads").model;
            assert!(packed.is_packed() && !dense.is_packed());
            let expected = Arrays::read(&format!("{name}/expected.safetensors"));
            let ids = expected.ids::<2>("input_ids", &device);
            // Few rows, and more than are computed row by row.
            for ids in [ids.clone(), ids.repeat_dim(0, 24)] {
                let logits = |model: &CausalLm| values(model.logits(model.hidden_states(ids.clone())));
                let what = format!("{backend}: {name}, {:?}", ids.dims());
                EXACT.assert_close(&what, &logits(&packed), &logits(&dense));
            }
        }
    }
}

/// Changes every trained parameter a little: an untrained update is 0.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        let device = param.device();
        param
            .map(|value| {
                let shape = value.shape();
                let count = shape.num_elements() as i64;
                let wave = (Tensor::<1, burn::tensor::Int>::arange(0..count, &device).float() * 0.7).sin();
                (value + wave.reshape(shape) * 0.05).detach()
            })
            .set_require_grad(true)
    }
}

#[test]
fn every_gradient_on_a_packed_base_equals_that_on_the_unpacked_one() {
    for (backend, device) in devices() {
        let device = device.autodiff();
        for (index, name) in MODELS.into_iter().enumerate() {
            let expected = Arrays::read(&format!("{name}/expected.safetensors"));
            let ids = expected.ids::<2>("input_ids", &device);
            let kind = if index % 2 == 0 {
                AdapterKind::Lora
            } else {
                AdapterKind::Dora
            };
            let adapter = AdapterConfig {
                kind,
                ..AdapterConfig::default()
            };
            let format = FORMATS[index % 3];
            let loaded = checkpoint::load_on_base(&fixture(name), &device, Some(&base(format)));
            let loaded = loaded.expect("the fixture loads");
            let targets = adapter.targets(&loaded.config).expect("the names exist");
            let on = |model: CausalLm| model.with_adapter(&adapter, &targets, 3).map(&mut Shake);
            let unpacked = loaded.model.clone().merge_adapter();
            assert!(!unpacked.is_packed());
            compare_models(
                &format!("{backend}: {name}, {format}, {kind:?}"),
                [&on(loaded.model), &on(unpacked)],
                &ids,
            );
        }
    }
}

#[test]
fn adapters_of_peft_work_on_every_packed_base() {
    let adapters = [
        ("tiny-lora", "tiny-llama-tied"),
        ("tiny-rslora", "tiny-llama-untied"),
        ("tiny-dora", "tiny-llama-tied"),
    ];
    for (backend, device) in devices() {
        let device = device.autodiff();
        for (name, of) in adapters {
            let expected = Arrays::read(&format!("{name}/expected.safetensors"));
            let ids = expected.ids::<2>("input_ids", &device);
            for format in FORMATS {
                let loaded = checkpoint::load_on_base(&fixture(of), &device, Some(&base(format)));
                let loaded = loaded.expect("the fixture loads");
                let on = |model| {
                    let adapted = adapter::load(&fixture(name), model, &loaded.config);
                    adapted.expect("the adapter loads").model
                };
                let unpacked = loaded.model.clone().merge_adapter();
                let what = format!("{backend}: {name}, {format}");
                let model = on(loaded.model.clone());
                compare_models(&what, [&model, &on(unpacked)], &ids);
                // Merged into the unpacked weights.
                let merged = model.valid().merge_adapter();
                let logits =
                    |model: &CausalLm| values(model.logits(model.hidden_states(ids.clone().inner())));
                REORDERED_GRADIENT.assert_close(
                    &format!("{what}: merged"),
                    &logits(&merged),
                    &logits(&model.valid()),
                );
            }
        }
    }
}

fn compare_models(what: &str, [packed, unpacked]: [&CausalLm; 2], ids: &Tensor<2, burn::tensor::Int>) {
    assert!(packed.is_packed(), "{what}");
    let of = |model: &CausalLm| {
        let loss = loss(model, ids);
        (values(loss.clone()), gradients(model, &loss))
    };
    let ((found, found_grads), (expected, expected_grads)) = (of(packed), of(unpacked));
    REORDERED.assert_close(&format!("{what}: loss"), &found, &expected);
    assert_eq!(
        found_grads.keys().collect::<Vec<_>>(),
        expected_grads.keys().collect::<Vec<_>>(),
        "{what}: names"
    );
    assert!(found_grads.len() > 4, "{what}");
    for (name, found) in &found_grads {
        REORDERED_GRADIENT.assert_close(&format!("{what}: {name}"), found, &expected_grads[name]);
    }
}
