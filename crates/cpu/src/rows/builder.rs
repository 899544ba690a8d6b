//! Recording a row program.

use super::axes::Space;
use super::program::RowProgram;
use super::schedule;
use super::{Binary, Instr, MAX_RANK, Operand, Reduction, Rounding, Unary, Value};
use crate::format::Format;

/// Records the operations of a row program.
///
/// Misuse (a rank that does not fit, a row where one number is wanted) is a bug of the caller and
/// panics, here and not at run time.
#[derive(Clone, Debug)]
pub struct RowBuilder {
    outer: Vec<usize>,
    inner: usize,
    operands: Vec<Operand>,
    code: Vec<Instr>,
    /// Whether a value is a row, as opposed to one number for each row.
    is_row: Vec<bool>,
}

impl RowBuilder {
    /// A program on rows of `inner` elements, one for each index of `outer` (row-major).
    pub fn new(outer: &[usize], inner: usize) -> RowBuilder {
        assert!(outer.len() <= MAX_RANK, "{} outer axes, at most {MAX_RANK}", outer.len());
        RowBuilder {
            outer: outer.to_vec(),
            inner,
            operands: Vec::new(),
            code: Vec::new(),
            is_row: Vec::new(),
        }
    }

    /// The outer axes.
    pub fn outer(&self) -> &[usize] {
        &self.outer
    }

    /// The number of elements in a row.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Whether `value` is a row of numbers; otherwise it is one number for each row.
    pub fn is_row(&self, value: Value) -> bool {
        self.is_row[value.index()]
    }

    /// The elements of an operand. With an inner stride of 0 it is one number for each row.
    pub fn load(&mut self, operand: Operand) -> Value {
        let is_row = operand.inner_stride != 0;
        let operand = self.operand(operand);
        // The same array loaded twice is one value.
        let same = |instr: &Instr| match *instr {
            Instr::Load { operand: other } => self.operands[other] == self.operands[operand],
            _ => false,
        };
        if let Some(index) = self.code.iter().position(same) {
            self.operands.pop();
            return Value(index as u32);
        }
        self.push(Instr::Load { operand }, is_row)
    }

    /// The same number everywhere.
    pub fn constant(&mut self, number: f32) -> Value {
        self.push(Instr::Const(number), false)
    }

    /// `op(a)`.
    pub fn unary(&mut self, op: Unary, a: Value) -> Value {
        self.push(Instr::Unary { op, a }, self.is_row(a))
    }

    /// `op(a, b)`.
    pub fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        if let (Binary::Pow, Instr::Const(exponent)) = (op, self.code[b.index()]) {
            if exponent == 2.0 {
                return self.unary(Unary::Square, a);
            } else if exponent == -1.0 {
                return self.unary(Unary::Recip, a);
            } else if exponent == 1.0 {
                return a;
            }
        }
        self.push(Instr::Binary { op, a, b }, self.is_row(a) || self.is_row(b))
    }

    /// `a + number`, `a · number` and so on.
    pub fn binary_constant(&mut self, op: Binary, a: Value, number: f32) -> Value {
        let number = self.constant(number);
        self.binary(op, a, number)
    }

    /// `a` where `c` is not 0, `b` elsewhere.
    pub fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        let is_row = self.is_row(c) || self.is_row(a) || self.is_row(b);
        self.push(Instr::Select { c, a, b }, is_row)
    }

    /// `min(max(a, low), high)`.
    pub fn clamp(&mut self, a: Value, low: f32, high: f32) -> Value {
        self.push(Instr::Clamp { a, low, high }, self.is_row(a))
    }

    /// Rounds to the numbers of a narrower type.
    pub fn round(&mut self, to: Rounding, a: Value) -> Value {
        self.push(Instr::Round { to, a }, self.is_row(a))
    }

    /// Reduces each row to one number.
    pub fn reduce(&mut self, op: Reduction, a: Value) -> Value {
        if self.inner == 1 {
            return a;
        }
        self.push(Instr::Reduce { op, a }, false)
    }

    /// Writes `a` to an operand, along the row even if it is one number for each row.
    pub fn store(&mut self, operand: Operand, a: Value) {
        self.store_rows(operand, a, false);
    }

    /// Adds `a` to the `F32` elements of an operand.
    pub fn accumulate(&mut self, operand: Operand, a: Value) {
        self.store_rows(operand, a, true);
    }

    /// Writes `a`, which is one number for each row; the operand's inner stride is not used.
    pub fn store_scalar(&mut self, operand: Operand, a: Value) {
        self.store_scalars(operand, a, false);
    }

    /// Adds `a`, which is one number for each row, to `F32` elements.
    pub fn accumulate_scalar(&mut self, operand: Operand, a: Value) {
        self.store_scalars(operand, a, true);
    }

    /// Reduces `a` over all rows to one row, and writes it or, with `accumulate`, adds it to what is
    /// there. The operand's outer strides are not used (and may be left out). Accumulation is
    /// for `F32` operands; a maximum or minimum "accumulates" by addition too.
    pub fn column_reduce(
        &mut self,
        op: Reduction,
        a: Value,
        mut operand: Operand,
        accumulate: bool,
    ) {
        operand.outer_strides = vec![0; self.outer.len()];
        let operand = self.target(operand, accumulate);
        self.push(Instr::ColumnReduce { op, a, operand, accumulate }, false);
    }

    /// The finished program.
    pub fn finish(self) -> RowProgram {
        schedule::schedule(Space::of(&self.outer, self.inner), self.operands, self.code)
    }

    /// What was recorded so far.
    #[cfg(test)]
    pub(super) fn recorded(&self) -> (&[Operand], &[Instr]) {
        (&self.operands, &self.code)
    }

    fn store_rows(&mut self, operand: Operand, a: Value, accumulate: bool) {
        let operand = self.target(operand, accumulate);
        self.push(Instr::Store { operand, a, accumulate }, false);
    }

    fn store_scalars(&mut self, mut operand: Operand, a: Value, accumulate: bool) {
        if self.inner == 1 {
            return self.store_rows(operand, a, accumulate);
        }
        assert!(!self.is_row(a), "a row cannot be stored as one number for each row");
        operand.inner_stride = 0;
        let operand = self.target(operand, accumulate);
        self.push(Instr::StoreScalar { operand, a, accumulate }, false);
    }

    fn target(&mut self, operand: Operand, accumulate: bool) -> usize {
        assert!(!accumulate || operand.format == Format::F32, "only f32 can be accumulated");
        self.operand(operand)
    }

    fn operand(&mut self, operand: Operand) -> usize {
        assert_eq!(operand.outer_strides.len(), self.outer.len(), "a stride for each outer axis");
        self.operands.push(operand);
        self.operands.len() - 1
    }

    fn push(&mut self, instr: Instr, is_row: bool) -> Value {
        for input in instr.inputs() {
            assert!(input.index() < self.code.len(), "a value of another builder");
        }
        let value = Value(self.code.len() as u32);
        self.code.push(instr);
        self.is_row.push(is_row);
        value
    }
}
