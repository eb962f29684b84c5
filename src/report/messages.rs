//! Decisions and failures in words.

use std::ffi::CStr;

use crate::types::{CompatMode, Errno, StartStep};

/// Why the command was not started, in one line that names it, as scripts know it from this compatibility mode.
#[must_use]
pub fn failed_start(compat: CompatMode, command: &CStr, step: StartStep, errno: Errno) -> String {
    let name = command.to_string_lossy();
    let name = name.escape_debug();
    let reason = std::io::Error::from_raw_os_error(errno.0).to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    match (compat, step) {
        (CompatMode::Tini, StartStep::Exec) => return format!("exec {name} failed: {reason}"),
        (CompatMode::DumbInit, StartStep::Exec) => return format!("{name}: {reason}"),
        (CompatMode::Catatonit, StartStep::Exec) => return format!("failed to exec pid1: {reason}: {name}"),
        _ => {}
    }
    match (step, errno.0) {
        (StartStep::Exec, libc::ENOENT) if name.to_string().contains('/') => {
            format!("'{name}' was not found: there is no such file, or its interpreter is missing")
        }
        (StartStep::Exec, libc::ENOENT) => {
            let advice = match subcommand_like(&name.to_string()) {
                Some(near) => format!("did you mean 'sexton {near}'?"),
                None => "give its full path or set PATH".to_owned(),
            };
            format!("'{name}' was not found: it is in no directory of PATH; {advice}")
        }
        (StartStep::Exec, libc::EACCES) => {
            format!("'{name}' cannot be executed: it needs execute permission (chmod +x), and to be a file")
        }
        (StartStep::Exec, libc::ENOEXEC) => {
            format!("'{name}' cannot be executed: it is no program for this machine")
        }
        (StartStep::Exec, _) => format!("'{name}' cannot be executed: {errno}"),
        (StartStep::Fork, libc::EAGAIN) => format!(
            "could not create a process for '{name}': a limit on processes is reached (ulimit -u, pids.max)"
        ),
        _ => format!("could not {} for '{name}': {errno}", step.describe()),
    }
}

/// The words that ask sexton itself for something, in alphabetical order.
pub const SUBCOMMANDS: [&str; 14] = [
    "cancel", "check", "doctor", "health", "install", "locks", "measure", "ps", "reload", "restart",
    "signal", "status", "stop", "tool",
];

/// The subcommand that was probably meant by a word that is no program. A transposed pair of letters is one mistake.
fn subcommand_like(word: &str) -> Option<&'static str> {
    let mistakes = |known: &str| strsim::damerau_levenshtein(word, known);
    let near = SUBCOMMANDS.into_iter().min_by_key(|known| mistakes(known))?;
    (mistakes(near) <= near.len() / 3).then_some(near)
}

/// A latency in milliseconds, with as many digits as anybody reads.
#[must_use]
pub fn latency(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_two_or_three_digits() {
        let shown = [0.0, 2.14, 9.96, 41.4, 999.4, 999.6, 41_400.0].map(latency);
        assert_eq!(shown, ["0.0 ms", "2.1 ms", "10 ms", "41 ms", "999 ms", "1.0 s", "41.4 s"]);
    }

    #[test]
    fn every_failure_names_the_command_in_one_line() {
        for step in StartStep::ALL {
            for (errno, compat) in (1..40)
                .flat_map(|n| [CompatMode::Native].iter().chain(&CompatMode::IMITATED).map(move |d| (n, *d)))
            {
                let text = failed_start(compat, c"/a\nb", step, Errno(errno));
                assert!(text.contains("/a\\nb") && !text.contains('\n'), "{text}");
            }
        }
    }
}
