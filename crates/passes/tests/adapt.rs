//! Functions with low-rank updates.

use anemone_passes::adapt::{Error, Update, adapt};
use anemone_passes::autodiff;
use interp::{Array, Options, Rounding};
use mil::{DataType, Function, Op, Program};
use models::{Config, Layout, Shape};
use std::collections::BTreeMap;

type Values = BTreeMap<String, Array>;

fn function(inputs: &str, body: &[&str], output: &str) -> Function {
    let body: String = body.iter().map(|line| format!("        {line};\n")).collect();
    let text = format!(
        "program(1.3)\n{{\n    func main<ios18>({inputs}) {{\n{body}    }} -> ({output});\n}}\n"
    );
    let mut program = mil::parse(&text).unwrap();
    mil::verify(&program).unwrap();
    program.functions.remove(0)
}

fn update(parameter: &str, rank: usize, scale: f64) -> Update {
    Update { parameter: parameter.to_owned(), rank, scale, dropout: false }
}

const X_W: &str = "tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w";
const LINEAR: &[&str] = &["tensor<fp32, [2, 4]> y = linear(x = x, weight = w)"];

fn evaluate(function: &Function, values: &Values) -> Values {
    let inputs = function.inputs.iter().map(|&id| {
        let name = &function.value(id).name;
        (name.clone(), values[name].clone())
    });
    let program = Program::new(vec![function.clone()]);
    let options = Options { rounding: Rounding::None, ..Options::default() };
    interp::evaluate(&program, &function.name, &inputs.collect(), &options).unwrap().outputs
}

/// Every input by name, filled with numbers of ±1.
fn values(function: &Function) -> Values {
    let mut state = 1_u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    let mut of = |&id: &mil::ValueId| {
        let dims = function.ty(id).as_tensor().unwrap().fixed_dims().unwrap();
        let data = (0..dims.iter().product()).map(|_| draw()).collect();
        (function.value(id).name.clone(), Array::floats(DataType::Fp32, &dims, data))
    };
    function.inputs.iter().map(&mut of).collect()
}

/// W + scale·(B·A), or its transpose, like W.
fn merged(values: &Values, update: &Update, transposed: bool) -> Array {
    let [w, a, b] = [&update.parameter, &update.a(), &update.b()].map(|name| &values[name]);
    let (a_values, b_values, mut sum) = (a.to_f64s(), b.to_f64s(), w.to_f64s());
    let (width, columns) = (a.dims()[1], w.dims()[1]);
    for (at, sum) in sum.iter_mut().enumerate() {
        let (i, j) = (at / columns, at % columns);
        let (row, column) = if transposed { (j, i) } else { (i, j) };
        let products = (0..update.rank)
            .map(|r| b_values[row * update.rank + r] * a_values[r * width + column]);
        *sum += update.scale * products.sum::<f64>();
    }
    Array::floats(DataType::Fp32, w.dims(), sum)
}

fn assert_near(found: &Array, expected: &Array) {
    assert_eq!(found.dims(), expected.dims());
    for (a, b) in found.to_f64s().iter().zip(expected.to_f64s()) {
        // Everything is computed in f64, in another order.
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a}, not {b}");
    }
}

#[test]
fn an_update_is_a_product_beside_the_product() {
    let found = adapt(&function(X_W, LINEAR, "y"), &[update("w", 1, 0.5)]).unwrap();
    let names = |ids: &[mil::ValueId]| -> Vec<String> {
        ids.iter().map(|&id| found.value(id).name.clone()).collect()
    };
    assert_eq!(names(&found.inputs), ["x", "w", "w_lora_a", "w_lora_b"]);
    assert_eq!(names(&found.body.outputs), ["y"]);
    let ops: Vec<Op> = found.body.operations.iter().map(|o| o.op).collect();
    assert_eq!(ops, [Op::Linear, Op::Linear, Op::Const, Op::Mul, Op::Linear, Op::Add]);
    assert_eq!(found.ty(found.inputs[2]).to_string(), "tensor<fp32, [1, 3]>");
    assert_eq!(found.ty(found.inputs[3]).to_string(), "tensor<fp32, [4, 1]>");
}

#[test]
fn it_computes_what_the_merged_weight_does() {
    let bodies: [(&str, &[&str], bool); 3] = [
        (X_W, LINEAR, false),
        (
            "tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w",
            &["tensor<fp32, [2, 4]> y = matmul(x = x, y = w, transpose_x = bool(false), \
                transpose_y = bool(true))"],
            false,
        ),
        (
            "tensor<fp32, [2, 3]> x, tensor<fp32, [3, 4]> w",
            &["tensor<fp32, [2, 4]> y = matmul(x = x, y = w, transpose_x = bool(false), \
                transpose_y = bool(false))"],
            true,
        ),
    ];
    for (inputs, body, transposed) in bodies {
        let plain = function(inputs, body, "y");
        for scale in [1.0, 0.25] {
            let update = update("w", 2, scale);
            let adapted = adapt(&plain, std::slice::from_ref(&update)).unwrap();
            let mut values = values(&adapted);
            let found = evaluate(&adapted, &values);
            values.insert("w".into(), merged(&values, &update, transposed));
            assert_near(&found["y"], &evaluate(&plain, &values)["y"]);
        }
    }
}

