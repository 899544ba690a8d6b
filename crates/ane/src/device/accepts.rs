//! What goes into kernels.

use crate::target::Limits;
use mil::{DataType, Function, Op, Operation, Type, ValueId};
use passes::pack::Layout;

/// Kernels have at most this many axes. The compiler takes five in places; nothing that this
/// project cuts needs them.
const RANK: usize = 4;

/// Whether the engine's compiler takes an operation, from what others have compiled and
/// evaluated (ironmill's matrix, `ane-constraints.md` 1.6; the reference's own kernels).
pub(super) fn accepts(function: &Function, operation: &Operation) -> Result<(), String> {
    for &id in &operation.outputs {
        value(function, id, false)?;
    }
    for id in operation.operands() {
        value(function, id, true)?;
    }
    if !is_listed(operation.op) {
        return Err(format!("the engine is not known to run `{}`", operation.op.name()));
    }
    if operation.attributes.keys().any(|name| name != "name") {
        return Err("its parameters are attributes".into());
    }
    Ok(())
}

/// Whether a kernel can have a value. Operands of the listed ops that are no floats are shapes, axes
/// and flags, which are constants.
fn value(function: &Function, id: ValueId, is_operand: bool) -> Result<(), String> {
    let Type::Tensor(ty) = function.ty(id) else {
        return Err("it has an operand that is no tensor".into());
    };
    match ty.dtype {
        DataType::Fp16 => {}
        DataType::Int32 | DataType::Bool | DataType::String if is_operand => {}
        _ => return Err("it is not in fp16, which is all that the engine computes in".into()),
    }
    match ty.fixed_dims() {
        None => Err("its shape is not fixed".into()),
        Some(dims) if dims.len() > RANK => Err(format!("it has {} axes", dims.len())),
        Some(_) => Ok(()),
    }
}

fn is_listed(op: Op) -> bool {
    use Op::*;
    matches!(
        op,
        Add | Sub
            | Mul
            | RealDiv
            | Maximum
            | Minimum
            | Abs
            | Sign
            | Floor
            | Sqrt
            | Square
            | Exp
            | Pow
            | Rsqrt
            | Relu
            | Sigmoid
            | Tanh
            | Silu
            | Softmax
            | ReduceSum
            | ReduceMean
            | ReduceMax
            | ReduceMin
            | Matmul
            | Reshape
            | Transpose
            | Concat
            | SliceBySize
            | Split
            | Pad
    )
}

/// Whether a surface can be as large as this.
pub(super) fn fits(layout: &Layout, limits: &Limits, what: &str) -> Result<(), String> {
    let Layout { rows, columns, .. } = layout;
    if *columns > limits.max_width {
        let most = limits.max_width;
        return Err(format!("its {what} would have {columns} columns, the target allows {most}"));
    }
    if *rows > limits.max_channels {
        let most = limits.max_channels;
        return Err(format!("its {what} would have {rows} channels, the target allows {most}"));
    }
    Ok(())
}
