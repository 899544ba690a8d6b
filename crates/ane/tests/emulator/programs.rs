//! The programs of the reference's tests that matter, each compared with the interpreter.

use crate::common::{
    Values, compare, emulator, exact, inputs, m4, numbers, program, run, source, text,
};
use anemone_ane::{Engine, Numerics, Source, Stage};
use mil::DataType::Fp16;
use mil::{
    BlobRef, BlobWriter, DataType, FunctionBuilder, Literal, Op, OpError, Opset, Tensor, Type,
    ValueId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Half a unit in the last place of fp16 is 2⁻¹¹ of the value. These programs round some ten
/// times on the way from an input to an output; roundings of different elements are independent
/// and partly cancel, so eight of them in the worst direction are a generous bound.
const TOLERANCE: f64 = 8.0 / 2048.0;

/// A `main` under construction with its weight files.
struct Builder {
    b: FunctionBuilder,
    files: BTreeMap<String, Arc<[u8]>>,
}

impl Builder {
    fn new() -> Builder {
        Builder { b: FunctionBuilder::new("main", Opset::Ios18), files: BTreeMap::new() }
    }

    fn input(&mut self, name: &str, dims: &[usize]) -> ValueId {
        self.b.input(name, Type::tensor(Fp16, dims))
    }

    /// A constant in a weight file of its own.
    fn file(&mut self, name: &str, dims: &[usize], values: &[f64]) -> ValueId {
        let path = format!("@model_path/weights/{name}.bin");
        self.files.insert(path.clone(), file(&tensor(dims, values)));
        let blob = BlobRef { dtype: Fp16, dims: dims.to_vec(), path, offset: 64 };
        self.b.constant(name, Literal::Blob(blob))
    }

    /// `size` channels (axis 1) or columns (axis 3) from `begin` on.
    fn slice(&mut self, x: ValueId, axis: usize, begin: usize, size: usize) -> ValueId {
        let mut sizes: Vec<i64> = self.b.dims(x).iter().map(|&d| d as i64).collect();
        let mut begins = [0; 4];
        (begins[axis], sizes[axis]) = (begin as i64, size as i64);
        let (begins, sizes) = (self.b.ints(&begins), self.b.ints(&sizes));
        let arguments = [("x", x.into()), ("begin", begins.into()), ("size", sizes.into())];
        self.b.op(Op::SliceBySize, "slice", arguments).expect("the slice is in its tensor")
    }

    /// A 1×1 convolution.
    fn conv(&mut self, x: ValueId, weight: ValueId) -> Result<ValueId, OpError> {
        let (ones, zeros) = (self.b.ints(&[1, 1]), self.b.ints(&[0, 0, 0, 0]));
        let (valid, groups) = (self.b.string("valid"), self.b.int(1));
        let arguments = [
            ("x", x.into()),
            ("weight", weight.into()),
            ("strides", ones.into()),
            ("dilations", ones.into()),
            ("pad", zeros.into()),
            ("pad_type", valid.into()),
            ("groups", groups.into()),
        ];
        self.b.op(Op::Conv, "conv", arguments)
    }

    fn finish(mut self, output: ValueId) -> Source {
        self.b.rename(output, "out");
        source(self.b.finish(&[output]), self.files)
    }
}

fn tensor(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64s(Fp16, dims, values).expect("as many values as the shape has")
}

fn file(tensor: &Tensor) -> Arc<[u8]> {
    let mut writer = BlobWriter::in_memory();
    assert_eq!(writer.push(tensor).expect("memory"), 64);
    writer.into_bytes().expect("memory").into()
}

fn scaled(count: usize, seed: u64, factor: f64) -> Vec<f64> {
    numbers(count, seed).into_iter().map(|v| v * factor).collect()
}

/// Evaluates with both numerics and compares with the interpreter in f64.
fn check(source: &Source, inputs: &Values, tolerance: f64) {
    let expected = exact(source, inputs);
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let found = run(&emulator(m4(), numerics), source, inputs).expect("the engine runs it");
        compare(&found, &expected, tolerance);
    }
}

