//! What the engine's compiler reads: MIL text, and weight files for all but small constants.

use crate::Source;
use crate::target::with_head;
use mil::{BlobRef, BlobWriter, Function, Literal, Op, Program, Tensor, Weights};
use runtime::Error;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the only record of a weight file begins.
pub(super) const RECORD: u64 = 64;

/// Constants of more bytes than this go into weight files.
const INLINE_BYTES: usize = 256;

/// A kernel as the engine's compiler reads it.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The text.
    pub text: String,
    /// The files of its constants; those of baked weights are missing.
    pub weights: BTreeMap<String, Arc<[u8]>>,
}

/// The path of a weight of its own file.
pub(super) fn weight_path(name: &str) -> String {
    format!("@model_path/weights/{name}.bin")
}

/// Writes a packed kernel. `missing` names the constants whose files are written later.
///
/// # Errors
/// If a constant's own file cannot be read.
pub fn emit(
    function: &Function,
    files: &Weights,
    missing: &dyn Fn(&str) -> bool,
) -> Result<Emitted, Error> {
    let mut function = function.clone();
    let mut weights = BTreeMap::new();
    let names: Vec<String> = function.values.iter().map(|v| v.name.clone()).collect();
    for operation in &mut function.body.operations {
        if operation.op != Op::Const {
            continue;
        }
        let name = &names[operation.output().index()];
        let Some(val) = operation.attributes.get_mut("val") else { continue };
        let tensor = match val {
            Literal::Blob(blob) if missing(&blob.path) => continue,
            Literal::Blob(blob) => files.load(blob)?,
            Literal::Tensor(tensor) if tensor.bytes().len() > INLINE_BYTES => tensor.clone(),
            _ => continue,
        };
        let path = weight_path(name);
        weights.insert(path.clone(), file(&tensor)?);
        *val = Literal::Blob(BlobRef {
            dtype: tensor.dtype(),
            dims: tensor.dims().to_vec(),
            path,
            offset: RECORD,
        });
    }
    let program = with_head(Program::new(vec![function]));
    Ok(Emitted { text: mil::print(&program), weights })
}

/// A weight file of one tensor.
pub(super) fn file(tensor: &Tensor) -> Result<Arc<[u8]>, Error> {
    let mut writer = BlobWriter::in_memory();
    let offset = writer.push(tensor)?;
    debug_assert_eq!(offset, RECORD, "the first record follows the header");
    Ok(writer.into_bytes()?.into())
}

impl Emitted {
    /// As an engine takes it.
    pub fn into_source(self, name: &str) -> Source {
        Source { name: name.to_owned(), text: self.text, weights: self.weights }
    }
}
