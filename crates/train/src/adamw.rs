//! AdamW over slices, and the global norm of gradients.
//!
//! Every element is updated in one pass that reads parameter, gradient and both moments once.
//! Work is cut into pieces of a fixed size, and sums are taken piece by piece in order, so that
//! results do not depend on the number of threads.

use serde::{Deserialize, Serialize};

/// Elements of one piece of work: small enough to share evenly, large enough to stream.
const PIECE: usize = 1 << 14;

/// Below this many elements, starting a thread takes longer than it saves.
const WORTH_A_THREAD: usize = 1 << 16;

/// The constants of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// How much of a parameter is taken away each step, times the learning rate. Applies only
    /// to slots that ask for it.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// One parameter with all that belongs to it; slices of one length.
#[derive(Debug)]
pub struct Slot<'a> {
    /// The parameter.
    pub parameter: &'a mut [f32],
    /// Its gradient.
    pub gradient: &'a [f32],
    /// Its first moment.
    pub first: &'a mut [f32],
    /// Its second moment.
    pub second: &'a mut [f32],
    /// Whether weight decay applies: matrices, not norms or biases.
    pub decay: bool,
}

/// What differs from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The number of this update, counted from 1; skipped steps do not count.
    pub number: u64,
    /// The learning rate.
    pub rate: f64,
    /// What gradients are multiplied by: clipping, and one over the accumulated micro-steps.
    pub gradient_scale: f64,
}

impl AdamW {
    /// Updates all parameters.
    ///
    /// With g the scaled gradient, rate r and step t:
    /// `m = β1 m + (1-β1) g`, `v = β2 v + (1-β2) g²`,
    /// `p = p (1 - r·decay) - r/(1-β1ᵗ) · m / (√v/√(1-β2ᵗ) + ε)`.
    ///
    /// # Panics
    /// If the slices of one slot differ in length.
    pub fn update(&self, slots: &mut [Slot<'_>], step: Step, threads: usize) {
        let pieces: Vec<Slot<'_>> = slots.iter_mut().flat_map(pieces).collect();
        let factors = Factors::new(self, step);
        each(pieces, threads, |piece| piece.gradient.len(), |piece| factors.apply(piece));
    }
}

/// The global L2 norm of gradients, before any scaling: the root of the sum of all squares.
///
/// Not finite exactly if some gradient is not: then the step must be skipped.
pub fn global_norm(gradients: &[&[f32]], threads: usize) -> f64 {
    let mut partial: Vec<(&[f32], f64)> = gradients
        .iter()
        .flat_map(|gradient| gradient.chunks(PIECE))
        .map(|piece| (piece, 0.0))
        .collect();
    each(
        partial.iter_mut().collect(),
        threads,
        |(piece, _)| piece.len(),
        |(piece, sum)| *sum = sum_of_squares(piece),
    );
    partial.iter().map(|(_, sum)| sum).sum::<f64>().sqrt()
}

/// The factor that brings a norm down to `limit`; 1 if it is not above. A limit of 0 or less
/// means no clipping.
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 && norm > limit { limit / norm } else { 1.0 }
}

/// The factors of a step in the precision that they are used in.
struct Factors {
    scale: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    keep: f32,
    rate: f32,
    second_scale: f32,
    eps: f32,
}

impl Factors {
    fn new(adamw: &AdamW, step: Step) -> Self {
        // In f64: near 1, the powers lose most of their digits in f32.
        let exponent = step.number.max(1) as f64;
        let first_correction = 1.0 - adamw.beta1.powf(exponent);
        let second_correction = 1.0 - adamw.beta2.powf(exponent);
        Self {
            scale: step.gradient_scale as f32,
            beta1: adamw.beta1 as f32,
            beta2: adamw.beta2 as f32,
            one_minus_beta1: (1.0 - adamw.beta1) as f32,
            one_minus_beta2: (1.0 - adamw.beta2) as f32,
            keep: (1.0 - step.rate * adamw.weight_decay) as f32,
            rate: (step.rate / first_correction) as f32,
            second_scale: (1.0 / second_correction.sqrt()) as f32,
            eps: adamw.eps as f32,
        }
    }

