//! What autodiff gives, asks for and refuses, apart from the numbers.

use anemone_passes::autodiff::{
    Differentiability, Error, Options, Recompute, differentiability, differentiate,
    value_and_gradient,
};
use mil::{DataType, Function, Op};
use models::Layout::TokenMajor;

/// The first function of a program in MIL text, from its body.
fn function(inputs: &str, body: &str, outputs: &str) -> Function {
    let text = format!(
        "program(1.3)\n{{\n    func main<ios18>({inputs}) {{\n{body}\n    }} -> ({outputs});\n}}\n"
    );
    let program = mil::parse(&text).unwrap();
    mil::verify(&program).unwrap();
    program.functions.into_iter().next().unwrap()
}

fn options(wrt: &[&str], recompute: Recompute) -> Options {
    let wrt = wrt.iter().map(|&name| name.to_owned()).collect();
    Options { wrt, recompute, ..Options::default() }
}

fn error(f: &Function, wrt: &[&str]) -> Error {
    differentiate(f, &options(wrt, Recompute::Cheap)).unwrap_err()
}

fn names(f: &Function, ids: &[mil::ValueId]) -> Vec<String> {
    ids.iter().map(|&id| f.value(id).name.clone()).collect()
}

/// Inputs of the backward function, and what the forward function gives.
fn interface(f: &Function, wrt: &[&str], recompute: Recompute) -> (Vec<String>, Vec<String>) {
    let gradient = differentiate(f, &options(wrt, recompute)).unwrap();
    for f in [&gradient.forward, &gradient.backward] {
        assert_eq!(mil::verify_function(f), vec![]);
    }
    let outputs = names(&gradient.backward, &gradient.backward.body.outputs);
    let expected: Vec<String> = wrt.iter().map(|name| format!("d_{name}")).collect();
    assert_eq!(outputs, expected);
    let backward = names(&gradient.backward, &gradient.backward.inputs);
    (backward, names(&gradient.forward, &gradient.forward.body.outputs))
}

