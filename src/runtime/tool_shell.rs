//! The gateway's `SHELL`: sexton-sh, so that each tool that it runs is managed.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use crate::config::Plan;

/// The name that makes sexton a shell.
pub(super) const NAME: &str = "sexton-sh";
/// A tool that is ended together with its gateway has this much less time than KILL takes to come, so that its
/// record is written.
const MARGIN: Duration = Duration::from_millis(500);

/// What is set in the gateway's environment, with sexton-sh at this path. Nothing, after a warning, if there is none.
pub(super) fn variables(plan: &Plan, path: Option<&Path>) -> Vec<(OsString, OsString)> {
    let tools = &plan.tools;
    if !plan.settings.tool_shell {
        return Vec::new();
    }
    let Some(path) = path else {
        warn!(name: "no-tool-shell",
              "the command's tools are not managed: there is no {NAME} beside sexton or in PATH; \
               make a link, and then reload: ln -s sexton /usr/bin/{NAME}");
        return Vec::new();
    };
    let mut set = vec![(OsString::from("SHELL"), path.into())];
    set.extend(real_shell(std::env::var_os("SHELL")).map(|shell| ("SEXTON_SHELL".into(), shell)));
    let time = |time: Duration| OsString::from(humantime::format_duration(time).to_string());
    let grace = tools.grace.min(plan.settings.kill_after.saturating_sub(MARGIN));
    set.push(("SEXTON_TOOL_GRACE".into(), time(grace)));
    set.extend(tools.timeout.map(|timeout| ("SEXTON_TOOL_TIMEOUT".into(), time(timeout))));
    set.extend(tools.record.as_ref().map(|record| ("SEXTON_TOOL_RECORD".into(), record.into())));
    set
}

/// What `SEXTON_SHELL` is to be for a gateway whose `SHELL` was this: what it would have used itself. Without one
/// a gateway takes sh. One that no tool can be run with is left out, and so is our own, of a sexton above us,
/// which has set the variable already.
fn real_shell(shell: Option<OsString>) -> Option<OsString> {
    let Some(shell) = shell.filter(|shell| !shell.is_empty()) else { return Some("sh".into()) };
    match Path::new(&shell).file_name().and_then(OsStr::to_str) {
        Some("fish" | "false" | "nologin" | NAME) => None,
        _ => Some(shell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_shell_is_what_the_gateway_would_have_used() {
        for (shell, real) in [
            (None, Some("sh")),
            (Some(""), Some("sh")),
            (Some("/bin/bash"), Some("/bin/bash")),
            (Some("/usr/bin/fish"), None),
            (Some("/usr/sbin/nologin"), None),
            (Some("/opt/sexton-sh"), None),
        ] {
            assert_eq!(real_shell(shell.map(OsString::from)), real.map(OsString::from), "{shell:?}");
        }
    }
}
