//! Random small programs: the fast numerics and the modelled ones without quirks agree.

use crate::common::{Values, error, exact, inputs, m4, run, source, with};
use anemone_ane::{Emulator, EmulatorOptions, Numerics, Quirk, Source};
use mil::DataType::{Fp16, Fp32};
use mil::{FunctionBuilder, Op, OpError, Opset, Tensor, Type, ValueId};
use std::collections::BTreeMap;

/// Programs that are tried.
const PROGRAMS: u64 = 150;
/// Operations of a program, not counting those that keep its values small.
const DEPTH: usize = 8;

/// All values are within [−2, 2], where fp16 rounds by at most 2⁻¹¹, and an operation passes on
/// its operands' errors at most four times as large (a product does), most of them smaller than
/// they were. Eight operations could make much of that in the worst case; sums of independent
/// roundings do not come near it. The tolerance is 16 roundings.
const TOLERANCE: f64 = 16.0 / 2048.0;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// A program that is being made. Every value is fp16 and `[1, C, 1, S]`.
struct Maker {
    random: Random,
    b: FunctionBuilder,
    values: Vec<ValueId>,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let b = FunctionBuilder::new("main", Opset::Ios18);
        Maker { random, b, values: vec![] }
    }

    fn program(mut self) -> Result<Source, OpError> {
        // Not in alphabetical order.
        for name in ["x", "b", "k"].into_iter().take(1 + self.random.below(3)) {
            let dims = [1, self.size(), 1, self.size()];
            let input = self.b.input(name, Type::tensor(Fp16, &dims));
            self.values.push(input);
        }
        for _ in 0..DEPTH {
            let value = self.operation()?;
            self.values.push(value);
        }
        let mut outputs = vec![];
        for i in 0..1 + self.random.below(2) {
            let value = self.values[self.values.len() - 1 - i];
            let output = self.b.unary(Op::Tanh, value)?;
            outputs.push(output);
        }
        Ok(source(self.b.finish(&outputs), BTreeMap::new()))
    }

    fn size(&mut self) -> usize {
        self.random.pick(&[16, 32, 48, 64])
    }

    fn value(&mut self) -> ValueId {
        let recent = self.values.len().min(4);
        self.values[self.values.len() - 1 - self.random.below(recent)]
    }

    /// A value that broadcasts with `x`.
    fn partner(&mut self, x: ValueId) -> Result<ValueId, OpError> {
        let dims = self.b.dims(x);
        let same: Vec<ValueId> =
            self.values.iter().copied().filter(|&v| self.b.dims(v) == dims).collect();
        match self.random.below(4) {
            0 => Ok(self.random.pick(&same)),
            1 => self.constant(&[1, dims[1], 1, 1]),
            2 => {
                let axis = self.random.pick(&[1, 3]);
                let other = self.random.pick(&same);
                self.b.reduce(Op::ReduceMax, other, &[axis], true)
            }
            _ => self.constant(&dims),
        }
    }

    fn constant(&mut self, dims: &[usize]) -> Result<ValueId, OpError> {
        let count = dims.iter().product();
        let values: Vec<f64> =
            (0..count).map(|_| self.random.below(2001) as f64 / 1000.0 - 1.0).collect();
        let tensor = Tensor::from_f64s(Fp16, dims, &values).expect("the count is the shape's");
        Ok(self.b.constant("c", tensor))
    }

    fn operation(&mut self) -> Result<ValueId, OpError> {
        let x = self.value();
        let dims = self.b.dims(x);
        let (channels, width) = (dims[1], dims[3]);
        match self.random.below(12) {
            0 => {
                let op = self.random.pick(&[Op::Tanh, Op::Sigmoid, Op::Relu, Op::Abs, Op::Silu]);
                self.b.unary(op, x)
            }
            1 => {
                let op = self.random.pick(&[Op::Add, Op::Sub]);
                let y = self.partner(x)?;
                let sum = self.b.binary(op, x, y)?;
                self.b.scale(sum, 0.5)
            }
            2 => {
                let y = self.partner(x)?;
                let product = self.b.mul(x, y)?;
                self.b.scale(product, 0.5)
            }
            3 => {
                let y = self.partner(x)?;
                let op = self.random.pick(&[Op::Maximum, Op::Minimum]);
                self.b.binary(op, x, y)
            }
            4 => {
                let weights = self.b.softmax(x, -1)?;
                self.b.scale(weights, 2.0)
            }
            5 => {
                let square = self.b.mul(x, x)?;
                let sum = self.b.reduce(Op::ReduceSum, square, &[1], true)?;
                let mean = self.b.scale(sum, 1.0 / channels as f64)?;
                let one = self.b.float(Fp16, 1.0);
                let mean = self.b.add(mean, one)?;
                let power = self.b.float(Fp16, -0.5);
                let scale = self.b.binary(Op::Pow, mean, power)?;
                self.b.mul(x, scale)
            }
            6 => {
                // W·x with the weight a constant.
                let rows = self.size();
                let weight = self.constant(&[1, 1, rows, channels])?;
                let matrix = self.b.reshape(x, &[1, 1, channels, width])?;
                let product = self.b.matmul(weight, matrix, (false, false))?;
                let product = self.b.scale(product, 1.0 / channels as f64)?;
                self.b.reshape(product, &[1, rows, 1, width])
            }
            7 => {
                // x·xᵀ over either axis.
                let matrix = self.b.reshape(x, &[1, 1, channels, width])?;
                let (flip, inner, outer) = match self.random.below(2) {
                    0 => ((false, true), width, channels),
                    _ => ((true, false), channels, width),
                };
                let product = self.b.matmul(matrix, matrix, flip)?;
                let product = self.b.scale(product, 1.0 / inner as f64)?;
                self.b.reshape(product, &[1, outer, 1, outer])
            }
            8 => {
                // Multiples of 16, which all widths are.
                let size = 16 * (1 + self.random.below(width / 16));
                let begin = self.random.below(width - size + 1);
                let begins = self.b.ints(&[0, 0, 0, begin as i64]);
                let sizes = self.b.ints(&[1, channels as i64, 1, size as i64]);
                let arguments = [("x", x.into()), ("begin", begins.into()), ("size", sizes.into())];
                self.b.op(Op::SliceBySize, "slice", arguments)
            }
            9 if channels <= 64 => {
                let y = self.b.unary(Op::Sigmoid, x)?;
                self.b.concat(&[x, y], 1)
            }
            10 => self.b.transpose(x, &[0, 3, 2, 1]),
            _ => {
                let wide = self.b.cast(x, Fp32)?;
                let tanh = self.b.unary(Op::Tanh, wide)?;
                self.b.cast(tanh, Fp16)
            }
        }
    }
}

