//! The routes as engines: what they have in common, in safe code.

use crate::folder::{Folder, Root, relative};
use crate::iosurface::{Functions, SharedSurface};
use crate::objc::{Failure, guarded};
use crate::private::{Client, InMemory, Request};
use crate::{Options, e5rt};
use ane::target::{Route, Target};
use ane::{Engine, EngineError, Evaluation, Model, Source, Stage, Usage};
use runtime::Port;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use surface::{Access, Lent, Surface};

/// Programs that a process can compile through `_ANEInMemoryModel`, which leaks, before the
/// compiler refuses everything.
const COMPILE_LIMIT: usize = 119;
/// Programs that can be loaded at a time.
const LOAD_LIMIT: usize = 127;

/// An open route.
pub(crate) struct AppleEngine(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) description: String,
    pub(crate) options: Options,
    pub(crate) surfaces: Arc<Functions>,
    pub(crate) root: Arc<Root>,
    /// The functions of `e5rt`, where that is the route.
    pub(crate) e5rt: Option<Arc<e5rt::Functions>>,
    /// Whether the daemon's copies of compiled models can be removed.
    pub(crate) purges: bool,
    pub(crate) compiles: AtomicUsize,
    pub(crate) loaded: AtomicUsize,
}

/// A program in the form of its route.
enum Program {
    Client(Client),
    InMemory(InMemory),
    E5rt(e5rt::Program),
}

/// A loaded program; unloaded when dropped.
struct Loaded {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    program: Program,
    shared: Arc<Shared>,
    /// Removed after the program is unloaded.
    _folder: Arc<Folder>,
}

enum Bound {
    Request(Request),
    E5rt(e5rt::Bound),
}

struct Evaluating {
    model: Arc<Loaded>,
    bound: Bound,
    /// Kept alive, and lent to the engine while it computes.
    inputs: Vec<Surface>,
    outputs: Vec<Surface>,
}

impl Shared {
    fn error(&self, kernel: &str, stage: Stage, failure: &Failure) -> EngineError {
        self.note(&format!("{kernel}: cannot {stage}: {failure}"));
        let error = EngineError::new(kernel, stage, failure.to_string());
        match failure.status() {
            Some(status) => error.with_code(status),
            None => error,
        }
    }

    fn note(&self, line: &str) {
        if let Some(trace) = &self.options.trace {
            trace(line);
        }
    }

    fn compile_limit(&self) -> Option<usize> {
        (self.target.route == Route::InMemory).then_some(COMPILE_LIMIT)
    }

    /// Writes the files, and makes the route's object for them.
    fn prepare(&self, source: &Source) -> Result<(Program, Arc<Folder>), Failure> {
        let weights: Vec<(&str, &[u8])> =
            source.weights.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        let (program, folder) = match (self.target.route, &self.e5rt) {
            (Route::InMemory, _) => {
                // The directory that the model itself looks into; it must be there before.
                let model = guarded(|| InMemory::new(&source.text, &weights))?;
                let name = guarded(|| model.directory())?;
                let folder = self.root.named(&name).map_err(disk)?;
                (Some(Program::InMemory(model)), folder)
            }
            (Route::Client, _) | (Route::E5rt, _) => {
                (None, Arc::new(self.root.folder(".mlmodelc").map_err(disk)?))
            }
        };
        folder.write(Path::new("model.mil"), source.text.as_bytes()).map_err(disk)?;
        for (path, bytes) in weights {
            folder.write(&relative(path).map_err(Failure::new)?, bytes).map_err(disk)?;
        }
        let program = match (program, &self.e5rt) {
            (Some(program), _) => program,
            (None, Some(functions)) => {
                Program::E5rt(e5rt::Program::compile(functions, folder.path())?)
            }
            (None, None) => {
                let path = folder.path().to_str().ok_or_else(|| {
                    Failure::new(format!("{} is not UTF-8", folder.path().display()))
                })?;
                Program::Client(guarded(|| Client::new(path, self.purges))?)
            }
        };
        Ok((program, folder))
    }
}

fn disk(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot write the model's files: {error}"))
}

impl Program {
    fn compile(&self) -> Result<(), Failure> {
        match self {
            Program::Client(model) => guarded(|| model.compile()),
            Program::InMemory(model) => guarded(|| model.compile()),
            Program::E5rt(_) => Ok(()), // When it was made.
        }
    }

    fn load(&self) -> Result<(), Failure> {
        match self {
            Program::Client(model) => guarded(|| model.load()),
            Program::InMemory(model) => guarded(|| model.load()),
            Program::E5rt(_) => Ok(()), // When an operation is made of it.
        }
    }

    fn unload(&self) -> Result<(), Failure> {
        match self {
            Program::Client(model) => guarded(|| {
                let unloaded = model.unload();
                model.purge();
                unloaded
            }),
            Program::InMemory(model) => guarded(|| model.unload()),
            Program::E5rt(_) => Ok(()), // When its handles are dropped.
        }
    }

    fn evaluate(&self, request: &Request) -> Result<(), Failure> {
        match self {
            Program::Client(model) => guarded(|| model.evaluate(request)),
            Program::InMemory(model) => guarded(|| model.evaluate(request)),
            Program::E5rt(_) => unreachable!("its requests evaluate themselves"),
        }
    }
}

impl Engine for AppleEngine {
    fn target(&self) -> &Target {
        &self.0.target
    }

    fn describe(&self) -> String {
        self.0.description.clone()
    }

