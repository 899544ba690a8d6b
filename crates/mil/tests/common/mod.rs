//! Helpers of several tests.
#![allow(dead_code)] // Every test uses some.

use anemone_mil as mil;
use std::path::{Path, PathBuf};

/// A small pseudo-random generator (xorshift*), the same on every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.word() >> 33) as usize) % end
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Damages bytes: cuts, flips, repeats or inserts.
    pub fn damage(&mut self, bytes: &mut Vec<u8>, alphabet: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(40)).min(bytes.len());
        match self.below(5) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = *self.pick(alphabet),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            3 => drop(bytes.drain(at..end)),
            _ => bytes.insert(at, *self.pick(alphabet)),
        }
    }
}

/// The programs in `tests/files/<folder>`, sorted: file and text.
pub fn programs(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(folder);
    let mut out: Vec<(PathBuf, String)> = std::fs::read_dir(&folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "mil"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            (path, text)
        })
        .collect();
    out.sort();
    assert!(!out.is_empty(), "no programs in {}", folder.display());
    out
}

/// A directory that goes away with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("anemone-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The types that inference gives for an operation on these parameters, or its message.
pub fn infer(parameters: &str, call: &str) -> String {
    let text = format!(
        "program(1.3)\n{{\n func main<ios18>({parameters}) {{\n  fp32 result = {call};\n }} -> (result);\n}}\n"
    );
    let program = mil::parse(&text).unwrap_or_else(|e| panic!("{}", e.annotate(&text, "row")));
    let function = &program.functions[0];
    match mil::infer(&function.body.operations[0], &mil::FunctionEnv::new(function)) {
        Ok(types) => types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join("; "),
        Err(error) => error.to_string(),
    }
}

/// Checks rows of an operation on the parameters of a function, and the types of its results or the
/// error.
#[track_caller]
pub fn check(parameters: &str, rows: &[(&str, &str)]) {
    for (call, expected) in rows {
        assert_eq!(infer(parameters, call), *expected, "{call} of ({parameters})");
    }
}
