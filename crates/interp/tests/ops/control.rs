//! Nested blocks, lists and classes.

use crate::common::{bools, evaluate, floats, ints, program, vector};
use anemone_interp::{Array, Error, Options};
use mil::DataType;
use std::collections::BTreeMap;

type Found = Result<BTreeMap<String, Array>, Error>;

fn run(inputs: &str, body: &str, outputs: &str, given: &[(&str, Array)]) -> Found {
    let program = program("ios18", inputs, body, outputs);
    assert_eq!(mil::parse(&mil::print(&program)).expect("a print is right"), program);
    Ok(evaluate(&program, given, &Options::default())?.outputs)
}

/// The condition `i < n`, for loop variables that begin with i.
fn below(more: &str) -> String {
    format!("block(int32 i{more}) {{ bool go = less(x = i, y = n); }} -> (go)")
}

#[test]
fn one_of_two_blocks_runs() {
    let body = "fp32 y, int32 z = cond(pred = p) \
        block() { fp32 a = add(x = x, y = x); int32 one = const()[val = int32(1)]; } -> (a, one) \
        block() { fp32 a = mul(x = x, y = x); int32 two = const()[val = int32(2)]; } -> (a, two);";
    for (p, y, z) in [(true, 6.0, 1), (false, 9.0, 2)] {
        let given = [("p", bools(&[], &[p])), ("x", floats(&[], &[3.0]))];
        let found = run("bool p, fp32 x", body, "y, z", &given).unwrap();
        assert_eq!((&found["y"], &found["z"]), (&floats(&[], &[y]), &ints(&[], &[z])));
    }
}

/// The block that does not run may be one that could not.
#[test]
fn the_other_block_does_not_run() {
    let body = "tensor<fp32, [1]> y = cond(pred = p) \
        block() { tensor<fp32, [1]> a = gather(x = x, indices = k, validate_indices = bool(true)); } -> (a) \
        block() { tensor<fp32, [1]> b = gather(x = x, indices = tensor<int32, [1]>([0])); } -> (b);";
    let given =
        |p: bool| [("p", bools(&[], &[p])), ("x", floats(&[2], &[3.0, 4.0])), ("k", vector(&[7]))];
    let inputs = "bool p, tensor<fp32, [2]> x, tensor<int32, [1]> k";
    assert_eq!(run(inputs, body, "y", &given(false)).unwrap()["y"], floats(&[1], &[3.0]));
    let error = run(inputs, body, "y", &given(true)).unwrap_err().to_string();
    assert_eq!(error, "`a`: gather: index 7 is outside an axis of size 2");
}

#[test]
fn loops_run_until_their_condition_fails() {
    let body = format!(
        "int32 k, fp32 y = while_loop(loop_vars = (int32(0), x)) {} \
         block(int32 i, fp32 a) {{ int32 next = add(x = i, y = int32(1)); \
             fp32 twice = add(x = a, y = a); fp32 b = add(x = twice, y = x); }} -> (next, b);",
        below(", fp32 a")
    );
    // x, 3x, 7x, …
    for (n, y) in [(0, 2.0), (-5, 2.0), (1, 6.0), (3, 30.0)] {
        let given = [("n", ints(&[], &[n])), ("x", floats(&[], &[2.0]))];
        let found = run("int32 n, fp32 x", &body, "k, y", &given).unwrap();
        assert_eq!(found["k"], ints(&[], &[n.max(0)]));
        assert_eq!(found["y"], floats(&[], &[y]));
    }
}

#[test]
fn a_loop_in_a_loop_and_a_tensor_that_grows() {
    // For every i, as many i as it says: 1, 2, 2, 3, 3, 3.
    let body = "int32 k, tensor<int32, [?]> y = while_loop(loop_vars = (int32(1), empty)) \
        block(int32 i, tensor<int32, [?]> a) { bool go = less_equal(x = i, y = n); } -> (go) \
        block(int32 i, tensor<int32, [?]> a) { \
            int32 left, tensor<int32, [?]> b = while_loop(loop_vars = (i, a)) \
                block(int32 j, tensor<int32, [?]> c) { bool more = greater(x = j, y = int32(0)); } -> (more) \
                block(int32 j, tensor<int32, [?]> c) { int32 less = sub(x = j, y = int32(1)); \
                    tensor<int32, [?]> d = concat(values = (c, i), axis = int32(0)); } -> (less, d); \
            int32 next = add(x = i, y = int32(1)); } -> (next, b);";
    let inputs = "int32 n, tensor<int32, [?]> empty";
    // A scalar joins as a vector of one only beside vectors of its own rank; i is given as one.
    let body = body.replace("values = (c, i)", "values = (c, e)").replace(
        "int32 less = sub",
        "tensor<int32, [1]> e = expand_dims(x = i, axes = tensor<int32, [1]>([0])); int32 less = sub",
    );
    let given = [("n", ints(&[], &[3])), ("empty", vector(&[]))];
    let found = run(inputs, &body, "k, y", &given).unwrap();
    assert_eq!(found["y"], vector(&[1, 2, 2, 3, 3, 3]));
}

