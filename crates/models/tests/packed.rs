//! Samples packed behind each other in one sequence.

mod common;

use common::{
    Array, Model, Named, Tolerance, call, families, interpret, noise, on, random_parameters, small,
};
use cpu::CpuDevice;
use interp::Rounding;
use mil::{DataType, Function, Program, verify};
use models::{Config, Layout::TokenMajor, Shape, fill_mask, masked_layer};
use passes::autodiff::{self, Recompute};

/// Two sequences: one of two samples and one of three.
const SAMPLES: [&[usize]; 2] = [&[5, 4], &[2, 6, 1]];
const SHAPE: Shape = Shape { batch: 2, seq: 9 };

/// The samples one after the other, in the order of memory.
fn lengths() -> impl Iterator<Item = usize> {
    SAMPLES.iter().flat_map(|samples| samples.iter().copied())
}

/// The mask of [`SAMPLES`], `[B, 1, 1, S, S]`.
fn mask(window: Option<usize>) -> Array {
    let segments: Vec<u32> =
        lengths().zip(0..).flat_map(|(length, sample)| vec![sample; length]).collect();
    let mut mask = vec![f32::NAN; SHAPE.tokens() * SHAPE.seq];
    fill_mask(&mut mask, &segments, SHAPE.seq, window);
    Array::from_f32s(&[SHAPE.batch, 1, 1, SHAPE.seq, SHAPE.seq], &mask)
}

fn model<'a>(config: Config, shape: Shape, evaluate: common::Evaluator<'a>) -> Model<'a> {
    let parameters = random_parameters(&config);
    let (layout, recompute) = (TokenMajor, Recompute::Cheap);
    Model { config, shape, layout, compute: DataType::Fp32, recompute, evaluate, parameters }
}

/// y, and the gradients of x and every parameter, of the first layer over packed samples.
fn packed(model: &Model<'_>, x: &Array, dy: &Array) -> Named {
    let layer = masked_layer(&model.config, SHAPE, DataType::Fp32).expect("it is built");
    let is_constant = |name: &str| ["rope_cos", "rope_sin", "mask"].contains(&name);
    let names = layer.inputs.iter().map(|&id| layer.value(id).name.clone());
    let options = autodiff::Options {
        wrt: names.filter(|name| !is_constant(name)).collect(),
        recompute: Recompute::Cheap,
        keep: vec![],
        repeat: models::repeated(TokenMajor),
    };
    let gradient = autodiff::differentiate(&layer, &options).expect("every op has a rule");
    let mut pool = model.of_layer(0, &[("x", x), ("mask", &mask(model.config.sliding_window))]);
    let run = |function: &Function, pool: &Named| call(model.evaluate, function, pool);
    let mut outputs = run(&gradient.forward, &pool);
    pool.extend(outputs.clone());
    pool.insert("d_y".into(), dy.clone());
    let mut gradients = run(&gradient.backward, &pool);
    gradients.insert("y".into(), outputs.remove("y").expect("y"));
    gradients
}

/// The same for every sample alone: rows joined, gradients of parameters added.
fn alone(config: Config, x: &Array, dy: &Array, evaluate: common::Evaluator<'_>) -> Named {
    let (mut y, mut dx, mut sums, mut start) = (vec![], vec![], Named::new(), 0);
    for seq in lengths() {
        let shape = Shape { batch: 1, seq };
        let model = model(config, shape, evaluate);
        let rows = |all: &Array| {
            let rows = &all.data[start * config.dim..][..seq * config.dim];
            Array::new(&[1, seq, config.dim], rows.to_vec())
        };
        let (y_part, mut gradients) = model.layer_gradient(0, &rows(x), &rows(dy));
        y.extend(y_part.data);
        dx.extend(gradients.remove("x").expect("x").data);
        for (name, part) in gradients {
            let sum = sums.remove(&name).map_or(part.clone(), |sum: Array| sum.plus(&part));
            sums.insert(name, sum);
        }
        start += seq;
    }
    sums.insert("y".into(), Array::new(&x.dims, y));
    sums.insert("d_x".into(), Array::new(&x.dims, dx));
    sums
}

fn compare(config: Config, evaluate: common::Evaluator<'_>, tolerance: Tolerance) -> f64 {
    let dims = [SHAPE.batch, SHAPE.seq, config.dim];
    let (x, dy) = (noise(&dims, 40), noise(&dims, 41));
    let found = packed(&model(config, SHAPE, evaluate), &x, &dy);
    let expected = alone(config, &x, &dy, evaluate);
    let all = models::parameters(&config).expect("the configuration is valid");
    let of_first = all.iter().filter_map(|p| match p.role {
        models::Role::Layer { index: 0, port } => Some((format!("d_{port}"), p.name.clone())),
        _ => None,
    });
    let mut names: Vec<(String, String)> = of_first.collect();
    names.extend(["y", "d_x"].map(|name| (name.to_owned(), name.to_owned())));
    assert_eq!((found.len(), expected.len()), (names.len(), names.len()));
    let error =
        |(port, name): &(String, String)| tolerance.check(name, &found[port], &expected[name]);
    names.iter().map(error).fold(0.0, f64::max)
}

#[test]
fn a_packed_sample_gets_the_outputs_and_gradients_that_it_has_alone() {
    for config in families() {
        // Tables of rotations are fp32: the same distance at another place differs by 10⁻⁷.
        let exact = compare(config, &interpret(Rounding::None), Tolerance::Largest(1e-6));
        let fp32 = compare(config, &interpret(Rounding::Declared), Tolerance::Largest(1e-5));
        println!("{exact:.2e}, {fp32:.2e}");
    }
}

#[test]
fn on_the_cpu_a_packed_sample_gets_what_it_has_alone() {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    for config in families() {
        let error = compare(config, &on(&device), Tolerance::Largest(1e-5));
        println!("{error:.2e}");
    }
}

#[test]
fn a_causal_mask_makes_it_the_layer() {
    let config = small();
    let evaluate = interpret(Rounding::None);
    let model = model(config, SHAPE, &evaluate);
    let layer = models::layer(&config, SHAPE, TokenMajor, DataType::Fp32).expect("it is built");
    let masked = masked_layer(&config, SHAPE, DataType::Fp32).expect("it is built");
    let x = noise(&[SHAPE.batch, SHAPE.seq, config.dim], 42);
    let mut causal = vec![0.0; SHAPE.tokens() * SHAPE.seq];
    fill_mask(&mut causal, &vec![0; SHAPE.tokens()], SHAPE.seq, None);
    let causal = Array::from_f32s(&mask(None).dims, &causal);
    let with = |mask: &Array, f: &Function| {
        call(&evaluate, f, &model.of_layer(1, &[("x", &x), ("mask", mask)])).remove("y")
    };
    assert_eq!(with(&causal, &masked), with(&causal, &layer));
    assert_ne!(with(&mask(None), &masked), with(&causal, &layer));
}

#[test]
fn it_verifies_and_takes_a_mask_behind_the_rotations() {
    for compute in [DataType::Fp32, DataType::Bf16, DataType::Fp16] {
        let layer = masked_layer(&small(), SHAPE, compute).expect("it is built");
        let value = layer.value(layer.inputs[3]);
        assert_eq!(format!("{}: {}", value.name, value.ty), "mask: tensor<fp32, [2, 1, 1, 9, 9]>");
        if let Err(problems) = verify(&Program::new(vec![layer])) {
            panic!("{compute}: {problems}");
        }
    }
}
