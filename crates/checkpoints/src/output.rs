//! Writing: whole files at once, tensors as a stream.

use crate::{Encoding, Error};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// How its numbers are to be encoded: F32, F16, BF16 or Q8_0.
    pub encoding: Encoding,
}

impl Planned {
    /// The bytes that it takes.
    ///
    /// # Panics
    /// If its dimensions do not fit its encoding.
    pub fn size(&self) -> u64 {
        self.encoding.size(&self.dims).expect("dimensions fit the encoding")
    }
}

/// Gives the numbers of a tensor: calls the function with as many pieces as it likes.
pub type Visit<'a> =
    &'a mut dyn FnMut(&Planned, &mut dyn FnMut(&[f32]) -> Result<(), Error>) -> Result<(), Error>;

/// Elements converted at a time: a multiple of every block.
const PIECE: usize = 1 << 14;

/// Writes tensors one after the other, each beginning at a multiple of `alignment` bytes.
pub(crate) fn write_data(
    path: &Path,
    out: &mut dyn Write,
    tensors: &[Planned],
    alignment: u64,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let mut bytes = vec![];
    for tensor in tensors {
        let (block, _) = tensor.encoding.block();
        let mut written = 0;
        visit(tensor, &mut |values| {
            if !values.len().is_multiple_of(block) {
                let reason = format!("a piece of {} elements is no whole blocks", values.len());
                return Err(Error::tensor(path, &tensor.name, reason));
            }
            for piece in values.chunks(PIECE) {
                bytes.clear();
                tensor.encoding.encode(piece, &mut bytes).map_err(|value| {
                    let reason = format!("{value} does not fit {}", tensor.encoding);
                    Error::tensor(path, &tensor.name, reason)
                })?;
                written += bytes.len() as u64;
                out.write_all(&bytes).map_err(Error::file(path))?;
            }
            Ok(())
        })?;
        if written != tensor.size() {
            let reason = format!("{written} bytes were given, but it has {}", tensor.size());
            return Err(Error::tensor(path, &tensor.name, reason));
        }
        let padding = written.next_multiple_of(alignment) - written;
        out.write_all(&vec![0; padding as usize]).map_err(Error::file(path))?;
    }
    Ok(())
}

/// A file under a temporary name, which gets its own when it is complete and on the disk.
#[derive(Debug)]
pub struct AtomicFile {
    out: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<AtomicFile, Error> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create_new(&temporary).map_err(Error::file(&temporary))?;
        let out = Some(BufWriter::with_capacity(1 << 18, file));
        Ok(AtomicFile { out, temporary, path: path.to_owned() })
    }

    /// Gives the file its name. With `replace`, one that has this name already is lost.
    ///
    /// # Errors
    /// If it cannot be written to the end, or there is a file of this name.
    pub fn finish(mut self, replace: bool) -> Result<(), Error> {
        let out = self.out.take().expect("it is taken once");
        let file = out.into_inner().map_err(|error| Error::file(&self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::file(&self.path))?;
        if !replace && self.path.exists() {
            return Err(Error::format(&self.path, "it exists already"));
        }
        std::fs::rename(&self.temporary, &self.path).map_err(Error::file(&self.path))?;
        sync_folder_of(&self.path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.as_mut().expect("it is open").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.as_mut().expect("it is open").flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // Gone already if it was renamed.
        std::fs::remove_file(&self.temporary).ok();
    }
}

/// Makes what has been renamed last.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(folder))
}
