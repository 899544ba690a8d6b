//! Nested blocks, lists and classes.

use super::tensors::single;
use super::{tensor, unranked};
use crate::{Block, DataType, Dim, OpError, Operand, Params, Shape, TensorType, Type, ValueId};

/// A type that has all values of both: where a dimension differs, it is unknown.
pub(super) fn joined(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) if a.dtype == b.dtype => match (a.dims(), b.dims()) {
            (Some(x), Some(y)) if x.len() == y.len() => {
                let dim = |(x, y): (&Dim, &Dim)| if x == y { *x } else { Dim::Unknown };
                Some(tensor(a.dtype, x.iter().zip(y).map(dim).collect()).into())
            }
            (Some(_), Some(_)) => None,
            _ => Some(unranked(a.dtype).into()),
        },
        (Type::List { element: x, len: n }, Type::List { element: y, len: m }) => {
            let element = Box::new(joined(x, y)?);
            Some(Type::List { element, len: if n == m { *n } else { None } })
        }
        (a, b) => (a == b).then(|| a.clone()),
    }
}

fn types(p: &Params, ids: &[ValueId]) -> Vec<Type> {
    ids.iter().map(|&id| p.operand_ty(&Operand::Value(id))).collect()
}

fn blocks<'a>(p: &Params<'a>, what: &str) -> Result<[&'a Block; 2], OpError> {
    match &p.operation.blocks[..] {
        [first, second] => Ok([first, second]),
        blocks => {
            Err(p.error(format!("it has {} nested blocks; it takes two, {what}", blocks.len())))
        }
    }
}

pub(super) fn cond(p: &Params) -> Result<Vec<Type>, OpError> {
    single(p, "pred", &p.ty("pred")?)?;
    let branches = blocks(p, "one for true and one for false")?;
    if branches.iter().any(|block| !block.inputs.is_empty()) {
        return Err(p.error("its blocks take no inputs"));
    }
    let [yes, no] = branches.map(|block| types(p, &block.outputs));
    if yes.len() != no.len() {
        let (yes, no) = (yes.len(), no.len());
        return Err(p.error(format!("the block for true gives {yes} values, that for false {no}")));
    }
    let both = |(yes, no): (&Type, &Type)| {
        let error = || p.error(format!("the block for true gives {yes}, that for false {no}"));
        joined(yes, no).ok_or_else(error)
    };
    yes.iter().zip(&no).map(both).collect()
}

pub(super) fn while_loop(p: &Params) -> Result<Vec<Type>, OpError> {
    let variables = match p.operation.inputs.get("loop_vars") {
        Some(arg) => arg.operands().iter().map(|operand| p.operand_ty(operand)).collect(),
        None => vec![],
    };
    let [condition, body] = blocks(p, "the condition and the body")?;
    let count = variables.len();
    for (what, block) in [("condition", condition), ("body", body)] {
        let inputs = types(p, &block.inputs);
        if inputs.len() != count {
            let found = inputs.len();
            return Err(p.error(format!("the {what} has {found} inputs for {count} variables")));
        }
        for (variable, input) in variables.iter().zip(&inputs) {
            if !variable.compatible(input) {
                return Err(
                    p.error(format!("the {what} takes {input}, the variable is {variable}"))
                );
            }
        }
    }
    match &types(p, &condition.outputs)[..] {
        [Type::Tensor(ty)] if ty.dtype == DataType::Bool => single(p, "the condition", ty)?,
        _ => return Err(p.error("the condition must give one bool")),
    }
    let outputs = types(p, &body.outputs);
    if outputs.len() != count {
        let found = outputs.len();
        return Err(p.error(format!("the body gives {found} values for {count} variables")));
    }
    let inputs = types(p, &body.inputs);
    let mut results = vec![];
    for ((variable, input), output) in variables.iter().zip(&inputs).zip(&outputs) {
        let error = || p.error(format!("the body takes {input} and gives {output}"));
        if !input.compatible(output) {
            return Err(error());
        }
        // After no pass the result is the variable, after others what the body gives.
        results.push(joined(variable, output).ok_or_else(error)?);
    }
    Ok(results)
}

