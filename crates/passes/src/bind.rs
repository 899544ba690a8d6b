//! Gives inputs the values that they always have.
//!
//! Before:
//! ```text
//! func main<ios18>(tensor<fp16, [4, 3]> w, tensor<fp16, [2, 3]> x) {
//!     tensor<fp16, [2, 4]> y = linear(x = x, weight = w);
//! ```
//! After:
//! ```text
//! func main<ios18>(tensor<fp16, [2, 3]> x) {
//!     tensor<fp16, [4, 3]> w = const()[val = tensor<fp16, [4, 3]>(BLOBFILE(…))];
//!     tensor<fp16, [2, 4]> y = linear(x = x, weight = w);
//! ```
//! A weight in bytes becomes a `constexpr_blockwise_shift_scale` of its bytes and scales.

use crate::edit;
use mil::{Arg, Function, Literal, Op, Operand, Operation, Tensor, Type};
use std::collections::BTreeMap;

/// The value of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// A constant of the input's type.
    Constant(Literal),
    /// Bytes times scales: `data` int8 of the input's dimensions, `scale` of its element type and of
    /// as many dimensions, each of which divides that of the data (iOS 18).
    Scaled {
        /// The bytes.
        data: Literal,
        /// The scales.
        scale: Literal,
    },
}

/// Why a value cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The function has no such input.
    #[error("function `{function}` has no input `{name}`")]
    NoInput {
        /// The function.
        function: String,
        /// The name.
        name: String,
    },
    /// The value has another type.
    #[error("input `{name}` is {expected}, its value is {found}")]
    Type {
        /// The input.
        name: String,
        /// Its type.
        expected: Type,
        /// The value's.
        found: Type,
    },
}

/// Turns inputs into the values that are given for them by name.
///
/// # Errors
/// If there is no such input, or its value has another type; the function is then unchanged.
pub fn bind(function: &mut Function, values: BTreeMap<String, Bound>) -> Result<(), Error> {
    let was_valid = edit::is_valid(function);
    let mut operations = vec![];
    for (name, value) in &values {
        let Some(id) = function.input(name) else {
            return Err(Error::NoInput { function: function.name.clone(), name: name.clone() });
        };
        let label = ("name".to_owned(), Literal::from(Tensor::string(name)));
        let expected = function.ty(id);
        let operation = |op, inputs, attributes| Operation {
            op,
            inputs,
            attributes,
            outputs: vec![id],
            blocks: vec![],
            span: Default::default(),
        };
        let (found, operation) = match value {
            Bound::Constant(literal) => {
                let attributes = BTreeMap::from([label, ("val".to_owned(), literal.clone())]);
                (literal.ty(), operation(Op::Const, BTreeMap::new(), attributes))
            }
            Bound::Scaled { data, scale } => {
                let input = |name: &str, literal: &Literal| {
                    (name.to_owned(), Arg::One(Operand::Literal(literal.clone())))
                };
                let inputs = BTreeMap::from([input("data", data), input("scale", scale)]);
                let found = match (data.ty(), scale.ty()) {
                    (Type::Tensor(data), Type::Tensor(scale)) => {
                        Type::Tensor(mil::TensorType { dtype: scale.dtype, ..data })
                    }
                    (other, _) => other,
                };
                let attributes = BTreeMap::from([label]);
                (found, operation(Op::ConstexprBlockwiseShiftScale, inputs, attributes))
            }
        };
        if found != *expected {
            let (name, expected) = (name.clone(), expected.clone());
            return Err(Error::Type { name, expected, found });
        }
        operations.push(operation);
    }
    let Function { inputs, values: all, body, .. } = &mut *function;
    inputs.retain(|id| !values.contains_key(&all[id.index()].name));
    body.operations.splice(0..0, operations);
    edit::assert_still_valid(was_valid, "bind", function);
    Ok(())
}
