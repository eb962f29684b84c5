//! Where the other programs of the package are.

use std::path::PathBuf;

/// The program of this name: beside ours, else in `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let ourselves = std::fs::canonicalize("/proc/self/exe").ok();
    let beside = ourselves.as_ref().and_then(|path| path.parent()).map(|directory| directory.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).map(|directory| directory.join(name)).collect();
    beside.into_iter().chain(in_path).find(|path| path.is_file())
}
