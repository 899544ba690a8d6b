use super::save::{Output, save_through};
use super::*;
use crate::data::{Order, Position};
use crate::loss_scale::ScaleState;
use crate::rng::Rng;
use crate::scratch::Folder;
use crate::vocabulary::IdSet;
use serde_json::json;
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;

struct Fixture {
    config: serde_json::Value,
    weights: Vec<f32>,
    state: TrainState,
}

const DIMS: [usize; 2] = [3, 50];

impl Fixture {
    fn new(step: u64) -> Self {
        let mut weights = vec![0.0; 150];
        Rng::new(step).fill_normal(&mut weights, 1.0);
        // Values that a decimal detour would lose.
        weights[..4].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, 0.1]);
        let data = Position { order: Order::Random, seed: u64::MAX, windows: 7 * step };
        let state = TrainState {
            step,
            updates: step,
            skipped: 0,
            tokens: 100 * step,
            data,
            best_loss: Some(0.1 + step as f32 / 3.0),
            best_step: Some(step / 2),
            loss_scale: Some(ScaleState { scale: 768.0, good_steps: step }),
            trained: Some(IdSet::from_ascending([0, 1, 7, step as u32 + 8])),
            settings: json!({ "batch": 4 }),
        };
        Self { config: json!({ "hidden_size": 3 }), weights, state }
    }

    fn with<R>(&self, use_it: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        let tensor = |name| [Tensor { name, dims: &DIMS, data: vec![&self.weights] }];
        let snapshot = Snapshot {
            config: &self.config,
            tokenizer: Some("{}"),
            adapter: None,
            sidecars: &[],
            parameters: &tensor("model.embed"),
            first: &tensor("model.embed"),
            second: &tensor("model.embed"),
            state: &self.state,
        };
        use_it(&snapshot)
    }

    fn save(&self, run: &Path) -> PathBuf {
        self.with(|snapshot| save(run, snapshot, 2)).unwrap()
    }
}

fn names(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn step_of(path: &Path) -> u64 {
    Checkpoint::open(path).unwrap().state().step
}

#[test]
fn what_is_loaded_is_what_was_saved_to_the_bit() {
    let run = Folder::new("round-trip");
    let fixture = Fixture::new(12);
    let folder = fixture.save(run.path());
    assert_eq!(folder, run.path().join("step-00000012"));
    for path in [run.path(), &folder] {
        let mut loaded = Checkpoint::open(path).unwrap();
        assert_eq!(loaded.state(), &fixture.state);
        assert_eq!(loaded.config(), &fixture.config);
        assert_eq!(loaded.tokenizer(), Some(&*folder.join("tokenizer.json")));
        let expected: Vec<u32> = fixture.weights.iter().map(|value| value.to_bits()).collect();
        let mut out = vec![1.0_f32; 150];
        let bits = |out: &[f32]| out.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        loaded.read_parameter("model.embed", &DIMS, &mut out).unwrap();
        assert_eq!(bits(&out), expected);
        for moment in [Moment::First, Moment::Second] {
            out.fill(1.0);
            loaded.read_moment(moment, "model.embed", &DIMS, &mut out).unwrap();
            assert_eq!(bits(&out), expected);
        }
    }
}

#[test]
fn the_last_two_are_kept() {
    let run = Folder::new("keep");
    for step in [1, 2, 3, 10] {
        Fixture::new(step).save(run.path());
    }
    assert_eq!(names(run.path()), ["latest", "step-00000003", "step-00000010"]);
    assert_eq!(step_of(run.path()), 10);
}

#[test]
fn a_step_can_be_saved_again() {
    let run = Folder::new("again");
    Fixture::new(5).save(run.path());
    let mut second = Fixture::new(5);
    second.state.tokens = 1;
    let folder = second.save(run.path());
    assert_eq!(folder, run.path().join("step-00000005-1"));
    assert_eq!(Checkpoint::open(run.path()).unwrap().state().tokens, 1);
}

#[test]
fn latest_stands_for_what_it_names() {
    let run = Folder::new("latest-file");
    Fixture::new(1).save(run.path());
    Fixture::new(2).save(run.path());
    let latest = run.path().join("latest");
    assert_eq!(step_of(&latest), 2);
    std::fs::write(&latest, "step-00000001\n").unwrap();
    assert_eq!(step_of(&latest), 1);
    // Elsewhere it is a file like any other.
    let other = Folder::new("latest-elsewhere");
    std::fs::write(other.path().join("latest"), "step-00000001").unwrap();
    assert!(matches!(resolve(&other.path().join("latest")), Err(Error::Missing(_))));
}

#[test]
fn without_latest_the_newest_counts() {
    let run = Folder::new("no-latest");
    Fixture::new(1).save(run.path());
    Fixture::new(2).save(run.path());
    for content in [None, Some("step-00000009"), Some("../../etc"), Some("")] {
        match content {
            None => std::fs::remove_file(run.path().join("latest")).unwrap(),
            Some(content) => std::fs::write(run.path().join("latest"), content).unwrap(),
        }
        assert_eq!(step_of(run.path()), 2, "{content:?}");
    }
}

#[test]
fn a_crash_before_the_rename_leaves_the_previous() {
    let run = Folder::new("crash");
    Fixture::new(1).save(run.path());
    let half = run.path().join("step-00000002.tmp");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("config.json"), "{").unwrap();
    assert_eq!(step_of(run.path()), 1);
    Fixture::new(2).save(run.path());
    assert_eq!(step_of(run.path()), 2);
    assert_eq!(names(run.path()), ["latest", "step-00000001", "step-00000002"]);
}

