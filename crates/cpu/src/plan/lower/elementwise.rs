//! Element-wise ops as maps.

use super::Lower;
use crate::plan::graph::{Kind, MapOp, Val};
use crate::rows::{Binary, Unary};
use mil::{DataType, Op, Operation};
use runtime::Error;

/// Whether maps compute with this element type: they calculate in f32, which holds these exactly.
pub(super) fn is_mapped(dtype: DataType) -> bool {
    matches!(dtype, DataType::Fp32 | DataType::Fp16 | DataType::Bf16 | DataType::Bool)
}

impl Lower<'_> {
    /// The result of an element-wise op, or `None` if it is left to the interpreter.
    pub(super) fn elementwise(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let args = self.arguments(operation)?;
        if !is_mapped(dtype) {
            return Ok(None);
        }
        if operation.op == Op::Cast {
            let from = self.node_dtype(&args[0]);
            // f32 holds every element that is converted, or rounds it as the conversion would.
            if !is_mapped(from) && from != DataType::Int32 {
                return Ok(None);
            }
            return Ok(Some(self.graph.add(Kind::Map(MapOp::Copy, args), &dims, dtype, &name)));
        }
        if args.iter().any(|arg| !is_mapped(self.node_dtype(arg))) {
            return Ok(None);
        }
        let unary = |op| Some(MapOp::Unary(op));
        let binary = |op| Some(MapOp::Binary(op));
        let op = match operation.op {
            Op::Add => binary(Binary::Add),
            Op::Sub => binary(Binary::Sub),
            Op::Mul => binary(Binary::Mul),
            Op::RealDiv => binary(Binary::Div),
            Op::Maximum => binary(Binary::Max),
            Op::Minimum => binary(Binary::Min),
            Op::Pow => return self.pow(args, &dims, dtype, &name).map(Some),
            Op::Equal => binary(Binary::Eq),
            Op::NotEqual => binary(Binary::Ne),
            Op::Less => binary(Binary::Lt),
            Op::LessEqual => binary(Binary::Le),
            Op::Greater => binary(Binary::Gt),
            Op::GreaterEqual => binary(Binary::Ge),
            Op::LogicalAnd => binary(Binary::And),
            Op::LogicalOr => binary(Binary::Or),
            Op::LogicalNot => unary(Unary::Not),
            Op::Select => Some(MapOp::Select),
            Op::Abs => unary(Unary::Abs),
            Op::Sign => unary(Unary::Sign),
            Op::Floor => unary(Unary::Floor),
            Op::Exp => unary(Unary::Exp),
            Op::Sqrt => unary(Unary::Sqrt),
            Op::Square => unary(Unary::Square),
            Op::Sin => unary(Unary::Sin),
            Op::Cos => unary(Unary::Cos),
            Op::Erf => unary(Unary::Erf),
            Op::Sigmoid => unary(Unary::Sigmoid),
            Op::Silu => unary(Unary::Silu),
            Op::Tanh => unary(Unary::Tanh),
            Op::Relu => unary(Unary::Relu),
            Op::Gelu => match self.params(operation).string("mode")?.as_str() {
                "EXACT" => unary(Unary::GeluExact),
                "TANH_APPROXIMATION" => unary(Unary::GeluTanh),
                _ => unary(Unary::GeluSigmoid),
            },
            Op::Log | Op::Rsqrt | Op::Inverse => {
                let function = match operation.op {
                    Op::Log => Unary::Log,
                    Op::Rsqrt => Unary::Rsqrt,
                    _ => Unary::Recip,
                };
                let epsilon = self.params(operation).float("epsilon")?;
                let shifted = self.shifted(&args[0], epsilon, &name);
                return Ok(Some(self.map(MapOp::Unary(function), &[shifted], &dims, dtype, &name)));
            }
            Op::Clip => {
                let params = self.params(operation);
                let (low, high) = (params.float("alpha")?, params.float("beta")?);
                return Ok(Some(self.between(args[0].clone(), [low, high], dtype, &name)));
            }
            _ => None,
        };
        Ok(op.map(|op| self.map(op, &args, &dims, dtype, &name)))
    }

    /// The operands of an element-wise op, in its order.
    pub(super) fn arguments(&mut self, operation: &Operation) -> Result<Vec<Val>, Error> {
        let mut args = vec![];
        for parameter in ["cond", "a", "b", "x", "y"] {
            args.extend(self.arg(operation, parameter)?);
        }
        Ok(args)
    }

    /// x to a constant power is a square, a root or a product where that is the same.
    fn pow(
        &mut self,
        args: Vec<Val>,
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Result<Val, Error> {
        let exponent = match &self.graph.nodes[args[1].node].kind {
            Kind::Constant(tensor) if tensor.count() == 1 => tensor.to_f64s().first().copied(),
            _ => None,
        };
        let op = match exponent {
            Some(2.0) => MapOp::Unary(Unary::Square),
            Some(0.5) => MapOp::Unary(Unary::Sqrt),
            Some(-0.5) => MapOp::Unary(Unary::Rsqrt),
            Some(1.0) => MapOp::Copy,
            _ => MapOp::Binary(Binary::Pow),
        };
        let count = if matches!(op, MapOp::Binary(_)) { 2 } else { 1 };
        Ok(self.map(op, &args[..count], dims, dtype, name))
    }

    /// x + ε in fp32; x itself where f32 cannot tell the difference for any normal x.
    fn shifted(&mut self, x: &Val, epsilon: f64, name: &str) -> Val {
        // The default of `log`, 1e-45, is the smallest subnormal of f32.
        let epsilon = self.scalar(epsilon);
        self.f32_map(MapOp::Binary(Binary::Add), &[x.clone(), epsilon], name)
    }

    /// A map node; arguments are broadcast to `dims`.
    pub(super) fn map(
        &mut self,
        op: MapOp,
        args: &[Val],
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let spread = |arg: &Val| Val { node: arg.node, view: arg.view.broadcast(dims) };
        let args = args.iter().map(spread).collect();
        self.graph.add(Kind::Map(op, args), dims, dtype, name)
    }

    /// A map node that is not rounded, of the first argument's dims.
    /// A value kept between two numbers, either of which may be infinite.
    pub(super) fn between(
        &mut self,
        x: Val,
        [low, high]: [f64; 2],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let dims = x.view.dims.clone();
        let ends = [(Binary::Max, low, f64::NEG_INFINITY), (Binary::Min, high, f64::INFINITY)];
        let mut out = x;
        for (op, number, _) in ends.into_iter().filter(|(_, number, none)| number != none) {
            let number = self.scalar(number);
            out = self.map(MapOp::Binary(op), &[out, number], &dims, dtype, name);
        }
        match [low, high] == [f64::NEG_INFINITY, f64::INFINITY] {
            true => self.map(MapOp::Copy, &[out], &dims, dtype, name),
            false => out,
        }
    }

    pub(super) fn f32_map(&mut self, op: MapOp, args: &[Val], name: &str) -> Val {
        let dims = args[0].view.dims.clone();
        self.map(op, args, &dims, DataType::Fp32, name)
    }
}
