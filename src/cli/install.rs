//! `sexton install DIR`: the programs, put where another image's container finds them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::args::Args;
use super::{Request, Usage, parse, subcommand};

const ABOUT: &str = "\
Copies sexton, sexton-watch and the link sexton-sh into a directory: a volume
that an image without sexton is started with. It needs no shell and no cp.";

const AFTER: &str = "\
What is there already under these names is replaced, each in one step.
Exit code: 0 they are there; 125 they are not, with one line why.
A program that is itself named 'install' runs with: sexton -- install";

#[derive(Debug, Parser)]
#[command(
    name = "sexton install",
    about = ABOUT,
    after_help = AFTER,
    disable_version_flag = true,
    max_term_width = 80
)]
pub(super) struct InstallArgs {
    /// Where to; it must be there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// What the words behind `install` mean.
pub(super) fn read(_: Args, rest: &[OsString]) -> Result<Request, Usage> {
    Ok(match parse::<InstallArgs>(&subcommand::clap_command("install", rest))? {
        Ok(install) => Request::Install(install.directory),
        Err(text) => Request::Print(text),
    })
}
