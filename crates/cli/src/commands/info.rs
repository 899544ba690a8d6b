//! `anemone info`.

use crate::program::{self, ProgramArg, Source};
use anemone::inspect::{self, Constants};
use clap::Args;
use coreml::{Feature, FunctionInterface, Interface, Metadata};
use mil::Function;
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

impl Info {
    /// Tells.
    pub fn run(self) -> anyhow::Result<()> {
        let source = program::read(&self.program.program)?;
        let facts: Vec<Facts> = source
            .program
            .functions
            .iter()
            .zip(&source.interface.functions)
            .map(|(function, interface)| facts(&source, function, interface))
            .collect();
        let weights = Constants::of(&source.program);
        let text = match self.json {
            true => format!("{}\n", object(&source, &facts, &weights)),
            false => told(&source, &facts, &weights),
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn facts<'a>(
    source: &Source,
    function: &'a Function,
    interface: &'a FunctionInterface,
) -> Facts<'a> {
    let ops = inspect::ops(function);
    // Open shapes become the default ones, if the operations can have them.
    let special = coreml::specialize(&source.program, interface, &BTreeMap::new()).ok();
    let special = special.as_ref().and_then(|program| program.function(&function.name));
    let flops = special.and_then(inspect::flops);
    Facts { function, interface, ops, flops }
}

fn told(source: &Source, facts: &[Facts], weights: &Constants) -> String {
    let mut text = format!("{}\n", source.name);
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:12} {value}\n"));
        }
    };
    let Interface { metadata, default_function, .. } = &source.interface;
    let Metadata { description, version, author, license, user_defined } = metadata;
    row(
        "format",
        &source.model.specification_version().map_or(String::new(), |v| format!("version {v}")),
    );
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

fn object(source: &Source, facts: &[Facts], weights: &Constants) -> Value {
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
        "specification_version": source.model.specification_version(),
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
