//! No bytes make the readers of text and JSON lines panic, and what they give is text that was
//! there. Run with `cargo +nightly fuzz run documents`.
#![no_main]

use corpus::{Documents, Format, Reading, Split};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|input: (u8, u8, String, Vec<u8>)| {
    let (kind, limit, separator, bytes) = input;
    let split = match kind % 4 {
        0 => Split::Whole,
        1 => Split::Lines,
        2 => Split::BlankLines,
        _ if separator.is_empty() => Split::Lines,
        _ => Split::Separator(separator),
    };
    let format = if kind & 4 == 0 { Format::Text } else { Format::Jsonl };
    let (skip_bad, lossy) = (kind & 8 != 0, kind & 16 != 0);
    let max_document = usize::from(limit) + 1;
    let reading = Reading { split, skip_bad, lossy, max_document, ..Reading::default() };
    let stream = Box::new(std::io::Cursor::new(bytes.clone()));
    let mut documents =
        Documents::of_stream(Path::new("x"), stream, format, &reading).expect("not Parquet");
    let (mut number, mut total) = (0, 0);
    for document in documents.by_ref() {
        let Ok(document) = document else { break };
        number += 1;
        total += document.text.len();
        assert_eq!(document.number, number);
        assert!(!document.text.trim().is_empty());
    }
    assert!(documents.next().is_none());
    assert_eq!(documents.counts().documents, number);
    // A byte that is replaced becomes three; nothing else grows.
    assert!(total <= 3 * bytes.len());
});
