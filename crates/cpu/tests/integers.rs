//! Programs that store weights and activations as bytes, and products that the caller wants in
//! bytes.

mod common;

use common::{Random, devices, disagreement, inputs, on_cpu};
use interp::Array;
use mil::{DataType, Program, Weights};
use runtime::{CompileOptions, Device, Products};
use std::collections::BTreeMap;

const INTEGER: &str = "cpu: integer matrix product";

/// A program with the operations `body` on `inputs`.
fn program(inputs: &str, body: &str, outputs: &str) -> Program {
    let text = format!(
        "program(1.3)\n{{\n    func f<ios18>({inputs}) {{\n{body}\n    }} -> ({outputs});\n}}\n"
    );
    mil::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// How many operations of these names run as integer products.
fn integer_products(device: &dyn Device, program: &Program, options: &CompileOptions) -> usize {
    let placement = device.compile(program, "f", options).expect("it compiles").placement();
    assert!(placement.iter().all(|p| p.place != "cpu: interpreter"), "{placement:?}");
    placement.iter().filter(|p| p.place == INTEGER && p.op != "quantize").count()
}

fn bytes(random: &mut Random, count: usize) -> String {
    let values: Vec<String> = (0..count)
        .map(|_| match random.below(5) {
            0 => "-128".to_owned(),
            1 => "127".to_owned(),
            _ => (random.below(256) as i64 - 128).to_string(),
        })
        .collect();
    values.join(", ")
}

/// A weight of bytes with one scale for each channel, which are powers of two: what the
/// interpreter rounds to the type of the scale is exact then.
fn weight(random: &mut Random, name: &str, dims: &[usize], dtype: &str) -> String {
    let data = bytes(random, dims.iter().product());
    let scales: Vec<String> =
        (0..dims[0]).map(|_| format!("0x1p-{}", 5 + random.below(4))).collect();
    format!(
        "tensor<{dtype}, {dims:?}> {name} = constexpr_affine_dequantize()[axis = int32(0), name = \
         string(\"{name}\"), quantized_data = reshape_of({data}), scale = tensor<{dtype}, \
         [{}]>([{}]), zero_point = int8(0)];",
        dims[0],
        scales.join(", ")
    )
    .replace(&format!("reshape_of({data})"), &nested(dims, &data))
}

/// A literal of these dims.
fn nested(dims: &[usize], data: &str) -> String {
    let values: Vec<&str> = data.split(", ").collect();
    fn level(dims: &[usize], values: &[&str]) -> String {
        if dims.is_empty() {
            return values[0].to_owned();
        }
        let part = values.len() / dims[0];
        let parts: Vec<String> =
            (0..dims[0]).map(|i| level(&dims[1..], &values[i * part..][..part])).collect();
        format!("[{}]", parts.join(", "))
    }
    format!("tensor<int8, {dims:?}>({})", level(dims, &values))
}

/// The interpreter's outputs.
fn interpreted(program: &Program, values: &BTreeMap<String, Array>) -> BTreeMap<String, Array> {
    interp::evaluate(program, "f", values, &interp::Options::default()).expect("it runs").outputs
}

/// Compares bytes: at most one step apart, and that rarely, since the product multiplies with the
/// inverse of the scale and does not round to the type of the number between.
fn assert_steps(found: &Array, expected: &Array, what: &str) {
    let (found, expected) = (found.to_f64s(), expected.to_f64s());
    let apart: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
    let most = apart.iter().fold(0.0, |m: f64, &d| m.max(d));
    let off = apart.iter().filter(|&&d| d > 0.0).count();
    assert!(most <= 1.0 && off <= 2 + apart.len() / 20, "{what}: {off} off by up to {most}");
}

#[test]
fn linear_and_matmul_of_bytes_agree_with_the_interpreter() {
    let mut random = Random(5);
    for device in devices() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 64), (2, 40, 130), (30, 3, 5)] {
            for (dtype, zero) in [("int8", -7), ("uint8", 130), ("int8", 0)] {
                let w = weight(&mut random, "w", &[n, k], "fp32");
                let zero_point = format!("zero_point = {dtype}({zero}), ");
                let body = format!(
                    "        {w}
        tensor<{dtype}, [{m}, {k}]> q = quantize(input = x, output_dtype = string(\"{dtype}\"), {zero_point}scale = fp32(0x1p-6));
        tensor<fp32, [{m}, {k}]> d = dequantize(input = q, {zero_point}scale = fp32(0x1p-6));
        tensor<fp32, [{m}, {n}]> y = linear(x = d, weight = w, bias = b);
        tensor<fp32, [{m}, {n}]> z = matmul(x = d, y = w, transpose_x = bool(false), transpose_y = bool(true));"
                );
                let ports = format!("tensor<fp32, [{m}, {k}]> x, tensor<fp32, [{n}]> b");
                let program = program(&ports, &body, "y, z");
                let values = inputs(program.function("f").unwrap(), &mut random);
                let weights = Weights::default();
                let found = disagreement(&device, &program, "f", &values, &weights);
                assert_eq!(found, None, "{m} {n} {k} {dtype}");
                let count = integer_products(&device, &program, &CompileOptions::default());
                assert_eq!(count, 2, "{m} {n} {k} {dtype}");
            }
        }
    }
}

