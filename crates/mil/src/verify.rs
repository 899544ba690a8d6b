//! The verifier. A program is valid if
//!
//! - function names are identifiers and unique;
//! - types have a rank and size that memory can hold ([`crate::shape::is_addressable`]);
//! - blocks nest at most 64 deep, and every id is that of a value;
//! - names of values are identifiers, unique among all values in scope (a nested block sees the
//!   values of the blocks around it and hides none; what it defines ends with it);
//! - every value is defined once, and before it is read, in a block that the reader can see;
//! - every operation exists in the function's operator set;
//! - its arguments fit the op's row of the table and each other, and there are as many results as
//!   inference gives, each of a compatible type;
//! - a `const` has a `val` whose type is the declared one;
//! - only ops that take nested blocks have any, as many as they take; the blocks' inputs and
//!   outputs have the types that the op says;
//! - outputs of functions and blocks are visible where they are given.
//!
//! All problems are reported, in source order.

use crate::{
    Block, Diagnostic, Diagnostics, Function, FunctionEnv, Op, Operation, Program, Span, ValueId,
    infer::check::tensor_within,
};
use std::collections::{HashMap, HashSet};

/// Deeper blocks are refused, so that walking them cannot exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Checks a whole program.
///
/// # Errors
/// Every problem found.
pub fn verify(program: &Program) -> Result<(), Diagnostics> {
    let mut problems = vec![];
    let mut names = HashSet::new();
    for function in &program.functions {
        if !names.insert(&function.name) {
            let message = format!("function `{}` is defined twice", function.name);
            problems.push(Diagnostic { span: Span::default(), message });
        }
        problems.extend(verify_function(function));
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// The problems of one function.
pub fn verify_function(function: &Function) -> Vec<Diagnostic> {
    let mut verifier = Verifier {
        function,
        visible: vec![false; function.values.len()],
        defined: vec![false; function.values.len()],
        names: HashMap::new(),
        scope: vec![],
        problems: vec![],
    };
    if !is_identifier(&function.name) {
        let message = format!("function name `{}` is not an identifier", function.name);
        verifier.problem(Span::default(), message);
    }
    if !verifier.ids_exist(&function.body, Span::default(), 0) {
        return verifier.problems;
    }
    let env = FunctionEnv::new(function);
    for &id in &function.inputs {
        if id.index() >= function.values.len() {
            verifier.problem(Span::default(), format!("input {} has no value", id.0));
            return verifier.problems;
        }
        verifier.define(id, Span::default());
    }
    verifier.block(&function.body, &env);
    verifier.problems
}

struct Verifier<'a> {
    function: &'a Function,
    /// Values that the place being checked can read.
    visible: Vec<bool>,
    defined: Vec<bool>,
    names: HashMap<&'a str, ValueId>,
    /// What is visible, in order of definition.
    scope: Vec<ValueId>,
    problems: Vec<Diagnostic>,
}

impl<'a> Verifier<'a> {
    fn problem(&mut self, span: Span, message: String) {
        self.problems.push(Diagnostic { span, message });
    }

    /// Whether every id is that of a value; nothing else can be checked before.
    fn ids_exist(&mut self, block: &Block, span: Span, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            self.problem(span, format!("blocks nest more than {MAX_DEPTH} deep"));
            return false;
        }
        let count = self.function.values.len();
        let mut ok = block.inputs.iter().chain(&block.outputs).all(|id| id.index() < count);
        if !ok {
            self.problem(span, "a block names a value that does not exist".into());
        }
        for operation in &block.operations {
            let mut ids = operation.operands().chain(operation.outputs.iter().copied());
            if ids.any(|id| id.index() >= count) {
                let name = operation.op.name();
                self.problem(operation.span, format!("{name}: an operand does not exist"));
                ok = false;
            }
            for block in &operation.blocks {
                ok &= self.ids_exist(block, operation.span, depth + 1);
            }
        }
        ok
    }

    fn block(&mut self, block: &'a Block, env: &FunctionEnv<'_>) {
        for operation in &block.operations {
            self.operation(operation, env);
        }
        for &id in &block.outputs {
            if !self.visible[id.index()] {
                let name = &self.function.value(id).name;
                self.problem(Span::default(), format!("output `{name}` is not defined here"));
            }
        }
    }

    fn operation(&mut self, operation: &'a Operation, env: &FunctionEnv<'_>) {
        let (op, span) = (operation.op, operation.span);
        let before = self.problems.len();
        if op.spec().since > self.function.opset {
            let (since, opset) = (op.spec().since, self.function.opset);
            self.problem(
                span,
                format!("{}: it is new in {since}, the function is {opset}", op.name()),
            );
        }
        for id in operation.operands() {
            if !self.visible[id.index()] {
                let name = &self.function.value(id).name;
                self.problem(span, format!("{}: `{name}` is not defined before", op.name()));
            }
        }
        if !operation.blocks.is_empty() && !op.takes_blocks() {
            self.problem(span, format!("{}: it takes no nested blocks", op.name()));
        } else {
            operation.blocks.iter().for_each(|block| self.nested(block, span, env));
        }
        // Types are judged only where the operands can be: one mistake gives one message.
        if self.problems.len() == before {
            self.types(operation, env);
        }
        for &id in &operation.outputs {
            self.define(id, span);
        }
    }

    /// A block of an operation; what it defines is gone after it.
    fn nested(&mut self, block: &'a Block, span: Span, env: &FunctionEnv<'_>) {
        let outside = self.scope.len();
        for &id in &block.inputs {
            self.define(id, span);
        }
        self.block(block, env);
        for id in self.scope.drain(outside..) {
            self.visible[id.index()] = false;
            let name = self.function.value(id).name.as_str();
            if self.names.get(name) == Some(&id) {
                self.names.remove(name);
            }
        }
    }

    fn types(&mut self, operation: &Operation, env: &FunctionEnv<'_>) {
        let span = operation.span;
        let name = operation.op.name();
        let types = match crate::infer(operation, env) {
            Ok(types) => types,
            Err(error) => return self.problem(span, error.to_string()),
        };
        if types.len() != operation.outputs.len() {
            let (expected, found) = (types.len(), operation.outputs.len());
            return self.problem(span, format!("{name}: it gives {expected} results, not {found}"));
        }
        for (&id, inferred) in operation.outputs.iter().zip(&types) {
            let value = self.function.value(id);
            let fits = match operation.op {
                Op::Const => value.ty == *inferred,
                _ => value.ty.compatible(inferred),
            };
            if !fits {
                let (result, declared) = (&value.name, &value.ty);
                self.problem(
                    span,
                    format!("{name}: `{result}` is declared {declared}, it is {inferred}"),
                );
            }
        }
    }

    fn define(&mut self, id: ValueId, span: Span) {
        let name = self.function.value(id).name.as_str();
        if std::mem::replace(&mut self.defined[id.index()], true) {
            return self.problem(span, format!("`{name}` is defined twice"));
        }
        self.visible[id.index()] = true;
        self.scope.push(id);
        if let Some(ty) = tensor_within(self.function.ty(id))
            && !crate::shape::is_addressable(ty)
        {
            self.problem(span, format!("`{name}` of type {ty} is too large"));
        }
        if !is_identifier(name) {
            self.problem(span, format!("`{name}` is not an identifier"));
        }
        if let Some(first) = self.names.insert(name, id) {
            self.names.insert(name, first);
            self.problem(span, format!("two values are called `{name}`"));
        }
    }
}

