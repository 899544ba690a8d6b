//! Writing checkpoints.

use super::{
    ADAPTER, ADAPTER_CONFIG, BEST, CONFIG, Error, FORMAT, LATEST, MANIFEST, MODEL, MOMENTS,
    Manifest, Moment, Sum, TOKENIZER, TRAINING, TrainState, VERSION, file_error, format_error,
    list, name, safetensors,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// One parameter or moment.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Its dimensions.
    pub dims: &'a [usize],
    /// Its values, in pieces that follow each other.
    pub data: Vec<&'a [f32]>,
}

/// What a checkpoint is made of.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The model's configuration, as `config.json`.
    pub config: &'a serde_json::Value,
    /// The text of `tokenizer.json`, if the model has a tokenizer.
    pub tokenizer: Option<&'a str>,
    /// `adapter_config.json`, if the parameters are an adapter's.
    pub adapter: Option<&'a serde_json::Value>,
    /// Other files by name, some of [`SIDECARS`](super::SIDECARS).
    pub sidecars: &'a [(String, Vec<u8>)],
    /// The parameters.
    pub parameters: &'a [Tensor<'a>],
    /// The first moments, under the names of their parameters.
    pub first: &'a [Tensor<'a>],
    /// The second moments, under the names of their parameters.
    pub second: &'a [Tensor<'a>],
    /// All the rest.
    pub state: &'a TrainState,
}

/// Saves a checkpoint in the run's directory `run`, which is made if need be, and removes older
/// ones until `keep` are left (at least the new one stays, and the best one). Returns the
/// checkpoint's directory.
///
/// # Errors
/// If a file cannot be written, for example because the disk is full. What was there before is
/// then still there, and nothing half-written stays behind.
pub fn save(run: &Path, snapshot: &Snapshot<'_>, keep: usize) -> Result<PathBuf, Error> {
    save_through(run, snapshot, keep, &|path| Ok(Box::new(File::create_new(path)?)))
}

/// Makes `checkpoint`, a directory that [`save`] has returned, the best one of the run.
///
/// # Errors
/// If the link cannot be written; the one before then stays.
pub fn mark_best(run: &Path, checkpoint: &Path) -> Result<(), Error> {
    let (link, temporary) = (run.join(BEST), run.join(format!("{BEST}.tmp")));
    let name = checkpoint.file_name().unwrap_or_default();
    let linked = remove(&temporary)
        .and_then(|()| std::os::unix::fs::symlink(name, &temporary))
        .and_then(|()| std::fs::rename(&temporary, &link))
        .and_then(|()| sync_folder(run));
    linked.map_err(file_error(&link))
}

/// A file being written. Tests replace it by one that fails.
pub(super) trait Output: Write {
    /// Waits until everything is on the disk.
    fn sync(&mut self) -> std::io::Result<()>;
}

impl Output for File {
    fn sync(&mut self) -> std::io::Result<()> {
        self.sync_all()
    }
}

/// Creates a file.
pub(super) type Create<'a> = &'a dyn Fn(&Path) -> std::io::Result<Box<dyn Output>>;

pub(super) fn save_through(
    run: &Path,
    snapshot: &Snapshot<'_>,
    keep: usize,
    create: Create<'_>,
) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(run).map_err(file_error(run))?;
    let existing = list(run).map_err(file_error(run))?;
    let step = snapshot.state.step;
    let again = existing
        .iter()
        .filter(|(other, ..)| *other == step)
        .map(|(_, again, _)| again + 1)
        .max()
        .unwrap_or(0);
    let name = name(step, again);
    let (folder, temporary) = (run.join(&name), run.join(format!("{name}.tmp")));
    // Left over from a crash.
    remove(&temporary).map_err(file_error(&temporary))?;
    let written = write_all(&temporary, snapshot, create).and_then(|()| {
        std::fs::rename(&temporary, &folder).map_err(file_error(&folder))?;
        sync_folder(run).map_err(file_error(run))
    });
    let pointed = written.and_then(|()| {
        let latest = run.join(LATEST);
        replace_through(&latest, name.as_bytes(), create).map_err(file_error(&latest))
    });
    if let Err(error) = pointed {
        // The first error is the one to report.
        remove(&temporary).ok();
        remove(&folder).ok();
        return Err(error);
    }
    let spare = existing.len().saturating_sub(keep.saturating_sub(1));
    let best = std::fs::read_link(run.join(BEST)).ok();
    for (_, _, old) in &existing[..spare] {
        if best.as_deref() == Some(Path::new(old)) {
            continue;
        }
        let old = run.join(old);
        remove(&old).map_err(file_error(&old))?;
    }
    Ok(folder)
}

