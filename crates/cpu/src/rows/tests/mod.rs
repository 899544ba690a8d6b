//! Row programs against a plain evaluator of what was recorded.

mod composites;
mod operations;
mod random;
mod reference;

use super::*;
use crate::isa::Isa;
use crate::team::Team;

/// An array in memory, of any format.
#[derive(Clone)]
struct Array {
    format: Format,
    /// Aligned for every format.
    words: Vec<u32>,
    count: usize,
}

impl Array {
    fn new(format: Format, values: &[f32]) -> Array {
        let count = values.len();
        let mut array = Array { format, words: vec![0; count + 1], count };
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: there is a word for each element.
            unsafe { format.write(array.pointer(), index, value) };
        }
        array
    }

    fn filled(format: Format, count: usize, value: f32) -> Array {
        Array::new(format, &vec![value; count])
    }

    fn values(&self) -> Vec<f32> {
        // SAFETY: the elements are in the words.
        (0..self.count)
            .map(|index| unsafe { self.format.read(self.words.as_ptr().cast(), index) })
            .collect()
    }

    fn pointer(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }
}

/// Deterministic pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.float() * scale).collect()
    }
}

/// A dense operand in row-major order.
fn dense(slot: usize, format: Format, outer: &[usize], inner: usize) -> Operand {
    let mut outer_strides = vec![0; outer.len()];
    let mut stride = inner as isize;
    for axis in (0..outer.len()).rev() {
        outer_strides[axis] = stride;
        stride *= outer[axis] as isize;
    }
    Operand { slot, byte_offset: 0, format, outer_strides, inner_stride: 1 }
}

/// The same row for all rows.
fn broadcast(slot: usize, rank: usize) -> Operand {
    Operand {
        slot,
        byte_offset: 0,
        format: Format::F32,
        outer_strides: vec![0; rank],
        inner_stride: 1,
    }
}

/// Runs a program on copies of the arrays, and returns them.
fn run(program: &RowProgram, isa: Isa, team: &Team, arrays: &[Array]) -> Vec<Array> {
    let mut arrays = arrays.to_vec();
    let pointers: Vec<*mut u8> = arrays.iter_mut().map(Array::pointer).collect();
    let mut scratch = Scratch::new(program.scratch_bytes(team.threads()));
    // SAFETY: the tests' operands stay within their arrays.
    unsafe { program.run(team, isa, &pointers, &mut scratch) };
    arrays
}

/// Compares a program with the reference, on every instruction set and several numbers of threads.
/// Elements may differ by `tolerance`, relative to the larger of their magnitude and 1.
fn check(builder: RowBuilder, arrays: &[Array], tolerance: f64) {
    let expected = reference::evaluate(&builder, arrays);
    let program = builder.clone().finish();
    for threads in [1, 3] {
        let team = Team::new(threads).unwrap();
        for isa in Isa::available() {
            let results = run(&program, isa, &team, arrays);
            for (slot, (result, expected)) in results.iter().zip(&expected).enumerate() {
                for (index, (&got, &want)) in result.values().iter().zip(expected).enumerate() {
                    let (got, want) = (got as f64, want);
                    let same = got == want || got.is_nan() && want.is_nan();
                    let close = (got - want).abs() <= tolerance * want.abs().max(1.0);
                    assert!(
                        same || close,
                        "{isa}, {threads} threads, slot {slot}[{index}]: {got}, expected {want}\n\
                         {builder:?}"
                    );
                }
            }
        }
    }
}
