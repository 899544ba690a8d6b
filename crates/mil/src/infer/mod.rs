//! Result types: every op recomputes them from its arguments, and the builder, the verifier and
//! the evaluators all call the same function.

mod check;

use crate::{Env, OpError, Operation, Params, Type};

/// The types of an operation's results.
///
/// # Errors
/// If the arguments do not fit the op's row of the table or each other.
pub fn infer(operation: &Operation, env: &dyn Env) -> Result<Vec<Type>, OpError> {
    let params = Params::new(operation, env);
    check::arguments(&params)?;
    Err(params.error("no inference rule"))
}
