//! One matrix product with operands of its own.

use crate::format::Format;
use crate::gemm::{
    AlignedBytes, B, BatchAxis, Description, Error, Operand, Output, PackedB, Product, Right,
};
use crate::isa::Isa;
use crate::team::Team;
use half::{bf16, f16};

/// A product `C [m, n] = A [m, k] · B [k, n]`, `batch` times.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What it is for.
    pub name: &'static str,
    /// Products side by side.
    pub batch: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Whether A is stored as `[k, m]`.
    pub a_transposed: bool,
    /// Whether B is stored as `[n, k]`.
    pub b_transposed: bool,
}

const fn shape(name: &'static str, batch: usize, [m, n, k]: [usize; 3], t: [bool; 2]) -> Shape {
    Shape { name, batch, m, n, k, a_transposed: t[0], b_transposed: t[1] }
}

/// The products of a Llama-style model of 110M parameters with 256 tokens, and a large square.
pub const SHAPES: &[Shape] = &[
    shape("forward 256x768x768", 1, [256, 768, 768], [false, true]),
    shape("forward 256x2048x768", 1, [256, 2048, 768], [false, true]),
    shape("forward 256x768x2048", 1, [256, 768, 2048], [false, true]),
    shape("forward 256x32000x768", 1, [256, 32000, 768], [false, true]),
    shape("square 2048x2048x2048", 1, [2048, 2048, 2048], [false, false]),
    shape("dX 256x768x2048", 1, [256, 768, 2048], [false, false]),
    shape("dX 256x768x32000", 1, [256, 768, 32000], [false, false]),
    shape("dW 768x768x256", 1, [768, 768, 256], [true, false]),
    shape("dW 2048x768x256", 1, [2048, 768, 256], [true, false]),
    shape("dW 32000x768x256", 1, [32000, 768, 256], [true, false]),
    shape("attention qk 12x256x256x64", 12, [256, 256, 64], [false, true]),
    shape("attention pv 12x256x64x256", 12, [256, 64, 256], [false, false]),
    shape("decode 1x2048x768", 1, [1, 2048, 768], [false, true]),
    shape("decode 1x768x2048", 1, [1, 768, 2048], [false, true]),
    shape("decode 1x32000x768", 1, [1, 32000, 768], [false, true]),
];

impl Shape {
    /// Multiplications and additions, counted apart.
    pub fn flops(&self) -> f64 {
        2.0 * (self.batch * self.m * self.n * self.k) as f64
    }

    /// A's strides.
    pub fn a(&self, format: Format) -> Operand {
        operand(self.a_transposed, format, self.m, self.k)
    }

    /// B's strides.
    pub fn b(&self, format: Format) -> Operand {
        operand(self.b_transposed, format, self.k, self.n)
    }
}

fn operand(transposed: bool, format: Format, rows: usize, cols: usize) -> Operand {
    if transposed { Operand::columns(format, rows) } else { Operand::rows(format, cols) }
}

/// A planned product with its memory, to be run any number of times.
pub struct Trial {
    product: Product,
    a: AlignedBytes,
    b: AlignedBytes,
    c: AlignedBytes,
    packed: Option<PackedB>,
    scratch: AlignedBytes,
}

impl Trial {
    /// Plans the product for the team's threads, with operands in `format` and a result in fp32.
    /// With `packed`, B is packed here, once, as parameters are.
    ///
    /// # Errors
    /// If `format` is not a floating-point format, or a packed operand is asked of a batch.
    pub fn new(
        isa: Isa,
        team: &Team,
        shape: &Shape,
        format: Format,
        packed: bool,
    ) -> Result<Trial, Error> {
        let Shape { batch, m, n, k, .. } = *shape;
        let b = shape.b(format);
        let axis = BatchAxis { count: batch, a: m * k, b: k * n, c: m * n };
        let description = Description {
            m,
            n,
            k,
            batch: if batch > 1 { vec![axis] } else { vec![] },
            a: shape.a(format),
            b: if packed { Right::Packed(format) } else { Right::Strided(b) },
            c: Output::rows(Format::F32, n),
            bias: None,
            clamp: None,
        };
        let product = Product::new(isa, team.threads(), &description)?;
        let mut trial = Trial {
            a: numbers(batch * m * k, format),
            b: numbers(batch * k * n, format),
            c: AlignedBytes::new(batch * m * n * size_of::<f32>()),
            packed: None,
            scratch: AlignedBytes::new(product.scratch_bytes()),
            product,
        };
        if packed {
            let mut panels = PackedB::new(isa, format, k, n, format)?;
            // SAFETY: `trial.b` holds the matrix that the operand describes.
            unsafe { panels.pack(team, trial.b.as_ptr(), &b) };
            trial.packed = Some(panels);
        }
        Ok(trial)
    }

