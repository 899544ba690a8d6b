//! Files to documents.

mod common;

use common::Folder;
use corpus::{Counts, Documents, Error, Format, Reading, Selection, Split};
use proptest::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};

fn read(path: &Path, reading: &Reading) -> (Vec<String>, Counts, Option<Error>) {
    let found = corpus::find(&[path.to_owned()], &Selection::default()).unwrap();
    let mut documents = Documents::new(&found.files, reading);
    let (mut texts, mut error) = (vec![], None);
    for (number, document) in (1..).zip(documents.by_ref()) {
        match document {
            Ok(document) => {
                assert_eq!((document.file, document.number), (0, number));
                texts.push(document.text);
            }
            Err(wrong) => error = Some(wrong),
        }
    }
    assert!(documents.next().is_none());
    (texts, documents.counts(), error)
}

fn texts(path: &Path, reading: &Reading) -> Vec<String> {
    let (texts, counts, error) = read(path, reading);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(counts.documents, texts.len() as u64);
    texts
}

fn split(split: Split) -> Reading {
    Reading { split, ..Reading::default() }
}

#[test]
fn text_is_split_as_asked() {
    let folder = Folder::new("split");
    let path = folder.write("x.txt", "one\ntwo\r\n\r\n \n\nthree\n\t\nfour<s>\n\n");
    let lines = ["one", "two", "three", "four<s>"];
    assert_eq!(texts(&path, &split(Split::Lines)), lines);
    assert_eq!(read(&path, &split(Split::Lines)).1.empty, 5);
    assert_eq!(texts(&path, &split(Split::BlankLines)), ["one\ntwo", "three", "four<s>"]);
    assert_eq!(read(&path, &split(Split::BlankLines)).1.empty, 0);
    assert_eq!(texts(&path, &split(Split::Whole)).len(), 1);
    let separator = |text: &str| split(Split::Separator(text.to_owned()));
    assert_eq!(texts(&path, &separator("<s>"))[0].len(), 26);
    assert_eq!(texts(&path, &separator("\n \n")), ["one\ntwo\r\n\r", "\nthree\n\t\nfour<s>\n\n"]);
}

#[test]
fn files_without_text_have_no_documents() {
    let folder = Folder::new("empty");
    for (name, bytes) in [("a.txt", &b""[..]), ("b.txt", b" \n\r\n\t"), ("c.jsonl", b"\n\n")] {
        let path = folder.write(name, bytes);
        for split_at in [Split::Whole, Split::Lines, Split::BlankLines] {
            assert!(texts(&path, &split(split_at)).is_empty(), "{name}");
        }
    }
    let path = folder.write("mark.txt", b"\xef\xbb\xbf");
    assert!(texts(&path, &Reading::default()).is_empty());
}

#[test]
fn a_byte_order_mark_is_left_out_and_nul_bytes_stay() {
    let folder = Folder::new("mark");
    let path = folder.write("x.txt", b"\xef\xbb\xbfa\0b");
    assert_eq!(texts(&path, &Reading::default()), ["a\0b"]);
    let path = folder.write("x.jsonl", b"\xef\xbb\xbf\"a\"\n{\"text\": \"b\\u0000\"}");
    assert_eq!(texts(&path, &Reading::default()), ["a", "b\0"]);
}

#[test]
fn bytes_that_are_not_text_are_named_or_replaced() {
    let folder = Folder::new("utf8");
    let lossy = Reading { lossy: true, ..split(Split::Lines) };
    let path = folder.write("x.txt", b"good\nb\xffad\nmore");
    let (before, _, error) = read(&path, &split(Split::Lines));
    assert_eq!(before, ["good"]);
    let expected = "DIR/x.txt: not UTF-8 text: byte 6 is wrong (--lossy replaces it)";
    assert_eq!(folder.message(&error.unwrap()), expected);
    let (all, counts, error) = read(&path, &lossy);
    assert_eq!(
        (all, counts.repaired),
        (vec!["good".into(), "b\u{fffd}ad".into(), "more".into()], 1)
    );
    assert!(error.is_none());

    let path = folder.write("x.jsonl", b"\"good\"\n  \"b\xffad\"\n");
    let expected = "DIR/x.jsonl: line 2: not UTF-8 text: byte 11 of the file is wrong \
                    (--skip-bad skips such lines)";
    assert_eq!(folder.message(&read(&path, &Reading::default()).2.unwrap()), expected);
    assert_eq!(texts(&path, &lossy), ["good", "b\u{fffd}ad"]);
}