fn write_all(folder: &Path, snapshot: &Snapshot<'_>, create: Create<'_>) -> Result<(), Error> {
    std::fs::create_dir(folder).map_err(file_error(folder))?;
    let mut files = std::collections::BTreeMap::new();
    let mut file = |name: &str, content: &dyn Fn(&mut dyn Write) -> std::io::Result<()>| {
        let path = folder.join(name);
        let sum = write_file(&path, content, create).map_err(file_error(&path))?;
        files.insert(name.to_owned(), sum);
        Ok::<(), Error>(())
    };
    file(CONFIG, &|out| pretty(out, snapshot.config))?;
    if let Some(tokenizer) = snapshot.tokenizer {
        file(TOKENIZER, &|out| out.write_all(tokenizer.as_bytes()))?;
    }
    for (name, content) in snapshot.sidecars {
        file(name, &|out| out.write_all(content))?;
    }
    let parameters: Vec<_> =
        snapshot.parameters.iter().map(|tensor| (tensor.name.to_owned(), tensor)).collect();
    if let Some(adapter) = snapshot.adapter {
        file(ADAPTER_CONFIG, &|out| pretty(out, adapter))?;
    }
    let model = if snapshot.adapter.is_some() { ADAPTER } else { MODEL };
    file(model, &|out| safetensors::write(out, &parameters))?;
    let moments: Vec<_> = [(Moment::First, snapshot.first), (Moment::Second, snapshot.second)]
        .into_iter()
        .flat_map(|(moment, tensors)| {
            tensors.iter().map(move |tensor| (moment.name(tensor.name), tensor))
        })
        .collect();
    file(MOMENTS, &|out| safetensors::write(out, &moments))?;
    let state =
        serde_json::to_value(snapshot.state).map_err(|error| format_error(folder, error))?;
    file(TRAINING, &|out| pretty(out, &state))?;
    let manifest = Manifest { format: FORMAT.to_owned(), version: VERSION, files };
    let path = folder.join(MANIFEST);
    write_file(&path, &|out| Ok(serde_json::to_writer_pretty(out, &manifest)?), create)
        .map_err(file_error(&path))?;
    sync_folder(folder).map_err(file_error(folder))
}

fn pretty(out: &mut dyn Write, value: &serde_json::Value) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes and syncs one file.
fn write_file(
    path: &Path,
    content: &dyn Fn(&mut dyn Write) -> std::io::Result<()>,
    create: Create<'_>,
) -> std::io::Result<Sum> {
    let mut out = BufWriter::with_capacity(
        1 << 16,
        Summing { out: create(path)?, size: 0, crc: crc32fast::Hasher::new() },
    );
    content(&mut out)?;
    let mut summing = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    summing.out.sync()?;
    Ok(Sum { size: summing.size, crc32: summing.crc.finalize() })
}

/// Sums up what passes through.
struct Summing {
    out: Box<dyn Output>,
    size: u64,
    crc: crc32fast::Hasher,
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.size += written as u64;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Replaces a file at once: whoever reads it sees the old content or the new.
fn replace_through(path: &Path, content: &[u8], create: Create<'_>) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    remove(&temporary)?;
    let written = write_file(&temporary, &|out| out.write_all(content), create)
        .and_then(|_| std::fs::rename(&temporary, path));
    if written.is_err() {
        remove(&temporary).ok();
        return written;
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => sync_folder(Path::new(".")),
    }
}

/// Removes a file or a directory with all in it, if it is there.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes renames within a directory last.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere, directories cannot be opened as files; renames are journaled.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}
