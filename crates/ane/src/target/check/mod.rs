//! Finding the rules that a program breaks.
//!
//! Every rule that can be seen in a program has one detector, a function that knows nothing of
//! targets but the chip's numbers; which rules hold where is in the data. Detectors trust nothing
//! but that ids are those of values, so that a program that does not pass the verifier is judged
//! as far as it goes.

pub(super) mod context;
mod head;
mod ops;
mod products;
mod surfaces;
mod types;
mod weights;

use super::range::{self, Ranges};
use super::{Rule, Target, rule};
use context::Context;
use mil::{Program, Span, ValueId};
use std::sync::OnceLock;

/// A rule that a program breaks.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The function; empty if the program has none.
    pub function: String,
    /// The value that it is about, if it is about one.
    pub value: Option<String>,
    /// Where in the text; empty for inputs and for the program as a whole.
    pub span: Span,
    /// This case with its numbers, and the fix.
    pub message: String,
}

/// One case of a broken rule.
pub(super) struct Hit {
    pub span: Span,
    pub value: Option<ValueId>,
    pub message: String,
}

/// Looks for breaches of one rule in a function.
type Detector = fn(&Context<'_>, &'static Rule, &mut Vec<Hit>);

/// Looks for breaches of one rule in a program as a whole; gives what is wrong.
type ProgramDetector = fn(&Program) -> Option<String>;

const OF_PROGRAMS: &[(&str, ProgramDetector)] = &[
    ("program-version", head::version),
    ("build-info", head::build_info),
    ("function-main", head::function_main),
];

const OF_FUNCTIONS: &[(&str, Detector)] = &[
    ("opset", head::opset),
    ("nested-blocks", head::nested_blocks),
    ("inline-literal", head::inline_literal),
    ("output-not-computed", head::output_not_computed),
    ("input-type", types::input_type),
    ("input-type-e5rt", types::input_type_e5rt),
    ("int8-output", types::int8_output),
    ("int8-arithmetic", types::int8_arithmetic),
    ("int4-values", types::int4_values),
    ("element-type", types::element_type),
    ("cast-int32", types::cast_int32),
    ("cast-int32-m1", types::cast_to_int32),
    ("rank", types::rank),
    ("dynamic-shape", types::dynamic_shape),
    ("zero-size", types::zero_size),
    ("axis-too-long", types::axis_too_long),
    ("unequal-inputs", surfaces::unequal_inputs),
    ("unequal-outputs", surfaces::unequal_outputs),
    ("surface-minimum", surfaces::minimum),
    ("width-minimum", surfaces::width_minimum),
    ("width-under-32", surfaces::width_under_32),
    ("width-alignment", surfaces::width_alignment),
    ("row-stride", surfaces::row_stride),
    ("many-channels-narrow", surfaces::many_channels_narrow),
    ("fp32-surface", surfaces::fp32),
    ("input-order", surfaces::input_order),
    ("output-order", surfaces::output_order),
    ("unsupported-op", ops::unsupported),
    ("unproven-op", ops::unproven),
    ("gelu", ops::gelu),
    ("trigonometry", ops::trigonometry),
    ("concat-needs-interleave", ops::concat_without_interleave),
    ("concat-interleave-factor", ops::concat_interleave_factor),
    ("tile", ops::tile),
    ("tile-factor", ops::tile_factor),
    ("explicit-epsilon", ops::explicit_epsilon),
    ("attention-mask", ops::attention_mask),
    ("softmax-channels", ops::softmax_channels),
    ("reduce-mean-channels", ops::reduce_mean_channels),
    ("movement-only", ops::movement_only),
    ("matmul-reshape-output", ops::matmul_reshape_output),
    ("slice-by-index-input", ops::slice_by_index_input),
    ("identity-output", ops::identity_output),
    ("output-also-read", ops::output_also_read),
    ("broadcast-batch", ops::broadcast_batch),
    ("reflecting-pad", ops::reflecting_pad),
    ("wide-pad-and-add", ops::wide_pad_and_add),
    ("layer-norm-constants", ops::layer_norm_constants),
    ("conv-bias", products::conv_bias),
    ("conv-input-channels", products::conv_input_channels),
    ("conv-output-channels", products::conv_output_channels),
    ("conv-kernel-size", products::conv_kernel_size),
    ("conv-3d", products::conv_3d),
    ("conv-transpose-stride", products::conv_transpose_stride),
    ("conv-runtime-weights", products::conv_runtime_weights),
    ("conv-chain", products::conv_chain),
    ("matmul-rank", products::matmul_rank),
    ("matmul-one-by-one", products::matmul_one_by_one),
    ("linear-rank", products::linear_rank),
    ("matmul-of-weights", products::matmul_of_weights),
    ("large-operand", products::large_operand),
    ("weight-tensors", weights::tensors),
    ("weight-tensors-and-scalar", weights::tensors_and_scalar),
    ("blob-offset", weights::offset),
    ("weight-path", weights::path),
    ("affine-dequantize", weights::affine_dequantize),
    ("blockwise-shift-scale", weights::blockwise_shift_scale),
];

