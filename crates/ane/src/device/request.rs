//! A cut function with its surfaces: what happens when it is evaluated.

use super::compiled::{Compiled, CompiledPart, Kernel, weight_tensor};
use super::emit;
use super::worker::Pending;
use super::{WeightStrategy, copy};
use crate::Evaluation;
use passes::partition::When;
use runtime::{Accumulation, Bindings, Error, Executable, Request};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use surface::Surface;

/// A cut function with its surfaces.
pub(super) struct Bound {
    compiled: Arc<Compiled>,
    parts: Vec<BoundPart>,
    /// Every value that is not inside a part, by name.
    surfaces: BTreeMap<String, Surface>,
}

/// A part with its surfaces.
enum BoundPart {
    Host {
        request: Box<dyn Request>,
        when: When,
    },
    /// A part that runs beside what follows it: the worker has it, or it is here.
    Late(Late),
    Kernel(BoundKernel),
}

/// A part that may come late.
struct Late {
    /// Nothing while the worker has it.
    request: Option<Box<dyn Request>>,
    pending: Option<Pending<Done>>,
}

/// A request that has been evaluated, and how that went.
type Done = (Box<dyn Request>, Result<(), Error>);

struct BoundKernel {
    input: Surface,
    output: Surface,
    /// Nothing before the first staging of baked weights.
    evaluation: Option<Box<dyn Evaluation>>,
}

impl Bound {
    pub fn new(
        compiled: Arc<Compiled>,
        mut surfaces: BTreeMap<String, Surface>,
    ) -> Result<Bound, Error> {
        for (name, &bytes) in &compiled.passed {
            if !surfaces.contains_key(name) {
                let surface = Surface::new(bytes).map_err(failed(&compiled, name))?;
                surfaces.insert(name.clone(), surface);
            }
        }
        let mut parts = vec![];
        for part in &compiled.parts {
            parts.push(match part {
                CompiledPart::Host { executable, when } => {
                    let request = bind_host(&compiled, executable, &surfaces)?;
                    match when {
                        When::Late => {
                            BoundPart::Late(Late { request: Some(request), pending: None })
                        }
                        _ => BoundPart::Host { request, when: *when },
                    }
                }
                CompiledPart::Kernel(kernel) => BoundPart::Kernel(bind_kernel(&compiled, kernel)?),
            });
        }
        compiled.baked_kernels.fetch_add(compiled.kernels_to_stage(), Ordering::Relaxed);
        let mut bound = Bound { compiled, parts, surfaces };
        if bound.compiled.kernels_to_stage() == 0 {
            bound.stage()?;
        }
        Ok(bound)
    }

    /// Puts the weights of every kernel where it reads them.
    fn place_weights(&mut self) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        let staged = compiled.staged.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, bound) in compiled.parts.iter().zip(&mut self.parts) {
            let (CompiledPart::Kernel(kernel), BoundPart::Kernel(bound)) = (part, bound) else {
                continue;
            };
            let weight = |name: &str| staged.get(name).or_else(|| self.surfaces.get(name));
            match compiled.strategy {
                WeightStrategy::Packed => {
                    for block in kernel.packed.input.blocks.iter().filter(|b| b.weight) {
                        let value = weight(&block.value).ok_or_else(|| missing(kernel, block))?;
                        copy::into_block(value, &bound.input, &kernel.packed.input, block)
                            .map_err(failed(&compiled, &block.value))?;
                    }
                }
                WeightStrategy::Baked if kernel.weights.is_empty() => {}
                WeightStrategy::Baked => {
                    let mut source = kernel.emitted.clone().into_source(&kernel.name);
                    for name in &kernel.weights {
                        let Some(value) = weight(name) else { continue };
                        let tensor = weight_tensor(kernel, name, value)?;
                        source.weights.insert(emit::weight_path(name), emit::file(&tensor)?);
                    }
                    // The program before goes first: there may be room for only one.
                    bound.evaluation = None;
                    let model = compiled.engine.compile(&source);
                    let model = model.map_err(|e| compiled.error(e))?;
                    bound.evaluation = Some(bind_surfaces(&compiled, model, bound)?);
                }
            }
        }
        Ok(())
    }

    fn kernel(&mut self, index: usize) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        let (CompiledPart::Kernel(kernel), BoundPart::Kernel(bound)) =
            (&compiled.parts[index], &mut self.parts[index])
        else {
            return Ok(());
        };
        let (input, output) = (&kernel.packed.input, &kernel.packed.output);
        for block in input.blocks.iter().filter(|b| !b.weight) {
            copy::into_block(&self.surfaces[&block.value], &bound.input, input, block)
                .map_err(failed(&compiled, &block.value))?;
        }
        let evaluation = bound.evaluation.as_mut().ok_or_else(|| Error::Evaluate {
            kernel: kernel.name.clone(),
            message: "its weights have not been staged".into(),
        })?;
        evaluation.evaluate().map_err(|e| compiled.error(e))?;
        for block in &output.blocks {
            copy::from_block(&bound.output, output, block, &self.surfaces[&block.value])
                .map_err(failed(&compiled, &block.value))?;
        }
        Ok(())
    }
}

