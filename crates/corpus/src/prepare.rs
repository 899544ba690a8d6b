//! From documents to a folder of tokens.
//!
//! ```text
//! reader ──► encoder, encoder, … ──► writer
//! ```
//!
//! The reader leaves duplicates out and makes batches of about the same number of bytes. Batch `k`
//! goes to encoder `k mod n`, and the writer takes from the encoders in turn: the order of
//! documents is that of the files, however the threads are scheduled, and no queue holds more than
//! two batches.
//!
//! Going on after a stop reads the documents that were written once more, without encoding them:
//! that costs a fraction of encoding, brings back which documents have been seen, and shows
//! whether they are still the same.

use crate::index::{Crc, Index, Tally, TokenizerFile, Width, read_small};
use crate::seen::Seen;
use crate::shards::Writer;
use crate::workplace::{Saved, Workplace, sources};
use crate::{Counts, Documents, Error, Found, Reading, hash};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// From text to tokens, or why that failed.
pub type Encode<'a> = &'a (dyn Fn(&str) -> Result<Vec<u32>, String> + Sync);

/// What is made of the documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The part of documents that is set aside, 0 to 1.
    pub validation: f64,
    /// Decides which.
    pub seed: u64,
    /// Leave out documents that were there before.
    pub dedup: bool,
    /// A file ends with the document that brings it to this number of tokens.
    pub shard_tokens: u64,
    /// Every token is below.
    pub vocabulary: u32,
    /// The token after every document.
    pub end_of_text: u32,
    /// The tokenizer's file in the workplace.
    pub tokenizer: Option<String>,
}

/// What is prepared, and how.
pub struct Job<'a> {
    /// The files.
    pub found: &'a Found,
    /// How they are read.
    pub reading: &'a Reading,
    /// What is made of the documents.
    pub settings: &'a Settings,
    /// From text to tokens.
    pub encode: Encode<'a>,
    /// Threads that encode; one more reads, and the caller's writes.
    pub threads: usize,
    /// Ends the work soon; what was done is kept.
    pub stop: &'a AtomicBool,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files that have been read.
    pub bytes: u64,
    /// What was read.
    pub counts: Counts,
    /// Documents left out.
    pub duplicates: u64,
    /// Documents written.
    pub documents: u64,
    /// Tokens written.
    pub tokens: u64,
}

/// How it ended.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // There is one.
pub enum Outcome {
    /// The folder is whole.
    Done(Index),
    /// It was stopped; going on is possible.
    Stopped(Progress),
}

/// Text in a batch, about.
const BATCH_BYTES: usize = 1 << 18;

/// Documents in a batch, at most.
const BATCH_DOCUMENTS: usize = 4096;

/// Batches that wait before and behind each encoder.
const WAITING: usize = 2;

