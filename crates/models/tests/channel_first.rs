//! The channel-first form against the token-major one and against PyTorch, and what the Neural
//! Engine asks of its programs.

mod common;

use common::{
    Array, Check, Evaluator, Model, Named, Tolerance, block, families, interpret, noise, on,
    random_parameters, small, whole_model,
};
use interp::Rounding;
use mil::{DataType, Function, Op};
use models::{Activation, Config, Layout, RopeStyle, Shape, parameters, taps};
use passes::autodiff::{self, Gradient, Recompute};

/// Every choice the layer has, in sizes that no two axes share; the head dim is a power of two
/// where queries and keys are normalized, for 1/E is a constant of fp32 then.
fn configurations() -> Vec<(Config, Shape)> {
    let gqa = small();
    let mha = Config { kv_heads: 6, heads: 6, head_dim: 6, ..gqa };
    let wide = Config { heads: 4, kv_heads: 1, head_dim: 8, dim: 10, hidden: 14, ..gqa };
    let mut all = vec![];
    for rope in [RopeStyle::Halves, RopeStyle::Interleaved] {
        for (config, qk_norm) in [(gqa, false), (gqa, true), (mha, false), (wide, true)] {
            for shape in [Shape { batch: 1, seq: 7 }, Shape { batch: 3, seq: 5 }] {
                all.push((Config { rope, qk_norm, ..config }, shape));
            }
        }
    }
    // The others are refused.
    let built = |config: &Config| config.activation == Activation::Silu;
    for config in families().into_iter().filter(built) {
        all.push((Config { head_dim: 8, ..config }, Shape { batch: 2, seq: 5 }));
    }
    all
}

fn model<'a>(
    evaluate: Evaluator<'a>,
    (config, shape): (Config, Shape),
    layout: Layout,
    compute: DataType,
    recompute: Recompute,
) -> Model<'a> {
    let parameters = random_parameters(&config);
    Model { config, shape, layout, compute, recompute, evaluate, parameters }
}

/// The functions of the layer's gradient by x and every parameter, as training asks for them.
fn gradient(config: &Config, shape: Shape, compute: DataType, recompute: Recompute) -> Gradient {
    let layer = models::layer(config, shape, Layout::ChannelFirst, compute).expect("it builds");
    let wrt = layer.inputs.iter().map(|&id| layer.value(id).name.clone()).collect();
    let keep = taps(config, Layout::ChannelFirst);
    let options = autodiff::Options { wrt, recompute, keep, ..Default::default() };
    autodiff::differentiate(&layer, &options).expect("every op has a rule")
}

#[test]
fn both_layouts_compute_the_same() {
    let evaluate = interpret(Rounding::None);
    for (config, shape) in configurations() {
        let tokens = |from: usize| {
            let token = |i: usize| ((i * 5 + from) % config.vocab) as f64;
            Array::new(&[shape.tokens()], (0..shape.tokens()).map(token).collect())
        };
        let (tokens, targets) = (tokens(2), tokens(7));
        let weights = noise(&[shape.tokens()], 50);
        let of = |layout, recompute| {
            let model = model(&evaluate, (config, shape), layout, DataType::Fp32, recompute);
            let (loss, mut all) = model.loss_and_gradients(&tokens, &targets, &weights);
            all.insert("loss".into(), Array::new(&[], vec![loss]));
            all.insert("logits".into(), model.logits(&tokens));
            all
        };
        let truth = of(Layout::TokenMajor, Recompute::Nothing);
        for recompute in [Recompute::Everything, Recompute::Nothing] {
            // Nothing is rounded but to f64, and exp(−30,000) is 0 as exp(−10⁹) is.
            let found = of(Layout::ChannelFirst, recompute);
            Tolerance::Largest(1e-9).check_all(&found, &truth);
        }
    }
}

#[test]
fn without_rounding_values_and_gradients_are_those_of_pytorch() {
    let evaluate = interpret(Rounding::None);
    let check = Check {
        evaluate: &evaluate,
        layout: Layout::ChannelFirst,
        compute: DataType::Fp32,
        recompute: Recompute::Everything,
        tolerance: Tolerance::Largest(1e-6),
    };
    for name in ["block_mha_interleaved", "block_gqa_halves_qk_norm"] {
        block(name, &check);
    }
    for name in ["model_interleaved_tied", "model_halves_untied", "model_halves_qk_norm_tied"] {
        whole_model(name, &check);
    }
}

