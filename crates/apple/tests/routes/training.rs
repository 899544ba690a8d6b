//! Training through the messages.

use crate::common::*;
use ane::Engine;
use ane::device::{AneDevice, WeightStrategy};
use anemone_apple::Route;
use cpu::CpuDevice;
use mil::DataType;
use models::{Config, Layout, Shape};
use passes::autodiff::Recompute;
use std::sync::Arc;
use train::adamw::AdamW;
use train::data::{Batches, Order, Position, Tokens};
use train::loss_scale::LossScale;
use train::rng::Rng;
use train::schedule::{Decay, Schedule};
use train::{Network, NetworkOptions, Trainer, TrainerOptions};

const SHAPE: Shape = Shape { batch: 2, seq: 16 };

/// Two layers with grouped-query attention over this engine.
fn trainer(engine: Arc<dyn Engine>, weights: WeightStrategy) -> Trainer {
    let tiny = Config::preset("tiny").unwrap();
    let config = Config {
        dim: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        hidden: 64,
        vocab: 50,
        ..tiny
    };
    let host = Arc::new(CpuDevice::new(Some(2)).unwrap());
    let device = AneDevice::new(engine, host, weights);
    let options = NetworkOptions {
        shape: SHAPE,
        micro_batches: 1,
        layout: Layout::ChannelFirst,
        compute: DataType::Fp16,
        head_compute: DataType::Fp32,
        forward_products: runtime::Products::Native,
        recompute: Recompute::Everything,
        head_rows: None,
        lora: None,
        packed: false,
    };
    let network = Network::new(&device, &config, &options).unwrap();
    let mut random = Rng::new(3);
    let tokens = Tokens::from_ids((0..500).map(|_| random.below(50) as u32).collect());
    let position = Position { order: Order::Random, seed: 8, windows: 0 };
    let batches = Batches::new(Arc::new(tokens), 0..500, SHAPE.batch, SHAPE.seq, position).unwrap();
    let schedule =
        Schedule { peak: 3e-3, min_ratio: 0.1, warmup: 1, steps: 10, decay: Decay::Cosine };
    let options = TrainerOptions {
        accumulate: 2,
        optimizer: AdamW::default(),
        schedule,
        clip: 1.0,
        loss_scale: LossScale::Static(512.0),
        threads: 2,
    };
    Trainer::new(network, options, batches, 1).unwrap()
}

/// Bits of the losses of two steps, then of every gradient and parameter after them.
fn two_steps(mut trainer: Trainer) -> Vec<(String, Vec<u32>)> {
    let mut found = vec![];
    for step in 0..2 {
        let record = trainer.step().unwrap();
        assert!(record.loss.is_finite() && record.grad_norm > 0.0);
        found.push((format!("loss {step}"), vec![(record.loss as f32).to_bits()]));
    }
    assert_eq!(trainer.skipped(), 0);
    for state in &trainer.network().parameters {
        for (kind, surface) in [("gradient", &state.gradient), ("value", &state.value)] {
            let reading = surface.read().unwrap();
            let bits = reading.as_slice::<f32>().iter().map(|v| v.to_bits()).collect();
            found.push((format!("{kind} of {}", state.spec.name), bits));
        }
    }
    found
}

/// Forward, backward, optimizer and staging, twice: equal to the emulator's to the last bit, with
/// nothing left afterwards.
#[test]
fn whole_training_steps_through_the_messages_equal_the_emulator_s() {
    for (route, weights) in [
        (Route::Client, WeightStrategy::Packed),
        (Route::InMemory, WeightStrategy::Packed),
        (Route::E5rt, WeightStrategy::Packed),
        (Route::Client, WeightStrategy::Baked),
    ] {
        let standins = Standins::new();
        let expected = two_steps(trainer(emulator(route), weights));
        assert_eq!(standins.session.leaked(), 0, "the emulator has no objects");
        let found = two_steps(trainer(standins.open(route).unwrap(), weights));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert!(found == expected, "{name} differs by {route:?}, weights {weights:?}");
        }
        assert_eq!(found.len(), expected.len());
        if route == Route::Client && weights == WeightStrategy::Packed {
            let evaluate = "-[_ANEClient evaluateWithModel:options:request:qos:error:]";
            let messages = standins.session.messages();
            let evaluations = messages.iter().filter(|m| *m == evaluate).count();
            // Four kernels a layer, two layers, two micro-batches a step, two steps.
            assert_eq!(evaluations, 4 * 2 * 2 * 2);
        }
        standins.nothing_is_left();
    }
}
