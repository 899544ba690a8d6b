//! From a model and arrays to a function with a loss, and examples for it.

use super::super::settings::ProgramSettings;
use super::LossName;
use crate::arrays::Tensors;
use crate::program::Source;
use anemone::features;
use anyhow::{Context, bail};
use coreml::{Feature, FunctionInterface, Model};
use mil::{Dim, Function, Program, Tensor, TensorType, Type, Weights};
use passes::trainable::loss::{self, Loss, Prediction};
use passes::trainable::{self, Choice, widen};
use regex::Regex;
use std::collections::BTreeMap;
use train::fit::{Column, Examples, Target, Task};

/// What the targets are called, unless they have the name of the output.
pub(super) const TARGET: &str = "target";

/// A program that is ready to be trained.
pub struct Prepared {
    pub task: Task,
    pub examples: Examples,
    /// The function's name.
    pub function: String,
    pub loss: Loss,
    /// How many weights are compressed, and stay as they are.
    pub compressed: usize,
}

impl Prepared {
    /// Makes a function trainable, and finds its examples among the arrays.
    pub fn new(
        model: &Model,
        source: &Source,
        settings: &ProgramSettings,
        mut data: Tensors,
    ) -> anyhow::Result<Prepared> {
        let function = source.function(settings.function.as_deref())?;
        let name = function.name.clone();
        let interface = model.function_interface(&name).cloned().unwrap_or_default();
        let loss = loss_of(settings, &interface)?;
        let target = target(&mut data, &interface, settings.target_output.as_deref())?;
        let count = target.1.dims().first().copied().unwrap_or(0);
        let given = Inputs::sort(function, &interface, data)?;
        let (examples, shapes) = given.shapes(settings.descent.batch)?;

        let program = specialized(&source.program, &interface, shapes)?;
        let mut function = program.function(&name).cloned().context("the function stays")?;
        let output = settings.target_output.as_ref().map(|output| {
            let feature = interface.outputs.iter().find(|feature| feature.name == *output);
            feature.map_or(output.as_str(), |feature| feature.value.as_str())
        });
        let prediction = loss::cut(&mut function, output, loss)?;
        if prediction.rows % examples != 0 {
            let Prediction { value, rows, .. } = prediction;
            bail!("`{value}` has {rows} rows, the inputs have {examples} examples in them");
        }
        widen::widen(&mut function, &model.weights)?;
        let regex = settings.trainable.as_deref().map(Regex::new).transpose();
        let regex = regex.context("--trainable")?;
        let named = |name: &str| regex.as_ref().is_some_and(|regex| regex.is_match(name));
        let choice = if regex.is_some() { Choice::Named(&named) } else { Choice::All };
        let chosen = trainable::choose(&function, &choice)?;
        let mut parameters = vec![];
        for parameter in trainable::lift(&mut function, &chosen)? {
            let value = parameter.value(&Weights::default())?;
            parameters.push((parameter.name, value));
        }
        let ports = loss::attach(&mut function, &prediction, loss)?;

        let mut columns = vec![];
        for (value, array) in given.arrays {
            let each = array.count() / count.max(1);
            columns.push(Column::new(&value, array, count, each)?);
        }
        let target = targets(target, count, loss, &prediction, examples)?;
        let constants = given.constants.into_iter();
        let constants = constants.map(|(name, tensor)| widened(tensor).map(|t| (name, t)));
        let constants = constants.collect::<anyhow::Result<_>>()?;
        let compressed = trainable::compressed(&function);
        let weights = model.weights.clone();
        let task = Task { function, ports, prediction, examples, parameters, constants, weights };
        let examples = Examples { columns, target, count };
        Ok(Prepared { task, examples, function: name, loss, compressed })
    }

    /// The loss in words.
    pub fn describe(&self) -> String {
        let Prediction { value, width, before_softmax, .. } = &self.task.prediction;
        match (self.loss, before_softmax) {
            (Loss::MeanSquares, _) => format!("mean of squares, of `{value}`"),
            (_, true) => {
                format!("cross-entropy of {width} classes, of `{value}` before the softmax")
            }
            (_, false) => format!("cross-entropy of {width} classes, with `{value}` as logits"),
        }
    }
}

