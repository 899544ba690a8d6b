//! Reading through the cache gives the scores that the whole sequence at once gives.

use cpu::CpuDevice;
use generate::{Batch, Generator, GeneratorOptions, Weights};
use mil::{DataType, Function, Program};
use models::Activation::GeluTanh;
use models::Layout::TokenMajor;
use models::{Architecture, AttentionBias, Config, Role, Shape};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Products};
use std::collections::BTreeMap;
use surface::Surface;

fn config(rope: models::RopeStyle, qk_norm: bool, tied: bool) -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    let (dim, layers, heads, kv_heads, head_dim) = (24, 3, 4, 2, 6);
    Config {
        dim,
        layers,
        heads,
        kv_heads,
        head_dim,
        hidden: 40,
        vocab: 50,
        max_seq: 320,
        rope,
        qk_norm,
        tied,
        ..tiny
    }
}

/// Parameters that differ from each other, of the size that trained ones have.
fn weights(config: &Config) -> Weights {
    let mut state = 5u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let parameters = models::parameters(config).expect("the configuration is valid");
    let mut filled = |p: models::Parameter| {
        let center = if p.dims.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            (0..p.dims.iter().product()).map(|_| center + 0.5 * random()).collect();
        (p.name, Surface::from_slice(&values).expect("memory"))
    };
    parameters.into_iter().map(&mut filled).collect()
}

/// Evaluates a function whose inputs are all in `named`; adds its outputs.
fn evaluate(device: &CpuDevice, function: Function, named: &mut BTreeMap<String, Surface>) {
    let name = function.name.clone();
    let program = Program::new(vec![function]);
    let executable =
        device.compile(&program, &name, &CompileOptions::default()).expect("it compiles");
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        bindings = bindings.input(&port.name, &named[&port.name]);
    }
    for port in executable.outputs() {
        let surface = Surface::new(port.bytes).expect("memory");
        bindings = bindings.output(&port.name, &surface);
        named.insert(port.name.clone(), surface);
    }
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("it runs");
}

/// The scores after the last of the tokens, by the functions for whole sequences.
fn at_once(device: &CpuDevice, config: &Config, weights: &Weights, tokens: &[u32]) -> Vec<f32> {
    let shape = Shape { batch: 1, seq: tokens.len() };
    let surface = |values: &[f32]| Surface::from_slice(values).expect("memory");
    let ids: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
    let tables = models::rope_tables(config, 0, tokens.len());
    let positions: Vec<i32> = (0..tokens.len() as i32).collect();
    let mut named = BTreeMap::from([
        ("positions".to_owned(), Surface::from_slice(&positions).expect("memory")),
        ("tokens".to_owned(), Surface::from_slice(&ids).expect("memory")),
        ("rope_cos".to_owned(), surface(&tables.cos)),
        ("rope_sin".to_owned(), surface(&tables.sin)),
    ]);
    let parameters = models::parameters(config).expect("the configuration is valid");
    let bind = |named: &mut BTreeMap<String, Surface>, layer: Option<usize>| {
        for p in &parameters {
            let ports = match p.role {
                Role::Layer { index, port } if Some(index) == layer => vec![port],
                role => role.outer_ports(config.tied).to_vec(),
            };
            for port in ports {
                named.insert(port.to_owned(), weights[&p.name].clone());
            }
        }
    };
    let fp32 = DataType::Fp32;
    bind(&mut named, None);
    evaluate(
        device,
        models::embed(config, shape, TokenMajor, fp32).expect("it builds"),
        &mut named,
    );
    for layer in 0..config.layers {
        bind(&mut named, Some(layer));
        evaluate(
            device,
            models::layer(config, shape, TokenMajor, fp32).expect("it builds"),
            &mut named,
        );
        let y = named["y"].clone();
        named.insert("x".to_owned(), y);
    }
    evaluate(device, models::logits(config, shape, fp32).expect("it builds"), &mut named);
    let logits = named["logits"].read().expect("nothing else uses it");
    logits.as_slice::<f32>()[(tokens.len() - 1) * config.vocab..].to_vec()
}

