//! Devices by name, and what they compile: one shape for the CPU device, which takes parsed
//! programs, and for engines, which take text.

use crate::error::{Error, Result, Status, c_string};
use crate::request::{Evaluation, Request, Slot};
use ane::target::Target;
use ane::{Emulator, EmulatorOptions, Engine, Source};
use cpu::CpuDevice;
use mil::{Block, Function, Literal, Op, Program, Weights};
use runtime::{Bindings, CompileOptions, Device as _, Executable, Port};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use surface::Surface;

/// Something that compiles programs.
pub(crate) struct Device {
    pub(crate) description: CString,
    kind: Kind,
}

enum Kind {
    Cpu(CpuDevice),
    Engine { name: String, engine: Arc<dyn Engine> },
}

/// A compiled program.
pub(crate) struct Kernel {
    /// Inputs in the order of their indices.
    pub(crate) inputs: Vec<Described>,
    /// Outputs in the order of their indices.
    pub(crate) outputs: Vec<Described>,
    /// Where every operation runs.
    pub(crate) placement: Vec<Placed>,
    compiled: Compiled,
}

enum Compiled {
    Executable(Arc<dyn Executable>),
    Model(Arc<dyn Engine>, Arc<dyn ane::Model>),
}

/// An input or output with its name for C.
pub(crate) struct Described {
    pub(crate) name: CString,
    pub(crate) port: Port,
}

/// Where an operation runs, for C.
pub(crate) struct Placed {
    pub(crate) value: CString,
    pub(crate) op: CString,
    pub(crate) place: CString,
}

/// A program that is to be compiled.
pub(crate) struct Text<'a> {
    /// MIL text.
    pub(crate) text: &'a str,
    /// What messages call it.
    pub(crate) file: &'a str,
    /// Its weight files.
    pub(crate) weights: &'a Weights,
    /// The function, or nothing for `main` or the only one.
    pub(crate) function: Option<&'a str>,
}

/// More threads than any machine has processors are a mistake, and each takes memory.
const MAX_THREADS: usize = 1024;

/// The engine's emulator.
const EMULATED: &str = "ane-emulated";

/// What is emulated if no chip is named.
const DEFAULT_TARGET: &str = "m4";

impl Device {
    /// Opens the device with this name: `cpu[:THREADS]` or `ane-emulated[:CHIP[:OS]]`.
    pub(crate) fn open(name: &str) -> Result<Device> {
        let (family, detail) = match name.split_once(':') {
            Some((family, detail)) => (family, Some(detail)),
            None => (name, None),
        };
        let kind = match family {
            "cpu" => Kind::Cpu(open_cpu(detail)?),
            EMULATED => {
                let engine = emulator(detail.unwrap_or(DEFAULT_TARGET))?;
                Kind::Engine { name: EMULATED.to_owned(), engine }
            }
            _ => {
                let known = format!("cpu and {EMULATED}");
                let message = format!("there is no device `{name}`; this library has {known}");
                return Err(Error::argument(message));
            }
        };
        let description = match &kind {
            Kind::Cpu(cpu) => cpu.describe(),
            Kind::Engine { engine, .. } => engine.describe(),
        };
        Ok(Device { description: c_string(&description), kind })
    }

