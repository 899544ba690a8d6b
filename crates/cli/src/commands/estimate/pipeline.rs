//! A model's training step as a plan whose cost can be told: the functions that training compiles,
//! cut as the device cuts them.

use ane::cost::{Budget, HostWork, Profile, StepPlan, host_work, kernel_cost};
use ane::device::{PlannedPart, WeightStrategy, plan};
use ane::target::Target;
use mil::{DataType, Function};
use models::{Config, Layout, Role, Shape};
use passes::autodiff::{self, Recompute};
use passes::pack::Block;
use passes::partition::When;
use runtime::CompileOptions;

/// What a step runs, what an update costs, and why kernels are where they are.
pub struct Pipeline {
    pub profile: &'static Profile,
    /// A micro-batch, forward and backward.
    pub step: StepPlan,
    /// What an update of the parameters does on the host: the optimizer, and staging.
    pub update: Vec<HostWork>,
    /// Kernels that an update compiles.
    pub compiles: usize,
    pub budget: Budget,
    /// Where functions are cut, with the reasons.
    pub cuts: Vec<Cut>,
}

impl Pipeline {
    /// Predicted seconds of an update.
    pub fn update_seconds(&self) -> f64 {
        let host: f64 = self.update.iter().map(|work| work.seconds(self.profile)).sum();
        host + self.compiles as f64 * self.profile.engine.compile_ms.value * 1e-3
    }
}

/// A place where a function had to be cut.
pub struct Cut {
    pub before: String,
    pub reason: String,
    /// What stands between the kernels.
    pub operations: Vec<String>,
}

/// A function that training compiles, as a part of the step.
struct Stage<'a> {
    function: &'a Function,
    /// Requests, which is evaluations in a step.
    calls: usize,
    backward: bool,
}

/// The training step of a model.
pub fn pipeline(
    config: &Config,
    shape: Shape,
    target: &Target,
    weights: WeightStrategy,
) -> anyhow::Result<Pipeline> {
    let layout = Layout::ChannelFirst;
    // What `train` does for an engine: layers in fp16, everything outside them in fp32.
    let embed = models::embed(config, shape, layout, DataType::Fp32)?;
    let layer = models::layer(config, shape, layout, DataType::Fp16)?;
    let head = models::head(config, shape, layout, DataType::Fp32)?;
    let parameters = models::parameters(config)?;
    let ports: Vec<String> = parameters
        .iter()
        .filter_map(|p| match p.role {
            Role::Layer { index: 0, port } => Some(port.to_owned()),
            _ => None,
        })
        .collect();
    let layer_gradient = autodiff::differentiate(
        &layer,
        &autodiff::Options {
            wrt: std::iter::once("x".to_owned()).chain(ports.iter().cloned()).collect(),
            recompute: Recompute::Everything,
            keep: models::taps(config, layout),
            repeat: models::repeated(layout),
        },
    )?;
    let head_ports = ["final_norm", "classifier"].map(str::to_owned);
    let head_wrt = ["x", "final_norm", "classifier"].map(str::to_owned);
    let head = autodiff::value_and_gradient(&head, &head_wrt)?;
    let table = ["embedding".to_owned()];
    let embed_gradient = autodiff::differentiate(
        &embed,
        &autodiff::Options { wrt: table.to_vec(), ..Default::default() },
    )?;

    let profile = Profile::of(target.chip);
    let mut build = Build {
        profile,
        target,
        weights,
        step: StepPlan::default(),
        staging: HostWork { name: "staging of weights".into(), ..HostWork::default() },
        cuts: vec![],
    };
    let layers = config.layers;
    let stage = |function, calls, backward| Stage { function, calls, backward };
    build.add(&stage(&embed, 1, false), &table)?;
    build.add(&stage(&layer_gradient.forward, layers, false), &ports)?;
    // What may come late begins behind the head, so its own time is not beside it.
    build.add(&stage(&head, 1, false), &head_ports)?;
    build.add(&stage(&layer_gradient.backward, layers, true), &ports)?;
    build.add(&stage(&embed_gradient.backward, 1, true), &table)?;

    let count = config.parameter_count()? as f64;
    // AdamW reads gradient, moments and weight and writes all but the first; the norm of the
    // gradient reads it once more.
    let optimizer =
        HostWork { name: "optimizer".into(), bytes: count * 4.0 * 8.0, ..HostWork::default() };
    let compiles = match weights {
        WeightStrategy::Packed => 0,
        WeightStrategy::Baked => build.step.kernels.iter().map(|k| k.calls).sum(),
    };
    let budget = Budget::of(&build.step, &target.limits(), layers, compiles);
    let update = vec![optimizer, build.staging];
    Ok(Pipeline { profile, step: build.step, update, compiles, budget, cuts: build.cuts })
}

struct Build<'a> {
    profile: &'static Profile,
    target: &'a Target,
    weights: WeightStrategy,
    step: StepPlan,
    staging: HostWork,
    cuts: Vec<Cut>,
}

impl Build<'_> {
    fn add(&mut self, stage: &Stage<'_>, parameters: &[String]) -> anyhow::Result<()> {
        let function = stage.function;
        let options = CompileOptions {
            parameters: parameters
                .iter()
                .filter(|name| function.input(name).is_some())
                .cloned()
                .collect(),
            accumulators: parameters
                .iter()
                .map(|name| format!("d_{name}"))
                .filter(|name| function.output(name).is_some())
                .collect(),
            ..CompileOptions::default()
        };
        let plan = plan(function, &options, &self.target.limits(), self.weights)?;
        self.cuts.extend(plan.cuts.into_iter().map(|cut| Cut {
            before: cut.before,
            reason: cut.reason,
            operations: cut.operations,
        }));
        for part in &plan.parts {
            match part {
                PlannedPart::Host(part) => {
                    let work = host_work(&part.function)?;
                    match part.when {
                        When::Staging => self.stage(&work, stage.calls),
                        When::InTurn => self.step.add_host(work, stage.calls, stage.backward),
                        When::Late => self.step.add_late(work, stage.calls),
                    }
                }
                PlannedPart::Kernel { part, packed } => {
                    let mut cost = kernel_cost(&packed.function, self.profile)?;
                    cost.name.clone_from(&part.function.name);
                    self.step.add_kernel(cost, stage.calls, stage.backward);
                    // Both ends are fp16, so values are copied as they are.
                    let copied = |blocks: &[Block], weights: bool| -> f64 {
                        let own = blocks.iter().filter(|b| b.weight == weights);
                        own.map(|b| (b.rows * b.columns * 2) as f64).sum()
                    };
                    let name = format!("copies for {}", part.function.name);
                    let bytes = 2.0
                        * (copied(&packed.input.blocks, false)
                            + copied(&packed.output.blocks, false));
                    let work = HostWork { name, bytes, ..HostWork::default() };
                    self.step.add_host(work, stage.calls, stage.backward);
                    let bytes = 2.0 * copied(&packed.input.blocks, true);
                    self.stage(&HostWork { bytes, ..HostWork::default() }, stage.calls);
                }
            }
        }
        Ok(())
    }

    /// Adds what every request does when parameters have changed.
    fn stage(&mut self, work: &HostWork, requests: usize) {
        let n = requests as f64;
        self.staging.product_flops += work.product_flops * n;
        self.staging.bytes += work.bytes * n;
        self.staging.converted_bytes += work.converted_bytes * n;
        self.staging.functions += work.functions * n;
    }
}
