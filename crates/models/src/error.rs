//! What can be wrong with a model.

use mil::{DataType, OpError};

/// Why a configuration or a request for a function is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration contradicts itself or is out of bounds.
    #[error("`{field}` is {found}; {expected}")]
    Config {
        /// The field, as [`Config`](crate::Config) or the file calls it.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A file lacks a key that has no default.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// There is no such preset.
    #[error("no preset is called `{name}`; there are {known}")]
    Preset {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A batch, sequence or cache size does not fit the model.
    #[error("{what} is {found}; it must be from 1 to {most}")]
    Shape {
        /// Which size.
        what: &'static str,
        /// What was asked for.
        found: usize,
        /// The largest that the model allows.
        most: usize,
    },
    /// Matrix products cannot be in this type.
    #[error("matrix products in {0} are not offered; choose fp32, bf16 or fp16")]
    Compute(DataType),
    /// A layer that is built token-major only.
    #[error(
        "{0} is not built channel-first, the layout of the Neural Engine; choose another device"
    )]
    ChannelFirst(&'static str),
    /// A function cannot be adapted.
    #[error(transparent)]
    Adapt(#[from] passes::adapt::Error),
    /// An operation does not fit its arguments: a mistake of this crate.
    #[error(transparent)]
    Op(#[from] OpError),
}

impl Error {
    /// A bad field of a configuration.
    pub(crate) fn config(
        field: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Error {
        Error::Config { field, found: found.to_string(), expected: expected.into() }
    }
}
