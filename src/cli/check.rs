//! `sexton check`: whether the configuration is understood, and what it comes to.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::args::Args;
use super::{Request, Usage, config_path, parse, subcommand};
use crate::config::dump;

const ABOUT: &str = "\
Reads the configuration as a run would, starts nothing, and prints the plan:
a configuration file in which every value is given.";

const AFTER: &str = "\
Without --config the file is that of SEXTON_CONFIG, else
/etc/sexton/sexton.toml, else ./sexton.toml if no command is given. sexton's
own options can stand before 'check', and count as they do in a run.
Exit code: 0 the plan is sound; 125 it is not, with one line why.
A program that is itself named 'check' runs with: sexton -- check";

#[derive(Debug, Parser)]
#[command(
    name = "sexton check",
    about = ABOUT,
    after_help = AFTER,
    override_usage = "sexton [OPTIONS] check [--config FILE] [--json] [-- COMMAND [ARG...]]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub(super) struct CheckArgs {
    /// The command that would be run
    #[arg(trailing_var_arg = true, hide = true)]
    command: Vec<OsString>,

    /// The file to check
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The preset to begin with
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// More log lines
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
}

/// What the words behind `check` mean.
pub(super) fn read(mut args: Args, rest: &[OsString]) -> Result<Request, Usage> {
    let check = match parse::<CheckArgs>(&subcommand::clap_command("check", rest))? {
        Ok(check) => check,
        Err(text) => return Ok(Request::Print(text)),
    };
    args.add_verbosity(check.verbose);
    args.command = check.command;
    args.line.preset = check.preset.map(Some).or(args.line.preset);
    let file = config_path::file(&args, check.config.as_deref(), config_path::When::Startup)?;
    let plan = args.plan_for_check(file)?;
    Ok(Request::Print(if check.json { dump::json(&plan) } else { dump::text(&plan) }))
}
