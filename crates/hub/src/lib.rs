//! Models by their names on the Hugging Face hub.
//!
//! [`Hub::fetch`] turns `owner/name` into a folder. Files lie where the hub's own tools keep them,
//! so that what one has downloaded the other finds:
//!
//! ```text
//! models--owner--name/
//!   refs/main                    the commit that a branch or tag is at
//!   blobs/CHECKSUM               content; CHECKSUM.incomplete while it comes
//!   snapshots/COMMIT/FILE        links to ../../blobs/CHECKSUM
//! ```
//!
//! Whatever the server says is checked before it is used: names of files, checksums and lengths.
#![forbid(unsafe_code)]

mod cache;
mod download;
mod error;
mod http;
mod listing;
mod name;

pub use error::Error;
pub use name::Name;

use cache::Repository;
use http::Client;
use listing::Listing;
use std::path::PathBuf;
use std::time::Duration;

/// Where the hub is if nothing else is said.
pub const ENDPOINT: &str = "https://huggingface.co";

/// How to reach the hub, and where to keep what comes from it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub endpoint: String,
    /// The folder with all repositories.
    pub cache: PathBuf,
    /// What proves who asks; it is sent to the endpoint alone.
    pub token: Option<String>,
    /// Whether only what is in the cache may be used.
    pub offline: bool,
    /// How long to wait before trying again; each time twice as long.
    pub backoff: Duration,
}

impl Options {
    /// From the variables that the hub's own tools read: `HF_ENDPOINT`; `HF_HUB_CACHE`, or `hub` in
    /// `HF_HOME`, or in `huggingface` of `XDG_CACHE_HOME` or `~/.cache`; `HF_TOKEN`, or the file
    /// `token` in that home; `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// If there is no place for a cache.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Result<Options, Error> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let caches = || path("XDG_CACHE_HOME").or(path("HOME").map(|home| home.join(".cache")));
        let home = path("HF_HOME").or_else(|| caches().map(|caches| caches.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or(home.as_ref().map(|home| home.join("hub")));
        let of_file = || std::fs::read_to_string(home.as_ref()?.join("token")).ok();
        let token = variable("HF_TOKEN").or_else(of_file).map(|token| token.trim().to_owned());
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Ok(Options {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.ok_or(Error::NoCache)?,
            token: token.filter(|token| !token.is_empty()),
            offline: ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()),
            backoff: Duration::from_secs(1),
        })
    }
}

/// What happens while a repository is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// So many bytes are to come, all files together.
    Total(u64),
    /// So many bytes more are there, of this file.
    Bytes(&'a str, u64),
    /// So many bytes have to come again.
    Again(u64),
    /// Something went wrong that is tried again, or has another way.
    Note(&'a str),
}

/// The hub.
pub struct Hub {
    options: Options,
    client: Client,
}

impl Hub {
    /// A hub; nothing is asked of it yet.
    pub fn new(options: Options) -> Hub {
        let client = Client::new(&options);
        Hub { options, client }
    }

    /// The folder with the model's files, or the file if the name is of one; those that are not in
    /// the cache are downloaded. What was interrupted goes on where it ended. If the hub cannot be
    /// reached, what is in the cache is used.
    ///
    /// # Errors
    /// If there is no such repository, it has no model that can be read, or it cannot be downloaded
    /// whole.
    pub fn fetch(&self, name: &Name, see: &mut dyn FnMut(Event<'_>)) -> Result<PathBuf, Error> {
        let repository = Repository::new(&self.options.cache, name);
        if self.options.offline {
            return repository.find(name);
        }
        let listing = match Listing::ask(&self.client, name) {
            Ok(listing) => listing,
            Err(error @ Error::Unreachable { .. }) => {
                let Ok(found) = repository.find(name) else { return Err(error) };
                see(Event::Note(&format!("{error}; using what was downloaded before")));
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        let files = listing.choose(name)?;
        let missing: Vec<_> =
            files.iter().filter(|file| !repository.has(&listing.commit, file)).collect();
        see(Event::Total(missing.iter().map(|file| file.size).sum()));
        for file in missing {
            repository.get(&self.client, name, &listing.commit, file, see)?;
        }
        repository.remember(name, &listing.commit)?;
        Ok(repository.place(&listing.commit, name))
    }
}
