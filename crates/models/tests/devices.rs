//! The functions on the CPU device, against PyTorch: every instruction set, and every type of
//! matrix product.

mod common;

use common::{Array, Check, Named, Tolerance, block, whole_model};
use cpu::CpuDevice;
use cpu::isa::Isa;
use mil::{DataType, Function, Program, Tensor};
use passes::autodiff::Recompute;
use runtime::{Accumulation, Bindings, CompileOptions, Device};
use surface::Surface;

/// The evaluator of a device. Parameters are declared as such, as training does.
fn on(device: &dyn Device) -> impl Fn(&Function, &Named) -> Named {
    |function, inputs| {
        let is_parameter = |name: &&str| {
            let (embedding, norm) = (["embedding", "classifier"], name.ends_with("norm"));
            norm || embedding.contains(name) || (name.starts_with('w') && *name != "weights")
        };
        let names = function.inputs.iter().map(|&id| function.value(id).name.as_str());
        let parameters = names.filter(is_parameter).map(str::to_owned).collect();
        let options = CompileOptions { parameters, ..CompileOptions::default() };
        let program = Program::new(vec![function.clone()]);
        let executable = device.compile(&program, &function.name, &options);
        let executable = executable.unwrap_or_else(|error| panic!("{error}"));

        let mut bindings = Bindings::new();
        for port in executable.inputs() {
            let data = &inputs[&port.name].data;
            let integers: Vec<i64> = data.iter().map(|&v| v as i64).collect();
            let tensor = match port.ty.dtype.is_float() {
                true => Tensor::from_f64s(port.ty.dtype, &port.dims, data),
                false => Tensor::from_i64s(port.ty.dtype, &port.dims, &integers),
            };
            let tensor = tensor.expect("the input has the port's shape");
            let surface = Surface::from_slice(tensor.bytes()).expect("memory for an input");
            bindings = bindings.input(&port.name, &surface);
        }
        let mut outputs = vec![];
        for port in executable.outputs().to_vec() {
            let surface = Surface::new(port.bytes).expect("memory for an output");
            bindings = bindings.output(&port.name, &surface);
            outputs.push((port, surface));
        }
        let mut request = executable.bind(bindings).expect("every port is bound");
        request.evaluate(Accumulation::Replace).unwrap_or_else(|error| panic!("{error}"));
        let read = |(port, surface): (runtime::Port, Surface)| {
            let reading = surface.read().expect("nothing else uses it");
            let bytes = reading.as_slice::<u8>()[..port.bytes].to_vec();
            let tensor = Tensor::from_bytes(port.ty.dtype, &port.dims, bytes).expect("its bytes");
            (port.name, Array::new(&port.dims, tensor.to_f64s()))
        };
        outputs.into_iter().map(read).collect()
    }
}

fn check_all(compute: DataType, recompute: Recompute, tolerance: Tolerance) {
    for isa in Isa::available() {
        let device = CpuDevice::with_isa(Some(2), isa).expect("two threads can be started");
        let evaluate = on(&device);
        let check = Check { evaluate: &evaluate, compute, recompute, tolerance };
        for name in ["block_mha_interleaved", "block_gqa_halves_qk_norm"] {
            println!("{}, {name}: {:.2e}", device.describe(), block(name, &check));
        }
        for name in ["model_interleaved_tied", "model_halves_untied", "model_halves_qk_norm_tied"] {
            println!("{}, {name}: {:.2e}", device.describe(), whole_model(name, &check));
        }
    }
}

#[test]
fn on_the_cpu_in_fp32_values_and_gradients_are_those_of_pytorch() {
    for recompute in [Recompute::Nothing, Recompute::Cheap, Recompute::Everything] {
        check_all(DataType::Fp32, recompute, Tolerance::Largest(1e-5));
    }
}

#[test]
fn on_the_cpu_in_bf16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(DataType::Bf16, Recompute::Cheap, Tolerance::Norm(2e-2));
}

#[test]
fn on_the_cpu_in_fp16_values_and_gradients_are_close_to_those_of_pytorch() {
    check_all(DataType::Fp16, Recompute::Cheap, Tolerance::Norm(3e-3));
}
