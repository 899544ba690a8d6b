//! `anemone run`.

use crate::arrays::{self, Format, Tensors};
use crate::device;
use crate::engine::{self, Results};
use crate::program::{self, ProgramArg};
use ane::target::Target;
use ane::{Emulator, EmulatorOptions};
use anyhow::{Context, bail};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use mil::{Function, Type, Weights};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// What the names of states begin with in files.
const STATE: &str = "state/";

/// Evaluate a function of a program once.
///
/// Inputs are read by name from a file of arrays, cast to the declared element types, and
/// reshaped where the number of elements allows. Outputs are written by name; a scalar is written
/// as shape `[1]`. States travel in both files as `state/NAME`; those that the inputs do not give
/// begin as zeros.
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
    /// Where the inputs are: a .npz or .safetensors file
    #[arg(long, value_name = "IN", value_parser = array_file())]
    inputs: PathBuf,
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

impl Run {
    /// Evaluates.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        let function = source.function(self.function.as_deref())?;
        let weights = match &self.weights {
            Some(folder) if !folder.is_dir() => {
                bail!("the weights folder `{}` is not a folder", folder.display())
            }
            Some(folder) => Weights::in_dir(folder),
            None => Weights::in_dir(&source.folder),
        };
        let given = arrays::read(&self.inputs)?;
        let (inputs, states) =
            sort(function, given).with_context(|| format!("`{}`", self.inputs.display()))?;
        if self.numerics == Numerics::Ane && !matches!(self.device, On::Emulated(_)) {
            bail!("--numerics ane goes with --device ane-emulated");
        }
        let results = if self.device == On::Interp || self.numerics == Numerics::Exact {
            engine::interpret(&source.program, function, &inputs, &states, weights)?
        } else {
            if let Some(name) = self::states(function).next() {
                bail!(
                    "function `{}` has the state `{name}`, and this device does not support \
                     states yet; use --device interp",
                    function.name
                );
            }
            match self.device {
                On::Emulated(target) => {
                    let numerics = match self.numerics {
                        Numerics::Ane => ane::Numerics::Modelled,
                        _ => ane::Numerics::Fast,
                    };
                    let options = EmulatorOptions { numerics, ..EmulatorOptions::new(target) };
                    let engine = Emulator::new(options)?;
                    engine::on_engine(&engine, &source.program, function, &inputs, &weights)?
                }
                _ => {
                    let device = device::open("cpu", None, Default::default())?.device;
                    let program = &source.program;
                    engine::on_device_or_interpreted(&*device, program, function, &inputs, weights)?
                }
            }
        };
        let mut written = results.outputs.clone();
        for (name, state) in &results.states {
            written.insert(format!("{STATE}{name}"), state.clone());
        }
        arrays::write(&self.outputs, &written)?;
        self.report(function, &written, &results)
    }

    fn report(
        &self,
        function: &Function,
        written: &Tensors,
        results: &Results,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        if self.json {
            let outputs = written.iter().map(|(name, tensor)| {
                json!({ "name": name, "type": tensor.dtype().name(), "shape": tensor.dims() })
            });
            let mut object = json!({
                "function": function.name,
                "outputs": outputs.collect::<Vec<_>>(),
                "file": self.outputs.display().to_string(),
            });
            if self.placement {
                let placement = results.placement.iter();
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
                    results.placement.iter().map(of).max().unwrap_or(0)
                };
                let (values, ops) = (width(|p| p.value.len()), width(|p| p.op.len()));
                for p in &results.placement {
                    text.push_str(&format!("{:values$}  {:ops$}  {}\n", p.value, p.op, p.place));
                }
            }
        }
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

/// The names of a function's states.
fn states(function: &Function) -> impl Iterator<Item = &str> {
    let state = |id: &&mil::ValueId| matches!(function.ty(**id), Type::State(_));
    function.inputs.iter().filter(state).map(|&id| function.value(id).name.as_str())
}

/// Tells inputs and states apart and gives them their declared types. Every problem is named.
fn sort(function: &Function, mut given: Tensors) -> anyhow::Result<(Tensors, Tensors)> {
    let (mut inputs, mut states) = (Tensors::new(), Tensors::new());
    let mut problems = vec![];
    for &id in &function.inputs {
        let value = function.value(id);
        let name = &value.name;
        let (ty, key, target) = match &value.ty {
            Type::State(inner) => (&**inner, format!("{STATE}{name}"), &mut states),
            ty => (ty, name.clone(), &mut inputs),
        };
        let Some(ty) = ty.as_tensor() else {
            problems.push(format!("input `{name}`: values of type {ty} are not supported"));
            continue;
        };
        let is_state = matches!(value.ty, Type::State(_));
        match given.remove(&key).map(|tensor| engine::fit(tensor, ty)) {
            None if is_state => {}
            None => problems.push(format!("input `{key}` is missing; expected {ty}")),
            Some(Err(error)) => problems.push(format!("input `{key}`: {error:#}")),
            Some(Ok(tensor)) => {
                target.insert(name.clone(), tensor);
            }
        }
    }
    let unknown =
        given.keys().map(|name| format!("`{name}` is no input of function `{}`", function.name));
    problems.extend(unknown);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok((inputs, states))
}
