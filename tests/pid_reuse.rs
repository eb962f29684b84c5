//! A pid namespace of some fifty numbers, in which a fork storm uses each again many times a second: sexton ends trees,
//! leftovers of lost tools and units there, and stops processes for a removal of locks. Beside its tree live
//! bystanders. None of them gets a signal.
//!
//! Ten thousand bystanders in every run, over all places; a million with `cargo test --test pid_reuse -- --ignored`, or
//! as many as `SEXTON_BYSTANDERS` says.
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

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{helper, root, sexton, skip};

/// Where sexton stands, and what it signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A wrapper that stops the storm over and over, through /proc alone.
    Tree,
    /// The same with a cgroup of its own.
    Cgroup,
    /// A wrapper whose orphans die with locks, so that all processes below it are stopped for a moment.
    Freeze,
    /// A wrapper that ends what lost tools leave behind.
    Orphans,
    /// PID 1, whose gateway ends and leaves the storm behind, over and over; the bystanders are those of a unit.
    Pid1,
    /// The same with lost tools beside it.
    Pid1Orphans,
}

const PLACES: [Place; 6] =
    [Place::Tree, Place::Cgroup, Place::Freeze, Place::Orphans, Place::Pid1, Place::Pid1Orphans];

/// The smallest that leaves room for a storm: the kernel gives the numbers below 300 once only.
const PID_MAX: u32 = 350;
const LIMIT_FILE: &str = "/proc/sys/kernel/pid_max";

/// How many live at a time.
const POOL: &str = "12";

/// Starts tools, and kills their supervisors.
const LOST_TOOLS: &str =
    "while :; do 'SEXTON' tool -- 'BYSTANDERS' storm 3 & sleep 0.15; kill -9 $!; wait $!; done";
/// Orphans take locks and die with them.
const LOCKS: &str = "'BYSTANDERS' storm 4 & i=0; while :; do i=$((i+1));
    (sh -c 'echo \"{\\\"pid\\\":$$}\" >\"$0\"' \"DIR/state/sessions/l$i.jsonl.lock\" &); sleep 0.3; done";

/// Whether each pid namespace has a `pid_max` of its own, which Linux has since 6.14. On an older one the machine's
/// would be changed.
fn is_namespaced() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 14)
}

/// What was seen of this many bystanders.
struct Seen {
    report: String,
    said: String,
}

