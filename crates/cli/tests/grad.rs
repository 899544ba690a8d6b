//! `anemone grad` from the outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = "program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w) {
        tensor<fp32, [2, 4]> h = linear(x = x, weight = w);
        tensor<fp32, [2, 4]> y = tanh(x = h);
    } -> (y);
}
";

/// A file of this test's own, with the program in it.
fn file(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("grad_{test}.mil"));
    std::fs::write(&path, PROGRAM).unwrap();
    path
}

fn grad(path: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    command.arg("grad").arg(path).args(arguments).output().unwrap()
}

fn signature(program: &mil::Program, function: &str) -> (Vec<String>, Vec<String>) {
    let f = program.function(function).unwrap();
    let names = |ids: &[mil::ValueId]| ids.iter().map(|&id| f.value(id).name.clone()).collect();
    (names(&f.inputs), names(&f.body.outputs))
}

#[test]
fn it_prints_a_valid_program_with_forward_and_backward() {
    let output = grad(&file("prints"), &["--wrt", "x,w", "--recompute", "nothing"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let program = mil::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    mil::verify(&program).unwrap();
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    assert_eq!(signature(&program, "forward"), (owned(&["x", "w"]), owned(&["y"])));
    let (inputs, outputs) = signature(&program, "backward");
    assert_eq!(inputs, ["d_y", "y", "x", "w"]);
    assert_eq!(outputs, ["d_x", "d_w"]);
}

#[test]
fn it_writes_the_file_it_is_told_to() {
    let path = file("writes");
    let to = path.with_extension("grad.mil");
    let output = grad(&path, &["--wrt", "w", "-o", to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    let program = mil::parse(&std::fs::read_to_string(to).unwrap()).unwrap();
    assert_eq!(signature(&program, "backward").1, ["d_w"]);
}

#[test]
fn open_shapes_are_the_default_ones_and_states_are_inputs_and_outputs() {
    let path = file("open");
    let program = "program(1.3)
{
    func main<ios18>(tensor<fp32, [?, 2]> x, state<tensor<fp32, [1]>> s) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>>(((\"DefaultShapes\", {{\"x\", [3, 2]}})))] {
        tensor<fp32, [?, 2]> y = square(x = x);
        tensor<fp32, [1]> old = read_state(input = s);
        tensor<fp32, [1]> new = square(x = old);
        write_state(input = s, data = new);
    } -> (y);
}
";
    std::fs::write(&path, program).unwrap();
    let output = grad(&path, &["--wrt", "x,state/s"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let program = mil::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    mil::verify(&program).unwrap();
    let forward = program.function("forward").unwrap();
    let x = forward.ty(forward.input("x").unwrap());
    assert_eq!(x.to_string(), "tensor<fp32, [3, 2]>");
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    assert_eq!(signature(&program, "forward"), (owned(&["x", "s"]), owned(&["y", "s_after"])));
    assert_eq!(signature(&program, "backward").1, ["d_x", "d_s"]);
}

#[test]
fn mistakes_are_named() {
    let path = file("mistakes");
    for (arguments, code, message) in [
        (&["--wrt", "q"][..], 1, "function `main` has no input `q`; its inputs are x, w"),
        (&["--wrt", "x", "--function", "f"], 1, "no function `f`; the program has main"),
        (&[], 2, "--wrt"),
        (
            &["--wrt", "x", "--recompute", "some"],
            2,
            "[possible values: nothing, cheap, everything]",
        ),
    ] {
        let output = grad(&path, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(message), "{errors}");
    }
}
