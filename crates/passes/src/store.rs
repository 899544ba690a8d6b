//! Takes parameters in a narrower type than the function computes with.
//!
//! Before, with `w` to be stored as bf16:
//! ```text
//! func main<ios18>(tensor<fp32, [4, 3]> w, tensor<fp32, [2, 3]> x, tensor<int32, [2]> i) {
//!     tensor<fp32, [2, 4]> y = linear(x = x, weight = w);
//!     tensor<fp32, [2, 3]> r = gather(x = w, indices = i);
//! ```
//! After:
//! ```text
//! func main<ios18>(tensor<bf16, [4, 3]> w, tensor<fp32, [2, 3]> x, tensor<int32, [2]> i) {
//!     tensor<fp32, [4, 3]> w_wide = cast(x = w, dtype = "fp32");
//!     tensor<fp32, [2, 4]> y = linear(x = x, weight = w_wide);
//!     tensor<bf16, [2, 3]> r_stored = gather(x = w, indices = i);
//!     tensor<fp32, [2, 3]> r = cast(x = r_stored, dtype = "fp32");
//! ```
//! Widening is exact, so the function computes what it did from the rounded numbers. A cast of the
//! parameter reads what is stored: widened and narrowed again, it would be the same. A gather takes
//! rows first and widens those alone.

use crate::edit;
use mil::{DataType, Function, Op, Operation, Tensor, TensorType, Type, ValueId};

/// Makes the fp32 inputs with these names inputs of type `stored`. Names that the function does not
/// have are not looked for; inputs of another type stay.
pub fn store<'a>(
    function: &mut Function,
    names: impl IntoIterator<Item = &'a str>,
    stored: DataType,
) {
    let was_valid = edit::is_valid(function);
    for name in names {
        let input = function.input(name);
        let input = input.filter(|&id| is(function, id, DataType::Fp32));
        if let Some(id) = input.filter(|_| stored != DataType::Fp32) {
            store_one(function, id, stored);
        }
    }
    edit::assert_still_valid(was_valid, "store", function);
}

fn store_one(function: &mut Function, input: ValueId, stored: DataType) {
    let wide_type = function.ty(input).clone();
    function.values[input.index()].ty = with_dtype(&wide_type, stored);
    let mut widened: Option<ValueId> = None;
    let mut operations = vec![];
    for mut operation in std::mem::take(&mut function.body.operations) {
        if !operation.operands().any(|id| id == input) || operation.op == Op::Cast {
            operations.push(operation);
            continue;
        }
        if operation.op == Op::Gather && operation.value("x") == Some(input) {
            let rows = operation.output();
            let ty = with_dtype(function.ty(rows), stored);
            let narrow = edit::add_value(function, &format!("{}_stored", name(function, rows)), ty);
            operation.outputs = vec![narrow];
            operations.push(labeled(function, operation));
            operations.push(edit::cast(function, narrow, rows, DataType::Fp32));
            continue;
        }
        let wide = *widened.get_or_insert_with(|| {
            let wide = format!("{}_wide", name(function, input));
            let wide = edit::add_value(function, &wide, wide_type.clone());
            operations.push(edit::cast(function, input, wide, DataType::Fp32));
            wide
        });
        edit::for_each_operand(&mut operation, &mut |id| {
            if *id == input {
                *id = wide;
            }
        });
        operations.push(operation);
    }
    if function.body.outputs.contains(&input) && widened.is_none() {
        let wide = edit::add_value(function, &format!("{}_wide", name(function, input)), wide_type);
        operations.push(edit::cast(function, input, wide, DataType::Fp32));
        widened = Some(wide);
    }
    function.body.operations = operations;
    for output in &mut function.body.outputs {
        if let (true, Some(wide)) = (*output == input, widened) {
            *output = wide;
        }
    }
}

fn is(function: &Function, id: ValueId, dtype: DataType) -> bool {
    function.ty(id).as_tensor().is_some_and(|ty| ty.dtype == dtype)
}

fn with_dtype(ty: &Type, dtype: DataType) -> Type {
    match ty {
        Type::Tensor(tensor) => Type::Tensor(TensorType { dtype, ..tensor.clone() }),
        other => other.clone(),
    }
}

fn name(function: &Function, id: ValueId) -> &str {
    &function.value(id).name
}

/// The operation with the label that its result asks for.
fn labeled(function: &Function, mut operation: Operation) -> Operation {
    let label = Tensor::string(name(function, operation.output()));
    operation.attributes.insert("name".to_owned(), label.into());
    operation
}