/// The rules of a target that a program breaks, and warnings about values that meet the cliffs
/// of fp16 whatever the inputs are; in source order.
pub fn check(program: &Program, target: &Target) -> Vec<Finding> {
    check_ranges(program, target, &Ranges::new())
}

/// The same, where the values of some inputs are known to be in a range.
pub fn check_ranges(program: &Program, target: &Target, ranges: &Ranges) -> Vec<Finding> {
    let mut findings = vec![];
    let first = program.functions.first().map_or("", |f| &f.name);
    for &(rule, detect) in of_programs().iter().filter(|(rule, _)| rule.holds(target)) {
        findings.extend(detect(program).map(|message| Finding {
            rule,
            function: first.to_owned(),
            value: None,
            span: Span::default(),
            message: told(&message, rule),
        }));
    }
    for function in &program.functions {
        let context = Context::new(function, target);
        let mut found = vec![];
        for &(rule, detect) in of_functions().iter().filter(|(rule, _)| rule.holds(target)) {
            let mut hits = vec![];
            detect(&context, rule, &mut hits);
            found.extend(hits.into_iter().map(|hit| (rule, hit)));
        }
        for (id, hit) in range::cliffs(&context, ranges) {
            found.extend(rule(id).filter(|rule| rule.holds(target)).map(|rule| (rule, hit)));
        }
        found.sort_by_key(|(_, hit)| hit.span.start);
        findings.extend(found.into_iter().map(|(rule, hit)| Finding {
            rule,
            function: function.name.clone(),
            value: hit.value.map(|id| function.value(id).name.clone()),
            span: hit.span,
            message: told(&hit.message, rule),
        }));
    }
    findings
}

fn told(case: &str, rule: &Rule) -> String {
    format!("{case}; fix: {}", rule.fix)
}

impl Finding {
    /// Whether the program does not work, whatever surfaces are bound to it: the evidence is good
    /// and the effect more than slowness.
    pub fn is_fatal(&self) -> bool {
        self.rule.is_fatal() && self.rule.on == super::On::Program
    }
}

/// The detectors with their rules.
fn of_programs() -> &'static [(&'static Rule, ProgramDetector)] {
    static PAIRS: OnceLock<Vec<(&'static Rule, ProgramDetector)>> = OnceLock::new();
    PAIRS.get_or_init(|| OF_PROGRAMS.iter().map(|&(id, detect)| (known(id), detect)).collect())
}

fn of_functions() -> &'static [(&'static Rule, Detector)] {
    static PAIRS: OnceLock<Vec<(&'static Rule, Detector)>> = OnceLock::new();
    PAIRS.get_or_init(|| OF_FUNCTIONS.iter().map(|&(id, detect)| (known(id), detect)).collect())
}

fn known(id: &str) -> &'static Rule {
    rule(id).expect("every detector has a rule, as a test checks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::rules;

    #[test]
    fn every_static_rule_has_a_detector() {
        let mut ids: Vec<&str> = OF_PROGRAMS.iter().map(|d| d.0).collect();
        ids.extend(OF_FUNCTIONS.iter().map(|d| d.0));
        ids.extend(range::CLIFFS);
        for rule in rules() {
            let detectors = ids.iter().filter(|id| **id == rule.id).count();
            assert_eq!(detectors, usize::from(rule.is_static), "{}", rule.id);
        }
        assert!(ids.iter().all(|id| rule(id).is_some()));
    }
}
