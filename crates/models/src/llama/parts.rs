//! What several functions have in common.

use super::float_input;
use crate::parameters::layer_ports;
use crate::{Activation, Architecture, Config};
use mil::{DataType, FunctionBuilder, Op, OpError, ValueId};
use std::collections::BTreeMap;

/// The inputs of a layer that are its parameters, by port.
pub(super) struct LayerParameters {
    ports: BTreeMap<&'static str, ValueId>,
    architecture: Architecture,
}

/// The port of the bias that belongs to the matrix at `port`: `bq` to `wq`.
pub(super) fn bias_port(port: &str) -> String {
    port.replacen('w', "b", 1)
}

impl LayerParameters {
    /// Declares them, in the order of the inventory.
    pub fn inputs(b: &mut FunctionBuilder, config: &Config) -> LayerParameters {
        let ports = layer_ports(config);
        let ports = ports.iter().map(|p| (p.port, float_input(b, p.port, &p.dims)));
        LayerParameters::of(config, ports.collect())
    }

    /// Those that these values are, by port.
    pub fn of(config: &Config, ports: BTreeMap<&'static str, ValueId>) -> LayerParameters {
        LayerParameters { ports, architecture: config.architecture }
    }

    /// The parameter with this name.
    pub fn get(&self, port: &'static str) -> ValueId {
        self.ports[port]
    }

    /// The parameter with this name, if the model has it.
    pub fn optional(&self, port: &str) -> Option<ValueId> {
        self.ports.get(port).copied()
    }

    /// x as the norm at `port` gives it; x: `[B, S, D]` fp32.
    pub fn norm(
        &self,
        b: &mut FunctionBuilder,
        config: &Config,
        x: ValueId,
        port: &'static str,
    ) -> Result<ValueId, OpError> {
        let bias = self.optional(&format!("{port}_bias"));
        norm(b, config, x, self.get(port), bias)
    }

    /// x through the matrix at `port`: x·weightᵀ in `compute`, or, if the model has the bias, with it
    /// and in fp32; x: `[B, S, in]`.
    pub fn project(
        &self,
        b: &mut FunctionBuilder,
        x: ValueId,
        port: &'static str,
        compute: DataType,
    ) -> Result<ValueId, OpError> {
        let product = match self.architecture {
            Architecture::Llama => project(b, x, self.get(port), compute)?,
            Architecture::Gpt2 => project_back(b, x, self.get(port), compute)?,
        };
        match self.optional(&bias_port(port)) {
            None => Ok(product),
            Some(bias) => {
                let product = b.cast(product, DataType::Fp32)?;
                b.add(product, bias)
            }
        }
    }
}

/// x·weight with both operands in `compute`, which the result has too; x: `[B, S, in]`, weight:
/// `[in, out]` fp32.
fn project_back(
    b: &mut FunctionBuilder,
    x: ValueId,
    weight: ValueId,
    compute: DataType,
) -> Result<ValueId, OpError> {
    let (dims, width) = (b.dims(x), b.dims(weight)[1]);
    let x = b.cast(x, compute)?;
    let weight = b.cast(weight, compute)?;
    // One product of all rows, so that the gradient of the weight is one too.
    let x = b.reshape(x, &[dims[0] * dims[1], dims[2]])?;
    let product = b.matmul(x, weight, (false, false))?;
    b.reshape(product, &[dims[0], dims[1], width])
}

/// x as a norm of the residual stream gives it, with a bias or without.
pub(super) fn norm(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
    weight: ValueId,
    bias: Option<ValueId>,
) -> Result<ValueId, OpError> {
    match bias {
        None => rms_norm(b, config, x, weight),
        Some(bias) => layer_norm(b, config, x, weight, bias),
    }
}

/// (x − mean(x)) / √(variance(x) + ε) · weight + bias over the last axis; x: `[…, N]` fp32, weight
/// and bias: `[N]`.
fn layer_norm(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
    weight: ValueId,
    bias: ValueId,
) -> Result<ValueId, OpError> {
    let mean = b.reduce(Op::ReduceMean, x, &[-1], true)?;
    let x = b.sub(x, mean)?;
    let x = to_unit_size(b, config, x)?;
    let x = b.mul(x, weight)?;
    b.add(x, bias)
}

/// x / √(mean(x²) + ε) over the last axis.
fn to_unit_size(b: &mut FunctionBuilder, config: &Config, x: ValueId) -> Result<ValueId, OpError> {
    let square = b.unary(Op::Square, x)?;
    let mean = b.reduce(Op::ReduceMean, square, &[-1], true)?;
    let epsilon = b.float(DataType::Fp32, config.norm_eps);
    let inputs = [("x", mean.into()), ("epsilon", epsilon.into())];
    let scale = b.op(Op::Rsqrt, "rsqrt", inputs)?;
    b.mul(x, scale)
}

/// What a norm multiplies by; weight: `[N]` fp32.
pub(super) fn gain(
    b: &mut FunctionBuilder,
    config: &Config,
    weight: ValueId,
) -> Result<ValueId, OpError> {
    if !config.norm_plus_one {
        return Ok(weight);
    }
    let one = b.float(DataType::Fp32, 1.0);
    b.add(weight, one)
}

/// x / √(mean(x²) + ε) · gain over the last axis; x: `[…, N]` fp32, weight: `[N]`.
pub(super) fn rms_norm(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
    weight: ValueId,
) -> Result<ValueId, OpError> {
    let x = to_unit_size(b, config, x)?;
    let gain = gain(b, config, weight)?;
    b.mul(x, gain)
}

/// The function between the matrices of the feed-forward part.
pub(super) fn activate(
    b: &mut FunctionBuilder,
    config: &Config,
    x: ValueId,
) -> Result<ValueId, OpError> {
    match config.activation {
        Activation::Silu => b.unary(Op::Silu, x),
        Activation::GeluTanh => {
            let mode = b.string("TANH_APPROXIMATION");
            b.op(Op::Gelu, "gelu", [("x", x.into()), ("mode", mode.into())])
        }
    }
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
