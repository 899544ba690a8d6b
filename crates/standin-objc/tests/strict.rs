//! The mistakes that the stand-in runtime is there to find. Each ends the process, so each is made
//! in a process of its own: this test, run again with the mistake's name in its environment.
#![cfg(not(target_vendor = "apple"))]

use anemone_standin_objc::{Id, class, new, payload};
use std::ffi::{CStr, c_char, c_void};
use std::process::Command;
use std::ptr::null_mut;

#[link(name = "objc")]
unsafe extern "C" {
    fn sel_registerName(name: *const c_char) -> *const c_char;
    fn objc_retain(object: Id) -> Id;
    fn objc_release(object: Id);
    fn objc_autorelease(object: Id) -> Id;
    fn objc_autoreleasePoolPush() -> *mut c_void;
    fn objc_autoreleasePoolPop(pool: *mut c_void);
    fn standin_live() -> isize;
}

unsafe extern "C-unwind" {
    fn objc_msg_lookup(receiver: Id, selector: *const c_char) -> *const c_void;
}

const NAME: &CStr = c"Thing";
const MISTAKE: &str = "ANEMONE_STANDIN_MISTAKE";

fn thing() -> Id {
    // SAFETY: the class is made with the same type.
    unsafe { new(class::<u32>(NAME), 7u32) }
}

fn send(receiver: Id, selector: &CStr) {
    // SAFETY: an object, a class or nil, and a C string; nothing is called.
    unsafe { objc_msg_lookup(receiver, sel_registerName(selector.as_ptr())) };
}

fn release(object: Id) {
    // SAFETY: headers of objects are never freed, so that this is defined for freed ones too.
    unsafe { objc_release(object) };
}

/// A mistake's name, what is said of it, and making it.
type Mistake = (&'static str, &'static str, fn());

const MISTAKES: [Mistake; 6] = [
    ("unknown selector", "Thing does not understand `fly`", || send(thing(), c"fly")),
    ("message to nil", "`fly` is sent to nil", || send(null_mut(), c"fly")),
    ("message to a freed object", "fly: the Thing was freed before", || {
        let object = thing();
        release(object);
        send(object, c"fly");
    }),
    ("a release too many", "release: the Thing was freed before", || {
        let object = thing();
        release(object);
        release(object);
    }),
    ("no pool", "an object is autoreleased and no pool is in place", || {
        // SAFETY: an object.
        unsafe { objc_autorelease(thing()) };
    }),
    ("another class", "\"Thing\" is used as \"Other\"", || {
        // SAFETY: the runtime ends the process before anything is read.
        unsafe { payload::<u32>(thing(), c"Other") };
    }),
];

#[test]
fn every_mistake_ends_the_process_with_a_message() {
    if let Ok(name) = std::env::var(MISTAKE) {
        let (.., make) = MISTAKES.iter().find(|(mistake, ..)| *mistake == name).unwrap();
        make();
        return;
    }
    for (mistake, words, _) in MISTAKES {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let again = again.env(MISTAKE, mistake).arg("every_mistake").arg("--nocapture");
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{mistake}: nothing happened");
        let expected = format!("stand-in Objective-C runtime: {words}");
        assert!(said.contains(&expected), "{mistake}: {said}");
    }
}

#[test]
fn what_is_released_is_gone_and_counted() {
    // SAFETY: objects and pools, in order.
    unsafe {
        let before = standin_live();
        let object = thing();
        assert_eq!(*payload::<u32>(object, NAME), 7);
        objc_retain(object);
        release(object);
        assert_eq!(standin_live(), before + 1);
        let pool = objc_autoreleasePoolPush();
        objc_autorelease(object);
        assert_eq!(standin_live(), before + 1, "the pool releases it later");
        objc_autoreleasePoolPop(pool);
        assert_eq!(standin_live(), before);
    }
}
