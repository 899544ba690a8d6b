//! The meaning of row programs, one element after the other in double precision.

use super::Array;
use crate::rows::{Binary, Format, Instr, Operand, Reduction, Rounding, RowBuilder, Unary};

/// The contents of all arrays after the program.
pub fn evaluate(builder: &RowBuilder, arrays: &[Array]) -> Vec<Vec<f64>> {
    let (operands, code) = builder.recorded();
    let before: Vec<Vec<f64>> =
        arrays.iter().map(|a| a.values().iter().map(|&v| v as f64).collect()).collect();
    let mut after = before.clone();
    let inner = builder.inner();
    let rows: usize = builder.outer().iter().product();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); code.len()];
    for row in 0..rows {
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (number, instr) in code.iter().enumerate() {
            let at = |operand: usize, i: usize| address(builder, &operands[operand], row, i);
            let mut value = vec![f64::NAN; inner];
            for i in 0..inner {
                let v = |value: crate::rows::Value| values[value.index()][i];
                match *instr {
                    Instr::Load { operand } => {
                        value[i] = before[operands[operand].slot][at(operand, i)];
                    }
                    Instr::Const(number) => value[i] = number as f64,
                    Instr::Unary { op, a } => value[i] = unary(op, v(a)),
                    Instr::Binary { op, a, b } => value[i] = binary(op, v(a), v(b)),
                    Instr::Select { c, a, b } => value[i] = if v(c) != 0.0 { v(a) } else { v(b) },
                    Instr::Clamp { a, low, high } => {
                        value[i] = clamp(v(a), low as f64, high as f64)
                    }
                    Instr::Round { to, a } => value[i] = round(to, v(a)),
                    Instr::Expand { a } => value[i] = v(a),
                    Instr::Reduce { op, a } => {
                        value[i] = reduce(op, values[a.index()].iter().copied());
                    }
                    Instr::Store { operand, a, accumulate } => {
                        write(&mut after, &operands[operand], at(operand, i), v(a), accumulate);
                    }
                    Instr::StoreScalar { operand, a, accumulate } if i == 0 => {
                        write(&mut after, &operands[operand], at(operand, 0), v(a), accumulate);
                    }
                    Instr::StoreScalar { .. } => {}
                    Instr::ColumnReduce { a, .. } => columns[number].push(v(a)),
                }
            }
            values.push(value);
        }
    }
    for (instr, column) in code.iter().zip(columns) {
        if let Instr::ColumnReduce { op, operand, accumulate, .. } = *instr {
            for i in 0..inner {
                let result = reduce(op, column.iter().copied().skip(i).step_by(inner));
                let o = &operands[operand];
                write(&mut after, o, address(builder, o, 0, i), result, accumulate);
            }
        }
    }
    after
}

fn address(builder: &RowBuilder, operand: &Operand, row: usize, i: usize) -> usize {
    let mut address = (operand.byte_offset / operand.format.bytes()) as isize;
    let mut rest = row;
    for (axis, &size) in builder.outer().iter().enumerate().rev() {
        address += (rest % size) as isize * operand.outer_strides[axis];
        rest /= size;
    }
    (address + i as isize * operand.inner_stride) as usize
}

fn write(after: &mut [Vec<f64>], operand: &Operand, at: usize, value: f64, accumulate: bool) {
    let element = &mut after[operand.slot][at];
    let value = if accumulate { *element + value } else { value };
    *element = match operand.format {
        // What the test's tolerance is for.
        Format::F32 => value,
        format => format.round(value as f32) as f64,
    };
}

fn reduce(op: Reduction, values: impl Iterator<Item = f64>) -> f64 {
    match op {
        Reduction::Sum => values.sum(),
        Reduction::Max => values.fold(f64::NEG_INFINITY, |a, b| binary(Binary::Max, a, b)),
        Reduction::Min => values.fold(f64::INFINITY, |a, b| binary(Binary::Min, a, b)),
    }
}

fn clamp(x: f64, low: f64, high: f64) -> f64 {
    if x.is_nan() { x } else { x.max(low).min(high) }
}

fn round(to: Rounding, x: f64) -> f64 {
    match to {
        Rounding::Bf16 => Format::Bf16.round(x as f32) as f64,
        Rounding::F16 => Format::F16.round(x as f32) as f64,
        Rounding::Integer => x.trunc(),
        Rounding::Bool => (x != 0.0) as u8 as f64,
    }
}

/// The error function, by its series or the continued fraction of its complement.
pub fn erf(x: f64) -> f64 {
    if x.abs() < 2.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..80 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let t = x.abs();
    let fraction = (1..200).rev().fold(0.0, |f, n| n as f64 / 2.0 / (t + f));
    (1.0 - (-t * t).exp() / std::f64::consts::PI.sqrt() / (t + fraction)).copysign(x)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Floor => x.floor(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Square => x * x,
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Erf if x.is_nan() => x,
        Unary::Erf => erf(x),
        Unary::Sigmoid => sigmoid(x),
        Unary::Silu => x * sigmoid(x),
        Unary::Tanh => x.tanh(),
        Unary::Relu => binary(Binary::Max, x, 0.0),
        Unary::GeluExact => 0.5 * x * (1.0 + unary(Unary::Erf, x / 2f64.sqrt())),
        Unary::GeluTanh => {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + z.tanh())
        }
        Unary::GeluSigmoid => x * sigmoid(1.702 * x),
        Unary::Not => (x == 0.0) as u8 as f64,
    }
}

pub fn binary(op: Binary, a: f64, b: f64) -> f64 {
    let truth = |condition: bool| condition as u8 as f64;
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Pow => a.powf(b),
        Binary::FloorDiv => (a / b).floor(),
        Binary::Mod => a - b * (a / b).floor(),
        Binary::Eq => truth(a == b),
        Binary::Ne => truth(a != b),
        Binary::Lt => truth(a < b),
        Binary::Le => truth(a <= b),
        Binary::Gt => truth(a > b),
        Binary::Ge => truth(a >= b),
        Binary::And => truth(a != 0.0 && b != 0.0),
        Binary::Or => truth(a != 0.0 || b != 0.0),
    }
}