/// Whether this can be the name of a value or a function: `[A-Za-z_][A-Za-z0-9_@]*`.
pub fn is_identifier(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@')
}

#[cfg(test)]
mod tests {
    use crate::{Op, Program, Type, ValueId, parse, verify};

    const GOOD: &str = "program(1.3)\n{\n    func main<ios17>(tensor<fp32, [2, 3]> x) {\n        tensor<fp32, [2, 3]> y = relu(x = x)[name = string(\"y\")];\n        tensor<fp32, [2, 3]> z = add(x = x, y = y)[name = string(\"z\")];\n    } -> (z);\n}\n";

    fn broken(change: impl FnOnce(&mut Program)) -> Vec<String> {
        let mut program = parse(GOOD).unwrap();
        change(&mut program);
        let problems = verify(&program).map_or_else(|d| d.0, |()| vec![]);
        problems.into_iter().map(|d| d.message).collect()
    }

    #[test]
    fn a_valid_program_has_no_problems() {
        assert!(broken(|_| ()).is_empty());
    }

    #[test]
    fn every_invariant_has_its_message() {
        let body = |p: &mut Program| p.functions[0].body.clone();
        assert_eq!(
            broken(|p| p.functions.push(p.functions[0].clone())),
            ["function `main` is defined twice"]
        );
        assert_eq!(
            broken(|p| p.functions[0].values[1].name = "x".into()),
            ["two values are called `x`"]
        );
        assert_eq!(
            broken(|p| p.functions[0].name = "a b".into()),
            ["function name `a b` is not an identifier"]
        );
        assert_eq!(
            broken(
                |p| p.functions[0].values[0].ty = Type::tensor(crate::DataType::Fp32, &[1 << 62])
            ),
            [
                "`x` of type tensor<fp32, [4611686018427387904]> is too large",
                "relu: `x` of type tensor<fp32, [4611686018427387904]> is too large",
                "add: `x` of type tensor<fp32, [4611686018427387904]> is too large",
            ]
        );
        assert_eq!(
            broken(|p| {
                for _ in 0..=super::MAX_DEPTH {
                    let block = std::mem::take(&mut p.functions[0].body);
                    let mut outer = block.clone();
                    outer.operations.truncate(1);
                    outer.operations[0].blocks = vec![block];
                    p.functions[0].body = outer;
                }
            }),
            ["blocks nest more than 64 deep"]
        );
        assert_eq!(
            broken(|p| p.functions[0].values[1].name = "1y".into()),
            ["`1y` is not an identifier"]
        );
        assert_eq!(
            broken(|p| p.functions[0].body.operations.swap(0, 1)),
            ["add: `y` is not defined before"]
        );
        assert_eq!(
            broken(|p| p.functions[0].body.operations[1].outputs = vec![ValueId(1)]),
            ["`y` is defined twice", "output `z` is not defined here"]
        );
        assert_eq!(
            broken(|p| p.functions[0].body.outputs = vec![ValueId(9)]),
            ["a block names a value that does not exist"]
        );
        assert_eq!(
            broken(|p| p.functions[0].values[2].ty = Type::tensor(crate::DataType::Fp32, &[3, 3])),
            ["add: `z` is declared tensor<fp32, [3, 3]>, it is tensor<fp32, [2, 3]>"]
        );
        assert_eq!(
            broken(|p| p.functions[0].body.operations[0].op = Op::ReadState),
            ["read_state: it is new in ios18, the function is ios17"]
        );
        assert_eq!(
            broken(|p| {
                let block = body(p);
                p.functions[0].body.operations[0].blocks.push(block);
            }),
            ["relu: it takes no nested blocks"]
        );
        assert_eq!(
            broken(|p| p.functions[0].body.operations[0].outputs.clear()),
            ["relu: it gives 1 results, not 0", "add: `y` is not defined before"]
        );
    }
}