#[test]
fn json_lines_give_one_field() {
    let folder = Folder::new("json");
    let lines = "{\"id\": [1, {\"text\": 2}], \"text\": \"a\\n\\ud83e\\udd80\"}\r\n\n\"b\"\n\
                 {\"text\": null}\n{\"text\": \"c\", \"body\": \"d\"}";
    let path = folder.write("x.jsonl", lines);
    let (all, counts, error) = read(&path, &Reading::default());
    assert_eq!((all, counts.empty), (vec!["a\n🦀".into(), "b".into(), "c".into()], 1));
    assert!(error.is_none());
    let body = Reading { field: "body".into(), skip_bad: true, ..Reading::default() };
    let (all, counts, _) = read(&path, &body);
    assert_eq!((all, counts.bad), (vec!["b".into(), "d".into()], 2));
}

#[test]
fn lines_that_are_wrong_are_named_or_skipped() {
    let folder = Folder::new("json-wrong");
    let deep = "[".repeat(100_000);
    let deep = format!("{{\"a\": {deep}");
    for (line, reason) in [
        ("{\"text\": \"cut", "EOF while parsing a string (column 13)"),
        ("{\"text\": \"cut\"", "EOF while parsing an object (column 14)"),
        (
            "{\"text\": 3}",
            "invalid type: integer `3`, expected a string in field `text` (column 10)",
        ),
        (
            "{\"text\": [\"a\"]}",
            "invalid type: sequence, expected a string in field `text` (column 10)",
        ),
        ("{}", "no field `text` (column 2)"),
        ("{\"text\": \"a\", \"text\": \"b\"}", "field `text` stands there twice (column 26)"),
        (
            "7",
            "invalid type: integer `7`, expected a string or an object with a field `text` that is one (column 1)",
        ),
        ("[\"a\"]", "a list: every line must be an object or a string of its own"),
        ("\"a\" \"b\"", "trailing characters (column 5)"),
        ("\"\\ud800\"", "unexpected end of hex escape (column 8)"),
        (&*deep, "EOF while parsing a list (column 100006)"),
    ] {
        let path = folder.write("x.jsonl", format!("\"first\"\n{line}\n\"last\"\n"));
        let (before, _, error) = read(&path, &Reading::default());
        assert_eq!(before, ["first"], "{reason}");
        let expected = format!("DIR/x.jsonl: line 2: {reason} (--skip-bad skips such lines)");
        assert_eq!(folder.message(&error.unwrap()), expected);
        let skip = Reading { skip_bad: true, ..Reading::default() };
        let (all, counts, error) = read(&path, &skip);
        assert_eq!((all, counts.bad), (vec!["first".into(), "last".into()], 1), "{reason}");
        assert!(error.is_none());
    }
}

#[test]
fn long_documents_are_cut_at_lines_and_long_lines_are_named() {
    let folder = Folder::new("long");
    let reading = |split, max_document| Reading { max_document, ..self::split(split) };
    let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let path = folder.write("x.txt", &text);
    let (pieces, counts, error) = read(&path, &reading(Split::Whole, 100));
    assert!(error.is_none());
    assert!(pieces.iter().all(|piece| piece.len() <= 100 && piece.ends_with('\n')));
    assert_eq!((pieces.concat(), counts.cut + 1), (text.clone(), pieces.len() as u64));

    let path = folder.write("y.txt", format!("short\n\n{}", "x".repeat(200)));
    let (before, _, error) = read(&path, &reading(Split::BlankLines, 100));
    assert_eq!(before, ["short"]);
    let expected = "DIR/y.txt: the document at byte 7 is longer than 100 bytes and has no end of a \
                    line to cut it at: --split divides a file, --max-document allows more";
    assert_eq!(folder.message(&error.unwrap()), expected);

    let path = folder.write("x.jsonl", format!("\"a\"\n\"{}\"\n\"b\"\n", "x".repeat(1000)));
    let error = read(&path, &reading(Split::Whole, 100)).2.unwrap();
    let expected =
        "DIR/x.jsonl: line 2: the line is longer than 100 bytes (--skip-bad skips such lines)";
    assert_eq!(folder.message(&error), expected);
    let skip = Reading { skip_bad: true, ..reading(Split::Whole, 100) };
    assert_eq!(read(&path, &skip).0, ["a", "b"]);
}

#[test]
fn gzip_is_unpacked_and_damage_is_an_error() {
    let folder = Folder::new("gzip");
    let packed = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    let mut bytes = packed("\"one\"\n");
    bytes.extend(packed("\"two\"\n\"three\"\n"));
    let path = folder.write("x.jsonl.gz", &bytes);
    assert_eq!(texts(&path, &Reading::default()), ["one", "two", "three"]);
    for damaged in [&bytes[..bytes.len() - 9], &bytes[..5], b"no gzip at all"] {
        let path = folder.write("y.txt.gz", damaged);
        let error = read(&path, &Reading::default()).2.expect("damage is found");
        assert!(folder.message(&error).starts_with("DIR/y.txt.gz: "), "{error}");
    }
}

