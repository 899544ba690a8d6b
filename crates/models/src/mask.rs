//! Which positions see which.

/// What is added to the score of a position that is not seen: so large that its exponential is 0,
/// and finite, so that no difference of two is NaN.
pub const HIDDEN: f32 = -1e9;

/// Fills the input `mask` of [`masked_layer`](crate::masked_layer()), `[B, 1, 1, S, S]`, for samples
/// packed behind each other: 0 where the position of the row sees that of the column, [`HIDDEN`]
/// where not.
///
/// A position sees itself and those before it that are of the same segment of its sequence; with a
/// `window` of W, itself and the W − 1 nearest of them. `segments` is `[B, S]`: any numbers that
/// differ between samples. A position always sees itself, so padding may be a segment like any
/// other.
///
/// Samples need not begin at position 0: rotations tell distances only. Where a model learns its
/// positions, number them from 0 in every sample.
///
/// # Panics
/// If `segments` is not a whole number of sequences, or `mask` has not S cells for each of them.
pub fn fill_mask(mask: &mut [f32], segments: &[u32], seq: usize, window: Option<usize>) {
    assert!(seq > 0 && segments.len().is_multiple_of(seq), "{} segments", segments.len());
    assert_eq!(mask.len(), segments.len() * seq, "a cell for every two positions");
    let sequences = mask.chunks_exact_mut(seq * seq).zip(segments.chunks_exact(seq));
    for (mask, segments) in sequences {
        for (position, row) in mask.chunks_exact_mut(seq).enumerate() {
            let first = first_seen(position, window);
            for (other, cell) in row.iter_mut().enumerate() {
                let seen =
                    (first..=position).contains(&other) && segments[other] == segments[position];
                *cell = if seen { 0.0 } else { HIDDEN };
            }
        }
    }
}

/// Fills the input `positions` of [`embed`](crate::embed()), `[T]`, for samples packed behind each
/// other: every run of one segment in a sequence counts from 0. `segments` is as in [`fill_mask`].
///
/// # Panics
/// If the two differ in length.
pub fn fill_positions(positions: &mut [i32], segments: &[u32], seq: usize) {
    assert_eq!(positions.len(), segments.len(), "a position for every token");
    for (positions, segments) in positions.chunks_mut(seq).zip(segments.chunks(seq)) {
        let mut sample = None;
        let mut next = 0;
        for (position, &segment) in positions.iter_mut().zip(segments) {
            if sample.replace(segment) != Some(segment) {
                next = 0;
            }
            *position = next;
            next += 1;
        }
    }
}

/// Fills the input `mask` of [`cached_layer`](crate::cached_layer()), `[S, C]`, for new tokens that
/// follow `position` others, whose keys and values are in the first slots: 0 where a token sees the
/// slot's, [`HIDDEN`] where not. The window is as in [`fill_mask`].
///
/// # Panics
/// If `mask` is not a whole number of rows of `capacity` slots.
pub fn fill_cache_mask(mask: &mut [f32], capacity: usize, position: usize, window: Option<usize>) {
    assert!(capacity > 0 && mask.len().is_multiple_of(capacity), "{} cells", mask.len());
    let used = position.min(capacity);
    for (token, row) in mask.chunks_exact_mut(capacity).enumerate() {
        row.fill(HIDDEN);
        row[first_seen(position + token, window).min(used)..used].fill(0.0);
    }
}

/// The first position that `position` sees.
pub(crate) fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `x` for what is seen and `.` for what is hidden.
    fn picture(segments: &[u32], seq: usize, window: Option<usize>) -> Vec<String> {
        let mut mask = vec![f32::NAN; segments.len() * seq];
        fill_mask(&mut mask, segments, seq, window);
        drawn(&mask, seq)
    }

    fn drawn(mask: &[f32], columns: usize) -> Vec<String> {
        let cell = |&v: &f32| match v {
            0.0 => 'x',
            HIDDEN => '.',
            other => panic!("{other}"),
        };
        mask.chunks(columns).map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn a_position_sees_what_came_before_it_in_its_sample() {
        let segments = [3, 3, 1, 1, 7, 7, 7, 7];
        let expected = ["x...", "xx..", "..x.", "..xx", "x...", "xx..", "xxx.", "xxxx"];
        assert_eq!(picture(&segments, 4, None), expected);
        assert_eq!(picture(&segments, 4, Some(4)), expected);
        let expected = ["x...", "xx..", "..x.", "..xx", "x...", "xx..", ".xx.", "..xx"];
        assert_eq!(picture(&segments, 4, Some(2)), expected);
        assert_eq!(picture(&[0; 3], 3, Some(1)), ["x..", ".x.", "..x"]);
        // The same number again later is the same sample: the caller's choice.
        assert_eq!(picture(&[0, 1, 0], 3, None), ["x..", ".x.", "x.x"]);
    }

    #[test]
    fn positions_begin_anew_in_every_sample() {
        let mut positions = [-1; 10];
        fill_positions(&mut positions, &[4, 4, 4, 9, 9, 9, 2, 2, 7, 7], 5);
        assert_eq!(positions, [0, 1, 2, 0, 1, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn a_token_sees_the_slots_in_use_that_its_window_reaches() {
        let picture = |position, window| {
            let mut mask = [f32::NAN; 15];
            fill_cache_mask(&mut mask, 5, position, window);
            drawn(&mask, 5)
        };
        assert_eq!(picture(0, None), ["....."; 3]);
        assert_eq!(picture(4, None), ["xxxx."; 3]);
        assert_eq!(picture(4, Some(3)), ["..xx.", "...x.", "....."]);
        assert_eq!(picture(4, Some(1)), ["....."; 3]);
        assert_eq!(picture(2, Some(3)), ["xx...", ".x...", "....."]);
    }
}
