//! Result types of every family of ops: a row gives the function's parameters, one operation, and
//! the types of its results or the error. Parameters are values that are not known when the
//! program is compiled; constants are written in place.

mod common;

use common::{check, infer};

#[test]
fn elementwise() {
    let parameters = "tensor<fp32, [2, 3]> x, tensor<fp32, [3]> row, tensor<fp32, [2, 1]> column, \
        tensor<fp32, [4]> four, tensor<fp32, [?, 3]> open, tensor<fp32, ?> any, \
        tensor<int32, [2, 3]> i, tensor<bool, [2, 1]> c, fp16 h";
    check(
        parameters,
        &[
            ("add(x = x, y = row)", "tensor<fp32, [2, 3]>"),
            ("sub(x = row, y = column)", "tensor<fp32, [2, 3]>"),
            ("mul(x = open, y = x)", "tensor<fp32, [2, 3]>"),
            ("mul(x = open, y = row)", "tensor<fp32, [?, 3]>"),
            ("mul(x = any, y = row)", "tensor<fp32, ?>"),
            ("pow(x = x, y = fp32(2.0))", "tensor<fp32, [2, 3]>"),
            (
                "add(x = x, y = four)",
                "add: shapes tensor<fp32, [2, 3]> and tensor<fp32, [4]> do not broadcast",
            ),
            ("add(x = x, y = i)", "add: `x` is fp32 but `y` is int32; they must be the same"),
            ("add(x = x)", "add: parameter `y` is missing"),
            ("add(x = x, y = x, z = x)", "add: no parameter `z`; it takes x, y"),
            ("less(x = i, y = int32(1))", "tensor<bool, [2, 3]>"),
            ("equal(x = c, y = c)", "tensor<bool, [2, 1]>"),
            ("logical_not(x = c)", "tensor<bool, [2, 1]>"),
            ("logical_and(x = x, y = x)", "logical_and: `x` is fp32; it takes bool"),
            ("select(cond = c, a = x, b = row)", "tensor<fp32, [2, 3]>"),
            ("select(cond = c, a = fp16(0), b = h)", "tensor<fp16, [2, 1]>"),
            ("cast(x = open, dtype = string(\"bf16\"))", "tensor<bf16, [?, 3]>"),
            (
                "cast(x = x, dtype = string(\"f16\"))",
                "cast: `dtype` names no element type: \"f16\"",
            ),
            ("cast(x = x, dtype = string(\"string\"))", "cast: nothing can be cast to string"),
            ("exp(x = h)", "fp16"),
            ("exp(x = i)", "exp: `x` is int32; it takes fp32, fp16, bf16, fp64"),
            ("rsqrt(x = x, epsilon = fp32(0.1))", "tensor<fp32, [2, 3]>"),
            (
                "rsqrt(x = x, epsilon = four)",
                "rsqrt: `epsilon` must be known when the program is compiled",
            ),
            ("clip(x = x, alpha = fp32(0), beta = fp32(6))", "tensor<fp32, [2, 3]>"),
            ("gelu(x = x)", "tensor<fp32, [2, 3]>"),
            (
                "gelu(x = x, mode = string(\"FAST\"))",
                "gelu: `mode` is \"FAST\"; it is EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION",
            ),
        ],
    );
}

