//! Tensors from weight files, read as the engine's compiler reads them.

use super::verdict::acting;
use crate::target::Target;
use mil::{BlobRef, Block, Literal, Tensor, Weights, element_count};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Programs with more bytes of constants are refused: the engine gives a program about 2 GB.
const MAX_BYTES: usize = 2 << 30;

/// Where a record's metadata has its size, and how long metadata is.
const SIZE: usize = 8;
const METADATA: usize = 64;

/// A program's weight files at the time of compilation.
pub(super) struct Files<'a> {
    bytes: &'a BTreeMap<String, Arc<[u8]>>,
    weights: Weights,
    /// Whether a position without a record is read nevertheless.
    misread: bool,
    /// Whether sizes must be those of the tensors.
    strict: bool,
    /// Bytes read so far.
    total: usize,
}

impl<'a> Files<'a> {
    pub fn new(
        bytes: &'a BTreeMap<String, Arc<[u8]>>,
        misread: bool,
        target: &Target,
    ) -> Files<'a> {
        let files = bytes.iter().map(|(path, bytes)| (path, bytes.clone()));
        let strict = acting("blob-size", target).is_some();
        Files { bytes, weights: Weights::in_memory(files), misread, strict, total: 0 }
    }

    /// Replaces every reference to a weight file by the tensor that is there.
    pub fn load(&mut self, block: &mut Block) -> Result<(), String> {
        for operation in &mut block.operations {
            for literal in operation.literals_mut() {
                if let Literal::Blob(blob) = literal {
                    *literal = self.tensor(blob)?.into();
                }
            }
            for block in &mut operation.blocks {
                self.load(block)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, blob: &BlobRef) -> Result<Tensor, String> {
        let bytes = element_count(&blob.dims).and_then(|count| blob.dtype.packed_bytes(count));
        let total = bytes.and_then(|bytes| self.total.checked_add(bytes));
        let Some((bytes, total)) = bytes.zip(total).filter(|&(_, total)| total <= MAX_BYTES) else {
            return Err(format!(
                "the constants from weight files take more than {MAX_BYTES} bytes"
            ));
        };
        self.total = total;
        let is_record = matches!(blob.offset, 64.. if blob.offset.is_multiple_of(64));
        if self.misread && !(is_record && self.weights.load(blob).is_ok()) {
            return self.garbage(blob, bytes);
        }
        let tensor = self.weights.load(blob).map_err(|error| error.to_string())?;
        let metadata = self.file(blob).and_then(|file| file.get(blob.offset as usize..));
        let size = metadata.and_then(|metadata| metadata.get(SIZE..)?.first_chunk());
        match size.map(|size| u64::from_le_bytes(*size)) {
            Some(size) if self.strict && size != tensor.bytes().len() as u64 => Err(format!(
                "weight file `{}`, record at byte {}: it says that it has {size} bytes, {} has {} \
                 (rule blob-size)",
                blob.path,
                blob.offset,
                tensor.ty(),
                tensor.bytes().len()
            )),
            _ => Ok(tensor),
        }
    }

    /// What a reader gets that takes any position for that of a record: the bytes where the data
    /// would be, and zeros where the file has ended.
    fn garbage(&self, blob: &BlobRef, bytes: usize) -> Result<Tensor, String> {
        let file = self.file(blob).ok_or_else(|| format!("there is no file `{}`", blob.path))?;
        let from = usize::try_from(blob.offset).unwrap_or(usize::MAX).saturating_add(METADATA);
        let there = file.get(from..).unwrap_or(&[]);
        let mut found = there[..there.len().min(bytes)].to_vec();
        found.resize(bytes, 0);
        Tensor::from_bytes(blob.dtype, &blob.dims, found).map_err(|error| error.to_string())
    }

    fn file(&self, blob: &BlobRef) -> Option<&[u8]> {
        let short = |path: &'_ str| path.strip_prefix("@model_path/").unwrap_or(path).to_owned();
        let wanted = short(&blob.path);
        let found = self.bytes.iter().find(|(path, _)| short(path) == wanted);
        found.map(|(_, bytes)| &bytes[..])
    }
}
