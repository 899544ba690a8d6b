//! Costs of small functions, counted by hand.

use super::*;
use crate::target::{Chip, Target};
use mil::{DataType, Function, FunctionBuilder, Op, Opset, Type, ValueId};

fn m4() -> &'static Profile {
    Profile::of(Chip::M4)
}

fn builder(dims: &[usize]) -> (FunctionBuilder, ValueId) {
    let mut b = FunctionBuilder::new("main", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp16, dims));
    (b, x)
}

/// The operation that gives the last output.
fn last(function: &Function) -> OperationCost {
    let cost = kernel_cost(function, m4()).unwrap();
    assert_eq!(cost.operations.len(), function.body.operations.len());
    cost.operations.last().unwrap().clone()
}

#[test]
fn products_are_counted_by_their_shapes() {
    let (mut b, x) = builder(&[1, 12, 256, 64]);
    let y = b.input("y", Type::tensor(DataType::Fp16, &[1, 12, 128, 64]));
    let z = b.matmul(x, y, (false, true)).unwrap();
    let cost = last(&b.finish(&[z]));
    assert_eq!((cost.kind, cost.flops), (Kind::Product, 2.0 * 12.0 * 256.0 * 128.0 * 64.0));
    let elements = 12.0 * (256.0 * 64.0 + 128.0 * 64.0 + 256.0 * 128.0);
    assert_eq!(cost.bytes, 2.0 * elements);
    // The right operand is transposed first.
    let profile = &m4().engine;
    let reorder = 2.0 * 12.0 * 128.0 * 64.0 / (profile.reorder_gbs.value * 1e9);
    let compute = cost.flops / (profile.peak_tflops.value * 1e12);
    let start = profile.operation_us.value * 1e-6;
    assert!((cost.seconds - (reorder + compute + start)).abs() < 1e-12);

    let (mut b, x) = builder(&[1, 8, 4, 6]);
    let w = b.input("w", Type::tensor(DataType::Fp16, &[16, 4, 3, 3]));
    let groups = b.int(2);
    let inputs = [("x", x.into()), ("weight", w.into()), ("groups", groups.into())];
    let y = b.op(Op::Conv, "conv", inputs).unwrap();
    assert_eq!(b.dims(y), [1, 16, 2, 4]);
    assert_eq!(last(&b.finish(&[y])).flops, 2.0 * (16.0 * 2.0 * 4.0) * (4.0 * 9.0));
}

#[test]
fn reading_again_takes_the_cheaper_operand() {
    let operands = |left, right| Operands { count: 1.0, left, right };
    assert_eq!(operands(1.0, 100.0).read_again(2.0), 0.0);
    assert_eq!(operands(100.0, 2.0).read_again(2.0), 0.0);
    // Five parts of 3 with the 10 read once each, or two parts of 10 with the 3 read once each.
    assert_eq!(operands(10.0, 3.0).read_again(2.0), f64::min(4.0 * 3.0, 10.0));
}

#[test]
fn only_what_moves_bytes_costs_anything() {
    let moved = |build: &dyn Fn(&mut FunctionBuilder, ValueId) -> ValueId| {
        let (mut b, x) = builder(&[1, 64, 1, 256]);
        let y = build(&mut b, x);
        last(&b.finish(&[y]))
    };
    let slice = |begin: [i64; 4], size: [i64; 4]| {
        move |b: &mut FunctionBuilder, x: ValueId| {
            let (begin, size) = (b.ints(&begin), b.ints(&size));
            let inputs = [("x", x.into()), ("begin", begin.into()), ("size", size.into())];
            b.op(Op::SliceBySize, "slice", inputs).unwrap()
        }
    };
    // Channels are whole pieces of memory, columns are not.
    assert_eq!(moved(&slice([0, 16, 0, 0], [1, 16, 1, 256])).kind, Kind::View);
    let columns = moved(&slice([0, 0, 0, 32], [1, 64, 1, 64]));
    assert_eq!(columns.kind, Kind::Move);
    // The same bytes in pieces of two bytes take longer than in rows.
    let narrow = moved(&|b, x| {
        let x = b.reshape(x, &[1, 64, 128, 2]).unwrap();
        slice([0, 0, 0, 0], [1, 64, 64, 1])(b, x)
    });
    assert_eq!(narrow.bytes, columns.bytes);
    let start = m4().engine.operation_us.value * 1e-6;
    assert!(narrow.seconds - start > 2.0 * (columns.seconds - start));
    assert_eq!(moved(&|b, x| b.transpose(x, &[0, 2, 1, 3]).unwrap()).kind, Kind::View);
    assert_eq!(moved(&|b, x| b.transpose(x, &[0, 3, 2, 1]).unwrap()).kind, Kind::Move);
    assert_eq!(moved(&|b, x| b.concat(&[x, x], 1).unwrap()).kind, Kind::View);
    assert_eq!(moved(&|b, x| b.concat(&[x, x], 3).unwrap()).kind, Kind::Move);
    let view = moved(&|b, x| b.reshape(x, &[1, 1, 64, 256]).unwrap());
    assert_eq!((view.kind, view.seconds), (Kind::View, 0.0));
}

#[test]
fn every_kernel_costs_at_least_its_dispatch_and_more_work_costs_more() {
    let chain = |depth| {
        let function = reference_pipeline::conv_chain(256, [1, 64], depth, false).unwrap();
        kernel_cost(&function, m4()).unwrap()
    };
    let mut before = m4().engine.dispatch_us.value * 1e-6;
    for depth in [1, 2, 8, 64] {
        let cost = chain(depth);
        assert!(cost.seconds() > before);
        before = cost.seconds();
        assert_eq!(cost.constant_bytes, depth as f64 * 256.0 * 256.0 * 2.0);
        let sum: f64 = cost.time.parts().iter().map(|p| p.1).sum();
        assert_eq!(sum, cost.seconds());
    }
    // Long chains come near the peak, single operations do not.
    let long = reference_pipeline::conv_chain(512, [64, 64], 128, false).unwrap();
    assert!(kernel_cost(&long, m4()).unwrap().utilization(m4()) > 0.9);
    assert!(chain(1).utilization(m4()) < 0.01);
}