#[test]
fn reductions() {
    let axes = |op: &str, rest: &str| format!("{op}(x = x{rest})");
    let x = "tensor<fp32, [2, 3, ?]> x, tensor<fp32, [3]> g, tensor<fp32, ?> any, fp32 s";
    check(
        x,
        &[
            (&axes("reduce_sum", ""), "fp32"),
            (&axes("reduce_mean", ", keep_dims = bool(true)"), "tensor<fp32, [1, 1, 1]>"),
            (&axes("reduce_max", ", axes = tensor<int32, [2]>([-1, 0])"), "tensor<fp32, [3]>"),
            (
                "reduce_min(x = x, axes = int32(1), keep_dims = bool(true))",
                "tensor<fp32, [2, 1, ?]>",
            ),
            (
                "reduce_sum(x = x, axes = tensor<int32, [2]>([1, -2]))",
                "reduce_sum: `axes` names an axis twice",
            ),
            (
                "reduce_sum(x = x, axes = tensor<int32, [1]>([3]))",
                "reduce_sum: `axes` = 3 is out of range for rank 3",
            ),
            ("reduce_log_sum_exp(x = any, axes = int32(0))", "tensor<fp32, ?>"),
            ("softmax(x = x)", "tensor<fp32, [2, 3, ?]>"),
            ("softmax(x = s)", "softmax: `axis` = -1 is out of range for rank 0"),
            ("cumsum(x = x, axis = int32(2), reverse = bool(true))", "tensor<fp32, [2, 3, ?]>"),
            (
                "layer_norm(x = x, axes = int32(1), gamma = tensor<fp16, [3]>([1, 1, 1]))",
                "tensor<fp32, [2, 3, ?]>",
            ),
            (
                "layer_norm(x = x, axes = int32(1), beta = tensor<fp32, [2]>([1, 1]))",
                "layer_norm: `beta` is tensor<fp32, [2]>, the normalized axes are tensor<fp32, [3]>",
            ),
        ],
    );
}

