//! How fast the emulator evaluates products whose weights stand beside the activations.
//!
//! `cargo bench -p anemone-ane --bench packed`; `ANEMONE_THREADS` sets the threads.

use anemone_ane::target::{Chip, Target};
use anemone_ane::{Emulator, EmulatorOptions, Engine, Source};
use half::f16;
use mil::DataType::Fp16;
use mil::{FunctionBuilder, Op, OpError, Opset, Program, Type};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Emulator::new(EmulatorOptions::new(Target::of(Chip::M4)))?;
    println!("{}", engine.describe());
    for (ic, oc, s) in [(768, 768, 256), (768, 2048, 256), (2048, 768, 256), (1024, 3072, 256)] {
        report(&engine, ic, oc, s)?;
    }
    Ok(())
}

/// out [oc, s] = W·x from `[1, ic, 1, s + oc]`, which is x and then Wᵀ.
fn packed(ic: usize, oc: usize, s: usize) -> Result<Source, OpError> {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let both = b.input("packed", Type::tensor(Fp16, &[1, ic, 1, s + oc]));
    let slice = |b: &mut FunctionBuilder, begin: usize, size: usize| {
        let begin = b.ints(&[0, 0, 0, begin as i64]);
        let sizes = b.ints(&[1, ic as i64, 1, size as i64]);
        let arguments = [("x", both.into()), ("begin", begin.into()), ("size", sizes.into())];
        let part = b.op(Op::SliceBySize, "part", arguments)?;
        b.reshape(part, &[1, 1, ic, size])
    };
    let (x, weight) = (slice(&mut b, 0, s)?, slice(&mut b, s, oc)?);
    let x = b.transpose(x, &[0, 1, 3, 2])?;
    let y = b.matmul(x, weight, (false, false))?;
    let y = b.transpose(y, &[0, 1, 3, 2])?;
    let out = b.reshape(y, &[1, oc, 1, s])?;
    let program = anemone_ane::target::with_head(Program::new(vec![b.finish(&[out])]));
    let text = mil::print(&program);
    Ok(Source { name: "packed".into(), text, weights: BTreeMap::new() })
}

fn report(engine: &Emulator, ic: usize, oc: usize, s: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let model = engine.compile(&packed(ic, oc, s)?)?;
    let compiled = start.elapsed();
    let input = engine.surface(model.inputs()[0].bytes)?;
    let output = engine.surface(model.outputs()[0].bytes)?;
    for (i, value) in input.write()?.as_mut_slice::<u16>().iter_mut().enumerate() {
        *value = f16::from_f32((i % 97) as f32 / 97.0 - 0.5).to_bits();
    }
    let mut request = model.bind(&[input], &[output])?;
    request.evaluate()?;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        let start = Instant::now();
        request.evaluate()?;
        best = best.min(start.elapsed());
    }
    let flops = 2.0 * (ic * oc * s) as f64 / best.as_secs_f64();
    println!(
        "[{ic}, {s}] x [{ic}, {oc}]: {:.3} ms, {:.1} GFLOP/s (compiled in {:.1} ms)",
        best.as_secs_f64() * 1e3,
        flops / 1e9,
        compiled.as_secs_f64() * 1e3,
    );
    Ok(())
}
