//! The freeze while a lock is removed beside a living tree: which processes are stopped, that none notices, and that
//! all are continued whatever happens.
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
use std::path::Path;
use std::time::Instant;

use common::log::events;
use common::process::{children, look, send};
use common::pty::Shell;
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, PATIENCE, helper, root, skip, wait_until};

const KILL: i32 = 9;
const TERM: i32 = 15;

/// In a shell whose `$1` is the root: leaves the lock `$2` behind, as an orphan that was killed.
const LEAVE_A_LOCK: &str = "leave() { (setsid \"$0\" dies \"$1/sessions/$2.jsonl.lock\" </dev/null &); }";

/// A victim whose main process is a shell that runs `script` and then waits for ever.
fn run(plan: Plan, script: &str) -> Victim {
    let state = plan.path("state");
    fs::create_dir_all(Path::new(&state).join("sessions")).unwrap();
    let plan = plan.options(["-v", "--log-format", "json", "--kill-after", NEVER, "--lock-root", &state]);
    let script = format!("{LEAVE_A_LOCK}; {script}\necho up; while :; do sleep 1000; done");
    let mut victim = plan.run(["sh", "-c", &script, &helper("holds_lock"), &state]);
    victim.says("up");
    victim
}

fn wait_for(victim: &Victim, event: &str) {
    wait_until(&format!("it says {event}"), || !events(&victim.stderr(), event).is_empty());
}

fn stopped(victim: &Victim) -> Vec<i32> {
    victim.live().into_iter().filter(|process| process.state == 'T').map(|process| process.pid).collect()
}

#[test]
fn everybody_stands_still_for_the_removal_and_whoever_was_stopped_before_stays_so() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { continue };
        let script = "sleep 1001 & setsid sh -c 'sleep 1002; :' & sleep 1003 & \
                  until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!; leave \"$1\" one";
        let mut victim = run(plan, script);
        wait_for(&victim, "tree-frozen");
        let log = victim.stderr();
        assert_eq!(events(&log, "lock-removed").len(), 1, "{log}");
        assert!(!victim.path("state/sessions/one.jsonl.lock").exists());
        // The main shell and its sleep, the first sleep, the shell in a session of its own and its sleep.
        let stood = &events(&log, "tree-frozen")[0].fields;
        assert_eq!(stood["processes"], 5, "{mode:?}: {log}");
        let left = stopped(&victim);
        assert_eq!(left.len(), 1, "{mode:?}: {left:?}");
        let line = fs::read(format!("/proc/{}/cmdline", left[0])).unwrap();
        assert_eq!(line, b"sleep\x001003\0", "{mode:?}");
        victim.signal(TERM);
        victim.ends_with(128 + TERM);
    }
}

#[test]
fn a_shell_with_job_control_does_not_notice() {
    let mut shell = Shell::start();
    let state = shell.path("state");
    fs::create_dir_all(state.join("sessions")).unwrap();
    let (lock, said) = (state.join("sessions/one.jsonl.lock"), shell.path("said"));
    shell.line("$S -v --lock-root state -- bash --norc --noprofile --noediting -i 2>said");
    wait_until("the inner shell prompts", || fs::read_to_string(&said).is_ok_and(|text| text.contains("$ ")));
    shell.line("sleep 1001 & sleep 1002 | cat & echo jobs$((1))");
    shell.sees("jobs1");
    let leave = format!("(setsid {} dies state/sessions/one.jsonl.lock </dev/null &)", helper("holds_lock"));
    shell.line(&leave);
    wait_until("the lock is gone again", || {
        fs::read_to_string(&said).is_ok_and(|text| text.contains("tree-frozen"))
    });
    assert!(!lock.exists());
    // A shell tells of a change of its jobs before the next prompt.
    shell.line("echo running$(jobs -r | wc -l) stopped$(jobs -s | wc -l)");
    shell.sees("running2 stopped0");
    let said = fs::read_to_string(&said).unwrap();
    assert!(!said.contains("Stopped"), "{said}");
}