#[test]
fn products() {
    check(
        "tensor<bf16, [2, ?, 4]> x, tensor<fp32, [5, 4]> w, tensor<fp32, [5]> b, fp32 s, \
         tensor<bf16, [2, 1, 3, 4]> l, tensor<fp16, [7, 5, 4]> r, tensor<fp32, ?> any",
        &[
            ("linear(x = x, weight = w, bias = b)", "tensor<bf16, [2, ?, 5]>"),
            (
                "linear(x = b, weight = w)",
                "linear: x is tensor<fp32, [5]> and weight tensor<fp32, [5, 4]>: 5 inputs against 4",
            ),
            ("linear(x = s, weight = w)", "linear: `x` must not be a scalar"),
            (
                "linear(x = x, weight = b)",
                "linear: `weight` is tensor<fp32, [5]>; it must have rank 2",
            ),
            (
                "linear(x = x, weight = w, bias = tensor<fp32, [4]>([1, 2, 3, 4]))",
                "linear: `bias` is tensor<fp32, [4]>, the weight gives 5 outputs",
            ),
            ("matmul(x = l, y = r, transpose_y = bool(true))", "tensor<bf16, [2, 7, 3, 5]>"),
            ("matmul(x = x, y = w, transpose_y = bool(true))", "tensor<bf16, [2, ?, 5]>"),
            ("matmul(x = l, y = any)", "tensor<bf16, ?>"),
            (
                "matmul(x = l, y = r)",
                "matmul: x is tensor<bf16, [2, 1, 3, 4]> and y tensor<fp16, [7, 5, 4]>: 4 columns against 5 rows",
            ),
            (
                "matmul(x = w, y = s)",
                "matmul: x is tensor<fp32, [5, 4]> and y fp32; both must have rank 2 or more",
            ),
        ],
    );
    let p = "tensor<fp32, [1, 4, 10, 9]> x, tensor<fp32, [?, 4, ?, 9]> open, \
        tensor<fp32, [6, 2, 3, 2]> w, tensor<fp32, [4, 3, 3, 2]> t, tensor<fp32, [2, 4]> flat";
    let groups = "groups = int32(2)";
    let twos = "tensor<int32, [2]>([2, 2])";
    let custom = "pad_type = string(\"custom\"), pad = tensor<int32, [4]>([1, 2, 0, 1])";
    let row = |op: &str, w: &str, rest: &str| {
        infer(p, &format!("{op}(x = x, weight = {w}, {groups}{rest})"))
    };
    assert_eq!(row("conv", "w", ""), "tensor<fp32, [1, 6, 8, 8]>");
    assert_eq!(row("conv", "w", &format!(", strides = {twos}")), "tensor<fp32, [1, 6, 4, 4]>");
    assert_eq!(row("conv", "w", &format!(", dilations = {twos}")), "tensor<fp32, [1, 6, 6, 7]>");
    assert_eq!(row("conv", "w", &format!(", {custom}")), "tensor<fp32, [1, 6, 11, 9]>");
    assert_eq!(
        row("conv", "w", &format!(", pad_type = string(\"same\"), strides = {twos}")),
        "tensor<fp32, [1, 6, 5, 5]>"
    );
    assert_eq!(row("conv_transpose", "t", ""), "tensor<fp32, [1, 6, 12, 10]>");
    assert_eq!(
        row("conv_transpose", "t", &format!(", strides = {twos}, {custom}")),
        "tensor<fp32, [1, 6, 18, 17]>"
    );
    assert_eq!(
        row(
            "conv_transpose",
            "t",
            &format!(", strides = {twos}, output_shape = tensor<int32, [4]>([1, 6, 20, 18])")
        ),
        "tensor<fp32, [1, 6, 20, 18]>"
    );
    assert_eq!(
        row("conv_transpose", "t", &format!(", pad_type = string(\"same\"), strides = {twos}")),
        "tensor<fp32, [1, 6, 20, 18]>"
    );
    check(
        p,
        &[
            ("conv(x = open, weight = w, groups = int32(2))", "tensor<fp32, [?, 6, ?, 8]>"),
            (
                "conv(x = x, weight = w)",
                "conv: x has 4 channels and weight is [6, 2, 3, 2] with 1 groups",
            ),
            (
                "conv(x = open, weight = w)",
                "conv: x has 4 channels and weight is [6, 2, 3, 2] with 1 groups",
            ),
            (
                "conv(x = x, weight = flat)",
                "conv: x is tensor<fp32, [1, 4, 10, 9]> and weight tensor<fp32, [2, 4]>: the ranks do not fit",
            ),
            (
                "conv(x = x, weight = w, groups = int32(0))",
                "conv: `groups` is 0, it must be 1 or more",
            ),
            (
                "conv(x = x, weight = w, groups = int32(2), pad_type = string(\"full\"))",
                "conv: `pad_type` is \"full\"",
            ),
            (
                "conv(x = x, weight = w, groups = int32(2), dilations = tensor<int32, [2]>([5, 1]))",
                "conv: the window of axis 0 spans 11 elements, the padded input has 10",
            ),
        ],
    );
    check(
        "tensor<fp16, [2, 8, 5, 4]> q, tensor<fp16, [1, 8, 7, 4]> k, tensor<fp16, [1, 8, 7, 3]> v, \
         tensor<bool, [5, 7]> m, tensor<bool, [5, 6]> n",
        &[
            (
                "scaled_dot_product_attention(query = q, key = k, value = v, attn_mask = m)",
                "tensor<fp16, [2, 8, 5, 3]>",
            ),
            (
                "scaled_dot_product_attention(query = q, key = v, value = v)",
                "scaled_dot_product_attention: query tensor<fp16, [2, 8, 5, 4]>, key tensor<fp16, [1, 8, 7, 3]> and value tensor<fp16, [1, 8, 7, 3]> do not fit",
            ),
            (
                "scaled_dot_product_attention(query = q, key = k, value = v, attn_mask = n)",
                "scaled_dot_product_attention: shapes tensor<bool, [5, 6]> and tensor<bool, [2, 8, 5, 7]> do not broadcast",
            ),
        ],
    );
}

