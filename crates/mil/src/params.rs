//! Reading an operation's arguments by name, with the op table's defaults.

use crate::{
    Arg, DataType, DefaultValue, Literal, Op, Operand, Operation, Tensor, TensorType, Type,
};
use crate::{Function, ValueId};

/// What is known of values where an operation is looked at: while a program is built or verified
/// only constants have a value, while it runs all do.
pub trait Env {
    /// The value's type.
    fn ty(&self, id: ValueId) -> &Type;
    /// The value itself, if it is known here and its elements are in memory.
    fn constant(&self, id: ValueId) -> Option<Tensor>;
    /// Whether the value is a constant, even one whose elements are in a weight file or computed
    /// from there.
    fn is_constant(&self, id: ValueId) -> bool {
        self.constant(id).is_some()
    }
}

/// What is wrong with an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", op.name())]
pub struct OpError {
    /// The op.
    pub op: Op,
    /// What was expected and what was found, naming the parameter.
    pub message: String,
}

/// An operation's arguments.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    /// The operation.
    pub operation: &'a Operation,
    env: &'a dyn Env,
}

/// The environment of a finished function: `const` operations are known, and what `constexpr`
/// operations give is constant.
pub struct FunctionEnv<'a> {
    function: &'a Function,
    literals: Vec<Option<&'a Literal>>,
    constant: Vec<bool>,
}

impl<'a> FunctionEnv<'a> {
    /// Collects the function's constants.
    pub fn new(function: &'a Function) -> FunctionEnv<'a> {
        let literals = function.literals();
        let mut constant: Vec<bool> = literals.iter().map(Option::is_some).collect();
        function.body.visit(&mut |operation| {
            for id in operation.outputs.iter().filter(|_| operation.op.is_constexpr()) {
                constant[id.index()] = true;
            }
        });
        FunctionEnv { function, literals, constant }
    }

    /// The literal a value is bound to, if it is a `const`.
    pub fn literal(&self, id: ValueId) -> Option<&'a Literal> {
        self.literals[id.index()]
    }
}

impl Env for FunctionEnv<'_> {
    fn ty(&self, id: ValueId) -> &Type {
        self.function.ty(id)
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.literal(id).and_then(Literal::as_tensor).cloned()
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.constant[id.index()]
    }
}

