//! Core ML's model files in and out: packages, model files, compiled folders and texts.
//!
//! Start from [`Model::read`], which gives a [`mil::Program`], the [`Interface`] that users see, and
//! the place of the weights; [`Model::write`] writes one in any [`Form`]. [`specialize`] gives the
//! inputs of a function their shapes.
//!
//! Models of other kinds than ML Programs are refused by their names. Nothing here evaluates, and
//! weights stay in their files: they are copied from file to file, never held.
//!
//! What model files say that programs and interfaces have no place for is left out when they are
//! written again: `docString`, attributes of types, and the spelling of a text (`program(1.0)`),
//! which follows from the operator set; a tuple of one operand becomes the operand. The description is kept byte for byte as long as the
//! interface is the one that was read.
#![forbid(unsafe_code)]

mod compiled;
mod constants;
mod derive;
mod description;
mod error;
mod interface;
mod model;
mod package;
mod proto;
mod read;
#[cfg(test)]
mod round_trip;
mod save;
mod specialize;
mod wire;
mod write;

pub use constants::parameters_in_place;
pub use derive::with_information;
pub use error::{Error, Problem, Problems};
pub use interface::{
    ArrayType, ColorSpace, DefaultValue, Feature, FeatureType, Flexibility, FunctionInterface,
    ImageFlexibility, ImageType, Interface, KeyType, Metadata, SizeRange,
};
pub use model::Model;
pub use package::root_model;
pub use save::Form;
pub use specialize::{Shapes, specialize};
