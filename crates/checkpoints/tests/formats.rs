//! Files that other programs have written, and files that nobody should write.

use checkpoints::formats::gguf::Value;
use checkpoints::formats::{gguf, safetensors};
use checkpoints::{AtomicFile, Encoding, Error, Input, Planned, Tensors};
use serde_json::json;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn values(tensors: &Tensors, name: &str) -> Vec<f32> {
    let info = tensors.get(name).expect(name);
    let mut out = vec![0.0; info.elements()];
    tensors.read(info, 0, &mut out).expect(name);
    out
}

#[test]
fn every_encoding_reads_as_its_own_package_reads_it() {
    let decoded = safetensors::open(&fixture("decoded.safetensors")).expect("it is valid");
    let gguf = gguf::open(&fixture("encodings.gguf")).expect("it is valid");
    let floats = safetensors::open(&fixture("encodings.safetensors")).expect("it is valid");
    assert_eq!(decoded.iter().len(), 11);
    for expected in decoded.iter() {
        let (kind, name) = expected.name.split_once('.').expect("the kind of file");
        let tensors = if kind == "gguf" { &gguf.tensors } else { &floats };
        let info = tensors.get(name).expect(name);
        assert_eq!(info.dims, expected.dims, "{name}");
        assert_eq!(info.encoding.to_string(), name);
        let truth = values(&decoded, &expected.name);
        assert_eq!(values(tensors, name), truth, "{name}");
        // Any range, within blocks and over their bounds.
        for (first, length) in [(0, 1), (5, 30), (31, 2), (truth.len() - 1, 1), (7, 0)] {
            let length = length.min(truth.len() - first);
            let mut part = vec![0.0; length];
            tensors.read(info, first, &mut part).expect(name);
            assert_eq!(part, truth[first..first + length], "{name} from {first}");
        }
    }
    let info = floats.get("I64").expect("it is listed");
    let error = floats.read(info, 0, &mut [0.0; 3]).expect_err("no integers").to_string();
    assert!(
        error.ends_with("encodings.safetensors: tensor `I64`: I64 is not read here"),
        "{error}"
    );
}

#[test]
fn metadata_keep_their_types() {
    let gguf = gguf::open(&fixture("encodings.gguf")).expect("it is valid");
    let metadata = &gguf.metadata;
    assert_eq!(metadata.get("count"), Some(&Value::U32(7)));
    assert_eq!(metadata.number("number").expect("a number"), Some(1e-5));
    assert_eq!(metadata.flag("flag").expect("a flag"), Some(true));
    assert_eq!(metadata.text("text").expect("a text"), Some("naïve"));
    assert_eq!(metadata.texts("texts").expect("texts").map(<[_]>::len), Some(3));
    assert_eq!(metadata.integers("integers").expect("integers"), Some(&[1, -2, 3][..]));
    assert_eq!(metadata.floats("floats").expect("floats"), Some(&[0.5, -1.5][..]));
    assert_eq!(metadata.get("negative"), Some(&Value::I64(-(1 << 40))));
    assert_eq!(metadata.size("missing").expect("it is optional"), None);
    let error = metadata.size("text").expect_err("no count").to_string();
    assert!(error.ends_with("`text` is \"naïve\"; expected a count"), "{error}");
}

fn planned(name: &str, dims: &[usize], encoding: Encoding) -> Planned {
    Planned { name: name.to_owned(), dims: dims.to_vec(), encoding }
}

