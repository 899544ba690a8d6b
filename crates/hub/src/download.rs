//! One file, from wherever it was left.

use crate::cache::Repository;
use crate::error::file;
use crate::http::{Client, Reply, TRIES, header};
use crate::listing::{File, Sum};
use crate::{Error, Event, Name};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;

impl Repository {
    /// Downloads a file into the cache, and links it. Another process that does the same is waited
    /// for.
    pub fn get(
        &self,
        client: &Client,
        name: &Name,
        commit: &str,
        wanted: &File,
        see: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error> {
        let blob = self.blob(wanted);
        let blobs = blob.parent().expect("it is in a folder");
        for folder in [blobs, &self.locks] {
            fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let lock = self.locks.join(format!("{}.lock", wanted.sum.digits()));
        let guard = fs::File::create(&lock).map_err(file(&lock))?;
        guard.lock().map_err(file(&lock))?;
        let there = fs::metadata(&blob).is_ok_and(|found| found.len() == wanted.size);
        if there {
            see(Event::Bytes(&wanted.name, wanted.size));
        } else {
            let path =
                format!("/{}/{}/resolve/{commit}/{}", name.owner, name.name, escaped(&wanted.name));
            let download = Download { client, url: client.url(&path), wanted };
            download.run(&blob.with_extension("incomplete"), see)?;
            fs::rename(blob.with_extension("incomplete"), &blob).map_err(file(&blob))?;
        }
        self.put(commit, wanted)
    }
}

struct Download<'a> {
    client: &'a Client,
    url: String,
    wanted: &'a File,
}

impl Download<'_> {
    /// Brings a file to its full length, and checks it.
    fn run(&self, path: &Path, see: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        let size = self.wanted.size;
        let mut options = fs::OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false);
        let mut out = open.open(path).map_err(file(path))?;
        let mut there = out.metadata().map_err(file(path))?.len();
        if there > size {
            out.set_len(0).map_err(file(path))?;
            there = 0;
        }
        let resumed = there > 0;
        see(Event::Bytes(&self.wanted.name, there));
        let mut failures = 0;
        while there < size {
            let before = there;
            let (reason, wait) = match self.part(&mut out, path, &mut there, see)? {
                Part::Whole => break,
                Part::Broken(reason, wait) => (reason, wait),
            };
            failures = if there > before { 1 } else { failures + 1 };
            if failures == TRIES {
                return Err(Error::Unreachable { url: self.url.clone(), reason });
            }
            see(Event::Note(&format!("{}: {reason}; trying again", self.wanted.name)));
            self.client.wait(failures, wait);
        }
        out.sync_all().map_err(file(path))?;
        let found = self.sum(&mut out).map_err(file(path))?;
        if found == self.wanted.sum {
            return Ok(());
        }
        if resumed {
            // What was left from before may have been of something else.
            see(Event::Note(&format!("{}: damaged; coming again", self.wanted.name)));
            see(Event::Again(there));
            out.set_len(0).map_err(file(path))?;
            drop(out);
            return self.run(path, see);
        }
        drop(out);
        fs::remove_file(path).map_err(file(path))?;
        let (found, expected) = (found.digits().to_owned(), self.wanted.sum.digits());
        let reason = format!("the checksum is {found} instead of {expected}");
        Err(Error::Damaged { url: self.url.clone(), reason })
    }

    /// One answer of the server, from byte `there` on.
    fn part(
        &self,
        out: &mut fs::File,
        path: &Path,
        there: &mut u64,
        see: &mut dyn FnMut(Event<'_>),
    ) -> Result<Part, Error> {
        let from = (*there > 0).then_some(*there);
        let mut response = match self.client.get(&self.url, from)? {
            Reply::Content(response) => response,
            Reply::Later(reason, wait) => return Ok(Part::Broken(reason, wait)),
            Reply::NoSuchRange => return Err(self.answer("it has fewer bytes than announced")),
        };
        let size = self.wanted.size;
        let headers = response.headers();
        if response.status().as_u16() == 206 {
            let range = header(headers, "content-range").unwrap_or_default();
            let expected = format!("bytes {there}-{}/{size}", size - 1);
            if range != expected {
                return Err(self.answer(&format!("it sends `{range}` instead of `{expected}`")));
            }
        } else {
            if let Some(length) = header(headers, "content-length")
                && length != size.to_string()
            {
                return Err(self.answer(&format!("it sends {length} bytes instead of {size}")));
            }
            // The whole file, though a part was asked for.
            if *there > 0 {
                see(Event::Again(*there));
                out.set_len(0).map_err(file(path))?;
                *there = 0;
            }
        }
        out.seek(std::io::SeekFrom::Start(*there)).map_err(file(path))?;
        let mut reader = response.body_mut().as_reader();
        let mut block = vec![0; BLOCK];
        loop {
            let count = match reader.read(&mut block) {
                Ok(0) if *there == size => return Ok(Part::Whole),
                Ok(0) => {
                    return Ok(Part::Broken("the connection ended".to_owned(), Duration::ZERO));
                }
                Ok(count) => count,
                Err(error) => return Ok(Part::Broken(error.to_string(), Duration::ZERO)),
            };
            if count as u64 > size - *there {
                return Err(self.answer(&format!("it sends more than the {size} bytes announced")));
            }
            out.write_all(&block[..count]).map_err(file(path))?;
            *there += count as u64;
            see(Event::Bytes(&self.wanted.name, count as u64));
        }
    }

    fn answer(&self, reason: &str) -> Error {
        Error::Answer { url: self.url.clone(), reason: reason.to_owned() }
    }

    /// The checksum of what came, of the kind that is known.
    fn sum(&self, content: &mut fs::File) -> std::io::Result<Sum> {
        content.rewind()?;
        Ok(match self.wanted.sum {
            Sum::Sha256(_) => Sum::Sha256(hexadecimal(digest(content, Sha256::new())?)),
            Sum::Git(_) => {
                let header = format!("blob {}\0", self.wanted.size);
                Sum::Git(hexadecimal(digest(content, Sha1::new_with_prefix(header))?))
            }
        })
    }
}

enum Part {
    Whole,
    Broken(String, Duration),
}

fn digest(content: &mut fs::File, mut digest: impl Digest) -> std::io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK];
    loop {
        match content.read(&mut block)? {
            0 => return Ok(digest.finalize().to_vec()),
            count => digest.update(&block[..count]),
        }
    }
}

fn hexadecimal(bytes: Vec<u8>) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
