//! Result types of the further element-wise ops and reductions, and of those of images.

mod common;

use common::check;

#[test]
fn further_elementwise_and_reductions() {
    check(
        "tensor<fp32, [2, ?, 3]> x, tensor<int32, [2, 3]> i, tensor<bool, [2, 1]> c, \
         tensor<fp32, ?> any, fp32 s, tensor<fp32, [70000]> long",
        &[
            ("acos(x = x)", "tensor<fp32, [2, ?, 3]>"),
            ("logical_xor(x = c, y = c)", "tensor<bool, [2, 1]>"),
            ("exp2(x = i)", "tensor<int32, [2, 3]>"),
            ("ceil(x = i)", "ceil: `x` is int32; it takes fp32, fp16, bf16, fp64"),
            ("elu(x = x, alpha = fp16(0.5))", "tensor<fp32, [2, ?, 3]>"),
            ("elu(x = x)", "elu: parameter `alpha` is missing"),
            ("elu(x = x, alpha = s)", "elu: `alpha` must be known when the program is compiled"),
            (
                "elu(x = x, alpha = tensor<fp32, [2]>([1, 2]))",
                "elu: `alpha` must be a number, found tensor<fp32, [2]>",
            ),
            ("threshold(x = i, alpha = int32(1))", "tensor<int32, [2, 3]>"),
            ("prelu(x = x, alpha = long)", "tensor<fp32, [2, ?, 3]>"),
            ("prelu(x = any, alpha = long)", "tensor<fp32, ?>"),
            ("prelu(x = x, alpha = s)", "prelu: `alpha` is fp32, x has ? channels"),
            (
                "reduce_l2_norm(x = x, axes = int32(1), keep_dims = bool(true))",
                "tensor<fp32, [2, 1, 3]>",
            ),
            ("reduce_prod(x = i)", "int32"),
            ("reduce_argmax(x = x)", "tensor<int32, [2, ?]>"),
            (
                "reduce_argmin(x = x, axis = int32(1), output_dtype = string(\"uint16\"))",
                "tensor<uint16, [2, 3]>",
            ),
            ("reduce_argmax(x = any)", "tensor<int32, ?>"),
            (
                "reduce_argmax(x = long, output_dtype = string(\"uint16\"))",
                "reduce_argmax: uint16 does not hold an index below 70000",
            ),
        ],
    );
}

#[test]
fn norms_and_pools_of_images() {
    let valid = "pad_type = string(\"valid\")";
    let pool = |rest: &str| format!("max_pool(x = x, kernel_sizes = {rest})");
    check(
        "tensor<fp16, [1, 4, ?, 9]> x, tensor<fp32, [4]> v, tensor<fp32, [3]> w, \
         tensor<fp32, ?> any, tensor<fp32, [2, 3]> flat",
        &[
            ("batch_norm(x = x, mean = v, variance = v)", "tensor<fp16, [1, 4, ?, 9]>"),
            (
                "batch_norm(x = x, mean = v, variance = w)",
                "batch_norm: `variance` is tensor<fp32, [3]>, x has 4 channels",
            ),
            ("instance_norm(x = x, gamma = v)", "tensor<fp16, [1, 4, ?, 9]>"),
            ("l2_norm(x = x, epsilon = fp32(0.1))", "tensor<fp16, [1, 4, ?, 9]>"),
            ("l2_norm(x = flat)", "l2_norm: x has rank 2; it must be 3 or more"),
            ("local_response_norm(x = x, size = int32(5))", "tensor<fp16, [1, 4, ?, 9]>"),
            (&pool(&format!("tensor<int32, [2]>([2, 3]), {valid}")), "tensor<fp16, [1, 4, ?, 7]>"),
            (
                &pool(
                    "tensor<int32, [2]>([2, 3]), strides = tensor<int32, [2]>([2, 2]), \
                     pad_type = string(\"same\")",
                ),
                "tensor<fp16, [1, 4, ?, 5]>",
            ),
            (
                &pool(&format!("tensor<int32, [1]>([2]), {valid}")),
                "max_pool: `kernel_sizes` has 1 elements, not 2",
            ),
            (
                &pool(&format!("tensor<int32, [2]>([2, 10]), {valid}")),
                "max_pool: the window of axis 1 spans 10 elements, the padded input has 9",
            ),
            ("avg_pool(x = x)", "avg_pool: parameter `kernel_sizes` is missing"),
            (
                "l2_pool(x = any, kernel_sizes = int32(2), pad_type = string(\"valid\"))",
                "tensor<fp32, ?>",
            ),
        ],
    );
}

