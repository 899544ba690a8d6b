//! Chats and instructions.

use super::progress::Progress;
use anyhow::bail;
use std::path::Path;
use text::Tokenizer;
use text::chat::{ChatTemplate, Record, encode_chat, encode_pair, records};
use train::data::Samples;

/// Whether a file is one of JSON lines, by its name.
pub fn is_jsonl(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["jsonl", "ndjson"].contains(&extension.to_ascii_lowercase().as_str())
}

/// What turns records into samples.
pub struct Reader<'a> {
    pub tokenizer: &'a Tokenizer,
    pub template: Option<ChatTemplate>,
    /// Tokens of the model.
    pub vocabulary: usize,
    /// Positions of a sequence.
    pub seq: usize,
}

impl Reader<'_> {
    /// Reads a file. What does not fit a sequence is cut off.
    pub fn read(&self, path: &Path, progress: &Progress) -> anyhow::Result<Samples> {
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut samples = Samples::default();
        let (mut cut, mut nothing) = (0, 0);
        let mut see = |record: Record| -> Result<(), String> {
            let encoded = match record {
                Record::Chat(messages) => {
                    let template = self.template.as_ref().ok_or(
                        "the model has no chat template: give one with --chat-template FILE, or \
                         --chat-template chatml",
                    )?;
                    encode_chat(template, self.tokenizer, &messages)
                }
                Record::Pair { prompt, completion } => {
                    encode_pair(self.tokenizer, &prompt, &completion).map(|sample| vec![sample])
                }
            };
            for sample in encoded.map_err(|error| error.to_string())? {
                if let Some(&token) = sample.tokens.iter().find(|&&t| t as usize >= self.vocabulary)
                {
                    let vocabulary = self.vocabulary;
                    return Err(format!("token {token} is not in the vocabulary of {vocabulary}"));
                }
                cut += u64::from(sample.tokens.len() > self.seq + 1);
                if !samples.push(&sample.tokens, &sample.counted, self.seq + 1) {
                    nothing += 1;
                }
            }
            Ok(())
        };
        records(path, &mut |done| progress.reading(done, size), &mut see)?;
        if cut > 0 {
            let most = self.seq + 1;
            progress.note(&format!("{cut} samples were cut to {most} tokens; --seq takes more"))?;
        }
        if nothing > 0 {
            progress
                .note(&format!("{nothing} samples were left out: no answer is in what fits"))?;
        }
        if samples.is_empty() {
            bail!("`{}` has no sample with an answer", path.display());
        }
        Ok(samples)
    }
}
