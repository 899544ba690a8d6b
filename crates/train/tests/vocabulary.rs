//! Runs that train only the rows of the vocabulary that their data use.

mod setup;

use cpu::CpuDevice;
use mil::DataType;
use models::{Config, Role};
use serde_json::json;
use setup::{network_in, options, scratch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::checkpoint::{self, Checkpoint, Moment, Snapshot, Tensor};
use train::data::{Batches, Order, Position, Tokens};
use train::rng::Rng;
use train::vocabulary::{IdSet, UsedIds, Vocabulary};
use train::{About, Batch, Network, NetworkOptions, Trainer};

/// What the data use of the 50 tokens: the last, neighbours, and not the first.
const USED: [u32; 6] = [3, 7, 8, 9, 30, 49];

fn config(tied: bool) -> Config {
    Config { tied, ..setup::config() }
}

fn vocabulary(ids: &[u32]) -> Arc<Vocabulary> {
    let mut used = UsedIds::new(50);
    ids.iter().for_each(|&id| used.insert(id));
    Arc::new(used.vocabulary())
}

fn compacted(config: &Config, compute: DataType, ids: &[u32]) -> Network {
    let device = CpuDevice::new(Some(2)).expect("two threads can be started");
    let options = network_options(compute);
    let network = Network::with_vocabulary(&device, config, &options, vocabulary(ids));
    network.expect("the model compiles")
}

fn network_options(compute: DataType) -> NetworkOptions {
    NetworkOptions {
        shape: models::Shape { batch: 2, seq: 9 },
        micro_batches: 1,
        layout: models::Layout::TokenMajor,
        compute,
        head_compute: compute,
        forward_products: runtime::Products::Native,
        recompute: passes::autodiff::Recompute::Cheap,
        head_rows: None,
        lora: None,
        packed: false,
    }
}

/// Tokens of these ids, the same ones in the same order for any ids of this number.
fn batches(ids: &[u32], position: Option<Position>) -> Batches {
    let mut random = Rng::new(3);
    let tokens: Vec<u32> = (0..500).map(|_| ids[random.below(ids.len() as u64) as usize]).collect();
    let start = Position { order: Order::Random, seed: 8, windows: 0 };
    let tokens = Arc::new(Tokens::from_ids(tokens));
    let position = position.unwrap_or(start);
    Batches::new(tokens, 0..500, 2, 9, position).expect("there are enough tokens")
}

fn new(network: Network) -> Trainer {
    Trainer::new(network, options(), batches(&USED, None), 1).expect("a new run")
}

fn resume(network: Network, ids: &[u32], saved: &Path) -> Trainer {
    let mut checkpoint = Checkpoint::open(saved).expect("the checkpoint can be read");
    let batches = batches(ids, Some(checkpoint.state().data));
    Trainer::resume(network, options(), batches, &mut checkpoint).expect("it can be resumed")
}

fn save(trainer: &Trainer, config: &Config, folder: &Path) -> PathBuf {
    let config_json = config.to_hugging_face();
    let about = About {
        config: &config_json,
        tokenizer: None,
        adapter: None,
        sidecars: &[],
        settings: &json!({}),
    };
    trainer.save(folder, &about, 9).expect("the checkpoint can be written")
}

fn read(saved: &Path, file: &str) -> Vec<u8> {
    std::fs::read(saved.join(file)).expect("the checkpoint can be read")
}

/// The bits of losses and norms.
fn steps(trainer: &mut Trainer, count: usize) -> Vec<[u64; 2]> {
    let step = |_| {
        let record = trainer.step().expect("a step can be taken");
        [record.loss.to_bits(), record.grad_norm.to_bits()]
    };
    (0..count).map(step).collect()
}

/// Values, first and second moments of a table with all its rows, as bits.
fn table(checkpoint: &mut Checkpoint, name: &str) -> [Vec<u32>; 3] {
    let dims = [50, 24];
    let mut all = [(); 3].map(|()| vec![f32::NAN; 50 * 24]);
    checkpoint.read_parameter(name, &dims, &mut all[0]).expect("it is whole");
    checkpoint.read_moment(Moment::First, name, &dims, &mut all[1]).expect("it is whole");
    checkpoint.read_moment(Moment::Second, name, &dims, &mut all[2]).expect("it is whole");
    all.map(|values| values.iter().map(|v| v.to_bits()).collect())
}

const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

fn tables(config: &Config) -> &'static [&'static str] {
    if config.tied { &TABLES[..1] } else { &TABLES }
}

