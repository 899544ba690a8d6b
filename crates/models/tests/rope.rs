//! Rotations against those of the `transformers` package.

use models::{Config, rope_tables};
use serde_json::Value;

#[test]
fn scaled_frequencies_are_those_of_transformers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rope_scaling.json");
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let cases: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    let cases = cases.as_array().expect("a list");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let config = &case["config"];
        let found = Config::from_hugging_face(config).expect("the configuration is read");
        // At position 1 the angle is the frequency, which is at most 1.
        let tables = rope_tables(&found, 1, 1);
        let expected = case["frequencies"].as_array().expect("a list");
        assert_eq!(tables.sin.len(), expected.len());
        for ((sin, cos), expected) in tables.sin.iter().zip(&tables.cos).zip(expected) {
            let found = f64::from(*sin).atan2(f64::from(*cos));
            let expected = expected.as_f64().expect("a number");
            // The package computes them in fp32, with a power and some five operations more.
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-6, "{config}: {found}, expected {expected}");
        }
    }
}
