//! The routes, run against the stand-ins for the Objective-C runtime and Apple's frameworks.
//!
//! Nothing here shows that Apple's classes are what we believe. It shows that what is sent has
//! the types that we believe in, in the right order; that every failure becomes an error that
//! says what failed; and that nothing is left, neither objects nor directories.
#![cfg(not(target_vendor = "apple"))]

mod common;
mod faults;
mod finding;
mod running;
mod training;
