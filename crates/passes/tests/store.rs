//! Parameters in a narrower type.

use anemone_passes::{simplify, store::store};
use interp::{Array, Options};
use mil::{DataType, Function, Op, Program};
use std::collections::BTreeMap;

const TEXT: &str = "program(1.3)
{
    func main<ios18>(tensor<fp32, [4, 3]> w, tensor<fp32, [2, 3]> x, tensor<int32, [2]> i) {
        tensor<fp32, [2, 4]> y = linear(x = x, weight = w);
        tensor<bf16, [4, 3]> narrow = cast(x = w, dtype = string(\"bf16\"));
        tensor<bf16, [3, 4]> w_wide = transpose(x = narrow, perm = tensor<int32, [2]>([1, 0]));
        tensor<fp32, [2, 3]> rows = gather(x = w, indices = i);
        tensor<fp32, [4, 3]> twice = add(x = w, y = w);
    } -> (y, w_wide, rows, twice, w);
}
";

fn function() -> Function {
    let mut program = mil::parse(TEXT).unwrap();
    mil::verify(&program).unwrap();
    program.functions.remove(0)
}

fn evaluate(function: &Function, w: &[f64]) -> Vec<Array> {
    let inputs = BTreeMap::from([
        ("w".to_owned(), Array::floats(DataType::Fp32, &[4, 3], w.to_vec())),
        ("x".to_owned(), Array::floats(DataType::Fp32, &[2, 3], vec![1., 2., 3., -4., 5., 0.25])),
        ("i".to_owned(), Array::ints(DataType::Int32, &[2], vec![3, 1])),
    ]);
    let program = Program::new(vec![function.clone()]);
    let mut outputs = interp::evaluate(&program, "main", &inputs, &Options::default()).unwrap();
    let name = |&id: &mil::ValueId| function.value(id).name.clone();
    let mut take = |name: String| outputs.outputs.remove(&name).unwrap();
    function.body.outputs.iter().map(|id| take(name(id))).collect()
}

/// Numbers that bf16 holds.
const W: [f64; 12] = [1.0, -0.5, 3.0, 0.25, 7.0, 2.0, -1.5, 0.125, 96.0, 5.0, -6.0, 0.75];

#[test]
fn numbers_that_the_type_holds_give_what_they_gave() {
    let before = function();
    for stored in [DataType::Bf16, DataType::Fp16] {
        let mut after = before.clone();
        store(&mut after, ["w", "nobody"], stored);
        assert_eq!(after.ty(after.input("w").unwrap()).as_tensor().unwrap().dtype, stored);
        assert_eq!(mil::verify(&Program::new(vec![after.clone()])), Ok(()));
        assert_eq!(evaluate(&after, &W), evaluate(&before, &W));
    }
}

#[test]
fn other_numbers_are_those_that_are_stored() {
    let before = function();
    let mut after = before.clone();
    store(&mut after, ["w"], DataType::Bf16);
    let w = W.map(|v| v * 1.001);
    let rounded = Array::floats(DataType::Bf16, &[12], w.to_vec()).rounded().to_f64s();
    assert_eq!(evaluate(&after, &w), evaluate(&before, &rounded));
}

#[test]
fn a_cast_to_the_stored_type_and_a_gather_read_what_is_stored() {
    let mut after = function();
    store(&mut after, ["w"], DataType::Bf16);
    simplify::run(&mut after);
    let w = after.input("w").unwrap();
    let readers: Vec<Op> = after
        .body
        .operations
        .iter()
        .filter(|o| o.operands().any(|id| id == w))
        .map(|o| o.op)
        .collect();
    // The widening that others share, the transpose without a cast, and the gather.
    assert_eq!(readers, [Op::Cast, Op::Transpose, Op::Gather]);
}

#[test]
fn inputs_of_other_types_stay() {
    let before = function();
    let mut after = before.clone();
    store(&mut after, ["i"], DataType::Bf16);
    store(&mut after, ["w"], DataType::Fp32);
    assert_eq!(after, before);
}
