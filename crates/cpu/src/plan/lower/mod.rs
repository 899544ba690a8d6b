//! From a MIL function to the planner's graph.
//!
//! Every operation's types are inferred again from what is known now, so a program whose shapes
//! depend on constants is planned like any other. What depends on constants alone is folded.

mod activation;
mod conv;
mod elementwise;
mod index;
mod ints;
mod lines;
mod movement;
mod nested;
mod pixels;
mod product;
mod quantized;
mod recurrent;
mod reduce;
mod resize;
mod selected;
mod update;
mod window;

use super::graph::{Call, Graph, Kind, NodeId, Val};
use super::integer::Quantization;
use crate::rows::MAX_RANK;
use interp::Array;
use mil::{
    Arg, DataType, Env, Function, Literal, Op, OpError, Operand, Operation, Params, Tensor, Type,
    ValueId, Weights,
};
use quantized::StoredWeight;
use runtime::Error;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A lowered function.
pub(crate) struct Lowered {
    pub graph: Graph,
    /// The inputs that are not constants, in order.
    pub inputs: Vec<ValueId>,
    /// For every operation the node that stands for it, `None` where it was folded away.
    pub operations: Vec<(String, Op, Option<usize>)>,
}

/// Lowers `function`; `constants` gives inputs whose value is known.
pub(crate) fn lower(
    function: &Function,
    constants: &BTreeMap<String, Tensor>,
    weights: &Weights,
) -> Result<Lowered, Error> {
    let mut state = Lower {
        types: function.values.iter().map(|v| v.ty.clone()).collect(),
        known: vec![None; function.values.len()],
        vals: vec![None; function.values.len()],
        function,
        weights,
        graph: Graph::default(),
        stored: HashMap::new(),
        dequantized: HashMap::new(),
    };
    let mut inputs = vec![];
    for &id in &function.inputs {
        let name = &function.value(id).name;
        if let Some(tensor) = constants.get(name) {
            state.types[id.index()] = Type::Tensor(tensor.ty());
            state.known[id.index()] = Some(tensor.clone());
            continue;
        }
        let dims = state.fixed_dims(id)?;
        let dtype = state.dtype(id);
        let val = state.graph.add(Kind::Input(inputs.len()), &dims, dtype, name);
        state.vals[id.index()] = Some(val);
        inputs.push(id);
    }
    let mut operations = vec![];
    let live = live(function);
    for operation in &function.body.operations {
        if operation.outputs.iter().any(|id| live[id.index()]) || operation.outputs.is_empty() {
            state.operation(operation)?;
        }
        if operation.op != Op::Const
            && let Some(&first) = operation.outputs.first()
        {
            let node = state.vals[first.index()].as_ref().map(|v| v.node);
            operations.push((function.value(first).name.clone(), operation.op, node));
        }
    }
    for &id in &function.body.outputs {
        let val = state.val(id)?;
        state.graph.outputs.push(val);
    }
    Ok(Lowered { graph: state.graph, inputs, operations })
}

/// By value, whether an output depends on it.
fn live(function: &Function) -> Vec<bool> {
    let mut live = vec![false; function.values.len()];
    for id in &function.body.outputs {
        live[id.index()] = true;
    }
    for operation in function.body.operations.iter().rev() {
        if operation.outputs.iter().any(|id| live[id.index()]) || operation.outputs.is_empty() {
            for id in operation.reads() {
                live[id.index()] = true;
            }
        }
    }
    live
}

/// Whether the op only moves elements.
fn is_movement(op: Op) -> bool {
    use Op::*;
    matches!(
        op,
        Identity
            | Reshape
            | Transpose
            | ExpandDims
            | Squeeze
            | SliceByIndex
            | SliceBySize
            | SliceUpdate
            | Split
            | Concat
            | Tile
            | Pad
            | Reverse
            | ReshapeLike
            | Flatten2d
            | Stack
    )
}

struct Lower<'a> {
    function: &'a Function,
    weights: &'a Weights,
    /// Types as inferred here.
    types: Vec<Type>,
    /// Values known at compile time.
    known: Vec<Option<Tensor>>,
    /// Values that the graph computes.
    vals: Vec<Option<Val>>,
    graph: Graph,
    /// Constants that the program stores as bytes, by the value that they become.
    stored: HashMap<ValueId, Arc<StoredWeight>>,
    /// Nodes that only say what bytes mean: the bytes, and their meaning.
    dequantized: HashMap<NodeId, (Val, Quantization)>,
}