#[test]
fn fast_and_modelled_agree_on_random_programs() {
    let engine = |numerics| {
        let quirks = Quirk::ALL.map(|quirk| (quirk, false)).into();
        let target = m4().by(anemone_ane::target::Route::Client);
        with(EmulatorOptions { numerics, quirks, ..EmulatorOptions::new(target) })
    };
    let (fast, modelled) = (engine(Numerics::Fast), engine(Numerics::Modelled));
    let evaluate = |engine: &Emulator, source: &Source, inputs: &Values, seed: u64| {
        let found = run(engine, source, inputs);
        found.unwrap_or_else(|e| panic!("program {seed}: {e}\n{}", source.text))
    };
    let mut worst = 0.0f64;
    for seed in 0..PROGRAMS {
        let source = Maker::new(seed).program().expect("what is made is valid");
        let inputs = inputs(&source, seed);
        let fast = evaluate(&fast, &source, &inputs, seed);
        let modelled = evaluate(&modelled, &source, &inputs, seed);
        let exact = exact(&source, &inputs);
        for (name, values) in &fast {
            let differences = [
                error(values, &modelled[name]),
                error(values, &exact[name]),
                error(&modelled[name], &exact[name]),
            ];
            for difference in differences {
                worst = worst.max(difference);
                assert!(
                    difference <= TOLERANCE,
                    "program {seed}: `{name}` differs by {differences:?}\n{}",
                    source.text
                );
            }
        }
    }
    // The comparison compares something: fp16 is not exact.
    assert!(worst > 1e-5, "nothing differs: {worst}");
}
