//! Answering from a recording.

use super::entry::{Entry, Failure, VERSION, bytes, hexadecimal, parse};
use crate::target::{Route, Target};
use crate::{Engine, EngineError, Evaluation, Model, Source, Stage, Usage};
use runtime::Port;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use surface::Surface;

/// An engine that answers as a recorded one did. A program that is not in the recording, and
/// inputs that were never evaluated, are errors.
///
/// The same call may have been answered differently over time (a load that failed once): answers
/// are given in the recorded order, and the last one again.
pub struct Replay {
    target: Target,
    description: String,
    programs: Vec<Program>,
    compiles: AtomicUsize,
    loaded: Arc<AtomicUsize>,
}

/// A line of a recording that cannot be used, or a recording that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// The line, from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "the recording cannot be used: {}", self.message),
            line => write!(f, "line {line} of the recording cannot be used: {}", self.message),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Everything that was recorded of a source.
struct Program {
    text: String,
    weights: BTreeMap<String, String>,
    compiles: Answers<()>,
    evaluations: Arc<Vec<Evaluated>>,
}

/// Evaluations of equal inputs.
struct Evaluated {
    inputs: Vec<String>,
    answers: Answers<Vec<String>>,
}

/// Answers in order, and the last one again.
struct Answers<T> {
    all: Vec<Result<T, EngineError>>,
    next: Mutex<usize>,
}

impl<T: Clone> Answers<T> {
    fn new(first: Result<T, EngineError>) -> Answers<T> {
        Answers { all: vec![first], next: Mutex::new(0) }
    }

    fn next(&self) -> Result<T, EngineError> {
        // A number is whole after any panic.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = &self.all[*next];
        *next = (*next + 1).min(self.all.len() - 1);
        answer.clone()
    }
}

impl Replay {
    /// Reads a recording.
    ///
    /// # Errors
    /// If a line is damaged or does not fit those before it, or the end is missing.
    pub fn read(recording: &str) -> Result<Replay, ReplayError> {
        let mut reader = Reader::default();
        for (before, line) in recording.lines().enumerate() {
            let taken = parse(line).and_then(|entry| reader.take(entry));
            taken.map_err(|message| ReplayError { line: before + 1, message })?;
        }
        let whole = |message: &str| ReplayError { line: 0, message: message.to_owned() };
        let (target, description) = reader.opened.ok_or_else(|| whole("it is empty"))?;
        if !reader.ended {
            return Err(whole("its end is missing"));
        }
        let programs = reader.programs.into_iter().map(|(program, evaluations)| Program {
            evaluations: Arc::new(evaluations),
            ..program
        });
        let (compiles, loaded) = (AtomicUsize::new(0), Arc::default());
        Ok(Replay { target, description, programs: programs.collect(), compiles, loaded })
    }
}

/// What is known after some lines.
#[derive(Default)]
struct Reader {
    opened: Option<(Target, String)>,
    ended: bool,
    calls: usize,
    surfaces: usize,
    programs: Vec<(Program, Vec<Evaluated>)>,
    /// The program of every model, and of every request.
    models: Vec<usize>,
    requests: Vec<usize>,
}

/// A recorded error as a result.
fn answer<T>(error: Option<&Failure>, value: T) -> Result<Result<T, EngineError>, String> {
    match error {
        None => Ok(Ok(value)),
        Some(failure) => match failure.error() {
            Some(error) => Ok(Err(error)),
            None => Err("the stage of its error is unknown".to_owned()),
        },
    }
}

