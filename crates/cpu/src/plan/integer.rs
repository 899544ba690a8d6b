//! Integer products: those of a program that says so, and those that the caller's options allow.

use super::build::Build;
use super::graph::{Graph, Kind, MapOp, NodeId, Product, Val};
use super::place::Location;
use super::products::PackSource;
use super::step::Step;
use crate::gemm;
use crate::gemm::int8::{self, Activations, Description, Output, Requantize, Side};
use crate::rows::Unary;
use mil::DataType;
use runtime::Error;
use std::sync::Arc;

/// A product of activations that lie in memory as bytes with constant weights.
#[derive(Debug)]
pub(crate) struct IntegerProduct {
    pub side: Side,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// `[batch, m, k]` with weights on the right, `[batch, k, n]` with weights on the left.
    pub x: Val,
    pub weights: Arc<IntegerWeights>,
    /// One number for each channel.
    pub bias: Option<Val>,
    pub quantization: Quantization,
    pub relu: bool,
    /// How the result becomes bytes; numbers if it does not.
    pub requantize: Option<Quantization>,
}

/// What bytes mean: `(q - zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantization {
    pub scale: f32,
    pub zero: i32,
}

/// Constant weights: channel after channel, one scale for all or for each.
#[derive(Debug, PartialEq)]
pub(crate) struct IntegerWeights {
    pub bytes: Vec<i8>,
    pub scales: Vec<f32>,
}

/// Weights that are laid out as bytes when parameters are staged, or once.
#[derive(Clone, PartialEq)]
pub(crate) struct IntegerPack {
    pub source: IntegerSource,
    pub side: Side,
    pub k: usize,
    pub channels: usize,
}

impl IntegerPack {
    /// The same whichever port the weights come by: how they are laid out from their surface.
    pub fn anywhere(&self) -> IntegerPack {
        let mut pack = self.clone();
        if let IntegerSource::Numbers { from, .. } = &mut pack.source {
            *from = PackSource::Input(0);
        }
        pack
    }
}

/// Where they come from.
#[derive(Clone, PartialEq)]
pub(crate) enum IntegerSource {
    /// Numbers, quantized channel by channel.
    Numbers { from: PackSource, byte_offset: usize, operand: gemm::Operand },
    /// The program's bytes.
    Bytes(Arc<IntegerWeights>),
}

/// An integer product with its operands.
pub(crate) struct IntegerStep {
    pub product: int8::Product,
    pub x: Location,
    /// Index of the weights.
    pub weights: usize,
    pub c: Location,
    pub bias: Option<Location>,
}

/// A quantization whose only source is an integer product, perhaps through `relu`, becomes the
/// product's last step.
pub(crate) fn requantize(graph: &mut Graph) {
    let uses = graph.uses();
    for node in 0..graph.nodes.len() {
        let Kind::Map(MapOp::Quantize(to), args) = &graph.nodes[node].kind else { continue };
        let (to, source) = (*to, args[0].clone());
        // A step of 0, which is no step, is left to the row program.
        let finite = (1.0 / to.scale).is_finite();
        if uses[node] == 0 || !finite || !only_reader(graph, &uses, &source) {
            continue;
        }
        let mut found = source.node;
        let mut relu = false;
        if let Kind::Map(MapOp::Unary(Unary::Relu), args) = &graph.nodes[found].kind {
            if !only_reader(graph, &uses, &args[0]) {
                continue;
            }
            (found, relu) = (args[0].node, true);
        }
        let is_open = matches!(&graph.nodes[found].kind,
            Kind::Integer(p) if p.requantize.is_none() && !p.relu);
        if !is_open {
            continue;
        }
        let kind = std::mem::replace(&mut graph.nodes[found].kind, Kind::Taken(node));
        let Kind::Integer(mut product) = kind else { unreachable!("matched above") };
        graph.nodes[source.node].kind = Kind::Taken(node);
        (product.relu, product.requantize) = (relu, Some(to));
        graph.nodes[node].kind = Kind::Integer(product);
    }
}

/// Whether this is all of a node that nothing else reads.
fn only_reader(graph: &Graph, uses: &[usize], val: &Val) -> bool {
    uses[val.node] == 1 && graph.is_whole(val)
}

