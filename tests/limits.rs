//! Few descriptors, little memory, a full disk: what is promised holds, and where something cannot be had that is said.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure must be loud")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use common::cgroup::Cgroup;
use common::process::send;
use common::victim::{Mode, plan};
use common::{root, sexton, skip, unshare, wait_until};

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

/// A life that says whether the lock of the one before it is still there, and takes it.
const LIFE: &str = r#"test -e "$0/one.jsonl.lock" && echo stale >>"$0/../lives" || echo clean >>"$0/../lives"
    echo "{\"pid\":$$,\"createdAt\":\"2026-11-22T06:59:25.232Z\"}" >"$0/one.jsonl.lock"; exec sleep 1000"#;

/// Sets a limit of a process of this user's, with what it may be raised to.
fn prlimit(user: u32, pid: i32, limit: &str) {
    let user = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    let raise = ["prlimit", "--pid", &pid.to_string(), limit];
    assert!(Command::new("setpriv").args(user).args(raise).status().unwrap().success(), "{limit}");
}

/// The number that is one above the lowest which no descriptor of this process has.
fn one_more_descriptor(pid: i32) -> u32 {
    let taken = |number: u32| Path::new(&format!("/proc/{pid}/fd/{number}")).symlink_metadata().is_ok();
    (0..).find(|number| !taken(*number)).unwrap() + 1
}

#[test]
fn a_restart_waits_for_its_sweep_where_a_cgroup_has_no_process_to_give() {
    a_restart_waits("pids");
}

#[test]
fn a_restart_waits_for_its_sweep_where_the_user_has_too_many_processes() {
    a_restart_waits("nproc");
}

#[test]
fn a_restart_waits_for_its_sweep_where_there_is_no_descriptor() {
    a_restart_waits("nofile");
}

fn a_restart_waits(way: &str) {
    if !root() {
        return skip("root", "a user of its own, and limits that are changed from outside");
    }
    let Some(group) = Cgroup::with_pids_limit(100) else { return };
    let (Some(plan), pids_max) = (plan(Mode::Tree), group.pids_max()) else { return };
    let (state, config) = (plan.path("state"), plan.path("sexton.toml"));
    fs::create_dir(&state).unwrap();
    fs::write(&config, "restart = { on = 'always', delay = '1ms' }\n").unwrap();
    let plan = plan.variable("SEXTON_CONFIG", &config);
    let plan = if way == "nproc" {
        // Root knows no such limit.
        chown(&state, Some(23_458), Some(23_458)).unwrap();
        plan.by_user(23_458)
    } else {
        plan.inside(group)
    };
    let plan = plan.options(["-vv", "--sweep-timeout", "1s", "--lock-root", &state]);
    let mut victim = plan.run(["sh", "-c", LIFE, &state]);
    let lock = format!("{state}/one.jsonl.lock");
    wait_until("the lock is taken", || fs::metadata(&lock).is_ok_and(|meta| meta.len() > 0));
    let (main, pid) = (victim.main().pid, victim.pid());
    match way {
        "pids" => fs::write(&pids_max, "1").unwrap(),
        "nproc" => prlimit(23_458, pid, "--nproc=1:1000"),
        _ => prlimit(0, pid, &format!("--nofile={}:1000", one_more_descriptor(pid))),
    }
    send(main, 9).unwrap();
    // More often than the end or a first start would wait for.
    wait_until("it is tried again and again", || victim.stderr().matches(" sweep-failed: ").count() >= 7);
    let said = victim.stderr();
    assert_eq!(said.matches(" sweep-retry: ").count(), 1, "{said}");
    assert!(fs::exists(&lock).unwrap(), "{said}");
    assert_eq!(victim.read("lives"), "clean\n", "{said}");
    match way {
        "pids" => fs::write(&pids_max, "max").unwrap(),
        "nproc" => prlimit(23_458, pid, "--nproc=1000:1000"),
        _ => prlimit(0, pid, "--nofile=1000:1000"),
    }
    wait_until("it lives again", || victim.read("lives").lines().count() == 2);
    assert_eq!(victim.read("lives"), "clean\nclean\n", "{}", victim.stderr());
    victim.signal(15);
    victim.ends_with(143);
}

#[test]
fn a_stop_ends_the_waiting_for_a_sweep() {
    let Some(group) = Cgroup::with_pids_limit(100) else { return };
    let (Some(plan), pids_max) = (plan(Mode::Tree), group.pids_max()) else { return };
    let (state, config) = (plan.path("state"), plan.path("sexton.toml"));
    fs::create_dir(&state).unwrap();
    fs::write(&config, "restart = { on = 'always', delay = '1ms' }\n").unwrap();
    let plan = plan.variable("SEXTON_CONFIG", &config).inside(group);
    let mut victim = plan.options(["--lock-root", &state]).run(["sh", "-c", LIFE, &state]);
    let lock = format!("{state}/one.jsonl.lock");
    wait_until("the lock is taken", || fs::metadata(&lock).is_ok_and(|meta| meta.len() > 0));
    let main = victim.main().pid;
    fs::write(&pids_max, "1").unwrap();
    send(main, 9).unwrap();
    wait_until("it waits", || victim.stderr().contains(" sweep-retry: "));
    victim.signal(15);
    victim.ends_with(137);
    assert_eq!(victim.read("lives"), "clean\n");
    assert!(victim.stderr().contains("locks may be left until the next sweep"), "{}", victim.stderr());
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
