//! A loaded program and its requests.

use super::Numerics;
use super::admit::{Admitted, MAIN};
use super::ports;
use super::process::{INFERENCE_ERROR, Slot};
use crate::engine::{EngineError, Evaluation, Model, Stage};
use cpu::CpuDevice;
use interp::Array;
use mil::{Program, Tensor};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable, Port, Request};
use std::sync::Arc;
use surface::Surface;

/// What computes a program.
pub(super) enum Body {
    Fast(Arc<dyn Executable>),
    Modelled(Arc<Program>),
}

/// A program in a slot.
pub(super) struct Loaded {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    body: Body,
    poison: Option<String>,
    slot: Slot,
}

impl Body {
    pub fn new(
        name: &str,
        admitted: &Admitted,
        numerics: Numerics,
        cpu: &CpuDevice,
    ) -> Result<Body, EngineError> {
        match numerics {
            Numerics::Modelled => Ok(Body::Modelled(Arc::new(admitted.program.clone()))),
            Numerics::Fast => {
                let compiled = cpu.compile(&admitted.program, MAIN, &CompileOptions::default());
                let refused = |e| {
                    let message = format!("the emulator cannot run this program: {e}");
                    EngineError::new(name, Stage::Compile, message)
                };
                Ok(Body::Fast(compiled.map_err(refused)?))
            }
        }
    }
}

impl Loaded {
    pub fn new(name: String, admitted: Admitted, body: Body, slot: Slot) -> Loaded {
        let Admitted { inputs, outputs, poison, .. } = admitted;
        Loaded { name, inputs, outputs, body, poison, slot }
    }

    fn error(&self, stage: Stage, error: impl ToString) -> EngineError {
        EngineError::new(&self.name, stage, error.to_string())
    }
}

impl Model for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn bind(
        self: Arc<Self>,
        inputs: &[Surface],
        outputs: &[Surface],
    ) -> Result<Box<dyn Evaluation>, EngineError> {
        let refusal = ports::refusal("input", &self.inputs, inputs)
            .or_else(|| ports::refusal("output", &self.outputs, outputs));
        let work = match (refusal, &self.body) {
            (Some(reason), _) => Work::Refused(reason),
            (None, Body::Fast(executable)) => {
                let mut bindings = Bindings::new();
                for (port, surface) in self.inputs.iter().zip(inputs) {
                    bindings = bindings.input(&port.name, surface);
                }
                for (port, surface) in self.outputs.iter().zip(outputs) {
                    bindings = bindings.output(&port.name, surface);
                }
                let request = executable.clone().bind(bindings);
                Work::Fast(request.map_err(|e| self.error(Stage::Bind, e))?)
            }
            (None, Body::Modelled(program)) => Work::Modelled {
                program: program.clone(),
                inputs: inputs.to_vec(),
                outputs: outputs.to_vec(),
            },
        };
        Ok(Box::new(Bound { model: self, work }))
    }
}

/// A program with its surfaces.
struct Bound {
    model: Arc<Loaded>,
    work: Work,
}

enum Work {
    /// The engine would not accept the surfaces, for this reason.
    Refused(String),
    Fast(Box<dyn Request>),
    Modelled {
        program: Arc<Program>,
        inputs: Vec<Surface>,
        outputs: Vec<Surface>,
    },
}

impl Evaluation for Bound {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let model = &self.model;
        if let Some(reason) = &model.poison {
            model.slot.poison(reason.clone());
        }
        model.slot.check_poison(&model.name)?;
        match &mut self.work {
            Work::Refused(reason) => {
                let message = format!("Program Inference error: {reason}");
                Err(model.error(Stage::Evaluate, message).with_code(INFERENCE_ERROR))
            }
            Work::Fast(request) => {
                let done = request.evaluate(Accumulation::Replace);
                done.map_err(|e| model.error(Stage::Evaluate, e))
            }
            Work::Modelled { program, inputs, outputs } => {
                let done = interpret(model, program, inputs, outputs);
                done.map_err(|e| model.error(Stage::Evaluate, e))
            }
        }
    }
}

/// Evaluates operation by operation.
fn interpret(
    model: &Loaded,
    program: &Program,
    inputs: &[Surface],
    outputs: &[Surface],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut arrays = std::collections::BTreeMap::new();
    for (port, surface) in model.inputs.iter().zip(inputs) {
        let reading = surface.read()?;
        let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, &reading[..port.bytes])?;
        arrays.insert(port.name.clone(), Array::from_tensor(&tensor));
    }
    let results = interp::evaluate(program, MAIN, &arrays, &interp::Options::default())?;
    for (port, surface) in model.outputs.iter().zip(outputs) {
        let tensor = results.outputs[&port.name].to_tensor();
        surface.write()?[..port.bytes].copy_from_slice(tensor.bytes());
    }
    Ok(())
}
