//! Matrix products of a plan, and what is packed for them.

use super::build::Build;
use super::graph::{Kind, NodeId, Product, Val};
use super::place::format;
use super::step::{ProductStep, Right, Step};
use crate::format::Format;
use crate::gemm;
use runtime::{Error, Products, Staging};

/// Products of at least this many rows have their parameters packed, and others whose parameters
/// are kept in a narrower type.
const PACKED_ROWS: usize = 8;

/// A right operand that is packed when parameters are staged.
#[derive(Clone, PartialEq)]
pub(crate) struct Pack {
    pub source: PackSource,
    pub byte_offset: usize,
    pub k: usize,
    pub n: usize,
    pub operand: gemm::Operand,
    /// The format of the left operand's numbers, on which the kernel depends.
    pub left: Format,
}

impl Pack {
    /// The format that the packed operand is kept in.
    pub fn storage(&self) -> Format {
        self.operand.numbers()
    }

    /// The same whichever port the operand comes by: how it is packed from its surface.
    pub fn anywhere(&self) -> Pack {
        Pack { source: PackSource::Input(0), ..*self }
    }
}

/// Where a packed operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackSource {
    /// An input by index: packed anew when staged.
    Input(usize),
    /// A constant by index: packed once.
    Constant(usize),
}

impl Build<'_> {
    /// Adds the step of a product and says what it is.
    pub(super) fn product(
        &mut self,
        node: NodeId,
        p: &Product,
        accumulates: bool,
    ) -> Result<&'static str, Error> {
        let n = &self.graph.nodes[node];
        if n.dims.contains(&0) {
            return Ok("matrix product");
        }
        let place = self.places.of[node].as_ref().expect("a product is stored");
        let rank = n.dims.len();
        let (rows, cols) = (n.dims[rank - 2], n.dims[rank - 1]);
        let k = p.a.view.dims[rank - 1];
        let stride = |s: isize| s as usize;
        let operand = |val: &Val, round: Option<mil::DataType>| gemm::Operand {
            format: self.format(val.node),
            row_stride: stride(val.view.strides[rank - 2]),
            col_stride: stride(val.view.strides[rank - 1]),
            round: round.and_then(format),
        };
        let batch: Vec<gemm::BatchAxis> = (0..rank - 2)
            .map(|axis| gemm::BatchAxis {
                count: n.dims[axis],
                a: stride(p.a.view.strides[axis]),
                b: stride(p.b.view.strides[axis]),
                c: stride(place.strides[axis]),
            })
            .collect();
        let batched = batch.iter().any(|axis| axis.count != 1);
        let source = match self.graph.nodes[p.b.node].kind {
            Kind::Input(index) if self.is_parameter[index] => Some(PackSource::Input(index)),
            Kind::Constant(_) => Some(PackSource::Constant(self.constant_of[&p.b.node])),
            _ => None,
        };
        let right = operand(&p.b, p.round_b);
        let mut description = gemm::Description {
            m: rows,
            n: cols,
            k,
            batch,
            a: operand(&p.a, p.round_a),
            b: gemm::Right::Strided(right),
            c: gemm::Output {
                format: self.format(node),
                row_stride: stride(place.strides[rank - 2]),
                col_stride: stride(place.strides[rank - 1]),
                round: p.round.and_then(format),
                accumulate: false,
            },
            bias: p
                .bias
                .as_ref()
                .map(|bias| gemm::Bias { format: self.format(bias.val.node), to: bias.to }),
            clamp: p.clamp,
        };
        let as_bytes = source.filter(|_| self.products == Products::Int8 && !accumulates);
        if let Some(source) = as_bytes
            && self.quantized(node, p, &description, source)?
        {
            return Ok("integer matrix product");
        }
        // A few rows read each element once: packing it would only cost memory, unless it makes
        // what is read each time smaller.
        let often = matches!(source, Some(PackSource::Input(_))) && self.staging == Staging::Often;
        let narrows = right.numbers().bytes() < right.format.bytes();
        let source = source.filter(|_| !batched && (rows >= PACKED_ROWS || narrows) && !often);
        if source.is_some() {
            description.b = gemm::Right::Packed(right.numbers());
        }
        let kernel = self.kernel.clone();
        let new = |d: &gemm::Description| {
            gemm::Product::new(self.isa, self.threads, d).map_err(|e| Error::Unsupported {
                device: "cpu".into(),
                kernel: kernel.clone(),
                message: e.to_string(),
            })
        };
        let replace = new(&description)?;
        let add = if accumulates {
            description.c.accumulate = true;
            Some(new(&description)?)
        } else {
            None
        };
        let b = match source {
            Some(source) => {
                let pack = Pack {
                    source,
                    byte_offset: self.at(&p.b).byte_offset,
                    k,
                    n: cols,
                    operand: right,
                    left: description.a.numbers(),
                };
                Right::Packed(self.pack(pack))
            }
            None => Right::At(self.at(&p.b)),
        };
        let bias = p.bias.as_ref().map(|bias| self.at(&bias.val));
        let step = ProductStep { replace, add, a: self.at(&p.a), b, c: place.location, bias };
        self.steps.push(Step::Product(Box::new(step)));
        Ok("matrix product")
    }

    /// The index of a packed operand, shared by products that read the same matrix alike.
    fn pack(&mut self, pack: Pack) -> usize {
        if let Some(index) = self.packs.iter().position(|other| *other == pack) {
            return index;
        }
        self.packs.push(pack);
        self.packs.len() - 1
    }
}
