//! The log of a run: JSON lines.
//!
//! The first line describes the run, every other one an optimizer step. A run that resumes goes on
//! in the same file; where steps are repeated, the later line counts.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What is known after one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on so far; examples, where a program is trained that is no language model.
    pub tokens: u64,
    /// The mean loss of the step in nats per token. Numbers that are not finite are `null`.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// The learning rate.
    #[serde(deserialize_with = "number")]
    pub lr: f64,
    /// The global norm of the gradient before clipping.
    #[serde(deserialize_with = "number")]
    pub grad_norm: f64,
    /// What the loss was multiplied by on its way back, if by anything. The loss and the norm
    /// here are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// How long the step took, in milliseconds.
    #[serde(deserialize_with = "number")]
    pub ms: f64,
    /// Tokens per second.
    #[serde(deserialize_with = "number")]
    pub tokens_per_s: f64,
    /// The loss on the validation data, when it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// The part of the validation data whose class was found, where there are classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
}

/// JSON has no numbers that are not finite; they are written as `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Writes a log; every line is in the file as soon as it is written.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Starts a new log, replacing what was there, with a line that describes the run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path, run: &Value) -> std::io::Result<Self> {
        let mut writer = Self { file: File::create(path)? };
        writer.line(run)?;
        Ok(writer)
    }

    /// Goes on with a log; starts it if it is not there.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn append(path: &Path, run: &Value) -> std::io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.seek(SeekFrom::End(0))? == 0 {
            return Self::create(path, run);
        }
        // A crash may have left half a line, which must not spoil the next.
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        let mut writer = Self { file };
        writer.line(run)?;
        Ok(writer)
    }

    /// Writes the line of a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&mut self, record: &Record) -> std::io::Result<()> {
        self.line(record)
    }

    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// A log that has been read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The line that describes the run; `Null` if there is none.
    pub run: Value,
    /// The steps, in order.
    pub records: Vec<Record>,
}

/// Reads a log. Lines that are not records are left out, so that a log can be read while it is
/// being written and after a crash.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> std::io::Result<Log> {
    let mut log = Log::default();
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let value: Value = serde_json::from_slice(&line).unwrap_or_default();
        line.clear();
        if let Ok(record) = Record::deserialize(&value) {
            // Steps done again after resuming replace the first attempt.
            let kept = log.records.partition_point(|earlier| earlier.step < record.step);
            log.records.truncate(kept);
            log.records.push(record);
        } else if log.run.is_null() && value.is_object() {
            log.run = value;
        }
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Folder;
    use serde_json::json;

    fn record(step: u64, loss: f64) -> Record {
        Record {
            step,
            tokens: step * 512,
            loss,
            lr: 1e-3,
            grad_norm: 0.5,
            loss_scale: None,
            ms: 12.5,
            tokens_per_s: 40_960.0,
            val_loss: step.is_multiple_of(2).then_some(loss + 0.25),
            val_accuracy: None,
        }
    }

    #[test]
    fn lines_have_the_names_that_others_read() {
        let folder = Folder::new("metrics");
        let path = folder.path().join("log.jsonl");
        let mut writer = Writer::create(&path, &json!({ "model": "tiny" })).unwrap();
        writer.record(&record(1, 2.5)).unwrap();
        writer.record(&record(2, f64::NAN)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            concat!(
                "{\"model\":\"tiny\"}\n",
                "{\"step\":1,\"tokens\":512,\"loss\":2.5,\"lr\":0.001,\"grad_norm\":0.5,",
                "\"ms\":12.5,\"tokens_per_s\":40960.0}\n",
                "{\"step\":2,\"tokens\":1024,\"loss\":null,\"lr\":0.001,\"grad_norm\":0.5,",
                "\"ms\":12.5,\"tokens_per_s\":40960.0,\"val_loss\":null}\n",
            )
        );
        let log = read(&path).unwrap();
        assert_eq!(log.run, json!({ "model": "tiny" }));
        assert_eq!(log.records[0], record(1, 2.5));
        assert!(log.records[1].loss.is_nan());
    }

    #[test]
    fn resuming_replaces_the_steps_done_again() {
        let folder = Folder::new("metrics-resume");
        let path = folder.path().join("log.jsonl");
        let mut writer = Writer::append(&path, &json!({ "seed": 1 })).unwrap();
        for step in 1..=5 {
            writer.record(&record(step, 1.0)).unwrap();
        }
        // A crash in the middle of a line.
        writer.file.write_all(b"{\"step\":6,\"tok").unwrap();
        let mut writer = Writer::append(&path, &json!({ "seed": 2 })).unwrap();
        for step in 4..=6 {
            writer.record(&record(step, 0.5)).unwrap();
        }
        let log = read(&path).unwrap();
        assert_eq!(log.run, json!({ "seed": 1 }));
        let steps: Vec<(u64, f64)> =
            log.records.iter().map(|record| (record.step, record.loss)).collect();
        assert_eq!(steps, [(1, 1.0), (2, 1.0), (3, 1.0), (4, 0.5), (5, 0.5), (6, 0.5)]);
    }

    #[test]
    fn anything_else_in_a_log_is_left_out() {
        let folder = Folder::new("metrics-odd");
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, b"\n7\n\xff\xfe\n[]\n{\"model\":1}\n{\"step\":-1}\n").unwrap();
        let log = read(&path).unwrap();
        assert_eq!((log.run, log.records.len()), (json!({ "model": 1 }), 0));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
