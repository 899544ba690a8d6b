//! Training every family, against PyTorch; and checkpoints of every family that are saved.

#[path = "../../models/tests/family/mod.rs"]
mod family;

use cpu::CpuDevice;
use family::{Family, Tensor};
use mil::DataType;
use models::{Config, Layout, Lora, Shape};
use passes::autodiff::Recompute;
use runtime::{Accumulation, Products};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use train::adamw::AdamW;
use train::data::{Batches, Order, Position, Tokens};
use train::loss_scale::LossScale;
use train::schedule::{Decay, Schedule};
use train::{About, Batch, Network, NetworkOptions, Trainer, TrainerOptions};

/// What `make_families.py` trains with.
const SHAPE: Shape = Shape { batch: 2, seq: 8 };
const STEPS: u64 = 20;

fn network(config: &Config, shape: Shape, packed: bool, lora: Option<Lora>) -> Network {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let options = NetworkOptions {
        shape,
        micro_batches: 1,
        layout: Layout::TokenMajor,
        compute: DataType::Fp32,
        head_compute: DataType::Fp32,
        forward_products: Products::Native,
        recompute: Recompute::Cheap,
        head_rows: None,
        lora,
        packed,
    };
    Network::new(&device, config, &options).expect("the model compiles")
}

fn copy_from(
    tensors: &BTreeMap<String, Tensor>,
) -> impl FnMut(&str, &[usize], &mut [f32]) -> Result<(), train::Error> {
    move |name, dims, out| {
        let tensor = &tensors[name];
        assert_eq!(tensor.dims, dims, "{name}");
        out.copy_from_slice(&tensor.floats());
        Ok(())
    }
}

/// A run of `make_families.py`: of the whole model, or of an adapter beside it.
fn trainer(family: &Family, lora: Option<Lora>) -> Trainer {
    let adapts = lora.is_some();
    let mut network = network(&family.config, SHAPE, false, lora);
    network.read_base(&mut copy_from(&family.parameters)).expect("all is there");
    let ids = family.expected["text"].ids();
    let length = ids.len() as u64;
    let position = Position { order: Order::Sequential, seed: 0, windows: 0 };
    let tokens = Arc::new(Tokens::from_ids(ids));
    let feed = Batches::new(tokens, 0..length, SHAPE.batch, SHAPE.seq, position);
    let options = TrainerOptions {
        accumulate: 1,
        optimizer: AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 },
        schedule: Schedule {
            peak: if adapts { 8e-3 } else { 3e-3 },
            min_ratio: 1.0,
            warmup: 0,
            steps: STEPS,
            decay: Decay::Constant,
        },
        clip: 1.0,
        loss_scale: LossScale::None,
        threads: 2,
    };
    let feed = feed.expect("enough tokens");
    let mut read = copy_from(if adapts { &family.expected } else { &family.parameters });
    Trainer::from_parameters(network, options, feed, &mut read, None).expect("all is there")
}

/// The losses of a run are those of PyTorch.
fn follow(name: &str, mut trainer: Trainer, expected: &Tensor) {
    let expected = expected.floats();
    assert_eq!(expected.len() as u64, STEPS);
    assert!(expected[expected.len() - 1] < expected[0] - 0.05, "{name} learns");
    let mut largest = 0.0;
    for (step, expected) in expected.into_iter().enumerate() {
        let loss = trainer.step().expect("a step").loss;
        let error = (loss - f64::from(expected)).abs();
        assert!(error < 1e-3, "{name}, step {step}: {loss}, not {expected}");
        largest = f64::max(largest, error);
    }
    println!("{name}: {largest:.2e}");
}

#[test]
fn twenty_steps_follow_pytorch() {
    for family in family::all() {
        follow(&family.name, trainer(&family, None), &family.expected["losses"]);
    }
}

#[test]
fn twenty_steps_of_an_adapter_follow_peft() {
    let targets = vec![models::ALL_LINEAR.to_owned()];
    let lora = Lora { rank: 3, alpha: 6.0, rank_stabilized: false, dropout: 0.0, targets };
    for family in family::all() {
        let trainer = trainer(&family, Some(lora.clone()));
        let names = family.expected.keys().filter(|name| name.starts_with("base_model."));
        assert_eq!(names.count(), trainer.network().parameters.len(), "{}", family.name);
        follow(&family.name, trainer, &family.expected["adapter_losses"]);
    }
}

