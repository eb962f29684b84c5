//! A gateway's stand-in that leaves its restart to its supervisor, as OpenClaw 2026.9 does. Its state is in the directory
//! `STATE`.
//!
//! `hands_over run` says `started PID` and waits: USR2 is a restart, which it notes before it ends with 0; TERM and USR1 are
//! a stop, at which it ends with 0, too. `hands_over restart` asks it for a restart, and waits for the next one.
//! `hands_over consume --expected-pid PID` says once what the note was. The file `how` makes it answer in another way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a helper of the tests: what goes wrong must be loud"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use signal_hook::consts::{SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

fn state(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("STATE").unwrap()).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(state(name)).unwrap_or_default()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words[0].as_str() {
        "run" => run(),
        "restart" => restart(),
        "consume" => {
            assert_eq!(words[1], "--expected-pid");
            consume(&words[2]);
        }
        other => panic!("{other}?"),
    }
}

fn run() {
    let mut signals = Signals::new([SIGTERM, SIGUSR1, SIGUSR2]).unwrap();
    let pid = std::process::id();
    fs::write(state("pid"), pid.to_string()).unwrap();
    println!("started {pid}");
    if signals.forever().next() == Some(SIGUSR2) {
        fs::write(state("note"), pid.to_string()).unwrap();
    }
}

fn restart() {
    let before = read("pid");
    kill(Pid::from_raw(before.parse().unwrap()), Signal::SIGUSR2).unwrap();
    while read("pid").is_empty() || read("pid") == before {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("restarted");
}

fn consume(expected: &str) {
    fs::write(state("asked"), format!("{expected} as {}", geteuid())).unwrap();
    let status = match (read("how").trim(), read("note").as_str()) {
        ("hang", _) => loop {
            std::thread::park();
        },
        ("error", _) => std::process::exit(1),
        ("nonsense", _) => return println!("accepted"),
        ("flood", _) => return println!("{{\"status\":\"accepted\",\"more\":\"{}\"}}", "x".repeat(1 << 20)),
        ("rejected", _) => "rejected",
        (_, "") => "none",
        (_, pid) if pid == expected => {
            fs::remove_file(state("note")).unwrap();
            "accepted"
        }
        _ => "rejected",
    };
    println!("{{\"ok\":true,\"protocolVersion\":1,\"status\":\"{status}\"}}");
}
