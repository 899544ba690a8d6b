//! Errors as C sees them: a status for each call, and the thread's last message.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong; the numbers are `anemone_status` in `anemone.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Status {
    /// The call is wrong: a null pointer, an index, a size, a name.
    Argument = 1,
    /// The text or a weight file is not a valid program.
    Program = 2,
    /// The device cannot do it, or failed.
    Device = 3,
    /// A handle or a surface is in use.
    Busy = 4,
    /// The operating system refused memory, a file or a thread.
    System = 5,
    /// A budget of this process is spent.
    NewProcess = 6,
    /// A mistake of this library.
    Internal = 7,
}

/// An error with its message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    pub(crate) status: Status,
    pub(crate) message: String,
    /// The engine's status code, such as 0x1d.
    pub(crate) code: u32,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into(), code: 0 }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Error {
        Error::new(Status::Argument, message)
    }

    pub(crate) fn program(message: impl Into<String>) -> Error {
        Error::new(Status::Program, message)
    }
}

impl From<runtime::Error> for Error {
    fn from(error: runtime::Error) -> Error {
        use runtime::Error::*;
        let status = match &error {
            NoFunction(_) => Status::Argument,
            Invalid { .. } | Weights(_) | Op(_) => Status::Program,
            NewProcess { .. } => Status::NewProcess,
            Surface { source: surface::Error::Busy, .. } => Status::Busy,
            Surface { .. } => Status::System,
            Unsupported { .. } | Bind { .. } | Evaluate { .. } => Status::Device,
        };
        Error::new(status, error.to_string())
    }
}

impl From<ane::EngineError> for Error {
    fn from(error: ane::EngineError) -> Error {
        let status = match (error.needs_new_process, error.stage) {
            (true, _) => Status::NewProcess,
            (false, ane::Stage::Surface) => Status::System,
            (false, _) => Status::Device,
        };
        let code = error.code.unwrap_or(0);
        Error { status, message: error.to_string(), code }
    }
}

impl From<surface::Error> for Error {
    fn from(error: surface::Error) -> Error {
        let status = match error {
            surface::Error::Busy => Status::Busy,
            surface::Error::Allocate { .. } | surface::Error::Lock(_) => Status::System,
        };
        Error::new(status, error.to_string())
    }
}

impl From<mil::BlobError> for Error {
    fn from(error: mil::BlobError) -> Error {
        Error::program(error.to_string())
    }
}

/// The thread's last error.
#[derive(Default)]
struct Last {
    message: CString,
    code: u32,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// Text for C. A NUL in it, which only hostile input can bring, ends it early.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// Keeps an error for [`last_message`].
pub(crate) fn keep(error: &Error) {
    let message = c_string(&error.message);
    // The thread may be ending, with its locals gone; then nobody can ask any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Last { message, code: error.code });
}

/// The thread's last message, or an empty one; it stays until the next error of this thread.
pub(crate) fn last_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().message.as_ptr()).unwrap_or(c"".as_ptr())
}

/// The engine's status code that came with the thread's last message, or 0.
pub(crate) fn last_code() -> u32 {
    LAST.try_with(|last| last.borrow().code).unwrap_or(0)
}

/// Runs what stands behind a function of the library: an error is kept, a panic becomes one.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is behind locks, whose users expect that.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = format!("mistake in anemone: {}", said(&*panic));
        Err(Error::new(Status::Internal, message))
    });
    result.inspect_err(keep)
}

/// [`guarded`], for functions that give a status.
pub(crate) fn status(call: impl FnOnce() -> Result<()>) -> i32 {
    guarded(call).map_or_else(|error| error.status as i32, |()| 0)
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: the message is a C string of this thread, read before the next error.
        unsafe { CStr::from_ptr(last_message()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_words() {
        assert_eq!(status(|| panic!("seven {}", 7)), Status::Internal as i32);
        assert_eq!(last(), "mistake in anemone: seven 7");
        assert_eq!(status(|| Ok(())), 0);
        assert_eq!(last(), "mistake in anemone: seven 7", "success leaves the message");
    }

    #[test]
    fn every_thread_has_its_own_message() {
        let _ = status(|| Err(Error::argument("here")));
        let other = std::thread::spawn(last).join().expect("the thread ends");
        assert_eq!((other.as_str(), last().as_str()), ("", "here"));
    }

    #[test]
    fn a_nul_ends_a_message() {
        let _ = status(|| Err(Error { code: 0x1d, ..Error::argument("a\0b") }));
        assert_eq!((last().as_str(), last_code()), ("a", 0x1d));
    }
}
