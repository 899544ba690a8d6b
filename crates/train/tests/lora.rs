//! Adapters: against `peft`, and against what they must not touch.

#[path = "../../models/tests/common/mod.rs"]
mod common;
mod setup;

use common::{Array, Fixture, Named};
use cpu::CpuDevice;
use mil::DataType;
use models::{Layout, Lora, Shape};
use passes::autodiff::Recompute;
use runtime::Products;
use std::sync::Arc;
use train::adamw::AdamW;
use train::data::{Batches, Feed, MicroBatch, Order, Packs, Position, Samples, Tokens};
use train::loss_scale::LossScale;
use train::rng::Rng;
use train::schedule::{Decay, Schedule};
use train::{Batch, Network, NetworkOptions, Trainer, TrainerOptions};

fn device() -> CpuDevice {
    CpuDevice::new(Some(2)).expect("two threads can be started")
}

fn network_options(shape: Shape) -> NetworkOptions {
    NetworkOptions {
        shape,
        micro_batches: 1,
        layout: Layout::TokenMajor,
        compute: DataType::Fp32,
        head_compute: DataType::Fp32,
        forward_products: Products::Native,
        recompute: Recompute::Cheap,
        head_rows: None,
        lora: None,
        packed: false,
    }
}

fn copy_from(
    tensors: &Named,
) -> impl FnMut(&str, &[usize], &mut [f32]) -> Result<(), train::Error> {
    move |name, dims, out| {
        let array = tensors.get(name).unwrap_or_else(|| panic!("the fixture has no `{name}`"));
        assert_eq!(array.dims, dims, "{name}");
        out.iter_mut().zip(&array.data).for_each(|(out, &value)| *out = value as f32);
        Ok(())
    }
}

/// Losses and norms relative to their size, parameters (all below 1) absolutely: both sides are
/// fp32, and Adam's first steps turn tiny differences of small gradients into larger ones.
const DRIFT: f64 = 1e-3;

#[test]
fn twenty_steps_of_an_adapter_follow_peft() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/lora.safetensors");
    let fixture = Fixture::read(path);
    let lora = Lora::from_peft(&fixture.about["adapter"]).expect("the adapter is offered");
    let number = |key: &str| fixture.about["optimizer"][key].as_f64().expect("a number");
    let beta = |i: usize| fixture.about["optimizer"]["betas"][i].as_f64().expect("a number");

    let options = NetworkOptions { lora: Some(lora), ..network_options(fixture.shape) };
    let mut network = Network::new(&device(), &fixture.config, &options).expect("it compiles");
    network.read_base(&mut copy_from(&fixture.under("base."))).expect("all is there");
    let ids: Vec<u32> = fixture.get("tokens").data.iter().map(|&id| id as u32).collect();
    let (length, Shape { batch, seq }) = (ids.len() as u64, fixture.shape);
    let position = Position { order: Order::Sequential, seed: 0, windows: 0 };
    let tokens = Arc::new(Tokens::from_ids(ids));
    let feed = Batches::new(tokens, 0..length, batch, seq, position).expect("enough tokens");
    let options = TrainerOptions {
        accumulate: 1,
        optimizer: AdamW {
            beta1: beta(0),
            beta2: beta(1),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
        },
        schedule: Schedule {
            peak: number("lr"),
            min_ratio: 1.0,
            warmup: 0,
            steps: 20,
            decay: Decay::Constant,
        },
        clip: number("clip"),
        loss_scale: LossScale::None,
        threads: 2,
    };
    let before = fixture.under("before.");
    let mut read = copy_from(&before);
    let mut trainer = Trainer::from_parameters(network, options, feed, &mut read, None)
        .expect("the adapter has the names and dimensions of peft's");
    assert_eq!(trainer.network().parameters.len(), before.len());
    let near = |found: f64, expected: f64| (found - expected).abs() < DRIFT * expected.abs();
    let expected = fixture.get("losses").data.iter().zip(&fixture.get("norms").data);
    for (step, (&loss, &norm)) in expected.enumerate() {
        let record = trainer.step().expect("a step");
        assert!(near(record.loss, loss), "step {step}: {} is not {loss}", record.loss);
        assert!(near(record.grad_norm, norm), "step {step}: {} is not {norm}", record.grad_norm);
    }
    let after = fixture.under("after.");
    for state in &trainer.network().parameters {
        let value = state.value.read().expect("nobody else uses it");
        let Array { data, .. } = &after[&state.spec.name];
        for (found, expected) in value.as_slice::<f32>().iter().zip(data) {
            let off = (f64::from(*found) - expected).abs();
            assert!(off < DRIFT, "`{}` is off by {off:.1e}", state.spec.name);
        }
    }
}