/// Encodes the documents of files, and writes them as a folder of tokens.
///
/// `progress` is called after every batch.
///
/// # Errors
/// If a file cannot be read or written or has something wrong in it, if the tokenizer fails, or,
/// where earlier work is gone on with, if that was done with other settings or documents. What was
/// done is kept then as well.
pub fn prepare(
    job: &Job<'_>,
    workplace: Workplace,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Outcome, Error> {
    let Job { found, reading, settings, encode, threads, stop } = *job;
    let mut index = Index::new(
        Width::of(settings.vocabulary as usize),
        settings.vocabulary,
        settings.end_of_text,
    );
    let folder = workplace.folder();
    index.seed = settings.seed;
    index.sources = sources(found);
    if let Some(file) = &settings.tokenizer {
        let bytes = read_small(&folder.join(file), 1 << 28)?;
        let crc32 = Crc(crc32fast::hash(&bytes));
        index.tokenizer = Some(TokenizerFile { file: file.clone(), crc32 });
    }
    let kept = serde_json::json!({ "settings": settings, "tokenizer": index.tokenizer });
    let saved = workplace.saved()?;
    if let Some(saved) = &saved
        && saved.settings != kept
    {
        let (path, reason) = (folder.to_owned(), different(&saved.settings, &kept));
        return Err(Error::Resume { path, reason });
    }
    let (train, validation, before) = match saved {
        Some(saved) => {
            let chain = u128::from_str_radix(&saved.chain, 16).unwrap_or_default();
            (saved.train, saved.validation, (saved.documents, chain))
        }
        None => Default::default(),
    };
    let writer =
        |name, state| Writer::new(folder, name, index.token_bytes, settings.shard_tokens, state);
    let mut output = Output {
        train: writer("train", train)?,
        validation: writer("val", validation)?,
        workplace: &workplace,
        settings: kept,
        progress: Progress::default(),
        documents: before.0,
        chain: before.1,
        ended: false,
    };
    let seen = settings.dedup.then(|| Seen::new(folder));
    let threads = threads.max(1);
    let whole = !cuts_well(encode);
    let result = std::thread::scope(|scope| {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (send_batch, batches) = sync_channel::<Result<Batch, Error>>(WAITING);
            let (send_result, results) = sync_channel(WAITING);
            to.push(send_batch);
            from.push(results);
            scope.spawn(move || {
                for batch in batches {
                    let batch =
                        batch.and_then(|batch| batch.encode(found, settings, encode, whole));
                    // The writer has gone when it has met an error.
                    if send_result.send(batch).is_err() {
                        break;
                    }
                }
            });
        }
        let documents = Documents::new(&found.files, reading);
        let reader = Reader { documents, seen, settings, stop, ended: false };
        scope.spawn(move || reader.run(before, folder, &to));
        output.take(&from, progress)
    });
    let written = output.progress;
    if let Err(error) = result {
        // What the disk does not take need not hide what went wrong first.
        output.save().ok();
        return Err(error);
    }
    if !output.ended {
        output.save()?;
        return Ok(Outcome::Stopped(written));
    }
    let Output { train, validation, .. } = output;
    (index.train, index.validation) = (train.finish()?, validation.finish()?);
    index.read = Tally {
        files: found.files.len() as u64,
        bytes: found.bytes(),
        files_skipped: found.skipped,
        counts: written.counts,
        duplicates: written.duplicates,
    };
    if written.documents == 0 {
        let Counts { empty, bad, .. } = written.counts;
        workplace.remove()?;
        return Err(Error::NoDocuments { files: found.files.len(), empty, bad });
    }
    index.write(folder)?;
    workplace.finish()?;
    Ok(Outcome::Done(index))
}

/// Which setting is another.
fn different(before: &serde_json::Value, now: &serde_json::Value) -> String {
    let of = |value: &serde_json::Value, name: &str| value["settings"][name].to_string();
    let names = now["settings"].as_object().into_iter().flat_map(|settings| settings.keys());
    let other = names.map(String::as_str).find(|name| of(before, name) != of(now, name));
    match other {
        Some(name) => {
            format!("it was begun with {name} {}, not {}", of(before, name), of(now, name))
        }
        None => "it was begun with another tokenizer".to_owned(),
    }
}

/// Documents on their way to an encoder, and what had been read when they were.
struct Batch {
    documents: Vec<Text>,
    read: Progress,
    /// Nothing follows, because all has been read.
    ended: bool,
}

struct Text {
    text: String,
    hash: u128,
    validation: bool,
    file: usize,
    number: u64,
}

struct Reader<'a> {
    documents: Documents,
    seen: Option<Seen>,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    ended: bool,
}

