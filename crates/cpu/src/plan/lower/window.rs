//! Pools, convolutions of every channel by itself, and their reverse.

use super::Lower;
use crate::plan::graph::{Kind, MapOp, Val, WindowNode};
use crate::plan::place::{format, is_float};
use crate::window::{self, Geometry, Window};
use mil::shape::{ConvGeometry, PoolGeometry, pool_geometry};
use mil::{DataType, Op, Operation};
use runtime::Error;

/// The most elements of a tensor that windows are computed of.
const LARGEST_TENSOR: usize = 1 << 40;

impl Lower<'_> {
    /// The result of a pool over one or two axes, or `None` if it is left to the interpreter.
    pub(super) fn pool(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let x = self.need(operation, "x")?;
        let params = self.params(operation);
        let pool = pool_geometry(&params, &x.view.dims)?;
        let before: Vec<usize> = pool.pads.iter().map(|pads| pads.0).collect();
        let ones = vec![1; before.len()];
        let Some(geometry) =
            two_axes([&pool.space, &before, &pool.kernel, &pool.strides, &ones, &pool.out])
        else {
            return Ok(None);
        };
        let kind = match operation.op {
            Op::MaxPool => window::Kind::Max,
            Op::AvgPool => {
                window::Kind::Mean(factors(&pool, params.bool("exclude_padding_from_average")?))
            }
            _ => window::Kind::Root,
        };
        self.windows(operation, kind, geometry, x, None, None)
    }

    /// The result of a convolution whose groups are single channels, or `None` if it is computed
    /// otherwise; the weight is `[C·M, 1, …]`.
    pub(super) fn depthwise(
        &mut self,
        operation: &Operation,
        conv: &ConvGeometry,
        x: Val,
        weight: &Val,
        bias: Option<&Val>,
    ) -> Result<Option<Val>, Error> {
        let (channels, results) = (x.view.dims[1], weight.view.dims[0]);
        if conv.groups != channels || channels == 1 || weight.view.dims[1] != 1 {
            return Ok(None);
        }
        let before: Vec<usize> = conv.pads.iter().map(|pads| pads.0).collect();
        let (space, kernel) = (x.view.dims[2..].to_vec(), weight.view.dims[2..].to_vec());
        let Some(geometry) =
            two_axes([&space, &before, &kernel, &conv.strides, &conv.dilations, &conv.out])
        else {
            return Ok(None);
        };
        let kind = window::Kind::Weighted { multiplier: results / channels };
        let taps = kernel.iter().product::<usize>();
        let weight = self.floats(weight, &[results, taps]);
        let bias = bias.map(|bias| self.floats(bias, &[results]));
        self.windows(operation, kind, geometry, x, Some(weight), bias)
    }

    /// The result of a transposed convolution: of every channel by itself, with a weight
    /// `[C, M, …]`; or without one, of the elements of x `[N, C·taps, …]` for every tap.
    pub(super) fn spread(
        &mut self,
        operation: &Operation,
        conv: &ConvGeometry,
        x: Val,
        kernel: &[usize],
        weight: Option<&Val>,
        bias: Option<&Val>,
    ) -> Result<Option<Val>, Error> {
        let before: Vec<usize> = conv.pads.iter().map(|pads| pads.0).collect();
        let space = x.view.dims[2..].to_vec();
        let Some(geometry) =
            two_axes([&conv.out, &before, kernel, &conv.strides, &conv.dilations, &space])
        else {
            return Ok(None);
        };
        let multiplier = weight.map(|weight| weight.view.dims[1]);
        let kind = window::Kind::Spread { multiplier };
        let results = self.result(operation)?.1[1];
        let taps = kernel.iter().product::<usize>();
        let weight = weight.map(|weight| self.floats(weight, &[results, taps]));
        let bias = bias.map(|bias| self.floats(bias, &[results]));
        self.windows(operation, kind, geometry, x, weight, bias)
    }

    fn windows(
        &mut self,
        operation: &Operation,
        kind: window::Kind,
        geometry: Geometry,
        x: Val,
        weight: Option<Val>,
        bias: Option<Val>,
    ) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let from = self.node_dtype(&x);
        let (Some(source), Some(result)) = (format(from), format(dtype)) else { return Ok(None) };
        if !is_float(from) || !is_float(dtype) || dims.contains(&0) || x.view.dims.contains(&0) {
            return Ok(None);
        }
        let fits = |dims: &[usize]| mil::element_count(dims).is_some_and(|n| n <= LARGEST_TENSOR);
        if !fits(&dims) || !fits(&x.view.dims) {
            return Ok(None);
        }
        let images = x.view.dims[0];
        let channels = match kind {
            window::Kind::Spread { .. } => dims[1],
            _ => x.view.dims[1],
        };
        let x_dims = x.view.dims.clone();
        let x = self.dense_as(&x, &x_dims);
        let window = Window::new(kind, geometry, images, channels, [source, result]);
        let node = WindowNode { window, x, weight, bias };
        Ok(Some(self.graph.add(Kind::Window(Box::new(node)), &dims, dtype, &name)))
    }

    /// The value in fp32, dense and of these dims.
    fn floats(&mut self, val: &Val, dims: &[usize]) -> Val {
        let val = self.dense_as(val, dims);
        match self.node_dtype(&val) {
            DataType::Fp32 => val,
            _ => self.map(MapOp::Copy, &[val], dims, DataType::Fp32, "weight"),
        }
    }
}

/// For every place of the result: one by how many elements its window has.
fn factors(pool: &PoolGeometry, exclude_padding: bool) -> Vec<f32> {
    let count = |axis: usize, at: usize| match exclude_padding {
        true => pool.window(axis, at).len(),
        false => pool.padded(axis, at),
    };
    let axis = |axis: usize| (0..pool.out[axis]).map(move |at| count(axis, at));
    let factor = |count: usize| 1.0 / count.max(1) as f32;
    match pool.out.len() {
        1 => axis(0).map(factor).collect(),
        _ => axis(0).flat_map(|rows| axis(1).map(move |columns| factor(rows * columns))).collect(),
    }
}

/// The geometry of two axes: one axis is that of columns. `None` for three, and where planes would be
/// larger than windows are for.
fn two_axes(lists: [&[usize]; 6]) -> Option<Geometry> {
    let none = [1, 0, 1, 1, 1, 1];
    let mut pairs = [[0; 2]; 6];
    for ((pair, list), none) in pairs.iter_mut().zip(lists).zip(none) {
        *pair = match *list {
            [columns] => [none, columns],
            [rows, columns] => [rows, columns],
            _ => return None,
        };
    }
    let [input, before, kernel, strides, dilations, output] = pairs;
    Geometry { input, before, kernel, strides, dilations, output }.checked()
}
