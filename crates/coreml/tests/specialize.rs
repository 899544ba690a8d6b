//! Programs for given shapes.

mod common;

use anemone_coreml::{Model, Shapes, specialize};
use common::fixture;
use std::path::Path;

fn shapes(list: &[(&str, &[usize])]) -> Shapes {
    list.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect()
}

/// The types of a function's values, by their names.
fn types(program: &mil::Program) -> Vec<(String, String)> {
    let function = &program.functions[0];
    function.values.iter().map(|value| (value.name.clone(), value.ty.to_string())).collect()
}

fn ty(program: &mil::Program, name: &str) -> String {
    let found = types(program).into_iter().find(|(value, _)| value == name);
    found.unwrap_or_else(|| panic!("no `{name}`")).1
}

fn text(text: &str) -> Model {
    Model::from_text(text.to_owned(), Path::new("x.mil")).unwrap_or_else(|e| panic!("{e}"))
}

fn special(model: &Model, list: &[(&str, &[usize])]) -> Result<mil::Program, String> {
    let interface = &model.interface.functions[0];
    let program =
        specialize(&model.program, interface, &shapes(list)).map_err(|e| e.to_string())?;
    mil::verify(&program).unwrap_or_else(|e| panic!("{e}"));
    Ok(program)
}

#[test]
fn every_type_follows_from_the_inputs() {
    let model = Model::read(&fixture("flexible.mlpackage")).unwrap();
    assert_eq!(ty(&model.program, "y"), "tensor<fp32, [?, ?]>");
    let program = special(&model, &[("x", &[3, 7])]).unwrap();
    for (name, ty) in types(&program) {
        assert!(!ty.contains('?'), "{name}: {ty}");
    }
    assert_eq!(ty(&program, "x"), "tensor<fp32, [3, 7]>");
    assert_eq!(ty(&program, "y"), "tensor<fp32, [3, 7]>");
    // Without being asked for another shape, an input has its default one.
    let program = special(&model, &[]).unwrap();
    assert_eq!(ty(&program, "y"), "tensor<fp32, [2, 3]>");
}

#[test]
fn shapes_that_are_not_allowed_are_named() {
    let model = Model::read(&fixture("flexible.mlpackage")).unwrap();
    assert_eq!(
        special(&model, &[("x", &[11, 7])]).unwrap_err(),
        "function `main`: `x` is array of fp32 [1..10, 1..50], shape [11, 7] is none of it"
    );
    assert_eq!(
        special(&model, &[("x", &[3])]).unwrap_err(),
        "function `main`: input `x` is tensor<fp32, [?, ?]>, shape [3] does not fit"
    );
    assert_eq!(
        special(&model, &[("scale", &[2])]).unwrap_err(),
        "function `main`: input `scale` is tensor<fp32, [1]>, shape [2] does not fit"
    );
    assert_eq!(
        special(&model, &[("z", &[2])]).unwrap_err(),
        "function `main`: there is no input `z`"
    );
    let model = Model::read(&fixture("enumerated.mlpackage")).unwrap();
    assert_eq!(ty(&special(&model, &[("x", &[2, 5])]).unwrap(), "y"), "tensor<fp32, [2, 5]>");
    assert_eq!(
        special(&model, &[("x", &[2, 3])]).unwrap_err(),
        "function `main`: `x` is array of fp32 [4, 3] or [1, 3] or [2, 5], shape [2, 3] is none of it"
    );
}

#[test]
fn operations_that_cannot_have_the_shapes_say_so() {
    let model = text(
        "program(1.0)\n{ func main<ios15>(tensor<fp32, [?]> a, tensor<fp32, [?]> b) {\n\
         tensor<fp32, [?]> y = add(x = a, y = b); } -> (y); }",
    );
    let program = special(&model, &[("a", &[1]), ("b", &[5])]).unwrap();
    assert_eq!(ty(&program, "y"), "tensor<fp32, [5]>");
    assert_eq!(
        special(&model, &[("a", &[2]), ("b", &[5])]).unwrap_err(),
        "function `main`: add: shapes tensor<fp32, [2]> and tensor<fp32, [5]> do not broadcast"
    );
}

#[test]
fn what_is_declared_holds_where_inference_cannot_tell() {
    // How long the slice is depends on a value; that it has two rows is declared.
    let model = text(
        "program(1.0)\n{ func main<ios15>(tensor<fp32, [?, 4]> x, tensor<int32, [2]> size) {\n\
         tensor<fp32, [2, ?]> y = slice_by_size(x = x, begin = tensor<int32, [2]>([0, 0]), \
         size = size);\n tensor<fp32, [?, 4]> z = relu(x = x); } -> (y, z); }",
    );
    let program = special(&model, &[("x", &[6, 4])]).unwrap();
    assert_eq!(ty(&program, "y"), "tensor<fp32, [2, ?]>");
    assert_eq!(ty(&program, "z"), "tensor<fp32, [6, 4]>");
}

#[test]
fn other_functions_stay_as_they_are() {
    let model = text(
        "program(1.3)\n{ func a<ios18>(tensor<fp32, [?]> x) { tensor<fp32, [?]> y = relu(x = x); } \
         -> (y);\n func b<ios18>(tensor<fp32, [?]> x) { tensor<fp32, [?]> y = relu(x = x); } -> (y); }",
    );
    let program =
        specialize(&model.program, &model.interface.functions[1], &shapes(&[("x", &[3])]));
    let program = program.unwrap();
    assert_eq!(program.functions[0], model.program.functions[0]);
    assert_eq!(program.functions[1].values[1].ty.to_string(), "tensor<fp32, [3]>");
}

/// Every pass through a loop whose variable grows is followed by one with its size left open, and
/// each begins the loop in it again: passes multiply with every level.
#[test]
fn loops_that_nest_do_not_take_time_without_end() {
    let nested = |levels: usize| {
        let level = |inner: String, n: usize| {
            format!(
                "tensor<fp32, [?]> r{n} = while_loop(loop_vars = (x))
                block(tensor<fp32, [?]> c{n}) {{ bool go{n} = const()[val = bool(true)]; }} -> (go{n})
                block(tensor<fp32, [?]> v{n}) {{
                    {inner}
                    tensor<fp32, [?]> w{n} = concat(values = (v{n}, v{n}), axis = int32(0));
                }} -> (w{n});"
            )
        };
        let loops = (0..levels).fold(String::new(), level);
        let body = format!("{loops} tensor<fp32, [?]> y = exp(x = x);");
        text(&format!(
            "program(1.3)\n{{ func main<ios18>(tensor<fp32, [?]> x) {{ {body} }} -> (y); }}"
        ))
    };
    let program = special(&nested(4), &[("x", &[3])]).unwrap();
    assert_eq!(ty(&program, "r3"), "tensor<fp32, [?]>");
    assert_eq!(ty(&program, "y"), "tensor<fp32, [3]>");
    let error = special(&nested(40), &[("x", &[3])]).unwrap_err();
    assert!(error.contains("loops nest so that"), "{error}");
}
