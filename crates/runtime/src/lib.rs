//! What every device offers: compile a function, bind surfaces to it, evaluate.
//!
//! A [`Device`] compiles one function into an [`Executable`]; the executable bound to surfaces is
//! a [`Request`]. One executable serves any number of requests, as one compiled layer serves all
//! layers of a model, each with its own parameters and activations.
//!
//! This crate knows no device and no model.
#![forbid(unsafe_code)]

use mil::{OpError, Program, TensorType};
use std::collections::BTreeMap;
use std::sync::Arc;
use surface::Surface;

/// Something that compiles MIL functions.
pub trait Device: Send + Sync {
    /// A short name, such as `cpu`.
    fn name(&self) -> &str;

    /// What it computes with, for logs: instruction set, kernels, threads.
    fn describe(&self) -> String;

    /// Compiles the function `function` of a program.
    ///
    /// # Errors
    /// If the program is not valid, or the device cannot serve it; never a silent fall-back to
    /// another device.
    fn compile(
        &self,
        program: &Program,
        function: &str,
        options: &CompileOptions,
    ) -> Result<Arc<dyn Executable>, Error>;
}

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Inputs that change only when [`Request::stage`] is called. A device may keep them in a
    /// form of its own (packed, converted) between two calls: after a change and before staging,
    /// an evaluation may see the old contents or the new.
    pub parameters: Vec<String>,
    /// How often that is.
    pub staging: Staging,
    /// How matrix products with parameters or constants are computed.
    pub products: Products,
    /// Outputs that [`Accumulation::Add`] adds to instead of replacing.
    pub accumulators: Vec<String>,
    /// Pairs of an input and an output that the caller lets have one surface, in which the output
    /// then takes the input's place, as what a state becomes takes the place of what it was.
    /// [`Executable::in_place`] says for which of them the device wants that.
    pub in_place: Vec<(String, String)>,
    /// Inputs whose value is known now. They are no ports; shapes may depend on them.
    pub constants: BTreeMap<String, mil::Tensor>,
    /// Where the program's weight files are.
    pub weights: mil::Weights,
}

/// How often parameters are staged, which decides whether a form of their own pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Staging {
    /// Many evaluations to each: generation, or gradients of many batches.
    #[default]
    Rare,
    /// About as often as the function is evaluated: training.
    Often,
}

/// How matrix products are computed whose right operand is a parameter or a constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// In the types of the program.
    #[default]
    Native,
    /// In 8-bit integers, with sums in 32 bits: the right operand is quantized when it is staged,
    /// with one scale for every column, and the left one when the product is computed, with one
    /// for every row (`max|x| / 127`). An approximation that the program does not ask for; a
    /// device that does not offer it refuses to compile.
    Int8,
}

impl CompileOptions {
    /// Checks that every name is an input or output of the function, and that only fp32 outputs
    /// accumulate.
    ///
    /// # Errors
    /// If one is not: a name that means nothing is a mistake of the caller.
    pub fn check(&self, function: &mil::Function) -> Result<(), Error> {
        let kernel = || function.name.clone();
        let updated = self.in_place.iter().map(|(input, _)| input);
        let inputs = self.parameters.iter().chain(self.constants.keys()).chain(updated);
        if let Some(name) = inputs.into_iter().find(|name| function.input(name).is_none()) {
            let message = format!("no input is called `{name}`");
            return Err(Error::Bind { kernel: kernel(), message });
        }
        if let Some((_, name)) = self.in_place.iter().find(|(_, o)| function.output(o).is_none()) {
            let message = format!("no output is called `{name}`");
            return Err(Error::Bind { kernel: kernel(), message });
        }
        for name in &self.accumulators {
            let output =
                function.output(name).map(|id| function.ty(id).as_tensor().map(|t| t.dtype));
            match output {
                Some(Some(mil::DataType::Fp32)) => {}
                Some(_) => {
                    let message = format!("output `{name}` cannot accumulate: it is not fp32");
                    return Err(Error::Bind { kernel: kernel(), message });
                }
                None => {
                    let message = format!("no output is called `{name}`");
                    return Err(Error::Bind { kernel: kernel(), message });
                }
            }
        }
        Ok(())
    }
}

/// A compiled function.
pub trait Executable: Send + Sync {
    /// Inputs in order of declaration.
    fn inputs(&self) -> &[Port];

    /// Outputs in order of declaration.
    fn outputs(&self) -> &[Port];

    /// Inputs and outputs, by index, that must be bound to one surface: of those of
    /// [`CompileOptions::in_place`] the ones for which that saves a copy. An evaluation that fails
    /// leaves such a surface as it was.
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Where every operation runs, in order.
    fn placement(&self) -> Vec<Placement>;

    /// Bytes of scratch memory that one evaluation uses, shared by all requests.
    fn scratch_bytes(&self) -> usize;

    /// Binds surfaces to every input and output by name, and stages the parameters.
    ///
    /// # Errors
    /// If a name is missing or unknown, a surface is smaller than its port, or one surface is
    /// bound both to an input and to an output that are not [`Executable::in_place`], or these are
    /// bound to two.
    fn bind(self: Arc<Self>, bindings: Bindings) -> Result<Box<dyn Request>, Error>;
}

/// An executable with its surfaces.
pub trait Request: Send {
    /// Reads the parameters again; to be called after they have changed.
    fn stage(&mut self) -> Result<(), Error>;

    /// Computes the outputs from the inputs. Synchronous.
    ///
    /// # Errors
    /// If a surface is in use or the device fails; the outputs are then unspecified.
    fn evaluate(&mut self, accumulation: Accumulation) -> Result<(), Error>;

