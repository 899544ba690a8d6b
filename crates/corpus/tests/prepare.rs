//! Documents to folders of tokens, and back.

mod common;

use common::{END, Folder, bytes, documents, prepare, settings};
use corpus::{
    Error, Index, Job, Outcome, Progress, Reading, Selection, Settings, Split, Workplace,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn lines() -> Reading {
    Reading { split: Split::Lines, ..Reading::default() }
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = names
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn corpus_of(folder: &Folder, count: usize) -> std::path::PathBuf {
    let text: String =
        (0..count).map(|n| format!("document {n} {}\n", "word ".repeat(n * 7 % 40))).collect();
    folder.write("in/x.txt", text)
}

#[test]
fn a_folder_holds_every_document_once_and_says_so() {
    let folder = Folder::new("whole");
    folder.write("in/a.txt", "one\ntwo\n\none\n");
    folder.write("in/b.jsonl", "{\"text\": \"three\"}\n\"two\"\n");
    let (input, out) = (folder.path().join("in"), folder.path().join("deep/out"));
    let index = prepare(&[input], &out, &lines(), &settings(), false).unwrap();
    assert_eq!(documents(&out, &index.train), ["one", "two", "three"]);
    assert_eq!(index, Index::open(&out).unwrap());
    assert_eq!((index.train.tokens, index.train.documents, index.train.text_bytes), (14, 3, 11));
    let read = index.read;
    assert_eq!(
        (read.files, read.duplicates, read.counts.documents, read.counts.empty),
        (2, 2, 5, 1)
    );
    assert_eq!(index.validation.documents, 0);
    let names: Vec<String> = contents(&out).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["index.json", "train-00000.bin"]);
    let inspected = corpus::inspect(&out, &mut |_, _| ()).unwrap();
    assert_eq!((inspected.train.tokens, inspected.train.ends), (14, 3));
    assert_eq!(inspected.train.most_frequent(2), [(END, 3), (u32::from(b'e') + 1, 3)]);
}

#[test]
fn what_is_set_aside_depends_on_documents_and_seed_alone() {
    let folder = Folder::new("aside");
    let path = corpus_of(&folder, 500);
    let text = std::fs::read_to_string(&path).unwrap();
    let reversed: Vec<&str> = text.lines().rev().collect();
    let reversed = folder.write("in/y.txt", reversed.join("\n"));
    let aside = |input: &Path, seed, name: &str| {
        let out = folder.path().join(name);
        let settings = Settings { validation: 0.1, seed, ..settings() };
        let index = prepare(&[input.to_owned()], &out, &lines(), &settings, false).unwrap();
        let train: BTreeSet<String> = documents(&out, &index.train).into_iter().collect();
        let aside: BTreeSet<String> = documents(&out, &index.validation).into_iter().collect();
        assert!(train.is_disjoint(&aside));
        assert_eq!(train.len() + aside.len(), 500);
        aside
    };
    let first = aside(&path, 1, "a");
    assert!((25..=80).contains(&first.len()), "{}", first.len());
    assert_eq!(aside(&reversed, 1, "b"), first);
    assert_ne!(aside(&path, 2, "c"), first);
}

#[test]
fn wide_vocabularies_have_wide_tokens_and_a_token_outside_is_an_error() {
    let folder = Folder::new("wide");
    let path = folder.write("x.txt", "ab");
    let found = corpus::find(&[path], &Selection::default()).unwrap();
    let run = |name: &str, vocabulary| {
        let workplace = Workplace::new(&folder.path().join(name), &[], false).unwrap();
        let settings = Settings { vocabulary, end_of_text: 1, ..settings() };
        let encode = |_: &str| Ok(vec![70_000]);
        let (stop, mut progress) = (AtomicBool::new(false), |_: &Progress| ());
        corpus::prepare(
            &Job {
                found: &found,
                reading: &Reading::default(),
                settings: &settings,
                encode: &encode,
                threads: 1,
                stop: &stop,
            },
            workplace,
            &mut progress,
        )
    };
    run("wide", 70_001).unwrap();
    let bytes = std::fs::read(folder.path().join("wide/train-00000.bin")).unwrap();
    assert_eq!(bytes, [0x70, 0x11, 1, 0, 1, 0, 0, 0]);
    let expected = "DIR/x.txt: document 1: the tokenizer gives token 70000, outside its vocabulary \
                    of 70000";
    assert_eq!(folder.message(&run("bad", 70_000).unwrap_err()), expected);
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bytes() {
    let folder = Folder::new("stopped");
    // Several batches of 4096 documents.
    let path = corpus_of(&folder, 60_000);
    let inputs = [path];
    let settings = Settings { validation: 0.05, shard_tokens: 1_000_000, ..settings() };
    let whole = folder.path().join("whole");
    prepare(&inputs, &whole, &lines(), &settings, false).unwrap();
    let found = corpus::find(&inputs, &Selection::default()).unwrap();
    let out = folder.path().join("out");
    let mut stops = 0;
    loop {
        let workplace = Workplace::new(&out, &inputs, stops > 0).unwrap();
        let stop = AtomicBool::new(false);
        let mut batches = 0;
        let mut progress = |_: &Progress| {
            batches += 1;
            stop.fetch_or(batches == 1, Ordering::Relaxed);
        };
        let outcome = corpus::prepare(
            &Job {
                found: &found,
                reading: &lines(),
                settings: &settings,
                encode: &bytes,
                threads: 2,
                stop: &stop,
            },
            workplace,
            &mut progress,
        );
        match outcome.unwrap() {
            Outcome::Done(_) => break,
            Outcome::Stopped(_) => stops += 1,
        }
        assert!(!out.exists(), "what is not whole does not look whole");
        let error = Workplace::new(&out, &inputs, false).unwrap_err();
        assert!(matches!(error, Error::Unfinished { .. }), "{error}");
        // As a crash would leave it: more was written than the state says.
        let tmp = folder.path().join("out.tmp");
        for (name, bytes) in contents(&tmp) {
            if name.starts_with("val-") {
                std::fs::write(tmp.join(name), [&bytes, &b"torn"[..]].concat()).unwrap();
            }
        }
    }
    assert!(stops > 0);
    assert_eq!(contents(&out), contents(&whole));
    assert!(Index::open(&out).unwrap().train.shards.len() > 2);
}

#[test]
fn after_an_error_the_rest_can_be_done_once_it_is_put_right() {
    let folder = Folder::new("mended");
    let good = |n: usize| format!("\"document {n}\"\n");
    let text: String = (0..9000).map(good).collect();
    let path = folder.write("x.jsonl", format!("{text}{{bad\n\"last\"\n"));
    let out = folder.path().join("out");
    let inputs = [path.clone()];
    let run =
        |settings: &Settings, resume| prepare(&inputs, &out, &Reading::default(), settings, resume);
    let error = run(&settings(), false).unwrap_err();
    assert!(folder.message(&error).starts_with("DIR/x.jsonl: line 9001: "), "{error}");

    let other = Settings { seed: 2, ..settings() };
    let expected = "DIR/out.tmp: cannot go on with it: it was begun with seed 1, not 2";
    assert_eq!(folder.message(&run(&other, true).unwrap_err()), expected);
    std::fs::write(&path, format!("\"new\"\n{text}")).unwrap();
    let expected = "DIR/out.tmp: cannot go on with it: its first 9000 documents are not those that \
                    are read now: begin anew";
    assert_eq!(folder.message(&run(&settings(), true).unwrap_err()), expected);

    std::fs::write(&path, format!("{text}\"good\"\n\"last\"\n")).unwrap();
    let index = run(&settings(), true).unwrap();
    let texts = documents(&out, &index.train);
    assert_eq!(
        (texts.len(), &texts[8999..]),
        (9002, &["document 8999".into(), "good".into(), "last".into()][..])
    );
}

#[test]
fn nothing_is_written_over_and_nothing_left_of_nothing() {
    let folder = Folder::new("refused");
    let path = folder.write("in/x.txt", " \n");
    let inputs = [path, folder.path().join("in")];
    let run = |out: &str| {
        let out = folder.path().join(out);
        folder.message(&prepare(&inputs, &out, &lines(), &settings(), false).unwrap_err())
    };
    assert_eq!(run("out"), "no documents in 2 files: 2 were empty, 0 bad");
    assert_eq!(contents(folder.path().join("in").as_path()).len(), 1);
    assert!(!folder.path().join("out.tmp").exists());
    assert_eq!(run("in"), "DIR/in: exists already: choose another name, or remove it");
    assert_eq!(
        run("in/deeper/out"),
        "DIR/in/deeper/out: lies in `DIR/in`, which is read: write elsewhere"
    );
    let first = Workplace::new(&folder.path().join("two"), &[], false).unwrap();
    let second = Workplace::new(&folder.path().join("two"), &[], true).unwrap_err();
    assert_eq!(
        folder.message(&second),
        "DIR/two.tmp: cannot go on with it: another process is at work in it"
    );
    first.abandon().unwrap();
    assert!(!folder.path().join("two.tmp").exists());
}

#[test]
fn every_byte_of_a_folder_is_checked() {
    let folder = Folder::new("damage");
    let path = corpus_of(&folder, 300);
    let out = folder.path().join("out");
    prepare(&[path], &out, &lines(), &settings(), false).unwrap();
    let inspect = || corpus::inspect(&out, &mut |_, _| ()).map(|_| ()).unwrap_err();
    let shard = out.join("train-00001.bin");
    let good = std::fs::read(&shard).unwrap();
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    std::fs::write(&shard, &damaged).unwrap();
    let message = folder.message(&inspect());
    assert!(message.starts_with("DIR/out/train-00001.bin: damaged: its checksum is "), "{message}");
    damaged[101] = 9;
    std::fs::write(&shard, &damaged).unwrap();
    let message = folder.message(&inspect());
    assert!(message.ends_with("at position 50 is outside the vocabulary of 257"), "{message}");
    std::fs::write(&shard, &good[2..]).unwrap();
    let message = folder.message(&inspect());
    assert!(message.contains("but the index says"), "{message}");
    std::fs::remove_file(&shard).unwrap();
    assert!(folder.message(&inspect()).starts_with("DIR/out/train-00001.bin: "));
}

#[test]
fn an_index_that_is_wrong_is_refused() {
    let folder = Folder::new("index");
    let path = corpus_of(&folder, 50);
    let out = folder.path().join("out");
    prepare(&[path], &out, &lines(), &settings(), false).unwrap();
    let index = out.join("index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    for (from, to, reason) in [
        ("anemone-corpus", "other", "expected the format `anemone-corpus`, found `other`"),
        ("\"version\": 1", "\"version\": 2", "version 2 cannot be read, only version 1"),
        (
            "\"token_bytes\": 2",
            "\"token_bytes\": 3",
            "damaged: tokens of 3 bytes; they have 2 or 4",
        ),
        ("\"vocabulary\": 257", "\"vocabulary\": 65537", "65537 tokens do not go into 2 bytes"),
        ("\"end_of_text\": 0", "\"end_of_text\": 257", "the end of text, 257, is outside"),
        ("train-00000.bin", "../x.bin", "\"../x.bin\" is not the name of a file in this folder"),
        ("train-00000.bin", "/etc/passwd", "is not the name of a file in this folder"),
        ("\"tokens\": ", "\"tokens\": 1", "is said to have"),
        ("\"tokens\": ", "\"tokens\": -", "damaged: "),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&index, text.replacen(from, to, 1)).unwrap();
        let message = folder.message(&Index::open(&out).unwrap_err());
        assert!(message.starts_with("DIR/out/index.json: "), "{message}");
        assert!(message.contains(reason), "{message} does not say {reason}");
    }
    let huge = format!("\"tokens\": {}", u64::MAX);
    let at = text.find("\"tokens\": ").unwrap();
    let end = at + text[at..].find(',').unwrap();
    let many = [&text[..at], &huge, &text[end..]].concat().replace("crc32", "\u{0}");
    for damaged in [&many, &text[..text.len() / 2], "", "[]", "{}"] {
        let error = Index::parse(damaged.as_bytes(), &index).unwrap_err();
        assert!(matches!(error, Error::Index { .. }), "{error}");
    }
}

#[test]
fn raw_files_are_counted() {
    let folder = Folder::new("raw");
    let path = folder.write("x.bin", [1, 0, END as u8, 0, 1, 0, 2, 0, 0, 0]);
    let counts =
        corpus::inspect_file(&path, corpus::Width::Two, Some(END), &mut |_, _| ()).unwrap();
    assert_eq!((counts.tokens, counts.ends, counts.used()), (5, 2, 3));
    assert_eq!(counts.most_frequent(2), [(0, 2), (1, 2)]);
    let four = corpus::inspect_file(&path, corpus::Width::Four, None, &mut |_, _| ()).unwrap_err();
    assert_eq!(folder.message(&four), "DIR/x.bin: ends within a token of 4 bytes");
}

#[test]
fn long_documents_are_encoded_in_pieces_only_where_that_changes_nothing() {
    let folder = Folder::new("pieces");
    let text = "some words of text ".repeat(200_000);
    let path = folder.write("x.txt", &text);
    let found = corpus::find(&[path], &Selection::default()).unwrap();
    let run = |name: &str, encode: corpus::Encode<'_>| {
        let out = folder.path().join(name);
        let workplace = Workplace::new(&out, &[], false).unwrap();
        let stop = AtomicBool::new(false);
        corpus::prepare(
            &Job {
                found: &found,
                reading: &Reading::default(),
                settings: &settings(),
                encode,
                threads: 1,
                stop: &stop,
            },
            workplace,
            &mut |_| (),
        )
        .unwrap();
        std::fs::read(out.join("train-00000.bin")).unwrap()
    };
    let longest = std::sync::atomic::AtomicUsize::new(0);
    let pieces = run("pieces", &|text| {
        longest.fetch_max(text.len(), Ordering::Relaxed);
        bytes(text)
    });
    assert!(longest.load(Ordering::Relaxed) <= 1 << 20);
    assert_eq!(pieces.len(), 2 * (text.len() + 1));
    // One that marks beginnings is given the whole.
    let marked = run("whole", &|text| Ok([vec![200], bytes(text)?].concat()));
    assert_eq!(marked.len(), pieces.len() + 2);
}