#[test]
fn shapes_that_are_not_fixed_are_an_error() {
    let program = "program(1.3) { func main<ios18>(tensor<fp16, [1, ?]> x) {
        tensor<fp16, [1, ?]> y = relu(x = x); } -> (y); }";
    let program = mil::parse(program).unwrap();
    let error = kernel_cost(&program.functions[0], m4()).unwrap_err();
    assert!(error.to_string().starts_with("`x` is tensor<fp16, [1, ?]>"), "{error}");
    assert!(host_work(&program.functions[0]).is_err());
}

#[test]
fn host_work_counts_products_ports_and_conversions() {
    let mut b = FunctionBuilder::new("host", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp32, &[64, 32]));
    let y = b.input("y", Type::tensor(DataType::Fp16, &[32, 16]));
    let y = b.cast(y, DataType::Fp32).unwrap();
    let z = b.matmul(x, y, (false, false)).unwrap();
    let z = b.unary(Op::Exp, z).unwrap();
    let work = host_work(&b.finish(&[z])).unwrap();
    assert_eq!(work.product_flops, 2.0 * 64.0 * 32.0 * 16.0);
    assert_eq!(work.functions, 64.0 * 16.0);
    assert_eq!(work.converted_bytes, 32.0 * 16.0 * 2.0);
    let product = 4.0 * (64.0 * 32.0 + 32.0 * 16.0 + 64.0 * 16.0);
    assert_eq!(work.bytes, product + 4.0 * (64.0 * 32.0 + 64.0 * 16.0));
    assert!(work.seconds(m4()) > 0.0);
}

#[test]
fn late_work_counts_only_as_far_as_it_outlasts_the_backward_pass() {
    let cost = |depth| {
        let function = reference_pipeline::conv_chain(256, [1, 64], depth, false).unwrap();
        kernel_cost(&function, m4()).unwrap()
    };
    let mut plan = StepPlan::default();
    plan.add_kernel(cost(1), 10, false);
    plan.add_kernel(cost(2), 10, true);
    let alone = plan.time(m4());
    assert_eq!((alone.late, alone.waiting, alone.total), (0.0, 0.0, alone.engine));
    let work = |flops| HostWork { product_flops: flops, ..HostWork::default() };
    let rate = m4().host.product_gflops.value * 1e9;
    let backward = cost(2).seconds() * 10.0;
    plan.add_late(work(backward * rate * 0.9), 1);
    assert_eq!(plan.time(m4()).total, alone.total);
    plan.add_late(work(backward * rate * 0.6), 1);
    let time = plan.time(m4());
    assert!((time.waiting - backward * 0.5).abs() < 1e-9);
    assert!((time.total - alone.total - time.waiting).abs() < 1e-12);
    assert!(plan.utilization(m4()) < alone.engine / time.total);
    // What takes most stands first, and says what helps.
    let advice = plan.advice(m4());
    assert!(advice[0].text.starts_with("dispatch of 20 evaluations"), "{advice:?}");
    assert!(advice.is_sorted_by(|a, b| a.seconds >= b.seconds));
}

#[test]
fn budgets_say_what_is_kept() {
    let mut plan = StepPlan::default();
    for kernel in reference_pipeline::forward_kernels(&reference_pipeline::Sizes::STORIES).unwrap()
    {
        plan.add_kernel(kernel_cost(&kernel, m4()).unwrap(), 12, false);
    }
    let limits = Target::of(Chip::M4).limits();
    let line = |budget: &Budget, what: &str| {
        budget.lines.iter().find(|line| line.what == what).unwrap().clone()
    };
    let budget = Budget::of(&plan, &limits, 12, 0);
    assert_eq!(line(&budget, "programs loaded").used, 3);
    assert_eq!(line(&budget, "surfaces").used, 3 * 2 * 12);
    let bytes = [3_932_160, 1_966_080, 1_572_864, 393_216, 10_223_616, 3_538_944];
    assert_eq!(line(&budget, "bytes of surfaces").used, 12 * bytes.iter().sum::<usize>());
    assert_eq!(line(&budget, "columns of a surface").used, 2 * 256 + 3 * 2048);
    // The mask, and two tables of the rotation for queries and for keys.
    assert_eq!(line(&budget, "weight tensors of a program").used, 1 + 4);
    assert!(budget.lines.iter().all(BudgetLine::is_kept));
    let few = crate::target::Limits { max_loaded: 2, ..limits };
    assert!(!line(&Budget::of(&plan, &few, 12, 0), "programs loaded").is_kept());
}

#[test]
fn constants_in_blocks_take_the_bytes_that_are_stored() {
    let text = "program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 64, 1, 64]> x) {
        tensor<fp16, [64, 64, 1, 1]> w = constexpr_blockwise_shift_scale(data = tensor<int4, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64))), scale = tensor<fp16, [64, 1, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(4096))));
        tensor<fp16, [1, 64, 1, 64]> y = conv(weight = w, x = x);
    } -> (y);
}
";
    let program = mil::parse(text).unwrap();
    let cost = kernel_cost(&program.functions[0], m4()).unwrap();
    assert_eq!(cost.constant_bytes, 64.0 * 64.0 / 2.0 + 64.0 * 2.0);
    assert_eq!(cost.operations[0].kind, Kind::Constant);
    assert_eq!(cost.operations[0].flops, 0.0);
}
