//! A model on a device: compiled functions, surfaces, and the requests that bind them.
//!
//! One executable serves all layers; each layer has a request of its own that binds its
//! parameters, its taps and the activations on either side of it. Nothing is allocated and
//! nothing is bound after [`Network::new`].
//!
//! Letters: B batch, S sequence, T = B·S tokens, D width, L layers.

mod build;
mod dropout;
mod embed;
mod head;
mod layers;
mod parameters;

use crate::Error;
use crate::rng::Rng;
use crate::vocabulary::Vocabulary;
use build::{Build, Names};
use dropout::Dropout;
use embed::Embed;
use head::Head;
use layers::{Layers, Parts, Streams};
use mil::DataType;
use models::{Config, Layout, Lora, Shape};
pub use parameters::{BaseParameter, ParameterState};
use passes::autodiff::Recompute;
use runtime::{Accumulation, Device, Products, Staging};
use std::sync::Arc;
use surface::Surface;

/// A model compiled for training on one device.
pub struct Network {
    /// What is trained: every parameter in the order of [`models::parameters`], or those of an
    /// adapter in the order of [`Lora::parameters`].
    pub parameters: Vec<ParameterState>,
    /// The model's own parameters, where an adapter is trained beside them.
    pub base: Vec<BaseParameter>,
    /// What positions see, `[B, 1, 1, S, S]`, of packed samples.
    mask: Option<Mask>,
    dropout: Option<Dropout>,
    embed: Embed,
    layers: Layers,
    head: Head,
    tokens: usize,
    vocabulary: Option<Arc<Vocabulary>>,
    surface_bytes: usize,
    scratch_bytes: usize,
}

/// The input `mask` of the layers.
struct Mask {
    surface: Surface,
    seq: usize,
    window: Option<usize>,
}

/// How to build a [`Network`].
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Sequences per micro-batch and tokens per sequence.
    pub shape: Shape,
    /// How activations lie in memory.
    pub layout: Layout,
    /// Micro-batches for each update of the parameters: with many, a device may prepare them for
    /// all.
    pub micro_batches: usize,
    /// Element type of the layers' matrix products; channel-first also of what lies between them.
    pub compute: DataType,
    /// Element type of the matrix products outside the layers: the classifier's.
    pub head_compute: DataType,
    /// How the layers' forward functions compute products with parameters. Their gradients are
    /// those of native products (straight through), and so are the backward and the head's.
    pub forward_products: Products,
    /// What the backward functions compute again instead of keeping. Channel-first, [`Cheap`] is
    /// [`Everything`] but [`models::taps`], and so is [`Everything`]: a device of that layout
    /// computes fast, and what it gives besides `y` costs.
    ///
    /// [`Cheap`]: Recompute::Cheap
    /// [`Everything`]: Recompute::Everything
    pub recompute: Recompute,
    /// The most tokens whose logits exist at once; by default as many as take 64 MiB, but not
    /// fewer than 256.
    pub head_rows: Option<usize>,
    /// The adapter that is trained instead of the model's own parameters.
    pub lora: Option<Lora>,
    /// Whether sequences are of several samples that must not see each other; then every batch
    /// has segments.
    pub packed: bool,
}

/// Micro-batches from which it pays to pack parameters once for all of them. Packing writes them to
/// memory and reads them back, which takes about as long as packing anew three times in a cache.
const MANY: usize = 4;

impl Network {
    /// The same for the used tokens of a vocabulary: embedding and classifier have a row for each
    /// of them only, and the tokens of a [`Batch`] are rows. [`Trainer`] sees to both.
    ///
    /// # Errors
    /// If the vocabulary is not the model's, or none of it is used; those of [`Network::new`].
    ///
    /// [`Trainer`]: crate::Trainer
    pub fn with_vocabulary(
        device: &dyn Device,
        config: &Config,
        options: &NetworkOptions,
        vocabulary: Arc<Vocabulary>,
    ) -> Result<Network, Error> {
        if vocabulary.size() != config.vocab {
            return Err(Error::Vocabulary { expected: config.vocab, found: vocabulary.size() });
        }
        let config = Config { vocab: vocabulary.rows(), ..*config };
        let network = Network::new(device, &config, options)?;
        Ok(Network { vocabulary: Some(vocabulary), ..network })
    }

