//! The steps of a plan, and the bound of each.

use super::report::{Peak, Table};
use cpu::profile::KernelProfile;
use serde_json::json;
use std::fmt::Write as _;

/// Rows of the table for people.
const HOTTEST: usize = 24;

/// Steps that do the same in the same function.
struct Line<'a> {
    kernel: &'a str,
    kind: &'static str,
    what: &'a str,
    calls: f64,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

/// Where the time of `steps` training steps, or whatever was repeated, went.
///
/// A line's bound is the smaller of the arithmetic peak and what memory allows at its intensity:
/// operations for each byte, times the bytes of a triad. What stays in a cache may exceed it.
pub fn table(profile: &[KernelProfile], steps: f64, peaks: &[Peak], peak: &str) -> Table {
    let value = |name: &str| peaks.iter().find(|p| p.name == name).map_or(0.0, |p| p.value * 1e9);
    let (arithmetic, memory) = (value(peak), value("triad"));
    let mut lines: Vec<Line<'_>> = vec![];
    for kernel in profile {
        for step in kernel.steps.iter().filter(|step| step.span.calls > 0) {
            let calls = step.span.calls as f64;
            let found = lines.iter_mut().find(|line| {
                (line.kernel, line.kind, line.what)
                    == (kernel.name.as_str(), step.kind, step.what.as_str())
            });
            let line = match found {
                Some(line) => line,
                None => {
                    lines.push(Line {
                        kernel: &kernel.name,
                        kind: step.kind,
                        what: &step.what,
                        calls: 0.0,
                        seconds: 0.0,
                        flops: 0.0,
                        bytes: 0.0,
                    });
                    lines.last_mut().expect("one was just added")
                }
            };
            line.calls += calls / steps;
            line.seconds += step.span.seconds / steps;
            line.flops += calls * step.flops / steps;
            line.bytes += calls * step.bytes / steps;
        }
    }
    lines.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let total: f64 = lines.iter().map(|line| line.seconds).sum();
    let mut text = format!(
        "\nsteps of the plan by time ({:.1} ms in all)\n{:>9} {:>6} {:>6} {:>9} {:>8} {:>7}  what\n",
        total * 1e3,
        "ms",
        "share",
        "calls",
        "GFLOP/s",
        "GB/s",
        "bound",
    );
    let mut rows = vec![];
    for (index, line) in lines.iter().enumerate() {
        let seconds = line.seconds.max(1e-12);
        let (flops, bytes) = (line.flops / seconds, line.bytes / seconds);
        let share_of_bound = bound(line, arithmetic, memory);
        if index < HOTTEST {
            let percent = share_of_bound.map(|share| format!("{:.0} %", 100.0 * share));
            _ = writeln!(
                text,
                "{:>9.2} {:>4.1} % {:>6.0} {:>9.1} {:>8.1} {:>7}  {}: {} {}",
                seconds * 1e3,
                100.0 * line.seconds / total.max(1e-12),
                line.calls,
                flops / 1e9,
                bytes / 1e9,
                percent.unwrap_or_default(),
                line.kernel,
                line.kind,
                line.what,
            );
        }
        rows.push(json!({
            "function": line.kernel,
            "kind": line.kind,
            "what": line.what,
            "calls": line.calls,
            "ms": seconds * 1e3,
            "gflops": flops / 1e9,
            "gb_per_s": bytes / 1e9,
            "share_of_bound": share_of_bound,
        }));
    }
    if lines.len() > HOTTEST {
        let rest: f64 = lines[HOTTEST..].iter().map(|line| line.seconds).sum();
        _ = writeln!(text, "{:>9.2}  in {} others", rest * 1e3, lines.len() - HOTTEST);
    }
    Table { name: "plan", rows, text }
}

/// The share that a line reaches of what peak and memory allow.
fn bound(line: &Line<'_>, arithmetic: f64, memory: f64) -> Option<f64> {
    // The time that the slower of the two needs at least.
    let compute = if arithmetic > 0.0 { line.flops / arithmetic } else { 0.0 };
    let traffic = if memory > 0.0 { line.bytes / memory } else { 0.0 };
    let least = match line.kind {
        // Row programs count operations that take many instructions or share one.
        "product" | "loop" => compute.max(traffic),
        _ => traffic,
    };
    (least > 0.0 && line.seconds > 0.0).then(|| least / line.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpu::profile::{Span, StepProfile};

    #[test]
    fn steps_that_do_the_same_are_one_line_and_the_slower_bound_counts() {
        let step = |kind, flops, bytes| StepProfile {
            kind,
            what: "a".into(),
            span: Span { calls: 2, seconds: 1.0 },
            flops,
            bytes,
        };
        let kernel = KernelProfile {
            name: "f".into(),
            evaluations: Span::default(),
            staging: Span::default(),
            steps: vec![
                step("product", 5e9, 1e9),
                step("product", 5e9, 1e9),
                step("rows", 9e9, 2e9),
            ],
        };
        let peak = |name, value| Peak { name, what: String::new(), value, unit: "" };
        let peaks = [peak("fp32", 20.0), peak("triad", 8.0)];
        let table = table(&[kernel], 2.0, &peaks, "fp32");
        assert_eq!(table.rows.len(), 2);
        // Two steps of two calls each in two rounds: 10 GFLOP in a second, of 20 at most.
        let (product, rows) = (&table.rows[0], &table.rows[1]);
        assert_eq!((&product["calls"], &product["gflops"]), (&json!(2.0), &json!(10.0)));
        assert_eq!(product["share_of_bound"], json!(0.5));
        // Row programs are measured by their 4 GB in a second, of 8 at most.
        assert_eq!(rows["share_of_bound"], json!(0.5));
    }
}
