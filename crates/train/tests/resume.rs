//! A run that was interrupted goes on as one that was not.

mod setup;

use models::Config;
use setup::{batches, config, network, options, save, scratch};
use train::Trainer;
use train::checkpoint::Checkpoint;
use train::data::Order;

#[test]
fn ten_steps_are_five_a_checkpoint_and_five_more_byte_for_byte() {
    for order in [Order::Random, Order::Sequential] {
        let config = config();
        let mut whole =
            Trainer::new(network(&config), options(), batches(order, None), 1).expect("a new run");
        let losses: Vec<f64> =
            (0..10).map(|_| whole.step().expect("a step can be taken").loss).collect();
        assert!(losses[9] < losses[0], "the run learns nothing: {losses:?}");
        let folder = scratch("whole");
        let (_, model, moments) = save(&whole, &folder);

        let half_folder = scratch("half");
        let mut half =
            Trainer::new(network(&config), options(), batches(order, None), 1).expect("a new run");
        for loss in &losses[..5] {
            assert_eq!(half.step().expect("a step can be taken").loss.to_bits(), loss.to_bits());
        }
        let (saved, ..) = save(&half, &half_folder);
        drop(half);
        let mut checkpoint = Checkpoint::open(&saved).expect("the checkpoint can be read");
        let position = checkpoint.state().data;
        let mut rest = Trainer::resume(
            network(&config),
            options(),
            batches(order, Some(position)),
            &mut checkpoint,
        )
        .expect("the run can be resumed");
        for loss in &losses[5..] {
            assert_eq!(rest.step().expect("a step can be taken").loss.to_bits(), loss.to_bits());
        }
        let (_, model_again, moments_again) = save(&rest, &half_folder);
        assert!(model == model_again, "parameters differ");
        assert!(moments == moments_again, "moments differ");
        for folder in [folder, half_folder] {
            std::fs::remove_dir_all(folder).expect("the folder can be removed");
        }
    }
}

#[test]
fn a_checkpoint_of_another_shape_is_refused_by_name() {
    let small = config();
    let trainer =
        Trainer::new(network(&small), options(), batches(Order::Random, None), 1).expect("a run");
    let folder = scratch("shape");
    let (saved, ..) = save(&trainer, &folder);
    let large = Config { hidden: 44, ..small };
    let mut checkpoint = Checkpoint::open(&saved).expect("the checkpoint can be read");
    let refused =
        Trainer::resume(network(&large), options(), batches(Order::Random, None), &mut checkpoint);
    let message = refused.err().expect("the shapes differ").to_string();
    assert!(message.contains("gate_proj") && message.contains("44"), "{message}");
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}
