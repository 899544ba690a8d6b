//! Layers on a device, with numbers that are the same everywhere.

use anemone_ane::device::{AneDevice, WeightStrategy};
use anemone_ane::target::{Chip, Route, Target};
use anemone_ane::{Emulator, EmulatorOptions, Engine};
use cpu::CpuDevice;
use mil::{DataType, Function, Program};
use models::{Config, Layout, Role, Shape};
use passes::autodiff::{self, Gradient, Recompute};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable, Request};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

pub type Surfaces = BTreeMap<String, Surface>;

pub fn target(chip: Chip) -> Target {
    Target { chip, os: if chip == Chip::M5 { 26 } else { 15 }, route: Route::InMemory }
}

pub fn emulator() -> Arc<dyn Engine> {
    Arc::new(Emulator::new(EmulatorOptions::new(target(Chip::M4))).unwrap())
}

pub fn host() -> Arc<dyn Device> {
    Arc::new(CpuDevice::new(None).unwrap())
}

pub fn device(weights: WeightStrategy) -> AneDevice {
    AneDevice::new(emulator(), host(), weights)
}

/// A layer with its backward function as training makes them for the engine.
pub fn layer(config: &Config, shape: Shape, compute: DataType) -> Gradient {
    let layer = models::layer(config, shape, Layout::ChannelFirst, compute).unwrap();
    let wrt = std::iter::once("x".to_owned()).chain(parameters(config).into_keys()).collect();
    let keep = models::taps(config, Layout::ChannelFirst);
    let options =
        autodiff::Options { wrt, recompute: Recompute::Everything, keep, ..Default::default() };
    autodiff::differentiate(&layer, &options).unwrap()
}

/// The parameters of a layer with their dimensions.
pub fn parameters(config: &Config) -> BTreeMap<String, Vec<usize>> {
    let all = models::parameters(config).unwrap().into_iter();
    let own = all.filter_map(|p| match p.role {
        Role::Layer { index: 0, port } => Some((port.to_owned(), p.dims)),
        _ => None,
    });
    own.collect()
}

/// How training compiles a function of a layer.
pub fn options(config: &Config, function: &Function) -> CompileOptions {
    let names: Vec<String> = parameters(config).into_keys().collect();
    let accumulators = names.iter().map(|name| format!("d_{name}"));
    CompileOptions {
        accumulators: accumulators.filter(|n| function.output(n).is_some()).collect(),
        parameters: names.into_iter().filter(|n| function.input(n).is_some()).collect(),
        ..CompileOptions::default()
    }
}

/// Numbers of about normal distribution (a sum of four uniform ones), different for every name.
pub fn numbers(name: &str, count: usize, size: f32) -> Vec<f32> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (0..4).map(|_| uniform()).sum::<f32>() * 1.732 * size).collect()
}

/// Surfaces of the parameters: matrices of the size that keeps activations at unit size.
pub fn parameter_surfaces(config: &Config) -> Surfaces {
    let surface = |(name, dims): (String, Vec<usize>)| {
        let count = dims.iter().product();
        let values = match dims.as_slice() {
            [_] => numbers(&name, count, 0.1).into_iter().map(|v| 1.0 + v).collect(),
            dims => numbers(&name, count, 1.0 / (dims[1] as f32).sqrt()),
        };
        (name, Surface::from_slice(&values).unwrap())
    };
    parameters(config).into_iter().map(surface).collect()
}

/// Binds every port to the surface of its name, which is made if it is not there.
pub fn bind(executable: &Arc<dyn Executable>, surfaces: &mut Surfaces) -> Box<dyn Request> {
    for port in executable.inputs().iter().chain(executable.outputs()) {
        let surface = || Surface::new(port.bytes).unwrap();
        surfaces.entry(port.name.clone()).or_insert_with(surface);
    }
    let pick = |ports: &[runtime::Port]| {
        ports.iter().map(|p| (p.name.clone(), surfaces[&p.name].clone())).collect()
    };
    let bindings =
        Bindings { inputs: pick(executable.inputs()), outputs: pick(executable.outputs()) };
    executable.clone().bind(bindings).unwrap()
}

/// A layer's forward and backward functions with all their surfaces.
pub struct Layer {
    pub surfaces: Surfaces,
    pub forward: Box<dyn Request>,
    pub backward: Box<dyn Request>,
    pub executables: [Arc<dyn Executable>; 2],
}

impl Layer {
    /// With the parameters of [`parameter_surfaces`], and activations and cotangents by name.
    pub fn new(device: &dyn Device, config: &Config, shape: Shape, compute: DataType) -> Layer {
        let gradient = layer(config, shape, compute);
        let compile = |function: &Function| {
            let program = Program::new(vec![function.clone()]);
            device.compile(&program, &function.name, &options(config, function)).unwrap()
        };
        let executables = [compile(&gradient.forward), compile(&gradient.backward)];
        let mut surfaces = parameter_surfaces(config);
        let count = config.dim * shape.tokens();
        surfaces.insert("x".into(), Surface::from_slice(&numbers("x", count, 1.0)).unwrap());
        surfaces.insert("d_y".into(), Surface::from_slice(&numbers("d_y", count, 1.0)).unwrap());
        let forward = bind(&executables[0], &mut surfaces);
        let backward = bind(&executables[1], &mut surfaces);
        Layer { surfaces, forward, backward, executables }
    }

    /// One pass in both directions.
    pub fn run(&mut self, accumulation: Accumulation) {
        self.forward.evaluate(Accumulation::Replace).unwrap();
        self.backward.evaluate(accumulation).unwrap();
        self.backward.finish().unwrap();
    }

    /// An fp32 value.
    pub fn read(&self, name: &str) -> Vec<f32> {
        self.surfaces[name].read().unwrap().as_slice::<f32>().to_vec()
    }

    /// What training reads of a pass: the layer's output and every gradient.
    pub fn results(&self, config: &Config) -> BTreeMap<String, Vec<f32>> {
        let gradients = parameters(config).into_keys().map(|name| format!("d_{name}"));
        let names = ["y".to_owned(), "d_x".to_owned()].into_iter().chain(gradients);
        names.map(|name| (name.clone(), self.read(&name))).collect()
    }
}

/// |found − expected|₂ / |expected|₂.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    sum(&mut pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)))
        / sum(&mut expected.iter().map(|&v| f64::from(v)))
}