/// Runs a tree that takes a while to be stopped, and calls `meanwhile` while a part of it stands still.
fn interrupted(mode: Mode, meanwhile: impl FnOnce(&mut Victim, i32)) -> Option<Victim> {
    let script = "i=0; while [ $i -lt 200 ]; do setsid sleep 1001 & i=$((i + 1)); done; leave \"$1\" one";
    let mut victim = run(plan(mode)?, script);
    let (main, sexton) = (victim.main().pid, victim.pid());
    let end = Instant::now() + PATIENCE;
    while look(main).is_none_or(|process| process.state != 'T') {
        assert!(Instant::now() < end, "no process is stopped: {}", victim.stderr());
    }
    meanwhile(&mut victim, sexton);
    wait_until("all processes are continued", || stopped(&victim).is_empty());
    Some(victim)
}

#[test]
fn when_sexton_is_killed_meanwhile_nobody_stays_stopped() {
    // In a pid namespace they all end with it.
    for mode in [Mode::Tree, Mode::Cgroup] {
        let Some(victim) = interrupted(mode, |_, sexton| send(sexton, KILL).unwrap()) else { continue };
        // The main process dies with sexton. Its own sleep is the rest of its process group, to which the kernel
        // sends SIGHUP if a member is stopped when the group becomes an orphan, and else nothing (setpgid(2)).
        wait_until("the guard and the main process have gone, and the others live on", || {
            let live = victim.live();
            let lines =
                live.iter().filter_map(|process| fs::read(format!("/proc/{}/cmdline", process.pid)).ok());
            let (others, rest): (Vec<_>, Vec<_>) = lines.partition(|line| line == b"sleep\x001001\0");
            others.len() == 200 && rest.iter().all(|line| line == b"sleep\x001000\0")
        });
    }
}

#[test]
fn when_the_sweep_is_killed_meanwhile_everybody_goes_on() {
    for mode in Mode::PID1_AND_NOT {
        let kill = |_: &mut Victim, sexton| {
            let name = look(sexton).unwrap().name;
            for child in children(sexton).into_iter().filter(|child| child.name == name) {
                let _ = send(child.pid, KILL);
            }
        };
        let Some(mut victim) = interrupted(mode, kill) else { continue };
        victim.signal(TERM);
        victim.ends_with(128 + TERM);
    }
}

#[test]
fn a_stop_signal_and_the_death_of_the_main_process_end_it() {
    for mode in Mode::PID1_AND_NOT {
        let Some(mut victim) = interrupted(mode, |_, sexton| send(sexton, TERM).unwrap()) else { continue };
        victim.ends_with(128 + TERM);
        assert!(!victim.path("state/sessions/one.jsonl.lock").exists());
        let kill = |victim: &mut Victim, _| send(victim.main().pid, KILL).unwrap();
        let Some(mut victim) = interrupted(mode, kill) else { continue };
        victim.ends_with(128 + KILL);
        assert!(!victim.path("state/sessions/one.jsonl.lock").exists());
    }
}

#[test]
fn too_large_a_tree_is_not_held_up_and_the_lock_waits_for_its_end() {
    let Some(plan) = plan(Mode::Pid1) else { return };
    let script = "i=0; while [ $i -lt 520 ]; do sleep 1001 & i=$((i + 1)); done; leave \"$1\" one";
    let mut victim = run(plan, script);
    wait_for(&victim, "freeze-failed");
    let log = victim.stderr();
    assert!(log.contains("more than 512 are not stopped"), "{log}");
    assert!(events(&log, "lock-removed").is_empty() && stopped(&victim).is_empty(), "{log}");
    victim.signal(TERM);
    victim.ends_with(128 + TERM);
    assert!(!victim.path("state/sessions/one.jsonl.lock").exists());
}