    /// Compiles a program.
    pub(crate) fn compile(&self, source: &Text) -> Result<Kernel> {
        let program = mil::parse(source.text).and_then(|p| mil::verify(&p).map(|()| p));
        let program = program.map_err(|problems| {
            Error::program(problems.annotate(source.text, source.file).trim_end())
        })?;
        let function = choose(&program, source.function)?;
        match &self.kind {
            Kind::Cpu(cpu) => {
                let options =
                    CompileOptions { weights: source.weights.clone(), ..CompileOptions::default() };
                let executable = cpu.compile(&program, &function.name, &options)?;
                let placed = executable.placement();
                let placed = placed.iter().map(|p| Placed::new(&p.value, p.op, &p.place));
                Ok(Kernel {
                    inputs: described(executable.inputs()),
                    outputs: described(executable.outputs()),
                    placement: placed.collect(),
                    compiled: Compiled::Executable(executable),
                })
            }
            Kind::Engine { name, engine } => {
                if function.name != "main" {
                    return Err(Error::argument(format!(
                        "{name} compiles the function `main`, not `{}`",
                        function.name
                    )));
                }
                let model = engine.compile(&Source {
                    name: source.file.to_owned(),
                    text: source.text.to_owned(),
                    weights: weight_files(&program, source.weights)?,
                })?;
                Ok(Kernel {
                    inputs: described(model.inputs()),
                    outputs: described(model.outputs()),
                    placement: placed_on(name, function),
                    compiled: Compiled::Model(engine.clone(), model),
                })
            }
        }
    }
}

impl Kernel {
    /// Puts inputs and outputs in the order in which engines bind them, by name. Kernels of
    /// engines have it already.
    pub(crate) fn sort_ports(&mut self) {
        self.inputs.sort_by(|a, b| a.port.name.cmp(&b.port.name));
        self.outputs.sort_by(|a, b| a.port.name.cmp(&b.port.name));
    }

    /// A request whose surfaces have the sizes that the device wants; C sees of each what its port
    /// declares.
    pub(crate) fn request(&self) -> Result<Request> {
        let slots = |ports: &[Described]| {
            let largest = ports.iter().map(|p| p.port.bytes).max().unwrap_or(0);
            let slot = |Described { port, .. }: &Described| match &self.compiled {
                Compiled::Executable(_) => self.slot(port, port.bytes, port.bytes),
                // Engines ask for equal allocations among inputs and among outputs, and for no
                // small ones.
                Compiled::Model(engine, _) => {
                    let least = engine.target().limits().min_surface_bytes;
                    self.slot(port, largest.max(least), port.bytes)
                }
            };
            ports.iter().map(slot).collect::<Result<Vec<_>>>()
        };
        self.bind(slots(&self.inputs)?, slots(&self.outputs)?)
    }

    /// A request whose surfaces have these sizes in bytes, all of which C sees.
    pub(crate) fn request_of_sizes(&self, inputs: &[usize], outputs: &[usize]) -> Result<Request> {
        let slots = |kind: &str, ports: &[Described], sizes: &[usize]| {
            if sizes.len() != ports.len() {
                return Err(Error::argument(format!(
                    "the program has {} {kind}s, the caller gives sizes for {}",
                    ports.len(),
                    sizes.len()
                )));
            }
            let slot = |(d, &bytes): (&Described, &usize)| self.slot(&d.port, bytes, bytes);
            ports.iter().zip(sizes).map(slot).collect::<Result<Vec<_>>>()
        };
        let inputs = slots("input", &self.inputs, inputs)?;
        self.bind(inputs, slots("output", &self.outputs, outputs)?)
    }

    /// A surface of `allocated` bytes for a port, of which C sees the first `seen`.
    fn slot(&self, port: &Port, allocated: usize, seen: usize) -> Result<Slot> {
        let surface = match &self.compiled {
            Compiled::Executable(_) => Surface::new(allocated)?,
            Compiled::Model(engine, _) => engine.surface(allocated)?,
        };
        Ok(Slot::new(&port.name, surface, seen))
    }

    fn bind(&self, inputs: Vec<Slot>, outputs: Vec<Slot>) -> Result<Request> {
        let evaluation = match &self.compiled {
            Compiled::Executable(executable) => {
                let mut bindings = Bindings::new();
                for slot in &inputs {
                    bindings = bindings.input(&slot.name, &slot.surface);
                }
                for slot in &outputs {
                    bindings = bindings.output(&slot.name, &slot.surface);
                }
                Evaluation::Request(executable.clone().bind(bindings)?)
            }
            Compiled::Model(_, model) => {
                let surfaces = |slots: &[Slot]| -> Vec<Surface> {
                    slots.iter().map(|slot| slot.surface.clone()).collect()
                };
                Evaluation::Engine(model.clone().bind(&surfaces(&inputs), &surfaces(&outputs))?)
            }
        };
        Ok(Request::new(inputs, outputs, evaluation))
    }
}