    fn apply(&self, slot: Slot<'_>) {
        let keep = if slot.decay { self.keep } else { 1.0 };
        let moments = slot.first.iter_mut().zip(slot.second.iter_mut());
        let values = slot.parameter.iter_mut().zip(slot.gradient);
        for ((parameter, gradient), (first, second)) in values.zip(moments) {
            let gradient = gradient * self.scale;
            *first = self.beta1 * *first + self.one_minus_beta1 * gradient;
            *second = self.beta2 * *second + self.one_minus_beta2 * gradient * gradient;
            let root = second.sqrt() * self.second_scale + self.eps;
            *parameter = *parameter * keep - self.rate * *first / root;
        }
    }
}

fn pieces<'a>(slot: &'a mut Slot<'_>) -> impl Iterator<Item = Slot<'a>> {
    let length = slot.parameter.len();
    assert!(
        [slot.gradient.len(), slot.first.len(), slot.second.len()] == [length; 3],
        "the slices of a slot have one length"
    );
    let decay = slot.decay;
    slot.parameter
        .chunks_mut(PIECE)
        .zip(slot.gradient.chunks(PIECE))
        .zip(slot.first.chunks_mut(PIECE).zip(slot.second.chunks_mut(PIECE)))
        .map(move |((parameter, gradient), (first, second))| Slot {
            parameter,
            gradient,
            first,
            second,
            decay,
        })
}

/// The sum of squares, read at several places at once: from one place after the other memory gives
/// a third less. Eight partial sums each, so that the loop becomes vectors without changing its
/// order of additions.
fn sum_of_squares(values: &[f32]) -> f64 {
    const PLACES: usize = 4;
    const LANES: usize = 8;
    let (rows, rest) = values.as_chunks::<LANES>();
    let place = rows.len() / PLACES;
    let mut sums = [[0.0_f64; LANES]; PLACES];
    for row in 0..place {
        for (i, sums) in sums.iter_mut().enumerate() {
            add_squares(sums, &rows[i * place + row]);
        }
    }
    for row in &rows[PLACES * place..] {
        add_squares(&mut sums[0], row);
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().flatten().sum::<f64>() + rest
}

fn add_squares<const N: usize>(sums: &mut [f64; N], values: &[f32; N]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += f64::from(value) * f64::from(value);
    }
}

