//! Programs: functions of operations over values, in static single assignment.

use crate::{Literal, Op, Type};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A whole program: what a `.mil` file or an ML Program holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The dialect's version as written, `1.0` or `1.3`.
    pub version: String,
    /// Program attributes such as `buildInfo`.
    pub attributes: BTreeMap<String, Literal>,
    /// Functions in file order; names are unique.
    pub functions: Vec<Function>,
}

/// The operator set a function is written against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Named after the release that brought it.
pub enum Opset {
    Ios15,
    Ios16,
    Ios17,
    Ios18,
    Ios26,
}

/// A function: inputs, one block of operations, outputs.
///
/// Equality compares names, not ids, so it does not depend on the order of [`Function::values`].
#[derive(Clone, Debug)]
pub struct Function {
    /// Name, unique in the program; the default is `main`.
    pub name: String,
    /// Operator set.
    pub opset: Opset,
    /// Parameters, in order; their names and types are in [`Function::values`].
    pub inputs: Vec<ValueId>,
    /// The operations and the outputs.
    pub body: Block,
    /// Function attributes.
    pub attributes: BTreeMap<String, Literal>,
    /// Every value of the function and its nested blocks, indexed by [`ValueId`].
    pub values: Vec<Value>,
}

/// A list of operations. Nested blocks see the values of the enclosing ones.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Values bound by the operation that owns the block; empty for a function's body.
    pub inputs: Vec<ValueId>,
    /// Operations in order.
    pub operations: Vec<Operation>,
    /// What the block gives.
    pub outputs: Vec<ValueId>,
    /// Block attributes.
    pub attributes: BTreeMap<String, Literal>,
}

/// One operation: `type name = op(param = arg, …)[attribute = literal, …];`.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What it does.
    pub op: Op,
    /// Arguments by parameter name.
    pub inputs: BTreeMap<String, Arg>,
    /// Attributes by name: `name`, a constant's `val`, parameters of `constexpr_*` in old opsets.
    pub attributes: BTreeMap<String, Literal>,
    /// The values it defines.
    pub outputs: Vec<ValueId>,
    /// Nested blocks (`cond`, `while_loop`).
    pub blocks: Vec<Block>,
    /// Where it stands in the text it was read from.
    pub span: Span,
}

/// An argument of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A single operand.
    One(Operand),
    /// A tuple of operands, as `concat`'s `values`.
    Many(Vec<Operand>),
}

/// What an argument refers to.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A value defined elsewhere.
    Value(ValueId),
    /// A constant written in place.
    Literal(Literal),
}

/// A value's name and type.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name, unique in its scope: `[A-Za-z_][A-Za-z0-9_@]*`.
    pub name: String,
    /// Declared type.
    pub ty: Type,
}

/// Index into [`Function::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A range of bytes of a source text. Two spans always compare equal, so that programs that
/// differ only in layout are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Span) -> bool {
        true
    }
}

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Opset {
    /// All operator sets, oldest first.
    pub const ALL: [Opset; 5] =
        [Opset::Ios15, Opset::Ios16, Opset::Ios17, Opset::Ios18, Opset::Ios26];

    /// The tag in text, such as `ios18`.
    pub fn tag(self) -> &'static str {
        ["ios15", "ios16", "ios17", "ios18", "ios26"][self as usize]
    }

    /// The name in protobuf, such as `CoreML8`.
    pub fn core_ml_name(self) -> &'static str {
        ["CoreML5", "CoreML6", "CoreML7", "CoreML8", "CoreML9"][self as usize]
    }

    /// The operator set with this tag or protobuf name.
    pub fn from_name(name: &str) -> Option<Opset> {
        Opset::ALL.into_iter().find(|o| o.tag() == name || o.core_ml_name() == name)
    }
}

impl Program {
    /// A program with one function and the newest spelling.
    pub fn new(functions: Vec<Function>) -> Program {
        Program { version: "1.3".into(), attributes: BTreeMap::new(), functions }
    }

