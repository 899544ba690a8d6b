//! The kernels that are known to train on real engines, at their real sizes, keep the rules of
//! every chip; what the hardware is known to refuse breaks the rule that says so.

use anemone_ane::target::{Chip, Effect, Route, Target, check, with_head};
use mil::DataType::{Fp16, Int8};
use mil::{BlobRef, FunctionBuilder, Literal, Op, Opset, Program, Tensor, Type, ValueId};

struct Kernel(FunctionBuilder);

impl Kernel {
    fn new() -> Kernel {
        Kernel(FunctionBuilder::new("main", Opset::Ios18))
    }

    fn input(&mut self, name: &str, dims: &[usize]) -> ValueId {
        self.0.input(name, Type::tensor(Fp16, dims))
    }

    /// A constant in a file of its own.
    fn file(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let path = format!("@model_path/weights/{name}.bin");
        let blob = BlobRef { dtype: Fp16, dims: dims.to_vec(), path, offset: 64 };
        self.0.constant(name, Literal::Blob(blob))
    }

    fn slice(&mut self, x: ValueId, begin: [i64; 4], size: &[usize]) -> ValueId {
        let size: Vec<i64> = size.iter().map(|&n| n as i64).collect();
        let (begin, size) = (self.0.ints(&begin), self.0.ints(&size));
        let arguments = [("x", x.into()), ("begin", begin.into()), ("size", size.into())];
        self.0.op(Op::SliceBySize, "slice", arguments).unwrap()
    }

    /// Columns of a packed input.
    fn columns(&mut self, x: ValueId, begin: usize, size: usize) -> ValueId {
        let channels = self.0.dims(x)[1];
        self.slice(x, [0, 0, 0, begin as i64], &[1, channels, 1, size])
    }

    fn channels(&mut self, x: ValueId, begin: usize, size: usize) -> ValueId {
        let width = self.0.dims(x)[3];
        self.slice(x, [0, begin as i64, 0, 0], &[1, size, 1, width])
    }

    /// Activations `[1, I, 1, S]` times weights `[1, I, 1, O]` of the same input: `[1, O, 1, S]`.
    fn product(&mut self, act: ValueId, weight: ValueId) -> ValueId {
        let b = &mut self.0;
        let (rows, s, o) = (b.dims(act)[1], b.dims(act)[3], b.dims(weight)[3]);
        let act = b.reshape(act, &[1, 1, rows, s]).unwrap();
        let weight = b.reshape(weight, &[1, 1, rows, o]).unwrap();
        let act = b.transpose(act, &[0, 1, 3, 2]).unwrap();
        let product = b.matmul(act, weight, (false, false)).unwrap();
        let product = b.transpose(product, &[0, 1, 3, 2]).unwrap();
        b.reshape(product, &[1, o, 1, s]).unwrap()
    }

    /// `[1, H·E, 1, S]` as `[1, H, S, E]`.
    fn heads(&mut self, x: ValueId, heads: usize) -> ValueId {
        let (width, s) = (self.0.dims(x)[1], self.0.dims(x)[3]);
        let x = self.0.reshape(x, &[1, heads, width / heads, s]).unwrap();
        self.0.transpose(x, &[0, 1, 3, 2]).unwrap()
    }

    fn flat(&mut self, x: ValueId) -> ValueId {
        let dims = self.0.dims(x);
        let x = self.0.transpose(x, &[0, 1, 3, 2]).unwrap();
        self.0.reshape(x, &[1, dims[1] * dims[3], 1, dims[2]]).unwrap()
    }

