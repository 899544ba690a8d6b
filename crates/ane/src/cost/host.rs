//! What the host's part of a step costs.

use super::work::{Counter, Kind};
use super::{Error, Profile};
use mil::{Function, Op};

/// Work of the host, whatever it is written in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostWork {
    /// What it is.
    pub name: String,
    /// Operations of matrix products in fp32.
    pub product_flops: f64,
    /// Bytes read and written by element-wise work and copies.
    pub bytes: f64,
    /// Bytes read and written by conversions between fp32 and fp16.
    pub converted_bytes: f64,
    /// Exponentials, sines and the like.
    pub functions: f64,
}

impl HostWork {
    /// Predicted seconds.
    pub fn seconds(&self, profile: &Profile) -> f64 {
        let host = &profile.host;
        self.product_flops / (host.product_gflops.value * 1e9)
            + self.bytes / (host.memory_gbs.value * 1e9)
            + self.converted_bytes / (host.convert_gbs.value * 1e9)
            + self.functions * host.function_ns.value * 1e-9
    }
}

/// The work of a host function on a device that fuses what is element-wise: inputs are read and
/// outputs written once, and products also read and write theirs. Inputs and outputs of fp16 are
/// conversions.
///
/// # Errors
/// If a shape is not fixed.
pub fn host_work(function: &Function) -> Result<HostWork, Error> {
    let counter = Counter::new(function);
    let mut work = HostWork { name: function.name.clone(), ..HostWork::default() };
    // A table of which rows are gathered is not read.
    let mut gathered = vec![];
    for operation in &function.body.operations {
        let own = counter.work(operation)?;
        work.functions += own.functions;
        if own.kind == Kind::Product {
            work.product_flops += own.flops;
            work.bytes += own.bytes;
        }
        if operation.op == Op::Gather {
            gathered.extend(operation.value("x"));
            work.bytes += own.bytes;
        }
    }
    let ports = function.inputs.iter().filter(|id| !gathered.contains(id));
    for &id in ports.chain(&function.body.outputs) {
        let bytes = counter.bytes(id)?;
        let half = function.ty(id).as_tensor().is_some_and(|t| t.dtype == mil::DataType::Fp16);
        if half { work.converted_bytes += bytes } else { work.bytes += bytes }
    }
    Ok(work)
}