impl Reader<'_> {
    /// Sends all documents but those written before to the encoders in turn, until they are gone.
    fn run(mut self, before: (u64, u128), folder: &Path, to: &[SyncSender<Result<Batch, Error>>]) {
        let mut turn = to.iter().cycle();
        let mut send = |batch| turn.next().is_some_and(|to| to.send(batch).is_ok());
        let mut read = Progress::default();
        if before.0 > 0
            && let Err(error) = self.pass_over(before, folder, &mut read)
        {
            send(Err(error));
            return;
        }
        loop {
            let (batch, error) = self.batch(&mut read);
            // What was read before the error is written, so it is sent first; but no batch without
            // documents, which would be the last.
            let none = batch.documents.is_empty();
            let sent = (none && error.is_some()) || send(Ok(batch));
            if let Some(error) = error.filter(|_| sent) {
                send(Err(error));
                return;
            }
            if none || !sent {
                return;
            }
        }
    }

    /// Reads what was written before, and makes sure that it is the same.
    fn pass_over(
        &mut self,
        (documents, expected): (u64, u128),
        folder: &Path,
        read: &mut Progress,
    ) -> Result<(), Error> {
        let mut chain = 0;
        for _ in 0..documents {
            match self.next(read)? {
                Some(text) => chain = link(chain, text.hash),
                None if self.stop.load(Ordering::Relaxed) => return Ok(()),
                None => break,
            }
        }
        if chain != expected {
            let reason = format!(
                "its first {documents} documents are not those that are read now: begin anew"
            );
            return Err(Error::Resume { path: folder.to_owned(), reason });
        }
        Ok(())
    }

    /// The next documents: none if all have been read, or if it is to stop.
    fn batch(&mut self, read: &mut Progress) -> (Batch, Option<Error>) {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        let mut failed = None;
        while bytes < BATCH_BYTES && documents.len() < BATCH_DOCUMENTS {
            match self.next(read) {
                Ok(Some(text)) => {
                    bytes += text.text.len();
                    documents.push(text);
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let batch = Batch { documents, read: *read, ended: self.ended };
        (batch, failed)
    }

    /// The next document that has not been seen.
    fn next(&mut self, read: &mut Progress) -> Result<Option<Text>, Error> {
        let mut next = None;
        while next.is_none() && !self.stop.load(Ordering::Relaxed) {
            let Some(document) = self.documents.next() else {
                self.ended = true;
                break;
            };
            let document = document?;
            if let Some(seen) = &mut self.seen
                && !seen.insert(document.hash)?
            {
                read.duplicates += 1;
                continue;
            }
            let validation =
                hash::picked(document.hash, self.settings.seed, self.settings.validation);
            let (file, number, hash) = (document.file, document.number, document.hash);
            next = Some(Text { text: document.text, hash, validation, file, number });
        }
        read.counts = self.documents.counts();
        read.bytes = self.documents.bytes();
        Ok(next)
    }
}

/// The hash of one more hash.
fn link(chain: u128, hash: u128) -> u128 {
    // Multiplying by an odd number loses nothing, and makes the order count.
    (chain ^ hash).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).rotate_left(47)
}

/// Documents on their way from an encoder.
struct Encoded {
    documents: Vec<EncodedText>,
    read: Progress,
    ended: bool,
}

struct EncodedText {
    tokens: Vec<u32>,
    hash: u128,
    validation: bool,
    text_bytes: u64,
    ends_inside: u64,
}

impl Batch {
    fn encode(
        self,
        found: &Found,
        settings: &Settings,
        encode: Encode<'_>,
        whole: bool,
    ) -> Result<Encoded, Error> {
        let mut documents = Vec::with_capacity(self.documents.len());
        for Text { text, hash, validation, file, number } in self.documents {
            let tokens = if whole { encode(&text) } else { encode_long(&text, encode) };
            let checked = tokens.and_then(|tokens| {
                match tokens.iter().find(|&&id| id >= settings.vocabulary) {
                    None => Ok(tokens),
                    Some(id) => Err(format!(
                        "the tokenizer gives token {id}, outside its vocabulary of {}",
                        settings.vocabulary
                    )),
                }
            });
            let mut tokens = checked.map_err(|reason| Error::Encode {
                path: found.files[file].path.clone(),
                document: number,
                reason,
            })?;
            let ends = tokens.iter().filter(|&&id| id == settings.end_of_text).count() as u64;
            tokens.push(settings.end_of_text);
            let text_bytes = text.len() as u64;
            documents.push(EncodedText { tokens, hash, validation, text_bytes, ends_inside: ends });
        }
        Ok(Encoded { documents, read: self.read, ended: self.ended })
    }
}

/// Text that is encoded at once; tokenizers take many times as much memory.
const PIECE: usize = 1 << 20;

/// A text without a good place to cut it is cut anywhere after this many bytes.
const LONGEST_PIECE: usize = 1 << 23;

/// Whether a text that is cut before a space has the tokens of the whole.
fn cuts_well(encode: Encode<'_>) -> bool {
    let joined = |left: &str, right: &str| {
        let mut tokens = encode(left)?;
        tokens.extend(encode(right)?);
        Ok::<_, String>(tokens == encode(&format!("{left}{right}"))?)
    };
    // A tokenizer that fails here will say so again where the document can be named.
    joined("It was told", " again") == Ok(true) && joined("the", " end of it") == Ok(true)
}

fn encode_long(mut text: &str, encode: Encode<'_>) -> Result<Vec<u32>, String> {
    let mut tokens = Vec::new();
    while text.len() > PIECE {
        let (piece, rest) = text.split_at(cut(text));
        tokens.extend(encode(piece)?);
        text = rest;
    }
    match tokens.is_empty() {
        true => encode(text),
        false => {
            tokens.extend(encode(text)?);
            Ok(tokens)
        }
    }
}

/// Where a long text can be cut without changing its tokens: before the last space that stands
/// between two letters, where tokenizers of the usual kinds begin a new word.
fn cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    let good = |at: &usize| {
        bytes[*at] == b' '
            && bytes[*at - 1].is_ascii_alphabetic()
            && bytes.get(*at + 1).is_some_and(u8::is_ascii_alphabetic)
    };
    let end = LONGEST_PIECE.min(bytes.len());
    let found = (1..PIECE).rev().find(good).or_else(|| (PIECE..end).find(good));
    found.unwrap_or_else(|| text.floor_char_boundary(end))
}

