//! What a request promises: accumulation, parameters, surfaces in use, errors that name things.

use anemone_cpu::CpuDevice;
use mil::{
    DataType, Function, FunctionBuilder, Op, OpError, Opset, Program, Tensor, Type, ValueId,
};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Executable, Request};
use std::sync::Arc;
use surface::Surface;

fn device() -> CpuDevice {
    CpuDevice::new(Some(2)).expect("two threads can be started")
}

/// A function of fp32 inputs of these dims; the result is called `y`.
fn function(
    inputs: &[(&str, &[usize])],
    body: impl FnOnce(&mut FunctionBuilder, &[ValueId]) -> Result<ValueId, OpError>,
) -> Function {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let ids: Vec<ValueId> = inputs
        .iter()
        .map(|(name, dims)| b.input(name, Type::tensor(DataType::Fp32, dims)))
        .collect();
    let y = body(&mut b, &ids).expect("the operations are legal");
    b.rename(y, "y");
    b.finish(&[y])
}

fn compile(function: Function, options: &CompileOptions) -> Arc<dyn Executable> {
    let program = Program::new(vec![function]);
    device().compile(&program, "f", options).expect("the function can be compiled")
}

fn accumulating() -> CompileOptions {
    CompileOptions { accumulators: vec!["y".into()], ..CompileOptions::default() }
}

fn floats(values: impl IntoIterator<Item = f32>) -> Surface {
    let values: Vec<f32> = values.into_iter().collect();
    Surface::from_slice(&values).expect("memory for a tensor")
}

fn contents(surface: &Surface) -> Vec<f32> {
    surface.read().expect("nobody writes it").as_slice::<f32>().to_vec()
}

/// Input values by port, small whole numbers.
fn filled(executable: &dyn Executable) -> Bindings {
    let mut bindings = Bindings::new();
    for (i, port) in executable.inputs().iter().enumerate() {
        let count: usize = port.dims.iter().product();
        let surface = floats((0..count).map(|j| ((i + 3 * j) % 5) as f32 - 1.0));
        bindings = bindings.input(&port.name, &surface);
    }
    bindings
}

/// Whether `y` is replaced when it is to be, and added to when it is to be.
fn check_accumulation(what: &str, function: Function) {
    let executable = compile(function, &accumulating());
    let port = executable.outputs()[0].clone();
    let count: usize = port.dims.iter().product();
    let y = floats((0..count).map(|_| 1000.0));
    let bindings = filled(&*executable).output("y", &y);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    let mut run = |accumulation| {
        request.evaluate(accumulation).expect("nothing is in use");
        contents(&y)
    };
    let once = run(Accumulation::Replace);
    assert!(once.iter().all(|v| v.abs() < 500.0), "{what}: what was there stayed: {once:?}");
    assert!(once.iter().any(|v| *v != 0.0), "{what}: nothing to add");
    let twice = run(Accumulation::Add);
    let doubled: Vec<f32> = once.iter().map(|v| 2.0 * v).collect();
    assert_eq!(twice, doubled, "{what}: not added");
    assert_eq!(run(Accumulation::Replace), once, "{what}: not replaced again");
}

const X: (&str, &[usize]) = ("x", &[4, 6]);

#[test]
fn products_accumulate() {
    let w: (&str, &[usize]) = ("w", &[3, 6]);
    check_accumulation("linear", function(&[X, w], |b, i| b.linear(i[0], i[1])));
    let v: (&str, &[usize]) = ("v", &[4, 5]);
    let matmul = function(&[X, v], |b, i| b.matmul(i[0], i[1], (true, false)));
    check_accumulation("matmul", matmul);
    let halves = function(&[X, w], |b, i| {
        let (x, w) = (b.cast(i[0], DataType::Bf16)?, b.cast(i[1], DataType::Bf16)?);
        let y = b.linear(x, w)?;
        b.cast(y, DataType::Fp32)
    });
    check_accumulation("bf16 product", halves);
    let transposed = function(&[X, w], |b, i| {
        let y = b.linear(i[0], i[1])?;
        b.transpose(y, &[1, 0])
    });
    check_accumulation("view of a product", transposed);
}

