//! How far a device is from another that is trusted: the same training on both, compared.
//!
//! [`gradients`] runs steps on both from the same parameters and compares the gradient of every
//! parameter; [`operations`] compares one function's operations with their definitions. Errors are
//! relative and in the Euclidean norm: |found − expected|₂ / |expected|₂.

mod operations;

pub use operations::{OperationError, Operations, Values, operations};

use crate::{Error, Trainer};

/// One step on both devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLosses {
    /// The reference's loss.
    pub reference: f64,
    /// The other's.
    pub found: f64,
}

/// The worst gradient of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientError {
    /// The parameter.
    pub parameter: String,
    /// Its relative error in the step where it is worst.
    pub worst: f64,
    /// That step, from 1.
    pub step: u64,
}

/// Runs steps on both, the other always from the reference's parameters, so that every step
/// stands for itself. Both must have been made with the same settings and batches.
///
/// # Errors
/// If a device fails. `progress` is called after each step.
pub fn gradients(
    reference: &mut Trainer,
    other: &mut Trainer,
    steps: u64,
    progress: &mut dyn FnMut(u64, StepLosses),
) -> Result<(Vec<StepLosses>, Vec<GradientError>), Error> {
    let mut losses = vec![];
    let mut errors: Vec<GradientError> = vec![];
    for parameter in &reference.network().parameters {
        let parameter = parameter.spec.name.clone();
        errors.push(GradientError { parameter, worst: 0.0, step: 0 });
    }
    for step in 1..=steps {
        other.copy_parameters(reference)?;
        let scales = (reference.loss_scale(), other.loss_scale());
        let step_losses =
            StepLosses { reference: reference.step()?.loss, found: other.step()?.loss };
        losses.push(step_losses);
        let pairs = reference.network().parameters.iter().zip(&other.network().parameters);
        for (error, (expected, found)) in errors.iter_mut().zip(pairs) {
            let (expected, found) = (expected.gradient.read()?, found.gradient.read()?);
            let unscaled = |values: &[f32], scale: f32| -> Vec<f64> {
                values.iter().map(|&v| f64::from(v) / f64::from(scale)).collect()
            };
            let expected = unscaled(expected.as_slice(), scales.0);
            let worst = relative_error(&unscaled(found.as_slice(), scales.1), &expected);
            if worst > error.worst || worst.is_nan() || error.step == 0 {
                (error.worst, error.step) = (worst, step);
            }
        }
        progress(step, step_losses);
    }
    Ok((losses, errors))
}

/// |found − expected|₂ / |expected|₂; 0 if both are zero, infinite if only `expected` is.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    // Equal infinities differ by nothing, not by NaN.
    let difference = |(a, b): (&f64, &f64)| if a == b { 0.0 } else { (a - b) * (a - b) };
    let error: f64 = found.iter().zip(expected).map(difference).sum();
    let size: f64 = expected.iter().filter(|v| v.is_finite()).map(|v| v * v).sum();
    if error == 0.0 { 0.0 } else { (error / size).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::relative_error;

    #[test]
    fn errors_are_relative_and_never_hide_what_is_not_finite() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[0.0, 5.0], &[3.0, 4.0]), (10.0f64 / 25.0).sqrt());
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        assert_eq!(relative_error(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(relative_error(&[f64::INFINITY, 1.0], &[f64::INFINITY, 1.0]), 0.0);
        assert_eq!(relative_error(&[f64::INFINITY, 1.0], &[2.0, 1.0]), f64::INFINITY);
        assert!(relative_error(&[f64::NAN, 1.0], &[2.0, 1.0]).is_nan());
    }
}
