//! The machine that a table was made on.

use std::fs;
use std::thread::available_parallelism;

use nix::sys::utsname::uname;

/// One line: processor, memory, kernel, distribution, load.
pub fn describe() -> String {
    let field = |path: &str, name: &str, separator: char| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        let (_, value) = line.split_once(separator)?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    let unknown = || "unknown".to_owned();
    let processor = field("/proc/cpuinfo", "model name", ':').unwrap_or_else(unknown);
    let cores = available_parallelism().map_or(1, usize::from);
    let memory: f64 = field("/proc/meminfo", "MemTotal", ':')
        .and_then(|text| text.trim_end_matches("kB").trim().parse().ok())
        .unwrap_or_default();
    let kernel =
        uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_else(|_| unknown());
    let system = field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(unknown);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{processor}, {cores} cores, {:.0} GiB; Linux {kernel} ({}), {system}; load {load} before the run",
        memory / f64::from(1 << 20),
        std::env::consts::ARCH,
    )
}
