//! What a rule sees of the operation it reverses.
//!
//! Names in rules: the operation's result is z and its cotangent dz; the cotangent of an operand
//! x is dx. Shapes may be *lazy*: a cotangent that does not vary along a dimension may have size
//! 1 there, and stands for itself repeated. So the reverse of a reduction costs nothing until
//! an element-wise rule multiplies it with something of full size.

use super::Error;
use super::reverse::{Reverse, label};
use mil::{Arg, DataType, Literal, Op, OpError, Operand, Operation, Params, Tensor, ValueId};
use std::ops::{Deref, DerefMut};

/// One operation being reversed. Dereferences to the builder of the backward function.
pub(super) struct Step<'s, 'a> {
    reverse: &'s mut Reverse<'a>,
    /// The forward operation.
    pub(super) operation: &'a Operation,
}

/// What rules give.
pub(super) type Done = Result<(), Fault>;

/// Why a rule failed; the sweep adds the name of the value to what the builder says.
pub(super) enum Fault {
    Rule(Error),
    Build(OpError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Rule(error)
    }
}

impl From<OpError> for Fault {
    fn from(error: OpError) -> Fault {
        Fault::Build(error)
    }
}

impl Deref for Step<'_, '_> {
    type Target = mil::FunctionBuilder;

    fn deref(&self) -> &Self::Target {
        &self.reverse.builder
    }
}

impl DerefMut for Step<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reverse.builder
    }
}

impl<'s, 'a> Step<'s, 'a> {
    pub(super) fn new(reverse: &'s mut Reverse<'a>, operation: &'a Operation) -> Step<'s, 'a> {
        Step { reverse, operation }
    }

