//! The routes to the Neural Engine on this Mac.

use super::Notes;
use super::report::{Apple, Missing};
use ane::target::Route;
use ane::{Engine, EngineError};
use apple::{Found, Options, Paths};
use std::sync::Arc;

pub fn look(e5rt: bool) -> Apple {
    let found = apple::capabilities(&Paths::default());
    let missing = found.items.iter().filter(|item| item.found != Found::Yes);
    let missing = missing.map(|item| Missing {
        what: item.to_string(),
        routes: item.routes.iter().map(|route| route.name().to_owned()).collect(),
    });
    let mut routes = vec![Route::Client, Route::InMemory];
    if e5rt {
        routes.push(Route::E5rt);
    }
    let missing = missing.collect();
    Apple { present: true, routes, missing, looked_for: found.items.len() }
}

pub fn open(route: Route, notes: &Notes) -> Result<Arc<dyn Engine>, EngineError> {
    let options = Options { trace: Some(notes.listener()), ..Options::default() };
    apple::open_with(&Paths::default(), route, &options)
}
