//! What a profile counts.

use anemone_cpu::CpuDevice;
use mil::{DataType, FunctionBuilder, OpError, Opset, Program, Type};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Request};
use surface::Surface;

/// `x [8, 16] · wᵀ [24, 16]`, then a soft-max.
fn program() -> Result<Program, OpError> {
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let x = b.input("x", Type::tensor(DataType::Fp32, &[8, 16]));
    let w = b.input("w", Type::tensor(DataType::Fp32, &[24, 16]));
    let y = b.matmul(x, w, (false, true))?;
    let y = b.softmax(y, -1)?;
    Ok(Program::new(vec![b.finish(&[y])]))
}

fn request(device: &CpuDevice) -> Box<dyn Request> {
    let program = program().expect("the operations are legal");
    let parameters = vec!["w".to_owned()];
    let options = CompileOptions { parameters, ..CompileOptions::default() };
    let executable = device.compile(&program, "f", &options).expect("it can be compiled");
    let mut bindings = Bindings::new();
    for port in executable.inputs() {
        bindings = bindings.input(&port.name, &Surface::new(port.bytes).expect("memory"));
    }
    for port in executable.outputs() {
        bindings = bindings.output(&port.name, &Surface::new(port.bytes).expect("memory"));
    }
    executable.bind(bindings).expect("the surfaces fit")
}

#[test]
fn a_profile_counts_runs_and_work_of_every_step_and_only_while_it_is_on() {
    let device = CpuDevice::new(Some(1)).expect("a device of one thread");
    let mut request = request(&device);
    let mut evaluate = || request.evaluate(Accumulation::Replace).expect("nothing is in use");
    evaluate();
    device.set_profiling(true);
    (0..3).for_each(|_| evaluate());
    device.set_profiling(false);
    evaluate();
    let profile = device.profile();
    let [kernel] = &profile[..] else { panic!("one function was compiled: {profile:?}") };
    assert_eq!((kernel.name.as_str(), kernel.evaluations.calls), ("f", 3));
    assert!(kernel.steps.iter().all(|step| step.span.calls == 3), "{:?}", kernel.steps);
    let steps: f64 = kernel.steps.iter().map(|step| step.span.seconds).sum();
    assert!(steps <= kernel.evaluations.seconds, "steps are parts of evaluations");
    let products: Vec<_> = kernel.steps.iter().filter(|step| step.kind == "product").collect();
    let [product] = products[..] else { panic!("one product: {:?}", kernel.steps) };
    assert_eq!(product.flops, 2.0 * (8 * 24 * 16) as f64);
    assert_eq!(product.bytes, 4.0 * (8 * 16 + 24 * 16 + 8 * 24) as f64);
    device.set_profiling(true);
    assert_eq!(device.profile()[0].evaluations.calls, 0, "a new profile begins at nothing");
}

#[test]
fn packed_parameters_are_counted_as_long_as_their_request_lives() {
    let device = CpuDevice::new(Some(1)).expect("a device of one thread");
    assert_eq!(device.packed_bytes(), 0);
    let request = request(&device);
    assert!(device.packed_bytes() >= 24 * 16 * 4);
    drop(request);
    assert_eq!(device.packed_bytes(), 0);
    assert!(device.profile().is_empty(), "what nobody can run is not listed");
}
