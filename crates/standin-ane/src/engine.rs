//! The emulator behind the stand-ins: one process's engine for each route and test.

use ane::target::{Chip, Route, Target};
use ane::{Emulator, EmulatorOptions, Engine, EngineError, Model, Source};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Chip of the machine that is stood in for.
pub const CHIP: Chip = Chip::M4;
/// Its engine's name.
pub const NAME: &str = "h16g";

/// The emulators of a test session.
type Emulators = (u64, HashMap<Route, Arc<Emulator>>);

static EMULATORS: Mutex<Option<Emulators>> = Mutex::new(None);

/// The emulator of a route. A new test session has new ones, as a new process has new budgets.
fn emulator(route: Route) -> Result<Arc<Emulator>, EngineError> {
    let mut emulators = EMULATORS.lock().expect("nothing panics while it is locked");
    let session = standin_objc::session();
    if emulators.as_ref().is_none_or(|(of, _)| *of != session) {
        *emulators = Some((session, HashMap::new()));
    }
    let (_, emulators) = emulators.as_mut().expect("it was just made");
    if let Some(emulator) = emulators.get(&route) {
        return Ok(emulator.clone());
    }
    let options = EmulatorOptions::new(Target::of(CHIP).by(route));
    let emulator = Arc::new(Emulator::new(EmulatorOptions { threads: Some(2), ..options })?);
    emulators.insert(route, emulator.clone());
    Ok(emulator)
}

/// Compiles what lies in a model's directory.
pub fn compile(route: Route, directory: &Path) -> Result<Arc<dyn Model>, String> {
    let text = fs::read_to_string(directory.join("model.mil"))
        .map_err(|e| format!("cannot read model.mil in {}: {e}", directory.display()))?;
    let mut weights = BTreeMap::new();
    collect(directory, "@model_path", &mut weights).map_err(|e| e.to_string())?;
    weights.remove("@model_path/model.mil");
    let source = Source { name: "model".to_owned(), text, weights };
    let compiled = emulator(route).and_then(|emulator| emulator.compile(&source));
    compiled.map_err(|error| error.message)
}

/// Every file of a directory and those below, by its path in MIL text.
fn collect(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Arc<[u8]>>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &name, files)?;
        } else {
            files.insert(name, fs::read(entry.path())?.into());
        }
    }
    Ok(())
}
