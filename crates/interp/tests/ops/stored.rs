//! Weights in a compressed form.

use crate::common::{apply_many, check, dtype, evaluate, floats, ints, program, run, vector};
use anemone_interp::{Array, Options};
use mil::DataType::{Fp16, Int8, Uint1, Uint2, Uint4, Uint6, Uint8, Uint32};
use mil::Op;

fn bytes(values: &[i64]) -> Array {
    dtype(Uint8, vector(values))
}

fn bits(dims: &[usize], values: &[i64]) -> Array {
    dtype(Uint1, ints(dims, values))
}

fn shape(dims: &[i64]) -> (&'static str, Array) {
    ("shape", dtype(Uint32, vector(dims)))
}

#[test]
fn casts() {
    let halves = dtype(Fp16, floats(&[2], &[0.1, 3.0]));
    let expected = floats(&[2], &halves.to_f64s());
    let to = ("output_dtype", crate::common::string("fp32"));
    check(Op::ConstexprCast, &[("source_val", halves), to], expected);
}

#[test]
fn packed_indices_begin_with_the_lowest_bits() {
    let table = |count: usize| floats(&[count], &Vec::from_iter((0..count).map(|i| i as f64)));
    for (count, packed, expected) in [
        // 0, 3, 2, 1 and 3 in two bits each.
        (4, &[0b0110_1100, 0b11][..], &[0.0, 3.0, 2.0, 1.0, 3.0][..]),
        (2, &[0b10110], &[0.0, 1.0, 1.0, 0.0, 1.0]),
        (16, &[0xa1, 0x0f, 0x07], &[1.0, 10.0, 15.0, 0.0, 7.0]),
        // Six bits: 5, 63, 32 and 1 in three bytes, then 9.
        (64, &[0b1100_0101, 0b0000_1111, 0b0000_0110, 9], &[5.0, 63.0, 32.0, 1.0, 9.0]),
        (256, &[255, 0, 7, 128, 1], &[255.0, 0.0, 7.0, 128.0, 1.0]),
    ] {
        let inputs = [("indices", bytes(packed)), ("lut", table(count)), shape(&[5, 1])];
        check(Op::ConstexprLutToDense, &inputs, floats(&[5, 1], expected));
    }
    let wrong = [("indices", bytes(&[0])), ("lut", table(4)), shape(&[5])];
    let error = run(Op::ConstexprLutToDense, &wrong).unwrap_err().message;
    assert_eq!(error, "`indices` is tensor<uint8, [1]>; shape [5] takes 2 bytes");
}

/// The two examples in the definition of the op.
#[test]
fn tables_of_groups_and_of_vectors() {
    let two_bits = [2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3];
    let inputs = [
        ("indices", dtype(Uint2, ints(&[6, 2], &two_bits))),
        ("lut", floats(&[2, 1, 4, 1], &[1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0])),
    ];
    let expected = [9.0, 13.0, 13.0, 1.0, 5.0, 1.0, 26.0, 2.0, 18.0, 10.0, 2.0, 26.0];
    check(Op::ConstexprLutToDense, &inputs, floats(&[6, 2], &expected));

    let lut = dtype(Int8, ints(&[1, 1, 1, 2, 3], &[1, 2, 3, -1, -2, -3]));
    let along = |axis: i64| {
        [
            ("indices", bits(&[2, 2, 2], &[0, 0, 1, 0, 1, 1, 0, 0])),
            ("lut", lut.clone()),
            ("vector_axis", ints(&[], &[axis])),
        ]
    };
    #[rustfmt::skip]
    let middle = [1, 1, 2, 2, 3, 3, -1, 1, -2, 2, -3, 3, -1, -1, -2, -2, -3, -3, 1, 1, 2, 2, 3, 3];
    check(Op::ConstexprLutToDense, &along(1), dtype(Int8, ints(&[2, 6, 2], &middle)));
    #[rustfmt::skip]
    let last = [1, 2, 3, 1, 2, 3, -1, -2, -3, 1, 2, 3, -1, -2, -3, -1, -2, -3, 1, 2, 3, 1, 2, 3];
    check(Op::ConstexprLutToDense, &along(-1), dtype(Int8, ints(&[2, 2, 6], &last)));
    let error = run(Op::ConstexprLutToDense, &along(1)[..2]).unwrap_err().message;
    assert!(error.ends_with("its entries hold 3 elements, so `vector_axis` is needed"), "{error}");
}

#[test]
fn masks() {
    let kept = || ("nonzero_data", floats(&[3], &[1.0, 2.0, 3.0]));
    let expected = floats(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 0.0, 3.0]);
    let typed = [kept(), ("mask", bits(&[2, 3], &[0, 1, 1, 0, 0, 1]))];
    check(Op::ConstexprSparseToDense, &typed, expected.clone());
    let packed = [kept(), ("mask", bytes(&[0b10_0110])), shape(&[2, 3])];
    check(Op::ConstexprSparseToDense, &packed, expected);
    let fewer = [kept(), ("mask", bits(&[2, 3], &[0, 1, 1, 0, 0, 0]))];
    let error = run(Op::ConstexprSparseToDense, &fewer).unwrap_err().message;
    assert_eq!(error, "the mask has 2 bits for 3 elements");
    // Integers keep their type.
    let small = [("nonzero_data", dtype(Uint4, vector(&[9]))), ("mask", bits(&[2], &[0, 1]))];
    check(Op::ConstexprSparseToDense, &small, dtype(Uint4, vector(&[0, 9])));
}

