//! tini, also called `tini-static` and `docker-init`.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;

use super::getopt::{self, Order, Spec};
use super::number::leading;
use super::{Compat, licence};
use crate::cli::Request;
use crate::os::process;
use crate::types::{Pid, Signal};

const SPEC: Spec = Spec { letters: "p:hvwgle:s", long: &[] };

/// The version whose behaviour this is, in the form in which container engines read it.
fn version() -> String {
    format!("tini version 0.19.0 - sexton {}", env!("CARGO_PKG_VERSION"))
}

fn usage(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    format!(
        "{name} ({})
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Runs PROGRAM under the supervision of a valid init process: sexton, which takes
{name}'s options here.

  --version     print the version
  -h            print this help
  -s            be a subreaper (sexton always is; silences the warning about it)
  -p SIGNAL     get SIGNAL when the parent dies, such as SIGKILL
  -v            be more verbose; up to three times
  -w            warn about each zombie that was reaped
  -g            send signals to the program's whole process group
  -e EXIT_CODE  turn this exit code (0 to 255) into 0; repeatable
  -l            print the licence

Variables: TINI_SUBREAPER (-s), TINI_VERBOSITY (1 is the default),
TINI_KILL_PROCESS_GROUP (-g), and all of sexton's.

",
        version()
    )
}

/// Under tini itself this would be so. sexton registers itself.
const NO_SUBREAPER: &str = "Tini is not running as PID 1 and isn't registered as a child subreaper: with tini \
     itself, zombie reaping won't work. sexton registers itself; -s or TINI_SUBREAPER silences this line";

pub(super) fn read(face: &Compat, order: Order, words: &[OsString]) -> Request {
    if let [only] = words
        && only == "--version"
    {
        return Request::Print(format!("{}\n", version()));
    }
    let fatal = |letter: char, value: &OsString| {
        let (pid, value) = (process::own_pid(), value.to_string_lossy());
        face.usage_error(format!("[FATAL tini ({pid})] Not a valid option for -{letter}: {value}\n"))
    };
    let set = |name| std::env::var_os(name).is_some();
    let (mut subreaper, mut group) = (set("TINI_SUBREAPER"), set("TINI_KILL_PROCESS_GROUP"));
    let (mut warn_reaped, mut verbosity) = (false, 1_u8);
    let (mut parent_death, mut remap) = (None, Vec::new());
    let found = getopt::read(&SPEC, order, words);
    for option in found.options {
        match option {
            Err(wrong) => return face.usage_error(format!("{}: {wrong}\n{}", face.name, usage(&face.name))),
            Ok((b'h', _)) => return Request::Print(usage(&face.name)),
            Ok((b'l', _)) => return licence(),
            Ok((b's', _)) => subreaper = true,
            Ok((b'g', _)) => group = true,
            Ok((b'w', _)) => warn_reaped = true,
            Ok((b'v', _)) => verbosity = verbosity.saturating_add(1),
            Ok((b'p', Some(value))) => match signal(&value) {
                Some(signal) => parent_death = Some(signal),
                None => return fatal('p', &value),
            },
            Ok((b'e', Some(value))) => match code(&value) {
                Some(code) => remap.push(code),
                None => return fatal('e', &value),
            },
            Ok(_) => {}
        }
    }
    if found.rest.is_empty() {
        return face.usage_error(usage(&face.name));
    }
    if let Some(value) = std::env::var_os("TINI_VERBOSITY") {
        // As atoi(3) has it, what is no number is 0; and one below it is no less than all.
        let value = leading(&value.to_string_lossy()).map_or(0, |(number, _)| number);
        verbosity = u8::try_from(value).unwrap_or(u8::MAX);
    }
    // The program that executed us may have made this process a subreaper.
    let warned = !subreaper && process::own_pid() != Pid::INIT && !process::is_subreaper();
    face.run(&found.rest, level(verbosity), |plan| {
        plan.settings.group = group;
        plan.settings.warn_reaped |= warn_reaped;
        plan.settings.parent_death = parent_death.or(plan.settings.parent_death);
        plan.settings.remap_exit.extend(remap);
        plan.warning = warned.then_some(NO_SUBREAPER);
    })
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// tini knows full names only.
fn signal(value: &OsString) -> Option<Signal> {
    let name = value.to_str()?.strip_prefix("SIG")?;
    let known = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    name.parse()
        .ok()
        .filter(|_| known && !name.starts_with("RT") && !name.starts_with(|c: char| c.is_ascii_digit()))
}

/// As strtol(3) has it, nothing at all is 0.
fn code(value: &OsString) -> Option<u8> {
    match value.to_str()? {
        "" => Some(0),
        text => leading(text).filter(|(_, rest)| rest.is_empty())?.0.try_into().ok(),
    }
}