fn lora(dropout: f64) -> Lora {
    let targets = vec![models::ALL_LINEAR.to_owned()];
    Lora { rank: 3, alpha: 6.0, rank_stabilized: false, dropout, targets }
}

/// A network of random parameters that do not depend on what is trained.
fn random_network(options: &NetworkOptions) -> Network {
    let mut network =
        Network::new(&device(), &setup::config(), options).expect("the model compiles");
    let random = Rng::new(5);
    let mut fill = |name: &str, dims: &[usize], out: &mut [f32]| {
        random.fork(name).fill_normal(out, 0.1);
        if dims.len() == 1 {
            out.iter_mut().for_each(|v| *v += 1.0);
        }
        Ok(())
    };
    network.read_base(&mut fill).expect("the base is filled");
    for state in &network.parameters {
        let mut value = state.value.write().expect("nobody else uses it");
        fill(&state.spec.name, &state.spec.dims, value.as_mut_slice()).expect("it is filled");
    }
    network.stage().expect("it is staged");
    network
}

const SHAPE: Shape = Shape { batch: 2, seq: 9 };

fn feed(windows: u64) -> Feed {
    setup::batches(Order::Random, Some(Position { order: Order::Random, seed: 8, windows })).into()
}

#[test]
fn a_new_adapter_changes_nothing_and_the_base_stays() {
    let plain = random_network(&network_options(SHAPE));
    let options = NetworkOptions { lora: Some(lora(0.3)), ..network_options(SHAPE) };
    let adapted = random_network(&options);
    assert!(adapted.parameters.iter().all(|p| p.spec.name.contains(".lora_")));
    let mut plain = Trainer::new(plain, setup::options(), feed(0), 1).expect("a trainer");
    // Drawing the parameters has replaced those of `plain`: put them back.
    let random = random_network(&network_options(SHAPE));
    for (to, from) in plain.network().parameters.iter().zip(&random.parameters) {
        to.value.write().unwrap().copy_from_slice(&from.value.read().unwrap());
    }
    let mut adapted = Trainer::new(adapted, setup::options(), feed(0), 1).expect("a trainer");
    let base: Vec<Vec<f32>> = values(adapted.network().base.iter().map(|p| &p.value));
    let mut validation = feed(0);
    let expected = plain.validate(&mut validation, 3).expect("a loss");
    assert_eq!(adapted.validate(&mut validation, 3).expect("a loss"), expected);
    for _ in 0..3 {
        adapted.step().expect("a step");
    }
    assert_ne!(adapted.validate(&mut validation, 3).expect("a loss"), expected);
    assert_eq!(values(adapted.network().base.iter().map(|p| &p.value)), base);
}

fn values<'a>(surfaces: impl Iterator<Item = &'a surface::Surface>) -> Vec<Vec<f32>> {
    surfaces.map(|s| s.read().unwrap().as_slice::<f32>().to_vec()).collect()
}

