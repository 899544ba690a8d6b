//! The training loop: batch, forward, loss, backward, clip, update, stage.
//!
//! A [`Trainer`] holds everything that a step changes, and can save and load all of it, so that a
//! run that was resumed goes on bit for bit as one that was not interrupted.

use crate::Error;
use crate::adamw::{self, AdamW, Slot};
use crate::checkpoint::{self, Checkpoint, Moment, Snapshot, Tensor, TrainState};
use crate::data::{Feed, MicroBatch, Position};
use crate::loss_scale::{LossScale, Scaler};
use crate::metrics::Record;
use crate::network::{Batch, Network};
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::vocabulary::{Frozen, IdSet, Part};
use models::{Init, Parameter, Role};
use runtime::Accumulation;
use std::path::{Path, PathBuf};
use std::time::Instant;
use surface::Surface;

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
    feed: Feed,
    /// What dropout draws from.
    random: Rng,
    /// First and second moment of every parameter.
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    /// The rows of tables that are not trained, for every parameter; of a network with a
    /// vocabulary only.
    frozen: Vec<Option<Frozen>>,
    /// The tokens whose rows have been trained, by runs before this one too, if not all have been.
    trained: Option<IdSet>,
    scaler: Scaler,
    step: u64,
    updates: u64,
    skipped: u64,
    tokens: u64,
    best_loss: Option<f32>,
    /// The step of that validation.
    best_step: Option<u64>,
    /// The micro-batches of a step.
    micro: Vec<MicroBatch>,
}

impl Trainer {
    /// A run from scratch: parameters drawn from `seed`, moments zero. Where an adapter is trained,
    /// its parameters are drawn, and the model's own must have been written before, by
    /// [`Network::read_base`].
    ///
    /// # Errors
    /// If a surface or the device fails, or the loss scale is out of bounds.
    pub fn new(
        network: Network,
        options: TrainerOptions,
        feed: impl Into<Feed>,
        seed: u64,
    ) -> Result<Trainer, Error> {
        let mut trainer = Trainer::empty(network, options, feed.into())?;
        let random = Rng::new(seed);
        for (state, frozen) in trainer.network.parameters.iter().zip(&mut trainer.frozen) {
            let mut value = state.value.write()?;
            let spec = &state.spec;
            let value = value.as_mut_slice::<f32>();
            fill(Part::Value, &spec.dims, value, frozen, |_, value| {
                initialize(spec, &random, value);
                Ok(())
            })?;
        }
        trainer.network.stage()?;
        Ok(trainer)
    }

    /// A run that begins with parameters from elsewhere, all else as from scratch: `read` is given
    /// each parameter's name, its dimensions, with all rows of tables, and room for its values.
    /// `trained` are the tokens whose rows were trained there, if not all were.
    ///
    /// # Errors
    /// Those of `read`, and those of [`Trainer::new`].
    pub fn from_parameters(
        network: Network,
        options: TrainerOptions,
        feed: impl Into<Feed>,
        read: ReadParameter<'_>,
        trained: Option<&IdSet>,
    ) -> Result<Trainer, Error> {
        let mut trainer = Trainer::empty(network, options, feed.into())?;
        for (state, frozen) in trainer.network.parameters.iter().zip(&mut trainer.frozen) {
            let mut value = state.value.write()?;
            let spec = &state.spec;
            let value = value.as_mut_slice::<f32>();
            fill(Part::Value, &spec.dims, value, frozen, |dims, value| {
                read(&spec.name, dims, value)
            })?;
        }
        // Rows that were trained elsewhere stay trained, as all are after a run over all of them.
        trainer.trained = match (&trainer.trained, trained) {
            (Some(now), Some(before)) => Some(now.union(before)),
            _ => None,
        };
        trainer.network.stage()?;
        Ok(trainer)
    }

