//! Constants of a function that are inputs, so that they have gradients.

use crate::{Error, FeatureProblem, Tensors};
use coreml::FunctionInterface;
use mil::{Function, Weights};
use passes::trainable::{self, Choice, Parameter};
use regex::Regex;

/// Constants that are inputs of fp32 now.
#[derive(Default)]
pub(crate) struct Constants {
    parameters: Vec<Parameter>,
    /// Their values by name, once they have been read.
    loaded: Option<Tensors>,
}

impl Constants {
    /// Makes those inputs of a function, behind the others, whose names have a match of the regular
    /// expression.
    pub fn lift(
        function: &mut Function,
        interface: &FunctionInterface,
        pattern: &str,
    ) -> Result<Constants, Error> {
        let regex = Regex::new(pattern).map_err(|error| Error::Pattern {
            pattern: pattern.to_owned(),
            message: error.to_string(),
        })?;
        // A gradient may come to a constant through a state alone.
        let mut stateless = function.clone();
        passes::states::lift(&mut stateless)
            .map_err(|source| Error::GradientState { function: function.name.clone(), source })?;
        let is_meant = |name: &str| regex.is_match(name);
        let chosen = trainable::choose(&stateless, &Choice::Named(&is_meant))?;
        let parameters = trainable::lift(function, &chosen)?;
        let is_feature = |name: &str| interface.inputs.iter().any(|feature| feature.name == name);
        let problem = |name: &String| FeatureProblem {
            feature: name.clone(),
            message: format!("a constant has the name of the input `{name}`: rename one of them"),
        };
        let taken = chosen.iter().filter(|name| is_feature(name));
        let problems: Vec<FeatureProblem> = taken.map(problem).collect();
        match problems.is_empty() {
            true => Ok(Constants { parameters, loaded: None }),
            false => Err(Error::Features(problems)),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.parameters.iter().map(|parameter| &parameter.name)
    }

    /// Their values in the model.
    pub fn values(&self, weights: &Weights) -> Result<Tensors, Error> {
        if let Some(loaded) = &self.loaded {
            return Ok(loaded.clone());
        }
        let value = |parameter: &Parameter| Ok((parameter.name.clone(), parameter.value(weights)?));
        self.parameters.iter().map(value).collect()
    }

    /// Reads the values, once.
    pub fn load(&mut self, weights: &Weights) -> Result<(), Error> {
        if self.loaded.is_none() {
            self.loaded = Some(self.values(weights)?);
        }
        Ok(())
    }

    /// Gives those that are not given the values that were read.
    pub fn fill(&self, given: &mut Tensors) {
        for (name, value) in self.loaded.iter().flatten() {
            given.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}
