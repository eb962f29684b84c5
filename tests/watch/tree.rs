//! The census of the tree, locks that are held too long, and logs.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sexton::config::lock_rule::{LockFormat, LockRule};
use sexton::config::watch_settings::{HeldLocks, Limits, Log, WatchSettings};
use sexton::control::protocol::{Incident, IncidentKind, WatchCommand, WatchConfig, WatchReport};

use crate::common::process::look;
use crate::fake::{Watched, running};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A process of the tree below the test, which stands for sexton. It ends with the test.
struct Below(Child);

impl Below {
    fn start(program: &str, arguments: &[&str]) -> Below {
        let mut command = Command::new(program);
        Below(command.args(arguments).stdin(Stdio::piped()).process_group(0).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let _ = crate::common::process::send(-self.pid(), 9);
        let _ = self.0.wait();
    }
}

/// It ends by itself, so that a test that was killed leaves no process behind that takes the whole machine.
const GROWS: &str = "
import time
kept = []
while len(kept) < 600:
    kept.append(bytearray(b'x' * (1 << 20)))
    time.sleep(0.1)
";

#[test]
fn memory_that_grows_is_told_and_too_much_of_it_is_a_condition() {
    let limits = Limits { interval: ms(100), memory: Some(40 << 20), zombies: None };
    let mut watched = Watched::start(WatchSettings { limits, ..WatchSettings::default() });
    let child = Below::start("python3", &["-c", GROWS]);
    // 10 MiB a second, which other work on this machine may slow down.
    let census = watched.wait_for("growth", |fact| match fact {
        WatchReport::TreeStats(census) if census.growth > 100 << 20 => Some(*census),
        _ => None,
    });
    assert!(census.processes >= 1 && census.rss > 1 << 20, "{census:?}");
    assert!(census.pss.is_some_and(|pss| pss > 0 && pss <= census.rss), "{census:?}");
    let condition = watched.condition(IncidentKind::Memory, true);
    assert!(condition.detail.contains(", 40 are the limit; +"), "{}", condition.detail);
    drop(child);
    assert_eq!(watched.condition(IncidentKind::Memory, false).subject, "tree");
}

const NEGLECTS: &str = "
import os, sys
for _ in range(20):
    if os.fork() == 0:
        os._exit(0)
sys.stdin.read(1)
for _ in range(20):
    os.wait()
sys.stdin.read()
";

#[test]
fn zombies_of_a_living_parent_are_counted_and_the_parent_is_named() {
    let limits = Limits { interval: ms(100), memory: None, zombies: Some(20) };
    let mut watched = Watched::start(WatchSettings { limits, ..WatchSettings::default() });
    let mut parent = Below::start("python3", &["-c", NEGLECTS]);
    let condition = watched.condition(IncidentKind::Zombies, true);
    let pid = parent.pid();
    assert_eq!(condition.subject, pid.to_string());
    assert_eq!(condition.detail, format!("python3, pid {pid}, has 20 zombies that it does not reap"));
    parent.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    assert_eq!(watched.condition(IncidentKind::Zombies, false).subject, pid.to_string());
    let zombies = watched.said.iter().any(|request| {
        matches!(request, sexton::control::protocol::Request::WatchReport(WatchReport::TreeStats(census)) if census.zombies >= 20)
    });
    assert!(zombies, "the census has them too");
}

#[test]
fn what_an_earlier_sexton_watch_said_is_over_when_it_is_not_so_or_nobody_looks_any_more() {
    let mut watched = Watched::silent();
    let incident = |kind, subject: &str| Incident {
        kind,
        subject: subject.to_owned(),
        detail: "as it was".into(),
        began: 7,
        ended: None,
    };
    let limits = Limits { interval: ms(100), memory: None, zombies: Some(20) };
    watched.tell(&WatchCommand::Settings(Box::new(WatchConfig {
        settings: WatchSettings { limits, ..WatchSettings::default() },
        incidents: vec![
            incident(IncidentKind::Log, "no rule any more"),
            incident(IncidentKind::Zombies, "no such process"),
            incident(IncidentKind::RestartLimit, "gateway"),
        ],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..WatchConfig::default()
    })));
    assert_eq!(watched.condition(IncidentKind::Log, false).subject, "no rule any more");
    let over = watched.condition(IncidentKind::Zombies, false);
    assert_eq!((over.subject.as_str(), over.detail.as_str()), ("no such process", "as it was"));
    let said = watched.hear_for(ms(300));
    assert!(!format!("{said:?} {:?}", watched.said).contains("Ceiling"), "that is sexton's own");
}

/// A session lock of OpenClaw's, held by this process since an hour.
fn session_lock(root: &Path, max_hold_ms: u64) -> File {
    let dir = root.join("agents/main/sessions");
    fs::create_dir_all(&dir).unwrap();
    let mut file = File::create(dir.join("one.jsonl.lock")).unwrap();
    let (us, hour_ago) = (std::process::id().cast_signed(), Duration::from_secs(3600));
    let created = humantime::format_rfc3339_millis(std::time::SystemTime::now() - hour_ago);
    let start = look(us).unwrap().start;
    let text = format!(
        "{{\n  \"pid\": {us},\n  \"createdAt\": \"{created}\",\n  \"maxHoldMs\": {max_hold_ms},\n  \"starttime\": {start}\n}}\n"
    );
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(std::time::SystemTime::now() - hour_ago).unwrap();
    file
}

#[test]
fn a_lock_that_its_living_owner_holds_past_its_limit_is_a_condition() {
    let mut watched = Watched::silent();
    let (late, fine) = (watched.path("late"), watched.path("fine"));
    let held = [session_lock(&late, 1_020_000), session_lock(&fine, 7_200_000)];
    let roots = vec![late.clone(), fine, watched.path("missing")];
    let locks = Some(HeldLocks { roots, report_after: None, interval: ms(100), rules: vec![] });
    watched.brief(WatchSettings { locks, ..WatchSettings::default() }, Some(running(4242)));
    let condition = watched.condition(IncidentKind::LockHeld, true);
    let path = late.join("agents/main/sessions/one.jsonl.lock");
    assert_eq!(condition.subject, path.display().to_string());
    let pid = std::process::id();
    assert!(condition.detail.starts_with(&format!("pid {pid} (")), "{}", condition.detail);
    let (says, ends) = (" for 1h", ", and its limit is 17m");
    assert!(condition.detail.contains(says) && condition.detail.ends_with(ends), "{}", condition.detail);
    drop(held);
    fs::remove_file(path).unwrap();
    watched.condition(IncidentKind::LockHeld, false);
    let begun = watched.said.iter().filter(|said| format!("{said:?}").contains("holds: true")).count();
    assert_eq!(begun, 1, "only the one that is late: {:#?}", watched.said);
}

#[test]
fn an_operators_own_lock_is_watched_as_openclaws_are() {
    let mut watched = Watched::silent();
    let root = watched.path("state");
    fs::create_dir_all(root.join("workers/one")).unwrap();
    let path = root.join("workers/one/run.lock");
    let us = std::process::id();
    fs::write(&path, format!("{{\"owner\": {{\"pid\": {us}}}}}")).unwrap();
    let held = File::open(&path).unwrap();
    held.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let rule = LockRule {
        name: Some("worker".into()),
        path: "workers/*/run.lock".into(),
        format: Some(LockFormat::Json),
        pid: Some("owner.pid".into()),
        keeps_open: true,
        ..LockRule::default()
    };
    let report_after = Some(Duration::from_secs(1800));
    let locks = Some(HeldLocks { roots: vec![root], report_after, interval: ms(100), rules: vec![rule] });
    watched.brief(WatchSettings { locks, ..WatchSettings::default() }, Some(running(4242)));
    let condition = watched.condition(IncidentKind::LockHeld, true);
    assert_eq!(condition.subject, path.display().to_string());
    let (begins, ends) = (format!("pid {us} ("), " of kind worker for 1h, and its limit is 30m");
    assert!(
        condition.detail.starts_with(&begins) && condition.detail.ends_with(ends),
        "{}",
        condition.detail
    );
    drop(held);
    fs::remove_file(path).unwrap();
    watched.condition(IncidentKind::LockHeld, false);
}

fn append(path: &Path, lines: &[&str]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
}

#[test]
fn a_pattern_that_comes_too_often_is_a_condition_also_over_a_rotation() {
    let mut watched = Watched::silent();
    let (log, files) = (watched.path("openclaw.log"), watched.path("*.log").display().to_string());
    append(&log, &["{\"msg\":\"SessionWriteLockTimeoutError: old\"}"; 10]);
    let rule = |name: &str, pattern: &str| Log {
        name: name.into(),
        files: vec![files.clone()],
        pattern: pattern.into(),
        count: 4,
        restart: false,
        interval: Duration::from_secs(2),
    };
    let logs = vec![rule("write-lock", "SessionWriteLockTimeoutError"), rule("broken", "(")];
    watched.brief(WatchSettings { logs, ..WatchSettings::default() }, None);
    let condition = watched.condition(IncidentKind::Log, true);
    assert_eq!(condition.subject, "broken");
    assert_eq!(condition.detail, "this rule is not followed: '(' is no pattern: error: unclosed group");
    // What was there is old; these are three, before a rotation and after it.
    watched.serve_until("the log is followed", {
        let pid = watched.child.id();
        move || holds_open(pid, "openclaw.log")
    });
    append(&log, &["{\"msg\":\"SessionWriteLockTimeoutError: one\"}", "{\"msg\":\"nothing\"}"]);
    append(&log, &["{\"msg\":\"SessionWriteLockTimeoutError: two\"}"]);
    fs::rename(&log, watched.path("openclaw.log.1")).unwrap();
    append(&log, &["{\"msg\":\"SessionWriteLockTimeoutError: three\"}"]);
    let said = watched.hear_for(ms(700));
    assert!(!format!("{said:?}").contains("write-lock"), "three are not four: {said:?}");
    append(&log, &["{\"msg\":\"SessionWriteLockTimeoutError: four\"}"]);
    let condition = watched.condition(IncidentKind::Log, true);
    assert_eq!(condition.subject, "write-lock");
    assert_eq!(
        condition.detail,
        "at least 4 lines within 2s, the last of them: {\"msg\":\"SessionWriteLockTimeoutError: four\"}"
    );
    assert_eq!(watched.condition(IncidentKind::Log, false).subject, "write-lock");
}

fn holds_open(pid: u32, name: &str) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|path| path.ends_with(name))
}
