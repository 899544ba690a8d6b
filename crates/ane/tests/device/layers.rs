//! Gradients of layers on the emulated engine against the same layers in fp32 on the CPU.

use super::common::*;
use anemone_ane::device::{AneDevice, WeightStrategy};
use anemone_ane::{Engine, EngineError, Evaluation, Model, Source, Usage};
use mil::DataType;
use models::{AttentionBias, Config, RopeStyle, Shape};
use runtime::Accumulation;
use std::sync::Arc;
use surface::Surface;

/// In the Euclidean norm. An fp16 number is off by 2⁻¹² at most and 2⁻¹³ on average, errors of a
/// product's operands average out, and about twenty roundings lie between a layer's ends: 2·10⁻³
/// is what was met, and a wrong sign or a lost term is a hundred times that.
const FP16: f64 = 4e-3;

fn compare(config: &Config, shape: Shape) {
    for strategy in [WeightStrategy::Packed, WeightStrategy::Baked] {
        let device = device(strategy);
        let mut found = Layer::new(&device, config, shape, DataType::Fp16);
        found.forward.stage().unwrap();
        found.backward.stage().unwrap();
        let mut expected = Layer::new(&*host(), config, shape, DataType::Fp32);
        found.run(Accumulation::Replace);
        expected.run(Accumulation::Replace);
        let (found, expected) = (found.results(config), expected.results(config));
        for (name, expected) in &expected {
            let error = relative_error(&found[name], expected);
            assert!(error < FP16, "{name}: {error:.2e}, {strategy:?}");
        }
    }
}

#[test]
fn a_layer_of_stories110m() {
    compare(&Config::preset("stories110m").unwrap(), Shape { batch: 1, seq: 256 });
}

#[test]
fn a_layer_of_qwen3() {
    compare(&Config::preset("qwen3-0.6b").unwrap(), Shape { batch: 1, seq: 256 });
}

#[test]
fn small_layers_of_ragged_shapes() {
    let tiny = Config::preset("tiny").unwrap();
    let small = Config { dim: 24, hidden: 40, heads: 6, kv_heads: 2, head_dim: 8, ..tiny };
    for (rope, qk_norm) in [(RopeStyle::Halves, true), (RopeStyle::Interleaved, false)] {
        for (batch, seq) in [(1, 32), (3, 20), (2, 7)] {
            compare(&Config { rope, qk_norm, ..small }, Shape { batch, seq });
        }
    }
}

#[test]
fn layers_with_biases_a_window_and_other_norms() {
    let tiny = Config::preset("tiny").unwrap();
    let small = Config { dim: 24, hidden: 40, heads: 6, kv_heads: 2, head_dim: 8, ..tiny };
    for config in [
        Config { attention_bias: AttentionBias::Inputs, ..small },
        Config { attention_bias: AttentionBias::All, mlp_bias: true, ..small },
        Config { sliding_window: Some(6), ..small },
        // Its own activation is not built for the engine.
        Config { norm_plus_one: true, embedding_scale: true, ..small },
    ] {
        compare(&config, Shape { batch: 2, seq: 20 });
    }
}

#[test]
fn placement_says_what_the_engine_runs_and_what_the_host() {
    let config = Config::preset("tiny").unwrap();
    let device = device(WeightStrategy::Packed);
    let layer = Layer::new(&device, &config, Shape { batch: 1, seq: 32 }, DataType::Fp16);
    let placement = layer.executables[1].placement();
    let place = |value: &str| {
        let found = placement.iter().find(|p| p.value == value);
        found.unwrap_or_else(|| panic!("{value} is nowhere")).place.clone()
    };
    assert_eq!(place("d_gate"), "ane: layer_backward_kernel_1");
    assert!(place("d_x").starts_with("cpu: "), "{}", place("d_x"));
    // Weight gradients are the host's, whatever the engine could do.
    assert!(place("d_w_up").starts_with("cpu: "), "{}", place("d_w_up"));
    let engine = placement.iter().filter(|p| p.place.starts_with("ane: "));
    let products = engine.filter(|p| p.op == "matmul").count();
    // Seven of the projections' cotangents, one of the scores again, four of attention.
    assert_eq!(products, 7 + 1 + 4);
}

