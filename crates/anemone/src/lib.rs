//! Core ML's models on any machine: load them, look into them, run them, differentiate them.
//!
//! A [`Model`] is loaded from a package, a compiled folder, a model file or a text. A [`Session`]
//! evaluates one of its functions again and again, and keeps its states. A [`Gradient`] evaluates
//! a function and its reverse, for inputs and for weights.
//!
//! ```
//! use anemone::mil::{DataType, Tensor};
//! use anemone::{Model, coreml::FeatureType};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
//! // Load.
//! let model = Model::load(format!("{folder}/perceptron.mlpackage"))?;
//!
//! // Inspect.
//! let features = model.features(None)?;
//! assert_eq!(features.inputs[0].name, "x");
//! assert_eq!(features.inputs[0].ty.to_string(), "array of fp32 [2, 8]");
//! assert_eq!(features.outputs[0].default_shape(), Some(vec![2, 4]));
//! assert_eq!(model.metadata().author, "A. Nemone");
//! assert_eq!(model.ops(None)?["linear"], 2);
//!
//! // Predict.
//! let x = Tensor::from_f64s(DataType::Fp32, &[2, 8], &[0.5; 16])?;
//! let mut session = model.session()?;
//! let prediction = session.predict([("x", x.clone())])?;
//! let y = prediction.output("y")?;
//! assert_eq!(y.dims(), [2, 4]);
//! assert!(session.placement().iter().all(|operation| operation.place.starts_with("cpu")));
//!
//! // Differentiate: of the sum of all outputs, with respect to the input.
//! let ones = Tensor::from_f64s(DataType::Fp32, y.dims(), &[1.0; 8])?;
//! let result = model.gradient(&["x"])?.evaluate([("x", x)], [("y", ones)])?;
//! assert_eq!(result.outputs["y"], *y);
//! assert_eq!(result.gradients["x"].dims(), [2, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Arrays
//!
//! Arrays go in and out as [`mil::Tensor`]: an element type, a shape, and packed little-endian
//! bytes. Inputs are cast to the types that the program declares; a `Vec<f32>` is enough for a model
//! in fp16.
//!
//! An image is an array of `[1, channels, height, width]` from 0 to 255; [`image::Picture`] reads it
//! from PNG or JPEG, and resizes it.
//!
//! # States
//!
//! A state begins as zeros and lives as long as the session.
//!
//! ```
//! # use anemone::{Model, mil::{DataType, Tensor}};
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
//! let mut session = Model::load(format!("{folder}/state.mlpackage"))?.session()?;
//! let x = Tensor::from_f64s(DataType::Fp16, &[4], &[1., 2., 3., 4.])?;
//! session.predict([("x", x.clone())])?;
//! session.predict([("x", x)])?;
//! assert_eq!(session.states()?["total"].to_f64s(), [2., 4., 6., 8.]);
//! session.reset()?;
//! assert_eq!(session.states()?["total"].to_f64s(), [0.; 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Shapes
//!
//! Where a model allows several shapes, the session compiles the function for those of the inputs,
//! and keeps what it has compiled ([`Options::forms`]).
//!
//! # Classifiers
//!
//! [`Prediction::label`] is the class, [`Prediction::probabilities`] what every class has.
//!
//! ```
//! # use anemone::{Model, Label, mil::{DataType, Tensor}};
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
//! let model = Model::load(format!("{folder}/labels.mlpackage"))?;
//! let x = &model.features(None)?.inputs[0];
//! let shape = x.default_shape().expect("the model says it");
//! let count = shape.iter().product();
//! let zeros = Tensor::from_f64s(DataType::Fp32, &shape, &vec![0.0; count])?;
//! let prediction = model.session()?.predict([(&*x.name, zeros)])?;
//! assert!(matches!(prediction.label(), Some(Label::Text(_))));
//! let probabilities = prediction.probabilities().expect("it is a classifier");
//! assert!((probabilities.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Devices
//!
//! [`Device`] says what evaluates: the CPU device, the interpreter, which defines what every op
//! means, or the Neural Engine in software, which refuses what the engine refuses.
//!
//! ```
//! # use anemone::{Device, Model, Options, mil::{DataType, Tensor}};
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../coreml/tests/fixtures");
//! let model = Model::load(format!("{folder}/functions.mlpackage"))?;
//! let mut session = model.session_with(Options {
//!     function: Some("half".to_owned()),
//!     device: Device::Interpreter,
//!     ..Options::default()
//! })?;
//! let x = Tensor::from_f64s(DataType::Fp32, &[1, 8], &[1.0; 8])?;
//! assert_eq!(session.predict([("x", x)])?.output("half_y")?.dims(), [1, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod compiled;
mod constants;
mod device;
mod error;
pub mod features;
mod gradient;
pub mod image;
pub mod inspect;
mod labels;
mod model;
mod prediction;
mod session;
mod states;

pub use device::Device;
pub use error::{Error, FeatureProblem};
pub use gradient::{Gradient, GradientOptions, Gradients};
pub use model::{Model, choose};
pub use prediction::{Dictionary, Label, Prediction};
pub use session::{Options, Session};

pub use ane::{Numerics, target::Target};
pub use passes::autodiff::Recompute;
pub use runtime::Placement;
pub use {ane, coreml, cpu, mil, runtime};

/// Tensors by name.
pub type Tensors = std::collections::BTreeMap<String, mil::Tensor>;

fn tensors<N: Into<String>>(list: impl IntoIterator<Item = (N, mil::Tensor)>) -> Tensors {
    list.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect()
}
