//! The model against what was published, with the errors.

use super::reference_pipeline::{self as pipeline, Sizes};
use super::{Profile, kernel_cost, profile};
use crate::target::Chip;
use mil::{Function, OpError};
use serde::Deserialize;

/// A published figure: a record of `data/cost.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The generation.
    pub chip: Chip,
    /// The machine.
    pub machine: String,
    /// Milliseconds, the smallest and the largest that were published.
    pub ms: [f64; 2],
    /// What the model is asked for.
    pub subject: Subject,
    /// Whether a number of the profile was fitted to it.
    #[serde(default)]
    pub fitted: bool,
    /// Largest error that a test allows, as a part of the published time.
    pub tolerance: f64,
    /// Who published it, and what speaks against it.
    pub source: String,
}

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub enum Subject {
    /// Convolutions of width 1 in a row, one evaluation.
    ConvChain {
        /// Channels in and out.
        channels: usize,
        /// Rows of the image.
        height: usize,
        /// Columns of it.
        width: usize,
        /// Convolutions.
        depth: usize,
        /// Whether all have the same weights.
        #[serde(default)]
        shared: bool,
    },
    /// One convolution of width 1.
    Conv {
        /// Channels in.
        inner: usize,
        /// Channels out.
        out: usize,
        /// Columns.
        width: usize,
    },
    /// One product of square matrices that are inputs.
    Matmul {
        /// Rows and columns.
        size: usize,
    },
    /// One product by weights beside the activations, as [`pipeline`] has it.
    Packed {
        /// Channels in.
        inner: usize,
        /// Channels out.
        out: usize,
        /// Columns of activations.
        width: usize,
    },
    /// The evaluations of the older pipeline's forward pass, Stories110M.
    StaticForward,
    /// The evaluations of the pipeline's forward pass.
    Forward {
        /// The model.
        model: Model,
    },
    /// The evaluations of its backward pass.
    Backward {
        /// The model.
        model: Model,
    },
    /// A step of the pipeline.
    Step {
        /// The model.
        model: Model,
    },
}

/// A model that the pipeline trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Stories110M.
    Stories,
    /// Qwen3-0.6B.
    Qwen,
    /// The four layers of AutoANE.
    Auto,
}

impl Model {
    fn sizes(self) -> &'static Sizes {
        match self {
            Model::Stories => &Sizes::STORIES,
            Model::Qwen => &Sizes::QWEN,
            Model::Auto => &Sizes::AUTO,
        }
    }
}

/// A figure beside what the model says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The figure.
    pub figure: &'static Figure,
    /// Predicted milliseconds.
    pub predicted: f64,
}

impl Comparison {
    /// How far the prediction is from the middle of what was published, as a part of it.
    pub fn error(&self) -> f64 {
        self.predicted / self.figure.published() - 1.0
    }
}

impl Figure {
    /// The middle of what was published, in milliseconds.
    pub fn published(&self) -> f64 {
        (self.ms[0] + self.ms[1]) / 2.0
    }
}

/// Why a figure cannot be predicted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A kernel cannot be built.
    #[error(transparent)]
    Build(#[from] OpError),
    /// A kernel's cost cannot be told.
    #[error(transparent)]
    Cost(#[from] super::Error),
}

/// Every published figure beside the prediction.
///
/// # Errors
/// If a figure is of something that cannot be built.
pub fn compare() -> Result<Vec<Comparison>, Error> {
    let all = profile::figures().iter();
    all.map(|figure| {
        let predicted = predict(&figure.subject, Profile::of(figure.chip))? * 1e3;
        Ok(Comparison { figure, predicted })
    })
    .collect()
}

/// The geometric mean of how far predictions are off, as a part: of the figures that numbers were
/// fitted to, and of the others.
pub fn spread(comparisons: &[Comparison]) -> (f64, f64) {
    let of = |fitted: bool| {
        let own = comparisons.iter().filter(|c| c.figure.fitted == fitted);
        let logs: Vec<f64> = own.map(|c| (c.predicted / c.figure.published()).ln().abs()).collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp() - 1.0
    };
    (of(true), of(false))
}

/// Predicted seconds.
pub(super) fn predict(subject: &Subject, profile: &Profile) -> Result<f64, Error> {
    let one = |function: Function| -> Result<f64, Error> {
        Ok(kernel_cost(&function, profile)?.seconds())
    };
    let layers = |kernels: Vec<Function>, layers: usize| -> Result<f64, Error> {
        let costs = pipeline::costs(&kernels, profile)?;
        Ok(costs.iter().map(|c| c.seconds()).sum::<f64>() * layers as f64)
    };
    match *subject {
        Subject::ConvChain { channels, height, width, depth, shared } => {
            one(pipeline::conv_chain(channels, [height, width], depth, shared)?)
        }
        Subject::Conv { inner, out, width } => one(pipeline::single_conv(inner, out, width)?),
        Subject::Matmul { size } => one(pipeline::square_product(size)?),
        Subject::Packed { inner, out, width } => one(pipeline::packed_product(inner, out, width)?),
        Subject::StaticForward => {
            let sizes = &Sizes::STORIES;
            layers(pipeline::static_forward_kernels(sizes)?, sizes.layers)
        }
        Subject::Forward { model } => {
            let sizes = model.sizes();
            layers(pipeline::forward_kernels(sizes)?, sizes.layers)
        }
        Subject::Backward { model } => {
            let sizes = model.sizes();
            layers(pipeline::backward_kernels(sizes)?, sizes.layers)
        }
        Subject::Step { model } => Ok(pipeline::step(model.sizes(), profile)?.time(profile).total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_met_within_its_stated_error() {
        let comparisons = compare().unwrap();
        let mut broken = vec![];
        for c in &comparisons {
            let error = c.error();
            assert!(c.figure.ms[0] > 0.0 && c.figure.ms[0] <= c.figure.ms[1]);
            if error.abs() > c.figure.tolerance {
                broken.push((c.figure.what.clone(), error));
            }
        }
        let (fitted, others) = spread(&comparisons);
        assert!(fitted < 0.15 && others < 0.35, "{fitted} {others}");
        assert_eq!(broken, vec![]);
    }

    #[test]
    fn training_steps_on_an_m4_are_met_within_a_quarter() {
        let comparisons = compare().unwrap();
        let steps = comparisons
            .iter()
            .filter(|c| c.figure.chip == Chip::M4)
            .filter(|c| matches!(c.figure.subject, Subject::Step { .. }));
        let steps: Vec<(&[f64; 2], f64, f64)> =
            steps.map(|c| (&c.figure.ms, c.error(), c.predicted)).collect();
        let published: Vec<[f64; 2]> = steps.iter().map(|s| *s.0).collect();
        assert_eq!(published, [[91.0, 115.0], [412.0, 412.0], [63.2, 68.7]]);
        assert!(steps.iter().all(|s| s.1.abs() < 0.25), "{steps:?}");
        // Nothing was fitted to a step.
        assert!(
            comparisons.iter().all(|c| {
                !(c.figure.fitted && matches!(c.figure.subject, Subject::Step { .. }))
            })
        );
    }

    #[test]
    fn the_cliff_is_where_neither_operand_can_be_held() {
        let profile = Profile::of(Chip::M4);
        let over = |inner, out, width| {
            let function = pipeline::single_conv(inner, out, width).unwrap();
            kernel_cost(&function, profile).unwrap().over_limit().count()
        };
        assert_eq!((over(768, 768, 512), over(768, 3072, 512), over(3072, 768, 512)), (0, 0, 1));
    }
}
