//! Convolutions and pools against the interpreter, on every instruction set of the machine.

use anemone_cpu::CpuDevice;
use anemone_cpu::isa::Isa;
use interp::{Array, Options};
use mil::{DataType, Program, Tensor};
use proptest::prelude::*;
use runtime::{Accumulation, Bindings, CompileOptions, Device};
use std::collections::BTreeMap;
use surface::Surface;

/// One operation.
#[derive(Clone, Debug)]
struct Case {
    op: &'static str,
    dtype: &'static str,
    dims: Vec<usize>,
    /// Of a convolution; what is not depthwise is a product.
    depthwise: bool,
    multiplier: usize,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pad_type: &'static str,
    pad: Vec<usize>,
    flag: bool,
    bias: bool,
}

fn list(values: &[usize]) -> String {
    format!("tensor<int32, [{}]>({values:?})", values.len())
}

fn ty(dtype: &str, dims: &[usize]) -> String {
    format!("tensor<{dtype}, {dims:?}>")
}

impl Case {
    fn weight(&self) -> Vec<usize> {
        let (channels, results) = (self.dims[1], self.dims[1] * self.multiplier);
        let mut dims = match (self.op, self.depthwise) {
            ("conv", true) => vec![results, 1],
            ("conv", false) => vec![results, channels],
            (_, true) => vec![channels, self.multiplier],
            (_, false) => vec![channels, results],
        };
        dims.extend(&self.kernel);
        dims
    }

    fn is_conv(&self) -> bool {
        self.op.starts_with("conv")
    }

    /// The program, or `None` if the operation does not fit its input.
    fn program(&self) -> Option<Program> {
        let Case { op, dtype, dims, .. } = self;
        let mut inputs = format!("{} x", ty(dtype, dims));
        let mut arguments = format!("x = x, strides = {}", list(&self.strides));
        arguments +=
            &format!(", pad_type = string(\"{}\"), pad = {}", self.pad_type, list(&self.pad));
        if self.is_conv() {
            inputs += &format!(", {} weight", ty(dtype, &self.weight()));
            arguments += ", weight = weight";
            arguments += &format!(
                ", dilations = {}, groups = int32({})",
                list(&self.dilations),
                if self.depthwise { dims[1] } else { 1 }
            );
            if *op == "conv_transpose" && !self.bias {
                // Cut, or longer than what windows reach.
                let out: Vec<usize> =
                    dims[2..].iter().zip(&self.strides).map(|(n, s)| (n * s + 1).min(99)).collect();
                arguments += &format!(", output_shape = {}", list(&out));
            }
            if self.bias {
                inputs += &format!(", {} bias", ty(dtype, &[dims[1] * self.multiplier]));
                arguments += ", bias = bias";
            }
        } else {
            arguments += &format!(", kernel_sizes = {}", list(&self.kernel));
            if !self.pad_type.starts_with("same") {
                arguments += &format!(", ceil_mode = bool({})", self.flag);
            }
            if *op == "avg_pool" {
                arguments += &format!(", exclude_padding_from_average = bool({})", self.bias);
            }
        }
        let open: Vec<&str> = dims.iter().map(|_| "?").collect();
        // What is fused to it; the output keeps its name.
        let tail = match self.flag && self.is_conv() {
            true => format!(
                "        tensor<{dtype}, [{0}]> z = clip(x = y, alpha = {dtype}(-0.5), beta = \
                 {dtype}(1.5));\n    }} -> (z);\n",
                open.join(", ")
            ),
            false => "    } -> (y);\n".to_owned(),
        };
        let text = format!(
            "program(1.3)\n{{\n    func main<ios18>({inputs}) {{\n        tensor<{dtype}, [{}]> y = \
             {op}({arguments});\n{tail}}}\n",
            open.join(", ")
        );
        let program = mil::parse(&text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        mil::verify(&program).is_ok().then_some(program)
    }
}

fn case() -> impl Strategy<Value = Case> {
    let shape = (1..4usize, 2..5usize, prop::collection::vec(1..23usize, 1..3));
    (
        shape,
        prop::sample::select(vec!["conv", "conv_transpose", "max_pool", "avg_pool", "l2_pool"]),
        prop::sample::select(vec!["fp32", "fp16"]),
        prop::sample::select(vec!["valid", "same", "same_lower", "custom"]),
        (1..3usize, any::<bool>(), any::<bool>(), any::<bool>()),
        prop::collection::vec((1..5usize, 1..4usize, 1..3usize, 0..3usize, 0..3usize), 2),
    )
        .prop_map(
            |((n, c, space), op, dtype, pad_type, (multiplier, flag, bias, depthwise), axes)| {
                let axes = &axes[..space.len()];
                let mut dims = vec![n, c];
                dims.extend(&space);
                Case {
                    op,
                    dtype,
                    dims,
                    depthwise,
                    multiplier,
                    kernel: axes.iter().map(|a| a.0).collect(),
                    strides: axes.iter().map(|a| a.1).collect(),
                    dilations: axes.iter().map(|a| a.2).collect(),
                    pad_type,
                    pad: axes.iter().flat_map(|a| [a.3, a.4]).collect(),
                    flag,
                    bias,
                }
            },
        )
}

/// Numbers that fp16 holds.
fn numbers(dtype: DataType, dims: &[usize], seed: usize) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f64> =
        (0..count).map(|i| ((i * 37 + seed * 11 + i * i % 7) % 61) as f64 / 16.0 - 1.75).collect();
    Tensor::from_f64s(dtype, dims, &values).expect("as many as the dims say")
}

