//! One model in every format: what is read, what is written, and what is refused.

use checkpoints::formats::{gguf, safetensors};
use checkpoints::{Encoding, Format, Model, Place, Source, Target, convert, save};
use models::{Activation, AttentionBias, Config, Parameter, RopeScaling, RopeStyle, parameters};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokenizers::Tokenizer;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn open(name: &str) -> Source {
    Source::open(&fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn values(source: &Source) -> Vec<(Parameter, Vec<f32>)> {
    let all = parameters(source.config()).expect("the configuration is valid");
    let mut all: Vec<_> = all
        .into_iter()
        .map(|parameter| {
            let count = parameter.dims.iter().product();
            (parameter, vec![0.0; count])
        })
        .collect();
    let read = AtomicUsize::new(0);
    let targets =
        all.iter_mut().map(|(parameter, out)| (&*parameter, Place::Fp32(&mut out[..]))).collect();
    let progress = |count| {
        read.fetch_add(count, Ordering::Relaxed);
    };
    source.read_all(targets, 3, &progress).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read.into_inner(), all.iter().map(|(_, values)| values.len()).sum::<usize>());
    for (parameter, values) in &all {
        let mut alone = vec![0.0; values.len()];
        source.read(parameter, &mut alone).expect("it was read before");
        assert_eq!(&alone, values, "{}", parameter.name);
    }
    all
}

/// Compares every parameter; `tolerance` is relative to the largest of its values.
fn assert_same(a: &Source, b: &Source, tolerance: f32) {
    assert_eq!(a.config(), b.config());
    for ((parameter, a), (other, b)) in values(a).into_iter().zip(values(b)) {
        assert_eq!(parameter, other);
        let most = a.iter().fold(0_f32, |most, value| most.max(value.abs()));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            let name = &parameter.name;
            assert!((a - b).abs() <= tolerance * most, "{name}[{i}]: {a} and {b}");
        }
    }
}

const FORMATS: [(&str, Format); 6] = [
    ("llama", Format::HuggingFace),
    ("llama.gguf", Format::Gguf),
    ("llama2c-v0.bin", Format::Llama2c(0)),
    ("llama2c-v1.bin", Format::Llama2c(1)),
    ("llama2c-v2.bin", Format::Llama2c(2)),
    ("blzt-v4.bin", Format::Blzt(4)),
];

/// What a format loses: 8-bit integers have half a step of 1/127; BLZT has some of its matrices
/// divided, by another package, and multiplied back.
fn tolerance(format: Format) -> f32 {
    match format {
        Format::Llama2c(2) => 0.51 / 127.0,
        Format::Blzt(_) => 1e-6,
        _ => 0.0,
    }
}

#[test]
fn every_format_gives_the_same_model() {
    let truth = open("llama");
    for (name, format) in FORMATS {
        let source = open(name);
        assert_eq!(source.format(), format);
        assert_same(&truth, &source, tolerance(format));
    }
}

fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<u32> {
    tokenizer.encode_fast(text, special).expect("it can be encoded").get_ids().to_vec()
}

/// Checks the tokens of texts, and that they come back.
fn assert_tokens(json: &str, kind: &str) {
    let tokenizer: Tokenizer = json.parse().unwrap_or_else(|error| panic!("{kind}: {error}"));
    let file = std::fs::read(fixture("tokens.json")).expect("the fixture is there");
    let file: Value = serde_json::from_slice(&file).expect("it is JSON");
    let texts = file["texts"].as_array().expect("texts");
    for (text, expected) in texts.iter().zip(file[kind].as_array().expect("tokens of each")) {
        let text = text.as_str().expect("a text");
        let found = ids(&tokenizer, text, false);
        assert_eq!(Value::from(found.clone()), *expected, "{kind}: {text:?}");
        assert_eq!(tokenizer.decode(&found, false).expect("it can be decoded"), text);
    }
}

#[test]
fn vocabularies_of_other_formats_give_the_same_tokens() {
    let gguf = open("llama.gguf").tokenizer().expect("it is read").expect("it is there");
    assert_tokens(&gguf, "byte_level");
    let spm = open("llama2c-v1.bin").tokenizer().expect("it is read").expect("it is there");
    assert_tokens(&spm, "sentencepiece");
    let spm: Tokenizer = spm.parse().expect("it is a tokenizer");
    assert_eq!(ids(&spm, "cat", true)[0], 1, "texts begin with a token of their own");
    assert_eq!(ids(&spm, "</s>", false), [2]);
}

