//! `anemone info`.

use crate::program::{self, ProgramArg, Source};
use clap::Args;
use coreml::{Feature, FunctionInterface, Interface, Metadata, Model};
use mil::{Function, Literal, Op, Operand, Operation};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// Say what a program holds: its functions, what they take and give, ops and weights.
///
/// Parameters are the elements of all constants that weight files hold, each counted once, and of
/// those in the program that have ten or more. Operations are those of matrix products and
/// convolutions, a multiplication with its addition counting as two, for inputs of the default
/// shapes; the body of a loop counts once.
///
/// No weight is read, but for short vectors of integers.
#[derive(Debug, Args)]
pub struct Info {
    #[command(flatten)]
    program: ProgramArg,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What is told of a function.
struct Facts<'a> {
    function: &'a Function,
    interface: &'a FunctionInterface,
    ops: BTreeMap<&'static str, usize>,
    /// Of products; unknown if a shape is.
    flops: Option<f64>,
}

/// Constants of the whole program.
#[derive(Default)]
struct Weights {
    parameters: usize,
    /// Bytes by element type.
    bytes: BTreeMap<&'static str, usize>,
}

impl Info {
    /// Tells.
    pub fn run(self) -> anyhow::Result<()> {
        let model = Model::read(&self.program.program)?;
        let source = program::verified(&model)?;
        let facts: Vec<Facts> = source
            .program
            .functions
            .iter()
            .zip(&source.interface.functions)
            .map(|(function, interface)| facts(&source, function, interface))
            .collect();
        let weights = Weights::of(&source);
        let text = match self.json {
            true => format!("{}\n", object(&model, &source, &facts, &weights)),
            false => told(&model, &source, &facts, &weights),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn facts<'a>(
    source: &Source,
    function: &'a Function,
    interface: &'a FunctionInterface,
) -> Facts<'a> {
    let mut ops = BTreeMap::new();
    function.body.visit(&mut |operation| {
        *ops.entry(operation.op.name()).or_default() += 1;
    });
    // Open shapes become the default ones, if the operations can have them.
    let special = coreml::specialize(&source.program, interface, &BTreeMap::new()).ok();
    let special = special.as_ref().and_then(|program| program.function(&function.name));
    let flops = special.and_then(flops);
    Facts { function, interface, ops, flops }
}

/// Operations of all products of a function, if all their shapes are known.
fn flops(function: &Function) -> Option<f64> {
    let (mut total, mut known) = (0.0, true);
    function.body.visit(&mut |operation| match product(function, operation) {
        Some(flops) => total += flops,
        None => known = false,
    });
    known.then_some(total)
}

fn product(function: &Function, operation: &Operation) -> Option<f64> {
    let dims = |operand: &Operand| {
        let ty = match operand {
            Operand::Value(id) => function.ty(*id).clone(),
            Operand::Literal(literal) => literal.ty(),
        };
        ty.as_tensor()?.fixed_dims()
    };
    let argument = |name: &str| dims(operation.inputs.get(name)?.operands().first()?);
    let count = |dims: &[usize]| dims.iter().map(|&d| d as f64).product::<f64>();
    let result = || dims(&Operand::Value(*operation.outputs.first()?));
    let truth = |name: &str| {
        let operand = operation.inputs.get(name).and_then(|arg| arg.operands().first());
        let literal = match operand {
            Some(Operand::Literal(literal)) => Some(literal),
            Some(Operand::Value(id)) => function.literals()[id.index()],
            None => None,
        };
        literal.and_then(Literal::as_tensor).is_some_and(|t| t.bytes() == [1])
    };
    let multiplications = match operation.op {
        Op::Linear => count(&result()?) * *argument("x")?.last()? as f64,
        Op::Matmul => {
            let x = argument("x")?;
            let inner =
                if truth("transpose_x") { x.len().checked_sub(2) } else { x.len().checked_sub(1) };
            count(&result()?) * x.get(inner?).copied().unwrap_or(1) as f64
        }
        Op::Conv => {
            let weight = argument("weight")?;
            count(&result()?) * count(weight.get(1..)?)
        }
        Op::ConvTranspose => {
            let weight = argument("weight")?;
            count(&argument("x")?) * count(weight.get(1..)?)
        }
        Op::ScaledDotProductAttention => {
            let (query, key) = (argument("query")?, argument("key")?);
            let (rows, columns) =
                (query.get(query.len().checked_sub(2)?)?, key.get(key.len().checked_sub(2)?)?);
            let batch = count(&result()?) / (*result()?.last()? as f64 * *rows as f64).max(1.0);
            let widths = *query.last()? + *result()?.last()?;
            batch * *rows as f64 * *columns as f64 * widths as f64
        }
        // Recurrent ones: each step multiplies with every weight.
        _ if operation.inputs.contains_key("weight_hh") => {
            let steps = argument("x")?;
            let names = ["weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"];
            let weights = names.iter().filter_map(|name| argument(name));
            let weights: f64 = weights.map(|dims| count(&dims)).sum();
            count(steps.get(..2)?) * weights
        }
        _ if operation.op.name() == "einsum" => {
            // nchw,nwhu->nchu
            let values = operation.inputs.get("values")?.operands();
            count(&result()?) * *dims(values.first()?)?.last()? as f64
        }
        _ => 0.0,
    };
    Some(2.0 * multiplications)
}

impl Weights {
    fn of(source: &Source) -> Weights {
        let mut weights = Weights::default();
        let mut seen = std::collections::HashSet::new();
        for function in &source.program.functions {
            function.body.visit(&mut |operation| {
                let operands = operation.inputs.values().flat_map(|arg| arg.operands());
                let inline = operands.filter_map(|operand| match operand {
                    Operand::Literal(literal) => Some(literal),
                    Operand::Value(_) => None,
                });
                for literal in inline.chain(operation.attributes.values()) {
                    let (dtype, count) = match literal {
                        Literal::Blob(blob) if seen.insert((&blob.path, blob.offset)) => {
                            (blob.dtype, mil::element_count(&blob.dims).unwrap_or(usize::MAX))
                        }
                        Literal::Tensor(tensor) if tensor.count() >= 10 => {
                            (tensor.dtype(), tensor.count())
                        }
                        _ => continue,
                    };
                    weights.parameters = weights.parameters.saturating_add(count);
                    let bytes = weights.bytes.entry(dtype.name()).or_default();
                    let more = dtype.packed_bytes(count).unwrap_or(usize::MAX);
                    *bytes = bytes.saturating_add(more);
                }
            });
        }
        weights
    }
}

fn told(model: &Model, source: &Source, facts: &[Facts], weights: &Weights) -> String {
    let mut text = format!("{}\n", source.name);
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:12} {value}\n"));
        }
    };
    let Interface { metadata, default_function, .. } = &source.interface;
    let Metadata { description, version, author, license, user_defined } = metadata;
    row("format", &model.specification_version.map_or(String::new(), |v| format!("version {v}")));
    row("description", description);
    row("version", version);
    row("author", author);
    row("license", license);
    for (key, value) in user_defined {
        row("metadata", &format!("{key}: {value}"));
    }
    row("default", default_function.as_deref().unwrap_or_default());
    let bytes: Vec<String> =
        weights.bytes.iter().map(|(dtype, bytes)| format!("{bytes} bytes of {dtype}")).collect();
    let bytes = if bytes.is_empty() { String::new() } else { format!(": {}", bytes.join(", ")) };
    row("parameters", &format!("{}{bytes}", weights.parameters));
    for Facts { function, interface, ops, flops } in facts {
        text.push_str(&format!("function {} ({})\n", function.name, function.opset));
        let lists = [
            ("input", &interface.inputs),
            ("state", &interface.states),
            ("output", &interface.outputs),
        ];
        for (kind, features) in lists {
            for feature in features {
                text.push_str(&format!("  {kind:12} {}\n", line(feature)));
            }
        }
        let label = interface.predicted_feature.iter().map(|name| ("label", name));
        let probabilities = interface.predicted_probabilities.iter().map(|n| ("probabilities", n));
        for (kind, name) in label.chain(probabilities) {
            text.push_str(&format!("  {kind:12} {name}\n"));
        }
        let list: Vec<String> = ops.iter().map(|(op, count)| format!("{op} {count}")).collect();
        text.push_str(&format!("  {:12} {}\n", "ops", list.join(", ")));
        let flops = flops.map_or("not known: shapes are open".to_owned(), |f| format!("{f:.0}"));
        text.push_str(&format!("  {:12} {flops}\n", "operations"));
    }
    text
}

