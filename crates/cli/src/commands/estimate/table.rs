//! What `estimate` prints.

use super::pipeline::Pipeline;
use ane::cost::calibration::{Comparison, Subject as Published, spread};
use ane::cost::{BudgetLine, Profile};
use ane::target::{Chip, Target};
use models::Shape;
use std::fmt::Write;

/// What a prediction is of.
pub struct Subject<'a> {
    pub model: &'a str,
    pub target: Target,
    pub shape: Shape,
}

/// How far predictions of training steps on a chip are off at most, and other figures typically;
/// as parts. Nothing for a chip of which no step was published.
pub fn errors(comparisons: &[Comparison], chip: Chip) -> (Option<f64>, f64) {
    let steps = comparisons
        .iter()
        .filter(|c| c.figure.chip == chip && matches!(c.figure.subject, Published::Step { .. }));
    (steps.map(|c| c.error().abs()).reduce(f64::max), spread(comparisons).1)
}

/// One sentence on how good predictions for a chip are.
pub fn trust(comparisons: &[Comparison], chip: Chip) -> String {
    let (steps, others) = errors(comparisons, chip);
    let steps = match steps {
        Some(error) => {
            format!("training steps published for an {chip} are met within {}", percent(error))
        }
        None => format!("no training step was published for an {chip}, so its error is unknown"),
    };
    format!(
        "{steps}; figures of any chip that nothing was fitted to are typically off by {}",
        percent(others)
    )
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// A bar of at most 24 characters.
fn bar(part: f64) -> String {
    let eighths = (part.clamp(0.0, 1.0) * 24.0 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(last) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        bar.push_str(last);
    }
    bar
}

macro_rules! line {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($arg:tt)*) => {{
        writeln!($out, $($arg)*).expect("writing to a string does not fail");
    }};
}

/// The prediction for a model.
pub fn estimate(subject: &Subject<'_>, p: &Pipeline, comparisons: &[Comparison]) -> String {
    let mut out = String::new();
    let profile = p.profile;
    let time = p.step.time(profile);
    let ms = |seconds: f64| seconds * 1e3;
    let Subject { model, target, shape } = subject;
    let tokens = shape.tokens();
    line!(out, "{model} on {target}; {} x {} tokens a step", shape.batch, shape.seq);
    line!(out, "Predicted from the chip's numbers; nothing was run on an engine.");
    line!(out, "Error: {}.", trust(comparisons, target.chip));
    line!(out, "Host times suppose Apple's Accelerate, with which they were measured.");
    line!(out);
    line!(
        out,
        "predicted step   {:>9.1} ms   {:.0} tokens/s",
        ms(time.total),
        tokens as f64 / time.total
    );
    line!(out, "  engine         {:>9.1} ms   {} evaluations", ms(time.engine), p.step.calls());
    line!(out, "  host, in turn  {:>9.1} ms", ms(time.host));
    line!(
        out,
        "  host, beside   {:>9.1} ms   of which {:.1} ms are waited for",
        ms(time.late),
        ms(time.waiting)
    );
    line!(
        out,
        "utilization      {:>9.1} %    of {} TFLOP/s, by {:.1} GFLOP on the engine; {:.1} on the host",
        p.step.utilization(profile) * 100.0,
        profile.engine.peak_tflops.value,
        p.step.engine_flops() / 1e9,
        p.step.host_flops() / 1e9
    );
    let update = p.update_seconds();
    line!(
        out,
        "an update        {:>9.1} ms   more, once for all micro-batches of it; it compiles {} kernels",
        ms(update),
        p.compiles
    );

    line!(out);
    let mut names: Vec<&str> = p.step.kernels.iter().map(|k| k.cost.name.as_str()).collect();
    names.extend(p.step.host.iter().chain(&p.step.late).map(|h| h.work.name.as_str()));
    let width = names.iter().map(|n| n.len()).max().unwrap_or(0);
    line!(out, "{:width$}  calls  ms each  ms/step  share", "predicted, kernels");
    for k in &p.step.kernels {
        let share = k.seconds() / time.total;
        line!(
            out,
            "{:width$}  {:>5}  {:>7.3}  {:>7.2}  {:>5}  {:24}  {:.1} % of peak, {:.1} MB",
            k.cost.name,
            k.calls,
            ms(k.cost.seconds()),
            ms(k.seconds()),
            percent(share),
            bar(share),
            k.cost.utilization(profile) * 100.0,
            (k.cost.input_bytes + k.cost.output_bytes) / 1e6
        );
    }
    for (title, list) in [
        ("predicted, host in turn", &p.step.host),
        ("predicted, host beside the backward pass", &p.step.late),
    ] {
        if list.is_empty() {
            continue;
        }
        line!(out, "{title}");
        for h in list {
            let seconds = h.seconds(profile);
            let share = seconds / time.total;
            line!(
                out,
                "{:width$}  {:>5}  {:>7.3}  {:>7.2}  {:>5}  {}",
                h.work.name,
                h.calls,
                ms(h.work.seconds(profile)),
                ms(seconds),
                percent(share),
                bar(share)
            );
        }
    }

    line!(out);
    line!(out, "predicted, the engine's time");
    for (name, seconds) in p.step.engine_time().parts() {
        let share = seconds / time.engine.max(f64::MIN_POSITIVE);
        line!(out, "  {name:10}  {:>7.2} ms  {:>5}  {}", ms(seconds), percent(share), bar(share));
    }
    let over: Vec<String> = p
        .step
        .kernels
        .iter()
        .flat_map(|k| {
            k.cost.over_limit().map(|o| {
                let bytes = o.over_limit.unwrap_or_default() / 1e6;
                format!("  {}: {} {} ({bytes:.1} MB)", k.cost.name, o.op, o.value)
            })
        })
        .collect();
    if !over.is_empty() {
        let limit = profile.operand_bytes() / f64::from(1 << 20);
        line!(out, "products of which neither operand fits into {limit:.0} MiB");
        for text in over {
            line!(out, "{text}");
        }
    }

    line!(out);
    line!(out, "budgets");
    for budget in &p.budget.lines {
        line!(out, "  {:32} {:>13}  {}", budget.what, budget.used, limit(budget));
    }
    if !p.cuts.is_empty() {
        line!(out);
        line!(out, "why the kernels are not one");
        for cut in &p.cuts {
            let between = match cut.operations.len() {
                0 => String::new(),
                1 => format!(" ({})", cut.operations[0]),
                n => format!(" ({} and {} more)", cut.operations[0], n - 1),
            };
            line!(out, "  before {}: {}{between}", cut.before, cut.reason);
        }
    }
    line!(out);
    line!(out, "what would help, by the time that it is about");
    for advice in p.step.advice(profile).iter().take(6) {
        line!(out, "  {:>6.1} ms  {}", ms(advice.seconds), advice.text);
    }
    out
}

