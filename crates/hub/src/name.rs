//! Names of models on the hub.

use crate::Error;
use std::fmt;

/// `owner/name`, with `@revision` behind it if it is not the branch `main`, and the path of a file
/// in the repository if only that one is meant: `owner/name@revision/file.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Who publishes it.
    pub owner: String,
    /// What it is called.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The one file that is meant.
    pub file: Option<String>,
}

/// The longest part of a name.
const LONGEST: usize = 96;

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Name, Error> {
        let refuse =
            |reason: &str| Error::Name { name: text.to_owned(), reason: reason.to_owned() };
        let mut parts = text.splitn(3, '/');
        let (Some(owner), Some(rest)) = (parts.next(), parts.next()) else {
            return Err(refuse("it must be `owner/name`"));
        };
        let file = parts.next();
        let (name, revision) = match rest.split_once('@') {
            Some((name, revision)) => (name, revision),
            None => (rest, "main"),
        };
        for part in [owner, name, revision] {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if part.is_empty() || part.len() > LONGEST {
                return Err(refuse(&format!("each part must have 1 to {LONGEST} characters")));
            }
            if !part.chars().all(known) {
                return Err(refuse("letters, digits, `-`, `_` and `.` are what it may have"));
            }
            if part.starts_with(['-', '.']) || part.ends_with('.') || part.contains("..") {
                return Err(refuse("parts do not begin with `-` or `.`, or have `..`"));
            }
        }
        // Two of them stand between the parts in the cache.
        if owner.contains("--") || name.contains("--") {
            return Err(refuse("it must not have `--`"));
        }
        if file.is_some_and(|file| !is_path(file)) {
            return Err(refuse("the path of the file is not one within the repository"));
        }
        Ok(Name {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

/// Whether a path stays within a folder: no way up, no root, nothing that a file system could take
/// for something else.
pub(crate) fn is_path(path: &str) -> bool {
    let strange = |c: char| c.is_control() || "\\:".contains(c);
    let component =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() < 256;
    path.len() <= 1024 && !path.contains(strange) && path.split('/').all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        let name = Name::parse("Qwen/Qwen3-0.6B").unwrap();
        assert_eq!((name.owner.as_str(), name.name.as_str()), ("Qwen", "Qwen3-0.6B"));
        assert_eq!((name.revision.as_str(), name.file), ("main", None));
        let name = Name::parse("a/b@v1/x/y.gguf").unwrap();
        assert_eq!((name.revision.as_str(), name.file.as_deref()), ("v1", Some("x/y.gguf")));
        for text in ["a/b", "a/b@v1", "a/b/c.gguf", "a/b@v1/c.gguf"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let long = format!("a/{}", "b".repeat(97));
        for text in [
            "", "a", "/a", "a/", "a//b", "../b", "a/..", "./b", "a/.b", "-a/b", "a/b--c", "a b/c",
            "a/b@", "a/b@../c", "a/b/../c", "a/b//c", "a/b/c\\d", "a/b/c\0", "a/b/C:", "ä/b",
            &long,
        ] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }
}
