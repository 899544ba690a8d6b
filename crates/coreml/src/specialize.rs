//! Programs for given shapes.

use crate::Error;
use crate::interface::FunctionInterface;
use mil::{
    Arg, Block, Dim, Env, Function, Literal, Op, OpError, Operand, Operation, Program, Shape,
    Tensor, TensorType, Type, ValueId,
};
use std::collections::BTreeMap;

/// The shapes of inputs by their names in the program.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// How often the types of a loop's variables are found again before they are left open.
const ROUNDS: usize = 8;

/// How often the operations of a program may be looked at: blocks of loops are looked at several
/// times, and those that nest multiply. So many times their number, and a few more.
const LOOKS: usize = 64;

/// The program with one function made for inputs of these shapes: they are declared so, and every
/// type that follows is found again. Inputs that are not given keep the shape that the interface
/// says is the default one. Other functions stay as they are.
///
/// # Errors
/// If there is no such function or input, a shape is not one that the interface and the declared
/// type allow, or the operations cannot have inputs of these shapes.
pub fn specialize(
    program: &Program,
    interface: &FunctionInterface,
    shapes: &Shapes,
) -> Result<Program, Error> {
    let mut program = program.clone();
    let name = &interface.name;
    let function = program.functions.iter_mut().find(|function| function.name == *name);
    let function =
        function.ok_or_else(|| Error::Interface(format!("there is no function `{name}`")))?;
    let located = |message: String| Error::Interface(format!("function `{name}`: {message}"));
    if let Some(unknown) = shapes.keys().find(|name| function.input(name).is_none()) {
        return Err(located(format!("there is no input `{unknown}`")));
    }
    let mut changed = false;
    for id in function.inputs.clone() {
        let value = &mut function.values[id.index()];
        let Type::Tensor(ty) = &value.ty else { continue };
        let feature = interface.inputs.iter().find(|feature| feature.value == value.name);
        let given = shapes.get(&value.name);
        let dims = match (given, feature) {
            (Some(dims), _) => dims.clone(),
            // Only what is open is filled in: declared shapes are what they are.
            (None, Some(feature)) if ty.fixed_dims().is_none() => match feature.default_shape() {
                Some(dims) if Some(dims.len()) == ty.rank() || ty.rank().is_none() => dims,
                _ => continue,
            },
            (None, _) => continue,
        };
        let special = TensorType::fixed(ty.dtype, &dims);
        if !ty.compatible(&special) {
            let name = &value.name;
            return Err(located(format!("input `{name}` is {ty}, shape {dims:?} does not fit")));
        }
        if let (Some(feature), true) = (feature, given.is_some()) {
            feature.check_shape(&dims).map_err(located)?;
        }
        changed |= *ty != special;
        value.ty = Type::Tensor(special);
    }
    if changed {
        infer_again(function).map_err(|problem| located(problem.to_string()))?;
    }
    Ok(program)
}

/// Finds the types of all values of a function again, from those of its inputs.
fn infer_again(function: &mut Function) -> Result<(), OpError> {
    let literals = function.literals();
    let mut constant: Vec<bool> = literals.iter().map(Option::is_some).collect();
    function.body.visit(&mut |operation| {
        // What these give is computed while the program is compiled.
        for id in operation.outputs.iter().filter(|_| operation.op.name().starts_with("constexpr_"))
        {
            constant[id.index()] = true;
        }
    });
    let mut types = Types {
        types: function.values.iter().map(|value| value.ty.clone()).collect(),
        known: literals.iter().map(|l| l.and_then(Literal::as_tensor).cloned()).collect(),
        constant,
        looks: 0,
    };
    function.body.visit(&mut |_| types.looks += LOOKS);
    types.looks += 4096;
    types.block(&function.body)?;
    for (value, ty) in function.values.iter_mut().zip(types.types) {
        value.ty = ty;
    }
    Ok(())
}

/// What is known of values while types are found.
struct Types {
    types: Vec<Type>,
    known: Vec<Option<Tensor>>,
    constant: Vec<bool>,
    /// How many operations may be looked at yet.
    looks: usize,
}

impl Env for Types {
    fn ty(&self, id: ValueId) -> &Type {
        &self.types[id.index()]
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.known[id.index()].clone()
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.constant[id.index()]
    }
}

