//! What training takes its batches from.

use super::{Batches, Error, Packs, Position};

/// One micro-batch on the host; T elements each.
#[derive(Clone, Debug, PartialEq)]
pub struct MicroBatch {
    /// Input token ids.
    pub tokens: Vec<i32>,
    /// The token that follows each.
    pub targets: Vec<i32>,
    /// 1 where the loss counts, 0 elsewhere.
    pub weights: Vec<f32>,
    /// The sample of each position within its sequence.
    pub segments: Vec<u32>,
}

impl MicroBatch {
    /// Room for `tokens` tokens.
    pub fn new(tokens: usize) -> MicroBatch {
        MicroBatch {
            tokens: vec![0; tokens],
            targets: vec![0; tokens],
            weights: vec![0.0; tokens],
            segments: vec![0; tokens],
        }
    }

    /// How many positions count.
    pub fn counted(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight != 0.0).count()
    }
}

/// A source of batches.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Windows of a stream of tokens, all of which count.
    Windows(Batches),
    /// Samples, several to a sequence.
    Packs(Packs),
}

impl Feed {
    /// Takes the next batch.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn next(&mut self, out: &mut MicroBatch) -> Result<(), Error> {
        match self {
            Feed::Windows(batches) => {
                out.weights.fill(1.0);
                batches.next(&mut out.tokens, &mut out.targets)
            }
            Feed::Packs(packs) => {
                packs.next(out);
                Ok(())
            }
        }
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        match self {
            Feed::Windows(batches) => batches.position(),
            Feed::Packs(packs) => packs.position(),
        }
    }

    /// Moves to another place in the same order.
    pub fn seek(&mut self, windows: u64) {
        match self {
            Feed::Windows(batches) => batches.seek(windows),
            Feed::Packs(packs) => packs.seek(windows),
        }
    }

    /// Sequences in one pass over all that there is, without overlap.
    pub fn sequences(&self) -> u64 {
        match self {
            Feed::Windows(batches) => batches.windows(),
            Feed::Packs(packs) => packs.sequences(),
        }
    }
}

impl From<Batches> for Feed {
    fn from(batches: Batches) -> Feed {
        Feed::Windows(batches)
    }
}

impl From<Packs> for Feed {
    fn from(packs: Packs) -> Feed {
        Feed::Packs(packs)
    }
}
