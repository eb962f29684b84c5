//! sexton(1) and sexton-watch(8).

use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

use crate::page::{begun, finished, options, prose, section, see_also, term, usage};

const SIGNALS: &str = "\
Every signal that can be caught goes to the command, real-time ones with their value; what a terminal makes goes to the
command's process group, as below a shell. The stop signals start the ladder, unless they were
ignored when sexton was started; so does a HUP where the terminal is gone, but not under nohup(1). The signal goes to the command alone, which has the window of `--grace`. When it is gone, or its window is over,
everything that is left gets TERM and has the window of `--kill-after`; then KILL, until nothing is left. Where the command
only launches another, and dies of the stop signal or ends within a second of it, not with 0, what is in its process group
has what is left of `--grace`. It ends the moment the last process is gone. A repeated stop signal skips a stage.";

const SHELL: &str = "\
Called by the name `sexton-sh`, sexton is a shell for a gateway's tools: what `SHELL` names where `--tool-shell` is given.
Each run with `-c` is a tool as of `sexton tool`, and a shell that talks to a person is that shell. The real shell is
`SEXTON_SHELL`, else bash, else sh.

Called by the name of tini, tini-static, docker-init, dumb-init or catatonit, sexton takes that program's command line,
variables and exit codes.";

const VARIABLES: &[(&str, &str)] = &[
    (
        "SEXTON_LOCK_ROOTS",
        "The state directories with locks, separated by colons, where no `--lock-root` is given.",
    ),
    ("SEXTON_SOCKET", "The control socket of the sexton above; set for the command."),
    ("SEXTON_SHELL", "The real shell of `sexton-sh`."),
    (
        "SEXTON_TOOL_ID",
        "The run that a process belongs to; set for tools, so that what they leave behind is known.",
    ),
    ("OPENCLAW_STATE_DIR, OPENCLAW_HOME", "Where OpenClaw's state is, and so its locks."),
    (
        "TINI_KILL_PROCESS_GROUP, TINI_SUBREAPER, TINI_VERBOSITY",
        "As tini has them, where sexton's own say nothing.",
    ),
];

const CODES: &[(&str, &str)] = &[
    ("the command's own", "It ran and ended; `--remap-exit` can turn a code into 0."),
    ("128+n", "Signal n ended it: 137 is KILL, 143 is TERM."),
    (
        "69",
        "The command was started again as often as the configuration allows, or a required unit has ended. Of a \
         request: no sexton answers.",
    ),
    ("125", "sexton failed before the command was started: a usage error, or a bad configuration file."),
    ("126", "The command was found and cannot be executed."),
    ("127", "The command was not found."),
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/sexton/sexton.toml",
        "The configuration, where neither `--config` nor `SEXTON_CONFIG` names another.",
    ),
    ("./sexton.toml", "The same for sexton alone, without any command, if it belongs to you or to root."),
    ("/run/sexton/control.sock", "The control socket, else `$XDG_RUNTIME_DIR/sexton/control.sock`."),
];

const WATCH: &str = "\
`sexton-watch` is the helper of `sexton` that looks: it asks the gateway over HTTP, TCP or by a command how long it takes
to answer, counts the memory and the zombies of the tree, looks for locks that are held past their limit, follows log
files, and serves `/livez`, `/readyz`, `/status`, `/metrics` and a page. What it sees goes to sexton, which decides.

sexton starts it when the configuration has something to be watched, over a socket that it inherits, and starts it again
if it dies. Below root it runs as the owner of the first lock root that is there, and as nobody where there is none; it can
gain no privileges. It lies beside sexton, or in `PATH`. It reads no file of configuration of its own: what it does stands in the sections `[health]`, `[limits]`, `[logs]`, `[alerts]` and `[watch]` of sexton.toml(5).";

