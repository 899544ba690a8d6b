//! What passes share: changing a finished function.

use mil::{Arg, Block, DataType, Function, Op, Operand, Operation, Tensor, Type, Value, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// In debug builds, whether the function is valid, for [`assert_still_valid`].
pub(crate) fn is_valid(function: &Function) -> bool {
    cfg!(debug_assertions) && mil::verify_function(function).is_empty()
}

/// In debug builds, runs the verifier on what a pass made of a valid function.
pub(crate) fn assert_still_valid(was_valid: bool, pass: &str, function: &Function) {
    if cfg!(debug_assertions) && was_valid {
        let problems = mil::verify_function(function);
        assert!(problems.is_empty(), "{pass} broke `{}`: {problems:?}", function.name);
    }
}

/// Calls `f` on every value reference of the function but definitions.
pub(crate) fn for_each_use(function: &mut Function, mut f: impl FnMut(&mut ValueId)) {
    in_block(&mut function.body, &mut f);
}

fn in_block(block: &mut Block, f: &mut impl FnMut(&mut ValueId)) {
    for operation in &mut block.operations {
        for_each_operand(operation, f);
    }
    block.outputs.iter_mut().for_each(f);
}

/// Calls `f` on every value that the operation, or an operation of its blocks, refers to.
pub(crate) fn for_each_operand(operation: &mut Operation, f: &mut impl FnMut(&mut ValueId)) {
    for operand in operation.inputs.values_mut().flat_map(Arg::operands_mut) {
        if let Operand::Value(id) = operand {
            f(id);
        }
    }
    for block in &mut operation.blocks {
        in_block(block, f);
    }
}

/// Calls `f` on every value that a block or its operations define.
fn for_each_definition(block: &mut Block, f: &mut impl FnMut(&mut ValueId)) {
    block.inputs.iter_mut().for_each(&mut *f);
    for operation in &mut block.operations {
        operation.outputs.iter_mut().for_each(&mut *f);
        for block in &mut operation.blocks {
            for_each_definition(block, f);
        }
    }
}

/// Drops the values that nothing defines any longer and numbers the others anew.
pub(crate) fn compact(function: &mut Function) {
    let mut order: Vec<ValueId> = function.inputs.clone();
    for_each_definition(&mut function.body, &mut |id| order.push(*id));
    let mut renumbered = vec![None; function.values.len()];
    let mut values = Vec::with_capacity(order.len());
    for id in order {
        renumbered[id.index()] = Some(ValueId(values.len() as u32));
        values.push(function.value(id).clone());
    }
    let mut new = |id: &mut ValueId| *id = renumbered[id.index()].expect("a used value is defined");
    function.inputs.iter_mut().for_each(&mut new);
    for_each_definition(&mut function.body, &mut new);
    for_each_use(function, new);
    function.values = values;
}

/// The name, with a number if another value is called so.
pub(crate) fn free_name(function: &Function, name: &str) -> String {
    let taken: BTreeSet<&str> = function.values.iter().map(|v| v.name.as_str()).collect();
    let numbered = (1..).map(|n| format!("{name}_{n}"));
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    candidates.find(|name| !taken.contains(name.as_str())).expect("numbers do not end")
}

/// A new value; its name has a number if another one is called so.
pub(crate) fn add_value(function: &mut Function, name: &str, ty: Type) -> ValueId {
    let name = free_name(function, name);
    let id = ValueId(function.values.len() as u32);
    function.values.push(Value { name, ty });
    id
}

/// to = cast(x = from).
pub(crate) fn cast(function: &Function, from: ValueId, to: ValueId, dtype: DataType) -> Operation {
    let dtype = Arg::One(Operand::Literal(Tensor::string(dtype.name()).into()));
    let label = Tensor::string(&function.value(to).name);
    Operation {
        op: Op::Cast,
        inputs: BTreeMap::from([("x".to_owned(), from.into()), ("dtype".to_owned(), dtype)]),
        attributes: BTreeMap::from([("name".to_owned(), label.into())]),
        outputs: vec![to],
        blocks: vec![],
        span: Default::default(),
    }
}

/// Names values: those of `fixed` exactly as told, the others uniquely beside them, and labels
/// every operation after its first result.
///
/// # Errors
/// The name that is wanted for two values.
pub(crate) fn settle_names(
    function: &mut Function,
    fixed: &[(ValueId, String)],
) -> Result<(), String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut settled = vec![false; function.values.len()];
    for (id, name) in fixed {
        if !taken.insert(name.clone()) {
            return Err(name.clone());
        }
        settled[id.index()] = true;
        function.values[id.index()].name.clone_from(name);
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (value, _) in function.values.iter_mut().zip(&settled).filter(|(_, settled)| !**settled) {
        while !taken.insert(value.name.clone()) {
            let stem = value.name.trim_end_matches(|c: char| c.is_ascii_digit());
            let stem = stem.trim_end_matches('_').to_owned();
            let count = counts.entry(stem.clone()).or_default();
            *count += 1;
            value.name = format!("{stem}_{count}");
        }
    }
    let Function { values, body, .. } = function;
    for operation in &mut body.operations {
        if let Some(first) = operation.outputs.first() {
            let label = Tensor::string(&values[first.index()].name);
            operation.attributes.insert("name".into(), label.into());
        }
    }
    Ok(())
}
