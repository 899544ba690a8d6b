//! Programs that the planner once got wrong.

mod common;

use common::{Random, devices, disagreement, inputs};
use mil::{DataType, FunctionBuilder, Op, OpError, Opset, Program, Type, ValueId, Weights};

fn check(body: impl FnOnce(&mut FunctionBuilder) -> Result<ValueId, OpError>) {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let y = body(&mut b).expect("the operations are legal");
    let function = b.finish(&[y]);
    let inputs = inputs(&function, &mut Random(7));
    let program = Program::new(vec![function]);
    for device in devices() {
        assert_eq!(disagreement(&device, &program, "f", &inputs, &Weights::default()), None);
    }
}

fn input(b: &mut FunctionBuilder, dims: &[usize]) -> ValueId {
    b.input("x", Type::tensor(DataType::Fp32, dims))
}

#[test]
fn a_bias_may_lie_backwards() {
    check(|b| {
        let (x, weight, bias) = (input(b, &[3, 4]), input(b, &[5, 4]), input(b, &[5]));
        let bias = b.unary(Op::Reverse, bias)?;
        let inputs = [("x", x.into()), ("weight", weight.into()), ("bias", bias.into())];
        b.op(Op::Linear, "linear", inputs)
    });
}

#[test]
fn a_sum_of_nothing_is_its_bias() {
    check(|b| {
        let (x, weight, bias) = (input(b, &[3, 0]), input(b, &[5, 0]), input(b, &[5]));
        let inputs = [("x", x.into()), ("weight", weight.into()), ("bias", bias.into())];
        b.op(Op::Linear, "linear", inputs)
    });
    check(|b| {
        let (x, y) = (input(b, &[2, 3, 0]), input(b, &[0, 4]));
        b.matmul(x, y, (false, false))
    });
}

#[test]
fn products_may_be_empty() {
    check(|b| {
        let (x, y) = (input(b, &[2, 0, 3]), input(b, &[3, 4]));
        b.matmul(x, y, (false, false))
    });
}

#[test]
fn windows_of_a_volume_have_more_axes_than_row_programs() {
    check(|b| {
        let (x, weight) = (input(b, &[2, 4, 5, 4, 6]), input(b, &[4, 2, 2, 3, 2]));
        let groups = b.int(2);
        let inputs = [("x", x.into()), ("weight", weight.into()), ("groups", groups.into())];
        b.op(Op::Conv, "conv", inputs)
    });
}

#[test]
fn a_tensor_tiled_along_every_axis_has_more_axes_than_row_programs() {
    check(|b| {
        let x = input(b, &[2, 3, 2, 2, 2]);
        let reps = b.ints(&[2, 2, 3, 2, 2]);
        b.op(Op::Tile, "tile", [("x", x.into()), ("reps", reps.into())])
    });
}

#[test]
fn the_first_column_is_not_the_whole_row() {
    for is_read_again in [false, true] {
        check(|b| {
            let x = input(b, &[4, 8]);
            let whole = b.unary(Op::Exp, x)?;
            let (begin, end) = (b.ints(&[0, 0]), b.ints(&[4, 1]));
            let inputs = [("x", whole.into()), ("begin", begin.into()), ("end", end.into())];
            let column = b.op(Op::SliceByIndex, "column", inputs)?;
            let column = b.unary(Op::Tanh, column)?;
            if is_read_again { b.binary(Op::Mul, whole, column) } else { Ok(column) }
        });
    }
}

#[test]
fn a_single_value_may_be_joined() {
    check(|b| {
        let x = input(b, &[2, 3]);
        let (axis, interleave) = (b.int(1), b.bool(false));
        let inputs =
            [("values", x.into()), ("axis", axis.into()), ("interleave", interleave.into())];
        let joined = b.op(Op::Concat, "joined", inputs)?;
        let axis = b.int(0);
        b.op(Op::Stack, "stacked", [("values", joined.into()), ("axis", axis.into())])
    });
}

#[test]
fn the_larger_of_a_number_and_nan_is_nan_behind_a_product_too() {
    check(|b| {
        let (x, y) = (input(b, &[3, 4]), input(b, &[4, 5]));
        let product = b.matmul(x, y, (false, false))?;
        let nan = mil::Tensor::from_f64s(DataType::Fp32, &[], &[f64::NAN]).expect("a number");
        let nan = b.constant("nan", nan);
        b.binary(Op::Maximum, product, nan)
    });
}