const TWO_LAYERS: (&str, &str) = (
    "tensor<fp32, [4, 8]> x, tensor<fp32, [6, 8]> w, tensor<fp32, [3, 6]> v",
    "        tensor<bf16, [4, 8]> xh = cast(x = x, dtype = string(\"bf16\"));
        tensor<bf16, [6, 8]> wh = cast(x = w, dtype = string(\"bf16\"));
        tensor<bf16, [4, 6]> h = linear(x = xh, weight = wh);
        tensor<fp32, [4, 6]> hf = cast(x = h, dtype = string(\"fp32\"));
        tensor<fp32, [4, 6]> a = silu(x = hf);
        tensor<fp32, [4, 3]> y = linear(x = a, weight = v);",
);

#[test]
fn nothing_recomputed_taps_what_rules_need_but_no_view_of_an_input() {
    let f = function(TWO_LAYERS.0, TWO_LAYERS.1, "y");
    // `hf` is a wider copy of `h`, so `h` is given and not both.
    let (inputs, outputs) = interface(&f, &["w", "v"], Recompute::Nothing);
    assert_eq!(inputs, ["d_y", "h", "a", "x", "v"]);
    assert_eq!(outputs, ["y", "h", "a"]);
}

#[test]
fn cheap_taps_products_only() {
    let f = function(TWO_LAYERS.0, TWO_LAYERS.1, "y");
    let (inputs, outputs) = interface(&f, &["w", "v"], Recompute::Cheap);
    assert_eq!(inputs, ["d_y", "h", "x", "v"]);
    assert_eq!(outputs, ["y", "h"]);
}

#[test]
fn everything_needs_original_inputs_only() {
    let f = function(TWO_LAYERS.0, TWO_LAYERS.1, "y");
    let (inputs, outputs) = interface(&f, &["w", "v"], Recompute::Everything);
    assert_eq!(inputs, ["d_y", "x", "w", "v"]);
    assert_eq!(outputs, ["y"]);
}

/// Inputs of the backward function when these values are kept and all else is computed again.
fn inputs_keeping(f: &Function, wrt: &[&str], keep: &[&str]) -> Result<Vec<String>, Error> {
    let keep = keep.iter().map(|&name| name.to_owned()).collect();
    let options = Options { keep, ..options(wrt, Recompute::Everything) };
    let gradient = differentiate(f, &options)?;
    for f in [&gradient.forward, &gradient.backward] {
        assert_eq!(mil::verify_function(f), vec![]);
    }
    let given = names(&gradient.forward, &gradient.forward.body.outputs);
    let inputs = names(&gradient.backward, &gradient.backward.inputs);
    // What the forward function gives further is what the backward function takes.
    assert_eq!(given[0], "y");
    assert_eq!(given[1..], inputs[1..given.len()]);
    Ok(inputs)
}

#[test]
fn what_is_kept_is_given_and_nothing_before_it_is_computed_again() {
    let f = function(TWO_LAYERS.0, TWO_LAYERS.1, "y");
    let kept = |keep: &[&str]| inputs_keeping(&f, &["w", "v"], keep).unwrap();
    // From `h` there is a way to everything but the operands of the first product.
    assert_eq!(kept(&["h"]), ["d_y", "h", "x", "v"]);
    // The slope of silu needs `hf` itself, and `a` the second product.
    assert_eq!(kept(&["a", "hf"]), ["d_y", "hf", "a", "x", "v"]);
    assert_eq!(kept(&["a"]), ["d_y", "a", "x", "w", "v"]);
    // Nothing needs `wh` once `h` is there, and `y` at no time; an input is given anyway.
    assert_eq!(kept(&["h", "wh", "y", "x"]), ["d_y", "h", "x", "v"]);
}

#[test]
fn a_kept_name_that_is_no_value_is_refused() {
    let f = function(TWO_LAYERS.0, TWO_LAYERS.1, "y");
    let message = inputs_keeping(&f, &["w"], &["h", "hh"]).unwrap_err().to_string();
    assert_eq!(message, "function `main` has no value `hh` to keep");
}

#[test]
fn only_outputs_that_depend_on_a_wanted_input_have_a_cotangent() {
    let f = function(
        "tensor<fp32, [2]> x, tensor<fp32, [2]> w",
        "        tensor<fp32, [2]> a = exp(x = x);
        tensor<fp32, [2]> b = mul(x = w, y = x);
        tensor<bool, [2]> c = less(x = w, y = x);",
        "a, b, c",
    );
    let (inputs, _) = interface(&f, &["w"], Recompute::Cheap);
    assert_eq!(inputs, ["d_b", "x"]);
}

#[test]
fn inputs_with_one_cotangent_have_outputs_of_their_own() {
    let f = function(
        "tensor<fp32, [2]> x, tensor<fp32, [2]> y",
        "        tensor<fp32, [2]> z = add(x = x, y = y);",
        "z",
    );
    let (inputs, _) = interface(&f, &["x", "y"], Recompute::Cheap);
    assert_eq!(inputs, ["d_z"]);
}

#[test]
fn a_missing_rule_names_the_op_and_the_value() {
    let f = function(
        "tensor<fp32, [2]> x",
        "        tensor<int8, [2]> q = quantize(input = x, scale = fp32(0x1p-3), output_dtype = string(\"int8\"));
        tensor<fp32, [2]> y = dequantize(input = q, scale = fp32(0x1p-3));",
        "y",
    );
    let found = error(&f, &["x"]);
    assert_eq!(found, Error::NoRule { op: Op::Dequantize, value: "y".into() });
    assert_eq!(found.to_string(), "`y`: no gradient rule for dequantize");
}

#[test]
fn a_mode_without_a_rule_is_named() {
    let f = function(
        "tensor<fp32, [4]> x, tensor<int32, [2]> i, tensor<fp32, [2]> u",
        "        tensor<fp32, [4]> y = scatter(data = x, indices = i, updates = u, mode = string(\"max\"));",
        "y",
    );
    assert_eq!(error(&f, &["u"]).to_string(), "`y`: no gradient of scatter with mode \"max\"");
}

#[test]
fn an_input_without_influence_is_an_error_not_a_zero() {
    let body = "        tensor<fp32, [2]> a = floor(x = x);
        tensor<fp32, [2]> y = mul(x = a, y = w);";
    let f = function("tensor<fp32, [2]> x, tensor<fp32, [2]> w", body, "y");
    assert_eq!(error(&f, &["x"]), Error::NoInfluence { input: "x".into() });
    assert_eq!(interface(&f, &["w"], Recompute::Everything).0, ["d_y", "x"]);
}

#[test]
fn wanted_inputs_must_be_float_tensors_of_known_shape() {
    let f = function(
        "tensor<fp32, [2, ?]> x, tensor<int32, [2]> i, tensor<fp32, [2]> w",
        "        tensor<fp32, [2, ?]> y = exp(x = x);",
        "y",
    );
    assert!(matches!(error(&f, &["i"]), Error::NotFloat { .. }));
    assert!(matches!(error(&f, &["x"]), Error::UnknownShape { .. }));
    assert_eq!(error(&f, &[]), Error::NothingWanted);
    let message = error(&f, &["q"]).to_string();
    assert_eq!(message, "function `main` has no input `q`; its inputs are x, i, w");
}

#[test]
fn states_are_not_differentiated_through() {
    let f = function(
        "state<tensor<fp32, [2]>> s, tensor<fp32, [2]> x",
        "        write_state(input = s, data = x);
        tensor<fp32, [2]> v = read_state(input = s);
        tensor<fp32, [2]> y = mul(x = v, y = x);",
        "y",
    );
    assert_eq!(error(&f, &["x"]), Error::NoRule { op: Op::WriteState, value: "s".into() });

    let f = function(
        "state<tensor<fp32, [2]>> s, tensor<fp32, [2]> x",
        "        tensor<fp32, [2]> v = read_state(input = s);
        tensor<fp32, [2]> y = mul(x = v, y = x);",
        "y",
    );
    assert_eq!(interface(&f, &["x"], Recompute::Cheap).0, ["d_y", "v"]);
    let refused = differentiate(&f, &options(&["x"], Recompute::Everything)).unwrap_err();
    assert!(refused.to_string().starts_with("`v`: no gradient of read_state without a tap"));
    assert_eq!(inputs_keeping(&f, &["x"], &["v"]).unwrap(), ["d_y", "v"]);
}

#[test]
fn value_and_gradient_needs_a_scalar() {
    let f = function("tensor<fp32, [2]> x", "        tensor<fp32, [2]> y = exp(x = x);", "y");
    let found = value_and_gradient(&f, &["x".to_owned()]).unwrap_err().to_string();
    assert!(found.ends_with("found `y`: tensor<fp32, [2]>"), "{found}");
}

#[test]
fn names_of_the_function_do_not_disturb_those_of_the_result() {
    let f = function(
        "tensor<fp32, [2]> x",
        "        tensor<fp32, [2]> d_y = exp(x = x);
        tensor<fp32, [2]> d_x = sin(x = d_y);
        tensor<fp32, [2]> y = exp(x = d_x);",
        "y",
    );
    // Computed again, they make way.
    assert_eq!(interface(&f, &["x"], Recompute::Everything).0, ["d_y", "x"]);
    // As taps they cannot.
    let taken = differentiate(&f, &options(&["x"], Recompute::Nothing)).unwrap_err();
    assert_eq!(taken, Error::NameTaken("d_y".into()));
}

/// Ops that cotangents neither flow through nor stop at silently.
const WITHOUT_RULE: &[Op] = &[
    Op::ConstexprAffineDequantize,    // constants only
    Op::ConstexprBlockwiseShiftScale, // constants only
    Op::Quantize,                     // rounds away what a gradient would be
    Op::Dequantize,                   // its input is an integer and its scale a constant
    Op::ReadState,                    // gradients do not flow through time
    Op::WriteState,
    Op::ConstexprCast,                      // constants only
    Op::ConstexprLutToDense,                // constants only
    Op::ConstexprSparseToDense,             // constants only
    Op::ConstexprLutToSparse,               // constants only
    Op::ConstexprSparseBlockwiseShiftScale, // constants only
    Op::NonMaximumSuppression,              // what it keeps depends on its scores
    Op::Range1d,                            // its length depends on its ends
    // Nested blocks and lists.
    Op::Cond,
    Op::WhileLoop,
    Op::MakeList,
    Op::ListWrite,
    Op::ListRead,
    Op::ListGather,
    Op::ListScatter,
    Op::ListLength,
    Op::RandomCategorical, // what is drawn depends on the probabilities
    Op::Classify,
    // Places that are computed would need gradients of their own, and few programs train them.
    Op::Resample,
    Op::Affine,
    Op::CropResize,
];

#[test]
fn every_op_has_a_row_or_is_listed_without() {
    for spec in mil::OPS {
        let missing = differentiability(spec.op) == Differentiability::Missing;
        assert_eq!(missing, WITHOUT_RULE.contains(&spec.op), "{}", spec.name);
    }
}

#[test]
fn every_model_function_has_a_backward() {
    let config = models::Config::preset("tiny").unwrap();
    let shape = models::Shape { batch: 2, seq: 4 };
    for compute in [DataType::Fp32, DataType::Bf16] {
        let functions = [
            (models::embed(&config, shape, TokenMajor, compute).unwrap(), vec!["embedding"]),
            (
                models::layer(&config, shape, TokenMajor, compute).unwrap(),
                vec!["x", "attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down"],
            ),
            (
                models::head(&config, shape, TokenMajor, compute).unwrap(),
                vec!["x", "final_norm", "classifier"],
            ),
        ];
        for (f, wrt) in &functions {
            for recompute in [Recompute::Nothing, Recompute::Cheap, Recompute::Everything] {
                let (_, outputs) = interface(f, wrt, recompute);
                let taps = outputs.len() - f.body.outputs.len();
                assert!(recompute != Recompute::Everything || taps == 0);
            }
        }
        let (inputs, outputs) = interface(&functions[1].0, &functions[1].1, Recompute::Cheap);
        // q, k, v, softmax, attention, output projection, gate, up.
        assert_eq!(outputs.len(), 1 + 8, "{inputs:?}");
    }
}
