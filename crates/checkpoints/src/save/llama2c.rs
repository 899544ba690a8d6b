//! Files of llama2.c, and checkpoints of the trainers that this project follows. Both know one
//! model: the first Llama.

use super::{Model, Saved, Values};
use crate::layout::Layout;
use crate::output::AtomicFile;
use crate::source::llama2c as names;
use crate::source::{blzt_layout, llama2c_layout};
use crate::{Encoding, Error};
use models::{Config, Parameter};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// The groups of version 2, in which 8-bit integers share a scale, as llama2.c cuts them.
const GROUP: usize = 64;

pub(super) fn save(
    path: &Path,
    version: u32,
    replace: bool,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    let config = model.config;
    let refuse = |reason: String| Error::format(path, reason);
    let header = header(model, version).map_err(refuse)?;
    let parameters = model.parameters(path)?;
    let parameters: HashMap<&str, &Parameter> =
        parameters.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect();
    let (order, norms) = order(config, version);
    // Before the weights are written, which takes time.
    let tokenizer = model.tokenizer.map(|text| crate::tokenizer::to_llama2c(text, config.vocab));
    let beside = path.with_file_name("tokenizer.bin");
    if matches!(tokenizer, Some(Ok(_))) && beside.exists() && !replace {
        return Err(Error::format(&beside, "it exists already"));
    }

    let mut out = AtomicFile::create(path)?;
    out.write_all(&header).map_err(Error::file(path))?;
    let mut saved = Saved { bytes: header.len() as u64, left_out: vec![] };
    let mut scales = vec![];
    for (index, name) in order.iter().enumerate() {
        let Some(parameter) = parameters.get(name.as_str()) else {
            // The tables of rotations, which nobody reads, are where a name is empty.
            let count = config.max_seq * config.head_dim;
            write_tables(config, &mut out).map_err(Error::file(path))?;
            saved.bytes += 4 * count as u64;
            continue;
        };
        let layout = llama2c_layout(config, name);
        let group = (version == 2 && index >= norms).then(|| group(config));
        let mut bytes = vec![];
        model.visit(parameter, layout, values, &mut |part| {
            bytes.clear();
            match group {
                None => Encoding::F32.encode(part, &mut bytes).expect("any f32 is f32"),
                Some(group) => quantize(part, group, &mut bytes, &mut scales)
                    .map_err(|reason| Error::tensor(path, name, reason))?,
            }
            saved.bytes += bytes.len() as u64;
            out.write_all(&bytes).map_err(Error::file(path))
        })?;
    }
    let mut bytes = vec![];
    Encoding::F32.encode(&scales, &mut bytes).expect("any f32 is f32");
    saved.bytes += bytes.len() as u64;
    out.write_all(&bytes).map_err(Error::file(path))?;
    out.finish(replace)?;
    match tokenizer {
        None => {}
        Some(Ok(bytes)) => {
            let mut out = AtomicFile::create(&beside)?;
            out.write_all(&bytes).map_err(Error::file(&beside))?;
            out.finish(replace)?;
        }
        Some(Err(reason)) => saved.left_out.push(format!("the tokenizer: {reason}")),
    }
    Ok(saved)
}

/// Refuses what is not the first Llama.
fn check(model: &Model<'_>) -> Result<(), String> {
    let config = model.config;
    let json = config.to_hugging_face();
    let plain = json["model_type"] == "llama"
        && json["attention_bias"] != true
        && json["mlp_bias"] != true
        && json["hidden_act"] == "silu"
        && config.rope_scaling.is_none();
    if !plain {
        return Err(format!(
            "this format holds plain models of type llama only, and this one is of type {} with \
             options",
            json["model_type"].as_str().unwrap_or("another")
        ));
    }
    if config.rope_theta != 1e4 || config.norm_eps != 1e-5 {
        return Err(format!(
            "this format has no place for a base of rotations of {} and an epsilon of {}: its \
             readers take 10000 and 0.00001",
            config.rope_theta, config.norm_eps
        ));
    }
    Ok(())
}

fn number(size: usize) -> Result<i32, String> {
    i32::try_from(size).map_err(|_| format!("a size of {size} is too large for this format"))
}

fn header(model: &Model<'_>, version: u32) -> Result<Vec<u8>, String> {
    check(model)?;
    let config = model.config;
    if config.heads * config.head_dim != config.dim {
        return Err(format!(
            "this format has heads that make up the width: {} heads of {} are not {}",
            config.heads, config.head_dim, config.dim
        ));
    }
    let mut bytes = vec![];
    if version > 0 {
        bytes.extend(names::MAGIC);
        bytes.extend(version.to_le_bytes());
    }
    let sign = if version == 0 && !config.tied { -1 } else { 1 };
    let sizes = [config.dim, config.hidden, config.layers, config.heads, config.kv_heads];
    for size in sizes {
        bytes.extend(number(size)?.to_le_bytes());
    }
    bytes.extend((sign * number(config.vocab)?).to_le_bytes());
    bytes.extend(number(config.max_seq)?.to_le_bytes());
    if version > 0 {
        bytes.push(u8::from(config.tied));
        if version == 2 {
            bytes.extend(number(group(config))?.to_le_bytes());
        }
        bytes.resize(names::HEADER as usize, 0);
    }
    Ok(bytes)
}