    /// Compiles the model's functions and binds them; parameters are zero until written.
    ///
    /// # Errors
    /// If a function cannot be built or compiled, or the layout does not offer what is asked for.
    pub fn new(
        device: &dyn Device,
        config: &Config,
        options: &NetworkOptions,
    ) -> Result<Network, Error> {
        let (shape, layout) = (options.shape, options.layout);
        for (asked, what) in [(options.lora.is_some(), "adapters"), (options.packed, "packing")] {
            if asked && layout == Layout::ChannelFirst {
                return Err(Error::ChannelFirst(what));
            }
        }
        let staging = match options.micro_batches {
            0..MANY => Staging::Often,
            _ => Staging::Rare,
        };
        let products = Products::Native;
        let mut build = Build { device, staging, products, surface_bytes: 0, scratch_bytes: 0 };
        let (parameters, base) = parameters::allocate(&mut build, config, options.lora.as_ref())?;

        let embed = embed::Compiled::new(&mut build, config, options)?;
        let tokens = shape.tokens();
        let tables = models::rope_tables(config, 0, shape.seq);
        let (cos, sin) = (build.filled(&tables.cos)?, build.filled(&tables.sin)?);
        let mask = match options.packed {
            true => {
                let surface = build.surface(tokens * shape.seq * 4)?;
                Some(Mask { surface, seq: shape.seq, window: config.sliding_window })
            }
            false => None,
        };
        let mut common = Names::default();
        common.add("rope_cos", &cos);
        common.add("rope_sin", &sin);
        if let Some(mask) = &mask {
            common.add("mask", &mask.surface);
        }
        parameters::name_shared(&mut common, &parameters, &base, config.tied);

        let streams = Streams::new(&mut build, config, tokens)?;
        let mut dropout = match &options.lora {
            Some(lora) if lora.dropout > 0.0 => Some(Dropout::new(lora.dropout)),
            _ => None,
        };
        let parts =
            Parts { common: &common, streams: &streams, parameters: &parameters, base: &base };
        let layers = Layers::new(&mut build, config, options, parts, dropout.as_mut())?;
        let mut names = common.clone();
        let (first, last) = (streams.around(0), streams.around(config.layers));
        names.add("x", first.x);
        names.add("d_x", first.d_x);
        let embed = embed.bind(&mut build, config, options, names)?;
        let head = Head::new(&mut build, config, options, &common, last)?;
        Ok(Network {
            mask,
            dropout,
            embed,
            layers,
            head,
            tokens,
            vocabulary: None,
            surface_bytes: build.surface_bytes,
            scratch_bytes: build.scratch_bytes,
            parameters,
            base,
        })
    }

    /// Tokens of a micro-batch, T.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The tokens that tables have rows for, if these are not all.
    pub fn vocabulary(&self) -> Option<&Arc<Vocabulary>> {
        self.vocabulary.as_ref()
    }

    /// Bytes in surfaces: parameters, gradients, activations, taps.
    pub fn surface_bytes(&self) -> usize {
        self.surface_bytes
    }

    /// Bytes of scratch memory of the largest function.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch_bytes
    }

    /// Tells the device that parameters have changed.
    pub fn stage(&mut self) -> Result<(), Error> {
        self.embed.stage()?;
        self.layers.stage()?;
        self.head.stage()
    }

    /// Reads the model's own parameters, beside which an adapter is trained: `read` is given each
    /// name, dimensions and room for the values.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read_base(&mut self, read: crate::ReadParameter<'_>) -> Result<(), Error> {
        for BaseParameter { spec, value } in &self.base {
            read(&spec.name, &spec.dims, value.write()?.as_mut_slice())?;
        }
        self.stage()
    }

    /// Draws what dropout leaves of the next batches, from a generator of its own for each layer
    /// and module; without one, dropout leaves everything. Does nothing without dropout.
    pub fn drop_out(&mut self, random: Option<&Rng>) -> Result<(), Error> {
        self.dropout.as_mut().map_or(Ok(()), |dropout| dropout.draw(random))
    }

    /// The loss of one micro-batch: Σ weight·(−ln p(target)), in nats.
    pub fn loss(&mut self, batch: &Batch) -> Result<f32, Error> {
        self.forward(batch)?;
        self.head.loss(batch)
    }

    /// The loss of one micro-batch; its gradients replace those of the parameters or are added.
    pub fn loss_and_gradient(
        &mut self,
        batch: &Batch,
        accumulation: Accumulation,
    ) -> Result<f32, Error> {
        let computed = self.forward(batch).and_then(|()| self.backward(batch, accumulation));
        // After a failure too: nothing may still be writing when the caller goes on.
        let finished = self.finish();
        let loss = computed?;
        finished.map(|()| loss)
    }

    /// The head and every layer in reverse. A device may compute the gradients of a layer's
    /// parameters while it runs the layer before.
    fn backward(&mut self, batch: &Batch, accumulation: Accumulation) -> Result<f32, Error> {
        let loss = self.head.loss_and_gradient(batch, accumulation)?;
        self.layers.backward(accumulation, || self.head.finish())?;
        self.embed.backward(accumulation)?;
        Ok(loss)
    }

    /// Waits until every gradient is there.
    fn finish(&mut self) -> Result<(), Error> {
        let all: Vec<Result<(), runtime::Error>> = (self.layers.requests())
            .chain(self.embed.requests())
            .map(|request| request.finish())
            .chain([self.head.finish()])
            .collect();
        Ok(all.into_iter().collect::<Result<(), runtime::Error>>()?)
    }

    fn forward(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check(self.tokens, self.mask.is_some())?;
        if let Some(Mask { surface, seq, window }) = &self.mask {
            let mut mask = surface.write()?;
            models::fill_mask(mask.as_mut_slice(), batch.segments, *seq, *window);
        }
        self.embed.forward(batch, self.mask.is_some())?;
        self.layers.forward()
    }
}

/// One micro-batch; every slice has T elements.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Input token ids.
    pub tokens: &'a [i32],
    /// The token that follows each.
    pub targets: &'a [i32],
    /// Weight of each position's loss; 0 leaves it out.
    pub weights: &'a [f32],
    /// The sample of each position, of a network for packed samples; otherwise not read.
    pub segments: &'a [u32],
}

impl Batch<'_> {
    fn check(&self, tokens: usize, packed: bool) -> Result<(), Error> {
        let segments = if packed { self.segments.len() } else { tokens };
        for found in [self.tokens.len(), self.targets.len(), self.weights.len(), segments] {
            if found != tokens {
                return Err(Error::BatchSize { expected: tokens, found });
            }
        }
        Ok(())
    }
}
