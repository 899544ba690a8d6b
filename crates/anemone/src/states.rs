//! What a session keeps from one evaluation to the next.

use crate::{Error, Tensors};
use mil::{Function, Tensor, TensorType, Type};
use std::collections::BTreeMap;
use surface::Surface;

/// The states of a function. Each has a surface, which an evaluation may update in place, and a
/// second one where none does: it reads one side and writes the other, and then the sides change. So
/// no state is copied, and an evaluation that fails changes none.
#[derive(Default)]
pub(crate) struct States {
    cells: BTreeMap<String, Cell>,
}

struct Cell {
    ty: TensorType,
    dims: Vec<usize>,
    bytes: usize,
    /// The side that holds the value, 0 or 1.
    side: usize,
    /// The other one is made when it is first wanted.
    sides: [Option<Surface>; 2],
}

impl Cell {
    fn current(&self) -> &Surface {
        self.sides[self.side].as_ref().expect("the side that holds the value was made")
    }
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
            let sides = [Some(Surface::new(bytes)?), None];
            let cell = Cell { ty, dims, bytes, side: 0, sides };
            states.cells.insert(value.name.clone(), cell);
        }
        Ok(states)
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.cells.keys()
    }

    pub fn ty(&self, name: &str) -> Option<&TensorType> {
        Some(&self.cells.get(name)?.ty)
    }

    /// The side of a state that holds its value.
    pub fn side(&self, name: &str) -> Option<usize> {
        Some(self.cells.get(name)?.side)
    }

    /// The surface that holds a state's value.
    pub fn before(&self, name: &str) -> Option<&Surface> {
        Some(self.cells.get(name)?.current())
    }

    /// The other surface of a state, which may hold its next value.
    pub fn after(&mut self, name: &str) -> Result<Option<Surface>, Error> {
        let Some(cell) = self.cells.get_mut(name) else { return Ok(None) };
        let other = &mut cell.sides[1 - cell.side];
        if other.is_none() {
            *other = Some(Surface::new(cell.bytes)?);
        }
        Ok(other.clone())
    }

    /// Makes the next value of a state its value.
    pub fn turn(&mut self, name: &str) {
        if let Some(cell) = self.cells.get_mut(name) {
            cell.side = 1 - cell.side;
        }
    }

    /// Writes values that have the states' types.
    pub fn set(&self, values: &Tensors) -> Result<(), Error> {
        for (name, tensor) in values {
            if let Some(cell) = self.cells.get(name) {
                cell.current().write()?[..cell.bytes].copy_from_slice(tensor.bytes());
            }
        }
        Ok(())
    }

    pub fn reset(&self) -> Result<(), Error> {
        for cell in self.cells.values() {
            cell.current().write()?.fill(0);
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(cell) = self.cells.get(name) else { return Ok(None) };
        let bytes = cell.current().read()?[..cell.bytes].to_vec();
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
