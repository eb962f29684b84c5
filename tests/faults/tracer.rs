//! The tracer that counts and breaks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::libc::c_long;

use crate::Whom;
use crate::common::{helper, root, skip};

/// What was done in a life: how often whose call was made, at most by one process.
#[derive(Default)]
pub struct Done {
    pub calls: BTreeMap<(Whom, c_long), u64>,
    pub failed: u64,
}

/// Whether a process can be traced here; where not, a line has said so.
pub fn works() -> bool {
    if !root() {
        skip("to trace processes of another pid namespace", "root");
        return false;
    }
    if !cfg!(target_arch = "x86_64") {
        skip("x86-64", "the tracer knows its registers alone");
        return false;
    }
    true
}

/// A tracer (`examples/injects.rs`) that goes away with the test.
pub struct Tracer {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tracer {
    /// With the words for what is to befall whose calls, as `examples/injects.rs` knows them.
    pub fn attach(pid: i32, words: &[String]) -> Tracer {
        let mut command = Command::new(helper("injects"));
        command.arg(pid.to_string()).args(words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        assert_eq!(line, "attached\n");
        Tracer { child, says }
    }

    /// What it has seen, when no traced process is left.
    pub fn done(mut self) -> Done {
        let (mut done, mut text) = (Done::default(), String::new());
        self.says.read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["failed", count] => done.failed = count.parse().unwrap(),
                [whom, call, count] => {
                    let whom = if whom == "sexton" { Whom::Sexton } else { Whom::Helper };
                    done.calls.insert((whom, call.parse().unwrap()), count.parse().unwrap());
                }
                _ => panic!("{line}"),
            }
        }
        done
    }
}