fn limit(line: &BudgetLine) -> String {
    let Some(limit) = line.limit else { return "no limit".into() };
    let kind = if line.at_least { "at least" } else { "at most" };
    let broken = if line.is_kept() { "" } else { "  BROKEN" };
    format!("{kind} {limit}{broken}")
}

/// The published figures beside the predictions, and the numbers of a chip.
pub fn calibration(comparisons: &[Comparison], chip: Chip) -> String {
    let mut out = String::new();
    line!(out, "Published measurements, and what is predicted for them.");
    line!(out, "A star marks those that numbers were fitted to.");
    line!(out);
    let width = comparisons.iter().map(|c| c.figure.what.len()).max().unwrap_or(0);
    let machines = comparisons.iter().map(|c| c.figure.machine.len()).max().unwrap_or(0);
    line!(out, "{:width$}  {:machines$}  published ms   predicted ms  error", "what", "machine");
    for c in comparisons {
        let [low, high] = c.figure.ms;
        let published = if low == high { format!("{low}") } else { format!("{low}-{high}") };
        line!(
            out,
            "{:width$}  {:machines$}  {published:>12}  {:>13.3}  {:>+4.0} % {}",
            c.figure.what,
            c.figure.machine,
            c.predicted,
            c.error() * 100.0,
            if c.figure.fitted { "*" } else { "" }
        );
    }
    let (fitted, others) = spread(comparisons);
    line!(out);
    line!(
        out,
        "Typical error (geometric mean): {} of the fitted, {} of the others.",
        percent(fitted),
        percent(others)
    );
    line!(out, "For {chip}: {}.", trust(comparisons, chip));
    line!(out);
    line!(out, "The numbers of the {chip}");
    for (name, number) in Profile::of(chip).numbers() {
        line!(out, "  {name:24} {:>8}  {:8}  {}", number.value, number.basis.name(), number.source);
    }
    out
}