/// Does all pieces, on up to `threads` threads, each taking a run of about equal size.
fn each<T: Send>(
    mut pieces: Vec<T>,
    threads: usize,
    size: impl Fn(&T) -> usize,
    work: impl Fn(T) + Sync,
) {
    let total: usize = pieces.iter().map(&size).sum();
    let threads = threads.min(total / WORTH_A_THREAD).max(1);
    if threads == 1 {
        pieces.into_iter().for_each(work);
        return;
    }
    let share = total.div_ceil(threads);
    let work = &work;
    std::thread::scope(|scope| {
        // Shares are cut from the end; what is left at last is done here.
        for _ in 1..threads {
            let mut taken = 0;
            let mut start = pieces.len();
            while start > 0 && taken < share {
                start -= 1;
                taken += size(&pieces[start]);
            }
            let part = pieces.split_off(start);
            scope.spawn(move || part.into_iter().for_each(work));
        }
        pieces.into_iter().for_each(work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    struct Fixture {
        parameter: Vec<f32>,
        gradient: Vec<f32>,
        first: Vec<f32>,
        second: Vec<f32>,
    }

    impl Fixture {
        fn new(length: usize, seed: u64) -> Self {
            let mut rng = Rng::new(seed);
            let mut normal = |length| {
                let mut values = vec![0.0; length];
                rng.fill_normal(&mut values, 1.0);
                values
            };
            let (parameter, gradient) = (normal(length), normal(length));
            Self { parameter, gradient, first: vec![0.0; length], second: vec![0.0; length] }
        }

        fn slot(&mut self, decay: bool) -> Slot<'_> {
            Slot {
                parameter: &mut self.parameter,
                gradient: &self.gradient,
                first: &mut self.first,
                second: &mut self.second,
                decay,
            }
        }
    }

    #[test]
    fn first_steps_by_hand() {
        // Step 1: m/(1-β1) = g and v/(1-β2) = g², so the step is r·g/(|g|+ε) = r·sign(g).
        // Step 2, same gradient: the corrected moments are again g and g².
        let adamw = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
        let mut fixture = Fixture {
            parameter: vec![1.0, -2.0],
            gradient: vec![0.5, -0.25],
            first: vec![0.0; 2],
            second: vec![0.0; 2],
        };
        let mut expected = [1.0_f64, -2.0];
        for number in 1..=2 {
            let step = Step { number, rate: 0.1, gradient_scale: 1.0 };
            adamw.update(&mut [fixture.slot(true)], step, 1);
            expected = [expected[0] * 0.999 - 0.1, expected[1] * 0.999 + 0.1];
            for (found, expected) in fixture.parameter.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        let moments = [fixture.first[0], fixture.second[0]];
        assert!((moments[0] - 0.095).abs() < 1e-7 && (moments[1] - 0.000_499_75).abs() < 1e-9);
    }

    #[test]
    fn agrees_with_a_plain_f64_loop() {
        let adamw = AdamW::default();
        let mut fixture = Fixture::new(1000, 5);
        let mut parameter: Vec<f64> = fixture.parameter.iter().map(|&x| f64::from(x)).collect();
        let (mut first, mut second) = (vec![0.0_f64; 1000], vec![0.0_f64; 1000]);
        for number in 1..=20 {
            Rng::new(number).fill_normal(&mut fixture.gradient, 0.3);
            let step = Step { number, rate: 3e-3, gradient_scale: 0.5 };
            for index in 0..1000 {
                let gradient = f64::from(fixture.gradient[index]) * 0.5;
                first[index] = 0.9 * first[index] + 0.1 * gradient;
                second[index] = 0.95 * second[index] + 0.05 * gradient * gradient;
                let m = first[index] / (1.0 - 0.9_f64.powi(number as i32));
                let v = second[index] / (1.0 - 0.95_f64.powi(number as i32));
                parameter[index] -= 3e-3 * 0.1 * parameter[index];
                parameter[index] -= 3e-3 * m / (v.sqrt() + 1e-8);
            }
            adamw.update(&mut [fixture.slot(true)], step, 1);
        }
        for (found, expected) in fixture.parameter.iter().zip(parameter) {
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
        }
    }

    #[test]
    fn no_decay_leaves_parameters_without_gradient_alone() {
        let mut fixture = Fixture::new(10, 1);
        fixture.gradient.fill(0.0);
        let before = fixture.parameter.clone();
        let step = Step { number: 1, rate: 0.1, gradient_scale: 1.0 };
        AdamW::default().update(&mut [fixture.slot(false)], step, 1);
        assert_eq!(fixture.parameter, before);
        AdamW::default().update(&mut [fixture.slot(true)], step, 1);
        for (found, before) in fixture.parameter.iter().zip(before) {
            assert!((found - before * 0.99).abs() < 1e-6);
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let lengths = [1, PIECE - 1, 5 * PIECE + 3, 0, 9 * PIECE, 17];
        let run = |threads| {
            let mut fixtures: Vec<Fixture> =
                lengths.iter().map(|&length| Fixture::new(length, length as u64)).collect();
            let gradients: Vec<&[f32]> =
                fixtures.iter().map(|fixture| &fixture.gradient[..]).collect();
            let norm = global_norm(&gradients, threads);
            let step = Step { number: 1, rate: 1e-2, gradient_scale: clip_factor(norm, 1.0) };
            let mut slots: Vec<Slot<'_>> =
                fixtures.iter_mut().map(|fixture| fixture.slot(true)).collect();
            AdamW::default().update(&mut slots, step, threads);
            let bits: Vec<u32> = fixtures
                .iter()
                .flat_map(|fixture| fixture.parameter.iter().map(|value| value.to_bits()))
                .collect();
            (norm.to_bits(), bits)
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{threads} threads");
        }
    }

    #[test]
    fn norm_is_the_root_of_the_sum_of_squares() {
        assert_eq!(global_norm(&[&[3.0], &[0.0, 4.0]], 1), 5.0);
        assert_eq!(global_norm(&[], 4), 0.0);
        // No overflow where f32 would: (2e38)² is beyond f32.
        assert!((global_norm(&[&[2e38]], 1) / f64::from(2e38_f32) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn norm_tells_of_gradients_that_are_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut gradient = vec![1.0; 10 * PIECE];
            gradient[7 * PIECE + 1] = bad;
            assert!(!global_norm(&[&[1.0], &gradient], 2).is_finite());
        }
    }

    #[test]
    fn clipping_only_shrinks() {
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(4.0, 0.0), 1.0);
    }
}
