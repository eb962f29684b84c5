//! The command line without options, which is most of them: understood without clap, whose setting-up takes longer
//! than all that sexton does besides before the start.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::{Args, LogFormat, WaitFor};
use crate::config::Plan;
use crate::types::CompatMode;

/// The command of a command line that has no option: behind the first `--`, or from a first word that is none.
pub(super) fn command_of(words: &[OsString]) -> Option<&[OsString]> {
    match words {
        [_, dashes, command @ ..] if dashes == "--" && !command.is_empty() => Some(command),
        [_, command @ ..] if command.first().is_some_and(|word| !word.as_bytes().starts_with(b"-")) => {
            Some(command)
        }
        _ => None,
    }
}

/// Whether a variable stands for an option.
pub(super) fn is_set_by_environment() -> bool {
    std::env::vars_os().any(|(name, _)| name.as_bytes().starts_with(b"SEXTON_"))
}

impl Args {
    /// What clap makes of a command line without options: every default that is declared there.
    pub(super) fn parse_plain(command: Vec<OsString>) -> Args {
        let Plan { grace, kill_after, .. } = Plan::bare(CompatMode::Native);
        Args {
            command,
            given: Vec::new(),
            typed: Vec::new(),
            outer: None,
            grace,
            kill_after,
            group: false,
            rewrite: Vec::new(),
            delay: Vec::new(),
            stop_signal: Vec::new(),
            stop_sequence: Vec::new(),
            wait: WaitFor::Main,
            remap: Vec::new(),
            lock_root: Vec::new(),
            no_locks: false,
            sweep_timeout: Duration::from_secs(5),
            config: None,
            preset: None,
            tool_shell: false,
            lock_action: None,
            start_window: Duration::from_secs(300),
            lock_report_after: None,
            control: None,
            verbose: 0,
            log_format: LogFormat::Text,
            log: None,
            parent_death: None,
            warn_reaped: false,
            subreaper: false,
            help: None,
            version: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_plain_command_line_means_the_same_without_clap() {
        let lines = [
            "sexton -- a",
            "sexton a",
            "sexton -- -x",
            "sexton a -- -x --grace 5s -v",
            "sexton -- -- a",
            "sexton -- a --",
            "sexton locks --json",
            "sexton tool -- a",
        ];
        for line in lines {
            let words = words(line);
            let plain = Args::parse_plain(command_of(&words).unwrap().to_vec());
            let by_clap = Args::read_with_clap(&words, None).unwrap();
            assert_eq!(format!("{plain:?}"), format!("{by_clap:?}"), "{line}");
        }
    }

    #[test]
    fn an_option_is_for_clap() {
        for line in ["sexton", "sexton --", "sexton - a", "sexton -v a", "sexton --grace=1s -- a"] {
            assert_eq!(command_of(&words(line)), None, "{line}");
        }
    }
}
