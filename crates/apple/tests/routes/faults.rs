//! What goes wrong while programs are compiled and run.

use crate::common::*;
use ane::{EngineError, Stage};
use anemone_apple::{Options, Route, open_with};
use standin_objc::Fault;
use std::time::Duration;
use surface::Surface;

/// Both routes through Objective-C.
const ROUTES: [Route; 2] = [Route::Client, Route::InMemory];

/// Opens a route, breaks something, runs the small program, and sees that nothing is left and
/// that it runs again afterwards.
fn broken(route: Route, fault: Fault, times: u64) -> Result<Vec<Vec<u8>>, EngineError> {
    let standins = Standins::new();
    let engine = standins.open(route).unwrap();
    standins.session.break_down(fault, times);
    let result = run(&*engine, &small());
    assert_eq!(engine.usage().loaded, 0);
    standins.session.heal();
    run(&*engine, &small()).unwrap();
    drop(engine);
    standins.nothing_is_left();
    result
}

#[test]
fn a_refused_program_carries_the_compiler_s_words() {
    for route in ROUTES {
        let error = broken(route, Fault::Compile, 1).unwrap_err();
        assert_eq!((error.kernel.as_str(), error.stage), ("small", Stage::Compile));
        assert!(
            error.message.starts_with("com.apple.appleneuralengine error 1: _ANECompiler"),
            "{error}"
        );
        let error = broken(route, Fault::CompileSilently, 1).unwrap_err();
        assert_eq!(error.stage, Stage::Compile);
        assert!(error.message.contains("gave no reason"), "{error}");
    }
}

#[test]
fn a_program_that_breaks_a_rule_is_refused_by_the_emulator_behind() {
    for route in ROUTES {
        let standins = Standins::new();
        let engine = standins.open(route).unwrap();
        let mut source = small();
        let (_, function) = source.text.split_once("func").unwrap();
        source.text = format!("program(1.3) {{ func{function}");
        let refused = engine.compile(&source).err().expect("the program has no build information");
        assert_eq!(refused.stage, Stage::Compile, "{refused}");
        assert!(refused.message.contains("rule build-info"), "{refused}");
        drop(engine);
        standins.nothing_is_left();
    }
}

#[test]
fn loading_is_tried_twice_and_no_more() {
    for route in ROUTES {
        broken(route, Fault::Load, 1).unwrap();
        let error = broken(route, Fault::Load, 2).unwrap_err();
        assert_eq!((error.stage, error.code), (Stage::Load, Some(0x50004)));
    }
}

#[test]
fn an_evaluation_that_fails_carries_the_engine_s_status() {
    for route in ROUTES {
        let error = broken(route, Fault::Evaluate(0x1d), 1).unwrap_err();
        assert_eq!((error.stage, error.code), (Stage::Evaluate, Some(0x1d)));
        assert!(error.message.starts_with("com.apple.appleneuralengine error 8:"), "{error}");
        assert!(error.to_string().ends_with("(status 0x1d)"), "{error}");
    }
}

#[test]
fn a_nil_object_is_an_error_with_its_name() {
    for (route, words) in
        [(Route::Client, "the model is nil"), (Route::InMemory, "the descriptor is nil")]
    {
        let error = broken(route, Fault::Nil, 1).unwrap_err();
        assert_eq!(error.stage, Stage::Compile);
        assert!(error.message.contains(words), "{error}");
    }
    let standins = Standins::new();
    let engine = standins.open(Route::Client).unwrap();
    let model = engine.compile(&small()).unwrap();
    let surfaces = [engine.surface(16384).unwrap(), engine.surface(16384).unwrap()];
    standins.session.break_down(Fault::Nil, 1);
    let error = model.clone().bind(&surfaces[..1], &surfaces[1..]).err().expect("no request");
    assert_eq!(error.stage, Stage::Bind);
    assert!(error.message.contains("the request is nil"), "{error}");
    drop((model, surfaces, engine));
    standins.nothing_is_left();
}

