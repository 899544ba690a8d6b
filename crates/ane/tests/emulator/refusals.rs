//! What does not compile, what reads garbage, and what nobody would write.

use crate::common::{compare, emulator, exact, inputs, m4, run, target, text};
use anemone_ane::target::{Chip, Route};
use anemone_ane::{Engine, Numerics, Source, Stage};
use mil::{BlobWriter, DataType, Tensor};

const INPUT: &str = "tensor<fp16, [1, 64, 1, 128]> x";
const RELU: &str = "        tensor<fp16, [1, 64, 1, 128]> y = relu(x = x)[name = string(\"y\")];";

/// Why a program is refused.
fn refusal(source: &Source) -> String {
    let engine = emulator(m4(), Numerics::Fast);
    let error = engine.compile(source).err().expect("it is refused");
    assert_eq!((error.stage, error.code), (Stage::Compile, None), "{error}");
    assert!(error.message.starts_with("InvalidMILProgram: "), "{error}");
    assert!(!error.needs_new_process);
    error.message
}

#[test]
fn a_refusal_gives_every_reason_with_its_line_and_rule() {
    let body = "        tensor<fp16, [1, 64, 1, 128]> a = inverse(x = x)[name = string(\"a\")];\n\
                \x20       string mode = const()[name = string(\"mode\"), val = string(\"EXACT\")];\n\
                \x20       tensor<fp16, [1, 64, 1, 128]> y = gelu(mode = mode, x = a)[name = string(\"y\")];";
    let message = refusal(&text(INPUT, body, "y"));
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines[0].contains("line 5: ") && lines[0].ends_with("(rule explicit-epsilon)"));
    assert!(lines[1].starts_with("line 7: ") && lines[1].ends_with("(rule gelu)"), "{message}");
    assert_eq!(lines.len(), 2, "{message}");
}

#[test]
fn rules_of_other_routes_refuse_nothing() {
    let body = "        string mode = const()[name = string(\"mode\"), val = string(\"EXACT\")];\n\
                \x20       tensor<fp16, [1, 64, 1, 128]> y = gelu(mode = mode, x = x)[name = string(\"y\")];";
    let source = text(INPUT, body, "y");
    let engine = emulator(target(Chip::M4, Route::E5rt), Numerics::Fast);
    let values = inputs(&source, 1);
    let found = run(&engine, &source, &values).expect("gelu is native there");
    compare(&found, &exact(&source, &values), 1e-3);
}

#[test]
fn programs_without_main_or_head_are_refused() {
    let good = text(INPUT, RELU, "y");
    let changed = |from: &str, to: &str| {
        assert!(good.text.contains(from));
        refusal(&Source { text: good.text.replace(from, to), ..good.clone() })
    };
    assert!(changed("func main", "func other").contains("(rule function-main)"));
    assert!(changed("buildInfo", "someInfo").contains("(rule build-info)"));
    assert!(changed("relu(", "no_such_op(").contains("no_such_op"));
    assert!(changed("<fp16, [1, 64, 1, 128]> y", "<fp16, [1, 64, 1, 127]> y").contains("5:"));
    emulator(m4(), Numerics::Fast).compile(&good).expect("nothing is wrong with it");
}

#[test]
fn hostile_texts_are_errors() {
    let huge = RELU.replace("64, 1, 128", "65536, 65536, 65536");
    let texts = [
        String::new(),
        "program(1.3)".into(),
        "program(1.3) { func main<ios18>() {} -> (); }".into(),
        "(".repeat(1 << 20),
        "\u{0}\u{feff}program".into(),
        "x".repeat((64 << 20) + 1),
        text("tensor<fp16, [1, ?, 1, 128]> x", RELU, "y").text,
        text("tensor<fp16, [1, 65536, 65536, 65536]> x", &huge, "y").text,
        text("tensor<fp16, [4294967295, 4294967295, 4294967295, 9]> x", RELU, "y").text,
        text("tensor<string, [1, 64, 1, 128]> x", RELU, "y").text,
        text("state<tensor<fp16, [1, 64, 1, 128]>> x", RELU, "y").text,
        text(INPUT, RELU, "x").text,
        text(INPUT, RELU, "y, y, y").text,
        text(INPUT, RELU, "").text,
    ];
    for text in texts {
        let start: String = text.chars().take(60).collect();
        let source = Source { text, ..Source::default() };
        for numerics in [Numerics::Fast, Numerics::Modelled] {
            let error = emulator(m4(), numerics).compile(&source).err();
            let error = error.unwrap_or_else(|| panic!("`{start}` compiles"));
            assert_eq!(error.stage, Stage::Compile, "{start}: {error}");
        }
    }
}

