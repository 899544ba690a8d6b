//! MIL, Core ML's Model Intermediate Language: the language that every device of this project
//! compiles.
//!
//! Start from [`Program`]; [`FunctionBuilder`] writes one. [`OPS`] describes every op once, and
//! [`infer`] gives the types of its results.
//!
//! This crate knows no device, evaluates nothing, and reads no files but programs and their
//! weight files.
#![forbid(unsafe_code)]

mod blob_writer;
mod build_ops;
mod builder;
mod diagnostic;
mod dtype;
mod fp8;
mod infer;
mod literal;
mod op;
mod params;
mod program;
mod round;
pub mod shape;
mod text;
mod types;
mod verify;
mod weights;

pub use blob_writer::{AtomicFile, BlobWriter};
pub use builder::FunctionBuilder;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use dtype::DataType;
pub use infer::infer;
pub use literal::{BlobRef, Literal, Tensor, TensorError, element_count};
pub use op::{DefaultValue, OPS, Op, OpSpec, ParamSpec, ParamType};
pub use params::{Env, FunctionEnv, OpError, Params};
pub use program::{Arg, Block, Function, Operand, Operation, Opset, Program, Span, Value, ValueId};
pub use text::{parse, print};
pub use types::{Dim, Shape, TensorType, Type};
pub use verify::{is_identifier, verify, verify_function};
pub use weights::{BlobError, Weights, weight_path};
