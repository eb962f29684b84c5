//! dumb-init.

use std::ffi::{OsStr, OsString};

use tracing::level_filters::LevelFilter;

use super::Compat;
use super::getopt::{self, Order, Spec};
use super::number::leading;
use crate::cli::Request;
use crate::config::value::Rewrite;
use crate::types::Signal;

const SPEC: Spec = Spec {
    letters: "hvVcr:",
    long: &[("help", b'h'), ("single-child", b'c'), ("rewrite", b'r'), ("verbose", b'v'), ("version", b'V')],
};

/// The version whose behaviour this is.
fn version() -> String {
    format!("dumb-init v1.2.5 (sexton {})\n", env!("CARGO_PKG_VERSION"))
}

fn help(name: &str) -> String {
    format!(
        "{}Usage: {name} [option] command [[arg] ...]

Runs the command below sexton, which takes {name}'s options here.

   -c, --single-child   pass signals to the command alone, in this session
   -r, --rewrite s:r    send signal r in the place of s; 0 drops it; repeatable
   -v, --verbose        say what happens, on standard error
   -h, --help           print this help
   -V, --version        print the version

Variables: DUMB_INIT_SETSID=0 (-c), DUMB_INIT_DEBUG=1 (-v), and all of sexton's.
",
        version()
    )
}

const BAD_REWRITE: &str = "\
Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.
";

pub(super) fn read(face: &Compat, words: &[OsString]) -> Request {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    let mut single = is("DUMB_INIT_SETSID", "0");
    let mut verbose = is("DUMB_INIT_DEBUG", "1");
    let mut rewrite = Vec::new();
    let found = getopt::read(&SPEC, Order::Strict, words);
    for option in found.options {
        match option {
            Err(wrong) => return face.usage_error(format!("{}: {wrong}\n", face.name)),
            // Both go to standard error, and are no failure.
            Ok((b'h', _)) => return Request::UsageError { text: help(&face.name), code: 0 },
            Ok((b'V', _)) => return Request::UsageError { text: version(), code: 0 },
            Ok((b'c', _)) => single = true,
            Ok((b'v', _)) => verbose = true,
            Ok((b'r', Some(value))) => match rule(&value) {
                Some(rule) => rewrite.push(rule),
                None => return face.usage_error(BAD_REWRITE.to_owned()),
            },
            Ok(_) => {}
        }
    }
    if found.rest.is_empty() {
        let name = &face.name;
        return face.usage_error(format!(
            "Usage: {name} [option] program [args]\nTry {name} --help for full usage.\n"
        ));
    }
    let level = if verbose { LevelFilter::DEBUG } else { LevelFilter::WARN };
    face.run(&found.rest, level, |plan| {
        plan.session = !single;
        plan.settings.group = !single;
        if !single {
            // The child's process group is the only one of its session, so it is orphaned. The kernel does not stop an
            // orphaned group for TSTP, TTIN or TTOU, but for STOP it does (POSIX, section 2.4.3).
            let keys = [Signal::TSTP, Signal::TTIN, Signal::TTOU];
            plan.settings.rewrite.extend(keys.map(|key| Rewrite(key, Some(Signal::STOP))));
        }
        plan.settings.rewrite.extend(rewrite.into_iter().map(|(from, to)| Rewrite(from, to)));
    })
}

/// `S:R` in numbers; what follows R is not looked at.
fn rule(value: &OsStr) -> Option<(Signal, Option<Signal>)> {
    let (from, rest) = leading(value.to_str()?)?;
    let (to, _) = leading(rest.strip_prefix(':')?)?;
    let signal = |number: i64| Signal::new(i32::try_from(number).ok().filter(|number| *number <= 31)?);
    Some((signal(from)?, if to == 0 { None } else { Some(signal(to)?) }))
}
