//! Whether new weights change what an engine computes.
//!
//! Others have met engines, or ways to feed them, where they do not: a weight file that is written
//! over has no effect (`ane-constraints.md` 1.1, rule 7), a weight given as a second operand of a
//! convolution is ignored on one chip (rule 45). Training on such a one would go on without an
//! error, so a small product is tried before anything is trusted.

use super::AneDevice;
use mil::{DataType, FunctionBuilder, OpError, Opset, Program, Type};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Error};
use surface::Surface;

/// Channels and columns: the smallest that every rule about widths allows.
const SIZE: usize = 32;

impl AneDevice {
    /// Computes w·x for two weights, staged one after the other, and compares with w·x.
    ///
    /// # Errors
    /// If the engine fails, or gives something else.
    pub fn self_test(&self) -> Result<(), Error> {
        let program = Program::new(vec![product().map_err(Error::Op)?]);
        let options =
            CompileOptions { parameters: vec!["w".to_owned()], ..CompileOptions::default() };
        let executable = self.compile(&program, "self_test", &options)?;
        let surface = |values: &[f32]| Surface::from_slice(values).map_err(failed);
        let cells = SIZE * SIZE;
        // Small integers, which every format holds exactly.
        let x: Vec<f32> = (0..cells).map(|i| (i % 7) as f32 - 3.0).collect();
        let (w, x_surface) = (surface(&vec![0.0; cells])?, surface(&x)?);
        let y = Surface::new(cells * 4).map_err(failed)?;
        let bindings = Bindings::new().input("x", &x_surface).input("w", &w).output("y", &y);
        let mut request = executable.bind(bindings)?;
        for factor in [1.0, -2.0] {
            scaled_identity(&w, factor)?;
            request.stage()?;
            request.evaluate(Accumulation::Replace)?;
            let found = y.read().map_err(failed)?;
            let wrong = found.as_slice::<f32>().iter().zip(&x).find(|(y, x)| **y != factor * **x);
            if let Some((found, x)) = wrong {
                let message = format!(
                    "it computes {found} where {} is right: new weights do not reach its kernels",
                    factor * x
                );
                return Err(Error::Evaluate { kernel: "self_test".into(), message });
            }
        }
        Ok(())
    }
}

/// y = w·x in fp16, from and to fp32.
fn product() -> Result<mil::Function, OpError> {
    let mut b = FunctionBuilder::new("self_test", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp32, &[1, SIZE, 1, SIZE]));
    let w = b.input("w", Type::tensor(DataType::Fp32, &[1, 1, SIZE, SIZE]));
    let x = b.cast(x, DataType::Fp16)?;
    let x = b.reshape(x, &[1, 1, SIZE, SIZE])?;
    let w = b.cast(w, DataType::Fp16)?;
    let y = b.matmul(w, x, (false, false))?;
    // A product followed by a view alone is refused in places.
    let y = b.add(y, y)?;
    let y = b.scale(y, 0.5)?;
    let y = b.reshape(y, &[1, SIZE, 1, SIZE])?;
    let y = b.cast(y, DataType::Fp32)?;
    b.rename(y, "y");
    Ok(b.finish(&[y]))
}

fn scaled_identity(surface: &Surface, factor: f32) -> Result<(), Error> {
    let mut writing = surface.write().map_err(failed)?;
    let cells = writing.as_mut_slice::<f32>();
    cells.fill(0.0);
    cells.iter_mut().step_by(SIZE + 1).for_each(|cell| *cell = factor);
    Ok(())
}

fn failed(source: surface::Error) -> Error {
    Error::Surface { kernel: "self_test".into(), name: "a surface".into(), source }
}
