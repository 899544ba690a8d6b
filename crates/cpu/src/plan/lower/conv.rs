//! Convolution as a matrix product with a copy of the windows (im2col). A 1×1 kernel needs no
//! copy: its windows are a view.

use super::Lower;
use super::quantized::Candidate;
use crate::gemm::int8::Side;
use crate::plan::graph::{MapOp, Val};
use crate::plan::view::View;
use crate::rows::Binary;
use mil::{DataType, Operation};
use runtime::Error;

impl Lower<'_> {
    /// The result of `conv`, or `None` if it is left to the interpreter.
    pub(super) fn conv(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let x = self.need(operation, "x")?;
        let weight = self.need(operation, "weight")?;
        let bias = self.arg(operation, "bias")?;
        let float = |v: &Val| {
            matches!(self.node_dtype(v), DataType::Fp32 | DataType::Fp16 | DataType::Bf16)
        };
        if ![&x, &weight].into_iter().chain(&bias).all(float) {
            return Ok(None);
        }
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
            view.strides.push(strides[2 + axis] * geometry.dilations[axis] as isize);
        }
        for axis in 0..spatial {
            view.dims.push(dims[2 + axis]);
            view.strides.push(strides[2 + axis] * geometry.strides[axis] as isize);
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
        let windows = self.reshaped(&windows, &[batch, groups, taps, pixels]);
        let weight = self.reshaped(&weight, &[1, groups, outputs / groups, taps]);
        let wide = [batch, groups, outputs / groups, pixels];
        let exact = bias.is_some();
        let product_type = if exact { DataType::Fp32 } else { dtype };
        let out = self.matrix_product(weight, windows, None, &wide, product_type, &name);
        let mut out = self.reshaped(&out, &dims);
        if let Some(bias) = bias {
            let mut column = vec![1; dims.len()];
            column[1] = outputs;
            let column = self.reshaped(&bias, &column);
            out = self.map(MapOp::Binary(Binary::Add), &[out, column], &dims, dtype, &name);
        }
        Ok(Some(out))
    }
}
