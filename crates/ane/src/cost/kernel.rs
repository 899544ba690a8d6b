//! What one evaluation of an engine kernel costs.

use super::work::{Counter, Kind, constant_bytes};
use super::{Error, Profile};
use mil::Function;

/// The cost of an evaluation. Times are in seconds; they are predictions.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelCost {
    /// The function.
    pub name: String,
    /// Every operation, in order.
    pub operations: Vec<OperationCost>,
    /// Bytes of the inputs' surfaces.
    pub input_bytes: f64,
    /// Bytes of the outputs' surfaces.
    pub output_bytes: f64,
    /// Bytes of constants.
    pub constant_bytes: f64,
    /// Elements of the longest row of an input or output.
    pub widest: usize,
    /// Where the time goes.
    pub time: KernelTime,
}

/// The time of an evaluation in seconds, by what it is spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelTime {
    /// Handing the request to the engine and back.
    pub dispatch: f64,
    /// Reading inputs and constants and writing outputs.
    pub surfaces: f64,
    /// Starting operations.
    pub starts: f64,
    /// Products at the engine's peak.
    pub compute: f64,
    /// Moving rows, or long pieces of them.
    pub copies: f64,
    /// Moving values out of their rows: transposes, and slices of single elements.
    pub reorder: f64,
    /// Reading operands again that are too large to be held.
    pub again: f64,
    /// Element-wise operations and reductions.
    pub maps: f64,
}

/// The cost of an operation within a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationCost {
    /// Its first result.
    pub value: String,
    /// The op's name.
    pub op: &'static str,
    /// The kind of work.
    pub kind: Kind,
    /// Operations on numbers.
    pub flops: f64,
    /// Bytes that it reads and writes.
    pub bytes: f64,
    /// Seconds, without what the whole kernel costs.
    pub seconds: f64,
    /// Bytes of a constant.
    pub constant_bytes: f64,
    /// Bytes of the larger operand of a product of which neither operand can be held.
    pub over_limit: Option<f64>,
}

impl KernelTime {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.parts().iter().map(|part| part.1).sum()
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("dispatch", self.dispatch),
            ("surfaces", self.surfaces),
            ("starts", self.starts),
            ("compute", self.compute),
            ("copies", self.copies),
            ("reorder", self.reorder),
            ("read again", self.again),
            ("maps", self.maps),
        ]
    }
}

impl std::ops::AddAssign for KernelTime {
    fn add_assign(&mut self, other: KernelTime) {
        self.dispatch += other.dispatch;
        self.surfaces += other.surfaces;
        self.starts += other.starts;
        self.compute += other.compute;
        self.copies += other.copies;
        self.reorder += other.reorder;
        self.again += other.again;
        self.maps += other.maps;
    }
}

impl std::ops::Mul<f64> for KernelTime {
    type Output = KernelTime;

    fn mul(self, n: f64) -> KernelTime {
        KernelTime {
            dispatch: self.dispatch * n,
            surfaces: self.surfaces * n,
            starts: self.starts * n,
            compute: self.compute * n,
            copies: self.copies * n,
            reorder: self.reorder * n,
            again: self.again * n,
            maps: self.maps * n,
        }
    }
}

impl KernelCost {
    /// Seconds of an evaluation.
    pub fn seconds(&self) -> f64 {
        self.time.total()
    }

    /// Operations on numbers.
    pub fn flops(&self) -> f64 {
        self.operations.iter().map(|o| o.flops).sum()
    }

    /// The part of the peak that the whole evaluation reaches, from 0 to 1.
    pub fn utilization(&self, profile: &Profile) -> f64 {
        self.flops() / self.seconds() / (profile.engine.peak_tflops.value * 1e12)
    }

    /// Products of which neither operand can be held.
    pub fn over_limit(&self) -> impl Iterator<Item = &OperationCost> {
        self.operations.iter().filter(|o| o.over_limit.is_some())
    }
}

/// The cost of one evaluation of a kernel, every operation of which is accounted for.
///
/// # Errors
/// If a shape is not fixed.
pub fn kernel_cost(function: &Function, profile: &Profile) -> Result<KernelCost, Error> {
    let counter = Counter::new(function);
    let engine = &profile.engine;
    let seconds_of = |bytes: f64, gbs: f64| bytes / (gbs * 1e9);
    let mut time =
        KernelTime { dispatch: engine.dispatch_us.value * 1e-6, ..KernelTime::default() };
    let ports = |ids: &[mil::ValueId]| -> Result<f64, Error> {
        ids.iter().map(|&id| counter.bytes(id)).sum()
    };
    let (input_bytes, output_bytes) = (ports(&function.inputs)?, ports(&function.body.outputs)?);
    let mut constants = 0.0;
    let mut operations = vec![];
    for operation in &function.body.operations {
        let work = counter.work(operation)?;
        let own_constant = constant_bytes(operation);
        constants += own_constant;
        let mut own = KernelTime::default();
        let mut over_limit = None;
        if !matches!(work.kind, Kind::Constant | Kind::View) {
            own.starts = engine.operation_us.value * 1e-6;
            own.copies = seconds_of(work.copied, engine.memory_gbs.value);
            own.reorder = seconds_of(work.moved, engine.reorder_gbs.value);
        }
        match work.kind {
            Kind::Constant | Kind::View | Kind::Move => {}
            Kind::Map => own.maps = seconds_of(work.bytes, engine.map_gbs.value),
            Kind::Product => {
                own.compute = work.flops / (engine.peak_tflops.value * 1e12);
                if let Some(operands) = work.product {
                    let again = operands.read_again(profile.operand_bytes());
                    own.again = seconds_of(again, engine.stream_gbs.value);
                    over_limit = (again > 0.0).then(|| operands.larger());
                }
            }
        }
        time += own;
        let value = operation.outputs.first().map(|&id| function.value(id).name.clone());
        operations.push(OperationCost {
            value: value.unwrap_or_default(),
            op: operation.op.name(),
            kind: work.kind,
            flops: work.flops,
            bytes: work.bytes,
            seconds: own.total(),
            constant_bytes: own_constant,
            over_limit,
        });
    }
    time.surfaces = seconds_of(input_bytes + output_bytes + constants, engine.memory_gbs.value);
    let mut widest = 0;
    for &id in function.inputs.iter().chain(&function.body.outputs) {
        widest = widest.max(counter.dims(id)?.last().copied().unwrap_or(1));
    }
    Ok(KernelCost {
        name: function.name.clone(),
        operations,
        input_bytes,
        output_bytes,
        constant_bytes: constants,
        widest,
        time,
    })
}
