//! The labels of classifiers. Devices compute numbers: what names the classes, `classify`, is
//! evaluated beside them.

use crate::compiled::Results;
use crate::prediction::Dictionary;
use crate::{Error, Tensors};
use interp::Array;
use mil::{Op, Program, Weights};
use runtime::Placement;
use std::collections::BTreeMap;

/// What comes behind the numbers of a function.
pub(crate) struct Labels {
    /// `classify` alone, of the probabilities.
    program: Program,
    name: String,
    options: interp::Options,
    /// Probabilities that the function itself does not give.
    hidden: Vec<String>,
    placement: Vec<Placement>,
}

impl Labels {
    /// Takes the labels out of a function, which then gives the probabilities that they are made of;
    /// `None` if it gives no labels.
    pub fn take(program: &mut Program, name: &str, weights: &Weights) -> Option<Labels> {
        let function = program.functions.iter_mut().find(|function| function.name == name)?;
        let mut own = function.clone();
        own.body.operations.retain(|o| matches!(o.op, Op::Classify | Op::Const));
        let classifies = |o: &&mil::Operation| o.op == Op::Classify;
        let labelling: Vec<_> = own.body.operations.iter().filter(classifies).collect();
        let outputs = labelling.iter().flat_map(|o| &o.outputs);
        let outputs: Vec<_> =
            outputs.filter(|&id| function.body.outputs.contains(id)).copied().collect();
        let mut inputs: Vec<_> =
            labelling.iter().filter_map(|o| o.value("probabilities")).collect();
        inputs.sort_unstable();
        inputs.dedup();
        // Of a constant there is nothing to compute.
        let constants = own.body.operations.iter().filter(|o| o.op == Op::Const);
        let is_constant = constants.flat_map(|o| &o.outputs).any(|id| inputs.contains(id));
        if outputs.is_empty() || is_constant {
            return None;
        }
        let name_of = |&id: &mil::ValueId| function.value(id).name.clone();
        let shown = function.body.outputs.clone();
        let hidden = inputs.iter().filter(|id| !shown.contains(id)).map(name_of).collect();
        let placed = |o: &&mil::Operation| Placement {
            value: o.outputs.first().map(name_of).unwrap_or_default(),
            op: o.op.name(),
            place: "interpreter".into(),
        };
        let placement = labelling.iter().map(placed).collect();
        own.inputs = inputs;
        own.body.outputs = outputs;
        passes::trainable::loss::unlabel(function);
        let options = interp::Options { weights: weights.clone(), ..interp::Options::default() };
        let Program { version, attributes, .. } = program;
        let (version, attributes) = (version.clone(), attributes.clone());
        let program = Program { version, attributes, functions: vec![own] };
        Some(Labels { program, name: name.to_owned(), options, hidden, placement })
    }

    /// Where its operations run.
    pub fn placement(&self) -> &[Placement] {
        &self.placement
    }

    /// Adds the labels to what the function gave.
    pub fn add(&self, results: &mut Results) -> Result<(), Error> {
        let own = self.program.function(&self.name);
        let taken = |name: &String| own.is_some_and(|own| own.input(name).is_some());
        let probabilities = results.outputs.iter().filter(|(name, _)| taken(name));
        let inputs: BTreeMap<String, Array> = probabilities
            .map(|(name, tensor)| (name.clone(), Array::from_tensor(tensor)))
            .collect();
        let labels = interp::evaluate(&self.program, &self.name, &inputs, &self.options)?;
        for name in &self.hidden {
            results.outputs.remove(name);
        }
        let tensors = labels.outputs.into_iter().map(|(name, array)| (name, array.to_tensor()));
        results.outputs.extend(tensors.collect::<Tensors>());
        results.dictionaries.extend(labels.dictionaries.into_iter().map(|(name, of)| {
            (name, Dictionary { keys: of.keys.to_tensor(), values: of.values.to_tensor() })
        }));
        Ok(())
    }
}