/// y = x + the constant at this offset of the file `w.bin`.
fn adding(offset: u64, file: Vec<u8>) -> Source {
    let body = format!(
        "        tensor<fp16, [1, 64, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [1, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64({offset})))];\n\
         \x20       tensor<fp16, [1, 64, 1, 128]> y = add(x = x, y = w)[name = string(\"y\")];"
    );
    let mut source = text(INPUT, &body, "y");
    source.weights.insert("@model_path/weights/w.bin".into(), file.into());
    source
}

fn file(counts: &[usize]) -> Vec<u8> {
    let mut writer = BlobWriter::in_memory();
    for (i, &count) in counts.iter().enumerate() {
        let values = vec![1.0 + i as f64; count];
        let tensor = Tensor::from_f64s(DataType::Fp16, &[count], &values).expect("the count");
        writer.push(&tensor).expect("memory");
    }
    writer.into_bytes().expect("memory")
}

/// What is added to zeros.
fn added(source: &Source) -> Vec<f64> {
    let values = [("x".to_owned(), vec![0.0; 64 * 128])].into();
    let found = run(&emulator(m4(), Numerics::Fast), source, &values).expect("it runs");
    found["y"].iter().step_by(128).copied().collect()
}

#[test]
fn a_wrong_offset_reads_garbage_silently() {
    assert_eq!(added(&adding(64, file(&[64]))), [1.0; 64]);
    // The first record takes 64 + 128 bytes.
    assert_eq!(added(&adding(256, file(&[64, 64]))), [2.0; 64]);
    // The data is taken for metadata, so its second half and what follows it for the data.
    let garbage = added(&adding(128, file(&[64])));
    assert_eq!(garbage, [[1.0; 32], [0.0; 32]].concat());
}

#[test]
fn records_point_to_their_data_from_the_beginning_of_the_file() {
    // As writers do that forget all but the first tensor.
    let mut bytes = file(&[64, 64]);
    bytes[256 + 16..][..8].copy_from_slice(&128u64.to_le_bytes());
    assert_eq!(added(&adding(256, bytes)), [1.0; 64]);
}

#[test]
fn weight_files_must_be_there_and_say_their_size() {
    let mut missing = adding(64, vec![]);
    missing.weights.clear();
    assert!(refusal(&missing).contains("there is no such file"));
    assert!(refusal(&adding(64, vec![0; 100])).contains("w.bin"));
    assert!(refusal(&adding(64, file(&[32]))).contains("w.bin"));
    assert!(refusal(&adding(64, file(&[65]))).contains("(rule blob-size)"));
    let outside = Source {
        text: adding(64, vec![]).text.replace("@model_path/weights", "/etc"),
        ..adding(64, file(&[64]))
    };
    assert!(refusal(&outside).contains("(rule weight-path)"));
}

#[test]
fn weights_are_those_of_the_time_of_compilation() {
    let engine = emulator(m4(), Numerics::Fast);
    let mut source = adding(64, file(&[64]));
    let model = engine.compile(&source).expect("nothing is wrong with it");
    let path = source.weights.keys().next().expect("there is one").clone();
    source.weights.insert(path, vec![0; 256].into());
    let surface = || engine.surface(1 << 16).expect("memory");
    let (x, y) = (surface(), surface());
    let mut request = model.bind(&[x], std::slice::from_ref(&y)).expect("they fit");
    request.evaluate().expect("they fit");
    let first = y.read().expect("nobody writes").as_slice::<u16>()[0];
    // 1 in fp16.
    assert_eq!(first, 0x3c00);
}
