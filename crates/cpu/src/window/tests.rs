//! Windows of every kind against plain sums, with every instruction set of the machine.

use super::*;

/// A small generator of repeatable numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    /// Sixteenths, which every format holds.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(49) as f32 / 16.0 - 1.5).collect()
    }
}

fn stored(format: Format, numbers: &[f32]) -> Vec<u64> {
    let mut words = vec![0; numbers.len() + 1];
    for (i, &number) in numbers.iter().enumerate() {
        // SAFETY: there is a word for every element.
        unsafe { format.write(words.as_mut_ptr().cast(), i, number) };
    }
    words
}

/// Which element of the plane a tap reads, `None` for padding.
fn tapped(g: &Geometry, [oy, ox]: [usize; 2], [ky, kx]: [usize; 2]) -> Option<usize> {
    let at = |axis: usize, o: usize, k: usize| {
        let padded = o * g.strides[axis] + k * g.dilations[axis];
        padded.checked_sub(g.before[axis]).filter(|&at| at < g.input[axis])
    };
    Some(at(0, oy, ky)? * g.input[1] + at(1, ox, kx)?)
}

fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

fn expected(kind: &Kind, g: &Geometry, x: &[f32], weights: &[f32], bias: f32) -> Vec<f32> {
    let (small, taps) = (g.output[0] * g.output[1], g.kernel[0] * g.kernel[1]);
    if let Kind::Spread { multiplier } = kind {
        let mut out = vec![bias; g.input[0] * g.input[1]];
        for (o, place) in grid(g.output).enumerate() {
            for (k, tap) in grid(g.kernel).enumerate() {
                let Some(at) = tapped(g, place, tap) else { continue };
                out[at] += match multiplier {
                    Some(_) => x[o] * weights[k],
                    None => x[k * small + o],
                };
            }
        }
        return out;
    }
    let window = |(o, place): (usize, [usize; 2])| {
        let values = grid(g.kernel).map(|tap| tapped(g, place, tap).map(|at| x[at]));
        match kind {
            Kind::Max => values.flatten().fold(f32::NEG_INFINITY, f32::max),
            Kind::Mean(factors) => values.flatten().sum::<f32>() * factors[o],
            Kind::Root => values.flatten().map(|x| x * x).sum::<f32>().sqrt(),
            _ => {
                let products = values.zip(&weights[..taps]).map(|(x, w)| x.unwrap_or(0.0) * w);
                bias + products.sum::<f32>()
            }
        }
    };
    grid(g.output).enumerate().map(window).collect()
}

#[test]
fn windows_of_every_kind_are_plain_sums() {
    let mut random = Random(3);
    let team = Team::new(2).unwrap();
    let count = if cfg!(target_arch = "aarch64") { 60 } else { 400 };
    for round in 0..count {
        let mut pair = |base: usize, top: usize| [0; 2].map(|_: usize| base + random.below(top));
        let (kernel, strides, dilations) = (pair(1, 4), pair(1, 3), pair(1, 2));
        let (before, output) = (pair(0, 3), pair(1, 19));
        let input = pair(1, 40);
        let geometry = Geometry { input, before, kernel, strides, dilations, output };
        let multiplier = 1 + random.below(2);
        let (big, small) = (input[0] * input[1], output[0] * output[1]);
        let taps = kernel[0] * kernel[1];
        let kind = match round % 6 {
            0 => Kind::Max,
            1 => Kind::Mean(random.numbers(small)),
            2 => Kind::Root,
            3 => Kind::Spread { multiplier: None },
            4 => Kind::Spread { multiplier: Some(multiplier) },
            _ => Kind::Weighted { multiplier },
        };
        let (images, channels) = (2, 3);
        // Elements of a plane of x, results of each of them, and channels of x and of the result.
        let (plane, each, from, results) = match kind {
            Kind::Spread { multiplier: None } => (taps * small, 1, channels, channels),
            Kind::Spread { .. } => (small, multiplier, channels, channels * multiplier),
            Kind::Weighted { .. } => (big, multiplier, channels, channels * multiplier),
            _ => (big, 1, channels, channels),
        };
        let formats =
            [0; 2].map(|_: usize| [Format::F32, Format::F16, Format::Bf16][random.below(3)]);
        let spread = matches!(kind, Kind::Spread { .. });
        let counted = if spread { results } else { from };
        let mut window = Window::new(kind.clone(), geometry, images, counted, formats);
        let clamp = (random.below(2) == 0).then_some((-0.75, 2.0));
        clamp.into_iter().for_each(|(low, high)| window.clamp(low, high));
        let x = random.numbers(images * from * plane);
        let (weights, bias) = (random.numbers(results * taps), random.numbers(results));
        let weighted = matches!(kind, Kind::Weighted { .. } | Kind::Spread { multiplier: Some(_) });
        let biased = weighted || spread;
        let out_plane = if spread { big } else { small };
        let words = stored(formats[0], &x);
        for isa in Isa::available() {
            let mut out = stored(formats[1], &vec![9.0; images * results * out_plane]);
            let mut scratch = vec![f32::NAN; window.scratch_bytes(2) / size_of::<f32>()];
            let bytes = size_of_val(&scratch[..]);
            let operands = Operands {
                x: words.as_ptr().cast(),
                weights: weighted.then_some(weights.as_ptr()),
                bias: biased.then_some(bias.as_ptr()),
                out: out.as_mut_ptr().cast(),
            };
            // SAFETY: the arrays have the sizes that the window says.
            unsafe {
                let scratch = std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), bytes);
                window.run(&team, isa, operands, scratch);
            }
            for (result, plane_of) in (0..images * results).map(|r| (r, r / each)) {
                let channel = result % results;
                let own = &weights[channel * taps..][..taps];
                let bias = if biased { bias[channel] } else { 0.0 };
                let x = &x[plane_of * plane..][..plane];
                for (i, value) in expected(&kind, &geometry, x, own, bias).into_iter().enumerate() {
                    let value = clamp.map_or(value, |(low, high)| value.max(low).min(high));
                    // SAFETY: the element is one of the result.
                    let found =
                        unsafe { formats[1].read(out.as_ptr().cast(), result * out_plane + i) };
                    // Sums of few sixteenths and their products are nearly exact, stored in 8 bits.
                    let fits =
                        found == value || (found - value).abs() <= value.abs().max(1.0) / 128.0;
                    assert!(fits, "{isa}: {found} is not {value}: {window:?} at {result}, {i}");
                }
            }
        }
    }
}
