//! Reverse-mode differentiation of MIL functions.
//!
//! Before:
//! ```text
//! func main(tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w) {
//!     tensor<fp32, [2, 4]> h = linear(x = x, weight = w);
//!     tensor<fp32, [2, 4]> y = tanh(x = h);
//! } -> (y);
//! ```
//! After, for `w`: the function itself, which also gives what the backward function wants to
//! know (nothing more here, for `tanh` needs only its result), and
//! ```text
//! func main_backward(tensor<fp32, [2, 4]> d_y, tensor<fp32, [2, 4]> y, tensor<fp32, [2, 3]> x) {
//!     tensor<fp32, [2, 4]> mul = mul(x = y, y = y);
//!     tensor<fp32, [2, 4]> sub = sub(x = 1.0, y = mul);
//!     tensor<fp32, [2, 4]> d_h = mul(x = d_y, y = sub);
//!     tensor<fp32, [4, 3]> d_w = matmul(x = d_h, y = x, transpose_x = true, transpose_y = false);
//! } -> (d_w);
//! ```
//!
//! The cotangent of a value has the value's element type. A cotangent never flows into a value
//! that does not depend on a wanted input, nor through one that no output depends on.
//! The rules are the table in `rules`. Recurrent layers are first written out step by step
//! (`unroll`), in the forward function too.

mod activity;
mod error;
mod plan;
mod reverse;
mod rules;
mod step;
mod unroll;

pub use error::Error;
pub use plan::Recompute;
pub use rules::{Differentiability, differentiability};

use crate::{edit, simplify};
use activity::Activity;
use mil::{DataType, Function, FunctionEnv, Tensor, Type, ValueId};
use plan::{Origin, Plan};
use reverse::Reverse;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// What to differentiate for, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of the inputs whose gradients are wanted.
    pub wrt: Vec<String>,
    /// What the backward function computes again instead of being given.
    pub recompute: Recompute,
    /// Names of values that the backward function is given, if it needs them, whatever
    /// `recompute` says. What depends on nothing but these, inputs and constants can then be
    /// computed again without going further back.
    pub keep: Vec<String>,
    /// Names of values that the backward function computes again, if it needs them and they are
    /// not in `keep`, whatever `recompute` says: what is larger than what it is computed from.
    pub repeat: Vec<String>,
}

/// A function and its reverse.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The function, with the values that `backward` needs as further outputs, under their names.
    pub forward: Function,
    /// From the outputs' cotangents to the wanted inputs' cotangents.
    ///
    /// Inputs: `d_<output>` for every output that depends on a wanted input, in order of the
    /// outputs; then the further outputs of `forward`; then those of the original inputs that
    /// are still needed. Outputs: `d_<input>` for every wanted input, in the order asked for.
    pub backward: Function,
}

/// The function's reverse for the wanted inputs. The backward function of `main` is called
/// `main_backward`.
///
/// # Errors
/// If an operation on the way has no rule, a shape is unknown, a value to keep does not exist, or
/// a wanted input does not influence any output.
pub fn differentiate(function: &Function, options: &Options) -> Result<Gradient, Error> {
    let unrolled = unrolled(function)?;
    let function = &*unrolled;
    let env = FunctionEnv::new(function);
    let wrt = wanted(function, &options.wrt)?;
    let activity = Activity::of(function, &wrt, &function.body.outputs)?;

    // What the rules ask for is known once they have run, so they run twice: once with every
    // forward value at hand, then with each in the way that suits the whole set.
    let mut survey = Reverse::new(function, &env, &activity, &|_| Origin::Input);
    sweep(&mut survey, &wrt, None)?;
    let keep = named(function, &options.keep, "keep")?;
    let repeat = named(function, &options.repeat, "repeat")?;
    let plan = Plan::new(function, &env, options.recompute, &keep, &repeat, survey.demanded())?;
    let origin = |id| plan.origin(id);
    let mut reverse = Reverse::new(function, &env, &activity, &origin);
    let gradients = sweep(&mut reverse, &wrt, None)?;

    let mut forward = function.clone();
    let taps = reverse.taken().filter(|&id| plan.origin(id) == Origin::Tap);
    let taps: Vec<ValueId> = taps.filter(|id| !function.body.outputs.contains(id)).collect();
    forward.body.outputs.extend(&taps);

    let mut backward = reverse.finish(&gradients, &names(function, &wrt))?;
    backward.name = format!("{}_backward", function.name);
    simplify::run(&mut backward);
    let was_valid = edit::is_valid(function);
    edit::assert_still_valid(was_valid, "differentiate", &forward);
    edit::assert_still_valid(was_valid, "differentiate", &backward);
    Ok(Gradient { forward, backward })
}