pub(super) fn make_list(p: &Params) -> Result<Type, OpError> {
    let dtype = p.dtype("dtype")?;
    let sizes = p.tuple("elem_shape")?;
    let mut dims = vec![];
    for size in sizes {
        if size.count() != 1 || !(size.dtype().is_int() || size.dtype() == DataType::String) {
            return Err(p.error("`elem_shape` must hold one integer or name for each axis"));
        }
        dims.push(match size.to_i64s().first() {
            None => Dim::Unknown,
            Some(&n) => match usize::try_from(n) {
                Ok(n) => Dim::Fixed(n),
                Err(_) => return Err(p.error(format!("`elem_shape` holds {n}"))),
            },
        });
    }
    let dynamic = p.bool("dynamic_length")?;
    if p.has("init_length") {
        single(p, "init_length", &p.ty("init_length")?)?;
    }
    let mut len = None;
    if !p.has("init_length") || p.is_known("init_length") {
        let wanted = p.int("init_length")?;
        let length =
            usize::try_from(wanted).map_err(|_| p.error(format!("`init_length` is {wanted}")))?;
        len = Some(length).filter(|_| !dynamic);
    }
    Ok(Type::List { element: Box::new(tensor(dtype, dims).into()), len })
}

fn list(element: TensorType, len: Option<usize>) -> Type {
    Type::List { element: Box::new(element.into()), len }
}

pub(super) fn list_write(p: &Params) -> Result<Type, OpError> {
    let ((element, len), value) = (p.list_ty("ls")?, p.ty("value")?);
    single(p, "index", &p.ty("index")?)?;
    match element.compatible(&value) {
        true => Ok(list(element, len)),
        false => Err(p.error(format!("`value` is {value}, the list's elements are {element}"))),
    }
}

pub(super) fn list_read(p: &Params) -> Result<TensorType, OpError> {
    single(p, "index", &p.ty("index")?)?;
    Ok(p.list_ty("ls")?.0)
}

pub(super) fn list_gather(p: &Params) -> Result<TensorType, OpError> {
    let (element, _) = p.list_ty("ls")?;
    let count = vector(p, "indices")?;
    Ok(match element.shape {
        Shape::Ranked(mut dims) => {
            dims.insert(0, count);
            tensor(element.dtype, dims)
        }
        Shape::Unranked => unranked(element.dtype),
    })
}

pub(super) fn list_scatter(p: &Params) -> Result<Type, OpError> {
    let ((element, len), value) = (p.list_ty("ls")?, p.ty("value")?);
    let count = vector(p, "indices")?;
    let fits = match value.dims() {
        None => value.dtype == element.dtype,
        Some([]) => false,
        Some([first, rest @ ..]) => {
            first.compatible(count) && element.compatible(&tensor(value.dtype, rest.to_vec()))
        }
    };
    match fits {
        true => Ok(list(element, len)),
        false => Err(p.error(format!(
            "`value` is {value}; expected {count} slices like the list's elements, {element}"
        ))),
    }
}

/// The length of a vector of indices; a scalar counts as one.
fn vector(p: &Params, name: &str) -> Result<Dim, OpError> {
    let ty = p.ty(name)?;
    match ty.dims() {
        None => Ok(Dim::Unknown),
        Some([]) => Ok(Dim::Fixed(1)),
        Some([n]) => Ok(*n),
        Some(_) => Err(p.error(format!("`{name}` is {ty}; it must be a vector"))),
    }
}

/// The label and the dictionary.
pub(super) fn classify(p: &Params) -> Result<Vec<Type>, OpError> {
    let probabilities = p.ty("probabilities")?;
    let (class, len) = p.list_ty("classes")?;
    if !matches!(class.dtype, DataType::String | DataType::Int64) || class.rank() != Some(0) {
        return Err(p.error(format!("`classes` holds {class}; it must hold strings or int64")));
    }
    let count = probabilities.fixed_dims().and_then(|d| crate::element_count(&d));
    if let Some((count, len)) = count.zip(len)
        && count != len
    {
        return Err(p.error(format!("there are {len} classes for {count} probabilities")));
    }
    let (class, number) = (Type::Tensor(class), Type::scalar(DataType::Fp64));
    Ok(vec![class.clone(), Type::Dict(Box::new(class), Box::new(number))])
}
