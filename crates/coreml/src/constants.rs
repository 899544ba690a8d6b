//! Where constants are: in the program or in a weight file.

use crate::Error;
use mil::{
    Arg, BlobRef, BlobWriter, Block, DataType, Function, Literal, Op, Operand, Opset, Program,
    Weights, element_count,
};
use std::collections::HashMap;
use std::io::{Seek, Write};

/// Tensors of fewer elements stay in the program.
const FEWEST: usize = 10;

/// Parameters with more elements than this are data, whatever their type.
const MOST_OF_A_PARAMETER: usize = 1 << 12;

/// Whether a tensor belongs in a weight file, as Apple's converter sees it.
fn is_weight(dtype: DataType, count: usize, opset: Opset) -> bool {
    use DataType::*;
    let stored = match dtype {
        Fp16 | Fp32 | Uint8 | Int8 => true,
        Int16 | Uint16 | Int32 | Uint32 | Int4 | Uint1 | Uint2 | Uint3 | Uint4 | Uint6 => {
            opset >= Opset::Ios18
        }
        // No converter makes these, but the format has them.
        Bf16 | Fp8E4M3Fn | Fp8E5M2 => true,
        Bool | String | Fp64 | Int64 | Uint64 => false,
    };
    stored && count >= FEWEST
}

/// Calls `f` on every constant of a program's operations, not on those inside others.
pub(crate) fn each(
    program: &mut Program,
    f: &mut dyn FnMut(&mut Literal, Opset) -> Result<(), Error>,
) -> Result<(), Error> {
    for function in &mut program.functions {
        let opset = function.opset;
        in_block(&mut function.body, &mut |literal| f(literal, opset))?;
    }
    Ok(())
}

fn in_block(
    block: &mut Block,
    f: &mut dyn FnMut(&mut Literal) -> Result<(), Error>,
) -> Result<(), Error> {
    for operation in &mut block.operations {
        operation.literals_mut().try_for_each(&mut *f)?;
        for block in &mut operation.blocks {
            in_block(block, f)?;
        }
    }
    Ok(())
}

/// Whether any constant will be in a weight file when the program is written.
pub(crate) fn has_weights(program: &Program) -> bool {
    let mut found = false;
    let mut look = |literal: &Literal, opset: Opset| {
        found |= match literal {
            Literal::Blob(_) => true,
            Literal::Tensor(t) => is_weight(t.dtype(), t.count(), opset),
            _ => false,
        };
    };
    for function in &program.functions {
        function.body.visit(&mut |operation| {
            operation.literals().for_each(|literal| look(literal, function.opset));
        });
    }
    found
}

/// The program with all its weights in one file, which is written on the way, record by record.
/// What several constants share is in it once. `path` is what the program is to call the file.
pub(crate) fn store<W: Write + Seek>(
    program: &Program,
    weights: &Weights,
    path: &str,
    writer: &mut BlobWriter<W>,
) -> Result<Program, Error> {
    let mut program = program.clone();
    // By file, position and size.
    let mut written: HashMap<(String, u64, usize), u64> = HashMap::new();
    each(&mut program, &mut |literal, opset| {
        let blob = match literal {
            Literal::Blob(blob) => blob.clone(),
            Literal::Tensor(t) if is_weight(t.dtype(), t.count(), opset) => {
                let (dtype, dims) = (t.dtype(), t.dims().to_vec());
                let offset = writer.push(t)?;
                *literal = Literal::Blob(BlobRef { dtype, dims, path: path.to_owned(), offset });
                return Ok(());
            }
            _ => return Ok(()),
        };
        let count = element_count(&blob.dims).unwrap_or(usize::MAX);
        let bytes = blob.dtype.packed_bytes(count).unwrap_or(usize::MAX);
        let key = (blob.path.clone(), blob.offset, bytes);
        let offset = match written.get(&key) {
            Some(offset) => *offset,
            None => {
                let offset = writer.copy(weights, &blob)?;
                written.insert(key, offset);
                offset
            }
        };
        *literal = Literal::Blob(BlobRef { path: path.to_owned(), offset, ..blob });
        Ok(())
    })?;
    Ok(program)
}

/// Puts into the program what it needs to know while it is compiled but has in weight files:
/// short vectors of integers, such as the sizes of a split. Gives their number.
///
/// Converters store any vector of ten or more elements in the file, parameters too.
///
/// # Errors
/// If a file cannot be read.
pub fn parameters_in_place(program: &mut Program, weights: &Weights) -> Result<usize, Error> {
    let mut moved = 0;
    for function in &mut program.functions {
        let parameters = parameters(function);
        in_constants(&mut function.body, &parameters, &mut |literal| {
            if let Literal::Blob(blob) = literal
                && is_parameter(blob)
            {
                *literal = Literal::Tensor(weights.load(blob)?);
                moved += 1;
            }
            Ok(())
        })?;
    }
    Ok(moved)
}

fn is_parameter(blob: &BlobRef) -> bool {
    let count = element_count(&blob.dims).unwrap_or(usize::MAX);
    blob.dtype.is_int() && blob.dtype.bits() >= 16 && count <= MOST_OF_A_PARAMETER
}

/// Whether each value is bound to a parameter that takes integers.
fn parameters(function: &Function) -> Vec<bool> {
    let mut found = vec![false; function.values.len()];
    function.body.visit(&mut |operation| {
        for (name, arg) in &operation.inputs {
            let spec = operation.op.spec().param(name);
            let is_data = matches!(name.as_str(), "x" | "y" | "data" | "indices" | "weight");
            if spec.is_none() || is_data {
                continue;
            }
            for operand in arg.operands() {
                if let Operand::Value(id) = operand
                    && let Some(slot) = found.get_mut(id.index())
                {
                    *slot = true;
                }
            }
        }
    });
    found
}

/// Calls `f` on the constants that are parameters: written in place, or values of which
/// `parameters` says so.
fn in_constants(
    block: &mut Block,
    parameters: &[bool],
    f: &mut dyn FnMut(&mut Literal) -> Result<(), Error>,
) -> Result<(), Error> {
    for operation in &mut block.operations {
        let output = operation.outputs.first().and_then(|id| parameters.get(id.index()));
        if operation.op == Op::Const
            && output == Some(&true)
            && let Some(val) = operation.attributes.get_mut("val")
        {
            f(val)?;
        }
        for (name, arg) in &mut operation.inputs {
            let is_data = matches!(name.as_str(), "x" | "y" | "data" | "indices" | "weight");
            if let Arg::One(Operand::Literal(literal)) = arg
                && !is_data
            {
                f(literal)?;
            }
        }
        for block in &mut operation.blocks {
            in_constants(block, parameters, f)?;
        }
    }
    Ok(())
}