#[test]
fn what_is_converted_reads_as_the_same_model() {
    let folder = scratch("converted");
    let truth = open("llama");
    let shard = 16_000;
    let cases = [
        ("whole", Target::HuggingFace { shard: 1 << 40 }, Encoding::BF16),
        ("shards", Target::HuggingFace { shard }, Encoding::F32),
        ("half", Target::HuggingFace { shard }, Encoding::F16),
        ("a.gguf", Target::Gguf, Encoding::F32),
        ("b.gguf", Target::Gguf, Encoding::BF16),
        ("c.gguf", Target::Gguf, Encoding::F16),
        ("d.gguf", Target::Gguf, Encoding::Q8_0),
        ("v0.bin", Target::Llama2c(0), Encoding::F32),
        ("v1.bin", Target::Llama2c(1), Encoding::F32),
        ("v2.bin", Target::Llama2c(2), Encoding::Q8_0),
        ("blzt.bin", Target::Blzt, Encoding::F32),
    ];
    for (name, target, encoding) in cases {
        let path = folder.join(name);
        let saved = convert(&truth, target, &path, encoding, false, &|_| {});
        let saved = saved.unwrap_or_else(|error| panic!("{error}"));
        let back = Source::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let tolerance = match encoding {
            Encoding::F16 => 1e-3,
            // Half a step and the rounding of the scale to half precision.
            Encoding::Q8_0 => 0.51 / 127.0 + 1e-3,
            _ if target == Target::Blzt => 1e-6,
            _ => 0.0,
        };
        assert_same(&truth, &back, tolerance);
        let on_disk: u64 = if path.is_dir() { 0 } else { path.metadata().expect("a file").len() };
        assert!(saved.bytes > 0 && (path.is_dir() || on_disk >= saved.bytes), "{name}");
        match target {
            Target::HuggingFace { .. } => {
                assert_eq!(back.tokenizer().expect("read"), truth.tokenizer().expect("read"));
                assert_eq!(back.sidecars().expect("read"), truth.sidecars().expect("read"));
                assert_eq!(path.join(safetensors::INDEX).exists(), name != "whole");
            }
            Target::Gguf => {
                assert_tokens(&back.tokenizer().expect("read").expect("there"), "byte_level");
                let file = gguf::open(&path).expect("it is valid");
                let template = file.metadata.text("tokenizer.chat_template");
                assert_eq!(template.expect("a text"), Some("{{ messages }}"));
                assert_eq!(back.config_json()["eos_token_id"], 0);
            }
            _ => assert_eq!(saved.left_out.len(), 1, "the tokenizer has no place there"),
        }
        // From there on to the others: BLZT has other rows, GGUF other pairs.
        let again = folder.join(format!("{name}.again"));
        let shard = Target::HuggingFace { shard };
        convert(&back, shard, &again, Encoding::F32, false, &|_| {}).expect("it is converted");
        assert_same(&back, &Source::open(&again).expect("it is valid"), 0.0);

        let error = convert(&truth, target, &path, encoding, false, &|_| {});
        let error = error.expect_err("it is there").to_string();
        assert!(error.contains("exists already"), "{error}");
    }
    let left = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("one"));
    let left: Vec<_> = left.filter(|entry| entry.path().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_vocabulary_with_scores_goes_through_every_format() {
    let folder = scratch("scores");
    let source = open("llama2c-v0.bin");
    let (one, two) = (folder.join("a.gguf"), folder.join("two"));
    convert(&source, Target::Gguf, &one, Encoding::F32, false, &|_| {}).expect("converted");
    let gguf = Source::open(&one).expect("it is valid");
    assert_tokens(&gguf.tokenizer().expect("read").expect("there"), "sentencepiece");
    let target = Target::HuggingFace { shard: 1 << 40 };
    convert(&gguf, target, &two, Encoding::F32, false, &|_| {}).expect("converted");
    let hugging_face = Source::open(&two).expect("it is valid");
    assert_tokens(&hugging_face.tokenizer().expect("read").expect("there"), "sentencepiece");
    let three = folder.join("three.bin");
    let target = Target::Llama2c(1);
    let saved = convert(&hugging_face, target, &three, Encoding::F32, false, &|_| {});
    assert_eq!(saved.expect("converted").left_out, Vec::<String>::new());
    let last = Source::open(&three).expect("it is valid");
    assert_tokens(&last.tokenizer().expect("read").expect("there"), "sentencepiece");
    assert_same(&source, &last, 0.0);
}

/// A model with made-up values.
fn made(config: Config) -> impl Fn(&Parameter) -> Vec<f32> {
    let all = parameters(&config).expect("the configuration is valid");
    move |parameter: &Parameter| {
        let index = all.iter().position(|other| other.name == parameter.name).expect("one of them");
        let count: usize = parameter.dims.iter().product();
        (0..count).map(|i| ((index * 31 + i * 7) % 101) as f32 / 64.0 - 0.75).collect()
    }
}

fn save_made(config: &Config, target: Target, path: &Path) -> Result<Source, String> {
    let made = made(*config);
    let model = Model { config, json: None, tokenizer: None, sidecars: &[] };
    let encoding = Encoding::F32;
    save(target, path, encoding, false, &model, &mut |parameter, see| see(&made(parameter)))
        .map_err(|error| error.to_string())?;
    Ok(Source::open(path).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn configurations_of_the_families_survive_the_formats() {
    let folder = scratch("families");
    let tiny = Config::preset("tiny").expect("the preset is there");
    let small = Config { dim: 32, hidden: 48, heads: 2, kv_heads: 1, head_dim: 16, ..tiny };
    let small = Config { layers: 3, vocab: 40, max_seq: 16, ..small };
    let qwen3 = Config { qk_norm: true, head_dim: 24, rope_theta: 1e6, norm_eps: 1e-6, ..small };
    let scaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_seq: 8192,
    };
    let llama3 = Config { rope_theta: 5e5, rope_scaling: Some(scaling), ..small };
    let linear = Config { rope_scaling: Some(RopeScaling::Linear { factor: 4.0 }), ..small };
    let untied = Config { tied: false, ..small };
    let qwen2 = Config { attention_bias: AttentionBias::Inputs, ..small };
    let biases = Config { attention_bias: AttentionBias::All, mlp_bias: true, ..small };
    let (norm_plus_one, embedding_scale, activation) = (true, true, Activation::GeluTanh);
    let gemma = Config { norm_plus_one, embedding_scale, activation, ..small };
    let mistral = Config { sliding_window: Some(9), ..small };
    let cases = [
        ("llama", small),
        ("untied", untied),
        ("qwen3", qwen3),
        ("llama3", llama3),
        ("linear", linear),
        ("qwen2", qwen2),
        ("biases", biases),
        ("gemma", gemma),
        ("mistral", mistral),
    ];
    for (name, config) in cases {
        for (file, target) in [
            (name.to_owned(), Target::HuggingFace { shard: 1 << 40 }),
            (format!("{name}.gguf"), Target::Gguf),
        ] {
            let source = save_made(&config, target, &folder.join(file)).expect(name);
            let mut expected = config;
            if let (Target::Gguf, Some(window)) = (target, config.sliding_window) {
                // Up to its window it is a Llama, and so it is written.
                expected = Config { max_seq: window, sliding_window: None, ..config };
            }
            assert_eq!(source.config(), &expected, "{name}");
            let truth = made(config);
            for (parameter, values) in values(&source) {
                assert_eq!(values, truth(&parameter), "{name}: {}", parameter.name);
            }
        }
    }
    for version in [0, 1] {
        let path = folder.join(format!("untied-{version}.bin"));
        let source = save_made(&untied, Target::Llama2c(version), &path).expect("it is saved");
        assert_eq!(source.config(), &untied);
        let truth = made(untied);
        for (parameter, values) in values(&source) {
            assert_eq!(values, truth(&parameter), "{}", parameter.name);
        }
    }
    for (name, config) in [("qwen3", qwen3), ("llama3", llama3)] {
        let path = folder.join(format!("{name}.bin"));
        let error = save_made(&config, Target::Llama2c(0), &path).expect_err("no place");
        assert!(error.contains("plain models of type llama only"), "{error}");
        assert!(!path.exists());
    }
    for (name, config, expected) in [
        (
            "gelu",
            Config { activation, ..small },
            "have no place for the activation gelu_pytorch_tanh",
        ),
        (
            "bias",
            Config { attention_bias: AttentionBias::All, ..qwen3 },
            "have no place for biases",
        ),
        ("head", Config { tied: false, ..gemma }, "have no classifier beside the embedding"),
    ] {
        let path = folder.join(format!("{name}.gguf"));
        let error = save_made(&config, Target::Gguf, &path).expect_err(name);
        assert!(error.contains(expected), "{error}");
    }
    let error = save_made(&untied, Target::Blzt, &folder.join("b.bin")).expect_err("no place");
    assert!(error.ends_with("this format has no classifier beside the embedding"), "{error}");
}

#[test]
fn interleaved_models_are_saved_in_halves() {
    let folder = scratch("interleaved");
    let tiny = Config::preset("tiny").expect("the preset is there");
    let config = Config { layers: 1, vocab: 16, rope: RopeStyle::Interleaved, ..tiny };
    let truth = made(config);
    let read = |name: &str, target| {
        let source = save_made(&config, target, &folder.join(name)).expect("it is saved");
        assert_eq!(source.config().rope, RopeStyle::Halves);
        values(&source)
    };
    let all = read("a", Target::HuggingFace { shard: 1 << 40 });
    assert_eq!(all, read("a.gguf", Target::Gguf));
    assert_eq!(all, read("a.bin", Target::Llama2c(0)));
    let (q, values) = all.iter().find(|(p, _)| p.name.contains("q_proj")).expect("it has queries");
    let old = truth(q);
    // Row 1 of the second head is row 2 of it in the other style.
    let (dim, width) = (config.dim, config.head_dim);
    assert_eq!(values[(width + 1) * dim..][..dim], old[(width + 2) * dim..][..dim]);
}

/// A copy of the Hugging Face directory, to be changed.
fn copy(name: &str) -> PathBuf {
    let folder = scratch(name);
    for entry in std::fs::read_dir(fixture("llama")).expect("the fixture is there") {
        let entry = entry.expect("the fixture is there");
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("it is copied");
    }
    folder
}

fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let text = std::fs::read(path).expect("it is there");
    let mut json = serde_json::from_slice(&text).expect("it is JSON");
    change(&mut json);
    std::fs::write(path, json.to_string()).expect("it is written");
}

#[test]
fn tensors_that_do_not_fit_the_model_are_named() {
    let folder = copy("misfits");
    let config = folder.join("config.json");
    let refusal = |change: &dyn Fn(&mut Value)| {
        let before = std::fs::read(&config).expect("it is there");
        edit(&config, change);
        let error = Source::open(&folder).expect_err("it is refused").to_string();
        std::fs::write(&config, before).expect("it is written");
        error
    };
    let error = refusal(&|json| json["tie_word_embeddings"] = false.into());
    assert!(error.ends_with("the model needs `lm_head.weight`, which it does not have"), "{error}");
    let error = refusal(&|json| json["num_hidden_layers"] = 1.into());
    assert!(error.contains("it has `model.layers.1.input_layernorm.weight`, "), "{error}");
    assert!(error.ends_with(" and 6 more, which the model does not have"), "{error}");
    let error = refusal(&|json| json["intermediate_size"] = 31.into());
    let expected = "tensor `model.layers.0.mlp.gate_proj.weight`: it is [32, 16], but the model \
                    needs [31, 16]";
    assert!(error.ends_with(expected), "{error}");
    let error = refusal(&|json| json["num_hidden_layers"] = 60_000.into());
    assert!(error.ends_with("60000 layers, but only 20 tensors"), "{error}");
    let error = refusal(&|json| json["model_type"] = "mystery".into());
    assert!(error.contains("`model_type` is mystery"), "{error}");
    std::fs::remove_file(&config).expect("it is there");
    let error = Source::open(&folder).expect_err("it is no model").to_string();
    assert!(error.contains("no checkpoint there"), "{error}");
}

#[test]
fn buffers_prefixes_and_runs_are_understood() {
    // A run with two checkpoints.
    let run = scratch("run");
    for (name, from) in [("step-00000010", "llama"), ("step-00000020", "llama")] {
        std::fs::create_dir(run.join(name)).expect("it is made");
        for entry in std::fs::read_dir(fixture(from)).expect("the fixture is there") {
            let entry = entry.expect("the fixture is there");
            let to = run.join(name).join(entry.file_name());
            std::fs::copy(entry.path(), to).expect("it is copied");
        }
    }
    edit(&run.join("step-00000010/config.json"), |json| json["max_position_embeddings"] = 7.into());
    let seq = || Source::open(&run).expect("a checkpoint is found").config().max_seq;
    assert_eq!(seq(), 24, "the newest");
    std::fs::write(run.join("latest"), "step-00000010\n").expect("it is written");
    assert_eq!(seq(), 7, "the one that is named");
    std::fs::write(run.join("latest"), "../step-00000010").expect("it is written");
    assert_eq!(seq(), 24, "a name that leads elsewhere is none");

    // Names without their prefix, and tensors that nobody needs.
    let truth = open("llama");
    let folder = copy("prefix");
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let bytes = std::fs::read(folder.join(shard)).expect("it is there");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
        let entries = header.as_object_mut().expect("an object");
        *entries = std::mem::take(entries)
            .into_iter()
            .map(|(name, entry)| (name.trim_start_matches("model.").to_owned(), entry))
            .collect();
        let mut data = bytes[8 + length..].to_vec();
        if shard.starts_with("model-00002") {
            let at = data.len();
            data.extend([0; 8]);
            entries.insert(
                "layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
                serde_json::json!({ "dtype": "F32", "shape": [2], "data_offsets": [at, at + 8] }),
            );
        }
        let header = header.to_string();
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header.as_bytes());
        out.extend(data);
        std::fs::write(folder.join(shard), out).expect("it is written");
    }
    edit(&folder.join(safetensors::INDEX), |json| {
        let map = json["weight_map"].as_object_mut().expect("an object");
        *map = std::mem::take(map)
            .into_iter()
            .map(|(name, shard)| (name.trim_start_matches("model.").to_owned(), shard))
            .collect();
    });
    assert_same(&truth, &Source::open(&folder).expect("it is valid"), 0.0);
}

