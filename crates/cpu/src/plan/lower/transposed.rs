//! Transposed convolution as a convolution.
//!
//! What a transposed convolution of strides s adds up at one place of its result comes from the taps
//! of one phase: those whose place is the same modulo s. So the places of all phases in a block of s
//! are results of one ordinary convolution, of stride 1, with a kernel of ⌈k/s⌉ and as many channels
//! more as a block has places; what remains is to put the channels where they belong.

use super::Lower;
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::view::View;
use crate::rows::Binary;
use mil::shape::{ConvGeometry, conv_transpose_geometry};
use mil::{DataType, Operation, Tensor};
use runtime::Error;

impl Lower<'_> {
    /// The result of `conv_transpose`, or `None` if it is left to the interpreter.
    pub(super) fn conv_transpose(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let weight = self.need(operation, "weight")?;
        let bias = self.arg(operation, "bias")?;
        let float = |v: &Val| {
            matches!(self.node_dtype(v), DataType::Fp32 | DataType::Fp16 | DataType::Bf16)
        };
        let all_float = [&x, &weight].into_iter().chain(&bias).all(float);
        let empty = [&dims, &x.view.dims, &weight.view.dims].iter().any(|d| d.contains(&0));
        if !all_float || empty {
            return Ok(None);
        }
        let params = self.params(operation);
        let geometry = conv_transpose_geometry(&params, &x.view.dims, &weight.view.dims)?;
        let blocks = Blocks::of(&geometry, &weight.view.dims[2..]);
        let groups = geometry.groups;
        let (outputs, inputs) = (weight.view.dims[1], x.view.dims[1] / groups);
        let phases: usize = geometry.strides.iter().product();
        let Some(weight) = self.phases(&weight, &geometry, &blocks) else { return Ok(None) };

        // As many windows as there are blocks that the result has a place in.
        let batch = x.view.dims[0];
        let mut margins = vec![];
        let mut trimmed = x.view.clone();
        for (axis, (&kernel, &count)) in blocks.kernel.iter().zip(&blocks.count).enumerate() {
            let n = x.view.dims[2 + axis].min(count);
            trimmed = trimmed.slice(2 + axis, 0, 1, n);
            margins.push((kernel - 1, count - n));
        }
        let padded = self.padded(&Val { node: x.node, view: trimmed }, &margins, 0.0, &name);
        let strides = &padded.view.strides;
        let mut view = View {
            dims: vec![batch, groups, inputs],
            strides: vec![strides[0], strides[1] * inputs as isize, strides[1]],
            offset: padded.view.offset,
        };
        for lengths in [&blocks.kernel, &blocks.count] {
            view.dims.extend(lengths);
            view.strides.extend(&strides[2..]);
        }
        let taps = inputs * blocks.kernel.iter().product::<usize>();
        let places: usize = blocks.count.iter().product();
        let windows = Val { node: padded.node, view };
        let windows = self.reshaped(&windows, &[batch, groups, taps, places]);
        let wide = [batch, groups, outputs * phases, places];
        let product_type = if bias.is_some() { DataType::Fp32 } else { dtype };
        let out = self.matrix_product(weight, windows, None, &wide, product_type, &name);
        let mut out = self.reshaped(&out, &[batch, groups * outputs, phases, places]);
        if let Some(bias) = bias {
            let column = self.reshaped(&bias, &[1, groups * outputs, 1, 1]);
            let wide = out.view.dims.clone();
            out = self.map(MapOp::Binary(Binary::Add), &[out, column], &wide, dtype, &name);
        }

        // From [N, C, phase…, block…] to [N, C, (block, phase)…], of which the margins are cut off.
        let spatial = geometry.strides.len();
        let mut split = vec![batch, groups * outputs];
        split.extend(geometry.strides.iter().chain(&blocks.count));
        let mut order = vec![0, 1];
        let mut whole = vec![batch, groups * outputs];
        for axis in 0..spatial {
            order.extend([2 + spatial + axis, 2 + axis]);
            whole.push(blocks.count[axis] * geometry.strides[axis]);
        }
        let out = self.reshaped(&out, &split);
        let turned = Val { node: out.node, view: out.view.permute(&order) };
        let out = self.reshaped(&turned, &whole);
        let mut view = out.view;
        for axis in 0..spatial {
            view = view.slice(2 + axis, geometry.pads[axis].0, 1, dims[2 + axis]);
        }
        Ok(Some(Val { node: out.node, view }))
    }

    /// The weight `[Cin, Cout/groups, k…]` with the taps of every phase apart:
    /// `[1, groups, Cout/groups · phases, Cin/groups · kernel]`, the last in the order of windows.
    fn phases(&mut self, weight: &Val, g: &ConvGeometry, blocks: &Blocks) -> Option<Val> {
        let (spatial, kernel) = (g.strides.len(), &blocks.kernel);
        let (inputs, outputs) = (weight.view.dims[0], weight.view.dims[1]);
        let phases: usize = g.strides.iter().product();
        let taps: usize = kernel.iter().product();
        let per_group = inputs / g.groups;
        let wide = [1, g.groups, outputs * phases, per_group * taps];
        if let Kind::Constant(_) = &self.graph.nodes[weight.node].kind {
            // Made now, so that the product can pack it once.
            let tensor = self.materialized(weight)?;
            let (dtype, bytes) = (tensor.dtype(), tensor.bytes());
            let (width, sizes) = (dtype.bits() / 8, &weight.view.dims[2..]);
            let mut made = vec![0; inputs * outputs * phases * taps * width];
            let mut to = 0;
            for row in 0..g.groups * outputs * phases {
                let (channel, phase) = (row / phases, row % phases);
                let (group, output) = (channel / outputs, channel % outputs);
                for column in 0..per_group * taps {
                    let input = group * per_group + column / taps;
                    let mut from = Some(input * outputs + output);
                    let (mut phases, mut taps) = (phases, taps);
                    let (mut phase, mut tap) = (phase, column % taps);
                    for (axis, (&stride, &size)) in g.strides.iter().zip(sizes).enumerate() {
                        phases /= stride;
                        taps /= kernel[axis];
                        let place = phase / phases + (kernel[axis] - 1 - tap / taps) * stride;
                        (phase, tap) = (phase % phases, tap % taps);
                        let (at, rest) = (place / g.dilations[axis], place % g.dilations[axis]);
                        let there = rest == 0 && at < size;
                        from = from.filter(|_| there).map(|from| from * size + at);
                    }
                    if let Some(from) = from {
                        made[to..to + width].copy_from_slice(&bytes[from * width..][..width]);
                    }
                    to += width;
                }
            }
            let tensor = Tensor::from_bytes(dtype, &wide, made).ok()?;
            return Some(self.constant_node(&tensor, "weight"));
        }
        if g.dilations.iter().any(|&d| d != 1) {
            return None;
        }
        let margins: Vec<(usize, usize)> = (0..spatial)
            .map(|axis| (0, kernel[axis] * g.strides[axis] - weight.view.dims[2 + axis]))
            .collect();
        let weight = self.padded(weight, &margins, 0.0, "weight");
        let mut split = vec![g.groups, per_group, outputs];
        let (mut phase_axes, mut tap_axes) = (vec![], vec![]);
        for (&size, &stride) in kernel.iter().zip(&g.strides) {
            tap_axes.push(split.len());
            phase_axes.push(split.len() + 1);
            split.extend([size, stride]);
        }
        let weight = self.reshaped(&weight, &split);
        let mut view = weight.view;
        for &axis in &tap_axes {
            let size = view.dims[axis];
            view = view.slice(axis, size - 1, -1, size);
        }
        let order = [vec![0, 2], phase_axes, vec![1], tap_axes].concat();
        let turned = Val { node: weight.node, view: view.permute(&order) };
        Some(self.reshaped(&turned, &wide))
    }

    /// The elements of a value that is a constant.
    pub(super) fn materialized(&self, val: &Val) -> Option<Tensor> {
        let Kind::Constant(tensor) = &self.graph.nodes[val.node].kind else { return None };
        let width = tensor.dtype().bits() / 8;
        if width == 0 || !tensor.dtype().bits().is_multiple_of(8) {
            return None;
        }
        if val.view.is_dense() && val.view.count() == tensor.count() {
            return tensor.clone().reshaped(&val.view.dims).ok();
        }
        let mut bytes = Vec::with_capacity(val.view.count() * width);
        let walk = crate::plan::walk::Walk::new(&val.view.dims, [&val.view.strides]);
        let [step] = walk.line().1;
        walk.lines(0..walk.count(), |[first], count| {
            for i in 0..count as isize {
                let at = (val.view.offset + first + i * step) as usize * width;
                bytes.extend_from_slice(&tensor.bytes()[at..at + width]);
            }
        });
        Tensor::from_bytes(tensor.dtype(), &val.view.dims, bytes).ok()
    }
}

/// How a transposed convolution is cut into blocks, for each spatial axis.
struct Blocks {
    /// Elements of x that a block depends on.
    kernel: Vec<usize>,
    /// Blocks that have a place in the result.
    count: Vec<usize>,
}

impl Blocks {
    fn of(g: &ConvGeometry, taps: &[usize]) -> Blocks {
        let axes = 0..g.strides.len();
        let extent = |axis: usize| (taps[axis] - 1) * g.dilations[axis] + 1;
        Blocks {
            kernel: axes.clone().map(|axis| extent(axis).div_ceil(g.strides[axis])).collect(),
            count: axes.map(|a| (g.pads[a].0 + g.out[a]).div_ceil(g.strides[a])).collect(),
        }
    }
}