/// A weight `[n, k]` in blocks: the element types of its data and offset, how many scales along
/// each axis, and whether products can use what is stored.
type Blocks = (&'static str, Option<(&'static str, i64)>, [usize; 2], bool);

/// A literal of these dims with values from `low` to `high`.
fn stored(random: &mut Random, dtype: &str, dims: &[usize], [low, high]: [i64; 2]) -> String {
    let count = dims.iter().product();
    let value = |_| (low + random.below((high - low + 1) as usize) as i64).to_string();
    let values: Vec<String> = (0..count).map(value).collect();
    nested(dims, &values.join(", ")).replacen("int8", dtype, 1)
}

/// Scales that are powers of two, so that nothing is rounded.
fn scales(random: &mut Random, dims: &[usize]) -> String {
    let count = dims.iter().product();
    let scales: Vec<String> = (0..count).map(|_| format!("0x1p-{}", 3 + random.below(4))).collect();
    nested(dims, &scales.join(", ")).replacen("int8", "fp32", 1)
}

fn range(dtype: &str) -> [i64; 2] {
    let range = DataType::from_name(dtype).and_then(DataType::int_range);
    range.map_or([-128, 127], |(low, high)| [low, high])
}

#[test]
fn products_use_blocks_that_are_channels() {
    let mut random = Random(11);
    let (m, n, k) = (5, 12, 24);
    let forms: [Blocks; 18] = [
        ("int8", None, [n, 1], true),
        ("int8", None, [1, 1], true),
        // Several channels to a scale.
        ("int8", None, [3, 1], true),
        ("uint8", Some(("uint8", 128)), [n, 1], true),
        ("uint8", Some(("fp32", 128)), [1, 1], true),
        ("int4", None, [n, 1], true),
        ("int4", Some(("int4", -8)), [n, 1], true),
        ("int4", Some(("fp16", 3)), [4, 1], true),
        ("uint4", None, [n, 1], true),
        ("uint4", Some(("uint4", 8)), [n, 1], true),
        ("uint4", Some(("uint4", 15)), [1, 1], true),
        // Groups within a channel, scales that are none of channels, and both.
        ("int8", None, [n, 2], false),
        ("int4", None, [1, 3], false),
        ("uint4", Some(("uint4", 7)), [4, 4], false),
        // More than 8 bits with a sign can hold.
        ("uint8", None, [n, 1], false),
        ("int8", Some(("int8", 1)), [n, 1], false),
        // No integers.
        ("fp32", None, [n, 1], false),
        ("int8", Some(("fp32", -128)), [1, 1], false),
    ];
    for (dtype, offset, blocks, integer) in forms {
        let data = stored(&mut random, dtype, &[n, k], range(dtype));
        let scale = scales(&mut random, &blocks);
        let offset = offset.map_or(String::new(), |(dtype, zero)| {
            let offset = stored(&mut random, dtype, &blocks, [zero, zero]);
            format!("offset = {offset}, ")
        });
        let body = format!(
            "        tensor<fp32, [{n}, {k}]> w = constexpr_blockwise_shift_scale(data = {data}, {offset}scale = {scale})[name = string(\"w\")];
        tensor<int8, [{m}, {k}]> q = quantize(input = x, output_dtype = string(\"int8\"), scale = fp32(0x1p-6));
        tensor<fp32, [{m}, {k}]> d = dequantize(input = q, scale = fp32(0x1p-6));
        tensor<fp32, [{m}, {n}]> y = linear(x = d, weight = w, bias = b);
        tensor<fp32, [{m}, {n}]> z = matmul(x = d, y = w, transpose_x = bool(false), transpose_y = bool(true));"
        );
        let ports = format!("tensor<fp32, [{m}, {k}]> x, tensor<fp32, [{n}]> b");
        let program = program(&ports, &body, "y, z, w");
        mil::verify(&program).unwrap_or_else(|error| panic!("{error}"));
        let values = inputs(program.function("f").unwrap(), &mut random);
        for device in devices() {
            let found = disagreement(&device, &program, "f", &values, &Weights::default());
            assert_eq!(found, None, "{dtype} {offset} {blocks:?}");
            let count = integer_products(&device, &program, &CompileOptions::default());
            assert_eq!(count, 2 * usize::from(integer), "{dtype} {offset} {blocks:?}");
        }
    }
}

#[test]
fn channels_of_blocks_are_on_the_axis_of_the_product() {
    let mut random = Random(12);
    let (k, n, side) = (6, 8, 5);
    for (blocks, convolution, integer) in [
        ([n, 1, 1, 1], true, true),
        ([2, 1, 1, 1], true, true),
        ([1, k, 1, 1], true, false),
        ([n, 1, 3, 1], true, false),
        ([1, n, 1, 1], false, true),
        ([1, 4, 1, 1], false, true),
        ([k, 1, 1, 1], false, false),
    ] {
        let dims = if convolution { vec![n, k, 3, 3] } else { vec![k, n] };
        let blocks = &blocks[..dims.len()];
        let data = stored(&mut random, "int4", &dims, range("int4"));
        let scale = scales(&mut random, blocks);
        let (x, product) = match convolution {
            true => (
                vec![1, k, side, side],
                format!(
                    "tensor<fp32, [1, {n}, {side}, {side}]> y = conv(x = d, weight = w, strides = tensor<int32, [2]>([1, 1]), dilations = tensor<int32, [2]>([1, 1]), groups = int32(1), pad = tensor<int32, [4]>([0, 0, 0, 0]), pad_type = string(\"same\"));"
                ),
            ),
            false => (
                vec![side, k],
                format!(
                    "tensor<fp32, [{side}, {n}]> y = matmul(x = d, y = w, transpose_x = bool(false), transpose_y = bool(false));"
                ),
            ),
        };
        let body = format!(
            "        tensor<fp32, {dims:?}> w = constexpr_blockwise_shift_scale(data = {data}, scale = {scale})[name = string(\"w\")];
        tensor<uint8, {x:?}> q = quantize(input = x, output_dtype = string(\"uint8\"), zero_point = uint8(120), scale = fp32(0x1p-5));
        tensor<fp32, {x:?}> d = dequantize(input = q, zero_point = uint8(120), scale = fp32(0x1p-5));
        {product}"
        );
        let program = program(&format!("tensor<fp32, {x:?}> x"), &body, "y");
        let values = inputs(program.function("f").unwrap(), &mut random);
        for device in devices() {
            let found = disagreement(&device, &program, "f", &values, &Weights::default());
            assert_eq!(found, None, "{dims:?} {blocks:?}");
            let count = integer_products(&device, &program, &CompileOptions::default());
            assert_eq!(count, usize::from(integer), "{dims:?} {blocks:?}");
        }
    }
}

/// A chain of convolutions with bytes between them; gives its program.
fn chain(random: &mut Random, [batch, channels, side, taps]: [usize; 4], relu: bool) -> Program {
    let dims = format!("[{batch}, {channels}, {side}, {side}]");
    let mut body = String::new();
    let mut x = "x".to_owned();
    for layer in 0..2 {
        let w = weight(random, &format!("w{layer}"), &[channels, channels, taps, taps], "fp32");
        body += &format!(
            "        {w}
        tensor<int8, {dims}> q{layer} = quantize(input = {x}, output_dtype = string(\"int8\"), zero_point = int8(-3), scale = fp32(0x1p-3));
        tensor<fp32, {dims}> d{layer} = dequantize(input = q{layer}, zero_point = int8(-3), scale = fp32(0x1p-3));
        tensor<fp32, {dims}> y{layer} = conv(x = d{layer}, weight = w{layer}, bias = b, strides = tensor<int32, [2]>([1, 1]), dilations = tensor<int32, [2]>([1, 1]), groups = int32(1), pad = tensor<int32, [4]>([0, 0, 0, 0]), pad_type = string(\"same\"));\n"
        );
        x = format!("y{layer}");
        if relu {
            body += &format!("        tensor<fp32, {dims}> r{layer} = relu(x = {x});\n");
            x = format!("r{layer}");
        }
    }
    body += &format!(
        "        tensor<uint8, {dims}> out = quantize(input = {x}, output_dtype = string(\"uint8\"), zero_point = uint8(100), scale = fp32(0x1p-1));"
    );
    let ports = format!("tensor<fp32, {dims}> x, tensor<fp32, [{channels}]> b");
    program(&ports, &body, "out")
}

#[test]
fn chains_of_convolutions_stay_in_bytes() {
    let mut random = Random(9);
    for device in devices() {
        for shape in [[1, 1, 1, 1], [1, 5, 3, 1], [2, 7, 6, 1], [1, 33, 7, 1], [2, 4, 5, 3]] {
            for relu in [false, true] {
                let program = chain(&mut random, shape, relu);
                let values = inputs(program.function("f").unwrap(), &mut random);
                let options = CompileOptions::default();
                let found = on_cpu(&device, &program, "f", &values, &options).unwrap();
                let expected = interpreted(&program, &values);
                assert_steps(&found["out"], &expected["out"], &format!("{shape:?} {relu}"));
                let placement = device.compile(&program, "f", &options).unwrap().placement();
                let place = |value: &str| {
                    let found = placement.iter().find(|p| p.value == value);
                    found.map(|p| p.place.clone()).unwrap()
                };
                // The products store bytes: what lies between as numbers is never computed.
                assert_eq!(place("q1"), INTEGER, "{placement:?}");
                assert_eq!(place("out"), INTEGER, "{placement:?}");
                assert_eq!(place("d1"), "cpu: not needed", "{placement:?}");
            }
        }
    }
}

#[test]
fn quantize_and_dequantize_run_as_row_programs() {
    let mut random = Random(2);
    let parameters = [
        ("scale = fp32(0x1.8p-4)".to_owned(), "int8"),
        ("scale = fp32(0x1p-6), zero_point = uint8(9)".to_owned(), "uint8"),
        (
            "axis = int32(1), scale = tensor<fp32, [3]>([0x1p-5, 0x1p-7, 0x1p+3]), zero_point = \
             tensor<int8, [3]>([0, -128, 127])"
                .to_owned(),
            "int8",
        ),
    ];
    for (parameters, dtype) in parameters {
        let body = format!(
            "        tensor<{dtype}, [2, 3, 37]> q = quantize(input = x, output_dtype = string(\"{dtype}\"), {parameters});
        tensor<fp32, [2, 3, 37]> d = dequantize(input = q, {parameters});"
        );
        let program = program("tensor<fp32, [2, 3, 37]> x", &body, "q, d");
        let mut values = inputs(program.function("f").unwrap(), &mut random);
        let mut x = values["x"].to_f64s();
        // Ties, what saturates, and what is no number.
        let special = [0.5 / 64.0, 1.5 / 64.0, -2.5 / 64.0, 1e30, -1e30, f64::INFINITY, f64::NAN];
        x[..special.len()].copy_from_slice(&special);
        values.insert("x".into(), Array::floats(DataType::Fp32, &[2, 3, 37], x));
        for device in devices() {
            let options = CompileOptions::default();
            let found = on_cpu(&device, &program, "f", &values, &options).unwrap();
            let expected = interpreted(&program, &values);
            for name in ["q", "d"] {
                let (found, expected) = (found[name].to_f64s(), expected[name].to_f64s());
                assert_eq!(found, expected, "{name} with {parameters}");
            }
            assert_eq!(integer_products(&device, &program, &options), 0);
        }
    }
}

#[test]
fn sums_that_could_overflow_are_not_of_bytes() {
    let k = anemone_cpu::gemm::int8::MAX_DEPTH + 1;
    let data = vec!["127"; k].join(", ");
    let data = nested(&[1, k], &data);
    let body = format!(
        "        tensor<fp32, [1, {k}]> w = constexpr_affine_dequantize()[axis = int32(0), name = string(\"w\"), quantized_data = {data}, scale = fp32(0x1p-8), zero_point = int8(0)];
        tensor<fp32, [1, {k}]> d = dequantize(input = x, scale = fp32(0x1p-2));
        tensor<fp32, [1, 1]> y = linear(x = d, weight = w);"
    );
    let program = program(&format!("tensor<uint8, [1, {k}]> x"), &body, "y");
    let x = Array::ints(DataType::Uint8, &[1, k], vec![255; k]);
    let values = BTreeMap::from([("x".to_owned(), x)]);
    for device in devices() {
        let options = CompileOptions::default();
        assert_eq!(integer_products(&device, &program, &options), 0);
        let found = on_cpu(&device, &program, "f", &values, &options).unwrap();
        let want = 255.0 * 127.0 * k as f64 / 1024.0;
        // As many roundings of f32 as terms, if they are added one after the other.
        let most = k as f64 * f64::from(f32::EPSILON);
        assert!((found["y"].to_f64s()[0] / want - 1.0).abs() < most);
    }
}

#[test]
fn parameters_and_rows_are_quantized_if_the_caller_wants() {
    let mut random = Random(4);
    for (m, n, k) in [(1, 3, 8), (5, 40, 33), (20, 64, 128)] {
        let body = format!(
            "        tensor<fp32, [2, {m}, {n}]> y = linear(x = x, weight = w, bias = b);
        tensor<fp32, [2, {m}, {m}]> s = matmul(x = y, y = y, transpose_x = bool(false), transpose_y = bool(true));"
        );
        let ports = format!(
            "tensor<fp32, [2, {m}, {k}]> x, tensor<fp32, [{n}, {k}]> w, tensor<fp32, [{n}]> b"
        );
        let program = program(&ports, &body, "y, s");
        let values = inputs(program.function("f").unwrap(), &mut random);
        let options = CompileOptions {
            parameters: vec!["w".into(), "b".into()],
            products: Products::Int8,
            ..CompileOptions::default()
        };
        let expected = interpreted(&program, &values)["y"].to_f64s();
        let (x, w) = (values["x"].to_f64s(), values["w"].to_f64s());
        for device in devices() {
            let found = on_cpu(&device, &program, "f", &values, &options).unwrap();
            // The product of two activations stays as it is.
            assert_eq!(integer_products(&device, &program, &options), 1);
            let found = found["y"].to_f64s();
            assert_ne!(found, expected);
            for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                let row = &x[i / n * k..][..k];
                let column = &w[i % n * k..][..k];
                // Each factor is off by at most half a step, 1/254 of the largest of its row, and
                // both at once by little more.
                let top = |v: &[f64]| v.iter().fold(0f64, |m, v| m.max(v.abs()));
                let sum = |v: &[f64]| v.iter().map(|v| v.abs()).sum::<f64>();
                let (dx, dw) = (top(row) / 254.0, top(column) / 254.0);
                let bound = dx * sum(column) + dw * sum(row) + k as f64 * dx * dw + 1e-4;
                assert!((a - b).abs() <= bound, "{m} {n} {k}, {i}: {a} {b} {bound}");
            }
        }
    }
}
