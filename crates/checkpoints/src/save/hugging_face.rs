//! Directories of Hugging Face.

use super::{Model, Saved, Values, bytes};
use crate::formats::safetensors;
use crate::layout::Layout;
use crate::output::{AtomicFile, Planned, sync_folder_of};
use crate::{Encoding, Error};
use models::Parameter;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn save(
    folder: &Path,
    shard: u64,
    encoding: Encoding,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    let mut temporary = folder.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    std::fs::create_dir(&temporary).map_err(Error::file(&temporary))?;
    let written = write_all(&temporary, shard, encoding, model, values).and_then(|saved| {
        sync_folder_of(&temporary.join("."))?;
        // Onto an existing directory that is not empty this fails.
        std::fs::rename(&temporary, folder).map_err(Error::file(folder))?;
        sync_folder_of(folder)?;
        Ok(saved)
    });
    if written.is_err() {
        // The first error is the one to report.
        std::fs::remove_dir_all(&temporary).ok();
    }
    written
}

fn write_all(
    folder: &Path,
    shard: u64,
    encoding: Encoding,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    let file = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        let mut out = AtomicFile::create(&path)?;
        out.write_all(content).map_err(Error::file(&path))?;
        out.finish(false)
    };
    let mut json = model.config_json();
    let dtype = match encoding {
        Encoding::F16 => "float16",
        Encoding::BF16 => "bfloat16",
        _ => "float32",
    };
    let key = if json.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    json[key] = dtype.into();
    file("config.json", format!("{json:#}\n").as_bytes())?;
    if let Some(tokenizer) = model.tokenizer {
        file("tokenizer.json", tokenizer.as_bytes())?;
    }
    for (name, content) in model.sidecars {
        if name.contains(['/', '\\']) {
            return Err(Error::format(folder, format!("{name:?} is no name of a file")));
        }
        file(name, content)?;
    }

    let parameters = model.parameters(folder)?;
    let shards = cut(&parameters, encoding, shard);
    let mut saved = Saved::default();
    let mut rest = &parameters[..];
    for (index, tensors) in shards.iter().enumerate() {
        let path = folder.join(safetensors::shard_name(index, shards.len()));
        let mut out = AtomicFile::create(&path)?;
        let (here, after) = rest.split_at(tensors.len());
        rest = after;
        let mut next = here.iter();
        safetensors::write(&path, &mut out, tensors, &mut |_, see| {
            let parameter = next.next().expect("one parameter for each tensor");
            model.visit(parameter, Layout::Plain, values, see)
        })?;
        out.finish(false)?;
        saved.bytes += bytes(tensors);
    }
    if shards.len() > 1 {
        let index = safetensors::index(&shards);
        file(safetensors::INDEX, format!("{index:#}\n").as_bytes())?;
    }
    Ok(saved)
}

/// Fills files one after the other.
fn cut(parameters: &[Parameter], encoding: Encoding, most: u64) -> Vec<Vec<Planned>> {
    let mut shards = vec![vec![]];
    let mut size = 0;
    for parameter in parameters {
        let (name, dims) = (parameter.name.clone(), parameter.dims.clone());
        let tensor = Planned { name, dims, encoding };
        if size > 0 && size + tensor.size() > most {
            shards.push(vec![]);
            size = 0;
        }
        size += tensor.size();
        shards.last_mut().expect("there is one").push(tensor);
    }
    shards
}
