//! Training of any program that has a loss: examples go through it, gradients of its parameters
//! come out.
//!
//! Start from [`Fit`]. The program and its parameters are made by [`passes::trainable`]; unlike a
//! model of [`crate::Network`] it is one function, forward and backward, compiled as a whole.

mod examples;

pub use examples::{Column, Examples, Target, split};

use crate::adamw::{self, AdamW, Slot};
use crate::metrics::Record;
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::{Error, adamw::Step};
use mil::{Function, Program, Tensor};
use passes::autodiff;
use passes::trainable::loss::{Ports, Prediction};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable, Request, Staging};
use std::sync::Arc;
use std::time::Instant;
use surface::Surface;

/// A function with a loss, and what is trained of it.
#[derive(Clone, Debug)]
pub struct Task {
    /// The function: its first output is the loss, a scalar of fp32.
    pub function: Function,
    /// The names of what the loss has added.
    pub ports: Ports,
    /// The shape of the prediction.
    pub prediction: Prediction,
    /// Examples of one evaluation: how often the inputs' elements are those of an example.
    pub examples: usize,
    /// The inputs that are trained, by name, with the values that they begin with: fp32.
    pub parameters: Vec<(String, Tensor)>,
    /// Inputs that have the same value for all examples.
    pub constants: Vec<(String, Tensor)>,
    /// The weight files that the function refers to.
    pub weights: mil::Weights,
}

/// How to train.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions {
    /// Examples of an optimizer step.
    pub batch: usize,
    /// The optimizer's constants.
    pub optimizer: AdamW,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// The largest norm of the gradient; 0 for no limit.
    pub clip: f64,
    /// The seed of the order of examples.
    pub seed: u64,
    /// Threads of the optimizer.
    pub threads: usize,
}

/// What is known of examples that are not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The mean loss.
    pub loss: f64,
    /// The part of the rows whose class is the one that is predicted, where classes are.
    pub accuracy: Option<f64>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Updates, which are the steps whose gradient was finite.
    pub updates: u64,
    /// The step with the least validation loss, and that loss.
    pub best: Option<(u64, f64)>,
}