    /// The forward operation's arguments.
    pub(super) fn params(&self) -> Params<'a> {
        Params::new(self.operation, self.reverse.env)
    }

    /// Whether a cotangent flows into the operand.
    pub(super) fn wants(&self, parameter: &str) -> bool {
        self.operation.value(parameter).is_some_and(|id| self.wants_value(id))
    }

    /// Whether a cotangent flows into the forward value.
    pub(super) fn wants_value(&self, id: ValueId) -> bool {
        self.reverse.is_active(id)
    }

    /// Whether the operation has such an operand.
    pub(super) fn has(&self, parameter: &str) -> bool {
        self.params().has(parameter)
    }

    /// An operand of the forward operation.
    pub(super) fn value(&mut self, parameter: &str) -> Result<ValueId, Fault> {
        let literal: Option<&Literal> = match self.operation.inputs.get(parameter) {
            Some(Arg::One(Operand::Value(id))) => return Ok(self.reverse.demand(*id)?),
            Some(Arg::One(Operand::Literal(literal))) => Some(literal),
            _ => self.operation.attributes.get(parameter),
        };
        match literal {
            Some(literal) => Ok(self.constant(parameter, literal.clone())),
            None => Err(self.unsupported(format!("without `{parameter}`"))),
        }
    }

    /// A forward value.
    pub(super) fn forward_value(&mut self, id: ValueId) -> Result<ValueId, Fault> {
        Ok(self.reverse.demand(id)?)
    }

    /// An operand that may be left out.
    pub(super) fn value_opt(&mut self, parameter: &str) -> Result<Option<ValueId>, Fault> {
        if self.has(parameter) { self.value(parameter).map(Some) } else { Ok(None) }
    }

    /// The forward operation's one result, z.
    pub(super) fn z(&mut self) -> Result<ValueId, Fault> {
        Ok(self.reverse.demand(self.operation.output())?)
    }

    /// The cotangent of the one result, lazy.
    pub(super) fn dz(&mut self) -> ValueId {
        let z = self.operation.output();
        self.reverse.cotangent(z).expect("a rule runs once its result has a cotangent")
    }

    /// The cotangent of the one result, of its full shape.
    pub(super) fn dz_full(&mut self) -> Result<ValueId, Fault> {
        let z = self.operation.output();
        let full = self.full(z)?;
        Ok(full.expect("a rule runs once its result has a cotangent"))
    }

    /// The cotangent of a forward value, of its full shape, if it has one.
    pub(super) fn full(&mut self, id: ValueId) -> Result<Option<ValueId>, Fault> {
        let Some(lazy) = self.reverse.cotangent(id) else { return Ok(None) };
        let dims = self.reverse.dims(id)?;
        let full = self.reverse.spread(lazy, &dims)?;
        self.reverse.set_cotangent(id, full);
        Ok(Some(full))
    }

    /// Dimensions of an operand.
    pub(super) fn dims_of(&self, parameter: &str) -> Result<Vec<usize>, Fault> {
        let ty = self.params().ty(parameter)?;
        match self.operation.value(parameter) {
            Some(id) => Ok(self.reverse.dims(id)?),
            None => Ok(ty.fixed_dims().unwrap_or_default()),
        }
    }

    /// Dimensions of the one result.
    pub(super) fn z_dims(&self) -> Result<Vec<usize>, Fault> {
        Ok(self.reverse.dims(self.operation.output())?)
    }

    /// Dimensions of a forward value.
    pub(super) fn forward_dims(&self, id: ValueId) -> Result<Vec<usize>, Fault> {
        Ok(self.reverse.dims(id)?)
    }

    /// Contributes to an operand's cotangent: `dx` has the operand's shape, or is lazy.
    pub(super) fn give(&mut self, parameter: &str, dx: ValueId) -> Done {
        let id = self.operation.value(parameter).expect("a wanted operand is a value");
        self.give_value(id, dx)
    }

    /// [`Step::give`] for a member of a tuple operand.
    pub(super) fn give_value(&mut self, id: ValueId, dx: ValueId) -> Done {
        let dtype = self.reverse.function.ty(id).as_tensor().map(|t| t.dtype);
        let dx = self.cast(dx, dtype.expect("an active value is a tensor"))?;
        Ok(self.reverse.accumulate(id, dx)?)
    }

    /// Contributes to the cotangent of an operand that was broadcast to z's shape: `dx` has z's
    /// shape, or is lazy, and is summed over what was repeated.
    pub(super) fn give_broadcast(&mut self, parameter: &str, dx: ValueId) -> Done {
        self.give_scaled(parameter, dx, 1.0)
    }

    /// [`Step::give_broadcast`] of `factor·dx`; the factor is applied to what is smaller.
    pub(super) fn give_scaled(&mut self, parameter: &str, dx: ValueId, factor: f64) -> Done {
        let (space, dims) = (self.z_dims()?, self.dims_of(parameter)?);
        let dx = self.sum_to(dx, &space, &dims, factor)?;
        self.give(parameter, dx)
    }

    /// `factor` times the sum of `g` over all that turned a tensor of dimensions `dims` into one
    /// of `space` by broadcasting.
    pub(super) fn sum_to(
        &mut self,
        g: ValueId,
        space: &[usize],
        dims: &[usize],
        mut factor: f64,
    ) -> Result<ValueId, Fault> {
        let lead = space.len() - dims.len();
        let now = self.dims(g);
        debug_assert_eq!(now.len(), space.len(), "cotangents keep their rank");
        let mut axes = vec![];
        for (axis, &size) in space.iter().enumerate() {
            let repeated = axis < lead || (dims[axis - lead] == 1 && size != 1);
            if repeated && now[axis] == 1 {
                factor *= size as f64;
            } else if repeated {
                axes.push(axis as i64);
            }
        }
        // Leading axes may vanish with the reduction, if no other axis must stay.
        let keep = axes.iter().any(|&a| a as usize >= lead);
        let mut g = g;
        if !axes.is_empty() {
            g = self.reduce(Op::ReduceSum, g, &axes, keep)?;
        }
        if factor != 1.0 {
            g = self.scale(g, factor)?;
        }
        let now = self.dims(g);
        if now.len() > dims.len() {
            let rest = now[now.len() - dims.len()..].to_vec();
            g = self.reshape(g, &rest)?;
        }
        Ok(g)
    }

    /// A scalar of the element type of `like`.
    pub(super) fn number(&mut self, like: ValueId, value: f64) -> ValueId {
        let dtype = self.dtype(like);
        self.float(dtype, value)
    }

    /// Zeros of any size, without a constant of that size.
    pub(super) fn zeros(&mut self, dtype: DataType, dims: &[usize]) -> Result<ValueId, Fault> {
        let ones = vec![1; dims.len()];
        let zero = Tensor::from_f64s(dtype, &ones, &[0.0]).expect("one element");
        let zero = self.constant("zero", zero);
        Ok(self.reverse.spread(zero, dims)?)
    }

    /// An error about the operation's arguments, as in `with mode "reflect"`.
    pub(super) fn unsupported(&self, what: impl Into<String>) -> Fault {
        let value = label(self.reverse.function, self.operation);
        Fault::Rule(Error::Unsupported { op: self.operation.op, value, what: what.into() })
    }
}
