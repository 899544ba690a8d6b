//! What the system says of this process.

/// The name of the figure that [`peak_memory`] gives.
pub const PEAK_ROW: &str = "peak memory";

/// The most memory that the process has held at once, in bytes; none where the system does not
/// say.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// A line of the process's status, which counts in KiB.
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let number: u64 = line[name.len()..].trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(number * 1024)
}