#[test]
fn row_programs_accumulate() {
    check_accumulation("map", function(&[X], |b, i| b.add(i[0], i[0])));
    for (axis, keep) in [(1, true), (1, false), (0, true), (0, false)] {
        for op in [Op::ReduceSum, Op::ReduceMean, Op::ReduceMax] {
            let f = function(&[X], |b, i| {
                let scaled = b.add(i[0], i[0])?;
                b.reduce(op, scaled, &[axis], keep)
            });
            check_accumulation(&format!("{} over {axis}", op.name()), f);
        }
    }
    check_accumulation(
        "reduction to a scalar",
        function(&[X], |b, i| b.reduce(Op::ReduceSum, i[0], &[0, 1], false)),
    );
    check_accumulation("softmax", function(&[X], |b, i| b.softmax(i[0], -1)));
}

#[test]
fn rows_added_to_zeros_accumulate() {
    let f = function(&[("x", &[3, 6])], |b, i| {
        let zeros = Tensor::from_f64s(DataType::Fp32, &[8, 6], &[0.0; 48]).expect("48 zeros");
        let table = b.constant("zeros", zeros);
        let indices = b.ints(&[5, 0, 5]);
        let (axis, mode) = (b.int(0), b.string("add"));
        b.op(
            Op::Scatter,
            "scatter",
            [
                ("data", table.into()),
                ("indices", indices.into()),
                ("updates", i[0].into()),
                ("axis", axis.into()),
                ("mode", mode.into()),
            ],
        )
    });
    check_accumulation("scatter", f);
}

#[test]
fn views_and_copies_accumulate() {
    check_accumulation("input", function(&[X], |b, i| b.unary(Op::Identity, i[0])));
    check_accumulation("transpose", function(&[X], |b, i| b.transpose(i[0], &[1, 0])));
    check_accumulation("concat", function(&[X], |b, i| b.concat(&[i[0], i[0]], 0)));
    let constant = function(&[X], |b, _| {
        let ones = Tensor::from_f64s(DataType::Fp32, &[3], &[1.0; 3]).expect("three ones");
        Ok(b.constant("ones", ones))
    });
    check_accumulation("constant", constant);
}

#[test]
fn an_accumulator_that_is_read_by_others_is_read_without_what_was_there() {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp32, &[4, 6]));
    let y = b.add(x, x).expect("same dims");
    let z = b.reduce(Op::ReduceSum, y, &[1], false).expect("two axes");
    b.rename(y, "y");
    b.rename(z, "z");
    let executable = compile(b.finish(&[y, z]), &accumulating());
    let (y, z) = (floats([7.0; 24]), floats([7.0; 4]));
    let bindings = filled(&*executable).output("y", &y).output("z", &z);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    let first = (contents(&y), contents(&z));
    request.evaluate(Accumulation::Add).expect("nothing is in use");
    assert_eq!(contents(&y), first.0.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    assert_eq!(contents(&z), first.1, "only accumulators are added to");
}

/// y = x·wᵀ with w a parameter; enough rows for it to be packed.
fn layer() -> Arc<dyn Executable> {
    let f = function(&[("x", &[16, 4]), ("w", &[2, 4])], |b, i| b.linear(i[0], i[1]));
    compile(f, &CompileOptions { parameters: vec!["w".into()], ..CompileOptions::default() })
}

fn bound(
    executable: &Arc<dyn Executable>,
    w: &Surface,
    y: &Surface,
) -> Result<Box<dyn Request>, runtime::Error> {
    let x = floats([1.0; 64]);
    executable.clone().bind(Bindings::new().input("x", &x).input("w", w).output("y", y))
}

