//! Activations as maps. Functions that no row program has exactly (inverse and hyperbolic ones, and
//! the tangent near its poles) stay with the interpreter.

use super::Lower;
use super::elementwise::is_mapped;
use crate::plan::graph::{MapOp, Val};
use crate::rows::{Binary, Unary};
use mil::{DataType, Op, Operation};
use runtime::Error;

/// Adding this to a small number and taking it away rounds to an integer: in f32 it leaves no place
/// for a fraction.
const ROUNDING: f64 = 12_582_912.0; // 1.5·2²³

impl Lower<'_> {
    /// The result of an activation, or `None` if it is left to the interpreter.
    pub(super) fn activation(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let name = &name;
        let x = self.need(operation, "x")?;
        if !is_mapped(dtype) || !is_mapped(self.node_dtype(&x)) {
            return Ok(None);
        }
        let number = |this: &Self, parameter: &str| match operation.op.spec().param(parameter) {
            Some(_) => Ok(this.params(operation).float(parameter)?),
            None => Ok::<f64, Error>(0.0),
        };
        use Binary::{Add, Div, Max, Min, Mul, Pow};
        let out = match operation.op {
            Op::LogicalXor => {
                let y = self.need(operation, "y")?;
                // Truth values are 0 and 1.
                return Ok(Some(self.map(MapOp::Binary(Binary::Ne), &[x, y], &dims, dtype, name)));
            }
            Op::Prelu | Op::SoftplusParametric => {
                let Some(alpha) = self.per_channel(operation, "alpha", &dims)? else {
                    return Ok(None);
                };
                if operation.op == Op::Prelu {
                    self.leaky(&x, alpha, name)
                } else {
                    let Some(beta) = self.per_channel(operation, "beta", &dims)? else {
                        return Ok(None);
                    };
                    let inner = self.two(Mul, x, beta, name);
                    let softplus = self.softplus(inner, name);
                    self.two(Mul, softplus, alpha, name)
                }
            }
            Op::Ceil => {
                let negative = self.one(Unary::Neg, x, name);
                let floor = self.one(Unary::Floor, negative, name);
                self.one(Unary::Neg, floor, name)
            }
            Op::Round => {
                let (amount, limit) = (self.scalar(ROUNDING), self.scalar(f64::from(1 << 22)));
                let sum = self.two(Add, x.clone(), amount.clone(), name);
                let rounded = self.two(Binary::Sub, sum, amount, name);
                let size = self.one(Unary::Abs, x.clone(), name);
                let small = self.two(Binary::Lt, size, limit, name);
                self.f32_map(MapOp::Select, &[small, rounded, x], name)
            }
            Op::Exp2 => {
                let two = self.scalar(2.0);
                self.map(MapOp::Binary(Pow), &[two, x], &dims, DataType::Fp32, name)
            }
            Op::Softplus => self.softplus(x, name),
            Op::Softsign => {
                let size = self.one(Unary::Abs, x.clone(), name);
                let divisor = self.with(Add, size, 1.0, name);
                self.two(Div, x, divisor, name)
            }
            Op::Relu6 => return Ok(Some(self.between(x, [0.0, 6.0], dtype, name))),
            op => {
                let (alpha, beta) = (number(self, "alpha")?, number(self, "beta")?);
                match op {
                    Op::Elu => self.elu(x, alpha, name),
                    Op::LeakyRelu => {
                        let alpha = self.scalar(alpha);
                        self.leaky(&x, alpha, name)
                    }
                    Op::ClampedRelu => {
                        let alpha = self.scalar(alpha);
                        let x = self.leaky(&x, alpha, name);
                        self.with(Min, x, beta, name)
                    }
                    Op::LinearActivation => {
                        let x = self.with(Mul, x, alpha, name);
                        self.with(Add, x, beta, name)
                    }
                    Op::ScaledTanh => {
                        let x = self.with(Mul, x, beta, name);
                        let x = self.one(Unary::Tanh, x, name);
                        self.with(Mul, x, alpha, name)
                    }
                    Op::SigmoidHard => {
                        let x = self.with(Mul, x, alpha, name);
                        let x = self.with(Add, x, beta, name);
                        let x = self.with(Max, x, 0.0, name);
                        self.with(Min, x, 1.0, name)
                    }
                    Op::Threshold => {
                        return Ok(Some(self.between(x, [alpha, f64::INFINITY], dtype, name)));
                    }
                    Op::ThresholdedRelu => {
                        let (alpha, zero) = (self.scalar(alpha), self.scalar(0.0));
                        let below = self.two(Binary::Lt, x.clone(), alpha, name);
                        self.f32_map(MapOp::Select, &[below, zero, x], name)
                    }
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some(match dtype {
            DataType::Fp32 => out,
            _ => self.map(MapOp::Copy, &[out], &dims, dtype, name),
        }))
    }

    /// What is bound to a parameter with an element for each channel (axis 1), for a result of
    /// these dims; `None` if it is not bound or of an element type that maps do not have.
    pub(super) fn per_channel(
        &mut self,
        operation: &Operation,
        parameter: &str,
        dims: &[usize],
    ) -> Result<Option<Val>, Error> {
        let Some(vector) = self.arg(operation, parameter)? else { return Ok(None) };
        if !is_mapped(self.node_dtype(&vector)) {
            return Ok(None);
        }
        let mut shape = vec![1; dims.len() - 1];
        shape[0] = dims[1];
        Ok(Some(self.reshaped(&vector, &shape)))
    }

    pub(super) fn one(&mut self, op: Unary, x: Val, name: &str) -> Val {
        self.f32_map(MapOp::Unary(op), &[x], name)
    }

    pub(super) fn two(&mut self, op: Binary, x: Val, y: Val, name: &str) -> Val {
        self.f32_map(MapOp::Binary(op), &[x, y], name)
    }

    fn with(&mut self, op: Binary, x: Val, number: f64, name: &str) -> Val {
        let number = self.scalar(number);
        self.two(op, x, number, name)
    }

    /// x where x ≥ 0, else slope·x.
    fn leaky(&mut self, x: &Val, slope: Val, name: &str) -> Val {
        let scaled = self.two(Binary::Mul, x.clone(), slope, name);
        let zero = self.scalar(0.0);
        let below = self.two(Binary::Lt, x.clone(), zero, name);
        self.f32_map(MapOp::Select, &[below, scaled, x.clone()], name)
    }

    /// x where x ≥ 0, else α·(eˣ − 1). With t = tanh(x/2) that is 2t/(1 − t), which loses nothing
    /// where x is small.
    fn elu(&mut self, x: Val, alpha: f64, name: &str) -> Val {
        let half = self.with(Binary::Mul, x.clone(), 0.5, name);
        let t = self.one(Unary::Tanh, half, name);
        let one = self.scalar(1.0);
        let negative = self.one(Unary::Neg, t.clone(), name);
        let divisor = self.two(Binary::Add, negative, one, name);
        let quotient = self.two(Binary::Div, t, divisor, name);
        let lower = self.with(Binary::Mul, quotient, 2.0 * alpha, name);
        let zero = self.scalar(0.0);
        let below = self.two(Binary::Lt, x.clone(), zero, name);
        self.f32_map(MapOp::Select, &[below, lower, x], name)
    }

    /// max(x, 0) + ln(1 + u), u = e^(−|x|). What rounding 1 + u loses is given back: the logarithm
    /// of w is right for w − 1 in place of u, and to first order proportional.
    fn softplus(&mut self, x: Val, name: &str) -> Val {
        let size = self.one(Unary::Abs, x.clone(), name);
        let negative = self.one(Unary::Neg, size, name);
        let u = self.one(Unary::Exp, negative, name);
        let w = self.with(Binary::Add, u.clone(), 1.0, name);
        let kept = self.with(Binary::Add, w.clone(), -1.0, name);
        let log = self.one(Unary::Log, w, name);
        let product = self.two(Binary::Mul, log, u.clone(), name);
        let corrected = self.two(Binary::Div, product, kept.clone(), name);
        // `kept` is 0 where nothing of u is left, and then ln(1 + u) is u.
        let log = self.f32_map(MapOp::Select, &[kept, corrected, u], name);
        let positive = self.with(Binary::Max, x, 0.0, name);
        self.two(Binary::Add, positive, log, name)
    }
}
