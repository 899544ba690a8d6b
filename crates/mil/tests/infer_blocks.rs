//! Result types of weights that are stored in blocks, and what is wrong with blocks.

mod common;

use common::infer;

/// `data` and its blocks' `scale` as literals of zeros, and more arguments.
fn blockwise(data: &str, scale: &str, more: &str) -> String {
    let zeros = |ty: &str| {
        let (dtype, dims) = ty.split_once(' ').expect("a type is an element type and dims");
        let path = "BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64))";
        format!("tensor<{dtype}, {dims}>({path})")
    };
    let more = more.split_once(' ').map(|_| format!(", offset = {}", zeros(more)));
    let (data, scale) = (zeros(data), zeros(scale));
    infer(
        "",
        &format!(
            "constexpr_blockwise_shift_scale(data = {data}, scale = {scale}{})",
            more.unwrap_or_default()
        ),
    )
}

#[test]
fn weights_in_blocks() {
    for (data, scale, offset, expected) in [
        ("int8 [6, 4]", "fp16 [6, 1]", "", "tensor<fp16, [6, 4]>"),
        ("int4 [6, 4]", "fp32 [2, 4]", "int4 [2, 4]", "tensor<fp32, [6, 4]>"),
        ("uint4 [8]", "fp16 [4]", "fp16 [4]", "tensor<fp16, [8]>"),
        (
            "uint8 [2, 3, 4, 5]",
            "fp16 [1, 1, 1, 1]",
            "fp32 [1, 1, 1, 1]",
            "tensor<fp16, [2, 3, 4, 5]>",
        ),
        ("fp16 [2, 2]", "fp32 [1, 2]", "", "tensor<fp32, [2, 2]>"),
        ("fp8e4m3fn [2, 2]", "fp16 [2, 1]", "", "tensor<fp16, [2, 2]>"),
        ("fp8e5m2 [2, 2]", "fp32 [1, 1]", "fp16 [1, 1]", "tensor<fp32, [2, 2]>"),
        ("fp32 [2, 2]", "fp16 [2, 2]", "fp32 [2, 2]", "tensor<fp16, [2, 2]>"),
        ("int8 [6, 4]", "fp16 [6]", "", "`scale` has rank 1, `data` has 2"),
        ("int8 [6, 4]", "fp16 []", "", "`scale` has rank 0, `data` has 2"),
        ("int8 []", "fp16 []", "", "`data` is a scalar, which has no blocks"),
        (
            "int8 [6, 4]",
            "fp16 [6, 3]",
            "",
            "axis 1 of `data` has 4 elements, which are not 3 equal blocks",
        ),
        (
            "int8 [6, 4]",
            "fp16 [12, 4]",
            "",
            "axis 0 of `data` has 6 elements, which are not 12 equal blocks",
        ),
        (
            "int8 [6, 4]",
            "fp16 [6, 0]",
            "",
            "axis 1 of `data` has 4 elements, which are not 0 equal blocks",
        ),
        (
            "int8 [0, 4]",
            "fp16 [1, 4]",
            "",
            "axis 0 of `data` has 0 elements, which are not 1 equal blocks",
        ),
        ("int8 [6, 4]", "fp16 [6, 1]", "int8 [6]", "`offset` has shape [6], `scale` [6, 1]"),
        ("int8 [6, 4]", "fp16 [6, 1]", "int8 [1, 1]", "`offset` has shape [1, 1], `scale` [6, 1]"),
        (
            "int8 [6, 4]",
            "fp16 [6, 1]",
            "uint8 [6, 1]",
            "`offset` is uint8, it must be a float or int8 like `data`",
        ),
        (
            "fp16 [6, 4]",
            "fp16 [6, 1]",
            "int4 [6, 1]",
            "`offset` is int4, it must be a float or fp16 like `data`",
        ),
        (
            "int8 [6, 4]",
            "fp16 [6, 1]",
            "int32 [6, 1]",
            "`offset` is int32; it takes int8, uint8, int4, uint4, fp32, fp16, bf16, fp64, fp8e4m3fn, fp8e5m2",
        ),
        (
            "uint6 [6, 4]",
            "fp16 [6, 1]",
            "",
            "`data` is uint6; it takes int8, uint8, int4, uint4, fp32, fp16, bf16, fp64, fp8e4m3fn, fp8e5m2",
        ),
        ("int8 [6, 4]", "int8 [6, 1]", "", "`scale` is int8; it takes fp32, fp16, bf16, fp64"),
    ] {
        let found = blockwise(data, scale, offset);
        let message = found.strip_prefix("constexpr_blockwise_shift_scale: ");
        assert_eq!(message.unwrap_or(&found), expected, "{data} {scale} {offset}");
    }
    // All of it is stored.
    assert_eq!(
        infer(
            "tensor<int8, [2]> q",
            "constexpr_blockwise_shift_scale(data = q, scale = tensor<fp16, [1]>([1]))"
        ),
        "constexpr_blockwise_shift_scale: `data` must be known when the program is compiled"
    );
}