#[test]
fn resampled_and_rearranged_images() {
    check(
        "tensor<fp16, [2, 12, ?, 6]> x, tensor<int32, [2]> size, tensor<fp32, [2, 5, 7, 2]> at, \
         tensor<fp16, [1, 6]> matrix, tensor<fp16, [3, 4]> boxes, tensor<uint16, [3]> of",
        &[
            (
                "upsample_bilinear(x = x, scale_factor_width = fp32(1.5))",
                "tensor<fp16, [2, 12, ?, 9]>",
            ),
            (
                "upsample_nearest_neighbor(x = x, scale_factor_height = int32(3))",
                "tensor<fp16, [2, 12, ?, 6]>",
            ),
            (
                "resize_bilinear(x = x, target_size_height = int32(4))",
                "tensor<fp16, [2, 12, 4, 1]>",
            ),
            (
                "resize(x = x, shape = size, resized_dims = uint32(2))",
                "tensor<fp16, [2, 12, ?, ?]>",
            ),
            (
                "resize(x = x, shape = tensor<int32, [3]>([9, 0, 4]), resized_dims = uint32(2))",
                "tensor<fp16, [2, 12, ?, 4]>",
            ),
            (
                "resize(x = x, shape = size, resized_dims = uint32(3))",
                "resize: `shape` has 2 elements; it must have 3 to 4",
            ),
            (
                "resample(x = x, coordinates = at, sampling_mode = string(\"nearest\"), \
                 padding_mode = string(\"border\"), padding_value = fp16(0), \
                 coordinates_mode = string(\"unnormalized\"), align_corners = bool(true))",
                "tensor<fp16, [2, 12, 5, 7]>",
            ),
            (
                "affine(x = x, transform_matrix = matrix, output_height = int32(5), \
                 output_width = int32(3), sampling_mode = string(\"bilinear\"), \
                 padding_mode = string(\"constant\"), padding_value = fp16(0), \
                 coordinates_mode = string(\"unnormalized\"), align_corners = bool(true))",
                "tensor<fp16, [2, 12, 5, 3]>",
            ),
            (
                "crop_resize(x = x, boxes = boxes, box_indices = of, target_height = int32(2))",
                "tensor<fp16, [3, 12, 2, 1]>",
            ),
            (
                "crop_resize(x = x, boxes = boxes)",
                "crop_resize: 3 boxes of 2 images need `box_indices`",
            ),
            (
                "crop(x = x, crop_height = tensor<int32, [2]>([1, 2]), \
                 crop_width = tensor<int32, [2]>([1, 2]))",
                "tensor<fp16, [2, 12, ?, 3]>",
            ),
            ("depth_to_space(x = x, block_size = int32(2))", "tensor<fp16, [2, 3, ?, 12]>"),
            (
                "pixel_unshuffle(x = x, downscale_factor = uint32(3))",
                "tensor<fp16, [2, 108, ?, 2]>",
            ),
            (
                "space_to_batch(x = x, block_shape = tensor<int32, [2]>([1, 4]), \
                 paddings = tensor<int32, [2, 2]>([[0, 0], [1, 1]]))",
                "tensor<fp16, [8, 12, ?, 2]>",
            ),
            (
                "batch_to_space(x = x, block_shape = tensor<int32, [2]>([1, 2]), \
                 crops = tensor<int32, [2, 2]>([[0, 0], [1, 1]]))",
                "tensor<fp16, [1, 12, ?, 10]>",
            ),
            (
                "sliding_windows(x = x, axis = int32(-1), size = int32(3), stride = int32(2))",
                "tensor<fp16, [2, 12, ?, 2, 3]>",
            ),
        ],
    );
}
