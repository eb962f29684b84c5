//! The command line as one tree of commands, which it is nowhere else: for the manual page and the completions.

use clap::builder::ValueHint;
use clap::{Arg, Command};

use super::{args, control, subcommand, watch_commands};

/// sexton's command with its options and all its subcommands. Options that are hidden in `--help` but useful are shown.
///
/// What is hidden in `--help` is so for the sake of one screen. The descriptions of the subcommands are their first
/// sentence; what else their help says is in [`Command::get_after_help`] and [`Command::get_long_about`].
pub fn command() -> Command {
    let subcommands =
        subcommand::commands().chain(watch_commands::commands()).chain(control::commands()).map(documented);
    documented(args::command())
        .mut_arg("subreaper", |option| option.hide(true))
        .disable_help_subcommand(true)
        .subcommands(subcommands)
}

/// The same command with its first sentence apart, and with every option shown.
fn documented(command: Command) -> Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let sentence = about.split(".\n").next().unwrap_or_default().trim_end_matches('.').replace('\n', " ");
    command.about(sentence).long_about(about).mut_args(|option: Arg| {
        let words = option.is_trailing_var_arg_set();
        let option = option.hide(false).hide_env(false).hide_default_value(false);
        if words { option.value_hint(ValueHint::CommandWithArguments) } else { option }
    })
}
