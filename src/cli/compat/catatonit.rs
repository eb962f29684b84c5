//! catatonit, also as the pause process of a pod.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;

use super::getopt::{self, Order, Spec};
use super::{Compat, licence};
use crate::cli::Request;
use crate::os::process;

const SPEC: Spec = Spec { letters: "ghLPV", long: &[("version", b'V')] };

fn usage(name: &str) -> String {
    format!("usage: {name} [-ghLPV] [--] <progname> [<arguments>...]\n")
}

const OPTIONS: &str = "
options:
  -g              pass signals to the program's whole process group
  -h              print this help
  -L              print the licence
  -P              pause: run no program, and end at SIGINT or SIGTERM
  -V, --version   print the version

Variables: CATATONIT_DEBUG (say more), and all of sexton's.
";

pub(super) fn read(face: &Compat, order: Order, words: &[OsString]) -> Request {
    let (mut group, mut pause) = (false, false);
    let debug = std::env::var_os("CATATONIT_DEBUG").is_some();
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::WARN };
    let found = getopt::read(&SPEC, order, words);
    for option in found.options {
        match option {
            Err(wrong) => return face.usage_error(format!("{}: {wrong}\n{}", face.name, usage(&face.name))),
            Ok((b'h', _)) => {
                return Request::UsageError { text: format!("{}{OPTIONS}", usage(&face.name)), code: 0 };
            }
            Ok((b'L', _)) => return licence(),
            Ok((b'V', _)) => {
                // Container engines look for "tini version".
                let version = env!("CARGO_PKG_VERSION");
                return Request::Print(format!("tini version 0.1.7_catatonit - sexton {version}\n"));
            }
            Ok((b'g', _)) => group = true,
            Ok((b'P', _)) => pause = true,
            Ok(_) => {}
        }
    }
    if pause {
        return face.run(&[OsString::from("pause")], level, |plan| plan.command.clear());
    }
    if found.rest.is_empty() {
        let pid = process::own_pid();
        let usage = usage(&face.name);
        return face.usage_error(format!("ERROR (catatonit:{pid}): missing program name\n{usage}"));
    }
    face.run(&found.rest, level, |plan| plan.settings.group = group)
}
