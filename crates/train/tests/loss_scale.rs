//! Loss scaling changes what gradients are on their way, and nothing else.

mod setup;

use mil::DataType;
use setup::{batches, config, network, network_in, options, save, scratch};
use train::checkpoint::Checkpoint;
use train::data::Order;
use train::loss_scale::{LARGEST, LossScale};
use train::metrics::Record;
use train::{Network, Trainer, TrainerOptions};

fn trainer(network: Network, loss_scale: LossScale) -> Trainer {
    let options = TrainerOptions { loss_scale, ..options() };
    Trainer::new(network, options, batches(Order::Random, None), 1).expect("a new run")
}

fn steps(trainer: &mut Trainer, count: usize) -> Vec<Record> {
    (0..count).map(|_| trainer.step().expect("a step can be taken")).collect()
}

/// Every parameter's bits.
fn parameters(trainer: &Trainer) -> Vec<u32> {
    let all = trainer.network().parameters.iter();
    all.flat_map(|p| {
        let value = p.value.read().expect("nobody else uses it");
        value.as_slice::<f32>().iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
    })
    .collect()
}

fn bits(records: &[Record]) -> Vec<[u64; 2]> {
    records.iter().map(|r| [r.loss.to_bits(), r.grad_norm.to_bits()]).collect()
}

#[test]
fn in_fp32_a_power_of_two_changes_no_bit() {
    let config = config();
    let mut plain = trainer(network(&config), LossScale::None);
    let expected = steps(&mut plain, 6);
    // Clipping is at work, which is told by norms that are larger than its limit.
    assert!(expected.iter().any(|r| r.grad_norm > 1.0), "{expected:?}");
    assert!(expected.iter().all(|r| r.loss_scale.is_none()));
    let dynamic = LossScale::Dynamic { initial: 64.0, growth_interval: 2 };
    for (how, last) in [(LossScale::Static(4096.0), 4096.0), (dynamic, 256.0)] {
        let mut scaled = trainer(network(&config), how);
        let found = steps(&mut scaled, 6);
        assert_eq!(bits(&found), bits(&expected), "{how:?}");
        assert!(parameters(&scaled) == parameters(&plain), "{how:?}: parameters differ");
        assert_eq!(found[5].loss_scale, Some(last));
    }
}

#[test]
fn in_fp32_any_other_factor_changes_the_last_bits_only() {
    let config = config();
    let expected = steps(&mut trainer(network(&config), LossScale::None), 6);
    let found = steps(&mut trainer(network(&config), LossScale::Static(1536.5)), 6);
    for (found, expected) in found.iter().zip(&expected) {
        // Six steps, each with one more rounding of 2⁻²⁴ in every gradient.
        assert!((found.loss / expected.loss - 1.0).abs() < 1e-5, "{found:?}, {expected:?}");
        let norms = found.grad_norm / expected.grad_norm;
        assert!((norms - 1.0).abs() < 1e-4, "{found:?}, {expected:?}");
    }
}

#[test]
fn an_overflow_in_fp16_halves_the_factor_and_leaves_the_step_out() {
    let how = LossScale::Dynamic { initial: LARGEST, growth_interval: 100 };
    let mut trainer = trainer(network_in(&config(), DataType::Fp16), how);
    let before = parameters(&trainer);
    let mut scale = LARGEST;
    let mut skipped = 0;
    loop {
        let record = trainer.step().expect("a step can be taken");
        // The loss is that of the forward functions, which the scale does not touch.
        assert!((record.loss - 50f64.ln()).abs() < 0.2, "{record:?}");
        assert_eq!(record.loss_scale, Some(f64::from(scale)));
        if record.grad_norm.is_finite() {
            break;
        }
        skipped += 1;
        scale /= 2.0;
        assert_eq!(trainer.loss_scale(), scale);
        assert!(parameters(&trainer) == before, "a step that was left out changed a parameter");
        assert!(scale > 1.0, "no factor serves");
    }
    assert!(skipped > 0, "the largest factor does not overflow");
    assert_eq!(trainer.skipped(), skipped);
    assert_eq!(trainer.steps_done(), skipped + 1);
    assert!(parameters(&trainer) != before);
}

#[test]
fn a_dynamic_factor_is_resumed_exactly() {
    let config = config();
    // From the largest it overflows first, and at this interval it grows again and again.
    let how = LossScale::Dynamic { initial: LARGEST, growth_interval: 3 };
    let options = TrainerOptions { loss_scale: how, ..options() };
    let fp16 = || network_in(&config, DataType::Fp16);
    let (count, first) = (30, 17);
    let mut whole = trainer(fp16(), how);
    let expected = steps(&mut whole, count);

    let mut half = trainer(fp16(), how);
    steps(&mut half, first);
    let folder = scratch("scale");
    let (saved, ..) = save(&half, &folder);
    let state = Checkpoint::open(&saved).expect("it can be read").state().loss_scale;
    assert_eq!(state.map(|s| s.scale), Some(half.loss_scale()));
    drop(half);
    let mut checkpoint = Checkpoint::open(&saved).expect("the checkpoint can be read");
    let batches = batches(Order::Random, Some(checkpoint.state().data));
    let rest = Trainer::resume(fp16(), options, batches, &mut checkpoint);
    let mut rest = rest.expect("the run can be resumed");
    let found = steps(&mut rest, count - first);
    assert_eq!(bits(&found), bits(&expected[first..]));
    let scales = |records: &[Record]| records.iter().map(|r| r.loss_scale).collect::<Vec<_>>();
    assert_eq!(scales(&found), scales(&expected[first..]));
    let mut different = scales(&found);
    different.dedup();
    assert!(different.len() > 1, "the factor never changed after resuming: {different:?}");
    assert!(parameters(&rest) == parameters(&whole), "parameters differ");
    assert_eq!(rest.skipped(), whole.skipped());
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn a_factor_out_of_bounds_is_refused() {
    let options = TrainerOptions { loss_scale: LossScale::Static(f32::NAN), ..options() };
    let refused = Trainer::new(network(&config()), options, batches(Order::Random, None), 1);
    let message = refused.err().expect("it is no number").to_string();
    assert_eq!(message, "the loss scale is NaN; it must be a number from 1 to 16777216");
}
