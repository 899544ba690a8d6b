//! Kernels that are little more than products with weights.

use super::Sizes;
use mil::{
    BlobRef, DataType, Function, FunctionBuilder, Literal, Op, OpError, Opset, Type, ValueId,
};

pub(super) type Built = Result<ValueId, OpError>;

/// A kernel with one fp16 input.
pub(super) fn begin(name: &str, channels: usize, columns: usize) -> (FunctionBuilder, ValueId) {
    let mut b = FunctionBuilder::new(name, Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp16, &[1, channels, 1, columns]));
    (b, x)
}

/// A block of rows and columns of `[1, C, 1, S]`.
pub(super) fn block(
    b: &mut FunctionBuilder,
    x: ValueId,
    rows: (usize, usize),
    columns: (usize, usize),
) -> Built {
    let begin = b.ints(&[0, rows.0 as i64, 0, columns.0 as i64]);
    let size = b.ints(&[1, rows.1 as i64, 1, columns.1 as i64]);
    let inputs = [("x", x.into()), ("begin", begin.into()), ("size", size.into())];
    b.op(Op::SliceBySize, "slice", inputs)
}

/// Weights `[1, I, 1, O]` beside activations `[1, I, 1, S]`: `[1, O, 1, S]`. The pipeline
/// transposes the activations, multiplies, and transposes back.
pub(super) fn dynamic(b: &mut FunctionBuilder, x: ValueId, w: ValueId) -> Built {
    let (dims, out) = (b.dims(x), b.dims(w)[3]);
    let x = b.reshape(x, &[1, 1, dims[1], dims[3]])?;
    let x = b.transpose(x, &[0, 1, 3, 2])?;
    let w = b.reshape(w, &[1, 1, dims[1], out])?;
    let y = b.matmul(x, w, (false, false))?;
    let y = b.transpose(y, &[0, 1, 3, 2])?;
    b.reshape(y, &[1, out, 1, dims[3]])
}

/// One product: S columns of activations, then the weight.
pub(super) fn product(
    name: &str,
    inner: usize,
    out: usize,
    seq: usize,
) -> Result<Function, OpError> {
    let (mut b, input) = begin(name, inner, seq + out);
    let x = block(&mut b, input, (0, inner), (0, seq))?;
    let w = block(&mut b, input, (0, inner), (seq, out))?;
    let y = dynamic(&mut b, x, w)?;
    Ok(b.finish(&[y]))
}

/// The sum of two products, for gradients that come from two sides.
pub(super) fn products_sum(
    name: &str,
    inner: usize,
    out: usize,
    seq: usize,
) -> Result<Function, OpError> {
    let (mut b, input) = begin(name, inner, 2 * seq + 2 * out);
    let mut sum = None;
    for i in 0..2 {
        let x = block(&mut b, input, (0, inner), (i * seq, seq))?;
        let w = block(&mut b, input, (0, inner), (2 * seq + i * out, out))?;
        let y = dynamic(&mut b, x, w)?;
        sum = Some(match sum {
            None => y,
            Some(first) => b.add(first, y)?,
        });
    }
    let sum: Vec<ValueId> = sum.into_iter().collect();
    Ok(b.finish(&sum))
}

/// `ffnFused`: both products, the gate, the product back and the residual.
pub(super) fn ffn_forward(s: &Sizes) -> Result<Function, OpError> {
    let (d, f, t) = (s.dim, s.hidden, s.seq);
    let (mut b, input) = begin("ffnFused", d, 2 * t + 3 * f);
    let normalized = block(&mut b, input, (0, d), (0, t))?;
    let x = block(&mut b, input, (0, d), (t, t))?;
    let weight = |b: &mut FunctionBuilder, i: usize| block(b, input, (0, d), (2 * t + i * f, f));
    let (w1, w3, w2) = (weight(&mut b, 0)?, weight(&mut b, 1)?, weight(&mut b, 2)?);
    let h1 = dynamic(&mut b, normalized, w1)?;
    let h3 = dynamic(&mut b, normalized, w3)?;
    let gate = gate(&mut b, h1, h3)?;
    let w2 = b.reshape(w2, &[1, 1, d, f])?;
    let w2 = b.transpose(w2, &[0, 1, 3, 2])?;
    let w2 = b.reshape(w2, &[1, f, 1, d])?;
    let out = dynamic(&mut b, gate, w2)?;
    let out = b.scale(out, 0.2)?;
    let out = b.add(x, out)?;
    let all = b.concat(&[out, h1, h3, gate], 1)?;
    Ok(b.finish(&[all]))
}

/// `ffnBwdW13t`.
pub(super) fn ffn_backward(s: &Sizes) -> Result<Function, OpError> {
    products_sum("ffnBwdW13t", s.hidden, s.dim, s.seq)
}

/// silu(h1)·h3.
fn gate(b: &mut FunctionBuilder, h1: ValueId, h3: ValueId) -> Built {
    let sigmoid = b.unary(Op::Sigmoid, h1)?;
    let silu = b.mul(h1, sigmoid)?;
    b.mul(silu, h3)
}

/// A constant of fp16 in a weight file.
pub(super) fn file(b: &mut FunctionBuilder, name: &str, dims: &[usize]) -> ValueId {
    let path = format!("@model_path/weights/{name}.bin");
    let blob = BlobRef { dtype: DataType::Fp16, dims: dims.to_vec(), path, offset: 64 };
    b.constant(name, Literal::Blob(blob))
}

/// A convolution of width 1 with constant weights: `[1, out, 1, S]`.
pub(super) fn conv(b: &mut FunctionBuilder, name: &str, x: ValueId, out: usize) -> Built {
    let inner = b.dims(x)[1];
    let weight = file(b, name, &[out, inner, 1, 1]);
    b.op(Op::Conv, name, [("x", x.into()), ("weight", weight.into())])
}

/// x / √(mean(x²) + ε) · weight over the channels, all in fp16.
pub(super) fn rms_norm(b: &mut FunctionBuilder, name: &str, x: ValueId) -> Built {
    let channels = b.dims(x)[1];
    let square = b.mul(x, x)?;
    let sum = b.reduce(Op::ReduceSum, square, &[1], true)?;
    let mean = b.scale(sum, 1.0 / channels as f64)?;
    let epsilon = b.float(DataType::Fp16, 1e-5);
    let mean = b.add(mean, epsilon)?;
    let exponent = b.float(DataType::Fp16, -0.5);
    let scale = b.binary(Op::Pow, mean, exponent)?;
    let x = b.mul(x, scale)?;
    let weight = file(b, name, &[1, channels, 1, 1]);
    b.mul(x, weight)
}

/// `fwdFFN` of the older pipeline.
pub(super) fn static_ffn(s: &Sizes) -> Result<Function, OpError> {
    let (mut b, x) = begin("fwdFFN", s.dim, s.seq);
    let normalized = rms_norm(&mut b, "rms2", x)?;
    let h1 = conv(&mut b, "w1", normalized, s.hidden)?;
    let h3 = conv(&mut b, "w3", normalized, s.hidden)?;
    let gate = gate(&mut b, h1, h3)?;
    let out = conv(&mut b, "w2", gate, s.dim)?;
    let all = b.concat(&[out, h1, h3, gate, normalized], 1)?;
    Ok(b.finish(&[all]))
}
