//! Models that are loaded: valid programs with their interfaces.

use crate::gradient::{Gradient, GradientOptions};
use crate::session::{Options, Session};
use crate::{Error, Tensors, inspect};
use coreml::{Form, FunctionInterface, Interface, Metadata};
use mil::{Function, Program, Weights};
use passes::trainable;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A model whose program is valid. Weights are in their files until a device compiles it.
#[derive(Clone, Debug)]
pub struct Model {
    model: coreml::Model,
    /// The same as the model's, with the parameters that are in weight files in their places.
    program: Program,
}

impl Model {
    /// Loads a model: a package (`.mlpackage`), a compiled folder (`.mlmodelc`), a model file
    /// (`.mlmodel`), or a program as text, which any other file is (`.mil`).
    ///
    /// # Errors
    /// If it is none of these, is damaged, holds a model of another kind, has ops that the op table
    /// has not, or its program breaks a rule of the language.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::checked(coreml::Model::read(path.as_ref())?)
    }

    /// A model of a text. `file` is its name for messages; its weights are in the folder that this
    /// is in.
    ///
    /// # Errors
    /// If it is no valid program.
    pub fn from_text(text: impl Into<String>, file: impl AsRef<Path>) -> Result<Model, Error> {
        Model::checked(coreml::Model::from_text(text.into(), file.as_ref())?)
    }

    /// A model of a program, with the interface that its types and attributes tell.
    ///
    /// # Errors
    /// If it breaks a rule of the language.
    pub fn of_program(program: Program, weights: Weights) -> Result<Model, Error> {
        Model::checked(coreml::Model::of_program(program, weights))
    }

    /// The model, if its program is valid.
    ///
    /// # Errors
    /// Every rule that it breaks, with its place.
    pub fn checked(model: coreml::Model) -> Result<Model, Error> {
        let mut program = model.program.clone();
        coreml::parameters_in_place(&mut program, &model.weights)?;
        let Err(mut problems) = mil::verify(&program) else {
            return Ok(Model { model, program });
        };
        let mut text = model.text.clone();
        if text.is_none() {
            // Places are those in what the program would be as text.
            let printed = mil::print(&program);
            if let Err(placed) = mil::parse(&printed).and_then(|p| mil::verify(&p)) {
                problems = placed;
            }
            text = Some(printed);
        }
        let file = model.file.display().to_string();
        let listed = problems.annotate(&text.unwrap_or_default(), &file).trim_end().to_owned();
        Err(Error::Invalid { file, count: problems.0.len(), listed })
    }

    /// The program. Constants in weight files are references, but for parameters such as axes.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What users see of it: features of every function, and metadata.
    pub fn interface(&self) -> &Interface {
        &self.model.interface
    }

    /// What its makers say of it.
    pub fn metadata(&self) -> &Metadata {
        &self.model.interface.metadata
    }

    /// The files that `@model_path` stands for in the program.
    pub fn weights(&self) -> &Weights {
        &self.model.weights
    }

    /// The file that the program was read from; empty if it was none.
    pub fn file(&self) -> &Path {
        &self.model.file
    }

    /// The folder that the file is in.
    pub fn folder(&self) -> PathBuf {
        match self.model.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// The text that the program was read from, if it was one.
    pub fn text(&self) -> Option<&str> {
        self.model.text.as_deref()
    }

    /// The version of the format in the file; none for texts.
    pub fn specification_version(&self) -> Option<i64> {
        self.model.specification_version
    }

    /// The function of this name, or else the one that the model says is meant, `main`, or the only
    /// one.
    ///
    /// # Errors
    /// If there is none, with those that there are.
    pub fn function(&self, name: Option<&str>) -> Result<&Function, Error> {
        choose(&self.program, self.interface(), name)
    }

    /// The features of a function: that of this name, or the one that is meant where none is named.
    ///
    /// # Errors
    /// If there is no such function.
    pub fn features(&self, function: Option<&str>) -> Result<&FunctionInterface, Error> {
        let name = &self.function(function)?.name;
        self.interface().function(name).ok_or_else(|| Error::NoFunction {
            name: name.clone(),
            known: "no interface for it".to_owned(),
            hint: "",
        })
    }

    /// How often a function has each op, those of nested blocks included.
    ///
    /// # Errors
    /// If there is no such function.
    pub fn ops(&self, function: Option<&str>) -> Result<BTreeMap<&'static str, usize>, Error> {
        Ok(inspect::ops(self.function(function)?))
    }

    /// A session of the function that is meant where none is named, on the CPU device.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn session(&self) -> Result<Session, Error> {
        Session::new(self, Options::default())
    }

    /// A session of a function on a device.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn session_with(&self, options: Options) -> Result<Session, Error> {
        Session::new(self, options)
    }

    /// Gradients of a function's outputs with respect to these inputs, on the CPU device.
    ///
    /// # Errors
    /// As [`Gradient::new`].
    pub fn gradient(&self, wrt: &[&str]) -> Result<Gradient, Error> {
        let wrt = wrt.iter().map(|&name| name.to_owned()).collect();
        Gradient::new(self, GradientOptions { wrt, ..GradientOptions::default() })
    }

    /// The model with other values of constants of a function, rounded to the types that they have.
    /// All else stays as it is, other functions that have the same constants too.
    ///
    /// # Errors
    /// If there is no such function or constant, or it has another number of elements.
    pub fn with_constants(&self, function: Option<&str>, values: &Tensors) -> Result<Model, Error> {
        let name = &self.function(function)?.name;
        let values = values.iter().map(|(name, tensor)| {
            (name.clone(), tensor.to_f64s().into_iter().map(|value| value as f32).collect())
        });
        let mut model = self.model.clone();
        // Places in the text would be those of what the model was.
        model.text = None;
        for function in model.program.functions.iter_mut().filter(|f| f.name == *name) {
            trainable::put_back(function, &values.clone().collect())?;
        }
        Model::checked(model)
    }

    /// The program as a text says it, with what the interface says of shapes.
    pub fn to_text(&self) -> String {
        self.model.to_text()
    }

    /// Writes the model in the form that the path's name asks for: `.mlpackage`, `.mlmodel`,
    /// `.mlmodelc`, or else a text. What is there already is replaced if `replace` says so and it is
    /// a model of the same form.
    ///
    /// # Errors
    /// If the form cannot say what the model has, a weight cannot be read, or nothing can be
    /// written; what was there before is then untouched.
    pub fn write(&self, path: impl AsRef<Path>, replace: bool) -> Result<(), Error> {
        let path = path.as_ref();
        let form = Form::of(path).unwrap_or(Form::Text);
        Ok(self.model.write(path, form, replace)?)
    }
}

/// The function of a program with this name, or else the one that the interface says is meant,
/// `main`, or the only one.
///
/// # Errors
/// If there is none, with those that there are.
pub fn choose<'a>(
    program: &'a Program,
    interface: &Interface,
    name: Option<&str>,
) -> Result<&'a Function, Error> {
    let functions = &program.functions;
    let meant = name.or(interface.default_function.as_deref());
    let found = match (meant, &functions[..]) {
        (Some(name), _) => program.function(name),
        (None, [only]) => Some(only),
        (None, _) => program.function("main"),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
        Error::NoFunction {
            name: meant.unwrap_or("main").to_owned(),
            known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
            hint: if meant.is_none() { "; choose one by its name" } else { "" },
        }
    })
}
