//! Programs made at random: their print reads back to an equal program.

mod common;

use anemone_mil::{
    Arg, BlobRef, Block, DataType, Dim, Function, Literal, Op, Operand, Operation, Opset, Program,
    Shape, Span, Tensor, TensorType, Type, Value, ValueId, parse, print,
};
use common::Random;
use std::collections::BTreeMap;

#[test]
fn every_print_reads_back() {
    let dtypes: Vec<DataType> = DataType::all().collect();
    let mut random = Random::new(2);
    for round in 0..1500 {
        let mut maker = Maker { random: &mut random, dtypes: &dtypes };
        let program = maker.program();
        let text = print(&program);
        let again = parse(&text).unwrap_or_else(|e| panic!("{round}: {}\n{text}", e.render(&text)));
        assert!(again == program, "{round}: changed\n{text}");
        assert_eq!(print(&again), text, "{round}");
    }
}

struct Maker<'a> {
    random: &'a mut Random,
    dtypes: &'a [DataType],
}

impl Maker<'_> {
    fn program(&mut self) -> Program {
        let functions = (0..self.random.below(4)).map(|i| self.function(i)).collect();
        let version = (*self.random.pick(&["1.0", "1.3", "1"])).to_owned();
        Program { version, attributes: self.attributes(), functions }
    }

    fn function(&mut self, index: usize) -> Function {
        let mut function = Function {
            name: format!("f{index}"),
            opset: *self.random.pick(&Opset::ALL),
            inputs: vec![],
            body: Block::default(),
            attributes: self.attributes(),
            values: vec![],
        };
        let count = self.random.below(4);
        let mut visible = vec![];
        function.inputs = self.define(&mut function.values, count, &mut visible);
        function.body = self.block(&mut function.values, visible, vec![], 0);
        function
    }

    fn block(
        &mut self,
        values: &mut Vec<Value>,
        mut visible: Vec<ValueId>,
        inputs: Vec<ValueId>,
        depth: usize,
    ) -> Block {
        visible.extend(&inputs);
        let mut operations = vec![];
        for _ in 0..self.random.below(5) {
            let op =
                *self.random.pick(&[Op::Const, Op::Add, Op::Concat, Op::WriteState, Op::Split]);
            let inputs =
                (0..self.random.below(4)).map(|_| (self.key(), self.arg(&visible))).collect();
            let attributes = self.attributes();
            let mut blocks = vec![];
            if depth < 3 && self.random.below(4) == 0 {
                for _ in 0..1 + self.random.below(2) {
                    let count = self.random.below(3);
                    let inputs = self.define(values, count, &mut vec![]);
                    blocks.push(self.block(values, visible.clone(), inputs, depth + 1));
                }
            }
            let count = self.random.below(4);
            let outputs = self.define(values, count, &mut visible);
            let span = Span::default();
            operations.push(Operation { op, inputs, attributes, outputs, blocks, span });
        }
        let count = if visible.is_empty() { 0 } else { self.random.below(3) };
        let outputs = (0..count).map(|_| *self.random.pick(&visible)).collect();
        Block { inputs, operations, outputs, attributes: self.attributes() }
    }

    /// New values with names of all kinds.
    fn define(
        &mut self,
        values: &mut Vec<Value>,
        count: usize,
        visible: &mut Vec<ValueId>,
    ) -> Vec<ValueId> {
        let mut ids = vec![];
        for _ in 0..count {
            let id = ValueId(values.len() as u32);
            let stem =
                *self.random.pick(&["x", "_", "int8", "tensor", "block", "func", "nan", "A@"]);
            // The first of a function may be a bare keyword.
            let name = if values.is_empty() { stem.to_owned() } else { format!("{stem}{}", id.0) };
            values.push(Value { name, ty: self.ty(0) });
            ids.push(id);
        }
        visible.extend(&ids);
        ids
    }

    fn arg(&mut self, visible: &[ValueId]) -> Arg {
        match self.random.below(3) {
            0 => Arg::Many((0..self.random.below(4)).map(|_| self.operand(visible)).collect()),
            _ => Arg::One(self.operand(visible)),
        }
    }

    fn operand(&mut self, visible: &[ValueId]) -> Operand {
        if !visible.is_empty() && self.random.below(3) > 0 {
            return Operand::Value(*self.random.pick(visible));
        }
        Operand::Literal(self.any_literal())
    }

    fn attributes(&mut self) -> BTreeMap<String, Literal> {
        (0..self.random.below(3)).map(|_| (self.key(), self.any_literal())).collect()
    }

    fn key(&mut self) -> String {
        (*self.random.pick(&["x", "name", "val", "values", "_0", "tensor", "bool"])).to_owned()
    }

    fn any_literal(&mut self) -> Literal {
        loop {
            let ty = self.ty(0);
            if has_constants(&ty) {
                return self.literal(&ty);
            }
        }
    }

    fn ty(&mut self, depth: usize) -> Type {
        let kind = if depth > 3 { 0 } else { self.random.below(9) };
        match kind {
            5 => {
                let len = Some(self.random.below(3)).filter(|_| self.random.below(2) == 0);
                Type::List { element: Box::new(self.ty(depth + 1)), len }
            }
            6 => Type::Tuple((0..self.random.below(4)).map(|_| self.ty(depth + 1)).collect()),
            7 => Type::Dict(Box::new(self.ty(depth + 1)), Box::new(self.ty(depth + 1))),
            8 => Type::State(Box::new(self.ty(depth + 1))),
            _ => {
                let dims = (0..self.random.below(4)).map(|_| match self.random.below(6) {
                    5 => Dim::Unknown,
                    n => Dim::Fixed(n),
                });
                let shape = Shape::Ranked(dims.collect());
                let shape = if self.random.below(12) == 0 { Shape::Unranked } else { shape };
                Type::Tensor(TensorType { dtype: *self.random.pick(self.dtypes), shape })
            }
        }
    }

    /// A constant of this type, which has some.
    fn literal(&mut self, ty: &Type) -> Literal {
        match ty {
            Type::Tensor(t) => self.tensor(t),
            Type::State(_) => unreachable!("states have no constants"),
            Type::Tuple(types) => Literal::Tuple(types.iter().map(|t| self.literal(t)).collect()),
            Type::List { element, len } => {
                let any = if has_constants(element) { self.random.below(3) } else { 0 };
                let items = (0..len.unwrap_or(any)).map(|_| self.literal(element)).collect();
                Literal::List { ty: ty.clone(), items }
            }
            Type::Dict(key, value) => {
                let possible = has_constants(key) && has_constants(value);
                let count = if possible { self.random.below(3) } else { 0 };
                let entries = (0..count).map(|_| (self.literal(key), self.literal(value)));
                Literal::Dict { ty: ty.clone(), entries: entries.collect() }
            }
        }
    }

    fn tensor(&mut self, ty: &TensorType) -> Literal {
        let dims: Vec<usize> = match &ty.shape {
            Shape::Unranked => (0..self.random.below(3)).map(|_| self.random.below(3)).collect(),
            Shape::Ranked(dims) => {
                dims.iter().map(|d| d.fixed().unwrap_or_else(|| self.random.below(4))).collect()
            }
        };
        let dtype = ty.dtype;
        if self.random.below(6) == 0 {
            let (path, offset) = (self.string(), self.random.word());
            return Literal::Blob(BlobRef { dtype, dims, path, offset });
        }
        let count = dims.iter().product();
        let tensor = match dtype {
            DataType::String => {
                Tensor::from_strings(&dims, (0..count).map(|_| self.string()).collect())
            }
            // Any bits at all, NaNs and subnormals among them.
            _ if dtype.is_float() => {
                let bytes: Vec<u8> = (0..count * dtype.bits() / 8).map(|_| self.byte()).collect();
                Tensor::from_bytes(dtype, &dims, bytes)
            }
            _ => {
                let values: Vec<i64> = (0..count).map(|_| self.random.word() as i64).collect();
                Tensor::from_i64s(dtype, &dims, &values)
            }
        };
        Literal::Tensor(tensor.expect("the count is that of the shape"))
    }

    fn byte(&mut self) -> u8 {
        match self.random.below(4) {
            0 => *self.random.pick(&[0, 0x7f, 0x80, 0xff, 0x7c, 0xf0]),
            _ => self.random.word() as u8,
        }
    }

    fn string(&mut self) -> String {
        let parts = ["a", "\"", "\\", "\n", "\t", "\0", "7", "é", "漢", "//", "\u{7f}", ";", "x41"];
        (0..self.random.below(6)).map(|_| *self.random.pick(&parts)).collect()
    }
}

/// Whether any constant has this type; none has a state's.
fn has_constants(ty: &Type) -> bool {
    match ty {
        Type::Tensor(_) | Type::Dict(..) => true,
        Type::State(_) => false,
        Type::List { element, len } => len.unwrap_or(0) == 0 || has_constants(element),
        Type::Tuple(items) => items.iter().all(has_constants),
    }
}
