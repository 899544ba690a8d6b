//! Parquet files, as pyarrow writes them (scripts/fixtures/make_parquet.py) and damaged.
#![cfg(feature = "parquet")]

mod common;

use common::Folder;
use corpus::{Counts, Documents, Error, Reading, Selection};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(path: &Path, reading: &Reading) -> (Vec<String>, Counts, Option<Error>) {
    let found = corpus::find(&[path.to_owned()], &Selection::default()).unwrap();
    let mut documents = Documents::new(&found.files, reading);
    let (mut texts, mut error) = (vec![], None);
    for document in documents.by_ref() {
        match document {
            Ok(document) => texts.push(document.text),
            Err(wrong) => error = Some(wrong),
        }
    }
    if error.is_none() {
        assert_eq!(documents.bytes(), found.bytes(), "progress comes to its end");
    }
    (texts, documents.counts(), error)
}

fn field(name: &str) -> Reading {
    Reading { field: name.to_owned(), ..Reading::default() }
}

#[test]
fn every_row_of_every_encoding_comes_out() {
    let expected: Vec<String> = (0..150)
        .filter(|n| ![7, 11].contains(n))
        .map(|n| format!("document {n}: {}", vec!["naïve 日本 word"; n % 5 + 1].join(" ")))
        .collect();
    for name in ["snappy.parquet", "zstd.parquet", "plain.parquet"] {
        let (texts, counts, error) = read(&fixture(name), &Reading::default());
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!((texts, counts.empty), (expected.clone(), 2), "{name}");
        let (titles, ..) = read(&fixture(name), &field("meta.title"));
        assert_eq!((titles.len(), &*titles[149]), (150, "title 149"));
    }
}

#[test]
fn columns_that_do_not_suit_are_named() {
    let folder = Folder::new("columns");
    for (name, reason) in [
        (
            "body",
            "no column `body` (--field): it has `id`, `text`, `meta.title`, `tags.list.element`",
        ),
        ("id", "column `id` holds INT64; text (BYTE_ARRAY) is expected"),
        (
            "tags.list.element",
            "column `tags.list.element` holds lists; one text in a row is expected",
        ),
    ] {
        let path = folder.write("x.parquet", std::fs::read(fixture("snappy.parquet")).unwrap());
        let error = read(&path, &field(name)).2.unwrap();
        assert_eq!(folder.message(&error), format!("DIR/x.parquet: the schema: {reason}"));
    }
}

#[test]
fn bytes_that_are_not_text_are_named_skipped_or_replaced() {
    let path = fixture("not_utf8.parquet");
    let (texts, _, error) = read(&path, &Reading::default());
    assert_eq!(texts, ["ok"]);
    let message = error.unwrap().to_string();
    let place =
        "not_utf8.parquet: row group 1, row 2: not UTF-8 text: byte 1 of the value is wrong";
    assert!(message.ends_with(place), "{message}");
    let skip = Reading { skip_bad: true, ..Reading::default() };
    let (texts, counts, _) = read(&path, &skip);
    assert_eq!((texts.len(), counts.bad), (1, 1));
    let lossy = Reading { lossy: true, ..Reading::default() };
    assert_eq!(read(&path, &lossy).0[1], "a\u{fffd}b");
}

#[test]
fn damaged_files_are_refused_or_read_and_never_end_the_program() {
    let folder = Folder::new("damaged");
    // Panics that are caught would fill the test's output.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut refused = 0;
    for name in ["snappy.parquet", "zstd.parquet", "plain.parquet"] {
        let good = std::fs::read(fixture(name)).unwrap();
        for length in (0..good.len()).step_by(97) {
            let path = folder.write("x.parquet", &good[..length]);
            let error = read(&path, &Reading::default()).2.expect("a part of a file is refused");
            assert!(folder.message(&error).starts_with("DIR/x.parquet: "), "{error}");
        }
        // Bytes that are turned round, one at a time, in pages and in the footer.
        for place in (0..good.len()).step_by(23) {
            let mut bytes = good.clone();
            bytes[place] ^= 0xff;
            let path = folder.write("x.parquet", &bytes);
            if let Some(error) = read(&path, &Reading::default()).2 {
                refused += 1;
                assert!(folder.message(&error).starts_with("DIR/x.parquet: "), "{error}");
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(refused > 100, "{refused}");
}
