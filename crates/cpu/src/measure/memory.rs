//! How many bytes a second go between memory and the cores.

use crate::gemm::AlignedBytes;
use crate::team::{Team, split};
use std::hint::black_box;
use std::time::Instant;

/// What is done to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// One array is read.
    Read,
    /// One array is copied to another: both are counted, but not what a cache reads before it
    /// writes.
    Copy,
    /// `a = b + s·c`: three arrays are counted.
    Triad,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Traffic; 3] = [Traffic::Read, Traffic::Copy, Traffic::Triad];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Traffic::Read => "read",
            Traffic::Copy => "copy",
            Traffic::Triad => "triad",
        }
    }

    fn arrays(self) -> usize {
        match self {
            Traffic::Read => 1,
            Traffic::Copy => 2,
            Traffic::Triad => 3,
        }
    }
}

/// Three arrays that are too large for caches, unless the machine's last level is a very large
/// one: then the figures are those of that level, as they are for a model that fits it.
pub struct Memory {
    arrays: [AlignedBytes; 3],
    floats: usize,
}

/// Neighbors that are added up apart, so that additions do not wait for each other.
const LANES: usize = 64;

#[derive(Clone, Copy)]
struct Addresses([*mut f32; 3]);

// SAFETY: an address is only a number; `pass` gives each thread a range of its own.
unsafe impl Sync for Addresses {}

impl Memory {
    /// Arrays of `bytes` bytes each, all written once.
    pub fn new(team: &Team, bytes: usize) -> Memory {
        let arrays = [(); 3].map(|()| AlignedBytes::new(bytes));
        let mut memory = Memory { arrays, floats: bytes / size_of::<f32>() };
        memory.pass(team, Traffic::Triad);
        memory
    }

    /// Goes once over the arrays, and gives the bytes per second of all threads together.
    pub fn pass(&mut self, team: &Team, traffic: Traffic) -> f64 {
        let floats = self.floats;
        let addresses = Addresses(self.arrays.each_mut().map(|a| a.as_mut_ptr().cast()));
        let start = Instant::now();
        team.run(&|index, threads| {
            let Addresses([a, b, c]) = { &addresses };
            let own = split(floats, threads, index, LANES);
            // SAFETY: the arrays hold `floats` aligned numbers, zero from the start, and are
            // borrowed mutably; the ranges of the threads are disjoint.
            let (a, b, c) = unsafe {
                (
                    std::slice::from_raw_parts_mut(a.add(own.start), own.len()),
                    std::slice::from_raw_parts(b.add(own.start), own.len()),
                    std::slice::from_raw_parts(c.add(own.start), own.len()),
                )
            };
            match traffic {
                Traffic::Read => _ = black_box(sum(b)),
                Traffic::Copy => a.copy_from_slice(b),
                Traffic::Triad => {
                    let scale = black_box(0.5f32);
                    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                        *a = b + scale * c;
                    }
                }
            }
        });
        let bytes = traffic.arrays() * floats * size_of::<f32>();
        bytes as f64 / start.elapsed().as_secs_f64()
    }
}

fn sum(values: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for chunk in values.chunks_exact(LANES) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_traffic_has_a_rate_with_any_team() {
        for threads in [1, 3] {
            let team = Team::new(threads).unwrap();
            let mut memory = Memory::new(&team, 40_000);
            for traffic in Traffic::ALL {
                let rate = memory.pass(&team, traffic);
                assert!(rate.is_finite() && rate > 0.0, "{traffic:?}: {rate}");
            }
        }
    }
}
