//! `.npz`: a zip archive with one `.npy` for every array.

use super::{Tensors, npy};
use anyhow::{Context, bail};
use std::io::{Read, Seek, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Reads every array of an archive.
pub fn read(file: impl Read + Seek) -> anyhow::Result<Tensors> {
    let mut archive = ZipArchive::new(file).context("not a .npz file")?;
    let mut tensors = Tensors::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(|| format!("entry {index}"))?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else {
            bail!("entry `{}`: expected only arrays, whose names end in .npy", entry.name());
        };
        let size = entry.size();
        let tensor = npy::read(&mut entry, size).with_context(|| format!("entry `{name}`"))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            bail!("entry `{name}` stands twice");
        }
    }
    Ok(tensors)
}

/// Writes an archive, not compressed, as `numpy.savez` does.
pub fn write(file: &mut (impl Write + Seek), tensors: &Tensors) -> anyhow::Result<()> {
    let mut archive = ZipWriter::new(file);
    for (name, tensor) in tensors {
        let bytes = npy::bytes(tensor).with_context(|| format!("`{name}`"))?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(u32::try_from(bytes.len()).is_err());
        archive.start_file(format!("{name}.npy"), options)?;
        archive.write_all(&bytes)?;
    }
    archive.finish()?;
    Ok(())
}
