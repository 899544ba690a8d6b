//! What quirks do to numbers.

use super::quirks::Quirk;
use half::f16;
use interp::{Arithmetic, Array, Data, Step};
use mil::{DataType, Op, OpError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Partial sums of this magnitude do not fit in the accumulator.
const ACCUMULATOR: f64 = 32768.0;
/// The smallest product that a sum notices.
const SMALLEST_PRODUCT: f64 = 1.0 / 16384.0;
/// Where exp ends: the fp16 number that is called 11.094.
const EXP_END: f64 = 11.09375;
const LOG_OF_ZERO: f64 = -45440.0;
/// The largest magnitude that passes through a slice from within a row.
const SLICE_END: f64 = 4094.0;
/// Values are refused that the interpreter would need gigabytes for: it takes 8 bytes an element.
const MAX_ELEMENTS: usize = 1 << 28;

/// How the interpreter runs with these quirks.
pub(super) fn options(quirks: &BTreeSet<Quirk>) -> interp::Options {
    let arithmetic: Option<Arc<dyn Arithmetic>> = match quirks.is_empty() {
        true => None,
        false => Some(Arc::new(Quirky(quirks.clone()))),
    };
    interp::Options { arithmetic, max_elements: MAX_ELEMENTS, ..interp::Options::default() }
}

/// An input as the engine reads it.
pub(super) fn input(quirks: &BTreeSet<Quirk>, array: Array) -> Array {
    match quirks.contains(&Quirk::NanInput) {
        true => map(array, |v| if v.is_nan() { f64::INFINITY } else { v }),
        false => array,
    }
}

/// The engine's arithmetic.
#[derive(Debug)]
struct Quirky(BTreeSet<Quirk>);

impl Quirky {
    fn has(&self, quirk: Quirk) -> bool {
        self.0.contains(&quirk)
    }

    /// A number where NaN would be.
    fn settle(&self, value: f64) -> f64 {
        if value.is_nan() && self.has(Quirk::NanResult) { 0.0 } else { value }
    }
}

impl Arithmetic for Quirky {
    fn product(&self, a: f64, b: f64) -> f64 {
        let product = self.settle(a * b);
        match product.abs() < SMALLEST_PRODUCT && self.has(Quirk::FlushedProducts) {
            true => 0.0,
            false => product,
        }
    }

    fn accumulate(&self, sum: f64, term: f64) -> f64 {
        let sum = self.settle(sum + term);
        if sum.is_nan() || sum.abs() < ACCUMULATOR {
            sum
        } else if self.has(Quirk::AccumulatorInfinity) {
            sum * f64::INFINITY
        } else if self.has(Quirk::AccumulatorZero) {
            0.0
        } else {
            sum
        }
    }

    fn result(&self, step: &Step, mut result: Array) -> Result<Array, OpError> {
        if result.dtype() != DataType::Fp16 {
            return Ok(result);
        }
        let op = step.operation().op;
        if op == Op::Exp && self.has(Quirk::ExpRange) {
            let x = step.operand("x")?.to_f64s();
            let exp = result.to_f64s().into_iter().zip(x);
            let values = exp.map(|(exp, x)| match x {
                _ if x <= EXP_END => exp.min(f16::MAX.to_f64()),
                _ if x.is_nan() => exp,
                _ => f64::INFINITY,
            });
            result = Array::floats(DataType::Fp16, result.dims(), values.collect());
        }
        if op == Op::Log && self.has(Quirk::LogOfZero) {
            result = map(result, |v| if v == f64::NEG_INFINITY { LOG_OF_ZERO } else { v });
        }
        if self.has(Quirk::NanResult) {
            result = map(result, |v| self.settle(v));
        }
        if matches!(op, Op::SliceByIndex | Op::SliceBySize) && self.has(Quirk::SliceSaturation) {
            let dims = step.operand("x")?.dims().to_vec();
            let axes = mil::shape::resolve_slice(step.params(), &dims)?;
            if axes.last().is_some_and(|axis| axis.begin != 0) {
                result = map(result, |v| if v.abs() > SLICE_END { v * f64::INFINITY } else { v });
            }
        }
        if self.has(Quirk::TiesUp) {
            result = map(result, round_ties_up);
        }
        Ok(result)
    }
}

fn map(array: Array, f: impl Fn(f64) -> f64) -> Array {
    match array.data() {
        Data::Float(values) => {
            let values = values.iter().map(|&v| f(v)).collect();
            Array::floats(array.dtype(), array.dims(), values)
        }
        _ => array,
    }
}

/// The nearest fp16 number, of two that are as near the greater.
fn round_ties_up(value: f64) -> f64 {
    let even = f16::from_f64(value);
    let rounded = even.to_f64();
    if !rounded.is_finite() || rounded >= value {
        return rounded;
    }
    // What `even` rounded down is a tie if the next number is as far away.
    let next = match even.to_bits() {
        0x8000 => f16::from_bits(1),
        bits if bits & 0x8000 == 0 => f16::from_bits(bits + 1),
        bits => f16::from_bits(bits - 1),
    };
    if next.to_f64() - value <= value - rounded { next.to_f64() } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_up_and_nothing_else_changes() {
        let (one, step) = (1.0, 2f64.powi(-10));
        // 1 + half a step: down to even, and up.
        assert_eq!(f16::from_f64(one + step / 2.0).to_f64(), one);
        assert_eq!(round_ties_up(one + step / 2.0), one + step);
        assert_eq!(round_ties_up(one + step * 1.5), one + step * 2.0);
        assert_eq!(round_ties_up(-one - step / 2.0), -one);
        assert_eq!(round_ties_up(-one - step * 1.5), -one - step);
        for value in [0.0, 0.1, -0.1, 3.3, 65504.0, -7e-8, 1e6, f64::INFINITY] {
            assert_eq!(round_ties_up(value), f16::from_f64(value).to_f64(), "{value}");
        }
        // Half the smallest subnormal, on both sides of zero.
        assert_eq!(round_ties_up(2f64.powi(-25)), 2f64.powi(-24));
        assert_eq!(round_ties_up(-(2f64.powi(-25))), 0.0);
        assert!(round_ties_up(f64::NAN).is_nan());
    }
}
