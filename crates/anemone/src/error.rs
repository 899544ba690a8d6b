//! What can be wrong.

use std::fmt;

/// Why a model cannot be loaded, run, differentiated or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be read or written, or its operations cannot have these shapes.
    #[error(transparent)]
    Model(#[from] coreml::Error),
    /// A weight cannot be read.
    #[error(transparent)]
    Weights(#[from] mil::BlobError),
    /// The program breaks rules of the language.
    #[error("`{file}` has {count} problem{}\n{listed}", if *count == 1 { "" } else { "s" })]
    Invalid {
        /// The file, as messages name it.
        file: String,
        /// How many.
        count: usize,
        /// All of them, with the places in the text.
        listed: String,
    },
    /// The program has no such function.
    #[error("no function `{name}`; the program has {known}{hint}")]
    NoFunction {
        /// The function that was asked for.
        name: String,
        /// Those there are.
        known: String,
        /// What to do, with punctuation before it.
        hint: &'static str,
    },
    /// What was given does not fit the features. Every problem is listed.
    #[error("{}", lines(.0))]
    Features(Vec<FeatureProblem>),
    /// A session was to evaluate before it was given anything.
    #[error("the session has no inputs yet: prepare it with some first")]
    NoInputs,
    /// There is no output of this name.
    #[error("there is no output `{name}`; there are {known}")]
    NoOutput {
        /// The output that was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// An engine has no states.
    #[error(
        "function `{function}` has the state `{state}`, and the emulated engine has no states yet; \
         the cpu device and the interpreter have"
    )]
    EngineState {
        /// The function.
        function: String,
        /// The state.
        state: String,
    },
    /// A state is of a type that none can be kept of.
    #[error("state `{state}` is {ty}; only arrays of known shape are kept")]
    State {
        /// The state.
        state: String,
        /// Its type.
        ty: String,
    },
    /// The CPU device cannot be opened.
    #[error(transparent)]
    Cpu(#[from] cpu::DeviceError),
    /// A device refused or failed.
    #[error(transparent)]
    Device(#[from] runtime::Error),
    /// An engine refused or failed.
    #[error(transparent)]
    Engine(#[from] ane::EngineError),
    /// The interpreter failed.
    #[error(transparent)]
    Interpreter(#[from] interp::Error),
    /// Memory for inputs and outputs cannot be had.
    #[error(transparent)]
    Surface(#[from] surface::Error),
    /// The function cannot be differentiated.
    #[error("cannot differentiate `{function}`: {source}")]
    Gradient {
        /// The function.
        function: String,
        /// Why.
        source: passes::autodiff::Error,
    },
    /// The function's states cannot become inputs and outputs, as gradients want them.
    #[error("cannot differentiate `{function}`: {source}")]
    GradientState {
        /// The function.
        function: String,
        /// Why.
        source: passes::states::Error,
    },
    /// What constants are chosen by is no regular expression.
    #[error("`{pattern}` is no regular expression: {message}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// Why.
        message: String,
    },
    /// Constants cannot be differentiated for, or given other values.
    #[error(transparent)]
    Constants(#[from] passes::trainable::Error),
    /// A file is no picture, or none that can be read.
    #[error("picture `{file}`: {message}")]
    Picture {
        /// The file.
        file: String,
        /// Why.
        message: String,
    },
    /// Pixels are not as many as the size of the image says.
    #[error("an image of {width} × {height} pixels has {expected} bytes, found {found}")]
    Pixels {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes that such an image has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
}

/// What is wrong with the value of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureProblem {
    /// The feature, as users say it; a state begins with `state/`.
    pub feature: String,
    /// What was expected and found, with the feature's name.
    pub message: String,
}

impl fmt::Display for FeatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn lines(problems: &[FeatureProblem]) -> String {
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    messages.join("\n")
}