    /// The same with the parameters of a run's checkpoint.
    ///
    /// # Errors
    /// If the checkpoint lacks a parameter or has it in another shape; those of [`Trainer::new`].
    pub fn from_checkpoint(
        network: Network,
        options: TrainerOptions,
        feed: impl Into<Feed>,
        checkpoint: &mut Checkpoint,
    ) -> Result<Trainer, Error> {
        let trained = checkpoint.state().trained.clone();
        let mut read = |name: &str, dims: &[usize], out: &mut [f32]| {
            Ok(checkpoint.read_parameter(name, dims, out)?)
        };
        Trainer::from_parameters(network, options, feed, &mut read, trained.as_ref())
    }

    /// A run that goes on where a checkpoint was saved. `feed` must begin at the checkpoint's
    /// [`TrainState::data`].
    ///
    /// # Errors
    /// As [`Trainer::from_checkpoint`].
    pub fn resume(
        network: Network,
        options: TrainerOptions,
        feed: impl Into<Feed>,
        checkpoint: &mut Checkpoint,
    ) -> Result<Trainer, Error> {
        let trained = checkpoint.state().trained.clone();
        let mut read = |name: &str, dims: &[usize], out: &mut [f32]| {
            Ok(checkpoint.read_parameter(name, dims, out)?)
        };
        let trained = trained.as_ref();
        let mut trainer = Trainer::from_parameters(network, options, feed, &mut read, trained)?;
        let parameters = trainer.network.parameters.iter().zip(&mut trainer.frozen);
        for ((state, frozen), (first, second)) in parameters.zip(&mut trainer.moments) {
            let spec = &state.spec;
            for (part, moment, out) in
                [(Part::First, Moment::First, first), (Part::Second, Moment::Second, second)]
            {
                fill(part, &spec.dims, out, frozen, |dims, out| {
                    Ok(checkpoint.read_moment(moment, &spec.name, dims, out)?)
                })?;
            }
        }
        let state = checkpoint.state();
        trainer.scaler = Scaler::new(options.loss_scale, state.loss_scale)?;
        trainer.step = state.step;
        trainer.updates = state.updates;
        trainer.skipped = state.skipped;
        trainer.tokens = state.tokens;
        trainer.best_loss = state.best_loss;
        trainer.best_step = state.best_step;
        Ok(trainer)
    }

    fn empty(network: Network, options: TrainerOptions, feed: Feed) -> Result<Trainer, Error> {
        let micro = vec![MicroBatch::new(network.tokens()); options.accumulate.max(1)];
        let moments = network
            .parameters
            .iter()
            .map(|p| {
                let len = p.spec.dims.iter().product();
                (vec![0.0; len], vec![0.0; len])
            })
            .collect();
        let vocabulary = network.vocabulary();
        let frozen = network.parameters.iter().map(|p| match p.spec.role {
            Role::Embedding | Role::Classifier => {
                let trained = p.spec.dims.iter().product();
                vocabulary.map(|vocabulary| Frozen::zeros(vocabulary.clone(), trained))
            }
            _ => None,
        });
        let frozen = frozen.collect();
        let trained = vocabulary.map(|vocabulary| vocabulary.ids());
        Ok(Trainer {
            network,
            options,
            random: Rng::new(feed.position().seed).fork("dropout"),
            feed,
            moments,
            frozen,
            trained,
            scaler: Scaler::new(options.loss_scale, None)?,
            step: 0,
            updates: 0,
            skipped: 0,
            tokens: 0,
            best_loss: None,
            best_step: None,
            micro,
        })
    }