/// The loss that is asked for, or the one of classifiers.
fn loss_of(settings: &ProgramSettings, interface: &FunctionInterface) -> anyhow::Result<Loss> {
    match settings.loss {
        Some(loss) => Ok(loss.into()),
        None if interface.predicted_feature.is_some() => Ok(LossName::CrossEntropy.into()),
        None => bail!("this is no classifier: say --loss cross-entropy or --loss mse"),
    }
}

/// Takes the targets out of the arrays.
fn target(
    data: &mut Tensors,
    interface: &FunctionInterface,
    output: Option<&str>,
) -> anyhow::Result<(String, Tensor)> {
    let is_input = |name: &str| interface.input(name).is_some();
    let outputs = interface.outputs.iter().map(|feature| feature.name.as_str());
    let names = [TARGET].into_iter().chain(output).chain(outputs);
    for name in names {
        if !is_input(name)
            && let Some(tensor) = data.remove(name)
        {
            return Ok((name.to_owned(), tensor));
        }
    }
    bail!("the data has no array `{TARGET}`, and none with the name of an output")
}

/// What the inputs of a function are given, by the names of its values.
struct Inputs<'a> {
    arrays: BTreeMap<String, Tensor>,
    constants: BTreeMap<String, Tensor>,
    /// What is declared of those that are given arrays.
    declared: Vec<(&'a TensorType, Option<&'a Feature>, String)>,
}

impl<'a> Inputs<'a> {
    fn sort(
        function: &'a Function,
        interface: &'a FunctionInterface,
        mut data: Tensors,
    ) -> anyhow::Result<Inputs<'a>> {
        let mut inputs =
            Inputs { arrays: BTreeMap::new(), constants: BTreeMap::new(), declared: vec![] };
        let mut problems = vec![];
        for &id in &function.inputs {
            let value = function.value(id);
            let feature = interface.inputs.iter().find(|feature| feature.value == value.name);
            let name = feature.map_or(&value.name, |feature| &feature.name);
            // States are refused with all that is about the program.
            let Type::Tensor(ty) = &value.ty else { continue };
            match (data.remove(name), feature.filter(|feature| feature.optional)) {
                (Some(array), _) => {
                    inputs.arrays.insert(value.name.clone(), array);
                    inputs.declared.push((ty, feature, value.name.clone()));
                }
                (None, Some(feature)) => {
                    let default = features::left_out(feature, ty)
                        .map_err(anyhow::Error::msg)
                        .with_context(|| format!("input `{name}`"))?;
                    inputs.constants.insert(value.name.clone(), default);
                }
                (None, None) => problems
                    .push(format!("input `{name}` is missing in the data; an example is of {ty}")),
            }
        }
        problems.extend(data.keys().map(|name| {
            format!("array `{name}` in the data is no input of function `{}`", function.name)
        }));
        match problems.is_empty() {
            true => Ok(inputs),
            false => bail!("{}", problems.join("\n")),
        }
    }

    /// How many examples an evaluation has, and the shapes of inputs that leave them open.
    fn shapes(&self, batch: usize) -> anyhow::Result<(usize, coreml::Shapes)> {
        let mut examples = None;
        let mut shapes = coreml::Shapes::new();
        // What is declared decides; what is open follows.
        let is_open = |ty: &TensorType| ty.fixed_dims().is_none();
        let mut declared: Vec<_> = self.declared.iter().collect();
        declared.sort_by_key(|(ty, ..)| is_open(ty));
        for (ty, feature, value) in declared {
            let array = &self.arrays[value];
            let each = array.dims().get(1..).unwrap_or_default();
            let tries = examples.map_or(vec![batch, 1], |known| vec![known]);
            let found = match ty.fixed_dims() {
                Some(dims) => closed(&dims, each),
                None => tries.iter().find_map(|&count| open(ty, *feature, count, each)),
            };
            let name = feature.map_or(value, |feature| &feature.name);
            let Some((count, shape)) = found else {
                bail!("input `{name}` is {ty}, an example in the data has shape {each:?}");
            };
            if is_open(ty) {
                shapes.insert(value.clone(), shape);
            }
            if examples.is_some_and(|known| known != count) {
                bail!("input `{name}` has {count} examples in it, another input has not");
            }
            examples = Some(count);
        }
        Ok((examples.context("the function has no inputs")?, shapes))
    }
}

