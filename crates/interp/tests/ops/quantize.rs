use crate::common::{check, dtype, evaluate, floats, ints, program, run, string};
use anemone_interp::{Array, Options};
use mil::{BlobWriter, DataType, Op, Weights};

#[test]
fn quantizing_rounds_half_to_even_and_clips() {
    let inputs = [
        ("input", floats(&[6], &[0.5, 1.5, 2.5, -0.5, 1e9, f64::NEG_INFINITY])),
        ("scale", floats(&[], &[1.0])),
        ("zero_point", dtype(DataType::Int8, ints(&[], &[1]))),
        ("output_dtype", string("int8")),
    ];
    let expected = dtype(DataType::Int8, ints(&[6], &[1, 3, 3, 1, 127, -128]));
    check(Op::Quantize, &inputs, expected);
}

#[test]
fn scales_per_channel() {
    let bytes = |dims: &[usize], v: &[i64]| dtype(DataType::Uint8, ints(dims, v));
    let common = [
        ("scale", floats(&[2], &[0.5, 2.0])),
        ("zero_point", bytes(&[2], &[0, 10])),
        ("axis", ints(&[], &[-2])),
    ];
    let mut forth = common.to_vec();
    forth.push(("input", floats(&[2, 2], &[1.0, 300.0, 4.0, -100.0])));
    forth.push(("output_dtype", string("uint8")));
    check(Op::Quantize, &forth, bytes(&[2, 2], &[2, 255, 12, 0]));
    let mut back = common.to_vec();
    back.push(("input", bytes(&[2, 2], &[2, 255, 12, 0])));
    let expected = floats(&[2, 2], &[1.0, 127.5, 4.0, -20.0]);
    check(Op::Dequantize, &back, expected.clone());
    let mut constant = common.to_vec();
    constant.push(("quantized_data", bytes(&[2, 2], &[2, 255, 12, 0])));
    check(Op::ConstexprAffineDequantize, &constant, expected);
}

#[test]
fn one_scale_a_block() {
    let int4 = |dims: &[usize], v: &[i64]| dtype(DataType::Int4, ints(dims, v));
    let inputs = [
        ("data", int4(&[2, 4], &[-8, 7, 1, 2, 3, 4, -5, -6])),
        ("scale", floats(&[1, 2], &[0.5, 2.0])),
        ("offset", int4(&[1, 2], &[-1, 1])),
    ];
    check(
        Op::ConstexprBlockwiseShiftScale,
        &inputs,
        floats(&[2, 4], &[-3.5, 4.0, 0.0, 2.0, 2.0, 2.5, -12.0, -14.0]),
    );
    // Rounded once, to the type of the scale: 0.1 is not one of fp16, nor is 3 times it.
    let halves = dtype(DataType::Fp16, floats(&[2], &[0.1, 0.1]));
    let inputs = [("data", int4(&[2], &[3, -7])), ("scale", halves.clone())];
    let tenth = halves.to_f64s()[0];
    let expected = Array::floats(DataType::Fp16, &[2], vec![3.0 * tenth, -7.0 * tenth]);
    check(Op::ConstexprBlockwiseShiftScale, &inputs, expected);
}

/// A generator of small numbers, the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// Element `at` of a tensor of `dims` is in the block whose number this is: each coordinate,
/// beginning with the last, by the size of a block.
fn block_of(at: usize, dims: &[usize], blocks: &[usize]) -> usize {
    let (mut rest, mut block, mut step) = (at, 0, 1);
    for (dim, count) in dims.iter().zip(blocks).rev() {
        let size = dim / count;
        block += rest % dim / size * step;
        rest /= dim;
        step *= count;
    }
    block
}

#[test]
fn blocks_of_any_shape_follow_the_formula() {
    let mut random = Random(3);
    for round in 0..400 {
        let rank = 1 + random.below(4);
        let blocks: Vec<usize> = (0..rank).map(|_| 1 + random.below(4)).collect();
        let dims: Vec<usize> = blocks.iter().map(|count| count * (1 + random.below(4))).collect();
        let stored = [
            DataType::Int4,
            DataType::Uint4,
            DataType::Int8,
            DataType::Uint8,
            DataType::Fp16,
            DataType::Fp32,
        ][random.below(6)];
        let (low, high) = stored.int_range().unwrap_or((-1000, 1000));
        let mut some = |dims: &[usize]| {
            let count = dims.iter().product();
            let value = |_| low + random.below((high - low + 1) as usize) as i64;
            dtype(stored, ints(dims, &Vec::from_iter((0..count).map(value))))
        };
        let (data, offset) = (some(&dims), some(&blocks));
        let count = blocks.iter().product();
        let scale: Vec<f64> = (0..count).map(|_| random.below(2000) as f64 / 999.0).collect();
        let scale = dtype([DataType::Fp16, DataType::Fp32][round % 2], floats(&blocks, &scale));
        // Offsets are like the data, floats, or left out.
        let offset = match random.below(3) {
            0 => None,
            1 => Some(offset),
            _ => Some(dtype(DataType::Fp32, offset)),
        };
        let (q, s) = (data.to_f64s(), scale.to_f64s());
        let zero = offset.as_ref().map_or(vec![0.0; count], |offset| offset.to_f64s());
        let value = |at: usize| {
            let block = block_of(at, &dims, &blocks);
            s[block] * (q[at] - zero[block])
        };
        let expected = Array::floats(scale.dtype(), &dims, (0..q.len()).map(value).collect());
        let mut inputs = vec![("data", data), ("scale", scale)];
        inputs.extend(offset.map(|offset| ("offset", offset)));
        check(Op::ConstexprBlockwiseShiftScale, &inputs, expected);
        // One block more is one too many along an axis that has more than that.
        let longer: Vec<usize> = blocks.iter().zip(&dims).map(|(_, dim)| dim + 1).collect();
        let scale = floats(&longer, &vec![1.0; longer.iter().product()]);
        let refused = run(Op::ConstexprBlockwiseShiftScale, &[inputs[0].clone(), ("scale", scale)]);
        assert!(refused.unwrap_err().message.contains("equal blocks"), "{dims:?}");
    }
}

