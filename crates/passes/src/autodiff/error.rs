//! Why a function cannot be differentiated.

use mil::{Op, OpError, Type};

/// Why a function cannot be differentiated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name to differentiate for is no input.
    #[error("function `{function}` has no input `{input}`; its inputs are {known}")]
    UnknownInput {
        /// The function.
        function: String,
        /// The name that was asked for.
        input: String,
        /// The names there are.
        known: String,
    },
    /// A name to keep or to repeat is no value.
    #[error("function `{function}` has no value `{value}` to {wish}")]
    UnknownValue {
        /// The function.
        function: String,
        /// The name that was asked for.
        value: String,
        /// What was to be done with it.
        wish: &'static str,
    },
    /// No input to differentiate for was named.
    #[error("no input to differentiate for was named")]
    NothingWanted,
    /// Gradients exist for tensors of floats only.
    #[error("`{value}` is {ty}; only a tensor of floats has a gradient")]
    NotFloat {
        /// The value.
        value: String,
        /// Its type.
        ty: Type,
    },
    /// The shape of a value that takes part is not known.
    #[error("`{value}` is {ty}; gradients need shapes without unknown dimensions")]
    UnknownShape {
        /// The value.
        value: String,
        /// Its type.
        ty: Type,
    },
    /// The op has no rule.
    #[error("`{value}`: no gradient rule for {}", op.name())]
    NoRule {
        /// The op.
        op: Op,
        /// What the operation defines, or the state it writes.
        value: String,
    },
    /// The op has a rule, but not for these arguments.
    #[error("`{value}`: no gradient of {} {what}", op.name())]
    Unsupported {
        /// The op.
        op: Op,
        /// What the operation defines.
        value: String,
        /// The argument that has no rule, as in `with mode "reflect"`.
        what: String,
    },
    /// The gradient would be a zero that nobody asked for.
    #[error("`{input}` does not influence any output through differentiable operations")]
    NoInfluence {
        /// The input.
        input: String,
    },
    /// The first output of a function to take the gradient of is not one float.
    #[error("the first output must be a float scalar to take its gradient, found {found}")]
    NotScalar {
        /// Name and type of the output, or that there is none.
        found: String,
    },
    /// Values in nested blocks are not differentiated.
    #[error("{} has nested blocks, which have no gradient", op.name())]
    NestedBlocks {
        /// The op.
        op: Op,
    },
    /// A name that the result must have is in use.
    #[error("the name `{0}` is needed twice in the result; rename the value in the function")]
    NameTaken(String),
    /// A backward operation could not be written.
    #[error("gradient of `{value}`: {source}")]
    Build {
        /// The forward value whose rule was at work.
        value: String,
        /// What the op table says.
        source: OpError,
    },
}
