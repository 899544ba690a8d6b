//! What a row of the op table says.

use super::Op;
use crate::{DataType, Opset};

/// A row of the op table.
#[derive(Debug)]
pub struct OpSpec {
    /// The op.
    pub op: Op,
    /// Its name in programs.
    pub name: &'static str,
    /// The first operator set that has it.
    pub since: Opset,
    /// Its parameters.
    pub params: &'static [ParamSpec],
}

/// A parameter of an op.
#[derive(Debug)]
pub struct ParamSpec {
    /// Name.
    pub name: &'static str,
    /// What may be bound to it.
    pub ty: ParamType,
    /// Whether it must be bound.
    pub required: bool,
    /// Whether it must be known when the program is compiled.
    pub constant: bool,
    /// The value that it has when it is not bound, if the op gives one.
    pub default: DefaultValue,
}

/// What may be bound to a parameter.
#[derive(Debug)]
pub enum ParamType {
    /// A tensor; parameters of one op that share the letter share the element type.
    Tensor(char, &'static [DataType]),
    /// A tuple of tensors of any type.
    Tuple,
    /// A tuple of values of any type, lists among them.
    Values,
    /// A list.
    List,
    /// A state.
    State,
    /// A value of any type.
    Any,
}

/// A default that is a constant of the table. Defaults that depend on the rank (strides of a
/// convolution, axes of a reduction) are `None` here and known to the op's inference.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum DefaultValue {
    None,
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(&'static str),
}

impl OpSpec {
    /// The parameter with this name.
    pub fn param(&self, name: &str) -> Option<&'static ParamSpec> {
        self.params.iter().find(|p| p.name == name)
    }
}