#[test]
fn changed_parameters_count_once_staged() {
    let (executable, w, y) = (layer(), floats([1.0; 8]), floats([0.0; 32]));
    let mut request = bound(&executable, &w, &y).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert_eq!(contents(&y), [4.0; 32]);
    w.write().expect("nobody reads it").as_mut_slice::<f32>().fill(2.0);
    request.stage().expect("nothing is in use");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert_eq!(contents(&y), [8.0; 32]);
}

#[test]
fn requests_of_one_executable_keep_their_own_parameters() {
    let executable = layer();
    let (w1, w2) = (floats([1.0; 8]), floats([3.0; 8]));
    let (y1, y2) = (floats([0.0; 32]), floats([0.0; 32]));
    let mut one = bound(&executable, &w1, &y1).expect("the surfaces fit");
    let mut two = bound(&executable, &w2, &y2).expect("the surfaces fit");
    for _ in 0..2 {
        one.evaluate(Accumulation::Replace).expect("nothing is in use");
        two.evaluate(Accumulation::Replace).expect("nothing is in use");
    }
    assert_eq!((contents(&y1), contents(&y2)), (vec![4.0; 32], vec![12.0; 32]));
}

#[test]
fn a_surface_in_use_is_an_error_and_not_for_ever() {
    let (executable, w, y) = (layer(), floats([1.0; 8]), floats([0.0; 32]));
    let mut request = bound(&executable, &w, &y).expect("the surfaces fit");
    let reading = y.read().expect("nobody writes it");
    let error = request.evaluate(Accumulation::Replace).expect_err("the output is being read");
    assert_eq!(error.to_string(), "`f`: y: the surface is in use");
    drop(reading);
    let writing = w.write().expect("nobody reads it");
    let error = request.evaluate(Accumulation::Replace).expect_err("an input is being written");
    assert_eq!(error.to_string(), "`f`: w: the surface is in use");
    let error = request.stage().expect_err("a parameter is being written");
    assert_eq!(error.to_string(), "`f`: w: the surface is in use");
    drop(writing);
    request.stage().expect("nothing is in use");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert_eq!(contents(&y), [4.0; 32]);
}

#[test]
fn surfaces_that_do_not_fit_are_refused_by_name() {
    let (executable, w, y) = (layer(), floats([1.0; 8]), floats([0.0; 32]));
    let refused = |bindings: Bindings| match executable.clone().bind(bindings) {
        Ok(_) => "bound".to_owned(),
        Err(error) => error.to_string(),
    };
    let x = floats([1.0; 63]);
    let bindings = Bindings::new().input("w", &w).output("y", &y);
    let small = refused(bindings.clone().input("x", &x));
    assert!(small.contains("input `x` has 252 bytes") && small.contains("needs 256"), "{small}");
    assert_eq!(refused(bindings.clone()), "`f`: input `x` has no surface");
    let x = floats([1.0; 64]);
    let bindings = bindings.input("x", &x);
    assert_eq!(refused(bindings.clone().input("z", &x)), "`f`: no input is called `z`");
    assert_eq!(refused(bindings.clone().output("z", &x)), "`f`: no output is called `z`");
    let shared = refused(bindings.clone().output("y", &x));
    assert_eq!(shared, "`f`: output `y` shares its surface with another port");
    assert_eq!(refused(bindings), "bound");
}

#[test]
fn constants_are_no_ports_and_are_computed_with() {
    let f = function(&[("x", &[2, 3]), ("c", &[3])], |b, i| b.add(i[0], i[1]));
    let c = Tensor::from_f64s(DataType::Fp32, &[3], &[10.0, 20.0, 30.0]).expect("three numbers");
    let constants = [("c".to_owned(), c)].into();
    let executable = compile(f, &CompileOptions { constants, ..CompileOptions::default() });
    assert_eq!(executable.inputs().len(), 1);
    let y = floats([0.0; 6]);
    let bindings = Bindings::new().input("x", &floats([1.0; 6])).output("y", &y);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert_eq!(contents(&y), [11.0, 21.0, 31.0, 11.0, 21.0, 31.0]);
}

