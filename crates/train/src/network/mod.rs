//! A model on a device: compiled functions, surfaces, and the requests that bind them.
//!
//! One executable serves all layers; each layer has a request of its own that binds its
//! parameters, its taps and the activations on either side of it. Nothing is allocated and
//! nothing is bound after [`Network::new`].
//!
//! Letters: B batch, S sequence, T = B·S tokens, D width, L layers.

mod build;
mod head;

use crate::Error;
use crate::vocabulary::Vocabulary;
use build::{Build, Names};
use head::{Ends, Head};
use mil::DataType;
use models::{Config, Layout, Parameter, Role, Shape};
use passes::autodiff::{self, Recompute};
use runtime::{Accumulation, Device, Products, Request, Staging};
use std::sync::Arc;
use surface::Surface;

/// A model compiled for training on one device.
pub struct Network {
    /// Every parameter, in the order of [`models::parameters`].
    pub parameters: Vec<ParameterState>,
    /// Input token ids, `[T]` int32.
    input: Surface,
    embed: Box<dyn Request>,
    layers: Vec<LayerRequests>,
    head: Head,
    embed_gradient: Box<dyn Request>,
    tokens: usize,
    tied: bool,
    vocabulary: Option<Arc<Vocabulary>>,
    surface_bytes: usize,
    scratch_bytes: usize,
}

/// A parameter's memory.
pub struct ParameterState {
    /// Name, shape and role.
    pub spec: Parameter,
    /// Master weights, fp32.
    pub value: Surface,
    /// Gradient of the current step, fp32.
    pub gradient: Surface,
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
}

/// Micro-batches from which it pays to pack parameters once for all of them. Packing writes them to
/// memory and reads them back, which takes about as long as packing anew three times in a cache.
const MANY: usize = 4;

