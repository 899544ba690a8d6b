//! What a repository has, by the hub's API.

use crate::http::Client;
use crate::name::is_path;
use crate::{Error, Name};
use serde::Deserialize;

/// The longest list of files that is read, in bytes.
const LONGEST: u64 = 1 << 25;

/// The largest file that is taken, in bytes.
const LARGEST: u64 = 1 << 42;

/// A repository at a commit.
pub struct Listing {
    pub commit: String,
    files: Vec<File>,
}

/// A file of a repository.
#[derive(Debug)]
pub struct File {
    pub name: String,
    pub size: u64,
    pub sum: Sum,
}

/// The checksum of a file: its name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256 of the content: of large files.
    Sha256(String),
    /// SHA-1 of git's header and the content: of files that git itself keeps.
    Git(String),
}

impl Sum {
    /// In hexadecimal digits.
    pub fn digits(&self) -> &str {
        match self {
            Sum::Sha256(digits) | Sum::Git(digits) => digits,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Asks the hub.
    pub fn ask(client: &Client, name: &Name) -> Result<Listing, Error> {
        let Name { owner, name, revision, .. } = name;
        let path = format!("/api/models/{owner}/{name}/revision/{revision}?blobs=true");
        let (url, text) = client.text(&path, LONGEST)?;
        Listing::read(&text).map_err(|reason| Error::Answer { url, reason })
    }

    fn read(text: &str) -> Result<Listing, String> {
        let answer: Answer =
            serde_json::from_str(text).map_err(|error| format!("not a list of files: {error}"))?;
        if !is_hexadecimal(&answer.sha, 40) {
            return Err(format!("`{}` is not a commit", answer.sha.escape_debug()));
        }
        let files = answer.siblings.into_iter().map(File::new).collect::<Result<_, _>>()?;
        Ok(Listing { commit: answer.sha, files })
    }

    /// The files that are needed: the one that is named, or those of a model.
    pub fn choose(&self, name: &Name) -> Result<Vec<&File>, Error> {
        let no_model = |reason: String| Error::NoModel {
            name: format!("{}/{}", name.owner, name.name),
            reason,
        };
        if let Some(wanted) = &name.file {
            let found = self.files.iter().find(|file| file.name == *wanted);
            let found = found.ok_or_else(|| no_model(format!("there is no file `{wanted}`")))?;
            return Ok(vec![found]);
        }
        let weights: Vec<&File> = self.files.iter().filter(|file| is_weights(&file.name)).collect();
        if weights.is_empty() {
            let ending = |ending: &str| {
                let named = self.files.iter().map(|file| file.name.as_str());
                named.filter(|name| name.ends_with(ending)).take(8).collect::<Vec<_>>().join(", ")
            };
            let (gguf, pickled) = (ending(".gguf"), ending(".bin"));
            return Err(no_model(match (gguf.as_str(), pickled.as_str()) {
                ("", "") => "there is no model.safetensors".to_owned(),
                ("", _) => format!(
                    "{pickled} are pickles, which run code when they are read; save the model as \
                     safetensors with the transformers package"
                ),
                _ => format!("it has GGUF files; name one of them behind the model: {gguf}"),
            }));
        }
        Ok(self.files.iter().filter(|file| is_beside(&file.name)).chain(weights).collect())
    }
}

impl File {
    fn new(sibling: Sibling) -> Result<File, String> {
        let Sibling { rfilename: name, size, blob_id, lfs } = sibling;
        let shown = name.escape_debug().to_string();
        if !is_path(&name) {
            return Err(format!("`{shown}` is not a name for a file"));
        }
        let (size, sum) = match (lfs, size, blob_id) {
            (Some(Large { sha256, size }), ..) if is_hexadecimal(&sha256, 64) => {
                (size, Sum::Sha256(sha256))
            }
            (None, Some(size), Some(id)) if is_hexadecimal(&id, 40) => (size, Sum::Git(id)),
            _ => return Err(format!("`{shown}` has no size and checksum")),
        };
        if size > LARGEST {
            return Err(format!("`{shown}` has {size} bytes, which no file of a model has"));
        }
        Ok(File { name, size, sum })
    }
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a file has weights of a model or an adapter; some repositories also have them in the form
/// of other programs, under other names.
fn is_weights(name: &str) -> bool {
    if ["model.safetensors", "adapter_model.safetensors"].contains(&name) {
        return true;
    }
    // `model-00001-of-00002.safetensors`, and not `model.fp16.safetensors`.
    let shard = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = shard.and_then(|shard| shard.split_once("-of-"));
    numbers.is_some_and(|(index, count)| digits(index) && digits(count))
}

/// Whether a file says how to use a model.
fn is_beside(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "adapter_config.json",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let file =
            |name: &&str| File { name: (*name).to_owned(), size: 1, sum: Sum::Git("a".repeat(40)) };
        Listing { commit: "b".repeat(40), files: names.iter().map(file).collect() }
    }

    fn chosen(names: &[&str], name: &str) -> Result<Vec<String>, String> {
        let listing = listing(names);
        match listing.choose(&Name::parse(name).unwrap()) {
            Ok(files) => Ok(files.iter().map(|file| file.name.clone()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn only_what_belongs_to_the_model_is_taken() {
        let all = [
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00001.safetensors",
            "model.fp16.safetensors",
            "model.safetensors.index.json",
            "onnx/model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        let expected = ["config.json", "model.safetensors.index.json", "tokenizer.json"];
        let mut expected = expected.map(str::to_owned).to_vec();
        expected.push("model-00001-of-00001.safetensors".to_owned());
        assert_eq!(chosen(&all, "a/b").unwrap(), expected);
        assert_eq!(chosen(&all, "a/b/README.md").unwrap(), ["README.md"]);
    }

    #[test]
    fn what_there_is_instead_is_said() {
        let says = |names: &[&str], words: &str| {
            let error = chosen(names, "a/b").unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        says(&["config.json"], "no model.safetensors");
        says(&["pytorch_model.bin"], "pickles");
        says(&["x-q8.gguf", "x-q4.gguf"], "x-q8.gguf, x-q4.gguf");
        assert!(chosen(&["a"], "a/b/c").unwrap_err().contains("no file `c`"));
    }

    #[test]
    fn hostile_lists_are_refused() {
        let sha = "c".repeat(40);
        let list = |commit: &str, file: &str| {
            Listing::read(&format!(r#"{{"sha":"{commit}","siblings":[{file}]}}"#))
        };
        let blob = |name: &str, id: &str, size: &str| {
            format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{id}"}}"#)
        };
        assert!(list(&sha, &blob("a/b.json", &sha, "3")).is_ok());
        for (commit, file) in [
            ("../../x", blob("a", &sha, "3")),
            (&sha, blob("../a", &sha, "3")),
            (&sha, blob("/etc/passwd", &sha, "3")),
            (&sha, blob("a\\u0000b", &sha, "3")),
            (&sha, blob("a", "../../../../../../../../../../../../home", "3")),
            (&sha, blob("a", &sha.to_uppercase(), "3")),
            (&sha, blob("a", &sha, "-3")),
            (&sha, blob("a", &sha, "9999999999999999")),
            (&sha, format!(r#"{{"rfilename":"a","size":3,"lfs":{{"sha256":"{sha}","size":3}}}}"#)),
            (&sha, r#"{"rfilename":"a"}"#.to_owned()),
        ] {
            assert!(list(commit, &file).is_err(), "{commit} {file}");
        }
        assert!(Listing::read("[]").is_err() && Listing::read("").is_err());
    }
}
