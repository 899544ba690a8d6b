//! Ten steps of a whole model with AdamW, against PyTorch.

#[path = "../../models/tests/common/mod.rs"]
mod common;

use common::{Array, Fixture, Model, Named, interpret};
use interp::Rounding;
use mil::DataType;
use passes::autodiff::Recompute;
use train::adamw::{AdamW, Slot, Step, clip_factor, global_norm};

/// How far fp32 may drift from the truth in ten steps: losses and norms relative to it, parameters
/// (all below 4) absolutely.
const DRIFT: f64 = 1e-5;

/// What the optimizer keeps for one parameter.
struct Kept {
    name: String,
    value: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    decay: bool,
}

#[test]
fn ten_steps_follow_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/adamw.safetensors");
    let fixture = Fixture::read(path);
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let options = &fixture.about["optimizer"];
    let adamw = AdamW {
        beta1: number(&options["betas"][0]),
        beta2: number(&options["betas"][1]),
        eps: number(&options["eps"]),
        weight_decay: number(&options["weight_decay"]),
    };
    let evaluate = interpret(Rounding::Declared);
    let mut model = Model {
        config: fixture.config,
        shape: fixture.shape,
        layout: models::Layout::TokenMajor,
        compute: DataType::Fp32,
        recompute: Recompute::Cheap,
        evaluate: &evaluate,
        parameters: fixture.parameters(),
    };
    let inventory = models::parameters(&fixture.config).expect("the configuration is valid");
    let mut all: Vec<Kept> = inventory
        .into_iter()
        .map(|p| {
            let value = to_f32s(&model.parameters[&p.name]);
            let zeros = vec![0.0; value.len()];
            Kept { name: p.name, value, first: zeros.clone(), second: zeros, decay: p.decay }
        })
        .collect();

    let tokens = fixture.shape.tokens();
    let weights = Array::new(&[tokens], vec![1.0 / tokens as f64; tokens]);
    let mut clipped = 0;
    for (step, &loss) in fixture.get("losses").data.iter().enumerate() {
        let [inputs, targets] = ["tokens", "targets"].map(|name| {
            let rows = &fixture.get(name).data;
            Array::new(&[tokens], rows[step * tokens..][..tokens].to_vec())
        });
        let (found, gradients) = model.loss_and_gradients(&inputs, &targets, &weights);
        assert!((found - loss).abs() < DRIFT * loss, "step {step}: {found}, not {loss}");

        let gradients: Vec<Vec<f32>> = all.iter().map(|p| to_f32s(&gradients[&p.name])).collect();
        let slices: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
        let norm = global_norm(&slices, 1);
        let expected = fixture.get("norms").data[step];
        assert!((norm - expected).abs() < DRIFT * expected, "step {step}: {norm}");
        let gradient_scale = clip_factor(norm, number(&options["clip"]));
        clipped += usize::from(gradient_scale < 1.0);
        let mut slots: Vec<Slot> = all
            .iter_mut()
            .zip(slices)
            .map(|(p, gradient)| Slot {
                parameter: &mut p.value,
                gradient,
                first: &mut p.first,
                second: &mut p.second,
                decay: p.decay,
            })
            .collect();
        let rate = number(&options["lr"]);
        adamw.update(&mut slots, Step { number: step as u64 + 1, rate, gradient_scale }, 1);
        for p in &all {
            let dims = model.parameters[&p.name].dims.clone();
            model.parameters.insert(p.name.clone(), Array::from_f32s(&dims, &p.value));
        }
    }
    assert!((1..10).contains(&clipped), "{clipped} steps were clipped");

    let after: Named = fixture.under("after.");
    assert_eq!(after.len(), all.len());
    for (name, truth) in &after {
        let found = &model.parameters[name].data;
        let difference = found.iter().zip(&truth.data).map(|(a, b)| (a - b).abs());
        let difference = difference.fold(0.0, f64::max);
        println!("{name}: {difference:.2e}");
        assert!(difference < DRIFT, "`{name}` is off by {difference:.2e}");
    }
}

fn to_f32s(array: &Array) -> Vec<f32> {
    array.data.iter().map(|&v| v as f32).collect()
}
