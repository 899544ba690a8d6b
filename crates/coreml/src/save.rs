//! Writing models. Everything is written under a temporary name beside its own, and renamed when
//! it is complete. The same model gives the same bytes.

use crate::error::{at, format_error};
use crate::interface::{FeatureType, FunctionInterface, Interface};
use crate::proto::Model as Message;
use crate::{Error, Model, compiled, constants, derive, description, package, write};
use bytes::Bytes;
use mil::{AtomicFile, BlobWriter, DataType, Function, Program, Type};
use prost::Message as _;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What a model can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A package, `.mlpackage`: a folder with a manifest.
    Package,
    /// A model file, `.mlmodel`, with its weights in a file beside it.
    File,
    /// A folder as compilers make it, `.mlmodelc`, but without the parts that only Apple's
    /// runtime reads.
    Compiled,
    /// A text, `.mil`, with its weights in a file beside it.
    Text,
}

impl Form {
    /// The form that a path's name asks for.
    pub fn of(path: &Path) -> Option<Form> {
        match path.extension()?.to_str()? {
            "mlpackage" => Some(Form::Package),
            "mlmodel" => Some(Form::File),
            "mlmodelc" => Some(Form::Compiled),
            "mil" => Some(Form::Text),
            _ => None,
        }
    }
}

impl Model {
    /// Writes the model. What is there already is replaced if `replace` says so and it is a model
    /// of the same form; nothing else ever is.
    ///
    /// Weights are copied record by record from where they are. A file that is written with
    /// weights beside it, `NAME.mil` or `NAME.mlmodel`, has them in a file of its own name with
    /// `.weights.bin` behind it.
    ///
    /// # Errors
    /// If the form cannot say what the model has, a weight cannot be read, or nothing can be
    /// written; what was there before is then untouched.
    pub fn write(&self, path: &Path, form: Form, replace: bool) -> Result<(), Error> {
        match form {
            Form::Package => self.write_package(path, replace),
            Form::Compiled => self.write_compiled(path, replace),
            Form::File | Form::Text => self.write_file(path, form, replace),
        }
    }