/// The number of examples in an input of this shape.
fn closed(dims: &[usize], each: &[usize]) -> Option<(usize, Vec<usize>)> {
    let (all, each) = (mil::element_count(dims)?, mil::element_count(each)?);
    if all == each {
        return Some((1, dims.to_vec()));
    }
    let &first = dims.first()?;
    (first.checked_mul(each) == Some(all) && first > 0).then(|| (first, dims.to_vec()))
}

/// The number of examples, `count` if it may be, in an input of a shape that is open.
fn open(
    ty: &TensorType,
    feature: Option<&Feature>,
    count: usize,
    each: &[usize],
) -> Option<(usize, Vec<usize>)> {
    let rank = ty.rank()?;
    let allowed = |count: usize, dims: Vec<usize>| {
        let fits = ty.compatible(&TensorType::fixed(ty.dtype, &dims))
            && feature.is_none_or(|feature| feature.check_shape(&dims).is_ok());
        fits.then_some((count, dims))
    };
    if rank == each.len() + 1 {
        let count = match ty.dims()?.first()? {
            Dim::Fixed(size) => *size,
            Dim::Unknown => count,
        };
        // None in every evaluation would never be a step.
        return if count > 0 { allowed(count, [&[count], each].concat()) } else { None };
    }
    // An example that has the first axis, of size 1, itself; or there is none.
    if rank == each.len() { allowed(1, each.to_vec()) } else { None }
}

/// The program for inputs of these shapes; the shapes have been checked against the interface.
fn specialized(
    program: &Program,
    interface: &FunctionInterface,
    shapes: coreml::Shapes,
) -> anyhow::Result<Program> {
    if shapes.is_empty() {
        return Ok(program.clone());
    }
    let open = FunctionInterface { name: interface.name.clone(), ..FunctionInterface::default() };
    Ok(coreml::specialize(program, &open, &shapes)?)
}

/// What is to be predicted, from an array.
fn targets(
    (name, array): (String, Tensor),
    count: usize,
    loss: Loss,
    prediction: &Prediction,
    examples: usize,
) -> anyhow::Result<Target> {
    let rows = prediction.rows / examples;
    let each = rows * prediction.width;
    let is_classes = count.checked_mul(rows) == Some(array.count());
    if loss == Loss::MeanSquares {
        return Ok(Target::Numbers(Column::new(&name, array, count, each)?));
    }
    if !is_classes {
        let column = Column::new(&name, array, count, each)?;
        return Ok(Target::probabilities(column, prediction.width)?);
    }
    let whole = |value: &f64| value.fract() == 0.0;
    if array.dtype().is_float() && !array.to_f64s().iter().all(whole) {
        bail!("array `{name}`: indices of classes are whole numbers");
    }
    Ok(Target::classes(Column::new(&name, array, count, rows)?, prediction.width)?)
}

/// Inputs of a widened function are fp32 where they were narrower floats.
fn widened(tensor: Tensor) -> anyhow::Result<Tensor> {
    use mil::DataType::{Bf16, Fp16, Fp32};
    match tensor.dtype() {
        Fp16 | Bf16 => Ok(Tensor::from_f64s(Fp32, tensor.dims(), &tensor.to_f64s())?),
        _ => Ok(tensor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::{DataType, Shape};

    #[test]
    fn examples_in_an_evaluation_follow_from_the_declared_shape() {
        let ty = |dims: &[Dim]| TensorType {
            dtype: DataType::Fp32,
            shape: Shape::Ranked(dims.to_vec()),
        };
        let count = |dims: &[Dim], each: &[usize]| open(&ty(dims), None, 16, each);
        let (fixed, any) = (Dim::Fixed, Dim::Unknown);
        assert_eq!(count(&[any, fixed(3)], &[3]), Some((16, vec![16, 3])));
        assert_eq!(count(&[fixed(4), any], &[3]), Some((4, vec![4, 3])));
        assert_eq!(count(&[any, fixed(3)], &[1, 3]), Some((1, vec![1, 3])));
        assert_eq!(count(&[any, fixed(3)], &[2]), None);
        // There are no examples in it: nothing can be divided by their number.
        assert_eq!(count(&[fixed(0), any], &[3]), None);
        assert_eq!(closed(&[0, 3], &[3]), None);
        assert_eq!(closed(&[4, 3], &[3]), Some((4, vec![4, 3])));
        assert_eq!(closed(&[1, 3], &[3]), Some((1, vec![1, 3])));
    }
}