    /// Computes the product once. `team` may be any; one of other size than the plan's divides
    /// the work less well.
    pub fn run(&mut self, team: &Team) {
        let b = match &self.packed {
            Some(panels) => B::Packed(panels),
            None => B::Strided(self.b.as_ptr()),
        };
        // SAFETY: `new` made the memory for the very description that the product was planned
        // with, cache lines are aligned for every format, and all of it is borrowed mutably.
        unsafe {
            let c = self.c.as_mut_ptr();
            self.product.run(team, self.a.as_ptr(), b, c, None, &mut self.scratch);
        }
    }

    /// The name of the kernel that computes it.
    pub fn kernel_name(&self) -> &'static str {
        self.product.kernel_name()
    }

    /// The left operand, in its format.
    pub fn a(&self) -> &[u8] {
        &self.a
    }

    /// The right operand, in its format.
    pub fn b(&self) -> &[u8] {
        &self.b
    }

    /// The result of the last run, `[batch, m, n]`.
    pub fn result(&self) -> Vec<f32> {
        let float = |bytes: &[u8]| f32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        self.c.chunks_exact(size_of::<f32>()).map(float).collect()
    }
}

/// `count` numbers between -1 and 1.
fn numbers(count: usize, format: Format) -> AlignedBytes {
    let mut bytes = AlignedBytes::new(count * format.bytes());
    for (i, element) in bytes.chunks_exact_mut(format.bytes().max(1)).enumerate() {
        let value = ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
        match format {
            Format::Bf16 => element.copy_from_slice(&bf16::from_f32(value).to_ne_bytes()),
            Format::F16 => element.copy_from_slice(&f16::from_f32(value).to_ne_bytes()),
            // Any other format is refused before it gets here.
            _ => element.copy_from_slice(&value.to_ne_bytes()[..element.len()]),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operand's strides are what its product's description says: each kernel of the
    /// machine, packed and not, gives sums that differ from those in fp64 by rounding only.
    #[test]
    fn trials_compute_the_product_that_their_shape_names() {
        let team = Team::new(2).unwrap();
        for transposed in [[false, true], [false, false], [true, false]] {
            let shape = shape("small", 1, [5, 70, 33], transposed);
            let plain = |bytes: &[u8], operand: Operand, row: usize, col: usize| {
                let at = row * operand.row_stride + col * operand.col_stride;
                f64::from(f32::from_ne_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap()))
            };
            for isa in Isa::available() {
                for packed in [false, true] {
                    let mut trial = Trial::new(isa, &team, &shape, Format::F32, packed).unwrap();
                    trial.run(&team);
                    let result = trial.result();
                    for (i, &found) in result.iter().enumerate() {
                        let (row, col) = (i / 70, i % 70);
                        let expected: f64 = (0..33)
                            .map(|k| {
                                plain(trial.a(), shape.a(Format::F32), row, k)
                                    * plain(trial.b(), shape.b(Format::F32), k, col)
                            })
                            .sum();
                        // 33 terms below 1: at most 33 roundings of sums below 33.
                        assert!((f64::from(found) - expected).abs() < 1e-4, "{isa} {packed} {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn integers_are_refused() {
        let team = Team::new(1).unwrap();
        let isa = Isa::best();
        assert!(Trial::new(isa, &team, &SHAPES[0], Format::U8, false).is_err());
    }
}