#[test]
fn folders_are_read_in_order_without_what_is_hidden_or_unknown() {
    let folder = Folder::new("find");
    for name in ["b.txt", "a/z.jsonl", "a/.hidden.txt", ".git/x.txt", "c.png", "a/b/q.MD", "d.rs"] {
        folder.write(name, "x");
    }
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("b.txt", folder.path().join("link.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("broken.txt")).unwrap();
    let find = |inputs: &[&str], selection: &Selection| {
        let inputs: Vec<PathBuf> = inputs.iter().map(|name| folder.path().join(name)).collect();
        corpus::find(&inputs, selection)
    };
    let names = |found: &corpus::Found| -> Vec<String> {
        let name = |file: &corpus::Source| {
            file.path.strip_prefix(folder.path()).unwrap().display().to_string()
        };
        found.files.iter().map(name).collect()
    };
    let all = find(&[""], &Selection::default()).unwrap();
    assert_eq!(names(&all), ["a/b/q.MD", "a/z.jsonl", "b.txt", "link.txt"]);
    assert_eq!((all.skipped, all.bytes()), (6, 4));
    let given = find(&["b.txt", "a"], &Selection::default()).unwrap();
    assert_eq!(names(&given), ["b.txt", "a/b/q.MD", "a/z.jsonl"]);
    let rust = Selection { extensions: vec!["rs".into()], format: None };
    let found = find(&[""], &rust).unwrap();
    assert_eq!((names(&found), found.files[0].format), (vec!["d.rs".into()], Format::Text));
    let forced = Selection { format: Some(Format::Jsonl), extensions: vec![] };
    assert_eq!(names(&find(&[""], &forced).unwrap()).len(), 6);

    let error = |inputs: &[&str], selection: &Selection| {
        folder.message(&find(inputs, selection).unwrap_err())
    };
    let unknown = "DIR/c.png: cannot tell from the name what is in it: say --format text, jsonl or \
                   parquet";
    assert_eq!(error(&["c.png"], &Selection::default()), unknown);
    assert!(error(&["missing"], &Selection::default()).starts_with("DIR/missing: "));
    let python = Selection { extensions: vec!["py".into(), "pyi".into()], format: None };
    let none = "no files to read: 10 skipped; expected files that end in .py or .pyi";
    assert_eq!(error(&[""], &python), none);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A file that is made by joining documents with the separator gives them again, whatever the
    /// blocks that it is read in.
    #[test]
    fn documents_survive_being_joined(
        parts in proptest::collection::vec("[a-z \0é\r]{0,12}", 0..40),
        big in 0_usize..3,
    ) {
        let folder = Folder::new("joined");
        let mut parts = parts;
        // A document that goes across blocks of 256 KiB, wherever it stands.
        if big < parts.len() {
            parts[big] = "é".repeat(140_000 + parts.len());
        }
        let wanted = |keep: &dyn Fn(&str) -> String| -> Vec<String> {
            parts.iter().map(|part| keep(part)).filter(|part| !part.trim().is_empty()).collect()
        };
        let path = folder.write("x.txt", parts.join("<|sep|>"));
        let separator = split(Split::Separator("<|sep|>".into()));
        prop_assert_eq!(texts(&path, &separator), wanted(&|part| part.to_owned()));
        let path = folder.write("y.txt", parts.join("\n"));
        let line = |part: &str| part.strip_suffix('\r').unwrap_or(part).to_owned();
        prop_assert_eq!(texts(&path, &split(Split::Lines)), wanted(&line));
        let path = folder.write("z.txt", parts.join("\n\n"));
        let block = |part: &str| part.trim_end_matches([' ', '\r']).to_owned();
        prop_assert_eq!(texts(&path, &split(Split::BlankLines)), wanted(&block));
        let json: Vec<String> = parts.iter().map(|p| serde_json::json!({"text": p}).to_string()).collect();
        let path = folder.write("x.jsonl", json.join("\n"));
        prop_assert_eq!(texts(&path, &Reading::default()), wanted(&|part| part.to_owned()));
    }

    /// Whatever the bytes, reading ends, and says so or gives text.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = Folder::new("any");
        for name in ["x.txt", "x.jsonl", "x.txt.gz", "x.jsonl.gz"] {
            let path = folder.write(name, &bytes);
            for split_at in [Split::Whole, Split::Lines, Split::BlankLines] {
                read(&path, &split(split_at.clone()));
                let mild = Reading { lossy: true, skip_bad: true, max_document: 20, ..split(split_at) };
                let (texts, counts, _) = read(&path, &mild);
                prop_assert_eq!(counts.documents, texts.len() as u64);
            }
        }
    }
}