#[test]
fn fused_query_key_value() -> Result<(), OpError> {
    let (d, s) = (64, 64);
    let mut p = Builder::new();
    let x = p.input("x", &[1, d, 1, s]);
    let mut parts = vec![];
    for (i, name) in ["wq", "wk", "wv"].into_iter().enumerate() {
        let weight = p.file(name, &[d, d, 1, 1], &scaled(d * d, 10 + i as u64, 0.125));
        parts.push(p.conv(x, weight)?);
    }
    let out = p.b.concat(&parts, 1)?;
    let source = p.finish(out);
    check(&source, &inputs(&source, 1), TOLERANCE);
    Ok(())
}

#[test]
fn causal_attention_with_a_constant_mask() -> Result<(), OpError> {
    let (heads, width, s) = (4, 32, 64);
    let d = heads * width;
    let mut p = Builder::new();
    let qkv = p.input("qkv", &[1, 3 * d, 1, s]);
    let mut parts = vec![];
    for i in 0..3 {
        let part = p.slice(qkv, 1, i * d, d);
        let part = p.b.reshape(part, &[1, heads, width, s])?;
        parts.push(p.b.transpose(part, &[0, 1, 3, 2])?);
    }
    // What stands above the diagonal is out of sight.
    let mask: Vec<f64> = (0..s * s).map(|i| if i % s > i / s { -65504.0 } else { 0.0 }).collect();
    let mask = p.file("mask", &[1, 1, s, s], &mask);
    let scores = p.b.matmul(parts[0], parts[1], (false, true))?;
    let scores = p.b.scale(scores, 1.0 / (width as f64).sqrt())?;
    let scores = p.b.add(scores, mask)?;
    let weights = p.b.softmax(scores, -1)?;
    let mixed = p.b.matmul(weights, parts[2], (false, false))?;
    let mixed = p.b.transpose(mixed, &[0, 1, 3, 2])?;
    let out = p.b.reshape(mixed, &[1, d, 1, s])?;
    let source = p.finish(out);
    let values = inputs(&source, 2);
    check(&source, &values, TOLERANCE);

    // The first position sees itself alone.
    let found = run(&emulator(m4(), Numerics::Fast), &source, &values).expect("it runs");
    let first = |row: usize| (found["out"][row * s], values["qkv"][(2 * d + row) * s]);
    assert!((0..d).map(first).all(|(out, v)| (out - v).abs() <= 1.0 / 2048.0));
    Ok(())
}

/// out = W·x, from Wᵀ in the columns after x.
fn packed(ic: usize, oc: usize, s: usize) -> Result<Source, OpError> {
    let mut p = Builder::new();
    let both = p.input("packed", &[1, ic, 1, s + oc]);
    let (x, weight) = (p.slice(both, 3, 0, s), p.slice(both, 3, s, oc));
    let x = p.b.reshape(x, &[1, 1, ic, s])?;
    let x = p.b.transpose(x, &[0, 1, 3, 2])?;
    let weight = p.b.reshape(weight, &[1, 1, ic, oc])?;
    let y = p.b.matmul(x, weight, (false, false))?;
    let y = p.b.transpose(y, &[0, 1, 3, 2])?;
    let out = p.b.reshape(y, &[1, oc, 1, s])?;
    Ok(p.finish(out))
}

#[test]
fn matmul_with_weights_beside_the_activations() -> Result<(), OpError> {
    let (ic, oc, s) = (96, 64, 32);
    let source = packed(ic, oc, s)?;
    check(&source, &inputs(&source, 3), TOLERANCE);

    // Other weights need no other program.
    let engine = emulator(m4(), Numerics::Fast);
    let mut values = inputs(&source, 3);
    for (i, v) in values.get_mut("packed").expect("the input").iter_mut().enumerate() {
        let (row, column) = (i / (s + oc), i % (s + oc));
        if column >= s {
            // Twice the identity, cut off.
            *v = if row == column - s { 2.0 } else { 0.0 };
        }
    }
    let found = run(&engine, &source, &values).expect("it runs");
    let rounded = exact(&source, &values);
    compare(&found, &rounded, 0.0);
    Ok(())
}

