//! One lock root and the sextons of several users, in turn and at once: whatever user made `.sexton.lock`, each sees
//! the others, and none is shut out.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use house::{House, is_root, there_is};
use sexton::os::files::{FlockMode, hold};
use std::os::fd::AsFd;
use std::sync::Mutex;

/// sexton as this user of this group, with the house as its only root.
fn sexton(house: &House, uid: u32, gid: u32) -> Command {
    let mut command = Command::new("setpriv");
    let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
    command.args(ids).args(["--clear-groups", env!("CARGO_BIN_EXE_sexton"), "-vv", "--control", "off"]);
    command.arg("--lock-root").arg(house.path("")).arg("--").stdin(Stdio::null());
    command
}

/// What a whole run of it says.
fn log_of(house: &House, uid: u32, gid: u32) -> String {
    let output = sexton(house, uid, gid).arg("true").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

fn swept_alone(log: &str) -> bool {
    log.contains("root-swept") && log.contains("alone=true") && !log.contains("root-unregistered")
}

fn mode_of(house: &House) -> u32 {
    fs::metadata(house.path(".sexton.lock")).unwrap().mode() & 0o7777
}

#[test]
fn users_in_turn_are_alone_each_in_its_turn_and_together_none_is() {
    if !is_root("users_in_turn: changes its user") {
        return;
    }
    // As /tmp, and as a volume of Kubernetes with fsGroup.
    for (gid, mode) in [(0, 0o1777), (1000, 0o2775)] {
        for order in [[1001, 1002, 0], [0, 1002, 1001]] {
            let house = House::new();
            chown(house.path(""), Some(0), Some(gid)).unwrap();
            fs::set_permissions(house.path(""), Permissions::from_mode(mode)).unwrap();
            for uid in order {
                let log = log_of(&house, uid, 1000);
                assert!(swept_alone(&log), "{mode:o} {order:?} {uid}: {log}");
            }
            assert_eq!(mode_of(&house), 0o644);
            assert_eq!(fs::metadata(house.path(".sexton.lock")).unwrap().uid(), order[0]);

            let gate = ["sh", "-c", "echo ready; read -r _ || true"];
            let mut first = sexton(&house, order[1], 1000);
            let first = first.args(gate).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut first = first.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            let log = log_of(&house, order[2], 1000);
            assert!(log.contains("another sexton uses the lock root") && !swept_alone(&log), "{log}");
            drop(first.stdin.take());
            assert!(first.wait().unwrap().success());
            assert!(swept_alone(&log_of(&house, order[2], 1000)));
        }
    }
}

#[test]
fn a_file_that_root_has_made_in_a_users_directory_shuts_nobody_out() {
    if !is_root("a_file_that_root_has_made: changes its user") {
        return;
    }
    let house = House::new();
    fs::write(house.path(".sexton.lock"), "").unwrap();
    fs::set_permissions(house.path(".sexton.lock"), Permissions::from_mode(0o644)).unwrap();
    chown(house.path(""), Some(1000), Some(1000)).unwrap();
    for uid in [1000, 0, 1000] {
        let log = log_of(&house, uid, uid);
        assert!(swept_alone(&log), "{uid}: {log}");
    }
}

/// Nothing can be written to the file as long as this lives (chattr(1)).
struct Immutable(PathBuf);

impl Immutable {
    fn make(path: PathBuf) -> Option<Immutable> {
        let done = Command::new("chattr").arg("+i").arg(&path).output();
        done.is_ok_and(|output| output.status.success()).then_some(Immutable(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).status();
    }
}

#[test]
fn a_file_that_cannot_be_changed_is_held_all_the_same() {
    if !is_root("a_file_that_cannot_be_changed: makes a file immutable") {
        return;
    }
    let house = House::new();
    fs::write(house.path(".sexton.lock"), "").unwrap();
    fs::set_permissions(house.path(".sexton.lock"), Permissions::from_mode(0o644)).unwrap();
    chown(house.path(""), Some(1000), Some(1000)).unwrap();
    let immutable = Immutable::make(house.path(".sexton.lock"));
    if !there_is("chattr +i in the directory for temporary files", immutable.is_some(), "an immutable file") {
        return;
    }
    for uid in [0, 1000] {
        let log = log_of(&house, uid, uid);
        assert!(swept_alone(&log), "{uid}: {log}");
    }
    let other = fs::File::open(house.path(".sexton.lock")).unwrap();
    assert!(hold(other.as_fd(), FlockMode::TryShared).unwrap());
    assert!(!swept_alone(&log_of(&house, 1000, 1000)));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_cause_and_its_mend() {
    if !is_root("a_file_that_cannot_be_used: changes its user") {
        return;
    }
    let house = House::new();
    chown(house.path(""), Some(1000), Some(1000)).unwrap();
    fs::write(house.path(".sexton.lock"), "").unwrap();
    fs::set_permissions(house.path(".sexton.lock"), Permissions::from_mode(0o600)).unwrap();
    let line = |log: &str| {
        let line = log.lines().find(|line| line.contains("root-unregistered"));
        line.unwrap_or_else(|| panic!("{log}")).to_owned()
    };
    let said = line(&log_of(&house, 1000, 1000));
    for words in ["user 0", "0600", "user 1000 may not read it", "set its mode to 0644"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    fs::remove_file(house.path(".sexton.lock")).unwrap();
    fs::set_permissions(house.path(""), Permissions::from_mode(0o555)).unwrap();
    let said = line(&log_of(&house, 1000, 1000));
    for words in ["user 1000 may make no file", "0644"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_files_mode_is_0644_whatever_the_umask() {
    let house = House::new();
    let run = "umask 077; exec \"$0\" --control off --lock-root \"$1\" -- true";
    let mut command = Command::new("sh");
    command.args(["-c", run, env!("CARGO_BIN_EXE_sexton")]).arg(house.path(""));
    assert!(command.status().unwrap().success());
    assert_eq!(mode_of(&house), 0o644);
}

#[test]
fn who_comes_in_the_middle_of_a_sweep_is_seen_before_the_next_removal() {
    let house = House::new();
    // Of a kind that its owner does not keep open: only the absence of all others speaks for its removal.
    let dead = house::dead_pid().to_string();
    let names = ["a.pid", "b.pid", "c.pid"];
    for name in names {
        house.put(name, &dead);
    }
    let newcomer = Mutex::new(None);
    let path = house.path(".sexton.lock");
    let report = house::Sweep::of(&house)
        .during(move |event| {
            if event == "lock-removed" {
                let file = fs::File::open(&path).unwrap();
                assert!(hold(file.as_fd(), FlockMode::TryShared).unwrap());
                *newcomer.lock().unwrap() = Some(file);
            }
        })
        .run();
    assert_eq!((report.removed, report.unclear), (1, 2), "{}", report.log());
    assert_eq!(names.iter().filter(|name| house.has(name)).count(), 2);
    let line = &report.lines("lock-unclear")[0];
    assert!(line["message"].contains("another sexton has just come"), "{}", report.log());
}
