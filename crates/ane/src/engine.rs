//! What every route to the engine offers, real or emulated: compile MIL text, bind surfaces,
//! evaluate.
//!
//! This is deliberately lower than [`runtime::Device`]: a program arrives as the text and the
//! weight files that the engine's own compiler reads, ports are in the engine's binding order, and
//! a request has the engine's rules about surfaces (equal allocations, minimum sizes). What makes
//! a device of it is in `device`.

use crate::target::Target;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use surface::Surface;

/// One way to an engine.
pub trait Engine: Send + Sync {
    /// The chip, the system and the route, which decide which rules hold.
    fn target(&self) -> &Target;

    /// What it runs on, for logs and reports.
    fn describe(&self) -> String;

    /// Shared memory that this engine can be given in a request, zero at first.
    ///
    /// # Errors
    /// If the system refuses.
    fn surface(&self, bytes: usize) -> Result<Surface, EngineError>;

    /// Compiles a program and loads it. It is unloaded when the model and everything bound to it
    /// are dropped.
    ///
    /// # Errors
    /// If the compiler refuses it, or a budget is spent.
    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError>;

    /// What has been used of the budgets.
    fn usage(&self) -> Usage;
}

/// A program as the engine's compiler reads it: the function `main` of a MIL text.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// MIL text.
    pub text: String,
    /// Weight files (MIL blob storage) by the path that the text gives, such as
    /// `@model_path/weights/weight.bin`.
    pub weights: BTreeMap<String, Arc<[u8]>>,
}

/// A compiled and loaded program.
pub trait Model: Send + Sync {
    /// Inputs in binding order.
    fn inputs(&self) -> &[runtime::Port];

    /// Outputs in binding order.
    fn outputs(&self) -> &[runtime::Port];

    /// A request over these surfaces, which are in binding order. Surfaces hold the declared
    /// shape densely from their first byte; what they have beyond it is not touched.
    ///
    /// # Errors
    /// If a surface is not one of this engine. Sizes that the engine refuses only when it
    /// evaluates are an error of [`Evaluation::evaluate`].
    fn bind(
        self: Arc<Self>,
        inputs: &[Surface],
        outputs: &[Surface],
    ) -> Result<Box<dyn Evaluation>, EngineError>;
}

/// A program with its surfaces.
pub trait Evaluation: Send {
    /// Computes the outputs from the inputs. Synchronous.
    ///
    /// # Errors
    /// With the engine's status code. The outputs are then unspecified.
    fn evaluate(&mut self) -> Result<(), EngineError>;
}

/// What has been used of an engine's budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Programs compiled by this process.
    pub compiles: usize,
    /// Compilations after which the process must be started anew, where there is such a limit.
    pub compile_limit: Option<usize>,
    /// Programs loaded now.
    pub loaded: usize,
    /// Programs that can be loaded at a time.
    pub load_limit: usize,
}

/// What was being done when an engine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding frameworks, classes and selectors.
    Open,
    /// Allocating a surface.
    Surface,
    /// Compiling.
    Compile,
    /// Loading.
    Load,
    /// Making a request.
    Bind,
    /// Evaluating.
    Evaluate,
}

/// A failure of an engine, with what the system said.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kernel}: cannot {stage}: {message}{}", status(*.code))]
pub struct EngineError {
    /// The program's name.
    pub kernel: String,
    /// What was being done.
    pub stage: Stage,
    /// The status code, such as 0x1d.
    pub code: Option<u32>,
    /// The system's words, or ours.
    pub message: String,
    /// Whether nothing but a new process helps: the compile budget is spent, or the process is
    /// poisoned.
    pub needs_new_process: bool,
}

impl EngineError {
    /// An error without a status code.
    pub fn new(kernel: &str, stage: Stage, message: impl Into<String>) -> EngineError {
        EngineError {
            kernel: kernel.to_owned(),
            stage,
            code: None,
            message: message.into(),
            needs_new_process: false,
        }
    }

    /// The same with a status code.
    pub fn with_code(self, code: u32) -> EngineError {
        EngineError { code: Some(code), ..self }
    }
}

fn status(code: Option<u32>) -> String {
    code.map_or(String::new(), |code| format!(" (status {code:#x})"))
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Open => "open the engine",
            Stage::Surface => "allocate a surface",
            Stage::Compile => "compile",
            Stage::Load => "load",
            Stage::Bind => "bind surfaces",
            Stage::Evaluate => "evaluate",
        })
    }
}
