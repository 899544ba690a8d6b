//! Safetensors: the length of a JSON header, the header, and the tensors' bytes.

use crate::output::{Planned, Visit, write_data};
use crate::tensors::Gaps;
use crate::{Encoding, Error, Input, TensorInfo, Tensors};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::marker::PhantomData;
use std::path::Path;

/// The longest header that is read, as in the format's own library.
const MAX_HEADER: u64 = 100_000_000;

/// The largest index of shards that is read.
const MAX_INDEX: u64 = 1 << 26;

/// The name of a model in one file.
pub const SINGLE: &str = "model.safetensors";

/// The name of the list of a model's shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Opens a file, or the file or shards in a directory.
///
/// # Errors
/// If a file cannot be read or is malformed.
pub fn open(path: &Path) -> Result<Tensors, Error> {
    let mut tensors = Tensors::default();
    if !path.is_dir() {
        read_into(&mut tensors, Input::open(path)?)?;
        return Ok(tensors);
    }
    let single = path.join(SINGLE);
    let index = path.join(INDEX);
    if single.exists() || !index.exists() {
        read_into(&mut tensors, Input::open(&single)?)?;
        return Ok(tensors);
    }
    let places = shards(&Input::open(&index)?)?;
    for shard in places.values().collect::<BTreeSet<_>>() {
        read_into(&mut tensors, Input::open(&path.join(shard))?)?;
    }
    for (name, shard) in &places {
        let found = tensors.get(name).map(|info| tensors.path(info).ends_with(shard));
        if found != Some(true) {
            return Err(Error::tensor(&index, name, format!("it is not in `{shard}`")));
        }
    }
    Ok(tensors)
}

/// Reads the header of one file.
///
/// # Errors
/// If it is malformed.
pub fn read(input: Input) -> Result<Tensors, Error> {
    let mut tensors = Tensors::default();
    read_into(&mut tensors, input)?;
    Ok(tensors)
}

