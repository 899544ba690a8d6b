//! The head of a program, its functions, and how it is written.

use super::Hit;
use super::context::{Context, called};
use crate::target::Rule;
use mil::{Op, Operand, Opset, Program};

pub(super) fn version(program: &Program) -> Option<String> {
    let version = &program.version;
    (version != "1.3").then(|| format!("the program's version is {version}"))
}

pub(super) fn build_info(program: &Program) -> Option<String> {
    let found = program.attributes.contains_key("buildInfo");
    (!found).then(|| "the program has no attribute `buildInfo`".to_owned())
}

pub(super) fn function_main(program: &Program) -> Option<String> {
    if program.function("main").is_some() {
        return None;
    }
    let names: Vec<String> = program.functions.iter().map(|f| format!("`{}`", f.name)).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Some(format!("no function is called `main`; there is {names}"))
}

pub(super) fn opset(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    let opset = c.function.opset;
    if opset != Opset::Ios18 {
        let message = format!("function `{}` is written against {opset}", c.function.name);
        hits.push(Hit { span: Default::default(), value: None, message });
    }
}

pub(super) fn nested_blocks(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for operation in c.operations.iter().filter(|operation| !operation.blocks.is_empty()) {
        let message =
            format!("{} has {} nested block(s)", called(c, operation), operation.blocks.len());
        hits.push(Hit::at(operation, message));
    }
}

pub(super) fn inline_literal(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for operation in &c.operations {
        // Nobody has seen what these ops store anywhere else than in place.
        if operation.op.is_constexpr() {
            continue;
        }
        let literal = |operand: &Operand| matches!(operand, Operand::Literal(_));
        let found = operation.inputs.iter().find(|(_, arg)| arg.operands().iter().any(literal));
        if let Some((name, _)) = found {
            let message = format!("{} has a literal for `{name}`", called(c, operation));
            hits.push(Hit::at(operation, message));
        }
    }
}

pub(super) fn output_not_computed(c: &Context<'_>, _: &'static Rule, hits: &mut Vec<Hit>) {
    for &id in &c.function.body.outputs {
        let what = match c.producer(id) {
            None => "an input",
            Some(operation) if operation.op == Op::Const => "a const",
            Some(_) => continue,
        };
        hits.push(Hit::of(c, id, format!("the output `{}` is {what}", c.name(id))));
    }
}
