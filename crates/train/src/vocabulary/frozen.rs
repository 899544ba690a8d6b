//! The rows of a table that a run does not train.

use super::Vocabulary;
use std::sync::Arc;

/// What a run keeps of a table, `[V, D]`, besides the rows that it trains: values and moments of
/// all others.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    vocabulary: Arc<Vocabulary>,
    /// Values, first and second moments: `[V − rows, D]` each.
    parts: [Vec<f32>; 3],
}

/// A part of what belongs to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Value,
    First,
    Second,
}

impl Frozen {
    /// All zero, for a table that has `trained` values in the rows of the vocabulary.
    pub fn zeros(vocabulary: Arc<Vocabulary>, trained: usize) -> Frozen {
        let others = vocabulary.size() - vocabulary.rows();
        let len = trained / vocabulary.rows().max(1) * others;
        // The system gives zeroed memory room only when it is written to, and moments may stay
        // zero for ever.
        let zeros = || vec![0.0; len];
        Frozen { vocabulary, parts: [zeros(), zeros(), zeros()] }
    }

    /// The dimensions of the whole table.
    pub fn whole_dims(&self, dims: &[usize]) -> Vec<usize> {
        [&[self.vocabulary.size()], &dims[1..]].concat()
    }

    /// Takes a part of the whole table apart: trained rows go to `trained`.
    pub fn split(&mut self, part: Part, whole: &[f32], trained: &mut [f32]) {
        let others = self.vocabulary.split(whole, trained);
        // Zeros that are there already are not written again; see `zeros`.
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if !others.iter().zip(&self.parts[part as usize]).all(same) {
            self.parts[part as usize] = others;
        }
    }

    /// Takes over the values of another table, whose trained rows are the same.
    pub fn copy_values(&mut self, from: &Frozen) {
        self.parts[Part::Value as usize].clone_from(&from.parts[Part::Value as usize]);
    }

    /// A part of the whole table, in pieces that follow each other.
    pub fn join<'a>(&'a self, part: Part, trained: &'a [f32]) -> Vec<&'a [f32]> {
        self.vocabulary.join(trained, &self.parts[part as usize])
    }
}
