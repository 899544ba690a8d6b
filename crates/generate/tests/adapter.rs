//! Adapters are loaded, exchanged and taken away without compiling anything again.

use cpu::CpuDevice;
use generate::{Adapter, Error, Generator, GeneratorOptions, Weights};
use mil::DataType;
use models::{Activation, Architecture, Config, Lora, Parameter};
use runtime::Products;
use surface::Surface;

fn config() -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    let (dim, layers, heads, kv_heads, head_dim) = (24, 2, 4, 2, 6);
    Config { dim, layers, heads, kv_heads, head_dim, hidden: 40, vocab: 50, ..tiny }
}

fn gpt2() -> Config {
    let (architecture, activation) = (Architecture::Gpt2, Activation::GeluTanh);
    Config { kv_heads: 4, architecture, activation, ..config() }
}

fn filled(parameters: Vec<Parameter>, seed: u64) -> Weights {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut fill = |p: Parameter| {
        let center = if p.dims.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            (0..p.dims.iter().product()).map(|_| center + 0.5 * random()).collect();
        (p.name, Surface::from_slice(&values).expect("memory"))
    };
    parameters.into_iter().map(&mut fill).collect()
}

fn lora(rank: usize, targets: &[&str]) -> Lora {
    let targets = targets.iter().map(|&t| t.to_owned()).collect();
    Lora { rank, alpha: 2.0, rank_stabilized: false, dropout: 0.1, targets }
}

fn adapter(config: &Config, lora: Lora, seed: u64) -> Adapter {
    let weights = filled(lora.parameters(config).expect("it fits"), seed);
    Adapter { lora, weights }
}

fn generator(config: &Config, weights: &Weights, lora: Option<Lora>) -> Generator {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let (compute, products) = (DataType::Fp32, Products::Native);
    let options =
        GeneratorOptions { capacity: 60, compute, stored: DataType::Fp32, products, lora };
    Generator::new(&device, config, weights, options).expect("it compiles")
}

fn scores(generator: &mut Generator) -> Vec<f32> {
    generator.clear();
    let tokens: Vec<u32> = (0..40).map(|i| (i * i + 3 * i) % 50).collect();
    generator.read(&tokens, <[f32]>::to_vec).expect("there is room")
}

/// The weights with an adapter merged into them.
fn merged(config: &Config, weights: &Weights, adapter: &Adapter) -> Weights {
    let values = |s: &Surface| s.read().expect("free").as_slice::<f32>().to_vec();
    let merge = |(name, surface): (&String, &Surface)| {
        let mut w = values(surface);
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let matrix = |letter| format!("base_model.model.{module}.lora_{letter}.weight");
        if let Some(a) = adapter.weights.get(&matrix('A')) {
            let b = values(&adapter.weights[&matrix('B')]);
            adapter.lora.merge(config, &mut w, &values(a), &b);
        }
        (name.clone(), Surface::from_slice(&w).expect("memory"))
    };
    weights.iter().map(merge).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    let top = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in found.iter().zip(expected) {
        // Sums of a few dozen terms in another order, through two layers.
        assert!((a - b).abs() < 1e-4 * top, "{a} is not {b}");
    }
}

#[test]
fn adapters_are_exchanged_without_compiling() {
    for (config, some, one) in
        [(config(), ["q_proj", "down_proj"], "v_proj"), (gpt2(), ["attn.c_proj", "c_fc"], "c_attn")]
    {
        exchange(&config, &some, one);
    }
}

fn exchange(config: &Config, some: &[&str], one: &str) {
    let weights = filled(models::parameters(config).expect("valid"), 5);
    let plain = scores(&mut generator(config, &weights, None));
    let mut adapted = generator(config, &weights, Some(lora(4, &["all-linear"])));
    assert_near(&scores(&mut adapted), &plain);
    let adapters = [
        adapter(config, lora(4, &["all-linear"]), 1),
        adapter(config, lora(2, some), 2),
        adapter(config, lora(1, &[one]), 3),
    ];
    for adapter in &adapters {
        adapted.set_adapter(Some(adapter)).expect("there is room for it");
        let found = scores(&mut adapted);
        assert_near(
            &found,
            &scores(&mut generator(config, &merged(config, &weights, adapter), None)),
        );
        assert!(found.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-2));
    }
    adapted.set_adapter(None).expect("it is taken away");
    assert_near(&scores(&mut adapted), &plain);
}

#[test]
fn what_does_not_fit_is_refused_and_the_adapter_before_stays() {
    let config = &config();
    let weights = filled(models::parameters(config).expect("valid"), 5);
    let mut adapted = generator(config, &weights, Some(lora(2, &["q_proj"])));
    adapted.set_adapter(Some(&adapter(config, lora(2, &["q_proj"]), 1))).expect("it fits");
    let before = scores(&mut adapted);
    let mut refused = |adapter: &Adapter| {
        adapted.set_adapter(Some(adapter)).expect_err("it does not fit").to_string()
    };
    assert_eq!(
        refused(&adapter(config, lora(3, &["q_proj"]), 2)),
        "the adapter has rank 3, the generator was compiled for ranks up to 2"
    );
    assert_eq!(
        refused(&adapter(config, lora(2, &["q_proj", "k_proj"]), 2)),
        "the adapter has `base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight`, for \
         which the generator was not compiled"
    );
    let mut short = adapter(config, lora(2, &["q_proj"]), 2);
    let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    short.weights.insert(name.into(), Surface::new(8).expect("memory"));
    assert_eq!(refused(&short), format!("parameter `{name}` needs 192 bytes, found 8"));
    assert_eq!(scores(&mut adapted), before);
    let mut plain = generator(config, &weights, None);
    let error = plain.set_adapter(Some(&short)).expect_err("not compiled for any");
    assert!(matches!(error, Error::AdapterRank { found: 2, room: 0 }));
}
