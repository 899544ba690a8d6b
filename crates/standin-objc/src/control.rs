//! What tests do with the runtime: break it, look at it, and see that nothing is left.

use crate::raw;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr::null;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that goes wrong in the stand-in frameworks, a number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The compiler refuses the program, with an error object.
    Compile,
    /// The compiler fails and gives no error object.
    CompileSilently,
    /// The program cannot be loaded.
    Load,
    /// Evaluation fails with this status.
    Evaluate(u32),
    /// The completion handler is never called.
    NoCompletion,
    /// The completion handler is told of a failure.
    CompletionFails,
    /// A descriptor, a model or a request is nil.
    Nil,
    /// An `IOSurface` cannot be made.
    NoSurface,
    /// An `IOSurface` cannot be locked.
    Lock,
    /// An `e5rt` function fails.
    E5rt,
}

impl Fault {
    /// The name in the runtime's table, and the value that goes with it.
    fn entry(self) -> (&'static CStr, u64) {
        match self {
            Fault::Compile => (c"compile", 1),
            Fault::CompileSilently => (c"compile silently", 1),
            Fault::Load => (c"load", 1),
            Fault::Evaluate(status) => (c"evaluate", u64::from(status)),
            Fault::NoCompletion => (c"no completion", 1),
            Fault::CompletionFails => (c"completion fails", 1),
            Fault::Nil => (c"nil", 1),
            Fault::NoSurface => (c"no surface", 1),
            Fault::Lock => (c"lock", 1),
            Fault::E5rt => (c"e5rt", 1),
        }
    }

    /// Whether it is to happen now; the value that goes with it. For the stand-in frameworks.
    pub fn strikes(self) -> Option<u64> {
        // SAFETY: a C string.
        let value = unsafe { raw::standin_fault_strikes(self.entry().0.as_ptr()) };
        (value != 0).then_some(value)
    }
}

/// A test's sole use of the runtime, from a clean state. Tests of one process wait for another
/// here, because faults and counts belong to the process.
#[derive(Debug)]
pub struct Session {
    live: isize,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Session {
    /// Waits for the turn, with no faults and an empty log.
    pub fn begin() -> Session {
        // A test that failed says so itself; the next one begins from a clean state.
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let session = Session { live: live(), _turn };
        session.heal();
        session.messages();
        // SAFETY: takes nothing.
        unsafe { raw::standin_next_session() };
        session
    }

    /// Takes no objects into account that are there already, such as a library's constants.
    pub fn count_from_here(&mut self) {
        self.live = live();
    }

    /// Lets a fault happen the next `times` times.
    pub fn break_down(&self, fault: Fault, times: u64) {
        let (name, value) = fault.entry();
        // SAFETY: a C string.
        unsafe { raw::standin_fault(name.as_ptr(), value, times) };
    }

    /// Makes a class missing.
    pub fn hide_class(&self, class: &CStr) {
        // SAFETY: a C string.
        unsafe { raw::standin_hide(class.as_ptr(), null()) };
    }

    /// Makes a method missing.
    pub fn hide_method(&self, class: &CStr, selector: &CStr) {
        // SAFETY: C strings.
        unsafe { raw::standin_hide(class.as_ptr(), selector.as_ptr()) };
    }

    /// Gives an instance method other types, and returns those it had.
    pub fn retype(&self, class: &CStr, selector: &CStr, types: &CStr) -> CString {
        // SAFETY: C strings; what is returned is one that lives for ever.
        unsafe {
            let old = raw::standin_retype(class.as_ptr(), selector.as_ptr(), types.as_ptr());
            CStr::from_ptr(old).to_owned()
        }
    }

    /// Ends all faults and shows what was hidden.
    pub fn heal(&self) {
        // SAFETY: these take nothing.
        unsafe {
            raw::standin_show_all();
            raw::standin_no_faults();
        }
    }

    /// The messages to private classes since the last call, in order, such as
    /// `+[_ANEClient sharedConnection]`.
    pub fn messages(&self) -> Vec<String> {
        extern "C" fn each(context: *mut c_void, line: *const c_char) {
            // SAFETY: the context is the vector below, and the line a C string.
            let (lines, line) =
                unsafe { (&mut *context.cast::<Vec<String>>(), CStr::from_ptr(line)) };
            lines.push(line.to_string_lossy().into_owned());
        }
        let mut lines = vec![];
        // SAFETY: `each` gets the vector for as long as the call.
        unsafe { raw::standin_take_log(each, (&raw mut lines).cast()) };
        lines
    }

    /// Objects and blocks that were made since the session began and are still there. Threads of
    /// the stand-in frameworks that have called a completion handler are given time to end.
    pub fn leaked(&self) -> isize {
        for _ in 0..1000 {
            if live() == self.live {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        live() - self.live
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.heal();
    }
}

fn live() -> isize {
    // SAFETY: takes nothing.
    unsafe { raw::standin_live() }
}

/// The stand-in frameworks, which cargo builds beside the tests that depend on them.
///
/// # Panics
/// If they are not there.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a process has an executable");
    let folder = test.parent().expect("an executable lies in a folder");
    let path = folder.join("libanemone_standin_ane.so");
    assert!(path.exists(), "{} is not there", path.display());
    path
}
