//! A model compiled for generation.
//!
//! Letters: D width, K key-value heads, E head dim, C cache capacity, S new tokens, V vocabulary.

use crate::adapter::Slots;
use crate::{Adapter, Error};
use mil::{DataType, Program};
use models::{CacheShape, Config, Layout, Lora, Role, Shape};
use runtime::{
    Accumulation, Bindings, CompileOptions, Device, Executable, Products, Request, Staging,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// Parameters by their name in checkpoints: fp32, row-major.
pub type Weights = BTreeMap<String, Surface>;

/// How to compile a [`Generator`].
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// Tokens that the cache holds, C: prompt and answer together.
    pub capacity: usize,
    /// Element type of matrix products.
    pub compute: DataType,
    /// How products with parameters are computed.
    pub products: Products,
    /// The largest adapter that can be loaded, if any: its rank and targets.
    pub lora: Option<Lora>,
}

/// A way to read some tokens at once.
#[derive(Clone, Copy)]
struct Chunk {
    tokens: usize,
    /// Whether it reads only the first ones, which spares it the whole cache.
    first: bool,
    /// Whether parameters are packed for it. For many tokens packed copies save little, and each
    /// takes as much memory as the parameters.
    staging: Staging,
}

/// For fewer and fewer tokens: the first that fits is used.
const CHUNKS: [Chunk; 4] = [
    Chunk { tokens: 256, first: true, staging: Staging::Often },
    Chunk { tokens: 256, first: false, staging: Staging::Often },
    Chunk { tokens: 32, first: false, staging: Staging::Rare },
    Chunk { tokens: 1, first: false, staging: Staging::Rare },
];

impl Chunk {
    /// Whether a cache of `capacity` has room for it, and for tokens before it if without them
    /// another one is used.
    fn fits(&self, capacity: usize) -> bool {
        let before = usize::from(!self.first && self.tokens == CHUNKS[0].tokens);
        before + self.tokens <= capacity
    }
}

/// A model that generates, with the keys and values of what it has read.
pub struct Generator {
    config: Config,
    capacity: usize,
    slots: Option<Slots>,
    /// Tokens read so far.
    position: usize,
    /// For fewer and fewer tokens, down to one.
    stages: Vec<Stage>,
    /// Per layer: keys and values, `[K, C, E]` each.
    caches: Vec<(Surface, Surface)>,
    /// The vector of the token that was read last, `[1, 1, D]`.
    last: Surface,
    classify: Box<dyn Request>,
    /// `[1, V]`.
    logits: Surface,
}

/// The functions for one [`Chunk`].
struct Stage {
    seq: usize,
    first: bool,
    inputs: Inputs,
    /// What the last layer gives, `[1, S, D]`.
    result: Surface,
    embed: Box<dyn Request>,
    layers: Vec<Box<dyn Request>>,
    /// New keys and values of the layer that ran last, `[K, S, E]` each.
    new: (Surface, Surface),
}

/// What changes from one reading to the next. Not every model takes all of it.
struct Inputs {
    tokens: Surface,
    /// `[S]` int32.
    positions: Surface,
    rope_cos: Surface,
    rope_sin: Surface,
    /// `[S, C]`, unless these are the first tokens.
    mask: Option<Surface>,
}

impl Generator {
    /// Compiles the model and takes its parameters; they must not change afterwards.
    pub fn new(
        device: &dyn Device,
        config: &Config,
        weights: &Weights,
        options: GeneratorOptions,
    ) -> Result<Generator, Error> {
        let capacity = options.capacity.min(config.max_seq).max(1);
        let ports = Ports::new(config, weights)?;
        let cache_bytes = config.kv_heads * capacity * config.head_dim * 4;
        let mut caches = vec![];
        for _ in 0..config.layers {
            caches.push((Surface::new(cache_bytes)?, Surface::new(cache_bytes)?));
        }
        let slots = options.lora.as_ref().map(|lora| Slots::new(config, lora)).transpose()?;
        let build = Build {
            device,
            config,
            ports: &ports,
            caches: &caches,
            slots: slots.as_ref(),
            options: &options,
            capacity,
        };
        let chunks = CHUNKS.into_iter().filter(|chunk| chunk.fits(capacity));
        let stages = chunks.map(|chunk| build.stage(chunk)).collect::<Result<_, _>>()?;
        let one = Shape { batch: 1, seq: 1 };
        let logits = models::logits(config, one, options.compute)?;
        let classify = build.compile(logits, ports.shared.keys(), Staging::Rare)?;
        let (last, logits) = (Surface::new(config.dim * 4)?, Surface::new(config.vocab * 4)?);
        let bindings =
            bindings(&*classify, &ports.shared, &[("x", &last)]).output("logits", &logits);
        Ok(Generator {
            config: *config,
            capacity,
            slots,
            position: 0,
            stages,
            caches,
            last,
            classify: classify.bind(bindings)?,
            logits,
        })
    }

