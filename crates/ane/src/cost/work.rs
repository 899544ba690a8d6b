//! What an operation does, whatever runs it: operations on numbers, bytes, and which kind of unit
//! is busy with it.

use super::Error;
use mil::{Env, Function, FunctionEnv, Op, Operand, Operation, Params, Tensor, Type, ValueId};

/// What kind of work an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Known when the program is compiled.
    Constant,
    /// Only another name for memory: reshapes, and slices and joins of whole leading parts.
    View,
    /// Moves bytes without computing: transposes, slices of rows, gathers.
    Move,
    /// Computes element by element, or along rows.
    Map,
    /// A matrix product or a convolution.
    Product,
}

impl Kind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        ["constant", "view", "move", "map", "product"][self as usize]
    }
}

/// The work of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// The kind.
    pub kind: Kind,
    /// Additions, multiplications and the like; a multiplication with its addition is two.
    pub flops: f64,
    /// Exponentials, roots and other functions among them.
    pub functions: f64,
    /// Bytes of operands that are no constants, and of results.
    pub bytes: f64,
    /// Bytes read and written by moves of whole rows, in pieces of at least `PIECE`.
    pub copied: f64,
    /// Bytes that leave their rows: of a transpose its result, of a product the operands that it
    /// takes transposed.
    pub moved: f64,
    /// Of a product, its two operands.
    pub product: Option<Operands>,
}

/// The shortest piece of a row, in bytes, that is copied as fast as long ones: rows of surfaces
/// are multiples of it.
pub const PIECE: f64 = 64.0;

/// The operands of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operands {
    /// How many products of this size there are.
    pub count: f64,
    /// Bytes of the left operand of one, of a convolution its weight.
    pub left: f64,
    /// Bytes of the right operand of one.
    pub right: f64,
}

impl Operands {
    /// Bytes that are read again because neither operand can be held in `limit` bytes: one is
    /// read once in parts that fit, the other once with every part. The cheaper way is taken.
    pub fn read_again(&self, limit: f64) -> f64 {
        if self.left.min(self.right) <= limit {
            return 0.0;
        }
        let parts = |bytes: f64| (bytes / limit).ceil() - 1.0;
        self.count * (parts(self.left) * self.right).min(parts(self.right) * self.left)
    }

    /// The larger of the two, in bytes.
    pub fn larger(&self) -> f64 {
        self.left.max(self.right)
    }
}

/// A function whose operations are counted.
pub(super) struct Counter<'a> {
    function: &'a Function,
    env: FunctionEnv<'a>,
}

