//! A network in either layout, and on a device that finishes late.

mod late;

use cpu::CpuDevice;
use late::LateDevice;
use mil::DataType;
use models::{Config, Layout, RopeStyle, Shape};
use passes::autodiff::Recompute;
use runtime::{Accumulation, Device};
use std::sync::Arc;
use train::rng::Rng;
use train::{Batch, Network, NetworkOptions};

const SHAPE: Shape = Shape { batch: 3, seq: 7 };

fn config(tied: bool) -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    Config {
        dim: 24,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        hidden: 40,
        vocab: 50,
        rope: RopeStyle::Halves,
        qk_norm: true,
        tied,
        ..tiny
    }
}

fn cpu() -> CpuDevice {
    CpuDevice::new(Some(2)).expect("two threads can be started")
}

/// A network of random parameters; the same for every layout.
fn network(device: &dyn Device, config: &Config, options: &NetworkOptions) -> Network {
    let mut network = Network::new(device, config, options).expect("the model compiles");
    let random = Rng::new(5);
    for state in &network.parameters {
        let mut value = state.value.write().expect("nobody else uses it");
        let value = value.as_mut_slice::<f32>();
        random.fork(&state.spec.name).fill_normal(value, 0.1);
        if state.spec.dims.len() == 1 {
            value.iter_mut().for_each(|v| *v += 1.0);
        }
    }
    network.stage().expect("parameters can be staged");
    network
}

fn options(layout: Layout, compute: DataType, recompute: Recompute) -> NetworkOptions {
    let head_compute = DataType::Fp32;
    let forward_products = runtime::Products::Native;
    NetworkOptions {
        shape: SHAPE,
        micro_batches: 1,
        layout,
        compute,
        head_compute,
        forward_products,
        recompute,
        head_rows: None,
        lora: None,
        packed: false,
    }
}

/// Random inputs and targets, and the weights of their mean.
fn tokens(micro: usize) -> (Vec<i32>, Vec<i32>, Vec<f32>) {
    let mut random = Rng::new(micro as u64);
    let mut ids = || (0..SHAPE.tokens()).map(|_| random.below(50) as i32).collect::<Vec<_>>();
    let (tokens, targets) = (ids(), ids());
    (tokens, targets, vec![1.0 / SHAPE.tokens() as f32; SHAPE.tokens()])
}

/// The loss of the first micro-batch alone.
fn evaluate(network: &mut Network) -> f32 {
    let (tokens, targets, weights) = tokens(0);
    let batch = Batch { tokens: &tokens, targets: &targets, weights: &weights, segments: &[] };
    network.loss(&batch).expect("the loss can be computed")
}

/// The losses of two micro-batches whose gradients are added, and all gradients.
fn step(network: &mut Network) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut losses = vec![];
    for (micro, mode) in [Accumulation::Replace, Accumulation::Add].into_iter().enumerate() {
        let (tokens, targets, weights) = tokens(micro);
        let batch = Batch { tokens: &tokens, targets: &targets, weights: &weights, segments: &[] };
        losses.push(network.loss_and_gradient(&batch, mode).expect("the step can be taken"));
    }
    let read = |p: &train::ParameterState| {
        p.gradient.read().expect("all have finished").as_slice::<f32>().to_vec()
    };
    (losses, network.parameters.iter().map(read).collect())
}

/// ‖a − b‖ / ‖b‖.
fn error(a: &[f32], b: &[f32]) -> f64 {
    let norm = |d: &mut dyn Iterator<Item = f64>| d.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    off / norm(&mut b.iter().map(|&v| f64::from(v)))
}

#[test]
fn both_layouts_give_one_loss_and_one_gradient() {
    let device = cpu();
    for tied in [true, false] {
        let config = config(tied);
        let token_major = options(Layout::TokenMajor, DataType::Fp32, Recompute::Cheap);
        let (losses, gradients) = step(&mut network(&device, &config, &token_major));
        let cases = [
            // Sums in another order; f32 has 6·10⁻⁸, and terms cancel.
            (DataType::Fp32, Recompute::Cheap, 1e-5),
            (DataType::Fp32, Recompute::Nothing, 1e-5),
            (DataType::Fp32, Recompute::Everything, 1e-5),
            // Some eighty roundings of 2⁻¹² one after the other, in four layers and back.
            (DataType::Fp16, Recompute::Cheap, 1.5e-2),
        ];
        for (compute, recompute, bound) in cases {
            let options = options(Layout::ChannelFirst, compute, recompute);
            let mut network = network(&device, &config, &options);
            let (found_losses, found) = step(&mut network);
            let worst = found.iter().zip(&gradients).map(|(a, b)| error(a, b)).fold(0.0, f64::max);
            println!("{compute}, {recompute:?}: {worst:.1e}, {} bytes", network.surface_bytes());
            assert!(worst < bound, "{compute}, {recompute:?}: gradients are off by {worst:.1e}");
            assert!(error(&found_losses, &losses) < bound / 10.0, "{found_losses:?}, {losses:?}");
        }
    }
}