#[test]
fn what_is_written_reads_back() {
    let folder = scratch("written");
    let numbers: Vec<f32> = (0..128).map(|i| (i as f32 - 64.0) / 8.0).collect();
    let mut visit = |tensor: &Planned, see: &mut dyn FnMut(&[f32]) -> Result<(), Error>| {
        let count = tensor.dims.iter().product();
        numbers[..count].chunks(32).try_for_each(see)
    };
    let floats = [
        planned("a", &[3, 4], Encoding::F32),
        planned("b", &[2, 2, 3], Encoding::F16),
        planned("c", &[2, 64], Encoding::BF16),
    ];
    let path = folder.join("a.safetensors");
    let mut file = AtomicFile::create(&path).expect("it can be created");
    safetensors::write(&path, &mut file, &floats, &mut visit).expect("it is written");
    assert!(!path.exists(), "it has its name before it is complete");
    file.finish(false).expect("it gets its name");
    let tensors = safetensors::open(&path).expect("it is valid");
    for tensor in &floats {
        assert_eq!(values(&tensors, &tensor.name), numbers[..tensor.dims.iter().product()]);
    }

    let all = [&floats[..], &[planned("d", &[2, 64], Encoding::Q8_0)]].concat();
    let metadata = [
        ("a".to_owned(), Value::Texts(vec!["x".to_owned(), String::new()])),
        ("b".to_owned(), Value::F32(0.25)),
        ("c".to_owned(), Value::Integers(vec![-1, 5])),
        ("d".to_owned(), Value::Floats(vec![0.5])),
        ("e".to_owned(), Value::Bool(false)),
        ("f".to_owned(), Value::U64(1 << 60)),
        ("g".to_owned(), Value::from("text")),
    ];
    let path = folder.join("a.gguf");
    let mut file = AtomicFile::create(&path).expect("it can be created");
    gguf::write(&path, &mut file, &metadata, &all, &mut visit).expect("it is written");
    file.finish(false).expect("it gets its name");
    let gguf = gguf::open(&path).expect("it is valid");
    for (key, value) in &metadata {
        assert_eq!(gguf.metadata.get(key), Some(value));
    }
    for tensor in &all[..3] {
        assert_eq!(gguf.tensors.get(&tensor.name).expect("it is there").dims, tensor.dims);
        assert_eq!(values(&gguf.tensors, &tensor.name), numbers[..tensor.dims.iter().product()]);
    }
    for (new, old) in values(&gguf.tensors, "d").iter().zip(&numbers) {
        assert!((new - old).abs() <= 8.0 / 254.0 + 8.0 / 2048.0, "{new} {old}");
    }
    let again = AtomicFile::create(&path).expect("another name");
    let error = again.finish(false).expect_err("it is there").to_string();
    assert!(error.ends_with("it exists already"), "{error}");
    let left: Vec<_> = std::fs::read_dir(&folder).expect("a folder").collect();
    assert_eq!(left.len(), 2, "nothing temporary stays");
}

/// A safetensors file of a header and a number of bytes of data.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn malformed_safetensors_are_refused_with_the_tensor_and_reason() {
    let entry = |dtype: &str, shape: serde_json::Value, offsets: serde_json::Value| {
        json!({ "w": { "dtype": dtype, "shape": shape, "data_offsets": offsets } }).to_string()
    };
    let two = |a: [u64; 2], b: [u64; 2]| {
        let one = |at| json!({ "dtype": "U8", "shape": [4], "data_offsets": at });
        json!({ "a": one(a), "b": one(b) }).to_string()
    };
    let cases = [
        (entry("F32", json!([2]), json!([0, 8])), 8, None),
        (
            entry("F32", json!([2]), json!([0, 9])),
            9,
            Some("tensor `w`: 9 bytes for F32 [2], which has 8"),
        ),
        (
            entry("F32", json!([2]), json!([8, 0])),
            8,
            Some("tensor `w`: it ends at 0, before it begins at 8"),
        ),
        (entry("F32", json!([-2]), json!([0, 8])), 8, Some("invalid value: integer `-2`")),
        (entry("F32", json!([2]), json!([-8, 0])), 8, Some("invalid value: integer `-8`")),
        (entry("F33", json!([2]), json!([0, 8])), 8, Some("its type `F33` is not known")),
        (
            entry("F32", json!([2]), json!([0, 8])),
            7,
            Some("tensor `w`: 8 bytes at 62 are not within a file of 69 bytes"),
        ),
        (entry("F32", json!([2]), json!([0, 8])), 12, Some("4 bytes follow the last tensor")),
        (
            entry("F32", json!([u32::MAX, u32::MAX, u32::MAX]), json!([0, 8])),
            8,
            Some("are too large"),
        ),
        (entry("F32", json!([2]), json!([u64::MAX - 7, u64::MAX])), 8, Some("7 bytes for F32 [2]")),
        (
            entry("U8", json!([2]), json!([u64::MAX - 2, u64::MAX])),
            8,
            Some("its position is beyond any file"),
        ),
        (two([0, 4], [4, 8]), 8, None),
        (two([0, 4], [3, 7]), 7, Some("tensor `b`: it begins at byte 116, within `a`")),
        (two([0, 4], [5, 9]), 9, Some("tensor `b`: 1 bytes before it belong to no tensor")),
        (
            r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                "w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#
                .to_owned(),
            2,
            Some("tensor `w`: there are two of this name"),
        ),
        ("[]".to_owned(), 0, Some("expected an object of tensors")),
        ("{".to_owned(), 0, Some("header: EOF while parsing")),
    ];
    for (header, data, expected) in cases {
        let read = safetensors::read(Input::memory("file", with_header(&header, data)));
        match (read, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.starts_with("file: ") && error.contains(expected), "{error}");
            }
            (read, expected) => panic!("{header}: {read:?}, but expected {expected:?}"),
        }
    }
    let mut long = with_header("{}", 0);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = safetensors::read(Input::memory("file", long)).expect_err("too long").to_string();
    assert_eq!(error, format!("file: a header of {} bytes does not fit a file of 10", u64::MAX));
}

