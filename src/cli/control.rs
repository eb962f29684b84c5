//! `sexton status` and its neighbours: what is asked of a sexton that runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory, Parser, Subcommand};

use super::{Request, Usage, parse, subcommand};
use crate::control::client_command::{ClientCommand, What};
use crate::control::protocol;
use crate::types::Signal;

const AFTER: &str = "\
The socket is the one of --control, else of the sexton above (SEXTON_SOCKET),
else /run/sexton/control.sock or $XDG_RUNTIME_DIR/sexton/control.sock, else
control.sock in sexton-UID below /tmp or /dev/shm.
Exit code: 0 done; 1 refused; 69 no sexton answers; 125 usage.
A program that is itself named so runs with: sexton -- NAME";

const HEALTH: &str = "\
For docker's HEALTHCHECK and exec probes. It tells what is known, and measures
nothing itself. Exit code: 0 healthy, slow, or running and not measured;
1 starting, draining, unhealthy, not running, or no sexton answers.";

/// What a probe waits for at most.
const SOON: Duration = Duration::from_secs(1);

/// The command line of a request.
#[derive(Debug, Parser)]
#[command(name = "sexton", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 80)]
struct ControlArgs {
    #[command(subcommand)]
    what: ControlVerb,

    /// The control socket
    #[arg(long, global = true, value_name = "PATH", env = "SEXTON_CONTROL", hide_env = true)]
    control: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    /// How long sexton may take to answer
    #[arg(long, global = true, value_name = "D", default_value = "5s", hide = true)]
    #[arg(value_parser = humantime::parse_duration)]
    deadline: Duration,
}

#[derive(Debug, Subcommand)]
enum ControlVerb {
    /// Show how the gateway, its units, its tools and all processes are
    #[command(after_help = AFTER)]
    Status {
        /// Again and again
        #[arg(long)]
        watch: bool,
    },
    /// Show the processes, and whose each is
    #[command(after_help = AFTER)]
    Ps,
    /// Say in one line whether the gateway is well, and how slow; within a second
    #[command(after_help = HEALTH)]
    Health,
    /// Stop the gateway by its ladder, as TERM would; again for the next stage
    #[command(after_help = AFTER)]
    Stop,
    /// Stop the gateway, or a unit, by its ladder and start it again
    #[command(after_help = AFTER)]
    Restart {
        /// The unit; without it the gateway
        unit: Option<String>,
    },
    /// Send a signal to the gateway, or to a unit
    #[command(after_help = AFTER)]
    Signal {
        /// TERM, USR1, RTMIN+3, 15
        signal: Signal,
        /// The unit; without it the gateway
        unit: Option<String>,
    },
    /// End a tool as its deadline would
    #[command(after_help = AFTER)]
    Cancel {
        /// Its id, or its name if only one has it
        tool: String,
    },
    /// Read the configuration file again
    #[command(after_help = AFTER)]
    Reload,
}

const VERBS: [&str; 8] = ["status", "ps", "health", "stop", "restart", "signal", "cancel", "reload"];

/// All of them, as clap sees them, each with the options that they share.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    let all = ControlArgs::command();
    let shared: Vec<_> = all.get_arguments().map(|option| option.clone().global(false)).collect();
    let commands: Vec<_> = all.get_subcommands().cloned().collect();
    commands.into_iter().map(move |command| command.args(shared.clone()))
}

/// The request, if one was typed: its word is the first that is not an option, with no `--` before it. `words`
/// is the whole command line, `command` its end as far as it was taken for a command.
pub(super) fn read(words: &[OsString], command: &[OsString]) -> Option<Result<Request, Usage>> {
    let (word, _) = subcommand::parse_typed(words, command)?;
    VERBS.iter().any(|known| word == known).then(|| {
        // A socket that was named before the word is as good as behind it.
        let words: Vec<OsString> =
            [OsString::from("sexton")].iter().chain(words.get(1..)?).cloned().collect();
        Some(to_request(&words).map_err(|usage| match usage {
            Usage::Word { what, .. } => {
                Usage::Word { what, program: format!("sexton {}", word.to_string_lossy()) }
            }
            other => other,
        }))
    })?
}

fn to_request(words: &[OsString]) -> Result<Request, Usage> {
    let args = match parse::<ControlArgs>(words)? {
        Ok(args) => args,
        Err(text) => return Ok(Request::Print(text)),
    };
    let what = match args.what {
        ControlVerb::Status { watch } => What::Status { watch },
        ControlVerb::Ps => What::Processes,
        ControlVerb::Health => What::Health,
        ControlVerb::Stop => What::Mutate(protocol::Request::Stop),
        ControlVerb::Restart { unit } => What::Mutate(protocol::Request::Restart { unit }),
        ControlVerb::Signal { signal, unit } => {
            What::Mutate(protocol::Request::Signal { signal: signal.to_string(), unit })
        }
        ControlVerb::Cancel { tool } => What::Mutate(protocol::Request::Cancel { tool }),
        ControlVerb::Reload => What::Mutate(protocol::Request::Reload),
    };
    // What turns a sexton's own socket off is no socket.
    let control = args.control.filter(|path| path.as_os_str() != "off" && !path.as_os_str().is_empty());
    let deadline = if what == What::Health { args.deadline.min(SOON) } else { args.deadline };
    Ok(Request::Control(ClientCommand { what, control, json: args.json, deadline }))
}
