//! The whole model with states gives the scores that its functions give one by one.

use interp::{Array as Value, Options};
use mil::{DataType, Program};
use models::{Activation, Architecture, AttentionBias, Config, Layout, RopeStyle, Shape};
use std::collections::BTreeMap;

const CAPACITY: usize = 12;

fn config(rope: RopeStyle) -> Config {
    let tiny = Config::preset("tiny").expect("the preset is there");
    Config {
        dim: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        hidden: 20,
        vocab: 30,
        rope,
        max_seq: 32,
        ..tiny
    }
}

fn floats(dims: &[usize], values: &[f32]) -> Value {
    Value::floats(DataType::Fp32, dims, values.iter().map(|&v| v.into()).collect())
}

fn ints(dims: &[usize], values: &[i64]) -> Value {
    Value::ints(DataType::Int32, dims, values.to_vec())
}

/// Parameters by name.
fn values(config: &Config) -> BTreeMap<String, Value> {
    let mut state = 7u64;
    let mut draw = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let parameters = models::parameters(config).expect("the configuration is valid");
    let of = |p: models::Parameter| {
        let center = if p.dims.len() == 1 { 1.0 } else { 0.0 };
        let all: Vec<f32> = (0..p.dims.iter().product()).map(|_| center + draw()).collect();
        (p.name, floats(&p.dims, &all))
    };
    parameters.into_iter().map(of).collect()
}

fn evaluate(
    function: mil::Function,
    inputs: BTreeMap<String, Value>,
    states: BTreeMap<String, Value>,
) -> interp::Outputs {
    let program = Program::new(vec![function]);
    mil::verify(&program).unwrap_or_else(|e| panic!("{e}"));
    let options = Options { states, ..Options::default() };
    interp::evaluate(&program, &program.functions[0].name, &inputs, &options).expect("it runs")
}

/// The scores after the last of the tokens, by `embed`, `layer` and `logits`.
fn at_once(config: &Config, values: &BTreeMap<String, Value>, tokens: &[i64]) -> Vec<f64> {
    let shape = Shape { batch: 1, seq: tokens.len() };
    let f = DataType::Fp32;
    let mut pool: BTreeMap<String, Value> = BTreeMap::new();
    pool.insert("tokens".into(), ints(&[tokens.len()], tokens));
    pool.insert(
        "positions".into(),
        ints(&[tokens.len()], &(0..tokens.len() as i64).collect::<Vec<_>>()),
    );
    let tables = models::rope_tables(config, 0, tokens.len());
    let dims = [tokens.len(), config.head_dim / 2];
    pool.insert("rope_cos".into(), floats(&dims, &tables.cos));
    pool.insert("rope_sin".into(), floats(&dims, &tables.sin));
    let parameters = models::parameters(config).unwrap();
    for p in &parameters {
        for port in p.role.outer_ports(config.tied) {
            pool.insert((*port).to_owned(), values[&p.name].clone());
        }
    }
    let call = |function: mil::Function, pool: &mut BTreeMap<String, Value>| {
        let named = function.inputs.iter().map(|&id| function.value(id).name.clone());
        let inputs = named.map(|name| (name.clone(), pool[&name].clone())).collect();
        pool.extend(evaluate(function, inputs, BTreeMap::new()).outputs);
    };
    call(models::embed(config, shape, Layout::TokenMajor, f).unwrap(), &mut pool);
    for layer in 0..config.layers {
        for p in &parameters {
            if let models::Role::Layer { index, port } = p.role
                && index == layer
            {
                pool.insert(port.to_owned(), values[&p.name].clone());
            }
        }
        call(models::layer(config, shape, Layout::TokenMajor, f).unwrap(), &mut pool);
        let y = pool["y"].clone();
        pool.insert("x".into(), y);
    }
    call(models::logits(config, shape, f).unwrap(), &mut pool);
    let all = pool["logits"].to_f64s();
    all[all.len() - config.vocab..].to_vec()
}

#[test]
fn prefill_and_decode_give_the_scores_of_the_whole_sequence() {
    let plain = config(RopeStyle::Halves);
    let configs = [
        Config { qk_norm: true, ..plain },
        Config { tied: false, sliding_window: Some(3), ..config(RopeStyle::Interleaved) },
        Config { attention_bias: AttentionBias::Inputs, ..plain },
        Config {
            norm_plus_one: true,
            embedding_scale: true,
            activation: Activation::GeluTanh,
            ..plain
        },
        Config {
            architecture: Architecture::Gpt2,
            kv_heads: 4,
            activation: Activation::GeluTanh,
            head_dim: 3,
            ..plain
        },
    ];
    for config in configs {
        let values = values(&config);
        let tokens = [3i64, 17, 8, 29, 0, 5, 11];
        let mut states = BTreeMap::new();
        // Four tokens of which three count, then one by one; what the fourth left is overwritten.
        let mut read = 0;
        for (seq, counted) in [(4, 3), (1, 1), (1, 1), (2, 2)] {
            let f = DataType::Fp32;
            let function = models::stateful("f", &config, seq, CAPACITY, f, f).expect("built");
            let mut inputs: BTreeMap<String, Value> =
                values.iter().map(|(name, v)| (models::stateful_input(name), v.clone())).collect();
            let mut now = tokens[read..read + counted].to_vec();
            now.resize(seq, 29);
            inputs.insert("tokens".into(), ints(&[1, seq], &now));
            inputs.insert("position".into(), ints(&[1], &[read as i64]));
            if seq > 1 {
                inputs.insert("last".into(), ints(&[1], &[counted as i64 - 1]));
            }
            let results = evaluate(function, inputs, states);
            states = results.states;
            read += counted;
            let expected = at_once(&config, &values, &tokens[..read]);
            let top = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
            for (a, b) in results.outputs["logits"].to_f64s().iter().zip(&expected) {
                assert!(
                    (a - b).abs() < 1e-5 * top,
                    "{}: after {read}: {a}, {b}",
                    config.model_type()
                );
            }
        }
    }
}

#[test]
fn a_shape_that_does_not_fit_is_refused() {
    let config = config(RopeStyle::Halves);
    let f = DataType::Fp32;
    let refused = |seq, capacity| {
        models::stateful("f", &config, seq, capacity, f, f).unwrap_err().to_string()
    };
    assert!(refused(5, 4).contains("seq"), "{}", refused(5, 4));
    assert!(refused(1, 33).contains("capacity"), "{}", refused(1, 33));
}
