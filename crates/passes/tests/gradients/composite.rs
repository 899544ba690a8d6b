//! Whole functions: a transformer's layers, and the gradient of a loss.

use crate::harness::{Random, Values, compare, evaluate};
use anemone_passes::autodiff::value_and_gradient;
use interp::Array;
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Opset, Type, ValueId};

const TOKENS: usize = 3;
const DIM: usize = 4;

fn weight(b: &mut FunctionBuilder, name: &str, dims: &[usize]) -> ValueId {
    b.input(name, Type::tensor(DataType::Fp64, dims))
}

fn rms_norm(b: &mut FunctionBuilder, x: ValueId, scale: ValueId) -> Result<ValueId, OpError> {
    let square = b.mul(x, x)?;
    let mean = b.reduce(Op::ReduceMean, square, &[-1], true)?;
    let r = b.unary(Op::Rsqrt, mean)?;
    let x = b.mul(x, r)?;
    b.mul(x, scale)
}

/// Two heads whose queries share one key and value, as in grouped attention.
fn attention(b: &mut FunctionBuilder, x: ValueId, tag: usize) -> Result<ValueId, OpError> {
    let wq = weight(b, &format!("wq{tag}"), &[DIM, DIM]);
    let wk = weight(b, &format!("wk{tag}"), &[DIM / 2, DIM]);
    let wv = weight(b, &format!("wv{tag}"), &[DIM / 2, DIM]);
    let q = b.linear(x, wq)?;
    let q = b.reshape(q, &[TOKENS, 2, DIM / 2])?;
    let q = b.transpose(q, &[1, 0, 2])?;
    let k = b.linear(x, wk)?;
    let v = b.linear(x, wv)?;
    let scores = b.matmul(q, k, (false, true))?;
    let hidden: Vec<f64> =
        (0..TOKENS * TOKENS).map(|i| if i % TOKENS > i / TOKENS { -1e4 } else { 0.0 }).collect();
    let mask = mil::Tensor::from_f64s(DataType::Fp64, &[TOKENS, TOKENS], &hidden).unwrap();
    let mask = b.constant("mask", mask);
    let scores = b.add(scores, mask)?;
    let p = b.softmax(scores, -1)?;
    let z = b.matmul(p, v, (false, false))?;
    let z = b.transpose(z, &[1, 0, 2])?;
    b.reshape(z, &[TOKENS, DIM])
}

fn swiglu(b: &mut FunctionBuilder, x: ValueId, tag: usize) -> Result<ValueId, OpError> {
    let [gate, up] = ["gate", "up"].map(|name| weight(b, &format!("{name}{tag}"), &[6, DIM]));
    let down = weight(b, &format!("down{tag}"), &[DIM, 6]);
    let gate = b.linear(x, gate)?;
    let gate = b.unary(Op::Silu, gate)?;
    let up = b.linear(x, up)?;
    let hidden = b.mul(gate, up)?;
    b.linear(hidden, down)
}

/// Two layers of norm, attention, norm and gated network, with residuals.
fn layers(b: &mut FunctionBuilder) -> Result<ValueId, OpError> {
    let mut x = weight(b, "x", &[TOKENS, DIM]);
    for tag in 0..2 {
        let scale = weight(b, &format!("norm{tag}"), &[DIM]);
        let n = rms_norm(b, x, scale)?;
        let z = attention(b, n, tag)?;
        x = b.add(x, z)?;
        let scale = weight(b, &format!("ffn_norm{tag}"), &[DIM]);
        let n = rms_norm(b, x, scale)?;
        let z = swiglu(b, n, tag)?;
        x = b.add(x, z)?;
    }
    Ok(x)
}

fn random_inputs(f: &Function, random: &mut Random) -> (Values, Vec<String>) {
    let mut values = Values::new();
    let mut wanted = vec![];
    for &id in &f.inputs {
        let value = f.value(id);
        let dims = value.ty.as_tensor().and_then(|t| t.fixed_dims()).unwrap();
        let elements = (0..dims.iter().product()).map(|_| random.between(-1.0, 1.0)).collect();
        values.insert(value.name.clone(), Array::floats(DataType::Fp64, &dims, elements));
        wanted.push(value.name.clone());
    }
    (values, wanted)
}

#[test]
fn two_transformer_layers_have_the_gradient_of_finite_differences() {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let y = layers(&mut b).unwrap();
    b.rename(y, "y");
    let f = b.finish(&[y]);
    let mut random = Random::new("layers");
    let (values, wanted) = random_inputs(&f, &mut random);
    assert_eq!(wanted.len(), 1 + 2 * 8);
    compare(&f, &values, &wanted, &mut random).unwrap();
}