    /// The model as the bytes of a model file. Constants stay where they are: references are to
    /// the files that the model has been read with.
    ///
    /// # Errors
    /// If model files cannot say what the model has.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        self.message(&self.program)
    }

    /// The program as a text says it, with what the interface says of shapes.
    pub fn to_text(&self) -> String {
        mil::print(&derive::with_information(&self.program, &self.interface))
    }

    fn write_package(&self, path: &Path, replace: bool) -> Result<(), Error> {
        self.check()?;
        may_replace(path, replace, package::is_package(path), "package")?;
        let folder = Temporary::new(path)?;
        let (file, weights) = package::items(&folder.path);
        create_folders(&crate::model::folder(&file))?;
        let has_weights = constants::has_weights(&self.program);
        let program = match has_weights {
            false => self.program.clone(),
            true => {
                create_folders(&weights)?;
                self.store(&weights.join("weight.bin"), "@model_path/weights/weight.bin")?
            }
        };
        let bytes = self.message(&program)?;
        write_bytes(&file, &bytes)?;
        let mut digest = Sha256::new();
        digest.update(&bytes);
        if has_weights {
            hash(&weights.join("weight.bin"), &mut digest)?;
        }
        let digest = digest.finalize();
        let model = package::identifier(&digest);
        let others = has_weights.then(|| package::identifier(&Sha256::digest(digest)));
        let manifest = package::manifest(&model, others.as_deref());
        write_bytes(&folder.path.join(package::MANIFEST), manifest.as_bytes())?;
        folder.rename(path)
    }

    fn write_compiled(&self, path: &Path, replace: bool) -> Result<(), Error> {
        let is_model = path.join(compiled::TEXT).is_file();
        may_replace(path, replace, is_model, "compiled model")?;
        let folder = Temporary::new(path)?;
        let mut program = derive::with_information(&self.program, &self.interface);
        if constants::has_weights(&program) {
            let weights = folder.path.join("weights");
            create_folders(&weights)?;
            let file = weights.join("weight.bin");
            program = self.store_of(&program, &file, "@model_path/weights/weight.bin")?;
        }
        let text = mil::print(&program);
        write_bytes(&folder.path.join(compiled::TEXT), text.as_bytes())?;
        let metadata = compiled::metadata(self, self.version());
        write_bytes(&folder.path.join(compiled::METADATA), metadata.as_bytes())?;
        folder.rename(path)
    }

    fn write_file(&self, path: &Path, form: Form, replace: bool) -> Result<(), Error> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(format_error(path, "this is no name for a model"));
        };
        let name = format!("{name}.weights.bin");
        let weights = path.with_file_name(&name);
        if form == Form::File {
            self.check()?;
        }
        let has_weights = constants::has_weights(&self.program);
        may_replace(path, replace, path.is_file(), "file")?;
        if has_weights {
            // The program must be able to say it.
            mil::weight_path(&name)?;
            may_replace(&weights, replace, weights.is_file(), "file")?;
        }
        let program = match has_weights {
            false => self.program.clone(),
            true => self.store(&weights, &format!("@model_path/{name}"))?,
        };
        match form {
            Form::Text => {
                let program = derive::with_information(&program, &self.interface);
                write_bytes(path, mil::print(&program).as_bytes())
            }
            _ => write_bytes(path, &self.message(&program)?),
        }
    }

    fn store(&self, file: &Path, name: &str) -> Result<Program, Error> {
        self.store_of(&self.program, file, name)
    }

    fn store_of(&self, program: &Program, file: &Path, name: &str) -> Result<Program, Error> {
        let mut writer = BlobWriter::create(file)?;
        let program = constants::store(program, &self.weights, name, &mut writer)?;
        writer.commit()?;
        Ok(program)
    }

    /// The message `Model`, for a program that is this model's but for where its constants are.
    fn message(&self, program: &Program) -> Result<Vec<u8>, Error> {
        let names: Vec<_> = program
            .functions
            .iter()
            .map(|function| {
                let interface = self.interface.function(&function.name);
                interface.map(|interface| interface.names(function)).unwrap_or_default()
            })
            .collect();
        let description: Bytes = match &self.original {
            // As it was: it may have more than this crate knows.
            Some(original) if original.interface == self.interface => original.bytes.clone(),
            _ => description::message(&self.interface).encode_to_vec().into(),
        };
        let message = Message {
            specification_version: i32::try_from(self.version()).expect("10 at most"),
            description,
            is_updatable: self.is_updatable,
            ml_program: write::program(program, &names),
        };
        Ok(message.encode_to_vec())
    }

    /// The version of the format: that of the file, or the oldest that has what the model needs.
    fn version(&self) -> i64 {
        let of_opset = |function: &Function| 6 + function.opset as i64;
        let opset = self.program.functions.iter().map(of_opset).max();
        let mut needed = opset.unwrap_or(6);
        let features = |list: fn(&FunctionInterface) -> &Vec<crate::Feature>| {
            self.interface.functions.iter().flat_map(list)
        };
        let arrays = features(|f| &f.inputs).chain(features(|f| &f.outputs));
        for feature in arrays {
            needed = needed.max(match &feature.ty {
                FeatureType::Array(array) if array.dtype == DataType::Int8 => 10,
                FeatureType::Array(array) if array.dtype == DataType::Fp16 => 7,
                FeatureType::Image(image) if image.color == crate::ColorSpace::GrayscaleFp16 => 7,
                _ => 6,
            });
        }
        if description::is_multi_function(&self.interface)
            || features(|f| &f.states).next().is_some()
        {
            needed = needed.max(9);
        }
        self.specification_version.filter(|v| (6..=10).contains(v)).unwrap_or(6).max(needed)
    }

    /// Whether a model file can say all of the interface.
    fn check(&self) -> Result<(), Error> {
        let Interface { functions, default_function, .. } = &self.interface;
        let error = |message: String| Err(Error::Interface(message));
        let named = |f: &Function| functions.iter().filter(|i| i.name == f.name).count() == 1;
        if functions.len() != self.program.functions.len()
            || !self.program.functions.iter().all(named)
        {
            return error("the interface does not have the functions of the program".into());
        }
        if let Some(name) = default_function
            && self.interface.function(name).is_none()
        {
            return error(format!("the default function `{name}` is none of the program"));
        }
        for function in &self.program.functions {
            let interface = self.interface.function(&function.name).expect("it was counted");
            check_function(function, interface)
                .or_else(|problem| error(format!("function `{}`: {problem}", function.name)))?;
        }
        Ok(())
    }
}

