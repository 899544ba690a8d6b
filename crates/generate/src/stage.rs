//! The functions of a model for so many tokens at once, and what they are bound to.
//!
//! Letters: B texts side by side, S new tokens of each, D width, K key-value heads, E head dim, C
//! cache capacity.

use crate::adapter::Slots;
use crate::{Error, GeneratorOptions, Weights};
use mil::{DataType, Program};
use models::{CacheShape, Config, Layout, Role, Shape};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable, Request};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// Per layer: keys and values, `[B, K, C, E]` fp32 each.
pub(crate) type Caches = Vec<(Surface, Surface)>;

/// Empty caches for B texts.
pub(crate) fn caches(config: &Config, batch: usize, capacity: usize) -> Result<Caches, Error> {
    let bytes = batch * config.kv_heads * capacity * config.head_dim * 4;
    let pair = |_| Ok((Surface::new(bytes)?, Surface::new(bytes)?));
    (0..config.layers).map(pair).collect()
}

/// The functions for B texts and S tokens of each.
pub(crate) struct Stage {
    pub shape: Shape,
    /// Whether the tokens are the first: there is nothing in a cache that they would look at.
    pub first: bool,
    inputs: Inputs,
    /// What the last layer gives, `[B, S, D]`.
    pub result: Surface,
    embed: Box<dyn Request>,
    layers: Vec<Box<dyn Request>>,
    /// New keys and values of the layer that ran last, `[B, K, S, E]` each.
    new: (Surface, Surface),
}

/// What changes from one reading to the next. Not every model takes all of it.
struct Inputs {
    /// `[B·S]` int32.
    tokens: Surface,
    /// `[B·S]` int32.
    positions: Surface,
    rope_cos: Surface,
    rope_sin: Surface,
    /// `[B, S, C]`, unless these are the first tokens.
    mask: Option<Surface>,
}

impl Stage {
    /// Reads S tokens of each text, which stand at its position, and adds their keys and values to
    /// the caches.
    pub fn read(
        &mut self,
        tokens: &[u32],
        positions: &[usize],
        config: &Config,
        capacity: usize,
        caches: &Caches,
    ) -> Result<(), Error> {
        self.inputs.fill(tokens, positions, config, capacity)?;
        self.embed.evaluate(Accumulation::Replace)?;
        for (request, (keys, values)) in self.layers.iter_mut().zip(caches) {
            request.evaluate(Accumulation::Replace)?;
            for (new, cache) in [(&self.new.0, keys), (&self.new.1, values)] {
                append(new, cache, self.shape.seq, capacity, positions, config)?;
            }
        }
        Ok(())
    }
}

impl Inputs {
    fn fill(
        &self,
        tokens: &[u32],
        positions: &[usize],
        config: &Config,
        capacity: usize,
    ) -> Result<(), Error> {
        let seq = tokens.len() / positions.len();
        let (mut ids, mut places) = (self.tokens.write()?, self.positions.write()?);
        for (id, &token) in ids.as_mut_slice::<i32>().iter_mut().zip(tokens) {
            *id = token as i32;
        }
        let rows = places.as_mut_slice::<i32>().chunks_exact_mut(seq).zip(positions);
        for (row, &position) in rows {
            row.iter_mut().zip(position..).for_each(|(place, at)| *place = at as i32);
        }
        let (mut cos, mut sin) = (self.rope_cos.write()?, self.rope_sin.write()?);
        let pairs = seq * (config.head_dim / 2);
        let rows = cos.as_mut_slice::<f32>().chunks_exact_mut(pairs);
        let rows = rows.zip(sin.as_mut_slice::<f32>().chunks_exact_mut(pairs));
        for ((cos, sin), &position) in rows.zip(positions) {
            let tables = models::rope_tables(config, position, seq);
            cos.copy_from_slice(&tables.cos);
            sin.copy_from_slice(&tables.sin);
        }
        if let Some(mask) = &self.mask {
            let (mut mask, window) = (mask.write()?, config.sliding_window);
            let rows = mask.as_mut_slice::<f32>().chunks_exact_mut(seq * capacity);
            for (row, &position) in rows.zip(positions) {
                models::fill_cache_mask(row, capacity, position, window);
            }
        }
        Ok(())
    }
}

/// Copies `[B, K, S, E]` into `[B, K, C, E]`, of each text from its position on.
fn append(
    new: &Surface,
    cache: &Surface,
    seq: usize,
    capacity: usize,
    positions: &[usize],
    config: &Config,
) -> Result<(), Error> {
    let (heads, width) = (config.kv_heads, config.head_dim);
    let (new, mut cache) = (new.read()?, cache.write()?);
    let rows = new.as_slice::<f32>().chunks_exact(seq * width);
    let slots = cache.as_mut_slice::<f32>().chunks_exact_mut(capacity * width);
    for (index, (row, slots)) in rows.zip(slots).enumerate() {
        slots[positions[index / heads] * width..][..seq * width].copy_from_slice(row);
    }
    Ok(())
}

