//! Dynamic libraries, found while running.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// An open library. It is never closed: classes and constants of it may be in use anywhere.
#[derive(Debug)]
pub(crate) struct Library {
    handle: NonNull<c_void>,
    path: PathBuf,
}

// SAFETY: a handle is a name for the loader, whose functions may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Opens the library at a path.
    ///
    /// # Errors
    /// With the loader's words.
    pub(crate) fn open(path: &Path) -> Result<Library, String> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| format!("{} holds a zero byte", path.display()))?;
        // SAFETY: a C string. The frameworks of the system, or those of tests, run their
        // initialisers, which is what opening a library means.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Library { handle, path: path.to_owned() }),
            None => Err(last_error().unwrap_or_else(|| format!("cannot open {}", path.display()))),
        }
    }

    /// Address of a function or of a constant.
    ///
    /// # Errors
    /// If the library has none of this name.
    pub(crate) fn symbol(&self, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: an open library and a C string.
        let address = unsafe { libc::dlsym(self.handle.as_ptr(), name.as_ptr()) };
        NonNull::new(address).ok_or_else(|| {
            format!("{} has no symbol `{}`", self.path.display(), name.to_string_lossy())
        })
    }
}

/// The loader's last complaint on this thread.
fn last_error() -> Option<String> {
    // SAFETY: the loader gives null or a C string that lives until its next call on this thread.
    unsafe {
        let message = libc::dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    }
}
