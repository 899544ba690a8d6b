//! Pictures in folders, one folder for each class, as examples.

use super::prepare::TARGET;
use crate::arrays::Tensors;
use crate::pictures;
use anemone::{Label, inspect};
use anyhow::{Context, bail};
use coreml::FunctionInterface;
use mil::{DataType, Function, Tensor};
use std::fs;
use std::path::{Path, PathBuf};

/// Examples, and what is to be said of them.
pub struct Folder {
    /// The input's array `[examples, channels, height, width]` of bytes, and the classes' indices.
    pub data: Tensors,
    /// How folders became classes.
    pub note: String,
}

/// Reads every picture in the folders of a folder, in the order of their names. A folder is the
/// class of its name; if none has the name of a class, and there are as many as classes, they are
/// the classes in the order of their names, as torchvision's `ImageFolder` has it.
pub fn read(
    root: &Path,
    function: &Function,
    interface: &FunctionInterface,
    resize: bool,
) -> anyhow::Result<Folder> {
    let image = pictures::image_input(interface)?;
    let (feature, ty) = image;
    let folders = folders(root)?;
    let labels = inspect::classes(function);
    let (classes, sorted) = classes(root, &folders, labels.as_deref())?;
    let mut files: Vec<(PathBuf, usize)> = vec![];
    for (folder, class) in folders.iter().zip(&classes) {
        let before = files.len();
        list(&folder.path, &mut |path| files.push((path, *class)))?;
        if files.len() == before {
            bail!("`{}` has no .png or .jpg files", folder.path.display());
        }
        files[before..].sort();
    }
    let each = mil::element_count(&ty.shape(ty.width, ty.height)).unwrap_or(usize::MAX);
    let mut bytes: Vec<u8> = vec![];
    let needed = files.len().checked_mul(each);
    if needed.is_none_or(|needed| bytes.try_reserve_exact(needed).is_err()) {
        bail!("{} pictures of {} do not fit into memory", files.len(), feature.ty);
    }
    let fits = |shape: &[usize]| *shape == ty.shape(ty.width, ty.height);
    for (file, _) in &files {
        bytes.extend(pictures::read(file, image, fits, resize)?.planes(ty.color));
    }
    let mut dims = ty.shape(ty.width, ty.height);
    dims[0] = files.len();
    let targets: Vec<i64> = files.iter().map(|(_, class)| *class as i64).collect();
    let data = Tensors::from([
        (feature.name.clone(), Tensor::from_bytes(DataType::Uint8, &dims, bytes)?),
        (TARGET.to_owned(), Tensor::int32s(&targets)),
    ]);
    let note = match sorted {
        true => format!("{} folders, in the order of their names", folders.len()),
        false => format!("{} folders, by the model's labels", folders.len()),
    };
    Ok(Folder { data, note })
}

struct Class {
    name: String,
    path: PathBuf,
}

/// The folders in a folder, but hidden ones, in the order of their names.
fn folders(root: &Path) -> anyhow::Result<Vec<Class>> {
    let mut folders = vec![];
    for entry in entries(root)? {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') {
            folders.push(Class { name, path });
        }
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    match folders.is_empty() {
        true => bail!("`{}` has no folders: every class has one, of its name", root.display()),
        false => Ok(folders),
    }
}

/// The index of every folder's class, and whether it follows from the order of the names alone.
fn classes(
    root: &Path,
    folders: &[Class],
    labels: Option<&[Label]>,
) -> anyhow::Result<(Vec<usize>, bool)> {
    let sorted = || ((0..folders.len()).collect(), true);
    let Some(labels) = labels else { return Ok(sorted()) };
    let index = |folder: &Class| labels.iter().position(|label| label.to_string() == folder.name);
    let found: Vec<Option<usize>> = folders.iter().map(index).collect();
    if found.iter().all(Option::is_none) && folders.len() == labels.len() {
        return Ok(sorted());
    }
    let unknown: Vec<String> = folders
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(folder, _)| format!("`{}`", folder.name))
        .collect();
    if !unknown.is_empty() {
        // A model may have thousands.
        let mut known: Vec<String> = labels.iter().take(12).map(|l| format!("`{l}`")).collect();
        if labels.len() > known.len() {
            known.push("…".to_owned());
        }
        bail!(
            "`{}`: {} of the {} folders have not the name of a class: {}; the model has {} \
             classes: {}",
            root.display(),
            unknown.len(),
            folders.len(),
            unknown.join(", "),
            labels.len(),
            known.join(", ")
        );
    }
    Ok((found.into_iter().flatten().collect(), false))
}

/// Calls `f` on every picture in a folder and the folders in it; links to folders are not followed.
fn list(folder: &Path, f: &mut dyn FnMut(PathBuf)) -> anyhow::Result<()> {
    for entry in entries(folder)? {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(&path, f)?;
        } else if pictures::is_one(&path) && path.is_file() {
            f(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<fs::DirEntry>> {
    let read = || fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("cannot read `{}`", folder.display()))
}