/// One function that gives the original outputs and, for every wanted input, `d_<input>`: the
/// derivative of the first output, which must be a scalar.
///
/// # Errors
/// As [`differentiate`], and if the first output is not a float scalar.
pub fn value_and_gradient(function: &Function, wrt: &[String]) -> Result<Function, Error> {
    let unrolled = unrolled(function)?;
    let function = &*unrolled;
    let env = FunctionEnv::new(function);
    let wrt = wanted(function, wrt)?;
    let outputs = &function.body.outputs;
    let found = match outputs.first() {
        Some(&first) => format!("`{}`: {}", function.value(first).name, function.ty(first)),
        None => "no output".to_owned(),
    };
    let loss = *outputs.first().ok_or_else(|| Error::NotScalar { found: found.clone() })?;
    let dtype = match function.ty(loss) {
        Type::Tensor(t) if is_gradient_type(t.dtype) && t.rank() == Some(0) => t.dtype,
        _ => return Err(Error::NotScalar { found }),
    };
    let activity = Activity::of(function, &wrt, &[loss])?;
    let mut reverse = Reverse::new(function, &env, &activity, &|_| Origin::Recompute);
    let copied = reverse.copy_forward()?;
    let one = Tensor::float(dtype, 1.0);
    let gradients = sweep(&mut reverse, &wrt, Some((loss, one)))?;
    let values: Vec<ValueId> = copied.iter().chain(&gradients).copied().collect();
    let mut all: Vec<String> = outputs.iter().map(|&id| function.value(id).name.clone()).collect();
    all.extend(names(function, &wrt));
    let mut result = reverse.finish(&values, &all)?;
    result.name.clone_from(&function.name);
    result.attributes.clone_from(&function.attributes);
    simplify::run(&mut result);
    edit::assert_still_valid(edit::is_valid(function), "value_and_gradient", &result);
    Ok(result)
}

/// The function with its recurrent layers written out, step by step.
fn unrolled(function: &Function) -> Result<Cow<'_, Function>, Error> {
    let build = |source| Error::Build { value: function.name.clone(), source };
    unroll::unrolled(function).map_err(build)
}

/// Seeds the outputs (one of them with a constant, or all with inputs) and runs the rules.
fn sweep(
    reverse: &mut Reverse,
    wrt: &[ValueId],
    seed: Option<(ValueId, Tensor)>,
) -> Result<Vec<ValueId>, Error> {
    match seed {
        Some((output, value)) => reverse.seed(output, value),
        None => reverse.seed_with_inputs()?,
    }
    reverse.run()?;
    wrt.iter().map(|&id| reverse.gradient(id)).collect()
}

fn names(function: &Function, wrt: &[ValueId]) -> Vec<String> {
    wrt.iter().map(|&id| format!("d_{}", function.value(id).name)).collect()
}

fn wanted(function: &Function, names: &[String]) -> Result<Vec<ValueId>, Error> {
    if names.is_empty() {
        return Err(Error::NothingWanted);
    }
    let mut wrt: Vec<ValueId> = vec![];
    for name in names {
        let id = function.input(name).ok_or_else(|| {
            let known = function.inputs.iter().map(|&id| function.value(id).name.as_str());
            let known: Vec<&str> = known.collect();
            Error::UnknownInput {
                function: function.name.clone(),
                input: name.clone(),
                known: known.join(", "),
            }
        })?;
        if !is_differentiable(function.ty(id)) {
            return Err(Error::NotFloat { value: name.clone(), ty: function.ty(id).clone() });
        }
        if !wrt.contains(&id) {
            wrt.push(id);
        }
    }
    Ok(wrt)
}

/// The values of these names; `wish` is what is to be done with them.
fn named(
    function: &Function,
    names: &[String],
    wish: &'static str,
) -> Result<BTreeSet<ValueId>, Error> {
    let values: HashMap<&str, usize> =
        function.values.iter().enumerate().map(|(i, value)| (value.name.as_str(), i)).collect();
    let find = |name: &String| match values.get(name.as_str()) {
        Some(&i) => Ok(ValueId(i as u32)),
        None => {
            Err(Error::UnknownValue { function: function.name.clone(), value: name.clone(), wish })
        }
    };
    names.iter().map(find).collect()
}

/// Whether a value of this type can carry a cotangent. The 8-bit float types are for storage.
fn is_differentiable(ty: &Type) -> bool {
    ty.as_tensor().is_some_and(|t| is_gradient_type(t.dtype))
}

fn is_gradient_type(dtype: DataType) -> bool {
    matches!(dtype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
}

/// Gives the result's inputs and outputs exactly the names they must have.
fn settle_names(function: &mut Function, fixed: &[(ValueId, String)]) -> Result<(), Error> {
    edit::settle_names(function, fixed).map_err(Error::NameTaken)
}
