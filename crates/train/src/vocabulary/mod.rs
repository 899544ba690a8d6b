//! Training with only the rows of the vocabulary that the data uses.
//!
//! A model's embedding and classifier have a row for every token of its vocabulary, `[V, D]`. Data
//! may use a part of it: a [`Vocabulary`] says which, and gives those rows numbers without gaps. A
//! network made for it ([`Network::with_vocabulary`]) has tables of that many rows, so that the
//! classifier's products, its logits, gradients and moments are smaller by as much.
//!
//! **What it changes.** The softmax goes over the used tokens only. The loss is −ln p(target)
//! among those and thus smaller than that of the whole vocabulary, as is a validation loss, whose
//! tokens are among the used ones: neither can be compared with a run over the whole vocabulary.
//! All other rows are left alone: no gradient reaches them, so they add nothing to the norm that
//! is clipped, no weight decay takes from them, and their moments stay. Nothing ties the level of
//! the trained logits to theirs, so whoever samples from such a model leaves them out; a
//! checkpoint says which rows have been trained ([`TrainState::trained`]).
//!
//! **What it does not change.** Parameters are drawn for the whole vocabulary and gathered from
//! that, and checkpoints hold whole tables with whole moments. So a run can be resumed with other
//! data, whose rows are gathered anew, and without a vocabulary at all: rows that come back go on
//! from the values and moments that they were left with. For that reason no record of the ids is
//! compared when a run is resumed.
//!
//! [`Network::with_vocabulary`]: crate::Network::with_vocabulary
//! [`TrainState::trained`]: crate::checkpoint::TrainState::trained

mod frozen;
mod ids;
mod used;

pub(crate) use frozen::{Frozen, Part};
pub use ids::IdSet;
pub use used::UsedIds;

use crate::data::Error;

/// The tokens that a run uses, out of a vocabulary of V: token `ids[r]` has row `r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The tokens' ids, ascending.
    ids: Vec<u32>,
    /// The row of every id, or [`NONE`]; `[V]`.
    row_of: Vec<u32>,
}

/// The row of a token that is not used. No token has it, since ids are below 2^31.
const NONE: u32 = u32::MAX;

impl Vocabulary {
    /// The tokens of a set of ids.
    fn new(set: &UsedIds) -> Vocabulary {
        let mut row_of = vec![NONE; set.size()];
        let ids: Vec<u32> = set.iter().collect();
        for (row, &id) in (0..).zip(&ids) {
            row_of[id as usize] = row;
        }
        Vocabulary { ids, row_of }
    }

    /// Tokens of the whole vocabulary, V.
    pub fn size(&self) -> usize {
        self.row_of.len()
    }

    /// Tokens that are used, and rows of the tables.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The tokens that are used, as ids.
    pub fn ids(&self) -> IdSet {
        IdSet::from_ascending(self.ids.iter().copied())
    }

    /// The row of a token, if it is used.
    pub fn row(&self, id: u32) -> Option<u32> {
        self.row_of.get(id as usize).copied().filter(|&row| row != NONE)
    }

    /// Replaces tokens by their rows.
    ///
    /// # Errors
    /// If a token is not used: the data have changed since they were looked through. Some tokens
    /// may have been replaced then.
    pub fn to_rows(&self, tokens: &mut [i32]) -> Result<(), Error> {
        for token in tokens {
            let row = u32::try_from(*token).ok().and_then(|id| self.row(id));
            // Rows are fewer than ids, which are below 2^31.
            *token = row.ok_or(Error::NewToken { id: *token })? as i32;
        }
        Ok(())
    }

    /// Copies the used rows of a whole table, `[V, D]`, and gives the others, one after the other.
    fn split(&self, whole: &[f32], used: &mut [f32]) -> Vec<f32> {
        let width = self.width(used);
        let mut others = Vec::with_capacity(whole.len() - used.len());
        for (&row, values) in self.row_of.iter().zip(whole.chunks_exact(width)) {
            match row {
                NONE => others.extend_from_slice(values),
                row => used[row as usize * width..][..width].copy_from_slice(values),
            }
        }
        others
    }

    /// A whole table, `[V, D]`, in pieces that follow each other: the opposite of `split`.
    fn join<'a>(&self, used: &'a [f32], others: &'a [f32]) -> Vec<&'a [f32]> {
        let width = self.width(used);
        let (mut used, mut others) = (used, others);
        let mut pieces = vec![];
        for run in self.row_of.chunk_by(|a, b| (*a == NONE) == (*b == NONE)) {
            let from = if run[0] == NONE { &mut others } else { &mut used };
            let (piece, later) = from.split_at(run.len() * width);
            pieces.push(piece);
            *from = later;
        }
        pieces
    }

    /// Values in a row of a table whose used rows these are.
    fn width(&self, used: &[f32]) -> usize {
        used.len() / self.ids.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(size: usize, ids: &[u32]) -> Vocabulary {
        let mut used = UsedIds::new(size);
        ids.iter().for_each(|&id| used.insert(id));
        used.vocabulary()
    }

    #[test]
    fn rows_are_numbered_in_the_order_of_ids() {
        let v = vocabulary(100, &[70, 3, 99, 3, 0]);
        assert_eq!((v.size(), v.rows()), (100, 4));
        assert_eq!(v.ids(), IdSet::from_ascending([0, 3, 70, 99]));
        assert_eq!([0, 3, 70, 99, 1, 98, 100, 5000].map(|id| v.row(id)), {
            let none = None;
            [Some(0), Some(1), Some(2), Some(3), none, none, none, none]
        });
        let mut tokens = [99, 0, 3, 3, 70];
        v.to_rows(&mut tokens).unwrap();
        assert_eq!(tokens, [3, 0, 1, 1, 2]);
        for new in [1, 100, -1, i32::MIN, i32::MAX] {
            let error = v.to_rows(&mut [0, new]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("token {new} ")), "{error}");
        }
    }

    #[test]
    fn a_table_that_was_split_is_joined_again() {
        let whole: Vec<f32> = (0..14).map(|v| v as f32).collect();
        for (ids, pieces) in [
            (&[0, 1, 2, 3, 4, 5, 6][..], 1),
            (&[3], 3),
            (&[0, 1, 6], 3),
            (&[1, 3, 5], 7),
            (&[0], 2),
            (&[4, 5, 6], 2),
        ] {
            let v = vocabulary(7, ids);
            let mut used = vec![f32::NAN; 2 * ids.len()];
            let others = v.split(&whole, &mut used);
            let expected: Vec<f32> =
                ids.iter().flat_map(|&id| [2 * id, 2 * id + 1]).map(|v| v as f32).collect();
            assert_eq!(used, expected);
            let joined = v.join(&used, &others);
            assert_eq!(joined.len(), pieces);
            assert_eq!(joined.concat(), whole, "{ids:?}");
        }
    }
}
