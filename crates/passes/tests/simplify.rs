//! Programs before and after `simplify`.

use anemone_passes::simplify;
use mil::Program;

fn program(inputs: &str, body: &[&str], output: &str) -> Program {
    let body: String = body.iter().map(|line| format!("        {line};\n")).collect();
    let text = format!(
        "program(1.3)\n{{\n    func main<ios18>({inputs}) {{\n{body}    }} -> ({output});\n}}\n"
    );
    let program = mil::parse(&text).unwrap();
    mil::verify(&program).unwrap();
    program
}

fn check(inputs: &str, before: &[&str], after: &[&str], output: &str) {
    let mut found = program(inputs, before, output);
    simplify::run(&mut found.functions[0]);
    mil::verify(&found).unwrap();
    let strip = |text: String| {
        let line = |line: &str| line.split("[name").next().unwrap_or(line).to_owned();
        text.lines().map(line).collect::<Vec<_>>()
    };
    let expected = program(inputs, after, output);
    assert_eq!(strip(mil::print(&found)), strip(mil::print(&expected)));
}

const X: &str = "tensor<fp32, [2, 3]> x";

#[test]
fn what_nobody_reads_goes() {
    check(
        X,
        &[
            "tensor<fp32, [2, 3]> a = exp(x = x)",
            "tensor<fp32, [2, 3]> b = sin(x = a)",
            "tensor<fp32, [2, 3]> y = cos(x = x)",
        ],
        &["tensor<fp32, [2, 3]> y = cos(x = x)"],
        "y",
    );
}

#[test]
fn equal_operations_become_one() {
    check(
        X,
        &[
            "tensor<fp32, [2, 3]> a = exp(x = x)",
            "tensor<fp32, [2, 3]> b = exp(x = x)",
            "tensor<fp32, [2, 3]> y = add(x = a, y = b)",
        ],
        &["tensor<fp32, [2, 3]> a = exp(x = x)", "tensor<fp32, [2, 3]> y = add(x = a, y = a)"],
        "y",
    );
}

#[test]
fn what_changes_nothing_goes() {
    check(
        X,
        &[
            "tensor<fp32, [2, 3]> a = identity(x = x)",
            "tensor<fp32, [2, 3]> b = add(x = a, y = fp32(0x0p+0))",
            "tensor<fp32, [2, 3]> c = mul(x = fp32(0x1p+0), y = b)",
            "tensor<fp32, [2, 3]> d = cast(x = c, dtype = string(\"fp32\"))",
            "tensor<fp32, [2, 3]> y = exp(x = d)",
        ],
        &["tensor<fp32, [2, 3]> y = exp(x = x)"],
        "y",
    );
}

#[test]
fn one_that_broadcasts_stays() {
    let body = [
        "tensor<fp32, [1, 2, 3]> a = mul(x = x, y = tensor<fp32, [1, 1, 1]>([[[0x1p+0]]]))",
        "tensor<fp32, [1, 2, 3]> y = exp(x = a)",
    ];
    check(X, &body, &body, "y");
}

#[test]
fn views_of_views_become_one() {
    check(
        X,
        &[
            "tensor<fp32, [6]> a = reshape(x = x, shape = tensor<int32, [1]>([6]))",
            "tensor<fp32, [3, 2]> b = reshape(x = a, shape = tensor<int32, [2]>([3, 2]))",
            "tensor<fp32, [2, 3]> c = transpose(x = b, perm = tensor<int32, [2]>([1, 0]))",
            "tensor<fp32, [3, 2]> d = transpose(x = c, perm = tensor<int32, [2]>([1, 0]))",
            "tensor<fp32, [3, 2]> y = exp(x = d)",
        ],
        &[
            "tensor<fp32, [3, 2]> b = reshape(shape = tensor<int32, [2]>([3, 2]), x = x)",
            "tensor<fp32, [3, 2]> y = exp(x = b)",
        ],
        "y",
    );
}

#[test]
fn adding_a_scatter_is_scattering_into_the_sum() {
    check(
        "tensor<fp32, [4]> x, tensor<int32, [2]> i, tensor<fp32, [2]> u",
        &[
            "tensor<fp32, [4]> zeros = tile(x = tensor<fp32, [1]>([0x0p+0]), reps = tensor<int32, [1]>([4]))",
            "tensor<fp32, [4]> s = scatter(data = zeros, indices = i, updates = u, axis = int32(0), mode = string(\"add\"))",
            "tensor<fp32, [4]> y = add(x = x, y = s)",
        ],
        &[
            "tensor<fp32, [4]> y = scatter(axis = int32(0), data = x, indices = i, mode = string(\"add\"), updates = u)",
        ],
        "y",
    );
}

#[test]
fn a_scatter_that_something_else_reads_stays() {
    let body = [
        "tensor<fp32, [4]> zeros = tile(reps = tensor<int32, [1]>([4]), x = tensor<fp32, [1]>([0x0p+0]))",
        "tensor<fp32, [4]> s = scatter(data = zeros, indices = i, mode = string(\"add\"), updates = u)",
        "tensor<fp32, [4]> t = add(x = x, y = s)",
        "tensor<fp32, [4]> y = mul(x = t, y = s)",
    ];
    let inputs = "tensor<fp32, [4]> x, tensor<int32, [2]> i, tensor<fp32, [2]> u";
    check(inputs, &body, &body, "y");
}

#[test]
fn an_output_keeps_its_name() {
    let body = ["tensor<fp32, [2, 3]> y = identity(x = x)"];
    check(X, &body, &body, "y");
}

#[test]
fn writing_a_state_is_never_needless() {
    let body = [
        "tensor<fp32, [2, 3]> v = read_state(input = s)",
        "write_state(data = x, input = s)",
        "tensor<fp32, [2, 3]> w = read_state(input = s)",
        "tensor<fp32, [2, 3]> y = add(x = v, y = w)",
    ];
    check("state<tensor<fp32, [2, 3]>> s, tensor<fp32, [2, 3]> x", &body, &body, "y");
}