#[test]
fn the_cache_changes_nothing() {
    use models::RopeStyle::{Halves, Interleaved};
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let plain = config(Halves, false, true);
    let configs = [
        config(Halves, true, true),
        config(Interleaved, false, false),
        // Shorter than a chunk, and longer than one of one token.
        Config { sliding_window: Some(7), ..plain },
        Config { sliding_window: Some(60), ..plain },
        Config { attention_bias: AttentionBias::Inputs, ..plain },
        Config { norm_plus_one: true, embedding_scale: true, activation: GeluTanh, ..plain },
        Config {
            architecture: Architecture::Gpt2,
            kv_heads: 4,
            activation: GeluTanh,
            ..config(Halves, false, false)
        },
    ];
    for config in configs {
        let weights = weights(&config);
        let options = GeneratorOptions {
            capacity: 310,
            compute: DataType::Fp32,
            stored: DataType::Fp32,
            products: Products::Native,
            lora: None,
        };
        let mut generator =
            Generator::new(&device, &config, &weights, options).expect("it compiles");
        // Longer than the chunks, so that those and single tokens follow what is cached.
        let tokens: Vec<u32> = (0..300).map(|i| (i * i + 3 * i) % 50).collect();
        let splits =
            [vec![300], vec![3, 257], vec![1, 2, 42], vec![32, 13], vec![40, 1, 1, 1, 1, 1]];
        for split in splits {
            generator.clear();
            let mut done = 0;
            for part in split {
                let next = &tokens[done..done + part];
                let scores = generator.read(next, <[f32]>::to_vec).expect("there is room");
                done += part;
                let expected = at_once(&device, &config, &weights, &tokens[..done]);
                let top = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (a, b) in scores.iter().zip(&expected) {
                    // Sums of a few dozen terms in another order, through three layers.
                    assert!((a - b).abs() < 1e-4 * top, "after {done} tokens: {a} is not {b}");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_reads_nothing() {
    let device = CpuDevice::new(Some(1)).expect("a device");
    let config = config(models::RopeStyle::Halves, false, true);
    let mut weights = weights(&config);
    let options = GeneratorOptions {
        capacity: 4,
        compute: DataType::Fp32,
        stored: DataType::Fp32,
        products: Products::Native,
        lora: None,
    };
    let mut generator =
        Generator::new(&device, &config, &weights, options.clone()).expect("it compiles");
    let error = generator.read(&[1, 50], |_| ()).expect_err("there is no token 50");
    assert_eq!(error.to_string(), "token 50 is not in the vocabulary of 50");
    let error = generator.read(&[1; 5], |_| ()).expect_err("there is room for four");
    assert_eq!(error.to_string(), "the context is full: it holds 4 tokens");
    assert!(matches!(generator.read(&[], |_| ()), Err(generate::Error::NoTokens)));
    assert_eq!(generator.room(), 4);
    weights.remove("model.norm.weight");
    let error = Generator::new(&device, &config, &weights, options).err().expect("one is missing");
    assert_eq!(error.to_string(), "parameter `model.norm.weight` needs 96 bytes, found 0");
}

/// How far two scores are apart, relative to the largest.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let top = b.iter().fold(0f32, |most, v| most.max(v.abs()));
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / top
}

#[test]
fn texts_side_by_side_are_read_as_each_by_itself() {
    let device = CpuDevice::new(Some(2)).expect("a device");
    let plain = config(models::RopeStyle::Halves, true, true);
    let configs = [
        plain,
        Config { sliding_window: Some(5), ..config(models::RopeStyle::Interleaved, false, false) },
        Config { architecture: Architecture::Gpt2, kv_heads: 4, activation: GeluTanh, ..plain },
    ];
    for config in configs.map(|c| Config { qk_norm: c.qk_norm && c.kv_heads == 2, ..c }) {
        let weights = weights(&config);
        let options = GeneratorOptions {
            capacity: 60,
            compute: DataType::Fp32,
            stored: DataType::Fp32,
            products: Products::Native,
            lora: None,
        };
        let mut alone = Generator::new(&device, &config, &weights, options.clone()).expect("built");
        let mut batch = Batch::new(&device, &config, &weights, &options, 3).expect("built");
        let token = |i: u32| (i * i + 3 * i) % 50;
        let mut texts = [vec![], vec![], vec![]];
        // Texts of several lengths; a row pauses, and another begins anew in the middle.
        let mut check = |text: &[u32], scores: &[f32]| {
            alone.clear();
            let expected = alone.read(text, <[f32]>::to_vec).expect("there is room");
            // Products of several rows add in another order than those of one.
            assert!(difference(scores, &expected) < 1e-5, "after {} tokens", text.len());
        };
        for round in 0..12u32 {
            for (row, length) in [(0, 5), (1, 40), (2, 1), (1, 3)] {
                if round == if (row, length) == (1, 3) { 6 } else { 0 } {
                    texts[row] = (0..length).map(|i| token(i + row as u32)).collect();
                    let scores = batch.begin(row, &texts[row], <[f32]>::to_vec).expect("room");
                    check(&texts[row], &scores);
                }
            }
            let next: Vec<Option<u32>> = (0..3)
                .map(|row| (row != 2 || round % 2 == 0).then(|| token(round + 7 * row)))
                .collect();
            let mut all = vec![];
            batch.step(&next, |row, scores| all.push((row, scores.to_vec()))).expect("room");
            assert_eq!(all.len(), next.iter().flatten().count());
            for (row, scores) in all {
                texts[row].extend(next[row]);
                check(&texts[row], &scores);
            }
        }
        assert_eq!(batch.room(1), 60 - texts[1].len());
    }
}

#[test]
fn matrices_in_sixteen_bits_give_what_the_rounded_ones_give() {
    let device = CpuDevice::new(Some(1)).expect("a device");
    let config = config(models::RopeStyle::Halves, true, false);
    let wide = weights(&config);
    let matrices: Vec<String> = models::parameters(&config)
        .expect("the configuration is valid")
        .into_iter()
        .filter_map(|p| (p.dims.len() == 2).then_some(p.name))
        .collect();
    let tokens: Vec<u32> = (0..45).map(|i| (i * i + 3 * i) % 50).collect();
    let read = |weights: &Weights, compute, stored, products| {
        let options = GeneratorOptions { capacity: 50, compute, stored, products, lora: None };
        let mut generator = Generator::new(&device, &config, weights, options).expect("built");
        let mut scores = generator.read(&tokens[..44], <[f32]>::to_vec).expect("there is room");
        scores.extend(generator.read(&tokens[44..], <[f32]>::to_vec).expect("there is room"));
        scores
    };
    for stored in [DataType::Bf16, DataType::Fp16] {
        let (mut narrow, mut rounded) = (wide.clone(), wide.clone());
        for name in &matrices {
            let values: Vec<f64> =
                wide[name].read().unwrap().as_slice::<f32>().iter().map(|&v| v.into()).collect();
            let tensor = mil::Tensor::from_f64s(stored, &[values.len()], &values).unwrap();
            narrow.insert(name.clone(), Surface::from_slice(tensor.bytes()).unwrap());
            let values: Vec<f32> = tensor.to_f64s().into_iter().map(|v| v as f32).collect();
            rounded.insert(name.clone(), Surface::from_slice(&values).unwrap());
        }
        for (compute, products) in [
            (DataType::Fp32, Products::Native),
            (DataType::Fp32, Products::Int8),
            (stored, Products::Native),
        ] {
            let given = read(&narrow, compute, stored, products);
            let expected = read(&rounded, compute, DataType::Fp32, products);
            // Activations are rounded to bytes, or products to the type: a sum in another order
            // can turn the last bit.
            let rounds = products == Products::Int8 || compute != DataType::Fp32;
            let tolerance = if rounds { 1e-2 } else { 1e-5 };
            let found = difference(&given, &expected);
            assert!(found < tolerance, "{stored} {compute} {products:?}: {found:.1e}");
        }
    }
}