/// A parameter with all that belongs to it.
struct Trained {
    name: String,
    dims: Vec<usize>,
    value: Surface,
    gradient: Surface,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A program in training.
pub struct Fit {
    task: Task,
    options: FitOptions,
    gradient: Box<dyn Request>,
    forward: Box<dyn Request>,
    inputs: Vec<(runtime::Port, Surface)>,
    target: Surface,
    share: Surface,
    loss: Surface,
    prediction: Surface,
    parameters: Vec<Trained>,
    progress: Progress,
    /// The epoch whose order is at hand, and the order.
    order: Option<(u64, Vec<usize>)>,
    scratch_bytes: usize,
}

impl Fit {
    /// Differentiates the program and compiles it for a device.
    ///
    /// # Errors
    /// If an operation between the loss and a parameter has no gradient, or the device cannot run
    /// the program.
    pub fn new(device: &dyn Device, task: Task, options: FitOptions) -> Result<Fit, Error> {
        let names: Vec<String> = task.parameters.iter().map(|(name, _)| name.clone()).collect();
        let both = autodiff::value_and_gradient(&task.function, &names)?;
        let evaluations = options.batch.div_ceil(task.examples.max(1));
        let staging = if evaluations > 8 { Staging::Rare } else { Staging::Often };
        let d = |name: &String| format!("d_{name}");
        let compile = |function: &Function, accumulators: Vec<String>| {
            let compile = CompileOptions {
                parameters: names.clone(),
                weights: task.weights.clone(),
                staging,
                accumulators,
                ..Default::default()
            };
            device.compile(&Program::new(vec![function.clone()]), &function.name, &compile)
        };
        let accumulated = names.iter().map(d).chain([task.ports.loss.clone()]).collect();
        let both = compile(&both, accumulated)?;
        let forward = compile(&task.function, vec![])?;

        let mut parameters = vec![];
        for (name, tensor) in &task.parameters {
            let count = tensor.count();
            parameters.push(Trained {
                name: name.clone(),
                dims: tensor.dims().to_vec(),
                value: Surface::from_slice(tensor.bytes())?,
                gradient: Surface::new(4 * count)?,
                first: vec![0.0; count],
                second: vec![0.0; count],
            });
        }
        let Ports { target, share, .. } = &task.ports;
        let mut inputs = vec![];
        let mut own = [None, None];
        for port in both.inputs().iter().chain(forward.inputs()) {
            let known =
                inputs.iter().any(|(other, _): &(runtime::Port, _)| other.name == port.name);
            if known || names.contains(&port.name) {
                continue;
            }
            let surface = match task.constants.iter().find(|(name, _)| *name == port.name) {
                Some((_, tensor)) => Surface::from_slice(tensor.bytes())?,
                None => Surface::new(port.bytes)?,
            };
            match &port.name {
                name if name == target => own[0] = Some(surface),
                name if name == share => own[1] = Some(surface),
                _ => inputs.push((port.clone(), surface)),
            }
        }
        let lost = || Error::Examples("the loss does not depend on the target".into());
        let [target, share] = [own[0].take().ok_or_else(lost)?, own[1].take().ok_or_else(lost)?];
        let Prediction { rows, width, .. } = task.prediction;
        let (loss, prediction) = (Surface::new(4)?, Surface::new(4 * rows * width)?);
        let bind = |executable: &Arc<dyn Executable>| {
            let mut bindings = Bindings::new();
            for port in executable.inputs() {
                let name = port.name.as_str();
                let input = inputs.iter().find(|(other, _)| other.name == name);
                let parameter = parameters.iter().find(|p| p.name == name);
                let surface = match (input, parameter) {
                    (Some((_, surface)), _) => surface,
                    (None, Some(parameter)) => &parameter.value,
                    (None, None) if *name == task.ports.target => &target,
                    (None, None) => &share,
                };
                bindings = bindings.input(name, surface);
            }
            for port in executable.outputs() {
                let name = port.name.as_str();
                let parameter = parameters.iter().find(|p| d(&p.name) == name);
                let surface = match parameter {
                    Some(parameter) => &parameter.gradient,
                    None if *name == task.ports.loss => &loss,
                    None => &prediction,
                };
                bindings = bindings.output(name, surface);
            }
            executable.clone().bind(bindings)
        };
        let scratch_bytes = both.scratch_bytes().max(forward.scratch_bytes());
        let (gradient, forward) = (bind(&both)?, bind(&forward)?);
        let constants = task.constants.iter().map(|(name, _)| name);
        let constants: Vec<String> = constants.cloned().collect();
        inputs.retain(|(port, _)| !constants.contains(&port.name));
        Ok(Fit {
            task,
            options,
            gradient,
            forward,
            inputs,
            target,
            share,
            loss,
            prediction,
            parameters,
            progress: Progress::default(),
            order: None,
            scratch_bytes,
        })
    }

    /// How far the run is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Bytes of memory of one evaluation and of everything that is trained.
    pub fn memory(&self) -> usize {
        let trained: usize = self.parameters.iter().map(|p| 4 * p.value.len()).sum();
        let inputs: usize = self.inputs.iter().map(|(port, _)| port.bytes).sum();
        self.scratch_bytes + trained + inputs
    }

    /// Puts some of the examples, as many as an evaluation takes at most, into the inputs. Each
    /// row's loss counts `share`; places without an example count nothing.
    fn fill(&mut self, examples: &Examples, chosen: &[usize], share: f32) -> Result<(), Error> {
        let Prediction { rows, width, .. } = self.task.prediction;
        let rows = rows / self.task.examples;
        for (port, surface) in &self.inputs {
            let column = examples.columns.iter().find(|column| column.name == port.name);
            let column = column.ok_or_else(|| {
                Error::Examples(format!("input `{}` is given no array", port.name))
            })?;
            let mut all = surface.write()?;
            let size = port.bytes / self.task.examples;
            for (&example, out) in chosen.iter().zip(all.chunks_exact_mut(size.max(1))) {
                column.fill(example, port.ty.dtype, out)?;
            }
        }
        let (mut targets, mut shares) = (self.target.write()?, self.share.write()?);
        let shares = shares.as_mut_slice::<f32>();
        shares.fill(0.0);
        shares[..chosen.len() * rows].fill(share);
        let targets = targets.as_mut_slice::<f32>();
        for (&example, out) in chosen.iter().zip(targets.chunks_exact_mut(rows * width)) {
            examples.target.fill(example, width, out)?;
        }
        Ok(())
    }

