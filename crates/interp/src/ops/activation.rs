//! Functions of one number beyond those of `elementwise`, most of them activations.

use crate::evaluate::Context;
use crate::index::indices;
use crate::{Array, Data};
use mil::{Op, OpError};

pub(super) fn function(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let op = c.operation.op;
    if let Data::Int(values) = x.data() {
        let alpha = if op == Op::Threshold { c.need("alpha")?.to_i64s()[0] } else { 0 };
        let f = |&v: &i64| match op {
            Op::Threshold => v.max(alpha),
            _ => exp2(v),
        };
        return Ok(Array::ints(x.dtype(), x.dims(), values.iter().map(f).collect()));
    }
    let values = x.to_f64s();
    if matches!(op, Op::Prelu | Op::SoftplusParametric) {
        let alpha = c.need("alpha")?.to_f64s();
        let beta = c.get("beta")?.map_or(vec![], |b| b.to_f64s());
        let f = |(v, index): (&f64, Vec<usize>)| match op {
            Op::Prelu => leaky(*v, alpha[index[1]]),
            _ => alpha[index[1]] * softplus(beta[index[1]] * v),
        };
        let out = values.iter().zip(indices(x.dims())).map(f).collect();
        return Ok(Array::floats(x.dtype(), x.dims(), out));
    }
    let number = |name: &str| match op.spec().param(name) {
        Some(_) => c.params.float(name),
        None => Ok(0.0),
    };
    let (alpha, beta) = (number("alpha")?, number("beta")?);
    let f = |v: f64| match op {
        Op::Acos => v.acos(),
        Op::Asin => v.asin(),
        Op::Atan => v.atan(),
        Op::Atanh => v.atanh(),
        Op::Tan => v.tan(),
        Op::Sinh => v.sinh(),
        Op::Cosh => v.cosh(),
        Op::Ceil => v.ceil(),
        Op::Round => v.round_ties_even(),
        Op::Exp2 => v.exp2(),
        Op::Elu => {
            if v < 0.0 {
                alpha * v.exp_m1()
            } else {
                v
            }
        }
        Op::LeakyRelu => leaky(v, alpha),
        Op::Relu6 => clamp(v, 0.0, 6.0),
        Op::ClampedRelu => clamp(leaky(v, alpha), f64::NEG_INFINITY, beta),
        Op::LinearActivation => alpha * v + beta,
        Op::ScaledTanh => alpha * (beta * v).tanh(),
        Op::SigmoidHard => clamp(alpha * v + beta, 0.0, 1.0),
        Op::Softplus => softplus(v),
        Op::Softsign => v / (1.0 + v.abs()),
        Op::Threshold => clamp(v, alpha, f64::INFINITY),
        // `thresholded_relu`.
        _ => {
            if v < alpha {
                0.0
            } else {
                v
            }
        }
    };
    Ok(Array::floats(x.dtype(), x.dims(), values.into_iter().map(f).collect()))
}

fn leaky(v: f64, slope: f64) -> f64 {
    if v < 0.0 { slope * v } else { v }
}

/// Between two numbers; NaN stays.
fn clamp(v: f64, low: f64, high: f64) -> f64 {
    let v = if v < low { low } else { v };
    if v > high { high } else { v }
}

/// ln(1 + eᵛ), also where eᵛ is too large.
fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// 2ᵛ, wrapping; a fraction is cut off.
fn exp2(v: i64) -> i64 {
    u32::try_from(v).ok().and_then(|v| 1i64.checked_shl(v)).unwrap_or(0)
}