fn line(feature: &Feature) -> String {
    let Feature { name, description, ty, optional, .. } = feature;
    let mut line = format!("{name}: {ty}");
    if *optional {
        let default = feature.array().and_then(|array| array.default);
        line.push_str(", may be left out");
        line.push_str(&default.map_or(String::new(), |d| format!(" (then {})", d.to_f64())));
    }
    if !description.is_empty() {
        line.push_str(&format!(", {description}"));
    }
    line
}

fn object(model: &Model, source: &Source, facts: &[Facts], weights: &Weights) -> Value {
    let Interface { metadata, default_function, .. } = &source.interface;
    let functions = facts.iter().map(|Facts { function, interface, ops, flops }| {
        let list = |features: &[Feature]| features.iter().map(feature).collect::<Vec<_>>();
        json!({
            "name": function.name,
            "opset": function.opset.tag(),
            "inputs": list(&interface.inputs),
            "outputs": list(&interface.outputs),
            "states": list(&interface.states),
            "predicted_feature": interface.predicted_feature,
            "predicted_probabilities": interface.predicted_probabilities,
            "ops": ops,
            "flops": flops,
        })
    });
    json!({
        "program": source.name,
        "specification_version": model.specification_version,
        "metadata": {
            "description": metadata.description,
            "version": metadata.version,
            "author": metadata.author,
            "license": metadata.license,
            "user_defined": metadata.user_defined,
        },
        "default_function": default_function,
        "functions": functions.collect::<Vec<_>>(),
        "parameters": weights.parameters,
        "bytes": weights.bytes,
    })
}

fn feature(feature: &Feature) -> Value {
    let mut object = json!({
        "name": feature.name,
        "type": feature.ty.to_string(),
        "description": feature.description,
        "optional": feature.optional,
    });
    if let Some(array) = feature.array() {
        object["dtype"] = json!(array.dtype.name());
        object["default"] = json!(array.default.map(coreml::DefaultValue::to_f64));
    }
    if let Some(shape) = feature.default_shape() {
        object["shape"] = json!(shape);
    }
    object
}