    /// Pairs of elements turned by angles whose cosines and sines are constants.
    fn rotate(&mut self, x: ValueId) -> ValueId {
        let dims = self.0.dims(x);
        let (heads, s, e) = (dims[1], dims[2], dims[3]);
        let cos = self.file("rope_cos", &[1, 1, s, e]);
        let sin = self.file("rope_sin", &[1, 1, s, e]);
        let pairs = self.0.reshape(x, &[1, heads, s * e / 2, 2]).unwrap();
        let even = self.slice(pairs, [0, 0, 0, 0], &[1, heads, s * e / 2, 1]);
        let odd = self.slice(pairs, [0, 0, 0, 1], &[1, heads, s * e / 2, 1]);
        let minus = self.0.scale(odd, -1.0).unwrap();
        let turned = self.0.concat(&[minus, even], 3).unwrap();
        let turned = self.0.reshape(turned, &dims).unwrap();
        let (a, b) = (self.0.mul(x, cos).unwrap(), self.0.mul(turned, sin).unwrap());
        self.0.add(a, b).unwrap()
    }

    /// Probabilities `[1, H, S, S]` under a constant mask.
    fn probabilities(&mut self, q: ValueId, k: ValueId) -> ValueId {
        let (s, e) = (self.0.dims(q)[2], self.0.dims(q)[3]);
        let mask = self.file("mask", &[1, 1, s, s]);
        let scores = self.0.matmul(q, k, (false, true)).unwrap();
        let scores = self.0.scale(scores, 1.0 / (e as f64).sqrt()).unwrap();
        let scores = self.0.add(scores, mask).unwrap();
        self.0.softmax(scores, -1).unwrap()
    }

    fn conv(&mut self, x: ValueId, weight: ValueId) -> ValueId {
        let b = &mut self.0;
        let (ones, zeros) = (b.ints(&[1, 1]), b.ints(&[0, 0, 0, 0]));
        let (valid, groups) = (b.string("valid"), b.int(1));
        let arguments = [
            ("x", x.into()),
            ("weight", weight.into()),
            ("strides", ones.into()),
            ("dilations", ones.into()),
            ("pad", zeros.into()),
            ("pad_type", valid.into()),
            ("groups", groups.into()),
        ];
        b.op(Op::Conv, "conv", arguments).unwrap()
    }

    fn finish(mut self, outputs: &[ValueId]) -> Program {
        for (at, &id) in outputs.iter().enumerate() {
            self.0.rename(id, &format!("out{at}"));
        }
        let program = with_head(Program::new(vec![self.0.finish(outputs)]));
        // What is judged is the text, as it is on the way to the engine.
        let program = mil::parse(&mil::print(&program)).expect("what is printed reads back");
        mil::verify(&program).expect("it is valid");
        program
    }
}

/// Dimensions of a model: width, hidden width, queries, keys, heads, key heads.
#[derive(Clone, Copy)]
struct Model {
    d: usize,
    h: usize,
    q: usize,
    k: usize,
    heads: usize,
    kv_heads: usize,
}

const S: usize = 256;
const STORIES: Model = Model { d: 768, h: 2048, q: 768, k: 768, heads: 12, kv_heads: 12 };
const QWEN: Model = Model { d: 1024, h: 3072, q: 2048, k: 1024, heads: 16, kv_heads: 8 };

fn attention_forward(m: Model) -> Program {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, m.d, 1, S + m.q + 2 * m.k]);
    let act = p.columns(x, 0, S);
    let mut parts = [(S, m.q), (S + m.q, m.k), (S + m.q + m.k, m.k)].map(|(begin, size)| {
        let weight = p.columns(x, begin, size);
        p.product(act, weight)
    });
    let query = p.heads(parts[0], m.heads);
    let key = p.heads(parts[1], m.kv_heads);
    let value = p.heads(parts[2], m.kv_heads);
    let (query, key) = (p.rotate(query), p.rotate(key));
    parts[0] = p.flat(query);
    parts[1] = p.flat(key);
    let copies = m.heads / m.kv_heads;
    let [keys, values] = [key, value].map(|part| p.0.concat(&vec![part; copies], 1).unwrap());
    let probs = p.probabilities(query, keys);
    let attended = p.0.matmul(probs, values, (false, false)).unwrap();
    let attended = p.flat(attended);
    let out = p.0.concat(&[attended, parts[0], parts[1], parts[2], act], 1).unwrap();
    p.finish(&[out])
}

