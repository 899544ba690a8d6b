//! `anemone run` from the outside.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = "program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 2]> x, int32 n) {
        fp32 f = cast(x = n, dtype = string(\"fp32\"));
        tensor<fp32, [2, 2]> y = add(x = x, y = f);
        fp32 total = reduce_sum(x = y, axes = tensor<int32, [2]>([0, 1]), keep_dims = bool(false));
        tensor<bf16, [2, 2]> half = cast(x = y, dtype = string(\"bf16\"));
    } -> (y, total);
    func twice<ios18>(tensor<fp16, [3]> x) {
        tensor<fp16, [3]> y = add(x = x, y = x);
    } -> (y);
}
";

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A folder of this test's own, with the program and inputs for it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run_{test}"));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        let place = Place(path);
        fs::write(place.at("model.mil"), PROGRAM).unwrap();
        place.inputs("in.safetensors", &[("x", &[2, 2], &[1., 2., 3., 4.]), ("n", &[1], &[10.])]);
        place
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes fp32 arrays.
    fn inputs(&self, name: &str, arrays: &[(&str, &[usize], &[f32])]) {
        let bytes: Vec<Vec<u8>> = arrays.iter().map(|(_, _, values)| floats(values)).collect();
        let views = arrays.iter().zip(&bytes).map(|((name, dims, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, dims.to_vec(), bytes).unwrap())
        });
        fs::write(self.at(name), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn run(&self, inputs: &str, outputs: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_anemone"))
            .args(["run", &self.at("model.mil"), "--inputs", &self.at(inputs)])
            .args(["--outputs", &self.at(outputs)])
            .args(more)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn works(&self, inputs: &str, outputs: &str, more: &[&str]) -> String {
        let output = self.run(inputs, outputs, more);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail; a file that was there before must not change.
    #[track_caller]
    fn fails(&self, inputs: &str, more: &[&str], code: i32, expected: &[&str]) {
        fs::write(self.at("kept.npz"), "precious").unwrap();
        let before = fs::read_dir(&self.0).unwrap().count();
        let output = self.run(inputs, "kept.npz", more);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(output.stdout.is_empty());
        for part in expected {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert_eq!(fs::read_to_string(self.at("kept.npz")).unwrap(), "precious");
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), before, "nothing temporary is left");
    }

    fn tensors(&self, name: &str) -> Tensors {
        let bytes = fs::read(self.at(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |(name, view): (&str, TensorView<'_>)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        file.iter().map(tensor).collect()
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A .npz file with these entries, compressed.
fn npz(path: &str, entries: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in entries {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// An array as NumPy 1.0 writes it.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn expected() -> Tensors {
    Tensors::from([
        ("total".into(), (Dtype::F32, vec![1], floats(&[50.]))),
        ("y".into(), (Dtype::F32, vec![2, 2], floats(&[11., 12., 13., 14.]))),
    ])
}

#[test]
fn every_device_gives_every_output() {
    let place = Place::new("devices");
    for more in [&[][..], &["--device", "interp"], &["--numerics", "exact"]] {
        place.works("in.safetensors", "out.safetensors", more);
        assert_eq!(place.tensors("out.safetensors"), expected(), "{more:?}");
    }
}

#[test]
fn inputs_are_cast_and_reshaped() {
    let place = Place::new("cast");
    let x: Vec<u8> = [1f64, 2., 3., 4.].iter().flat_map(|v| v.to_le_bytes()).collect();
    let entries = [("x.npy", &npy("<f8", "(4,)", &x)[..]), ("n.npy", &npy("|u1", "()", &[10]))];
    npz(&place.at("in.npz"), &entries);
    for device in ["cpu", "interp"] {
        place.works("in.npz", "out.safetensors", &["--device", device]);
        assert_eq!(place.tensors("out.safetensors"), expected(), "{device}");
    }
}

#[test]
fn both_formats_are_written_and_read_back() {
    let place = Place::new("formats");
    let x = floats(&[1., -2., 0.5]);
    npz(&place.at("a.npz"), &[("x.npy", &npy("<f4", "(3,)", &x))]);
    let twice = ["--function", "twice"];
    place.works("a.npz", "b.npz", &twice);
    // What comes out is called `y`; renamed, it goes in again.
    let mut archive = zip::ZipArchive::new(fs::File::open(place.at("b.npz")).unwrap()).unwrap();
    let mut y = vec![];
    std::io::Read::read_to_end(&mut archive.by_name("y.npy").unwrap(), &mut y).unwrap();
    npz(&place.at("c.npz"), &[("x.npy", &y)]);
    place.works("c.npz", "d.safetensors", &twice);
    let y = &place.tensors("d.safetensors")["y"];
    // 4, -8 and 2 in fp16.
    let bits = [0x4400u16, 0xc800, 0x4000].map(u16::to_le_bytes).concat();
    assert_eq!(*y, (Dtype::F16, vec![3], bits));
}

#[test]
fn the_report_names_outputs_and_places() {
    let place = Place::new("report");
    let text = place.works("in.safetensors", "out.npz", &["--placement"]);
    assert!(text.starts_with("total: fp32\ny: tensor<fp32, [2, 2]>\n"), "{text}");
    let line = text.lines().find(|l| l.starts_with("total ")).unwrap();
    assert!(line.contains("reduce_sum") && line.contains("cpu: "), "{text}");
    for (device, word) in [("cpu", "cpu: "), ("interp", "interpreter")] {
        let more = ["--placement", "--json", "--device", device];
        let text = place.works("in.safetensors", "out.npz", &more);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["function"], "main");
        assert_eq!(object["outputs"][1]["name"], "y");
        assert_eq!(object["outputs"][1]["shape"], serde_json::json!([2, 2]));
        let places = object["placement"].as_array().unwrap();
        let values: Vec<_> = places.iter().map(|p| p["value"].as_str().unwrap()).collect();
        assert_eq!(values, ["f", "y", "total", "half"]);
        let found = places[1]["place"].as_str().unwrap();
        assert!(found.starts_with(word), "{found}");
    }
}

#[test]
fn shapes_may_depend_on_the_inputs() {
    let place = Place::new("open");
    let program = "program(1.3)
{
    func main<ios18>(tensor<fp32, [?, 2]> x, tensor<int32, [1]> n) {
        tensor<int32, [2]> size = concat(values = (n, tensor<int32, [1]>([2])), axis = int32(0), interleave = bool(false));
        tensor<fp32, [?, ?]> y = slice_by_size(x = x, begin = tensor<int32, [2]>([1, 0]), size = size);
    } -> (y);
}
";
    fs::write(place.at("model.mil"), program).unwrap();
    let x: Vec<f32> = (0..8).map(|v| v as f32).collect();
    for (n, rows) in [(1usize, 4usize), (2, 3), (3, 4)] {
        let arrays: [(&str, &[usize], &[f32]); 2] =
            [("x", &[rows, 2], &x[..rows * 2]), ("n", &[1], &[n as f32])];
        place.inputs("in.safetensors", &arrays);
        for device in ["cpu", "interp"] {
            place.works("in.safetensors", "out.safetensors", &["--device", device]);
            let y = (Dtype::F32, vec![n, 2], floats(&x[2..2 + 2 * n]));
            assert_eq!(place.tensors("out.safetensors")["y"], y, "{device} {n} {rows}");
        }
    }
    place.inputs("in.safetensors", &[("x", &[4], &x[..4]), ("n", &[1], &[1.])]);
    place.fails("in.safetensors", &[], 1, &["input `x`: expected tensor<fp32, [?, 2]>", "[4]"]);
}

#[test]
fn states_travel_in_the_files() {
    let place = Place::new("states");
    let program = "program(1.3)
{
    func main<ios18>(state<tensor<fp16, [2]>> sum, tensor<fp16, [2]> x) {
        tensor<fp16, [2]> before = read_state(input = sum);
        tensor<fp16, [2]> after = add(x = before, y = x);
        write_state(input = sum, data = after);
    } -> (after);
}
";
    fs::write(place.at("model.mil"), program).unwrap();
    for device in ["interp", "cpu"] {
        let on = ["--device", device];
        place.inputs("in.safetensors", &[("x", &[2], &[1., 2.])]);
        place.works("in.safetensors", "out.safetensors", &on);
        let one_two = (Dtype::F16, vec![2], [0x3c00u16, 0x4000].map(u16::to_le_bytes).concat());
        assert_eq!(place.tensors("out.safetensors")["state/sum"], one_two);
        place.inputs("in.safetensors", &[("x", &[2], &[1., 2.]), ("state/sum", &[2], &[3., 2.])]);
        place.works("in.safetensors", "out.safetensors", &on);
        let four_four = (Dtype::F16, vec![2], [0x4400u16, 0x4400].map(u16::to_le_bytes).concat());
        let tensors = place.tensors("out.safetensors");
        assert_eq!((&tensors["state/sum"], &tensors["after"]), (&four_four, &four_four));
        assert_eq!(tensors.len(), 2, "{device}");
        place.inputs("in.safetensors", &[("x", &[2], &[1., 2.]), ("state/other", &[1], &[3.])]);
        place.fails("in.safetensors", &on, 1, &["`state/other` is no input"]);
    }
    let engine = ["--device", "ane-emulated"];
    place.inputs("in.safetensors", &[("x", &[2], &[1., 2.])]);
    place.fails("in.safetensors", &engine, 1, &["state `sum`", "the cpu device"]);
}

#[test]
fn inputs_that_do_not_fit_are_named_all_at_once() {
    let place = Place::new("unfit");
    place.inputs("in.safetensors", &[("x", &[5], &[0.; 5]), ("z", &[1], &[1.])]);
    let expected = [
        "in.safetensors`",
        "input `x`: expected tensor<fp32, [2, 2]>, found shape [5]",
        "input `n` is missing; expected int32",
        "`z` is no input of function `main`",
    ];
    place.fails("in.safetensors", &[], 1, &expected);
    place.fails("in.safetensors", &["--device", "interp"], 1, &expected);
}

#[test]
fn damaged_inputs_are_named() {
    let place = Place::new("damaged");
    place.fails("nowhere.npz", &[], 1, &["cannot read", "nowhere.npz", "No such file"]);
    fs::create_dir(place.at("folder.npz")).unwrap();
    place.fails("folder.npz", &[], 1, &["folder.npz", "found a folder"]);
    fs::write(place.at("text.npz"), "not an archive").unwrap();
    place.fails("text.npz", &[], 1, &["text.npz", "not a .npz file"]);
    fs::write(place.at("text.safetensors"), "not an archive").unwrap();
    place.fails("text.safetensors", &[], 1, &["text.safetensors", "not a .safetensors file"]);

    let huge = npy("<f4", "(4611686018427387904,)", &[0; 4]);
    npz(&place.at("a.npz"), &[("x.npy", &huge)]);
    place.fails("a.npz", &[], 1, &["a.npz", "entry `x`", "too many elements"]);
    npz(&place.at("a.npz"), &[("x.npy", &npy("<f4", "(99999999999,)", &[0; 4]))]);
    place.fails("a.npz", &[], 1, &["entry `x`", "takes 399999999996 bytes, found 4"]);
    npz(&place.at("a.npz"), &[("x.npy", b"\x93NUM")]);
    place.fails("a.npz", &[], 1, &["entry `x`", "too short"]);
    npz(&place.at("a.npz"), &[("readme.txt", b"hello")]);
    place.fails("a.npz", &[], 1, &["entry `readme.txt`"]);

    let whole = npy("<f4", "(2, 2)", &[0; 16]);
    npz(&place.at("whole.npz"), &[("x.npy", &whole)]);
    let bytes = fs::read(place.at("whole.npz")).unwrap();
    for end in (0..bytes.len()).step_by(7) {
        fs::write(place.at("cut.npz"), &bytes[..end]).unwrap();
        place.fails("cut.npz", &[], 1, &["cut.npz"]);
    }
}

#[test]
fn wrong_arguments_are_named() {
    let place = Place::new("arguments");
    let function = ["--function", "third"];
    place.fails("in.safetensors", &function, 1, &["no function `third`", "main, twice"]);
    let weights = place.at("nowhere");
    place.fails("in.safetensors", &["--weights", &weights], 1, &["nowhere` is not a folder"]);
    place.fails("in.safetensors", &["--frob"], 2, &["--frob"]);
    place.fails("in.safetensors", &["--device", "abacus"], 2, &["'abacus'", "cpu, interp"]);
    place.fails("in.safetensors", &["--numerics", "vague"], 2, &["'vague'", "native, exact"]);
    place.fails("in.txt", &[], 2, &["in.txt", "expected a .npz, .safetensors, .png or .jpg file"]);
    let output = place.run("in.safetensors", "out.txt", &[]);
    assert_eq!(output.status.code(), Some(2));
    let output = place.run("in.safetensors", "no/out.npz", &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot write") && message.contains("no/out.npz"), "{message}");
}

#[test]
fn the_emulated_engine_runs_what_it_would_and_refuses_the_rest() {
    let place = Place::new("engine");
    let main = |width: usize, body: &str| {
        let text = format!(
            "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \
             \"3505.4.1\"}}}})]\n{{\n    func main<ios18>(tensor<fp16, [1, 8, 1, {width}]> x) {{\n\
             {body}\n    }} -> (y);\n}}\n"
        );
        fs::write(place.at("model.mil"), text).unwrap();
        let values: Vec<f32> = (0..8 * width).map(|i| i as f32 / 16.0).collect();
        place.inputs("x.safetensors", &[("x", &[1, 8, 1, width], &values)]);
        values
    };
    let double = |width: usize| format!("tensor<fp16, [1, 8, 1, {width}]> y = add(x = x, y = x);");
    let values = main(64, &double(64));
    for more in
        [&["--device", "ane-emulated"][..], &["--device", "ane-emulated:m1", "--numerics", "ane"]]
    {
        let text = place.works("x.safetensors", "y.safetensors", more);
        assert!(text.contains("y: tensor<fp16, [1, 8, 1, 64]>"), "{text}");
        let (_, _, bytes) = &place.tensors("y.safetensors")["y"];
        let doubled: Vec<u8> =
            values.iter().flat_map(|v| half::f16::from_f32(2.0 * v).to_le_bytes()).collect();
        assert!(*bytes == doubled);
    }
    // Too narrow fails as the hardware does, when it is evaluated; `tile` poisons the process.
    main(8, &double(8));
    place.fails("x.safetensors", &["--device", "ane-emulated"], 1, &["0x1d"]);
    main(64, "tensor<fp16, [1, 8, 1, 64]> y = sin(x = x);");
    place.fails(
        "x.safetensors",
        &["--device", "ane-emulated:m1"],
        1,
        &["InvalidMILProgram", "sin"],
    );
    place.fails("x.safetensors", &["--numerics", "ane"], 1, &["--device ane-emulated"]);
    place.fails("x.safetensors", &["--device", "ane-emulated:m77"], 2, &["m1 to :m5"]);
}

#[test]
fn weights_in_place_are_found_by_every_device() {
    let place = Place::new("in_place");
    let stored: Vec<i64> = (0..8 * 64).map(|i| i % 16 - 8).collect();
    let stored = mil::Tensor::from_i64s(mil::DataType::Int4, &[1, 8, 1, 64], &stored).unwrap();
    fs::create_dir(place.at("weights")).unwrap();
    let mut writer = mil::BlobWriter::create(place.at("weights/w.bin")).unwrap();
    let offset = writer.push(&stored).unwrap();
    writer.commit().unwrap();
    let scales: Vec<String> = (0..8).map(|i| format!("[[0x1p-{i}]]")).collect();
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \
         \"3505.4.1\"}}}})]\n{{\n    func main<ios18>(tensor<fp16, [1, 8, 1, 64]> x) {{\n\
         tensor<fp16, [1, 8, 1, 64]> w = constexpr_blockwise_shift_scale(data = tensor<int4, [1, 8, \
         1, 64]>(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64({offset}))), \
         scale = tensor<fp16, [1, 8, 1, 1]>([[{}]]));\n\
         tensor<fp16, [1, 8, 1, 64]> y = add(x = x, y = w);\n    }} -> (y);\n}}\n",
        scales.join(", ")
    );
    fs::write(place.at("model.mil"), text).unwrap();
    place.inputs("x.safetensors", &[("x", &[1, 8, 1, 64], &[1.0; 8 * 64])]);
    let sum = |i: usize| {
        1.0 + (i % 16) as f32 / f32::exp2((i / 64) as f32) - 8.0 / f32::exp2((i / 64) as f32)
    };
    let sums: Vec<u8> =
        (0..8 * 64).flat_map(|i| half::f16::from_f32(sum(i)).to_le_bytes()).collect();
    for device in ["cpu", "interp", "ane-emulated"] {
        place.works("x.safetensors", "y.safetensors", &["--device", device]);
        assert!(place.tensors("y.safetensors")["y"].2 == sums, "{device}");
    }
}

/// What the device cannot run, the interpreter does, and says so.
#[test]
fn a_function_whose_shapes_depend_on_data_is_interpreted_and_says_why() {
    let place = Place::new("data");
    let text = "program(1.3)
{
    func main<ios18>(tensor<fp32, [2, 2]> x) {
        tensor<fp32, [2, 2]> half = real_div(x = x, y = fp32(2));
        tensor<int32, [?, 2]> at = non_zero(x = half);
        tensor<fp32, [?]> y = gather_nd(x = half, indices = at);
    } -> (y);
}
";
    fs::write(place.at("model.mil"), text).unwrap();
    place.inputs("x.safetensors", &[("x", &[2, 2], &[1., 0., 3., 0.])]);
    let output = place.run("x.safetensors", "out.safetensors", &["--placement"]);
    let note = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{note}");
    let reason = "non_zero: the shape of `at`, tensor<int32, [?, 2]>, depends on data";
    let expected = format!(
        "note: cpu cannot run `main`: {reason}; the interpreter evaluates the whole function\n"
    );
    assert_eq!(note, expected);
    let placement = String::from_utf8(output.stdout).unwrap();
    let place_of_all = format!("interpreter (whole function): {reason}");
    assert_eq!(placement.matches(&place_of_all).count(), 3, "{placement}");
    let found = place.tensors("out.safetensors");
    assert_eq!(found["y"], (Dtype::F32, vec![2], floats(&[0.5, 1.5])));
}