/// The example in the definition of the op, and what scaling keeps apart.
#[test]
fn sparse_to_sparse() {
    let mask = bits(&[2, 3], &[1, 1, 0, 0, 1, 0]);
    let inputs = [
        ("indices_mask", mask.clone()),
        ("indices_nonzero_data", bits(&[3], &[0, 1, 1])),
        ("lut", floats(&[1, 1, 2, 2], &[2.0, 4.0, 3.0, 5.0])),
        ("vector_axis", ints(&[], &[0])),
    ];
    let found = apply_many(Op::ConstexprLutToSparse, &[], &inputs, 2).unwrap();
    assert_eq!(found[0], bits(&[4, 3], &[1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0]));
    assert_eq!(found[1], floats(&[6], &[2.0, 3.0, 4.0, 5.0, 3.0, 5.0]));

    let inputs = [
        ("data_mask", bits(&[4, 4], &[1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0])),
        ("nonzero_data", dtype(Int8, vector(&[10, 11, 3, 4, 5, 6, 7, 8, 9]))),
        ("scale", floats(&[1, 4], &[0.5, 0.25, 2.0, 4.0])),
        ("offset", dtype(Int8, ints(&[1, 4], &[1, 2, 3, 4]))),
    ];
    let found = apply_many(Op::ConstexprSparseBlockwiseShiftScale, &[], &inputs, 2).unwrap();
    assert_eq!(found[0], inputs[0].1);
    let expected = [4.5, 2.25, 1.0, 0.5, 4.0, 6.0, 12.0, 3.5, 1.75];
    assert_eq!(found[1], floats(&[9], &expected));
}

#[test]
fn eight_bit_floats_are_scaled() {
    for (stored, two, limit) in
        [(mil::DataType::Fp8E4M3Fn, 2.0, 448.0), (mil::DataType::Fp8E5M2, 2.0, 57344.0)]
    {
        let data = dtype(stored, floats(&[1, 3], &[two, -limit, 0.375]));
        let inputs = [("data", data), ("scale", floats(&[1, 1], &[0.5]))];
        let expected = floats(&[1, 3], &[1.0, -limit / 2.0, 0.1875]);
        check(Op::ConstexprBlockwiseShiftScale, &inputs, expected);
    }
}

/// What a `constexpr` gives may stand where a constant must.
#[test]
fn chains() {
    let body = "tensor<uint1, [2, 3]> m, tensor<int8, [4]> q = constexpr_lut_to_sparse(\
            indices_mask = tensor<uint1, [2, 3]>([[1, 1, 0], [0, 1, 1]]), \
            indices_nonzero_data = tensor<uint1, [4]>([1, 0, 0, 1]), \
            lut = tensor<int8, [1, 1, 2, 1]>([[[[3], [5]]]])); \
        tensor<uint1, [2, 3]> n, tensor<fp32, [4]> v = constexpr_sparse_blockwise_shift_scale(\
            data_mask = m, nonzero_data = q, scale = tensor<fp32, [2, 1]>([[2], [4]]), \
            offset = tensor<int8, [2, 1]>([[1], [2]])); \
        tensor<fp32, [2, 3]> w = constexpr_sparse_to_dense(mask = n, nonzero_data = v); \
        tensor<fp32, [1, 2]> y = linear(x = x, weight = w);";
    let program = program("ios18", "tensor<fp32, [1, 3]> x", body, "y");
    let x = ("x", floats(&[1, 3], &[1.0, 10.0, 100.0]));
    let found = evaluate(&program, &[x], &Options::default()).unwrap().outputs;
    // w = [[8, 4, 0], [0, 4, 12]].
    assert_eq!(found["y"], floats(&[1, 2], &[48.0, 1240.0]));
}

#[test]
fn six_bits_are_a_table_of_sixty_four() {
    let lut = floats(&[1, 64, 1], &Vec::from_iter((0..64).map(|i| f64::from(i) / 2.0)));
    let indices = dtype(Uint6, vector(&[0, 63, 33]));
    let inputs = [("indices", indices.clone()), ("lut", lut)];
    check(Op::ConstexprLutToDense, &inputs, floats(&[3], &[0.0, 31.5, 16.5]));
    let short = [("indices", indices), ("lut", floats(&[1, 2, 1], &[0.0; 2]))];
    let error = run(Op::ConstexprLutToDense, &short).unwrap_err().message;
    assert!(error.ends_with("with indices of uint6 it must have 64 entries"), "{error}");
}