fn attention_backward(m: Model) -> [Program; 2] {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, 4 * m.q, 1, S]);
    let [q, k, v, da] = [0, 1, 2, 3].map(|part| {
        let part = p.channels(x, part * m.q, m.q);
        p.heads(part, m.heads)
    });
    let probs = p.probabilities(q, k);
    let dv = p.0.matmul(probs, da, (true, false)).unwrap();
    let dp = p.0.matmul(da, v, (false, true)).unwrap();
    let scores = m.heads * S;
    let [probs, dp] = [probs, dp].map(|part| p.0.reshape(part, &[1, scores, 1, S]).unwrap());
    let dv = p.flat(dv);
    let out = p.0.concat(&[dv, probs, dp], 1).unwrap();
    let first = p.finish(&[out]);

    let mut p = Kernel::new();
    let x = p.input("x", &[1, 2 * scores + 2 * m.q, 1, S]);
    let [probs, dp] = [0, scores].map(|begin| {
        let part = p.channels(x, begin, scores);
        p.0.reshape(part, &[1, m.heads, S, S]).unwrap()
    });
    let [q, k] = [2 * scores, 2 * scores + m.q].map(|begin| {
        let part = p.channels(x, begin, m.q);
        p.heads(part, m.heads)
    });
    let both = p.0.mul(probs, dp).unwrap();
    let sum = p.0.reduce(Op::ReduceSum, both, &[-1], true).unwrap();
    let ds = p.0.sub(dp, sum).unwrap();
    let ds = p.0.mul(probs, ds).unwrap();
    let ds = p.0.scale(ds, 0.125).unwrap();
    let dq = p.0.matmul(ds, k, (false, false)).unwrap();
    let dk = p.0.matmul(ds, q, (true, false)).unwrap();
    let parts = [dq, dk].map(|part| p.flat(part));
    let out = p.0.concat(&parts, 1).unwrap();
    [first, p.finish(&[out])]
}

fn feed_forward(m: Model) -> Program {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, m.d, 1, 2 * S + 3 * m.h]);
    let (act, residual) = (p.columns(x, 0, S), p.columns(x, S, S));
    let [h1, h3] = [0, 1].map(|part| {
        let weight = p.columns(x, 2 * S + part * m.h, m.h);
        p.product(act, weight)
    });
    let down = p.columns(x, 2 * S + 2 * m.h, m.h);
    let sigmoid = p.0.unary(Op::Sigmoid, h1).unwrap();
    let silu = p.0.mul(h1, sigmoid).unwrap();
    let gate = p.0.mul(silu, h3).unwrap();
    let down = p.0.transpose(down, &[0, 3, 2, 1]).unwrap();
    let y = p.product(gate, down);
    let y = p.0.scale(y, 0.204124).unwrap();
    let y = p.0.add(residual, y).unwrap();
    let out = p.0.concat(&[y, h1, h3, gate], 1).unwrap();
    p.finish(&[out])
}

/// One or two products of packed weights, summed.
fn products(rows: usize, columns: usize, count: usize) -> Program {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, rows, 1, count * (S + columns)]);
    let parts: Vec<ValueId> = (0..count)
        .map(|at| {
            let act = p.columns(x, at * S, S);
            let weight = p.columns(x, count * S + at * columns, columns);
            p.product(act, weight)
        })
        .collect();
    let sum = parts.into_iter().reduce(|a, b| p.0.add(a, b).unwrap()).unwrap();
    p.finish(&[sum])
}

fn classifier(from: usize, to: usize) -> Program {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, from, 1, S]);
    let weight = p.file("embed", &[to, from, 1, 1]);
    let out = p.conv(x, weight);
    p.finish(&[out])
}

