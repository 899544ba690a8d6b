//! Ops along an axis.

use super::{Case, any, dims};
use crate::common::{Random, inputs};
use interp::Array;
use mil::{Arg, DataType, Function, FunctionBuilder, Op, OpError, Opset, Type};

const TYPES: [DataType; 4] = [DataType::Fp32, DataType::Fp16, DataType::Bf16, DataType::Int32];

/// Arguments by name: whole numbers, and truth values.
fn arguments<'a>(
    case: &mut Case,
    numbers: &[(&'a str, i64)],
    truths: &[(&'a str, bool)],
) -> Vec<(&'a str, Arg)> {
    let numbers = numbers.iter().map(|&(name, v)| (name, case.b.int(v).into()));
    let mut all: Vec<(&str, Arg)> = numbers.collect();
    all.extend(truths.iter().map(|&(name, v)| (name, Arg::from(case.b.bool(v)))));
    all
}

#[test]
fn positions_orders_and_the_first_of_them_agree_exactly() {
    let mut random = Random(8);
    for round in 0..96 {
        let dtype = TYPES[round % TYPES.len()];
        let rank = 1 + random.below(4);
        let mut shape = dims(&mut random, rank);
        let axis = random.below(rank);
        if round % 5 == 0 {
            shape[axis] = 700;
        }
        let mut case = Case::new();
        let x = case.input(any(&mut random, dtype, &shape));
        // Lines that are not contiguous, and not in order.
        let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())]);
        let x = if random.below(2) == 0 { x } else { turned.expect("anything can be reversed") };
        let along = axis as i64 - if random.below(2) == 0 { rank as i64 } else { 0 };
        let flag = random.below(2) == 0;
        let outputs = match round % 3 {
            0 => {
                let op = if flag { Op::ReduceArgmax } else { Op::ReduceArgmin };
                let keep = ("keep_dims", random.below(2) == 0);
                let mut inputs = arguments(&mut case, &[("axis", along)], &[keep]);
                inputs.push(("x", x.into()));
                case.b.operation(op, "index", inputs)
            }
            1 => {
                let mut inputs = arguments(&mut case, &[("axis", along)], &[("ascending", flag)]);
                inputs.push(("x", x.into()));
                case.b.operation(Op::Argsort, "order", inputs)
            }
            _ => {
                let k = 1 + random.below(shape[axis]) as i64;
                let numbers = [("axis", along), ("k", k)];
                let mut inputs = arguments(&mut case, &numbers, &[("ascending", flag)]);
                if random.below(3) == 0 {
                    let narrow = case.b.string("uint16");
                    inputs.push(("output_indices_dtype", narrow.into()));
                }
                inputs.push(("x", x.into()));
                case.b.operation(Op::Topk, "first", inputs)
            }
        };
        let ops = [Op::ReduceArgmax, Op::ReduceArgmin, Op::Argsort, Op::Topk];
        case.check(outputs, &ops, true);
    }
}

#[test]
fn running_sums_agree() {
    let mut random = Random(9);
    for round in 0..32 {
        let rank = 1 + random.below(4);
        let (shape, axis) = (dims(&mut random, rank), random.below(rank));
        let dtype = TYPES[round % TYPES.len()];
        let mut case = Case::new();
        let whole = dtype == DataType::Int32;
        let values = match whole {
            true => any(&mut random, dtype, &shape),
            false => floats(&mut random, dtype, &shape),
        };
        let x = case.input(values);
        let flags = [("exclusive", random.below(2) == 0), ("reverse", random.below(2) == 0)];
        let mut inputs = arguments(&mut case, &[("axis", axis as i64)], &flags);
        inputs.push(("x", x.into()));
        let sums = case.b.operation(Op::Cumsum, "sums", inputs);
        // Floats are summed in the order of the interpreter, and rounded once.
        case.check(sums, &[Op::Cumsum], true);
    }
}

fn floats(random: &mut Random, dtype: DataType, dims: &[usize]) -> Array {
    let count = dims.iter().product();
    Array::floats(dtype, dims, (0..count).map(|_| random.float()).collect())
}

#[test]
fn reductions_of_integers_and_products_agree_exactly() {
    let ops = [
        Op::ReduceSum,
        Op::ReduceMean,
        Op::ReduceMax,
        Op::ReduceMin,
        Op::ReduceProd,
        Op::ReduceL1Norm,
        Op::ReduceSumSquare,
    ];
    let mut random = Random(10);
    for op in ops {
        for round in 0..6 {
            let rank = 1 + random.below(4);
            let shape = dims(&mut random, rank);
            let float = op == Op::ReduceProd && round % 2 == 0;
            let mut case = Case::new();
            let values = match float {
                true => floats(&mut random, DataType::Fp32, &shape),
                false => any(&mut random, DataType::Int32, &shape),
            };
            let x = case.input(values);
            let axes: Vec<i64> = (0..rank as i64).filter(|_| random.below(2) == 0).collect();
            let mut inputs = arguments(&mut case, &[], &[("keep_dims", random.below(2) == 0)]);
            if !axes.is_empty() {
                inputs.push(("axes", case.numbers(&axes, true).into()));
            }
            inputs.push(("x", x.into()));
            let y = case.b.operation(op, "y", inputs);
            case.check(y, &[op], !float);
        }
    }
}

/// The largest of computed numbers, as a model that generates ends.
fn greedy() -> Result<Function, OpError> {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let x = b.input("whole_x", Type::tensor(DataType::Fp16, &[3, 17]));
    let w = b.input("whole_w", Type::tensor(DataType::Fp16, &[40_000, 17]));
    let logits = b.linear(x, w)?;
    let axis = b.int(-1);
    let token = b.op(Op::ReduceArgmax, "token", [("x", logits.into()), ("axis", axis.into())])?;
    Ok(b.finish(&[token]))
}

#[test]
fn the_largest_of_many_computed_numbers_is_found() {
    let function = greedy().unwrap_or_else(|e| panic!("{e}"));
    let inputs = inputs(&function, &mut Random(11));
    let program = mil::Program::new(vec![function]);
    for device in crate::common::devices() {
        // Sums of whole numbers are exact, and many are equal.
        let what =
            crate::common::disagreement(&device, &program, "f", &inputs, &Default::default());
        assert_eq!(what, None);
    }
}
