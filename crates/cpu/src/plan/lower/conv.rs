//! Convolution as a matrix product with a copy of the windows (im2col), and its reverse as one whose
//! results are added where the windows are. A 1×1 kernel needs no copy: its windows are a view.

use super::Lower;
use super::quantized::Candidate;
use crate::gemm::int8::Side;
use crate::plan::graph::{MapOp, Val};
use crate::plan::place::is_float;
use crate::plan::view::View;
use crate::rows::Binary;
use mil::{DataType, Operation};
use runtime::Error;

/// Fewer pixels than this are not a matrix of their own, but for a single image.
const NARROW: usize = 32;

/// x, the weight and the bias of a convolution.
type Convolved = (Val, Val, Option<Val>);

impl Lower<'_> {
    /// The result of `conv`, or `None` if it is left to the interpreter.
    pub(super) fn conv(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let Some((x, weight, bias)) = self.convolved(operation)? else { return Ok(None) };
        let geometry =
            mil::shape::conv_geometry(&self.params(operation), &x.view.dims, &weight.view.dims)?;
        if let Some(out) =
            self.depthwise(operation, &geometry, x.clone(), &weight, bias.as_ref())?
        {
            return Ok(Some(out));
        }
        let spatial = dims.len() - 2;
        let groups = geometry.groups;
        let candidate = Candidate { operation, x: &x, weight: "weight", channels: 0 };
        let mut bytes = self.as_bytes(&candidate).filter(|_| groups == 1);
        let x = match &mut bytes {
            // What stands for 0 is around the image.
            Some(bytes) => {
                let zero = bytes.quantization.zero;
                self.padded(&bytes.x.clone(), &geometry.pads, f64::from(zero), &name)
            }
            None => self.padded(&x, &geometry.pads, 0.0, &name),
        };
        let (batch, channels) = (x.view.dims[0], x.view.dims[1]);
        let (outputs, inputs) = (weight.view.dims[0], weight.view.dims[1]);
        let kernel = &weight.view.dims[2..];

        // Windows: [N, groups, channels per group, kernel…, output…].
        let strides = &x.view.strides;
        let mut view = View {
            dims: vec![batch, groups, channels / groups],
            strides: vec![strides[0], strides[1] * (channels / groups) as isize, strides[1]],
            offset: x.view.offset,
        };
        for axis in 0..spatial {
            view.dims.push(kernel[axis]);
            // With one tap it does not matter, and may be anything.
            let dilation = if kernel[axis] > 1 { geometry.dilations[axis] } else { 1 };
            view.strides.push(strides[2 + axis] * dilation as isize);
        }
        for axis in 0..spatial {
            view.dims.push(dims[2 + axis]);
            let stride = if dims[2 + axis] > 1 { geometry.strides[axis] } else { 1 };
            view.strides.push(strides[2 + axis] * stride as isize);
        }
        let taps = inputs * kernel.iter().product::<usize>();
        let pixels: usize = dims[2..].iter().product();
        let windows = Val { node: x.node, view };
        if let Some(bytes) = bytes {
            let x = self.reshaped(&windows, &[batch, taps, pixels]);
            let bias = bias.map(|bias| self.reshaped(&bias, &[outputs]));
            let (shape, wide) = ([outputs, pixels, taps], [batch, outputs, pixels]);
            let out =
                self.integer_product(Side::Left, bytes, x, bias, shape, (&wide, dtype, &name));
            return Ok(Some(self.reshaped(&out, &dims)));
        }
        let windows = self.columns(&windows, spatial, [batch, groups, taps, pixels]);
        let exact = bias.is_some();
        let product_type = if exact { DataType::Fp32 } else { dtype };
        let out = if groups == 1 && batch > 1 && pixels < NARROW {
            // The columns of all images side by side.
            let perm =
                |val: &Val, perm: &[usize]| Val { node: val.node, view: val.view.permute(perm) };
            let rows = perm(&windows, &[0, 3, 1, 2]);
            let rows = self.reshaped(&rows, &[batch * pixels, taps]);
            let weight = self.reshaped(&weight, &[outputs, taps]);
            let wide = [outputs, batch * pixels];
            let out =
                self.matrix_product(weight, perm(&rows, &[1, 0]), None, &wide, product_type, &name);
            perm(&self.reshaped(&out, &[outputs, batch, pixels]), &[1, 0, 2])
        } else {
            let weight = self.reshaped(&weight, &[1, groups, outputs / groups, taps]);
            let wide = [batch, groups, outputs / groups, pixels];
            self.matrix_product(weight, windows, None, &wide, product_type, &name)
        };
        let out = self.reshaped(&out, &dims);
        Ok(Some(self.with_bias(out, bias, &dims, dtype, &name)))
    }

    /// The result of `conv_transpose`, or `None` if it is left to the interpreter.
    pub(super) fn conv_transpose(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let Some((x, weight, bias)) = self.convolved(operation)? else { return Ok(None) };
        if x.view.dims.contains(&0) || dims.contains(&0) {
            return Ok(None);
        }
        let geometry = mil::shape::conv_transpose_geometry(
            &self.params(operation),
            &x.view.dims,
            &weight.view.dims,
        )?;
        let groups = geometry.groups;
        let (batch, inputs) = (x.view.dims[0], weight.view.dims[0] / groups);
        let (outputs, kernel) = (weight.view.dims[1], weight.view.dims[2..].to_vec());
        let space = x.view.dims[2..].to_vec();
        let (taps, pixels) = (kernel.iter().product::<usize>(), space.iter().product::<usize>());
        if groups > 1 && inputs == 1 {
            return self.spread(operation, &geometry, x, &kernel, Some(&weight), bias.as_ref());
        }
        // Of each output channel the products for every tap: [Cout/groups · taps, Cin/groups].
        let weight = self.reshaped(&weight, &[1, groups, inputs, outputs * taps]);
        let weight = Val { node: weight.node, view: weight.view.permute(&[0, 1, 3, 2]) };
        let columns = self.reshaped(&x, &[batch, groups, inputs, pixels]);
        let wide = [batch, groups, outputs * taps, pixels];
        let ones = |list: &[usize]| list.iter().all(|&n| n == 1);
        let alone = taps == 1 && ones(&geometry.strides) && geometry.out == space;
        if alone && geometry.pads.iter().all(|pads| pads.0 == 0) {
            let product_type = if bias.is_some() { DataType::Fp32 } else { dtype };
            let out = self.matrix_product(weight, columns, None, &wide, product_type, &name);
            let out = self.reshaped(&out, &dims);
            return Ok(Some(self.with_bias(out, bias, &dims, dtype, &name)));
        }
        let columns = self.matrix_product(weight, columns, None, &wide, DataType::Fp32, &name);
        let channels = [&[batch, groups * outputs * taps], &space[..]].concat();
        let columns = self.reshaped(&columns, &channels);
        self.spread(operation, &geometry, columns, &kernel, None, bias.as_ref())
    }

    /// The operands of a convolution, or `None` if they are no floats.
    fn convolved(&mut self, operation: &Operation) -> Result<Option<Convolved>, Error> {
        let (x, weight) = (self.need(operation, "x")?, self.need(operation, "weight")?);
        let bias = self.arg(operation, "bias")?;
        let float = |val: &Val| is_float(self.node_dtype(val));
        let floats = [&x, &weight].into_iter().chain(&bias).all(float);
        Ok(floats.then_some((x, weight, bias)))
    }

    /// The windows `[N, groups, Cin/groups, kernel…, output…]` as matrices
    /// `[N, groups, taps, pixels]`, copied if they must be: along the longer rows of the two.
    fn columns(&mut self, windows: &Val, spatial: usize, dims: [usize; 4]) -> Val {
        let rank = windows.view.dims.len();
        let [tap, pixel] = [rank - spatial - 1, rank - 1].map(|axis| windows.view.dims[axis]);
        if windows.view.reshape(&dims).is_some() || pixel >= tap {
            return self.reshaped(windows, &dims);
        }
        let taps = 2..rank - spatial;
        let perm: Vec<usize> = [0, 1].into_iter().chain(taps.end..rank).chain(taps).collect();
        let turned = Val { node: windows.node, view: windows.view.permute(&perm) };
        let [batch, groups, taps, pixels] = dims;
        let turned = self.reshaped(&turned, &[batch, groups, pixels, taps]);
        Val { node: turned.node, view: turned.view.permute(&[0, 1, 3, 2]) }
    }

    /// With a number added to every channel.
    fn with_bias(
        &mut self,
        out: Val,
        bias: Option<Val>,
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let Some(bias) = bias else { return out };
        let mut column = vec![1; dims.len()];
        column[1] = dims[1];
        let column = self.reshaped(&bias, &column);
        self.map(MapOp::Binary(Binary::Add), &[out, column], dims, dtype, name)
    }
}