#[test]
fn a_run_begins_with_the_parameters_of_the_whole_model() {
    for tied in [true, false] {
        let config = config(tied);
        let folder = scratch("vocabulary-begin");
        let whole = save(&new(network_in(&config, DataType::Fp32)), &config, &folder);
        let trainer = new(compacted(&config, DataType::Fp32, &USED));
        let compact = save(&trainer, &config, &folder);
        for file in ["model.safetensors", "training.safetensors"] {
            assert!(read(&whole, file) == read(&compact, file), "tied {tied}: {file} differs");
        }
        // What is given to a generator is what is saved.
        let mut checkpoint = Checkpoint::open(&whole).expect("it can be read");
        for (name, surface) in trainer.whole_parameters().expect("nobody uses them") {
            let surface = surface.read().expect("nobody writes it");
            let mut saved = vec![f32::NAN; surface.as_slice::<f32>().len()];
            let dims = checkpoint.parameters().get(name).expect("it is there").dims.clone();
            checkpoint.read_parameter(name, &dims, &mut saved).expect("it is there");
            assert!(saved == surface.as_slice::<f32>(), "{name}");
        }
        std::fs::remove_dir_all(folder).expect("the folder can be removed");
    }
}

/// The very model with a small vocabulary, made by hand: its tokens are numbers of rows.
#[test]
fn a_run_is_that_of_a_model_with_the_small_vocabulary() {
    for (tied, compute) in
        [(true, DataType::Fp32), (false, DataType::Fp32), (false, DataType::Bf16)]
    {
        let config = config(tied);
        let small = Config { vocab: USED.len(), ..config };
        let folder = scratch("vocabulary-small");
        let whole = save(&new(network_in(&config, DataType::Fp32)), &config, &folder);
        let mut checkpoint = Checkpoint::open(&whole).expect("it can be read");
        let parameters = models::parameters(&config).expect("the configuration is valid");
        let gathered: Vec<(String, Vec<usize>, Vec<f32>)> = parameters
            .into_iter()
            .map(|p| {
                let mut values = vec![0.0; p.dims.iter().product()];
                checkpoint.read_parameter(&p.name, &p.dims, &mut values).expect("it is there");
                if !matches!(p.role, Role::Embedding | Role::Classifier) {
                    return (p.name, p.dims, values);
                }
                let rows = USED.iter().flat_map(|&id| &values[id as usize * 24..][..24]);
                (p.name, vec![USED.len(), 24], rows.copied().collect())
            })
            .collect();
        let gathered: Vec<Tensor<'_>> = gathered
            .iter()
            .map(|(name, dims, data)| Tensor { name, dims, data: vec![data] })
            .collect();
        let (config_json, state) = (small.to_hugging_face(), checkpoint.state().clone());
        let snapshot = Snapshot {
            config: &config_json,
            tokenizer: None,
            adapter: None,
            sidecars: &[],
            parameters: &gathered,
            first: &[],
            second: &[],
            state: &state,
        };
        let saved = checkpoint::save(&folder, &snapshot, 9).expect("it can be written");
        let mut begin = Checkpoint::open(&saved).expect("it can be read");
        let rows: Vec<u32> = (0..USED.len() as u32).collect();
        let network = network_in(&small, compute);
        let by_hand =
            Trainer::from_checkpoint(network, options(), batches(&rows, None), &mut begin);
        let mut by_hand = by_hand.expect("the parameters fit");

        let mut compact = new(compacted(&config, compute, &USED));
        assert_eq!(steps(&mut compact, 6), steps(&mut by_hand, 6), "tied {tied}, {compute}");
        let validate = |trainer: &mut Trainer, ids: &[u32]| {
            trainer
                .validate(&mut batches(ids, None).into(), 2)
                .expect("it can be validated")
                .to_bits()
        };
        assert_eq!(validate(&mut compact, &USED), validate(&mut by_hand, &rows));
        std::fs::remove_dir_all(folder).expect("the folder can be removed");
    }
}

