//! What a program is predicted to cost on a chip, and where the time goes.
//!
//! An evaluation of a kernel is the sum of what follows, each with one number of the chip's
//! [`Profile`]; nothing is taken to overlap.
//!
//! - *dispatch*: an evaluation that does nothing takes this long;
//! - *surfaces*: inputs and constants are read and outputs written once;
//! - *starts*: every operation that does something takes a moment;
//! - *compute*: products at the peak that long chains of them reach;
//! - *copies*: slices and joins of rows move their results in long pieces;
//! - *reorder*: transposes, and the flags of products that stand for one, move single elements;
//! - *read again*: where neither operand of a product fits into the 2 MiB that the engine holds,
//!   one of them is read again for every part of the other;
//! - *maps*: element-wise operations and reductions read and write their operands.
//!
//! So a single product of a size that training has reaches a third of the peak, and chains of
//! convolutions nearly all of it, without a number for either. [`calibration`] compares the model
//! with what was published and states the errors; [`reference_pipeline`] is the pipeline that most
//! of these figures are of.
//!
//! Everything here is a prediction, and nothing was run on an engine.

mod budget;
pub mod calibration;
mod host;
mod kernel;
mod profile;
pub mod reference_pipeline;
mod step;
#[cfg(test)]
mod tests;
mod work;

pub use budget::{Budget, BudgetLine};
pub use host::{HostWork, host_work};
pub use kernel::{KernelCost, KernelTime, OperationCost, kernel_cost};
pub use profile::{Basis, Engine, Host, Number, Profile, profiles};
pub use step::{Advice, HostShare, KernelShare, StepPlan, StepTime};
pub use work::{Kind, Operands, Work};

/// Why a function's cost cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value has no fixed shape.
    #[error("`{value}` is {ty}; a cost can be told only of fixed shapes")]
    Shape {
        /// The value.
        value: String,
        /// Its type.
        ty: String,
    },
    /// An operation lacks an operand.
    #[error("{op}: `{name}` is not a value")]
    Operand {
        /// The op.
        op: &'static str,
        /// The operand.
        name: &'static str,
    },
}
