//! Programs that run.

use crate::common::*;
use ane::Engine;
use ane::recording::{Recorder, Replay};
use anemone_apple::{Options, Route, open_with};
use std::sync::{Arc, Mutex};

#[test]
fn every_route_gives_what_the_emulator_gives_bit_for_bit() {
    for route in Route::ALL {
        let standins = Standins::new();
        let engine = standins.open(route).unwrap();
        for source in [small(), two_inputs(), packed_product(), with_weights()] {
            let expected = run(&*emulator(route), &source).unwrap();
            assert!(expected.iter().flatten().any(|byte| *byte != 0), "{}", source.name);
            assert!(run(&*engine, &source).unwrap() == expected, "{} by {route:?}", source.name);
        }
        assert_eq!(engine.usage().compiles, 4);
        assert_eq!(engine.usage().loaded, 0);
        drop(engine);
        standins.nothing_is_left();
    }
}

#[test]
fn the_messages_are_sent_in_the_engine_s_order() {
    let once = "+[_ANEIOSurfaceObject objectWithIOSurface:]";
    let request = "+[_ANERequest requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:\
                   perfStats:procedureIndex:]";
    let expected: [(Route, &[&str]); 2] = [
        (
            Route::Client,
            &[
                "+[_ANEDeviceInfo aneSubType]",
                "+[_ANEClient sharedConnection]",
                "+[_ANEModel modelAtURL:key:]",
                "-[_ANEClient compileModel:options:qos:error:]",
                "-[_ANEClient loadModel:options:qos:error:]",
                once,
                once,
                request,
                "-[_ANEClient evaluateWithModel:options:request:qos:error:]",
                "-[_ANEClient evaluateWithModel:options:request:qos:error:]",
                "-[_ANEClient unloadModel:options:qos:error:]",
                "-[_ANEClient purgeCompiledModel:]",
            ],
        ),
        (
            Route::InMemory,
            &[
                "+[_ANEDeviceInfo aneSubType]",
                "+[_ANEInMemoryModelDescriptor modelWithMILText:weights:optionsPlist:]",
                "+[_ANEInMemoryModel inMemoryModelWithDescriptor:]",
                "-[_ANEInMemoryModel hexStringIdentifier]",
                "-[_ANEInMemoryModel compileWithQoS:options:error:]",
                "-[_ANEInMemoryModel loadWithQoS:options:error:]",
                once,
                once,
                request,
                "-[_ANEInMemoryModel evaluateWithQoS:options:request:error:]",
                "-[_ANEInMemoryModel evaluateWithQoS:options:request:error:]",
                "-[_ANEInMemoryModel unloadWithQoS:error:]",
            ],
        ),
    ];
    for (route, messages) in expected {
        let standins = Standins::new();
        let engine = standins.open(route).unwrap();
        run(&*engine, &small()).unwrap();
        assert_eq!(standins.session.messages(), messages);
        drop(engine);
        standins.nothing_is_left();
    }
}

#[test]
fn completion_handlers_are_awaited_where_they_are_asked_for() {
    for route in [Route::Client, Route::InMemory] {
        let standins = Standins::new();
        let options = Options { completion: true, ..options() };
        let engine = open_with(&paths(), route, &options).unwrap();
        assert!(run(&*engine, &small()).unwrap() == run(&*emulator(route), &small()).unwrap());
        let messages = standins.session.messages();
        let set = messages.iter().filter(|m| m.contains("setCompletionHandler:")).count();
        assert_eq!(set, 4, "set and taken back for each of two evaluations");
        drop(engine);
        standins.nothing_is_left();
    }
}

#[test]
fn one_model_serves_several_requests_and_outlives_its_handle() {
    let standins = Standins::new();
    let engine = standins.open(Route::Client).unwrap();
    let model = engine.compile(&small()).unwrap();
    let surface = || engine.surface(16384).unwrap();
    let (input, outputs) = (surface(), [surface(), surface()]);
    let mut requests = outputs.each_ref().map(|output| {
        let (input, output) = (std::slice::from_ref(&input), std::slice::from_ref(output));
        model.clone().bind(input, output).unwrap()
    });
    drop(model);
    assert_eq!(engine.usage().loaded, 1);
    for (request, value) in requests.iter_mut().zip([0x3c00u16, 0x4000]) {
        input.write().unwrap().as_mut_slice::<u16>().fill(value);
        request.evaluate().unwrap();
    }
    // max(1, 0) + 1 is 2, and max(2, 0) + 2 is 4.
    let found = outputs.each_ref().map(|output| output.read().unwrap().as_slice::<u16>()[0]);
    assert_eq!(found, [0x4000, 0x4400]);
    drop(requests);
    assert_eq!(engine.usage().loaded, 0);
    drop((engine, input, outputs));
    standins.nothing_is_left();
}

#[test]
fn equal_programs_share_the_in_memory_model_s_directory_and_leave_each_other_s_files() {
    let standins = Standins::new();
    let engine = standins.open(Route::InMemory).unwrap();
    let one = engine.compile(&with_weights()).unwrap();
    let other = engine.compile(&with_weights()).unwrap();
    drop(one);
    let third = engine.compile(&with_weights()).unwrap();
    drop((other, third));
    run(&*engine, &with_weights()).unwrap();
    drop(engine);
    standins.nothing_is_left();
}

/// What `anemone doctor --record` does on a Mac, and what is done with the file on Linux.
#[test]
fn the_self_test_passes_by_every_route_and_its_recording_replays_without_the_frameworks() {
    for route in Route::ALL {
        let standins = Standins::new();
        let file = std::env::temp_dir().join(format!("anemone-recording-{}", std::process::id()));
        let recorder = Recorder::new(
            standins.open(route).unwrap(),
            Box::new(std::fs::File::create(&file).unwrap()),
        );
        let results = |engine: &dyn Engine| -> Vec<_> {
            let checks = ane::selftest::run(engine).into_iter();
            checks.map(|check| (check.program, check.outcome.unwrap())).collect()
        };
        let recorded = results(&recorder);
        assert!(recorded.iter().all(|(_, difference)| difference.differing == 0));
        recorder.finish().unwrap();
        standins.nothing_is_left();
        let replay = Replay::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(results(&replay), recorded);
        assert_eq!(replay.target().route, route);
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn routes_describe_themselves_and_tell_what_they_do() {
    let standins = Standins::new();
    let version = std::env::temp_dir().join(format!("anemone-version-{}", std::process::id()));
    std::fs::write(&version, "<key>ProductVersion</key><string>26.1</string>").unwrap();
    let mut paths = paths();
    paths.system_version.clone_from(&version);
    let lines = Arc::new(Mutex::new(vec![]));
    let into = lines.clone();
    let trace = move |line: &str| into.lock().unwrap().push(line.to_owned());
    let options = Options { trace: Some(Arc::new(trace)), ..options() };
    let engine = open_with(&paths, Route::Client, &options).unwrap();
    assert_eq!(engine.describe(), "_ANEClient, engine h16g, macOS 26.1, rules of m4");
    let target = engine.target();
    assert_eq!((target.chip.name(), target.os, target.route), ("m4", 26, Route::Client));
    assert!(format!("{options:?}").contains("completion_wait"));
    run(&*engine, &small()).unwrap();
    assert_eq!(*lines.lock().unwrap(), ["small: compiled and loaded", "small: unloaded"]);
    let usage = engine.usage();
    assert_eq!((usage.compile_limit, usage.load_limit), (None, 127));
    std::fs::remove_file(version).unwrap();
    drop(engine);
    standins.nothing_is_left();
}