/// The loss of the first batch by the whole model, with all logits but the used ones left out:
/// −ln (p(target) / Σ p(used)), from the losses of every used token at every position.
fn restricted_loss(config: &Config, saved: &Path) -> f64 {
    let mut checkpoint = Checkpoint::open(saved).expect("it can be read");
    let mut network = network_in(config, DataType::Fp32);
    for state in &network.parameters {
        let mut value = state.value.write().expect("nobody else uses it");
        let (name, dims) = (&state.spec.name, &state.spec.dims);
        checkpoint.read_parameter(name, dims, value.as_mut_slice()).expect("it is there");
    }
    network.stage().expect("parameters can be staged");
    let count = network.tokens();
    let (mut tokens, mut targets) = (vec![0; count], vec![0; count]);
    batches(&USED, None).next(&mut tokens, &mut targets).expect("there are enough tokens");
    let mut sum = 0.0;
    for position in 0..count {
        let mut weights = vec![0.0; count];
        weights[position] = 1.0;
        let mut surprise = |target: i32| {
            let targets = vec![target; count];
            let batch =
                Batch { tokens: &tokens, targets: &targets, weights: &weights, segments: &[] };
            f64::from(network.loss(&batch).expect("the loss can be computed"))
        };
        let used: f64 = USED.iter().map(|&id| (-surprise(id as i32)).exp()).sum();
        sum += surprise(targets[position]) + used.ln();
    }
    sum / count as f64
}

#[test]
fn the_loss_is_that_of_the_logits_that_are_used() {
    for tied in [true, false] {
        let config = config(tied);
        let folder = scratch("vocabulary-loss");
        let mut trainer = new(compacted(&config, DataType::Fp32, &USED));
        for when in ["at first", "after eight steps"] {
            let saved = save(&trainer, &config, &folder);
            let expected = restricted_loss(&config, &saved);
            let found =
                trainer.validate(&mut batches(&USED, None).into(), 1).expect("there is a batch");
            // Some forty roundings of 6·10⁻⁸ in a loss of about 1.8, and as many in the other way.
            assert!((found - expected).abs() < 1e-5, "{when}, tied {tied}: {found}, {expected}");
            steps(&mut trainer, 8);
        }
        std::fs::remove_dir_all(folder).expect("the folder can be removed");
    }
}

#[test]
fn other_rows_stay_as_they_were_bit_for_bit() {
    for tied in [true, false] {
        let config = config(tied);
        let folder = scratch("vocabulary-others");
        let mut trainer = new(compacted(&config, DataType::Fp32, &USED));
        let before = save(&trainer, &config, &folder);
        steps(&mut trainer, 4);
        let after = save(&trainer, &config, &folder);
        let [mut before, mut after] =
            [before, after].map(|saved| Checkpoint::open(&saved).expect("it can be read"));
        assert_eq!(after.state().trained, Some(IdSet::from_ascending(USED)));
        assert_eq!(after.state().trained.as_ref().map(IdSet::to_string).unwrap(), "3,7-9,30,49");
        for name in tables(&config) {
            let (before, after) = (table(&mut before, name), table(&mut after, name));
            for id in 0..50 {
                let row = |part: &[u32]| part[id * 24..][..24].to_vec();
                if USED.contains(&(id as u32)) {
                    assert_ne!(row(&before[0]), row(&after[0]), "{name}: row {id} was not trained");
                    assert!(row(&after[2]).iter().any(|&bits| bits != 0), "{name}: row {id}");
                } else {
                    assert_eq!(row(&before[0]), row(&after[0]), "{name}: row {id} has changed");
                    assert_eq!([row(&after[1]), row(&after[2])], [[0; 24], [0; 24]], "{name}");
                }
            }
        }
        std::fs::remove_dir_all(folder).expect("the folder can be removed");
    }
}

