//! A run that was interrupted goes on as one that was not.

use cpu::CpuDevice;
use mil::DataType;
use models::{Config, Layout, Shape};
use passes::autodiff::Recompute;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::adamw::AdamW;
use train::checkpoint::Checkpoint;
use train::data::{Batches, Order, Position, Tokens};
use train::rng::Rng;
use train::schedule::{Decay, Schedule};
use train::{About, Network, NetworkOptions, Trainer, TrainerOptions};

fn config() -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    Config { dim: 24, layers: 2, heads: 4, kv_heads: 2, head_dim: 6, hidden: 40, vocab: 50, ..tiny }
}

fn network(config: &Config) -> Network {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let options = NetworkOptions {
        shape: Shape { batch: 2, seq: 9 },
        layout: Layout::TokenMajor,
        compute: DataType::Fp32,
        head_compute: DataType::Fp32,
        recompute: Recompute::Cheap,
    };
    Network::new(&device, config, &options).expect("the model compiles")
}

fn batches(order: Order, position: Option<Position>) -> Batches {
    // Few different tokens, so that ten steps learn something.
    let mut random = Rng::new(3);
    let tokens = Tokens::from_ids((0..500).map(|_| random.below(4) as u32).collect());
    let position = position.unwrap_or(Position { order, seed: 8, windows: 0 });
    Batches::new(Arc::new(tokens), 0..500, 2, 9, position).expect("there are enough tokens")
}

fn options() -> TrainerOptions {
    TrainerOptions {
        accumulate: 2,
        optimizer: AdamW::default(),
        schedule: Schedule {
            peak: 3e-3,
            min_ratio: 0.1,
            warmup: 3,
            steps: 10,
            decay: Decay::Cosine,
        },
        clip: 1.0,
        threads: 2,
    }
}

/// Saves and gives the bytes of parameters and moments.
fn save(trainer: &Trainer, folder: &Path) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let config_json = config().to_hugging_face();
    let about = About { config: &config_json, tokenizer: None, settings: &json!({}) };
    let saved = trainer.save(folder, &about, 2).expect("the checkpoint can be written");
    let read = |name| std::fs::read(saved.join(name)).expect("the checkpoint can be read");
    let (model, moments) = (read("model.safetensors"), read("training.safetensors"));
    (saved, model, moments)
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("anemone-resume-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn ten_steps_are_five_a_checkpoint_and_five_more_byte_for_byte() {
    for order in [Order::Random, Order::Sequential] {
        let config = config();
        let mut whole =
            Trainer::new(network(&config), options(), batches(order, None), 1).expect("a new run");
        let losses: Vec<f64> =
            (0..10).map(|_| whole.step().expect("a step can be taken").loss).collect();
        assert!(losses[9] < losses[0], "the run learns nothing: {losses:?}");
        let folder = scratch("whole");
        let (_, model, moments) = save(&whole, &folder);

        let half_folder = scratch("half");
        let mut half =
            Trainer::new(network(&config), options(), batches(order, None), 1).expect("a new run");
        for loss in &losses[..5] {
            assert_eq!(half.step().expect("a step can be taken").loss.to_bits(), loss.to_bits());
        }
        let (saved, ..) = save(&half, &half_folder);
        drop(half);
        let mut checkpoint = Checkpoint::open(&saved).expect("the checkpoint can be read");
        let position = checkpoint.state().data;
        let mut rest = Trainer::resume(
            network(&config),
            options(),
            batches(order, Some(position)),
            &mut checkpoint,
        )
        .expect("the run can be resumed");
        for loss in &losses[5..] {
            assert_eq!(rest.step().expect("a step can be taken").loss.to_bits(), loss.to_bits());
        }
        let (_, model_again, moments_again) = save(&rest, &half_folder);
        assert!(model == model_again, "parameters differ");
        assert!(moments == moments_again, "moments differ");
        for folder in [folder, half_folder] {
            std::fs::remove_dir_all(folder).expect("the folder can be removed");
        }
    }
}

#[test]
fn a_checkpoint_of_another_shape_is_refused_by_name() {
    let small = config();
    let trainer =
        Trainer::new(network(&small), options(), batches(Order::Random, None), 1).expect("a run");
    let folder = scratch("shape");
    let (saved, ..) = save(&trainer, &folder);
    let large = Config { hidden: 44, ..small };
    let mut checkpoint = Checkpoint::open(&saved).expect("the checkpoint can be read");
    let refused =
        Trainer::resume(network(&large), options(), batches(Order::Random, None), &mut checkpoint);
    let message = refused.err().expect("the shapes differ").to_string();
    assert!(message.contains("gate_proj") && message.contains("44"), "{message}");
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}
