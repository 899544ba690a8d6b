//! Programs in `tests/files`: what they print as, what is wrong with them, and damaged ones.

mod common;

use anemone_mil::{self as mil, Literal, Op, Weights, parse, print};
use common::{Random, programs};

/// Every program prints as in the file beside it, and its print reads back to it.
/// `BLESS=1` rewrites those files.
#[test]
fn programs_print_as_recorded_and_read_back() {
    for (path, text) in programs("parse") {
        let program = parse(&text)
            .unwrap_or_else(|errors| panic!("{}:{}", path.display(), errors.render(&text)));
        let printed = print(&program);
        let again = parse(&printed)
            .unwrap_or_else(|errors| panic!("{}:{}", path.display(), errors.render(&printed)));
        assert!(again == program, "{} changed:\n{printed}", path.display());
        assert_eq!(print(&again), printed);
        let record = path.with_extension("printed");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&record, &printed).expect("the record can be written");
        }
        let expected = std::fs::read_to_string(&record).expect("the record is there");
        assert_eq!(printed, expected, "{}", path.display());
    }
}

/// The problems of a program are exactly those its `//~` comments announce, line by line.
#[test]
fn every_problem_is_reported_on_its_line_in_order() {
    for (path, text) in programs("errors") {
        let mut expected = vec![];
        for (i, line) in text.lines().enumerate() {
            expected.extend(line.split("//~ ").skip(1).map(|m| (i + 1, m.trim().to_owned())));
        }
        let errors = parse(&text).expect_err("the program has problems");
        let line = |e: &mil::Diagnostic| text[..e.span.start as usize].matches('\n').count() + 1;
        let found: Vec<_> = errors.0.iter().map(|e| (line(e), e.message.clone())).collect();
        // The end of the text is after its last line, where no comment can be.
        let clamp = |(l, m): (usize, String)| (l.min(text.lines().count()), m);
        let found: Vec<_> = found.into_iter().map(clamp).collect();
        assert_eq!(found, expected, "{}", path.display());
    }
}

#[test]
fn spans_cover_what_the_message_is_about() {
    let text = "program(1.3) { func main<ios18>() { int8 a = const()[val = int8(300)]; } -> (b); }";
    let errors = parse(text).expect_err("two problems");
    let parts: Vec<&str> =
        errors.0.iter().map(|e| &text[e.span.start as usize..e.span.end as usize]).collect();
    assert_eq!(parts, ["300", "b"]);
    assert_eq!(errors.render(text), "1:65: 300 is out of range for int8\n1:78: unknown value `b`");
}

#[test]
fn operations_know_where_they_stand() {
    let statement = "fp16 a = const()[val = fp16(1)];";
    let text = format!("program(1.3) {{ func main<ios18>() {{ {statement} }} -> (a); }}");
    let program = parse(&text).expect("the program is right");
    let span = program.functions[0].body.operations[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], statement);
}

#[test]
fn sixteen_bit_floats_are_rounded_once() {
    let (_, text) = programs("parse")
        .into_iter()
        .find(|(path, _)| path.ends_with("floats.mil"))
        .expect("the fixture is there");
    let program = parse(&text).expect("the program is right");
    let values = |name: &str| {
        let function = &program.functions[0];
        let id = (0..).map(mil::ValueId).find(|&id| function.value(id).name == name);
        let literal = function.literals()[id.expect("the value is there").index()];
        literal.and_then(Literal::as_tensor).expect("it is a constant").to_f64s()
    };
    let halves = values("b");
    assert_eq!(halves[1..4], [65504.0, f64::INFINITY, 0.0]);
    // A tie goes to even; the least bit above it goes up.
    assert_eq!(halves[4..], [1.0, 1.0 + 2f64.powi(-10)]);
    assert_eq!(values("c")[..2], [1.0, 1.0 + 2f64.powi(-7)]);
    assert_eq!(values("a")[7], f64::from(0.1f32));
}

#[test]
fn weights_beside_a_program_are_loaded() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/parse");
    let weights = Weights::in_dir(folder);
    let (_, text) = programs("parse")
        .into_iter()
        .find(|(path, _)| path.ends_with("weights.mil"))
        .expect("the fixture is there");
    let program = parse(&text).expect("the program is right");
    let mut loaded = vec![];
    program.functions[0].body.visit(&mut |operation| {
        if let (Op::Const, Some(Literal::Blob(blob))) =
            (operation.op, operation.attributes.get("val"))
        {
            loaded.push(weights.load(blob).expect("the record is there").to_f64s());
        }
    });
    let eighths = vec![0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75];
    assert_eq!(loaded, [eighths, vec![-8.0, 7.0, -1.0]]);
}

#[test]
fn damaged_programs_never_panic() {
    let texts = programs("parse");
    let alphabet = b"()[]{}<>,;=?-\"\\/.0123456789xpe_@ \nabtfunc";
    let mut random = Random::new(1);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..8000 {
        let mut bytes = random.pick(&texts).1.clone().into_bytes();
        for _ in 0..1 + random.below(6) {
            random.damage(&mut bytes, alphabet);
        }
        let text = String::from_utf8_lossy(&bytes);
        match parse(&text) {
            Ok(program) => {
                let again = parse(&print(&program)).expect("what was read can be printed");
                assert!(again == program, "{text}");
                good += 1;
            }
            Err(errors) => {
                assert!(!errors.0.is_empty() && errors.0.len() <= 100);
                assert!(errors.0.is_sorted_by_key(|e| e.span.start));
                assert!(errors.0.iter().all(|e| e.span.end as usize <= text.len()));
                bad += 1;
            }
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str| open.repeat(200_000);
    let value = |text: String| format!("program(1.3) [a = {text}");
    let statement = |text: String| {
        format!("program(1.3) {{ func f<ios18>(fp32 x) {{ fp32 y = relu(x = x) {text}")
    };
    for text in [
        value(deep("tuple<")),
        value(deep("tensor<int32, [1]>(")),
        value(deep("list<state<dict<")),
        value(format!("tensor<int32, [{}1]>({}", deep("1, "), deep("["))),
        statement(deep("block() { fp32 y = relu(x = x) ")),
        deep("{"),
        deep("program("),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..80]);
    }
}

#[test]
fn large_programs_are_read_in_linear_time() {
    // A test of growth, not of speed: anything quadratic would take hours.
    let mut text = String::from("program(1.3) { func main<ios18>(fp32 v0) {\n");
    for i in 0..50_000 {
        text += &format!("fp32 v{} = relu(x = v{i})[name = string(\"v{i}\")];\n", i + 1);
    }
    text += "tensor<fp32, [500000]> w = const()[val = tensor<fp32, [500000]>([";
    text += &"0x1.8p-3, ".repeat(499_999);
    text += "0x1p+0])];\n} -> (v50000, w); }";
    let program = parse(&text).expect("the program is right");
    assert_eq!(program.functions[0].body.operations.len(), 50_001);
    let printed = print(&program);
    assert!(parse(&printed).expect("the print is right") == program);
    // And with a problem in every line.
    let errors = parse(&text.replace("relu", "reluu")).expect_err("many problems");
    assert_eq!(errors.0.len(), 100);
}