    /// One optimizer step.
    ///
    /// # Errors
    /// If the data or the device fails.
    pub fn step(&mut self) -> Result<Record, Error> {
        let start = Instant::now();
        // The loss is the mean over all tokens of the step that count, times its scale.
        let (scale, loss_scale) = (self.scaler.scale(), self.scaler.reported());
        let mut counted = 0;
        for micro in &mut self.micro {
            next(&mut self.feed, &self.network, micro)?;
            counted += micro.counted();
        }
        let weight = 1.0 / counted.max(1) as f32 * scale;
        let mut loss = 0.0;
        for (index, micro) in self.micro.iter_mut().enumerate() {
            let mode = if index == 0 { Accumulation::Replace } else { Accumulation::Add };
            micro.weights.iter_mut().for_each(|w| *w *= weight);
            self.network.drop_out(Some(&self.random.fork(&format!("{} {index}", self.step))))?;
            loss += f64::from(self.network.loss_and_gradient(&batch(micro), mode)?);
        }
        let rate = self.options.schedule.rate(self.step);
        let norm = self.update(rate)?;
        self.scaler.after(norm.is_finite());
        self.step += 1;
        let tokens = (self.network.tokens() * self.micro.len()) as u64;
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
            val_accuracy: None,
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

    /// The mean loss over the tokens that count in `count` batches of `validation`, from its start.
    ///
    /// # Errors
    /// If the data or the device fails.
    pub fn validate(&mut self, validation: &mut Feed, count: usize) -> Result<f64, Error> {
        validation.seek(0);
        self.network.drop_out(None)?;
        let (mut sum, mut total) = (0.0, 0);
        let micro = &mut self.micro[0];
        for _ in 0..count {
            next(validation, &self.network, micro)?;
            let counted = micro.counted();
            let weight = 1.0 / counted.max(1) as f32;
            micro.weights.iter_mut().for_each(|w| *w *= weight);
            sum += f64::from(self.network.loss(&batch(micro))?) * counted as f64;
            total += counted;
        }
        let loss = sum / total.max(1) as f64;
        if loss.is_finite() && self.best_loss.is_none_or(|best| (loss as f32) < best) {
            self.best_loss = Some(loss as f32);
            self.best_step = Some(self.step);
        }
        Ok(loss)
    }

    /// Saves everything in a new folder of the run `folder`, and keeps the last `keep`. Tables are
    /// whole, with the rows that are not trained.
    ///
    /// # Errors
    /// If it cannot be written; the checkpoint before is then still there.
    pub fn save(&self, folder: &Path, about: &About<'_>, keep: usize) -> Result<PathBuf, Error> {
        let mut values = vec![];
        for state in &self.network.parameters {
            values.push(state.value.read()?);
        }
        let dims: Vec<Vec<usize>> = (0..values.len()).map(|i| self.whole_dims(i)).collect();
        let tensor = |index: usize, part, trained| {
            let name = &self.network.parameters[index].spec.name;
            Tensor { name, dims: &dims[index], data: self.whole(index, part, trained) }
        };
        let parameters: Vec<Tensor<'_>> = (values.iter().enumerate())
            .map(|(i, value)| tensor(i, Part::Value, value.as_slice()))
            .collect();
        let moments = self.moments.iter().enumerate();
        let first: Vec<Tensor<'_>> =
            moments.clone().map(|(i, m)| tensor(i, Part::First, &m.0)).collect();
        let second: Vec<Tensor<'_>> = moments.map(|(i, m)| tensor(i, Part::Second, &m.1)).collect();
        let state = TrainState {
            step: self.step,
            updates: self.updates,
            skipped: self.skipped,
            tokens: self.tokens,
            data: self.position(),
            best_loss: self.best_loss,
            best_step: self.best_step,
            loss_scale: self.scaler.state(),
            trained: self.trained.clone(),
            settings: about.settings.clone(),
        };
        let snapshot = Snapshot {
            config: about.config,
            tokenizer: about.tokenizer,
            adapter: about.adapter,
            sidecars: about.sidecars,
            parameters: &parameters,
            first: &first,
            second: &second,
            state: &state,
        };
        Ok(checkpoint::save(folder, &snapshot, keep)?)
    }

    /// The dimensions of a parameter with all its rows.
    fn whole_dims(&self, index: usize) -> Vec<usize> {
        let dims = &self.network.parameters[index].spec.dims;
        match &self.frozen[index] {
            Some(frozen) => frozen.whole_dims(dims),
            None => dims.clone(),
        }
    }

    /// All rows of a parameter or moment, in pieces that follow each other.
    fn whole<'a>(&'a self, index: usize, part: Part, trained: &'a [f32]) -> Vec<&'a [f32]> {
        match &self.frozen[index] {
            Some(frozen) => frozen.join(part, trained),
            None => vec![trained],
        }
    }

    /// Every parameter with all its rows, by name, the model's own beside an adapter's: shared with
    /// the network, but tables of which not all rows are trained, which are put together in memory
    /// of their own.
    ///
    /// # Errors
    /// If a surface is in use, or there is no memory.
    pub fn whole_parameters(&self) -> Result<Vec<(&str, Surface)>, Error> {
        let base = self.network.base.iter().map(|p| Ok((&*p.spec.name, p.value.clone())));
        let parameters = self.network.parameters.iter().enumerate().map(|(index, state)| {
            if self.frozen[index].is_none() {
                return Ok((&*state.spec.name, state.value.clone()));
            }
            let trained = state.value.read()?;
            let pieces = self.whole(index, Part::Value, trained.as_slice());
            Ok((&*state.spec.name, Surface::from_slice(&pieces.concat())?))
        });
        base.chain(parameters).collect()
    }

    /// The tokens whose rows have been trained, by this run or by those that it goes on from; none
    /// if all have been.
    pub fn trained(&self) -> Option<&IdSet> {
        self.trained.as_ref()
    }

    /// Takes over the parameters of another trainer of the same model.
    ///
    /// # Errors
    /// If a surface is in use, or the device fails.
    ///
    /// # Panics
    /// If the models differ in shape, or in the tokens that they have rows for.
    pub fn copy_parameters(&mut self, from: &Trainer) -> Result<(), Error> {
        assert_eq!(self.network.vocabulary(), from.network.vocabulary(), "one vocabulary");
        for (to, from) in self.network.parameters.iter().zip(&from.network.parameters) {
            to.value.write()?.copy_from_slice(&from.value.read()?);
        }
        for (to, from) in self.frozen.iter_mut().zip(&from.frozen) {
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_values(from);
            }
        }
        self.network.stage()
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.feed.position()
    }

