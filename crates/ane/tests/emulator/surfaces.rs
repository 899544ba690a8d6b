//! Which surfaces a request may have, and what they mean.

use crate::common::{ENOUGH, emulator, m4, read, text, write};
use anemone_ane::{Emulator, Engine, EngineError, Numerics, Source, Stage};
use mil::DataType::{Bool, Fp16, Fp32};
use surface::Surface;

const DIMS: [usize; 4] = [1, 64, 1, 128];
const COUNT: usize = 64 * 128;

/// b − a and b + a; neither ports nor results are declared in alphabetical order.
fn two_of_each() -> Source {
    text(
        "tensor<fp16, [1, 64, 1, 128]> b, tensor<fp16, [1, 64, 1, 128]> a",
        "        tensor<fp16, [1, 64, 1, 128]> z = sub(x = b, y = a)[name = string(\"z\")];\n\
         \x20       tensor<fp16, [1, 64, 1, 128]> s = add(x = b, y = a)[name = string(\"s\")];",
        "z, s",
    )
}

fn unary(dtype: &str, dims: [usize; 4]) -> Source {
    text(
        &format!("tensor<{dtype}, {dims:?}> x"),
        &format!("        tensor<{dtype}, {dims:?}> y = relu(x = x)[name = string(\"y\")];"),
        "y",
    )
}

fn evaluate(
    engine: &Emulator,
    source: &Source,
    inputs: &[usize],
    outputs: &[usize],
) -> Result<(), EngineError> {
    let model = engine.compile(source).expect("the program is accepted");
    let surfaces = |sizes: &[usize]| -> Vec<_> {
        sizes.iter().map(|&bytes| engine.surface(bytes).expect("memory")).collect()
    };
    let request = model.bind(&surfaces(inputs), &surfaces(outputs));
    request.expect("sizes matter only to an evaluation").evaluate()
}

fn refused(result: Result<(), EngineError>, why: &str) {
    let error = result.expect_err(why);
    assert_eq!((error.stage, error.code), (Stage::Evaluate, Some(0x1d)), "{error}");
    assert!(error.message.contains(why), "{error}");
    assert!(!error.needs_new_process);
}

#[test]
fn ports_are_bound_in_alphabetical_order() {
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let engine = emulator(m4(), numerics);
        let model = engine.compile(&two_of_each()).expect("the program is accepted");
        let names =
            |ports: &[runtime::Port]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(model.inputs()), ["a", "b"]);
        assert_eq!(names(model.outputs()), ["s", "z"]);
        let surface = |value: f64| {
            let surface = engine.surface(ENOUGH).expect("memory");
            write(&surface, Fp16, &DIMS, &[value; COUNT]);
            surface
        };
        let (one, five) = (surface(1.0), surface(5.0));
        let (first, second) = (surface(0.0), surface(0.0));
        let outputs = [first.clone(), second.clone()];
        let evaluate = |inputs: [Surface; 2]| {
            let request = model.clone().bind(&inputs, &outputs);
            request.expect("surfaces fit").evaluate().expect("surfaces fit");
            [read(&first, Fp16, &DIMS)[0], read(&second, Fp16, &DIMS)[0]]
        };
        assert_eq!(evaluate([one.clone(), five.clone()]), [6.0, 4.0]);
        // Nobody notices the wrong order.
        assert_eq!(evaluate([five, one]), [6.0, -4.0]);
    }
}

#[test]
fn surfaces_of_a_kind_are_allocated_alike() {
    let engine = emulator(m4(), Numerics::Fast);
    let (small, large) = (ENOUGH, 2 * ENOUGH);
    let run = |inputs: [usize; 2], outputs: [usize; 2]| {
        evaluate(&engine, &two_of_each(), &inputs, &outputs)
    };
    run([small; 2], [small; 2]).expect("all are alike");
    run([small; 2], [large; 2]).expect("inputs and outputs need not be alike");
    refused(run([small, large], [small; 2]), "inputs `a` and `b`");
    refused(run([small; 2], [small, large]), "outputs `s` and `z`");
}

#[test]
fn surfaces_hold_their_port_and_the_minimum() {
    let engine = emulator(m4(), Numerics::Fast);
    let bytes = 2 * 256 * 256;
    let big = unary("fp16", [1, 256, 1, 256]);
    evaluate(&engine, &big, &[bytes], &[bytes]).expect("exactly what is needed");
    refused(evaluate(&engine, &big, &[bytes - 2], &[bytes]), "input `x`");
    refused(evaluate(&engine, &big, &[bytes], &[bytes - 2]), "output `y`");
    // 1 KiB of data in a surface of 1 KiB.
    let tiny = unary("fp16", [1, 16, 1, 32]);
    refused(evaluate(&engine, &tiny, &[1024], &[ENOUGH]), "surface-minimum");
    evaluate(&engine, &tiny, &[ENOUGH], &[ENOUGH]).expect("the rest is not touched");
}