    /// The loss and the gradient of the mean over some examples; the gradient is where
    /// [`Fit::gradients`] finds it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss_and_gradient(
        &mut self,
        examples: &Examples,
        chosen: &[usize],
    ) -> Result<f64, Error> {
        let share = 1.0 / (chosen.len().max(1) * self.rows_of_an_example()) as f32;
        for (index, chosen) in chosen.chunks(self.task.examples).enumerate() {
            self.fill(examples, chosen, share)?;
            let mode = if index == 0 { Accumulation::Replace } else { Accumulation::Add };
            self.gradient.evaluate(mode)?;
            self.gradient.finish()?;
        }
        Ok(f64::from(self.loss.read()?.as_slice::<f32>()[0]))
    }

    fn rows_of_an_example(&self) -> usize {
        self.task.prediction.rows / self.task.examples
    }

    /// The gradients that were computed last, by parameter.
    ///
    /// # Errors
    /// If a surface is in use.
    pub fn gradients(&self) -> Result<Vec<(String, Vec<f32>)>, Error> {
        let of = |p: &Trained| Ok((p.name.clone(), p.gradient.read()?.as_slice().to_vec()));
        self.parameters.iter().map(of).collect()
    }

    /// The parameters as they are now.
    ///
    /// # Errors
    /// If a surface is in use.
    pub fn values(&self) -> Result<Vec<(String, Vec<f32>)>, Error> {
        let of = |p: &Trained| Ok((p.name.clone(), p.value.read()?.as_slice().to_vec()));
        self.parameters.iter().map(of).collect()
    }

    /// The examples of a step: every one once in an epoch, in an order of its own.
    fn chosen(&mut self, training: &[usize]) -> Vec<usize> {
        let count = training.len() as u64;
        let first = self.progress.step * self.options.batch as u64;
        let mut chosen = vec![];
        for place in first..first + self.options.batch as u64 {
            let epoch = place / count;
            if self.order.as_ref().is_none_or(|(at, _)| *at != epoch) {
                let random = Rng::new(self.options.seed).fork(&format!("epoch {epoch}"));
                self.order = Some((epoch, examples::shuffled(training.len(), &random)));
            }
            let (_, order) = self.order.as_ref().expect("it was made above");
            chosen.push(training[order[(place % count) as usize]]);
        }
        chosen
    }

