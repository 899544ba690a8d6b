//! A device of the kind that training runs on, made of an engine and a host.
//!
//! A function is cut by [`passes::partition`]: what is fp16 and the engine's compiler takes goes
//! into kernels, the rest (fp32 sums, gathers, what is accumulated) into functions of the host.
//! Every kernel has one input and one output, made by [`passes::pack`]; a request keeps the
//! input's weight columns between evaluations and rewrites only the activations' columns.

mod accepts;
mod compiled;
mod copy;
mod emit;
mod request;
mod self_test;
mod worker;

use crate::Engine;
use crate::target::Limits;
use mil::{Function, Literal, Program, Type};
use passes::{pack, partition};
use runtime::{CompileOptions, Device, Error, Executable, Products};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use worker::Worker;

pub use emit::{Emitted, emit};

/// An engine with a host for what the engine does not do.
pub struct AneDevice {
    engine: Arc<dyn Engine>,
    host: Arc<dyn Device>,
    weights: WeightStrategy,
    worker: Arc<Worker>,
    /// Kernels of live requests that every staging compiles anew.
    baked_kernels: Arc<AtomicUsize>,
}

/// How parameters get into kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightStrategy {
    /// Beside the activations, in columns of the kernel's input: nothing is compiled anew.
    #[default]
    Packed,
    /// In the kernel's weight file: every staging compiles every kernel of every request anew.
    /// Binding alone does not stage, so that no compilation is spent on parameters that are not
    /// there yet.
    Baked,
}

/// One part of a cut function, before it is compiled.
#[derive(Clone, Debug)]
pub enum PlannedPart {
    /// Runs on the host.
    Host(partition::Part),
    /// Runs on the engine.
    Kernel {
        /// As it was cut.
        part: partition::Part,
        /// As the engine gets it.
        packed: Box<pack::Packed>,
    },
}

/// A function cut for an engine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The parts in an order in which they can run.
    pub parts: Vec<PlannedPart>,
    /// Why the kernels are not one.
    pub cuts: Vec<partition::Cut>,
}

/// Cuts a function for an engine with these limits and packs its kernels.
///
/// # Errors
/// If a part cannot be made; see [`partition::Error`] and [`pack::Error`].
pub fn plan(
    function: &Function,
    options: &CompileOptions,
    limits: &Limits,
    weights: WeightStrategy,
) -> Result<Plan, Error> {
    let unsupported = |message: String| Error::Unsupported {
        device: "ane".into(),
        kernel: function.name.clone(),
        message,
    };
    let accepts = |f: &Function, operation: &mil::Operation| accepts::accepts(f, operation);
    let fits = |kernel: &Function, names: &[String]| {
        let options = packing(kernel, names, limits, weights);
        let (input, output) = pack::layouts(kernel, &options).map_err(|e| e.to_string())?;
        accepts::fits(&input, limits, "input")?;
        accepts::fits(&output, limits, "output")
    };
    let cut = partition::partition(
        function,
        &partition::Options {
            parameters: &options.parameters,
            accumulators: &options.accumulators,
            accepts: &accepts,
            fits: &fits,
        },
    );
    let cut = cut.map_err(|e| unsupported(e.to_string()))?;
    let mut parts = vec![];
    for part in cut.parts {
        parts.push(match part.place {
            partition::Place::Host => PlannedPart::Host(part),
            partition::Place::Kernel => {
                let packing = packing(&part.function, &part.weights, limits, weights);
                let packed = pack::pack(&part.function, &packing);
                let packed = packed.map_err(|e| unsupported(e.to_string()))?;
                PlannedPart::Kernel { part, packed: Box::new(packed) }
            }
        });
    }
    Ok(Plan { parts, cuts: cut.cuts })
}

/// How a kernel is packed. Baked weights are constants whose files are written later.
fn packing(
    kernel: &Function,
    weights: &[String],
    limits: &Limits,
    strategy: WeightStrategy,
) -> pack::Options {
    let constant = |name: &String| {
        let Type::Tensor(ty) = kernel.ty(kernel.input(name)?) else { return None };
        let blob = mil::BlobRef {
            dtype: ty.dtype,
            dims: ty.fixed_dims()?,
            path: emit::weight_path(name),
            offset: emit::RECORD,
        };
        Some((name.clone(), Literal::Blob(blob)))
    };
    let constants = match strategy {
        WeightStrategy::Packed => BTreeMap::new(),
        WeightStrategy::Baked => weights.iter().filter_map(constant).collect(),
    };
    pack::Options { weights: weights.to_vec(), column_multiple: limits.width_multiple, constants }
}

impl AneDevice {
    /// An engine with a host.
    pub fn new(
        engine: Arc<dyn Engine>,
        host: Arc<dyn Device>,
        weights: WeightStrategy,
    ) -> AneDevice {
        let baked_kernels = Arc::default();
        AneDevice { engine, host, weights, worker: Arc::new(Worker::new()), baked_kernels }
    }

    /// How often everything that is bound now can still be staged before the engine's compile
    /// budget is spent and a new process is needed; `None` if there is no end to it.
    pub fn stagings_left(&self) -> Option<usize> {
        let usage = self.engine.usage();
        let left = usage.compile_limit?.saturating_sub(usage.compiles);
        left.checked_div(self.baked_kernels.load(Ordering::Relaxed))
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

impl Device for AneDevice {
    fn name(&self) -> &str {
        "ane"
    }

    fn describe(&self) -> String {
        format!("{}; host: {}", self.engine.describe(), self.host.describe())
    }

    fn compile(
        &self,
        program: &Program,
        name: &str,
        options: &CompileOptions,
    ) -> Result<Arc<dyn Executable>, Error> {
        mil::verify(program).map_err(|diagnostics| Error::Invalid {
            kernel: name.to_owned(),
            message: diagnostics.to_string(),
        })?;
        let function = program.function(name).ok_or_else(|| Error::NoFunction(name.to_owned()))?;
        options.check(function)?;
        if !options.constants.is_empty() {
            return Err(Error::Unsupported {
                device: "ane".into(),
                kernel: name.to_owned(),
                message: "its shapes depend on the values of inputs; kernels have fixed shapes"
                    .into(),
            });
        }
        if options.products != Products::Native {
            return Err(Error::Unsupported {
                device: "ane".into(),
                kernel: name.to_owned(),
                message: "products in 8-bit integers are an option of the cpu device; a program \
                    can ask for them with quantize and dequantize"
                    .into(),
            });
        }
        let plan = plan(function, options, &self.engine.target().limits(), self.weights)?;
        let compiled = compiled::Compiled::new(self, function, plan, options)?;
        Ok(Arc::new(compiled))
    }
}
