//! Nested blocks, shapes that are computed, and what the device says of those that cannot be.

mod common;

use common::{Random, devices, disagreement, inputs, on_cpu};
use mil::{Program, Weights};
use runtime::{CompileOptions, Device};
use std::collections::BTreeMap;

fn program(inputs: &str, body: &str, outputs: &str) -> Program {
    let text =
        format!("program(1.3)\n{{ func main<ios18>({inputs}) {{ {body} }} -> ({outputs}); }}");
    let program = mil::parse(&text).unwrap_or_else(|e| panic!("{}", e.render(&text)));
    mil::verify(&program).unwrap_or_else(|e| panic!("{}", e.render(&text)));
    program
}

#[track_caller]
fn agrees(parameters: &str, body: &str, outputs: &str) {
    let program = program(parameters, body, outputs);
    for device in &devices() {
        for seed in 0..4 {
            let inputs = inputs(&program.functions[0], &mut Random(seed));
            let wrong = disagreement(device, &program, "main", &inputs, &Weights::default());
            assert_eq!(wrong, None, "{body}");
        }
    }
}

fn refusal(parameters: &str, body: &str, outputs: &str) -> String {
    let program = program(parameters, body, outputs);
    let found = devices()[0].compile(&program, "main", &CompileOptions::default());
    found.err().map_or_else(|| panic!("it compiles: {body}"), |error| error.to_string())
}

#[test]
fn blocks_are_evaluated_whole() {
    // What the blocks read: an input, a computed value, a constant.
    let body = "tensor<fp32, [2, 3]> a = exp(x = x); fp32 two = const()[val = fp32(2)]; \
        tensor<fp32, [2, 3]> y, fp32 z = cond(pred = p) \
        block() { tensor<fp32, [2, 3]> b = mul(x = a, y = two); fp32 s = reduce_sum(x = x); } -> (b, s) \
        block() { tensor<fp32, [2, 3]> b = sub(x = x, y = a); } -> (b, two); \
        tensor<fp32, [2, 3]> w = tanh(x = y);";
    agrees("tensor<fp32, [2, 3]> x, bool p", body, "w, z");
    let body = "int32 k, tensor<fp32, [4]> y = while_loop(loop_vars = (n, x)) \
        block(int32 i, tensor<fp32, [4]> a) { bool go = less(x = i, y = int32(3)); } -> (go) \
        block(int32 i, tensor<fp32, [4]> a) { int32 j = add(x = i, y = int32(1)); \
            tensor<fp32, [4]> b = mul(x = a, y = c); } -> (j, b); \
        tensor<fp32, [4]> c2 = add(x = y, y = c);";
    let body = format!("tensor<fp32, [4]> c = cos(x = x); {body}");
    agrees("tensor<fp32, [4]> x, int32 n", &body, "k, c2");
    // A condition that is known when the program is compiled.
    let body = "tensor<fp32, [2]> y = cond(pred = bool(false)) \
        block() { tensor<fp32, [2]> b = const()[val = tensor<fp32, [2]>([1, 2])]; } -> (b) \
        block() { tensor<fp32, [2]> b = const()[val = tensor<fp32, [2]>([3, 4])]; } -> (b); \
        tensor<fp32, [2]> z = add(x = x, y = y);";
    agrees("tensor<fp32, [2]> x", body, "z");
}

#[test]
fn lists_within_a_block_are_no_matter() {
    let body = "tensor<fp32, [2, 2]> y = cond(pred = p) \
        block() { list<tensor<fp32, [2]>, 2> l = make_list(init_length = int32(2), \
                dynamic_length = bool(false), elem_shape = (int32(2))); \
            list<tensor<fp32, [2]>, 2> m = list_write(ls = l, index = int32(1), value = x); \
            tensor<fp32, [2, 2]> g = list_gather(ls = m, indices = tensor<int32, [2]>([1, 0])); } -> (g) \
        block() { tensor<fp32, [2, 2]> s = stack(values = (x, x), axis = int32(0)); } -> (s);";
    agrees("tensor<fp32, [2]> x, bool p", body, "y");
}

