//! Comparisons with the fixtures.

use super::{Array, Evaluator, Fixture, Model, Named};
use mil::DataType;
use models::Layout;
use passes::autodiff::Recompute;

/// How a fixture is to be reproduced.
pub struct Check<'a> {
    pub evaluate: Evaluator<'a>,
    pub layout: Layout,
    /// The type of matrix products.
    pub compute: DataType,
    pub recompute: Recompute,
    pub tolerance: Tolerance,
}

/// How close to the truth every tensor must be.
#[derive(Clone, Copy, Debug)]
pub enum Tolerance {
    /// max |a − b| / max |b|.
    Largest(f64),
    /// ‖a − b‖ / ‖b‖, for products in half precision, whose single elements may be far off.
    Norm(f64),
}

impl Tolerance {
    /// The error of `found`, if it is within bounds.
    pub fn check(self, name: &str, found: &Array, truth: &Array) -> f64 {
        assert_eq!(found.dims, truth.dims, "`{name}`");
        let pairs = || found.data.iter().zip(&truth.data);
        // Unlike `f64::max`, keeps a NaN, which then fails the comparison below.
        let largest = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(0.0, |most: f64, v| if v.abs() <= most { most } else { v.abs() })
        };
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let mut difference = pairs().map(|(a, b)| a - b);
        let mut size = truth.data.iter().copied();
        let (error, bound) = match self {
            Tolerance::Largest(bound) => (largest(&mut difference) / largest(&mut size), bound),
            Tolerance::Norm(bound) => (norm(&mut difference) / norm(&mut size), bound),
        };
        assert!(error <= bound, "`{name}` is off by {error:.2e}; at most {bound:.0e} is allowed");
        error
    }

    /// The largest error of tensors that must have the same names.
    pub fn check_all(self, found: &Named, truth: &Named) -> f64 {
        let names = |named: &Named| named.keys().cloned().collect::<Vec<String>>();
        assert_eq!(names(found), names(truth));
        let errors = truth.iter().map(|(name, truth)| self.check(name, &found[name], truth));
        errors.fold(0.0, f64::max)
    }
}

/// One layer: y, and the gradients of x and every parameter. Gives the largest error.
pub fn block(name: &str, check: &Check) -> f64 {
    let fixture = Fixture::load(name);
    let model = model_of(&fixture, check);
    let (y, gradients) = model.layer_gradient(0, fixture.get("x"), fixture.get("dy"));
    let mut truth = fixture.under("grad.");
    truth.insert("x".into(), fixture.get("dx").clone());
    let error = check.tolerance.check("y", &y, fixture.get("y"));
    error.max(check.tolerance.check_all(&gradients, &truth))
}

/// A whole model: logits, loss, and the gradient of every parameter. Gives the largest error.
pub fn whole_model(name: &str, check: &Check) -> f64 {
    let fixture = Fixture::load(name);
    let model = model_of(&fixture, check);
    let tokens = fixture.get("tokens");
    let logits = model.logits(tokens);
    let (loss, gradients) =
        model.loss_and_gradients(tokens, fixture.get("targets"), fixture.get("weights"));
    let error = check.tolerance.check("logits", &logits, fixture.get("logits"));
    let error =
        error.max(check.tolerance.check("loss", &Array::new(&[], vec![loss]), fixture.get("loss")));
    error.max(check.tolerance.check_all(&gradients, &fixture.under("grad.")))
}

fn model_of<'a>(fixture: &Fixture, check: &'a Check) -> Model<'a> {
    Model {
        config: fixture.config,
        shape: fixture.shape,
        layout: check.layout,
        compute: check.compute,
        recompute: check.recompute,
        evaluate: check.evaluate,
        parameters: fixture.parameters(),
    }
}