#[test]
fn tensors_may_be_empty() {
    let f = function(&[("x", &[0, 4]), ("w", &[3, 4])], |b, i| {
        let y = b.linear(i[0], i[1])?;
        b.add(y, y)
    });
    let executable = compile(f, &CompileOptions::default());
    assert_eq!(executable.outputs()[0].bytes, 0);
    let (x, y) = (floats([]), floats([]));
    let bindings = Bindings::new().input("x", &x).input("w", &floats([1.0; 12])).output("y", &y);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    // A sum of nothing is zero.
    let f = function(&[("x", &[2, 0]), ("w", &[3, 0])], |b, i| b.linear(i[0], i[1]));
    let executable = compile(f, &CompileOptions::default());
    let y = floats([9.0; 6]);
    let bindings = Bindings::new().input("x", &x).input("w", &floats([])).output("y", &y);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert_eq!(contents(&y), [0.0; 6]);
}

#[test]
fn integers_are_copied_exactly() {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Int32, &[2, 2]));
    let y = b.transpose(x, &[1, 0]).expect("two axes");
    // A copy that is also computed with: in f32, which does not hold every integer.
    let y = b.reshape(y, &[4]).expect("four elements");
    let square = b.reshape(y, &[2, 2]).expect("four elements");
    let z = b.cast(square, DataType::Fp32).expect("a float");
    b.rename(y, "y");
    b.rename(z, "z");
    let executable = compile(b.finish(&[y, z]), &CompileOptions::default());
    let large = [i32::MAX, 16_777_217, -16_777_219, i32::MIN + 1];
    let x = Surface::from_slice(&large).expect("memory for a tensor");
    let y = Surface::new(16).expect("memory for a tensor");
    let z = floats([0.0; 4]);
    let bindings = Bindings::new().input("x", &x).output("y", &y).output("z", &z);
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    let found = y.read().expect("nobody writes it").as_slice::<i32>().to_vec();
    let turned = [large[0], large[2], large[1], large[3]];
    assert_eq!(found, turned);
    assert_eq!(contents(&z), turned.map(|v| v as f32));
}

#[test]
fn placement_lists_every_operation_once_and_hides_no_fall_back() {
    let f = function(&[("x", &[16, 8]), ("w", &[4, 8])], |b, i| {
        let (x, w) = (b.cast(i[0], DataType::Bf16)?, b.cast(i[1], DataType::Bf16)?);
        let y = b.linear(x, w)?;
        let y = b.cast(y, DataType::Fp32)?;
        let y = b.softmax(y, -1)?;
        b.unary(Op::Tan, y)
    });
    let wanted: Vec<&str> = f
        .body
        .operations
        .iter()
        .filter(|operation| operation.op != Op::Const)
        .map(|operation| f.value(operation.output()).name.as_str())
        .collect();
    let executable = compile(f.clone(), &CompileOptions::default());
    let placement = executable.placement();
    let listed: Vec<&str> = placement.iter().map(|p| p.value.as_str()).collect();
    assert_eq!(listed, wanted);
    let place = |op: &str| {
        let found = placement.iter().find(|p| p.op == op);
        found.map(|p| p.place.as_str()).unwrap_or_default()
    };
    assert_eq!(place("linear"), "cpu: matrix product");
    assert_eq!(place("softmax"), "cpu: row program");
    assert_eq!(place("tan"), "cpu: interpreter");
}

