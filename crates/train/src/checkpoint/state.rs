//! What a run knows besides its tensors.

use crate::data::Position;
use crate::loss_scale::ScaleState;
use crate::vocabulary::IdSet;
use serde::{Deserialize, Serialize};

/// Everything that a run needs to go on exactly where it stopped, apart from tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Optimizer steps done, skipped ones included: where the schedule is.
    pub step: u64,
    /// Updates done, skipped steps left out: the exponent of the bias corrections.
    pub updates: u64,
    /// Steps skipped because a gradient was not finite.
    pub skipped: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Where in the data the next batch begins.
    pub data: Position,
    /// The least validation loss so far.
    pub best_loss: Option<f32>,
    /// The step of that validation; not there before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<u64>,
    /// Where a dynamic loss scale is; not there in version 1, and without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<ScaleState>,
    /// The tokens whose rows have been trained, of a run that trained only those that its data use;
    /// not there if all have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<IdSet>,
    /// The settings of the run, for those who resume it: model, schedule, optimizer and so on.
    pub settings: serde_json::Value,
}
