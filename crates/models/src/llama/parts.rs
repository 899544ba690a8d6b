//! What several functions have in common.

use super::float_input;
use crate::Config;
use crate::parameters::layer_ports;
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};
use std::collections::BTreeMap;

/// The inputs of a layer that are its parameters, by port.
pub(super) struct LayerParameters(BTreeMap<&'static str, ValueId>);

impl LayerParameters {
    /// Declares them, in the order of the inventory.
    pub fn inputs(b: &mut FunctionBuilder, config: &Config) -> LayerParameters {
        let ports = layer_ports(config);
        LayerParameters(ports.iter().map(|p| (p.port, float_input(b, p.port, &p.dims))).collect())
    }

    /// The parameter with this name.
    pub fn get(&self, port: &'static str) -> ValueId {
        self.0[port]
    }

    /// The parameter with this name, if the model has it.
    pub fn optional(&self, port: &'static str) -> Option<ValueId> {
        self.0.get(port).copied()
    }
}

/// x / √(mean(x²) + ε) · weight over the last axis; x: `[…, N]` fp32, weight: `[N]`.
pub(super) fn rms_norm(
    b: &mut FunctionBuilder,
    x: ValueId,
    weight: ValueId,
    epsilon: f64,
) -> Result<ValueId, OpError> {
    let square = b.unary(Op::Square, x)?;
    let mean = b.reduce(Op::ReduceMean, square, &[-1], true)?;
    let epsilon = b.float(DataType::Fp32, epsilon);
    let inputs = [("x", mean.into()), ("epsilon", epsilon.into())];
    let scale = b.op(Op::Rsqrt, "rsqrt", inputs)?;
    let x = b.mul(x, scale)?;
    b.mul(x, weight)
}

/// x·weightᵀ with both operands in `compute`, which the result has too; x: `[…, in]`, weight:
/// `[out, in]` fp32.
pub(super) fn project(
    b: &mut FunctionBuilder,
    x: ValueId,
    weight: ValueId,
    compute: DataType,
) -> Result<ValueId, OpError> {
    let x = b.cast(x, compute)?;
    let weight = b.cast(weight, compute)?;
    b.linear(x, weight)
}

/// x + y in fp32, y of any float type.
pub(super) fn residual(
    b: &mut FunctionBuilder,
    x: ValueId,
    y: ValueId,
) -> Result<ValueId, OpError> {
    let y = b.cast(y, DataType::Fp32)?;
    b.add(x, y)
}