#[test]
fn whom_sexton_may_not_stop_keeps_the_lock_waiting_and_it_is_tried_again() {
    if !root() {
        return skip("root", "a process of another user below an unprivileged sexton");
    }
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let Some(plan) = plan(Mode::Pid1) else { return };
    // What su and its like do: a program that becomes root for good.
    let setpriv = plan.path("setpriv");
    fs::copy("/usr/bin/setpriv", &setpriv).unwrap();
    fs::set_permissions(&setpriv, fs::Permissions::from_mode(0o4755)).unwrap();
    // The build directory may be closed to that user.
    let copies =
        [helper("holds_lock"), common::sexton().into_os_string().into_string().unwrap()].map(|from| {
            let to = plan.path(Path::new(&from).file_name().unwrap().to_str().unwrap());
            fs::copy(from, &to).unwrap();
            to
        });
    let state = plan.path("state");
    fs::create_dir_all(format!("{state}/sessions")).unwrap();
    for path in [state.clone(), format!("{state}/sessions")] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    let script = format!(
        "{LEAVE_A_LOCK}; '{setpriv}' --reuid=0 --clear-groups sleep 1001 & leave \"$1\" one; echo up; wait"
    );
    let words = ["--reuid=1000", "--regid=1000", "--clear-groups"];
    let plan = plan.through(["setpriv", words[0], words[1], words[2]]);
    let plan = plan.instead(&copies[1]).options(["-v", "--log-format", "json", "--lock-root", &state]);
    let mut victim = plan.run(["sh", "-c", &script, &copies[0], &state]);
    victim.says("up");
    wait_until("it is tried again", || events(&victim.stderr(), "freeze-failed").len() >= 2);
    let log = victim.stderr();
    assert!(log.contains("may not be stopped by us"), "{log}");
    assert!(events(&log, "lock-removed").is_empty() && stopped(&victim).is_empty(), "{log}");
}

#[test]
fn whom_a_proc_with_hidepid_may_hide_nobody_is_stopped_and_the_lock_waits() {
    if !root() {
        return skip("root", "a /proc that hides the processes of other users");
    }
    use std::os::unix::fs::chown;
    let Some(plan) = plan(Mode::Pid1) else { return };
    let state = plan.path("state");
    fs::create_dir_all(format!("{state}/sessions")).unwrap();
    for path in [state.clone(), format!("{state}/sessions")] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    let holds_lock = plan.path("holds_lock");
    fs::copy(helper("holds_lock"), &holds_lock).unwrap();
    // What a lock of one of root's processes says, of a kind whose owner does not keep it open.
    let cache = format!("{state}/agents/main/sessions");
    fs::create_dir_all(&cache).unwrap();
    fs::write(format!("{cache}/.usage-cost-cache.json.lock"), r#"{"pid":2,"startedAt":5}"#).unwrap();
    for path in [&format!("{cache}/.usage-cost-cache.json.lock"), &cache] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    // The second process of the namespace is root's; sexton takes the place of the first.
    let script = "sleep 1001 & mount -o remount,hidepid=2 /proc && exec \"$@\"";
    let plan = plan.through(["sh", "-c", script, "sh"]).by_user(1000);
    let plan = plan.options(["-v", "--log-format", "json", "--lock-root", &state]);
    let script = format!("{LEAVE_A_LOCK}; leave \"$1\" one; echo up; while :; do sleep 1000; done");
    let mut victim = plan.run(["sh", "-c", &script, &holds_lock, &state]);
    victim.says("up");
    wait_for(&victim, "freeze-failed");
    let log = victim.stderr();
    assert!(log.contains("may hide processes of other users"), "{log}");
    assert!(events(&log, "lock-removed").is_empty() && stopped(&victim).is_empty(), "{log}");
    let unclear = events(&log, "lock-unclear");
    assert!(
        unclear.iter().any(|line| line.fields["reason"].as_str().unwrap().contains("does not show it")),
        "{log}"
    );
}