#[test]
fn surfaces_that_are_too_small_or_unequal_are_refused_with_the_engine_s_status() {
    for route in ROUTES {
        let standins = Standins::new();
        let engine = standins.open(route).unwrap();
        let model = engine.compile(&two_inputs()).unwrap();
        let surfaces = |sizes: [usize; 3]| sizes.map(|bytes| engine.surface(bytes).unwrap());
        for sizes in [[8192, 8192, 16384], [16384, 32768, 16384], [16384, 16384, 4096]] {
            let all = surfaces(sizes);
            let mut evaluation = model.clone().bind(&all[..2], &all[2..]).unwrap();
            let error = evaluation.evaluate().unwrap_err();
            assert_eq!((error.stage, error.code), (Stage::Evaluate, Some(0x1d)), "{sizes:?}");
        }
        drop((model, engine));
        standins.nothing_is_left();
    }
}

#[test]
fn surfaces_of_another_kind_or_number_cannot_be_bound() {
    let standins = Standins::new();
    let engine = standins.open(Route::Client).unwrap();
    let model = engine.compile(&small()).unwrap();
    let (own, foreign) = (engine.surface(16384).unwrap(), Surface::new(16384).unwrap());
    let error = model.clone().bind(&[foreign], std::slice::from_ref(&own)).err().unwrap();
    assert!(error.message.contains("the surface of input `x` is no IOSurface"), "{error}");
    let error = model.clone().bind(&[], &[own]).err().unwrap();
    assert!(error.message.contains("1 inputs, and 0 surfaces"), "{error}");
    drop((model, engine));
    standins.nothing_is_left();
}

#[test]
fn a_surface_in_use_is_an_error_and_not_a_wait() {
    for route in Route::ALL {
        let standins = Standins::new();
        let engine = standins.open(route).unwrap();
        let model = engine.compile(&small()).unwrap();
        let (input, output) = (engine.surface(16384).unwrap(), engine.surface(16384).unwrap());
        let mut evaluation = model
            .clone()
            .bind(std::slice::from_ref(&input), std::slice::from_ref(&output))
            .unwrap();
        let reading = output.read().unwrap();
        let error = evaluation.evaluate().unwrap_err();
        assert!(error.message.contains("in use"), "{error}");
        drop(reading);
        let writing = input.write().unwrap();
        assert!(evaluation.evaluate().is_err());
        drop(writing);
        evaluation.evaluate().unwrap();
        drop((evaluation, model, input, output, engine));
        standins.nothing_is_left();
    }
}

#[test]
fn surfaces_that_cannot_be_made_or_locked_are_errors() {
    let standins = Standins::new();
    let engine = standins.open(Route::Client).unwrap();
    standins.session.break_down(Fault::NoSurface, 1);
    let error = engine.surface(16384).unwrap_err();
    assert_eq!(error.stage, Stage::Surface);
    assert!(error.message.contains("no IOSurface of 16384 bytes"), "{error}");
    assert!(engine.surface(0).is_err());
    let surface = engine.surface(16384).unwrap();
    assert!(surface.read().unwrap().iter().all(|byte| *byte == 0));
    standins.session.break_down(Fault::Lock, 1);
    let error = surface.read().unwrap_err().to_string();
    assert!(error.contains("IOSurfaceLock gives 0xe00002d5"), "{error}");
    assert!(format!("{surface:?}").contains("IOSurface of 16384 bytes"));
    surface.write().unwrap()[0] = 1;
    drop((surface, engine));
    standins.nothing_is_left();
}

