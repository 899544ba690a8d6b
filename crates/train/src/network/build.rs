//! What a network is put together with: compiled functions, surfaces and their names.

use crate::Error;
use mil::{Function, Program};
use runtime::{Bindings, CompileOptions, Device, Executable, Port, Products, Request, Staging};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// Compiles functions and counts memory.
pub(super) struct Build<'a> {
    pub device: &'a dyn Device,
    pub staging: Staging,
    pub products: Products,
    pub surface_bytes: usize,
    pub scratch_bytes: usize,
}

impl Build<'_> {
    pub fn surface(&mut self, bytes: usize) -> Result<Surface, Error> {
        self.surface_bytes += bytes;
        Ok(Surface::new(bytes)?)
    }

    pub fn filled(&mut self, values: &[f32]) -> Result<Surface, Error> {
        self.surface_bytes += size_of_val(values);
        Ok(Surface::from_slice(values)?)
    }

    /// Compiles a function whose parameters are `parameters`; their gradients can be accumulated.
    pub fn compile(
        &mut self,
        function: Function,
        parameters: &[String],
    ) -> Result<Arc<dyn Executable>, Error> {
        self.compile_for(function, parameters, parameters)
    }

    /// Compiles a function of which the inputs `staged` change only when they are staged; the
    /// gradients of the inputs `trained` can be accumulated.
    pub fn compile_for(
        &mut self,
        function: Function,
        staged: &[String],
        trained: &[String],
    ) -> Result<Arc<dyn Executable>, Error> {
        let options = CompileOptions {
            parameters: staged
                .iter()
                .filter(|name| function.input(name).is_some())
                .cloned()
                .collect(),
            accumulators: trained
                .iter()
                .map(|name| format!("d_{name}"))
                .filter(|name| function.output(name).is_some())
                .collect(),
            staging: self.staging,
            products: self.products,
            ..CompileOptions::default()
        };
        let name = function.name.clone();
        let program = Program::new(vec![function]);
        let executable = self.device.compile(&program, &name, &options)?;
        self.scratch_bytes = self.scratch_bytes.max(executable.scratch_bytes());
        Ok(executable)
    }
}

/// Surfaces by port name.
#[derive(Clone, Default)]
pub(super) struct Names(BTreeMap<String, Surface>);

impl Names {
    pub fn add(&mut self, name: &str, surface: &Surface) {
        self.0.insert(name.to_owned(), surface.clone());
    }

    /// Binds every port to the surface of its name.
    pub fn bind(&self, executable: &Arc<dyn Executable>) -> Result<Box<dyn Request>, Error> {
        let pick = |ports: &[Port]| {
            ports
                .iter()
                .filter_map(|p| Some((p.name.clone(), self.0.get(&p.name)?.clone())))
                .collect()
        };
        let bindings =
            Bindings { inputs: pick(executable.inputs()), outputs: pick(executable.outputs()) };
        Ok(executable.clone().bind(bindings)?)
    }
}
