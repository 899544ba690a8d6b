//! Comparing the CPU device with the interpreter.

use anemone_cpu::CpuDevice;
use anemone_cpu::isa::Isa;
use interp::Array;
use mil::{DataType, Function, Program, Weights};
use runtime::{Accumulation, Bindings, CompileOptions, Device};
use std::collections::BTreeMap;
use surface::Surface;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number in [-2, 2].
    pub fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 51) as f64 - 2.0
    }
}

/// Random inputs for a function of fixed shapes; those named `whole…` are whole numbers.
pub fn inputs(function: &Function, random: &mut Random) -> BTreeMap<String, Array> {
    let mut inputs = BTreeMap::new();
    for &id in &function.inputs {
        let value = function.value(id);
        let Some(ty) = value.ty.as_tensor() else { continue };
        let dims = ty.fixed_dims().expect("the inputs' shapes are fixed");
        let count: usize = dims.iter().product();
        let array = if ty.dtype.is_float() && value.name.starts_with("whole") {
            let values = (0..count).map(|_| random.below(5) as f64 - 2.0).collect();
            Array::floats(ty.dtype, &dims, values)
        } else if ty.dtype.is_float() {
            Array::floats(ty.dtype, &dims, (0..count).map(|_| random.float()).collect())
        } else {
            let top = if ty.dtype == DataType::Bool { 2 } else { 3 };
            Array::ints(ty.dtype, &dims, (0..count).map(|_| random.below(top) as i64).collect())
        };
        inputs.insert(value.name.clone(), array.rounded());
    }
    inputs
}

/// Evaluates a function on the CPU device.
pub fn on_cpu(
    device: &CpuDevice,
    program: &Program,
    name: &str,
    inputs: &BTreeMap<String, Array>,
    options: &CompileOptions,
) -> Result<BTreeMap<String, Array>, runtime::Error> {
    let executable = device.compile(program, name, options)?;
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        let tensor = inputs[&port.name].to_tensor();
        let surface = Surface::from_slice(tensor.bytes()).expect("memory for an input");
        bindings = bindings.input(&port.name, &surface);
    }
    let mut outputs = vec![];
    for port in executable.outputs() {
        let surface = Surface::new(port.bytes).expect("memory for an output");
        bindings = bindings.output(&port.name, &surface);
        outputs.push((port.clone(), surface));
    }
    let mut request = executable.bind(bindings)?;
    // The second evaluation finds the memory as the first has left it.
    request.evaluate(Accumulation::Replace)?;
    request.evaluate(Accumulation::Replace)?;
    let read = |(port, surface): (runtime::Port, Surface)| {
        let bytes = surface.read().expect("nothing else uses it").to_vec();
        let tensor = mil::Tensor::from_bytes(port.ty.dtype, &port.dims, bytes);
        (port.name, Array::from_tensor(&tensor.expect("the surface is as large as the port")))
    };
    Ok(outputs.into_iter().map(read).collect())
}

/// Where the two evaluators differ by more than the tolerance of the element type.
pub fn disagreement(
    device: &CpuDevice,
    program: &Program,
    name: &str,
    inputs: &BTreeMap<String, Array>,
    weights: &Weights,
) -> Option<String> {
    let interpret = |rounding| {
        let weights = weights.clone();
        let options = interp::Options { weights, rounding, ..interp::Options::default() };
        interp::evaluate(program, name, inputs, &options)
            .map(|outputs| outputs.outputs)
            .map_err(|error| format!("interpreter: {error}"))
    };
    let expected = match interpret(interp::Rounding::Declared) {
        Ok(outputs) => outputs,
        Err(error) => return Some(error),
    };
    let exact = match interpret(interp::Rounding::None) {
        Ok(outputs) => outputs,
        Err(error) => return Some(error),
    };
    let options = CompileOptions { weights: weights.clone(), ..CompileOptions::default() };
    let found = match on_cpu(device, program, name, inputs, &options) {
        Ok(outputs) => outputs,
        Err(error) => return Some(format!("cpu: {error}")),
    };
    for (name, expected) in &expected {
        let found = &found[name];
        if found.dims() != expected.dims() || found.dtype() != expected.dtype() {
            return Some(format!("{name}: {:?} is not {:?}", found.dims(), expected.dims()));
        }
        let (a, b) = (found.to_f64s(), expected.to_f64s());
        // How far roundings carry in this program: cancellation makes small errors large ones.
        let carried = exact[name].to_f64s().iter().zip(&b).fold(0f64, |m, (a, b)| {
            let error = (a - b).abs();
            if error.is_finite() { m.max(error) } else { m }
        });
        let top = b.iter().filter(|v| v.is_finite()).fold(1e-3f64, |m, v| m.max(v.abs()));
        // A step of the element type at the size of the largest element, with room for one more
        // rounding of what went in; f32 sums of some hundred terms lose a few steps.
        let step = match expected.dtype() {
            DataType::Fp16 => 2e-3,
            DataType::Bf16 => 1.6e-2,
            // What is fp64 was fp32 somewhere on its way.
            DataType::Fp32 | DataType::Fp64 => 2e-5,
            _ => 0.0,
        };
        let slack = if expected.dtype().is_float() { 4.0 * carried } else { 0.0 };
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            let equal = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= step * top + slack;
            if !equal {
                return Some(format!("{name}[{i}] is {a}, expected {b} (largest {top})"));
            }
        }
    }
    None
}

/// A device for every instruction set that the machine offers.
pub fn devices() -> Vec<CpuDevice> {
    Isa::available()
        .map(|isa| CpuDevice::with_isa(Some(2), isa).expect("two threads can be started"))
        .collect()
}
