//! Kernels of the published micro-benchmarks.

use super::products::{begin, file, product};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Opset, Type};

/// Convolutions of width 1 in a row over `[1, channels, height, width]`. The weights of the
/// benchmark that is called `inmem_peak` are in one file with records that all point to its
/// beginning, so that they are the same: `shared`.
///
/// # Errors
/// If a size is zero.
pub fn conv_chain(
    channels: usize,
    [height, width]: [usize; 2],
    depth: usize,
    shared: bool,
) -> Result<Function, OpError> {
    let mut b = FunctionBuilder::new("chain", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp16, &[1, channels, height, width]));
    let dims = [channels, channels, 1, 1];
    let mut weight = file(&mut b, "w0", &dims);
    let mut y = x;
    for i in 0..depth {
        if i > 0 && !shared {
            weight = file(&mut b, &format!("w{i}"), &dims);
        }
        y = b.op(Op::Conv, "conv", [("x", y.into()), ("weight", weight.into())])?;
    }
    Ok(b.finish(&[y]))
}

/// One convolution of width 1.
///
/// # Errors
/// If a size is zero.
pub fn single_conv(inner: usize, out: usize, width: usize) -> Result<Function, OpError> {
    let (mut b, x) = begin("conv", inner, width);
    let y = super::products::conv(&mut b, "w", x, out)?;
    Ok(b.finish(&[y]))
}

/// One product of square matrices, both inputs, in and out of fp32 as the benchmark has it.
///
/// # Errors
/// If the size is zero.
pub fn square_product(size: usize) -> Result<Function, OpError> {
    let mut b = FunctionBuilder::new("matmul", Opset::Ios18);
    let mut operands = vec![];
    for name in ["a", "b"] {
        let x = b.input(name, Type::tensor(DataType::Fp32, &[1, 1, size, size]));
        operands.push(b.cast(x, DataType::Fp16)?);
    }
    let y = b.matmul(operands[0], operands[1], (false, false))?;
    let y = b.cast(y, DataType::Fp32)?;
    Ok(b.finish(&[y]))
}

/// One product by weights beside the activations.
///
/// # Errors
/// If a size is zero.
pub fn packed_product(inner: usize, out: usize, width: usize) -> Result<Function, OpError> {
    product("product", inner, out, width)
}
