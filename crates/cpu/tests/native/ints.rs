//! Arithmetic of integers, at the limits of their types.

use super::{Case, any, dims};
use crate::common::Random;
use mil::{Arg, DataType, Op, ValueId};

/// What ops of numbers take besides floats.
const INTEGERS: [DataType; 2] = [DataType::Int32, DataType::Int64];

/// Operands of which one is broadcast, read as a view.
fn operands(case: &mut Case, random: &mut Random, dtype: DataType) -> [ValueId; 2] {
    let rank = random.below(4);
    let shape = dims(random, rank);
    let narrow: Vec<usize> =
        shape.iter().map(|&d| if random.below(3) == 0 { 1 } else { d }).collect();
    let narrow = &narrow[random.below(rank + 1)..];
    let x = case.input(any(random, dtype, &shape));
    let y = case.input(any(random, dtype, narrow));
    if rank > 1 && random.below(2) == 0 {
        let turned = case.b.op(Op::Reverse, "turned", [("x", x.into())]);
        return [turned.expect("any tensor can be reversed"), y];
    }
    [x, y]
}

#[test]
fn arithmetic_and_comparisons_agree_exactly() {
    let ops = [
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::RealDiv,
        Op::FloorDiv,
        Op::Mod,
        Op::Maximum,
        Op::Minimum,
        Op::Pow,
        Op::Equal,
        Op::NotEqual,
        Op::Less,
        Op::LessEqual,
        Op::Greater,
        Op::GreaterEqual,
    ];
    let mut random = Random(5);
    for op in ops {
        for round in 0..8 {
            let mut case = Case::new();
            let dtype = INTEGERS[round % INTEGERS.len()];
            let [x, y] = operands(&mut case, &mut random, dtype);
            let swapped = if round < 4 { [x, y] } else { [y, x] };
            let inputs = [("x", swapped[0].into()), ("y", swapped[1].into())];
            let result = case.b.op(op, "result", inputs).map(|id| vec![id]);
            case.check(result, &[op], true);
        }
    }
}

#[test]
fn functions_and_selections_agree_exactly() {
    let mut random = Random(6);
    for dtype in INTEGERS {
        for op in [Op::Abs, Op::Sign, Op::Square] {
            let mut case = Case::new();
            let x = case.input(any(&mut random, dtype, &[3, 700]));
            let y = case.b.op(op, "y", [("x", x.into())]).map(|y| vec![y]);
            case.check(y, &[op], true);
        }
    }
    for _ in 0..12 {
        let mut case = Case::new();
        let [a, b] = operands(&mut case, &mut random, DataType::Int32);
        let result =
            case.b.op(Op::Less, "less", [("x", a.into()), ("y", b.into())]).and_then(|c| {
                let inputs: [(&str, Arg); 3] =
                    [("cond", c.into()), ("a", a.into()), ("b", b.into())];
                Ok(vec![case.b.op(Op::Select, "selected", inputs)?])
            });
        case.check(result, &[Op::Less, Op::Select], true);
    }
}

#[test]
fn casts_agree_exactly() {
    use DataType::*;
    let types = [Fp32, Fp16, Int32, Int16, Uint16, Int8, Uint8, Bool];
    let mut random = Random(7);
    for from in types {
        for to in types {
            let mut case = Case::new();
            let x = case.input(any(&mut random, from, &[5, 130]));
            let Ok(y) = case.b.cast(x, to) else { panic!("{from} cannot be cast to {to}") };
            case.check(Ok(vec![y]), &[Op::Cast], true);
        }
    }
}
