//! The training loop: batch, forward, loss, backward, clip, update, stage.
//!
//! A [`Trainer`] holds everything that a step changes, and can save and load all of it, so that a
//! run that was resumed goes on bit for bit as one that was not interrupted.

use crate::Error;
use crate::adamw::{self, AdamW, Slot};
use crate::checkpoint::{self, Checkpoint, Moment, Snapshot, Tensor, TrainState};
use crate::data::{Batches, Position};
use crate::loss_scale::{LossScale, Scaler};
use crate::metrics::Record;
use crate::network::{Batch, Network};
use crate::rng::Rng;
use crate::schedule::Schedule;
use models::Init;
use runtime::Accumulation;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run is made with.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions {
    /// Micro-batches whose gradients are added up for one update.
    pub accumulate: usize,
    /// The optimizer's constants.
    pub optimizer: AdamW,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// Largest global norm of the gradient, its scale taken out; 0 for no limit.
    pub clip: f64,
    /// What the loss is multiplied by while it is differentiated.
    pub loss_scale: LossScale,
    /// Threads for the optimizer.
    pub threads: usize,
}

/// A model in training.
pub struct Trainer {
    network: Network,
    options: TrainerOptions,
    batches: Batches,
    /// First and second moment of every parameter.
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    scaler: Scaler,
    step: u64,
    updates: u64,
    skipped: u64,
    tokens: u64,
    best_loss: Option<f32>,
    buffers: Buffers,
}

/// One micro-batch on the host; `[T]` each.
struct Buffers {
    tokens: Vec<i32>,
    targets: Vec<i32>,
    weights: Vec<f32>,
}

impl Trainer {
    /// A run from scratch: parameters drawn from `seed`, moments zero.
    ///
    /// # Errors
    /// If a surface or the device fails, or the loss scale is out of bounds.
    pub fn new(
        network: Network,
        options: TrainerOptions,
        batches: Batches,
        seed: u64,
    ) -> Result<Trainer, Error> {
        let mut trainer = Trainer::empty(network, options, batches)?;
        let random = Rng::new(seed);
        for state in &trainer.network.parameters {
            let mut value = state.value.write()?;
            let value = value.as_mut_slice::<f32>();
            match state.spec.init {
                Init::Ones => value.fill(1.0),
                // Each parameter draws from a stream of its own, so that none depends on another.
                Init::Normal { std } => {
                    random.fork(&state.spec.name).fill_normal(value, std as f32);
                }
            }
        }
        trainer.network.stage()?;
        Ok(trainer)
    }

    /// A run that begins with the parameters of a checkpoint, all else as from scratch.
    ///
    /// # Errors
    /// If the checkpoint lacks a parameter or has it in another shape, or the loss scale is out of
    /// bounds.
    pub fn from_parameters(
        network: Network,
        options: TrainerOptions,
        batches: Batches,
        checkpoint: &mut Checkpoint,
    ) -> Result<Trainer, Error> {
        let mut trainer = Trainer::empty(network, options, batches)?;
        for state in &trainer.network.parameters {
            let mut value = state.value.write()?;
            let spec = &state.spec;
            checkpoint.read_parameter(&spec.name, &spec.dims, value.as_mut_slice::<f32>())?;
        }
        trainer.network.stage()?;
        Ok(trainer)
    }

    /// A run that goes on where a checkpoint was saved. `batches` must begin at the checkpoint's
    /// [`TrainState::data`].
    ///
    /// # Errors
    /// As [`Trainer::from_parameters`].
    pub fn resume(
        network: Network,
        options: TrainerOptions,
        batches: Batches,
        checkpoint: &mut Checkpoint,
    ) -> Result<Trainer, Error> {
        let mut trainer = Trainer::from_parameters(network, options, batches, checkpoint)?;
        for (state, (first, second)) in trainer.network.parameters.iter().zip(&mut trainer.moments)
        {
            let spec = &state.spec;
            checkpoint.read_moment(Moment::First, &spec.name, &spec.dims, first)?;
            checkpoint.read_moment(Moment::Second, &spec.name, &spec.dims, second)?;
        }
        let state = checkpoint.state();
        trainer.scaler = Scaler::new(options.loss_scale, state.loss_scale)?;
        trainer.step = state.step;
        trainer.updates = state.updates;
        trainer.skipped = state.skipped;
        trainer.tokens = state.tokens;
        trainer.best_loss = state.best_loss;
        Ok(trainer)
    }

