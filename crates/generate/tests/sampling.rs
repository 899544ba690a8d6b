//! Probabilities against those of `transformers`; see scripts/fixtures/make_sampling.py.

use generate::{Sampler, Sampling};
use serde_json::Value;

#[test]
fn probabilities_are_those_of_transformers() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/sampling.json")).unwrap();
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    };
    let scores: Vec<f32> = numbers(&fixture["scores"]).iter().map(|&s| s as f32).collect();
    let seen: Vec<u32> = numbers(&fixture["seen"]).iter().map(|&s| s as u32).collect();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 72);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap() as f32;
        let sampling = Sampling {
            repetition_penalty: number("repetition_penalty"),
            temperature: number("temperature"),
            top_k: number("top_k") as usize,
            top_p: number("top_p"),
            min_p: number("min_p"),
            seed: 0,
        };
        let mut sampler = Sampler::new(sampling).unwrap();
        sampler.see(&seen);
        let mut found = vec![0.0; scores.len()];
        for (token, probability) in sampler.probabilities(&scores) {
            found[token as usize] = probability;
        }
        for (token, (found, expected)) in
            found.iter().zip(numbers(&case["probabilities"])).enumerate()
        {
            // The fixture has seven decimals, and both sides compute in fp32.
            assert!((found - expected).abs() < 1e-6, "{sampling:?}, {token}: {found}, {expected}");
        }
    }
}
