//! Between numbers and bytes, and the products that can be computed with the bytes.

use super::Lower;
use crate::gemm::int8::{MAX_DEPTH, Side};
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::integer::{IntegerProduct, IntegerWeights, Quantization, is_byte};
use crate::plan::place::is_float;
use crate::rows::Binary;
use mil::{Arg, DataType, Op, Operand, Operation, Tensor};
use runtime::Error;
use std::sync::Arc;

/// A constant weight as the program stores it.
pub(super) struct StoredWeight {
    /// s8; in the order of the dims.
    bytes: Vec<i8>,
    dims: Vec<usize>,
    /// One for all, or one for each index of `axis`.
    scales: Vec<f32>,
    axis: usize,
}

/// A product that may be one of bytes.
pub(super) struct Candidate<'a> {
    pub operation: &'a Operation,
    /// The activations as numbers.
    pub x: &'a Val,
    /// The parameter that names the weights, and the axis of their channels.
    pub weight: &'a str,
    pub channels: usize,
}

/// The two operands of a candidate: bytes, what they mean, and the weights.
pub(super) struct Bytes {
    pub x: Val,
    pub quantization: Quantization,
    pub weights: Arc<IntegerWeights>,
}

impl Lower<'_> {
    /// Remembers the bytes of a constant that is about to be folded, if products can use them.
    pub(super) fn remember_weight(&mut self, operation: &Operation) -> Result<(), Error> {
        let params = self.params(operation);
        let (Some(data), Some(scale)) = (params.tensor("quantized_data")?, params.tensor("scale")?)
        else {
            return Ok(());
        };
        let zeros = params.tensor("zero_point")?.map_or(vec![0.0], |t| t.to_f64s());
        let axis = params.axis("axis", data.dims().len().max(1))?;
        // Bytes without a sign are those with one moved up by 128, and so are their zero points.
        let shift = if data.dtype() == DataType::Uint8 { 128.0 } else { 0.0 };
        if zeros.iter().any(|&zero| zero != shift) {
            return Ok(());
        }
        let bytes = data.to_f64s().into_iter().map(|q| (q - shift) as i8).collect();
        let scales = scale.to_f64s().into_iter().map(|s| s as f32).collect();
        let weight = StoredWeight { bytes, dims: data.dims().to_vec(), scales, axis };
        self.stored.insert(operation.output(), Arc::new(weight));
        Ok(())
    }

    /// The same of a constant in blocks: products can use it if the blocks are those of channels,
    /// or of groups of whole channels, and what is scaled are integers of 8 bits.
    pub(super) fn remember_blocks(&mut self, operation: &Operation) -> Result<(), Error> {
        let params = self.params(operation);
        let (Some(data), Some(scale)) = (params.tensor("data")?, params.tensor("scale")?) else {
            return Ok(());
        };
        if !data.dtype().is_int() {
            return Ok(());
        }
        let (dims, blocks) = (data.dims(), scale.dims());
        let mut divided = (0..dims.len()).filter(|&axis| blocks[axis] != 1);
        let (axis, None) = (divided.next().unwrap_or(0), divided.next()) else { return Ok(()) };
        let inner: usize = dims[axis + 1..].iter().product();
        let size = dims[axis] / blocks[axis];
        let offset = params.tensor("offset")?.map_or(vec![0.0; blocks[axis]], |t| t.to_f64s());
        // What is scaled, be it stored with or without a sign, or in 4 bits.
        let byte = |(i, q): (usize, f64)| {
            let value = q - offset[i / inner % dims[axis] / size];
            (value == f64::from(value as i8)).then_some(value as i8)
        };
        let bytes: Option<Vec<i8>> = data.to_f64s().into_iter().enumerate().map(byte).collect();
        let Some(bytes) = bytes else { return Ok(()) };
        let scales = scale.to_f64s().into_iter().map(|s| s as f32);
        let repeat = if blocks[axis] == 1 { 1 } else { size };
        let scales = scales.flat_map(|s| std::iter::repeat_n(s, repeat)).collect();
        let weight = StoredWeight { bytes, dims: dims.to_vec(), scales, axis };
        self.stored.insert(operation.output(), Arc::new(weight));
        Ok(())
    }

    /// The result of `quantize` or `dequantize`, or `None` if it is left to the interpreter.
    pub(super) fn quantization(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "input")?;
        let params = self.params(operation);
        let Some(scale) = params.tensor("scale")? else { return Ok(None) };
        let zero = params.tensor("zero_point")?;
        if zero.is_none() && params.has("zero_point") {
            return Ok(None);
        }
        let scales = scale.to_f64s();
        let zeros = zero.map_or(vec![0.0], |zero| zero.to_f64s());
        let quantizes = operation.op == Op::Quantize;
        let number = if quantizes { self.node_dtype(&x) } else { dtype };
        if !is_float(number) {
            return Ok(None);
        }
        if scales.len().max(zeros.len()) == 1 {
            let q = Quantization { scale: scales[0] as f32, zero: zeros[0] as i32 };
            let op = if quantizes { MapOp::Quantize(q) } else { MapOp::Dequantize(q) };
            let source = x.clone();
            let out = self.map(op, &[x], &dims, dtype, &name);
            if !quantizes && source.view.is_packed() {
                self.dequantized.insert(out.node, (source, q));
            }
            return Ok(Some(out));
        }
        let axis = self.params(operation).axis("axis", dims.len())?;
        let mut vector = |values: &[f64]| {
            let mut shape = vec![1; dims.len()];
            shape[axis] = values.len();
            let tensor = Tensor::from_f64s(DataType::Fp32, &shape, values);
            tensor.map(|tensor| self.constant_node(&tensor, "constant"))
        };
        let (Ok(scale), Ok(zero)) = (vector(&scales), vector(&zeros)) else { return Ok(None) };
        let binary = |op| MapOp::Binary(op);
        if !quantizes {
            let x = self.map(binary(Binary::Sub), &[x, zero], &dims, DataType::Fp32, &name);
            return Ok(Some(self.map(binary(Binary::Mul), &[x, scale], &dims, dtype, &name)));
        }
        // Steps of one in f32 around a zero point of 0, clipped wide enough for any; then the
        // zero point, and clipped for good.
        let f32 = DataType::Fp32;
        let x = self.map(binary(Binary::Div), &[x, scale], &dims, f32, &name);
        let rounded = self.rounded(x, &name);
        let x = self.map(binary(Binary::Add), &[rounded, zero], &dims, f32, &name);
        let q = Quantization { scale: 1.0, zero: 0 };
        Ok(Some(self.map(MapOp::Quantize(q), &[x], &dims, dtype, &name)))
    }

    /// The nearest integers, ties to even; numbers beyond ±1024 become that.
    fn rounded(&mut self, x: Val, name: &str) -> Val {
        const MAGIC: f64 = 12_582_912.0;
        let steps = [
            (Binary::Max, -1024.0),
            (Binary::Min, 1024.0),
            (Binary::Add, MAGIC),
            (Binary::Sub, MAGIC),
        ];
        steps.into_iter().fold(x, |x, (op, constant)| {
            let constant = self.scalar(constant);
            self.f32_map(MapOp::Binary(op), &[x, constant], name)
        })
    }

    /// The operands as bytes, if both are.
    pub(super) fn as_bytes(&self, candidate: &Candidate<'_>) -> Option<Bytes> {
        let Candidate { operation, x, weight, channels } = *candidate;
        let Some(Arg::One(Operand::Value(id))) = operation.inputs.get(weight) else { return None };
        let stored = self.stored.get(id)?;
        let (source, quantization) = self.dequantized.get(&x.node)?;
        if !is_byte(self.node_dtype(source)) || x.view.strides.iter().any(|&s| s < 0) {
            return None;
        }
        let depth = stored.bytes.len().checked_div(*stored.dims.get(channels)?)?;
        if depth > MAX_DEPTH || depth == 0 {
            return None;
        }
        let mut view = x.view.clone();
        view.offset += source.view.offset;
        let weights = Arc::new(stored.by_channel(channels)?);
        Some(Bytes { x: Val { node: source.node, view }, quantization: *quantization, weights })
    }

    /// `x · weightᵀ + bias` of bytes; x is `[rows, k]`.
    pub(super) fn integer_linear(
        &mut self,
        bytes: Bytes,
        bias: Option<Val>,
        [m, n, k]: [usize; 3],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let x = self.reshaped(&bytes.x, &[1, m, k]);
        self.integer_product(Side::Right, bytes, x, bias, [m, n, k], (&[m, n], dtype, name))
    }

    /// An integer product; the node has `dims`.
    pub(super) fn integer_product(
        &mut self,
        side: Side,
        bytes: Bytes,
        x: Val,
        bias: Option<Val>,
        [m, n, k]: [usize; 3],
        (dims, dtype, name): (&[usize], DataType, &str),
    ) -> Val {
        let bias = bias.map(|bias| if bias.view.is_packed() { bias } else { self.copied(&bias) });
        let Bytes { quantization, weights, .. } = bytes;
        let (relu, requantize) = (false, None);
        let product =
            IntegerProduct { side, m, n, k, x, weights, bias, quantization, relu, requantize };
        self.graph.add(Kind::Integer(Box::new(product)), dims, dtype, name)
    }
}

impl StoredWeight {
    /// The bytes channel after channel, if scales are those of channels.
    fn by_channel(&self, channels: usize) -> Option<IntegerWeights> {
        if self.scales.len() != 1 && self.axis != channels {
            return None;
        }
        let inner: usize = self.dims[channels + 1..].iter().product();
        let (count, outer) = (self.dims[channels], self.dims[..channels].iter().product::<usize>());
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for channel in 0..count {
            for i in 0..outer {
                bytes.extend_from_slice(&self.bytes[(i * count + channel) * inner..][..inner]);
            }
        }
        Some(IntegerWeights { bytes, scales: self.scales.clone() })
    }
}
