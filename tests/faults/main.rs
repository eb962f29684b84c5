//! Every system call of sexton, and of the helpers that it makes, made to fail from outside (`examples/injects.rs`), at
//! one moment of its life after the other. Whatever fails: it does not hang, it does not end before it was asked to
//! once the command runs, no process is left behind, and the lock of a living owner stays.
//!
//! Lives without a fault come first: they tell which calls are made and how often, so that what is tried happens, and a
//! call that the table lacks is found.
//!
//! Some of it in every run; all of it with `SEXTON_FAULTS=all`, which takes minutes; and of all of it those whose line
//! contains a text with any other value, as `SEXTON_FAULTS='Tree: Sexton kill'`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

#[path = "../common/mod.rs"]
mod common;

mod life;
mod replaced;
mod table;
mod tracer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use common::victim::Mode;
use life::{Life, live};
use table::{CALLS, Call};
use tracer::Done;

/// How many lives are lived at a time: most of a life is waiting.
const AT_ONCE: usize = 4;

/// A life that takes longer is told of.
const SLOW: Duration = Duration::from_secs(5);

/// Whose call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Sexton itself, from its first statement on.
    Sexton,
    /// A process that it makes, until that executes another program or ends: one that sweeps, or becomes the command.
    Helper,
}

/// What fails: whose call, how, and when.
pub struct Fault {
    life: Life,
    whom: Whom,
    call: &'static Call,
    errno: Errno,
    /// The number of the call, by each process.
    first: u64,
    /// It and all later ones.
    for_good: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { life: Life { mode, is_stopped }, whom, call, errno, first, for_good } = self;
        let later = if *for_good { "+" } else { "" };
        let still = if *is_stopped { ", a standstill" } else { "" };
        write!(f, "{mode:?}{still}: {whom:?} {} {errno:?} {first}{later}", call.name)
    }
}

impl Fault {
    /// The words of the tracer.
    fn words(&self) -> Vec<String> {
        let whom = if self.whom == Whom::Sexton { "sexton" } else { "helper" };
        // The kernel's brk(2) says by a break that is too low that there is no memory.
        let errno = if self.call.name == "brk" { 0 } else { self.errno as i32 };
        let last = if self.for_good { u64::MAX } else { self.first };
        vec![
            whom.to_owned(),
            self.call.number.to_string(),
            errno.to_string(),
            self.first.to_string(),
            last.to_string(),
        ]
    }
}

/// Whether it cannot reach all whom it is to end then. Who may not become a subreaper says so, and without a cgroup
/// orphans are lost to one that is none. Who can never open or read a file again sees nobody, and only an init reaches
/// whom it does not see (kill(2), pid -1).
fn out_of_reach(mode: Mode, whom: Whom, call: &Call, for_good: bool) -> bool {
    let blind = for_good && ["openat", "read"].contains(&call.name) && mode != Mode::Pid1;
    whom == Whom::Sexton && (blind || call.name == "prctl" && mode == Mode::Tree)
}

/// The faults of one kind of life: those of every call beyond what was done `before`, in another one.
fn faults(life: Life, done: &Done, before: &Done) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (&(whom, call), count) in &done.calls {
        let name = || panic!("{whom:?} makes the system call {call}: table.rs is to say what can befall it");
        let call = CALLS.iter().find(|known| known.number == call).unwrap_or_else(name);
        let known = before.calls.get(&(whom, call.number)).copied().unwrap_or(0);
        let mut add = |errno: Errno, next: u64, for_good: bool| {
            let first = known + next;
            if first <= *count && !out_of_reach(life.mode, whom, call, for_good) {
                faults.push(Fault { life, whom, call, errno, first, for_good });
            }
        };
        for errno in call.errnos {
            for next in [1, 2, 3, 4, 5, 7, 10, 15, 25, 40] {
                add(*errno, next, false);
            }
            for next in [1, 2, 4, 8, 20].into_iter().filter(|_| call.lasts(whom, *errno)) {
                add(*errno, next, true);
            }
        }
    }
    faults
}

