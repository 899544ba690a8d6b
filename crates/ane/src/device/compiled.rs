//! A cut function whose parts are compiled.

use super::emit::{self, Emitted};
use super::request::Bound;
use super::worker::Worker;
use super::{AneDevice, Plan, PlannedPart, WeightStrategy, emit as emitted};
use crate::{Engine, EngineError, Model};
use mil::{DataType, Function, Program, TensorType};
use passes::pack::Packed;
use passes::partition::{Part, When};
use runtime::{Bindings, CompileOptions, Error, Executable, Placement, Port, Request};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use surface::Surface;

/// A cut function.
pub(super) struct Compiled {
    pub name: String,
    pub engine: Arc<dyn Engine>,
    pub worker: Arc<Worker>,
    pub strategy: WeightStrategy,
    pub parts: Vec<CompiledPart>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// What the staging part gives, one set for all requests: it is copied into each request's
    /// own surfaces, or compiled into its kernels, at once.
    pub staged: Mutex<BTreeMap<String, Surface>>,
    /// Every value that passes between parts, with its size in bytes; staged ones are not here.
    pub passed: BTreeMap<String, usize>,
    /// See [`AneDevice`].
    pub baked_kernels: Arc<AtomicUsize>,
}

/// A part, compiled.
pub(super) enum CompiledPart {
    Host { executable: Arc<dyn Executable>, when: When },
    Kernel(Box<Kernel>),
}

/// A kernel.
pub(super) struct Kernel {
    pub name: String,
    pub packed: Packed,
    pub weights: Vec<String>,
    /// The types of the weights.
    pub weight_types: BTreeMap<String, TensorType>,
    pub emitted: Emitted,
    /// Nothing where weights are baked: then every request has its own.
    pub model: Option<Arc<dyn Model>>,
    operations: Vec<(String, &'static str)>,
}

impl Compiled {
    pub fn new(
        device: &AneDevice,
        function: &Function,
        plan: Plan,
        options: &CompileOptions,
    ) -> Result<Compiled, Error> {
        let mut parts = vec![];
        let mut staged = BTreeMap::new();
        let mut passed = BTreeMap::new();
        for part in plan.parts {
            parts.push(match part {
                PlannedPart::Host(part) => {
                    let executable = host(device, &part, options)?;
                    for port in executable.outputs() {
                        if part.when == When::Staging {
                            staged.insert(port.name.clone(), surface(&port.name, port.bytes)?);
                        } else {
                            passed.insert(port.name.clone(), port.bytes);
                        }
                    }
                    CompiledPart::Host { executable, when: part.when }
                }
                PlannedPart::Kernel { part, packed } => {
                    for block in &packed.output.blocks {
                        passed.insert(block.value.clone(), block.rows * block.columns * 2);
                    }
                    CompiledPart::Kernel(Box::new(kernel(device, part, *packed, options)?))
                }
            });
        }
        Ok(Compiled {
            name: function.name.clone(),
            engine: device.engine.clone(),
            worker: device.worker.clone(),
            strategy: device.weights,
            parts,
            inputs: ports(function, &function.inputs)?,
            outputs: ports(function, &function.body.outputs)?,
            staged: Mutex::new(staged),
            passed,
            baked_kernels: device.baked_kernels.clone(),
        })
    }

    /// How many kernels every staging of a request compiles.
    pub fn kernels_to_stage(&self) -> usize {
        let baked = |part: &&CompiledPart| matches!(part, CompiledPart::Kernel(kernel) if kernel.model.is_none());
        self.parts.iter().filter(baked).count()
    }

