//! `sexton locks`: what it prints and how it ends.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use house::{House, Live, Sweep};
use serde_json::Value;

const SESSION: &str = include_str!("locks/session.jsonl.lock");
const SESSION_PATH: &str = "sessions/one.jsonl.lock";

/// The exit code, standard output and standard error of `sexton locks` with the house as its root.
fn locks(house: &House, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
    command.arg("locks").args(words).arg("--root").arg(house.path("")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn entries(json: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(json).unwrap();
    value["roots"][0]["entries"].as_array().unwrap().clone()
}

#[test]
fn a_list_shows_every_verdict_and_changes_nothing() {
    let house = House::new();
    assert_eq!(locks(&house, &[]), (0, "no locks\n".to_owned(), String::new()));
    house.put("sessions/two.jsonl.lock", SESSION);
    house.put("sessions/bad.jsonl.lock", "{");
    house.put("x.lock.sqlite", "");
    fs::create_dir(house.path("sessions/dir.jsonl.lock")).unwrap();
    let holder = Live::holding(&house.path("sessions/two.jsonl.lock"));
    let before = house.listing();
    let (code, table, log) = locks(&house, &[]);
    assert_eq!((code, log.as_str()), (0, ""), "nothing is orphaned: {table}");
    for words in
        ["VERDICT", "held", "unclear", "skipped", "not judged", "has it open", "/sessions/two.jsonl.lock"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    house.put(SESSION_PATH, SESSION);
    let (code, table, _) = locks(&house, &["--verdict", "orphaned"]);
    assert_eq!(code, 1, "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("orphaned  session  2") && table.contains("no process has it open"), "{table}");
    house.remove(SESSION_PATH);
    assert_eq!(house.listing(), before);
    assert!(!house.has(".sexton.lock"), "a list registers no sexton");
    drop(holder);
}

#[test]
fn json_is_exact_whatever_a_name_is_made_of() {
    let house = House::new();
    house.put(Path::new("sessions").join(OsStr::from_bytes(b"a\n\xff\xfe.jsonl.lock")), SESSION);
    house.put("sessions/b\n.jsonl.lock", SESSION);
    let (code, json, _) = locks(&house, &["--json"]);
    assert_eq!(code, 1);
    let all = entries(&json);
    assert_eq!(all.len(), 2);
    for entry in all {
        assert_eq!((entry["verdict"].as_str(), entry["kind"].as_str()), (Some("orphaned"), Some("session")));
        assert_eq!((entry["pid"].as_i64(), entry["limit_seconds"].as_i64()), (Some(2), Some(1020)));
        let path = entry["location"]["path"].as_str().unwrap();
        match entry["location"]["bytes"].as_str() {
            Some(bytes) => assert!(bytes.ends_with("2f610afffe2e6a736f6e6c2e6c6f636b"), "{bytes}"),
            None => assert!(path.ends_with("/sessions/b\n.jsonl.lock"), "{path:?}"),
        }
        assert!(entry["evidence"].as_array().unwrap().len() >= 7);
    }
    let (_, table, _) = locks(&house, &[]);
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn one_lock_is_explained_step_by_step() {
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    let path = house.path(SESSION_PATH);
    let (code, text, _) = locks(&house, &["--explain", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    for words in
        ["kind: session", "1. what does it say", "pid 2, started at tick 107252", "orphaned: no process"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (code, json, _) = locks(&house, &["--json", "--explain", path.to_str().unwrap()]);
    let entry: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, entry["verdict"].as_str(), entry["pid"].as_i64()), (1, Some("orphaned"), Some(2)));
    let (code, text, log) = locks(&house, &["--explain", "/nowhere/at/all.lock"]);
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(log.contains("no lock that sexton knows"), "{log}");
}

#[test]
fn a_sweep_by_hand_removes_where_nobody_holds_anything() {
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    let (code, text, _) = locks(&house, &["sweep", "--dry-run"]);
    assert!(code == 1 && text.contains(SESSION_PATH) && house.has(SESSION_PATH), "{text}");
    // A gateway lives: it might take over the very lock that is being removed.
    house.put("gateway.x.lock", SESSION);
    let holder = Live::holding(&house.path("gateway.x.lock"));
    let (code, text, _) = locks(&house, &["sweep"]);
    assert!(code == 1 && text.contains("a process holds") && house.has(SESSION_PATH), "{text}");
    drop(holder);
    house.remove("gateway.x.lock");
    // Another sexton is there.
    let other = Sweep::of(&house).noisy().run();
    let (code, text, _) = locks(&house, &["sweep"]);
    assert!(code == 1 && text.contains("another sexton") && house.has(SESSION_PATH), "{text}");
    drop(other);
    let (code, text, log) = locks(&house, &["sweep"]);
    assert_eq!((code, text.as_str()), (0, "1 removed, 0 orphaned left\n"), "{log}");
    assert!(!house.has(SESSION_PATH) && log.contains("lock-removed"), "{log}");
    assert_eq!(locks(&house, &["sweep"]).1, "nothing is orphaned\n");
}

#[test]
fn what_cannot_be_looked_at_is_not_fine() {
    let house = House::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
    let output = command.args(["locks", "--root"]).arg(house.path("nowhere")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"));
    // What cannot be meant is one line that says what.
    for (words, said) in [
        (&["--verdict", "nonsense"][..], "nonsense"),
        (&["swep"], "swep"),
        (&["--dry-run"], "sweep"),
        (&["--explain"], "--explain"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_sexton")).arg("locks").args(words).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{words:?}: {log}");
        assert!(log.contains(said) && log.lines().count() == 1, "{words:?}: {log}");
    }
    // A name that is a program's keeps its meaning behind two dashes.
    let output = Command::new(env!("CARGO_BIN_EXE_sexton")).args(["--", "locks"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
}

#[test]
fn an_operators_rule_in_a_configuration_file_counts_everywhere() {
    let house = House::new();
    let dead = house::dead_pid();
    let file = House::beside(&house);
    let roots = format!("[locks]\nsharing = \"exclusive\"\nroots = [{:?}]\n", house.path(""));
    let rule = "[[locks.rule]]\nname = \"worker\"\npath = \"workers/*.lck\"\nformat = \"json\"\npid = \"owner.pid\"\n";
    file.put("sexton.toml", &(roots + rule));
    let path = file.path("sexton.toml");
    let sexton = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
        let output = command.args(words).env("SEXTON_CONFIG", &path).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    house.put("workers/a.lck", &format!(r#"{{"owner":{{"pid":{dead}}}}}"#));
    let (code, table, _) = sexton(&["locks"]);
    assert!(code == 1 && table.contains("worker"), "{table}");
    let (code, _, log) = sexton(&["--", "true"]);
    assert!(code == 0 && log.contains("lock-removed") && log.contains("kind=worker"), "{log}");
    assert!(!house.has("workers/a.lck"));
    file.put("sexton.toml", "[locks]\nrots = []\n");
    for words in [&["--", "true"][..], &["locks"]] {
        let (code, _, log) = sexton(words);
        assert_eq!(code, 125, "{log}");
        assert!(
            log.contains("sexton.toml, line 2") && log.contains("locks.rots") && log.lines().count() == 1,
            "{log}"
        );
    }
}

/// An operator's locks of every format, with the same pid again in every way.
#[test]
fn an_operators_rules_tell_the_dead_the_living_and_the_recycled() {
    let house = House::new();
    let file = House::beside(&house);
    let rules = [
        "[[locks.rule]]\npath = \"w/*.json\"\nformat = \"json\"\npid = \"owner.pid\"\nstarted = \"owner.start\"\nhost = \"host\"\n",
        "[[locks.rule]]\npath = \"w/*.pid\"\nformat = \"pid\"\n",
        "[[locks.rule]]\npath = \"w/*.link\"\nformat = \"symlink\"\n",
    ];
    file.put(
        "sexton.toml",
        &format!("[locks]\nsharing = 'exclusive'\nroots = [{:?}]\n{}", house.path(""), rules.concat()),
    );
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let (live, corpse, dead) = (Live::idle(), Live::idle().into_corpse(), house::dead_pid());
    let json = |pid, start: u64| format!(r#"{{"owner":{{"pid":{pid},"start":{start}}},"host":"{host}"}}"#);
    let files = [
        ("dead.json", json(dead, 5), "orphaned"),
        ("alive.json", json(live.pid, live.start.0), "held"),
        ("other-start.json", json(live.pid, live.start.0 + 1), "orphaned"),
        ("no-start.json", format!(r#"{{"owner":{{"pid":{}}}}}"#, live.pid), "unclear"),
        ("zombie.json", json(corpse.pid, corpse.start.0), "orphaned"),
        ("no-lock.json", "{}".to_owned(), "unclear"),
        ("dead.pid", format!("{dead}\n"), "orphaned"),
        ("number-in-use.pid", format!("{}\n", live.pid), "unclear"),
        ("zombie.pid", format!("{}\n", corpse.pid), "orphaned"),
    ];
    let links = [
        ("dead.link", format!("{host}-{dead}"), "orphaned"),
        ("number-in-use.link", format!("{host}-{}", live.pid), "unclear"),
        ("zombie.link", format!("{host}-{}", corpse.pid), "orphaned"),
        ("other-container.link", format!("6f2c01ab9d11-{dead}"), "orphaned"),
        ("other-container-in-use.link", format!("6f2c01ab9d11-{}", live.pid), "unclear"),
    ];
    fs::create_dir(house.path("w")).unwrap();
    for (name, content, _) in &files {
        house.put(format!("w/{name}"), content);
    }
    for (name, target, _) in &links {
        std::os::unix::fs::symlink(target, house.path(format!("w/{name}"))).unwrap();
    }
    let expected = files.iter().chain(&links);
    let sexton = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
        command.args(words).env("SEXTON_CONFIG", file.path("sexton.toml")).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), output.stderr)
    };
    // While another sexton is there, a number proves nothing but a life.
    let other = Sweep::of(&house).run();
    let shared = entries(&sexton(&["locks", "--json"]).1);
    assert_eq!(shared.len(), files.len() + links.len());
    for entry in shared {
        let is_alive = entry["location"]["path"].as_str().unwrap().ends_with("/alive.json");
        assert_eq!(entry["verdict"], if is_alive { "held" } else { "unclear" }, "{entry:#}");
    }
    drop(other);
    let (code, json, _) = sexton(&["locks", "--json"]);
    assert_eq!(code, Some(1));
    let all = entries(&json);
    for (name, _, verdict) in expected.clone() {
        let end = format!("/w/{name}");
        let entry =
            all.iter().find(|entry| entry["location"]["path"].as_str().unwrap().ends_with(&end)).unwrap();
        assert_eq!(entry["verdict"].as_str(), Some(*verdict), "{entry:#}");
    }
    // A run removes exactly those.
    let (code, _, log) = sexton(&["-v", "--", "true"]);
    assert_eq!(code, Some(0));
    for (name, _, verdict) in expected {
        let log = String::from_utf8_lossy(&log);
        assert_eq!(house.has(format!("w/{name}")), *verdict != "orphaned", "{name}: {log}");
    }
}

#[test]
fn how_far_a_long_look_has_come_is_said_on_a_terminal() {
    let house = House::new();
    for number in 0..1000 {
        house.put(format!("sessions/{number}.jsonl.lock"), SESSION);
    }
    // Every look at a lock begins with the mount that it lies on; that question takes long once.
    let strace =
        "strace --seccomp-bpf -f -qq -o /dev/null -e trace=statx -e inject=statx:delay_enter=1100000:when=1";
    let strace_is_there = Command::new("sh").args(["-c", &format!("{strace} true")]).output().unwrap().status;
    if !house::there_is("strace", strace_is_there.success(), "how_far_a_long_look_has_come") {
        return;
    }
    let root = house.path("");
    let words = format!("{strace} {} locks --root {}", env!("CARGO_BIN_EXE_sexton"), root.display());
    let output =
        Command::new("script").args(["-qec", &words, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let said = format!("1000 locks looked at in {}", root.display());
    let (at, table) = (text.find(&said), text.find("VERDICT"));
    assert!(at.is_some() && at < table, "{}", text.chars().take(300).collect::<String>());
}

#[test]
fn a_sound_pid_file_of_another_program_is_listed_and_no_warning() {
    let house = House::new();
    let own = House::beside(&house);
    let others = [
        (
            "postmaster.pid",
            "1\n/var/lib/postgresql/data\n1795330765\n5432\n/run/postgresql\n*\n  1 2\nready   \n",
        ),
        ("run/nginx.pid", "1\n2\n"),
        ("gateway.pid", "{\"pid\":1,\"port\":18789}\n"),
    ];
    for (path, content) in others {
        house.put(path, content);
    }
    let sexton = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
        command
            .args(words)
            .args(["--", "true"])
            .env("SEXTON_LOCK_ROOTS", house.path(""))
            .stdin(Stdio::null());
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert_eq!(sexton(&[]), "");
    let detail = sexton(&["-vv"]);
    let (_, table, _) = locks(&house, &["--verdict", "unclear"]);
    for (path, _) in others {
        let is_it = |line: &str| line.contains(path) && line.contains("it is not a pid and nothing else");
        assert!(
            detail.lines().any(|line| line.contains("DEBUG lock-unclear") && is_it(line)),
            "{path}: {detail}"
        );
        assert!(table.lines().any(|line| line.starts_with("unclear") && is_it(line)), "{path}: {table}");
        assert!(house.has(path));
    }
    // What is broken is a warning, and so is what does not fit an operator's own rule.
    house.put("gateway.pid", "{\"pid\":1,");
    house.put("w/own.pid", "1\n2\n");
    own.put("sexton.toml", "[[locks.rule]]\npath = \"w/*.pid\"\nformat = \"pid\"\n");
    let log = sexton(&["--config", own.path("sexton.toml").to_str().unwrap()]);
    for path in ["gateway.pid", "w/own.pid"] {
        let warns = |line: &str| line.contains("WARN lock-unclear") && line.contains(path);
        assert!(log.lines().any(warns), "{path}: {log}");
    }
    // At the start and at the end.
    assert_eq!(log.lines().count(), 4, "{log}");
}