/// Saves the model as it was read; gives the run's folder and the checkpoint's.
fn save(family: &Family, test: &str) -> (PathBuf, PathBuf) {
    let run = family::scratch(&format!("{test}-{}", family.name));
    let config = family.config.to_hugging_face();
    let about = About {
        config: &config,
        tokenizer: None,
        adapter: None,
        sidecars: &[],
        settings: &json!({}),
    };
    let saved = trainer(family, None).save(&run, &about, 1).expect("it can be saved");
    (run, saved)
}

#[test]
fn what_is_saved_is_what_was_read() {
    for family in family::all() {
        let (run, saved) = save(&family, "read");
        let text = std::fs::read_to_string(saved.join("config.json")).expect("config.json");
        let json = serde_json::from_str(&text).expect("config.json is JSON");
        assert_eq!(Config::from_hugging_face(&json).expect("it is read"), family.config);
        let tensors = family::tensors(&saved.join("model.safetensors"));
        assert!(tensors == family.parameters, "{}", family.name);
        std::fs::remove_dir_all(run).expect("the folder can be removed");
    }
}

#[test]
fn what_is_saved_gives_the_same_logits_in_transformers() {
    for family in family::all() {
        let (run, saved) = save(&family, "logits");
        let original = family::folder().join(&family.name);
        family::run_python("same_logits.py", &[&original, &saved]);
        std::fs::remove_dir_all(run).expect("the folder can be removed");
    }
}

/// The loss, and the gradient of every parameter, of samples in sequences.
fn gradients(network: &mut Network, segments: &[u32], tokens: &[i32]) -> (f32, Vec<Vec<f32>>) {
    let targets: Vec<i32> = tokens.iter().map(|token| (token * 5 + 3) % 67).collect();
    let weights = vec![0.1; tokens.len()];
    let batch = Batch { tokens, targets: &targets, weights: &weights, segments };
    let loss = network.loss_and_gradient(&batch, Accumulation::Replace).expect("it runs");
    let read = |p: &train::ParameterState| p.gradient.read().expect("free").as_slice().to_vec();
    (loss, network.parameters.iter().map(read).collect())
}

#[test]
fn packed_samples_train_every_family_as_they_do_alone() {
    let lengths = [3, 5, 1, 7];
    let segments: Vec<u32> = lengths.iter().zip(0..).flat_map(|(&n, id)| vec![id; n]).collect();
    let tokens: Vec<i32> = (0..16).map(|i| (i * i + 7 * i) % 67).collect();
    for family in family::all() {
        let filled = |shape: Shape, packed: bool| {
            let mut network = network(&family.config, shape, packed, None);
            for state in &network.parameters {
                let values = family.parameters[&state.spec.name].floats();
                let mut surface = state.value.write().expect("nobody else uses it");
                surface.as_mut_slice().copy_from_slice(&values);
            }
            network.stage().expect("it is staged");
            network
        };
        let (loss, found) = gradients(&mut filled(SHAPE, true), &segments, &tokens);
        let (mut sum, mut expected, mut start) = (0.0, vec![], 0);
        for length in lengths {
            let mut network = filled(Shape { batch: 1, seq: length }, false);
            let (loss, part) = gradients(&mut network, &[], &tokens[start..][..length]);
            sum += loss;
            start += length;
            let zeros = || part.iter().map(|p| vec![0.0; p.len()]).collect();
            if expected.is_empty() {
                expected = zeros();
            }
            for (sum, part) in expected.iter_mut().flatten().zip(part.iter().flatten()) {
                *sum += part;
            }
        }
        assert!((loss - sum).abs() < 1e-4, "{}: {loss}, not {sum}", family.name);
        for (found, expected) in found.iter().zip(&expected) {
            let size = expected.iter().fold(0.0, |most, v: &f32| f32::max(most, v.abs()));
            for (a, b) in found.iter().zip(expected) {
                // Sums in another order, through two layers of large weights.
                assert!((a - b).abs() <= 1e-4 * size, "{}: {a}, not {b}", family.name);
            }
        }
    }
}
