//! Rearranged pixels: views and copies, never the interpreter, with the interpreter's numbers.

mod common;

use common::{Random, devices, disagreement, inputs};
use mil::{Arg, DataType, Function, FunctionBuilder, Op, OpError, Opset, Program, Tensor, Type};
use runtime::{CompileOptions, Device};

/// The operation between two that compute, on x `[12, 4, 4, 6]`; or alone.
fn function(op: Op, dtype: DataType, alone: bool) -> Result<Function, OpError> {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let x = b.input("x", Type::tensor(dtype, &[12, 4, 4, 6]));
    let x = if alone { x } else { b.unary(Op::Square, x)? };
    let mut inputs: Vec<(&str, Arg)> = vec![("x", x.into())];
    let two = b.int(2);
    match op {
        Op::PixelShuffle => inputs.push(("upscale_factor", two.into())),
        Op::PixelUnshuffle => inputs.push(("downscale_factor", two.into())),
        Op::SpaceToBatch | Op::BatchToSpace => {
            let name = if op == Op::SpaceToBatch { "paddings" } else { "crops" };
            let margins = Tensor::int32s(&[1, 1, 0, 2]).reshaped(&[2, 2]).expect("four numbers");
            let margins = b.constant("margins", margins);
            let shape = b.ints(&[3, 2]);
            inputs.extend([("block_shape", shape.into()), (name, margins.into())]);
        }
        Op::Crop => {
            let (rows, columns) = (b.ints(&[1, 0]), b.ints(&[2, 1]));
            inputs.extend([("crop_height", rows.into()), ("crop_width", columns.into())]);
        }
        _ => inputs.push(("block_size", two.into())),
    }
    let y = b.op(op, op.name(), inputs)?;
    let y = if alone { y } else { b.add(y, y)? };
    Ok(b.finish(&[y]))
}

#[test]
fn rearranged_pixels_agree_with_the_interpreter_and_do_not_run_there() {
    let ops = [
        Op::Crop,
        Op::DepthToSpace,
        Op::SpaceToDepth,
        Op::PixelShuffle,
        Op::PixelUnshuffle,
        Op::SpaceToBatch,
        Op::BatchToSpace,
    ];
    for op in ops {
        for dtype in [DataType::Fp32, DataType::Fp16, DataType::Int32] {
            for alone in [false, true] {
                let function = function(op, dtype, alone).unwrap_or_else(|e| panic!("{e}"));
                let inputs = inputs(&function, &mut Random(5));
                let program = Program::new(vec![function]);
                for device in devices() {
                    let what = disagreement(&device, &program, "f", &inputs, &Default::default());
                    assert_eq!(what, None, "{} of {dtype}", op.name());
                    let executable = device.compile(&program, "f", &CompileOptions::default());
                    let executable = executable.unwrap_or_else(|e| panic!("{e}"));
                    let placement = executable.placement();
                    let moved = placement.iter().find(|p| p.op == op.name()).expect("it is there");
                    assert_ne!(moved.place, "cpu: interpreter", "{moved:?} of {dtype}");
                }
            }
        }
    }
}