#[test]
fn a_resumed_run_is_one_that_was_not_interrupted_bit_for_bit() {
    let config = config(false);
    let folder = scratch("vocabulary-resume");
    let network = || compacted(&config, DataType::Bf16, &USED);
    let mut whole = new(network());
    let expected = steps(&mut whole, 7);
    let whole = save(&whole, &config, &folder.join("whole"));
    let mut half = new(network());
    assert_eq!(steps(&mut half, 3), expected[..3]);
    let saved = save(&half, &config, &folder.join("half"));
    let mut rest = resume(network(), &USED, &saved);
    assert_eq!(steps(&mut rest, 4), expected[3..]);
    let rest = save(&rest, &config, &folder.join("half"));
    for file in ["model.safetensors", "training.safetensors", "training.json"] {
        assert!(read(&whole, file) == read(&rest, file), "{file} differs");
    }
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn rows_come_and_go_between_runs() {
    let config = config(false);
    let folder = scratch("vocabulary-change");
    // The whole vocabulary, a part, another part, and the whole again.
    let mut trainer = new(network_in(&config, DataType::Fp32));
    steps(&mut trainer, 2);
    let mut saved = save(&trainer, &config, &folder);
    for ids in [&USED[..], &[0, 8, 30, 31]] {
        let mut trainer = resume(compacted(&config, DataType::Fp32, ids), ids, &saved);
        steps(&mut trainer, 2);
        let after = save(&trainer, &config, &folder);
        let [mut old, mut new] =
            [&saved, &after].map(|saved| Checkpoint::open(saved).expect("it can be read"));
        // Every row was trained when the run began.
        assert_eq!(new.state().trained, None);
        for name in TABLES {
            let (old, new) = (table(&mut old, name), table(&mut new, name));
            for (part, (old, new)) in old.iter().zip(&new).enumerate() {
                for (id, (old, new)) in old.chunks(24).zip(new.chunks(24)).enumerate() {
                    let used = ids.contains(&(id as u32));
                    assert_eq!(old != new, used, "{name}: part {part} of row {id}");
                }
            }
        }
        saved = after;
    }
    let mut trainer = resume(network_in(&config, DataType::Fp32), &USED, &saved);
    steps(&mut trainer, 1);
    assert_eq!(trainer.steps_done(), 7);

    // Of a run that began with a part, all those are trained that ever were.
    let mut trainer = new(compacted(&config, DataType::Fp32, &USED));
    steps(&mut trainer, 1);
    let saved = save(&trainer, &config, &folder.join("part"));
    let other = [0, 8, 30, 31];
    let trainer = resume(compacted(&config, DataType::Fp32, &other), &other, &saved);
    let both = IdSet::from_ascending([0, 3, 7, 8, 9, 30, 31, 49]);
    assert_eq!(trainer.trained(), Some(&both));
    let mut begin = Checkpoint::open(&saved).expect("it can be read");
    let network = compacted(&config, DataType::Fp32, &other);
    let begun =
        Trainer::from_checkpoint(network, options(), batches(&other, None), &mut begin).unwrap();
    assert_eq!(begun.trained(), Some(&both));
    let trainer = resume(network_in(&config, DataType::Fp32), &USED, &saved);
    assert_eq!(trainer.trained(), None);
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = config(true);
    // Tokens that nobody has looked for, in training and in validation.
    let mut trainer = new(compacted(&config, DataType::Fp32, &USED));
    let message = |error: train::Error| error.to_string();
    let others = batches(&[3, 7, 4], None);
    let refused =
        trainer.validate(&mut others.into(), 5).map_err(message).expect_err("4 has no row");
    assert_eq!(
        refused,
        "token 4 is not one that the data used when the run began: have they changed?"
    );
    let network = compacted(&config, DataType::Fp32, &USED[1..]);
    let refused = new(network).step().map_err(message).expect_err("3 has no row");
    assert!(refused.starts_with("token 3 "), "{refused}");

    let device = CpuDevice::new(Some(1)).expect("a thread can be started");
    let build = |config: &Config, ids: &[u32]| {
        let options = network_options(DataType::Fp32);
        let network = Network::with_vocabulary(&device, config, &options, vocabulary(ids));
        network.err().expect("it is refused").to_string()
    };
    let larger = Config { vocab: 51, ..config };
    assert_eq!(
        build(&larger, &USED),
        "the rows are of a vocabulary of 50 tokens, the model has 51"
    );
    assert!(build(&config, &[]).starts_with("`vocab` is 0"));
}
