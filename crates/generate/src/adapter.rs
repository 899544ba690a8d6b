//! Low-rank adapters while generating: inputs of the layers, which can be exchanged at any time.

use crate::{Error, Weights};
use models::{Config, Lora, Matrix, Parameter, Role};
use std::collections::BTreeMap;
use surface::Surface;

/// An adapter with its values.
#[derive(Clone)]
pub struct Adapter {
    /// Its shape.
    pub lora: Lora,
    /// A and B of every module, by their names in checkpoints. Modules of layers that the adapter
    /// leaves alone may be missing.
    pub weights: Weights,
}

/// Room for an adapter in every layer. Clones are the same memory.
#[derive(Clone)]
pub(crate) struct Slots {
    /// What the layers were compiled for.
    lora: Lora,
    /// By layer: surfaces by the name of the input.
    layers: Vec<BTreeMap<String, Surface>>,
}

impl Slots {
    /// Room for adapters of the targets, and of at most the rank, of `lora`; all zero, which is no
    /// adapter.
    pub fn new(config: &Config, lora: &Lora) -> Result<Slots, Error> {
        let mut layers = vec![BTreeMap::new(); config.layers];
        for parameter in lora.parameters(config)? {
            let (layer, name) = slot(&parameter);
            let bytes = parameter.dims.iter().product::<usize>() * size_of::<f32>();
            layers[layer].insert(name, Surface::new(bytes)?);
        }
        Ok(Slots { lora: lora.clone(), layers })
    }

    /// What the layers are compiled for.
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// The surfaces of a layer by the name of the input.
    pub fn of_layer(&self, layer: usize) -> &BTreeMap<String, Surface> {
        &self.layers[layer]
    }

    /// Takes no adapter.
    pub fn clear(&self) -> Result<(), Error> {
        for surface in self.layers.iter().flat_map(BTreeMap::values) {
            surface.write()?.as_mut_slice::<f32>().fill(0.0);
        }
        Ok(())
    }

    /// Takes an adapter in place of the one before. Where it has a lower rank, the rest is zero.
    pub fn load(&self, config: &Config, adapter: &Adapter) -> Result<(), Error> {
        let Adapter { lora, weights } = adapter;
        let (rank, room) = (lora.rank, self.lora.rank);
        if rank > room {
            return Err(Error::AdapterRank { found: rank, room });
        }
        let parameters = lora.parameters(config)?;
        for parameter in &parameters {
            let (layer, name) = slot(parameter);
            if !self.layers[layer].contains_key(&name) {
                return Err(Error::AdapterTarget(parameter.name.clone()));
            }
            let expected = parameter.dims.iter().product::<usize>() * size_of::<f32>();
            if let Some(found) = weights.get(&parameter.name).map(Surface::len)
                && found != expected
            {
                let name = parameter.name.clone();
                return Err(Error::Parameter { name, expected, found });
            }
        }
        self.clear()?;
        for parameter in &parameters {
            let Some(values) = weights.get(&parameter.name) else { continue };
            let (layer, name) = slot(parameter);
            let values = values.read()?;
            let mut slot = self.layers[layer][&name].write()?;
            let (values, slot) = (values.as_slice::<f32>(), slot.as_mut_slice::<f32>());
            match parameter.role {
                // `[R, in]`: the rows come first.
                Role::Adapter { matrix: Matrix::A, .. } => {
                    slot[..values.len()].copy_from_slice(values);
                }
                // `[out, R]`, with the scale.
                _ => {
                    let scale = lora.scale() as f32;
                    for (slot, values) in slot.chunks_mut(room).zip(values.chunks(rank)) {
                        slot.iter_mut().zip(values).for_each(|(slot, &b)| *slot = b * scale);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The layer of an adapter's parameter, and the input that it is there.
fn slot(parameter: &Parameter) -> (usize, String) {
    match parameter.role {
        Role::Adapter { index, port, matrix } => (index, matrix.input(port)),
        _ => unreachable!("parameters of an adapter have this role"),
    }
}
