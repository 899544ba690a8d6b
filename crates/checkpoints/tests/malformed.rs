//! Files that are malformed in every way that their format allows: each is refused with the file,
//! the tensor or key where there is one, and the reason.

use checkpoints::formats::gguf;
use checkpoints::formats::gguf::Value;
use checkpoints::{Encoding, Error, Input, Planned, Source, Tensors, from_llama2c};
use models::parameters;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).expect("the fixture is there")
}

/// The first error of reading all that a file has.
fn read_all(tensors: &Tensors) -> Result<(), Error> {
    for info in tensors.iter() {
        tensors.read(info, 0, &mut vec![0.0; info.elements()])?;
    }
    Ok(())
}

/// The first error of opening a model and reading all that it has.
fn read_model(name: &str, bytes: Vec<u8>) -> Result<(), Error> {
    let source = Source::of_memory(name, bytes)?;
    for parameter in parameters(source.config()).expect("its configuration is valid") {
        source.visit(&parameter, &mut |_| Ok(()))?;
    }
    source.tokenizer().map(|_| ())
}

/// Checks that a message begins with the file and has all these parts.
fn assert_refused(what: &str, result: Result<(), Error>, parts: &[&str]) {
    let error = match result {
        Ok(()) => panic!("{what}: it is accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error.starts_with("file: "), "{what}: {error}");
    for part in parts {
        assert!(error.contains(part), "{what}: {error:?} lacks {part:?}");
    }
}

/// One tensor of a GGUF file as it stands in the header.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    /// Claimed length of the name, if not its own.
    length: Option<u64>,
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
}

/// A GGUF file, every part of which can be falsified.
#[derive(Clone)]
struct File {
    magic: [u8; 4],
    version: u32,
    tensor_count: u64,
    value_count: u64,
    /// Key, type, and the bytes behind.
    values: Vec<(Vec<u8>, u32, Vec<u8>)>,
    tensors: Vec<Entry>,
    data: Vec<u8>,
}

const Q8_0: u32 = 8;

impl File {
    /// Two tensors, `a` [4] of F32 and `b` [32] of Q8_0, 34 bytes at 32.
    fn good() -> File {
        let entry = |name: &str, dims: &[u64], kind, offset| Entry {
            name: name.as_bytes().to_vec(),
            length: None,
            dims: dims.to_vec(),
            kind,
            offset,
        };
        File {
            magic: *b"GGUF",
            version: 3,
            tensor_count: 2,
            value_count: 1,
            values: vec![(b"key".to_vec(), 4, 7_u32.to_le_bytes().to_vec())],
            tensors: vec![entry("a", &[4], 0, 0), entry("b", &[32], Q8_0, 32)],
            data: vec![0; 32 + 34],
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(self.value_count.to_le_bytes());
        for (key, kind, content) in &self.values {
            out.extend((key.len() as u64).to_le_bytes());
            out.extend(key);
            out.extend(kind.to_le_bytes());
            out.extend(content);
        }
        for Entry { name, length, dims, kind, offset } in &self.tensors {
            out.extend(length.unwrap_or(name.len() as u64).to_le_bytes());
            out.extend(name);
            out.extend((dims.len() as u32).to_le_bytes());
            out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    fn value(&mut self, kind: u32, content: &[u8]) {
        self.values[0] = (b"key".to_vec(), kind, content.to_vec());
    }
}

fn read_gguf(bytes: Vec<u8>) -> Result<(), Error> {
    read_all(&gguf::read(Input::memory("file", bytes))?.tensors)
}

/// A name, what is done to a good file, and what the message must have.
type Case<'a, T> = (&'a str, &'a dyn Fn(&mut T), &'a [&'a str]);

#[test]
fn malformed_gguf_is_refused_with_the_tensor_or_key_and_the_reason() {
    read_gguf(File::good().bytes()).expect("it is good");
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let scaled = |file: &mut File, kind: u32, dims: u64, size: usize, at: usize, scale: u16| {
        (file.tensors[1].kind, file.tensors[1].dims) = (kind, vec![dims]);
        file.data = vec![0; 32 + size];
        file.data[32 + at..][..2].copy_from_slice(&scale.to_le_bytes());
    };
    const NAN: u16 = 0x7e00;
    const INFINITY: u16 = 0xfc00;
    let cases: &[Case<File>] = &[
        ("magic", &|f| f.magic = *b"GGML", &["not a GGUF file"]),
        ("version 1", &|f| f.version = 1, &["version 1 of GGUF; versions 2 and 3 are read"]),
        ("version 0", &|f| f.version = 0, &["version 0 of GGUF"]),
        ("byte order", &|f| f.version = 3 << 24, &["big-endian"]),
        ("tensors without end", &|f| f.tensor_count = 1 << 63, &["tensors cannot be in the"]),
        ("one tensor more", &|f| f.tensor_count = 3, &["are not within a file"]),
        ("values without end", &|f| f.value_count = u64::MAX, &["values cannot be in the"]),
        (
            "a key of two",
            &|f| (f.value_count, f.values) = (2, vec![f.values[0].clone(); 2]),
            &["two values of `key`"],
        ),
        ("a key's letters", &|f| f.values[0].0 = vec![0xff], &["a key is not UTF-8"]),
        ("a key's length", &|f| f.values[0].0 = vec![b'k'; 1 << 17], &["a key has 131072 bytes"]),
        ("a value's type", &|f| f.value(13, &[0; 4]), &["`key`: it is of the unknown type 13"]),
        ("a truth value", &|f| f.value(7, &[2]), &["`key`: it is the truth value 2"]),
        ("a text's length", &|f| f.value(8, &[0xff; 8]), &["`key`: it has 18446744073709551615"]),
        (
            "a text's letters",
            &|f| f.value(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            &["`key`: it is not UTF-8"],
        ),
        (
            "a list's length",
            &|f| f.value(9, &list(4, 1 << 62)),
            &["`key`: 4611686018427387904 elements cannot be in"],
        ),
        ("a list's type", &|f| f.value(9, &list(77, 1)), &["`key`: it is a list of the unknown"]),
        ("lists of lists", &|f| f.value(9, &list(9, 1)), &["`key`: it is a list of lists"]),
        (
            "a list's text",
            &|f| f.value(9, &[list(8, 1), vec![0xff; 8]].concat()),
            &["`key`: element 0: it has"],
        ),
        ("an alignment", &|f| f.values[0] = align(24), &["`general.alignment` is 24"]),
        ("no alignment", &|f| f.values[0] = align(0), &["`general.alignment` is 0"]),
        ("a large alignment", &|f| f.values[0] = align(1 << 31), &["`general.alignment` is"]),
        ("a name's length", &|f| f.tensors[0].length = Some(1 << 62), &["a tensor's name has"]),
        ("a name's letters", &|f| f.tensors[0].name = vec![0xc0], &["name is not UTF-8"]),
        ("no name", &|f| f.tensors[0].name = vec![], &["tensor ``: it has no name"]),
        (
            "a name of two",
            &|f| f.tensors[1].name = b"a".to_vec(),
            &["tensor `a`: there are two of this name"],
        ),
        ("five dimensions", &|f| f.tensors[0].dims = vec![1; 5], &["tensor `a`: it has 5 dim"]),
        ("a product", &|f| f.tensors[0].dims = vec![1 << 32; 4], &["tensor `a`", "too large"]),
        ("a size", &|f| f.tensors[0].dims = vec![1 << 63], &["tensor `a`", "too large"]),
        (
            "a terabyte",
            &|f| f.tensors[0].dims = vec![1 << 38],
            &["tensor `a`: 1099511627776 bytes at", "not within a file of"],
        ),
        (
            "no whole blocks",
            &|f| f.tensors[1].dims = vec![33],
            &["tensor `b`: rows of 33 are no whole blocks of 32"],
        ),
        ("a type", &|f| f.tensors[1].kind = 999, &["tensor `b`: its type 999 is not known"]),
        ("a type that is not read", &|f| f.tensors[0].kind = 26, &["tensor `a`: I32 is not read"]),
        ("an offset", &|f| f.tensors[1].offset = 33, &["tensor `b`: its offset 33 is no multiple"]),
        ("an offset beyond", &|f| f.tensors[1].offset = 1 << 62, &["tensor `b`: 34 bytes at"]),
        (
            "a negative offset",
            &|f| f.tensors[1].offset = -32_i64 as u64,
            &["tensor `b`: its offset is beyond any file"],
        ),
        ("an overlap", &|f| f.tensors[1].offset = 0, &["tensor `b`: it begins at", "within `a`"]),
        (
            "a gap",
            &|f| (f.tensors[1].offset, f.data) = (64, vec![0; 98]),
            &["tensor `b`: 48 bytes before it belong to no tensor"],
        ),
        ("bytes behind", &|f| f.data.extend([0; 32]), &["32 bytes follow the last tensor"]),
        ("bytes that lack", &|f| f.data.truncate(65), &["tensor `b`: 34 bytes at"]),
        ("Q8_0, NaN", &|f| scaled(f, 8, 32, 34, 0, NAN), &["tensor `b`: the scale of block 0"]),
        ("Q8_0, ∞", &|f| scaled(f, 8, 32, 34, 0, INFINITY), &["tensor `b`", "not finite"]),
        ("Q4_0, NaN", &|f| scaled(f, 2, 32, 18, 0, NAN), &["tensor `b`: the scale of block 0"]),
        ("Q4_K, NaN", &|f| scaled(f, 12, 256, 144, 0, NAN), &["tensor `b`", "not finite"]),
        ("Q4_K, offset", &|f| scaled(f, 12, 256, 144, 2, INFINITY), &["tensor `b`", "not finite"]),
        ("Q6_K, NaN", &|f| scaled(f, 14, 256, 210, 208, NAN), &["tensor `b`", "not finite"]),
        (
            "F64 too large",
            &|f| {
                (f.tensors[1].kind, f.tensors[1].dims) = (28, vec![2]);
                f.data = [&[0; 40][..], &1e300_f64.to_le_bytes()].concat();
            },
            &["tensor `b`: number 1, 1e300, is too large"],
        ),
    ];
    for (what, change, parts) in cases {
        let mut file = File::good();
        change(&mut file);
        assert_refused(what, read_gguf(file.bytes()), parts);
    }
    // Scales below zero are numbers like others: Q4_0 has them in every file.
    let mut file = File::good();
    scaled(&mut file, 2, 32, 18, 0, 0xbc00);
    read_gguf(file.bytes()).expect("it is good");
    // Cut anywhere in the header, and with a name where the cut is behind one.
    let header = File::good().header();
    for length in 0..header.len() {
        let what = format!("cut at {length}");
        assert_refused(&what, read_gguf(header[..length].to_vec()), &[]);
    }
    assert_refused("cut", read_gguf(header[..header.len() - 1].to_vec()), &["tensor `b`: 8 bytes"]);
}

fn align(alignment: u32) -> (Vec<u8>, u32, Vec<u8>) {
    (b"general.alignment".to_vec(), 4, alignment.to_le_bytes().to_vec())
}

type Metadata = Vec<(String, Value)>;

/// The fixture with other metadata.
fn gguf_with(change: &dyn Fn(&mut Metadata)) -> Vec<u8> {
    let file = gguf::open(&fixture("llama.gguf")).expect("it is good");
    let mut metadata: Metadata =
        file.metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    change(&mut metadata);
    let mut tensors: Vec<_> = file.tensors.iter().collect();
    tensors.retain(|info| info.encoding == Encoding::F32);
    let planned: Vec<Planned> = tensors
        .iter()
        .map(|info| Planned {
            name: info.name.clone(),
            dims: info.dims.clone(),
            encoding: info.encoding,
        })
        .collect();
    let mut out = vec![];
    gguf::write(Path::new("file"), &mut out, &metadata, &planned, &mut |tensor, see| {
        let info = file.tensors.get(&tensor.name).expect("it is listed");
        let mut values = vec![0.0; info.elements()];
        file.tensors.read(info, 0, &mut values)?;
        see(&values)
    })
    .expect("it is written");
    out
}

fn set(metadata: &mut Metadata, key: &str, value: Value) {
    metadata.retain(|(known, _)| known != key);
    metadata.push((key.to_owned(), value));
}

fn texts<'a>(metadata: &'a mut Metadata, key: &str) -> &'a mut Vec<String> {
    let found = metadata.iter_mut().find(|(known, _)| known == key);
    match found {
        Some((_, Value::Texts(texts))) => texts,
        _ => panic!("`{key}` is no list of texts"),
    }
}

#[test]
fn malformed_metadata_and_vocabularies_of_gguf_are_refused_with_the_reason() {
    read_model("file", gguf_with(&|_| ())).expect("it is good");
    let tokens = "tokenizer.ggml.tokens";
    let spm = |m: &mut Metadata, scores: &dyn Fn(usize) -> Vec<f32>| {
        set(m, "tokenizer.ggml.model", "llama".into());
        let count = texts(m, tokens).len();
        set(m, "tokenizer.ggml.scores", Value::Floats(scores(count)));
    };
    let cases: &[Case<Metadata>] = &[
        (
            "architecture",
            &|m| m.retain(|(key, _)| key != "general.architecture"),
            &["lack `general.architecture`"],
        ),
        ("another", &|m| set(m, "general.architecture", "rwkv".into()), &["`rwkv`; only llama"]),
        (
            "a type",
            &|m| set(m, "llama.block_count", "two".into()),
            &["`llama.block_count` is \"two\"; expected a count"],
        ),
        (
            "a negative size",
            &|m| set(m, "llama.embedding_length", Value::I32(-16)),
            &["`llama.embedding_length` is -16; expected a count"],
        ),
        (
            "no heads",
            &|m| set(m, "llama.attention.head_count", Value::U32(0)),
            &["only 0 is offered"],
        ),
        ("layers", &|m| set(m, "llama.block_count", Value::U64(1 << 40)), &["`layers` is"]),
        ("many layers", &|m| set(m, "llama.block_count", Value::U32(60_000)), &["60000 layers"]),
        (
            "a width",
            &|m| set(m, "llama.embedding_length", Value::U32(18)),
            &["`llama.rope.dimension_count` is 8; only 9 is offered"],
        ),
        (
            "a key that lacks",
            &|m| m.retain(|(key, _)| key != "llama.context_length"),
            &["lack `llama.context_length`"],
        ),
        (
            "epsilon",
            &|m| {
                set(m, "llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN));
            },
            &["`llama.attention.layer_norm_rms_epsilon` is NaN; expected a finite number"],
        ),
        (
            "theta",
            &|m| set(m, "llama.rope.freq_base", Value::F64(f64::INFINITY)),
            &["`llama.rope.freq_base` is inf"],
        ),
        ("experts", &|m| set(m, "llama.expert_count", Value::U32(8)), &["mixture of experts"]),
        (
            "tokens that are no texts",
            &|m| set(m, tokens, Value::Integers(vec![1])),
            &["`tokenizer.ggml.tokens` is a list of 1 integers; expected a list of texts"],
        ),
        (
            "a token of two",
            &|m| texts(m, tokens)[5] = texts(m, tokens)[7].clone(),
            &["tokenizer: tokens 5 and 7 are both"],
        ),
        (
            "kinds",
            &|m| set(m, "tokenizer.ggml.token_type", Value::Integers(vec![1; 3])),
            &["but the kinds of 3"],
        ),
        (
            "a kind",
            &|m| {
                let count = texts(m, tokens).len();
                let mut kinds = vec![1; count];
                kinds[2] = 77;
                set(m, "tokenizer.ggml.token_type", Value::Integers(kinds));
            },
            &["tokenizer: token 2 is of the unknown kind 77"],
        ),
        (
            "a merge",
            &|m| texts(m, "tokenizer.ggml.merges")[0] = "nothing".into(),
            &["tokenizer: merge 0, \"nothing\", is no two tokens"],
        ),
        (
            "a first token",
            &|m| {
                set(m, "tokenizer.ggml.add_bos_token", Value::Bool(true));
                set(m, "tokenizer.ggml.bos_token_id", Value::U32(1 << 30));
            },
            &["tokenizer: the bos token is 1073741824, but there are"],
        ),
        ("a way to cut", &|m| set(m, "tokenizer.ggml.pre", "chop".into()), &["`chop`"]),
        ("a kind of vocabulary", &|m| set(m, "tokenizer.ggml.model", "bert".into()), &["`bert`"]),
        ("no scores", &|m| spm(m, &|_| vec![]), &["does not have the scores of"]),
        (
            "a score",
            &|m| spm(m, &|count| vec![f32::NAN; count]),
            &["tokenizer: the score of token 0 is not a number"],
        ),
    ];
    for (what, change, parts) in cases {
        assert_refused(what, read_model("file", gguf_with(change)), parts);
    }
}

/// Writes a number into a header.
fn put(bytes: &mut [u8], at: usize, number: i32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn malformed_files_of_llama2c_are_refused_with_the_reason() {
    // Where the sizes begin: dim, hidden, layers, heads, key and value heads, tokens, sequence.
    for (version, sizes) in [(0, 0), (1, 8), (2, 8)] {
        let whole = bytes_of(&format!("llama2c-v{version}.bin"));
        read_model("file", whole.clone()).expect("it is good");
        let dim = i32::from_le_bytes(whole[sizes..sizes + 4].try_into().expect("four"));
        let cases: &[Case<Vec<u8>>] = &[
            ("no width", &|b| put(b, sizes, 0), &["a size of 0"]),
            ("negative layers", &|b| put(b, sizes + 8, -2), &["a size of -2"]),
            ("heads that do not fit", &|b| put(b, sizes + 12, dim - 1), &["do not divide"]),
            ("more layers", &|b| put(b, sizes + 8, 3), &["bytes, but it has"]),
            ("layers without end", &|b| put(b, sizes + 8, i32::MAX), &["`layers` is 2147483647"]),
            ("many layers", &|b| put(b, sizes + 8, 65_000), &["parameters cannot be in"]),
            ("a large vocabulary", &|b| put(b, sizes + 20, i32::MAX), &["cannot be in"]),
            (
                "everything large",
                &|b| (0..7).for_each(|i| put(b, sizes + 4 * i, i32::MAX)),
                &["`layers` is 2147483647"],
            ),
            ("one byte less", &|b| b.truncate(b.len() - 1), &["bytes, but it has"]),
            ("a byte behind", &|b| b.push(0), &["bytes, but it has"]),
            ("half", &|b| b.truncate(b.len() * 9 / 10), &["tensor `", "the file ends in it"]),
            ("the header", &|b| b.truncate(20), &["bytes are to follow byte"]),
        ];
        for (what, change, parts) in cases {
            let mut bytes = whole.clone();
            change(&mut bytes);
            assert_refused(&format!("version {version}, {what}"), read_model("file", bytes), parts);
        }
    }
    let whole = bytes_of("llama2c-v2.bin");
    let source = Source::of_memory("file", whole.clone()).expect("it is good");
    let name = "model.layers.1.self_attn.k_proj.weight";
    let info = source.stored(name).expect("it is there");
    let Encoding::Int8 { scales, .. } = info.encoding else { panic!("{info:?}") };
    let scale = |b: &mut Vec<u8>, value: f32| put(b, scales as usize, value.to_bits() as i32);
    let cases: &[Case<Vec<u8>>] = &[
        ("version", &|b| put(b, 4, 7), &["version 7 of llama2.c; 0, 1 and 2 are read"]),
        ("flag", &|b| b[36] = 2, &["the flag for a shared classifier is 2"]),
        ("no group", &|b| put(b, 37, 0), &["its groups have no elements"]),
        ("a group", &|b| put(b, 37, 7), &["has no whole groups of 7 elements"]),
        ("a group without end", &|b| put(b, 37, -1), &["has no whole groups of 4294967295"]),
        ("NaN", &|b| scale(b, f32::NAN), &[name, "the scale of group 0 is not finite"]),
        ("∞", &|b| scale(b, f32::NEG_INFINITY), &[name, "the scale of group 0 is not finite"]),
        ("large", &|b| scale(b, 3e38), &[name, "the scale of group 0 is too large"]),
    ];
    for (what, change, parts) in cases {
        let mut bytes = whole.clone();
        change(&mut bytes);
        assert_refused(what, read_model("file", bytes), parts);
    }
}

#[test]
fn malformed_blzt_is_refused_with_the_reason() {
    let whole = bytes_of("blzt-v4.bin");
    read_model("file", whole.clone()).expect("it is good");
    let cases: &[Case<Vec<u8>>] = &[
        ("version", &|b| put(b, 4, 3), &["version 3 of a BLZT checkpoint; 2 and 4 are read"]),
        ("no layers", &|b| put(b, 16, 0), &["a size in its header is not positive"]),
        ("negative tokens", &|b| put(b, 20, -5), &["a size in its header is not positive"]),
        ("layers", &|b| put(b, 16, 3), &["their moments do not make a file of"]),
        ("layers without end", &|b| put(b, 16, i32::MAX), &["`layers` is 2147483647"]),
        (
            "everything large",
            &|b| (4..10).for_each(|i| put(b, 4 * i, i32::MAX)),
            &["but 16 elements for the queries"],
        ),
        ("no heads", &|b| put(b, 84, 0), &["its heads do not fit its width"]),
        ("a head", &|b| put(b, 88, -8), &["its heads do not fit its width"]),
        ("queries", &|b| put(b, 92, 1), &["but 1 elements for the queries"]),
        ("one byte less", &|b| b.truncate(b.len() - 1), &["do not make a file of"]),
        ("a byte behind", &|b| b.push(0), &["do not make a file of"]),
        ("the header", &|b| b.truncate(90), &["90 bytes are too few for its header"]),
    ];
    for (what, change, parts) in cases {
        let mut bytes = whole.clone();
        change(&mut bytes);
        assert_refused(what, read_model("file", bytes), parts);
    }
}

#[test]
fn malformed_vocabularies_of_llama2c_are_refused_with_the_token_and_the_reason() {
    let make = |longest: u32, tokens: &[(f32, u32, &[u8])]| {
        let mut out = longest.to_le_bytes().to_vec();
        for (score, length, text) in tokens {
            out.extend(score.to_le_bytes());
            out.extend(length.to_le_bytes());
            out.extend(*text);
        }
        out
    };
    let good: [(f32, u32, &[u8]); 5] =
        [(0.0, 5, b"<unk>"), (0.0, 3, b"<s>"), (0.0, 4, b"</s>"), (-1.0, 1, b"a"), (-2.0, 1, b"b")];
    let read = |bytes: Vec<u8>, count| from_llama2c(&Input::memory("file", bytes), count);
    read(make(5, &good), 5).expect("it is good");
    let changed = |token: (f32, u32, &'static [u8])| {
        let mut all = good;
        all[4] = token;
        make(5, &all)
    };
    let whole = make(5, &good);
    let long = [&changed((0.0, 900, b"b"))[4..]].concat();
    let cases: &[(&str, Vec<u8>, usize, &str)] = &[
        ("no tokens", whole.clone(), 2, "bytes are too few for 2 tokens"),
        ("many tokens", whole.clone(), 1 << 40, "bytes are too few for 1099511627776 tokens"),
        ("another vocabulary", whole.clone(), 4, "bytes follow its 4 tokens"),
        ("one more", whole.clone(), 6, "bytes are to follow byte"),
        ("cut", whole[..whole.len() - 1].to_vec(), 5, "1 bytes are to follow byte"),
        ("a length", changed((0.0, 6, b"b")), 5, "token 4 has 6 bytes, but the longest has 5"),
        ("a negative length", changed((0.0, u32::MAX, b"b")), 5, "token 4 has 4294967295 bytes"),
        ("two lengths", [vec![0xff; 4], long].concat(), 5, "900 bytes are to follow byte"),
        ("letters", changed((0.0, 1, b"\xff")), 5, "token 4 is not UTF-8"),
        ("two of one", changed((0.0, 1, b"a")), 5, "tokens 3 and 4 are both \"a\""),
        ("a score", changed((f32::NAN, 1, b"b")), 5, "the score of token 4 is not a number"),
    ];
    for (what, bytes, count, part) in cases {
        assert_refused(what, read(bytes.clone(), *count).map(|_| ()), &[part]);
    }
    // Every substring of a long token is a token: as many pairs as its bytes squared.
    let runs: Vec<Vec<u8>> = (1..=250).map(|n| vec![b'a'; n]).collect();
    let more = (b'b'..=b'z').flat_map(|letter| (1..=250).map(move |n| vec![letter; n]));
    let runs: Vec<Vec<u8>> = runs.into_iter().chain(more).collect();
    let specials = good[..3].iter().copied();
    let tokens = specials.chain(runs.iter().map(|run| (0.0, run.len() as u32, run.as_slice())));
    let tokens: Vec<_> = tokens.collect();
    let result = read(make(250, &tokens), tokens.len());
    assert_refused("pairs", result.map(|_| ()), &["are made of more than 169", "pairs of others"]);
}
