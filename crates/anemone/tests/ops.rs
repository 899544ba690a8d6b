//! `docs/ops.md`, which is written from the op table. `BLESS=1` writes it again.

use anemone::mil::DataType::{
    self, Bf16, Bool, Fp8E4M3Fn, Fp8E5M2, Fp16, Fp32, Fp64, Int4, Int8, Int16, Int32, Int64, Uint1,
    Uint2, Uint3, Uint4, Uint6, Uint8, Uint16, Uint32, Uint64,
};
use anemone::mil::{DefaultValue, OPS, OpSpec, ParamSpec, ParamType};
use passes::autodiff::{Differentiability, differentiability};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Sets of element types that occur often, by the words for them.
const SETS: &[(&str, &[DataType])] = &[
    ("float", &[Fp32, Fp16, Bf16, Fp64]),
    ("number", &[Fp32, Fp16, Bf16, Fp64, Int32, Int64]),
    ("index", &[Int32, Int16, Uint16, Int8, Uint8, Int64, Uint32]),
    (
        "any",
        &[
            Fp32, Fp16, Bf16, Fp64, Int32, Int64, Bool, Int8, Uint8, Int16, Uint16, Uint32, Uint64,
            Int4, Uint1, Uint2, Uint3, Uint4, Uint6, Fp8E4M3Fn, Fp8E5M2,
        ],
    ),
    ("bool", &[Bool]),
    ("string", &[DataType::String]),
];

/// Ops that Core ML's files or the converter's registry have and this table has not, with the
/// reason.
const ABSENT: &[(&str, &str)] = &[
    (
        "custom_layer",
        "calls code of the application that the model belongs to; nothing in the model says what it \
         computes",
    ),
    (
        "conv_quantized",
        "experimental, and written by no converter: quantized convolutions are `conv` with `constexpr_*` \
         weights, or between `quantize` and `dequantize`",
    ),
    (
        "_const_symbolic",
        "the converter's own, for sizes that it does not know yet; none is left in a file",
    ),
    (
        "complex, complex_*",
        "the converter's own: it writes them as ops of real numbers before it writes a file",
    ),
    (
        "coreml_update_state",
        "the converter's own: it becomes `write_state` and `read_state` in a file",
    ),
    (
        "torch_upsample_nearest_neighbor, torch_upsample_bilinear, torch_tensor_assign",
        "the converter's own: they become `resize`, `upsample_*`, `slice_update` and `scatter_nd`",
    ),
];

const HEAD: &str = "# Ops

The ops of MIL that Anemone reads, verifies, evaluates and prints. This file is written from the op
table, `crates/mil/src/op/table.rs`, by `BLESS=1 cargo test -p anemone --test ops`; the same test compares.

- *since* is the first operator set that has the op. Types are those of the newest signature.
- `name: T` is a parameter and its element type, which parameters of the same letter share; `?` says that
  it may be left out, and `=` what it is then; without `=` that follows from the op and the shapes, or
  nothing takes its place. `·c` says that it must be known when the program is compiled. *tuple*,
  *values* (a tuple of any values), *list* and *state* are what they say.
- *gradient* is **yes** if there is a rule (which may refuse certain arguments, with an error that names
  them), the reason why there is nothing to differentiate, or **no**: differentiating through it is then an
  error that names the op.