/// sexton(1).
pub fn sexton() -> String {
    let mut all = sexton::cli::command().mut_arg("command", |command| command.hide(true));
    all.build();
    let mut page =
        begun("SEXTON", "1", "User Commands", "sexton - init and supervisor for AI-agent gateways");
    page.control("SH", ["SYNOPSIS"]);
    let ways: Vec<String> = std::iter::once(&all).chain(all.get_subcommands()).flat_map(usage).collect();
    synopsis(&mut page, &ways);
    section(&mut page, "DESCRIPTION", &long(&all));
    section(&mut page, "SIGNALS AND THE STOP LADDER", SIGNALS);
    let mut text = finished(&page);

    text += ".SH OPTIONS\n";
    text += &options(&all);
    text += ".SH SUBCOMMANDS\nA program that has the name of one of these is run with\n\\fBsexton \\-\\- NAME\\fR, or by its path.\n";
    let (requests, others): (Vec<_>, Vec<_>) = all.get_subcommands().partition(|command| is_request(command));
    let mut said = Vec::new();
    for command in others.iter().chain(&requests) {
        text += &subcommand(command, &mut said);
    }
    text += ".SS Options of status and those that follow it\n";
    text += &options(&Command::clone(requests.first().unwrap()).mut_args(|option| {
        let shared = SHARED.contains(&option.get_id().as_str());
        option.hide(!shared)
    }));

    let mut page = Roff::new();
    section(&mut page, "OTHER NAMES", SHELL);
    terms(&mut page, "EXIT STATUS", CODES);
    page.control("SH", ["ENVIRONMENT"]);
    prose(&mut page, "Each option names its variable; the command line counts more. Besides these:");
    VARIABLES.iter().for_each(|(name, meaning)| term(&mut page, [bold(*name)], meaning));
    terms(&mut page, "FILES", FILES);
    see_also(
        &mut page,
        &[("sexton.toml", "5"), ("sexton-watch", "8"), ("timeout", "1"), ("systemd.service", "5")],
    );
    text + page.render().trim_start_matches(&Roff::new().render())
}

/// sexton-watch(8).
pub fn sexton_watch() -> String {
    let name = "sexton-watch - watches a gateway for sexton";
    let mut page = begun("SEXTON-WATCH", "8", "System Administration", name);
    page.control("SH", ["SYNOPSIS"]);
    synopsis(&mut page, &["sexton-watch [--help] [--version]".to_owned()]);
    section(&mut page, "DESCRIPTION", WATCH);
    page.control("SH", ["ENVIRONMENT"]);
    term(
        &mut page,
        [bold("SEXTON_LOG")],
        "The least level to log: error, warn, info, debug or trace; warn without it.",
    );
    term(&mut page, [bold("SEXTON_WATCH_FD")], "The socket to sexton, set by it.");
    see_also(&mut page, &[("sexton", "1"), ("sexton.toml", "5")]);
    finished(&page)
}

fn long(command: &Command) -> String {
    command.get_long_about().map(ToString::to_string).unwrap_or_default()
}

/// The ways to call it, each with the words before the first option in bold.
fn synopsis(page: &mut Roff, ways: &[String]) {
    for (at, way) in ways.iter().enumerate() {
        if at > 0 {
            page.control("br", []);
        }
        let end = [" [", " <"].iter().filter_map(|start| way.find(start)).min().unwrap_or(way.len());
        let (name, rest) = way.split_at(end);
        page.text([bold(name), roman(rest)]);
    }
}

/// Options that all requests to a sexton that runs have in common.
const SHARED: [&str; 3] = ["control", "json", "deadline"];

fn is_request(command: &Command) -> bool {
    SHARED.iter().all(|id| command.get_arguments().any(|option| option.get_id() == id))
}

/// What is said of one subcommand; what it has in common with its neighbours is said once.
fn subcommand(command: &Command, said: &mut Vec<String>) -> String {
    let mut page = Roff::new();
    page.control("SS", [format!("sexton {}", command.get_name()).as_str()]);
    synopsis(&mut page, &usage(command));
    page.control("PP", []);
    prose(&mut page, &long(command));
    let own = command.clone().mut_args(|option| {
        let shared = is_request(command) && SHARED.contains(&option.get_id().as_str());
        let words = option.is_trailing_var_arg_set();
        option.hide(shared || words)
    });
    let mut end = Roff::new();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if !said.contains(&after) {
        end.control("PP", []);
        prose(&mut end, &after);
        said.push(after);
    }
    let preamble = Roff::new().render();
    [page.render(), options(&own), end.render()].concat().replace(&preamble, "")
}

fn terms(page: &mut Roff, heading: &str, terms: &[(&str, &str)]) {
    page.control("SH", [heading]);
    terms.iter().for_each(|(name, meaning)| term(page, [bold(*name)], meaning));
}