#[test]
fn movement() {
    let p = "tensor<int8, [2, 3, 4]> x, tensor<int8, [?, 3, 4]> open, tensor<int8, ?> any, int8 s, \
        tensor<int8, [1, 3, 1]> thin, tensor<int32, [2]> two, tensor<int32, [3]> three, \
        tensor<int32, [6]> six, tensor<int32, [?]> few";
    check(
        p,
        &[
            ("reshape(x = x, shape = tensor<int32, [2]>([6, -1]))", "tensor<int8, [6, 4]>"),
            ("reshape(x = x, shape = tensor<int32, [3]>([0, 4, 3]))", "tensor<int8, [2, 4, 3]>"),
            ("reshape(x = open, shape = tensor<int32, [3]>([0, 4, 3]))", "tensor<int8, [?, 4, 3]>"),
            ("reshape(x = s, shape = tensor<int32, [1]>([1]))", "tensor<int8, [1]>"),
            ("reshape(x = x, shape = two)", "tensor<int8, [?, ?]>"),
            ("reshape(x = x, shape = few)", "tensor<int8, ?>"),
            ("reshape(x = any, shape = tensor<int32, [2]>([0, 4]))", "tensor<int8, [?, 4]>"),
            (
                "reshape(x = x, shape = int32(25))",
                "reshape: tensor<int8, [2, 3, 4]> does not reshape to [25]",
            ),
            ("reshape(x = x, shape = int32(-2))", "reshape: `shape` holds -2"),
            (
                "reshape(x = x, shape = tensor<int32, [2]>([-1, -1]))",
                "reshape: `shape` holds −1 more than once",
            ),
            (
                "transpose(x = open, perm = tensor<int32, [3]>([2, 0, -2]))",
                "tensor<int8, [4, ?, 3]>",
            ),
            (
                "transpose(x = x, perm = tensor<int32, [2]>([1, 0]))",
                "transpose: `perm` has 2 elements, x has rank 3",
            ),
            (
                "expand_dims(x = x, axes = tensor<int32, [2]>([-1, 0]))",
                "tensor<int8, [1, 2, 3, 4, 1]>",
            ),
            ("expand_dims(x = s, axes = int32(0))", "tensor<int8, [1]>"),
            (
                "expand_dims(x = x, axes = int32(4))",
                "expand_dims: `axes` = 4 is out of range for rank 4",
            ),
            ("squeeze(x = thin)", "tensor<int8, [3]>"),
            ("squeeze(x = thin, axes = int32(-1))", "tensor<int8, [1, 3]>"),
            ("squeeze(x = open)", "tensor<int8, ?>"),
            ("squeeze(x = x, axes = int32(1))", "squeeze: axis 1 of x has size 3, not 1"),
            ("concat(values = (x, open), axis = int32(1))", "tensor<int8, [2, 6, 4]>"),
            ("concat(values = (x, open), axis = int32(0))", "tensor<int8, [?, 3, 4]>"),
            ("concat(values = (s, s, s), axis = int32(0))", "tensor<int8, [3]>"),
            ("concat(values = (x, any), axis = int32(0))", "tensor<int8, ?>"),
            (
                "concat(values = (x, thin), axis = int32(1))",
                "concat: tensor<int8, [2, 3, 4]> and tensor<int8, [1, 3, 1]> do not join along axis 1",
            ),
            (
                "concat(values = (x, six), axis = int32(0))",
                "concat: `values` holds tensor<int8, [2, 3, 4]> and tensor<int32, [6]>",
            ),
            ("concat(values = (), axis = int32(0))", "concat: `values` is empty"),
            (
                "concat(values = (six, two), axis = int32(0), interleave = bool(true))",
                "concat: `interleave` needs parts of one size, found tensor<int32, [6]> and tensor<int32, [2]>",
            ),
            (
                "split(x = x, axis = int32(2), num_splits = int32(2))",
                "tensor<int8, [2, 3, 2]>; tensor<int8, [2, 3, 2]>",
            ),
            (
                "split(x = open, axis = int32(-1), split_sizes = tensor<int32, [2]>([1, 3]), num_splits = int32(2))",
                "tensor<int8, [?, 3, 1]>; tensor<int8, [?, 3, 3]>",
            ),
            (
                "split(x = open, axis = int32(0), num_splits = int32(2))",
                "tensor<int8, [?, 3, 4]>; tensor<int8, [?, 3, 4]>",
            ),
            (
                "split(x = x, axis = int32(1), num_splits = int32(2))",
                "split: 3 elements do not split into 2 equal parts",
            ),
            (
                "split(x = x, axis = int32(1), split_sizes = tensor<int32, [2]>([1, 1]))",
                "split: `split_sizes` sum to 2, axis 1 has 3",
            ),
            (
                "split(x = x, axis = int32(1), split_sizes = tensor<int32, [2]>([1, 2]), num_splits = int32(3))",
                "split: `num_splits` is 3, `split_sizes` has 2",
            ),
            ("split(x = x, axis = int32(1))", "split: x cannot be split into 0 parts"),
            ("tile(x = open, reps = tensor<int32, [3]>([2, 2, 1]))", "tensor<int8, [?, 6, 4]>"),
            ("tile(x = x, reps = three)", "tensor<int8, [?, ?, ?]>"),
            ("tile(x = x, reps = int32(2))", "tile: `reps` has 1 elements, x has rank 3"),
            (
                "tile(x = x, reps = tensor<int64, [3]>([1, 9223372036854775807, 1]))",
                "tile: `reps` holds 9223372036854775807",
            ),
            (
                "tile(x = six, reps = tensor<int64, [1]>([1152921504606846976]))",
                "tile: a result of type tensor<int32, [6917529027641081856]> is too large",
            ),
            (
                "pad(x = x, pad = tensor<int32, [4]>([1, 0, 2, 3]), constant_val = int8(1))",
                "tensor<int8, [2, 4, 9]>",
            ),
            ("pad(x = x, pad = six)", "tensor<int8, [?, ?, ?]>"),
            ("pad(x = x, pad = two)", "tensor<int8, [2, 3, ?]>"),
            (
                "pad(x = x, pad = tensor<int32, [2]>([4, 0]), mode = string(\"reflect\"))",
                "pad: `pad` holds [4, 0] for an axis of size 4",
            ),
            ("pad(x = x, pad = three)", "pad: `pad` has 3 elements, x has rank 3"),
            (
                "pad(x = x, pad = tensor<int32, [3]>([1, 1, 1]))",
                "pad: `pad` has 3 elements, x has rank 3",
            ),
            ("reverse(x = x, axes = int32(1))", "tensor<int8, [2, 3, 4]>"),
            ("reverse(x = x, axes = int32(-4))", "reverse: `axes` = -4 is out of range for rank 3"),
        ],
    );
}

