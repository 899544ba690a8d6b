//! Opening a route.

use crate::engine::{AppleEngine, Shared};
use crate::folder::Root;
use crate::iosurface::Functions;
use crate::library::Library;
use crate::objc::{self, Failure, guarded};
use crate::report::{Capabilities, look};
use crate::{Route, e5rt, private};
use ane::target::{Chip, Target};
use ane::{Engine, EngineError, Stage};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Where the frameworks are. The default is where macOS has them.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Foundation, with Core Foundation.
    pub foundation: PathBuf,
    /// IOSurface.
    pub iosurface: PathBuf,
    /// AppleNeuralEngine, which is private.
    pub neural_engine: PathBuf,
    /// Espresso, which is private.
    pub espresso: PathBuf,
    /// The property list that tells the system's version.
    pub system_version: PathBuf,
}

/// Libraries that could be opened.
pub(crate) struct Libraries {
    pub(crate) foundation: Option<Library>,
    pub(crate) iosurface: Option<Library>,
    /// Never asked for a symbol: its classes are there once it is open.
    #[allow(dead_code)]
    pub(crate) engine: Option<Library>,
    pub(crate) espresso: Option<Library>,
}

impl Default for Paths {
    fn default() -> Paths {
        let framework = |folder: &str, name: &str| {
            PathBuf::from(format!("/System/Library/{folder}/{name}.framework/{name}"))
        };
        Paths {
            foundation: framework("Frameworks", "Foundation"),
            iosurface: framework("Frameworks", "IOSurface"),
            neural_engine: framework("PrivateFrameworks", "AppleNeuralEngine"),
            espresso: framework("PrivateFrameworks", "Espresso"),
            system_version: "/System/Library/CoreServices/SystemVersion.plist".into(),
        }
    }
}

impl Paths {
    /// One library in place of all frameworks, as tests have.
    pub fn all(library: &Path) -> Paths {
        let library = library.to_owned();
        Paths {
            foundation: library.clone(),
            iosurface: library.clone(),
            neural_engine: library.clone(),
            espresso: library,
            ..Paths::default()
        }
    }
}

/// Is told what happens, one line at a time.
pub type Trace = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open a route.
#[derive(Clone)]
pub struct Options {
    /// The chip and system whose rules hold; `None` asks the system.
    pub target: Option<Target>,
    /// Whether evaluations wait for a request's completion handler, where the route has one,
    /// instead of trusting that the call returns when the engine is done.
    pub completion: bool,
    /// How long to wait for a completion handler.
    pub completion_wait: Duration,
    /// How long to wait before loading a second time; the first fails now and then.
    pub load_pause: Duration,
    /// Where to tell what happens.
    pub trace: Option<Trace>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            target: None,
            completion: false,
            completion_wait: Duration::from_secs(15),
            load_pause: Duration::from_millis(100),
            trace: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("target", &self.target)
            .field("completion", &self.completion)
            .field("completion_wait", &self.completion_wait)
            .field("load_pause", &self.load_pause)
            .finish_non_exhaustive()
    }
}

/// Opens a route with default options.
///
/// # Errors
/// As [`open_with`].
pub fn open(paths: &Paths, route: Route) -> Result<Arc<dyn Engine>, EngineError> {
    open_with(paths, route, &Options::default())
}

/// Opens the first route that can be opened: `_ANEClient`, or else `_ANEInMemoryModel`.
///
/// # Errors
/// If neither can be; the message gives both reasons.
pub fn open_any(paths: &Paths, options: &Options) -> Result<Arc<dyn Engine>, EngineError> {
    open_with(paths, Route::Client, options).or_else(|first| {
        open_with(paths, Route::InMemory, options).map_err(|second| {
            let message = format!("{}; {second}", first.message);
            EngineError { message, ..first }
        })
    })
}

/// Opens a route: finds libraries, checks every class and method that it needs, and makes a
/// temporary directory, after removing those of processes that are gone.
///
/// # Errors
/// If something that the route needs is missing or has other types than we know; the message
/// names all of it.
pub fn open_with(
    paths: &Paths,
    route: Route,
    options: &Options,
) -> Result<Arc<dyn Engine>, EngineError> {
    let fail = |failure: Failure| EngineError::new(name(route), Stage::Open, failure.to_string());
    let (found, libraries) = look(paths);
    let missing: Vec<String> = found.missing(route).iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(fail(Failure::new(missing.join("; "))));
    }
    let engine = guarded(|| finish(paths, route, options, &found, &libraries)).map_err(fail)?;
    Ok(Arc::new(engine))
}

