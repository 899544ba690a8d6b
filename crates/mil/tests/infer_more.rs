//! Result types of indexing, recurrent, list and random ops where not all is known, and what the
//! verifier says of nested blocks.

mod common;

use anemone_mil::{parse, print, verify};
use common::check;

#[test]
fn what_is_open_stays_open() {
    check(
        "tensor<fp32, [?, 3]> x, tensor<fp32, ?> any, tensor<int32, [4]> n, tensor<int32, [?]> m, \
         tensor<int32, [2, 1]> i, int32 k, tensor<fp32, [2, 3]> f",
        &[
            ("gather_nd(x = x, indices = i)", "tensor<fp32, [2, 3]>"),
            ("gather_nd(x = any, indices = i)", "tensor<fp32, ?>"),
            (
                "gather_nd(x = f, indices = tensor<int32, [2, 2]>([[0, 0], [1, 1]]))",
                "tensor<fp32, [2]>",
            ),
            ("one_hot(indices = n, one_hot_vector_size = k)", "tensor<int32, [4, ?]>"),
            (
                "one_hot(indices = n, one_hot_vector_size = k, axis = int32(0), on_value = fp16(1))",
                "tensor<fp16, [?, 4]>",
            ),
            ("argsort(x = x)", "tensor<int32, [?, 3]>"),
            ("non_zero(x = any)", "tensor<int32, [?, ?]>"),
            ("range_1d(start = k, end = int32(4), step = int32(1))", "tensor<int32, [?]>"),
            ("fill(shape = n)", "tensor<fp32, [?, ?, ?, ?]>"),
            ("fill(shape = m, value = bool(true))", "tensor<bool, ?>"),
            ("fill_like(ref_tensor = x, value = int32(1))", "tensor<int32, [?, 3]>"),
            ("shape(x = any)", "tensor<int32, [?]>"),
            ("shape(x = x)", "tensor<int32, [2]>"),
            ("stack(values = (x, f), axis = int32(1))", "tensor<fp32, [2, 2, 3]>"),
            ("stack(values = (any, any), axis = int32(0))", "tensor<fp32, ?>"),
            ("flatten2d(x = x)", "tensor<fp32, [?, 3]>"),
            ("flatten2d(x = any)", "tensor<fp32, [?, ?]>"),
            ("random_normal(shape = n, mean = fp16(1))", "tensor<fp16, [?, ?, ?, ?]>"),
            ("random_categorical(x = x, size = int32(5))", "tensor<fp32, [?, 5]>"),
            ("list_length(ls = k)", "list_length: `ls` must be a list, found int32"),
            (
                "non_maximum_suppression(boxes = x, scores = x, iou_threshold = fp32(0), max_boxes = int32(1))",
                "non_maximum_suppression: boxes are tensor<fp32, [?, 3]> and scores tensor<fp32, [?, 3]>, expected [n, 4, B] and [n, K, B]",
            ),
            (
                "cond(pred = bool(true))",
                "cond: it has 0 nested blocks; it takes two, one for true and one for false",
            ),
            (
                "while_loop(loop_vars = (k))",
                "while_loop: it has 0 nested blocks; it takes two, the condition and the body",
            ),
        ],
    );
    check(
        "tensor<fp32, [?, 2, 3]> x, tensor<fp32, [2, 4]> h, tensor<fp32, [4, 3]> w, tensor<fp32, [4, 4]> u",
        &[
            (
                "rnn(x = x, initial_h = h, weight_ih = w, weight_hh = u, output_sequence = bool(true))",
                "tensor<fp32, [?, 2, 4]>; tensor<fp32, [2, 4]>",
            ),
            (
                "rnn(x = x, initial_h = h, weight_ih = w, weight_hh = u)",
                "tensor<fp32, [1, 2, 4]>; tensor<fp32, [2, 4]>",
            ),
            (
                "gru(x = x, initial_h = h, weight_ih = w, weight_hh = u)",
                "gru: `weight_ih` is tensor<fp32, [4, 3]>, expected tensor<fp32, [12, 3]>",
            ),
        ],
    );
}

