//! Recordings of the emulator, replayed; and recordings that are damaged.

use anemone_ane::recording::{Recorder, Replay};
use anemone_ane::target::{Chip, Target};
use anemone_ane::{Emulator, EmulatorOptions, Engine, Stage, selftest};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Writes into memory that the test keeps.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn emulator() -> Arc<dyn Engine> {
    let options = EmulatorOptions::new(Target::parse("m3:15").unwrap());
    Arc::new(Emulator::new(options).unwrap())
}

/// The self-test, a program that is refused, and surfaces that are too small.
fn use_it(engine: &dyn Engine) -> (Vec<bool>, String, Option<u32>) {
    let passed = selftest::run(engine).iter().map(|check| check.passed()).collect();
    let mut wrong = selftest::sources().remove(0);
    wrong.text = wrong.text.replace("main", "other");
    let refused = engine.compile(&wrong).err().expect("there is no main").to_string();
    let model = engine.compile(&selftest::sources()[0]).unwrap();
    let surfaces = [engine.surface(64).unwrap(), engine.surface(64).unwrap()];
    let mut evaluation = model.bind(&surfaces[..1], &surfaces[1..]).unwrap();
    (passed, refused, evaluation.evaluate().unwrap_err().code)
}

fn recording() -> (String, (Vec<bool>, String, Option<u32>)) {
    let memory = Memory::default();
    let recorder = Recorder::new(emulator(), Box::new(memory.clone()));
    recorder.notes()("a line from inside");
    let used = use_it(&recorder);
    assert!(recorder.describe().ends_with(", recorded"));
    recorder.finish().unwrap();
    let bytes = memory.0.lock().unwrap().clone();
    (String::from_utf8(bytes).unwrap(), used)
}

#[test]
fn a_replay_answers_as_the_engine_did() {
    let (text, used) = recording();
    let replay = Replay::read(&text).unwrap();
    assert_eq!(replay.target(), emulator().target());
    assert_eq!(replay.target().chip, Chip::M3);
    assert!(replay.describe().starts_with("recording of emulator of m3"));
    assert_eq!(use_it(&replay), used);
    assert_eq!(used.0, [true; 4]);
    assert_eq!(used.2, Some(0x1d));
    assert_eq!(replay.usage().loaded, 0);
}

#[test]
fn what_was_not_recorded_is_an_error() {
    let (text, _) = recording();
    let replay = Replay::read(&text).unwrap();
    let mut source = selftest::sources().remove(0);
    let model = replay.compile(&source).unwrap();
    let surfaces = [replay.surface(49_152).unwrap(), replay.surface(49_152).unwrap()];
    surfaces[0].write().unwrap().fill(7);
    let mut evaluation = model.clone().bind(&surfaces[..1], &surfaces[1..]).unwrap();
    let error = evaluation.evaluate().unwrap_err();
    assert_eq!(error.stage, Stage::Evaluate);
    assert!(error.message.contains("not recorded with these inputs"), "{error}");
    assert!(model.bind(&surfaces, &[]).is_err());
    source.text.push(' ');
    let error = replay.compile(&source).err().unwrap();
    assert!(error.message.contains("not in the recording"), "{error}");
}

#[test]
fn a_damaged_recording_is_an_error_that_names_the_line() {
    let (text, _) = recording();
    let lines: Vec<&str> = text.lines().collect();
    let refused = |text: &str, line: usize, words: &str| {
        let error = Replay::read(text).err().unwrap_or_else(|| panic!("accepted: {words}"));
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let with = |n: usize, line: &str| {
        let mut lines = lines.clone();
        lines[n] = line;
        lines.join("\n")
    };
    refused("", 0, "it is empty");
    refused(&lines[..lines.len() - 1].join("\n"), 0, "its end is missing");
    refused(&with(2, "{}"), 3, "does not begin as a line");
    refused(&with(2, &lines[2][..lines[2].len() - 1]), 3, "its sum differs");
    refused(&with(2, &lines[2].replace("elementwise", "elementwisf")), 3, "its sum differs");
    refused(&lines[1..].join("\n"), 1, "must describe the engine");
    refused(&with(1, lines[0]), 2, "described again");
    refused(&format!("{text}{}", lines[1]), lines.len() + 1, "behind the end");
    let mut fewer = lines.clone();
    // A surface less: what is bound to the last one has none.
    let surface = lines.iter().position(|line| line.contains("\"surface\"")).unwrap();
    fewer.remove(surface);
    assert!(Replay::read(&fewer.join("\n")).is_err());
    // Every line cut anywhere, and every line left out, is seen.
    for n in 0..lines.len() {
        let mut without = lines.clone();
        let line = without.remove(n);
        let note = line.contains("\"note\"");
        assert_eq!(Replay::read(&without.join("\n")).is_err(), !note, "line {n}");
        let half = &line[..line.len() / 2];
        assert!(Replay::read(&with(n, half)).is_err(), "half of line {n}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_is_an_error_at_its_end() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no space left"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let recorder = Recorder::new(emulator(), Box::new(Full));
    recorder.surface(64).unwrap();
    assert!(recorder.finish().unwrap_err().to_string().contains("no space left"));
}