    /// Goes on with an adapter, or without; nothing is compiled. What has been read stays as the
    /// one before has read it: [`Generator::clear`] forgets it.
    ///
    /// # Errors
    /// If the generator was not compiled for such an adapter, or a matrix has another size; the
    /// adapter before then stays.
    pub fn set_adapter(&mut self, adapter: Option<&Adapter>) -> Result<(), Error> {
        match (&self.slots, adapter) {
            (Some(slots), Some(adapter)) => slots.load(&self.config, adapter),
            (Some(slots), None) => slots.clear(),
            (None, Some(adapter)) => Err(Error::AdapterRank { found: adapter.lora.rank, room: 0 }),
            (None, None) => Ok(()),
        }
    }

    /// Tokens that can still be read.
    pub fn room(&self) -> usize {
        self.capacity - self.position
    }

    /// Forgets everything read.
    pub fn clear(&mut self) {
        self.rewind(0);
    }

    /// Forgets all but the first `tokens` of what has been read.
    pub fn rewind(&mut self, tokens: usize) {
        // Keys and values behind the position are masked until they are written again.
        self.position = self.position.min(tokens);
    }

    /// Reads tokens and gives the scores of the one after the last, `[V]`, through `use_scores`.
    ///
    /// # Errors
    /// If there are none, one is not in the vocabulary, or they do not fit the context; nothing
    /// is read then.
    pub fn read<R>(
        &mut self,
        tokens: &[u32],
        use_scores: impl FnOnce(&[f32]) -> R,
    ) -> Result<R, Error> {
        let vocab = self.config.vocab;
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        if tokens.len() > self.room() {
            return Err(Error::ContextFull { capacity: self.capacity });
        }
        let mut rest = tokens;
        while !rest.is_empty() {
            let fits = |s: &&mut Stage| s.seq <= rest.len() && (!s.first || self.position == 0);
            let stage = self.stages.iter_mut().find(fits);
            let stage = stage.expect("the last stage reads one token");
            let (now, later) = rest.split_at(stage.seq);
            stage.read(now, self.position, &self.config, self.capacity, &self.caches)?;
            let result = stage.result.read()?;
            let width = self.config.dim;
            let last = &result.as_slice::<f32>()[(stage.seq - 1) * width..];
            self.last.write()?.as_mut_slice::<f32>().copy_from_slice(last);
            self.position += stage.seq;
            rest = later;
        }
        self.classify.evaluate(Accumulation::Replace)?;
        Ok(use_scores(self.logits.read()?.as_slice::<f32>()))
    }
}

impl Stage {
    /// Reads S tokens that stand at `position` and adds their keys and values to the caches.
    fn read(
        &mut self,
        tokens: &[u32],
        position: usize,
        config: &Config,
        capacity: usize,
        caches: &[(Surface, Surface)],
    ) -> Result<(), Error> {
        self.inputs.fill(tokens, position, config, capacity)?;
        self.embed.evaluate(Accumulation::Replace)?;
        for (request, (keys, values)) in self.layers.iter_mut().zip(caches) {
            request.evaluate(Accumulation::Replace)?;
            for (new, cache) in [(&self.new.0, keys), (&self.new.1, values)] {
                append(new, cache, self.seq, capacity, position, config)?;
            }
        }
        Ok(())
    }
}

impl Inputs {
    /// Tokens that stand at `position`.
    fn fill(
        &self,
        tokens: &[u32],
        position: usize,
        config: &Config,
        capacity: usize,
    ) -> Result<(), Error> {
        let (mut ids, mut positions) = (self.tokens.write()?, self.positions.write()?);
        let slots = ids.as_mut_slice::<i32>().iter_mut().zip(positions.as_mut_slice::<i32>());
        for ((id, place), (at, &token)) in slots.zip((position..).zip(tokens)) {
            (*id, *place) = (token as i32, at as i32);
        }
        let tables = models::rope_tables(config, position, tokens.len());
        self.rope_cos.write()?.as_mut_slice::<f32>().copy_from_slice(&tables.cos);
        self.rope_sin.write()?.as_mut_slice::<f32>().copy_from_slice(&tables.sin);
        if let Some(mask) = &self.mask {
            let (mut mask, window) = (mask.write()?, config.sliding_window);
            models::fill_cache_mask(mask.as_mut_slice(), capacity, position, window);
        }
        Ok(())
    }
}

/// Copies `[K, S, E]` into `[K, C, E]` from slot `position` on.
fn append(
    new: &Surface,
    cache: &Surface,
    seq: usize,
    capacity: usize,
    position: usize,
    config: &Config,
) -> Result<(), Error> {
    let width = config.head_dim;
    let (new, mut cache) = (new.read()?, cache.write()?);
    let heads = new.as_slice::<f32>().chunks_exact(seq * width);
    for (rows, slots) in heads.zip(cache.as_mut_slice::<f32>().chunks_exact_mut(capacity * width)) {
        slots[position * width..][..seq * width].copy_from_slice(rows);
    }
    Ok(())
}

/// The parameters by the names of the functions' inputs.
struct Ports {
    /// Those outside the layers.
    shared: BTreeMap<String, Surface>,
    layers: Vec<BTreeMap<String, Surface>>,
}