impl Types {
    fn block(&mut self, block: &Block) -> Result<(), OpError> {
        block.operations.iter().try_for_each(|operation| self.operation(operation))
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), OpError> {
        self.looks = self.looks.checked_sub(1).ok_or_else(|| OpError {
            op: operation.op,
            message: "loops nest so that the shapes in them cannot be found in reasonable time"
                .to_owned(),
        })?;
        if operation.op == Op::Const {
            return Ok(());
        }
        if let Some(variables) = operation.inputs.get("loop_vars") {
            self.repeat(operation, variables)?;
        } else {
            for block in &operation.blocks {
                self.block(block)?;
            }
        }
        let inferred = mil::infer(operation, self)?;
        for (&id, inferred) in operation.outputs.iter().zip(inferred) {
            let declared = &self.types[id.index()];
            self.types[id.index()] = refined(&inferred, declared);
        }
        self.shape(operation);
        Ok(())
    }

    /// The blocks of a loop. Its variables begin with the types of what they are bound to; what
    /// the body gives back with another size is left open.
    fn repeat(&mut self, operation: &Operation, variables: &Arg) -> Result<(), OpError> {
        let mut types: Vec<Type> = variables.operands().iter().map(|v| self.operand(v)).collect();
        for _ in 0..ROUNDS {
            for block in &operation.blocks {
                for (&id, ty) in block.inputs.iter().zip(&types) {
                    self.types[id.index()] = ty.clone();
                }
                self.block(block)?;
            }
            let Some(body) = operation.blocks.last() else { break };
            let given: Vec<Type> =
                body.outputs.iter().map(|&id| self.types[id.index()].clone()).collect();
            let next: Vec<Type> = types.iter().zip(&given).map(|(a, b)| common(a, b)).collect();
            if next.len() != types.len() || next == types {
                break;
            }
            types = next;
        }
        Ok(())
    }

    fn operand(&self, operand: &Operand) -> Type {
        match operand {
            Operand::Value(id) => self.types[id.index()].clone(),
            Operand::Literal(literal) => literal.ty(),
        }
    }

    /// The one op that makes values of types: what it gives is known where its argument's shape
    /// is, and with it the shapes of what is computed from that alone in one step.
    fn shape(&mut self, operation: &Operation) {
        if operation.op.name() != "shape" {
            return;
        }
        let x = operation.value("x").map(|id| &self.types[id.index()]);
        let dims = x.and_then(Type::as_tensor).and_then(TensorType::fixed_dims);
        if let (Some(dims), [id]) = (dims, &operation.outputs[..]) {
            let sizes: Vec<i64> = dims.iter().map(|&n| n as i64).collect();
            let dtype = self.types[id.index()].as_tensor().map(|ty| ty.dtype);
            let made = dtype.and_then(|d| Tensor::from_i64s(d, &[sizes.len()], &sizes).ok());
            self.known[id.index()] = made;
        }
    }
}

/// What inference tells, and what was declared where it leaves something open: a size that is
/// declared holds for every input.
fn refined(inferred: &Type, declared: &Type) -> Type {
    let (Type::Tensor(new), Type::Tensor(old)) = (inferred, declared) else {
        return inferred.clone();
    };
    let shape = match (new.dims(), old.dims()) {
        (Some(new), Some(old)) if new.len() == old.len() => {
            let dim = |(new, old): (&Dim, &Dim)| if *new == Dim::Unknown { *old } else { *new };
            Shape::Ranked(new.iter().zip(old).map(dim).collect())
        }
        (None, Some(old)) => Shape::Ranked(old.to_vec()),
        _ => new.shape.clone(),
    };
    Type::Tensor(TensorType { dtype: new.dtype, shape })
}

/// The type of what may be of either.
fn common(a: &Type, b: &Type) -> Type {
    let (Type::Tensor(x), Type::Tensor(y)) = (a, b) else { return a.clone() };
    let shape = match (x.dims(), y.dims()) {
        (Some(x), Some(y)) if x.len() == y.len() => {
            let dim = |(x, y): (&Dim, &Dim)| if x == y { *x } else { Dim::Unknown };
            Shape::Ranked(x.iter().zip(y).map(dim).collect())
        }
        _ => Shape::Unranked,
    };
    Type::Tensor(TensorType { dtype: x.dtype, shape })
}
