//! A model and data that are small enough to train in a test.
#![allow(dead_code)] // Every test file uses a part.

use cpu::CpuDevice;
use mil::DataType;
use models::{Config, Layout, Shape};
use passes::autodiff::Recompute;
use runtime::Products;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::adamw::AdamW;
use train::data::{Batches, Order, Position, Tokens};
use train::loss_scale::LossScale;
use train::rng::Rng;
use train::schedule::{Decay, Schedule};
use train::{About, Network, NetworkOptions, Trainer, TrainerOptions};

pub fn config() -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    Config { dim: 24, layers: 2, heads: 4, kv_heads: 2, head_dim: 6, hidden: 40, vocab: 50, ..tiny }
}

/// The model on the CPU device.
pub fn network(config: &Config) -> Network {
    network_in(config, DataType::Fp32)
}

/// The same with products in another type.
pub fn network_in(config: &Config, compute: DataType) -> Network {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let options = NetworkOptions {
        shape: Shape { batch: 2, seq: 9 },
        micro_batches: 1,
        layout: Layout::TokenMajor,
        compute,
        head_compute: compute,
        forward_products: Products::Native,
        recompute: Recompute::Cheap,
        head_rows: None,
        lora: None,
        packed: false,
    };
    Network::new(&device, config, &options).expect("the model compiles")
}

pub fn batches(order: Order, position: Option<Position>) -> Batches {
    // Few different tokens, so that ten steps learn something.
    let mut random = Rng::new(3);
    let tokens = Tokens::from_ids((0..500).map(|_| random.below(4) as u32).collect());
    let position = position.unwrap_or(Position { order, seed: 8, windows: 0 });
    Batches::new(Arc::new(tokens), 0..500, 2, 9, position).expect("there are enough tokens")
}

pub fn options() -> TrainerOptions {
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
        loss_scale: LossScale::None,
        threads: 2,
    }
}

/// Saves and gives the bytes of parameters and moments.
pub fn save(trainer: &Trainer, folder: &Path) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let config_json = config().to_hugging_face();
    let about = About {
        config: &config_json,
        tokenizer: None,
        adapter: None,
        sidecars: &[],
        settings: &json!({}),
    };
    let saved = trainer.save(folder, &about, 2).expect("the checkpoint can be written");
    let read = |name| std::fs::read(saved.join(name)).expect("the checkpoint can be read");
    let (model, moments) = (read("model.safetensors"), read("training.safetensors"));
    (saved, model, moments)
}

/// A folder that is not there yet.
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("anemone-train-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}
