//! Before the first start: no sexton runs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sexton::os::files::{self, FlockMode};
use tempfile::TempDir;

use crate::common::{helper, root, sexton, skip, unshare};
use crate::report::{Report, command};

/// A machine on which all is well but what a test breaks: a state directory, and an `openclaw` that says its version.
struct Machine {
    home: TempDir,
    line: Vec<String>,
    /// What runs before the doctor, in its namespace.
    before: String,
}

const SESSION: &str = "state/agents/main/sessions/one.jsonl.lock";

impl Machine {
    /// `None`, after a line that says so, where there is none to be had.
    fn new() -> Option<Machine> {
        let mut line = unshare()?;
        line.extend(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned));
        let machine = Machine { home: tempfile::tempdir().unwrap(), line, before: String::new() };
        fs::create_dir_all(machine.path(SESSION).parent().unwrap()).unwrap();
        fs::write(machine.path("state/openclaw.json"), "{}").unwrap();
        machine.openclaw("echo OpenClaw 2026.9.6");
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// An `openclaw` that does this.
    fn openclaw(&self, script: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        let path = self.path("bin/openclaw");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("sexton.toml"), text).unwrap();
    }

    fn doctor(&self, sexton: &Path, words: &[&str]) -> Command {
        let mut line = self.line.clone();
        let script = format!("{} exec \"$@\"", self.before);
        line.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        line.extend([sexton.to_str().unwrap(), "doctor"].map(str::to_owned));
        line.extend(words.iter().map(|word| (*word).to_owned()));
        let mut command = command(&line, self.home.path());
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("OPENCLAW_STATE_DIR", self.path("state"));
        command
    }

    /// Asks with these words, and for an OpenClaw gateway.
    #[track_caller]
    fn asked(&self, words: &[&str]) -> Report {
        let usual = ["--json", "--stop-timeout", "400s", "--grace", "330s"];
        let words = [&usual[..], words, &["--", "openclaw", "gateway", "run"]].concat();
        Report::of(&mut self.doctor(&sexton(), &words))
    }
}

/// The lock of an owner that is dead.
fn orphan(machine: &Machine) {
    fs::write(machine.path(SESSION), r#"{"pid":4194303,"createdAt":"2026-11-22T06:59:25.232Z"}"#).unwrap();
}

#[test]
fn where_all_is_well_it_says_so_at_once() {
    let Some(machine) = Machine::new() else { return };
    let report = Report::in_a_second(|| machine.asked(&[]));
    report.finds_nothing();
    // The lines for people are the same, one a check and folded, and end with a sum.
    let mut doctor =
        machine.doctor(&sexton(), &["--stop-timeout=400s", "--grace=330s", "--", "openclaw", "gateway"]);
    let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(said.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), report.findings.len() + 1, "{said}");
    assert_eq!(lines.last(), Some(&"all is well"));
    assert!(lines.iter().rev().skip(1).all(|line| line.starts_with("ok       ")), "{said}");
}

#[test]
fn a_configuration_that_no_start_would_survive() {
    let Some(machine) = Machine::new() else { return };
    machine.configure("[restart]\nlimmit = 3\n");
    let path = machine.path("sexton.toml");
    // The rest is looked at as without settings, which is no command at all.
    let report = machine.asked(&["--config", path.to_str().unwrap()]);
    report.finds(&["problem configuration"], &["did you mean 'limit'?", "line 2"]);
}

#[test]
fn a_command_that_is_not_there_and_one_that_may_not_run() {
    let Some(machine) = Machine::new() else { return };
    fs::remove_file(machine.path("bin/openclaw")).unwrap();
    machine.asked(&[]).finds(&["problem gateway"], &["openclaw is not found", "127"]);
    machine.openclaw("true");
    fs::set_permissions(machine.path("bin/openclaw"), fs::Permissions::from_mode(0o644)).unwrap();
    machine.asked(&[]).finds(&["problem gateway"], &["cannot be executed", "126", "chmod +x"]);
}

