//! Fixture files: safetensors written by `scripts/fixtures/make_fixtures.py`.

use super::{Array, Named};
use models::Config;
use serde_json::Value;

/// One file.
pub struct Fixture {
    /// The model it was made with.
    pub config: Config,
    /// Sequences and tokens of each.
    pub shape: models::Shape,
    /// What else the file says of itself.
    pub about: Value,
    /// Every tensor.
    pub tensors: Named,
}

impl Fixture {
    /// The fixture of this name in this crate's folder.
    pub fn load(name: &str) -> Fixture {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/fixtures");
        Fixture::read(&format!("{folder}/{name}.safetensors"))
    }

    /// The fixture at this path.
    pub fn read(path: &str) -> Fixture {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
        let (header, data) = rest.split_at(length);
        let header: Value = serde_json::from_slice(header).expect("the header is JSON");

        let about = header["__metadata__"]["fixture"].as_str().expect("the fixture's own key");
        let about: Value = serde_json::from_str(about).expect("the fixture's key is JSON");
        let config = Config::from_hugging_face(&about["config"]).expect("the model is offered");
        let shape = models::Shape { batch: size(&about["batch"]), seq: size(&about["seq"]) };
        let entries = header.as_object().expect("the header is an object");
        let entries = entries.iter().filter(|(name, _)| *name != "__metadata__");
        let tensors = entries.map(|(name, entry)| (name.clone(), tensor(entry, data))).collect();
        Fixture { config, shape, about, tensors }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> &Array {
        self.tensors.get(name).unwrap_or_else(|| panic!("the fixture has no `{name}`"))
    }

    /// The model's parameters, by name.
    pub fn parameters(&self) -> Named {
        let is_parameter = |name: &str| {
            ["model.", "transformer.", "lm_head."].iter().any(|prefix| name.starts_with(prefix))
        };
        let all = self.tensors.iter().filter(|(name, _)| is_parameter(name));
        all.map(|(name, array)| (name.clone(), array.clone())).collect()
    }

    /// The tensors whose names begin with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Named {
        let strip = |(name, array): (&String, &Array)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), array.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

fn tensor(entry: &Value, data: &[u8]) -> Array {
    let list = |key: &str| -> Vec<usize> {
        entry[key].as_array().expect("a list").iter().map(size).collect()
    };
    let (dims, offsets) = (list("shape"), list("data_offsets"));
    let words = data[offsets[0]..offsets[1]].as_chunks::<4>().0.iter();
    let data = match entry["dtype"].as_str() {
        Some("F32") => words.map(|&w| f64::from(f32::from_le_bytes(w))).collect(),
        Some("I32") => words.map(|&w| f64::from(i32::from_le_bytes(w))).collect(),
        other => panic!("no fixture holds {other:?}"),
    };
    Array::new(&dims, data)
}