/// The parameters by the names of the functions' inputs.
pub(crate) struct Ports {
    /// Those outside the layers.
    shared: BTreeMap<String, Surface>,
    layers: Vec<BTreeMap<String, Surface>>,
    /// The inputs that are matrices, by name.
    matrices: Vec<String>,
}

impl Ports {
    /// Finds every parameter; those with two dimensions are of the type `stored`.
    pub fn new(config: &Config, weights: &Weights, stored: DataType) -> Result<Ports, Error> {
        let mut ports = Ports {
            shared: BTreeMap::new(),
            layers: vec![BTreeMap::new(); config.layers],
            matrices: vec![],
        };
        for parameter in models::parameters(config)? {
            let is_matrix = parameter.dims.len() == 2;
            let bytes = if is_matrix { stored.bits() / 8 } else { 4 };
            let expected = parameter.dims.iter().product::<usize>() * bytes;
            let surface = weights.get(&parameter.name);
            let found = surface.map_or(0, Surface::len);
            let Some(surface) = surface.filter(|_| found == expected) else {
                return Err(Error::Parameter { name: parameter.name, expected, found });
            };
            let mut names: Vec<String> =
                parameter.role.outer_ports(config.tied).iter().map(|&p| p.to_owned()).collect();
            ports.shared.extend(names.iter().map(|name| (name.clone(), surface.clone())));
            if let Role::Layer { index, port } = parameter.role {
                ports.layers[index].insert(port.to_owned(), surface.clone());
                names.push(port.to_owned());
            }
            if is_matrix {
                ports.matrices.extend(names);
            }
        }
        Ok(ports)
    }
}

/// What all functions of a model are compiled and bound with.
pub(crate) struct Build<'a> {
    pub device: &'a dyn Device,
    pub config: &'a Config,
    pub ports: &'a Ports,
    pub slots: Option<&'a Slots>,
    pub options: &'a GeneratorOptions,
    pub capacity: usize,
}

impl Build<'_> {
    /// Compiles a function; `parameters` are those of them that it takes.
    fn compile<'b>(
        &self,
        mut function: mil::Function,
        parameters: impl Iterator<Item = &'b String>,
    ) -> Result<Arc<dyn Executable>, Error> {
        let matrices = self.ports.matrices.iter().map(String::as_str);
        passes::store::store(&mut function, matrices, self.options.stored);
        passes::simplify::run(&mut function);
        let options = CompileOptions {
            parameters: parameters.filter(|p| function.input(p).is_some()).cloned().collect(),
            products: self.options.products,
            ..CompileOptions::default()
        };
        let name = function.name.clone();
        Ok(self.device.compile(&Program::new(vec![function]), &name, &options)?)
    }

    /// The functions for B texts whose caches these are.
    pub fn stage(&self, shape: Shape, first: bool, caches: &Caches) -> Result<Stage, Error> {
        let Build { config, capacity, options, .. } = *self;
        let Shape { batch, seq } = shape;
        let count = shape.tokens();
        let floats = |count: usize| Surface::new(count * 4);
        let (tokens, positions) = (Surface::new(count * 4)?, Surface::new(count * 4)?);
        let table = count * (config.head_dim / 2);
        let (rope_cos, rope_sin) = (floats(table)?, floats(table)?);
        let cache = CacheShape { batch, seq, capacity: if first { 0 } else { capacity } };
        let mask = (!first).then(|| floats(count * capacity)).transpose()?;
        let kv = config.kv_heads * count * config.head_dim;
        let new = (floats(kv)?, floats(kv)?);
        // A layer reads one of these and writes the other.
        let width = count * config.dim;
        let activations = [floats(width)?, floats(width)?];

        let embed = self.compile(
            models::embed(config, shape, Layout::TokenMajor, options.compute)?,
            self.ports.shared.keys(),
        )?;
        let given = [("tokens", &tokens), ("positions", &positions)];
        let bound = bindings(&*embed, &self.ports.shared, &given).output("x", &activations[0]);
        let embed = embed.bind(bound)?;
        let function = models::cached_layer(config, cache, options.compute)?;
        let function = match self.slots {
            Some(slots) => slots.lora().adapt(&function, config, false)?,
            None => function,
        };
        let executable = self.compile(function, self.ports.layers[0].keys())?;
        let mut layers = vec![];
        for (index, (ports, (keys, values))) in self.ports.layers.iter().zip(caches).enumerate() {
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
        Ok(Stage { shape, first, inputs, result, embed, layers, new })
    }

    /// What gives scores, `[B, V]`, of vectors of B tokens, `[B, 1, D]`.
    pub fn classifier(
        &self,
        batch: usize,
        vectors: &Surface,
        scores: &Surface,
    ) -> Result<Box<dyn Request>, Error> {
        let shape = Shape { batch, seq: 1 };
        let function = models::logits(self.config, shape, self.options.compute)?;
        let classify = self.compile(function, self.ports.shared.keys())?;
        let bound = bindings(&*classify, &self.ports.shared, &[("x", vectors)]);
        Ok(classify.bind(bound.output("logits", scores))?)
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