#[test]
fn lock_roots_that_are_none() {
    let Some(machine) = Machine::new() else { return };
    let (nowhere, link) = (machine.path("nowhere"), machine.path("link"));
    symlink(machine.path("state"), &link).unwrap();
    let report = machine.asked(&["--lock-root", nowhere.to_str().unwrap()]);
    report.finds(&["problem lock root"], &["does not exist"]);
    let report = machine.asked(&["--lock-root", link.to_str().unwrap()]);
    report.finds(&["problem lock root"], &["symbolic link", "which is not followed"]);
}

#[test]
fn a_lock_root_that_cannot_be_written() {
    if !root() {
        return skip("root", "a read-only mount");
    }
    let Some(mut machine) = Machine::new() else { return };
    let state = machine.path("state");
    let state = state.display();
    machine.before = format!("mount --bind '{state}' '{state}' && mount -o remount,bind,ro '{state}' &&");
    machine.asked(&[]).finds(&["problem lock root"], &["cannot be written", "read-write"]);
}

#[test]
fn a_lock_of_the_dead() {
    let Some(machine) = Machine::new() else { return };
    orphan(&machine);
    machine
        .asked(&[])
        .finds(&["warning locks"], &["a lock of the dead", "one.jsonl.lock", "sexton locks sweep"]);
}

#[test]
fn a_state_directory_that_another_sexton_uses() {
    let Some(machine) = Machine::new() else { return };
    let open =
        File::options().read(true).write(true).create_new(true).open(machine.path("state/.sexton.lock"));
    let registered = open.unwrap();
    assert!(files::hold(registered.as_fd(), FlockMode::Shared).unwrap());
    machine.asked(&[]).finds(&["warning lock root"], &["used by another sexton"]);
    drop(registered);
    machine.asked(&[]).finds_nothing();
}

#[test]
fn a_state_directory_that_hangs() {
    if !root() || !Path::new("/dev/fuse").exists() {
        return skip("root and /dev/fuse", "modprobe fuse");
    }
    let Some(mut machine) = Machine::new() else { return };
    let hung = machine.path("hung");
    fs::create_dir(&hung).unwrap();
    let hung = hung.to_str().unwrap();
    // A file system whose server never says a word: every question waits for ever.
    machine.before = format!(
        "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none '{hung}' &&"
    );
    let report = machine.asked(&["--lock-root", hung, "--deadline", "500ms"]);
    report.finds(&["problem doctor"], &["did not answer within 500ms", hung]);
    assert!(report.took > Duration::from_millis(500) && report.took < Duration::from_secs(10), "{report:#?}");
}

#[test]
fn a_port_that_takes_connections_and_never_answers() {
    let Some(machine) = Machine::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    machine.configure(&format!("[health]\nurl = ['http://127.0.0.1:{port}/healthz']\n"));
    let path = machine.path("sexton.toml");
    let report = machine.asked(&["--config", path.to_str().unwrap(), "--deadline", "500ms"]);
    // Its holder lives outside the namespace, where no process is visible.
    report.finds(
        &["problem health", "problem leftovers"],
        &["no answer within", "event loop stands", "[health] action"],
    );
    assert!(report.took < Duration::from_secs(10), "{report:#?}");
}

#[test]
fn a_command_line_that_never_returns() {
    let Some(machine) = Machine::new() else { return };
    machine.openclaw("trap '' TERM; sleep 1000; sleep 1000");
    let report = machine.asked(&["--deadline", "200ms"]);
    report.finds(&["problem gateway version"], &["said nothing within 1s"]);
    assert!(report.took < Duration::from_secs(15), "{report:#?}");
}

#[test]
fn releases_with_known_bugs_and_configurations_that_were_cut_short() {
    let Some(machine) = Machine::new() else { return };
    machine.openclaw("echo OpenClaw 2026.5.22");
    let known = ["warning known bugs"; 4];
    machine.asked(&[]).finds(&known, &["#86014", "#86031", "hand-over"]);
    machine.openclaw("echo OpenClaw 2026.9.6");
    fs::write(machine.path("state/openclaw.json"), "").unwrap();
    machine.asked(&[]).finds(&["problem gateway config"], &["is empty", "openclaw.json.bak"]);
}

