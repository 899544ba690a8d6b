//! Greedy text of every family, against the `transformers` package.

#[path = "../../models/tests/family/mod.rs"]
mod family;

use cpu::CpuDevice;
use family::Family;
use generate::{Generator, GeneratorOptions, Weights};
use mil::DataType;
use runtime::Products;
use surface::Surface;

fn weights(family: &Family) -> Weights {
    let surface = |tensor: &family::Tensor| Surface::from_slice(&tensor.floats()).expect("memory");
    family.parameters.iter().map(|(name, tensor)| (name.clone(), surface(tensor))).collect()
}

fn options() -> GeneratorOptions {
    let (compute, products) = (DataType::Fp32, Products::Native);
    GeneratorOptions { capacity: 64, compute, stored: DataType::Fp32, products, lora: None }
}

/// The first of the largest.
fn best(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best as u32
}

/// Reads the prompt in these parts, then goes on with the best token as often as is expected.
fn answer(generator: &mut Generator, prompt: &[u32], split: usize, count: usize) -> Vec<u32> {
    generator.clear();
    let (first, rest) = prompt.split_at(split);
    if !first.is_empty() {
        generator.read(first, |_| ()).expect("there is room");
    }
    let mut answer = vec![generator.read(rest, best).expect("there is room")];
    while answer.len() < count {
        let last = answer[answer.len() - 1];
        answer.push(generator.read(&[last], best).expect("there is room"));
    }
    answer
}

#[test]
fn greedy_text_is_that_of_transformers_token_for_token() {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    for family in family::all() {
        let mut generator = Generator::new(&device, &family.config, &weights(&family), options())
            .expect("it compiles");
        let [prompt, expected] = ["prompt", "answer"].map(|key| family.expected[key].ids());
        assert!(expected.len() >= 24);
        for split in [0, 1, prompt.len() - 1] {
            let found = answer(&mut generator, &prompt, split, expected.len());
            assert_eq!(found, expected, "{}", family.name);
        }
    }
}

#[test]
fn a_prompt_read_at_once_is_answered_as_one_read_token_by_token() {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    for family in family::all() {
        let mut generator = Generator::new(&device, &family.config, &weights(&family), options())
            .expect("it compiles");
        // 40 tokens: a chunk of 32, longer than any window, and then single ones.
        let [prompt, expected] = ["prompt", "answer"].map(|key| family.expected[key].ids());
        let mut text = [prompt, expected].concat();
        text.extend([5, 9, 2]);
        let read = |generator: &mut Generator, parts: &[&[u32]]| {
            generator.clear();
            let mut scores = vec![];
            for part in parts {
                scores = generator.read(part, <[f32]>::to_vec).expect("there is room");
            }
            scores
        };
        let at_once = read(&mut generator, &[&text]);
        let singly: Vec<&[u32]> = text.chunks(1).collect();
        let singly = read(&mut generator, &singly);
        for (a, b) in at_once.iter().zip(&singly) {
            // Scores are up to 10 in size, and sums are in another order.
            assert!((a - b).abs() < 1e-4, "{}: {a}, {b}", family.name);
        }
    }
}