#[test]
fn gradients_accumulate_and_late_work_is_done_when_a_request_is_finished() {
    let config = Config::preset("tiny").unwrap();
    let device = device(WeightStrategy::Packed);
    let mut layer = Layer::new(&device, &config, Shape { batch: 1, seq: 32 }, DataType::Fp16);
    layer.run(Accumulation::Replace);
    let once = layer.read("d_wq");
    layer.run(Accumulation::Add);
    let twice = layer.read("d_wq");
    assert!(once.iter().zip(&twice).all(|(a, b)| 2.0 * a == *b));
    // Without `finish` in between: an evaluation waits for the late work of the one before.
    for _ in 0..3 {
        layer.backward.evaluate(Accumulation::Replace).unwrap();
    }
    layer.backward.finish().unwrap();
    assert_eq!(layer.read("d_wq"), once);
}

#[test]
fn staging_puts_new_weights_into_every_kernel() {
    let config = Config::preset("tiny").unwrap();
    for strategy in [WeightStrategy::Packed, WeightStrategy::Baked] {
        let device = device(strategy);
        let shape = Shape { batch: 1, seq: 32 };
        let mut layer = Layer::new(&device, &config, shape, DataType::Fp16);
        layer.forward.stage().unwrap();
        layer.forward.evaluate(Accumulation::Replace).unwrap();
        let before = layer.read("y");
        for name in ["wo", "w_down"] {
            layer.surfaces[name].write().unwrap().as_mut_slice::<f32>().fill(0.0);
        }
        layer.forward.evaluate(Accumulation::Replace).unwrap();
        assert_eq!(layer.read("y"), before, "weights changed without being staged");
        layer.forward.stage().unwrap();
        layer.forward.evaluate(Accumulation::Replace).unwrap();
        assert_eq!(layer.read("y"), layer.read("x"), "{strategy:?}");
    }
}

#[test]
fn a_spent_compile_budget_asks_for_a_new_process() {
    let config = Config::preset("tiny").unwrap();
    let device = device(WeightStrategy::Baked);
    let shape = Shape { batch: 1, seq: 32 };
    let mut layer = Layer::new(&device, &config, shape, DataType::Fp16);
    // Two kernels each way, and 119 compilations.
    assert_eq!(device.stagings_left(), Some(29));
    for left in (0..29).rev() {
        layer.forward.stage().unwrap();
        layer.backward.stage().unwrap();
        assert_eq!(device.stagings_left(), Some(left));
    }
    layer.forward.stage().unwrap();
    let error = layer.backward.stage().unwrap_err();
    assert!(matches!(error, runtime::Error::NewProcess { .. }), "{error}");
}

/// An engine that goes on computing with the weights that it saw first.
struct Stale(Arc<dyn Engine>);

struct StaleModel(Arc<dyn Model>);

struct StaleEvaluation {
    surfaces: [Surface; 2],
    first: Option<Vec<u8>>,
    evaluation: Box<dyn Evaluation>,
}

impl Engine for Stale {
    fn target(&self) -> &anemone_ane::target::Target {
        self.0.target()
    }

    fn describe(&self) -> String {
        "stale".into()
    }

    fn surface(&self, bytes: usize) -> Result<Surface, EngineError> {
        self.0.surface(bytes)
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError> {
        Ok(Arc::new(StaleModel(self.0.compile(source)?)))
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }
}

impl Model for StaleModel {
    fn inputs(&self) -> &[runtime::Port] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[runtime::Port] {
        self.0.outputs()
    }

    fn bind(
        self: Arc<Self>,
        inputs: &[Surface],
        outputs: &[Surface],
    ) -> Result<Box<dyn Evaluation>, EngineError> {
        let evaluation = self.0.clone().bind(inputs, outputs)?;
        let surfaces = [inputs[0].clone(), outputs[0].clone()];
        Ok(Box::new(StaleEvaluation { surfaces, first: None, evaluation }))
    }
}

impl Evaluation for StaleEvaluation {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let now = self.surfaces[0].read().unwrap().to_vec();
        let first = self.first.get_or_insert_with(|| now.clone());
        self.surfaces[0].write().unwrap().copy_from_slice(first);
        self.evaluation.evaluate()
    }
}

#[test]
fn an_engine_that_does_not_see_new_weights_fails_its_self_test() {
    for strategy in [WeightStrategy::Packed, WeightStrategy::Baked] {
        device(strategy).self_test().unwrap();
    }
    let stale = Arc::new(Stale(emulator()));
    let error = AneDevice::new(stale, host(), WeightStrategy::Packed).self_test().unwrap_err();
    assert!(error.to_string().contains("new weights do not reach its kernels"), "{error}");
}