#[test]
fn lists() {
    check(
        "list<tensor<fp32, [2]>, 3> l, tensor<fp32, [2]> x, tensor<fp32, [3]> y, tensor<fp32, [2, 2]> v, int32 k",
        &[
            (
                "make_list(elem_shape = (int32(2), string(\"n\")), dtype = string(\"fp16\"))",
                "list<tensor<fp16, [2, ?]>, ?>",
            ),
            (
                "make_list(init_length = int32(4), dynamic_length = bool(false), elem_shape = ())",
                "list<fp32, 4>",
            ),
            (
                "make_list(init_length = k, dynamic_length = bool(false), elem_shape = ())",
                "list<fp32, ?>",
            ),
            (
                "make_list(init_length = int32(-1), elem_shape = ())",
                "make_list: `init_length` is -1",
            ),
            ("make_list(elem_shape = (int32(-2)))", "make_list: `elem_shape` holds -2"),
            ("list_write(ls = l, index = k, value = x)", "list<tensor<fp32, [2]>, 3>"),
            (
                "list_write(ls = l, index = k, value = y)",
                "list_write: `value` is tensor<fp32, [3]>, the list's elements are tensor<fp32, [2]>",
            ),
            ("list_read(ls = l, index = k)", "tensor<fp32, [2]>"),
            ("list_gather(ls = l, indices = tensor<int32, [2]>([0, 1]))", "tensor<fp32, [2, 2]>"),
            (
                "list_scatter(ls = l, indices = tensor<int32, [2]>([0, 1]), value = v)",
                "list<tensor<fp32, [2]>, 3>",
            ),
            (
                "list_scatter(ls = l, indices = tensor<int32, [1]>([0]), value = v)",
                "list_scatter: `value` is tensor<fp32, [2, 2]>; expected 1 slices like the list's elements, tensor<fp32, [2]>",
            ),
            ("list_length(ls = l)", "int32"),
        ],
    );
}

/// What the verifier finds in a function of these statements.
fn problems(body: &str) -> Vec<String> {
    let text = format!(
        "program(1.3)\n{{ func main<ios18>(bool p, int32 n, tensor<fp32, [2]> x) {{ {body} }} -> (y); }}"
    );
    let program = parse(&text).unwrap_or_else(|e| panic!("{}", e.render(&text)));
    assert_eq!(parse(&print(&program)).expect("a print is right"), program);
    verify(&program).map_or_else(|d| d.0, |()| vec![]).into_iter().map(|d| d.message).collect()
}

const NO: &str = "block() { tensor<fp32, [2]> b = relu(x = x); } -> (b);";

#[test]
fn blocks_have_the_types_that_their_operation_says() {
    let of = |ty: &str, yes: &str| problems(&format!("{ty} y = cond(pred = p) {yes} {NO}"));
    let good = "block() { tensor<fp32, [2]> b = exp(x = x); } -> (b)";
    assert!(of("tensor<fp32, [2]>", good).is_empty());
    // The name `b` is free again in the second block, and after both.
    let after = format!(
        "tensor<fp32, [2]> y = cond(pred = p) {good} {NO} tensor<fp32, [2]> b = exp(x = y);"
    );
    assert!(problems(&after).is_empty());
    assert_eq!(
        of("tensor<fp32, [2]>", "block() { int32 b = add(x = n, y = n); } -> (b)"),
        ["cond: the block for true gives int32, that for false tensor<fp32, [2]>"]
    );
    assert_eq!(
        of("tensor<fp32, [3]>", good),
        ["cond: `y` is declared tensor<fp32, [3]>, it is tensor<fp32, [2]>"]
    );
    assert_eq!(
        of("tensor<fp32, [2]>", "block() { } -> ()"),
        ["cond: the block for true gives 0 values, that for false 1"]
    );
    assert_eq!(
        of("tensor<fp32, [2]>", "block(int32 i) { tensor<fp32, [2]> b = exp(x = x); } -> (b)"),
        ["cond: its blocks take no inputs"]
    );
    // What is wrong within a block is said there.
    assert_eq!(
        of("tensor<fp32, [2]>", "block() { tensor<fp32, [3]> b = exp(x = x); } -> (b)")[0],
        "exp: `b` is declared tensor<fp32, [3]>, it is tensor<fp32, [2]>"
    );
    assert_eq!(
        problems("tensor<fp32, [2]> y = relu(x = x) block() { } -> (x);"),
        ["relu: it takes no nested blocks"]
    );
}