fn softmax_of_vocabulary() -> Program {
    let mut p = Kernel::new();
    let x = p.input("x", &[1, 32_000, 1, S]);
    let out = p.0.softmax(x, 1).unwrap();
    p.finish(&[out])
}

/// dx = (dy·w − x·r²·Σ(dy·w·x)/D)·r with r = (Σx²/D + ε)^−½.
fn norm_backward() -> Program {
    let mut p = Kernel::new();
    let (d, one) = (768, 1.0 / 768.0);
    let inp = p.input("inp", &[1, 2 * d, 1, S]);
    let (dy, x) = (p.channels(inp, 0, d), p.channels(inp, d, d));
    let weight = p.file("rms_w", &[1, d, 1, 1]);
    let half = p.0.float(Fp16, -0.5);
    let squares = p.0.mul(x, x).unwrap();
    let sum = p.0.reduce(Op::ReduceSum, squares, &[1], true).unwrap();
    let mean = p.0.scale(sum, one).unwrap();
    let epsilon = p.0.float(Fp16, 1e-5);
    let mean = p.0.add(mean, epsilon).unwrap();
    let r = p.0.binary(Op::Pow, mean, half).unwrap();
    let dyw = p.0.mul(dy, weight).unwrap();
    let dot = p.0.mul(dyw, x).unwrap();
    let dot = p.0.reduce(Op::ReduceSum, dot, &[1], true).unwrap();
    let dot = p.0.scale(dot, one).unwrap();
    let squared = p.0.mul(r, r).unwrap();
    let factor = p.0.mul(dot, squared).unwrap();
    let along = p.0.mul(x, factor).unwrap();
    let dx = p.0.sub(dyw, along).unwrap();
    let out = p.0.mul(dx, r).unwrap();
    p.finish(&[out])
}

fn eight_bit_chain(depth: usize) -> Program {
    let mut p = Kernel::new();
    let mut x = p.input("x", &[1, 512, 64, 64]);
    let scale = p.0.float(Fp16, 0.125);
    let int8 = p.0.string("int8");
    for at in 0..depth {
        if at > 0 {
            let arguments =
                [("input", x.into()), ("scale", scale.into()), ("output_dtype", int8.into())];
            let quantized = p.0.op(Op::Quantize, "q", arguments).unwrap();
            let arguments = [("input", quantized.into()), ("scale", scale.into())];
            x = p.0.op(Op::Dequantize, "d", arguments).unwrap();
        }
        let path = format!("@model_path/weights/w{at}.bin");
        let blob = BlobRef { dtype: Int8, dims: vec![512, 512, 1, 1], path, offset: 64 };
        let data = p.0.constant("data", Literal::Blob(blob));
        let zero = p.0.constant("zero", Tensor::from_i64s(Int8, &[], &[0]).unwrap());
        let axis = p.0.int(0);
        let arguments = [
            ("quantized_data", data.into()),
            ("zero_point", zero.into()),
            ("scale", scale.into()),
            ("axis", axis.into()),
        ];
        let weight = p.0.op(Op::ConstexprAffineDequantize, "w", arguments).unwrap();
        x = p.conv(x, weight);
    }
    p.finish(&[x])
}

fn two_inputs(first: usize, second: usize) -> Program {
    let mut p = Kernel::new();
    let (x, y) = (p.input("x", &[1, 64, 1, first]), p.input("y", &[1, 64, 1, second]));
    let out = p.0.concat(&[x, y], 3).unwrap();
    p.finish(&[out])
}

/// The rules that stop a program.
fn broken(program: &Program, target: &Target) -> Vec<(String, Effect)> {
    let findings = check(program, target).into_iter();
    let mut found: Vec<_> = findings
        .filter(|finding| finding.rule.is_fatal())
        .map(|finding| (finding.rule.id.clone(), finding.rule.effect))
        .collect();
    found.dedup();
    found
}

