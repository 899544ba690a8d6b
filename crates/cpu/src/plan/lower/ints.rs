//! Element-wise ops of integers.

use super::Lower;
use crate::ints::{self, IntOp};
use crate::plan::graph::{Kind, MapOp, Val};
use crate::plan::place::is_float;
use crate::rows::Binary;
use mil::{DataType, Op, Operation};
use runtime::Error;

impl Lower<'_> {
    /// The result of an element-wise op of integers, or `None` if it is none.
    pub(super) fn ints(&mut self, operation: &Operation) -> Result<Option<Val>, Error> {
        let (name, dims, dtype) = self.result(operation)?;
        let mut args = self.arguments(operation)?;
        let Some(op) = int_op(operation.op) else { return Ok(None) };
        let types: Vec<DataType> = args.iter().map(|arg| self.node_dtype(arg)).collect();
        if op == IntOp::Convert {
            return Ok(self.converted(args.swap_remove(0), &dims, dtype, &name));
        }
        // Truth values are compared and selected by row programs.
        let is_number = |dtype: &DataType| *dtype != DataType::Bool && ints::is_integer(*dtype);
        let last = types.last().is_some_and(is_number);
        let all = types.iter().all(|&dtype| ints::is_integer(dtype));
        Ok((last && all).then(|| self.int_map(op, &args, &dims, dtype, &name)))
    }

    /// x in another type, if one of both is an integer.
    fn converted(&mut self, x: Val, dims: &[usize], to: DataType, name: &str) -> Option<Val> {
        let from = self.node_dtype(&x);
        if to == DataType::Bool && (is_float(from) || from == DataType::Int32) {
            // f32 knows whether a number is 0.
            let zero = self.scalar(0.0);
            return Some(self.map(MapOp::Binary(Binary::Ne), &[x, zero], dims, to, name));
        }
        if from == to {
            return Some(x);
        }
        // Row programs convert what f32 holds.
        let in_rows =
            is_float(to) && (is_float(from) || from == DataType::Bool || from == DataType::Int32);
        if in_rows || !ints::is_readable(from) || !ints::is_readable(to) {
            return None;
        }
        Some(self.int_map(IntOp::Convert, &[x], dims, to, name))
    }

    /// A node of integers; arguments are broadcast to `dims`.
    pub(super) fn int_map(
        &mut self,
        op: IntOp,
        args: &[Val],
        dims: &[usize],
        dtype: DataType,
        name: &str,
    ) -> Val {
        let spread = |arg: &Val| Val { node: arg.node, view: arg.view.broadcast(dims) };
        let args = args.iter().map(spread).collect();
        self.graph.add(Kind::Ints(op, args), dims, dtype, name)
    }

    /// Indices as int32, `None` if their type has more.
    pub(super) fn as_int32(&mut self, x: &Val) -> Option<Val> {
        match self.node_dtype(x) {
            DataType::Int32 => Some(x.clone()),
            DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 => {
                let (dims, to) = (x.view.dims.clone(), DataType::Int32);
                Some(self.int_map(IntOp::Convert, std::slice::from_ref(x), &dims, to, "indices"))
            }
            _ => None,
        }
    }
}

fn int_op(op: Op) -> Option<IntOp> {
    Some(match op {
        Op::Cast => IntOp::Convert,
        Op::Add => IntOp::Add,
        Op::Sub => IntOp::Sub,
        Op::Mul => IntOp::Mul,
        Op::RealDiv => IntOp::Div,
        Op::FloorDiv => IntOp::FloorDiv,
        Op::Mod => IntOp::Mod,
        Op::Maximum => IntOp::Max,
        Op::Minimum => IntOp::Min,
        Op::Pow => IntOp::Pow,
        Op::Equal => IntOp::Eq,
        Op::NotEqual => IntOp::Ne,
        Op::Less => IntOp::Lt,
        Op::LessEqual => IntOp::Le,
        Op::Greater => IntOp::Gt,
        Op::GreaterEqual => IntOp::Ge,
        Op::Select => IntOp::Select,
        Op::Abs => IntOp::Abs,
        Op::Sign => IntOp::Sign,
        Op::Square => IntOp::Square,
        _ => return None,
    })
}
