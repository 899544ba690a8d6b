//! The layers: one executable each way, and a request for each layer.

use super::build::{Build, Names};
use super::dropout::Dropout;
use super::head::Ends;
use super::{BaseParameter, NetworkOptions, ParameterState, parameters};
use crate::Error;
use models::{Config, Layout};
use passes::autodiff::{self, Recompute};
use runtime::{Accumulation, Products, Request};
use surface::Surface;

/// The requests of all layers, the first layer first.
pub(super) struct Layers(Vec<LayerRequests>);

struct LayerRequests {
    forward: Box<dyn Request>,
    backward: Box<dyn Request>,
}

/// The residual stream before, between and after the layers, and its gradient.
pub(super) struct Streams {
    activations: Vec<Surface>,
    /// A layer reads the gradient of its output from one and writes that of its input to the
    /// next; what it read must stay until it has finished, while the layer before it runs.
    gradients: [Surface; 3],
}

impl Streams {
    pub fn new(build: &mut Build<'_>, config: &Config, tokens: usize) -> Result<Streams, Error> {
        let width = tokens * config.dim * 4;
        let activations =
            (0..=config.layers).map(|_| build.surface(width)).collect::<Result<_, _>>()?;
        let gradients = [build.surface(width)?, build.surface(width)?, build.surface(width)?];
        Ok(Streams { activations, gradients })
    }

    /// What stands before layer `index`, or after all of them.
    pub fn around(&self, index: usize) -> Ends<'_> {
        Ends { x: &self.activations[index], d_x: &self.gradients[index % 3] }
    }
}

/// What layers are bound to.
pub(super) struct Parts<'a> {
    pub common: &'a Names,
    pub streams: &'a Streams,
    pub parameters: &'a [ParameterState],
    pub base: &'a [BaseParameter],
}

impl Layers {
    /// Compiles a layer and binds it for each of the model's. `dropout` is given the inputs that it
    /// draws.
    pub fn new(
        build: &mut Build<'_>,
        config: &Config,
        options: &NetworkOptions,
        parts: Parts<'_>,
        mut dropout: Option<&mut Dropout>,
    ) -> Result<Layers, Error> {
        let (shape, layout) = (options.shape, options.layout);
        let layer = match options.packed {
            true => models::masked_layer(config, shape, options.compute)?,
            false => models::layer(config, shape, layout, options.compute)?,
        };
        let layer = match &options.lora {
            Some(lora) => lora.adapt(&layer, config, true)?,
            None => layer,
        };
        let (trained, kept) = parameters::layer_ports(parts.parameters, parts.base);
        let wrt = ["x".to_owned()].into_iter().chain(trained.iter().cloned()).collect();
        let gradient = autodiff::differentiate(
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
        // The matrices of an adapter are small and change with every step: packing them anew costs
        // less than staging them, and the base with them, would.
        let staged = if options.lora.is_some() { &kept } else { &trained };
        build.products = options.forward_products;
        let forward = build.compile_for(gradient.forward, staged, &trained)?;
        build.products = Products::Native;
        let backward = build.compile_for(gradient.backward, staged, &trained)?;

        let mut layers = vec![];
        for index in 0..config.layers {
            let mut names = parts.common.clone();
            let (before, after) = (parts.streams.around(index), parts.streams.around(index + 1));
            names.add("x", before.x);
            names.add("y", after.x);
            names.add("d_x", before.d_x);
            names.add("d_y", after.d_x);
            parameters::name_layer(&mut names, parts.parameters, parts.base, index);
            // What the forward function gives beyond `y` is kept for the backward function.
            for port in forward.outputs() {
                if port.name != "y" {
                    names.add(&port.name, &build.surface(port.bytes)?);
                }
            }
            if let Some(dropout) = &mut dropout {
                for port in forward.inputs().iter().filter(|port| port.name.ends_with("_kept")) {
                    let surface = build.surface(port.bytes)?;
                    dropout.add(&surface);
                    names.add(&port.name, &surface);
                }
            }
            layers.push(LayerRequests {
                forward: names.bind(&forward)?,
                backward: names.bind(&backward)?,
            });
        }
        Ok(Layers(layers))
    }

    /// Tells the device that parameters have changed.
    pub fn stage(&mut self) -> Result<(), Error> {
        self.requests().try_for_each(|request| request.stage())?;
        Ok(())
    }

    pub fn forward(&mut self) -> Result<(), Error> {
        for layer in &mut self.0 {
            layer.forward.evaluate(Accumulation::Replace)?;
        }
        Ok(())
    }

    /// Every layer in reverse. A device may compute the gradients of a layer's parameters while it
    /// runs the layer before; `finish_head` waits for those of the head.
    pub fn backward(
        &mut self,
        accumulation: Accumulation,
        mut finish_head: impl FnMut() -> Result<(), runtime::Error>,
    ) -> Result<(), Error> {
        let mut running: Option<&mut Box<dyn Request>> = None;
        for layer in self.0.iter_mut().rev() {
            layer.backward.evaluate(accumulation)?;
            // The next layer writes over what this one has read.
            match running {
                Some(later) => later.finish()?,
                None => finish_head()?,
            }
            running = Some(&mut layer.backward);
        }
        Ok(())
    }

    pub fn requests(&mut self) -> impl Iterator<Item = &mut Box<dyn Request>> {
        self.0.iter_mut().flat_map(|layer| [&mut layer.forward, &mut layer.backward])
    }
}
