//! Writing a recording.

use super::entry::{Entry, Failure, VERSION, hexadecimal, line};
use crate::target::Target;
use crate::{Engine, EngineError, Evaluation, Model, Source, Usage};
use runtime::Port;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use surface::Surface;

/// An engine that writes down what is done with another one.
///
/// Everything it was given and gave must be dropped or done before [`Recorder::finish`].
pub struct Recorder {
    engine: Arc<dyn Engine>,
    log: Arc<Log>,
}

/// Takes lines of what happens inside of an engine.
pub type Notes = Arc<dyn Fn(&str) + Send + Sync>;

struct Log(Mutex<State>);

struct State {
    to: Box<dyn Write + Send>,
    calls: usize,
    surfaces: Vec<Surface>,
    models: usize,
    requests: usize,
    /// What stopped the writing.
    failed: Option<std::io::Error>,
}

impl State {
    fn write(&mut self, entry: &Entry) {
        let counted = !matches!(entry, Entry::Open { .. } | Entry::Note { .. } | Entry::End { .. });
        self.calls += usize::from(counted);
        if self.failed.is_none() {
            self.failed = writeln!(self.to, "{}", line(entry)).err();
        }
    }
}

impl Log {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // The state is whole after any panic.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorder {
    /// Records what is done with `engine` from now on.
    pub fn new(engine: Arc<dyn Engine>, to: Box<dyn Write + Send>) -> Recorder {
        let (surfaces, failed) = (vec![], None);
        let mut state = State { to, calls: 0, surfaces, models: 0, requests: 0, failed };
        let target = engine.target();
        state.write(&Entry::Open {
            version: VERSION,
            target: format!("{}:{}", target.chip, target.os),
            route: target.route.name().to_owned(),
            description: engine.describe(),
        });
        Recorder { engine, log: Arc::new(Log(Mutex::new(state))) }
    }

    /// What takes lines about what happens inside of the engine, to be told of in the recording.
    pub fn notes(&self) -> Notes {
        let log = self.log.clone();
        Arc::new(move |line| log.with(|s| s.write(&Entry::Note { line: line.to_owned() })))
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn finish(self) -> std::io::Result<()> {
        self.log.with(|state| {
            let calls = state.calls;
            state.write(&Entry::End { calls });
            match state.failed.take() {
                Some(error) => Err(error),
                None => state.to.flush(),
            }
        })
    }
}

impl Engine for Recorder {
    fn target(&self) -> &Target {
        self.engine.target()
    }

    fn describe(&self) -> String {
        format!("{}, recorded", self.engine.describe())
    }

    fn surface(&self, bytes: usize) -> Result<Surface, EngineError> {
        let made = self.engine.surface(bytes);
        self.log.with(|state| {
            state.write(&Entry::Surface { bytes, error: made.as_ref().err().map(Failure::of) });
            if let Ok(surface) = &made {
                state.surfaces.push(surface.clone());
            }
        });
        made
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Model>, EngineError> {
        let compiled = self.engine.compile(source);
        let weights = source.weights.iter();
        let number = self.log.with(|state| {
            state.write(&Entry::Compile {
                name: source.name.clone(),
                text: source.text.clone(),
                weights: weights.map(|(path, data)| (path.clone(), hexadecimal(data))).collect(),
                error: compiled.as_ref().err().map(Failure::of),
            });
            state.models += usize::from(compiled.is_ok());
            state.models
        });
        let model = compiled?;
        let (log, number) = (self.log.clone(), number - 1);
        Ok(Arc::new(Recorded { model, number, log }))
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}

/// A model whose requests are recorded.
struct Recorded {
    model: Arc<dyn Model>,
    number: usize,
    log: Arc<Log>,
}

impl Model for Recorded {
    fn inputs(&self) -> &[Port] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.model.outputs()
    }

    fn bind(
        self: Arc<Self>,
        inputs: &[Surface],
        outputs: &[Surface],
    ) -> Result<Box<dyn Evaluation>, EngineError> {
        let bound = self.model.clone().bind(inputs, outputs);
        let number = self.log.with(|state| {
            // One of another engine, which cannot be bound, has the number after the last.
            let numbers = |surfaces: &[Surface]| {
                let known = &state.surfaces;
                let number = |s: &Surface| known.iter().position(|k| k.same(s));
                surfaces.iter().map(|s| number(s).unwrap_or(known.len())).collect()
            };
            let (inputs, outputs) = (numbers(inputs), numbers(outputs));
            let error = bound.as_ref().err().map(Failure::of);
            state.write(&Entry::Bind { model: self.number, inputs, outputs, error });
            state.requests += usize::from(bound.is_ok());
            state.requests
        });
        let evaluation = bound?;
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        Ok(Box::new(RecordedEvaluation {
            evaluation,
            number: number - 1,
            inputs,
            outputs,
            model: self,
        }))
    }
}

struct RecordedEvaluation {
    evaluation: Box<dyn Evaluation>,
    number: usize,
    inputs: Vec<Surface>,
    outputs: Vec<Surface>,
    model: Arc<Recorded>,
}

/// Contents of surfaces; what cannot be read is empty, and the evaluation says why.
fn contents(surfaces: &[Surface]) -> Vec<String> {
    let read = |surface: &Surface| surface.read().map(|bytes| hexadecimal(&bytes));
    surfaces.iter().map(|surface| read(surface).unwrap_or_default()).collect()
}

impl Evaluation for RecordedEvaluation {
    fn evaluate(&mut self) -> Result<(), EngineError> {
        let inputs = contents(&self.inputs);
        let done = self.evaluation.evaluate();
        let outputs = if done.is_ok() { contents(&self.outputs) } else { vec![] };
        let error = done.as_ref().err().map(Failure::of);
        let entry = Entry::Evaluate { request: self.number, inputs, outputs, error };
        self.model.log.with(|state| state.write(&entry));
        done
    }
}