    /// An error of the engine as one of the device.
    pub fn error(&self, error: EngineError) -> Error {
        device_error(&self.name, error)
    }
}

pub(super) fn device_error(function: &str, error: EngineError) -> Error {
    let kernel = function.to_owned();
    let message = error.to_string();
    match error.stage {
        _ if error.needs_new_process => Error::NewProcess { kernel, message },
        crate::Stage::Evaluate => Error::Evaluate { kernel, message },
        crate::Stage::Bind | crate::Stage::Surface => Error::Bind { kernel, message },
        _ => Error::Unsupported { device: "ane".into(), kernel, message },
    }
}

fn surface(name: &str, bytes: usize) -> Result<Surface, Error> {
    Surface::new(bytes).map_err(|source| Error::Surface {
        kernel: "staging".into(),
        name: name.to_owned(),
        source,
    })
}

fn host(
    device: &AneDevice,
    part: &Part,
    options: &CompileOptions,
) -> Result<Arc<dyn Executable>, Error> {
    let own = |names: &[String], own: &dyn Fn(&str) -> bool| {
        names.iter().filter(|name| own(name)).cloned().collect()
    };
    let function = &part.function;
    let options = CompileOptions {
        parameters: own(&options.parameters, &|name| function.input(name).is_some()),
        accumulators: own(&options.accumulators, &|name| function.output(name).is_some()),
        staging: options.staging,
        products: options.products,
        in_place: vec![],
        constants: BTreeMap::new(),
        weights: options.weights.clone(),
    };
    device.host.compile(&Program::new(vec![function.clone()]), &function.name, &options)
}

fn kernel(
    device: &AneDevice,
    part: Part,
    packed: Packed,
    options: &CompileOptions,
) -> Result<Kernel, Error> {
    let baked = |path: &str| {
        device.weights == WeightStrategy::Baked
            && part.weights.iter().any(|w| emit::weight_path(w) == path)
    };
    let emitted = emitted(&packed.function, &options.weights, &baked)?;
    let name = part.function.name.clone();
    let is_complete = device.weights == WeightStrategy::Packed || part.weights.is_empty();
    let model = match is_complete {
        true => Some(
            device
                .engine
                .compile(&emitted.clone().into_source(&name))
                .map_err(|error| device_error(&name, error))?,
        ),
        false => None,
    };
    let weight_types = part.weights.iter().filter_map(|name| {
        let ty = part.function.ty(part.function.input(name)?).as_tensor()?;
        Some((name.clone(), ty.clone()))
    });
    let operations = part.function.body.operations.iter().filter(|o| o.op != mil::Op::Const);
    let operations =
        operations.map(|o| (part.function.value(o.output()).name.clone(), o.op.name()));
    Ok(Kernel {
        weight_types: weight_types.collect(),
        operations: operations.collect(),
        name,
        packed,
        weights: part.weights,
        emitted,
        model,
    })
}

fn ports(function: &Function, ids: &[mil::ValueId]) -> Result<Vec<Port>, Error> {
    let port = |&id: &mil::ValueId| {
        let value = function.value(id);
        let ty = value.ty.as_tensor();
        let fixed = ty.and_then(|ty| Some((ty.clone(), ty.fixed_dims()?)));
        let (ty, dims) = fixed.ok_or_else(|| Error::Unsupported {
            device: "ane".into(),
            kernel: function.name.clone(),
            message: format!("`{}` is {}; its shape must be fixed", value.name, value.ty),
        })?;
        let bytes = dims.iter().product::<usize>() * ty.dtype.bits().div_ceil(8);
        Ok(Port { name: value.name.clone(), ty, dims, bytes })
    };
    ids.iter().map(port).collect()
}

impl Executable for Compiled {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn placement(&self) -> Vec<Placement> {
        let mut placement = vec![];
        for part in &self.parts {
            match part {
                CompiledPart::Host { executable, .. } => placement.extend(executable.placement()),
                CompiledPart::Kernel(kernel) => {
                    placement.extend(kernel.operations.iter().map(|(value, op)| Placement {
                        value: value.clone(),
                        op,
                        place: format!("ane: {}", kernel.name),
                    }));
                }
            }
        }
        placement
    }

    fn scratch_bytes(&self) -> usize {
        let host = self.parts.iter().map(|part| match part {
            CompiledPart::Host { executable, .. } => executable.scratch_bytes(),
            CompiledPart::Kernel(_) => 0,
        });
        let staged = self.staged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        host.max().unwrap_or(0) + staged.values().map(Surface::len).sum::<usize>()
    }

    fn bind(self: Arc<Self>, bindings: Bindings) -> Result<Box<dyn Request>, Error> {
        let (inputs, outputs) = bindings.resolve(&self.name, &self.inputs, &self.outputs)?;
        let mut surfaces = BTreeMap::new();
        for (port, surface) in self.inputs.iter().zip(inputs) {
            surfaces.insert(port.name.clone(), surface);
        }
        for (port, surface) in self.outputs.iter().zip(outputs) {
            surfaces.insert(port.name.clone(), surface);
        }
        Ok(Box::new(Bound::new(self, surfaces)?))
    }
}

/// The type of every weight, for its file.
pub(super) fn weight_tensor(
    kernel: &Kernel,
    name: &str,
    surface: &Surface,
) -> Result<mil::Tensor, Error> {
    let failed = |message: String| Error::Evaluate { kernel: kernel.name.clone(), message };
    let ty = kernel.weight_types.get(name).filter(|ty| ty.dtype == DataType::Fp16);
    let dims = ty.and_then(|ty| ty.fixed_dims());
    let dims = dims.ok_or_else(|| failed(format!("weight `{name}` is not fp16")))?;
    let reading = surface.read().map_err(|source| Error::Surface {
        kernel: kernel.name.clone(),
        name: name.to_owned(),
        source,
    })?;
    let bytes = dims.iter().product::<usize>() * 2;
    mil::Tensor::from_bytes(DataType::Fp16, &dims, reading[..bytes].to_vec())
        .map_err(|error| failed(error.to_string()))
}