#[test]
fn windows_that_nobody_waits_for() {
    let Some(machine) = Machine::new() else { return };
    let words = ["--json", "--stop-timeout", "10s", "--", "openclaw", "gateway", "run"];
    let report = Report::of(&mut machine.doctor(&sexton(), &words));
    let wrong = ["problem stop windows", "warning stop windows"];
    report.finds(&wrong, &["kills after 10s", "need up to 42s", "drains for up to 5m 25s"]);
}

#[test]
fn tools_that_are_to_be_managed_without_a_shell_to_do_it() {
    let Some(machine) = Machine::new() else { return };
    // Alone in a directory, without the link that the build's may have.
    for program in ["sexton", "sexton-watch"] {
        fs::copy(sexton().with_file_name(program), machine.path("bin").join(program)).unwrap();
    }
    let mut doctor = machine.doctor(
        &machine.path("bin/sexton"),
        &["--json", "--stop-timeout=400s", "--grace=330s", "--tool-shell", "--", "openclaw", "gateway"],
    );
    let path = format!("{}:/usr/bin:/bin", machine.path("bin").display());
    Report::of(doctor.env("PATH", path)).finds(&["problem tool shell"], &["neither beside sexton", "ln -s"]);
}

#[test]
fn an_earlier_gateway_that_still_runs() {
    let Some(mut machine) = Machine::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    machine.configure(&format!("[health]\nurl = ['http://127.0.0.1:{port}/healthz']\n"));
    let (state, log) = (machine.path("state"), machine.path("log"));
    machine.before = format!(
        "'{}' {port} '{}' '{}' >'{}' & until grep -q up '{}'; do sleep 0.01; done;",
        helper("gateway"),
        state.display(),
        log.display(),
        machine.path("up").display(),
        machine.path("up").display()
    );
    File::create(machine.path("up")).unwrap();
    let path = machine.path("sexton.toml");
    let report = machine.asked(&["--config", path.to_str().unwrap()]);
    let words = [&format!("port {port} is held by pid ")[..], "gateway, with no sexton above"];
    report.finds(&["problem leftovers"], &words);
}

#[test]
fn everything_that_hangs_at_once_is_cut_short_by_the_time_for_all() {
    let Some(machine) = Machine::new() else { return };
    machine.openclaw("sleep 1000");
    let report = machine.asked(&["--deadline", "60s", "--total", "1500ms"]);
    assert!(report.took < Duration::from_secs(15), "{report:#?}");
    assert!(report.wrong().iter().all(|wrong| wrong == "problem doctor"), "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding[2].contains("gateway version")), "{report:#?}");
    assert!(report.findings.last().unwrap()[2].contains("was not looked at"), "{report:#?}");
}

#[test]
fn without_the_program_that_does_it_one_line_says_so() {
    let home = tempfile::tempdir().unwrap();
    let lone = home.path().join("sexton");
    fs::copy(sexton(), &lone).unwrap();
    for word in ["doctor", "measure"] {
        let run = Command::new(&lone).arg(word).env_clear().stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!((run.status.code(), said.lines().count()), (Some(125), 1), "{said}");
        assert!(said.contains("sexton-watch, which is neither beside sexton nor in PATH"), "{said}");
    }
}

#[test]
fn a_word_that_it_does_not_know_is_refused_in_one_line() {
    let run = |words: &[&str]| {
        let run = Command::new(sexton()).arg("doctor").args(words).stdin(Stdio::null()).output().unwrap();
        (run.status.code(), String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap())
    };
    let (code, _, said) = run(&["--deadline", "soon"]);
    assert!(
        code == Some(125) && said.contains("takes a duration such as 2s") && said.lines().count() == 1,
        "{said}"
    );
    let (code, said, _) = run(&["--help"]);
    assert!(code == Some(0) && said.contains("sexton doctor") && said.lines().count() <= 30, "{said}");
}
