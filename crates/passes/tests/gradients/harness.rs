//! A row is a function of a few inputs; its gradient for every float input is compared with
//! central differences.

use anemone_passes::autodiff::{Options, Recompute, differentiate};
use interp::{Array, Rounding};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Opset, Program, ValueId};
use std::collections::BTreeMap;

/// The step of the differences. Their error is about h²·f‴/6 from the step and 2⁻⁵²·f/h from
/// rounding, both near 10⁻¹⁰ for values and derivatives near 1.
const H: f64 = 1e-5;

/// Far above that error, far below that of any wrong formula.
const TOLERANCE: f64 = 1e-6;

type Build = fn(&mut FunctionBuilder, &[ValueId]) -> Result<Vec<ValueId>, OpError>;

/// One line of the table.
pub struct Row {
    name: &'static str,
    inputs: Vec<Input>,
    build: Build,
}

/// An input and its values. Those of floats are random, and wanted.
#[derive(Clone)]
pub enum Input {
    /// In ±1, at least 0.1 from 0, where |x|, relu and others have a kink.
    Signed(Vec<usize>),
    /// From 0.5 to 2.
    Positive(Vec<usize>),
    /// At least 0.05 apart from each other, in random order: no two compete within a step.
    Apart(Vec<usize>),
    /// These integers.
    Ints(Vec<usize>, Vec<i64>),
    /// These truth values.
    Bools(Vec<usize>, Vec<bool>),
}

pub fn f(dims: &[usize]) -> Input {
    Input::Signed(dims.to_vec())
}

pub fn positive(dims: &[usize]) -> Input {
    Input::Positive(dims.to_vec())
}

pub fn apart(dims: &[usize]) -> Input {
    Input::Apart(dims.to_vec())
}

pub fn ints(dims: &[usize], values: &[i64]) -> Input {
    Input::Ints(dims.to_vec(), values.to_vec())
}

pub fn bools(dims: &[usize], values: &[bool]) -> Input {
    Input::Bools(dims.to_vec(), values.to_vec())
}

pub fn row<const N: usize>(name: &'static str, inputs: [Input; N], build: Build) -> Row {
    Row { name, inputs: inputs.to_vec(), build }
}

/// An operation with these operands.
pub fn op(
    b: &mut FunctionBuilder,
    op: Op,
    inputs: &[(&str, ValueId)],
) -> Result<Vec<ValueId>, OpError> {
    b.operation(op, op.name(), inputs.iter().map(|&(name, id)| (name, id.into())))
}

pub type Values = BTreeMap<String, Array>;

impl Row {
    /// The ops that the row's gradients flow through.
    pub fn differentiated(&self) -> Vec<Op> {
        let f = self.function();
        let mut reached: Vec<ValueId> = self.wanted().iter().filter_map(|n| f.input(n)).collect();
        let mut ops = vec![];
        for operation in &f.body.operations {
            if operation.operands().any(|id| reached.contains(&id)) {
                reached.extend(&operation.outputs);
                ops.push(operation.op);
            }
        }
        ops.retain(|&op| {
            use anemone_passes::autodiff::{Differentiability, differentiability};
            differentiability(op) == Differentiability::Rule
        });
        ops
    }

    /// Compares gradients, in every mode of recomputing; what differs.
    pub fn check(&self) -> Result<(), String> {
        let function = self.function();
        let mut random = Random::new(self.name);
        let mut values = Values::new();
        for (i, input) in self.inputs.iter().enumerate() {
            values.insert(format!("x{i}"), input.values(&mut random));
        }
        compare(&function, &values, &self.wanted(), &mut random)
            .map_err(|what| format!("{}: {what}", self.name))
    }

    fn wanted(&self) -> Vec<String> {
        let float = |i: &usize| !matches!(self.inputs[*i], Input::Ints(..) | Input::Bools(..));
        (0..self.inputs.len()).filter(float).map(|i| format!("x{i}")).collect()
    }

    fn function(&self) -> Function {
        let mut b = FunctionBuilder::new("main", Opset::Ios18);
        let mut ids = vec![];
        for (i, input) in self.inputs.iter().enumerate() {
            let (dtype, dims) = match input {
                Input::Signed(d) | Input::Positive(d) | Input::Apart(d) => (DataType::Fp64, d),
                Input::Ints(d, _) => (DataType::Int32, d),
                Input::Bools(d, _) => (DataType::Bool, d),
            };
            ids.push(b.input(&format!("x{i}"), mil::Type::tensor(dtype, dims)));
        }
        let outputs = (self.build)(&mut b, &ids).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        for (i, &id) in outputs.iter().enumerate() {
            b.rename(id, &format!("y{i}"));
        }
        b.finish(&outputs)
    }
}

