//! Files changed at random: no reader panics, and none takes much more memory than the file has.

use checkpoints::formats::{gguf, safetensors};
use checkpoints::{Input, Source, Tensors, from_llama2c};
use models::parameters;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % count.max(1) as u64) as usize
    }

    /// A file with one to three changes.
    fn change(&mut self, whole: &[u8]) -> Vec<u8> {
        // Numbers at which sizes overflow.
        const EDGES: [u64; 6] = [0, 1 << 31, u32::MAX as u64, 1 << 40, 1 << 63, u64::MAX];
        let mut bytes = whole.to_vec();
        for _ in 0..1 + self.below(3) {
            // Headers are at the beginning, and small.
            let most = if self.below(2) == 0 { bytes.len().min(600) } else { bytes.len() };
            let at = self.below(most);
            match self.below(6) {
                0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                3 => bytes.truncate(at),
                4 => {
                    let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                    let width = [4, 8][self.below(2)];
                    for (byte, new) in bytes.iter_mut().skip(at).zip(&edge[..width]) {
                        *byte = *new;
                    }
                }
                _ => {
                    // A part from elsewhere, in the place of another of another length.
                    let from = self.below(whole.len());
                    let part = &whole[from..(from + self.below(64)).min(whole.len())];
                    let end = (at + self.below(64)).min(bytes.len());
                    bytes.splice(at.min(end)..end, part.iter().copied());
                }
            }
        }
        bytes
    }
}

/// The most memory that the process has ever asked for, in bytes; not everywhere told.
fn asked_for() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn read_everything(tensors: &Tensors) {
    for info in tensors.iter() {
        tensors.read(info, 0, &mut vec![0.0; info.elements()]).ok();
    }
}

fn read_model(source: &Source) {
    for parameter in parameters(source.config()).expect("its configuration is valid") {
        source.visit(&parameter, &mut |_| Ok(())).ok();
    }
    source.tokenizer().ok();
    source.sidecars().ok();
}

#[test]
fn no_change_of_a_file_makes_a_reader_panic_or_take_memory_that_the_file_has_not() {
    let before = asked_for();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let read = |name: &str| std::fs::read(fixture(name)).expect("the fixture is there");
    let mut refused = 0;
    for (name, rounds) in [
        ("llama.gguf", 3000),
        ("llama2c-v0.bin", 1500),
        ("llama2c-v1.bin", 1500),
        ("llama2c-v2.bin", 2000),
        ("blzt-v4.bin", 1000),
    ] {
        let whole = read(name);
        for _ in 0..rounds {
            match Source::of_memory(name, random.change(&whole)) {
                Ok(source) => read_model(&source),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().starts_with(name), "{error}");
                }
            }
        }
    }
    let (encodings, shard) = ("encodings.gguf", "encodings.safetensors");
    let vocabulary = read("tokenizer.bin");
    let index = read("llama/model.safetensors.index.json");
    for _ in 0..4000 {
        let changed = random.change(&read(encodings));
        if let Ok(file) = gguf::read(Input::memory(encodings, changed)) {
            read_everything(&file.tensors);
        }
        let changed = random.change(&read(shard));
        if let Ok(tensors) = safetensors::read(Input::memory(shard, changed)) {
            read_everything(&tensors);
        }
        safetensors::shards(&Input::memory("index", random.change(&index))).ok();
        from_llama2c(&Input::memory("vocabulary", random.change(&vocabulary)), 320).ok();
    }
    assert!(refused > 4000, "only {refused} changes were refused");

    // Whole folders: what a reader of one file finds in another.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let entries = std::fs::read_dir(fixture("llama")).expect("the fixture is there");
    let files: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("the fixture is there").path();
            let to = folder.join(path.file_name().expect("a name"));
            (to, std::fs::read(path).expect("the fixture is there"))
        })
        .collect();
    files.iter().for_each(|(path, content)| std::fs::write(path, content).expect("written"));
    for round in 0..1500 {
        let (path, content) = &files[round % files.len()];
        std::fs::write(path, random.change(content)).expect("it is written");
        match Source::open(&folder) {
            Ok(source) => read_model(&source),
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(&*folder.to_string_lossy()), "{error}");
            }
        }
        std::fs::write(path, content).expect("it is written");
    }
    // No file has more than 120 kB. Threads and what the allocator keeps take some hundred MB of
    // addresses; a size that is believed takes more.
    if let (Some(before), Some(after)) = (before, asked_for()) {
        assert!(after - before < 1 << 30, "{} bytes were asked for", after - before);
    }
}
