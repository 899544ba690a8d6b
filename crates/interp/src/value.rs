//! What operations give: tensors, lists and dictionaries.

use crate::Array;
use mil::{DataType, Literal, TensorType, Type};
use std::sync::Arc;

/// A dictionary: the value of each key is at the same position.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    /// Strings or `int64`, shape `[n]`.
    pub keys: Array,
    /// Numbers, shape `[n]`.
    pub values: Array,
}

/// A list of tensors.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// The type of every element; sizes may be open.
    pub element: TensorType,
    /// Whether it has the length that it began with.
    pub fixed: bool,
    /// What was written; an element that was not is zeros.
    pub items: Vec<Option<Arc<Array>>>,
}

/// The value of a name.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Array),
    List(List),
    Dictionary(Dictionary),
}

impl Value {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Array> {
        match self {
            Value::Tensor(array) => Some(array),
            _ => None,
        }
    }

    /// Its type, as it is in this run.
    pub fn ty(&self) -> Type {
        match self {
            Value::Tensor(array) => Type::tensor(array.dtype(), array.dims()),
            Value::List(list) => Type::List {
                element: Box::new(list.element.clone().into()),
                len: list.fixed.then_some(list.items.len()),
            },
            Value::Dictionary(Dictionary { keys, values }) => {
                let scalar = |array: &Array| Box::new(Type::scalar(array.dtype()));
                Type::Dict(scalar(keys), scalar(values))
            }
        }
    }

    /// The value of a list that stands in a program.
    pub fn of_list(ty: &Type, items: &[Literal]) -> Option<Value> {
        let Type::List { element, .. } = ty else { return None };
        let item =
            |literal: &Literal| Some(Some(Arc::new(Array::from_tensor(literal.as_tensor()?))));
        Some(Value::List(List {
            element: element.as_tensor()?.clone(),
            fixed: true,
            items: items.iter().map(item).collect::<Option<_>>()?,
        }))
    }
}

/// The class of the largest probability, the first of equals, and the probability of every class.
/// `classes` are strings or `int64`, as many as there are probabilities; `None` if there are none,
/// or not as many.
pub fn classify(probabilities: &Array, classes: &Array) -> Option<(Array, Dictionary)> {
    let numbers = probabilities.to_f64s();
    if numbers.is_empty() || numbers.len() != classes.count() {
        return None;
    }
    let mut best = 0;
    for (i, &number) in numbers.iter().enumerate() {
        if number > numbers[best] || (numbers[best].is_nan() && !number.is_nan()) {
            best = i;
        }
    }
    let count = numbers.len();
    let label = classes.pick(&[], std::iter::once(best));
    let keys = classes.clone().with_dims(&[count]);
    let values = Array::floats(DataType::Fp64, &[count], numbers);
    Some((label, Dictionary { keys, values }))
}
