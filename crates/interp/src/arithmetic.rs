//! Arithmetic of a device in place of the plain one, for emulators.

use crate::Array;
use crate::evaluate::Context;
use mil::{OpError, Operation, Params};
use std::fmt;

/// How a device's arithmetic differs from the plain one. What is not overridden is plain.
pub trait Arithmetic: fmt::Debug + Send + Sync {
    /// A product that `matmul`, `linear`, `conv` or attention adds to a sum.
    fn product(&self, a: f64, b: f64) -> f64 {
        a * b
    }

    /// A partial sum of those ops, of `reduce_sum` or of `reduce_mean`. Terms come in order of
    /// their index.
    fn accumulate(&self, sum: f64, term: f64) -> f64 {
        sum + term
    }

    /// What becomes of a result, which has its element type and is not yet rounded to it. The
    /// number of elements must stay.
    ///
    /// # Errors
    /// If an operand cannot be read.
    fn result(&self, _: &Step, result: Array) -> Result<Array, OpError> {
        Ok(result)
    }
}

/// An operation that has just been computed.
pub struct Step<'a>(pub(crate) &'a Context<'a>);

impl Step<'_> {
    /// The operation.
    pub fn operation(&self) -> &Operation {
        self.0.operation
    }

    /// Its arguments as parameters, with defaults.
    pub fn params(&self) -> &Params<'_> {
        &self.0.params
    }

    /// The value bound to a parameter that the op requires.
    ///
    /// # Errors
    /// If nothing is bound to it.
    pub fn operand(&self, name: &str) -> Result<Array, OpError> {
        self.0.need(name)
    }
}