#[test]
fn dropout_is_drawn_anew_for_every_batch_and_again_after_resuming() {
    let options = NetworkOptions { lora: Some(lora(0.5)), ..network_options(SHAPE) };
    let run = |steps: usize| {
        let mut trainer =
            Trainer::new(random_network(&options), setup::options(), feed(0), 1).unwrap();
        let losses: Vec<f64> = (0..steps).map(|_| trainer.step().unwrap().loss).collect();
        (trainer, losses)
    };
    let (whole, losses) = run(6);
    let folder = setup::scratch("lora-dropout");
    let (half, _) = run(3);
    let (saved, ..) = setup::save(&half, &folder);
    let mut checkpoint = train::checkpoint::Checkpoint::open(&saved).unwrap();
    let position = checkpoint.state().data;
    let feed = setup::batches(Order::Random, Some(position));
    let network = random_network(&options);
    let mut rest = Trainer::resume(network, setup::options(), feed, &mut checkpoint).unwrap();
    let resumed: Vec<f64> = (0..3).map(|_| rest.step().unwrap().loss).collect();
    assert_eq!(resumed, losses[3..]);
    let trained = |t: &Trainer| values(t.network().parameters.iter().map(|p| &p.value));
    assert_eq!(trained(&rest), trained(&whole));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Samples in one sequence give the loss and the gradients that they give one by one.
#[test]
fn packed_samples_do_not_see_each_other() {
    let mut random = Rng::new(2);
    let mut samples = Samples::default();
    for length in [4, 6, 9, 3, 2, 10] {
        let tokens: Vec<u32> = (0..length).map(|_| random.below(50) as u32).collect();
        let counted: Vec<bool> = (0..length).map(|i| 3 * i >= length).collect();
        assert!(samples.push(&tokens, &counted, 10));
    }
    let samples = Arc::new(samples);
    let position = Position { order: Order::Sequential, seed: 0, windows: 0 };
    let run = |packing: bool| {
        let options = NetworkOptions { packed: true, ..network_options(SHAPE) };
        let mut network = random_network(&options);
        let packs = Packs::new(Arc::clone(&samples), packing, 2, 9, position).unwrap();
        let batches = packs.sequences().div_ceil(2);
        let mut feed = Feed::from(packs);
        let mut loss = 0.0;
        for index in 0..batches {
            let mut micro = MicroBatch::new(SHAPE.tokens());
            feed.next(&mut micro).unwrap();
            let MicroBatch { tokens, targets, weights, segments } = &micro;
            let batch = Batch { tokens, targets, weights, segments };
            let mode = match index {
                0 => runtime::Accumulation::Replace,
                _ => runtime::Accumulation::Add,
            };
            loss += network.loss_and_gradient(&batch, mode).unwrap();
        }
        (batches, loss, values(network.parameters.iter().map(|p| &p.gradient)))
    };
    let (few, packed, packed_gradients) = run(true);
    let (many, apart, apart_gradients) = run(false);
    assert!(few < many, "{few} batches of packed samples, {many} of others");
    // Sums in another order, and rotations by other angles: fp32's rounding.
    assert!((packed - apart).abs() < 1e-5 * apart, "{packed} {apart}");
    for (packed, apart) in packed_gradients.iter().zip(&apart_gradients) {
        let size = apart.iter().fold(1e-3_f32, |most, v| most.max(v.abs()));
        for (a, b) in packed.iter().zip(apart) {
            assert!((a - b).abs() < 2e-5 * size, "{a} {b} of {size}");
        }
    }
}

#[test]
fn an_engine_is_refused_by_name() {
    let layout = Layout::ChannelFirst;
    let plain = NetworkOptions { layout, ..network_options(SHAPE) };
    let refused = |options: NetworkOptions| {
        let network = Network::new(&device(), &setup::config(), &options);
        network.err().expect("it is refused").to_string()
    };
    assert!(
        refused(NetworkOptions { lora: Some(lora(0.0)), ..plain.clone() }).contains("adapters")
    );
    assert!(refused(NetworkOptions { packed: true, ..plain }).contains("packing"));
}