#[test]
fn a_loop_without_end_is_an_error() {
    let body = "int32 k = while_loop(loop_vars = (int32(0))) \
        block(int32 i) { bool go = const()[val = bool(true)]; } -> (go) \
        block(int32 j) { } -> (j);";
    let program = program("ios18", "int32 n", body, "k");
    let options = Options { max_iterations: 1000, ..Options::default() };
    let error = evaluate(&program, &[("n", ints(&[], &[0]))], &options).unwrap_err();
    let expected = "`k`: its loop does not end; all loops may make 1000 passes together";
    assert_eq!(error.to_string(), expected);
}

/// States are written where the block runs that writes them.
#[test]
fn blocks_read_and_write_states() {
    let body = "tensor<fp16, [1]> y = cond(pred = p) \
        block() { tensor<fp16, [1]> old = read_state(input = s); \
            tensor<fp16, [1]> new = add(x = old, y = old); write_state(input = s, data = new); } -> (new) \
        block() { tensor<fp16, [1]> old = read_state(input = s); } -> (old); \
        tensor<fp16, [1]> z = read_state(input = s);";
    let program = program("ios18", "bool p, state<tensor<fp16, [1]>> s", body, "y, z");
    let three = Array::floats(DataType::Fp16, &[1], vec![3.0]);
    for (p, expected) in [(true, 6.0), (false, 3.0)] {
        let options =
            Options { states: [("s".into(), three.clone())].into(), ..Options::default() };
        let found = evaluate(&program, &[("p", bools(&[], &[p]))], &options).unwrap();
        let expected = Array::floats(DataType::Fp16, &[1], vec![expected]);
        assert_eq!((&found.outputs["z"], &found.states["s"]), (&expected, &expected));
    }
}

const LIST: &str = "list<tensor<fp32, [2]>, ?> l = make_list(init_length = int32(2), \
    dynamic_length = bool(true), elem_shape = (int32(2)), dtype = string(\"fp32\"));";

#[test]
fn lists_hold_grow_and_give_back() {
    let body = format!(
        "{LIST} list<tensor<fp32, [2]>, ?> m = list_write(ls = l, index = int32(3), value = x); \
         list<tensor<fp32, [2]>, ?> s = list_scatter(ls = m, indices = tensor<int32, [2]>([1, 0]), value = v); \
         tensor<fp32, [3, 2]> y = list_gather(ls = s, indices = tensor<int32, [3]>([3, 2, 0])); \
         tensor<fp32, [2]> z = list_read(ls = s, index = int32(1)); \
         int32 n = list_length(ls = s); int32 k = list_length(ls = l);"
    );
    let given = [("x", floats(&[2], &[1.0, 2.0])), ("v", floats(&[2, 2], &[3.0, 4.0, 5.0, 6.0]))];
    let inputs = "tensor<fp32, [2]> x, tensor<fp32, [2, 2]> v";
    let found = run(inputs, &body, "y, z, n, k", &given).unwrap();
    // What was never written is 0.
    assert_eq!(found["y"], floats(&[3, 2], &[1.0, 2.0, 0.0, 0.0, 5.0, 6.0]));
    assert_eq!(found["z"], floats(&[2], &[3.0, 4.0]));
    assert_eq!((&found["n"], &found["k"]), (&ints(&[], &[4]), &ints(&[], &[2])));
}

