//! Memory: offsets in one arena, so that tensors that are never needed together share bytes.

/// A tensor's need for memory: from the step that first writes it to the one that last reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub first: usize,
    pub last: usize,
    pub bytes: usize,
}

/// Every offset is a multiple of this many bytes, a cache line.
pub(crate) const ALIGNMENT: usize = 64;

/// An offset for each interval and the size of the arena.
///
/// Largest first, each at the lowest offset that is free during its interval: simple, and for
/// the regular shapes of neural networks within a few per cent of the lower bound.
pub(crate) fn assign(intervals: &[Interval]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].bytes), intervals[i].first));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = vec![];
    let mut size = 0;
    for i in order {
        let wanted = intervals[i];
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&p| intervals[p].first <= wanted.last && wanted.first <= intervals[p].last)
            .map(|&p| (offsets[p], offsets[p] + intervals[p].bytes))
            .collect();
        busy.sort_unstable();
        let mut offset = 0;
        for (begin, end) in busy {
            if offset + wanted.bytes <= begin {
                break;
            }
            offset = offset.max(end.next_multiple_of(ALIGNMENT));
        }
        offsets[i] = offset;
        size = size.max(offset + wanted.bytes);
        placed.push(i);
    }
    (offsets, size.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_that_live_together_do_not_overlap_and_others_share() {
        let mut state = 1u64;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) % n) as usize
        };
        for _ in 0..50 {
            let intervals: Vec<Interval> = (0..20)
                .map(|_| {
                    let first = random(30);
                    Interval { first, last: first + random(6), bytes: random(5000) }
                })
                .collect();
            let (offsets, size) = assign(&intervals);
            for (i, a) in intervals.iter().enumerate() {
                assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + a.bytes <= size);
                for (j, b) in intervals.iter().enumerate().take(i) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart =
                        offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    assert!(!together || apart);
                }
            }
        }
        let one = |first| Interval { first, last: first, bytes: 640 };
        assert_eq!(assign(&[one(0), one(1), one(2)]).1, 640);
    }
}