    /// The function with this name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == name)
    }
}

impl Function {
    /// The value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// The input with this name.
    pub fn input(&self, name: &str) -> Option<ValueId> {
        self.inputs.iter().copied().find(|&id| self.value(id).name == name)
    }

    /// The output with this name.
    pub fn output(&self, name: &str) -> Option<ValueId> {
        self.body.outputs.iter().copied().find(|&id| self.value(id).name == name)
    }

    /// For every value, the literal it is bound to if it is a `const`; indexed by [`ValueId`].
    pub fn literals(&self) -> Vec<Option<&Literal>> {
        let mut out = vec![None; self.values.len()];
        self.body.visit(&mut |operation| {
            if operation.op == Op::Const
                && let (Some(&id), Some(val)) =
                    (operation.outputs.first(), operation.attributes.get("val"))
            {
                out[id.index()] = Some(val);
            }
        });
        out
    }
}

impl Block {
    /// Calls `f` on every operation, those of nested blocks included, in order.
    pub fn visit<'a>(&'a self, f: &mut impl FnMut(&'a Operation)) {
        for operation in &self.operations {
            f(operation);
            for block in &operation.blocks {
                block.visit(f);
            }
        }
    }
}

impl Operation {
    /// The values it reads, in order of parameter name; not those its nested blocks read.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.values().flat_map(Arg::operands).filter_map(|operand| match operand {
            Operand::Value(id) => Some(*id),
            Operand::Literal(_) => None,
        })
    }

    /// The constants that it holds itself: those among its operands, then its attributes; not those
    /// of its nested blocks, nor those inside others.
    pub fn literals(&self) -> impl Iterator<Item = &Literal> {
        let operands = self.inputs.values().flat_map(Arg::operands);
        operands.filter_map(Operand::literal).chain(self.attributes.values())
    }

    /// As [`Operation::literals`], to be changed.
    pub fn literals_mut(&mut self) -> impl Iterator<Item = &mut Literal> {
        let operands = self.inputs.values_mut().flat_map(Arg::operands_mut);
        let literals = operands.filter_map(|operand| match operand {
            Operand::Literal(literal) => Some(literal),
            Operand::Value(_) => None,
        });
        literals.chain(self.attributes.values_mut())
    }

    /// The values it reads that are defined outside of it: its operands and what its nested blocks
    /// read of the blocks around them. Each once.
    pub fn reads(&self) -> Vec<ValueId> {
        let mut own: Vec<ValueId> = vec![];
        let mut read: Vec<ValueId> = self.operands().collect();
        for block in &self.blocks {
            own.extend(&block.inputs);
            block.visit(&mut |operation| {
                read.extend(operation.operands());
                own.extend(operation.blocks.iter().flat_map(|b| &b.inputs));
                read.extend(operation.blocks.iter().flat_map(|b| &b.outputs));
                own.extend(&operation.outputs);
            });
            read.extend(&block.outputs);
        }
        let own: HashSet<ValueId> = own.into_iter().collect();
        let mut seen = HashSet::new();
        read.retain(|id| !own.contains(id) && seen.insert(*id));
        read
    }

    /// The value bound to a parameter, if it is a single value.
    pub fn value(&self, parameter: &str) -> Option<ValueId> {
        match self.inputs.get(parameter)? {
            Arg::One(Operand::Value(id)) => Some(*id),
            _ => None,
        }
    }

    /// The one value it defines.
    ///
    /// # Panics
    /// If it defines none.
    pub fn output(&self) -> ValueId {
        self.outputs[0]
    }
}

impl Arg {
    /// Its operands: one, or those of the tuple.
    pub fn operands(&self) -> &[Operand] {
        match self {
            Arg::One(operand) => std::slice::from_ref(operand),
            Arg::Many(operands) => operands,
        }
    }