fn read_into(tensors: &mut Tensors, input: Input) -> Result<(), Error> {
    let refuse = |reason: String| Error::format(input.path(), reason);
    let size = input.size();
    if size < 8 {
        return Err(refuse(format!("{size} bytes are too few for a safetensors file")));
    }
    let mut cursor = input.cursor();
    let length = cursor.u64()?;
    if length > MAX_HEADER || length > cursor.left() {
        return Err(refuse(format!("a header of {length} bytes does not fit a file of {size}")));
    }
    let header = cursor.bytes(length)?;
    let header: Named<Entry> =
        serde_json::from_slice(&header).map_err(|error| refuse(format!("header: {error}")))?;
    let data = 8 + length;
    let infos = header.0.into_iter().map(|(name, entry)| {
        let info = tensor_info(&name, &entry, data);
        info.map_err(|reason| Error::tensor(input.path(), &name, reason))
    });
    let infos = infos.collect::<Result<Vec<_>, _>>()?;
    tensors.add(input, infos, Gaps::NoneFrom(data))
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// What an object says of tensors, and all of it: a JSON map would drop one of two of the same name.
struct Named<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = vec![];
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map.next_value().map_err(|error| {
                        serde::de::Error::custom(format!("tensor `{name}`: {error}"))
                    })?;
                    entries.push((name, entry));
                }
                Ok(Named(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

fn tensor_info(name: &str, entry: &Entry, data: u64) -> Result<TensorInfo, String> {
    let other = |name, bytes| Encoding::Other { name, block: 1, bytes };
    let encoding = match entry.dtype.as_str() {
        "F64" => Encoding::F64,
        "F32" => Encoding::F32,
        "F16" => Encoding::F16,
        "BF16" => Encoding::BF16,
        "I64" => other("I64", 8),
        "U64" => other("U64", 8),
        "C64" => other("C64", 8),
        "I32" => other("I32", 4),
        "U32" => other("U32", 4),
        "I16" => other("I16", 2),
        "U16" => other("U16", 2),
        "I8" => other("I8", 1),
        "U8" => other("U8", 1),
        "BOOL" => other("BOOL", 1),
        "F8_E4M3" => other("F8_E4M3", 1),
        "F8_E5M2" => other("F8_E5M2", 1),
        "F8_E8M0" => other("F8_E8M0", 1),
        unknown => return Err(format!("its type `{unknown}` is not known")),
    };
    let [start, end] = entry.data_offsets;
    let dims = entry.shape.clone();
    let expected = encoding.size(&dims)?;
    let found = end.checked_sub(start);
    let found = found.ok_or_else(|| format!("it ends at {end}, before it begins at {start}"))?;
    if found != expected {
        return Err(format!("{found} bytes for {encoding} {dims:?}, which has {expected}"));
    }
    let start = start.checked_add(data).ok_or("its position is beyond any file")?;
    Ok(TensorInfo { name: name.to_owned(), dims, encoding, input: 0, start })
}

/// The shard of every tensor, as the list of shards has it: the name of a file beside the list.
/// That file may be a link to anywhere, as in caches of downloaded models: links are made by who
/// has the folder, and not by who has written the list.
///
/// # Errors
/// If the list is malformed, names a tensor twice, or a shard that could be elsewhere.
pub fn shards(index: &Input) -> Result<BTreeMap<String, String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Named<String>,
    }
    let bytes = index.read_all(MAX_INDEX)?;
    let read: Index =
        serde_json::from_slice(&bytes).map_err(|error| Error::format(index.path(), error))?;
    let mut places = BTreeMap::new();
    for (name, shard) in read.weight_map.0 {
        // A name must not lead out of the directory.
        let plain = shard.ends_with(".safetensors") && !shard.contains(['/', '\\', '\0']);
        if !plain {
            let reason = format!("its shard {shard:?} is no name of a safetensors file");
            return Err(Error::tensor(index.path(), &name, reason));
        }
        if let Some(other) = places.get(&name) {
            let reason = format!("it is said to be in `{other}` and in `{shard}`");
            return Err(Error::tensor(index.path(), &name, reason));
        }
        places.insert(name, shard);
    }
    Ok(places)
}

/// Writes one file. `visit` is called once for each tensor, in order.
///
/// # Errors
/// If writing fails, a number does not fit its encoding, or `visit` fails.
pub fn write(
    path: &Path,
    out: &mut dyn Write,
    tensors: &[Planned],
    visit: Visit<'_>,
) -> Result<(), Error> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0_u64;
    for planned in tensors {
        let Planned { name, dims, encoding } = planned;
        let end = offset + planned.size();
        let info = json!({
            "dtype": encoding.to_string(), "shape": dims, "data_offsets": [offset, end],
        });
        if header.insert(name.clone(), info).is_some() {
            return Err(Error::tensor(path, name, "there are two of this name"));
        }
        offset = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(|error| Error::format(path, error))?;
    // Data begin at a multiple of 64 bytes, for those who map the file into memory.
    let padded = (header.len() + 8).next_multiple_of(64) - 8;
    header.resize(padded, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(Error::file(path))?;
    out.write_all(&header).map_err(Error::file(path))?;
    write_data(path, out, tensors, 1, visit)
}

/// The names of `count` shards, as Hugging Face writes them.
pub fn shard_name(index: usize, count: usize) -> String {
    match count {
        1 => SINGLE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

/// The list of shards, for the tensors of each.
pub fn index(shards: &[Vec<Planned>]) -> Value {
    let mut map = Map::new();
    let mut size = 0;
    for (index, shard) in shards.iter().enumerate() {
        for tensor in shard {
            map.insert(tensor.name.clone(), shard_name(index, shards.len()).into());
            size += tensor.size();
        }
    }
    json!({ "metadata": { "total_size": size }, "weight_map": map })
}
