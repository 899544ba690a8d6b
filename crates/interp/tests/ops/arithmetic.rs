//! A device's arithmetic in place of the plain one.

use anemone_interp::{Arithmetic, Array, Options, Step, evaluate};
use mil::{DataType, FunctionBuilder, Op, OpError, Opset, Program, Type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Products of halves, sums that saturate at 10, and results with 100 added to what `exp` gives.
#[derive(Debug)]
struct Odd;

impl Arithmetic for Odd {
    fn product(&self, a: f64, b: f64) -> f64 {
        a * b / 2.0
    }

    fn accumulate(&self, sum: f64, term: f64) -> f64 {
        (sum + term).min(10.0)
    }

    fn result(&self, step: &Step, result: Array) -> Result<Array, OpError> {
        if step.operation().op != Op::Exp {
            return Ok(result);
        }
        let x = step.operand("x")?.to_f64s();
        let values = result.to_f64s().into_iter().zip(x).map(|(e, x)| e + 100.0 + x);
        Ok(Array::floats(result.dtype(), result.dims(), values.collect()))
    }
}

fn run(arithmetic: Option<Arc<dyn Arithmetic>>) -> Result<BTreeMap<String, Vec<f64>>, OpError> {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp16, &[1, 3]));
    let product = b.matmul(x, x, (false, true))?;
    let sum = b.reduce(Op::ReduceSum, x, &[1], true)?;
    let exp = b.unary(Op::Exp, x)?;
    let program = Program::new(vec![b.finish(&[product, sum, exp])]);
    let x = Array::floats(DataType::Fp16, &[1, 3], vec![0.0, 4.0, 8.0]);
    let options = Options { arithmetic, ..Options::default() };
    let inputs = BTreeMap::from([("x".to_owned(), x)]);
    let results = evaluate(&program, "main", &inputs, &options).expect("the program is valid");
    Ok(results.outputs.into_iter().map(|(name, array)| (name, array.to_f64s())).collect())
}

#[test]
fn a_device_changes_products_sums_and_results() -> Result<(), OpError> {
    let plain = run(None)?;
    assert_eq!((&plain["matmul"], &plain["reduce_sum"]), (&vec![80.0], &vec![12.0]));
    assert_eq!(plain["exp"][0], 1.0);
    let odd = run(Some(Arc::new(Odd)))?;
    // 8 + 32 is 10 by then; the sum's terms are not products.
    assert_eq!((&odd["matmul"], &odd["reduce_sum"]), (&vec![10.0], &vec![10.0]));
    // What a device gives is still rounded: eps at 3089 is 2.
    assert_eq!(odd["exp"], [101.0, (4f64.exp() * 8.0).round() / 8.0 + 104.0, 3088.0]);
    Ok(())
}
