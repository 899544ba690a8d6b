//! `anemone run`.

use crate::arrays::{self, Format, Tensors};
use crate::device;
use crate::features;
use crate::pictures;
use crate::program::{self, ProgramArg};
use ane::target::Target;
use anemone::{Device, Options, Session};
use anyhow::bail;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use coreml::FunctionInterface;
use mil::Weights;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Evaluate a function of a program once.
///
/// Inputs are read by name from a file of arrays, cast to the declared element types, and
/// reshaped where the number of elements allows. Outputs are written by name; a scalar is written
/// as shape `[1]`. States travel in both files as `state/NAME`; those that the inputs do not give
/// begin as zeros.
///
/// Names are those of the model's interface. Images in arrays are as the program sees them: shape
/// `[1, channels, height, width]`, values from 0 to 255; the inputs of a model that takes one image
/// may also be a picture. Inputs that the model says may be left out
/// have its default values then, and where it allows several shapes the program is made for those
/// of the inputs. A classifier's label is written as bytes of UTF-8, or as a number; a dictionary
/// as `NAME/keys`, texts with zeros behind them, and `NAME/values`.
///
/// Element types that a file format lacks are written as the next wider one, which holds the same
/// values: bf16 in .npz as fp32, for example.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    program: ProgramArg,
    /// The function to evaluate [default: main, or the only one]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// The folder that `@model_path` in the program stands for [default: the program's own]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Where the inputs are: a .npz or .safetensors file; or, for a model that takes one image, a
    /// .png or .jpg file
    #[arg(long, value_name = "IN", value_parser = input_file())]
    inputs: PathBuf,
    /// Scale a picture to the size that the model takes, whatever becomes of its sides' ratio
    #[arg(long)]
    resize: bool,
    /// Where to write the outputs: a .npz or .safetensors file
    ///
    /// A file of this name is replaced if the evaluation succeeds, and untouched otherwise.
    #[arg(long, value_name = "OUT", value_parser = array_file())]
    outputs: PathBuf,
    /// What evaluates: cpu, with fused and vectorised kernels, or the interpreter where it cannot run
    /// the function, of which a note tells; interp, slow and plain, which
    /// defines what each op means; ane-emulated:CHIP, the Neural Engine in software, which
    /// refuses what the engine of m1 to m5 refuses
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = On::parse)]
    device: On,
    /// How to compute
    #[arg(long, value_enum, default_value_t = Numerics::Native)]
    numerics: Numerics,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Print where each operation ran
    #[arg(long)]
    placement: bool,
}

/// What evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The CPU device.
    Cpu,
    /// The interpreter.
    Interp,
    /// The emulated engine.
    Emulated(Target),
}

impl On {
    fn parse(name: &str) -> Result<On, String> {
        if name == "interp" {
            return Ok(On::Interp);
        }
        match device::Kind::parse(name) {
            Ok(device::Kind::Cpu) => Ok(On::Cpu),
            Ok(device::Kind::Emulated(target)) => Ok(On::Emulated(target)),
            Ok(device::Kind::Engine) => Err("programs are not run on the engine itself yet".into()),
            Err(_) => Err("it must be cpu, interp or ane-emulated[:m1 to :m5]".into()),
        }
    }
}

/// How to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Numerics {
    /// As the device does it best
    Native,
    /// Each op in 64 bits and rounded once, which only the interpreter does, whatever the device
    Exact,
    /// Op by op with the engine's documented quirks, which only ane-emulated does
    Ane,
}

/// Accepts the names of files of a format that can be read and written.
fn array_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| Format::of(&path).map(|_| path))
}

/// Accepts the same, and those of pictures.
fn input_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match pictures::is_one(&path) {
        true => Ok(path),
        false => match Format::of(&path) {
            Ok(_) => Ok(path),
            Err(_) => Err(format!(
                "`{}`: expected a .npz, .safetensors, .png or .jpg file",
                path.display()
            )),
        },
    })
}

impl Run {
    /// Evaluates.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        let function = source.function(self.function.as_deref())?;
        let weights = match &self.weights {
            Some(folder) if !folder.is_dir() => {
                bail!("the weights folder `{}` is not a folder", folder.display())
            }
            folder => folder.as_ref().map(Weights::in_dir),
        };
        let given = match pictures::is_one(&self.inputs) {
            true => self.picture(source.model.features(Some(&function.name))?)?,
            false if self.resize => bail!("--resize is for pictures"),
            false => arrays::read(&self.inputs)?,
        };
        if self.numerics == Numerics::Ane && !matches!(self.device, On::Emulated(_)) {
            bail!("--numerics ane goes with --device ane-emulated");
        }
        let device = match (self.device, self.numerics) {
            (On::Interp, _) | (_, Numerics::Exact) => Device::Interpreter,
            (On::Emulated(target), Numerics::Ane) => {
                Device::Emulated { target, numerics: ane::Numerics::Modelled }
            }
            (On::Emulated(target), Numerics::Native) => {
                Device::Emulated { target, numerics: ane::Numerics::Fast }
            }
            (On::Cpu, _) => Device::Cpu { threads: None },
        };
        let function = Some(function.name.clone());
        let options = Options { function, device, weights, ..Options::default() };
        let mut session = source.model.session_with(options)?;
        let prediction = session.predict(given).map_err(|error| match error {
            // These are about what is in the file.
            anemone::Error::Features(_) => {
                anyhow::Error::new(error).context(format!("`{}`", self.inputs.display()))
            }
            other => other.into(),
        })?;
        if let Some(note) = session.note() {
            eprintln!("note: {note}; the interpreter evaluates the whole function");
        }
        let written = features::results(&prediction, &session)?;
        arrays::write(&self.outputs, &written)?;
        self.report(&written, &session)
    }

    /// The picture, as the value of the input that it is for.
    fn picture(&self, interface: &FunctionInterface) -> anyhow::Result<Tensors> {
        let (feature, image) = pictures::image_input(interface)?;
        let fits = |shape: &[usize]| feature.check_shape(shape).is_ok();
        let picture = pictures::read(&self.inputs, (feature, image), fits, self.resize)?;
        Ok(Tensors::from([(feature.name.clone(), picture.tensor(image))]))
    }

    fn report(&self, written: &Tensors, session: &Session) -> anyhow::Result<()> {
        let mut text = String::new();
        if self.json {
            let outputs = written.iter().map(|(name, tensor)| {
                json!({ "name": name, "type": tensor.dtype().name(), "shape": tensor.dims() })
            });
            let mut object = json!({
                "function": session.function(),
                "outputs": outputs.collect::<Vec<_>>(),
                "file": self.outputs.display().to_string(),
            });
            if self.placement {
                let placement = session.placement().iter();
                object["placement"] = placement
                    .map(|p| json!({ "value": p.value, "op": p.op, "place": p.place }))
                    .collect();
            }
            text = format!("{object}\n");
        } else {
            for (name, tensor) in written {
                text.push_str(&format!("{name}: {}\n", tensor.ty()));
            }
            if self.placement {
                let width = |of: fn(&runtime::Placement) -> usize| {
                    session.placement().iter().map(of).max().unwrap_or(0)
                };
                let (values, ops) = (width(|p| p.value.len()), width(|p| p.op.len()));
                for p in session.placement() {
                    text.push_str(&format!("{:values$}  {:ops$}  {}\n", p.value, p.op, p.place));
                }
            }
        }
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}