#[test]
fn ops_of_every_kind() {
    for (parameters, body, outputs) in [
        (
            "tensor<fp32, [3, 4]> x, tensor<int32, [2, 2]> i",
            "tensor<fp32, [2]> y = gather_nd(x = x, indices = i); \
             tensor<fp32, [3, 4]> z = scatter_nd(data = x, indices = i, updates = y);",
            "y, z",
        ),
        (
            "tensor<fp32, [3, 4]> x",
            "tensor<fp32, [3, 2]> v, tensor<int32, [3, 2]> i = topk(x = x, k = int32(2)); \
             tensor<int32, [3, 4]> o = argsort(x = x, axis = int32(0)); \
             tensor<fp32, [3, 4]> b = band_part(x = x, lower = int32(0)); \
             tensor<fp32, [3, 2, 4]> s = stack(values = (x, b), axis = int32(1)); \
             tensor<fp32, [3, 8]> f = flatten2d(x = s);",
            "v, i, o, s, f",
        ),
        (
            "tensor<int32, [3]> i, tensor<fp32, [3, 2]> x",
            "tensor<int32, [3, 4]> h = one_hot(indices = i, one_hot_vector_size = int32(4)); \
             tensor<fp32, [3, 2]> r = reverse_sequence(x = x, lengths = tensor<int32, [2]>([2, 3]), batch_axis = int32(1)); \
             tensor<fp32, [2, 3]> l = reshape_like(x = x, ref_tensors = (x, i), begins = (int32(1), int32(0)), \
                ends = (int32(2), int32(1)), end_masks = (bool(false), bool(false)));",
            "h, r, l",
        ),
        (
            "tensor<fp32, [2, 3, 4]> x, tensor<fp32, [4, 3, 2]> y",
            "tensor<fp32, [2, 3, 2]> z = einsum(values = (x, y), equation = string(\"chw,whu->chu\"));",
            "z",
        ),
        (
            "tensor<fp32, [3, 2, 4]> x, tensor<fp32, [2, 2]> h, tensor<fp32, [8, 4]> w, tensor<fp32, [8, 2]> u",
            "tensor<fp32, [3, 2, 2]> y, tensor<fp32, [2, 2]> a, tensor<fp32, [2, 2]> c = lstm(x = x, \
                initial_h = h, initial_c = h, weight_ih = w, weight_hh = u, output_sequence = bool(true));",
            "y, c",
        ),
        (
            "tensor<fp32, [2, 3]> x",
            "tensor<fp32, [4]> r = random_normal(shape = tensor<int32, [1]>([4]), seed = int32(5)); \
             tensor<fp32, [2, 1]> c = random_categorical(x = x, seed = int32(2)); \
             tensor<fp32, [2, 3]> f = fill_like(ref_tensor = x, value = fp32(3)); \
             tensor<fp32, [2, 3]> y = mul(x = x, y = f);",
            "r, c, y",
        ),
    ] {
        agrees(parameters, body, outputs);
    }
}

#[test]
fn shapes_are_computed_when_the_program_is_compiled() {
    let body = "tensor<int32, [3]> s = shape(x = x); \
        tensor<int32, [2]> most = gather(x = s, indices = tensor<int32, [2]>([0, 2])); \
        tensor<int32, [3]> to = concat(values = (most, tensor<int32, [1]>([-1])), axis = int32(0)); \
        tensor<fp32, [?, ?, ?]> y = reshape(x = x, shape = to); \
        tensor<fp32, [?, ?]> zeros = fill(shape = most); tensor<int32, [?]> r = range_1d(start = int32(0), \
            end = n, step = int32(1)); int32 n2 = gather(x = s, indices = int32(1));";
    let body = body
        .replace("end = n,", "end = n2,")
        .replace(" int32 n2 = gather(x = s, indices = int32(1));", "");
    let body = body.replace(
        "tensor<int32, [?]> r",
        "int32 n2 = gather(x = s, indices = int32(1)); tensor<int32, [?]> r",
    );
    agrees("tensor<fp32, [2, 3, 4]> x", &body, "y, zeros, r");
    let program = program("tensor<fp32, [2, 3, 4]> x", &body, "y");
    let compiled = devices()[0].compile(&program, "main", &CompileOptions::default()).unwrap();
    assert_eq!(compiled.outputs()[0].dims, [2, 4, 3]);
    let interpreted = |place: &str| place.contains("interpreter");
    assert!(!compiled.placement().iter().any(|p| interpreted(&p.place)));
}

