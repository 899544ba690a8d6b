//! Inputs that are updated where they are, and those that must not be.

use anemone_cpu::CpuDevice;
use mil::Tensor;
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable};
use std::sync::Arc;
use surface::Surface;

/// A function that makes `y`, and with it `z`, of x `[4, 2]` in fp32, u `[1, 2]` and at `[2]`.
fn compile(body: &str, outputs: &str) -> Arc<dyn Executable> {
    let text = format!(
        "program(1.3)\n{{\n    func f<ios18>(tensor<fp32, [4, 2]> x, tensor<fp32, [1, 2]> u, \
         tensor<int32, [2]> at, tensor<int32, [2]> to) {{\n{body}\n    }} -> ({outputs});\n}}\n"
    );
    let program = mil::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let in_place = vec![("x".to_owned(), "y".to_owned())];
    let options = CompileOptions { in_place, ..CompileOptions::default() };
    device.compile(&program, "f", &options).unwrap_or_else(|error| panic!("{error}"))
}

const UPDATE: &str =
    "tensor<fp32, [4, 2]> y = slice_update(x = x, update = u, begin = at, end = to);";

/// The surfaces of every port; x and y are one.
fn bindings(executable: &dyn Executable, at: [i64; 2], to: [i64; 2]) -> Bindings {
    let x: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let x = Surface::from_slice(&x).expect("memory");
    let mut bindings = Bindings::new().input("x", &x).output("y", &x);
    bindings = bindings.input("u", &Surface::from_slice(&[10f32, 11.]).expect("memory"));
    for (name, values) in [("at", at), ("to", to)] {
        let values = Tensor::int32s(&values);
        bindings = bindings.input(name, &Surface::from_slice(values.bytes()).expect("memory"));
    }
    for port in executable.outputs().iter().filter(|port| port.name != "y") {
        bindings = bindings.output(&port.name, &Surface::new(port.bytes).expect("memory"));
    }
    bindings
}

fn values(surface: &Surface) -> Vec<f32> {
    surface.read().expect("nobody writes it").as_slice::<f32>().to_vec()
}

#[test]
fn an_input_is_updated_where_it_is_after_everything_has_read_it() {
    let executable = compile(
        &format!(
            "tensor<fp32, [1, 2]> z = reduce_sum(x = x, axes = tensor<int32, [1]>([0]), \
                 keep_dims = bool(true));
             {UPDATE}
             tensor<fp32, [4, 2]> w = sub(x = y, y = z);"
        ),
        "y, z, w",
    );
    assert_eq!(executable.in_place(), [(0, 0)]);
    let bindings = bindings(&*executable, [2, 0], [3, 2]);
    let x = bindings.inputs["x"].clone();
    let mut request = executable.bind(bindings.clone()).expect("x and y are one");
    request.evaluate(Accumulation::Replace).expect("the part fits");
    assert_eq!(values(&x), [0., 1., 2., 3., 10., 11., 6., 7.]);
    assert_eq!(values(&bindings.outputs["z"]), [12., 16.]);
    let differences = [-12., -15., -10., -13., -2., -5., -6., -9.];
    assert_eq!(values(&bindings.outputs["w"]), differences);
}

#[test]
fn two_surfaces_are_refused_where_one_is_wanted_and_the_other_way_round() {
    let executable = compile(UPDATE, "y");
    let mut apart = bindings(&*executable, [0, 0], [1, 2]);
    apart = apart.output("y", &Surface::new(32).expect("memory"));
    let error = executable.clone().bind(apart).err().expect("they are two").to_string();
    assert!(error.contains("output `y` takes the place of input `x`"), "{error}");

    let executable = compile("tensor<fp32, [4, 2]> y = square(x = x);", "y");
    assert_eq!(executable.in_place(), []);
    let one = bindings(&*executable, [0, 0], [1, 2]);
    let error = executable.clone().bind(one).err().expect("they are one").to_string();
    assert!(error.contains("shares its surface"), "{error}");
}

#[test]
fn an_evaluation_that_fails_leaves_what_it_would_have_updated() {
    let executable = compile(UPDATE, "y");
    assert_eq!(executable.in_place(), [(0, 0)]);
    let bindings = bindings(&*executable, [4, 0], [5, 2]);
    let x = bindings.inputs["x"].clone();
    let mut request = executable.bind(bindings).expect("x and y are one");
    let error = request.evaluate(Accumulation::Replace).expect_err("there is no fifth row");
    assert!(error.to_string().contains("`y`"), "{error}");
    assert_eq!(values(&x), [0., 1., 2., 3., 4., 5., 6., 7.]);
}

#[test]
fn what_is_needed_later_or_may_fail_later_is_copied() {
    // Read after the update, though it stands before it: by what waits for the update.
    let later = format!("{UPDATE} tensor<fp32, [4, 2]> z = sub(x = y, y = x);");
    // The update is a part of what it goes to.
    let part =
        "tensor<fp32, [1, 2]> row = slice_by_size(x = x, begin = tensor<int32, [2]>([1, 0]), \
                size = tensor<int32, [2]>([1, 2]));
                tensor<fp32, [4, 2]> y = slice_update(x = x, update = row, begin = at, end = to);";
    // The interpreter may refuse.
    let refused = format!("{UPDATE} tensor<fp32, [4, 2]> z = tan(x = y);");
    // Other bounds may not fit.
    let bounds = format!(
        "{UPDATE} tensor<fp32, [4, 2]> z = slice_update(x = y, update = u, begin = to, end = at);"
    );
    for (body, outputs) in
        [(later.as_str(), "y, z"), (part, "y"), (&refused, "y, z"), (&bounds, "y, z")]
    {
        assert_eq!(compile(body, outputs).in_place(), [], "{body}");
    }
}