impl Placed {
    fn new(value: &str, op: &str, place: &str) -> Placed {
        Placed { value: c_string(value), op: c_string(op), place: c_string(place) }
    }
}

fn open_cpu(threads: Option<&str>) -> Result<CpuDevice> {
    let count = |text: &str| match text.parse() {
        Ok(count) if (1..=MAX_THREADS).contains(&count) => Ok(count),
        _ => Err(Error::argument(format!(
            "`cpu:{text}`: expected a number of threads from 1 to {MAX_THREADS}"
        ))),
    };
    let threads = threads.map(count).transpose()?;
    CpuDevice::new(threads).map_err(|error| Error::new(Status::System, error.to_string()))
}

/// The emulator of a target. There is one for each, because it stands for the process: what is
/// used of its budgets stays used when a device is closed and opened again.
fn emulator(target: &str) -> Result<Arc<dyn Engine>> {
    static EMULATORS: Mutex<Vec<Arc<Emulator>>> = Mutex::new(vec![]);
    let target = Target::parse(target).map_err(|error| Error::argument(error.to_string()))?;
    let mut emulators = EMULATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let found = emulators.iter().find(|e| *e.target() == target).cloned();
    if let Some(emulator) = found {
        return Ok(emulator);
    }
    let emulator = Arc::new(Emulator::new(EmulatorOptions::new(target))?);
    emulators.push(emulator.clone());
    Ok(emulator)
}

/// The function that is asked for, or else `main`, or the only one.
fn choose<'a>(program: &'a Program, name: Option<&str>) -> Result<&'a Function> {
    let found = match (name, &program.functions[..]) {
        (Some(name), _) => program.function(name),
        (None, [only]) => Some(only),
        (None, _) => program.function("main"),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
        let (name, known) = (name.unwrap_or("main"), known.join(", "));
        Error::argument(format!("no function `{name}`; the program has {known}"))
    })
}

fn described(ports: &[Port]) -> Vec<Described> {
    let one = |port: &Port| Described { name: c_string(&port.name), port: port.clone() };
    ports.iter().map(one).collect()
}

/// An engine runs all that it compiles.
fn placed_on(engine: &str, function: &Function) -> Vec<Placed> {
    let operations = function.body.operations.iter().filter(|o| o.op != Op::Const);
    let placed = |operation: &mil::Operation| {
        let value = operation.outputs.first().map_or("", |&id| &function.value(id).name);
        Placed::new(value, operation.op.name(), engine)
    };
    operations.map(placed).collect()
}

/// Every weight file that a program refers to, by the path that it gives.
fn weight_files(program: &Program, weights: &Weights) -> Result<BTreeMap<String, Arc<[u8]>>> {
    let mut paths = BTreeSet::new();
    for function in &program.functions {
        collect_block(&function.body, &mut paths);
    }
    let file = |path: &str| Ok((path.to_owned(), weights.file(path)?));
    paths.into_iter().map(file).collect()
}

fn collect_block<'a>(block: &'a Block, paths: &mut BTreeSet<&'a str>) {
    for operation in &block.operations {
        for literal in operation.literals() {
            collect_literal(literal, paths);
        }
        for block in &operation.blocks {
            collect_block(block, paths);
        }
    }
}

fn collect_literal<'a>(literal: &'a Literal, paths: &mut BTreeSet<&'a str>) {
    match literal {
        Literal::Tensor(_) => {}
        Literal::Blob(blob) => {
            paths.insert(&blob.path);
        }
        Literal::Tuple(items) | Literal::List { items, .. } => {
            items.iter().for_each(|item| collect_literal(item, paths));
        }
        Literal::Dict { entries, .. } => {
            for (key, value) in entries {
                collect_literal(key, paths);
                collect_literal(value, paths);
            }
        }
    }
}
