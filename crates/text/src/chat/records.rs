//! Conversations and instructions in files of JSON lines.

use super::{Error, Message};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The longest line that is read.
const LONGEST_LINE: u64 = 1 << 26;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `{"messages": [{"role": …, "content": …}, …]}`.
    Chat(Vec<Message>),
    /// `{"prompt": …, "completion": …}`: text, and how it goes on.
    Pair {
        /// The text.
        prompt: String,
        /// How it goes on.
        completion: String,
    },
}

/// Whether the first line of a file is such a record, and the file not one of plain texts.
///
/// # Errors
/// If it cannot be read.
pub fn has_records(path: &Path) -> Result<bool, Error> {
    let mut line = vec![];
    let file = open(path)?;
    BufReader::new(file.take(LONGEST_LINE))
        .read_until(b'\n', &mut line)
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    let keys = ["messages", "conversations", "prompt", "completion", "instruction"];
    let value: Result<Value, _> = serde_json::from_slice(&line);
    Ok(value.is_ok_and(|value| keys.iter().any(|key| value.get(key).is_some())))
}

/// Gives every record of a file to `see`, which may refuse it with a reason; empty lines are passed
/// over. `progress` is told the bytes read.
///
/// An instruction, `{"instruction": …, "input": …, "output": …}`, is a conversation of two messages;
/// the input, which may be missing, follows the instruction behind an empty line.
///
/// # Errors
/// If the file cannot be read, a line is no record, or `see` refuses it.
pub fn records(
    path: &Path,
    progress: &mut dyn FnMut(u64),
    see: &mut dyn FnMut(Record) -> Result<(), String>,
) -> Result<(), Error> {
    let mut reader = BufReader::with_capacity(1 << 20, open(path)?);
    let (mut line, mut number, mut done) = (vec![], 0, 0);
    loop {
        line.clear();
        number += 1;
        let file_error = |source| Error::File { path: path.to_owned(), source };
        let length =
            (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut line).map_err(file_error)?
                as u64;
        let line_error =
            |reason: String| Error::Line { path: path.to_owned(), line: number, reason };
        if length == 0 {
            return Ok(());
        }
        if length > LONGEST_LINE {
            return Err(line_error(format!("more than {LONGEST_LINE} bytes")));
        }
        done += length;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value = serde_json::from_slice(&line).map_err(|e| line_error(e.to_string()))?;
        record(&value).and_then(&mut *see).map_err(line_error)?;
        progress(done);
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn record(value: &Value) -> Result<Record, String> {
    let text = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` must be a string")),
    };
    if let Some(messages) = value.get("messages").or(value.get("conversations")) {
        return messages_of(messages).map(Record::Chat);
    }
    if let Some(instruction) = text("instruction")? {
        let output = text("output")?.ok_or("`output` is missing")?;
        let asked = match text("input")?.filter(|input| !input.is_empty()) {
            Some(input) => format!("{instruction}\n\n{input}"),
            None => instruction,
        };
        let messages = vec![Message::new("user", &asked), Message::new("assistant", &output)];
        return Ok(Record::Chat(messages));
    }
    match (text("prompt")?, text("completion")?) {
        (Some(prompt), Some(completion)) => Ok(Record::Pair { prompt, completion }),
        (Some(_), None) => Err("`completion` is missing".to_owned()),
        (None, Some(_)) => Err("`prompt` is missing".to_owned()),
        (None, None) => Err("expected `messages`, or `prompt` and `completion`, or `instruction` \
                             and `output`"
            .to_owned()),
    }
}

fn messages_of(value: &Value) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or("`messages` must be a list")?;
    let message = |(index, value): (usize, &Value)| {
        let text = |keys: [&str; 2]| keys.iter().find_map(|key| value.get(key)?.as_str());
        let (role, content) = (text(["role", "from"]), text(["content", "value"]));
        let (Some(role), Some(content)) = (role, content) else {
            return Err(format!("message {} needs `role` and `content`, both strings", index + 1));
        };
        // As some data sets call them.
        let role = match role {
            "human" => "user",
            "gpt" => "assistant",
            other => other,
        };
        Ok(Message::new(role, content))
    };
    let messages = list.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?;
    if !messages.iter().any(|message| message.role == "assistant") {
        return Err("no message is the assistant's, so there is nothing to learn".to_owned());
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Record>, String> {
        let folder = std::env::temp_dir().join(format!(
            "anemone-records-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("data.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut found = vec![];
        let result = records(&path, &mut |_| (), &mut |record| {
            found.push(record);
            Ok(())
        });
        let prefix = format!("{}: ", path.display());
        std::fs::remove_dir_all(&folder).unwrap();
        result.map(|()| found).map_err(|e| e.to_string().replace(&prefix, ""))
    }

    #[test]
    fn every_form_is_read() {
        let text = concat!(
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
            "\n\n",
            r#"{"prompt": "p", "completion": "c"}"#,
            "\r\n",
            r#"{"instruction": "do", "input": "this", "output": "done"}"#,
            "\n",
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
        );
        let two = |asked: &str, said: &str| {
            Record::Chat(vec![Message::new("user", asked), Message::new("assistant", said)])
        };
        let pair = Record::Pair { prompt: "p".into(), completion: "c".into() };
        let expected = [two("a", "b"), pair, two("do\n\nthis", "done"), two("a", "b")];
        assert_eq!(all(text).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            (
                "{}",
                "line 1: expected `messages`, or `prompt` and `completion`, or `instruction` and `output`",
            ),
            (r#"{"prompt": "p"}"#, "line 1: `completion` is missing"),
            (r#"{"prompt": 3, "completion": "c"}"#, "line 1: `prompt` must be a string"),
            ("\n{\"messages\": 3}", "line 2: `messages` must be a list"),
            (
                r#"{"messages": [{"role": "user"}]}"#,
                "line 1: message 1 needs `role` and `content`, both strings",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "a"}]}"#,
                "line 1: no message is the assistant's, so there is nothing to learn",
            ),
            ("[", "line 1: EOF while parsing a list at line 1 column 1"),
            ("\u{fffd}", "line 1: expected value at line 1 column 1"),
        ];
        for (text, expected) in cases {
            assert_eq!(all(text).unwrap_err(), expected);
        }
    }
}