    /// The step with the least validation loss so far, and that loss.
    pub fn best(&self) -> Option<(u64, f32)> {
        self.best_step.zip(self.best_loss)
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
    /// The adapter's `adapter_config.json`, if one is trained.
    pub adapter: Option<&'a serde_json::Value>,
    /// Files that are passed on, some of [`checkpoint::SIDECARS`].
    pub sidecars: &'a [(String, Vec<u8>)],
    /// The run's settings, for whoever resumes it.
    pub settings: &'a serde_json::Value,
}

/// Reads a parameter by name into values of these dimensions.
pub type ReadParameter<'a> = &'a mut dyn FnMut(&str, &[usize], &mut [f32]) -> Result<(), Error>;

/// Draws the values that a parameter begins with, from a stream of its own, so that none depends
/// on another.
pub fn initialize(parameter: &Parameter, random: &Rng, values: &mut [f32]) {
    let mut random = random.fork(&parameter.name);
    match parameter.init {
        Init::Ones => values.fill(1.0),
        Init::Zeros => values.fill(0.0),
        Init::Normal { std } => random.fill_normal(values, std as f32),
        Init::Uniform { bound } => random.fill_uniform(values, -bound as f32, bound as f32),
    }
}

/// Takes the next batch, in the network's own numbers of tokens.
fn next(feed: &mut Feed, network: &Network, micro: &mut MicroBatch) -> Result<(), Error> {
    feed.next(micro)?;
    if let Some(vocabulary) = network.vocabulary() {
        vocabulary.to_rows(&mut micro.tokens)?;
        vocabulary.to_rows(&mut micro.targets)?;
    }
    Ok(())
}

fn batch(micro: &MicroBatch) -> Batch<'_> {
    let MicroBatch { tokens, targets, weights, segments } = micro;
    Batch { tokens, targets, weights, segments }
}

/// Fills the trained rows of a parameter or moment, and those that are not, from what `whole`
/// writes when it is given the whole tensor's dimensions and memory.
fn fill(
    part: Part,
    dims: &[usize],
    trained: &mut [f32],
    frozen: &mut Option<Frozen>,
    whole: impl FnOnce(&[usize], &mut [f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(frozen) = frozen else { return whole(dims, trained) };
    let dims = frozen.whole_dims(dims);
    let mut table = vec![0.0; dims.iter().product()];
    whole(&dims, &mut table)?;
    frozen.split(part, &table, trained);
    Ok(())
}
