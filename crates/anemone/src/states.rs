//! What a session keeps from one evaluation to the next.

use crate::{Error, Tensors};
use mil::{Function, Tensor, TensorType, Type};
use std::collections::BTreeMap;
use surface::Surface;

/// The states of a function. Each has two surfaces: an evaluation reads one side and writes the
/// other, and then the sides change, so that none is ever copied and one that fails changes none.
#[derive(Default)]
pub(crate) struct States {
    /// The side that holds the values, 0 or 1.
    pub side: usize,
    cells: BTreeMap<String, Cell>,
}

struct Cell {
    ty: TensorType,
    dims: Vec<usize>,
    bytes: usize,
    sides: [Surface; 2],
}

impl States {
    /// The states of a function, all zero.
    pub fn of(function: &Function) -> Result<States, Error> {
        let mut states = States::default();
        for &id in &function.inputs {
            let value = function.value(id);
            let Type::State(inner) = &value.ty else { continue };
            let refused = || Error::State { state: value.name.clone(), ty: inner.to_string() };
            let ty = inner.as_tensor().ok_or_else(refused)?.clone();
            let dims = ty.fixed_dims().ok_or_else(refused)?;
            let bytes = mil::element_count(&dims).and_then(|count| ty.dtype.packed_bytes(count));
            let bytes = bytes.filter(|_| ty.dtype != mil::DataType::String).ok_or_else(refused)?;
            let sides = [Surface::new(bytes)?, Surface::new(bytes)?];
            states.cells.insert(value.name.clone(), Cell { ty, dims, bytes, sides });
        }
        Ok(states)
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.cells.keys()
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub fn ty(&self, name: &str) -> Option<&TensorType> {
        Some(&self.cells.get(name)?.ty)
    }

    /// The surface of one side of a state.
    pub fn surface(&self, name: &str, side: usize) -> Option<&Surface> {
        Some(&self.cells.get(name)?.sides[side])
    }

    /// Writes values that have the states' types.
    pub fn set(&self, values: &Tensors) -> Result<(), Error> {
        for (name, tensor) in values {
            if let Some(cell) = self.cells.get(name) {
                cell.sides[self.side].write()?[..cell.bytes].copy_from_slice(tensor.bytes());
            }
        }
        Ok(())
    }

    pub fn reset(&self) -> Result<(), Error> {
        for cell in self.cells.values() {
            cell.sides[self.side].write()?.fill(0);
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(cell) = self.cells.get(name) else { return Ok(None) };
        let bytes = cell.sides[self.side].read()?[..cell.bytes].to_vec();
        let tensor = Tensor::from_bytes(cell.ty.dtype, &cell.dims, bytes);
        Ok(Some(tensor.expect("the surface was made for this type")))
    }

    pub fn all(&self) -> Result<Tensors, Error> {
        let mut all = Tensors::new();
        for name in self.cells.keys() {
            all.extend(self.get(name)?.map(|tensor| (name.clone(), tensor)));
        }
        Ok(all)
    }
}