impl Reader {
    fn take(&mut self, entry: Entry) -> Result<(), String> {
        if self.ended {
            return Err("it stands behind the end".to_owned());
        }
        match (&self.opened, &entry) {
            (None, Entry::Open { .. }) => {}
            (None, _) => return Err("the first line must describe the engine".to_owned()),
            (Some(_), Entry::Open { .. }) => return Err("the engine is described again".to_owned()),
            (Some(_), Entry::Note { .. } | Entry::End { .. }) => {}
            (Some(_), _) => self.calls += 1,
        }
        match entry {
            Entry::Open { version, target, route, description } => {
                if version != VERSION {
                    return Err(format!("version {version} of the format is not known"));
                }
                let route = Route::ALL.into_iter().find(|r| r.name() == route);
                let route = route.ok_or("its route is not known")?;
                let target = Target::parse(&target).map_err(|error| error.to_string())?;
                self.opened = Some((target.by(route), description));
            }
            Entry::Surface { error, .. } => {
                self.surfaces += usize::from(answer(error.as_ref(), ())?.is_ok());
            }
            Entry::Compile { name: _, text, weights, error } => {
                let compiled = answer(error.as_ref(), ())?;
                let known =
                    self.programs.iter().position(|(p, _)| p.text == text && p.weights == weights);
                let succeeded = compiled.is_ok();
                let program = match known {
                    Some(known) => {
                        self.programs[known].0.compiles.all.push(compiled);
                        known
                    }
                    None => {
                        let compiles = Answers::new(compiled);
                        let evaluations = Arc::default();
                        let program = Program { text, weights, compiles, evaluations };
                        self.programs.push((program, vec![]));
                        self.programs.len() - 1
                    }
                };
                if succeeded {
                    self.models.push(program);
                }
            }
            Entry::Bind { model, inputs, outputs, error } => {
                let program = *self.models.get(model).ok_or("there is no such model")?;
                let bound = answer(error.as_ref(), ())?.is_ok();
                let mut surfaces = inputs.iter().chain(&outputs);
                if bound && surfaces.any(|surface| *surface >= self.surfaces) {
                    return Err("there is no such surface".to_owned());
                }
                if bound {
                    self.requests.push(program);
                }
            }
            Entry::Evaluate { request, inputs, outputs, error } => {
                let program = *self.requests.get(request).ok_or("there is no such request")?;
                let answer = answer(error.as_ref(), outputs)?;
                let evaluations = &mut self.programs[program].1;
                match evaluations.iter_mut().find(|known| known.inputs == inputs) {
                    Some(known) => known.answers.all.push(answer),
                    None => evaluations.push(Evaluated { inputs, answers: Answers::new(answer) }),
                }
            }
            Entry::Note { .. } => {}
            Entry::End { calls } if calls == self.calls => self.ended = true,
            Entry::End { calls } => {
                return Err(format!("{calls} calls were made, and {} are here", self.calls));
            }
        }
        Ok(())
    }
}

impl Engine for Replay {
    fn target(&self) -> &Target {
        &self.target
    }

    fn describe(&self) -> String {
        format!("recording of {}", self.description)
    }

    fn surface(&self, bytes: usize) -> Result<Surface, EngineError> {
        Surface::new(bytes).map_err(|e| EngineError::new("surface", Stage::Surface, e.to_string()))
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError> {
        let fail = |message: String| EngineError::new(&source.name, Stage::Compile, message);
        let weights: BTreeMap<String, String> =
            source.weights.iter().map(|(path, data)| (path.clone(), hexadecimal(data))).collect();
        let mut programs = self.programs.iter();
        let program = programs.find(|p| p.text == source.text && p.weights == weights);
        let program = program.ok_or_else(|| fail("it is not in the recording".to_owned()))?;
        self.compiles.fetch_add(1, Ordering::Relaxed);
        program.compiles.next()?;
        let (inputs, outputs) = crate::ports::of_text(&source.text).map_err(fail)?;
        self.loaded.fetch_add(1, Ordering::Relaxed);
        let (name, evaluations) = (source.name.clone(), program.evaluations.clone());
        let loaded = self.loaded.clone();
        Ok(Arc::new(Replayed { name, inputs, outputs, evaluations, loaded }))
    }

    fn usage(&self) -> Usage {
        let loaded = self.loaded.load(Ordering::Relaxed);
        let compiles = self.compiles.load(Ordering::Relaxed);
        Usage { compiles, compile_limit: None, loaded, load_limit: usize::MAX }
    }
}

struct Replayed {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    evaluations: Arc<Vec<Evaluated>>,
    loaded: Arc<AtomicUsize>,
}

impl Drop for Replayed {
    fn drop(&mut self) {
        self.loaded.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Model for Replayed {
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
        if (inputs.len(), outputs.len()) != (self.inputs.len(), self.outputs.len()) {
            let message = "surfaces and ports differ in number";
            return Err(EngineError::new(&self.name, Stage::Bind, message));
        }
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        Ok(Box::new(Answering { model: self, inputs, outputs }))
    }
}

struct Answering {
    model: Arc<Replayed>,
    inputs: Vec<Surface>,
    outputs: Vec<Surface>,
}

impl Evaluation for Answering {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let fail = |message: &str| EngineError::new(&self.model.name, Stage::Evaluate, message);
        let read = |surface: &Surface| surface.read().map(|bytes| hexadecimal(&bytes));
        let inputs: Result<Vec<_>, _> = self.inputs.iter().map(read).collect();
        let inputs = inputs.map_err(|error| fail(&error.to_string()))?;
        let found = self.model.evaluations.iter().find(|known| known.inputs == inputs);
        let found = found.ok_or_else(|| fail("it was not recorded with these inputs"))?;
        let outputs = found.answers.next()?;
        if outputs.len() != self.outputs.len() {
            return Err(fail("outputs and surfaces differ in number"));
        }
        for (output, surface) in outputs.iter().zip(&self.outputs) {
            let mut writing = surface.write().map_err(|error| fail(&error.to_string()))?;
            let contents = bytes(output, writing.len());
            let contents = contents.ok_or_else(|| fail("the recorded output does not fit"))?;
            writing.copy_from_slice(&contents);
        }
        Ok(())
    }
}