    fn surface(&self, bytes: usize) -> Result<Surface, EngineError> {
        SharedSurface::create(&self.0.surfaces, bytes)
            .map_err(|failure| self.0.error("surface", Stage::Surface, &failure))
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError> {
        let shared = &self.0;
        let fail = |stage, failure: &Failure| shared.error(&source.name, stage, failure);
        let refuse = |message| fail(Stage::Compile, &Failure::new(message));
        for path in source.weights.keys() {
            relative(path).map_err(refuse)?;
        }
        let (inputs, outputs) = ane::ports::of_text(&source.text).map_err(refuse)?;
        let compiles = shared.compiles.fetch_add(1, Ordering::Relaxed);
        if shared.compile_limit().is_some_and(|limit| compiles >= limit) {
            shared.compiles.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{compiles} programs were compiled, and no more can be");
            return Err(EngineError { needs_new_process: true, ..refuse(message) });
        }
        let (program, folder) =
            shared.prepare(source).map_err(|failure| fail(Stage::Compile, &failure))?;
        program.compile().map_err(|failure| fail(Stage::Compile, &failure))?;
        let mut loaded = program.load();
        if let Err(failure) = &loaded {
            shared.note(&format!("{}: loading again after: {failure}", source.name));
            std::thread::sleep(shared.options.load_pause);
            loaded = program.load();
        }
        loaded.map_err(|failure| fail(Stage::Load, &failure))?;
        shared.loaded.fetch_add(1, Ordering::Relaxed);
        shared.note(&format!("{}: compiled and loaded", source.name));
        Ok(Arc::new(Loaded {
            name: source.name.clone(),
            inputs,
            outputs,
            program,
            shared: shared.clone(),
            _folder: folder,
        }))
    }

    fn usage(&self) -> Usage {
        Usage {
            compiles: self.0.compiles.load(Ordering::Relaxed),
            compile_limit: self.0.compile_limit(),
            loaded: self.0.loaded.load(Ordering::Relaxed),
            load_limit: LOAD_LIMIT,
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.shared.loaded.fetch_sub(1, Ordering::Relaxed);
        match self.program.unload() {
            Ok(()) => self.shared.note(&format!("{}: unloaded", self.name)),
            // Nothing can be done about it here; the trace keeps it for a report.
            Err(failure) => self.shared.note(&format!("{}: cannot unload: {failure}", self.name)),
        }
    }
}

impl Model for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn bind(
        self: Arc<Self>,
        inputs: &[Surface],
        outputs: &[Surface],
    ) -> Result<Box<dyn Evaluation>, EngineError> {
        let fail = |failure: Failure| self.shared.error(&self.name, Stage::Bind, &failure);
        let ins = shared_surfaces("input", &self.inputs, inputs).map_err(fail)?;
        let outs = shared_surfaces("output", &self.outputs, outputs).map_err(fail)?;
        let bound = match &self.program {
            Program::E5rt(program) => program.bind(&ins, &outs).map(Bound::E5rt),
            Program::Client(_) | Program::InMemory(_) => guarded(|| {
                let ins: Vec<&SharedSurface> = ins.iter().map(|(_, surface)| *surface).collect();
                let outs: Vec<&SharedSurface> = outs.iter().map(|(_, surface)| *surface).collect();
                Request::new(&ins, &outs).map(Bound::Request)
            }),
        };
        let bound = bound.map_err(fail)?;
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        Ok(Box::new(Evaluating { model: self, bound, inputs, outputs }))
    }
}

/// The `IOSurface`s behind surfaces, with the names of their ports.
fn shared_surfaces<'a>(
    kind: &str,
    ports: &'a [Port],
    surfaces: &'a [Surface],
) -> Result<Vec<(&'a str, &'a SharedSurface)>, Failure> {
    if ports.len() != surfaces.len() {
        let message = format!("{} {kind}s, and {} surfaces", ports.len(), surfaces.len());
        return Err(Failure::new(message));
    }
    let pairs = ports.iter().zip(surfaces).map(|(port, surface)| {
        let shared = surface.foreign::<SharedSurface>().ok_or_else(|| {
            Failure::new(format!("the surface of {kind} `{}` is no IOSurface", port.name))
        })?;
        Ok((port.name.as_str(), shared))
    });
    pairs.collect()
}

impl Evaluation for Evaluating {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let shared = self.model.shared.clone();
        let name = self.model.name.clone();
        let fail = |failure: Failure| shared.error(&name, Stage::Evaluate, &failure);
        let lend = |surfaces: &[Surface], access| -> Result<Vec<Lent>, Failure> {
            let lent = surfaces.iter().map(|surface| surface.lend(access));
            lent.collect::<Result<_, _>>().map_err(|error| Failure::new(error.to_string()))
        };
        let _outputs = lend(&self.outputs, Access::Write).map_err(fail)?;
        let _inputs = lend(&self.inputs, Access::Read).map_err(fail)?;
        let program = &self.model.program;
        match &mut self.bound {
            Bound::E5rt(bound) => bound.evaluate(),
            Bound::Request(request) if shared.options.completion => {
                awaited(program, request, &shared.options)
            }
            Bound::Request(request) => program.evaluate(request),
        }
        .map_err(fail)
    }
}

/// Evaluates, and waits until the completion handler was called.
fn awaited(program: &Program, request: &mut Request, options: &Options) -> Result<(), Failure> {
    let done = guarded(|| Ok(request.when_done()))?;
    let outcome = program.evaluate(request).and_then(|()| {
        done.recv_timeout(options.completion_wait).unwrap_or_else(|error| {
            Err(Failure::new(match error {
                RecvTimeoutError::Timeout => "the completion handler was not called in time",
                RecvTimeoutError::Disconnected => "the completion handler was dropped",
            }))
        })
    });
    guarded(|| {
        request.forget_handler();
        Ok(())
    })?;
    outcome
}
