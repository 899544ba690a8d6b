//! Temporary directories that are gone afterwards, even after a crash.
//!
//! Everything lies in one directory per [`Root`]: `anemone-ane-PID-N`, with the file
//! `anemone-ane-PID-N.lock` beside it, which is locked as long as the process lives. The next
//! process that opens a root removes directories whose lock nobody holds.
//!
//! `_ANEInMemoryModel` chooses the name of its directory itself; what is made there is noted in
//! the lock file, so that it is found too.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

const PREFIX: &str = "anemone-ane-";

/// Where the directories of one engine lie.
#[derive(Debug)]
pub(crate) struct Root {
    base: PathBuf,
    path: PathBuf,
    lock: Mutex<File>,
    lock_path: PathBuf,
    next: AtomicUsize,
    /// Directories that others name, shared by equal programs.
    named: Mutex<HashMap<PathBuf, Weak<Folder>>>,
}

/// A directory, removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _root: Arc<Root>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Root {
    /// Makes a directory in `base`, after removing what processes left there that are gone.
    pub(crate) fn new(base: &Path) -> io::Result<Arc<Root>> {
        remove_stale(base)?;
        for n in 0..1000 {
            let name = format!("{PREFIX}{}-{n}", std::process::id());
            let lock_path = base.join(format!("{name}.lock"));
            let lock = match OpenOptions::new().write(true).create_new(true).open(&lock_path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            if lock.try_lock().is_err() {
                continue; // A sweep took it between the two calls, and removes it.
            }
            let path = base.join(&name);
            fs::create_dir(&path)?;
            return Ok(Arc::new(Root {
                base: base.to_owned(),
                path,
                lock: Mutex::new(lock),
                lock_path,
                next: AtomicUsize::new(0),
                named: Mutex::default(),
            }));
        }
        Err(io::Error::other(format!("no free name for a directory in {}", base.display())))
    }

    /// A new directory of this root's own.
    pub(crate) fn folder(self: &Arc<Root>, suffix: &str) -> io::Result<Folder> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("k{n}{suffix}"));
        fs::create_dir(&path)?;
        Ok(Folder { path, _root: self.clone() })
    }

    /// The directory `name` beside this root's, shared with who asked for it before.
    pub(crate) fn named(self: &Arc<Root>, name: &str) -> io::Result<Arc<Folder>> {
        let path = self.base.join(name);
        let mut named = locked(&self.named);
        if let Some(folder) = named.get(&path).and_then(Weak::upgrade) {
            return Ok(folder);
        }
        let mut lock = locked(&self.lock);
        writeln!(lock, "{name}")?;
        lock.sync_data()?;
        fs::create_dir_all(&path)?;
        let folder = Arc::new(Folder { path: path.clone(), _root: self.clone() });
        named.insert(path, Arc::downgrade(&folder));
        Ok(folder)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process.
        _ = fs::remove_dir_all(&self.path);
        _ = fs::remove_file(&self.lock_path);
    }
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file at a path that [`relative`] gave.
    pub(crate) fn write(&self, relative: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed with the root, or by the next process.
        _ = fs::remove_dir_all(&self.path);
    }
}

/// Where a weight file lies in a model's directory: its path in the text without `@model_path/`.
///
/// # Errors
/// If the path does not begin so, or leaves the directory.
pub(crate) fn relative(path: &str) -> Result<PathBuf, String> {
    let inside = path
        .strip_prefix("@model_path/")
        .ok_or_else(|| format!("weight file `{path}` does not begin with `@model_path/`"))?;
    let relative = Path::new(inside);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    let taken = relative == Path::new("model.mil");
    if !plain || taken || inside.is_empty() || inside.ends_with('/') || inside.contains('\0') {
        return Err(format!("weight file `{path}` does not name a file in the model's directory"));
    }
    Ok(relative.to_owned())
}

/// Removes what is left of roots whose lock nobody holds.
fn remove_stale(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let Some(root) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        if !root.starts_with(PREFIX) {
            continue;
        }
        // Another user's, or one that is gone meanwhile, is none of ours.
        let Ok(lock) = File::open(entry.path()) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let named = fs::read_to_string(entry.path()).unwrap_or_default();
        for name in named.lines().filter(|name| is_identifier(name)) {
            _ = fs::remove_dir_all(base.join(name));
        }
        _ = fs::remove_dir_all(base.join(root));
        _ = fs::remove_file(entry.path());
    }
    Ok(())
}

/// Whether a line of a lock file is what [`Root::named`] is given: nothing that leaves `base`.
fn is_identifier(name: &str) -> bool {
    name.len() >= 8 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(test: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("anemone-test-{}-{test}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        base
    }

    fn names(base: &Path) -> Vec<String> {
        let entries = fs::read_dir(base).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn directories_are_gone_when_their_guards_are() {
        let base = base("guards");
        let root = Root::new(&base).unwrap();
        let folder = root.folder(".mlmodelc").unwrap();
        folder.write(Path::new("weights/a.bin"), b"x").unwrap();
        assert!(folder.path().join("weights/a.bin").exists());
        let (one, other) = (root.named("ABCDEF0123").unwrap(), root.named("ABCDEF0123").unwrap());
        drop(one);
        assert!(other.path().exists(), "another model still uses the directory");
        drop(other);
        assert!(!base.join("ABCDEF0123").exists());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
        drop(root);
        assert_eq!(names(&base), [""; 0]);
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn what_a_crash_leaves_is_removed_and_what_lives_is_not() {
        let base = base("crash");
        let alive = Root::new(&base).unwrap();
        let kept = alive.folder("").unwrap();
        // A process that was killed: its lock is free.
        fs::create_dir_all(base.join("anemone-ane-1-0/k0.mlmodelc")).unwrap();
        fs::create_dir_all(base.join("0123456789ABCDEF_A")).unwrap();
        fs::create_dir_all(base.join("precious")).unwrap();
        let noted = "0123456789ABCDEF_A\n../precious\nprecious/..\n.\n";
        fs::write(base.join("anemone-ane-1-0.lock"), noted).unwrap();
        fs::write(base.join("other.lock"), "0123456789ABCDEF_A").unwrap();
        let second = Root::new(&base).unwrap();
        assert!(kept.path().exists());
        let pid = std::process::id();
        let roots = [0, 1].map(|n| format!("anemone-ane-{pid}-{n}"));
        let mut expected = vec!["other.lock".to_owned(), "precious".to_owned()];
        expected.extend(roots.iter().flat_map(|r| [r.clone(), format!("{r}.lock")]));
        expected.sort();
        assert_eq!(names(&base), expected);
        drop((kept, alive, second));
        assert_eq!(names(&base), ["other.lock", "precious"]);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn weight_files_stay_in_the_model_s_directory() {
        assert_eq!(relative("@model_path/weights/w.bin").unwrap(), Path::new("weights/w.bin"));
        for bad in [
            "weights/w.bin",
            "@model_path/../w.bin",
            "@model_path/a/../../w.bin",
            "@model_path//etc/w.bin",
            "@model_path/",
            "@model_path/weights/",
            "@model_path/.",
            "@model_path/model.mil",
            "@model_path/a\0b",
            "/etc/passwd",
        ] {
            assert!(relative(bad).is_err(), "{bad:?} is accepted");
        }
    }
}