#[test]
fn a_sample_is_of_all_files_and_bounded() {
    let folder = Folder::new("sample");
    for file in 0..10 {
        let text: String = (0..1000).map(|n| format!("file {file} document {n}\n")).collect();
        folder.write(&format!("in/{file}.txt"), text);
    }
    let found = corpus::find(&[folder.path().join("in")], &Selection::default()).unwrap();
    let sample =
        |bytes, seed| corpus::sample(&found, &lines(), bytes, seed, &mut |_| true).unwrap();
    let some = sample(20_000, 1);
    let bytes: usize = some.iter().map(String::len).sum();
    assert!((10_000..=40_000).contains(&bytes), "{bytes}");
    let files: BTreeSet<&str> = some.iter().map(|text| &text[..6]).collect();
    assert_eq!(files.len(), 10);
    assert_eq!(sample(20_000, 1), some);
    assert_ne!(sample(20_000, 2), some);
    assert_eq!(sample(1 << 30, 1).len(), 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the documents, the size of a shard and the part that is set aside: all documents
    /// are there once, in order, and every shard is whole.
    #[test]
    fn every_document_is_there_once(
        texts in proptest::collection::vec("[ab\n\r\0é]{0,8}", 0..60),
        shard_tokens in 1_u64..40,
        validation in prop_oneof![Just(0.0), Just(0.3), Just(1.0)],
        dedup in any::<bool>(),
    ) {
        let folder = Folder::new("ragged");
        let json: Vec<String> = texts.iter().map(|t| serde_json::json!(t).to_string()).collect();
        let path = folder.write("x.jsonl", json.join("\n"));
        let out = folder.path().join("out");
        let settings = Settings { shard_tokens, validation, dedup, ..settings() };
        let result = prepare(&[path], &out, &Reading::default(), &settings, false);
        let mut expected: Vec<String> =
            texts.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
        if dedup {
            let mut seen = BTreeSet::new();
            expected.retain(|text| seen.insert(text.clone()));
        }
        if expected.is_empty() {
            let refused = matches!(result, Err(Error::NoDocuments { .. }));
            prop_assert!(refused, "{:?}", result);
            return Ok(());
        }
        let index = result.unwrap();
        let (train, aside) = (documents(&out, &index.train), documents(&out, &index.validation));
        // Both parts are in order: the expected documents are what merging them gives.
        let (mut train, mut aside) = (train.into_iter().peekable(), aside.into_iter().peekable());
        for text in &expected {
            let found = train.next_if_eq(text).or_else(|| aside.next_if_eq(text));
            prop_assert!(found.is_some(), "{text:?} is missing");
        }
        prop_assert!(train.next().is_none() && aside.next().is_none());
        for part in [&index.train, &index.validation] {
            let (last, full) = part.shards.split_last().map_or((None, &[][..]), |(l, f)| (Some(l), f));
            prop_assert!(full.iter().all(|shard| shard.tokens >= shard_tokens));
            prop_assert!(last.is_none_or(|shard| shard.documents > 0));
        }
        corpus::inspect(&out, &mut |_, _| ()).unwrap();
    }
}
