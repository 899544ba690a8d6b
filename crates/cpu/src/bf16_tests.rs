//! A layer in bf16, forward and backward, where the machine (or the emulator) has dot products of
//! bf16: every product takes them, and the results are those of a machine without.

use crate::CpuDevice;
use crate::isa::Isa;
use mil::{DataType, Function, Program};
use passes::autodiff::{self, Options};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Port, Staging};
use std::collections::BTreeMap;
use surface::Surface;

/// The outputs by name, and what each step was.
type Ran = (BTreeMap<String, Vec<f32>>, Vec<String>);

fn run(isa: Isa, function: &Function, parameters: &[String], staging: Staging) -> Ran {
    let device = CpuDevice::with_isa(Some(2), isa).unwrap();
    let parameters = parameters.iter().filter(|name| function.input(name).is_some());
    let options = CompileOptions {
        parameters: parameters.cloned().collect(),
        staging,
        ..CompileOptions::default()
    };
    let program = Program::new(vec![function.clone()]);
    let executable = device.compile(&program, &function.name, &options).unwrap();
    let surfaces = |ports: &[Port]| -> BTreeMap<String, Surface> {
        let numbers = |port: &Port| {
            let count = port.dims.iter().product::<usize>();
            let number = |i: usize| ((i * 37 + port.name.len()) % 101) as f32 * 0.01 - 0.5;
            let floats: Vec<f32> = (0..count).map(number).collect();
            match port.bytes / count {
                4 => Surface::from_slice(&floats).unwrap(),
                _ => {
                    let halves: Vec<u16> =
                        floats.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect();
                    Surface::from_slice(&halves).unwrap()
                }
            }
        };
        ports.iter().map(|port| (port.name.clone(), numbers(port))).collect()
    };
    let outputs = surfaces(executable.outputs());
    let bindings = Bindings { inputs: surfaces(executable.inputs()), outputs: outputs.clone() };
    let ports: Vec<Port> = executable.outputs().to_vec();
    executable.clone().bind(bindings).unwrap().evaluate(Accumulation::Replace).unwrap();
    let steps = device.profile().into_iter().flat_map(|kernel| kernel.steps);
    let found = ports.iter().map(|port| {
        let bytes = outputs[&port.name].read().unwrap();
        let count = port.dims.iter().product::<usize>();
        let values = match port.bytes / count {
            4 => bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect(),
            _ => bytes
                .chunks_exact(2)
                .map(|b| half::bf16::from_ne_bytes(b.try_into().unwrap()).to_f32())
                .collect::<Vec<f32>>(),
        };
        (port.name.clone(), values[..count].to_vec())
    });
    (found.collect(), steps.map(|step| step.what).collect())
}

#[test]
fn a_layer_in_bf16_takes_the_dot_products() {
    let isa = [Isa::Avx512Bf16, Isa::NeonBf16].into_iter().find(|isa| isa.is_available());
    let Some(isa) = isa else { return println!("not tested: no dot products of bf16") };
    let config = models::Config {
        dim: 48,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        hidden: 70,
        max_seq: 21,
        ..models::Config::preset("tiny").unwrap()
    };
    let (shape, layout) = (models::Shape { batch: 1, seq: 21 }, models::Layout::TokenMajor);
    let layer = models::layer(&config, shape, layout, DataType::Bf16).unwrap();
    let inputs = layer.inputs.iter().map(|&id| layer.value(id).name.clone());
    let parameters: Vec<String> =
        inputs.filter(|name| name.starts_with('w') || name.contains("norm")).collect();
    let wrt = std::iter::once("x".to_owned()).chain(parameters.iter().cloned()).collect();
    let options = Options { wrt, repeat: models::repeated(layout), ..Options::default() };
    let gradient = autodiff::differentiate(&layer, &options).unwrap();
    for function in [&gradient.forward, &gradient.backward] {
        for staging in [Staging::Often, Staging::Rare] {
            let (found, steps) = run(isa, function, &parameters, staging);
            let products = steps.iter().map(|what| what.matches("-bf16-").count()).sum::<usize>();
            assert!(products >= 9, "{steps:#?}");
            assert!(!steps.iter().any(|what| what.contains("-f32-")), "{steps:#?}");
            let (expected, _) = run(Isa::Portable, function, &parameters, staging);
            for (name, expected) in expected {
                let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
                let pairs = found[&name].iter().zip(&expected);
                let error = norm(&mut pairs.map(|(a, b)| a - b));
                let size = norm(&mut expected.iter().copied());
                // Sums in another order may round to the neighboring bf16, 2⁻⁸ away, and that
                // a few times in a row.
                assert!(error <= 0.02 * size, "{name}: {error} of {size}");
                assert!(size > 0.0, "{name} is zero");
            }
        }
    }
}