struct LayerRequests {
    forward: Box<dyn Request>,
    backward: Box<dyn Request>,
}

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
    pub fn new(
        device: &dyn Device,
        config: &Config,
        options: &NetworkOptions,
    ) -> Result<Network, Error> {
        let (shape, layout) = (options.shape, options.layout);
        let staging = match options.micro_batches {
            0..MANY => Staging::Often,
            _ => Staging::Rare,
        };
        let products = Products::Native;
        let mut build = Build { device, staging, products, surface_bytes: 0, scratch_bytes: 0 };
        let parameters = build.parameters(config)?;

        let embed = models::embed(config, shape, layout, options.head_compute)?;
        let layer = models::layer(config, shape, layout, options.compute)?;

        let layer_ports = ports_of(&parameters, |role| match role {
            Role::Layer { index: 0, port } => Some(port.to_string()),
            _ => None,
        });
        let wrt = ["x".to_owned()].into_iter().chain(layer_ports.iter().cloned()).collect();
        let layer_gradient = autodiff::differentiate(
            &layer,
            &autodiff::Options {
                wrt,
                recompute: match (layout, options.recompute) {
                    (Layout::ChannelFirst, Recompute::Cheap) => Recompute::Everything,
                    (_, recompute) => recompute,
                },
                keep: models::taps(config, layout),
                repeat: models::repeated(layout),
            },
        )?;
        let embed_gradient = autodiff::differentiate(
            &embed,
            &autodiff::Options {
                wrt: vec!["embedding".into()],
                recompute: options.recompute,
                ..autodiff::Options::default()
            },
        )?;

        let table = ["embedding".to_owned()];
        let embed = build.compile(embed, &table)?;
        build.products = options.forward_products;
        let forward = build.compile(layer_gradient.forward, &layer_ports)?;
        build.products = Products::Native;
        let backward = build.compile(layer_gradient.backward, &layer_ports)?;
        let embed_gradient = build.compile(embed_gradient.backward, &table)?;

        let tokens = shape.tokens();
        let input = build.surface(tokens * 4)?;
        let tables = models::rope_tables(config, 0, shape.seq);
        let (cos, sin) = (build.filled(&tables.cos)?, build.filled(&tables.sin)?);
        let width = tokens * config.dim * 4;
        let mut activations = vec![];
        for _ in 0..=config.layers {
            activations.push(build.surface(width)?);
        }
        // A layer reads the gradient of its output from one and writes that of its input to the
        // next; what it read must stay until it has finished, while the layer before it runs.
        let gradients = [build.surface(width)?, build.surface(width)?, build.surface(width)?];

        let mut common = Names::default();
        common.add("tokens", &input);
        common.add("rope_cos", &cos);
        common.add("rope_sin", &sin);
        for state in &parameters {
            let port = match &state.spec.role {
                Role::Embedding => "embedding",
                Role::FinalNorm => "final_norm",
                Role::Classifier => "classifier",
                Role::Layer { .. } => continue,
            };
            common.add(port, &state.value);
            common.add(&format!("d_{port}"), &state.gradient);
            if config.tied && port == "embedding" {
                common.add("classifier", &state.value);
                common.add("d_classifier", &state.gradient);
            }
        }

        let mut layers = vec![];
        for index in 0..config.layers {
            let mut names = common.clone();
            names.add("x", &activations[index]);
            names.add("y", &activations[index + 1]);
            names.add("d_y", &gradients[(index + 1) % 3]);
            names.add("d_x", &gradients[index % 3]);
            for state in &parameters {
                if let Role::Layer { index: i, port } = &state.spec.role
                    && *i == index
                {
                    names.add(port, &state.value);
                    names.add(&format!("d_{port}"), &state.gradient);
                }
            }
            // What the forward function gives beyond `y` is kept for the backward function.
            for port in forward.outputs() {
                if port.name != "y" {
                    names.add(&port.name, &build.surface(port.bytes)?);
                }
            }
            layers.push(LayerRequests {
                forward: names.bind(&forward)?,
                backward: names.bind(&backward)?,
            });
        }
        let mut names = common.clone();
        names.add("x", &activations[0]);
        names.add("d_x", &gradients[0]);
        let embed = names.bind(&embed)?;
        let embed_gradient = names.bind(&embed_gradient)?;
        let ends = Ends { x: &activations[config.layers], d_x: &gradients[config.layers % 3] };
        let head = Head::new(&mut build, config, options, &common, ends)?;
        Ok(Network {
            input,
            embed,
            layers,
            head,
            embed_gradient,
            tokens,
            tied: config.tied,
            vocabulary: None,
            surface_bytes: build.surface_bytes,
            scratch_bytes: build.scratch_bytes,
            parameters,
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
        for layer in &mut self.layers {
            layer.forward.stage()?;
            layer.backward.stage()?;
        }
        self.head.stage()?;
        self.embed_gradient.stage()?;
        Ok(())
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
        let mut running: Option<&mut Box<dyn Request>> = None;
        for layer in self.layers.iter_mut().rev() {
            layer.backward.evaluate(accumulation)?;
            // The next layer writes over what this one has read.
            match running {
                Some(later) => later.finish()?,
                None => self.head.finish()?,
            }
            running = Some(&mut layer.backward);
        }
        // A tied classifier has written this micro-batch's gradient already.
        let embedding = if self.tied { Accumulation::Add } else { accumulation };
        self.embed_gradient.evaluate(embedding)?;
        Ok(loss)
    }

    /// Waits until every gradient is there.
    fn finish(&mut self) -> Result<(), Error> {
        let layers = self.layers.iter_mut().flat_map(|l| [&mut l.forward, &mut l.backward]);
        let others = [&mut self.embed, &mut self.embed_gradient];
        let all: Vec<Result<(), runtime::Error>> = layers
            .chain(others)
            .map(|request| request.finish())
            .chain([self.head.finish()])
            .collect();
        Ok(all.into_iter().collect::<Result<(), runtime::Error>>()?)
    }

    fn forward(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check(self.tokens)?;
        self.input.write()?.as_mut_slice::<i32>().copy_from_slice(batch.tokens);
        self.embed.evaluate(Accumulation::Replace)?;
        for layer in &mut self.layers {
            layer.forward.evaluate(Accumulation::Replace)?;
        }
        Ok(())
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
}

impl Batch<'_> {
    fn check(&self, tokens: usize) -> Result<(), Error> {
        for found in [self.tokens.len(), self.targets.len(), self.weights.len()] {
            if found != tokens {
                return Err(Error::BatchSize { expected: tokens, found });
            }
        }
        Ok(())
    }
}

fn ports_of(parameters: &[ParameterState], port: impl Fn(&Role) -> Option<String>) -> Vec<String> {
    parameters.iter().filter_map(|p| port(&p.spec.role)).collect()
}