/// The size of groups: 64, or what is left of it when it must divide the widths of matrices.
fn group(config: &Config) -> usize {
    let mut group = GROUP;
    while !config.dim.is_multiple_of(group) || !config.hidden.is_multiple_of(group) {
        group /= 2;
    }
    group
}

/// The names of tensors in the order of the file, and how many of the first are norms. An empty
/// name stands for the tables of rotations.
fn order(config: &Config, version: u32) -> (Vec<String>, usize) {
    let layers = |name: &'static str| (0..config.layers).map(move |i| names::layer(i, name));
    let matrices = |names: &'static [&'static str]| names.iter().flat_map(move |name| layers(name));
    let mut order: Vec<String> = vec![];
    if version == 0 {
        order.push(names::EMBEDDING.to_owned());
        order.extend(layers(names::ATTENTION_NORM));
        order.extend(matrices(&names::MATRICES[..4]));
        order.extend(layers(names::FEED_FORWARD_NORM));
        order.extend(matrices(&names::MATRICES[4..]));
        order.extend([names::NORM.to_owned(), String::new()]);
    } else {
        order.extend(layers(names::ATTENTION_NORM));
        order.extend(layers(names::FEED_FORWARD_NORM));
        order.extend([names::NORM.to_owned(), names::EMBEDDING.to_owned()]);
        order.extend(matrices(&names::MATRICES));
    }
    if !config.tied {
        order.push(names::CLASSIFIER.to_owned());
    }
    (order, 2 * config.layers + 1)
}

/// Cosines, then sines, of every position.
fn write_tables(config: &Config, out: &mut AtomicFile) -> std::io::Result<()> {
    for sines in [false, true] {
        for position in 0..config.max_seq {
            let tables = models::rope_tables(config, position, 1);
            let row = if sines { tables.sin } else { tables.cos };
            out.write_all(&row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        }
    }
    Ok(())
}

/// 8-bit integers, and a scale for each group: its largest magnitude over 127.
fn quantize(
    values: &[f32],
    group: usize,
    out: &mut Vec<u8>,
    scales: &mut Vec<f32>,
) -> Result<(), String> {
    if !values.len().is_multiple_of(group) {
        return Err(format!("a part of {} elements has no whole groups of {group}", values.len()));
    }
    for group in values.chunks_exact(group) {
        if let Some(bad) = group.iter().find(|value| !value.is_finite()) {
            return Err(format!("{bad} does not fit 8-bit integers"));
        }
        let largest = group.iter().fold(0_f32, |most, value| most.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        out.extend(group.iter().map(|value| (value * inverse).round() as i8 as u8));
        scales.push(scale);
    }
    Ok(())
}

pub(super) fn save_blzt(
    path: &Path,
    replace: bool,
    model: &Model<'_>,
    values: &mut Values<'_>,
) -> Result<Saved, Error> {
    let config = model.config;
    let refuse = |reason: String| Error::format(path, reason);
    check(model).map_err(refuse)?;
    if !config.tied {
        return Err(refuse("this format has no classifier beside the embedding".to_owned()));
    }
    let header = blzt_header(config).map_err(refuse)?;
    let parameters = model.parameters(path)?;
    let parameters: HashMap<&str, &Parameter> =
        parameters.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect();
    let mut out = AtomicFile::create(path)?;
    out.write_all(&header).map_err(Error::file(path))?;
    let mut saved = Saved { bytes: header.len() as u64, left_out: vec![] };
    let layer = |index| -> Vec<String> {
        let all = names::MATRICES.into_iter();
        let all = all.chain([names::ATTENTION_NORM, names::FEED_FORWARD_NORM]);
        all.map(|name| names::layer(index, name)).collect()
    };
    let mut groups: Vec<Vec<String>> = (0..config.layers).map(layer).collect();
    groups.extend([vec![names::NORM.to_owned()], vec![names::EMBEDDING.to_owned()]]);
    for group in groups {
        let mut count = 0;
        for name in &group {
            let parameter = parameters[name.as_str()];
            let layout: Layout = blzt_layout(4, config, name);
            let mut bytes = vec![];
            model.visit(parameter, layout, values, &mut |part| {
                bytes.clear();
                Encoding::F32.encode(part, &mut bytes).expect("any f32 is f32");
                count += bytes.len() as u64;
                out.write_all(&bytes).map_err(Error::file(path))
            })?;
        }
        // The moments.
        let zeros = std::io::Read::take(std::io::repeat(0), 2 * count);
        std::io::copy(&mut { zeros }, &mut out).map_err(Error::file(path))?;
        saved.bytes += 3 * count;
    }
    out.finish(replace)?;
    if model.tokenizer.is_some() {
        saved.left_out.push("the tokenizer: this format has none".to_owned());
    }
    Ok(saved)
}

/// Version 4: all that is not a size or the version is 0.
fn blzt_header(config: &Config) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; 96];
    bytes[..4].copy_from_slice(b"TZLB");
    let fields = [
        (4, 4),
        (16, config.layers),
        (20, config.vocab),
        (24, config.dim),
        (28, config.hidden),
        (32, config.heads),
        (36, config.max_seq),
        (84, config.kv_heads),
        (88, config.head_dim),
        (92, config.heads * config.head_dim),
    ];
    for (at, value) in fields {
        bytes[at..at + 4].copy_from_slice(&number(value)?.to_le_bytes());
    }
    Ok(bytes)
}