#[test]
fn slices() {
    let p = "tensor<fp32, [5, 6, 7]> x, tensor<fp32, [?, 6, 7]> open, tensor<int32, [3]> at, \
        tensor<int32, [2]> two, tensor<fp32, [2, 3]> u";
    let v = |a: &[i64]| format!("tensor<int32, [{}]>({a:?})", a.len());
    let m = |a: &[bool]| format!("tensor<bool, [{}]>({a:?})", a.len());
    let slice = |x: &str, begin: &str, end: &str, rest: &str| {
        infer(p, &format!("slice_by_index(x = {x}, begin = {begin}, end = {end}{rest})"))
    };
    let (zero, end) = (v(&[0, 0, 0]), v(&[2, -1, 100]));
    assert_eq!(slice("x", &zero, &end, ""), "tensor<fp32, [2, 5, 7]>");
    assert_eq!(slice("open", &zero, &end, ""), "tensor<fp32, [?, 5, 7]>");
    assert_eq!(
        slice("x", &zero, &end, &format!(", stride = {}", v(&[1, 2, 3]))),
        "tensor<fp32, [2, 3, 3]>"
    );
    // Backwards from the fourth element to the second; over the whole axis only with masks.
    let back = format!(
        ", stride = {}, begin_mask = {}, end_mask = {}",
        v(&[-1, -1, -2]),
        m(&[false, true, true]),
        m(&[false, true, true])
    );
    assert_eq!(slice("x", &v(&[3, 0, 0]), &v(&[0, 0, 0]), &back), "tensor<fp32, [3, 6, 4]>");
    let squeeze = format!(", squeeze_mask = {}", m(&[true, false, true]));
    assert_eq!(slice("x", &v(&[-1, 1, 6]), &zero, &squeeze), "tensor<fp32, [0]>");
    assert_eq!(slice("x", "at", &zero, &squeeze), "tensor<fp32, [?]>");
    assert_eq!(
        slice("x", &v(&[5, 0, 0]), &zero, &squeeze),
        "slice_by_index: `begin` 5 is outside an axis of size 5"
    );
    let masks = format!(
        ", begin_mask = {}, end_mask = {}",
        m(&[true, true, false]),
        m(&[true, true, true])
    );
    assert_eq!(slice("open", "at", "at", &masks), "tensor<fp32, [?, 6, ?]>");
    assert_eq!(
        slice("x", "two", &end, ""),
        "slice_by_index: `begin` is tensor<int32, [2]>; the tensor has rank 3, so it must have 3 elements"
    );
    assert_eq!(
        slice("x", "at", &end, &format!(", stride = {}", v(&[1, 0, 1]))),
        "slice_by_index: `stride` of axis 1 is 0"
    );
    assert_eq!(
        slice("x", &zero, &end, ", begin_mask = tensor<bool, [1]>([true])"),
        "slice_by_index: `begin_mask` has 1 elements, the tensor has rank 3"
    );
    let size = |x: &str, begin: &str, size: &[i64]| {
        infer(p, &format!("slice_by_size(x = {x}, begin = {begin}, size = {})", v(size)))
    };
    assert_eq!(size("x", &v(&[1, -2, 0]), &[2, -1, 7]), "tensor<fp32, [2, 2, 7]>");
    assert_eq!(size("open", "at", &[2, -1, 3]), "tensor<fp32, [2, ?, 3]>");
    assert_eq!(size("open", &zero, &[-1, -1, 3]), "tensor<fp32, [?, 6, 3]>");
    assert_eq!(
        size("x", &v(&[4, 0, 0]), &[2, 1, 1]),
        "slice_by_size: `begin` 4 and `size` 2 leave an axis of size 5"
    );
    assert_eq!(size("x", "at", &[6, 1, 1]), "slice_by_size: `size` 6 leaves an axis of size 5");
    let update = |end: &[i64]| {
        let squeeze = m(&[true, false, false]);
        infer(
            p,
            &format!(
                "slice_update(x = x, update = u, begin = {zero}, end = {}, squeeze_mask = {squeeze})",
                v(end)
            ),
        )
    };
    assert_eq!(update(&[1, 2, 3]), "tensor<fp32, [5, 6, 7]>");
    assert_eq!(
        update(&[1, 2, 4]),
        "slice_update: `update` is tensor<fp32, [2, 3]>, the slice tensor<fp32, [2, 4]>"
    );
}

