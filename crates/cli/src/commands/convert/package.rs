//! A checkpoint as a Core ML package that reads prompts and writes on.

use anyhow::{Context, bail};
use checkpoints::Source;
use coreml::{Form, Interface, Model};
use half::f16;
use mil::{BlobRef, BlobWriter, DataType, Literal, Program, Tensor, Weights};
use models::{Config, Parameter};
use passes::bind::{Bound, bind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where weights are below the folder that `@model_path` stands for.
const WEIGHTS: &str = "weights/weight.bin";

/// How to make a package.
pub struct Packaging {
    /// Tokens that keys and values are kept of.
    pub context: usize,
    /// Tokens that `prefill` reads at once.
    pub prefill: usize,
    /// Whether matrices are kept as bytes.
    pub bytes: bool,
}

/// Writes a checkpoint as a package of the functions `prefill` and `decode`; gives the bytes of its
/// weights. `progress` is told how many more elements have been read.
pub fn write(
    source: &Source,
    to: &Path,
    packaging: &Packaging,
    replace: bool,
    progress: &dyn Fn(usize),
) -> anyhow::Result<u64> {
    let config = source.config();
    let Packaging { context, prefill, .. } = *packaging;
    if prefill < 2 || prefill > context {
        bail!("--prefill {prefill}: it must be from 2 to the context of {context} tokens");
    }
    if std::fs::symlink_metadata(to).is_ok() && !replace {
        bail!("`{}` is there already: --force replaces a package", to.display());
    }
    let parts = Parts::beside(to)?;
    let bound = weights(source, &parts.0, packaging.bytes, progress)?;
    let function = |name: &str, seq: usize| -> anyhow::Result<mil::Function> {
        let half = DataType::Fp16;
        let mut function = models::stateful(name, config, seq, context, half, half)?;
        let matrices = models::parameters(config)?.into_iter().filter(is_matrix);
        let matrices: Vec<String> =
            matrices.map(|matrix| models::stateful_input(&matrix.name)).collect();
        passes::store::store(&mut function, matrices.iter().map(String::as_str), half);
        passes::simplify::run(&mut function);
        bind(&mut function, bound.clone())?;
        Ok(function)
    };
    let program = Program::new(vec![function("prefill", prefill)?, function("decode", 1)?]);
    let mut model = Model::of_program(program, Weights::in_dir(&parts.0));
    describe(&mut model.interface, config, packaging);
    model.write(to, Form::Package, replace).context("cannot write the package")?;
    Ok(std::fs::metadata(parts.0.join(WEIGHTS))?.len())
}

fn is_matrix(parameter: &Parameter) -> bool {
    parameter.dims.len() == 2
}

/// A folder beside a path for what goes into the package, which goes away again.
struct Parts(PathBuf);

impl Parts {
    fn beside(to: &Path) -> anyhow::Result<Parts> {
        let name = to.file_name().context("the package needs a name")?.to_string_lossy();
        let path = to.with_file_name(format!(".{name}.{}.weights", std::process::id()));
        let folder = path.join(Path::new(WEIGHTS).parent().expect("it is in a folder"));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot write beside `{}`", to.display()))?;
        Ok(Parts(path))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Nobody is left to hear about a failure; the name says what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes the weight file and gives what each input of the functions is in it.
fn weights(
    source: &Source,
    folder: &Path,
    bytes: bool,
    progress: &dyn Fn(usize),
) -> anyhow::Result<BTreeMap<String, Bound>> {
    let mut writer = BlobWriter::create(folder.join(WEIGHTS))?;
    let mut push = |tensor: Tensor| -> anyhow::Result<Literal> {
        let (dtype, dims) = (tensor.dtype(), tensor.dims().to_vec());
        let offset = writer.push(&tensor)?;
        Ok(Literal::Blob(BlobRef { dtype, dims, path: format!("@model_path/{WEIGHTS}"), offset }))
    };
    let mut bound = BTreeMap::new();
    for parameter in models::parameters(source.config())? {
        let Parameter { name, dims, .. } = &parameter;
        let value = match (is_matrix(&parameter), bytes) {
            (false, _) => {
                let values = read(source, &parameter, progress, |&value, out: &mut Vec<u8>| {
                    out.extend(value.to_le_bytes());
                })?;
                Bound::Constant(push(Tensor::from_bytes(DataType::Fp32, dims, values)?)?)
            }
            (true, false) => {
                let values = read(source, &parameter, progress, |&value, out: &mut Vec<u8>| {
                    out.extend(f16::from_f32(value).to_le_bytes());
                })?;
                let infinite = |half: &[u8]| half[1] & 0x7c == 0x7c;
                if values.chunks_exact(2).any(infinite) {
                    bail!("tensor `{name}` has a number that fp16 cannot hold");
                }
                Bound::Constant(push(Tensor::from_bytes(DataType::Fp16, dims, values)?)?)
            }
            (true, true) => {
                let rows = quantized(source, &parameter, progress)?;
                let data = push(Tensor::from_bytes(DataType::Int8, dims, rows.bytes)?)?;
                let scale = Tensor::from_f64s(DataType::Fp16, &[dims[0], 1], &rows.scales)?;
                Bound::Scaled { data, scale: push(scale)? }
            }
        };
        bound.insert(models::stateful_input(name), value);
    }
    writer.commit()?;
    Ok(bound)
}

/// A parameter's elements in another form.
fn read(
    source: &Source,
    parameter: &Parameter,
    progress: &dyn Fn(usize),
    mut put: impl FnMut(&f32, &mut Vec<u8>),
) -> anyhow::Result<Vec<u8>> {
    let mut out = vec![];
    source.visit(parameter, &mut |part| {
        part.iter().for_each(|value| put(value, &mut out));
        progress(part.len());
        Ok(())
    })?;
    Ok(out)
}

/// A matrix as bytes and a scale for every row.
struct Rows {
    bytes: Vec<u8>,
    /// As fp16 has them.
    scales: Vec<f64>,
}

/// Every row in 127 steps to its largest element.
fn quantized(
    source: &Source,
    parameter: &Parameter,
    progress: &dyn Fn(usize),
) -> anyhow::Result<Rows> {
    let width = parameter.dims[1];
    let mut rows = Rows { bytes: vec![], scales: vec![] };
    let mut too_large = false;
    source.visit(parameter, &mut |part| {
        for row in part.chunks_exact(width) {
            let most = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            // Rounded first, so that the bytes make up for it; 0 would lose small rows.
            let scale = f16::from_f32(most / 127.0).max(f16::from_bits(1));
            too_large |= !scale.is_finite();
            rows.scales.push(scale.to_f64());
            let scale = scale.to_f32();
            let byte = |&value: &f32| (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
            rows.bytes.extend(row.iter().map(|value| byte(value) as u8));
        }
        progress(part.len());
        Ok(())
    })?;
    if too_large {
        bail!("tensor `{}` has a number that scales in fp16 cannot reach", parameter.name);
    }
    Ok(rows)
}

/// Says what the functions are for, to whoever opens the package.
fn describe(interface: &mut Interface, config: &Config, packaging: &Packaging) {
    let Packaging { context, prefill, bytes } = packaging;
    interface.default_function = Some("decode".to_owned());
    interface.metadata.description = format!(
        "A language model ({}) that keeps the keys and values of {context} tokens in its states. \
         `prefill` reads {prefill} tokens at once, `decode` one; both give the scores of the next.",
        config.model_type()
    );
    let own = [
        ("context", context.to_string()),
        ("prefill", prefill.to_string()),
        ("vocabulary", config.vocab.to_string()),
        ("weights", if *bytes { "int8" } else { "fp16" }.to_owned()),
    ];
    let own = own.map(|(key, value)| (format!("anemone.{key}"), value));
    interface.metadata.user_defined.extend(own);
    for function in &mut interface.functions {
        for feature in function.inputs.iter_mut().chain(&mut function.outputs) {
            feature.description = match feature.name.as_str() {
                "tokens" => "Ids of the next tokens of the text",
                "position" => "How many tokens came before; 0 begins a new text",
                "last" => {
                    "Which of the tokens is the last that counts; what is behind it is not read"
                }
                "logits" => "A score for every token that may come next",
                _ => continue,
            }
            .to_owned();
        }
    }
}
