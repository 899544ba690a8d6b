//! Arguments against the op's row of the table: names, presence, element types, constness.

use crate::{Arg, DataType, OpError, ParamType, Params, TensorType, Type};
use crate::{op::ParamSpec, shape::is_addressable};

pub(super) fn arguments(p: &Params) -> Result<(), OpError> {
    let spec = p.operation.op.spec();
    for name in p.operation.inputs.keys() {
        if spec.param(name).is_none() {
            let known: Vec<&str> = spec.params.iter().map(|p| p.name).collect();
            let known = known.join(", ");
            return Err(p.error(format!("no parameter `{name}`; it takes {known}")));
        }
    }
    // The element type that each letter of the row stands for, once an argument has set it.
    let mut letters: Vec<(char, DataType, &str)> = vec![];
    for param in spec.params {
        if !p.has(param.name) {
            if param.required {
                return Err(p.error(format!("parameter `{}` is missing", param.name)));
            }
            continue;
        }
        if param.constant && !p.is_constant(param.name) {
            let name = param.name;
            return Err(p.error(format!("`{name}` must be known when the program is compiled")));
        }
        if let Some(arg) = p.operation.inputs.get(param.name) {
            for operand in arg.operands() {
                size(p, param.name, &p.operand_ty(operand))?;
            }
        } else {
            size(p, param.name, &p.ty(param.name)?.into())?;
        }
        match &param.ty {
            ParamType::Tensor(letter, set) => {
                let dtype = p.ty(param.name)?.dtype;
                if !set.contains(&dtype) {
                    let names: Vec<&str> = set.iter().map(|d| d.name()).collect();
                    let (name, names) = (param.name, names.join(", "));
                    return Err(p.error(format!("`{name}` is {dtype}; it takes {names}")));
                }
                match letters.iter().find(|(l, _, _)| l == letter) {
                    // Index vectors may each have their own width.
                    Some(_) if *letter == 'I' => {}
                    Some((_, first, other)) if *first != dtype => {
                        let name = param.name;
                        return Err(p.error(format!(
                            "`{other}` is {first} but `{name}` is {dtype}; they must be the same"
                        )));
                    }
                    Some(_) => {}
                    None => letters.push((*letter, dtype, param.name)),
                }
            }
            ParamType::Tuple => {
                p.tuple_tys(param.name)?;
            }
            ParamType::State => state(p, param)?,
            ParamType::List => {
                p.list_ty(param.name)?;
            }
            ParamType::Values | ParamType::Any => {}
        }
    }
    Ok(())
}

fn state(p: &Params, param: &ParamSpec) -> Result<(), OpError> {
    let ty = match p.operation.inputs.get(param.name) {
        Some(Arg::One(operand)) => p.operand_ty(operand),
        _ => return Err(p.error(format!("`{}` must be a state", param.name))),
    };
    match ty {
        Type::State(_) => Ok(()),
        other => Err(p.error(format!("`{}` must be a state, found {other}", param.name))),
    }
}

fn size(p: &Params, name: &str, ty: &Type) -> Result<(), OpError> {
    match tensor_within(ty) {
        Some(tensor) if !is_addressable(tensor) => {
            Err(p.error(format!("`{name}` of type {ty} is too large")))
        }
        _ => Ok(()),
    }
}

/// The tensor type, or that of the tensor in a state or of a list's elements.
pub(crate) fn tensor_within(ty: &Type) -> Option<&TensorType> {
    match ty {
        Type::State(inner) | Type::List { element: inner, .. } => inner.as_tensor(),
        ty => ty.as_tensor(),
    }
}