impl<'a> Params<'a> {
    /// The arguments of `operation`, looked up in `env`.
    pub fn new(operation: &'a Operation, env: &'a dyn Env) -> Params<'a> {
        Params { operation, env }
    }

    /// An error about this operation.
    pub fn error(&self, message: impl Into<String>) -> OpError {
        OpError { op: self.operation.op, message: message.into() }
    }

    /// Whether something is bound to the parameter.
    pub fn has(&self, name: &str) -> bool {
        self.operation.inputs.contains_key(name) || self.attribute(name).is_some()
    }

    /// The type of what is bound, which must be a tensor.
    pub fn ty(&self, name: &str) -> Result<TensorType, OpError> {
        self.ty_opt(name)?.ok_or_else(|| self.error(format!("parameter `{name}` is missing")))
    }

    /// The type of what is bound, if anything is; it must be a tensor.
    pub fn ty_opt(&self, name: &str) -> Result<Option<TensorType>, OpError> {
        let ty = match self.operation.inputs.get(name) {
            Some(Arg::One(operand)) => self.operand_ty(operand),
            Some(Arg::Many(_)) => return Err(self.error(format!("`{name}` must not be a tuple"))),
            None => match self.attribute(name) {
                Some(literal) => literal.ty(),
                None => return Ok(None),
            },
        };
        match ty {
            Type::Tensor(t) => Ok(Some(t)),
            other => Err(self.error(format!("`{name}` must be a tensor, found {other}"))),
        }
    }

    /// The type of an operand.
    pub fn operand_ty(&self, operand: &Operand) -> Type {
        match operand {
            Operand::Value(id) => self.env.ty(*id).clone(),
            Operand::Literal(literal) => literal.ty(),
        }
    }

    /// The tensor types of a tuple parameter; a single value counts as a tuple of one.
    pub fn tuple_tys(&self, name: &str) -> Result<Vec<TensorType>, OpError> {
        let arg = self.operation.inputs.get(name);
        let arg = arg.ok_or_else(|| self.error(format!("parameter `{name}` is missing")))?;
        let tensor = |operand: &Operand| match self.operand_ty(operand) {
            Type::Tensor(t) => Ok(t),
            other => Err(self.error(format!("`{name}` must hold tensors, found {other}"))),
        };
        arg.operands().iter().map(tensor).collect()
    }

    /// The element type and length of the list that is bound.
    pub fn list_ty(&self, name: &str) -> Result<(TensorType, Option<usize>), OpError> {
        let operand = match self.operation.inputs.get(name) {
            Some(Arg::One(operand)) => operand,
            Some(Arg::Many(_)) => return Err(self.error(format!("`{name}` must not be a tuple"))),
            None => return Err(self.error(format!("parameter `{name}` is missing"))),
        };
        match self.operand_ty(operand) {
            Type::List { element, len } => match *element {
                Type::Tensor(element) => Ok((element, len)),
                other => Err(self.error(format!("`{name}` must hold tensors, found {other}"))),
            },
            other => Err(self.error(format!("`{name}` must be a list, found {other}"))),
        }
    }

    /// The members of a tuple that are known here, as tensors in memory.
    ///
    /// # Errors
    /// If one is not.
    pub fn tuple(&self, name: &str) -> Result<Vec<Tensor>, OpError> {
        let arg = self.operation.inputs.get(name);
        let arg = arg.ok_or_else(|| self.error(format!("parameter `{name}` is missing")))?;
        let known = |operand: &Operand| match operand {
            Operand::Value(id) => self.env.constant(*id),
            Operand::Literal(literal) => literal.as_tensor().cloned(),
        };
        let unknown = || self.error(format!("`{name}` must be known when the program is compiled"));
        arg.operands().iter().map(|operand| known(operand).ok_or_else(unknown)).collect()
    }

    /// Whether the parameter is bound to something whose elements are known here.
    pub fn is_known(&self, name: &str) -> bool {
        matches!(self.tensor(name), Ok(Some(_)))
    }

    /// Whether the parameter is bound to a constant, in the program or in a weight file.
    pub fn is_constant(&self, name: &str) -> bool {
        match self.operation.inputs.get(name) {
            Some(Arg::One(Operand::Value(id))) => self.env.is_constant(*id),
            Some(Arg::One(Operand::Literal(_))) => true,
            Some(Arg::Many(_)) => false,
            None => self.attribute(name).is_some(),
        }
    }

    /// What is bound, as a tensor in memory; `None` if nothing is.
    /// An error if it is bound but not known here.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>, OpError> {
        let literal = match self.operation.inputs.get(name) {
            Some(Arg::One(Operand::Value(id))) => {
                return self.env.constant(*id).map(Some).ok_or_else(|| {
                    self.error(format!("`{name}` must be known when the program is compiled"))
                });
            }
            Some(Arg::One(Operand::Literal(literal))) => Some(literal),
            Some(Arg::Many(_)) => return Err(self.error(format!("`{name}` must not be a tuple"))),
            None => self.attribute(name),
        };
        match literal {
            None => Ok(None),
            Some(Literal::Tensor(t)) => Ok(Some(t.clone())),
            Some(_) => Err(self.error(format!("`{name}` must be a tensor written in place"))),
        }
    }

    /// An integer scalar (or tensor of one element), or the table's default.
    pub fn int(&self, name: &str) -> Result<i64, OpError> {
        match (self.tensor(name)?, self.default(name)) {
            (Some(t), _) if t.count() == 1 && t.dtype().is_int() => Ok(t.to_i64s()[0]),
            (Some(t), _) => Err(self.wrong(name, "an integer", &t)),
            (None, DefaultValue::Int(v)) => Ok(v),
            (None, _) => Err(self.error(format!("parameter `{name}` is missing"))),
        }
    }

    /// An integer vector (a scalar counts as one element), or `None` if it is not bound.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        match self.tensor(name)? {
            Some(t) if t.dims().len() <= 1 && t.dtype().is_int() => Ok(Some(t.to_i64s())),
            Some(t) => Err(self.wrong(name, "a vector of integers", &t)),
            None => Ok(None),
        }
    }

    /// An integer vector that must be bound.
    pub fn need_ints(&self, name: &str) -> Result<Vec<i64>, OpError> {
        self.ints(name)?.ok_or_else(|| self.error(format!("parameter `{name}` is missing")))
    }

    /// A bool vector, or `None` if it is not bound.
    pub fn bools(&self, name: &str) -> Result<Option<Vec<bool>>, OpError> {
        match self.tensor(name)? {
            Some(t) if t.dims().len() <= 1 && t.dtype() == DataType::Bool => {
                Ok(Some(t.bytes().iter().map(|&b| b != 0).collect()))
            }
            Some(t) => Err(self.wrong(name, "a vector of bools", &t)),
            None => Ok(None),
        }
    }

    /// A bool scalar, or the table's default.
    pub fn bool(&self, name: &str) -> Result<bool, OpError> {
        match (self.bools(name)?.as_deref(), self.default(name)) {
            (Some([v]), _) => Ok(*v),
            (Some(_), _) => Err(self.error(format!("`{name}` must be one bool"))),
            (None, DefaultValue::Bool(v)) => Ok(v),
            (None, _) => Err(self.error(format!("parameter `{name}` is missing"))),
        }
    }

    /// A float scalar, or the table's default rounded to the element type of x, as it would be if
    /// the program said it: 1e-12 is 0 in fp16.
    pub fn float(&self, name: &str) -> Result<f64, OpError> {
        match (self.tensor(name)?, self.default(name)) {
            (Some(t), _) if t.count() == 1 && t.dtype() != DataType::String => Ok(t.to_f64s()[0]),
            (Some(t), _) => Err(self.wrong(name, "a number", &t)),
            (None, DefaultValue::Float(v)) => Ok(match self.ty_opt("x")? {
                Some(x) if x.dtype.is_float() => Tensor::float(x.dtype, v).to_f64s()[0],
                _ => v,
            }),
            (None, _) => Err(self.error(format!("parameter `{name}` is missing"))),
        }
    }

    /// A string scalar, or the table's default.
    pub fn string(&self, name: &str) -> Result<String, OpError> {
        match (self.tensor(name)?, self.default(name)) {
            (Some(t), _) if t.strings().len() == 1 => Ok(t.strings()[0].clone()),
            (Some(t), _) => Err(self.wrong(name, "a string", &t)),
            (None, DefaultValue::Str(v)) => Ok(v.to_owned()),
            (None, _) => Err(self.error(format!("parameter `{name}` is missing"))),
        }
    }

    /// The rank of the factors of an `einsum`: 4 for `nchw,nwhu->nchu` in any letters, 3 for
    /// `chw,whu->chu`.
    pub fn einsum_rank(&self) -> Result<usize, OpError> {
        let text = self.string("equation")?;
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        // The same equation with its letters numbered as they come.
        let mut letters: Vec<char> = vec![];
        let numbered: String = plain
            .chars()
            .map(|c| match c.is_ascii_alphabetic() {
                true => {
                    let known = letters.iter().position(|&l| l == c);
                    let at = known.unwrap_or_else(|| {
                        letters.push(c);
                        letters.len() - 1
                    });
                    char::from_digit(at as u32 % 36, 36).unwrap_or('?')
                }
                false => c,
            })
            .collect();
        let numbers = !plain.chars().any(|c| c.is_ascii_digit());
        match numbered.as_str() {
            "0123,0324->0124" if numbers => Ok(4),
            "012,213->013" if numbers => Ok(3),
            _ => Err(self.error(format!(
                "`equation` is \"{text}\"; it is nchw,nwhu->nchu or chw,whu->chu, in any letters"
            ))),
        }
    }

    /// A string parameter that names an element type.
    pub fn dtype(&self, name: &str) -> Result<DataType, OpError> {
        let text = self.string(name)?;
        DataType::from_name(&text)
            .ok_or_else(|| self.error(format!("`{name}` names no element type: \"{text}\"")))
    }

    /// An axis parameter, counted from the front, for a tensor of this rank.
    pub fn axis(&self, name: &str, rank: usize) -> Result<usize, OpError> {
        self.normalize_axis(name, self.int(name)?, rank)
    }

    /// Axes counted from the front and sorted; `None` if not bound; a repeated axis is an error.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>, OpError> {
        let Some(raw) = self.ints(name)? else { return Ok(None) };
        let mut axes = vec![];
        for axis in raw {
            axes.push(self.normalize_axis(name, axis, rank)?);
        }
        axes.sort_unstable();
        match axes.windows(2).any(|w| w[0] == w[1]) {
            true => Err(self.error(format!("`{name}` names an axis twice"))),
            false => Ok(Some(axes)),
        }
    }

    fn normalize_axis(&self, name: &str, axis: i64, rank: usize) -> Result<usize, OpError> {
        let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        match from_front.and_then(|a| usize::try_from(a).ok()) {
            Some(a) if a < rank => Ok(a),
            _ => Err(self.error(format!("`{name}` = {axis} is out of range for rank {rank}"))),
        }
    }

    fn attribute(&self, name: &str) -> Option<&'a Literal> {
        // `name` is the operation's label, never a parameter.
        if name == "name" { None } else { self.operation.attributes.get(name) }
    }

    fn default(&self, name: &str) -> DefaultValue {
        self.operation.op.spec().param(name).map_or(DefaultValue::None, |p| p.default)
    }

    fn wrong(&self, name: &str, expected: &str, found: &Tensor) -> OpError {
        self.error(format!("`{name}` must be {expected}, found {}", found.ty()))
    }
}
