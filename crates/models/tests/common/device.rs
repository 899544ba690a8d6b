//! Evaluating functions on a device.

use super::{Array, Named};
use mil::{Function, Program, Tensor};
use runtime::{Accumulation, Bindings, CompileOptions, Device};
use surface::Surface;

/// The evaluator of a device. Parameters are declared as such, as training does.
pub fn on(device: &dyn Device) -> impl Fn(&Function, &Named) -> Named {
    |function, inputs| {
        let is_parameter = |name: &&str| {
            let (table, norm) = (["embedding", "classifier"], name.contains("norm"));
            let matrix = name.starts_with('w') && *name != "weights";
            norm || matrix
                || name.starts_with('b')
                || table.contains(name)
                || *name == "position_embedding"
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
