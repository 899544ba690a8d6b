//! Printing programs.

use super::literals::bits_of;
use super::number;
use crate::{
    Arg, BlobRef, Block, DataType, Function, Literal, Operand, Operation, Program, Tensor,
    TensorType, Type, ValueId,
};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// The program's text. It depends on nothing but the program, and [`parse`](crate::parse) reads it
/// back to an equal program, as long as names are names and constants fit their types.
pub fn print(program: &Program) -> String {
    let mut printer = Printer { out: String::new(), old: program.version == "1.0" };
    printer.program(program);
    printer.out
}

struct Printer {
    out: String,
    /// Whether scalars are spelled `tensor<T, []>`.
    old: bool,
}

impl Printer {
    fn put(&mut self, item: impl Display) {
        write!(self.out, "{item}").expect("strings take all writes");
    }

    /// The items with commas between them.
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        for (i, x) in items.into_iter().enumerate() {
            if i > 0 {
                self.put(", ");
            }
            item(self, x);
        }
    }

    fn program(&mut self, program: &Program) {
        self.put("program(");
        self.put(&program.version);
        self.put(")\n");
        if !program.attributes.is_empty() {
            self.attributes(&program.attributes);
            self.put("\n");
        }
        self.put("{\n");
        for function in &program.functions {
            self.function(function);
        }
        self.put("}\n");
    }

    fn attributes(&mut self, attributes: &BTreeMap<String, Literal>) {
        if attributes.is_empty() {
            return;
        }
        self.put("[");
        self.list(attributes, |p, (key, value)| {
            p.put(key);
            p.put(" = ");
            p.value(value);
        });
        self.put("]");
    }

    fn function(&mut self, function: &Function) {
        self.put("    func ");
        self.put(&function.name);
        self.put(format_args!("<{}>(", function.opset));
        self.definitions(function, &function.inputs);
        self.put(") ");
        if !function.attributes.is_empty() {
            self.attributes(&function.attributes);
            self.put(" ");
        }
        self.body(function, &function.body, 2);
        self.put(";\n");
    }

    fn definitions(&mut self, function: &Function, ids: &[ValueId]) {
        self.list(ids, |p, &id| {
            p.ty(function.ty(id));
            p.put(" ");
            p.name(function, id);
        });
    }

    fn name(&mut self, function: &Function, id: ValueId) {
        self.put(&function.value(id).name);
    }

    fn body(&mut self, function: &Function, block: &Block, level: usize) {
        self.put("{\n");
        for operation in &block.operations {
            self.indent(level + 1);
            self.operation(function, operation, level + 1);
        }
        self.indent(level);
        self.put("} ");
        if !block.attributes.is_empty() {
            self.attributes(&block.attributes);
            self.put(" ");
        }
        self.put("-> (");
        self.list(&block.outputs, |p, &id| p.name(function, id));
        self.put(")");
    }

    fn indent(&mut self, level: usize) {
        for _ in 0..level {
            self.put("    ");
        }
    }

    fn operation(&mut self, function: &Function, operation: &Operation, level: usize) {
        if !operation.outputs.is_empty() {
            self.definitions(function, &operation.outputs);
            self.put(" = ");
        }
        self.put(operation.op.name());
        self.put("(");
        self.list(&operation.inputs, |p, (key, arg)| {
            p.put(key);
            p.put(" = ");
            match arg {
                Arg::One(operand) => p.operand(function, operand),
                Arg::Many(operands) => {
                    p.put("(");
                    p.list(operands, |p, operand| p.operand(function, operand));
                    p.put(")");
                }
            }
        });
        self.put(")");
        self.attributes(&operation.attributes);
        for block in &operation.blocks {
            self.put("\n");
            self.indent(level + 1);
            self.put("block(");
            self.definitions(function, &block.inputs);
            self.put(") ");
            self.body(function, block, level + 1);
        }
        self.put(";\n");
    }

    fn operand(&mut self, function: &Function, operand: &Operand) {
        match operand {
            Operand::Value(id) => self.name(function, *id),
            Operand::Literal(literal) => self.value(literal),
        }
    }

    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Tensor(t) if self.old && t.rank() == Some(0) => {
                self.put(format_args!("tensor<{}, []>", t.dtype));
            }
            Type::Tensor(t) => self.put(t),
            Type::List { element, len } => {
                self.put("list<");
                self.ty(element);
                match len {
                    Some(n) => self.put(format_args!(", {n}>")),
                    None => self.put(", ?>"),
                }
            }
            Type::Tuple(items) => {
                self.put("tuple<");
                self.list(items, |p, item| p.ty(item));
                self.put(">");
            }
            Type::Dict(key, value) => {
                self.put("dict<");
                self.ty(key);
                self.put(", ");
                self.ty(value);
                self.put(">");
            }
            Type::State(inner) => {
                self.put("state<");
                self.ty(inner);
                self.put(">");
            }
        }
    }

    /// `type(literal)`.
    fn value(&mut self, literal: &Literal) {
        let ty = literal.ty();
        self.ty(&ty);
        self.put("(");
        self.bare(literal);
        self.put(")");
    }

    /// A literal inside another one, which gives it the type `expected`.
    fn inner(&mut self, literal: &Literal, expected: Option<&Type>) {
        match expected {
            Some(expected) if is_given_by(literal, expected) => self.bare(literal),
            _ => self.value(literal),
        }
    }

    fn bare(&mut self, literal: &Literal) {
        match literal {
            Literal::Tensor(t) => self.tensor(t),
            Literal::Blob(blob) => self.blob(blob),
            Literal::Tuple(items) => {
                self.put("(");
                self.list(items, |p, item| p.inner(item, Some(&item.ty())));
                self.put(")");
            }
            Literal::List { ty, items } => {
                let element = match ty {
                    Type::List { element, .. } => Some(&**element),
                    _ => None,
                };
                self.put("[");
                self.list(items, |p, item| p.inner(item, element));
                self.put("]");
            }
            Literal::Dict { ty, entries } => {
                let (key, value) = match ty {
                    Type::Dict(key, value) => (Some(&**key), Some(&**value)),
                    _ => (None, None),
                };
                self.put("{");
                self.list(entries, |p, entry| {
                    p.put("{");
                    p.inner(&entry.0, key);
                    p.put(", ");
                    p.inner(&entry.1, value);
                    p.put("}");
                });
                self.put("}");
            }
        }
    }

    fn blob(&mut self, blob: &BlobRef) {
        self.put("BLOBFILE(path = ");
        self.ty(&Type::scalar(DataType::String));
        self.put("(");
        self.string(&blob.path);
        self.put("), offset = ");
        self.ty(&Type::scalar(DataType::Uint64));
        self.put(format_args!("({}))", blob.offset));
    }

    fn tensor(&mut self, tensor: &Tensor) {
        if tensor.count() == 0 {
            self.put("[]");
            return;
        }
        let dims = tensor.dims();
        let dtype = tensor.dtype();
        match dtype {
            DataType::String => self.axes(dims, tensor.strings(), &mut |p, s| p.string(s)),
            DataType::Bool => {
                self.axes(dims, tensor.bytes(), &mut |p, &b| {
                    p.put(if b == 0 { "false" } else { "true" });
                });
            }
            DataType::Uint64 => {
                self.axes(dims, &tensor.to_i64s(), &mut |p, &v| p.put(v as u64));
            }
            _ if dtype.is_float() => {
                let usual = bits_of(&Tensor::float(dtype, f64::NAN));
                let width = dtype.bits() / 8;
                let elements: Vec<(f64, &[u8])> =
                    tensor.to_f64s().into_iter().zip(tensor.bytes().chunks(width)).collect();
                self.axes(dims, &elements, &mut |p, &(value, bytes)| {
                    if !value.is_nan() {
                        return number::print(&mut p.out, value);
                    }
                    let bits = bytes.iter().rev().fold(0, |bits, &b| bits << 8 | u64::from(b));
                    match bits == usual {
                        true => p.put("nan"),
                        false => p.put(format_args!("nan({bits:#x})")),
                    }
                });
            }
            _ => self.axes(dims, &tensor.to_i64s(), &mut |p, v| p.put(v)),
        }
    }

    /// Elements in the brackets of their axes; there is at least one.
    fn axes<T>(&mut self, dims: &[usize], elements: &[T], element: &mut impl FnMut(&mut Self, &T)) {
        match dims {
            [] => element(self, &elements[0]),
            [n, inner @ ..] => {
                self.put("[");
                self.list(elements.chunks(elements.len() / n), |p, part| {
                    p.axes(inner, part, element);
                });
                self.put("]");
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.put("\"");
        for character in text.chars() {
            match character {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                '\t' => self.put("\\t"),
                '\r' => self.put("\\r"),
                c if c.is_ascii_control() => self.put(format_args!("\\{:03o}", u32::from(c))),
                c => self.out.push(c),
            }
        }
        self.put("\"");
    }
}

/// Whether the literal's type can be told from what it is expected to be and its brackets.
fn is_given_by(literal: &Literal, expected: &Type) -> bool {
    match (literal, expected) {
        (Literal::Tensor(t), Type::Tensor(e)) => {
            let open = TensorType::fixed(t.dtype(), t.dims());
            open == *e || (t.count() > 0 && e.rank().is_some() && open.compatible(e))
        }
        (Literal::Tuple(items), Type::Tuple(types)) => {
            items.len() == types.len() && items.iter().zip(types).all(|(i, t)| is_given_by(i, t))
        }
        (literal, expected) => literal.ty() == *expected,
    }
}