impl Request for Bound {
    fn stage(&mut self) -> Result<(), Error> {
        self.finish()?;
        for part in &mut self.parts {
            match part {
                BoundPart::Host { request, when } => {
                    request.stage()?;
                    if *when == When::Staging {
                        request.evaluate(Accumulation::Replace)?;
                    }
                }
                BoundPart::Late(Late { request: Some(request), .. }) => request.stage()?,
                BoundPart::Late(_) | BoundPart::Kernel(_) => {}
            }
        }
        self.place_weights()
    }

    fn evaluate(&mut self, accumulation: Accumulation) -> Result<(), Error> {
        self.finish()?;
        for index in 0..self.parts.len() {
            match &mut self.parts[index] {
                BoundPart::Host { when: When::Staging, .. } => {}
                BoundPart::Host { request, .. } => request.evaluate(accumulation)?,
                BoundPart::Late(late) => {
                    let lost = || Error::Evaluate {
                        kernel: self.compiled.name.clone(),
                        message: "its late part was lost in a failure before".into(),
                    };
                    let mut request = late.request.take().ok_or_else(lost)?;
                    late.pending = Some(self.compiled.worker.give(move || {
                        let result = request.evaluate(accumulation);
                        (request, result)
                    }));
                }
                BoundPart::Kernel(_) => self.kernel(index)?,
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for part in &mut self.parts {
            let BoundPart::Late(late) = part else { continue };
            let Some(pending) = late.pending.take() else { continue };
            match pending.wait() {
                Some((request, result)) => {
                    late.request = Some(request);
                    outcome = outcome.and(result);
                }
                None => {
                    outcome = Err(Error::Evaluate {
                        kernel: self.compiled.name.clone(),
                        message: "its late part ended without a result".into(),
                    });
                }
            }
        }
        outcome
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let kernels = self.compiled.kernels_to_stage();
        self.compiled.baked_kernels.fetch_sub(kernels, Ordering::Relaxed);
        // The worker must not write to surfaces that whoever drops this thinks are free. There is
        // nobody left to tell about an error.
        let _ = self.finish();
    }
}

fn bind_host(
    compiled: &Compiled,
    executable: &Arc<dyn Executable>,
    surfaces: &BTreeMap<String, Surface>,
) -> Result<Box<dyn Request>, Error> {
    let staged = compiled.staged.lock().unwrap_or_else(PoisonError::into_inner);
    let pick = |ports: &[runtime::Port]| {
        let surface = |name: &str| staged.get(name).or_else(|| surfaces.get(name)).cloned();
        ports.iter().filter_map(|p| Some((p.name.clone(), surface(&p.name)?))).collect()
    };
    let bindings =
        Bindings { inputs: pick(executable.inputs()), outputs: pick(executable.outputs()) };
    executable.clone().bind(bindings)
}

fn bind_kernel(compiled: &Compiled, kernel: &Kernel) -> Result<BoundKernel, Error> {
    let least = compiled.engine.target().limits().min_surface_bytes;
    let surface = |bytes: usize| {
        let surface = compiled.engine.surface(bytes.max(least));
        surface.map_err(|e| compiled.error(e))
    };
    let mut bound = BoundKernel {
        input: surface(kernel.packed.input.bytes())?,
        output: surface(kernel.packed.output.bytes())?,
        evaluation: None,
    };
    if let Some(model) = &kernel.model {
        bound.evaluation = Some(bind_surfaces(compiled, model.clone(), &bound)?);
    }
    Ok(bound)
}

fn bind_surfaces(
    compiled: &Compiled,
    model: Arc<dyn crate::Model>,
    bound: &BoundKernel,
) -> Result<Box<dyn Evaluation>, Error> {
    let (input, output) = (bound.input.clone(), bound.output.clone());
    model.bind(&[input], &[output]).map_err(|e| compiled.error(e))
}

fn failed(compiled: &Compiled, name: &str) -> impl Fn(surface::Error) -> Error {
    let (kernel, name) = (compiled.name.clone(), name.to_owned());
    move |source| Error::Surface { kernel: kernel.clone(), name: name.clone(), source }
}

fn missing(kernel: &Kernel, block: &passes::pack::Block) -> Error {
    let message = format!("weight `{}` has no value", block.value);
    Error::Evaluate { kernel: kernel.name.clone(), message }
}