#[test]
fn blocks_come_from_weight_files() {
    let tensor = |stored: DataType, dims: &[usize], v: &[i64]| {
        mil::Tensor::from_i64s(stored, dims, v).expect("as many as the dims say")
    };
    let mut file = BlobWriter::in_memory();
    // Five elements of 4 bits end within a byte.
    let data = file.push(&tensor(DataType::Uint4, &[1, 5], &[0, 15, 1, 8, 7])).unwrap();
    let offset = file.push(&tensor(DataType::Uint4, &[1, 1], &[8])).unwrap();
    let weights = Weights::in_memory([("w.bin", file.into_bytes().unwrap())]);
    let blob =
        |at: u64| format!("BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64({at}))");
    let (data, offset) = (blob(data), blob(offset));
    let body = format!(
        "tensor<fp32, [1, 5]> w = constexpr_blockwise_shift_scale(data = tensor<uint4, [1, 5]>({data}), \
         offset = tensor<uint4, [1, 1]>({offset}), scale = tensor<fp32, [1, 1]>([[0x1p-2]])); \
         tensor<fp32, [1, 5]> y = add(x = x, y = w);"
    );
    let program = program("ios18", "tensor<fp32, [1, 5]> x", &body, "y");
    let x = floats(&[1, 5], &[0.0, 0.0, 0.0, 0.0, 1.0]);
    let options = Options { weights, ..Options::default() };
    let outputs = evaluate(&program, &[("x", x)], &options).expect("it runs").outputs;
    assert_eq!(outputs["y"], floats(&[1, 5], &[-2.0, 1.75, -1.75, 0.0, 0.75]));
}

/// A program and weight file of coremltools 9.0, and what its own `decompress` gives for them:
/// int4 with blocks along rows, and uint4 with offsets and blocks along columns. All values are
/// those of fp16, so the sums with zeros are exact.
#[test]
fn blocks_of_another_writer_are_what_it_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/blocks");
    let text = std::fs::read_to_string(folder.join("model.mil")).expect("the fixture is there");
    let program = mil::parse(&text).expect("the program is right");
    mil::verify(&program).expect("the program is right");
    assert_eq!(mil::parse(&mil::print(&program)).expect("a print is right"), program);
    let options = Options { weights: Weights::in_dir(folder), ..Options::default() };
    let zeros =
        |dims: &[usize]| dtype(DataType::Fp16, floats(dims, &vec![0.0; dims.iter().product()]));
    let inputs = [("x", zeros(&[3, 15])), ("y", zeros(&[15, 4]))];
    let outputs = evaluate(&program, &inputs, &options).expect("it runs").outputs;
    #[rustfmt::skip]
    let signed = [
        6.671875, 1.90625, 1.90625, 1.125, 0.1875, 0.75, 0.390625, -0.390625, -0.625, -2.75, -2.75,
        3.4375, 0.375, -0.5, -0.0625, 1.09375, -1.3125, 0.875, -5.578125, -0.796875, 3.984375, -6.0,
        -4.5, -6.0, 2.15625, -2.875, 5.03125, -1.25, -1.25, 0.0, 1.40625, 0.0, 0.0, 8.859375,
        5.0625, 5.0625, 2.90625, 0.96875, -2.90625, 4.8125, -0.6875, -3.4375, 3.984375, -4.78125,
        3.984375,
    ];
    #[rustfmt::skip]
    let offset = [
        2.75, -2.8125, 4.125, -0.984375, 10.3125, -9.375, 0.6875, -0.984375, 10.3125, 0.9375, 9.625,
        -0.984375, 3.375, -8.375, 8.8125, -2.34375, 1.6875, 0.0, 13.21875, -1.875, 0.84375,
        -9.421875, 20.5625, 0.9375, -5.25, 4.125, 1.125, 0.0, 2.625, 5.5, -7.3125, -0.75, -0.875,
        -0.6875, -5.625, -1.875, 0.375, -4.375, 0.0, -0.15625, 0.28125, -6.25, 1.265625, -0.78125,
        -0.5625, -9.375, 1.265625, -1.25, -3.75, -5.9375, -1.46875, 0.0, -5.625, 5.9375, 2.9375,
        1.375, -3.75, 8.90625, 2.9375, 2.40625,
    ];
    assert_eq!(outputs["a"].to_f64s(), signed);
    assert_eq!(outputs["b"].to_f64s(), offset);
}
