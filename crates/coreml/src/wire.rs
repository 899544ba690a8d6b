//! The top level of a model file, read without the parts that nobody needs: a neural network of a
//! gigabyte says what it is without being read.

use crate::Error;
use crate::error::format_error;
use crate::proto::field;
use bytes::Bytes;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What a model file holds, as it is on the wire.
#[derive(Debug)]
pub(crate) struct TopLevel {
    pub specification_version: i64,
    pub is_updatable: bool,
    /// A message `ModelDescription`.
    pub description: Bytes,
    /// A message `Program`.
    pub program: Bytes,
}

/// Where a part of the file is: first byte and number of bytes.
type Range = (u64, u64);

/// The kinds of models by their numbers in `Model.proto`.
const KINDS: [(u32, &str); 34] = [
    (200, "pipelineClassifier"),
    (201, "pipelineRegressor"),
    (202, "pipeline"),
    (300, "glmRegressor"),
    (301, "supportVectorRegressor"),
    (302, "treeEnsembleRegressor"),
    (303, "neuralNetworkRegressor"),
    (304, "bayesianProbitRegressor"),
    (400, "glmClassifier"),
    (401, "supportVectorClassifier"),
    (402, "treeEnsembleClassifier"),
    (403, "neuralNetworkClassifier"),
    (404, "kNearestNeighborsClassifier"),
    (500, "neuralNetwork"),
    (501, "itemSimilarityRecommender"),
    (502, "mlProgram"),
    (555, "customModel"),
    (556, "linkedModel"),
    (560, "classConfidenceThresholding"),
    (600, "oneHotEncoder"),
    (601, "imputer"),
    (602, "featureVectorizer"),
    (603, "dictVectorizer"),
    (604, "scaler"),
    (606, "categoricalMapping"),
    (607, "normalizer"),
    (609, "arrayFeatureExtractor"),
    (610, "nonMaximumSuppression"),
    (900, "identity"),
    (2000, "textClassifier"),
    (2001, "wordTagger"),
    (2002, "visionFeaturePrint"),
    (2003, "soundAnalysisPreprocessing"),
    (2004, "gazetteer"),
];

/// The oldest and the newest version of the format that is known to hold ML Programs.
pub(crate) const VERSIONS: std::ops::RangeInclusive<i64> = 6..=10;

/// Reads the top level of a model file. `path` is for messages.
pub(crate) fn top_level(file: &mut (impl Read + Seek), path: &Path) -> Result<TopLevel, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut scan = Scan { file, path, at: 0, length };
    let (mut version, mut is_updatable) = (0, false);
    let (mut description, mut program): (Option<Range>, Option<Range>) = (None, None);
    let mut kind = None;
    while scan.at < scan.length {
        let key = scan.varint()?;
        let (number, wire) = ((key >> 3) as u32, key & 7);
        if key > u64::from(u32::MAX) || number == 0 {
            return Err(scan.error("this is not a model file"));
        }
        let known = matches!(number, field::DESCRIPTION | field::ML_PROGRAM);
        match wire {
            0 => {
                let value = scan.varint()?;
                match number {
                    field::SPECIFICATION_VERSION => version = value as i64,
                    field::IS_UPDATABLE => is_updatable = value != 0,
                    _ => {}
                }
            }
            1 => scan.skip(8)?,
            5 => scan.skip(4)?,
            2 => {
                let size = scan.varint()?;
                let range = (scan.at, size);
                scan.skip(size)?;
                let slot = match number {
                    field::DESCRIPTION => &mut description,
                    field::ML_PROGRAM => &mut program,
                    _ => {
                        kind = kind.or((number >= 200).then_some(number));
                        continue;
                    }
                };
                if slot.replace(range).is_some() {
                    return Err(scan.error("a part of the model is there twice"));
                }
            }
            _ => return Err(scan.error("this is not a model file")),
        }
        if known && wire != 2 {
            return Err(scan.error("this is not a model file"));
        }
    }
    let Some(program) = program else {
        let Some(number) = kind else {
            return Err(scan.error("the file holds no model"));
        };
        let name = KINDS.iter().find(|row| row.0 == number).map(|row| row.1.to_owned());
        let kind = name.unwrap_or_else(|| format!("model of kind {number}"));
        return Err(Error::Kind { path: path.to_owned(), kind });
    };
    if !VERSIONS.contains(&version) {
        let (first, last) = (VERSIONS.start(), VERSIONS.end());
        let message =
            format!("specification version {version} is not known; {first} to {last} are");
        return Err(scan.error(message));
    }
    let description = description.map_or(Ok(Bytes::new()), |range| scan.part(range))?;
    let program = scan.part(program)?;
    Ok(TopLevel { specification_version: version, is_updatable, description, program })
}

struct Scan<'a, F> {
    file: &'a mut F,
    path: &'a Path,
    at: u64,
    length: u64,
}

impl<F: Read + Seek> Scan<'_, F> {
    fn error(&self, message: impl Into<String>) -> Error {
        format_error(self.path, message)
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.to_owned(), source }
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.at == self.length {
                return Err(self.error("the file ends in the middle of the model"));
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte).map_err(|e| self.io(e))?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("this is not a model file"))
    }

    fn skip(&mut self, size: u64) -> Result<(), Error> {
        let end = self.at.checked_add(size).filter(|&end| end <= self.length);
        self.at = end.ok_or_else(|| self.error("the file ends in the middle of the model"))?;
        // A short way stays in the buffer; a part is never longer than the file.
        self.file.seek_relative(size as i64).map_err(|e| self.io(e))
    }

    fn part(&mut self, (at, size): Range) -> Result<Bytes, Error> {
        let size = usize::try_from(size)
            .map_err(|_| self.error("the model is more than memory can address"))?;
        let mut bytes = vec![0; size];
        self.file.seek(SeekFrom::Start(at)).map_err(|e| self.io(e))?;
        self.file.read_exact(&mut bytes).map_err(|e| self.io(e))?;
        Ok(bytes.into())
    }
}
