//! Few descriptors, little memory, a full disk: what is promised holds, and where something cannot be had that is said.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure must be loud")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use common::victim::{Mode, plan};
use common::{root, sexton, skip, unshare};

/// A session lock of a process that no kernel ever had.
const LOCK: &str = r#"{"pid":4194304,"createdAt":"2026-11-22T06:59:25.232Z","starttime":1}"#;

#[test]
fn sixteen_descriptors_and_little_memory_are_enough() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { continue };
        let root = plan.path("state");
        fs::create_dir(&root).unwrap();
        fs::write(format!("{root}/one.jsonl.lock"), LOCK).unwrap();
        let limits = ["prlimit", "--nofile=16:16", "--as=67108864:67108864", "--fsize=65536:65536"];
        let mut victim = plan.through(limits).options(["--lock-root", &root]).run([
            "sh",
            "-c",
            "setsid sleep 1000 & ls \"$0\"; exit 7",
            &root,
        ]);
        victim.ends_with(7);
        assert_eq!(victim.stdout(), "", "{mode:?}: the lock is gone before the command runs");
    }
}

/// A crowd of locks is shared between two threads, of which a user's limit on processes counts each.
#[test]
fn where_no_thread_can_be_had_every_lock_of_a_crowd_goes_all_the_same() {
    if !root() {
        return skip("root", "a directory of another user's, and his limit on processes");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let state = plan.path("state");
    fs::create_dir(&state).unwrap();
    for number in 0..300 {
        fs::write(format!("{state}/{number}.jsonl.lock"), LOCK).unwrap();
    }
    chown(&state, Some(23_457), Some(23_457)).unwrap();
    let mut victim =
        plan.through(["prlimit", "--nproc=1:1"]).options(["--lock-root", &state]).run(["ls", &state]);
    victim.ends_with(0);
    assert_eq!(victim.stdout(), "", "{}", victim.stderr());
    assert_eq!(victim.stderr().matches(" lock-removed: ").count(), 300, "{}", victim.stderr());
}

#[test]
fn on_a_disk_that_has_room_for_nothing_a_dead_lock_goes_all_the_same() {
    if unshare().is_none() {
        return;
    }
    let Some(plan) = plan(Mode::Pid1) else { return };
    let place = plan.path("full");
    fs::create_dir(&place).unwrap();
    // One inode is the directory's, one the lock's and one that of what fills the rest.
    let fill = format!(
        "mount -t tmpfs -o size=64k,nr_inodes=3 none '{place}' && echo '{LOCK}' >'{place}/one.jsonl.lock' \
         && ! cat /dev/zero >'{place}/rest' 2>/dev/null && exec \"$@\""
    );
    let mut victim = plan
        .through(["unshare", "--mount", "sh", "-c", &fill, "sh"])
        .options(["--lock-root", &place])
        .run(["ls", &place]);
    victim.ends_with(0);
    let said = victim.stderr();
    assert_eq!(victim.stdout(), "rest\n", "{said}");
    assert!(said.contains(" lock-removed: ") && said.contains(" root-unregistered: "), "{said}");
}

#[test]
fn a_log_and_a_record_that_cannot_be_written_change_no_exit_code() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let mut command = Command::new(sexton());
    let run = command.args(["-vvv", "--control", "off", "--no-locks", "--", "sh", "-c", "exit 5"]);
    assert_eq!(run.stdout(full()).stderr(full()).status().unwrap().code(), Some(5));

    let mut tool = Command::new(sexton());
    let told =
        tool.args(["tool", "-v", "--record", "/dev/full", "--", "sh", "-c", "exit 3"]).output().unwrap();
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(3), "{said}");
    let wrong: Vec<&str> = said.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert!(wrong.len() == 1 && wrong.concat().contains("No space left on device"), "{said}");
}