impl<'a> Counter<'a> {
    pub fn new(function: &'a Function) -> Counter<'a> {
        Counter { function, env: FunctionEnv::new(function) }
    }

    /// Dimensions of a tensor.
    pub fn dims(&self, id: ValueId) -> Result<Vec<usize>, Error> {
        let ty = self.function.ty(id);
        let ty = if let Type::State(inner) = ty { inner } else { ty };
        ty.as_tensor().and_then(|t| t.fixed_dims()).ok_or_else(|| {
            let value = self.function.value(id);
            Error::Shape { value: value.name.clone(), ty: value.ty.to_string() }
        })
    }

    /// Elements of a tensor.
    pub fn elements(&self, id: ValueId) -> Result<f64, Error> {
        Ok(self.dims(id)?.iter().map(|&d| d as f64).product())
    }

    /// Bytes of a tensor.
    pub fn bytes(&self, id: ValueId) -> Result<f64, Error> {
        let ty = self.function.ty(id);
        let ty = if let Type::State(inner) = ty { inner } else { ty };
        let bits = ty.as_tensor().map_or(0, |t| t.dtype.bits());
        Ok(self.elements(id)? * bits as f64 / 8.0)
    }

    pub fn is_constant(&self, id: ValueId) -> bool {
        self.env.is_constant(id)
    }

    /// The work of an operation.
    ///
    /// # Errors
    /// If a shape is not fixed.
    pub fn work(&self, operation: &Operation) -> Result<Work, Error> {
        let kind = self.kind(operation)?;
        let mut bytes = 0.0;
        let mut results = 0.0;
        let mut out = 0.0;
        if !matches!(kind, Kind::Constant) {
            for &id in &operation.outputs {
                results += self.bytes(id)?;
                out += self.elements(id)?;
            }
            bytes = results;
            for id in operation.operands().filter(|&id| !self.is_constant(id)) {
                bytes += self.bytes(id)?;
            }
        }
        let mut work = Work {
            kind,
            flops: 0.0,
            functions: 0.0,
            bytes,
            copied: 0.0,
            moved: 0.0,
            product: None,
        };
        match kind {
            Kind::Constant | Kind::View => work.bytes = 0.0,
            Kind::Move => {
                match self.keeps_rows(operation)? {
                    true => work.copied = 2.0 * results,
                    false => work.moved = results,
                }
                // A gather reads what it takes, not the whole table.
                work.bytes = 2.0 * results;
            }
            Kind::Map => {
                let largest = operation.operands().map(|id| self.elements(id));
                let largest = largest.collect::<Result<Vec<_>, _>>()?;
                let elements = largest.into_iter().fold(out, f64::max);
                let (flops, functions) = per_element(operation.op);
                let (flops, elements) = match operation.op {
                    Op::MaxPool | Op::AvgPool | Op::L2Pool => (self.window(operation), out),
                    _ => (flops, elements),
                };
                work.flops = elements * flops;
                work.functions = elements * functions;
            }
            Kind::Product => self.product(operation, out, &mut work)?,
        }
        Ok(work)
    }

    fn kind(&self, operation: &Operation) -> Result<Kind, Error> {
        use Op::*;
        Ok(match operation.op {
            Const => Kind::Constant,
            Identity | Reshape | ExpandDims | Squeeze => Kind::View,
            Transpose => match self.keeps_order(operation)? {
                true => Kind::View,
                false => Kind::Move,
            },
            SliceByIndex | SliceBySize | Concat | Split => match self.is_leading(operation)? {
                true => Kind::View,
                false => Kind::Move,
            },
            SliceUpdate | Tile | Pad | Reverse | Gather | GatherAlongAxis | Scatter
            | ScatterAlongAxis | ReadState | WriteState => Kind::Move,
            Linear | Matmul | Conv | ConvTranspose | ScaledDotProductAttention => Kind::Product,
            Cast | Add | Sub | Mul | RealDiv | FloorDiv | Mod | Maximum | Minimum | Pow | Equal
            | NotEqual | Less | LessEqual | Greater | GreaterEqual | LogicalAnd | LogicalOr
            | LogicalNot | Select | Abs | Sign | Floor | Exp | Log | Sqrt | Rsqrt | Inverse
            | Square | Sin | Cos | Erf | Sigmoid | Silu | Tanh | Relu | Gelu | Clip | Softmax
            | ReduceSum | ReduceMean | ReduceMax | ReduceMin | ReduceLogSumExp | Cumsum
            | LayerNorm | Quantize | Dequantize => Kind::Map,

            ConstexprAffineDequantize
            | ConstexprBlockwiseShiftScale
            | ConstexprCast
            | ConstexprLutToDense
            | ConstexprSparseToDense
            | ConstexprLutToSparse
            | ConstexprSparseBlockwiseShiftScale => Kind::Constant,
            ReshapeLike | Flatten2d => Kind::View,
            GatherNd | ScatterNd | OneHot | Fill | FillLike | Shape | Stack | BandPart
            | ReverseSequence | MakeList | ListWrite | ListRead | ListGather | ListScatter
            | ListLength => Kind::Move,
            // What these take depends on values, or is no work of the engine's: a lower bound.
            Topk
            | Argsort
            | NonZero
            | NonMaximumSuppression
            | Range1d
            | Einsum
            | Lstm
            | Gru
            | Rnn
            | Cond
            | WhileLoop
            | RandomUniform
            | RandomNormal
            | RandomBernoulli
            | RandomCategorical
            | Classify => Kind::Map,
            LogicalXor | Acos | Asin | Atan | Atanh | Tan | Sinh | Cosh | Ceil | Round | Exp2
            | Elu | LeakyRelu | Prelu | Relu6 | ClampedRelu | LinearActivation | ScaledTanh
            | SigmoidHard | Softplus | SoftplusParametric | Softsign | Threshold
            | ThresholdedRelu | ReduceL1Norm | ReduceL2Norm | ReduceLogSum | ReduceProd
            | ReduceSumSquare | ReduceArgmax | ReduceArgmin | BatchNorm | InstanceNorm | L2Norm
            | LocalResponseNorm | MaxPool | AvgPool | L2Pool | UpsampleBilinear
            | ResizeBilinear | Resize | Resample | Affine | CropResize => Kind::Map,
            UpsampleNearestNeighbor
            | ResizeNearestNeighbor
            | Crop
            | DepthToSpace
            | SpaceToDepth
            | PixelShuffle
            | PixelUnshuffle
            | SpaceToBatch
            | BatchToSpace
            | SlidingWindows => Kind::Move,
        })
    }

    /// Elements of a pool's window.
    fn window(&self, operation: &Operation) -> f64 {
        let sizes = Params::new(operation, &self.env).ints("kernel_sizes");
        sizes.ok().flatten().unwrap_or_default().into_iter().map(|n| n as f64).product()
    }

    /// Whether a transpose only moves axes of length 1.
    fn keeps_order(&self, operation: &Operation) -> Result<bool, Error> {
        let Some(x) = operation.value("x") else { return Ok(false) };
        let dims = self.dims(x)?;
        let params = Params::new(operation, &self.env);
        let Ok(Some(perm)) = params.ints("perm") else { return Ok(false) };
        let rank = dims.len() as i64;
        let axes = perm.iter().map(|&p| if p < 0 { p + rank } else { p });
        let long: Vec<i64> =
            axes.filter(|&a| dims.get(a as usize).is_some_and(|&d| d != 1)).collect();
        Ok(long.is_sorted())
    }

    /// Whether a move takes pieces of rows of at least [`PIECE`] bytes.
    fn keeps_rows(&self, operation: &Operation) -> Result<bool, Error> {
        let last = |id: ValueId| -> Result<usize, Error> {
            Ok(self.dims(id)?.last().copied().unwrap_or(1))
        };
        let Some(&out) = operation.outputs.first() else { return Ok(true) };
        let mut piece = last(out)?;
        match operation.op {
            Op::Transpose => {
                let params = Params::new(operation, &self.env);
                let Ok(Some(perm)) = params.ints("perm") else { return Ok(false) };
                let rank = perm.len() as i64;
                if perm.last().is_some_and(|&p| p != -1 && p != rank - 1) {
                    return Ok(false);
                }
            }
            Op::GatherAlongAxis | Op::Scatter | Op::ScatterAlongAxis | Op::Reverse => {
                return Ok(false);
            }
            // They take columns apart or repeat them; windows along an earlier axis do not.
            Op::UpsampleNearestNeighbor
            | Op::ResizeNearestNeighbor
            | Op::DepthToSpace
            | Op::SpaceToDepth
            | Op::PixelShuffle
            | Op::PixelUnshuffle
            | Op::SpaceToBatch
            | Op::BatchToSpace => return Ok(false),
            Op::Concat => {
                for id in operation.operands().filter(|&id| !self.is_constant(id)) {
                    piece = piece.min(last(id)?);
                }
            }
            Op::Split => {
                for &id in &operation.outputs {
                    piece = piece.min(last(id)?);
                }
            }
            _ => {}
        }
        let bytes = self.bytes(out)? / self.elements(out)?.max(1.0);
        Ok(piece as f64 * bytes >= PIECE)
    }

    /// Whether a slice, a split or a join has nothing but axes of length 1 before the axis it
    /// cuts, so that its parts are whole pieces of memory.
    fn is_leading(&self, operation: &Operation) -> Result<bool, Error> {
        let results = operation.outputs.iter().copied();
        let parts: Vec<ValueId> = match operation.op {
            Op::Concat => operation.operands().filter(|&id| !self.is_constant(id)).collect(),
            _ => results.clone().collect(),
        };
        let whole = match operation.op {
            Op::Concat => operation.outputs.first().copied(),
            _ => operation.value("x"),
        };
        let Some(whole) = whole else { return Ok(false) };
        let whole = self.dims(whole)?;
        for part in parts {
            let part = self.dims(part)?;
            if part.len() != whole.len() {
                return Ok(false);
            }
            let cut = whole.iter().zip(&part).position(|(w, p)| w != p);
            if let Some(axis) = cut
                && (whole[..axis].iter().any(|&d| d != 1) || whole[axis + 1..] != part[axis + 1..])
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn product(&self, operation: &Operation, out: f64, work: &mut Work) -> Result<(), Error> {
        let operand = |name: &'static str| {
            operation.value(name).ok_or(Error::Operand { op: operation.op.name(), name })
        };
        let result_dims = match operation.outputs.first() {
            Some(&id) => self.dims(id)?,
            None => vec![],
        };
        match operation.op {
            Op::Matmul => {
                let (x, y) = (operand("x")?, operand("y")?);
                let params = Params::new(operation, &self.env);
                let flag = |name| matches!(params.bool(name), Ok(true));
                let dims = self.dims(x)?;
                let inner = match (dims.len(), flag("transpose_x")) {
                    (0, _) => 1,
                    (1, _) => dims[0],
                    (n, true) => dims[n - 2],
                    (n, false) => dims[n - 1],
                };
                work.flops = 2.0 * out * inner as f64;
                let batch = result_dims.iter().rev().skip(2).map(|&d| d as f64).product::<f64>();
                let matrix = |id| -> Result<f64, Error> {
                    let dims = self.dims(id)?;
                    let batch = dims.iter().rev().skip(2).map(|&d| d as f64).product::<f64>();
                    Ok(self.bytes(id)? / batch.max(1.0))
                };
                let (left, right) = (matrix(x)?, matrix(y)?);
                work.product = Some(Operands { count: batch, left, right });
                for (id, name) in [(x, "transpose_x"), (y, "transpose_y")] {
                    if flag(name) && !self.is_constant(id) {
                        work.moved += self.bytes(id)?;
                    }
                }
            }
            Op::Linear => {
                let (x, weight) = (operand("x")?, operand("weight")?);
                let inner = self.dims(weight)?.last().copied().unwrap_or(1);
                work.flops = 2.0 * out * inner as f64;
                let (left, right) = (self.bytes(weight)?, self.bytes(x)?);
                work.product = Some(Operands { count: 1.0, left, right });
            }
            Op::Conv | Op::ConvTranspose => {
                let (x, weight) = (operand("x")?, operand("weight")?);
                // What one number of the result sums over: [Cout, Cin/groups, kernel…]; of a
                // transposed one, what one number of x is added to.
                let dims = self.dims(weight)?;
                let kernel: f64 = dims.iter().skip(1).map(|&d| d as f64).product();
                let each = if operation.op == Op::Conv { out } else { self.elements(x)? };
                work.flops = 2.0 * each * kernel;
                let (left, right) = (self.bytes(weight)?, self.bytes(x)?);
                work.product = Some(Operands { count: 1.0, left, right });
            }
            _ => {
                let (query, key) = (operand("query")?, operand("key")?);
                let (q, k) = (self.dims(query)?, self.dims(key)?);
                let (width, keys) = match (q.last(), k.iter().rev().nth(1)) {
                    (Some(&width), Some(&keys)) => (width as f64, keys as f64),
                    _ => (1.0, 1.0),
                };
                let scores = self.elements(query)? / width.max(1.0) * keys;
                work.flops = 2.0 * scores * width + 2.0 * out * keys + 5.0 * scores;
                work.functions = scores;
                let (left, right) = (self.bytes(query)?, self.bytes(key)?);
                work.product = Some(Operands { count: 1.0, left, right });
            }
        }
        Ok(())
    }
}

/// Operations on numbers per element, and functions among them.
fn per_element(op: Op) -> (f64, f64) {
    use Op::*;
    match op {
        Exp | Log | Sqrt | Rsqrt | Inverse | Sin | Cos | Erf | Sigmoid | Tanh | Pow => (1.0, 1.0),
        Acos | Asin | Atan | Atanh | Tan | Sinh | Cosh | Exp2 => (1.0, 1.0),
        Elu | ScaledTanh | Softplus | SoftplusParametric => (3.0, 1.0),
        LeakyRelu | Prelu | Relu6 | ClampedRelu | LinearActivation | ReduceL1Norm
        | ReduceL2Norm | ReduceSumSquare => (2.0, 0.0),
        SigmoidHard | Softsign | L2Norm | BatchNorm => (4.0, 0.0),
        InstanceNorm => (8.0, 0.0),
        LocalResponseNorm => (6.0, 1.0),
        // Four elements and their shares.
        UpsampleBilinear | ResizeBilinear | Resize | Resample | Affine | CropResize => (7.0, 0.0),
        Silu | Gelu => (2.0, 1.0),
        Softmax => (4.0, 1.0),
        ReduceLogSumExp => (3.0, 1.0),
        LayerNorm => (8.0, 0.0),
        Quantize | Dequantize => (2.0, 0.0),
        _ => (1.0, 0.0),
    }
}

/// Bytes of a constant.
pub(super) fn constant_bytes(operation: &Operation) -> f64 {
    let is_constexpr = operation.op.is_constexpr();
    // Old opsets keep a compressed weight among the attributes.
    let literal = operation.attributes.iter().filter(|(name, _)| match is_constexpr {
        true => operation.op.spec().param(name).is_some(),
        false => *name == "val",
    });
    let literal = literal.map(|(_, literal)| literal);
    // New ones have it in place, with its scales, offsets and tables.
    let stored = operation.inputs.values().filter(|_| is_constexpr);
    let in_place = stored.flat_map(|arg| arg.operands()).filter_map(Operand::literal);
    let bytes = |literal: &mil::Literal| match literal {
        mil::Literal::Blob(blob) => {
            let count: f64 = blob.dims.iter().map(|&d| d as f64).product();
            count * blob.dtype.bits() as f64 / 8.0
        }
        mil::Literal::Tensor(tensor) => Tensor::bytes(tensor).len() as f64,
        _ => 0.0,
    };
    literal.chain(in_place).map(bytes).sum()
}
