//! Ops with steps of their own: the interpreter's numbers, and never the interpreter.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod ints;
mod lines;
mod parts;
mod recurrent;
mod tables;

use common::{Random, devices, disagreement, on_cpu};
use interp::Array;
use mil::{DataType, FunctionBuilder, Op, OpError, Opset, Program, ValueId};
use runtime::{CompileOptions, Device};
use std::collections::BTreeMap;

/// A function that is being built, and the values of its inputs.
struct Case {
    b: FunctionBuilder,
    inputs: BTreeMap<String, Array>,
}

impl Case {
    fn new() -> Case {
        Case { b: FunctionBuilder::new("f", Opset::Ios18), inputs: BTreeMap::new() }
    }

    /// An input with these values.
    fn input(&mut self, array: Array) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        let id = self.b.input(&name, mil::Type::tensor(array.dtype(), array.dims()));
        self.inputs.insert(name, array.rounded());
        id
    }

    /// A constant, or an input whose value is not known when the function is compiled.
    fn numbers(&mut self, values: &[i64], known: bool) -> ValueId {
        let array = Array::ints(DataType::Int32, &[values.len()], values.to_vec());
        match known {
            true => self.b.constant("numbers", array.to_tensor()),
            false => self.input(array),
        }
    }

    /// Compares with the interpreter on every device: exactly, or within the tolerance of the
    /// element type. None of the ops `native` may run in the interpreter.
    fn check(self, outputs: Result<Vec<ValueId>, OpError>, native: &[Op], exact: bool) {
        let outputs = outputs.unwrap_or_else(|e| panic!("{e}"));
        let program = Program::new(vec![self.b.finish(&outputs)]);
        let what = || format!("{}{:?}", mil::print(&program), self.inputs);
        let expected = interp::evaluate(&program, "f", &self.inputs, &interp::Options::default());
        let expected = expected.unwrap_or_else(|e| panic!("{e}\n{}", what())).outputs;
        for device in devices() {
            let options = CompileOptions::default();
            let executable = device.compile(&program, "f", &options);
            let executable = executable.unwrap_or_else(|e| panic!("{e}\n{}", what()));
            let left = executable.placement().into_iter().find(|p| {
                p.place == "cpu: interpreter" && native.iter().any(|op| op.name() == p.op)
            });
            // What is made of nothing needs no step.
            let empty = expected.values().any(|array| array.count() == 0);
            assert!(left.is_none() || empty, "{left:?} {}", what());
            if !exact {
                let weights = Default::default();
                let found = disagreement(&device, &program, "f", &self.inputs, &weights);
                assert_eq!(found, None, "{}", what());
                continue;
            }
            let found = on_cpu(&device, &program, "f", &self.inputs, &options);
            let found = found.unwrap_or_else(|e| panic!("{e}\n{}", what()));
            for (name, expected) in &expected {
                let bits = |array: &Array| -> Vec<u64> {
                    let floats = array.to_f64s();
                    let bits = |v: &f64| if v.is_nan() { 1 } else { v.to_bits() };
                    floats
                        .iter()
                        .map(bits)
                        .chain(array.to_i64s().iter().map(|&v| v as u64))
                        .collect()
                };
                let found = &found[name];
                assert_eq!(found.dims(), expected.dims(), "{name}: {}", what());
                assert!(
                    bits(found) == bits(expected),
                    "{name}: {found:?}\n{expected:?}\n{}",
                    what()
                );
            }
        }
    }
}

/// Random dims of this rank, few enough elements for the interpreter.
fn dims(random: &mut Random, rank: usize) -> Vec<usize> {
    (0..rank).map(|_| 1 + random.below(6)).collect()
}

/// An array of any values that the type has: the least and the largest integers, infinities, NaN.
fn any(random: &mut Random, dtype: DataType, dims: &[usize]) -> Array {
    let count = dims.iter().product();
    if dtype.is_float() {
        let value = |random: &mut Random| match random.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -0.0,
            3 => 3e9,
            _ => random.float() * 3.0,
        };
        return Array::floats(dtype, dims, (0..count).map(|_| value(random)).collect()).rounded();
    }
    let (low, high) = dtype.int_range().unwrap_or((0, 1));
    let value = |random: &mut Random| match random.below(8) {
        0 => low,
        1 => high,
        2 => 0,
        _ => random.below(23) as i64 - 11,
    };
    Array::ints(dtype, dims, (0..count).map(|_| value(random)).collect()).rounded()
}