    fn empty(
        network: Network,
        options: TrainerOptions,
        batches: Batches,
    ) -> Result<Trainer, Error> {
        let count = network.tokens();
        let moments = network
            .parameters
            .iter()
            .map(|p| {
                let len = p.spec.dims.iter().product();
                (vec![0.0; len], vec![0.0; len])
            })
            .collect();
        let buffers =
            Buffers { tokens: vec![0; count], targets: vec![0; count], weights: vec![0.0; count] };
        Ok(Trainer {
            network,
            options,
            batches,
            moments,
            scaler: Scaler::new(options.loss_scale, None)?,
            step: 0,
            updates: 0,
            skipped: 0,
            tokens: 0,
            best_loss: None,
            buffers,
        })
    }

    /// One optimizer step.
    ///
    /// # Errors
    /// If the data or the device fails.
    pub fn step(&mut self) -> Result<Record, Error> {
        let start = Instant::now();
        let accumulate = self.options.accumulate.max(1);
        let count = self.buffers.tokens.len();
        // The loss is the mean over all tokens of the step, times its scale.
        let (scale, loss_scale) = (self.scaler.scale(), self.scaler.reported());
        self.buffers.weights.fill(1.0 / (count * accumulate) as f32 * scale);
        let mut loss = 0.0;
        for micro in 0..accumulate {
            let mode = if micro == 0 { Accumulation::Replace } else { Accumulation::Add };
            self.batches.next(&mut self.buffers.tokens, &mut self.buffers.targets)?;
            loss += f64::from(self.network.loss_and_gradient(&self.buffers.batch(), mode)?);
        }
        let rate = self.options.schedule.rate(self.step);
        let norm = self.update(rate)?;
        self.scaler.after(norm.is_finite());
        self.step += 1;
        let tokens = (count * accumulate) as u64;
        self.tokens += tokens;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Record {
            step: self.step,
            tokens: self.tokens,
            loss: loss / f64::from(scale),
            lr: rate,
            grad_norm: norm,
            loss_scale,
            ms: seconds * 1e3,
            tokens_per_s: tokens as f64 / seconds,
            val_loss: None,
        })
    }

    /// Updates the parameters and gives the gradient's norm, without the loss scale. A gradient
    /// that is not finite is left out and counted.
    fn update(&mut self, rate: f64) -> Result<f64, Error> {
        let TrainerOptions { optimizer, clip, threads, .. } = self.options;
        let mut gradients = vec![];
        for state in &self.network.parameters {
            gradients.push(state.gradient.read()?);
        }
        let slices: Vec<&[f32]> = gradients.iter().map(|g| g.as_slice()).collect();
        let scale = f64::from(self.scaler.scale());
        let norm = adamw::global_norm(&slices, threads) / scale;
        if !norm.is_finite() {
            self.skipped += 1;
            return Ok(norm);
        }
        let mut values = vec![];
        for state in &self.network.parameters {
            values.push(state.value.write()?);
        }
        let mut slots = vec![];
        for (((state, value), gradient), (first, second)) in
            self.network.parameters.iter().zip(&mut values).zip(&slices).zip(&mut self.moments)
        {
            let parameter = value.as_mut_slice();
            slots.push(Slot { parameter, gradient, first, second, decay: state.spec.decay });
        }
        self.updates += 1;
        let gradient_scale = adamw::clip_factor(norm, clip) / scale;
        let step = adamw::Step { number: self.updates, rate, gradient_scale };
        optimizer.update(&mut slots, step, threads);
        drop(slots);
        drop(values);
        drop(gradients);
        self.network.stage()?;
        Ok(norm)
    }

    /// The mean loss over `count` batches of `validation`, from its start.
    ///
    /// # Errors
    /// If the data or the device fails.
    pub fn validate(&mut self, validation: &mut Batches, count: usize) -> Result<f64, Error> {
        validation.seek(0);
        let tokens = self.buffers.tokens.len();
        self.buffers.weights.fill(1.0 / tokens as f32);
        let mut sum = 0.0;
        for _ in 0..count {
            validation.next(&mut self.buffers.tokens, &mut self.buffers.targets)?;
            sum += f64::from(self.network.loss(&self.buffers.batch())?);
        }
        let loss = sum / count.max(1) as f64;
        if loss.is_finite() {
            let best = self.best_loss.unwrap_or(f32::INFINITY);
            self.best_loss = Some(best.min(loss as f32));
        }
        Ok(loss)
    }

    /// Saves everything in a new folder of the run `folder`, and keeps the last `keep`.
    ///
    /// # Errors
    /// If it cannot be written; the checkpoint before is then still there.
    pub fn save(&self, folder: &Path, about: &About<'_>, keep: usize) -> Result<PathBuf, Error> {
        let mut values = vec![];
        for state in &self.network.parameters {
            values.push(state.value.read()?);
        }
        let tensor = |index: usize, data| Tensor {
            name: &self.network.parameters[index].spec.name,
            dims: &self.network.parameters[index].spec.dims,
            data,
        };
        let parameters: Vec<Tensor<'_>> =
            values.iter().enumerate().map(|(i, v)| tensor(i, v.as_slice())).collect();
        let moments = self.moments.iter().enumerate();
        let first: Vec<Tensor<'_>> = moments.clone().map(|(i, m)| tensor(i, &m.0)).collect();
        let second: Vec<Tensor<'_>> = moments.map(|(i, m)| tensor(i, &m.1)).collect();
        let state = TrainState {
            step: self.step,
            updates: self.updates,
            skipped: self.skipped,
            tokens: self.tokens,
            data: self.position(),
            best_loss: self.best_loss,
            loss_scale: self.scaler.state(),
            settings: about.settings.clone(),
        };
        let snapshot = Snapshot {
            config: about.config,
            tokenizer: about.tokenizer,
            parameters: &parameters,
            first: &first,
            second: &second,
            state: &state,
        };
        Ok(checkpoint::save(folder, &snapshot, keep)?)
    }

    /// Takes over the parameters of another trainer of the same model.
    ///
    /// # Errors
    /// If a surface is in use, or the device fails.
    ///
    /// # Panics
    /// If the models differ in shape.
    pub fn copy_parameters(&mut self, from: &Trainer) -> Result<(), Error> {
        for (to, from) in self.network.parameters.iter().zip(&from.network.parameters) {
            to.value.write()?.copy_from_slice(&from.value.read()?);
        }
        self.network.stage()
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.batches.position()
    }

    /// Optimizer steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Steps left out because the gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What the loss is multiplied by now; 1 if it is not scaled.
    pub fn loss_scale(&self) -> f32 {
        self.scaler.scale()
    }

    /// The model, its parameters among it.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

/// What a checkpoint says besides what the trainer knows.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The model's `config.json`.
    pub config: &'a serde_json::Value,
    /// The text of its `tokenizer.json`.
    pub tokenizer: Option<&'a str>,
    /// The run's settings, for whoever resumes it.
    pub settings: &'a serde_json::Value,
}

impl Buffers {
    fn batch(&self) -> Batch<'_> {
        Batch { tokens: &self.tokens, targets: &self.targets, weights: &self.weights }
    }
}
