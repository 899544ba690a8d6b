//! Chains of products and row programs that repeat themselves over the same axes run as loops.

mod common;

use common::{Random, devices, disagreement, inputs};
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Opset, Program, Type, ValueId};
use passes::autodiff::{self, Options};
use runtime::{CompileOptions, Device};

const LOOP: &str = "cpu: loop of products and row programs";

/// Compares with the interpreter on every device; gives the values that were computed in loops.
fn check(function: Function) -> Vec<String> {
    let inputs = inputs(&function, &mut Random(11));
    let name = function.name.clone();
    let program = Program::new(vec![function]);
    let mut looped = vec![];
    for device in devices() {
        let found = disagreement(&device, &program, &name, &inputs, &mil::Weights::default());
        assert_eq!(found, None, "{name}");
        let executable = device.compile(&program, &name, &CompileOptions::default());
        let placement = executable.expect("it was compiled before").placement();
        looped = placement.into_iter().filter(|p| p.place == LOOP).map(|p| p.value).collect();
    }
    looped
}

fn function(body: impl FnOnce(&mut FunctionBuilder) -> Result<Vec<ValueId>, OpError>) -> Function {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let outputs = body(&mut b).expect("the operations are legal");
    b.finish(&outputs)
}

fn input(b: &mut FunctionBuilder, name: &str, dims: &[usize]) -> ValueId {
    b.input(name, Type::tensor(DataType::Fp32, dims))
}

/// Attention of `heads` heads with `group` queries to each key, as a transformer's layer has it:
/// heads are cut out of `[tokens, heads · width]`.
fn attention(
    b: &mut FunctionBuilder,
    [heads, group, queries, keys, width]: [usize; 5],
) -> Result<[ValueId; 3], OpError> {
    let cut = |b: &mut FunctionBuilder, name: &str, tokens: usize, group: usize| {
        let x = input(b, name, &[tokens, heads * group * width]);
        let x = b.reshape(x, &[tokens, heads, group, width])?;
        b.transpose(x, &[1, 2, 0, 3])
    };
    let q = cut(b, "q", queries, group)?;
    let k = cut(b, "k", keys, 1)?;
    let v = cut(b, "v", keys, 1)?;
    let scores = b.matmul(q, k, (false, true))?;
    b.rename(scores, "scores");
    let weights = b.softmax(scores, -1)?;
    b.rename(weights, "weights");
    let out = b.matmul(weights, v, (false, false))?;
    b.rename(out, "out");
    let joined = b.transpose(out, &[2, 0, 1, 3])?;
    let joined = b.reshape(joined, &[queries, heads * group * width])?;
    Ok([scores, weights, joined])
}

#[test]
fn attention_runs_head_by_head_whatever_its_shape() {
    let shapes =
        [[2, 1, 5, 5, 4], [3, 2, 7, 9, 3], [1, 4, 1, 6, 8], [4, 1, 17, 33, 16], [2, 3, 40, 8, 1]];
    for shape in shapes {
        let looped = check(function(|b| Ok(vec![attention(b, shape)?[2]])));
        for value in ["scores", "weights", "out"] {
            assert!(looped.iter().any(|v| v == value), "{shape:?}: {value} is not in {looped:?}");
        }
    }
}

#[test]
fn so_does_its_gradient_with_no_weights_kept() {
    for shape in [[2, 1, 5, 5, 4], [3, 2, 7, 9, 3], [4, 1, 17, 33, 16]] {
        let f = function(|b| Ok(vec![attention(b, shape)?[2]]));
        let wrt = ["q", "k", "v"].map(str::to_owned).to_vec();
        let repeat = ["scores", "weights"].map(str::to_owned).to_vec();
        let gradient = autodiff::differentiate(&f, &Options { wrt, repeat, ..Options::default() })
            .expect("every op has a rule");
        assert_eq!(gradient.forward.body.outputs.len(), 1, "nothing of the weights is kept");
        assert!(!check(gradient.forward).is_empty());
        let looped = check(gradient.backward);
        for value in ["scores", "weights"] {
            assert!(looped.iter().any(|v| v == value), "{shape:?}: {value} is not in {looped:?}");
        }
    }
}

#[test]
fn what_leaves_a_loop_is_stored_and_what_waits_for_it_comes_after() {
    // The weights are an output; and a sum over all heads is needed by what else could be a member.
    let f = function(|b| {
        let [_, weights, out] = attention(b, [3, 2, 6, 6, 4])?;
        let total = b.reduce(Op::ReduceSum, weights, &[0, 1, 2, 3], true)?;
        let shifted = b.add(weights, total)?;
        let again = b.softmax(shifted, -1)?;
        let v = input(b, "v2", &[3, 2, 6, 5]);
        let late = b.matmul(again, v, (false, false))?;
        Ok(vec![weights, out, late])
    });
    assert!(check(f).iter().any(|value| value == "out"));
}

#[test]
fn a_chain_that_mixes_heads_is_no_loop() {
    let f = function(|b| {
        let x = input(b, "x", &[4, 6, 6]);
        let y = input(b, "y", &[4, 6, 6]);
        let product = b.matmul(x, y, (false, false))?;
        let squares = b.mul(product, product)?;
        let mixed = b.transpose(squares, &[1, 0, 2])?;
        let mixed = b.reshape(mixed, &[4, 6, 6])?;
        Ok(vec![b.matmul(mixed, y, (false, false))?])
    });
    check(f);
}

#[test]
fn half_precision_is_rounded_between_the_members() {
    let f = function(|b| {
        let x = b.input("x", Type::tensor(DataType::Fp16, &[3, 9, 4]));
        let y = b.input("y", Type::tensor(DataType::Fp16, &[3, 4, 9]));
        let scores = b.matmul(x, y, (false, false))?;
        let weights = b.softmax(scores, -1)?;
        Ok(vec![b.matmul(weights, x, (false, false))?])
    });
    assert!(!check(f).is_empty());
}

#[test]
fn a_product_with_a_single_number_reads_it_from_memory() {
    let f = function(|b| {
        let number = mil::Tensor::from_f64s(DataType::Fp32, &[1, 1], &[-1.5]).expect("one number");
        let number = b.constant("number", number);
        let x = input(b, "x", &[2, 3, 1, 3]);
        let product = b.matmul(number, x, (true, false))?;
        // The number is also what the row program behind the product knows.
        let sum = b.add(product, number)?;
        Ok(vec![b.unary(Op::Relu, sum)?])
    });
    assert!(!check(f).is_empty());
}