    /// Waits for what the device may still be computing after [`Request::evaluate`] has returned:
    /// the outputs named in [`CompileOptions::accumulators`], and no others. Until then they, and
    /// the inputs, must not be touched.
    ///
    /// # Errors
    /// Those of that computation.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// What happens to the outputs named in [`CompileOptions::accumulators`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulation {
    /// The result replaces the surface's contents.
    Replace,
    /// The result is added to the surface's contents.
    Add,
}

/// An input or output of an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the program.
    pub name: String,
    /// Type; every dimension is known.
    pub ty: TensorType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Bytes that a surface must hold at least: row-major, packed.
    pub bytes: usize,
}

/// Where an operation runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The operation's first result.
    pub value: String,
    /// The op's name.
    pub op: &'static str,
    /// The device's word for the place, such as `cpu: matrix product` or `folded`.
    pub place: String,
}

/// Surfaces by port name.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// Surfaces of inputs.
    pub inputs: BTreeMap<String, Surface>,
    /// Surfaces of outputs.
    pub outputs: BTreeMap<String, Surface>,
}

impl Bindings {
    /// No surfaces yet.
    pub fn new() -> Bindings {
        Bindings::default()
    }

    /// Adds the surface of an input.
    pub fn input(mut self, name: &str, surface: &Surface) -> Bindings {
        self.inputs.insert(name.to_owned(), surface.clone());
        self
    }

    /// Adds the surface of an output.
    pub fn output(mut self, name: &str, surface: &Surface) -> Bindings {
        self.outputs.insert(name.to_owned(), surface.clone());
        self
    }

    /// Checks the surfaces against an executable's ports and gives them in port order.
    ///
    /// # Errors
    /// As [`Executable::bind`].
    pub fn resolve(
        &self,
        kernel: &str,
        inputs: &[Port],
        outputs: &[Port],
    ) -> Result<(Vec<Surface>, Vec<Surface>), Error> {
        self.resolve_in_place(kernel, inputs, outputs, &[])
    }

    /// The same for an executable that updates inputs where they are.
    ///
    /// # Errors
    /// As [`Executable::bind`].
    pub fn resolve_in_place(
        &self,
        kernel: &str,
        inputs: &[Port],
        outputs: &[Port],
        in_place: &[(usize, usize)],
    ) -> Result<(Vec<Surface>, Vec<Surface>), Error> {
        let error = |message| Error::Bind { kernel: kernel.to_owned(), message };
        let pick = |kind: &str, ports: &[Port], surfaces: &BTreeMap<String, Surface>| {
            if let Some(name) = surfaces.keys().find(|n| !ports.iter().any(|p| p.name == **n)) {
                return Err(error(format!("no {kind} is called `{name}`")));
            }
            let surface = |port: &Port| match surfaces.get(&port.name) {
                None => Err(error(format!("{kind} `{}` has no surface", port.name))),
                Some(s) if s.len() < port.bytes => Err(error(format!(
                    "the surface of {kind} `{}` has {} bytes, {} needs {}",
                    port.name,
                    s.len(),
                    port.ty,
                    port.bytes
                ))),
                Some(s) => Ok(s.clone()),
            };
            ports.iter().map(surface).collect::<Result<Vec<_>, _>>()
        };
        let ins = pick("input", inputs, &self.inputs)?;
        let outs = pick("output", outputs, &self.outputs)?;
        for (i, out) in outs.iter().enumerate() {
            let own = in_place.iter().find(|pair| pair.1 == i).map(|pair| pair.0);
            if let Some(input) = own.filter(|&input| !ins[input].same(out)) {
                let (input, name) = (&inputs[input].name, &outputs[i].name);
                return Err(error(format!(
                    "output `{name}` takes the place of input `{input}`, whose surface is another"
                )));
            }
            let others = ins.iter().enumerate().filter(|(input, _)| own != Some(*input));
            let others = others.map(|(_, surface)| surface);
            let shared = others.chain(&outs[..i]).any(|other| other.same(out));
            if shared && !out.is_empty() {
                let name = &outputs[i].name;
                return Err(error(format!("output `{name}` shares its surface with another port")));
            }
        }
        Ok((ins, outs))
    }
}

/// Why a function cannot be compiled, bound or evaluated. Messages begin with the function's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program has no such function.
    #[error("the program has no function `{0}`")]
    NoFunction(String),
    /// The program breaks a rule of the language.
    #[error("`{kernel}` is not valid: {message}")]
    Invalid {
        /// The function.
        kernel: String,
        /// The verifier's first complaint.
        message: String,
    },
    /// The device cannot run it.
    #[error("{device} cannot run `{kernel}`: {message}")]
    Unsupported {
        /// The device.
        device: String,
        /// The function.
        kernel: String,
        /// What it cannot do.
        message: String,
    },
    /// Surfaces do not fit.
    #[error("`{kernel}`: {message}")]
    Bind {
        /// The function.
        kernel: String,
        /// What does not fit.
        message: String,
    },
    /// Something failed while evaluating.
    #[error("`{kernel}` failed: {message}")]
    Evaluate {
        /// The function.
        kernel: String,
        /// What failed.
        message: String,
    },
    /// The device can do no more in this process, and could in a new one.
    #[error("`{kernel}` needs a new process: {message}")]
    NewProcess {
        /// The function.
        kernel: String,
        /// What is used up.
        message: String,
    },
    /// A surface failed.
    #[error("`{kernel}`: {name}: {source}")]
    Surface {
        /// The function.
        kernel: String,
        /// The port.
        name: String,
        /// Why.
        source: surface::Error,
    },
    /// A weight file failed.
    #[error(transparent)]
    Weights(#[from] mil::BlobError),
    /// An operation's arguments do not fit.
    #[error(transparent)]
    Op(#[from] OpError),
}