#[test]
fn value_and_gradient_gives_both() {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let y = layers(&mut b).unwrap();
    let square = b.mul(y, y).unwrap();
    let loss = b.reduce(Op::ReduceMean, square, &[0, 1], false).unwrap();
    b.rename(loss, "loss");
    let largest = b.reduce(Op::ReduceMax, y, &[0, 1], false).unwrap();
    b.rename(largest, "largest");
    let f = b.finish(&[loss, largest]);
    let mut random = Random::new("loss");
    let (values, wanted) = random_inputs(&f, &mut random);

    let both = value_and_gradient(&f, &wanted).unwrap();
    assert_eq!(mil::verify_function(&both), vec![]);
    let names: Vec<&str> =
        both.body.outputs.iter().map(|&id| both.value(id).name.as_str()).collect();
    let mut expected = vec!["loss".to_owned(), "largest".to_owned()];
    expected.extend(wanted.iter().map(|name| format!("d_{name}")));
    assert_eq!(names, expected);

    let plain = evaluate(&f, &values).unwrap();
    let found = evaluate(&both, &values).unwrap();
    assert_eq!(plain["loss"], found["loss"]);
    assert_eq!(plain["largest"], found["largest"]);
    // Along a random direction, the loss changes as the gradient says.
    let mut along = 0.0;
    let (mut ahead, mut behind) = (values.clone(), values.clone());
    for name in &wanted {
        let x = &values[name];
        let direction: Vec<f64> = (0..x.count()).map(|_| random.between(-1.0, 1.0)).collect();
        let gradient = found[&format!("d_{name}")].to_f64s();
        along += direction.iter().zip(&gradient).map(|(d, g)| d * g).sum::<f64>();
        let moved = |h: f64| {
            let elements = x.to_f64s().iter().zip(&direction).map(|(x, d)| x + h * d).collect();
            Array::floats(x.dtype(), x.dims(), elements)
        };
        ahead.insert(name.clone(), moved(1e-5));
        behind.insert(name.clone(), moved(-1e-5));
    }
    let loss = |values: &Values| evaluate(&f, values).unwrap()["loss"].to_f64s()[0];
    let difference = (loss(&ahead) - loss(&behind)) / 2e-5;
    assert!((along - difference).abs() < 1e-6 * (1.0 + along.abs()), "{along} {difference}");
}

#[test]
fn the_gradient_of_a_gradient_is_the_second_derivative() {
    // y = Σ x³, so d_x = 3x² and its derivative along d is 6x·d.
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp64, &[3]));
    let three = b.float(DataType::Fp64, 3.0);
    let cube = b.binary(Op::Pow, x, three).unwrap();
    let y = b.reduce(Op::ReduceSum, cube, &[0], false).unwrap();
    b.rename(y, "y");
    let first = value_and_gradient(&b.finish(&[y]), &["x".to_owned()]).unwrap();

    let options = anemone_passes::autodiff::Options { wrt: vec!["x".into()], ..Default::default() };
    let mut gradient_only = first.clone();
    gradient_only.body.outputs.remove(0);
    let second =
        anemone_passes::autodiff::differentiate(&gradient_only, &options).unwrap().backward;
    let x = Array::floats(DataType::Fp64, &[3], vec![0.5, -1.0, 2.0]);
    let d = Array::floats(DataType::Fp64, &[3], vec![1.0, 10.0, 100.0]);
    let found = evaluate(&second, &Values::from([("x".into(), x), ("d_d_x".into(), d)])).unwrap();
    assert_eq!(found["d_x"].to_f64s(), [3.0, -60.0, 1200.0]);
}

#[test]
fn powers_with_a_constant_exponent_have_a_slope_at_zero() {
    for (exponent, slope) in [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 0.0)] {
        let mut b = FunctionBuilder::new("main", Opset::Ios18);
        let x = b.input("x", Type::tensor(DataType::Fp64, &[]));
        let exponent = b.float(DataType::Fp64, exponent);
        let y = b.binary(Op::Pow, x, exponent).unwrap();
        b.rename(y, "y");
        let both = value_and_gradient(&b.finish(&[y]), &["x".to_owned()]).unwrap();
        let zero = Values::from([("x".into(), Array::floats(DataType::Fp64, &[], vec![0.0]))]);
        assert_eq!(evaluate(&both, &zero).unwrap()["d_x"].to_f64s(), [slope]);
    }
}
