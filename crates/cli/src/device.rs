//! Devices by name.

use anyhow::bail;
use cpu::CpuDevice;
use runtime::Device;

/// A device that is ready.
pub struct Opened {
    pub device: Box<dyn Device>,
    /// Threads that it uses.
    pub threads: usize,
}

/// Opens the device with this name.
pub fn open(name: &str, threads: Option<usize>) -> anyhow::Result<Opened> {
    match name {
        "cpu" => {
            let device = CpuDevice::new(threads)?;
            let threads = device.threads();
            Ok(Opened { device: Box::new(device), threads })
        }
        other => bail!("there is no device `{other}`; this version has cpu"),
    }
}