The interpreter evaluates every op. Whether the CPU device has a kernel for an operation depends on its
arguments; what it has none for it leaves to the interpreter. `anemone run --placement` and
`Session::placement` say which.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    let meanings = meanings();
    let mut text = HEAD.to_owned();
    text.push_str("\n| types | |\n|---|---|\n");
    for (name, set) in SETS.iter().filter(|(name, set)| set.len() > 1 || *name != set[0].name()) {
        writeln!(text, "| {name} | {} |", names(set)).unwrap();
    }
    writeln!(text, "\n## The table\n\n{} ops.\n", OPS.len()).unwrap();
    text.push_str("| op | since | parameters | gradient | meaning |\n|---|---|---|---|---|\n");
    for spec in OPS {
        let gradient = match differentiability(spec.op) {
            Differentiability::Rule => "**yes**".to_owned(),
            Differentiability::Constant(why) => why.to_owned(),
            Differentiability::Missing => "**no**".to_owned(),
        };
        let meaning = meanings.get(spec.name).expect("every row has a comment");
        let (name, since, parameters) = (spec.name, spec.since, parameters(spec));
        let cells = [format!("`{name}`"), since.to_string(), parameters, gradient, meaning.clone()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text.push_str("\n## What is not there\n\n| op | why |\n|---|---|\n");
    for (name, why) in ABSENT {
        let names: Vec<String> = name.split(", ").map(|name| format!("`{name}`")).collect();
        writeln!(text, "| {} | {why} |", names.join(", ")).unwrap();
    }
    text
}

fn names(set: &[DataType]) -> String {
    set.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
}

fn set_name(set: &[DataType]) -> String {
    let known = SETS.iter().find(|(_, known)| *known == set);
    known.map_or_else(|| names(set), |(name, _)| (*name).to_owned())
}

fn parameters(spec: &OpSpec) -> String {
    let mut letters: BTreeMap<char, String> = BTreeMap::new();
    let mut list: Vec<String> = vec![];
    for ParamSpec { name, ty, required, constant, default } in spec.params {
        let ty = match ty {
            ParamType::Tensor(letter, set) => {
                letters.insert(*letter, set_name(set));
                letter.to_string()
            }
            ParamType::Tuple => "tuple".to_owned(),
            ParamType::Values => "values".to_owned(),
            ParamType::List => "list".to_owned(),
            ParamType::State => "state".to_owned(),
            ParamType::Any => "any value".to_owned(),
        };
        let optional = if *required { "" } else { "?" };
        let constant = if *constant { "·c" } else { "" };
        let default = match default {
            DefaultValue::None => String::new(),
            DefaultValue::Int(value) => format!(" = {value}"),
            DefaultValue::Float(value) => format!(" = {value:?}"),
            DefaultValue::Bool(value) => format!(" = {value}"),
            DefaultValue::Str(value) => format!(" = \"{value}\""),
        };
        list.push(format!("`{name}{optional}: {ty}{constant}{default}`"));
    }
    let letters: Vec<String> =
        letters.iter().map(|(letter, set)| format!("{letter}: {set}")).collect();
    let letters =
        if letters.is_empty() { String::new() } else { format!("; {}", letters.join("; ")) };
    format!("{}{letters}", list.join(", "))
}

/// What the comments above the rows of the table say, by the names of the ops.
fn meanings() -> BTreeMap<String, String> {
    let path = root().join("crates/mil/src/op/table.rs");
    let text = fs::read_to_string(path).expect("the table is there");
    let (mut meanings, mut comment) = (BTreeMap::new(), vec![]);
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if let Some((_, rest)) = line.split_once(" \"")
            && let Some((name, rest)) = rest.split_once("\" ")
            && rest.starts_with("Ios")
        {
            meanings.insert(name.to_owned(), comment.join(" "));
        }
        comment.clear();
    }
    meanings
}

#[test]
fn the_document_is_what_the_table_says() {
    let path = root().join("docs/ops.md");
    let text = document();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).expect("the document can be written");
    }
    let recorded = fs::read_to_string(&path).expect("docs/ops.md is there");
    let differs = recorded.lines().zip(text.lines()).find(|(recorded, text)| recorded != text);
    assert!(recorded == text, "docs/ops.md is old, BLESS=1 writes it again: {differs:?}");
}

#[test]
fn what_is_said_to_be_absent_is_not_in_the_table() {
    for name in ABSENT.iter().flat_map(|(names, _)| names.split(", ")) {
        assert!(OPS.iter().all(|spec| spec.name != name), "{name} is in the table");
    }
}
