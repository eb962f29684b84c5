//! `tool_cost SEXTON IN_A_ROW AT_ONCE`: what `sexton tool` costs beside `timeout --kill-after`, interleaved in one
//! run, and whether anything is left of many.
//!
//! It prints the median and the lower quartile of each in microseconds and their ratio, then how long AT_ONCE
//! tools took that ran at the same time. It fails if a run does not end well, if a child of ours is left, or if
//! we have more descriptors open than before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement: a failure must be loud"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).env_remove("SEXTON_SOCKET");
    command
}

fn once(line: &[&str]) -> Duration {
    let begun = Instant::now();
    assert!(command(line).status().unwrap().success(), "{line:?}");
    begun.elapsed()
}

fn quantile(times: &mut [Duration], part: usize) -> f64 {
    times.sort_unstable();
    times[times.len() * part / 4].as_secs_f64() * 1e6
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [sexton, in_a_row, at_once] = &arguments[..] else { panic!("tool_cost SEXTON IN_A_ROW AT_ONCE") };
    let (in_a_row, at_once): (usize, usize) = (in_a_row.parse().unwrap(), at_once.parse().unwrap());
    let ours = [sexton.as_str(), "tool", "--timeout", "60s", "--grace", "5s", "--", "true"];
    let theirs = ["timeout", "--kill-after=5", "60", "true"];
    let before = descriptors();
    let pairs = (0..in_a_row).map(|_| (once(&ours), once(&theirs)));
    let (mut our_times, mut their_times): (Vec<_>, Vec<_>) = pairs.unzip();
    for (name, part) in [("median", 2), ("lower quartile", 1)] {
        let (our, their) = (quantile(&mut our_times, part), quantile(&mut their_times, part));
        println!("{name}: sexton tool {our:.0} us, timeout {their:.0} us, {:.2} times", our / their);
    }
    let begun = Instant::now();
    let children: Vec<Child> = (0..at_once)
        .map(|_| command(&[sexton, "tool", "--timeout", "60s", "--", "sleep", "0.5"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    println!("{at_once} at once: {:?}", begun.elapsed());
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert!(children.trim().is_empty(), "children are left: {children}");
    assert_eq!(descriptors(), before, "descriptors are left open");
}
