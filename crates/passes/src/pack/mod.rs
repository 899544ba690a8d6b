//! Gives a kernel one input and one output, as an engine likes it that knows only surfaces.
//!
//! Before:
//! ```text
//! func k(tensor<fp16, [1, 8, 1, 32]> h, tensor<fp16, [1, 1, 4, 8]> w) {
//!     tensor<fp16, [1, 1, 8, 32]> h4 = reshape(x = h, shape = [1, 1, 8, 32]);
//!     tensor<fp16, [1, 1, 4, 32]> p = matmul(x = w, y = h4);
//! } -> (p);
//! ```
//! After, with the weight's transpose beside the activations, so that nothing is compiled anew
//! when it changes:
//! ```text
//! func main(tensor<fp16, [1, 8, 1, 64]> packed) {
//!     tensor<fp16, [1, 8, 1, 32]> h = slice_by_size(x = packed, begin = [0, 0, 0, 0], …);
//!     tensor<fp16, [1, 8, 1, 4]> s = slice_by_size(x = packed, begin = [0, 0, 0, 32], …);
//!     tensor<fp16, [1, 1, 8, 4]> w = reshape(x = s, shape = [1, 1, 8, 4]);
//!     …
//!     tensor<fp16, [1, 1, 4, 32]> p = matmul(x = w, y = h4, transpose_x = true);
//!     tensor<fp16, [1, 4, 1, 32]> results = reshape(x = p, shape = [1, 4, 1, 32]);
//! } -> (results);
//! ```
//!
//! Every value is a block of rows (channels) and columns. Blocks of the input stand side by side
//! along the columns, each beginning at a multiple of [`Options::column_multiple`]; blocks of the
//! output stand below each other along the rows. A weight that only products read may lie either
//! way round: the way that makes the input smallest is taken.

mod layout;
mod write;

use mil::{Function, Literal};
use std::collections::BTreeMap;

/// How to pack.
#[derive(Clone, Debug)]
pub struct Options {
    /// The inputs that are weights.
    pub weights: Vec<String>,
    /// Blocks begin at multiples of this many columns, and rows are padded to one.
    pub column_multiple: usize,
    /// Weights that are constants of the kernel instead of blocks of its input, with what stands
    /// for them.
    pub constants: BTreeMap<String, Literal>,
}

/// A kernel with one input and one output.
#[derive(Clone, Debug)]
pub struct Packed {
    /// `main`, from `[1, rows, 1, columns]` to the same.
    pub function: Function,
    /// The input.
    pub input: Layout,
    /// The output.
    pub output: Layout,
}

/// A surface of several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name of the port.
    pub port: String,
    /// Channels.
    pub rows: usize,
    /// Elements of a channel.
    pub columns: usize,
    /// Where the values are.
    pub blocks: Vec<Block>,
}

/// A value in a surface: `rows × columns` elements in row-major order of the value, or of its
/// transpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The value's name.
    pub value: String,
    /// Its channels.
    pub rows: usize,
    /// Its elements of a channel.
    pub columns: usize,
    /// The first channel.
    pub row: usize,
    /// The first column.
    pub column: usize,
    /// Whether it is a weight.
    pub weight: bool,
    /// Whether the block is the transpose of the value's last two axes.
    pub transposed: bool,
}

/// Why a kernel cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has no input left, or no output.
    #[error("`{0}` has no activation to read, or gives nothing")]
    Empty(String),
    /// A value is not fp16, or its shape is not fixed.
    #[error("`{function}`: `{value}` is {ty}; a kernel's ports are fp16 of fixed shape")]
    Type {
        /// The kernel.
        function: String,
        /// The value.
        value: String,
        /// Its type.
        ty: String,
    },
    /// Outputs cannot be rows of one surface.
    #[error("`{function}`: `{value}` cannot be written in rows of {columns} elements")]
    Columns {
        /// The kernel.
        function: String,
        /// The value.
        value: String,
        /// Elements of a row.
        columns: usize,
    },
    /// An operation has no form in the packed kernel.
    #[error("`{function}`: {message}")]
    Operation {
        /// The kernel.
        function: String,
        /// What is wrong.
        message: String,
    },
}

/// Packs a kernel.
///
/// # Errors
/// If a port is not fp16 of fixed shape, or there is none.
pub fn pack(function: &Function, options: &Options) -> Result<Packed, Error> {
    let (input, output) = layouts(function, options)?;
    write::write(function, options, input, output)
}

/// The surfaces that a packed kernel would have, without writing it.
///
/// # Errors
/// As [`pack`].
pub fn layouts(function: &Function, options: &Options) -> Result<(Layout, Layout), Error> {
    let shapes = layout::Shapes::of(function, options)?;
    Ok((layout::input(&shapes, options), layout::output(&shapes, options)?))
}

impl Layout {
    /// Bytes of the surface, fp16.
    pub fn bytes(&self) -> usize {
        self.rows * self.columns * 2
    }

    /// The block of a value.
    pub fn block(&self, value: &str) -> Option<&Block> {
        self.blocks.iter().find(|b| b.value == value)
    }
}