#[test]
fn gathers_and_scatters() {
    check(
        "tensor<fp16, [5, ?, 7]> x, tensor<uint16, [2, 3]> i, int32 one, tensor<fp16, [2, 3, 4, 7]> u, \
         tensor<int32, [5, 2, 7]> like, tensor<fp16, [5, 2, 7]> v, tensor<fp16, ?> any",
        &[
            ("gather(x = x, indices = i)", "tensor<fp16, [2, 3, ?, 7]>"),
            ("gather(x = x, indices = one, axis = int32(-1))", "tensor<fp16, [5, ?]>"),
            (
                "gather(x = x, indices = like, axis = int32(2), batch_dims = int32(2))",
                "tensor<fp16, [5, ?, 7]>",
            ),
            ("gather(x = any, indices = i)", "tensor<fp16, ?>"),
            (
                "gather(x = x, indices = i, batch_dims = int32(1))",
                "gather: `batch_dims` must be from 0 to `axis` = 0 and the rank of `indices` tensor<uint16, [2, 3]>",
            ),
            (
                "gather(x = x, indices = i, axis = int32(1), batch_dims = int32(1))",
                "gather: batch dims of x tensor<fp16, [5, ?, 7]> and indices tensor<uint16, [2, 3]> differ",
            ),
            (
                "gather(x = x, indices = v)",
                "gather: `indices` is fp16; it takes int32, int16, uint16, int8, uint8, int64, uint32",
            ),
            (
                "gather_along_axis(x = x, indices = like, axis = int32(1))",
                "tensor<fp16, [5, 2, 7]>",
            ),
            (
                "gather_along_axis(x = x, indices = i)",
                "gather_along_axis: indices are tensor<uint16, [2, 3]>; but for axis 0 they must be as tensor<fp16, [5, ?, 7]>",
            ),
            ("scatter(data = x, indices = i, updates = u)", "tensor<fp16, [5, ?, 7]>"),
            (
                "scatter(data = x, indices = one, updates = u)",
                "scatter: `updates` is tensor<fp16, [2, 3, 4, 7]>, expected tensor<fp16, [?, 7]>",
            ),
            (
                "scatter(data = x, indices = i, updates = u, mode = string(\"xor\"))",
                "scatter: `mode` is \"xor\"; it is update, add, sub, mul, div, max or min",
            ),
            (
                "scatter_along_axis(data = x, indices = like, updates = v, axis = int32(1))",
                "tensor<fp16, [5, ?, 7]>",
            ),
            (
                "scatter_along_axis(data = x, indices = like, updates = u, axis = int32(1))",
                "scatter_along_axis: `updates` is tensor<fp16, [2, 3, 4, 7]>, expected tensor<fp16, [5, 2, 7]>",
            ),
        ],
    );
}

