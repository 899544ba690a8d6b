//! What of the frameworks is there.

use crate::interface::METHODS;
use crate::library::Library;
use crate::open::{Libraries, Paths};
use crate::{Route, e5rt, iosurface};
use objc2::runtime::AnyClass;
use std::ffi::CStr;
use std::fmt;
use std::path::Path;

/// What was looked for, and what was found.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Libraries, classes, methods and functions, in this order.
    pub items: Vec<Item>,
}

/// One thing that was looked for.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is: `library`, `class`, `method` or `function`.
    pub kind: &'static str,
    /// Its name, such as `-[_ANEClient compileModel:options:qos:error:]`.
    pub name: String,
    /// The routes that cannot do without it.
    pub routes: Vec<Route>,
    /// What was found.
    pub found: Found,
}

/// How something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// As expected.
    Yes,
    /// Not at all, with the reason if there is one.
    No(String),
    /// With other types than the ones we know. It is not used.
    Different(String),
}

impl Capabilities {
    /// Everything that a route needs and that is not there as expected.
    pub fn missing(&self, route: Route) -> Vec<&Item> {
        let needed = self.items.iter().filter(|item| item.routes.contains(&route));
        needed.filter(|item| item.found != Found::Yes).collect()
    }

    /// Whether something optional is there as expected.
    pub(crate) fn has(&self, class: &CStr, selector: &CStr) -> bool {
        let method = METHODS.iter().find(|m| m.class == class && m.selector == selector);
        method.is_some_and(|method| {
            let name = method.to_string();
            self.items.iter().any(|item| item.name == name && item.found == Found::Yes)
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        match &self.found {
            Found::Yes => Ok(()),
            Found::No(reason) if reason.is_empty() => f.write_str(" is missing"),
            Found::No(reason) => write!(f, " is missing: {reason}"),
            Found::Different(how) => write!(f, " has other types: {how}"),
        }
    }
}

impl fmt::Display for crate::interface::Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.of_class { '+' } else { '-' };
        let (class, selector) = (self.class.to_string_lossy(), self.selector.to_string_lossy());
        write!(f, "{sign}[{class} {selector}]")
    }
}

/// Looks for everything that any route uses. Opens the libraries and sends no message.
pub fn capabilities(paths: &Paths) -> Capabilities {
    look(paths).0
}

/// The same, with the libraries that were opened.
pub(crate) fn look(paths: &Paths) -> (Capabilities, Libraries) {
    use Route::{Client, E5rt, InMemory};
    let mut items = vec![];
    let mut open = |path: &Path, routes: &[Route]| {
        let library = Library::open(path);
        let found = library.as_ref().err().map_or(Found::Yes, |reason| Found::No(reason.clone()));
        let (name, routes) = (path.display().to_string(), routes.to_vec());
        items.push(Item { kind: "library", name, routes, found });
        library.ok()
    };
    let libraries = Libraries {
        foundation: open(&paths.foundation, &Route::ALL),
        iosurface: open(&paths.iosurface, &Route::ALL),
        engine: open(&paths.neural_engine, &[Client, InMemory]),
        espresso: open(&paths.espresso, &[E5rt]),
    };
    let mut last = None;
    for method in METHODS {
        let class = AnyClass::get(method.class);
        if last != Some(method.class) {
            last = Some(method.class);
            let of_class = METHODS.iter().filter(|m| m.class == method.class);
            let needs: Vec<_> = of_class.map(|m| m.need).collect();
            let routes = Route::ALL.into_iter().filter(|r| needs.iter().any(|n| n.of(*r)));
            items.push(Item {
                kind: "class",
                name: method.class.to_string_lossy().into_owned(),
                routes: routes.collect(),
                found: class.map_or(Found::No(String::new()), |_| Found::Yes),
            });
        }
        let found = match class {
            None => Found::No("its class is".to_owned()),
            Some(class) => match method.verify(class) {
                Ok(()) => Found::Yes,
                Err(reason) if reason.to_string() == "method not found" => Found::No(String::new()),
                Err(reason) => Found::Different(reason.to_string()),
            },
        };
        let routes = Route::ALL.into_iter().filter(|r| method.need.of(*r)).collect();
        items.push(Item { kind: "method", name: method.to_string(), routes, found });
    }
    let mut functions = |library: &Option<Library>, names: &[&CStr], routes: &[Route]| {
        for name in names {
            let found = match library {
                None => Found::No("its library is".to_owned()),
                Some(library) => library.symbol(name).map_or_else(Found::No, |_| Found::Yes),
            };
            let (name, routes) = (name.to_string_lossy().into_owned(), routes.to_vec());
            items.push(Item { kind: "function", name, routes, found });
        }
    };
    functions(&libraries.foundation, &[c"CFRelease", c"NSTemporaryDirectory"], &Route::ALL);
    functions(&libraries.iosurface, iosurface::SYMBOLS, &Route::ALL);
    functions(&libraries.espresso, e5rt::SYMBOLS, &[E5rt]);
    (Capabilities { items }, libraries)
}
