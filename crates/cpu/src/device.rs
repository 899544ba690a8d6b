//! The device: compiles functions into plans and evaluates them on surfaces.

use crate::format::Format;
use crate::gemm::{self, AlignedBytes, PackedB, int8};
use crate::isa::Isa;
use crate::plan::{self, Context, IntegerPack, IntegerSource, Own, Pack, PackSource, Plan};
use crate::pool::{Packed, Pool};
use crate::profile::{Clock, KernelProfile, StepProfile};
use crate::rows::Scratch;
use crate::team::Team;
use mil::{DataType, Program};
use runtime::{
    Accumulation, Bindings, CompileOptions, Device, Error, Executable, Placement, Port, Request,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use surface::{Reading, Surface, Writing};

/// The CPU.
pub struct CpuDevice(Arc<Shared>);

/// What all executables of a device share.
struct Shared {
    team: Team,
    /// For what one thread of the team does by itself.
    alone: Team,
    isa: Isa,
    /// Held while evaluating: the threads and the memory serve one evaluation at a time.
    memory: Mutex<Memory>,
    /// Whether evaluations are timed.
    profiling: AtomicBool,
    /// What was compiled, for profiles.
    compiled: Mutex<Vec<Weak<Compiled>>>,
    /// Packed operands of products, and those of integer products, by what they are packed from.
    packs: Pool<Pack, PackedB>,
    integers: Pool<IntegerPack, int8::Weights>,
    /// Bytes of packed operands of all requests.
    packed_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
/// Working memory, as large as the largest plan needs.
struct Memory {
    /// Tensors that live within an evaluation.
    arena: AlignedBytes,
    /// What single matrix products use.
    products: AlignedBytes,
    /// What single row programs use.
    rows: Scratch,
    /// What each thread has to itself.
    own: Vec<Own>,
}

/// Why the device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The instruction set that was asked for.
    #[error(transparent)]
    Isa(#[from] crate::isa::Error),
    /// The threads.
    #[error(transparent)]
    Team(#[from] crate::team::Error),
}

impl CpuDevice {
    /// A device with `threads` threads, or as many as `ANEMONE_THREADS` or the machine says, and
    /// the best instruction set of the machine, or the one that `ANEMONE_CPU_ISA` names.
    pub fn new(threads: Option<usize>) -> Result<CpuDevice, DeviceError> {
        CpuDevice::with_isa(threads, Isa::detect()?)
    }

    /// A device that uses this instruction set.
    pub fn with_isa(threads: Option<usize>, isa: Isa) -> Result<CpuDevice, DeviceError> {
        let team = match threads {
            Some(threads) => Team::new(threads)?,
            None => Team::from_environment()?,
        };
        let memory = Mutex::new(Memory::default());
        let alone = Team::new(1)?;
        Ok(CpuDevice(Arc::new(Shared {
            team,
            alone,
            isa,
            memory,
            profiling: AtomicBool::new(false),
            compiled: Mutex::default(),
            packs: Pool::default(),
            integers: Pool::default(),
            packed_bytes: Arc::default(),
        })))
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.0.team.threads()
    }

    /// Begins a new profile of all that is evaluated from now on, or ends the one that runs.
    pub fn set_profiling(&self, on: bool) {
        if on {
            for compiled in self.compiled() {
                compiled.clocks.iter().for_each(Clock::reset);
                compiled.evaluations.reset();
                compiled.staging.reset();
            }
        }
        self.0.profiling.store(on, Ordering::Relaxed);
    }

    /// Where the time went since the profile began, for every compiled function that still
    /// exists, in the order in which they were compiled.
    pub fn profile(&self) -> Vec<KernelProfile> {
        let profile = |compiled: Arc<Compiled>| {
            let step = |(step, clock): (&plan::Step, &Clock)| {
                let plan::Cost { kind, what, flops, bytes } = step.cost();
                StepProfile { kind, what, span: clock.span(), flops, bytes }
            };
            KernelProfile {
                name: compiled.name.clone(),
                evaluations: compiled.evaluations.span(),
                staging: compiled.staging.span(),
                steps: compiled.plan.steps.iter().zip(&compiled.clocks).map(step).collect(),
            }
        };
        self.compiled().into_iter().map(profile).collect()
    }

    /// Bytes of the parameters that requests keep in packed form beside their surfaces.
    pub fn packed_bytes(&self) -> usize {
        self.0.packed_bytes.load(Ordering::Relaxed)
    }

    fn compiled(&self) -> Vec<Arc<Compiled>> {
        let compiled = self.0.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &str {
        "cpu"
    }

    fn describe(&self) -> String {
        let (isa, threads) = (self.0.isa, self.threads());
        let plural = if threads == 1 { "" } else { "s" };
        let mut kernels = gemm::kernel_name(isa).to_owned();
        let bf16 = gemm::kernel_name_for(isa, Format::Bf16);
        if bf16 != kernels {
            kernels = format!("{kernels} and {bf16}");
        }
        format!("{kernels}, {threads} thread{plural}")
    }

    fn compile(
        &self,
        program: &Program,
        function: &str,
        options: &CompileOptions,
    ) -> Result<Arc<dyn Executable>, Error> {
        mil::verify(program).map_err(|diagnostics| Error::Invalid {
            kernel: function.to_owned(),
            message: diagnostics.to_string(),
        })?;
        let function =
            program.function(function).ok_or_else(|| Error::NoFunction(function.to_owned()))?;
        options.check(function)?;
        let plan = plan::compile(function, options, self.0.isa, self.threads())?;
        let port = |name: &str, dtype: DataType, dims: &[usize]| Port {
            name: name.to_owned(),
            ty: mil::TensorType::fixed(dtype, dims),
            dims: dims.to_vec(),
            bytes: dims.iter().product::<usize>() * dtype.bits().div_ceil(8),
        };
        let inputs = plan
            .inputs
            .iter()
            .zip(&plan.input_types)
            .map(|(&id, (dtype, dims))| port(&function.value(id).name, *dtype, dims))
            .collect();
        let outputs = function
            .body
            .outputs
            .iter()
            .zip(&plan.output_types)
            .map(|(&id, (dtype, dims))| port(&function.value(id).name, *dtype, dims))
            .collect();
        {
            let mut memory = self.0.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = plan.arena_bytes;
            let grown = memory.arena.grow(bytes);
            let grown = grown.and_then(|()| memory.products.grow(plan.product_bytes));
            memory.own.resize_with(self.threads(), Own::default);
            let mut own = memory.own.iter_mut();
            let grown = grown.and_then(|()| own.try_for_each(|own| own.grow(plan.own)));
            grown.map_err(|_| Error::Unsupported {
                device: "cpu".into(),
                kernel: function.name.clone(),
                message: format!("it needs {bytes} bytes of memory, which cannot be had"),
            })?;
            memory.rows.reserve(plan.row_bytes);
        }
        let name = function.name.clone();
        let compiled = Arc::new(Compiled {
            shared: self.0.clone(),
            name,
            clocks: plan.steps.iter().map(|_| Clock::default()).collect(),
            evaluations: Clock::default(),
            staging: Clock::default(),
            plan,
            inputs,
            outputs,
        });
        let mut list = self.0.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

/// A compiled function.
struct Compiled {
    shared: Arc<Shared>,
    name: String,
    plan: Plan,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// One for each step, read and written only while profiling.
    clocks: Vec<Clock>,
    evaluations: Clock,
    staging: Clock,
}

impl Compiled {
    /// The time, if it is wanted.
    fn now(&self) -> Option<Instant> {
        self.shared.profiling.load(Ordering::Relaxed).then(Instant::now)
    }
}

/// Counts what began at `start`, if it was timed.
fn count(clock: &Clock, start: Option<Instant>) {
    if let Some(start) = start {
        clock.add(start);
    }
}

impl Executable for Compiled {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn placement(&self) -> Vec<Placement> {
        let place = |(value, op, place): &(String, mil::Op, String)| Placement {
            value: value.clone(),
            op: op.name(),
            place: format!("cpu: {place}"),
        };
        self.plan.operations.iter().map(place).collect()
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &self.plan.in_place
    }

    fn scratch_bytes(&self) -> usize {
        let own = self.shared.team.threads() * self.plan.own.total();
        self.plan.arena_bytes + self.plan.product_bytes + self.plan.row_bytes + own
    }

    fn bind(self: Arc<Self>, bindings: Bindings) -> Result<Box<dyn Request>, Error> {
        let (inputs, outputs) = bindings.resolve_in_place(
            &self.name,
            &self.inputs,
            &self.outputs,
            &self.plan.in_place,
        )?;
        let Shared { isa, packed_bytes, .. } = &*self.shared;
        let refused = |message: String| Error::Unsupported {
            device: "cpu".into(),
            kernel: self.name.clone(),
            message,
        };
        let surface = |source| match source {
            PackSource::Input(index) => Some(&inputs[index]),
            PackSource::Constant(_) => None,
        };
        let mut packs = vec![];
        for pack in &self.plan.packs {
            let new = || {
                let packed = PackedB::new(*isa, pack.left, pack.k, pack.n, pack.storage());
                let packed = packed.map_err(|e| refused(e.to_string()))?;
                let bytes = packed.bytes();
                Ok::<_, Error>((packed, bytes))
            };
            let from = surface(pack.source);
            packs.push(self.shared.packs.get(from, pack.anywhere(), packed_bytes, new)?);
        }
        let mut integers = vec![];
        for pack in &self.plan.integers {
            let new = || {
                let weights = int8::Weights::new(*isa, pack.side, pack.k, pack.channels);
                let weights = weights.map_err(|e| refused(e.to_string()))?;
                let bytes = weights.memory();
                Ok::<_, Error>((weights, bytes))
            };
            let from = match &pack.source {
                IntegerSource::Numbers { from, .. } => surface(*from),
                IntegerSource::Bytes(_) => None,
            };
            integers.push(self.shared.integers.get(from, pack.anywhere(), packed_bytes, new)?);
        }
        let slots = 1 + inputs.len() + outputs.len() + self.plan.constants.len();
        let mut request = Bound {
            reading: Vec::with_capacity(inputs.len()),
            writing: Vec::with_capacity(outputs.len()),
            pointers: Vec::with_capacity(slots),
            compiled: self,
            inputs,
            outputs,
            packs,
            integers,
        };
        for (pack, weights) in request.compiled.plan.integers.iter().zip(&request.integers) {
            if let IntegerSource::Bytes(w) = &pack.source {
                weights.write().set(&w.bytes, &w.scales);
            }
        }
        request.pack(|source| matches!(source, PackSource::Constant(_)))?;
        request.stage()?;
        Ok(Box::new(request))
    }
}

/// A compiled function with its surfaces.
struct Bound {
    compiled: Arc<Compiled>,
    inputs: Vec<Surface>,
    outputs: Vec<Surface>,
    packs: Vec<Arc<Packed<Pack, PackedB>>>,
    integers: Vec<Arc<Packed<IntegerPack, int8::Weights>>>,
    // Kept between evaluations for their capacity only; empty outside `evaluate`.
    reading: Vec<Reading>,
    writing: Vec<Writing>,
    pointers: Vec<*mut u8>,
}

// SAFETY: `pointers` is empty outside `evaluate`, which borrows the whole request mutably; all
// other fields are `Send`.
unsafe impl Send for Bound {}

/// The bytes of what is packed; `reading` keeps a surface readable.
fn source<'a>(
    compiled: &'a Compiled,
    inputs: &[Surface],
    source: PackSource,
    reading: &'a mut Option<Reading>,
) -> Result<&'a [u8], Error> {
    match source {
        PackSource::Input(index) => {
            let read = inputs[index].read().map_err(|source| Error::Surface {
                kernel: compiled.name.clone(),
                name: compiled.inputs[index].name.clone(),
                source,
            })?;
            Ok(reading.insert(read))
        }
        PackSource::Constant(index) => Ok(compiled.plan.constants[index].bytes()),
    }
}

impl Bound {
    /// Packs the operands whose source is selected.
    fn pack(&mut self, selected: impl Fn(PackSource) -> bool) -> Result<(), Error> {
        let compiled = &self.compiled;
        for (pack, packed) in compiled.plan.packs.iter().zip(&self.packs) {
            if !selected(pack.source) {
                continue;
            }
            let mut reading = None;
            let bytes = source(compiled, &self.inputs, pack.source, &mut reading)?;
            // SAFETY: the operand's strides were made from a view of a tensor that `bytes` holds
            // whole, since a surface is at least as large as its port.
            unsafe {
                let base = bytes.as_ptr().add(pack.byte_offset);
                packed.write().pack(&compiled.shared.team, base, &pack.operand);
            }
        }
        for (pack, weights) in compiled.plan.integers.iter().zip(&self.integers) {
            let IntegerSource::Numbers { from, byte_offset, operand } = &pack.source else {
                continue;
            };
            if !selected(*from) {
                continue;
            }
            let mut reading = None;
            let bytes = source(compiled, &self.inputs, *from, &mut reading)?;
            // SAFETY: as above.
            unsafe {
                let base = bytes.as_ptr().add(*byte_offset);
                weights.write().quantize(&compiled.shared.team, base, operand);
            }
        }
        Ok(())
    }

    fn run(&mut self, accumulation: Accumulation) -> Result<(), Error> {
        let compiled = &*self.compiled;
        let surface_error = |port: &Port, source| Error::Surface {
            kernel: compiled.name.clone(),
            name: port.name.clone(),
            source,
        };
        for (port, surface) in compiled.outputs.iter().zip(&self.outputs) {
            self.writing.push(surface.write().map_err(|e| surface_error(port, e))?);
        }
        let in_place = |index: usize| compiled.plan.in_place.iter().any(|pair| pair.0 == index);
        for (index, (port, surface)) in compiled.inputs.iter().zip(&self.inputs).enumerate() {
            if !in_place(index) {
                self.reading.push(surface.read().map_err(|e| surface_error(port, e))?);
            }
        }
        let mut memory = compiled.shared.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { arena, products, rows, own } = &mut *memory;
        self.pointers.push(arena.as_mut_ptr());
        // Inputs are only read: no step of a plan has one as its target. Those that are updated
        // where they are stand among the outputs.
        let mut reading = self.reading.iter();
        self.pointers.extend((0..compiled.inputs.len()).map(|index| {
            let guard = if in_place(index) { None } else { reading.next() };
            guard.map_or(std::ptr::null_mut(), |guard| guard.as_ptr().cast_mut())
        }));
        self.pointers.extend(self.writing.iter_mut().map(|w| w.as_mut_ptr()));
        let constants = compiled.plan.constants.iter();
        self.pointers.extend(constants.map(|c| c.bytes().as_ptr().cast_mut()));
        let mut context = Context {
            pointers: &self.pointers,
            packs: &self.packs,
            integers: &self.integers,
            team: &compiled.shared.team,
            isa: compiled.shared.isa,
            product_scratch: products,
            row_scratch: rows,
            accumulation,
            own,
            alone: &compiled.shared.alone,
        };
        for (step, clock) in compiled.plan.steps.iter().zip(&compiled.clocks) {
            let start = compiled.now();
            // SAFETY: the arena is as large as the plan asked for when it was compiled, the
            // guards keep every surface to this evaluation, and surfaces are as large as their
            // ports.
            let result = unsafe { step.run(&mut context) };
            result.map_err(|message| Error::Evaluate { kernel: compiled.name.clone(), message })?;
            count(clock, start);
        }
        Ok(())
    }
}

impl Request for Bound {
    fn stage(&mut self) -> Result<(), Error> {
        let start = self.compiled.now();
        let result = self.pack(|source| matches!(source, PackSource::Input(_)));
        count(&self.compiled.staging, start);
        result
    }

    fn evaluate(&mut self, accumulation: Accumulation) -> Result<(), Error> {
        let start = self.compiled.now();
        let held = Held(self);
        let result = held.0.run(accumulation);
        count(&held.0.compiled.evaluations, start);
        result
    }
}

/// Lets go of surfaces and addresses when an evaluation ends, however it does.
struct Held<'a>(&'a mut Bound);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.reading.clear();
        self.0.writing.clear();
        self.0.pointers.clear();
    }
}