#[test]
fn what_depends_on_data_is_named() {
    let found = refusal(
        "tensor<fp32, [2, 3]> x",
        "tensor<int32, [?, 2]> at = non_zero(x = x); tensor<fp32, [?]> y = gather_nd(x = x, indices = at);",
        "y",
    );
    let expected = "cpu cannot run `main`: non_zero: the shape of `at`, tensor<int32, [?, 2]>, depends on data";
    assert_eq!(found, expected);
    let found = refusal("tensor<int32, [2]> n", "tensor<fp32, [?, ?]> y = fill(shape = n);", "y");
    assert!(
        found.ends_with("fill: the shape of `y`, tensor<fp32, [?, ?]>, depends on data"),
        "{found}"
    );
    let found = refusal(
        "int32 n, tensor<int32, [1]> x",
        "int32 k, tensor<int32, [?]> y = while_loop(loop_vars = (int32(0), x)) \
            block(int32 i, tensor<int32, [?]> a) { bool go = less(x = i, y = n); } -> (go) \
            block(int32 i, tensor<int32, [?]> a) { int32 j = add(x = i, y = int32(1)); \
                tensor<int32, [?]> b = concat(values = (a, x), axis = int32(0)); } -> (j, b);",
        "y",
    );
    assert!(
        found.contains("while_loop: the shape of `y`, tensor<int32, [?]>, depends on data"),
        "{found}"
    );
    let found = refusal(
        "tensor<fp32, [2]> x, int32 n",
        "list<tensor<fp32, [2]>, ?> l = make_list(init_length = n, elem_shape = (int32(2))); \
         tensor<fp32, [2]> y = list_read(ls = l, index = n);",
        "y",
    );
    assert!(found.contains("make_list: values of type list<tensor<fp32, [2]>, ?>"), "{found}");
    // Of a constant it depends on nothing.
    let body = "tensor<int32, [?, 1]> at = non_zero(x = tensor<fp32, [3]>([0, 5, 6])); \
        tensor<fp32, [?]> y = gather_nd(x = x, indices = at);";
    agrees("tensor<fp32, [3]> x", body, "y");
    // What nobody reads may have any shape.
    let body = "tensor<int32, [?, 2]> at = non_zero(x = x); tensor<fp32, [2, 3]> y = relu(x = x);";
    agrees("tensor<fp32, [2, 3]> x", body, "y");
}

/// A block may declare a shape that what it computes does not have.
#[test]
fn a_result_of_another_shape_than_declared_is_an_error() {
    let body = "tensor<int32, [2, 1]> y = cond(pred = p) \
        block() { tensor<int32, [2, 1]> a = non_zero(x = x); } -> (a) \
        block() { tensor<int32, [2, 1]> a = const()[val = tensor<int32, [2, 1]>([[0], [0]])]; } -> (a);";
    let program = program("tensor<fp32, [3]> x, bool p", body, "y");
    let run = |p: i64| {
        let x = interp::Array::floats(mil::DataType::Fp32, &[3], vec![1.0; 3]);
        let p = interp::Array::ints(mil::DataType::Bool, &[], vec![p]);
        let inputs = BTreeMap::from([("x".to_owned(), x), ("p".to_owned(), p)]);
        on_cpu(&devices()[0], &program, "main", &inputs, &CompileOptions::default())
    };
    assert!(run(0).is_ok());
    let error = run(1).unwrap_err().to_string();
    let expected =
        "cond: expected a result of type tensor<int32, [2, 1]>, found tensor<int32, [3, 1]>";
    assert!(error.contains(expected), "{error}");
}
