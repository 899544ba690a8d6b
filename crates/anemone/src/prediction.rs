//! What an evaluation gives.

use crate::{Error, Tensors};
use coreml::FunctionInterface;
use mil::{DataType, Tensor};
use std::collections::BTreeMap;
use std::fmt;

/// Outputs by the names of the features.
#[derive(Clone, Debug, Default)]
pub struct Prediction {
    /// Arrays, images and labels. A label is a scalar of strings or `int64`.
    pub outputs: Tensors,
    /// Dictionaries, such as a classifier's probabilities.
    pub dictionaries: BTreeMap<String, Dictionary>,
    pub(crate) label: Option<String>,
    pub(crate) probabilities: Option<String>,
}

/// A dictionary: the value of each key is at the same position.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    /// Strings or `int64`, shape `[n]`.
    pub keys: Tensor,
    /// Numbers, shape `[n]`.
    pub values: Tensor,
}

/// The class that a classifier gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A name.
    Text(String),
    /// A number.
    Number(i64),
}

impl Prediction {
    pub(crate) fn named(&mut self, interface: &FunctionInterface) {
        self.label.clone_from(&interface.predicted_feature);
        self.probabilities.clone_from(&interface.predicted_probabilities);
    }

    /// The output of this name.
    ///
    /// # Errors
    /// If there is none, with those that there are.
    pub fn output(&self, name: &str) -> Result<&Tensor, Error> {
        self.outputs.get(name).ok_or_else(|| {
            let known: Vec<&str> =
                self.outputs.keys().chain(self.dictionaries.keys()).map(String::as_str).collect();
            Error::NoOutput { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The class that a classifier gives; none if the function is no classifier.
    pub fn label(&self) -> Option<Label> {
        labels(self.outputs.get(self.label.as_deref()?)?).into_iter().next()
    }

    /// The probability of every class, in the classifier's order; none if the function is no
    /// classifier.
    pub fn probabilities(&self) -> Option<Vec<(Label, f64)>> {
        let Dictionary { keys, values } = self.dictionaries.get(self.probabilities.as_deref()?)?;
        Some(labels(keys).into_iter().zip(values.to_f64s()).collect())
    }
}

fn labels(tensor: &Tensor) -> Vec<Label> {
    match tensor.dtype() {
        DataType::String => tensor.strings().iter().cloned().map(Label::Text).collect(),
        _ => tensor.to_i64s().into_iter().map(Label::Number).collect(),
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Text(text) => f.write_str(text),
            Label::Number(number) => number.fmt(f),
        }
    }
}
