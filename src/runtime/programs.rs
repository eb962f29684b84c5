//! Where the other programs of the package are.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{tool_shell, watch};
use crate::config::Plan;
use crate::config::file_access::FileAccess;

/// Those that a plan needs, as far as they are there. They are looked for when sexton starts and when it reads its
/// configuration again, and not later: a directory in `PATH` can lie on a filesystem that hangs.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// sexton-watch.
    pub(super) watch: Option<PathBuf>,
    /// sexton-sh.
    pub(super) shell: Option<PathBuf>,
}

impl Programs {
    /// Those of this plan.
    pub(super) fn of(plan: &Plan, files: &FileAccess) -> Programs {
        let found = |name: &str, wanted: bool| {
            let look = || Ok(find(name).map(OsString::from));
            let path = if wanted { files.ask(&format!("where {name} is"), look) } else { Ok(None) };
            path.ok().flatten().map(PathBuf::from)
        };
        Programs {
            watch: found(watch::NAME, plan.watching.is_some()),
            shell: found(tool_shell::NAME, plan.settings.tool_shell),
        }
    }
}

/// The program of this name: beside ours, else in `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let ourselves = std::fs::canonicalize("/proc/self/exe").ok();
    let beside = ourselves.as_ref().and_then(|path| path.parent()).map(|directory| directory.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).map(|directory| directory.join(name)).collect();
    beside.into_iter().chain(in_path).find(|path| path.is_file())
}
