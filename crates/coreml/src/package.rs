//! Packages: a folder with a manifest that says where in it the model is.

use crate::Error;
use crate::error::{at, format_error};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The manifest's name.
pub(crate) const MANIFEST: &str = "Manifest.json";

/// The folder of all items.
const DATA: &str = "Data";

/// The folder in [`DATA`] where packages that are written have their items.
const FOLDER: &str = "com.apple.CoreML";

/// A manifest that is longer is refused; they have some hundred bytes.
const LONGEST: u64 = 1 << 20;

/// The path of the model that a manifest names, relative to the package's folder `Data`.
///
/// # Errors
/// If the bytes are no manifest of version 1, or the path is not one that stays in the folder.
pub fn root_model(manifest: &[u8]) -> Result<String, String> {
    let value: Value =
        serde_json::from_slice(manifest).map_err(|e| format!("this is not JSON: {e}"))?;
    let text = |value: &Value, key: &str| {
        let text = value.get(key).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| format!("`{key}` is missing, or is no string"))
    };
    let version = text(&value, "fileFormatVersion")?;
    if version.split('.').next() != Some("1") {
        return Err(format!("version `{version}` of packages is not known; 1 is"));
    }
    let root = text(&value, "rootModelIdentifier")?;
    let entries = value.get("itemInfoEntries").and_then(Value::as_object);
    let entries = entries.ok_or("`itemInfoEntries` is missing")?;
    let entry = entries.get(&root);
    let entry = entry.ok_or_else(|| format!("there is no item `{root}`, which the root is"))?;
    let path = text(entry, "path")?;
    let stays = !path.is_empty()
        && !path.contains(['\0', '\\'])
        && Path::new(&path).components().all(|c| matches!(c, Component::Normal(_)));
    match stays {
        true => Ok(path),
        false => Err(format!("path `{path}` does not stay in the package")),
    }
}

/// Whether a folder is a package, of a model or of anything.
pub(crate) fn is_package(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// The file of a package's model. Links must not lead out of the package.
pub(crate) fn model_file(folder: &Path) -> Result<PathBuf, Error> {
    let manifest = folder.join(MANIFEST);
    let file = File::open(&manifest).map_err(at(&manifest))?;
    let mut bytes = vec![];
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(at(&manifest))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format_error(manifest, "this is too long for a manifest"));
    }
    let path = root_model(&bytes).map_err(|problem| format_error(&manifest, problem))?;
    let full = folder.join(DATA).join(path);
    let canonical = |path: &Path| path.canonicalize().map_err(at(path));
    let found = canonical(&full)?;
    if !found.starts_with(canonical(folder)?) {
        return Err(format_error(full, "it leads out of the package"));
    }
    match found.is_file() {
        true => Ok(full),
        false => Err(format_error(full, "the manifest names it as the model, it is no file")),
    }
}

/// Where the items of a package in this folder are: the model, which has `@model_path` around it,
/// and the folder of weights.
pub(crate) fn items(package: &Path) -> (PathBuf, PathBuf) {
    let folder = package.join(DATA).join(FOLDER);
    (folder.join("model.mlmodel"), folder.join("weights"))
}

/// The manifest of a package with these identifiers.
pub(crate) fn manifest(model: &str, weights: Option<&str>) -> String {
    let item = |name: &str, description: &str| {
        json!({
            "author": FOLDER,
            "description": description,
            "name": name,
            "path": format!("{FOLDER}/{name}"),
        })
    };
    let mut entries = serde_json::Map::new();
    entries.insert(model.to_owned(), item("model.mlmodel", "CoreML Model Specification"));
    if let Some(weights) = weights {
        entries.insert(weights.to_owned(), item("weights", "CoreML Model Weights"));
    }
    let manifest = json!({
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": model,
    });
    format!("{manifest:#}\n")
}

/// The first bytes of a digest as an identifier (a UUID of version 8).
pub(crate) fn identifier(digest: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::derive::hex(&bytes);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(manifest: &str) -> String {
        root_model(manifest.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_manifest_names_its_model() {
        let manifest = manifest("a", Some("b"));
        assert_eq!(root_model(manifest.as_bytes()).unwrap(), "com.apple.CoreML/model.mlmodel");
    }

    #[test]
    fn what_leads_out_is_refused() {
        for path in ["", "..", "../x", "a/../../x", "/etc/passwd", "a\\..\\b", "./a/.."] {
            let entries = json!({ "r": { "path": path } });
            let manifest = json!({
                "fileFormatVersion": "1.0.0",
                "itemInfoEntries": entries,
                "rootModelIdentifier": "r",
            });
            let problem = problem(&manifest.to_string());
            assert!(problem.contains("does not stay in the package"), "{path}: {problem}");
        }
    }

    #[test]
    fn every_part_must_be_there() {
        assert!(problem("[").starts_with("this is not JSON"));
        assert_eq!(problem("[]"), "`fileFormatVersion` is missing, or is no string");
        assert_eq!(
            problem(r#"{"fileFormatVersion": "2.0"}"#),
            "version `2.0` of packages is not known; 1 is"
        );
        let with = |rest: &str| problem(&format!(r#"{{"fileFormatVersion": "1.0.0"{rest}}}"#));
        assert_eq!(with(""), "`rootModelIdentifier` is missing, or is no string");
        assert_eq!(with(r#", "rootModelIdentifier": "r""#), "`itemInfoEntries` is missing");
        assert_eq!(
            with(r#", "rootModelIdentifier": "r", "itemInfoEntries": {"s": {}}"#),
            "there is no item `r`, which the root is"
        );
        assert_eq!(
            with(r#", "rootModelIdentifier": "r", "itemInfoEntries": {"r": {}}"#),
            "`path` is missing, or is no string"
        );
        // Nesting does not exhaust the stack.
        assert!(problem(&"[".repeat(100_000)).starts_with("this is not JSON"));
    }
}
