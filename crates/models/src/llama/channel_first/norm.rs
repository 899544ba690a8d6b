//! Norms: of the residual stream in fp32, and of query and key heads in the compute type.

use crate::Config;
use crate::llama::parts::gain;
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};

/// x / √(mean(x²) + ε) · gain over the channels, in fp32; x: `[1, D, 1, T]`, weight: `[D]`.
pub(super) fn rms_norm(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
    weight: ValueId,
) -> Result<ValueId, OpError> {
    let square = b.mul(x, x)?;
    let mean = b.reduce(Op::ReduceMean, square, &[1], true)?; // [1, 1, 1, T]
    let epsilon = b.float(DataType::Fp32, config.norm_eps);
    let inputs = [("x", mean.into()), ("epsilon", epsilon.into())];
    let scale = b.op(Op::Rsqrt, "rsqrt", inputs)?;
    let x = b.mul(x, scale)?;
    let gain = gain(b, config, weight)?;
    let dims = b.dims(gain);
    let gain = b.reshape(gain, &[1, dims[0], 1, 1])?;
    b.mul(x, gain)
}

/// The same over the elements of every head, in the compute type; x: `[1, H, E, T]`, weight:
/// `[E]` fp32.
///
/// In fp16 no fixed scale serves: 128 squares of 200 sum to 5·10⁶ where the engine's sums end at
/// 32,768, and the square of 0.01 is one of the steps next to zero. But the result does not
/// depend on a factor of x if ε takes its square, so every head is first brought to a size near
/// 1: u = x·t with t = 64/(4·s), s = ⌊Σ|x|/4⌋ + 1. Then |u| ≤ 64, and
///
/// - the sum in s stays below 32,768 up to |x| = 1,000 for 128 elements;
/// - Σu² ≤ 64², and as soon as Σ|x| ≥ 4 it is above 32²/E, so that mean(u²) is a normal fp16
///   number; below, t is 16, and squares are normal from |x| = 0.0005 on;
/// - what stands for ε, (t·√ε)², is at most 256·ε.
///
/// The floor makes t a constant to autodiff: the derivative of the result by t is zero exactly,
/// and following it would be work for rounding errors.
pub(super) fn head_norm(
    b: &mut FunctionBuilder,
    x: ValueId,
    weight: ValueId,
    epsilon: f64,
) -> Result<ValueId, OpError> {
    let compute = b.dtype(x);
    let width = b.dims(x)[2];
    let quarter = b.scale(x, 0.25)?;
    let size = b.unary(Op::Abs, quarter)?;
    let size = b.reduce(Op::ReduceSum, size, &[2], true)?; // [1, H, 1, T]
    let size = b.unary(Op::Floor, size)?;
    let one = b.float(compute, 1.0);
    let size = b.add(size, one)?;
    let most = b.float(compute, 64.0);
    let factor = b.binary(Op::RealDiv, most, size)?;

    let u = b.mul(quarter, factor)?;
    let square = b.mul(u, u)?;
    let sum = b.reduce(Op::ReduceSum, square, &[2], true)?;
    let mean = b.scale(sum, 1.0 / width as f64)?;
    // u is x/4 · factor, so ε takes (factor/4)².
    let epsilon = b.scale(factor, epsilon.sqrt() / 4.0)?;
    let epsilon = b.mul(epsilon, epsilon)?;
    let mean = b.add(mean, epsilon)?;
    let exponent = b.float(compute, -0.5);
    let scale = b.binary(Op::Pow, mean, exponent)?;
    let u = b.mul(u, scale)?;
    let weight = b.cast(weight, compute)?;
    let weight = b.reshape(weight, &[1, 1, width, 1])?;
    b.mul(u, weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interp::{Array, Options, Rounding};
    use mil::{Function, Opset, Program, Type};
    use passes::autodiff;
    use std::collections::BTreeMap;

    /// Head dim, and four heads of one token that differ in size and shape.
    const WIDTH: usize = 128;

    fn head_norm_of(epsilon: f64) -> Function {
        let mut b = FunctionBuilder::new("norm", Opset::Ios18);
        let x = b.input("x", Type::tensor(DataType::Fp16, &[1, 4, WIDTH, 1]));
        let weight = b.input("weight", Type::tensor(DataType::Fp32, &[WIDTH]));
        let y = head_norm(&mut b, x, weight, epsilon).expect("the shapes fit");
        b.rename(y, "y");
        b.finish(&[y])
    }

    /// All that is given, by name.
    fn evaluate(
        function: &Function,
        inputs: &[(&str, &Array)],
        rounding: Rounding,
    ) -> BTreeMap<String, Array> {
        let inputs = inputs.iter().map(|&(name, array)| (name.to_owned(), array.clone()));
        let inputs = inputs.filter(|(name, _)| function.input(name).is_some()).collect();
        let options = Options { rounding, ..Options::default() };
        let program = Program::new(vec![function.clone()]);
        let outputs = interp::evaluate(&program, &function.name, &inputs, &options);
        outputs.expect("it can be evaluated").outputs.into_iter().collect()
    }

    /// In [−1, 1), and never near 0.
    fn pattern(i: usize) -> f64 {
        let v = (i * 37 % 101) as f64 / 50.5 - 1.0;
        if v.abs() < 0.1 { 0.5 } else { v }
    }

    #[test]
    fn heads_of_any_size_are_normalized_in_fp16() {
        for epsilon in [1e-6, 1e-5] {
            let heads: [&dyn Fn(usize) -> f64; 4] = [
                &|_| 200.0,
                // One element rules.
                &|i| if i == 5 { -200.0 } else { 0.01 * pattern(i) },
                &|i| 0.017 * pattern(i),
                &|i| 3.0 * pattern(i),
            ];
            let cells = (0..4 * WIDTH).map(|i| heads[i / WIDTH](i % WIDTH)).collect();
            let x = Array::floats(DataType::Fp16, &[1, 4, WIDTH, 1], cells);
            // As fp16 holds it: what the input is rounded to is not the norm's doing.
            let x = Array::floats(
                DataType::Fp16,
                x.dims(),
                x.to_f64s().iter().map(|&v| f64::from(half(v))).collect(),
            );
            let weight = (0..WIDTH).map(|i| 1.0 + 0.5 * pattern(i)).collect();
            let weight = Array::floats(DataType::Fp32, &[WIDTH], weight);
            let d_y = (0..4 * WIDTH).map(|i| pattern(i * 3 + 1)).collect();
            let d_y = Array::floats(DataType::Fp16, x.dims(), d_y);
            let inputs = [("x", &x), ("weight", &weight), ("d_y", &d_y)];

            let function = head_norm_of(epsilon);
            let keep = vec![];
            let wrt = vec!["x".to_owned(), "weight".to_owned()];
            let recompute = autodiff::Recompute::Everything;
            let options = autodiff::Options { wrt, recompute, keep, ..Default::default() };
            let gradient = autodiff::differentiate(&function, &options);
            let backward = gradient.expect("every op has a rule").backward;

            // Against the formula, head by head.
            let (xs, ws, ds) = (x.to_f64s(), weight.to_f64s(), d_y.to_f64s());
            let (mut y, mut d_x) = (vec![], vec![]);
            for head in 0..4 {
                let x = &xs[head * WIDTH..][..WIDTH];
                let mean = x.iter().map(|v| v * v).sum::<f64>() / WIDTH as f64;
                let scale = 1.0 / (mean + epsilon).sqrt();
                y.extend((0..WIDTH).map(|i| x[i] * scale * ws[i]));
                let g: Vec<f64> = (0..WIDTH).map(|i| ds[head * WIDTH + i] * ws[i]).collect();
                let along: f64 = g.iter().zip(x).map(|(g, x)| g * x).sum();
                let along = along * scale.powi(3) / WIDTH as f64;
                d_x.extend((0..WIDTH).map(|i| g[i] * scale - x[i] * along));
            }
            let exact = evaluate(&function, &inputs, Rounding::None);
            let exact_back = evaluate(&backward, &inputs, Rounding::None);
            let rounded = evaluate(&function, &inputs, Rounding::Declared);
            let rounded_back = evaluate(&backward, &inputs, Rounding::Declared);
            for head in 0..4 {
                let error = |found: &Array, truth: &[f64]| {
                    let (found, at) = (found.to_f64s(), head * WIDTH);
                    let truth = &truth[at..][..WIDTH];
                    let size = truth.iter().map(|v| v * v).sum::<f64>().sqrt();
                    let off = found[at..].iter().zip(truth).map(|(a, b)| (a - b).powi(2));
                    off.sum::<f64>().sqrt() / size
                };
                // √ε and 1/E are constants of fp16, off by 2⁻¹² and not at all.
                let fixed = [error(&exact["y"], &y), error(&exact_back["d_x"], &d_x)];
                assert!(fixed.iter().all(|&e| e < 1e-3), "head {head}: {fixed:?}");
                // Some eight roundings of 2⁻¹² on average; squares and sums halve in the root.
                let fp16 = [error(&rounded["y"], &y), error(&rounded_back["d_x"], &d_x)];
                assert!(fp16.iter().all(|&e| e < 3e-3), "head {head}: {fp16:?}");
            }
        }
    }

    #[test]
    fn no_value_on_the_way_leaves_what_the_engine_can_sum() {
        let mut function = head_norm_of(1e-6);
        let floats = |f: &Function, id: ValueId| {
            f.ty(id).as_tensor().is_some_and(|t| t.dtype == DataType::Fp16)
        };
        let results = function.body.operations.iter().filter(|o| o.op != Op::Const);
        let all: Vec<ValueId> =
            results.map(|o| o.outputs[0]).filter(|&id| floats(&function, id)).collect();
        function.body.outputs = all;
        for size in [0.0, 1e-7, 0.01, 1.0, 200.0, 1000.0] {
            let x = vec![size; 4 * WIDTH];
            let x = Array::floats(DataType::Fp16, &[1, 4, WIDTH, 1], x);
            let weight = Array::floats(DataType::Fp32, &[WIDTH], vec![1.0; WIDTH]);
            let inputs = [("x", &x), ("weight", &weight)];
            for (name, array) in evaluate(&function, &inputs, Rounding::Declared) {
                for v in array.to_f64s() {
                    assert!(v.abs() < 32_768.0, "x of {size}: `{name}` has {v}");
                }
            }
        }
    }

    /// The nearest fp16 number.
    fn half(v: f64) -> f32 {
        let tensor = mil::Tensor::from_f64s(DataType::Fp16, &[1], &[v]).expect("one element");
        tensor.to_f64s()[0] as f32
    }
}