impl Ports {
    fn new(config: &Config, weights: &Weights) -> Result<Ports, Error> {
        let mut ports =
            Ports { shared: BTreeMap::new(), layers: vec![BTreeMap::new(); config.layers] };
        for parameter in models::parameters(config)? {
            let expected = parameter.dims.iter().product::<usize>() * 4;
            let surface = weights.get(&parameter.name);
            let found = surface.map_or(0, Surface::len);
            let Some(surface) = surface.filter(|_| found == expected) else {
                return Err(Error::Parameter { name: parameter.name, expected, found });
            };
            for port in parameter.role.outer_ports(config.tied) {
                ports.shared.insert((*port).to_owned(), surface.clone());
            }
            if let Role::Layer { index, port } = parameter.role {
                ports.layers[index].insert(port.to_owned(), surface.clone());
            }
        }
        Ok(ports)
    }
}

struct Build<'a> {
    device: &'a dyn Device,
    config: &'a Config,
    ports: &'a Ports,
    caches: &'a [(Surface, Surface)],
    slots: Option<&'a Slots>,
    options: &'a GeneratorOptions,
    capacity: usize,
}

impl Build<'_> {
    /// Compiles a function; `parameters` are those of them that it takes.
    fn compile<'b>(
        &self,
        function: mil::Function,
        parameters: impl Iterator<Item = &'b String>,
        staging: Staging,
    ) -> Result<Arc<dyn Executable>, Error> {
        let options = CompileOptions {
            parameters: parameters.filter(|p| function.input(p).is_some()).cloned().collect(),
            staging,
            products: self.options.products,
            ..CompileOptions::default()
        };
        let name = function.name.clone();
        Ok(self.device.compile(&Program::new(vec![function]), &name, &options)?)
    }

    fn stage(&self, Chunk { tokens: seq, first, staging }: Chunk) -> Result<Stage, Error> {
        let Build { config, capacity, options, .. } = *self;
        let shape = Shape { batch: 1, seq };
        let floats = |count: usize| Surface::new(count * 4);
        let (tokens, positions) = (Surface::new(seq * 4)?, Surface::new(seq * 4)?);
        let table = seq * (config.head_dim / 2);
        let (rope_cos, rope_sin) = (floats(table)?, floats(table)?);
        let cache = CacheShape { seq, capacity: if first { 0 } else { capacity } };
        let mask = (!first).then(|| floats(seq * capacity)).transpose()?;
        let kv = config.kv_heads * seq * config.head_dim;
        let new = (floats(kv)?, floats(kv)?);
        // A layer reads one of these and writes the other.
        let width = seq * config.dim;
        let activations = [floats(width)?, floats(width)?];

        let embed = self.compile(
            models::embed(config, shape, Layout::TokenMajor, options.compute)?,
            self.ports.shared.keys(),
            staging,
        )?;
        let given = [("tokens", &tokens), ("positions", &positions)];
        let bound = bindings(&*embed, &self.ports.shared, &given).output("x", &activations[0]);
        let embed = embed.bind(bound)?;
        let function = models::cached_layer(config, cache, options.compute)?;
        let function = match self.slots {
            Some(slots) => slots.lora().adapt(&function, config, false)?,
            None => function,
        };
        let executable = self.compile(function, self.ports.layers[0].keys(), staging)?;
        let mut layers = vec![];
        for (index, (ports, (keys, values))) in
            self.ports.layers.iter().zip(self.caches).enumerate()
        {
            let mut given = vec![("x", &activations[index % 2])];
            given.extend([("rope_cos", &rope_cos), ("rope_sin", &rope_sin)]);
            given.extend(mask.iter().map(|mask| ("mask", mask)));
            given.extend([("k_cache", keys), ("v_cache", values)]);
            let bound = bindings(&*executable, ports, &given)
                .output("y", &activations[(index + 1) % 2])
                .output("k_new", &new.0)
                .output("v_new", &new.1);
            // No parameters of the executable: they change whenever another adapter is loaded.
            let adapter = self.slots.into_iter().flat_map(|slots| slots.of_layer(index));
            let bound = adapter.fold(bound, |b, (name, surface)| b.input(name, surface));
            layers.push(executable.clone().bind(bound)?);
        }
        let result = activations[config.layers % 2].clone();
        let inputs = Inputs { tokens, positions, rope_cos, rope_sin, mask };
        Ok(Stage { seq, first, inputs, result, embed, layers, new })
    }
}

/// Binds those of the parameters and of what else is given that the function takes.
fn bindings(
    executable: &dyn Executable,
    parameters: &BTreeMap<String, Surface>,
    given: &[(&str, &Surface)],
) -> Bindings {
    let parameters = parameters.iter().map(|(name, surface)| (name.as_str(), surface));
    let taken = |(name, _): &(&str, &Surface)| executable.inputs().iter().any(|p| p.name == *name);
    let all = parameters.chain(given.iter().copied()).filter(taken);
    all.fold(Bindings::new(), |b, (name, surface)| b.input(name, surface))
}
