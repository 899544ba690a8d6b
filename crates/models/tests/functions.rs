//! Properties of single functions that no fixture shows.

mod common;

use common::{
    Array, Fixture, Model, Named, call, families, interpret, noise, random_parameters, small,
};
use interp::Rounding;
use mil::DataType;
use models::Layout::TokenMajor;
use models::{
    CacheShape, Config, RopeStyle, Shape, fill_cache_mask, halves_from_interleaved, rope_tables,
};
use passes::autodiff::Recompute;

fn largest_difference(a: &Array, b: &Array) -> f64 {
    assert_eq!(a.dims, b.dims);
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A cache as generation keeps it: keys and values `[K, C, E]`, of which the first are in use.
struct Cache {
    k: Array,
    v: Array,
    used: usize,
}

impl Cache {
    /// Unused slots hold values that would be noticed if they were attended to.
    fn new(config: &Config, capacity: usize) -> Cache {
        let dims = [config.kv_heads, capacity, config.head_dim];
        let filled = || Array::new(&dims, vec![7.0; dims.iter().product()]);
        Cache { k: filled(), v: filled(), used: 0 }
    }

    /// What `seq` new tokens see of it, `[S, C]`.
    fn mask(&self, seq: usize, window: Option<usize>) -> Array {
        let capacity = self.k.dims[1];
        let mut mask = vec![f32::NAN; seq * capacity];
        fill_cache_mask(&mut mask, capacity, self.used, window);
        Array::from_f32s(&[seq, capacity], &mask)
    }

    fn append(&mut self, k_new: &Array, v_new: &Array) {
        let [groups, seq, width] = [1, 2, 3].map(|axis| k_new.dims[axis]);
        let capacity = self.k.dims[1];
        for (cache, new) in [(&mut self.k, k_new), (&mut self.v, v_new)] {
            for group in 0..groups {
                let to = (group * capacity + self.used) * width;
                let from = group * seq * width;
                cache.data[to..][..seq * width].copy_from_slice(&new.data[from..][..seq * width]);
            }
        }
        self.used += seq;
    }
}

#[test]
fn a_layer_with_a_cache_continues_a_sequence() {
    let seq = 9;
    for config in families() {
        for (rounding, compute, bound) in [
            (Rounding::None, DataType::Fp32, 1e-12),
            (Rounding::Declared, DataType::Fp32, 1e-6),
            // Three steps of 2⁻⁸: cached values of queries, keys and values are rounded anew.
            (Rounding::Declared, DataType::Bf16, 2e-2),
        ] {
            let evaluate = interpret(rounding);
            let shape = Shape { batch: 1, seq };
            let parameters = random_parameters(&config);
            let recompute = Recompute::Nothing;
            let model = Model {
                config,
                shape,
                layout: TokenMajor,
                compute,
                recompute,
                evaluate: &evaluate,
                parameters,
            };
            let x = noise(&[1, seq, config.dim], 99);
            let layer =
                models::layer(&config, shape, TokenMajor, compute).expect("the layer is built");
            let whole = call(&evaluate, &layer, &model.of_layer(1, &[("x", &x)]));

            // A prompt of four tokens, two at once, then one by one, to a cache filled to the end.
            let mut cache = Cache::new(&config, seq);
            let mut y = vec![];
            for step in [4, 2, 1, 1, 1] {
                let start = cache.used;
                let shape = CacheShape { batch: 1, seq: step, capacity: seq };
                let function = models::cached_layer(&config, shape, compute).expect("it is built");
                let part = &x.data[start * config.dim..][..step * config.dim];
                let part = Array::new(&[1, step, config.dim], part.to_vec());
                let (k, v, mask) = (&cache.k, &cache.v, &cache.mask(step, config.sliding_window));
                let named = [("x", &part), ("k_cache", k), ("v_cache", v), ("mask", mask)];
                let mut pool = model.of_layer(1, &named);
                let tables = rope_tables(&config, start, step);
                let dims = [step, config.head_dim / 2];
                pool.insert("rope_cos".into(), Array::from_f32s(&dims, &tables.cos));
                pool.insert("rope_sin".into(), Array::from_f32s(&dims, &tables.sin));
                let outputs = call(&evaluate, &function, &pool);
                if start == 0 {
                    // The first tokens need no cache.
                    let shape = CacheShape { batch: 1, seq: step, capacity: 0 };
                    let function = models::cached_layer(&config, shape, compute).expect("built");
                    let first = call(&evaluate, &function, &pool);
                    for (name, array) in &first {
                        let error = largest_difference(array, &outputs[name]);
                        assert!(error < 1e-6, "{name}: {error:.2e}");
                    }
                }
                cache.append(&outputs["k_new"], &outputs["v_new"]);
                y.extend_from_slice(&outputs["y"].data);
            }
            let expected = &whole["y"];
            let size =
                largest_difference(expected, &Array::new(&expected.dims, vec![0.0; y.len()]));
            let error = largest_difference(&Array::new(&expected.dims, y), expected) / size;
            let family = config.model_type();
            println!("{family}, {rounding:?}, {compute}: {error:.2e}");
            assert!(error < bound, "{family}, {rounding:?}, {compute}: {error:.2e}");
        }
    }
}

#[test]
fn an_interleaved_layer_with_its_heads_reordered_is_one_of_halves() {
    let interleaved = Config { rope: RopeStyle::Interleaved, qk_norm: true, ..small() };
    let halves = Config { rope: RopeStyle::Halves, ..interleaved };
    let (compute, shape) = (DataType::Fp32, Shape { batch: 2, seq: 5 });
    let (evaluate, recompute) = (interpret(Rounding::None), Recompute::Nothing);
    let x = noise(&[2, 5, interleaved.dim], 7);
    let y_of = |config: Config, parameters: Named| {
        let model = Model {
            config,
            shape,
            layout: TokenMajor,
            compute,
            recompute,
            evaluate: &evaluate,
            parameters,
        };
        let layer = models::layer(&config, shape, TokenMajor, compute).expect("the layer is built");
        call(&evaluate, &layer, &model.of_layer(0, &[("x", &x)])).remove("y").expect("y")
    };
    let before = random_parameters(&interleaved);
    let order = halves_from_interleaved(interleaved.head_dim);
    let mut after = before.clone();
    for (name, array) in &mut after {
        if ["q_proj", "k_proj", "q_norm", "k_norm"].iter().any(|part| name.contains(part)) {
            let columns = array.dims.get(1).copied().unwrap_or(1);
            let old = before[name].data.chunks(columns);
            let old: Vec<&[f64]> = old.collect();
            let row = |i: usize| old[i / order.len() * order.len() + order[i % order.len()]];
            array.data = (0..old.len()).flat_map(|i| row(i).to_vec()).collect();
        }
    }
    let expected = y_of(interleaved, before.clone());
    assert!(largest_difference(&y_of(halves, after), &expected) < 1e-12);
    assert!(largest_difference(&y_of(halves, before), &expected) > 1e-3);
}

#[test]
fn query_head_h_reads_key_and_value_head_h_over_g() {
    let config = Config { dim: 24, ..small() };
    let (dim, width, group) = (config.dim, config.head_dim, config.group());
    assert_eq!((config.heads * width, group), (dim, 3));
    let shape = Shape { batch: 1, seq: 2 };
    let layer =
        models::layer(&config, shape, TokenMajor, DataType::Fp32).expect("the layer is built");
    let evaluate = interpret(Rounding::None);

    // Ones normalize to themselves, nearly. Row r of `wv` then gives r; queries and keys of zero
    // attend evenly; `wo` shows the heads side by side; the feed-forward part adds nothing.
    let ones = |dims: &[usize]| Array::new(dims, vec![1.0; dims.iter().product()]);
    let mut pool = Named::new();
    for &id in &layer.inputs {
        let value = layer.value(id);
        let dims = value.ty.as_tensor().and_then(|t| t.fixed_dims()).expect("shapes are fixed");
        let cell = |i: usize| match value.name.as_str() {
            "wv" => (i / dim) as f64 / dim as f64,
            "wo" => f64::from(u8::from(i / dim == i % dim)),
            "wq" | "wk" | "w_down" => 0.0,
            _ => 1.0,
        };
        let data = (0..dims.iter().product()).map(cell).collect();
        pool.insert(value.name.clone(), Array::new(&dims, data));
    }
    pool.insert("x".into(), ones(&[1, 2, dim]));
    let y = &call(&evaluate, &layer, &pool)["y"];
    let scale = 1.0 / (1.0 + config.norm_eps).sqrt();
    for (i, &found) in y.data.iter().enumerate() {
        let (head, element) = (i % dim / width, i % width);
        let expected = 1.0 + (head / group * width + element) as f64 * scale;
        assert!((found - expected).abs() < 1e-12, "head {head}: {found}, expected {expected}");
    }
}

#[test]
fn a_tied_gradient_is_the_sum_of_the_embedding_and_the_classifier() {
    let fixture = Fixture::load("model_interleaved_tied");
    let mut parameters = fixture.parameters();
    let embedding = parameters["model.embed_tokens.weight"].clone();
    parameters.insert("lm_head.weight".into(), embedding);
    let evaluate = interpret(Rounding::None);
    let model = Model {
        config: Config { tied: false, ..fixture.config },
        shape: fixture.shape,
        layout: TokenMajor,
        compute: DataType::Fp32,
        recompute: Recompute::Nothing,
        evaluate: &evaluate,
        parameters,
    };
    let [tokens, targets, weights] = ["tokens", "targets", "weights"].map(|n| fixture.get(n));
    let (_, gradients) = model.loss_and_gradients(tokens, targets, weights);
    let embedding = &gradients["model.embed_tokens.weight"];
    let classifier = &gradients["lm_head.weight"];
    let tied = fixture.get("grad.model.embed_tokens.weight");
    assert!(largest_difference(&embedding.plus(classifier), tied) < 1e-6);
    assert!(largest_difference(embedding, tied) > 1e-2);
    assert!(largest_difference(classifier, tied) > 1e-2);
}

#[test]
fn a_weight_of_zero_leaves_a_position_out() {
    let fixture = Fixture::load("model_halves_untied");
    let evaluate = interpret(Rounding::None);
    let model = Model {
        config: fixture.config,
        shape: fixture.shape,
        layout: TokenMajor,
        compute: DataType::Fp32,
        recompute: Recompute::Nothing,
        evaluate: &evaluate,
        parameters: fixture.parameters(),
    };
    let [tokens, targets, weights] = ["tokens", "targets", "weights"].map(|n| fixture.get(n));
    let mut others = targets.clone();
    let mut changed = 0;
    for (target, &weight) in others.data.iter_mut().zip(&weights.data) {
        if weight == 0.0 {
            *target = (*target + 1.0) % fixture.config.vocab as f64;
            changed += 1;
        }
    }
    assert!(changed > 0);
    let with = model.loss_and_gradients(tokens, targets, weights);
    assert_eq!(with, model.loss_and_gradients(tokens, &others, weights));
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let config = small();
    let shape = |batch, seq| Shape { batch, seq };
    let refusal = |built: Result<mil::Function, models::Error>| {
        built.expect_err("it does not fit").to_string()
    };
    assert_eq!(
        refusal(models::layer(&config, shape(2, 33), TokenMajor, DataType::Fp32)),
        "seq is 33; it must be from 1 to 32"
    );
    assert_eq!(
        refusal(models::embed(&config, shape(0, 4), TokenMajor, DataType::Fp32)),
        "batch is 0; it must be from 1 to 536870911"
    );
    assert_eq!(
        refusal(models::head(&config, shape(1, 4), TokenMajor, DataType::Int8)),
        "matrix products in int8 are not offered; choose fp32, bf16 or fp16"
    );
    let cache = CacheShape { batch: 1, seq: 2, capacity: 1 << 30 };
    assert_eq!(
        refusal(models::cached_layer(&config, cache, DataType::Fp32)),
        "capacity is 1073741824; it must be from 1 to 1073741823"
    );
    let broken = Config { kv_heads: 5, ..config };
    assert_eq!(
        refusal(models::logits(&broken, shape(1, 4), DataType::Fp32)),
        "`kv_heads` is 5; it must divide `heads`, which is 6"
    );
}
