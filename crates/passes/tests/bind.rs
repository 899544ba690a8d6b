//! Inputs that become constants.

use anemone_passes::bind::{Bound, Error, bind};
use interp::{Array, Options};
use mil::{DataType, Function, Program, Tensor};
use std::collections::BTreeMap;

fn function() -> Function {
    let text =
        "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2, 3]> w, tensor<fp32, [1, 3]> x) {
        tensor<fp32, [1, 2]> y = linear(x = x, weight = w);
    } -> (y);\n}\n";
    let mut program = mil::parse(text).unwrap();
    mil::verify(&program).unwrap();
    program.functions.remove(0)
}

fn y(function: &Function, inputs: &[(&str, &[usize], &[f64])]) -> Vec<f64> {
    let array = |&(name, dims, values): &(&str, &[usize], &[f64])| {
        (name.to_owned(), Array::floats(DataType::Fp32, dims, values.to_vec()))
    };
    let program = Program::new(vec![function.clone()]);
    let inputs: BTreeMap<String, Array> = inputs.iter().map(array).collect();
    interp::evaluate(&program, "main", &inputs, &Options::default()).unwrap().outputs["y"].to_f64s()
}

const X: (&str, &[usize], &[f64]) = ("x", &[1, 3], &[1.0, 10.0, 100.0]);

#[test]
fn a_constant_gives_what_the_input_gave() {
    let mut bound = function();
    let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let tensor = Tensor::from_f64s(DataType::Fp32, &[2, 3], &w).unwrap();
    bind(&mut bound, [("w".to_owned(), Bound::Constant(tensor.into()))].into()).unwrap();
    assert_eq!(bound.inputs.len(), 1);
    assert_eq!(y(&bound, &[X]), y(&function(), &[X, ("w", &[2, 3], &w)]));
}

#[test]
fn bytes_and_scales_give_their_product() {
    let mut bound = function();
    let data = Tensor::from_i64s(DataType::Int8, &[2, 3], &[1, -2, 3, 127, 0, -128]).unwrap();
    let scale = Tensor::from_f64s(DataType::Fp32, &[2, 1], &[0.5, 2.0]).unwrap();
    let scaled = Bound::Scaled { data: data.into(), scale: scale.into() };
    bind(&mut bound, [("w".to_owned(), scaled)].into()).unwrap();
    assert_eq!(y(&bound, &[X]), [0.5 - 10.0 + 150.0, 254.0 - 25600.0]);
}

#[test]
fn other_names_and_types_are_refused_and_change_nothing() {
    let mut same = function();
    let tensor = Tensor::from_f64s(DataType::Fp32, &[3, 2], &[0.0; 6]).unwrap();
    let constant = || Bound::Constant(tensor.clone().into());
    let error = bind(&mut same, [("v".to_owned(), constant())].into()).unwrap_err();
    assert_eq!(error.to_string(), "function `main` has no input `v`");
    let error = bind(&mut same, [("w".to_owned(), constant())].into()).unwrap_err();
    assert!(matches!(error, Error::Type { .. }), "{error}");
    assert_eq!(same, function());
}