/// What the route is called in messages.
fn name(route: Route) -> &'static str {
    match route {
        Route::Client => "_ANEClient",
        Route::InMemory => "_ANEInMemoryModel",
        Route::E5rt => "e5rt",
    }
}

fn finish(
    paths: &Paths,
    route: Route,
    options: &Options,
    found: &Capabilities,
    libraries: &Libraries,
) -> Result<AppleEngine, Failure> {
    let not_open = || Failure::new("a library is not open");
    let iosurface = libraries.iosurface.as_ref().ok_or_else(not_open)?;
    let foundation = libraries.foundation.as_ref().ok_or_else(not_open)?;
    let e5rt = match route {
        Route::E5rt => {
            let espresso = libraries.espresso.as_ref().ok_or_else(not_open)?;
            Some(Arc::new(e5rt::Functions::find(espresso)?))
        }
        Route::Client | Route::InMemory => None,
    };
    let engine_name = match found.has(c"_ANEDeviceInfo", c"aneSubType") {
        true => private::engine_name()?,
        false => String::new(),
    };
    let version = fs::read_to_string(&paths.system_version).unwrap_or_default();
    let version = product_version(&version).unwrap_or_default();
    let target = match options.target {
        Some(target) => target.by(route),
        None => target(&engine_name, version, route),
    };
    let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let description = format!(
        "{}, engine {}, macOS {}, rules of {}",
        name(route),
        or(&engine_name),
        or(version),
        target.chip
    );
    let mut options = options.clone();
    options.completion &= found.has(c"_ANERequest", c"setCompletionHandler:");
    let temporary = objc::temporary_directory(foundation)?;
    let root = Root::new(Path::new(&temporary))
        .map_err(|e| Failure::new(format!("cannot make a directory in {temporary}: {e}")))?;
    Ok(AppleEngine(Arc::new(Shared {
        target,
        description,
        options,
        surfaces: Arc::new(Functions::find(iosurface, foundation)?),
        root,
        e5rt,
        purges: found.has(c"_ANEClient", c"purgeCompiledModel:"),
        compiles: AtomicUsize::new(0),
        loaded: AtomicUsize::new(0),
    })))
}

/// The chip and system that these names mean. The engine of an M4 was seen to call itself `h16g`
/// and that of an M5 `h17g`; the older ones are inferred from the order. An unknown engine is
/// taken for the oldest, whose rules are the narrowest.
fn target(engine: &str, version: &str, route: Route) -> Target {
    let chip = match engine.get(..3) {
        Some("h14") => Chip::M2,
        Some("h15") => Chip::M3,
        Some("h16") => Chip::M4,
        Some("h17") => Chip::M5,
        _ => Chip::M1,
    };
    let mut target = Target::of(chip).by(route);
    if let Some(Ok(major)) = version.split('.').next().map(str::parse) {
        target.os = major;
    }
    target
}

/// The value of `ProductVersion` in the system's property list.
fn product_version(plist: &str) -> Option<&str> {
    let (_, rest) = plist.split_once("<key>ProductVersion</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    rest.split_once("</string>").map(|(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_and_systems_are_told_from_their_names() {
        let plist = "<dict>\n<key>ProductBuildVersion</key><string>25A1</string>\n\
                     <key>ProductVersion</key>\n<string>26.3.1</string></dict>";
        let version = product_version(plist).unwrap();
        assert_eq!(version, "26.3.1");
        let found = target("h16g", version, Route::Client);
        assert_eq!((found.chip, found.os, found.route), (Chip::M4, 26, Route::Client));
        let chips = ["h13g", "h14g", "h15c", "h17", "", "x", "ü"];
        let chips = chips.map(|name| target(name, "", Route::E5rt).chip);
        let first = Chip::M1;
        assert_eq!(chips, [first, Chip::M2, Chip::M3, Chip::M5, first, first, first]);
        assert_eq!(product_version("<key>ProductVersion</key><string>26"), None);
    }

    #[test]
    fn without_the_frameworks_every_part_is_named_and_nothing_crashes() {
        let paths = Paths::all(Path::new("/nowhere/at/all"));
        for route in Route::ALL {
            let error = open(&paths, route).err().expect("there is no such library");
            assert_eq!(error.stage, Stage::Open);
            assert!(error.message.contains("/nowhere/at/all is missing"), "{error}");
        }
    }
}