fn check(case: &Case) {
    let Some(program) = case.program() else { return };
    let dtype = DataType::from_name(case.dtype).unwrap();
    let mut inputs = BTreeMap::from([("x".to_owned(), numbers(dtype, &case.dims, 1))]);
    if case.is_conv() {
        inputs.insert("weight".into(), numbers(dtype, &case.weight(), 2));
        if case.bias {
            inputs.insert("bias".into(), numbers(dtype, &[case.dims[1] * case.multiplier], 3));
        }
    }
    let arrays = inputs.iter().map(|(name, t)| (name.clone(), Array::from_tensor(t))).collect();
    let Ok(expected) = interp::evaluate(&program, "main", &arrays, &Options::default()) else {
        return;
    };
    let (name, expected) = expected.outputs.iter().next().expect("there is one");
    for isa in Isa::available() {
        let device = CpuDevice::with_isa(Some(2), isa).unwrap();
        let executable =
            device.compile(&program, "main", &CompileOptions::default()).expect("it compiles");
        let place = &executable.placement()[0].place;
        assert!(!place.contains("interpreter") || expected.count() == 0, "{place}: {case:?}");
        let mut bindings = Bindings::new();
        for (name, tensor) in &inputs {
            bindings = bindings.input(name, &Surface::from_slice(tensor.bytes()).unwrap());
        }
        let port = &executable.outputs()[0];
        assert_eq!(port.dims, expected.dims());
        let (bytes, dims) = (port.bytes, port.dims.clone());
        let y = Surface::new(bytes).unwrap();
        let mut request = executable.bind(bindings.output(name, &y)).unwrap();
        request.evaluate(Accumulation::Replace).unwrap();
        let found = y.read().unwrap()[..bytes].to_vec();
        let found = Tensor::from_bytes(dtype, &dims, found).unwrap().to_f64s();
        // Sums of at most 64 products in single precision, rounded once to the type.
        let tolerance = if dtype == DataType::Fp32 { 2e-5 } else { 2e-3 };
        for (a, b) in found.iter().zip(expected.to_f64s()) {
            let fits = a == &b || (a - b).abs() <= tolerance * b.abs().max(4.0);
            assert!(fits, "{isa}: {a} is not {b}: {case:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_and_pools_give_what_the_interpreter_gives(case in case()) {
        check(&case);
    }
}

#[test]
fn a_window_of_padding_alone_is_what_it_is_in_the_interpreter() {
    check(&Case {
        op: "avg_pool",
        dtype: "fp32",
        dims: vec![1, 2, 1, 1],
        depthwise: true,
        multiplier: 1,
        kernel: vec![5, 5],
        strides: vec![5, 5],
        dilations: vec![1, 1],
        pad_type: "custom",
        pad: vec![7, 0, 7, 0],
        flag: false,
        bias: false,
    });
    for op in ["max_pool", "avg_pool", "l2_pool"] {
        check(&Case {
            op,
            dtype: "fp32",
            dims: vec![1, 2, 3, 70],
            depthwise: true,
            multiplier: 1,
            kernel: vec![2, 2],
            strides: vec![1, 1],
            dilations: vec![1, 1],
            pad_type: "custom",
            pad: vec![3, 0, 2, 2],
            flag: false,
            bias: true,
        });
    }
}

#[test]
fn all_padding_may_be_on_one_side() {
    let case = |dims: &[usize], kernel: &[usize], strides: &[usize], pad: &[usize]| Case {
        op: "conv",
        dtype: "fp32",
        dims: dims.to_vec(),
        depthwise: true,
        multiplier: 1,
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: vec![1; kernel.len()],
        pad_type: "custom",
        pad: pad.to_vec(),
        flag: false,
        bias: true,
    };
    for case in [
        case(&[2, 3, 100], &[31], &[1], &[30, 0]),
        case(&[1, 2, 8, 8], &[1, 21], &[1, 1], &[0, 0, 20, 0]),
        case(&[1, 2, 8, 8], &[3, 35], &[1, 2], &[2, 0, 34, 0]),
        case(&[1, 2, 4, 4], &[1, 1], &[10, 1], &[5, 0, 20, 0]),
    ] {
        check(&case);
        for op in ["max_pool", "avg_pool", "l2_pool", "conv_transpose"] {
            check(&Case { op, ..case.clone() });
        }
    }
}

/// What memory has no room for is refused, or left to who evaluates it; nothing overflows.
#[test]
fn absurd_geometries_are_no_windows() {
    let huge = 1usize << 30;
    let case = |op, dims: &[usize]| Case {
        op,
        dtype: "fp32",
        dims: dims.to_vec(),
        depthwise: true,
        multiplier: 1,
        kernel: vec![1, 1],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pad_type: "custom",
        pad: vec![0; 4],
        flag: false,
        bias: false,
    };
    let cases = [
        Case { strides: vec![1431655765, huge], ..case("conv_transpose", &[1, 2, 4, 4]) },
        Case {
            kernel: vec![1 << 20; 2],
            pad: vec![1 << 20, 0, 1 << 20, 0],
            ..case("max_pool", &[1, 1, 1, 1])
        },
        Case { pad: vec![huge, 0, 0, 0], ..case("avg_pool", &[1, 1, 1, 1]) },
        Case {
            kernel: vec![2, 1],
            dilations: vec![huge, 1],
            pad: vec![0, huge, 0, 0],
            ..case("conv", &[1, 2, 1, 16])
        },
        Case { strides: vec![huge, 1], pad: vec![huge, 0, 0, 0], ..case("conv", &[1, 2, 1, 16]) },
    ];
    for case in cases {
        let Some(program) = case.program() else { continue };
        for isa in Isa::available() {
            let device = CpuDevice::with_isa(Some(2), isa).unwrap();
            match device.compile(&program, "main", &CompileOptions::default()) {
                Err(error) => {
                    let error = error.to_string();
                    let said = ["too large", "cannot be had"].iter().any(|s| error.contains(s));
                    assert!(said, "{error}");
                }
                Ok(executable) => {
                    let placement = executable.placement();
                    assert!(placement.iter().all(|p| !p.place.contains("windows")), "{case:?}");
                }
            }
        }
    }
}