/// Ops that were seen to run on the engine through programs of this form.
const KNOWN: [Op; 17] = [
    Op::Const,
    Op::Cast,
    Op::Add,
    Op::Sub,
    Op::Mul,
    Op::RealDiv,
    Op::Abs,
    Op::Floor,
    Op::Pow,
    Op::Sigmoid,
    Op::Softmax,
    Op::ReduceSum,
    Op::Matmul,
    Op::Reshape,
    Op::Transpose,
    Op::Concat,
    Op::Split,
];

/// What the fp32 norms of the residual stream need besides.
const OF_NORMS: [Op; 2] = [Op::ReduceMean, Op::Rsqrt];

#[test]
fn forward_and_backward_keep_to_what_the_engine_can_do() {
    for (config, shape) in configurations() {
        let gradient = gradient(&config, shape, DataType::Fp16, Recompute::Everything);
        for function in [&gradient.forward, &gradient.backward] {
            for operation in &function.body.operations {
                let at = || format!("{}: {}", function.name, operation.op.name());
                let results =
                    operation.outputs.iter().filter_map(|&id| function.ty(id).as_tensor());
                for ty in results {
                    let dims = ty.fixed_dims().expect("shapes are fixed");
                    assert!(dims.len() <= 4, "{} has rank {}", at(), dims.len());
                    let one = dims.len() < 4 || dims[0] == 1 || shape.batch > 1;
                    assert!(one, "{} gives {dims:?}", at());
                    let norm = ty.dtype == DataType::Fp32 && OF_NORMS.contains(&operation.op);
                    assert!(norm || KNOWN.contains(&operation.op), "{}", at());
                }
                let axis = operation.inputs.get("axis").and_then(|arg| match arg.operands() {
                    [mil::Operand::Value(id)] => function.literals()[id.index()].cloned(),
                    _ => None,
                });
                let axis =
                    axis.and_then(|l| l.as_tensor().and_then(|t| t.to_i64s().first().copied()));
                match operation.op {
                    Op::Softmax => assert_eq!(axis, Some(-1)),
                    Op::Split | Op::Concat => assert_eq!(axis, Some(2)),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn the_taps_are_all_that_is_kept_and_no_product_but_the_scores_is_repeated() {
    for (config, shape) in configurations() {
        let gradient = gradient(&config, shape, DataType::Fp16, Recompute::Everything);
        let outputs = &gradient.forward.body.outputs;
        let mut given: Vec<&str> =
            outputs.iter().map(|&id| gradient.forward.value(id).name.as_str()).collect();
        assert_eq!(given.remove(0), "y");
        let expected = taps(&config, Layout::ChannelFirst);
        assert_eq!(given, expected);

        let products = |function: &Function| {
            function.body.operations.iter().filter(|o| o.op == Op::Matmul).count()
        };
        // Seven weights and two products of attention.
        assert_eq!(products(&gradient.forward), 9);
        // Two for each of them, and the scores again.
        assert_eq!(products(&gradient.backward), 19);
    }
    assert_eq!(taps(&small(), Layout::TokenMajor), Vec::<String>::new());
}

#[test]
fn the_parameters_are_those_of_the_inventory_and_rotations_are_constants() {
    // Those that use what is not built are refused; see below.
    let built = |config: &Config| config.activation == Activation::Silu;
    for (name, config) in models::PRESETS.iter().filter(|(_, config)| built(config)) {
        let shape = Shape { batch: 2, seq: 6 };
        let layer = models::layer(config, shape, Layout::ChannelFirst, DataType::Fp16);
        let layer = layer.expect("presets are built");
        assert_eq!(mil::verify_function(&layer), vec![], "{name}");
        let inputs = layer.inputs.iter().map(|&id| {
            let value = layer.value(id);
            format!("{}: {}", value.name, value.ty)
        });
        let spell = |name: &str, dims: &[usize]| {
            format!("{name}: {}", mil::Type::tensor(DataType::Fp32, dims))
        };
        let all = parameters(config).expect("presets are valid");
        let of_first = all.iter().filter_map(|p| match p.role {
            models::Role::Layer { index: 0, port } => Some(spell(port, &p.dims)),
            _ => None,
        });
        let x = spell("x", &[1, config.dim, 1, 12]);
        let expected: Vec<String> = [x].into_iter().chain(of_first).collect();
        assert_eq!(inputs.collect::<Vec<String>>(), expected, "{name}");
    }
}

#[test]
fn constants_that_no_memory_holds_are_refused() {
    let config = Config { max_seq: 1 << 14, heads: 6, kv_heads: 1, ..small() };
    let refusal = |batch, seq| {
        let shape = Shape { batch, seq };
        let built = models::layer(&config, shape, Layout::ChannelFirst, DataType::Fp16);
        built.expect_err("it is too large").to_string()
    };
    assert_eq!(refusal(1, 1 << 14), "seq is 16384; it must be from 1 to 6688");
    assert_eq!(refusal(1 << 20, 256), "batch is 1048576; it must be from 1 to 524288");
}

/// Gradients of the layer with products in `compute`, as if the loss was multiplied by `scale`.
fn scaled(
    evaluate: Evaluator,
    at: (Config, Shape),
    compute: DataType,
    scale: f64,
) -> (Array, Named) {
    let model = model(evaluate, at, Layout::ChannelFirst, compute, Recompute::Everything);
    let dims = [at.1.batch, at.1.seq, at.0.dim];
    let times = |array: &Array, factor: f64| {
        Array::new(&array.dims, array.data.iter().map(|v| v * factor).collect())
    };
    // The cotangent of a mean over many tokens.
    let dy = times(&noise(&dims, 91), 1e-6 * scale);
    let (y, gradients) = model.layer_gradient(1, &noise(&dims, 90), &dy);
    (y, gradients.iter().map(|(name, g)| (name.clone(), times(g, 1.0 / scale))).collect())
}

/// In two types of arithmetic that round every value to fp16: the interpreter's, whose sums are
/// of f64, and the CPU device's, whose sums are of f32.
#[test]
fn fp16_with_a_loss_scale_is_close_to_fp32() {
    let exact = interpret(Rounding::None);
    let device = cpu::CpuDevice::new(Some(2)).expect("two threads can be started");
    let (rounded, device) = (interpret(Rounding::Declared), on(&device));
    let rounded: [Evaluator; 2] = [&rounded, &device];
    for at in configurations() {
        let (truth, expected) = scaled(&exact, at, DataType::Fp32, 1.0);
        for evaluate in rounded {
            let (y, found) = scaled(evaluate, at, DataType::Fp16, 65536.0);
            // Each value between is off by up to 2⁻¹¹ of itself, and some twenty follow one
            // another; on the way back the scores' error comes in once more.
            Tolerance::Norm(2e-3).check("y", &y, &truth);
            let with = Tolerance::Norm(6e-3).check_all(&found, &expected);
            // Without the scale most of the gradient lies between the last steps before zero.
            let (_, found) = scaled(evaluate, at, DataType::Fp16, 1.0);
            let anything = Tolerance::Norm(f64::INFINITY);
            let without = anything.check_all(&found, &expected);
            println!("off by {with:.1e}, without a scale by {without:.1e}");
            assert!(without > 10.0 * with, "65536 against 1: {with:.1e} against {without:.1e}");
        }
    }
}

#[test]
fn what_is_not_built_in_this_layout_is_refused_by_name() {
    let shape = Shape { batch: 1, seq: 4 };
    let refused = families().into_iter().filter_map(|config| {
        let error = models::layer(&config, shape, Layout::ChannelFirst, DataType::Fp16).err()?;
        Some((config.model_type(), error.to_string()))
    });
    let refusal = |what| {
        format!(
            "{what} is not built channel-first, the layout of the Neural Engine; choose another \
             device"
        )
    };
    let expected = [
        ("gemma", refusal("the activation gelu_tanh")),
        ("gpt2", refusal("the architecture of gpt2")),
    ];
    assert_eq!(refused.collect::<Vec<_>>(), expected);
}