#[test]
fn dropout_reaches_the_update_only() {
    let update = Update { dropout: true, ..update("w", 2, 1.0) };
    let adapted = adapt(&function(X_W, LINEAR, "y"), std::slice::from_ref(&update)).unwrap();
    let mut values = values(&adapted);
    let nothing = Array::floats(DataType::Fp32, &[2, 3], vec![0.0; 6]);
    values.insert("w_kept".into(), nothing);
    let found = evaluate(&adapted, &values);
    assert_near(&found["y"], &evaluate(&function(X_W, LINEAR, "y"), &values)["y"]);
}

/// A whole layer, and its gradient for the matrices of the update: dA = scale·Bᵀ·dW and
/// dB = scale·dW·Aᵀ, with dW the gradient of the merged weight.
#[test]
fn a_layer_and_its_gradients_are_those_of_merged_weights() {
    let tiny = Config::preset("tiny").unwrap();
    let config =
        Config { dim: 8, heads: 4, kv_heads: 2, head_dim: 2, hidden: 12, layers: 1, ..tiny };
    let shape = Shape { batch: 2, seq: 3 };
    let plain = models::layer(&config, shape, Layout::TokenMajor, DataType::Fp32).unwrap();
    let ports = ["wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down"];
    let updates = ports.map(|port| update(port, 2, 0.5));
    let adapted = adapt(&plain, &updates).unwrap();
    assert_eq!(adapted.inputs.len(), plain.inputs.len() + 14);
    let mut values = values(&adapted);

    let gradients = |function: &Function, wrt: Vec<String>, values: &Values| {
        let options = autodiff::Options { wrt, ..autodiff::Options::default() };
        let gradient = autodiff::differentiate(function, &options).unwrap();
        let mut all = evaluate(&gradient.forward, values);
        all.extend(values.clone());
        let y = all["y"].clone();
        all.insert("d_y".into(), y.clone());
        (y, evaluate(&gradient.backward, &all))
    };
    let wrt = updates.iter().flat_map(|u| [u.a(), u.b()]).collect();
    let (found, found_gradients) = gradients(&adapted, wrt, &values);
    for update in &updates {
        let whole = merged(&values, update, false);
        values.insert(update.parameter.clone(), whole);
    }
    let wrt = ports.map(str::to_owned).to_vec();
    let (expected, whole) = gradients(&plain, wrt, &values);
    assert_near(&found, &expected);
    for update in &updates {
        let dw = &whole[&format!("d_{}", update.parameter)];
        let [rows, columns] = dw.dims()[..] else { panic!("a matrix") };
        let dw = dw.to_f64s();
        let [a, b] = [update.a(), update.b()].map(|name| values[&name].to_f64s());
        let rank = update.rank;
        let da = (0..rank * columns).map(|at| {
            let (r, j) = (at / columns, at % columns);
            0.5 * (0..rows).map(|i| b[i * rank + r] * dw[i * columns + j]).sum::<f64>()
        });
        let da = Array::floats(DataType::Fp32, &[rank, columns], da.collect());
        assert_near(&found_gradients[&format!("d_{}", update.a())], &da);
        let db = (0..rows * rank).map(|at| {
            let (i, r) = (at / rank, at % rank);
            0.5 * (0..columns).map(|j| dw[i * columns + j] * a[r * columns + j]).sum::<f64>()
        });
        let db = Array::floats(DataType::Fp32, &[rows, rank], db.collect());
        assert_near(&found_gradients[&format!("d_{}", update.b())], &db);
    }
}

#[test]
fn what_cannot_be_adapted_is_named() {
    let plain = function(X_W, LINEAR, "y");
    let refused = |parameter: &str| adapt(&plain, &[update(parameter, 1, 1.0)]).unwrap_err();
    let expected = "function `main` has no product with `x` that could be adapted";
    assert_eq!(refused("x").to_string(), expected);
    assert!(matches!(refused("v"), Error::NoProduct { .. }));
    let inputs = "tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w, fp32 w_lora_a";
    let taken = adapt(&function(inputs, LINEAR, "y"), &[update("w", 1, 1.0)]).unwrap_err();
    assert_eq!(taken, Error::NameTaken("w_lora_a".into()));
}
