//! What a step does, in words and numbers: for profiles.

use super::loop_step::LoopStep;
use super::place::element_bytes;
use super::step::{Fallback, Right, Step};
use super::tables::Tables;
use super::transfer::Transfer;
use crate::gemm;
use crate::rows::RowProgram;
use mil::DataType;

/// What a step does each time it runs.
pub(crate) struct Cost {
    /// The kind of step.
    pub kind: &'static str,
    /// Shape and kernel.
    pub what: String,
    /// Operations on numbers: two for each multiplication of a matrix product and its sum, one
    /// for each element of everything else.
    pub flops: f64,
    /// Bytes of operands and results, each counted once; 0 where that is not known.
    pub bytes: f64,
}

impl Step {
    /// What it does when results replace what was there.
    pub fn cost(&self) -> Cost {
        let float = size_of::<f32>();
        let cost = |kind, what: String, flops: usize, bytes: usize| Cost {
            kind,
            what,
            flops: flops as f64,
            bytes: bytes as f64,
        };
        match self {
            Step::Rows(step) => rows(&step.replace),
            Step::Product(step) => product(&step.replace, matches!(step.b, Right::Packed(_))),
            Step::Integer(step) => {
                let (what, flops, bytes) = step.product.cost();
                cost("integer product", what, flops, bytes)
            }
            Step::Window(step) => {
                let (x, out) = step.window.elements();
                let (what, flops) = (step.window.describe(), step.window.flops());
                cost("windows", what, flops, (x + out) * float)
            }
            Step::GatherRows(step) => {
                let Tables { batch, outer, rows, width, .. } = step.tables;
                let what = format!("{} of {rows}x{width}", step.count);
                cost("gather", what, 0, 2 * batch * outer * step.count * step.row_bytes)
            }
            Step::Scatter(step) => {
                let Tables { batch, outer, rows, width, .. } = step.tables;
                let updates = batch * outer * step.count * width;
                let what = format!("{} to {rows}x{width}", step.count);
                cost("scatter", what, updates, 3 * updates * float)
            }
            Step::Scan(step) => {
                let mut body = within(&step.steps, step.count);
                body.what = format!("{} steps of {}", step.count, body.what);
                Cost { kind: "scan", ..body }
            }
            Step::Mix(step) => {
                let (count, lines) = (step.taps.len(), step.outer * step.width);
                let what = format!("{lines} times {count} of {}", step.n);
                cost("mix", what, 3 * lines * count, lines * (step.n + count) * float)
            }
            Step::Lines(step) => {
                let count = step.walk.count();
                let [x, y] = step.types.map(element_bytes);
                let what = format!("{count} of {}: {:?}", step.n, step.op);
                cost("lines", what, count * step.n, count * (step.n * x + step.k * y))
            }
            Step::Pick { x, .. } => {
                cost("pick", format!("1 of {}x{}", x.rows, x.width), 0, 3 * x.rows * float)
            }
            Step::AddRows { table, zero_first, count, .. } => {
                let cleared = if *zero_first { table.rows * table.width } else { 0 };
                let added = count * table.width;
                let what = format!("{count} to {}x{}", table.rows, table.width);
                cost("add rows", what, added, (cleared + 3 * added) * float)
            }
            Step::AddPicked { table, .. } => {
                let what = format!("1 to {}x{}", table.rows, table.width);
                cost("add picked", what, table.rows, 3 * table.rows * float)
            }
            Step::Move { transfer, .. } => moved(transfer),
            Step::Part(part) => moved(&part.transfer),
            Step::Ints(step) => {
                let bytes = |dtype: &DataType| element_bytes(*dtype);
                let count = step.walk.count();
                let each =
                    bytes(&step.dtype) + step.args.iter().map(|a| bytes(&a.1)).sum::<usize>();
                cost("integers", format!("{count}: {:?}", step.op), count, count * each)
            }
            Step::Fallback(fallback) => interpreted(fallback),
            Step::Loop(step) => repeated(step),
        }
    }
}

fn moved(transfer: &Transfer) -> Cost {
    let (bytes, run) = (transfer.bytes(), transfer.run_bytes());
    let what = format!("{} of {run} bytes", bytes.checked_div(run).unwrap_or(0));
    Cost { kind: "move", what, flops: 0.0, bytes: 2.0 * bytes as f64 }
}

fn product(product: &gemm::Product, packed: bool) -> Cost {
    let [batch, m, n, k] = product.dims();
    let repeated = if batch == 1 { String::new() } else { format!("{batch} x ") };
    let b = if packed { "packed" } else { "strided" };
    Cost {
        kind: "product",
        what: format!("{repeated}{m}x{n}x{k} {b}, {}", product.kernel_name()),
        flops: 2.0 * (batch * m) as f64 * (n * k) as f64,
        bytes: product.bytes() as f64,
    }
}

fn rows(program: &RowProgram) -> Cost {
    let outer: Vec<String> = program.outer().iter().map(usize::to_string).collect();
    let (operations, operands) = (program.operations(), program.operands().len());
    let outer = if outer.is_empty() { "1".to_owned() } else { outer.join("x") };
    Cost {
        kind: "rows",
        what: format!("{outer} of {}: {operations} operations, {operands} arrays", program.inner()),
        flops: (operations * program.outer().iter().product::<usize>() * program.inner()) as f64,
        bytes: program.bytes() as f64,
    }
}

fn repeated(step: &LoopStep) -> Cost {
    let iterations: usize = step.counts.iter().product();
    let mut body = within(&step.steps, iterations);
    body.what = format!("{iterations} times {}", body.what);
    Cost { kind: "loop", ..body }
}

/// What lies between the steps of a body stays in a cache, and its operands overlap from one
/// iteration to the next, so bytes are not counted.
fn within(steps: &[Step], iterations: usize) -> Cost {
    let body: Vec<Cost> = steps.iter().map(Step::cost).collect();
    let products: Vec<&str> =
        body.iter().filter(|c| c.kind == "product").map(|c| c.what.as_str()).collect();
    let others = body.len() - products.len();
    Cost {
        kind: "body",
        what: format!("{others} row programs, {}", products.join("; ")),
        flops: iterations as f64 * body.iter().map(|c| c.flops).sum::<f64>(),
        bytes: 0.0,
    }
}

fn interpreted(fallback: &Fallback) -> Cost {
    let bytes: usize =
        fallback.args.iter().map(|(_, _, dtype, view)| view.count() * element_bytes(*dtype)).sum();
    let what = fallback.operation.op.name().to_owned();
    Cost { kind: "interpreter", what, flops: 0.0, bytes: bytes as f64 }
}
