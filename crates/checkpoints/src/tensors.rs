//! A table of tensors, and reading them.

use crate::encoding::Undecodable;
use crate::{Encoding, Error, Input};
use std::collections::BTreeMap;
use std::path::Path;

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, the one whose elements lie side by side last.
    pub dims: Vec<usize>,
    /// How its numbers are encoded.
    pub encoding: Encoding,
    /// Which of the inputs it is in.
    pub(crate) input: usize,
    /// Where its first byte is.
    pub(crate) start: u64,
}

impl TensorInfo {
    /// The number of its elements.
    pub fn elements(&self) -> usize {
        // Whether this overflows was checked when the tensor was added.
        self.dims.iter().product()
    }

    /// Encoding and dimensions, for messages.
    pub fn describe(&self) -> String {
        format!("{} {:?}", self.encoding, self.dims)
    }
}

/// The tensors of a checkpoint's files. What they are is in memory, their data are not.
#[derive(Debug, Default)]
pub struct Tensors {
    inputs: Vec<Input>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Elements converted at a time: a multiple of every block.
const PIECE: usize = 1 << 16;

/// What must hold for the bytes between tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// There may be any.
    Allowed,
    /// Tensors follow each other from this position to the end of the file.
    NoneFrom(u64),
    /// They do, but there may be fewer bytes than this between and behind them.
    Fewer {
        /// Where the first begins.
        from: u64,
        /// The number of bytes.
        than: u64,
    },
}

impl Tensors {
    /// Adds a file's tensors. Positions are checked: each must lie within the file, and no two
    /// may overlap.
    pub(crate) fn add(
        &mut self,
        input: Input,
        tensors: Vec<TensorInfo>,
        gaps: Gaps,
    ) -> Result<(), Error> {
        let index = self.inputs.len();
        let path = input.path().to_owned();
        let mut extents = vec![];
        for mut info in tensors {
            let refuse = |reason: String| Error::tensor(&path, &info.name, reason);
            if info.name.is_empty() {
                return Err(refuse("it has no name".to_owned()));
            }
            let size = info.encoding.size(&info.dims).map_err(refuse)?;
            let end = info.start.checked_add(size).filter(|&end| end <= input.size());
            let end = end.ok_or_else(|| {
                let (start, file) = (info.start, input.size());
                refuse(format!("{size} bytes at {start} are not within a file of {file} bytes"))
            })?;
            if let Some(other) = self.tensors.get(&info.name) {
                let other = self.inputs.get(other.input).map(|input| input.path().display());
                let reason = match other {
                    Some(other) => format!("it is in {other} as well"),
                    None => "there are two of this name".to_owned(),
                };
                return Err(refuse(reason));
            }
            extents.push((info.start, end, info.name.clone()));
            info.input = index;
            self.tensors.insert(info.name.clone(), info);
        }
        extents.sort();
        let (from, most) = match gaps {
            Gaps::Allowed => (0, u64::MAX),
            Gaps::NoneFrom(from) => (from, 0),
            Gaps::Fewer { from, than } => (from, than - 1),
        };
        let mut before = (from, "the header".to_owned());
        for (start, end, name) in extents {
            let (last, previous) = &before;
            if start < *last {
                let reason = format!("it begins at byte {start}, within {previous}");
                return Err(Error::tensor(&path, &name, reason));
            }
            if start - last > most {
                let reason = format!("{} bytes before it belong to no tensor", start - last);
                return Err(Error::tensor(&path, &name, reason));
            }
            before = (end, format!("`{name}`"));
        }
        // A file may end where its data would begin, if there are none.
        let behind = input.size().saturating_sub(before.0);
        if behind > most {
            let reason = format!(
                "{behind} bytes follow the last tensor: the file is damaged, or its header is"
            );
            return Err(Error::format(&path, reason));
        }
        self.inputs.push(input);
        Ok(())
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The file that a tensor is in.
    pub fn path(&self, info: &TensorInfo) -> &Path {
        self.inputs[info.input].path()
    }

    /// Reads elements `first..first + out.len()` of a tensor of this table as f32. Threads may do
    /// so at the same time.
    ///
    /// # Errors
    /// If the file cannot be read, a scale is not finite, a number is too large for f32, or the
    /// encoding is one that is not read. Numbers that are infinite or none in the file are given as
    /// they are, and so are negative scales, which some encodings have.
    ///
    /// # Panics
    /// If the tensor has fewer elements.
    pub fn read(&self, info: &TensorInfo, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let end = first.checked_add(out.len());
        assert!(end.is_some_and(|end| end <= info.elements()), "room for `{}`", info.name);
        if let Encoding::Int8 { group, scales } = info.encoding {
            return self.read_groups(info, (group, scales), first, out);
        }
        let (block, size) = info.encoding.block();
        let input = &self.inputs[info.input];
        let mut bytes =
            vec![0; PIECE.min(out.len().next_multiple_of(block) + block) / block * size];
        let mut spare = vec![];
        let mut done = 0;
        while done < out.len() {
            let position = first + done;
            let within = position % block;
            let count = (out.len() - done).min(PIECE - block * usize::from(block > 1));
            let blocks = (within + count).div_ceil(block);
            let bytes = &mut bytes[..blocks * size];
            let start = info.start + (position / block * size) as u64;
            input.read_at(start, bytes)?;
            let out = &mut out[done..done + count];
            let decoded = if within == 0 && count == blocks * block {
                info.encoding.decode(bytes, out)
            } else {
                // The ends of a range may lie within blocks.
                spare.resize(blocks * block, 0.0);
                let decoded = info.encoding.decode(bytes, &mut spare);
                out.copy_from_slice(&spare[within..within + count]);
                decoded
            };
            decoded.map_err(|bad| {
                let reason = match bad {
                    Undecodable::Scale(bad) => {
                        format!("the scale of block {} is not finite", position / block + bad)
                    }
                    Undecodable::Number(index, number) => {
                        let index = position / block * block + index;
                        format!("number {index}, {number:e}, is too large for single precision")
                    }
                    Undecodable::Encoding => format!("{} is not read here", info.encoding),
                };
                Error::tensor(input.path(), &info.name, reason)
            })?;
            done += count;
        }
        Ok(())
    }

    fn read_groups(
        &self,
        info: &TensorInfo,
        (group, scales): (usize, u64),
        first: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let input = &self.inputs[info.input];
        let mut bytes = vec![0; PIECE.min(out.len())];
        let mut position = first;
        for out in out.chunks_mut(PIECE) {
            let bytes = &mut bytes[..out.len()];
            input.read_at(info.start + position as u64, bytes)?;
            let groups = position / group..(position + out.len()).div_ceil(group);
            let mut factors = vec![0.0; groups.len()];
            let mut raw = vec![0; 4 * groups.len()];
            input.read_at(scales + 4 * groups.start as u64, &mut raw)?;
            Encoding::F32.decode(&raw, &mut factors).expect("any bytes are f32");
            // The product with any integer of 8 bits must be a number, too.
            if let Some(bad) = factors.iter().position(|scale| !(scale * 128.0).is_finite()) {
                let problem = if factors[bad].is_finite() { "too large" } else { "not finite" };
                let reason = format!("the scale of group {} is {problem}", groups.start + bad);
                return Err(Error::tensor(input.path(), &info.name, reason));
            }
            for (i, (value, &q)) in out.iter_mut().zip(&*bytes).enumerate() {
                *value = factors[(position + i) / group - groups.start] * f32::from(q as i8);
            }
            position += out.len();
        }
        Ok(())
    }
}
