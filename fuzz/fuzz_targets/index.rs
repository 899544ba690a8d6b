//! No text makes the reader of the index of a folder of tokens panic, and what it takes names only
//! files in that folder. Run with `cargo +nightly fuzz run index`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &[u8]| {
    if let Ok(index) = corpus::Index::parse(text, Path::new("index.json")) {
        for part in [&index.train, &index.validation] {
            let tokens: u64 = part.shards.iter().map(|shard| shard.tokens).sum();
            assert_eq!(tokens, part.tokens);
            assert!(part.shards.iter().all(|shard| !shard.file.contains('/')));
            part.lengths.percentile(0.5);
        }
        assert!(index.end_of_text < index.vocabulary);
    }
});
