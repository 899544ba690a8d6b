//! A loaded program and its requests.

use super::admit::MAIN;
use super::arithmetic;
use super::ports::SurfaceRules;
use super::process::{INFERENCE_ERROR, Slot};
use super::quirks::Quirk;
use super::verdict::Doom;
use crate::engine::{EngineError, Evaluation, Model, Stage};
use interp::Array;
use mil::{Program, Tensor};
use runtime::{Accumulation, Bindings, Executable, Port, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use surface::Surface;

/// A program in a slot.
pub(super) struct Loaded {
    pub name: String,
    /// In binding order.
    pub inputs: Vec<Port>,
    /// In binding order.
    pub outputs: Vec<Port>,
    pub body: Body,
    pub rules: SurfaceRules,
    pub slot: Slot,
}

/// What computes a program.
pub(super) enum Body {
    Fast(Arc<dyn Executable>),
    Modelled(Arc<Modelled>),
    /// Nothing: its evaluations fail.
    Doomed(Doom),
}

/// A program for the interpreter.
pub(super) struct Modelled {
    pub program: Program,
    pub options: interp::Options,
    pub quirks: BTreeSet<Quirk>,
}

impl Loaded {
    fn error(&self, stage: Stage, error: impl ToString) -> EngineError {
        EngineError::new(&self.name, stage, error.to_string())
    }

    fn inference_error(&self, code: u32, reason: &str) -> EngineError {
        self.error(Stage::Evaluate, format!("Program Inference error: {reason}")).with_code(code)
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
        let refusal = self.rules.refusal((&self.inputs, inputs), (&self.outputs, outputs));
        let work = match (refusal, &self.body) {
            (_, Body::Doomed(doom)) => Work::Doomed(doom.clone()),
            (Some(reason), _) => {
                Work::Doomed(Doom { code: INFERENCE_ERROR, reason, poisons: false })
            }
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
            (None, Body::Modelled(modelled)) => Work::Modelled {
                modelled: modelled.clone(),
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
    /// The engine would not do it.
    Doomed(Doom),
    Fast(Box<dyn Request>),
    Modelled {
        modelled: Arc<Modelled>,
        inputs: Vec<Surface>,
        outputs: Vec<Surface>,
    },
}

impl Evaluation for Bound {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let model = &self.model;
        if let Work::Doomed(doom) = &self.work
            && doom.poisons
        {
            model.slot.poison(doom.reason.clone());
        }
        if let Some(reason) = model.slot.poisoned() {
            let error = model.inference_error(INFERENCE_ERROR, &reason);
            return Err(EngineError { needs_new_process: true, ..error });
        }
        match &mut self.work {
            Work::Doomed(doom) => Err(model.inference_error(doom.code, &doom.reason)),
            Work::Fast(request) => {
                let done = request.evaluate(Accumulation::Replace);
                done.map_err(|e| model.error(Stage::Evaluate, e))
            }
            Work::Modelled { modelled, inputs, outputs } => {
                let done = interpret(model, modelled, inputs, outputs);
                done.map_err(|e| model.error(Stage::Evaluate, e))
            }
        }
    }
}

/// Evaluates operation by operation.
fn interpret(
    model: &Loaded,
    modelled: &Modelled,
    inputs: &[Surface],
    outputs: &[Surface],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut arrays = BTreeMap::new();
    // As on the device, outputs are taken before anything is computed.
    let mut writings = outputs.iter().map(Surface::write).collect::<Result<Vec<_>, _>>()?;
    for (port, surface) in model.inputs.iter().zip(inputs) {
        let reading = surface.read()?;
        let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, &reading[..port.bytes])?;
        let array = arithmetic::input(&modelled.quirks, Array::from_tensor(&tensor));
        arrays.insert(port.name.clone(), array);
    }
    let results = interp::evaluate(&modelled.program, MAIN, &arrays, &modelled.options)?;
    for (port, writing) in model.outputs.iter().zip(&mut writings) {
        let result = results.outputs.get(&port.name).ok_or("an output has no value")?;
        writing[..port.bytes].copy_from_slice(result.to_tensor().bytes());
    }
    Ok(())
}
