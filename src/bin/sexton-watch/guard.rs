//! The guard: the process between sexton-watch and a command that it runs, `sexton-watch --guard`.
//!
//! It is the parent of whatever the command leaves behind, and ends all of it: when the command has ended, when its
//! time is over, and when sexton-watch dies, however it dies. It ends with the command's own code, or with
//! [`TIMED_OUT`].

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use sexton::ids::{Moment, Pid, Signal, exit_code};
use sexton::os::children::{self, Change};
use sexton::os::signals::{self, Inlet};
use sexton::os::{clock, early, process, spawn, tree};

/// The code after a command that was ended, as timeout(1) has it.
pub const TIMED_OUT: i32 = 124;

/// The word that makes a sexton-watch a guard.
const WORD: &str = "--guard";
/// How long the killed may take to be gone. One that hangs in the kernel is left to it.
const BURIAL: Duration = Duration::from_secs(1);

/// The arguments that come before the command.
pub fn arguments(timeout: Duration) -> [OsString; 3] {
    let numbers = [timeout.as_millis().to_string(), process::own_pid().to_string()];
    let [timeout, parent] = numbers.map(OsString::from);
    [WORD.into(), timeout, parent]
}

/// What the arguments behind the program's name ask for, if they are those of a guard.
pub fn asked_for(arguments: &[OsString]) -> Option<Guard> {
    let (word, rest) = arguments.split_first()?;
    let [timeout, parent, command @ ..] = rest else { return None };
    let number = |word: &OsString| word.to_str()?.parse::<u64>().ok();
    let command = command.iter().map(|word| CString::new(word.clone().into_vec()).ok());
    (word == WORD).then_some(Guard {
        timeout: Duration::from_millis(number(timeout)?),
        parent: i32::try_from(number(parent)?).ok()?,
        command: command.collect::<Option<_>>()?,
    })
}

/// What is to be guarded.
pub struct Guard {
    timeout: Duration,
    parent: i32,
    command: Vec<CString>,
}

impl Guard {
    /// Runs the command to its end; gives the exit code.
    pub fn run(&self) -> u8 {
        let until = clock::now().after(self.timeout);
        let failed = exit_code::SEXTON_FAILED;
        let Ok(inlet) = Inlet::open() else { return failed };
        let _ = process::become_subreaper();
        // Its own death signal, so that a killed sexton-watch takes its commands with it.
        if process::set_parent_death_signal(Signal::TERM).is_err() || process::parent() != self.parent {
            return failed;
        }
        let inherited = early::inherited().for_a_command();
        let started = spawn::spawn(&spawn::Request::plain(&self.command, &inherited));
        let Ok(started) = started else { return failed };
        let code = attend(&inlet, started.pid, until);
        bury(&inlet);
        code
    }
}

/// Waits for the command's end, the end of its time, or the order to end; reaps what dies meanwhile.
fn attend(inlet: &Inlet, command: Pid, until: Moment) -> u8 {
    loop {
        while let Ok(Some(change)) = children::peek() {
            let Change::Died(dead) = change else { continue };
            let _ = children::reap(dead.pid);
            if dead.pid == command {
                return dead.status.code();
            }
        }
        let mut news = Vec::new();
        let _ = inlet.wait(Some(until), None, &mut news);
        let ordered = |signal| matches!(signal, Signal::TERM | Signal::INT);
        if clock::now() >= until || news.iter().any(|info| ordered(info.signal)) {
            return u8::try_from(TIMED_OUT).unwrap_or(u8::MAX);
        }
    }
}

/// Kills what is left, again and again until nothing is: what is killed may have forked just before.
fn bury(inlet: &Inlet) {
    let until = clock::now().after(BURIAL);
    loop {
        while let Ok(Some(change)) = children::peek() {
            let Change::Died(dead) = change else { continue };
            let _ = children::reap(dead.pid);
        }
        let left = tree::below_us().unwrap_or_default();
        if left.is_empty() || clock::now() >= until {
            return;
        }
        for process in left.iter().filter(|process| !process.is_dead()) {
            let _ = signals::send(process.pid, Signal::KILL);
        }
        // Whoever dies next wakes us; a missed one costs a moment.
        let _ = inlet.wait(Some(clock::now().after(Duration::from_millis(5))), None, &mut Vec::new());
    }
}