#[test]
fn shards_are_read_together_and_stay_in_their_folder() {
    let folder = scratch("shards");
    let tensor = |name: &str| {
        let entry = json!({ name: { "dtype": "F32", "shape": [1], "data_offsets": [0, 4] } });
        with_header(&entry.to_string(), 4)
    };
    std::fs::write(folder.join("1.safetensors"), tensor("a")).expect("it is written");
    std::fs::write(folder.join("2.safetensors"), tensor("b")).expect("it is written");
    let open = |map: serde_json::Value| {
        let index = json!({ "metadata": {}, "weight_map": map });
        std::fs::write(folder.join(safetensors::INDEX), index.to_string()).expect("written");
        safetensors::open(&folder).map(|tensors| tensors.iter().len())
    };
    let found = open(json!({ "a": "1.safetensors", "b": "2.safetensors" }));
    assert_eq!(found.expect("both are there"), 2);
    let cases = [
        (json!({ "a": "../shards/1.safetensors" }), "is no name of a safetensors file"),
        (json!({ "a": "/etc/passwd" }), "is no name of a safetensors file"),
        (json!({ "a": "2.safetensors" }), "tensor `a`: it is not in `2.safetensors`"),
        (json!({ "a": "3.safetensors" }), "3.safetensors: No such file"),
        (json!({ "a": 5 }), "invalid type: integer `5`"),
    ];
    for (map, expected) in cases {
        let error = open(map).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::write(folder.join("2.safetensors"), tensor("a")).expect("it is written");
    let error = open(json!({ "a": "1.safetensors", "b": "2.safetensors" })).expect_err("twice");
    assert!(error.to_string().contains("tensor `a`: it is in "), "{error}");
}

/// Reads all that a file has, as far as that goes.
fn read_everything(read: Result<Tensors, Error>) -> Option<Error> {
    let tensors = match read {
        Ok(tensors) => tensors,
        Err(error) => return Some(error),
    };
    let mut first = None;
    for info in tensors.iter() {
        // A tensor lies within its file, so this is no more than eight times the file.
        let mut out = vec![0.0; info.elements()];
        if let Err(error) = tensors.read(info, 0, &mut out) {
            first.get_or_insert(error);
        }
    }
    first
}

#[test]
fn no_change_of_a_file_makes_a_reader_panic() {
    type Read = fn(Input) -> Result<Tensors, Error>;
    let files: [(&str, Read); 2] = [
        ("encodings.gguf", |input| gguf::read(input).map(|file| file.tensors)),
        ("encodings.safetensors", safetensors::read),
    ];
    for (name, read) in files {
        let whole = std::fs::read(fixture(name)).expect("the fixture is there");
        let mut refused = 0;
        // The last tensor of a GGUF file may be followed by padding, which nobody misses.
        for length in 0..whole.len() - 31 {
            let cut = whole[..length].to_vec();
            let error = read_everything(read(Input::memory(name, cut)));
            let error = error.unwrap_or_else(|| panic!("{name} cut at {length} is accepted"));
            assert!(error.to_string().starts_with(name), "{error}");
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                refused +=
                    usize::from(read_everything(read(Input::memory(name, changed))).is_some());
            }
            if at + 8 <= whole.len() {
                let mut changed = whole.clone();
                changed[at..at + 8].fill(0xff);
                read_everything(read(Input::memory(name, changed)));
            }
        }
        assert!(refused > 100, "{name}: only {refused} changes were refused");
    }
}