#[test]
fn rows_are_gathered_and_added_alike_with_any_number_of_threads() {
    // Large enough to be shared among the threads, with rows that are hit often.
    let (rows, width, count) = (50, 96, 700);
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let indices = b.input("indices", Type::tensor(DataType::Int32, &[count]));
    let table = b.input("table", Type::tensor(DataType::Fp32, &[rows, width]));
    let picked = b.gather(table, indices, 0).expect("rows of a table");
    let zeros = Tensor::from_f64s(DataType::Fp32, &[rows, width], &vec![0.0; rows * width]);
    let zeros = b.constant("zeros", zeros.expect("as many zeros as the dims say"));
    let (axis, mode) = (b.int(0), b.string("add"));
    let inputs = [
        ("data", zeros.into()),
        ("indices", indices.into()),
        ("updates", picked.into()),
        ("axis", axis.into()),
        ("mode", mode.into()),
    ];
    let sums = b.op(Op::Scatter, "sums", inputs).expect("as many updates as indices");
    let (picked_name, sums_name) = (b.name(picked).to_owned(), b.name(sums).to_owned());
    let program = Program::new(vec![b.finish(&[picked, sums])]);
    let hit = |i: usize| (i * i) % rows;
    let numbers = Surface::from_slice(&(0..count).map(|i| hit(i) as i32).collect::<Vec<_>>());
    let numbers = numbers.expect("memory for a tensor");
    let value = |i: usize| 1.0 / (1 + i) as f32;
    let table = floats((0..rows * width).map(value));
    for threads in [1, 3] {
        let device = CpuDevice::new(Some(threads)).expect("threads can be started");
        let executable = device.compile(&program, "f", &CompileOptions::default());
        let executable = executable.expect("the function can be compiled");
        let (y, z) = (floats(vec![0.0; count * width]), floats(vec![9.0; rows * width]));
        let bindings = Bindings::new().input("indices", &numbers).input("table", &table);
        let bindings = bindings.output(&picked_name, &y).output(&sums_name, &z);
        let mut request = executable.bind(bindings).expect("the surfaces fit");
        request.evaluate(Accumulation::Replace).expect("nothing is in use");
        let gathered = contents(&y);
        let mut expected = vec![0.0f32; rows * width];
        for i in 0..count {
            for column in 0..width {
                let at = hit(i) * width + column;
                assert_eq!(gathered[i * width + column], value(at));
                expected[at] += value(at);
            }
        }
        assert_eq!(contents(&z), expected, "{threads} threads");
    }
}

#[test]
fn options_that_name_nothing_are_refused() {
    let program = Program::new(vec![function(&[("x", &[3])], |b, x| b.mul(x[0], x[0]))]);
    let compile = |options: CompileOptions| {
        let refused = device().compile(&program, "f", &options).err();
        refused.expect("there is no such name").to_string()
    };
    let none = CompileOptions::default;
    assert_eq!(
        compile(CompileOptions { parameters: vec!["w".into()], ..none() }),
        "`f`: no input is called `w`"
    );
    assert_eq!(
        compile(CompileOptions { accumulators: vec!["z".into()], ..none() }),
        "`f`: no output is called `z`"
    );
    let constants = [("k".to_owned(), Tensor::int32(1))].into();
    assert_eq!(compile(CompileOptions { constants, ..none() }), "`f`: no input is called `k`");
    let half = Program::new(vec![function(&[("x", &[3])], |b, x| b.cast(x[0], DataType::Fp16))]);
    let refused = device().compile(&half, "f", &accumulating()).err();
    assert_eq!(
        refused.expect("only fp32 accumulates").to_string(),
        "`f`: output `y` cannot accumulate: it is not fp32"
    );
}

#[test]
fn what_no_memory_holds_is_refused() {
    let refused = |dims: &[usize], reps: &[i64]| {
        let mut b = FunctionBuilder::new("f", Opset::Ios18);
        let x = b.input("x", Type::tensor(DataType::Fp32, dims));
        let reps = b.ints(reps);
        let inputs = [("x", x.into()), ("reps", reps.into())];
        let wide = b.op(Op::Tile, "wide", inputs).expect("inference bounds it");
        // Read twice and changed, so that it cannot stay a view.
        let square = b.mul(wide, wide).expect("same shapes");
        let y = b.add(square, wide).expect("same shapes");
        let program = Program::new(vec![b.finish(&[y])]);
        let refused = device().compile(&program, "f", &CompileOptions::default()).err();
        refused.expect("there is no such memory").to_string()
    };
    let message = refused(&[1, 8], &[1 << 30, 1 << 20]);
    assert!(message.contains("too large"), "{message}");
}
