//! The interval of an operation's results from those of its arguments.

use super::interval::Interval;
use crate::target::check::context::Context;
use mil::{Arg, DataType, Literal, Op, Operand, Operation};

/// The least value of x·sigmoid(x), rounded down; that of gelu is nearer to 0.
const LEAST_SILU: f64 = -0.2785;

/// What is known of the values of a function.
pub(super) struct Known<'c, 'a> {
    pub c: &'c Context<'a>,
    /// By value.
    pub intervals: Vec<Interval>,
}

/// What a product sums: how many terms, and the interval of a term.
pub(super) struct Sum {
    pub terms: f64,
    pub term: Interval,
}

impl<'a> Known<'_, 'a> {
    /// The interval of an argument; not known if it is not bound.
    pub fn argument(&self, operation: &'a Operation, name: &str) -> Interval {
        match operation.inputs.get(name) {
            Some(Arg::One(operand)) => self.operand(operand),
            Some(Arg::Many(operands)) => self.all(operands),
            None => operation.attributes.get(name).map_or(Interval::ALL, of_literal),
        }
    }

    fn operand(&self, operand: &Operand) -> Interval {
        match operand {
            Operand::Value(id) => self.intervals[id.index()],
            Operand::Literal(literal) => of_literal(literal),
        }
    }

    fn all(&self, operands: &[Operand]) -> Interval {
        let intervals = operands.iter().map(|operand| self.operand(operand));
        intervals.reduce(Interval::hull).unwrap_or(Interval::ALL)
    }

    /// Elements that a reduction or running sum joins, if known.
    fn reduced(&self, operation: &'a Operation) -> Option<f64> {
        let dims = self.c.argument_dims(operation, "x")?;
        let params = self.c.params(operation);
        let axes = match operation.op {
            Op::Cumsum => vec![params.axis("axis", dims.len()).ok()?],
            _ => params.axes("axes", dims.len()).ok()?.unwrap_or((0..dims.len()).collect()),
        };
        Some(axes.into_iter().map(|axis| dims[axis] as f64).product())
    }

    /// What an operation sums, if it sums and the number of terms is known.
    pub fn sum(&self, operation: &'a Operation) -> Option<Sum> {
        let product = |x: &str, y: &str, terms: f64| {
            let term = self.argument(operation, x).times(self.argument(operation, y));
            Some(Sum { terms, term })
        };
        match operation.op {
            Op::Matmul => {
                let dims = self.c.argument_dims(operation, "x")?;
                let flipped = self.c.params(operation).bool("transpose_x").ok()?;
                let (rows, columns) = (dims.len().checked_sub(2)?, dims.len() - 1);
                // Rows of a softmax sum to 1, so that the product is a mean.
                let mean = !flipped && self.is_softmax_of_rows(operation, columns);
                let terms = if mean { 1 } else { dims[if flipped { rows } else { columns }] };
                product("x", "y", terms as f64)
            }
            Op::Linear => {
                let dims = self.c.argument_dims(operation, "weight")?;
                product("x", "weight", *dims.get(1)? as f64)
            }
            Op::Conv => {
                let dims = self.c.argument_dims(operation, "weight")?;
                let terms = dims.get(1..)?.iter().map(|&n| n as f64).product();
                product("x", "weight", terms)
            }
            Op::ScaledDotProductAttention => {
                let dims = self.c.argument_dims(operation, "query")?;
                product("query", "key", *dims.last()? as f64)
            }
            Op::ReduceSum | Op::ReduceMean | Op::Cumsum => {
                let terms = self.reduced(operation)?;
                Some(Sum { terms, term: self.argument(operation, "x") })
            }
            _ => None,
        }
    }

    fn is_softmax_of_rows(&self, operation: &'a Operation, last: usize) -> bool {
        let producer = operation.value("x").and_then(|id| self.c.producer(id));
        let Some(softmax) = producer.filter(|o| o.op == Op::Softmax) else { return false };
        self.c.params(softmax).axis("axis", last + 1) == Ok(last)
    }

    /// What `epsilon` is added to.
    pub fn with_epsilon(&self, operation: &'a Operation) -> Interval {
        let epsilon = self.c.params(operation).float("epsilon").unwrap_or(f64::NAN);
        self.argument(operation, "x").plus(Interval::new(epsilon, epsilon))
    }

    /// The interval of the results of an operation.
    pub fn result(&self, operation: &'a Operation) -> Interval {
        use Op::*;
        let argument = |name: &str| self.argument(operation, name);
        let x = || argument("x");
        match operation.op {
            Add => x().plus(argument("y")),
            Sub => x().plus(argument("y").negated()),
            Mul if same(operation) => x().squared(),
            Mul => x().times(argument("y")),
            RealDiv => x().times(argument("y").inverted()),
            Maximum => {
                let (x, y) = (x(), argument("y"));
                Interval { lo: x.lo.max(y.lo), hi: x.hi.max(y.hi) }
            }
            Minimum => {
                let (x, y) = (x(), argument("y"));
                Interval { lo: x.lo.min(y.lo), hi: x.hi.min(y.hi) }
            }
            Pow => power(x(), argument("y")),
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual | LogicalAnd
            | LogicalOr | LogicalNot => Interval { lo: 0.0, hi: 1.0 },
            Select => argument("a").hull(argument("b")),
            Abs => x().abs(),
            Sign | Sin | Cos | Erf => Interval { lo: -1.0, hi: 1.0 },
            Floor => x().rising(f64::floor),
            Exp => x().rising(f64::exp),
            Log => self.with_epsilon(operation).rising(|v| if v > 0.0 { v.ln() } else { f64::NAN }),
            Sqrt => x().rising(|v| v.max(0.0).sqrt()),
            Rsqrt => power(self.with_epsilon(operation), Interval::new(-0.5, -0.5)),
            Inverse => self.with_epsilon(operation).inverted(),
            Square => x().squared(),
            Sigmoid => x().rising(sigmoid),
            Tanh => x().rising(f64::tanh),
            Relu => x().rising(|v| v.max(0.0)),
            Silu | Gelu => {
                let x = x();
                // Above 0 both rise, and stay below their argument.
                Interval { lo: if x.lo >= 0.0 { 0.0 } else { LEAST_SILU }, hi: x.hi.max(0.0) }
            }
            Clip => {
                let (alpha, beta) = (argument("alpha"), argument("beta"));
                x().rising(|v| v.max(alpha.lo).min(beta.hi))
            }
            Softmax => Interval { lo: 0.0, hi: 1.0 },
            ReduceSum => match self.sum(operation) {
                Some(Sum { terms, term }) => term.summed(terms),
                None => Interval::ALL,
            },
            Cumsum => match self.sum(operation) {
                Some(Sum { terms, term }) => term.summed(terms).hull(term).hull(Interval::ZERO),
                None => Interval::ALL,
            },
            ReduceMean | ReduceMax | ReduceMin => x(),
            ReduceLogSumExp => match self.reduced(operation) {
                Some(n) => x().plus(Interval::new(0.0, n.max(1.0).ln())),
                None => Interval::ALL,
            },
            LayerNorm => self.layer_norm(operation),
            Matmul | Linear | Conv => self.product(operation),
            ScaledDotProductAttention => argument("value"),
            Identity | Reshape | Transpose | ExpandDims | Squeeze | SliceByIndex | SliceBySize
            | Split | Tile | Reverse | Gather | GatherAlongAxis => x(),
            SliceUpdate => x().hull(argument("update")),
            Concat => argument("values"),
            Pad => {
                let constant = self.c.params(operation).float("constant_val");
                x().hull(constant.map_or(Interval::ALL, |v| Interval::new(v, v)))
            }
            Cast => x(),
            Dequantize => self.dequantized(operation, "input", "zero_point"),
            ConstexprAffineDequantize => {
                self.dequantized(operation, "quantized_data", "zero_point")
            }
            ConstexprBlockwiseShiftScale => self.dequantized(operation, "data", "offset"),
            // The rest, and ops that are new to the table.
            _ => Interval::ALL,
        }
    }

    fn product(&self, operation: &'a Operation) -> Interval {
        let Some(Sum { terms, term }) = self.sum(operation) else { return Interval::ALL };
        let bias = match operation.inputs.contains_key("bias") {
            true => self.argument(operation, "bias"),
            false => Interval::ZERO,
        };
        let sum = term.summed(terms);
        // Padding adds zeros to what a convolution sums.
        let sum = if operation.op == Op::Conv { sum.hull(Interval::ZERO) } else { sum };
        sum.plus(bias)
    }

    fn layer_norm(&self, operation: &'a Operation) -> Interval {
        let Some(n) = self.reduced(operation) else { return Interval::ALL };
        // One of n numbers is at most √(n−1) standard deviations from their mean.
        let most = (n - 1.0).max(0.0).sqrt();
        let or = |name: &str, otherwise: f64| match self.c.params(operation).has(name) {
            true => self.argument(operation, name),
            false => Interval::new(otherwise, otherwise),
        };
        Interval::new(-most, most).times(or("gamma", 1.0)).plus(or("beta", 0.0))
    }

    fn dequantized(&self, operation: &'a Operation, data: &str, zero: &str) -> Interval {
        let dtype = self.c.argument(operation, data).map(|ty| ty.dtype);
        let quantized = match dtype.map(|dtype| (dtype.is_float(), dtype.int_range())) {
            Some((_, Some((lo, hi)))) => Interval::new(lo as f64, hi as f64),
            Some((true, None)) => self.argument(operation, data),
            _ => return Interval::ALL,
        };
        let zero = match self.c.params(operation).has(zero) {
            true => self.argument(operation, zero),
            false => Interval::ZERO,
        };
        quantized.plus(zero.negated()).times(self.argument(operation, "scale"))
    }
}

/// Whether x and y are one value.
fn same(operation: &Operation) -> bool {
    operation.value("x").is_some_and(|x| operation.value("y") == Some(x))
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// x to a power that is known.
fn power(x: Interval, y: Interval) -> Interval {
    if y.lo != y.hi {
        return Interval::ALL;
    }
    let p = y.lo;
    if p == 2.0 {
        return x.squared();
    }
    // Of a negative number nothing is known, nor of 0 to a negative power.
    if x.lo > 0.0 || (x.lo == 0.0 && p > 0.0) { x.rising(|v| v.powf(p)) } else { Interval::ALL }
}

/// The interval of a constant's elements. Those of weight files are not read.
pub(super) fn of_literal(literal: &Literal) -> Interval {
    match literal.as_tensor() {
        Some(tensor) if tensor.dtype() != DataType::String => Interval::over(tensor.to_f64s()),
        _ => Interval::ALL,
    }
}
