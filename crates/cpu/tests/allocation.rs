//! Evaluating allocates nothing. This is a test binary of its own, because it counts every
//! allocation of the process.

use anemone_cpu::CpuDevice;
use mil::{DataType, Function, FunctionBuilder, Op, OpError, Opset, Program, Tensor, Type};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Products};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use surface::Surface;

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TOKENS: usize = 24;
const WIDTH: usize = 32;
const HIDDEN: usize = 48;

/// Embedding, RMS norm, attention, SwiGLU, the loss of each token, and the gradient of the
/// embedding's rows.
fn block() -> Result<Function, OpError> {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let fp32 = |dims: &[usize]| Type::tensor(DataType::Fp32, dims);
    let tokens = b.input("tokens", Type::tensor(DataType::Int32, &[TOKENS]));
    let table = b.input("table", fp32(&[40, WIDTH]));
    let gain = b.input("gain", fp32(&[WIDTH]));
    let w = b.input("w", fp32(&[WIDTH, WIDTH]));
    let (gate, up) =
        (b.input("gate", fp32(&[HIDDEN, WIDTH])), b.input("up", fp32(&[HIDDEN, WIDTH])));
    let down = b.input("down", fp32(&[WIDTH, HIDDEN]));
    let x = b.gather(table, tokens, 0)?;
    let square = b.unary(Op::Square, x)?;
    let mean = b.reduce(Op::ReduceMean, square, &[-1], true)?;
    let scale = b.unary(Op::Rsqrt, mean)?;
    let x = b.mul(x, scale)?;
    let x = b.mul(x, gain)?;
    let (narrow, w) = (b.cast(x, DataType::Bf16)?, b.cast(w, DataType::Bf16)?);
    let q = b.linear(narrow, w)?;
    let q = b.cast(q, DataType::Fp32)?;
    let scores = b.matmul(q, x, (false, true))?;
    let weights = b.softmax(scores, -1)?;
    let x = b.matmul(weights, x, (false, false))?;
    let (g, u) = (b.linear(x, gate)?, b.linear(x, up)?);
    let g = b.unary(Op::Silu, g)?;
    let h = b.mul(g, u)?;
    let x = b.linear(h, down)?;
    let logits = b.linear(x, table)?;
    let sums = b.reduce(Op::ReduceLogSumExp, logits, &[-1], true)?;
    let column = b.reshape(tokens, &[TOKENS, 1])?;
    let axis = b.int(-1);
    let inputs = [("x", logits.into()), ("indices", column.into()), ("axis", axis.into())];
    let picked = b.op(Op::GatherAlongAxis, "picked", inputs)?;
    let losses = b.sub(sums, picked)?;
    let loss = b.reduce(Op::ReduceMean, losses, &[0, 1], false)?;
    let zeros = Tensor::from_f64s(DataType::Fp32, &[40, WIDTH], &[0.0; 40 * WIDTH]);
    let zeros = b.constant("zeros", zeros.expect("as many zeros as the dims say"));
    let (axis, mode) = (b.int(0), b.string("add"));
    let inputs = [
        ("data", zeros.into()),
        ("indices", tokens.into()),
        ("updates", x.into()),
        ("axis", axis.into()),
        ("mode", mode.into()),
    ];
    let gradient = b.op(Op::Scatter, "gradient", inputs)?;
    // Integers are moved as bytes.
    let turned = b.reshape(tokens, &[TOKENS / 2, 2])?;
    let turned = b.transpose(turned, &[1, 0])?;
    Ok(b.finish(&[loss, gradient, turned]))
}

#[test]
fn evaluating_allocates_nothing() {
    for products in [Products::Native, Products::Int8] {
        evaluate(products);
    }
}

fn evaluate(products: Products) {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let program = Program::new(vec![block().expect("the operations are legal")]);
    let parameters = ["w", "gate", "up", "down", "table"].map(str::to_owned).into();
    let options = CompileOptions { parameters, products, ..CompileOptions::default() };
    let executable = device.compile(&program, "f", &options).expect("it can be compiled");
    let places = executable.placement();
    assert!(places.iter().all(|p| p.place != "cpu: interpreter"), "{places:?}");
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        let count: usize = port.dims.iter().product();
        let surface = if port.name == "tokens" {
            Surface::from_slice(&(0..count as i32).collect::<Vec<_>>())
        } else {
            Surface::from_slice(&(0..count).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>())
        };
        bindings = bindings.input(&port.name, &surface.expect("memory for an input"));
    }
    for port in executable.outputs() {
        let surface = Surface::new(port.bytes).expect("memory for an output");
        bindings = bindings.output(&port.name, &surface);
    }
    let mut request = executable.bind(bindings).expect("the surfaces fit");
    request.evaluate(Accumulation::Replace).expect("nothing is in use");
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
    for profiling in [false, true] {
        device.set_profiling(profiling);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for accumulation in [Accumulation::Replace, Accumulation::Add, Accumulation::Replace] {
            request.evaluate(accumulation).expect("nothing is in use");
            request.stage().expect("nothing is in use");
        }
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "with a profile: {profiling}");
    }
}