#[test]
fn quantization_and_states() {
    let two = "tensor<fp16, [2]>([1, 2])";
    let p = "tensor<fp16, [2, 3]> x, tensor<int8, [2, 3]> q, state<tensor<fp16, [2, 3]>> kv";
    let row = |call: &str| infer(p, &call.replace("TWO", two));
    for (call, expected) in [
        (
            "quantize(input = x, scale = fp16(1), output_dtype = string(\"uint8\"))",
            "tensor<uint8, [2, 3]>",
        ),
        (
            "quantize(input = x, scale = TWO, axis = int32(0), zero_point = int8(1), output_dtype = string(\"int8\"))",
            "tensor<int8, [2, 3]>",
        ),
        (
            "quantize(input = x, scale = fp16(1), output_dtype = string(\"int4\"))",
            "quantize: `output_dtype` is int4, not int8 or uint8",
        ),
        (
            "quantize(input = x, scale = fp16(1), zero_point = int8(1), output_dtype = string(\"uint8\"))",
            "quantize: `zero_point` is int8, the result uint8",
        ),
        ("dequantize(input = q, scale = fp32(1))", "tensor<fp32, [2, 3]>"),
        (
            "dequantize(input = q, scale = TWO)",
            "dequantize: `scale` is a vector, so `axis` is needed",
        ),
        (
            "dequantize(input = q, scale = TWO, axis = int32(1))",
            "dequantize: `scale` has 2 elements, axis 1 of the data has 3",
        ),
        (
            "constexpr_affine_dequantize()[quantized_data = tensor<uint8, [2, 1]>([[1], [2]]), zero_point = uint8(0), scale = TWO, axis = int32(0)]",
            "tensor<fp16, [2, 1]>",
        ),
        ("const()[val = tensor<fp16, [2]>([1, 2])]", "tensor<fp16, [2]>"),
        ("const()", "const: the attribute `val` is missing"),
        ("identity(x = kv)", "state<tensor<fp16, [2, 3]>>"),
        ("read_state(input = kv)", "tensor<fp16, [2, 3]>"),
        (
            "read_state(input = x)",
            "read_state: `input` must be a state, found tensor<fp16, [2, 3]>",
        ),
        ("write_state(input = kv, data = x)", ""),
        (
            "write_state(input = kv, data = q)",
            "write_state: `data` is tensor<int8, [2, 3]>, the state is state<tensor<fp16, [2, 3]>>",
        ),
    ] {
        assert_eq!(row(call), expected, "{call}");
    }
}
