//! Programs made at random: what is written is read back as an equal program.

use crate::{read, write};
use mil::{
    Arg, BlobRef, Block, DataType, Dim, Function, Literal, Operand, Operation, Opset, Program,
    Shape, Span, Tensor, TensorType, Type, Value, ValueId,
};
use std::collections::{BTreeMap, HashMap};

#[test]
fn every_program_that_is_written_is_read_back() {
    let mut operations = 0;
    for seed in 0..1500 {
        let mut maker = Maker { state: seed * 2 + 1, values: vec![] };
        let program = maker.program();
        let names: Vec<HashMap<ValueId, String>> =
            program.functions.iter().map(|_| HashMap::new()).collect();
        let bytes = write::program(&program, &names);
        let order: Vec<String> = program.functions.iter().map(|f| f.name.clone()).collect();
        // With and without being told, functions stay in their order.
        for order in [&order[..], &[]] {
            let again = read::program(bytes.clone(), order);
            let again = again.unwrap_or_else(|problems| panic!("{seed}: {problems}"));
            assert!(again.program == program, "{seed}: changed\n{}", mil::print(&program));
            for (function, ports) in program.functions.iter().zip(&again.ports) {
                let name = |id: &ValueId| function.value(*id).name.clone();
                assert_eq!(ports.inputs, function.inputs.iter().map(name).collect::<Vec<_>>());
                assert_eq!(
                    ports.outputs,
                    function.body.outputs.iter().map(name).collect::<Vec<_>>()
                );
            }
        }
        // The same program gives the same bytes.
        assert_eq!(write::program(&program, &names), bytes, "{seed}");
        for function in &program.functions {
            function.body.visit(&mut |_| operations += 1);
        }
    }
    assert!(operations > 5000, "{operations}");
}

#[test]
fn other_names_in_the_file_come_back_as_those_of_ports() {
    let value = |name: &str| Value { name: name.into(), ty: Type::tensor(DataType::Fp32, &[2]) };
    let function = Function {
        name: "main".into(),
        opset: Opset::Ios15,
        inputs: vec![ValueId(0)],
        body: Block { outputs: vec![ValueId(0)], ..Block::default() },
        attributes: BTreeMap::new(),
        values: vec![value("a_b")],
    };
    let program = Program { version: "1.0".into(), ..Program::new(vec![function]) };
    let names = HashMap::from([(ValueId(0), "a b".to_owned())]);
    let read = read::program(write::program(&program, &[names]), &[]).unwrap();
    assert_eq!(read.program, program);
    assert_eq!(read.ports[0].inputs, ["a b"]);
    assert_eq!(read.ports[0].outputs, ["a b"]);
}

/// Makes programs that need not make sense.
struct Maker {
    state: u64,
    values: Vec<Value>,
}