/// One of each call's: for good, if that may be, and each time with another error.
fn some_of(faults: Vec<Fault>) -> Vec<Fault> {
    let mut of_calls: Vec<Vec<Fault>> = Vec::new();
    for fault in faults {
        match of_calls.last_mut() {
            Some(same) if same[0].whom == fault.whom && same[0].call.number == fault.call.number => {
                same.push(fault);
            }
            _ => of_calls.push(vec![fault]),
        }
    }
    let one = |(number, mut same): (usize, Vec<Fault>)| {
        let errno = same[0].call.errnos[number % same[0].call.errnos.len()];
        same.retain(|fault| fault.errno == errno);
        let for_good = same.iter().position(|fault| fault.for_good);
        same.swap_remove(for_good.unwrap_or(number % same.len().min(3)))
    };
    of_calls.into_iter().enumerate().map(one).collect()
}

/// What every life without a fault does: the least of some.
fn calm(life: Life) -> Done {
    let lives = (0..3).map(|_| live(life, None).unwrap());
    let both = |mut least: Done, other: Done| {
        least.calls.retain(|key, _| other.calls.contains_key(key));
        for (key, count) in &mut least.calls {
            *count = (*count).min(other.calls[key]);
        }
        least
    };
    let least = lives.reduce(both).unwrap();
    let seen = |whom| least.calls.keys().any(|(by, _)| *by == whom);
    assert!(
        least.calls.is_empty() || seen(Whom::Sexton) && seen(Whom::Helper),
        "no process was traced: {life:?}"
    );
    least
}

/// What is tried: some of it, or all.
fn list(all: bool) -> Vec<Fault> {
    let mut list = Vec::new();
    for mode in Mode::ALL {
        let life = Life { mode, is_stopped: false };
        let done = calm(life);
        let found = faults(life, &done, &Done::default());
        list.extend(if all { found } else { some_of(found) });
        if all {
            let life = Life { mode, is_stopped: true };
            list.extend(faults(life, &calm(life), &done));
        }
    }
    list
}

#[test]
fn whatever_fails_nobody_is_lost_and_nothing_hangs() {
    if !tracer::works() {
        return;
    }
    let wanted = std::env::var("SEXTON_FAULTS").unwrap_or_default();
    let mut list = list(!wanted.is_empty());
    for mode in Mode::ALL {
        let of = |whom| list.iter().filter(|fault| fault.life.mode == mode && fault.whom == whom).count();
        println!("{mode:?}: {} faults of sexton, {} of helpers", of(Whom::Sexton), of(Whom::Helper));
    }
    list.retain(|fault| wanted == "all" || fault.to_string().contains(&wanted));
    let (next, failed, silent) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let lived = catch_unwind(AssertUnwindSafe(|| live(fault.life, Some(fault))));
                    if began.elapsed() > SLOW {
                        println!("{fault}: it took {:?}", began.elapsed());
                    }
                    match lived.unwrap_or_else(|_| Err("it does not end".to_owned())) {
                        Ok(done) if done.failed == 0 => {
                            println!("{fault}: it did not come to that");
                            silent.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => {}
                        Err(what) => {
                            println!("{fault}: {what}");
                            failed.lock().unwrap().push(format!("{fault}: {what}"));
                        }
                    }
                }
            });
        }
    });
    let silent = silent.into_inner();
    println!("{} faults, {silent} of them at a moment that did not come", list.len());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), list.len());
    assert!(silent <= list.len() / 20, "what is tried happens: {silent} did not");
}

/// The dead command is kept unreaped while its pid is evidence, and the kernel names it first whenever it is asked for
/// anybody who has died. The others have to be found all the same, or KILL is repeated for ten seconds.
#[test]
fn an_init_that_can_open_nothing_any_more_finds_its_dead() {
    if !tracer::works() {
        return;
    }
    let life = Life { mode: Mode::Pid1, is_stopped: false };
    let opens = calm(life).calls[&(Whom::Sexton, libc::SYS_openat)];
    let call = CALLS.iter().find(|call| call.number == libc::SYS_openat).unwrap();
    for first in 1..=opens {
        let fault = Fault { life, whom: Whom::Sexton, call, errno: Errno::EMFILE, first, for_good: true };
        let done = live(life, Some(&fault)).unwrap();
        // One that could not even begin has killed no process.
        let kills = done.calls.get(&(Whom::Sexton, libc::SYS_kill)).copied().unwrap_or(0);
        println!("{fault}: {} failed, kill(2) was called {kills} times", done.failed);
        assert!(done.failed > 0 && kills < 100, "{fault}: kill(2) was called {kills} times");
    }
}
