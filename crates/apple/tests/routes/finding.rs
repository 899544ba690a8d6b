//! What is found of the frameworks, and what is said when something is not there.

use crate::common::*;
use ane::Stage;
use anemone_apple::interface::METHODS;
use anemone_apple::{Found, Options, Paths, Route, capabilities, open, open_any, open_with};
use standin_objc::library;
use std::path::Path;

#[test]
fn everything_is_found_in_the_stand_ins() {
    let standins = Standins::new();
    let found = capabilities(&paths());
    for item in &found.items {
        assert_eq!(item.found, Found::Yes, "{item}");
    }
    let count = |kind| found.items.iter().filter(|item| item.kind == kind).count();
    assert_eq!(count("method"), METHODS.len());
    assert_eq!((count("library"), count("class")), (4, 14));
    assert!(count("function") > 40);
    standins.nothing_is_left();
}

#[test]
fn a_missing_class_is_named() {
    let standins = Standins::new();
    for (route, class) in [
        (Route::Client, c"_ANEClient"),
        (Route::Client, c"_ANEModel"),
        (Route::InMemory, c"_ANEInMemoryModel"),
        (Route::InMemory, c"_ANEInMemoryModelDescriptor"),
        (Route::Client, c"_ANERequest"),
        (Route::InMemory, c"_ANEIOSurfaceObject"),
    ] {
        standins.session.hide_class(class);
        let error = standins.open(route).err().expect("a class is missing");
        assert_eq!(error.stage, Stage::Open);
        let name = format!("class {} is missing", class.to_str().unwrap());
        assert!(error.message.contains(&name), "{error}");
        standins.session.heal();
        drop(standins.open(route).unwrap());
    }
    standins.nothing_is_left();
}

#[test]
fn a_missing_method_is_named_with_its_class() {
    let standins = Standins::new();
    standins.session.hide_method(c"_ANEClient", c"loadModel:options:qos:error:");
    let error = standins.open(Route::Client).err().expect("a method is missing").to_string();
    assert!(
        error.contains("method -[_ANEClient loadModel:options:qos:error:] is missing"),
        "{error}"
    );
    // The other routes do not need it.
    drop(standins.open(Route::InMemory).unwrap());
    drop(standins.open(Route::E5rt).unwrap());
    standins.nothing_is_left();
}

#[test]
fn a_method_with_other_types_is_an_error_before_anything_is_sent() {
    let standins = Standins::new();
    let (class, selector) = (c"_ANEClient", c"evaluateWithModel:options:request:qos:error:");
    // As if an update made the quality of service 64 bits wide.
    let old = standins.session.retype(class, selector, c"C@:@@@Q^@");
    let error = standins.open(Route::Client).err().expect("a type differs").to_string();
    assert!(error.contains("has other types"), "{error}");
    assert!(error.contains("'I'") && error.contains("'Q'"), "{error}");
    assert_eq!(standins.session.messages(), [""; 0], "nothing may be sent");
    standins.session.retype(class, selector, &old);
    drop(standins.open(Route::Client).unwrap());
    standins.nothing_is_left();
}

#[test]
fn what_is_optional_is_used_where_it_is_and_done_without_where_it_is_not() {
    let standins = Standins::new();
    standins.session.hide_class(c"_ANEDeviceInfo");
    standins.session.hide_method(c"_ANEClient", c"purgeCompiledModel:");
    standins.session.hide_method(c"_ANERequest", c"setCompletionHandler:");
    let options = Options { completion: true, ..options() };
    let engine = open_with(&paths(), Route::Client, &options).unwrap();
    assert_eq!(engine.describe(), "_ANEClient, engine unknown, macOS unknown, rules of m1");
    run(&*engine, &small()).unwrap();
    let messages = standins.session.messages();
    assert!(!messages.iter().any(|m| m.contains("purge") || m.contains("setCompletion")));
    drop(engine);
    standins.nothing_is_left();
}

#[test]
fn a_missing_library_is_named_and_only_its_routes_are_closed() {
    let standins = Standins::new();
    let nowhere = Path::new("/nowhere/Espresso");
    let paths = Paths { espresso: nowhere.to_owned(), ..paths() };
    let error = open(&paths, Route::E5rt).err().expect("a library is missing").to_string();
    assert!(error.contains("library /nowhere/Espresso is missing"), "{error}");
    assert!(error.contains("function e5rt_e5_compiler_compile is missing"), "{error}");
    drop(open(&paths, Route::Client).unwrap());
    standins.nothing_is_left();
}

#[test]
fn any_route_is_the_first_that_can_be_opened() {
    let standins = Standins::new();
    let route = || open_any(&paths(), &options()).map(|engine| engine.target().route);
    assert_eq!(route().unwrap(), Route::Client);
    standins.session.hide_class(c"_ANEClient");
    assert_eq!(route().unwrap(), Route::InMemory);
    standins.session.hide_class(c"_ANEInMemoryModel");
    let error = route().unwrap_err().to_string();
    for class in ["class _ANEClient is missing", "class _ANEInMemoryModel is missing"] {
        assert!(error.contains(class), "{error}");
    }
    standins.nothing_is_left();
}

#[test]
fn a_library_without_the_functions_is_an_error() {
    let standins = Standins::new();
    // A library that is certainly there and has none of them.
    let runtime = anemone_apple::Paths {
        iosurface: "libc.so.6".into(),
        espresso: "libc.so.6".into(),
        ..Paths::all(&library())
    };
    let error = open(&runtime, Route::Client).err().expect("no IOSurface").to_string();
    assert!(error.contains("function IOSurfaceCreate is missing"), "{error}");
    let zero = Paths { foundation: "a\0b".into(), ..paths() };
    let error = open(&zero, Route::Client).err().expect("no such path").to_string();
    assert!(error.contains("zero byte"), "{error}");
    standins.nothing_is_left();
}