#[test]
fn what_trains_on_real_engines_keeps_the_rules_of_every_chip() {
    let mut kernels: Vec<(String, Program)> = vec![];
    for (name, m) in [("stories", STORIES), ("qwen", QWEN)] {
        let [first, second] = attention_backward(m);
        let named = [
            ("sdpaFwd", attention_forward(m)),
            ("woFwd", products(m.q, m.d, 1)),
            ("ffnFused", feed_forward(m)),
            ("ffnBwdW2t", products(m.d, m.h, 1)),
            ("ffnBwdW13t", products(m.h, m.d, 2)),
            ("wotBwd", products(m.d, m.q, 1)),
            ("sdpaBwd1", first),
            ("sdpaBwd2", second),
            ("qBwd", products(m.q, m.d, 1)),
            ("kvBwd", products(m.k, m.d, 2)),
        ];
        kernels.extend(named.map(|(kernel, program)| (format!("{name} {kernel}"), program)));
    }
    kernels.push(("classifier".into(), classifier(768, 32_000)));
    kernels.push(("softmaxVocab".into(), softmax_of_vocabulary()));
    kernels.push(("rmsnormBwd".into(), norm_backward()));
    kernels.push(("W8A8 chain".into(), eight_bit_chain(128)));
    kernels.push(("two inputs of one size".into(), two_inputs(256, 256)));
    for (name, program) in &kernels {
        for target in Chip::ALL.map(Target::of) {
            for target in [target, Target { os: 26, ..target }, target.by(Route::Client)] {
                assert_eq!(broken(program, &target), [], "{name} on {target}");
            }
        }
    }
}

#[test]
fn what_real_engines_refuse_breaks_the_rule_that_says_so() {
    let one = |dims: &[usize], reps: Option<&[i64]>| {
        let mut p = Kernel::new();
        let mut x = p.input("x", dims);
        if let Some(reps) = reps {
            let reps = p.0.ints(reps);
            x = p.0.op(Op::Tile, "tile", [("x", x.into()), ("reps", reps.into())]).unwrap();
        }
        let out = p.0.unary(Op::Relu, x).unwrap();
        p.finish(&[out])
    };
    let cases = [
        ("conv-input-channels", Effect::Refused, classifier(32_000, 768)),
        ("unequal-inputs", Effect::Status(0x1d), two_inputs(256, 512)),
        ("width-minimum", Effect::Status(0x1d), one(&[1, 2048, 1, 8], None)),
        ("tile", Effect::Status(0x1d), one(&[1, 64, 1, 256], Some(&[1, 1, 1, 2]))),
    ];
    for (rule, effect, program) in cases {
        for chip in Chip::ALL {
            for route in [Route::InMemory, Route::Client] {
                let target = Target::of(chip).by(route);
                assert_eq!(broken(&program, &target), [(rule.to_owned(), effect)], "{target}");
            }
        }
    }
}

/// A packed input is as wide as its weights: models too wide for the first chips fit the later.
#[test]
fn packed_inputs_are_as_wide_as_the_chip_allows() {
    let program = products(4096, 20_000 / 32 * 32, 1);
    for chip in Chip::ALL {
        let expected: &[&str] = if chip < Chip::M4 { &["axis-too-long"] } else { &[] };
        let found = broken(&program, &Target::of(chip));
        assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), expected, "{chip}");
    }
}

#[test]
fn a_head_is_added_once() {
    let bare = Program { version: "1.0".into(), ..Program::new(vec![]) };
    let whole = with_head(bare);
    assert_eq!((whole.version.as_str(), whole.attributes.len()), ("1.3", 1));
    assert_eq!(with_head(whole.clone()), whole);
    let ids: Vec<_> =
        check(&whole, &Target::of(Chip::M4)).into_iter().map(|f| &f.rule.id).collect();
    assert_eq!(ids, ["function-main"]);
}
