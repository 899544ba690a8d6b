//! How long one layer of `stories110m` takes, forward and backward.
//!
//! `cargo bench -p anemone-cpu --bench layer [-- TOKENS]`; the environment pins the threads and the
//! instruction set.

use anemone_cpu::CpuDevice;
use mil::Program;
use passes::autodiff::{self, Options};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Staging};
use std::collections::BTreeMap;
use std::time::Instant;
use surface::Surface;

fn main() {
    let tokens = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(256);
    let config = models::Config {
        max_seq: tokens,
        ..models::Config::preset("stories110m").expect("a preset")
    };
    let shape = models::Shape { batch: 1, seq: tokens };
    let layout = models::Layout::TokenMajor;
    let layer = models::layer(&config, shape, layout, mil::DataType::Fp32).expect("a layer");
    let parameters: Vec<String> = layer
        .inputs
        .iter()
        .map(|&id| layer.value(id).name.clone())
        .filter(|n| n.contains("w") || n.contains("norm"))
        .collect();
    let wrt = std::iter::once("x".to_owned()).chain(parameters.iter().cloned()).collect();
    let options = Options { wrt, repeat: models::repeated(layout), ..Options::default() };
    let gradient = autodiff::differentiate(&layer, &options).expect("a gradient");
    let device = CpuDevice::new(None).expect("a device");
    println!("{}", device.describe());
    for function in [gradient.forward, gradient.backward] {
        let name = function.name.clone();
        let here = |name: &&String| function.input(name).is_some();
        let parameters = parameters.iter().filter(here).cloned().collect();
        let options =
            CompileOptions { parameters, staging: Staging::Often, ..CompileOptions::default() };
        let executable =
            device.compile(&Program::new(vec![function]), &name, &options).expect("it compiles");
        let fill = |ports: &[runtime::Port]| -> BTreeMap<String, Surface> {
            let numbers = |bytes: usize| {
                (0..bytes / 4).map(|i| ((i * 37) % 101) as f32 * 2e-4 - 0.01).collect::<Vec<f32>>()
            };
            ports
                .iter()
                .map(|p| (p.name.clone(), Surface::from_slice(&numbers(p.bytes)).expect("memory")))
                .collect()
        };
        let bindings =
            Bindings { inputs: fill(executable.inputs()), outputs: fill(executable.outputs()) };
        let mut request = executable.bind(bindings).expect("bound");
        let mut times: Vec<f64> = (0..60)
            .map(|_| {
                let start = Instant::now();
                request.evaluate(Accumulation::Replace).expect("evaluated");
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name}: {:.2} ms (least {:.2})", times[30], times[0]);
    }
}