#[test]
fn what_a_device_finishes_late_is_waited_for_and_not_disturbed() {
    for tied in [true, false] {
        for layout in [Layout::TokenMajor, Layout::ChannelFirst] {
            let config = config(tied);
            let options = options(layout, DataType::Fp32, Recompute::Cheap);
            let expected = step(&mut network(&cpu(), &config, &options));
            let late = LateDevice::new(Arc::new(cpu()));
            // The same kernels on the same numbers: to the bit.
            assert!(step(&mut network(&late, &config, &options)) == expected, "{layout:?}");
            assert!(late.finished() > 0, "nothing was late");
        }
    }
}

#[test]
fn a_forward_pass_in_bytes_gives_nearly_the_same_loss_and_gradient() {
    let config = config(false);
    let native = options(Layout::TokenMajor, DataType::Fp32, Recompute::Cheap);
    let bytes = NetworkOptions { forward_products: runtime::Products::Int8, ..native.clone() };
    let (losses, gradients) = step(&mut network(&cpu(), &config, &native));
    let (found, found_gradients) = step(&mut network(&cpu(), &config, &bytes));
    assert_ne!(losses, found, "the products are in bytes");
    // Rounding both factors puts a product some 1.5 % off; 28 of them one after the other make 8 %,
    // and gradients see them on the way back as well.
    assert!(error(&losses, &found) < 0.01, "{losses:?} {found:?}");
    for (state, (a, b)) in gradients.iter().zip(&found_gradients).enumerate() {
        assert!(error(a, b) < 0.2, "gradient {state}: {}", error(a, b));
    }
}

#[test]
fn a_head_in_parts_gives_the_loss_and_the_gradient_of_a_whole_one() {
    let late = LateDevice::new(Arc::new(cpu()));
    let cpu = cpu();
    let devices: [(&dyn Device, _); 2] = [(&cpu, "cpu"), (&late, "late")];
    for (device, name) in devices {
        for tied in [true, false] {
            for layout in [Layout::TokenMajor, Layout::ChannelFirst] {
                let config = config(tied);
                let options = options(layout, DataType::Fp32, Recompute::Cheap);
                let (losses, gradients) = step(&mut network(device, &config, &options));
                // 21 tokens: in one part, in three of 7, in 8 + 8 + 5, and one by one.
                for rows in [21, 10, 8, 1] {
                    let parts = NetworkOptions { head_rows: Some(rows), ..options.clone() };
                    let mut network = network(device, &config, &parts);
                    let (found_losses, found) = step(&mut network);
                    let case = format!("{name}, {layout:?}, tied {tied}, {rows} rows");
                    if rows == 21 {
                        assert!((&found_losses, &found) == (&losses, &gradients), "{case}");
                    }
                    // The same terms added in another order; f32 has 6·10⁻⁸.
                    assert!(error(&found_losses, &losses) < 1e-6, "{case}: {found_losses:?}");
                    for (a, b) in found.iter().zip(&gradients) {
                        assert!(error(a, b) < 1e-5, "{case}: {}", error(a, b));
                    }
                    assert!((evaluate(&mut network) - losses[0]).abs() < 1e-5, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_batch_of_another_size_is_an_error() {
    let options = options(Layout::TokenMajor, DataType::Fp32, Recompute::Cheap);
    let mut network = network(&cpu(), &config(true), &options);
    let (ids, weights) = (vec![1; SHAPE.tokens()], vec![0.1; SHAPE.tokens() - 1]);
    let batch = Batch { tokens: &ids, targets: &ids, weights: &weights, segments: &[] };
    let error = network.loss(&batch).expect_err("there is a weight too few").to_string();
    assert!(error.contains("21") && error.contains("20"), "{error}");
}
