//! Reading models, whatever form they have.

use crate::error::{at, format_error};
use crate::interface::{FunctionInterface, Interface};
use crate::proto::ModelDescription;
use crate::{Error, compiled, derive, description, package, read, wire};
use bytes::Bytes;
use mil::{Program, Weights};
use prost::Message;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

/// A model: a program, what users see of it, and where its weights are.
///
/// The program is one that could be read; [`mil::verify`] tells whether it is valid.
#[derive(Clone, Debug)]
pub struct Model {
    /// The program. Constants in weight files are references.
    pub program: Program,
    /// What users see of it.
    pub interface: Interface,
    /// The files that `@model_path` stands for in the program.
    pub weights: Weights,
    /// The file that the program was read from.
    pub file: PathBuf,
    /// The text that the program was read from, if it was one.
    pub text: Option<String>,
    /// The version of the format in the file; none for texts.
    pub specification_version: Option<i64>,
    /// What the file says of whether it can be updated.
    pub(crate) is_updatable: bool,
    /// The description as it was read, for what this crate does not know of it.
    pub(crate) original: Option<Original>,
}

/// A description with the interface that it gave.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    pub bytes: Bytes,
    pub interface: Interface,
}

impl Model {
    /// A model of a program, with the interface that its types and attributes tell.
    pub fn of_program(program: Program, weights: Weights) -> Model {
        Model {
            interface: derive::interface(&program),
            program,
            weights,
            file: PathBuf::new(),
            text: None,
            specification_version: None,
            is_updatable: false,
            original: None,
        }
    }

    /// Reads a model: a package (`.mlpackage`), a compiled folder (`.mlmodelc`), a model file
    /// (`.mlmodel`), or a text, which any other file is. No weight is read.
    ///
    /// # Errors
    /// If it is none of these, is damaged, holds a model of another kind, or has ops that the op
    /// table has not.
    pub fn read(path: &Path) -> Result<Model, Error> {
        let is_folder = fs::metadata(path).map_err(at(path))?.is_dir();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if !is_folder {
            return match extension {
                "mlmodel" => Model::read_file(path),
                "mlpackage" | "mlmodelc" => {
                    Err(format_error(path, format!("a .{extension} is a folder, this is a file")))
                }
                _ => Model::read_text(path),
            };
        }
        if package::is_package(path) {
            return Model::read_file(&package::model_file(path)?);
        }
        if path.join(compiled::TEXT).is_file() {
            let mut model = Model::read_text(&path.join(compiled::TEXT))?;
            compiled::read_metadata(path, &mut model)?;
            return Ok(model);
        }
        let message = if path.join("model0").is_dir() {
            "it is a pipeline of several models; give one of the folders in it".to_owned()
        } else {
            let (manifest, text) = (package::MANIFEST, compiled::TEXT);
            format!("expected a package or a compiled model: it has no `{manifest}` or `{text}`")
        };
        Err(format_error(path, message))
    }

    /// The interface of a function.
    pub fn function_interface(&self, name: &str) -> Option<&FunctionInterface> {
        self.interface.function(name)
    }

    /// Reads a model file from memory. `file` is its name for messages; weights are in the folder
    /// that it is in.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Model, Error> {
        Model::from_file(&mut Cursor::new(bytes), file)
    }

    /// A model of a text. `file` is its name for messages; weights are in the folder that it is
    /// in.
    ///
    /// # Errors
    /// If it is no program.
    pub fn from_text(text: String, file: &Path) -> Result<Model, Error> {
        let program = match mil::parse(&text) {
            Ok(program) => program,
            Err(problems) => return Err(Error::Text { path: file.to_owned(), text, problems }),
        };
        let model = Model::of_program(program, Weights::in_dir(folder(file)));
        Ok(Model { file: file.to_owned(), text: Some(text), ..model })
    }

    fn read_file(path: &Path) -> Result<Model, Error> {
        let file = File::open(path).map_err(at(path))?;
        Model::from_file(&mut BufReader::new(file), path)
    }

    fn from_file(file: &mut (impl Read + Seek), path: &Path) -> Result<Model, Error> {
        let top = wire::top_level(file, path)?;
        let description = ModelDescription::decode(top.description.clone()).map_err(|error| {
            format_error(path, format!("the description is not a whole message: {error}"))
        })?;
        let read = read::program(top.program, &description::order(&description))
            .map_err(|problems| Error::Program { path: path.to_owned(), problems })?;
        let interface = description::interface(&description, &read.program, &read.ports)
            .map_err(|problem| format_error(path, problem))?;
        let original = Original { bytes: top.description, interface: interface.clone() };
        Ok(Model {
            program: read.program,
            interface,
            weights: Weights::in_dir(folder(path)),
            file: path.to_owned(),
            text: None,
            specification_version: Some(top.specification_version),
            is_updatable: top.is_updatable,
            original: Some(original),
        })
    }

    fn read_text(path: &Path) -> Result<Model, Error> {
        let bytes = fs::read(path).map_err(at(path))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            format_error(path, format!("this is not text: byte {place} is not UTF-8"))
        })?;
        Model::from_text(text, path)
    }
}

/// The folder that a file is in.
pub(crate) fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