impl Maker {
    fn word(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.word() >> 16) as usize % end
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len());
        &items[at]
    }

    fn program(&mut self) -> Program {
        let functions: Vec<Function> = (0..self.below(4)).map(|i| self.function(i)).collect();
        let old = functions.iter().all(|f| f.opset < Opset::Ios18);
        let version = if old { "1.0" } else { "1.3" }.to_owned();
        Program { version, attributes: self.attributes(), functions }
    }

    fn function(&mut self, index: usize) -> Function {
        self.values = vec![];
        let count = self.below(4);
        let inputs = self.define(count);
        let body = self.block(inputs.clone(), vec![], 0);
        Function {
            // Not in the order of the alphabet.
            name: format!("f{}", 9 - index),
            opset: *self.pick(&Opset::ALL),
            inputs,
            body,
            attributes: self.attributes(),
            values: std::mem::take(&mut self.values),
        }
    }

    fn block(&mut self, mut visible: Vec<ValueId>, inputs: Vec<ValueId>, depth: usize) -> Block {
        visible.extend(&inputs);
        let mut operations = vec![];
        for _ in 0..self.below(6) {
            let op = self.pick(mil::OPS).op;
            let mut args = BTreeMap::new();
            for param in op.spec().params {
                if self.below(3) > 0 {
                    args.insert(param.name.to_owned(), self.arg(&visible));
                }
            }
            let attributes = self.attributes();
            let mut blocks = vec![];
            if depth < 3 && self.below(5) == 0 {
                for _ in 0..1 + self.below(2) {
                    let count = self.below(3);
                    let inputs = self.define(count);
                    blocks.push(self.block(visible.clone(), inputs, depth + 1));
                }
            }
            let count = self.below(3);
            let outputs = self.define(count);
            visible.extend(&outputs);
            let span = Span::default();
            operations.push(Operation { op, inputs: args, attributes, outputs, blocks, span });
        }
        let count = if visible.is_empty() { 0 } else { self.below(3) };
        let outputs = (0..count).map(|_| *self.pick(&visible)).collect();
        Block { inputs, operations, outputs, attributes: self.attributes() }
    }

    /// New values; names differ from those of all others.
    fn define(&mut self, count: usize) -> Vec<ValueId> {
        let mut ids = vec![];
        for _ in 0..count {
            let id = ValueId(self.values.len() as u32);
            let stem = *self.pick(&["x", "_", "tensor", "func", "A@", "x_1_"]);
            let ty = self.ty(0);
            self.values.push(Value { name: format!("{stem}{}", id.0), ty });
            ids.push(id);
        }
        ids
    }

    /// An argument; a tuple of one comes back as its operand.
    fn arg(&mut self, visible: &[ValueId]) -> Arg {
        match self.below(5) {
            1 | 4 => Arg::One(self.operand(visible)),
            count => Arg::Many((0..count).map(|_| self.operand(visible)).collect()),
        }
    }

    fn operand(&mut self, visible: &[ValueId]) -> Operand {
        if !visible.is_empty() && self.below(3) > 0 {
            return Operand::Value(*self.pick(visible));
        }
        Operand::Literal(self.any_literal())
    }

    fn attributes(&mut self) -> BTreeMap<String, Literal> {
        let keys = ["name", "val", "values", "_0", "tensor"];
        (0..self.below(3)).map(|_| ((*self.pick(&keys)).to_owned(), self.any_literal())).collect()
    }

    fn any_literal(&mut self) -> Literal {
        loop {
            let ty = self.ty(0);
            if let Some(literal) = self.literal(&ty) {
                return literal;
            }
        }
    }

    fn ty(&mut self, depth: usize) -> Type {
        let kind = if depth > 3 { 0 } else { self.below(9) };
        match kind {
            5 => {
                let len = Some(self.below(3)).filter(|_| self.below(2) == 0);
                Type::List { element: Box::new(self.ty(depth + 1)), len }
            }
            6 => Type::Tuple((0..self.below(4)).map(|_| self.ty(depth + 1)).collect()),
            7 => Type::Dict(Box::new(self.ty(depth + 1)), Box::new(self.ty(depth + 1))),
            8 => Type::State(Box::new(self.ty(depth + 1))),
            _ => {
                let dims = (0..self.below(4)).map(|_| match self.below(6) {
                    5 => Dim::Unknown,
                    n => Dim::Fixed(n),
                });
                let shape = Shape::Ranked(dims.collect());
                let shape = if self.below(12) == 0 { Shape::Unranked } else { shape };
                let dtypes: Vec<DataType> = DataType::all().collect();
                Type::Tensor(TensorType { dtype: *self.pick(&dtypes), shape })
            }
        }
    }

    /// A constant of this type, if there is one.
    fn literal(&mut self, ty: &Type) -> Option<Literal> {
        match ty {
            Type::Tensor(t) => Some(self.tensor(t)),
            Type::State(_) => None,
            Type::Tuple(types) => {
                let items = types.iter().map(|t| self.literal(t)).collect::<Option<_>>()?;
                Some(Literal::Tuple(items))
            }
            Type::List { element, len } => {
                let count = len.unwrap_or_else(|| self.below(3));
                let items = (0..count).map(|_| self.literal(element)).collect::<Option<_>>()?;
                Some(Literal::List { ty: ty.clone(), items })
            }
            Type::Dict(key, value) => {
                let count = self.below(3);
                let entries = (0..count).map(|_| Some((self.literal(key)?, self.literal(value)?)));
                Some(Literal::Dict { ty: ty.clone(), entries: entries.collect::<Option<_>>()? })
            }
        }
    }

    fn tensor(&mut self, ty: &TensorType) -> Literal {
        let dims: Vec<usize> = match &ty.shape {
            Shape::Unranked => (0..self.below(3)).map(|_| self.below(3)).collect(),
            Shape::Ranked(dims) => {
                dims.iter().map(|d| d.fixed().unwrap_or_else(|| self.below(4))).collect()
            }
        };
        let dtype = ty.dtype;
        if self.below(6) == 0 && dtype != DataType::String {
            let path = format!("@model_path/{}", self.string());
            return Literal::Blob(BlobRef { dtype, dims, path, offset: self.word() });
        }
        let count = dims.iter().product();
        let tensor = match dtype {
            DataType::String => {
                Tensor::from_strings(&dims, (0..count).map(|_| self.string()).collect())
            }
            // Any bits at all, NaNs and subnormals among them.
            _ if dtype.is_float() => {
                let bytes: Vec<u8> =
                    (0..count * dtype.bits() / 8).map(|_| self.word() as u8 | 0x70).collect();
                Tensor::from_bytes(dtype, &dims, bytes)
            }
            _ => {
                let values: Vec<i64> = (0..count).map(|_| self.word() as i64).collect();
                Tensor::from_i64s(dtype, &dims, &values)
            }
        };
        Literal::Tensor(tensor.expect("the count is that of the shape"))
    }

    fn string(&mut self) -> String {
        let parts = ["a", "\"", "\\", "\n", "\0", "7", "é", "漢", "/", ";"];
        (0..self.below(6)).map(|_| *self.pick(&parts)).collect()
    }
}
