//! What there is of the routes to the Neural Engine where there is none.

use super::Notes;
use super::report::Apple;
use ane::target::Route;
use ane::{Engine, EngineError, Stage};
use std::sync::Arc;

pub fn look(_: bool) -> Apple {
    Apple::default()
}

pub fn open(route: Route, _: &Notes) -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::new(route.name(), Stage::Open, "this system has no Neural Engine"))
}