#[test]
fn classifier_with_32000_outputs() -> Result<(), OpError> {
    let (d, vocabulary, s) = (8, 32000, 32);
    let mut p = Builder::new();
    let x = p.input("x", &[1, d, 1, s]);
    let weight = scaled(vocabulary * d, 20, 0.25);
    let weight = p.file("embed", &[vocabulary, d, 1, 1], &weight);
    let out = p.conv(x, weight)?;
    let source = p.finish(out);
    // The interpreter takes seconds for this, so it is not asked twice.
    let values = inputs(&source, 4);
    let found = run(&emulator(m4(), Numerics::Fast), &source, &values).expect("it runs");
    compare(&found, &exact(&source, &values), TOLERANCE);
    Ok(())
}

#[test]
fn a_convolution_of_32000_input_channels_is_refused() -> Result<(), OpError> {
    let (d, vocabulary, s) = (32, 32000, 32);
    let mut p = Builder::new();
    let x = p.input("x", &[1, vocabulary, 1, s]);
    let weight = p.file("embed_t", &[d, vocabulary, 1, 1], &scaled(vocabulary * d, 20, 0.25));
    let out = p.conv(x, weight)?;
    let source = p.finish(out);
    for numerics in [Numerics::Fast, Numerics::Modelled] {
        let engine = emulator(m4(), numerics);
        let error = engine.compile(&source).err().expect("the engine refuses it");
        let message = &error.message;
        assert!(error.stage == Stage::Compile && error.code.is_none(), "{error}");
        assert!(message.starts_with("InvalidMILProgram: line "), "{error}");
        assert!(message.contains("(rule conv-input-channels)"), "{error}");
        assert_eq!((engine.usage().compiles, engine.usage().loaded), (0, 0));
    }
    Ok(())
}

/// dx = (dy·w − x·r²·Σ(dy·w·x)/D)·r with r = (Σx²/D + ε)^−½, channels being D.
#[test]
fn root_mean_square_norm_backward() -> Result<(), OpError> {
    let (d, s) = (128, 64);
    let mut p = Builder::new();
    let both = p.input("inp", &[1, 2 * d, 1, s]);
    let (dy, x) = (p.slice(both, 1, 0, d), p.slice(both, 1, d, d));
    let weight: Vec<f64> = numbers(d, 30).into_iter().map(|v| 1.0 + v / 4.0).collect();
    let weight = p.file("rms_w", &[1, d, 1, 1], &weight);
    let b = &mut p.b;
    let square = b.mul(x, x)?;
    let sum = b.reduce(Op::ReduceSum, square, &[1], true)?;
    let mean = b.scale(sum, 1.0 / d as f64)?;
    let epsilon = b.float(Fp16, 1e-5);
    let mean = b.add(mean, epsilon)?;
    let power = b.float(Fp16, -0.5);
    let r = b.binary(Op::Pow, mean, power)?;
    let dyw = b.mul(dy, weight)?;
    let dot = b.mul(dyw, x)?;
    let dot = b.reduce(Op::ReduceSum, dot, &[1], true)?;
    let dot = b.scale(dot, 1.0 / d as f64)?;
    let r2 = b.mul(r, r)?;
    let coefficient = b.mul(r2, dot)?;
    let along = b.mul(x, coefficient)?;
    let difference = b.sub(dyw, along)?;
    let out = b.mul(difference, r)?;
    let source = p.finish(out);
    check(&source, &inputs(&source, 5), TOLERANCE);
    Ok(())
}

/// Four 1×1 convolutions with int8 weights; what passes between two of them is int8 as well.
/// Everything is a small multiple of a power of two, so fp16 rounds nothing and the result is
/// that of exact arithmetic.
#[test]
fn chain_of_convolutions_in_int8() {
    chain_in_bytes(DataType::Int8, |dims, blob| {
        format!(
            "constexpr_affine_dequantize()[axis = int32(0), quantized_data = tensor<int8, {dims:?}>({blob}), scale = fp16(0x1p-3), zero_point = int8(0)]"
        )
    });
}

