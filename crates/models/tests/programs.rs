//! The functions as programs: what they take and give, and that they are well-formed.

use mil::{DataType, Function, Program, verify};
use models::Layout::TokenMajor;
use models::{CacheShape, Config, PRESETS, Role, Shape, cached_layer, parameters};

/// Name and type of each value, as programs spell them.
fn signature(function: &Function, ids: &[mil::ValueId]) -> Vec<String> {
    let spell = |&id| {
        let value = function.value(id);
        format!("{}: {}", value.name, value.ty)
    };
    ids.iter().map(spell).collect()
}

fn inputs(function: &Function) -> Vec<String> {
    signature(function, &function.inputs)
}

fn outputs(function: &Function) -> Vec<String> {
    signature(function, &function.body.outputs)
}

fn all_functions(config: &Config, compute: DataType) -> Vec<Function> {
    let shape = Shape { batch: 2, seq: 6 };
    let cache = CacheShape { batch: 1, seq: 3, capacity: 10 };
    let built = [
        models::embed(config, shape, TokenMajor, compute),
        models::layer(config, shape, TokenMajor, compute),
        models::head(config, shape, TokenMajor, compute),
        models::logits(config, shape, compute),
        cached_layer(config, cache, compute),
    ];
    built.map(|function| function.expect("every preset is built")).into()
}

#[test]
fn every_preset_gives_programs_that_verify_and_survive_printing() {
    for (name, config) in PRESETS {
        for compute in [DataType::Fp32, DataType::Bf16, DataType::Fp16] {
            let program = Program::new(all_functions(config, compute));
            if let Err(problems) = verify(&program) {
                panic!("{name} in {compute}: {problems}");
            }
            let text = mil::print(&program);
            match mil::parse(&text) {
                Ok(read) => assert!(read == program, "{name} in {compute}"),
                Err(problems) => panic!("{name} in {compute}: {problems}"),
            }
        }
    }
}

#[test]
fn a_layer_takes_the_parameters_of_the_inventory() {
    for (name, config) in PRESETS {
        let all = parameters(config).expect("presets are valid");
        let of_first = all.iter().filter_map(|p| match p.role {
            Role::Layer { index: 0, port } => {
                Some(format!("{port}: {}", mil::Type::tensor(DataType::Fp32, &p.dims)))
            }
            _ => None,
        });
        let of_first: Vec<String> = of_first.collect();
        let functions = all_functions(config, DataType::Bf16);
        // Behind the activations, rotations and the cache.
        let others = if config.model_type() == "gpt2" { 1 } else { 3 };
        assert_eq!(inputs(&functions[1])[others..], of_first, "{name}");
        assert_eq!(inputs(&functions[4])[others + 3..], of_first, "{name}");
    }
}

#[test]
fn functions_take_and_give_what_they_say() {
    let config = Config::preset("tiny").expect("the preset is there");
    let functions = all_functions(&config, DataType::Fp16);
    let [embed, layer, head, logits, cached] = functions.as_slice() else {
        panic!("five functions");
    };
    assert_eq!(
        inputs(embed),
        ["tokens: tensor<int32, [12]>", "embedding: tensor<fp32, [1024, 192]>"]
    );
    assert_eq!(outputs(embed), ["x: tensor<fp32, [2, 6, 192]>"]);
    assert_eq!(
        inputs(layer)[..3],
        [
            "x: tensor<fp32, [2, 6, 192]>",
            "rope_cos: tensor<fp32, [6, 16]>",
            "rope_sin: tensor<fp32, [6, 16]>"
        ]
    );
    assert_eq!(outputs(layer), ["y: tensor<fp32, [2, 6, 192]>"]);
    assert_eq!(
        inputs(head),
        [
            "x: tensor<fp32, [2, 6, 192]>",
            "targets: tensor<int32, [12]>",
            "weights: tensor<fp32, [12]>",
            "final_norm: tensor<fp32, [192]>",
            "classifier: tensor<fp32, [1024, 192]>"
        ]
    );
    assert_eq!(outputs(head), ["loss: fp32"]);
    assert_eq!(outputs(logits), ["logits: tensor<fp32, [12, 1024]>"]);
    assert_eq!(
        inputs(cached)[..6],
        [
            "x: tensor<fp32, [1, 3, 192]>",
            "rope_cos: tensor<fp32, [3, 16]>",
            "rope_sin: tensor<fp32, [3, 16]>",
            "k_cache: tensor<fp32, [1, 2, 10, 32]>",
            "v_cache: tensor<fp32, [1, 2, 10, 32]>",
            "mask: tensor<fp32, [1, 3, 10]>"
        ]
    );
    assert_eq!(
        outputs(cached),
        [
            "y: tensor<fp32, [1, 3, 192]>",
            "k_new: tensor<fp32, [1, 2, 3, 32]>",
            "v_new: tensor<fp32, [1, 2, 3, 32]>"
        ]
    );
}

#[test]
fn the_first_tokens_need_no_cache() {
    for (name, config) in PRESETS {
        let shape = CacheShape { batch: 1, seq: 3, capacity: 0 };
        let function = cached_layer(config, shape, DataType::Bf16).expect("it is built");
        let named = |input: &str| function.input(input).is_some();
        assert!(named("x") && named("wo"), "{name}");
        assert!(!named("k_cache") && !named("v_cache") && !named("mask"), "{name}");
        if let Err(problems) = verify(&Program::new(vec![function])) {
            panic!("{name}: {problems}");
        }
    }
}