/// Every input and output must be a feature, and of a type that features have.
fn check_function(function: &Function, interface: &FunctionInterface) -> Result<(), String> {
    for &id in &function.inputs {
        let (name, ty) = (&function.value(id).name, function.ty(id));
        let (list, kind) = match ty {
            Type::State(_) => (&interface.states, "state"),
            _ => (&interface.inputs, "input"),
        };
        if list.iter().filter(|feature| feature.value == *name).count() != 1 {
            return Err(format!("{kind} `{name}` is of type {ty}, which no feature can be"));
        }
    }
    for &id in &function.body.outputs {
        let (name, ty) = (&function.value(id).name, function.ty(id));
        if !interface.outputs.iter().any(|feature| feature.value == *name) {
            return Err(format!("output `{name}` is of type {ty}, which no feature can be"));
        }
    }
    let all = interface.inputs.iter().chain(&interface.outputs).chain(&interface.states);
    for feature in all {
        let known = |dtype| description::ARRAY_TYPES.iter().any(|row| row.0 == dtype);
        if let Some(array) = feature.array()
            && !known(array.dtype)
        {
            let names = description::ARRAY_TYPES.map(|row| row.0.name()).join(", ");
            let (name, dtype) = (&feature.name, array.dtype);
            return Err(format!(
                "feature `{name}` is an array of {dtype}; arrays of {names} can be features"
            ));
        }
    }
    Ok(())
}

fn may_replace(path: &Path, replace: bool, same: bool, what: &'static str) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let hint = match (replace, same, what) {
        (true, true, _) => return Ok(()),
        (true, false, "package") => ", and is no package: it is not replaced",
        (true, false, "compiled model") => ", and is no compiled model: it is not replaced",
        (true, false, _) => ", and is no file: it is not replaced",
        (false, ..) => "",
    };
    Err(Error::Exists { path: path.to_owned(), hint })
}

fn create_folders(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(at(path))
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = AtomicFile::create(path)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(at(path))
}

/// Adds a file to a digest.
fn hash(path: &Path, digest: &mut Sha256) -> Result<(), Error> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part).map_err(at(path))? {
            0 => return Ok(()),
            n => digest.update(&part[..n]),
        }
    }
}

/// A folder that takes its name when it is complete, and goes away if it never is.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// A new folder beside `target`.
    fn new(target: &Path) -> Result<Temporary, Error> {
        let name = free_name(target)?;
        for attempt in 0..1000 {
            let path = target.with_file_name(format!("{name}-{attempt}.partial"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Temporary { path, kept: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(at(target)(error)),
            }
        }
        Err(at(target)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Gives the folder its name, in place of one that may be there.
    fn rename(mut self, target: &Path) -> Result<(), Error> {
        if fs::symlink_metadata(target).is_err() {
            fs::rename(&self.path, target).map_err(at(target))?;
            self.kept = true;
            return Ok(());
        }
        // A folder cannot be renamed over another: the old one goes aside first, and comes back
        // if the new one cannot take its place.
        let aside = self.path.with_extension("old");
        fs::rename(target, &aside).map_err(at(target))?;
        if let Err(error) = fs::rename(&self.path, target) {
            let _ = fs::rename(&aside, target);
            return Err(at(target)(error));
        }
        self.kept = true;
        fs::remove_dir_all(&aside).map_err(at(&aside))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to hear about a failure; the name says that it is partial.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What temporary names beside a path begin with.
fn free_name(target: &Path) -> Result<String, Error> {
    let name = target.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| format_error(target, "this is no name for a model"))?;
    Ok(format!(".{name}.{}", std::process::id()))
}