/// What is written, and how far it is.
struct Output<'a> {
    train: Writer,
    validation: Writer,
    workplace: &'a Workplace,
    settings: serde_json::Value,
    progress: Progress,
    /// Documents written, and the hash of their hashes.
    documents: u64,
    chain: u128,
    /// All has been read and written.
    ended: bool,
}

impl Output<'_> {
    /// Takes batches from the encoders in turn until an empty one comes.
    fn take(
        &mut self,
        from: &[Receiver<Result<Encoded, Error>>],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), Error> {
        for from in from.iter().cycle() {
            // An encoder that has gone without a word has panicked, which the scope passes on.
            let Ok(batch) = from.recv() else { break };
            let batch = batch?;
            let last = batch.documents.is_empty();
            self.ended = batch.ended;
            self.write(batch)?;
            progress(&self.progress);
            if last {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: Encoded) -> Result<(), Error> {
        let mut full = false;
        for document in batch.documents {
            let EncodedText { tokens, hash, validation, text_bytes, ends_inside } = document;
            let writer = if validation { &mut self.validation } else { &mut self.train };
            full |= writer.push(&tokens, text_bytes, ends_inside)?;
            self.documents += 1;
            self.chain = link(self.chain, hash);
        }
        self.progress = batch.read;
        self.progress.documents = self.documents;
        self.progress.tokens = self.train.tokens() + self.validation.tokens();
        if full { self.save() } else { Ok(()) }
    }

    fn save(&mut self) -> Result<(), Error> {
        let saved = Saved {
            settings: self.settings.clone(),
            documents: self.documents,
            chain: format!("{:032x}", self.chain),
            train: self.train.save()?,
            validation: self.validation.save()?,
        };
        self.workplace.save(&saved)
    }
}
