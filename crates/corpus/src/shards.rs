//! Writes the tokens of one part, shard by shard.

use crate::Error;
use crate::index::{Crc, Part, Shard, Width};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where a writer is: all that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// All that was written; the shards that are whole.
    pub part: Part,
    /// The shard that is not.
    pub open: Option<Shard>,
}

/// Writes the tokens of one part.
pub(crate) struct Writer {
    folder: PathBuf,
    name: &'static str,
    width: Width,
    shard_tokens: u64,
    state: State,
    file: Option<BufWriter<File>>,
    bytes: Vec<u8>,
}

impl Writer {
    /// Goes on from a state (the default one for a beginning). A shard ends with the document
    /// that brings it to `shard_tokens` tokens.
    pub fn new(
        folder: &Path,
        name: &'static str,
        width: Width,
        shard_tokens: u64,
        state: State,
    ) -> Result<Self, Error> {
        let folder = folder.to_owned();
        let mut writer =
            Self { folder, name, width, shard_tokens, state, file: None, bytes: Vec::new() };
        for shard in &writer.state.part.shards {
            writer.check(shard, |found, expected| found == expected)?;
        }
        if let Some(shard) = &writer.state.open {
            let expected = writer.check(shard, |found, expected| found >= expected)?;
            let path = writer.folder.join(&shard.file);
            let open = || {
                let mut file = File::options().write(true).open(&path)?;
                // What was written after the state was saved is written again.
                file.set_len(expected)?;
                file.seek(SeekFrom::End(0))?;
                Ok(file)
            };
            writer.file = Some(BufWriter::new(open().map_err(Error::file(&path))?));
        }
        Ok(writer)
    }

    fn check(&self, shard: &Shard, suits: impl Fn(u64, u64) -> bool) -> Result<u64, Error> {
        let path = self.folder.join(&shard.file);
        let found = std::fs::metadata(&path).map_err(Error::file(&path))?.len();
        let expected = shard.tokens.saturating_mul(self.width.bytes() as u64);
        if !suits(found, expected) {
            let reason = format!("{found} bytes, and {expected} had been written");
            return Err(Error::Resume { path, reason });
        }
        Ok(expected)
    }

    /// Writes a document: its tokens with the end of text behind them, of which `ends_inside` are
    /// ends of text that stood in the document. Whether that filled the shard.
    pub fn push(
        &mut self,
        tokens: &[u32],
        text_bytes: u64,
        ends_inside: u64,
    ) -> Result<bool, Error> {
        let shard = match &mut self.state.open {
            Some(shard) => shard,
            None => {
                let file = format!("{}-{:05}.bin", self.name, self.state.part.shards.len());
                let path = self.folder.join(&file);
                let created = File::create(&path).map_err(Error::file(&path))?;
                self.file = Some(BufWriter::with_capacity(1 << 18, created));
                self.state.open.insert(Shard { file, tokens: 0, documents: 0, crc32: Crc(0) })
            }
        };
        self.bytes.clear();
        self.width.encode(tokens, &mut self.bytes);
        let mut crc = crc32fast::Hasher::new_with_initial(shard.crc32.0);
        crc.update(&self.bytes);
        shard.crc32 = Crc(crc.finalize());
        if let Some(file) = &mut self.file {
            file.write_all(&self.bytes).map_err(Error::file(&self.folder.join(&shard.file)))?;
        }
        let count = tokens.len() as u64;
        shard.tokens += count;
        shard.documents += 1;
        let part = &mut self.state.part;
        part.tokens += count;
        part.documents += 1;
        part.text_bytes += text_bytes;
        part.ends_inside += ends_inside;
        part.lengths.add(count.saturating_sub(1));
        let full = shard.tokens >= self.shard_tokens;
        if full {
            self.close()?;
        }
        Ok(full)
    }

    /// Tokens written so far.
    pub fn tokens(&self) -> u64 {
        self.state.part.tokens
    }

    /// Makes sure that all is on disk, and says where the writer is.
    pub fn save(&mut self) -> Result<State, Error> {
        self.sync()?;
        Ok(self.state.clone())
    }

    /// Ends the last shard.
    pub fn finish(mut self) -> Result<Part, Error> {
        self.close()?;
        Ok(self.state.part)
    }

    fn close(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.file = None;
        self.state.part.shards.extend(self.state.open.take());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        if let (Some(file), Some(shard)) = (&mut self.file, &self.state.open) {
            let synced = file.flush().and_then(|()| file.get_ref().sync_all());
            synced.map_err(Error::file(&self.folder.join(&shard.file)))?;
        }
        Ok(())
    }
}