fn live(place: Place, total: usize) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let filled = |text: &str| {
        let text = text.replace("DIR", dir.path().to_str().unwrap());
        text.replace("SEXTON", sexton().to_str().unwrap()).replace("BYSTANDERS", &helper("bystanders"))
    };
    fs::create_dir_all(at("state/sessions")).unwrap();
    let bystanders = [helper("bystanders"), POOL.to_owned(), total.to_string(), at("report")];
    let below = |period: &str, options: &str, command: &str| {
        let words = format!(
            "{} {period} '{}' -v --log-format json --grace 50ms --kill-after 100ms {options} -- {command}",
            bystanders.join(" "),
            sexton().display()
        );
        filled(&words)
    };
    let storm = "'BYSTANDERS' storm 6";
    let script = |text: &str| format!("sh -c '{}'", filled(text).replace('\'', r"'\''"));
    let line = match place {
        Place::Tree | Place::Cgroup => below("150", "--control off", storm),
        Place::Freeze => below("6000", "--control off --lock-root 'DIR/state'", &script(LOCKS)),
        Place::Orphans => below("3000", "--control 'DIR/run/control.sock'", &script(LOST_TOOLS)),
        Place::Pid1 | Place::Pid1Orphans => {
            let gateway = match place {
                Place::Pid1 => "'BYSTANDERS' storm 6 & sleep 0.1; exit 0",
                _ => LOST_TOOLS,
            };
            let words: Vec<String> = bystanders.iter().map(|word| format!("'{word}'")).collect();
            let text = format!(
                "command = ['sh', '-c', '''{gateway}''']\ngrace = '50ms'\nkill_after = '100ms'\n\
                 restart = {{ on = 'always', delay = '1ms', max_delay = '1ms', limit = 1000000 }}\n\
                 [units.others]\ncommand = [{}]\nrequired = true\n",
                words.join(", ")
            );
            fs::write(at("sexton.toml"), filled(&text)).unwrap();
            filled(
                "'SEXTON' -v --log-format json --config 'DIR/sexton.toml' --control 'DIR/run/control.sock'",
            )
        }
    };
    let read_only = match (place, common::cgroup::v2_mount()) {
        (Place::Cgroup, _) | (_, None) => String::new(),
        (_, Some(mount)) => format!("mount -o remount,bind,ro '{}' &&", mount.display()),
    };
    let inner = format!("{read_only} echo {PID_MAX} >{LIMIT_FILE} && exec {line}");
    let before = fs::read_to_string(LIMIT_FILE).unwrap();
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &inner])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("stderr")).unwrap())
        .spawn()
        .map(common::KillOnDrop)
        .unwrap();
    // Far longer than it takes, even on a busy machine.
    let end = Instant::now() + Duration::from_secs(120) + Duration::from_millis(20) * total as u32;
    while child.0.try_wait().unwrap().is_none() {
        let report = fs::read_to_string(at("report")).unwrap_or_default();
        let said = fs::read_to_string(at("stderr")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        assert!(Instant::now() < end, "{place:?} does not come to an end: {report}\n{last:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(LIMIT_FILE).unwrap(), before, "the machine's own limit is as it was");
    let read = |name: &str| String::from_utf8_lossy(&fs::read(at(name)).unwrap_or_default()).into_owned();
    Seen { report: read("report"), said: read("stderr") }
}

/// No process outside the tree was signalled, and what could have hit one did happen.
fn check(place: Place, total: usize) {
    let begun = Instant::now();
    let Seen { report, said } = live(place, total);
    let count = |text: &str, of: &str| text.lines().filter(|line| line.contains(of)).count();
    let hit: Vec<&str> = report.lines().filter(|line| line.starts_with("bystander")).collect();
    let (rounds, frozen) = (count(&report, "round "), count(&said, "\"tree-frozen\""));
    let (orphans, restarts) = (count(&said, "\"orphan\""), count(&said, "\"restarting\""));
    let lived = report.lines().last().and_then(|line| line.strip_prefix("lived ")?.parse::<usize>().ok());
    println!(
        "{place:?}: {lived:?} bystanders, {} of them signalled; {rounds} rounds, {restarts} restarts, {frozen} freezes, \
         {orphans} orphans; {:?}",
        hit.len(),
        begun.elapsed()
    );
    let last: Vec<&str> = said.lines().rev().take(10).collect();
    assert!(lived.is_some_and(|lived| lived >= total), "{place:?}: {report}\n{last:#?}");
    assert!(hit.is_empty(), "{place:?}: {hit:#?}");
    assert!(!report.contains("was killed by"), "{place:?}: {report}");
    let done = match place {
        Place::Tree | Place::Cgroup => rounds,
        Place::Freeze => frozen,
        Place::Orphans | Place::Pid1Orphans => orphans,
        Place::Pid1 => restarts,
    };
    assert!(done > 0, "{place:?}: it did not come to that: {last:#?}");
}

fn check_all(total: usize) {
    if !root() {
        return skip("root", "to make a pid namespace and to limit its numbers");
    }
    if !is_namespaced() {
        return skip(
            "Linux 6.14",
            "a pid_max of each pid namespace's own; an older kernel has one for the machine",
        );
    }
    let wanted = std::env::var("SEXTON_PLACE").unwrap_or_default();
    for place in PLACES.into_iter().filter(|place| format!("{place:?}").contains(&wanted)) {
        check(place, total / PLACES.len());
    }
}

#[test]
fn no_bystander_is_signalled_where_numbers_are_used_again_at_once() {
    check_all(10_000);
}

#[test]
#[ignore = "it takes half an hour"]
fn of_a_million_bystanders_none_is_signalled() {
    let total = std::env::var("SEXTON_BYSTANDERS").map_or(1_000_000, |text| text.parse().unwrap());
    check_all(total);
}
