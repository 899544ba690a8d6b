//! What the tests share, and what any device can be tested with.
//!
//! [`Model`] composes the functions of the crate into a whole model, forward and backward, and
//! leaves the evaluation of each function to an [`Evaluator`]: the reference interpreter here, a
//! device elsewhere. [`block`] and [`whole_model`] compare with the committed fixtures whatever
//! the evaluator is, so that a device is tested by
//!
//! ```text
//! #[path = "../../models/tests/common/mod.rs"]
//! mod common;
//! common::block("block_mha_interleaved", &common::Check { evaluate: &evaluate, … });
//! ```
#![allow(dead_code, unused_imports)] // Every test file uses a part.

pub mod checks;
pub mod device;
pub mod fixture;
pub mod model;
pub mod random;

pub use checks::{Check, Tolerance, block, whole_model};
pub use device::on;
pub use fixture::Fixture;
pub use model::Model;
pub use random::{families, noise, random_parameters, small};

use std::collections::BTreeMap;

/// A tensor on its way into or out of a function; integers are exact in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f64>,
}

/// Tensors by name.
pub type Named = BTreeMap<String, Array>;

/// Evaluates a function: inputs by name, which are cast to the declared types, to outputs by name.
pub type Evaluator<'a> = &'a dyn Fn(&mil::Function, &Named) -> Named;

impl Array {
    /// A tensor of these elements.
    pub fn new(dims: &[usize], data: Vec<f64>) -> Array {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "elements of {dims:?}");
        Array { dims: dims.to_vec(), data }
    }

    /// A tensor of f32 elements.
    pub fn from_f32s(dims: &[usize], data: &[f32]) -> Array {
        Array::new(dims, data.iter().map(|&v| f64::from(v)).collect())
    }

    /// Element-wise sum.
    pub fn plus(&self, other: &Array) -> Array {
        assert_eq!(self.dims, other.dims);
        let data = self.data.iter().zip(&other.data).map(|(a, b)| a + b).collect();
        Array { dims: self.dims.clone(), data }
    }
}

/// Evaluates a function on those of the `pool` that it takes.
pub fn call(evaluate: Evaluator, function: &mil::Function, pool: &Named) -> Named {
    let mut inputs = Named::new();
    for &id in &function.inputs {
        let name = &function.value(id).name;
        let found = pool.get(name);
        let found = found.unwrap_or_else(|| panic!("`{}` needs `{name}`", function.name));
        inputs.insert(name.clone(), found.clone());
    }
    let outputs = evaluate(function, &inputs);
    for &id in &function.body.outputs {
        let value = function.value(id);
        let ty = value.ty.as_tensor().expect("outputs are tensors");
        let found = &outputs[&value.name];
        assert_eq!(Some(&found.dims), ty.fixed_dims().as_ref(), "`{}`", value.name);
    }
    outputs
}

/// The evaluator of the reference interpreter.
pub fn interpret(rounding: interp::Rounding) -> impl Fn(&mil::Function, &Named) -> Named {
    move |function, inputs| {
        let program = mil::Program::new(vec![function.clone()]);
        let inputs = inputs.iter().map(|(name, Array { dims, data })| {
            (name.clone(), interp::Array::floats(mil::DataType::Fp64, dims, data.clone()))
        });
        let options = interp::Options { rounding, ..interp::Options::default() };
        let outputs = interp::evaluate(&program, &function.name, &inputs.collect(), &options);
        let outputs = outputs.unwrap_or_else(|error| panic!("`{}`: {error}", function.name));
        let outputs = outputs.outputs.into_iter();
        outputs.map(|(name, array)| (name, Array::new(array.dims(), array.to_f64s()))).collect()
    }
}