    /// One optimizer step on the next examples of `training`, which are indices of `examples`.
    ///
    /// # Errors
    /// If there are none, or the device fails.
    pub fn step(&mut self, examples: &Examples, training: &[usize]) -> Result<Record, Error> {
        if training.is_empty() {
            return Err(Error::Examples("there are no examples to train on".into()));
        }
        let start = Instant::now();
        let chosen = self.chosen(training);
        let loss = self.loss_and_gradient(examples, &chosen)?;
        let rate = self.options.schedule.rate(self.progress.step);
        let norm = self.update(rate)?;
        self.progress.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Record {
            step: self.progress.step,
            tokens: self.progress.step * self.options.batch as u64,
            loss,
            lr: rate,
            grad_norm: norm,
            loss_scale: None,
            ms: seconds * 1e3,
            tokens_per_s: self.options.batch as f64 / seconds,
            val_loss: None,
            val_accuracy: None,
        })
    }

    /// Updates the parameters; a gradient that is not finite is left out.
    fn update(&mut self, rate: f64) -> Result<f64, Error> {
        let FitOptions { optimizer, clip, threads, .. } = self.options;
        let mut gradients = vec![];
        let mut values = vec![];
        for parameter in &self.parameters {
            gradients.push(parameter.gradient.read()?);
            values.push(parameter.value.write()?);
        }
        let slices: Vec<&[f32]> = gradients.iter().map(|g| g.as_slice()).collect();
        let norm = adamw::global_norm(&slices, threads);
        if !norm.is_finite() {
            return Ok(norm);
        }
        let mut slots = vec![];
        for ((parameter, value), gradient) in
            self.parameters.iter_mut().zip(&mut values).zip(&slices)
        {
            slots.push(Slot {
                parameter: value.as_mut_slice(),
                gradient,
                first: &mut parameter.first,
                second: &mut parameter.second,
                decay: parameter.dims.iter().filter(|&&size| size > 1).count() > 1,
            });
        }
        self.progress.updates += 1;
        let gradient_scale = adamw::clip_factor(norm, clip);
        let step = Step { number: self.progress.updates, rate, gradient_scale };
        optimizer.update(&mut slots, step, threads);
        drop((slots, slices));
        drop((gradients, values));
        self.gradient.stage()?;
        Ok(norm)
    }

    /// The mean loss over some examples, and how many classes are found. Remembers the best.
    ///
    /// # Errors
    /// If the device fails.
    pub fn validate(&mut self, examples: &Examples, chosen: &[usize]) -> Result<Validation, Error> {
        self.forward.stage()?;
        let Prediction { width, .. } = self.task.prediction;
        let rows = self.rows_of_an_example();
        let total = (chosen.len() * rows).max(1);
        let (mut loss, mut hits) = (0.0, 0);
        for chosen in chosen.chunks(self.task.examples) {
            self.fill(examples, chosen, 1.0)?;
            self.forward.evaluate(Accumulation::Replace)?;
            loss += f64::from(self.loss.read()?.as_slice::<f32>()[0]);
            let (found, wanted) = (self.prediction.read()?, self.target.read()?);
            let wanted = wanted.as_slice::<f32>().chunks(width);
            let rows = found.as_slice::<f32>().chunks(width).zip(wanted);
            hits += rows
                .take(chosen.len() * self.rows_of_an_example())
                .filter(|(found, wanted)| largest(found) == largest(wanted))
                .count();
        }
        let has_classes = matches!(examples.target, Target::Classes(_));
        let accuracy = has_classes.then_some(hits as f64 / total as f64);
        let loss = loss / total as f64;
        let better = self.progress.best.is_none_or(|(_, best)| loss < best);
        if loss.is_finite() && better {
            self.progress.best = Some((self.progress.step, loss));
        }
        Ok(Validation { loss, accuracy })
    }

    /// Everything that a run needs to go on: parameters under their names, moments with `/first`
    /// and `/second` behind them.
    ///
    /// # Errors
    /// If a surface is in use.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, Error> {
        let mut state = vec![];
        for p in &self.parameters {
            let value = p.value.read()?;
            let parts =
                [("", value.as_slice::<f32>()), ("/first", &p.first), ("/second", &p.second)];
            for (part, values) in parts {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let tensor = Tensor::from_bytes(mil::DataType::Fp32, &p.dims, bytes);
                let tensor = tensor.expect("a parameter has its shape");
                state.push((format!("{}{part}", p.name), tensor));
            }
        }
        Ok(state)
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// If it is one of other parameters.
    pub fn restore(
        &mut self,
        progress: Progress,
        mut state: impl FnMut(&str) -> Option<Tensor>,
    ) -> Result<(), Error> {
        for p in &mut self.parameters {
            for part in ["", "/first", "/second"] {
                let name = format!("{}{part}", p.name);
                let tensor =
                    state(&name).filter(|t| t.dims() == p.dims && t.dtype() == mil::DataType::Fp32);
                let tensor = tensor.ok_or_else(|| {
                    Error::Examples(format!("the saved run has no fp32 `{name}` of {:?}", p.dims))
                })?;
                let values = tensor.bytes().as_chunks::<4>().0.iter();
                let values = values.map(|bytes| f32::from_le_bytes(*bytes));
                match part {
                    "" => p.value.write()?.copy_from_slice(tensor.bytes()),
                    "/first" => p.first = values.collect(),
                    _ => p.second = values.collect(),
                }
            }
        }
        self.progress = progress;
        self.gradient.stage()?;
        Ok(())
    }
}

/// The first of the largest elements.
fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = index;
        }
    }
    best
}