#[test]
fn loops_keep_the_types_of_their_variables() {
    let of = |condition: &str, body: &str| {
        problems(&format!(
            "int32 k, tensor<fp32, [2]> y = while_loop(loop_vars = (n, x)) \
             block(int32 i, tensor<fp32, [2]> a) {{ {condition} }} -> (go) \
             block(int32 i, tensor<fp32, [2]> a) {{ {body} }} -> (i, c);"
        ))
    };
    let (go, next) = ("bool go = less(x = i, y = n);", "tensor<fp32, [2]> c = add(x = a, y = x);");
    assert!(of(go, next).is_empty());
    assert_eq!(
        of("int32 go = add(x = i, y = n);", next),
        ["while_loop: the condition must give one bool"]
    );
    assert_eq!(
        of(go, "tensor<fp32, [1, 2]> c = expand_dims(x = a, axes = tensor<int32, [1]>([0]));"),
        ["while_loop: the body takes tensor<fp32, [2]> and gives tensor<fp32, [1, 2]>"]
    );
    let few = "int32 y = while_loop(loop_vars = (n)) block() { } -> (p) block(int32 i) { } -> (i);";
    assert_eq!(problems(few), ["while_loop: the condition has 0 inputs for 1 variables"]);
    let other =
        "int32 y = while_loop(loop_vars = (n)) block(fp32 i) { } -> (p) block(int32 i) { } -> (i);";
    assert_eq!(problems(other), ["while_loop: the condition takes fp32, the variable is int32"]);
    let more = "int32 y = while_loop(loop_vars = (n)) block(int32 i) { } -> (p) block(int32 i) { } -> (i, i);";
    assert_eq!(problems(more), ["while_loop: the body gives 2 values for 1 variables"]);
}

#[test]
fn blocks_are_scopes() {
    let text = |inside: &str, after: &str| {
        format!(
            "program(1.3)\n{{ func main<ios18>(bool p, tensor<fp32, [2]> x) {{ \
             tensor<fp32, [2]> y = cond(pred = p) block() {{ {inside} }} -> (b) {NO} {after} }} -> (y); }}"
        )
    };
    let good = "tensor<fp32, [2]> b = exp(x = x);";
    let said = |text: &str| match parse(text) {
        Err(problems) => problems.0.into_iter().map(|d| d.message).collect::<Vec<_>>(),
        Ok(_) => vec![],
    };
    assert!(said(&text(good, "")).is_empty());
    let outside = said(&text(good, "tensor<fp32, [2]> z = exp(x = b);"));
    assert_eq!(outside, ["`b` is used before its definition or outside the block it is in"]);
    let hiding =
        said(&text("tensor<fp32, [2]> x = exp(x = x); tensor<fp32, [2]> b = exp(x = x);", ""));
    assert_eq!(hiding, ["value `x` is defined twice"]);
    // Programs that are no text are checked as well.
    let mut program = parse(&text(good, "tensor<fp32, [2]> z = exp(x = x);")).unwrap();
    let function = &mut program.functions[0];
    let within = function.body.operations[0].blocks[0].outputs[0];
    function.body.operations[1].inputs.insert("x".into(), within.into());
    let found = verify(&program).unwrap_err().0;
    assert_eq!(found[0].message, "exp: `b` is not defined before");
}