#[test]
fn lists_refuse_what_is_outside() {
    let error = |body: &str| {
        let given = [("x", floats(&[2], &[1.0, 2.0]))];
        run("tensor<fp32, [2]> x", body, "y", &given).unwrap_err().to_string()
    };
    let fixed = "list<tensor<fp32, [2]>, 2> l = make_list(init_length = int32(2), \
        dynamic_length = bool(false), elem_shape = (int32(2)));";
    let write = |list: &str, ty: &str, index: i64| {
        error(&format!(
            "{list} list<tensor<fp32, [2]>, {ty}> m = list_write(ls = l, index = int32({index}), value = x); \
             int32 y = list_length(ls = m);"
        ))
    };
    let outside = "`m`: list_write: index 2 is outside a list of 2 elements";
    assert_eq!(write(fixed, "2", 2), outside);
    assert_eq!(write(LIST, "?", -1), outside.replace("index 2", "index -1"));
    let found = write(LIST, "?", i64::from(i32::MAX));
    assert!(found.contains("would be larger than"), "{found}");
    let found =
        error(&format!("{LIST} tensor<fp32, [2]> y = list_read(ls = l, index = int32(9));"));
    assert_eq!(found, "`y`: list_read: index 9 is outside a list of 2 elements");
    let found = error(&format!(
        "{} int32 y = list_length(ls = l);",
        LIST.replace("init_length = int32(2)", "init_length = int32(2000000000)")
    ));
    assert!(found.contains("a list of 2000000000 elements"), "{found}");
    let open = "list<tensor<fp32, [?]>, ?> l = make_list(elem_shape = (string(\"n\"))); \
        tensor<fp32, [?]> y = list_read(ls = l, index = int32(0));";
    assert!(error(open).contains("element 0 was not written"));
}

#[test]
fn lists_are_loop_variables() {
    let body = format!(
        "{LIST} int32 k, list<tensor<fp32, [2]>, ?> m = while_loop(loop_vars = (int32(0), l)) {} \
         block(int32 i, list<tensor<fp32, [2]>, ?> a) {{ int32 next = add(x = i, y = int32(1)); \
             fp32 f = cast(x = i, dtype = string(\"fp32\")); tensor<fp32, [2]> v = mul(x = x, y = f); \
             list<tensor<fp32, [2]>, ?> b = list_write(ls = a, index = i, value = v); }} -> (next, b); \
         tensor<fp32, [2, 2]> y = list_gather(ls = m, indices = tensor<int32, [2]>([4, 1])); \
         int32 z = list_length(ls = m);",
        below(", list<tensor<fp32, [2]>, ?> a")
    );
    let given = [("n", ints(&[], &[5])), ("x", floats(&[2], &[1.0, -1.0]))];
    let found = run("int32 n, tensor<fp32, [2]> x", &body, "y, z", &given).unwrap();
    assert_eq!(found["y"], floats(&[2, 2], &[4.0, -4.0, 1.0, -1.0]));
    assert_eq!(found["z"], ints(&[], &[5]));
    let program = program("ios18", "int32 n, tensor<fp32, [2]> x", &body, "m");
    let error = evaluate(&program, &given, &Options::default()).unwrap_err().to_string();
    assert_eq!(error, "output `m` is a list, which cannot leave");
}

#[test]
fn classes_have_a_label_and_a_dictionary() {
    let of = |classes: &str, class: &str, inline: bool| {
        let ty = format!("list<{class}, 3>");
        let operand = if inline { format!("{ty}({classes})") } else { "k".to_owned() };
        let body = format!(
            "{ty} k = const()[val = {ty}({classes})]; \
             {class} label, dict<{class}, fp64> all = classify(probabilities = x, classes = {operand});"
        );
        let program = program("ios15", "tensor<fp32, [1, 3]> x", &body, "label, all");
        let given = [("x", floats(&[1, 3], &[0.25, 0.5, 0.5]))];
        evaluate(&program, &given, &Options::default()).unwrap()
    };
    for inline in [true, false] {
        let found = of("[\"cat\", \"löwe\", \"dog\"]", "string", inline);
        // The first of equals.
        assert_eq!(found.outputs["label"].to_tensor().strings(), ["löwe"]);
        assert_eq!(found.dictionaries["all"].keys.to_tensor().strings(), ["cat", "löwe", "dog"]);
        assert_eq!(found.dictionaries["all"].values.to_f64s(), [0.25, 0.5, 0.5]);
        let found = of("[7, -3, 4000000000]", "int64", inline);
        assert_eq!(found.outputs["label"], Array::ints(DataType::Int64, &[], vec![-3]));
        let keys = Array::ints(DataType::Int64, &[3], vec![7, -3, 4_000_000_000]);
        assert_eq!(found.dictionaries["all"].keys, keys);
    }
}