#[test]
fn a_completion_that_fails_or_never_comes_is_an_error() {
    for (fault, words, code) in [
        (Fault::CompletionFails, "completion: status=0x1d", Some(0x1d)),
        (Fault::NoCompletion, "was not called in time", None),
    ] {
        let standins = Standins::new();
        let completion_wait = Duration::from_millis(match fault {
            Fault::NoCompletion => 10,
            _ => 10_000,
        });
        let options = Options { completion: true, completion_wait, ..options() };
        let engine = open_with(&paths(), Route::Client, &options).unwrap();
        standins.session.break_down(fault, 1);
        let error = run(&*engine, &small()).unwrap_err();
        assert_eq!((error.stage, error.code), (Stage::Evaluate, code));
        assert!(error.message.contains(words), "{error}");
        drop(engine);
        standins.nothing_is_left();
    }
}

#[test]
fn every_function_of_e5rt_that_fails_is_named() {
    let standins = Standins::new();
    let engine = standins.open(Route::E5rt).unwrap();
    let model = engine.compile(&small()).unwrap();
    let surfaces = [engine.surface(16384).unwrap(), engine.surface(16384).unwrap()];
    standins.session.break_down(Fault::E5rt, 1);
    let error = engine.compile(&small()).err().unwrap();
    assert_eq!(error.stage, Stage::Compile);
    assert!(error.message.starts_with("e5rt error 11: config_create: a fault"), "{error}");
    standins.session.break_down(Fault::E5rt, 1);
    let error = model.clone().bind(&surfaces[..1], &surfaces[1..]).err().unwrap();
    assert!(error.message.contains("op_options_create"), "{error}");
    let mut evaluation = model.clone().bind(&surfaces[..1], &surfaces[1..]).unwrap();
    standins.session.break_down(Fault::E5rt, 1);
    let error = evaluation.evaluate().unwrap_err();
    assert!(error.message.contains("stream_execute"), "{error}");
    evaluation.evaluate().unwrap();
    drop((evaluation, model, surfaces, engine));
    standins.nothing_is_left();
}

#[test]
fn the_compile_budget_of_the_in_memory_route_ends_the_process_and_not_the_others() {
    let standins = Standins::new();
    let engine = standins.open(Route::InMemory).unwrap();
    let limit = engine.usage().compile_limit.unwrap();
    assert_eq!(limit, 119);
    for _ in 0..limit {
        engine.compile(&small()).unwrap();
    }
    let error = engine.compile(&small()).err().expect("the budget is spent");
    assert!(error.needs_new_process);
    assert_eq!(engine.usage().compiles, limit);
    drop(engine);
    let engine = standins.open(Route::Client).unwrap();
    for _ in 0..limit + 1 {
        engine.compile(&small()).unwrap();
    }
    drop(engine);
    standins.nothing_is_left();
}

#[test]
fn texts_and_weight_names_that_cannot_be_right_are_refused_before_anything_is_written() {
    let standins = Standins::new();
    let engine = standins.open(Route::Client).unwrap();
    let refused = |change: &dyn Fn(&mut ane::Source), words: &str| {
        let mut source = small();
        change(&mut source);
        let error = engine.compile(&source).err().expect("it cannot be right");
        assert_eq!(error.stage, Stage::Compile);
        assert!(error.message.contains(words), "{error}");
    };
    let named = |name: &'static str| {
        move |source: &mut ane::Source| {
            source.weights.insert(name.to_owned(), vec![0; 4].into());
        }
    };
    refused(&named("@model_path/../escape.bin"), "does not name a file in the model's directory");
    refused(&named("/etc/passwd"), "does not begin with `@model_path/`");
    refused(&|s| s.text = "not MIL".into(), "the text is not a program");
    refused(&|s| s.text = s.text.replace("func main", "func other"), "no function `main`");
    let unknown = "[1, 64, 1, ?]> x";
    refused(&|s| s.text = s.text.replace("[1, 64, 1, 128]> x", unknown), "of known shape");
    assert_eq!(standins.session.messages()[1..], [""; 0], "nothing is sent but at opening");
    drop(engine);
    standins.nothing_is_left();
}