#[test]
fn a_request_has_as_many_surfaces_as_the_program_ports() {
    let engine = emulator(m4(), Numerics::Fast);
    let run =
        |inputs: &[usize], outputs: &[usize]| evaluate(&engine, &two_of_each(), inputs, outputs);
    refused(run(&[ENOUGH], &[ENOUGH; 2]), "2 inputs, the request 1");
    refused(run(&[ENOUGH; 2], &[ENOUGH; 3]), "2 outputs, the request 3");
}

#[test]
fn data_is_dense_from_the_first_byte_and_the_rest_is_not_touched() {
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let engine = emulator(m4(), numerics);
        let model = engine.compile(&unary("fp16", DIMS)).expect("the program is accepted");
        let (x, y) = (engine.surface(ENOUGH), engine.surface(ENOUGH));
        let (x, y) = (x.expect("memory"), y.expect("memory"));
        let values: Vec<f64> = (0..COUNT).map(|i| (i % 512) as f64 - 256.0).collect();
        write(&x, Fp16, &DIMS, &values);
        y.write().expect("nobody uses it").fill(0xa5);
        model.bind(&[x], std::slice::from_ref(&y)).expect("they fit").evaluate().expect("they fit");
        let expected: Vec<f64> = values.iter().map(|v| v.max(0.0)).collect();
        assert_eq!(read(&y, Fp16, &DIMS), expected);
        assert!(y.read().expect("nobody writes")[2 * COUNT..].iter().all(|&b| b == 0xa5));
    }
}

#[test]
fn ports_are_fp16_fp32_or_bool() {
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let engine = emulator(m4(), numerics);
        let mixed = text(
            "tensor<fp32, [1, 64, 1, 128]> x, tensor<bool, [1, 64, 1, 128]> keep",
            "        string half = const()[name = string(\"half\"), val = string(\"fp16\")];\n\
             \x20       tensor<fp16, [1, 64, 1, 128]> h = cast(dtype = half, x = x)[name = string(\"h\")];\n\
             \x20       fp16 zero = const()[name = string(\"zero\"), val = fp16(0)];\n\
             \x20       tensor<fp16, [1, 64, 1, 128]> y = select(a = h, b = zero, cond = keep)[name = string(\"y\")];",
            "y",
        );
        let model = engine.compile(&mixed).expect("the types are accepted");
        let [keep, x, y] = [0; 3].map(|_| engine.surface(ENOUGH).expect("memory"));
        write(&x, Fp32, &DIMS, &[0.1; COUNT]);
        let truths: Vec<f64> = (0..COUNT).map(|i| (i % 2) as f64).collect();
        write(&keep, Bool, &DIMS, &truths);
        model
            .bind(&[keep, x], std::slice::from_ref(&y))
            .expect("they fit")
            .evaluate()
            .expect("they fit");
        // 0.1 in fp16.
        assert_eq!(read(&y, Fp16, &DIMS)[..2], [0.0, 0.0999755859375]);

        let error = engine.compile(&unary("int32", DIMS)).err().expect("no surface of int32");
        assert!(error.message.starts_with("InvalidMILProgram"), "{error}");
    }
}

#[test]
fn rows_are_at_least_16_wide() {
    let engine = emulator(m4(), Numerics::Fast);
    let narrow = unary("fp16", [1, 4096, 1, 8]);
    refused(evaluate(&engine, &narrow, &[65536], &[65536]), "width-minimum");
}

#[test]
fn a_surface_in_use_is_an_error() {
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let engine = emulator(m4(), numerics);
        let model = engine.compile(&unary("fp16", DIMS)).expect("the program is accepted");
        let [x, y] = [0; 2].map(|_| engine.surface(ENOUGH).expect("memory"));
        let mut request = model.bind(&[x], std::slice::from_ref(&y)).expect("they fit");
        let reading = y.read().expect("nobody writes");
        let error = request.evaluate().expect_err("the output is being read");
        assert!(error.code.is_none() && error.message.contains("in use"), "{error}");
        drop(reading);
        request.evaluate().expect("nobody uses it any more");
    }
}

#[test]
fn tile_poisons_the_process() {
    let tile = text(
        "tensor<fp16, [1, 64, 1, 128]> x",
        "        tensor<int32, [4]> reps = const()[name = string(\"reps\"), val = tensor<int32, [4]>([1, 1, 2, 1])];\n\
         \x20       tensor<fp16, [1, 64, 2, 128]> y = tile(reps = reps, x = x)[name = string(\"y\")];\n\
         \x20       tensor<fp16, [1, 64, 2, 128]> z = relu(x = y)[name = string(\"z\")];",
        "z",
    );
    let engine = emulator(m4(), Numerics::Fast);
    let innocent = unary("fp16", DIMS);
    evaluate(&engine, &innocent, &[ENOUGH], &[ENOUGH]).expect("nothing is wrong yet");
    engine.compile(&tile).expect("it compiles");
    evaluate(&engine, &innocent, &[ENOUGH], &[ENOUGH]).expect("it has not been evaluated");
    for source in [&tile, &innocent] {
        let error = evaluate(&engine, source, &[ENOUGH], &[ENOUGH]).expect_err("it is poisoned");
        assert_eq!((error.stage, error.code), (Stage::Evaluate, Some(0x1d)), "{error}");
        assert!(error.needs_new_process && error.message.contains("tile"), "{error}");
    }
}