/// The same with the form that programs have since iOS 18, where a weight may have 4 bits.
#[test]
fn chain_of_convolutions_with_a_scale_for_each_channel() {
    for dtype in [DataType::Int8, DataType::Int4] {
        chain_in_bytes(dtype, |dims, blob| {
            let scales = vec!["[[[0x1p-3]]]"; dims[0]].join(", ");
            let scale = format!("tensor<fp16, [{}, 1, 1, 1]>([{scales}])", dims[0]);
            format!(
                "constexpr_blockwise_shift_scale(data = tensor<{dtype}, {dims:?}>({blob}), scale = {scale})"
            )
        });
    }
}

/// `weight` writes the operation that scales the elements of a weight file by 1/8.
fn chain_in_bytes(dtype: DataType, weight: impl Fn(&[usize], &str) -> String) {
    let (channels, side, depth) = (32, 16, 4);
    let path = "@model_path/weights/w.bin";
    let mut writer = BlobWriter::in_memory();
    let dims = [channels, channels, 1, 1];
    let mut body = String::from(
        "        string valid = const()[name = string(\"valid\"), val = string(\"valid\")];\n\
         \x20       tensor<int32, [2]> ones = const()[name = string(\"ones\"), val = tensor<int32, [2]>([1, 1])];\n\
         \x20       tensor<int32, [4]> zeros = const()[name = string(\"zeros\"), val = tensor<int32, [4]>([0, 0, 0, 0])];\n\
         \x20       int32 groups = const()[name = string(\"groups\"), val = int32(1)];\n\
         \x20       fp16 scale = const()[name = string(\"scale\"), val = fp16(0x1p-3)];\n\
         \x20       string int8 = const()[name = string(\"int8\"), val = string(\"int8\")];\n",
    );
    let shape = format!("[1, {channels}, {side}, {side}]");
    let mut x = "x".to_owned();
    for layer in 0..depth {
        // −1, 0 and 1, most of them 0, so that sums stay small.
        let weights = numbers(channels * channels, 40 + layer);
        let weights: Vec<i64> = weights.iter().map(|v| (v * 1.5) as i64).collect();
        let weights = Tensor::from_i64s(dtype, &dims, &weights).expect("the count fits");
        let offset = writer.push(&weights).expect("memory");
        body += &format!(
            "        tensor<fp16, {dims:?}> w{layer} = {};\n\
             \x20       tensor<fp16, {shape}> y{layer} = conv(dilations = ones, groups = groups, pad = zeros, pad_type = valid, strides = ones, weight = w{layer}, x = {x})[name = string(\"y{layer}\")];\n",
            weight(
                &dims,
                &format!("BLOBFILE(path = string(\"{path}\"), offset = uint64({offset}))")
            )
        );
        x = format!("y{layer}");
        if layer + 1 < depth {
            body += &format!(
                "        tensor<int8, {shape}> q{layer} = quantize(input = y{layer}, output_dtype = int8, scale = scale)[name = string(\"q{layer}\")];\n\
                 \x20       tensor<fp16, {shape}> d{layer} = dequantize(input = q{layer}, scale = scale)[name = string(\"d{layer}\")];\n"
            );
            x = format!("d{layer}");
        }
    }
    let mut source = text(&format!("tensor<fp16, {shape}> x"), body.trim_end(), &x);
    source.weights.insert(path.into(), writer.into_bytes().expect("memory").into());
    let values: Vec<f64> =
        numbers(channels * side * side, 50).iter().map(|v| (v * 64.0).floor() / 8.0).collect();
    let values = Values::from([("x".to_owned(), values)]);
    let expected = exact(&source, &values);
    assert!(expected["y3"].iter().any(|&v| v != 0.0));
    check(&source, &values, 0.0);
}

#[test]
fn two_inputs_of_equal_allocation() -> Result<(), OpError> {
    let dims = [1, 4, 64, 64];
    let mut p = Builder::new();
    // Declared against the alphabet.
    let (q, k) = (p.input("q", &dims), p.input("k", &dims));
    let out = p.b.matmul(q, k, (false, true))?;
    let source = p.finish(out);
    check(&source, &inputs(&source, 6), TOLERANCE);
    Ok(())
}

#[test]
fn programs_print_as_they_are_read() -> Result<(), OpError> {
    let source = packed(96, 64, 32)?;
    let read = mil::parse(&source.text).expect("the text is a program");
    assert_eq!(program(read.function("main").expect("main").clone()), read);
    Ok(())
}
