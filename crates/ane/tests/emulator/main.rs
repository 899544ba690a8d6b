//! The emulator from the outside: what it computes, and what it refuses.

mod budgets;
mod common;
mod programs;
mod quirks;
mod random;
mod refusals;
mod rules;
mod surfaces;
