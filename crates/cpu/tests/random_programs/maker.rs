//! A function made operation by operation from values that are there already.

use crate::common::Random;
use mil::{Arg, DataType, Function, FunctionBuilder, Op, Opset, Tensor, Type, ValueId};

/// A value with what is known of its elements.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub id: ValueId,
    /// Whether every element is a small whole number, so that both evaluators have it exactly
    /// and functions with steps may be applied.
    pub whole: bool,
    /// No element is larger.
    pub bound: f64,
}

/// Values larger than this are not made: they would overflow in half precision.
const LARGEST: f64 = 500.0;

/// Makes one function.
pub struct Maker {
    pub builder: FunctionBuilder,
    pub random: Random,
    pub items: Vec<Item>,
}

pub type Made = Option<Item>;

impl Maker {
    pub fn new(seed: u64) -> Maker {
        let builder = FunctionBuilder::new("f", Opset::Ios18);
        let random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Maker { builder, random, items: vec![] }
    }

    /// A function of some operations and a few outputs.
    pub fn function(mut self) -> Function {
        for _ in 0..1 + self.random.below(3) {
            let dims = self.dims();
            let dtype =
                self.one_of(&[DataType::Fp32, DataType::Fp32, DataType::Bf16, DataType::Fp16]);
            let whole = self.random.below(3) == 0;
            let item = self.input(dtype, &dims, whole);
            self.items.push(item);
        }
        let wanted = if self.random.below(8) == 0 { 60 } else { 2 + self.random.below(16) };
        for _ in 0..wanted {
            if let Some(item) = self.step() {
                self.items.push(item);
            }
        }
        let mut outputs = vec![];
        for i in 0..1 + self.random.below(5) {
            let last = self.items.len() - 1;
            let index = if i == 0 { last } else { self.random.below(self.items.len()) };
            let item = self.items[index];
            // A value that is an output already is given a second time by another name.
            let id = if outputs.contains(&item.id) {
                self.builder.unary(Op::Identity, item.id).expect("identity takes anything")
            } else {
                item.id
            };
            outputs.push(id);
        }
        self.builder.finish(&outputs)
    }

    /// One more operation, if what was tried is legal and stays in range.
    fn step(&mut self) -> Made {
        let made = match self.random.below(28) {
            0..=2 => self.unary(),
            3..=5 => self.binary(),
            6 => self.compared(),
            7 => self.cast(),
            8..=9 => self.reduced(),
            10 => self.normalized(),
            11..=12 => self.product(),
            13 => self.convolution(),
            14 => self.attention(),
            15..=17 => self.moved(),
            18 => self.indexed(),
            19..=20 => self.further_unary(),
            21 => self.further_reduced(),
            22 => self.image(),
            23 => self.logic(),
            24 => self.others(),
            _ => self.selected(),
        }?;
        let dims = self.dims_of(made);
        let count: usize = dims.iter().product();
        (made.bound <= LARGEST && count <= 1500 && dims.len() <= 5).then_some(made)
    }

    /// A value whose element type is one of `dtypes`; the later ones are likelier.
    pub fn pick(&mut self, dtypes: &[DataType]) -> Made {
        let fitting: Vec<Item> = self
            .items
            .iter()
            .copied()
            .filter(|item| dtypes.contains(&self.builder.dtype(item.id)))
            .collect();
        if fitting.is_empty() {
            return None;
        }
        let (a, b) = (self.random.below(fitting.len()), self.random.below(fitting.len()));
        Some(fitting[a.max(b)])
    }

    /// A float value.
    pub fn float(&mut self) -> Made {
        self.pick(&[DataType::Fp32, DataType::Fp16, DataType::Bf16, DataType::Fp64])
    }

    /// A value of any type.
    pub fn any(&mut self) -> Item {
        self.items[self.items.len() - 1 - self.random.below(self.items.len().min(6))]
    }

    /// A new input, or a constant, with elements of at most 2.
    pub fn input(&mut self, dtype: DataType, dims: &[usize], whole: bool) -> Item {
        let count: usize = dims.iter().product();
        let constant = self.random.below(5) == 0;
        let whole = whole || !dtype.is_float();
        if !constant && (whole || dtype.is_float()) {
            // The inputs are filled by name.
            let name = if whole { "whole" } else { "x" };
            let id = self.builder.input(name, Type::tensor(dtype, dims));
            return Item { id, whole, bound: 2.0 };
        }
        let values: Vec<f64> = (0..count)
            .map(|_| if whole { self.random.below(3) as f64 } else { self.random.float() })
            .collect();
        let ints: Vec<i64> = values.iter().map(|&v| (v as i64).min(1)).collect();
        let tensor = if dtype.is_float() {
            Tensor::from_f64s(dtype, dims, &values)
        } else {
            Tensor::from_i64s(dtype, dims, &ints)
        };
        let id = self.builder.constant("k", tensor.expect("as many elements as the dims say"));
        Item { id, whole, bound: 2.0 }
    }

    /// Ragged dims of any rank, sometimes with nothing in them.
    pub fn dims(&mut self) -> Vec<usize> {
        let rank = self.random.below(6);
        let top = [40, 40, 17, 8, 5, 4][rank];
        let mut dims: Vec<usize> = (0..rank).map(|_| 1 + self.random.below(top)).collect();
        for dim in &mut dims {
            match self.random.below(60) {
                0..=8 => *dim = 1,
                9 => *dim = 0,
                _ => {}
            }
        }
        dims
    }

    pub fn dims_of(&self, item: Item) -> Vec<usize> {
        self.builder.dims(item.id)
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.below(all.len())]
    }

    pub fn coin(&mut self) -> bool {
        self.random.below(2) == 0
    }

    /// An axis, counted from the front or from the back.
    pub fn axis(&mut self, rank: usize) -> i64 {
        let axis = self.random.below(rank.max(1)) as i64;
        if self.coin() { axis } else { axis - rank as i64 }
    }

    pub fn int(&mut self, value: i64) -> Arg {
        self.builder.int(value).into()
    }

    pub fn ints(&mut self, values: &[i64]) -> Arg {
        self.builder.ints(values).into()
    }

    pub fn bools(&mut self, values: &[bool]) -> Arg {
        let values: Vec<i64> = values.iter().map(|&v| v.into()).collect();
        let tensor = Tensor::from_i64s(DataType::Bool, &[values.len()], &values);
        self.builder.constant("mask", tensor.expect("as many as the dims say")).into()
    }

    pub fn text(&mut self, value: &str) -> Arg {
        self.builder.string(value).into()
    }

    /// A scalar of a float type.
    pub fn scalar(&mut self, dtype: DataType, value: f64) -> Arg {
        self.builder.float(dtype, value).into()
    }

    /// Adds an operation if inference allows it.
    pub fn op(&mut self, op: Op, inputs: Vec<(&str, Arg)>, whole: bool, bound: f64) -> Made {
        let id = self.builder.op(op, op.name(), inputs).ok()?;
        Some(Item { id, whole, bound })
    }
}