impl Env for Lower<'_> {
    fn ty(&self, id: ValueId) -> &Type {
        &self.types[id.index()]
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.known[id.index()].clone()
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.known[id.index()].is_some()
    }
}

impl Lower<'_> {
    fn operation(&mut self, operation: &Operation) -> Result<(), Error> {
        if operation.op == Op::Const {
            let id = operation.output();
            self.known[id.index()] = match operation.attributes.get("val") {
                Some(Literal::Tensor(t)) => Some(t.clone()),
                Some(Literal::Blob(blob)) => Some(self.weights.load(blob)?),
                _ => return Ok(()),
            };
            return Ok(());
        }
        let operation = &self.with_weights(operation)?;
        let types = mil::infer(operation, self)?;
        for (&id, ty) in operation.outputs.iter().zip(&types) {
            self.types[id.index()] = ty.clone();
        }
        if matches!(operation.op, Op::ReadState | Op::WriteState) {
            return Err(self.unsupported(operation, "states are not supported yet"));
        }
        if let Some(other) = types.iter().find(|ty| ty.as_tensor().is_none()) {
            return Err(self.unsupported(operation, &format!("values of type {other}")));
        }
        let known = operation.reads().iter().all(|id| self.known[id.index()].is_some());
        if operation.op.takes_blocks() && known {
            return self.fold_blocks(operation);
        }
        if operation.op == Op::Shape
            && let Some(dims) = types[0].as_tensor().and_then(|_| self.shape_of(operation))
        {
            // The shape is known though the elements are not.
            let dims: Vec<i64> = dims.into_iter().map(|d| d as i64).collect();
            self.known[operation.output().index()] = Some(Tensor::int32s(&dims));
            return Ok(());
        }
        // What is folded takes memory: a constant repeated stays a view of the one.
        let limit = if operation.op == Op::Tile { 1 << 12 } else { 1 << 27 };
        if known && self.count(&types) <= limit {
            match operation.op {
                Op::ConstexprAffineDequantize => self.remember_weight(operation)?,
                Op::ConstexprBlockwiseShiftScale => self.remember_blocks(operation)?,
                _ => {}
            }
            return self.fold(operation, &types);
        }
        self.check_shapes(operation, &types)?;
        match self.native(operation)? {
            Some(vals) => {
                for (&id, val) in operation.outputs.iter().zip(vals) {
                    self.vals[id.index()] = Some(val);
                }
                Ok(())
            }
            None => self.fallback(operation, types),
        }
    }

    /// The dims of `x`, if they are known.
    fn shape_of(&self, operation: &Operation) -> Option<Vec<usize>> {
        self.params(operation).ty("x").ok()?.fixed_dims()
    }

    /// An error if a shape cannot be known before the function runs.
    fn check_shapes(&self, operation: &Operation, types: &[Type]) -> Result<(), Error> {
        for (&id, ty) in operation.outputs.iter().zip(types) {
            if ty.as_tensor().is_none_or(|ty| ty.fixed_dims().is_none()) {
                let name = self.name(id);
                return Err(self.unsupported(
                    operation,
                    &format!("the shape of `{name}`, {ty}, depends on data"),
                ));
            }
        }
        Ok(())
    }

    /// The operation with the constants that it holds itself in memory.
    fn with_weights(&self, operation: &Operation) -> Result<Operation, Error> {
        let mut operation = operation.clone();
        for literal in operation.literals_mut() {
            if let Literal::Blob(blob) = literal {
                *literal = Literal::Tensor(self.weights.load(blob)?);
            }
        }
        Ok(operation)
    }

    /// Elements of all results of these types.
    fn count(&self, types: &[Type]) -> usize {
        let count = |ty: &Type| mil::element_count(&ty.as_tensor()?.fixed_dims()?);
        types.iter().filter_map(count).fold(0, usize::saturating_add)
    }

    /// The nodes for an operation, or `None` if it is left to the interpreter.
    fn native(&mut self, operation: &Operation) -> Result<Option<Vec<Val>>, Error> {
        use Op::*;
        // Row programs have so many axes; views and copies have any number.
        let rank = |id: ValueId| self.types[id.index()].as_tensor().and_then(|t| t.rank());
        let computes = !is_movement(operation.op);
        let mut ids = operation.operands().chain(operation.outputs.iter().copied());
        if computes && ids.any(|id| rank(id).is_some_and(|rank| rank > MAX_RANK)) {
            return Ok(None);
        }
        let one = |val: Option<Val>| val.map(|v| vec![v]);
        Ok(match operation.op {
            op if is_movement(op) => self.movement(operation)?,
            Linear | Matmul => one(self.product(operation)?),
            ScaledDotProductAttention => one(self.attention(operation)?),
            Conv => one(self.conv(operation)?),
            ConvTranspose => one(self.conv_transpose(operation)?),
            UpsampleNearestNeighbor
            | UpsampleBilinear
            | ResizeNearestNeighbor
            | ResizeBilinear
            | Resize => one(self.resize(operation)?),
            Fill | FillLike | BandPart | OneHot | ReverseSequence => one(self.selected(operation)?),
            MaxPool | AvgPool | L2Pool => one(self.pool(operation)?),
            Lstm | Gru | Rnn => self.recurrent(operation)?,
            Quantize | Dequantize => one(self.quantization(operation)?),
            ReduceArgmax | ReduceArgmin | Cumsum | Argsort | Topk => self.along(operation)?,
            ReduceProd => one(self.exact_reduction(operation)?),
            Softmax | ReduceSum | ReduceMean | ReduceMax | ReduceMin | ReduceLogSumExp
            | LayerNorm => one(self.reduction(operation)?),
            ReduceL1Norm | ReduceL2Norm | ReduceLogSum | ReduceSumSquare | InstanceNorm
            | L2Norm => one(self.reduction(operation)?),
            BatchNorm => one(self.batch_norm(operation)?),
            LocalResponseNorm => one(self.local_response_norm(operation)?),
            Crop | DepthToSpace | SpaceToDepth | PixelShuffle | PixelUnshuffle | SpaceToBatch
            | BatchToSpace => one(self.pixels(operation)?),
            LogicalXor | Ceil | Round | Exp2 | Elu | LeakyRelu | Prelu | Relu6 | ClampedRelu
            | LinearActivation | ScaledTanh | SigmoidHard | Softplus | SoftplusParametric
            | Softsign | Threshold | ThresholdedRelu => one(self.activation(operation)?),
            Gather | GatherAlongAxis | GatherNd | Scatter | ScatterAlongAxis | ScatterNd => {
                one(self.index(operation)?)
            }
            _ => match self.ints(operation)? {
                Some(val) => Some(vec![val]),
                None => one(self.elementwise(operation)?),
            },
        })
    }

    /// Evaluates an operation whose operands are all known.
    fn fold(&mut self, operation: &Operation, types: &[Type]) -> Result<(), Error> {
        let argument = |id: ValueId| {
            let tensor = self.known[id.index()].as_ref();
            Array::from_tensor(tensor.expect("the caller checked that all are known"))
        };
        let results = interp::apply(operation, self, &argument, types)
            .map_err(|e| self.unsupported(operation, &e.to_string()))?;
        for (&id, array) in operation.outputs.iter().zip(results) {
            let tensor = array.to_tensor();
            self.types[id.index()] = Type::Tensor(tensor.ty());
            self.known[id.index()] = Some(tensor);
        }
        Ok(())
    }

    fn fallback(&mut self, operation: &Operation, types: Vec<Type>) -> Result<(), Error> {
        let mut args = vec![];
        let mut operation = operation.clone();
        let program = match operation.op.takes_blocks() {
            true => Some(self.alone(&operation)?),
            false => None,
        };
        if program.is_some() {
            for id in operation.reads() {
                if self.known[id.index()].is_none() {
                    args.push((id, self.val(id)?));
                }
            }
            return self.call(Call { operation, program, args, types });
        }
        // Constants are written in place, so that only computed values are passed at run time.
        for operand in operation.inputs.values_mut().flat_map(Arg::operands_mut) {
            let Operand::Value(id) = operand else { continue };
            if let Some(tensor) = &self.known[id.index()] {
                *operand = Operand::Literal(tensor.clone().into());
            } else {
                args.push((*id, self.val(*id)?));
            }
        }
        self.call(Call { operation, program, args, types })
    }

    /// Nodes for the results of a call.
    fn call(&mut self, made: Call) -> Result<(), Error> {
        let call = self.graph.calls.len();
        for (result, (&id, ty)) in made.operation.outputs.iter().zip(&made.types).enumerate() {
            let dims = self.fixed_dims(id)?;
            let Some(tensor) = ty.as_tensor() else {
                return Err(self.unsupported(&made.operation, "the result is not a tensor"));
            };
            let name = self.name(id);
            let kind = Kind::Fallback { call, result };
            self.vals[id.index()] = Some(self.graph.add(kind, &dims, tensor.dtype, &name));
        }
        self.graph.calls.push(made);
        Ok(())
    }

    /// The value with this id; a constant becomes a node when it is first asked for.
    fn val(&mut self, id: ValueId) -> Result<Val, Error> {
        if let Some(val) = &self.vals[id.index()] {
            return Ok(val.clone());
        }
        let name = self.name(id);
        let Some(tensor) = &self.known[id.index()] else {
            let kernel = self.function.name.clone();
            return Err(Error::Invalid { kernel, message: format!("`{name}` has no value") });
        };
        let val = self.constant_node(&tensor.clone(), &name);
        self.vals[id.index()] = Some(val.clone());
        Ok(val)
    }

    fn constant_node(&mut self, tensor: &Tensor, name: &str) -> Val {
        self.graph.add(Kind::Constant(tensor.clone()), tensor.dims(), tensor.dtype(), name)
    }

    /// A scalar fp32 constant.
    fn scalar(&mut self, value: f64) -> Val {
        self.constant_node(&Tensor::float(DataType::Fp32, value), "constant")
    }

    /// What is bound to a parameter.
    fn arg(&mut self, operation: &Operation, name: &str) -> Result<Option<Val>, Error> {
        match operation.inputs.get(name) {
            Some(Arg::One(operand)) => self.operand(operand).map(Some),
            Some(Arg::Many(_)) => Err(self.unsupported(operation, "a tuple was not expected")),
            None => match operation.attributes.get(name) {
                Some(literal) => self.operand(&Operand::Literal(literal.clone())).map(Some),
                None => Ok(None),
            },
        }
    }

    /// What is bound to a parameter that the op requires.
    fn need(&mut self, operation: &Operation, name: &str) -> Result<Val, Error> {
        let missing = self.unsupported(operation, &format!("parameter `{name}` is missing"));
        self.arg(operation, name)?.ok_or(missing)
    }

    fn operand(&mut self, operand: &Operand) -> Result<Val, Error> {
        match operand {
            Operand::Value(id) => self.val(*id),
            Operand::Literal(Literal::Tensor(t)) => Ok(self.constant_node(t, "constant")),
            Operand::Literal(_) => Err(Error::Invalid {
                kernel: self.function.name.clone(),
                message: "a constant operand is not a tensor".into(),
            }),
        }
    }

    fn params<'p>(&'p self, operation: &'p Operation) -> Params<'p> {
        Params::new(operation, self)
    }

    /// The dimensions of a value, which must all be known by now.
    fn fixed_dims(&self, id: ValueId) -> Result<Vec<usize>, Error> {
        let ty = &self.types[id.index()];
        ty.as_tensor().and_then(|t| t.fixed_dims()).ok_or_else(|| Error::Unsupported {
            device: "cpu".into(),
            kernel: self.function.name.clone(),
            message: format!(
                "`{}` is {ty}; the shape must be known when the program is compiled",
                self.function.value(id).name
            ),
        })
    }

    fn dtype(&self, id: ValueId) -> DataType {
        self.types[id.index()].as_tensor().map_or(DataType::Fp32, |t| t.dtype)
    }

    /// Name, dims and element type of an operation's only result.
    fn result(&self, operation: &Operation) -> Result<(String, Vec<usize>, DataType), Error> {
        let id = operation.output();
        Ok((self.name(id), self.fixed_dims(id)?, self.dtype(id)))
    }

    fn name(&self, id: ValueId) -> String {
        self.function.value(id).name.clone()
    }

    fn node_dtype(&self, val: &Val) -> DataType {
        self.graph.nodes[val.node].dtype
    }

    fn unsupported(&self, operation: &Operation, message: &str) -> Error {
        let error = OpError { op: operation.op, message: message.to_owned() };
        Error::Unsupported {
            device: "cpu".into(),
            kernel: self.function.name.clone(),
            message: error.to_string(),
        }
    }
}
