//! Tokens to vectors, and the gradients of the tables that they are looked up in.

use super::build::{Build, Names};
use super::{Batch, NetworkOptions};
use crate::Error;
use models::Config;
use passes::autodiff;
use runtime::{Accumulation, Executable, Request};
use std::sync::Arc;
use surface::Surface;

/// The tables, by the names of the function's inputs. Not every model has the second.
const TABLES: [&str; 2] = ["embedding", "position_embedding"];

/// The function `embed` and those of its gradients.
pub(super) struct Embed {
    /// Token ids, `[T]` int32.
    tokens: Surface,
    /// Places of tokens in their texts, `[T]` int32, if the model has learned them.
    positions: Option<Surface>,
    seq: usize,
    request: Box<dyn Request>,
    /// One for each table, unless these stay as they are.
    gradients: Vec<Gradient>,
}

struct Gradient {
    request: Box<dyn Request>,
    /// Whether it always adds: a tied classifier has written this micro-batch's gradient already.
    adds: bool,
}

/// The functions, compiled but not bound.
pub(super) struct Compiled {
    embed: Arc<dyn Executable>,
    /// By table.
    gradients: Vec<(&'static str, Arc<dyn Executable>)>,
}

impl Compiled {
    /// Compiles the functions.
    pub fn new(
        build: &mut Build<'_>,
        config: &Config,
        options: &NetworkOptions,
    ) -> Result<Compiled, Error> {
        let function = models::embed(config, options.shape, options.layout, options.head_compute)?;
        let tables = TABLES.map(str::to_owned);
        let trained = TABLES
            .into_iter()
            .filter(|table| options.lora.is_none() && function.input(table).is_some());
        let gradients = trained.map(|table| {
            let options = autodiff::Options {
                wrt: vec![table.to_owned()],
                recompute: options.recompute,
                ..autodiff::Options::default()
            };
            let gradient = autodiff::differentiate(&function, &options)?;
            Ok((table, build.compile(gradient.backward, &tables)?))
        });
        let gradients = gradients.collect::<Result<_, Error>>()?;
        Ok(Compiled { embed: build.compile(function, &tables)?, gradients })
    }

    /// Binds them; `names` has the parameters, the activations and their gradients.
    pub fn bind(
        self,
        build: &mut Build<'_>,
        config: &Config,
        options: &NetworkOptions,
        mut names: Names,
    ) -> Result<Embed, Error> {
        let (count, seq) = (options.shape.tokens(), options.shape.seq);
        let tokens = build.surface(count * 4)?;
        names.add("tokens", &tokens);
        let takes_positions = self.embed.inputs().iter().any(|port| port.name == "positions");
        let positions = takes_positions.then(|| build.surface(count * 4)).transpose()?;
        if let Some(surface) = &positions {
            // One text in each sequence, until a batch says otherwise.
            models::fill_positions(surface.write()?.as_mut_slice(), &vec![0; count], seq);
            names.add("positions", surface);
        }
        let request = names.bind(&self.embed)?;
        let gradient = |(table, function): (&str, Arc<dyn Executable>)| {
            let adds = config.tied && table == TABLES[0];
            Ok(Gradient { request: names.bind(&function)?, adds })
        };
        let gradients = self.gradients.into_iter().map(gradient).collect::<Result<_, Error>>()?;
        Ok(Embed { tokens, positions, seq, request, gradients })
    }
}

impl Embed {
    /// Gives the vectors of a batch; of a `packed` one, positions begin anew in every sample.
    pub fn forward(&mut self, batch: &Batch<'_>, packed: bool) -> Result<(), Error> {
        self.tokens.write()?.as_mut_slice::<i32>().copy_from_slice(batch.tokens);
        if let Some(surface) = self.positions.as_ref().filter(|_| packed) {
            models::fill_positions(surface.write()?.as_mut_slice(), batch.segments, self.seq);
        }
        Ok(self.request.evaluate(Accumulation::Replace)?)
    }

    /// Gives the gradients of the tables, after those of all else.
    pub fn backward(&mut self, accumulation: Accumulation) -> Result<(), Error> {
        for Gradient { request, adds } in &mut self.gradients {
            request.evaluate(if *adds { Accumulation::Add } else { accumulation })?;
        }
        Ok(())
    }

    /// Tells the device that parameters have changed.
    pub fn stage(&mut self) -> Result<(), Error> {
        for request in self.requests() {
            request.stage()?;
        }
        Ok(())
    }

    /// Everything that may still be running.
    pub fn requests(&mut self) -> impl Iterator<Item = &mut Box<dyn Request>> {
        let gradients = self.gradients.iter_mut().map(|gradient| &mut gradient.request);
        [&mut self.request].into_iter().chain(gradients)
    }
}