impl Build<'_> {
    /// Adds the step of an integer product.
    pub(super) fn integer(&mut self, node: NodeId, p: &IntegerProduct) -> Result<(), Error> {
        let n = &self.graph.nodes[node];
        if n.dims.contains(&0) {
            return Ok(());
        }
        let stride = |axis: usize| p.x.view.strides[axis] as usize;
        let description = Description {
            m: p.m,
            n: p.n,
            k: p.k,
            batch: p.x.view.dims[0],
            weights: p.side,
            activations: Activations {
                format: self.format(p.x.node),
                row_stride: stride(1),
                col_stride: stride(2),
                batch_stride: stride(0),
                zero: p.quantization.zero,
                scale: p.quantization.scale,
            },
            output: Output {
                format: self.format(node),
                row_stride: p.n,
                batch_stride: p.m * p.n,
                relu: p.relu,
                round: None,
                accumulate: false,
                requantize: p
                    .requantize
                    .map(|q| Requantize { inverse: 1.0 / q.scale, zero: q.zero }),
            },
            bias: p.bias.as_ref().map(|bias| self.format(bias.node)),
        };
        let channels = if p.side == Side::Left { p.m } else { p.n };
        let source = IntegerSource::Bytes(p.weights.clone());
        let pack = IntegerPack { source, side: p.side, k: p.k, channels };
        let (x, c) = (self.at(&p.x), self.location(node));
        let bias = p.bias.as_ref().map(|bias| self.at(bias));
        let product = self.integer_product(&description)?;
        self.add_integer(IntegerStep { product, x, weights: 0, c, bias }, pack);
        Ok(())
    }

    /// Adds the step of a product of numbers as one of bytes, if it can be: by weights that are
    /// read from `source`, with rows quantized when the product is run. Says whether it did.
    pub(super) fn quantized(
        &mut self,
        node: NodeId,
        p: &Product,
        d: &gemm::Description,
        source: PackSource,
    ) -> Result<bool, Error> {
        let gemm::Right::Strided(b) = d.b else { return Ok(false) };
        let by_rows = d.bias.is_some_and(|bias| bias.to == gemm::BiasTo::Rows);
        if by_rows || d.clamp.is_some() {
            return Ok(false);
        }
        // Rows of a batch that all meet the same weights are rows of one product.
        let mut m = d.m;
        for axis in d.batch.iter().rev().filter(|axis| axis.count != 1) {
            if axis.b != 0 || axis.a != m * d.a.row_stride || axis.c != m * d.c.row_stride {
                return Ok(false);
            }
            m *= axis.count;
        }
        let fits = d.c.col_stride == 1 && d.k <= int8::MAX_DEPTH && d.a.format.is_float();
        if !fits || !b.format.is_float() {
            return Ok(false);
        }
        let description = Description {
            m,
            n: d.n,
            k: d.k,
            batch: 1,
            weights: Side::Right,
            activations: Activations {
                format: d.a.format,
                row_stride: d.a.row_stride,
                col_stride: d.a.col_stride,
                batch_stride: 0,
                zero: 0,
                scale: 1.0,
            },
            output: Output {
                format: d.c.format,
                row_stride: d.c.row_stride,
                batch_stride: 0,
                relu: false,
                round: d.c.round,
                accumulate: false,
                requantize: None,
            },
            bias: d.bias.map(|bias| bias.format),
        };
        let byte_offset = self.at(&p.b).byte_offset;
        let source = IntegerSource::Numbers { from: source, byte_offset, operand: b };
        let pack = IntegerPack { source, side: Side::Right, k: d.k, channels: d.n };
        let product = self.integer_product(&description)?;
        let (x, c) = (self.at(&p.a), self.location(node));
        let bias = p.bias.as_ref().map(|bias| self.at(&bias.val));
        self.add_integer(IntegerStep { product, x, weights: 0, c, bias }, pack);
        Ok(true)
    }

    fn integer_product(&self, description: &Description) -> Result<int8::Product, Error> {
        int8::Product::new(self.isa, self.threads, description).map_err(|e| Error::Unsupported {
            device: "cpu".into(),
            kernel: self.kernel.clone(),
            message: e.to_string(),
        })
    }

    fn add_integer(&mut self, mut step: IntegerStep, pack: IntegerPack) {
        step.weights = self.integers.len();
        self.integers.push(pack);
        self.steps.push(Step::Integer(Box::new(step)));
    }
}

/// Whether elements are the bytes of integer products.
pub(crate) fn is_byte(dtype: DataType) -> bool {
    matches!(dtype, DataType::Int8 | DataType::Uint8)
}