#[test]
fn no_change_of_a_checkpoint_makes_opening_or_reading_panic() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for (name, _) in &FORMATS[1..] {
        let whole = std::fs::read(fixture(name)).expect("the fixture is there");
        let try_out = |bytes: Vec<u8>| {
            let Ok(source) = Source::of_memory(name, bytes) else { return false };
            source.tokenizer().ok();
            for parameter in parameters(source.config()).expect("it was valid") {
                source.visit(&parameter, &mut |_| Ok(())).ok();
            }
            true
        };
        assert!(try_out(whole.clone()), "{name}");
        for _ in 0..200 {
            let length = next(whole.len() - 40);
            assert!(!try_out(whole[..length].to_vec()), "{name} cut at {length} is accepted");
        }
        // The headers in full, the rest here and there.
        for round in 0..3000 {
            let at = if round < 400 { round } else { next(whole.len()) };
            let mut changed = whole.clone();
            changed[at] ^= 1 << next(8);
            try_out(changed);
        }
    }
    let whole = std::fs::read(fixture("tokenizer.bin")).expect("the fixture is there");
    let folder = scratch("tokenizers");
    std::fs::copy(fixture("llama2c-v1.bin"), folder.join("model.bin")).expect("it is copied");
    for round in 0..300 {
        let mut changed = whole.clone();
        match round % 2 {
            0 => changed.truncate(next(whole.len())),
            _ => changed[next(whole.len())] ^= 1 << next(8),
        }
        std::fs::write(folder.join("tokenizer.bin"), changed).expect("it is written");
        let opened = Source::open(&folder.join("model.bin"));
        assert!(round % 2 == 1 || opened.is_err(), "a tokenizer that is cut off is accepted");
    }
}
