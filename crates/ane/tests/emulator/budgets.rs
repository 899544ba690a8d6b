//! What a process may compile and load.

use crate::common::{emulator, m4, target, text};
use anemone_ane::target::{Chip, Route};
use anemone_ane::{Engine, Numerics, Source, Stage};

fn tiny() -> Source {
    text(
        "tensor<fp16, [1, 64, 1, 128]> x",
        "        tensor<fp16, [1, 64, 1, 128]> y = relu(x = x)[name = string(\"y\")];",
        "y",
    )
}

#[test]
fn a_process_compiles_119_programs_in_memory_and_any_number_through_the_client() {
    let engine = emulator(m4(), Numerics::Fast);
    for _ in 0..119 {
        engine.compile(&tiny()).expect("the budget is not spent");
    }
    let usage = engine.usage();
    assert_eq!((usage.compiles, usage.compile_limit, usage.loaded), (119, Some(119), 0));
    let error = engine.compile(&tiny()).err().expect("the budget is spent");
    assert!(error.needs_new_process && error.stage == Stage::Compile, "{error}");
    assert_eq!(engine.usage().compiles, 119);

    let engine = emulator(target(Chip::M4, Route::Client), Numerics::Fast);
    for _ in 0..125 {
        engine.compile(&tiny()).expect("there is no budget");
    }
    assert_eq!((engine.usage().compiles, engine.usage().compile_limit), (125, None));
}

#[test]
fn a_refused_program_costs_no_compilation() {
    let engine = emulator(m4(), Numerics::Fast);
    let nonsense = Source { text: "program(1.3) { func".into(), ..tiny() };
    engine.compile(&nonsense).err().expect("this is no program");
    assert_eq!((engine.usage().compiles, engine.usage().loaded), (0, 0));
}

#[test]
fn the_128th_loaded_program_fails_until_one_is_dropped() {
    let engine = emulator(target(Chip::M4, Route::Client), Numerics::Fast);
    let mut models: Vec<_> = (0..127).map(|_| engine.compile(&tiny()).expect("slots")).collect();
    let error = engine.compile(&tiny()).err().expect("no slot is free");
    assert_eq!((error.stage, error.code), (Stage::Load, Some(0x50004)));
    assert!(!error.needs_new_process);

    // A request keeps its program loaded.
    let model = models.pop().expect("there are 127");
    let surface = || engine.surface(1 << 16).expect("memory");
    let request = model.bind(&[surface()], &[surface()]).expect("surfaces fit");
    assert!(engine.compile(&tiny()).is_err());
    drop(request);
    assert_eq!(engine.usage().loaded, 126);
    engine.compile(&tiny()).expect("a slot is free");
}
