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

/// Parts that are replaced where a tensor says, integers, lines, images and a recurrent layer.
const OTHERS: &str = "program(1.3)
{
    func f<ios18>(tensor<int32, [24]> tokens, tensor<fp32, [1, 2, 6, 8]> x, tensor<fp16, [9, 4]> cache,
            tensor<fp16, [1, 4]> row, tensor<fp32, [5, 1, 8]> steps, tensor<fp32, [1, 3]> h,
            tensor<fp32, [12, 8]> seen, tensor<fp32, [12, 3]> kept) {
        tensor<int32, [2]> at = slice_by_size(x = tokens, begin = tensor<int32, [1]>([3]), size = tensor<int32, [1]>([2]));
        tensor<int32, [2]> begin = mul(x = at, y = tensor<int32, [2]>([1, 0]));
        tensor<int32, [2]> end = add(x = begin, y = tensor<int32, [2]>([1, 4]));
        tensor<fp16, [9, 4]> updated = slice_update(x = cache, update = row, begin = begin, end = end);
        tensor<fp16, [3, 4]> part = slice_by_size(x = updated, begin = begin, size = tensor<int32, [2]>([3, 4]));
        tensor<fp32, [1, 2, 12, 16]> large = upsample_bilinear(x = x, scale_factor_height = fp32(2.0), scale_factor_width = fp32(2.0), align_corners = bool(false));
        tensor<fp32, [1, 2, 12, 16]> sums = cumsum(x = large, axis = int32(3));
        tensor<int32, [1, 2, 12, 16]> order = argsort(x = sums, axis = int32(2));
        tensor<fp32, [1, 2, 12, 5]> best, tensor<int32, [1, 2, 12, 5]> where = topk(x = large, k = int32(5));
        tensor<int32, [1, 2, 6, 8]> slice = slice_by_size(x = order, begin = tensor<int32, [4]>([0, 0, 0, 0]), size = tensor<int32, [4]>([1, 2, 6, 8]));
        tensor<fp32, [1, 2, 6, 8]> taken = gather_along_axis(x = x, indices = slice, axis = int32(3));
        tensor<fp32, [5, 1, 3]> shown, tensor<fp32, [1, 3]> last, tensor<fp32, [1, 3]> cell = lstm(x = steps, initial_h = h, initial_c = h, weight_ih = seen, weight_hh = kept, output_sequence = bool(true));
    } -> (part, best, where, taken, shown, cell);
}
";

#[test]
fn evaluating_allocates_nothing() {
    let block = Program::new(vec![block().expect("the operations are legal")]);
    let parameters = ["w", "gate", "up", "down", "table"];
    for products in [Products::Native, Products::Int8] {
        evaluate(&block, &parameters, products);
    }
    let others = mil::parse(OTHERS).unwrap_or_else(|error| panic!("{error}"));
    evaluate(&others, &[], Products::Native);
}

fn evaluate(program: &Program, parameters: &[&str], products: Products) {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let parameters = parameters.iter().map(|&name| name.to_owned()).collect();
    let options = CompileOptions { parameters, products, ..CompileOptions::default() };
    let executable = device.compile(program, "f", &options).expect("it can be compiled");
    let places = executable.placement();
    assert!(places.iter().all(|p| p.place != "cpu: interpreter"), "{places:?}");
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        let count: usize = port.dims.iter().product();
        let surface = if port.name == "tokens" {
            Surface::from_slice(&(0..count as i32).collect::<Vec<_>>())
        } else {
            // Zeros where elements are of 16 bits, and enough of them.
            let number = |i: usize| if port.ty.dtype == DataType::Fp32 { i % 7 } else { 0 };
            Surface::from_slice(&(0..count).map(|i| number(i) as f32 / 7.0).collect::<Vec<_>>())
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
