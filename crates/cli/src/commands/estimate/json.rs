//! What `estimate --json` prints.

use super::pipeline::Pipeline;
use super::table::{Subject, errors};
use ane::cost::calibration::{Comparison, spread};
use ane::cost::{HostShare, Profile};
use ane::target::Chip;
use serde_json::{Value, json};

/// The prediction for a model. Times are in milliseconds and predicted, as their names say.
pub fn estimate(subject: &Subject<'_>, p: &Pipeline, comparisons: &[Comparison]) -> Value {
    let profile = p.profile;
    let time = p.step.time(profile);
    let ms = |seconds: f64| seconds * 1e3;
    let (steps, others) = errors(comparisons, subject.target.chip);
    let kernels: Vec<Value> = p
        .step
        .kernels
        .iter()
        .map(|k| {
            let over: Vec<&str> = k.cost.over_limit().map(|o| o.value.as_str()).collect();
            let parts = k.cost.time.parts().map(|(name, s)| (name.to_owned(), json!(ms(s))));
            json!({
                "name": k.cost.name,
                "calls": k.calls,
                "backward": k.backward,
                "predicted_ms": ms(k.cost.seconds()),
                "predicted_ms_per_step": ms(k.seconds()),
                "share": k.seconds() / time.total,
                "gflop": k.cost.flops() / 1e9,
                "utilization": k.cost.utilization(profile),
                "input_bytes": k.cost.input_bytes,
                "output_bytes": k.cost.output_bytes,
                "constant_bytes": k.cost.constant_bytes,
                "over_operand_limit": over,
                "parts_ms": parts.into_iter().collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    let host = |list: &[HostShare]| -> Vec<Value> {
        let one = |h: &HostShare| {
            json!({
                "name": h.work.name,
                "calls": h.calls,
                "predicted_ms_per_step": ms(h.seconds(profile)),
                "product_gflop": h.work.product_flops / 1e9,
                "bytes": h.work.bytes + h.work.converted_bytes,
            })
        };
        list.iter().map(one).collect()
    };
    let budgets: Vec<Value> = p
        .budget
        .lines
        .iter()
        .map(|l| {
            json!({ "what": l.what, "used": l.used, "limit": l.limit, "at_least": l.at_least,
                    "kept": l.is_kept() })
        })
        .collect();
    let advice: Vec<Value> = p
        .step
        .advice(profile)
        .iter()
        .map(|a| json!({ "about_ms": ms(a.seconds), "text": a.text }))
        .collect();
    let cuts: Vec<Value> = p
        .cuts
        .iter()
        .map(|c| json!({ "before": c.before, "reason": c.reason, "operations": c.operations }))
        .collect();
    json!({
        "kind": "prediction",
        "model": subject.model,
        "target": subject.target.to_string(),
        "batch": subject.shape.batch,
        "seq": subject.shape.seq,
        "predicted_ms_per_step": ms(time.total),
        "predicted_tokens_per_s": subject.shape.tokens() as f64 / time.total,
        "predicted_engine_ms": ms(time.engine),
        "predicted_host_ms": ms(time.host),
        "predicted_beside_ms": ms(time.late),
        "predicted_waiting_ms": ms(time.waiting),
        "predicted_update_ms": ms(p.update_seconds()),
        "utilization": p.step.utilization(profile),
        "peak_tflops": profile.engine.peak_tflops.value,
        "error_of_published_steps": steps,
        "typical_error_of_other_figures": others,
        "kernels": kernels,
        "host": host(&p.step.host),
        "beside": host(&p.step.late),
        "budgets": budgets,
        "cuts": cuts,
        "advice": advice,
    })
}

/// The published figures beside the predictions, and the numbers of a chip.
pub fn calibration(comparisons: &[Comparison], chip: Chip) -> Value {
    let figures: Vec<Value> = comparisons
        .iter()
        .map(|c| {
            json!({
                "what": c.figure.what,
                "chip": c.figure.chip.name(),
                "machine": c.figure.machine,
                "published_ms": c.figure.ms,
                "predicted_ms": c.predicted,
                "error": c.error(),
                "fitted": c.figure.fitted,
                "source": c.figure.source,
            })
        })
        .collect();
    let numbers: Vec<Value> = Profile::of(chip)
        .numbers()
        .iter()
        .map(|(name, n)| {
            json!({ "name": name, "value": n.value, "basis": n.basis.name(), "source": n.source })
        })
        .collect();
    let (fitted, others) = spread(comparisons);
    json!({
        "figures": figures,
        "typical_error_of_fitted": fitted,
        "typical_error_of_others": others,
        "chip": chip.name(),
        "numbers": numbers,
    })
}
