//! A training step: kernels and host work, what waits for what, and where the time goes.

use super::{HostWork, KernelCost, KernelTime, Profile};

/// What a step runs. The engine and the host's main thread take turns; late work runs beside the
/// backward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepPlan {
    /// Kernels.
    pub kernels: Vec<KernelShare>,
    /// What the host does in turn with the engine.
    pub host: Vec<HostShare>,
    /// What the host does beside the backward pass.
    pub late: Vec<HostShare>,
}

/// A kernel in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelShare {
    /// The cost of one evaluation.
    pub cost: KernelCost,
    /// Evaluations in a step.
    pub calls: usize,
    /// Whether it belongs to the backward pass.
    pub backward: bool,
}

/// Host work in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct HostShare {
    /// What is done each time.
    pub work: HostWork,
    /// How often in a step.
    pub calls: usize,
    /// Whether it belongs to the backward pass.
    pub backward: bool,
}

/// The predicted time of a step, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// The engine.
    pub engine: f64,
    /// The host in turn with it.
    pub host: f64,
    /// Late work in all.
    pub late: f64,
    /// Late work that the backward pass is too short for.
    pub waiting: f64,
    /// The step.
    pub total: f64,
}

/// Something that would make the step shorter.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Predicted seconds of a step that it is about. Not all of them can be saved.
    pub seconds: f64,
    /// What takes them, and what helps.
    pub text: String,
}

impl KernelShare {
    /// Seconds of a step.
    pub fn seconds(&self) -> f64 {
        self.cost.seconds() * self.calls as f64
    }
}

impl HostShare {
    /// Seconds of a step.
    pub fn seconds(&self, profile: &Profile) -> f64 {
        self.work.seconds(profile) * self.calls as f64
    }
}

impl StepPlan {
    /// Adds a kernel that is evaluated `calls` times.
    pub fn add_kernel(&mut self, cost: KernelCost, calls: usize, backward: bool) {
        self.kernels.push(KernelShare { cost, calls, backward });
    }

    /// Adds host work in turn with the engine.
    pub fn add_host(&mut self, work: HostWork, calls: usize, backward: bool) {
        self.host.push(HostShare { work, calls, backward });
    }

    /// Adds host work beside the backward pass.
    pub fn add_late(&mut self, work: HostWork, calls: usize) {
        self.late.push(HostShare { work, calls, backward: true });
    }

    /// The predicted time of a step.
    pub fn time(&self, profile: &Profile) -> StepTime {
        let engine: f64 = self.kernels.iter().map(KernelShare::seconds).sum();
        let host: f64 = self.host.iter().map(|h| h.seconds(profile)).sum();
        let late: f64 = self.late.iter().map(|h| h.seconds(profile)).sum();
        let kernels = self.kernels.iter().filter(|k| k.backward).map(KernelShare::seconds);
        let backward = self.host.iter().filter(|h| h.backward).map(|h| h.seconds(profile));
        let beside: f64 = kernels.chain(backward).sum();
        let waiting = (late - beside).max(0.0);
        StepTime { engine, host, late, waiting, total: engine + host + waiting }
    }

    /// Operations on numbers that the engine does in a step.
    pub fn engine_flops(&self) -> f64 {
        self.kernels.iter().map(|k| k.cost.flops() * k.calls as f64).sum()
    }

    /// Operations of matrix products that the host does in a step.
    pub fn host_flops(&self) -> f64 {
        let all = self.host.iter().chain(&self.late);
        all.map(|h| h.work.product_flops * h.calls as f64).sum()
    }

    /// The part of the engine's peak that the whole step reaches, from 0 to 1.
    pub fn utilization(&self, profile: &Profile) -> f64 {
        let peak = profile.engine.peak_tflops.value * 1e12;
        self.engine_flops() / self.time(profile).total / peak
    }

    /// The engine's time by what it is spent on.
    pub fn engine_time(&self) -> KernelTime {
        let mut time = KernelTime::default();
        for kernel in &self.kernels {
            time += kernel.cost.time * kernel.calls as f64;
        }
        time
    }

    /// Evaluations in a step.
    pub fn calls(&self) -> usize {
        self.kernels.iter().map(|k| k.calls).sum()
    }

    /// The largest terms of the step with what helps against them, the largest first. Terms below
    /// a fiftieth of the step are left out.
    pub fn advice(&self, profile: &Profile) -> Vec<Advice> {
        let step = self.time(profile);
        let time = self.engine_time();
        let mb = |bytes: f64| bytes / 1e6;
        let largest = |part: &dyn Fn(&KernelTime) -> f64| -> String {
            let share = |k: &KernelShare| part(&k.cost.time) * k.calls as f64;
            let kernel = self.kernels.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
            kernel.map_or(String::new(), |k| k.cost.name.clone())
        };
        let mut all = vec![];
        let mut say = |seconds: f64, text: String| all.push(Advice { seconds, text });
        say(
            time.dispatch,
            format!(
                "dispatch of {} evaluations: kernels that hold more of a layer, or a larger batch \
                 for each",
                self.calls()
            ),
        );
        let surfaces: f64 = self
            .kernels
            .iter()
            .map(|k| (k.cost.input_bytes + k.cost.output_bytes) * k.calls as f64)
            .sum();
        say(
            time.surfaces,
            format!(
                "{:.0} MB through surfaces, most in `{}`: fewer taps and more recomputation, or a \
                 larger batch for the same weights",
                mb(surfaces),
                largest(&|t| t.surfaces)
            ),
        );
        say(
            time.starts,
            "starting operations: fewer and larger ones, with scalars folded into weights".into(),
        );
        say(
            time.compute,
            "products at the engine's peak: nothing but fewer of them, such as an 8-bit form"
                .into(),
        );
        say(
            time.copies,
            format!(
                "slices and joins of rows inside kernels, most in `{}`: weights in surfaces of \
                 their own, or baked",
                largest(&|t| t.copies)
            ),
        );
        say(
            time.reorder,
            format!(
                "transposes inside kernels, most in `{}`: values stored the way round that \
                 products want",
                largest(&|t| t.reorder)
            ),
        );
        say(
            time.again,
            format!(
                "operands above {:.1} MB read again, most in `{}`: products cut until one operand \
                 fits",
                mb(profile.operand_bytes()),
                largest(&|t| t.again)
            ),
        );
        say(
            time.maps,
            format!(
                "element-wise work on the engine, most in `{}`: fewer passes over the scores",
                largest(&|t| t.maps)
            ),
        );
        let mut host: Vec<(f64, &str)> =
            self.host.iter().map(|h| (h.seconds(profile), h.work.name.as_str())).collect();
        host.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (seconds, name) in host {
            say(
                seconds,
                format!(
                    "host work `{name}`, during which the engine waits: move it into a kernel, or \
                     run it beside one"
                ),
            );
        }
        say(
            step.waiting,
            "weight gradients that outlast the backward pass: more cores, or a larger \
             accumulation between updates"
                .into(),
        );
        all.retain(|advice| advice.seconds >= step.total / 50.0);
        all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        all
    }
}