    /// As [`Arg::operands`], to be changed.
    pub fn operands_mut(&mut self) -> &mut [Operand] {
        match self {
            Arg::One(operand) => std::slice::from_mut(operand),
            Arg::Many(operands) => operands,
        }
    }
}

impl Operand {
    /// The constant, if it is one that is written in place.
    pub fn literal(&self) -> Option<&Literal> {
        match self {
            Operand::Literal(literal) => Some(literal),
            Operand::Value(_) => None,
        }
    }
}

impl From<ValueId> for Arg {
    fn from(id: ValueId) -> Arg {
        Arg::One(Operand::Value(id))
    }
}

impl From<&[ValueId]> for Arg {
    fn from(ids: &[ValueId]) -> Arg {
        Arg::Many(ids.iter().map(|&id| Operand::Value(id)).collect())
    }
}

impl From<Literal> for Arg {
    fn from(literal: Literal) -> Arg {
        Arg::One(Operand::Literal(literal))
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        (&self.name, self.opset, &self.attributes) == (&other.name, other.opset, &other.attributes)
            && (Compare { a: self, b: other }).values(&self.inputs, &other.inputs)
            && (Compare { a: self, b: other }).blocks(&self.body, &other.body)
    }
}

/// Structural equality of two functions whose ids may be numbered differently.
struct Compare<'a> {
    a: &'a Function,
    b: &'a Function,
}

impl Compare<'_> {
    fn values(&self, a: &[ValueId], b: &[ValueId]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| self.a.value(a) == self.b.value(b))
    }

    fn blocks(&self, a: &Block, b: &Block) -> bool {
        self.values(&a.inputs, &b.inputs)
            && self.values(&a.outputs, &b.outputs)
            && a.attributes == b.attributes
            && a.operations.len() == b.operations.len()
            && a.operations.iter().zip(&b.operations).all(|(a, b)| self.operations(a, b))
    }

    fn operations(&self, a: &Operation, b: &Operation) -> bool {
        a.op == b.op
            && a.attributes == b.attributes
            && self.values(&a.outputs, &b.outputs)
            && a.inputs.len() == b.inputs.len()
            && a.inputs.iter().zip(&b.inputs).all(|(a, b)| a.0 == b.0 && self.args(a.1, b.1))
            && a.blocks.len() == b.blocks.len()
            && a.blocks.iter().zip(&b.blocks).all(|(a, b)| self.blocks(a, b))
    }

    fn args(&self, a: &Arg, b: &Arg) -> bool {
        let operands = |a: &Operand, b: &Operand| match (a, b) {
            (Operand::Value(a), Operand::Value(b)) => self.values(&[*a], &[*b]),
            (a, b) => a == b,
        };
        match (a, b) {
            (Arg::One(a), Arg::One(b)) => operands(a, b),
            (Arg::Many(a), Arg::Many(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| operands(a, b))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn literals_are_those_of_operands_tuples_and_attributes() {
        let number = |n: i32| Literal::Tensor(Tensor::int32(n));
        let many = vec![Operand::Literal(number(1)), Operand::Value(ValueId(0))];
        let many = Arg::Many([many, vec![Operand::Literal(number(2))]].concat());
        let inputs = [
            ("a".to_owned(), many),
            ("b".to_owned(), number(3).into()),
            ("c".to_owned(), ValueId(1).into()),
        ];
        let mut operation = Operation {
            op: Op::Concat,
            inputs: inputs.into(),
            attributes: [("val".to_owned(), number(4))].into(),
            outputs: vec![],
            blocks: vec![],
            span: Span::default(),
        };
        let all: Vec<Literal> = (1..=4).map(number).collect();
        assert_eq!(operation.literals().cloned().collect::<Vec<_>>(), all);
        operation.literals_mut().for_each(|literal| *literal = number(0));
        assert!(operation.literals().eq(&[number(0), number(0), number(0), number(0)]));
        assert_eq!(operation.operands().collect::<Vec<_>>(), [ValueId(0), ValueId(1)]);
    }
}