/// Compares the function's gradients with differences.
pub fn compare(
    function: &Function,
    values: &Values,
    wanted: &[String],
    random: &mut Random,
) -> Result<(), String> {
    let problems = mil::verify_function(function);
    if !problems.is_empty() {
        return Err(format!("the row is no valid function: {problems:?}"));
    }
    let results = evaluate(function, values)?;
    // A random direction in the space of outputs, and the loss along it.
    let mut cotangents = Values::new();
    for (name, array) in &results {
        if array.dtype().is_float() {
            let direction = (0..array.count()).map(|_| random.between(-1.0, 1.0)).collect();
            cotangents.insert(name.clone(), Array::floats(array.dtype(), array.dims(), direction));
        }
    }
    let loss = |values: &Values| -> Result<f64, String> {
        let results = evaluate(function, values)?;
        let dot = |(name, c): (&String, &Array)| -> f64 {
            c.to_f64s().iter().zip(results[name].to_f64s()).map(|(c, y)| c * y).sum()
        };
        Ok(cotangents.iter().map(dot).sum())
    };
    let mut expected = vec![];
    for name in wanted {
        let array = &values[name];
        let mut differences = vec![];
        for i in 0..array.count() {
            let at = |offset: f64| {
                let mut elements = array.to_f64s();
                elements[i] += offset;
                let mut moved = values.clone();
                moved.insert(name.clone(), Array::floats(array.dtype(), array.dims(), elements));
                loss(&moved)
            };
            differences.push((at(H)? - at(-H)?) / (2.0 * H));
        }
        expected.push(differences);
    }

    for recompute in [Recompute::Nothing, Recompute::Cheap, Recompute::Everything] {
        let options = Options { wrt: wanted.to_vec(), recompute, ..Options::default() };
        let gradient = differentiate(function, &options).map_err(|e| e.to_string())?;
        for f in [&gradient.forward, &gradient.backward] {
            let problems = mil::verify_function(f);
            if !problems.is_empty() {
                return Err(format!("{recompute:?}: {problems:?}"));
            }
        }
        let mut all = evaluate(&gradient.forward, values)?;
        all.extend(values.clone());
        all.extend(cotangents.iter().map(|(name, c)| (format!("d_{name}"), c.clone())));
        let inputs = gradient.backward.inputs.iter();
        let inputs: Values = inputs
            .map(|&id| gradient.backward.value(id).name.clone())
            .map(|name| (name.clone(), all[&name].clone()))
            .collect();
        let gradients = evaluate(&gradient.backward, &inputs)?;
        for (name, expected) in wanted.iter().zip(&expected) {
            let found = &gradients[&format!("d_{name}")];
            if found.dims() != values[name].dims() || found.dtype() != values[name].dtype() {
                return Err(format!("{recompute:?}: d_{name} is {:?}", found.dims()));
            }
            for (i, (found, expected)) in found.to_f64s().iter().zip(expected).enumerate() {
                let near = (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs());
                if !near {
                    return Err(format!(
                        "{recompute:?}: d_{name}[{i}] is {found}, by differences {expected}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The function's outputs, in double precision throughout.
pub fn evaluate(function: &Function, inputs: &Values) -> Result<Values, String> {
    let program = Program::new(vec![function.clone()]);
    let options = interp::Options { rounding: Rounding::None, ..interp::Options::default() };
    let outputs = interp::evaluate(&program, &function.name, inputs, &options);
    Ok(outputs.map_err(|e| e.to_string())?.outputs)
}

/// Deterministic random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// A sequence of its own for every name.
    pub fn new(name: &str) -> Random {
        Random(
            name.bytes().fold(7, |seed: u64, byte| {
                seed.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte)
            }),
        )
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        low + (high - low) * (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Input {
    pub fn values(&self, random: &mut Random) -> Array {
        let float = |dims: &[usize], f: &mut dyn FnMut() -> f64| {
            let count: usize = dims.iter().product();
            Array::floats(DataType::Fp64, dims, (0..count).map(|_| f()).collect())
        };
        match self {
            Input::Signed(dims) => float(dims, &mut || {
                let sign = if random.between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
                sign * random.between(0.1, 1.0)
            }),
            Input::Positive(dims) => float(dims, &mut || random.between(0.5, 2.0)),
            Input::Apart(dims) => {
                let count: usize = dims.iter().product();
                let middle = count as f64 / 2.0;
                let mut steps: Vec<f64> =
                    (0..count).map(|i| 0.05 * (i as f64 - middle) + 0.02).collect();
                for i in (1..count).rev() {
                    steps.swap(i, random.between(0.0, i as f64 + 1.0) as usize);
                }
                Array::floats(DataType::Fp64, dims, steps)
            }
            Input::Ints(dims, values) => Array::ints(DataType::Int32, dims, values.clone()),
            Input::Bools(dims, values) => {
                let values = values.iter().map(|&v| i64::from(v)).collect();
                Array::ints(DataType::Bool, dims, values)
            }
        }
    }
}