/// A file on a disk that has room for so many bytes.
struct Full {
    file: File,
    room: Rc<Cell<usize>>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = bytes.len().min(self.room.get());
        if length == 0 && !bytes.is_empty() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.room.set(self.room.get() - length);
        self.file.write(&bytes[..length])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Output for Full {
    fn sync(&mut self) -> std::io::Result<()> {
        Output::sync(&mut self.file)
    }
}

#[test]
fn a_full_disk_at_any_byte_leaves_the_previous() {
    let run = Folder::new("full");
    Fixture::new(1).save(run.path());
    let next = Fixture::new(2);
    let size: u64 = std::fs::read_dir(run.path().join("step-00000001"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let mut failures = 0;
    for room in (0..size as usize + 200).step_by(37) {
        let room_left = Rc::new(Cell::new(room));
        let saved = next.with(|snapshot| {
            save_through(run.path(), snapshot, 2, &|path| {
                let file = File::create_new(path)?;
                Ok(Box::new(Full { file, room: Rc::clone(&room_left) }))
            })
        });
        if saved.is_ok() {
            break;
        }
        failures += 1;
        let error = saved.unwrap_err();
        assert!(
            matches!(&error, Error::File { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull),
            "{error}"
        );
        assert_eq!(names(run.path()), ["latest", "step-00000001"], "room {room}");
        assert_eq!(step_of(run.path()), 1);
    }
    assert!(failures > 50, "{failures}");
    assert_eq!(step_of(run.path()), 2);
}

#[test]
fn every_damaged_byte_is_noticed() {
    let run = Folder::new("damage");
    let folder = Fixture::new(1).save(run.path());
    for name in ["config.json", "model.safetensors", "training.safetensors", "training.json"] {
        let path = folder.join(name);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(29) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            let error = Checkpoint::open(run.path()).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = Checkpoint::open(run.path()).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = Checkpoint::open(run.path()).unwrap_err();
        assert!(matches!(error, Error::File { .. }) && error.to_string().contains(name));
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(step_of(run.path()), 1);
    }
}

#[test]
fn a_damaged_manifest_never_passes_as_another() {
    let run = Folder::new("manifest");
    let folder = Fixture::new(1).save(run.path());
    let path = folder.join("manifest.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for length in 0..whole.len() - 1 {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Checkpoint::open(&folder).is_err());
    }
    std::fs::write(&path, whole.replace("\"version\": 3", "\"version\": 9")).unwrap();
    let error = Checkpoint::open(&folder).unwrap_err();
    assert!(matches!(error, Error::Version { found: 9, .. }), "{error}");
    assert!(error.to_string().ends_with("this program reads versions 1 to 3"), "{error}");
    std::fs::write(&path, whole.replace("config.json", "../escape")).unwrap();
    let error = Checkpoint::open(&folder).unwrap_err();
    assert!(error.to_string().ends_with("does not list `config.json`"), "{error}");
}

#[test]
fn a_checkpoint_of_an_older_version_is_read() {
    let run = Folder::new("version-1");
    let mut fixture = Fixture::new(1);
    (fixture.state.loss_scale, fixture.state.best_step) = (None, None);
    let folder = fixture.save(run.path());
    // Versions 1 and 2 had the same files with the same keys but for these.
    let training = std::fs::read_to_string(folder.join("training.json")).unwrap();
    assert!(!training.contains("loss_scale") && !training.contains("best_step"), "{training}");
    let path = folder.join("manifest.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    for (version, is_read) in [(0, false), (1, true), (2, true), (3, true), (4, false)] {
        let other = manifest.replace("\"version\": 3", &format!("\"version\": {version}"));
        std::fs::write(&path, other).unwrap();
        match Checkpoint::open(&folder) {
            Ok(loaded) => assert!(is_read && loaded.state() == &fixture.state, "{version}"),
            Err(error) => assert!(!is_read, "{version}: {error}"),
        }
    }
}

#[test]
fn other_shapes_and_names_are_errors() {
    let run = Folder::new("shapes");
    Fixture::new(1).save(run.path());
    let mut loaded = Checkpoint::open(run.path()).unwrap();
    let error = loaded.read_parameter("model.embed", &[50, 3], &mut [0.0; 150]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("tensor `model.embed` is F32 [3, 50], but the model needs F32 [50, 3]"),
        "{error}"
    );
    let error = loaded.read_parameter("model.norm", &[1], &mut [0.0]).unwrap_err();
    assert!(error.to_string().ends_with("no tensor `model.norm`"), "{error}");
}

#[test]
fn no_checkpoint_is_an_error() {
    let run = Folder::new("nothing");
    for path in [run.path().to_owned(), run.path().join("not-there")] {
        assert!(matches!(Checkpoint::open(&path), Err(Error::Missing(missing)) if missing == path));
    }
}

#[test]
fn hostile_tensor_files_are_errors() {
    let folder = Folder::new("hostile");
    let path = folder.path().join("x.safetensors");
    let with_header = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let tensor = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |name: &str, offsets: &str| {
        let second = tensor("[1]", offsets).replace("\"a\"", &format!("\"{name}\""));
        format!(
            "{},{}",
            tensor("[1]", "[0, 4]").trim_end_matches('}').to_owned() + "}",
            &second[1..]
        )
    };
    let bad = [
        vec![],
        vec![1, 0, 0],
        u64::MAX.to_le_bytes().to_vec(),
        [50_000_000_u64.to_le_bytes().to_vec(), vec![b'{'; 100]].concat(),
        with_header("{", 0),
        with_header("[]", 0),
        with_header(r#"{"a":1}"#, 0),
        with_header(&tensor("[2]", "[0, 8]"), 7),
        with_header(&tensor("[2]", "[0, 4]"), 8),
        with_header(&tensor("[2]", "[8, 0]"), 8),
        with_header(&tensor("[-2]", "[0, 8]"), 8),
        with_header(&tensor("[4294967296, 4294967296, 4]", "[0, 0]"), 8),
        with_header(&tensor("[2]", "[0, 18446744073709551615]"), 8),
        with_header(&tensor("[1]", "[0, 4]").replace("F32", "F31"), 4),
        with_header(&two("a", "[0, 4]"), 4),
        with_header(&two("b", "[0, 4]"), 4),
        with_header(&two("b", "[3, 7]"), 7),
        with_header(&two("b", "[8, 12]"), 12),
        with_header(&two("b", "[4, 8]"), 9),
    ];
    for bytes in bad {
        std::fs::write(&path, &bytes).unwrap();
        let error = SafeTensors::open(&path).unwrap_err();
        assert!(matches!(error, Error::Tensors(_)), "{error}");
        assert!(error.to_string().starts_with(&*path.to_string_lossy()), "{error}");
    }
    std::fs::write(&path, with_header(&tensor("[2]", "[0, 8]"), 8)).unwrap();
    let file = SafeTensors::open(&path).unwrap();
    file.read("a", &[2], &mut [0.0; 2]).unwrap();
}

#[test]
fn an_adapter_takes_the_place_of_a_model_and_other_files_are_passed_on() {
    let run = Folder::new("adapter");
    let fixture = Fixture::new(3);
    let adapter = json!({ "r": 4 });
    let sidecars = [("tokenizer_config.json".to_owned(), b"{\"a\": 1}".to_vec())];
    let folder = fixture.with(|snapshot| {
        let snapshot = Snapshot { adapter: Some(&adapter), sidecars: &sidecars, ..*snapshot };
        save(run.path(), &snapshot, 2).unwrap()
    });
    assert!(folder.join("adapter_model.safetensors").is_file());
    assert!(!folder.join("model.safetensors").exists());
    let mut loaded = Checkpoint::open(run.path()).unwrap();
    assert_eq!(loaded.adapter(), Some(&adapter));
    assert_eq!(loaded.sidecars(), [folder.join("tokenizer_config.json")]);
    let mut out = vec![0.0; 150];
    loaded.read_parameter("model.embed", &DIMS, &mut out).unwrap();
    assert_eq!(out, fixture.weights);
    std::fs::write(folder.join("tokenizer_config.json"), "{\"a\": 2}").unwrap();
    assert!(matches!(Checkpoint::open(run.path()), Err(Error::Damaged { .. })));
}

#[test]
fn the_best_checkpoint_stays_until_there_is_a_better_one() {
    let run = Folder::new("best");
    let best = Fixture::new(1).save(run.path());
    mark_best(run.path(), &best).unwrap();
    for step in 2..6 {
        Fixture::new(step).save(run.path());
    }
    let kept = ["best", "latest", "step-00000001", "step-00000004", "step-00000005"];
    assert_eq!(names(run.path()), kept);
    assert_eq!(step_of(&run.path().join("best")), 1);
    assert_eq!(step_of(run.path()), 5);
    let better = Fixture::new(6).save(run.path());
    mark_best(run.path(), &better).unwrap();
    Fixture::new(7).save(run.path());
    Fixture::new(8).save(run.path());
    let kept = ["best", "latest", "step-00000006", "step-00000007", "step-00000008"];
    assert_eq!(names(run.path()), kept);
    assert_eq!(step_of(&run.path().join("best")), 6);
}
