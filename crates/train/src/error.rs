//! What can go wrong in training.

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's functions cannot be built.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// They cannot be differentiated.
    #[error(transparent)]
    Autodiff(#[from] passes::autodiff::Error),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] runtime::Error),
    /// Memory failed.
    #[error(transparent)]
    Surface(#[from] surface::Error),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::Error),
    /// A model that training begins with cannot be read.
    #[error(transparent)]
    Origin(Box<dyn std::error::Error + Send + Sync>),
    /// The loss scale makes no sense.
    #[error(transparent)]
    LossScale(#[from] crate::loss_scale::OutOfBounds),
    /// Examples are not what a program can be trained on.
    #[error("{0}")]
    Examples(String),
    /// A device cannot be compared.
    #[error("{0}")]
    Parity(String),
    /// Rows of another vocabulary than the model's.
    #[error("the rows are of a vocabulary of {found} tokens, the model has {expected}")]
    Vocabulary {
        /// Tokens of the model.
        expected: usize,
        /// Tokens of the vocabulary whose rows are chosen.
        found: usize,
    },
    /// What a network laid out for an engine does not offer.
    #[error(
        "{0} is not offered channel-first, as the Neural Engine has it; train on the cpu device"
    )]
    ChannelFirst(&'static str),
    /// A batch of another size than the network was built for.
    #[error("the batch has {found} tokens, the network was built for {expected}")]
    BatchSize {
        /// Tokens of a micro-batch.
        expected: usize,
        /// Tokens given.
        found: usize,
    },
}

impl Error {
    /// The error of a model that training begins with.
    pub fn origin(error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Origin(Box::new(error))
    }
}
