//! Devices by name.

use ane::device::{AneDevice, WeightStrategy};
use ane::emulator::{Emulator, EmulatorOptions};
use ane::target::Target;
use anyhow::{Context, bail};
use cpu::CpuDevice;
use mil::DataType;
use models::{Layout, Shape};
use passes::autodiff::Recompute;
use runtime::{Device, Products};
use std::sync::Arc;
use train::NetworkOptions;

/// A device that is ready.
pub struct Opened {
    pub device: Arc<dyn Device>,
    /// The same where it is an engine with a host.
    pub engine: Option<Arc<AneDevice>>,
    /// The device that runs what an engine does not.
    pub host: Arc<dyn Device>,
    /// Threads that it uses.
    pub threads: usize,
}

/// What a device's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cpu`.
    Cpu,
    /// `ane`: this machine's Neural Engine.
    Engine,
    /// `ane-emulated`, with a chip behind a colon if it is not M4.
    Emulated(Target),
}

/// What `ane-emulated` stands for.
const EMULATED: &str = "m4";

impl Kind {
    /// Reads a name.
    pub fn parse(name: &str) -> anyhow::Result<Kind> {
        if let Some(rest) = name.strip_prefix("ane-emulated") {
            let chip = match rest.strip_prefix(':') {
                Some(chip) => chip,
                None if rest.is_empty() => EMULATED,
                None => bail!("there is no device `{name}`; write ane-emulated:CHIP"),
            };
            let target = Target::parse(chip).with_context(|| format!("device `{name}`"))?;
            return Ok(Kind::Emulated(target));
        }
        match name {
            "cpu" => Ok(Kind::Cpu),
            "ane" => Ok(Kind::Engine),
            other => bail!("there is no device `{other}`: cpu, ane and ane-emulated[:CHIP] are"),
        }
    }

    /// Whether programs go through the Neural Engine's rules.
    pub fn is_engine(self) -> bool {
        self != Kind::Cpu
    }

    /// The element type of products where none is asked for.
    pub fn compute(self) -> DataType {
        if self.is_engine() { DataType::Fp16 } else { DataType::Fp32 }
    }

    /// How a model is built for this device.
    ///
    /// # Errors
    /// If the device does not compute in that type.
    pub fn network(self, shape: Shape, compute: DataType) -> anyhow::Result<NetworkOptions> {
        if !self.is_engine() {
            return Ok(NetworkOptions {
                shape,
                micro_batches: 1,
                layout: Layout::TokenMajor,
                compute,
                head_compute: compute,
                forward_products: Products::Native,
                recompute: Recompute::Cheap,
                head_rows: None,
                lora: None,
                packed: false,
            });
        }
        if compute != DataType::Fp16 {
            bail!("the Neural Engine computes in fp16, not in {compute}");
        }
        Ok(NetworkOptions {
            shape,
            micro_batches: 1,
            layout: Layout::ChannelFirst,
            compute,
            // The loss and what it is computed from are the host's.
            head_compute: DataType::Fp32,
            forward_products: Products::Native,
            recompute: Recompute::Everything,
            head_rows: None,
            lora: None,
            packed: false,
        })
    }
}

/// Opens the device with this name.
pub fn open(name: &str, threads: Option<usize>, weights: WeightStrategy) -> anyhow::Result<Opened> {
    let kind = Kind::parse(name)?;
    let cpu = CpuDevice::new(threads)?;
    let threads = cpu.threads();
    let host: Arc<dyn Device> = Arc::new(cpu);
    let engine: Arc<dyn ane::Engine> = match kind {
        Kind::Cpu => {
            return Ok(Opened { device: host.clone(), engine: None, host, threads });
        }
        Kind::Emulated(target) => {
            let options =
                EmulatorOptions { threads: Some(threads), ..EmulatorOptions::new(target) };
            Arc::new(Emulator::new(options)?)
        }
        Kind::Engine => neural_engine()?,
    };
    let engine = Arc::new(AneDevice::new(engine, host.clone(), weights));
    engine.self_test().context("the engine failed its self-test")?;
    Ok(Opened { device: engine.clone(), engine: Some(engine), host, threads })
}

/// This machine's Neural Engine, by the first route that can be opened.
#[cfg(target_os = "macos")]
fn neural_engine() -> anyhow::Result<Arc<dyn ane::Engine>> {
    let engine = apple::open_any(&apple::Paths::default(), &apple::Options::default());
    engine.context("`anemone doctor` says what is missing")
}

#[cfg(not(target_os = "macos"))]
fn neural_engine() -> anyhow::Result<Arc<dyn ane::Engine>> {
    bail!(
        "this system has no Neural Engine that can be used; ane-emulated runs the same programs \
         under its rules"
    )
}
