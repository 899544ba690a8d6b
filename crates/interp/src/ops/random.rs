//! Random numbers: the same on every machine for the same seed.

use crate::Array;
use crate::evaluate::Context;
use mil::{Op, OpError};

/// SplitMix64.
struct Random(u64);

impl Random {
    /// The sequence of an operation. With a seed of its own it depends on nothing else; without, on
    /// the run's seed and the operation's name. In a loop every pass has another.
    fn new(c: &Context) -> Result<Random, OpError> {
        let seed = match c.params.int("seed")? {
            -1 => {
                let name = c.operation.attributes.get("name").and_then(|name| name.as_tensor());
                let bytes =
                    name.and_then(|name| name.strings().first()).map(|name| name.as_bytes());
                // FNV-1a.
                let mixed = |hash: u64, &byte: &u8| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
                };
                let name = bytes.unwrap_or_default().iter().fold(0xcbf2_9ce4_8422_2325, mixed);
                Random(c.draw.seed).next() ^ name
            }
            seed => seed as u64,
        };
        // Neighbouring seeds give sequences that have nothing in common.
        let first = Random(seed).next();
        Ok(Random(first ^ Random(c.draw.visit).next()))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0 and standard deviation 1, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The ops whose shape is a parameter.
pub(super) fn distribution(c: &Context) -> Result<Array, OpError> {
    let ty = mil_type(c)?;
    let dims = c.result_dims()?.remove(0);
    let mut random = Random::new(c)?;
    let count: usize = dims.iter().product();
    let mut draw: Box<dyn FnMut() -> f64> = match c.operation.op {
        Op::RandomUniform => {
            let (low, high) = (c.params.float("low")?, c.params.float("high")?);
            Box::new(move || {
                let value = low + (high - low) * random.uniform();
                // Rounding must not give the end that is excluded.
                let rounded = Array::floats(ty, &[], vec![value]).rounded().to_f64s()[0];
                if rounded >= high && low < high { low } else { value }
            })
        }
        Op::RandomNormal => {
            let (mean, deviation) = (c.params.float("mean")?, c.params.float("stddev")?);
            Box::new(move || mean + deviation * random.normal())
        }
        _ => {
            let prob = c.params.float("prob")?;
            Box::new(move || f64::from(u8::from(random.uniform() < prob)))
        }
    };
    Ok(Array::floats(ty, &dims, (0..count).map(|_| draw()).collect()))
}

/// The element type of the parameters, which is that of the result.
fn mil_type(c: &Context) -> Result<mil::DataType, OpError> {
    for name in ["low", "high", "mean", "stddev", "prob"] {
        if c.operation.op.spec().param(name).is_some()
            && let Some(ty) = c.params.ty_opt(name)?
        {
            return Ok(ty.dtype);
        }
    }
    Ok(mil::DataType::Fp32)
}

/// Indices along the last axis, drawn with replacement.
pub(super) fn categorical(c: &Context) -> Result<Array, OpError> {
    let x = c.need("x")?;
    let dims = c.result_dims()?.remove(0);
    let size = c.params.int("size")? as usize;
    let logits = c.params.string("mode")? == "logits";
    let classes = x.dims().last().copied().unwrap_or(0);
    let rows: usize = x.dims()[..x.dims().len() - 1].iter().product();
    let mut random = Random::new(c)?;
    let values = x.to_f64s();
    let mut drawn = vec![];
    for row in 0..rows {
        let row = &values[row * classes..][..classes];
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |&v: &f64| if logits { (v - largest).exp() } else { v };
        let weights: Vec<f64> = row.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        if !(total > 0.0 && total.is_finite() && weights.iter().all(|w| *w >= 0.0)) && size > 0 {
            return Err(c.params.error("x holds no probabilities that could be drawn by"));
        }
        for _ in 0..size {
            let mut left = random.uniform() * total;
            // What rounding leaves over belongs to the last class that can be drawn.
            let mut found = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            for (class, &weight) in weights.iter().enumerate() {
                if left < weight {
                    found = class;
                    break;
                }
                left -= weight;
            }
            drawn.push(found as f64);
        }
    }
    Ok(Array::floats(x.dtype(), &dims, drawn))
}
