//! Corner behaviour of the whole binary: limits on processes, pipes, mounts, a main process that dies in parts.
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

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::libc;
use nix::sys::stat::Mode as Permissions;

use common::cgroup::Cgroup;
use common::process::{look, send};
use common::victim::{Mode, Victim, plan};
use common::{NEVER, SHORT_TIMEOUT, helper, root, sexton, skip, wait_until};

#[test]
fn a_limit_on_processes_is_reported_and_the_start_is_tried_again() {
    let Some(group) = Cgroup::with_pids_limit(1) else { return };
    let limit = group.pids_max();
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = plan.inside(group).run(["sh", "-c", "exit 7"]);
    wait_until("it says so", || victim.stderr().contains(" start-retry: a limit on processes is reached"));
    fs::write(limit, "max").unwrap();
    victim.ends_with(7);
}

#[test]
fn a_users_own_limit_on_processes_is_waited_out_as_well() {
    if !root() {
        return skip("root", "a user of its own, and its limit raised from outside");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    // sexton is the only process of this user's, and root knows no such limit.
    let mut victim = plan.by_user(23_456).through(["prlimit", "--nproc=1:1000"]).run(["sh", "-c", "exit 7"]);
    wait_until("it says so", || victim.stderr().contains(" start-retry: a limit on processes is reached"));
    let raise = ["prlimit", "--pid", &victim.pid().to_string(), "--nproc=1000:1000"];
    let user = ["--reuid=23456", "--regid=23456", "--clear-groups"];
    assert!(Command::new("setpriv").args(user).args(raise).status().unwrap().success());
    victim.ends_with(7);
}

#[test]
fn a_limit_on_processes_that_stays_is_a_failure_of_our_own() {
    let Some(group) = Cgroup::with_pids_limit(1) else { return };
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = plan.options(["--no-locks"]).inside(group).run(["true"]);
    victim.ends_with(125);
    let said = victim.stderr();
    assert_eq!(said.matches(" start-retry: ").count(), 5, "{said}");
    assert!(
        said.contains("could not create a process for 'true': a limit on processes is reached"),
        "{said}"
    );
}

#[test]
fn a_pipe_ends_when_the_command_closes_it() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let pipe = plan.path("pipe");
        nix::unistd::mkfifo(pipe.as_str(), Permissions::S_IRWXU).unwrap();
        let mut reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        let script = "echo written >&9; exec 9>&-; exec sleep 1000";
        let mut victim = plan.born([&format!("open=9:{pipe}")]).run(["sh", "-c", script]);
        let mut read = String::new();
        // While a process has it open for writing, there is only nothing to read at the moment.
        wait_until("the pipe ends", || match reader.read_to_string(&mut read) {
            Ok(_) => read == "written\n",
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        });
        victim.main();
        victim.signal(15);
        victim.ends_with(143);
    }
}

#[test]
fn the_filesystem_that_it_was_started_in_can_be_unmounted() {
    let Some(plan) = plan(Mode::Pid1) else { return };
    let place = plan.path("mounted");
    fs::create_dir(&place).unwrap();
    let enter = format!("mount -t tmpfs none '{place}' && cd '{place}' && exec \"$@\"");
    let leave = format!("pwd; cd /; until umount '{place}' 2>/dev/null; do sleep 0.01; done; echo unmounted");
    let mut victim = plan.through(["sh", "-c", &enter, "sh"]).run(["sh", "-c", &leave]);
    victim.ends_with(0);
    assert_eq!(victim.stdout(), format!("{place}\nunmounted\n"), "the command's own directory stays");
}

#[test]
fn a_main_process_that_dies_in_parts_lives_until_the_last_of_them() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = plan.run([helper("dies_in_parts")]);
        victim.says("ready");
        victim.signal(15);
        victim.ends_with(6);
    }
}

#[test]
fn a_main_process_that_a_debugger_holds_delays_the_end_by_its_window_and_no_more() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = plan.options(["--grace", "200ms", "--kill-after", NEVER]).run([helper("traced")]);
        victim.says("ready");
        let before = Instant::now();
        victim.signal(15);
        // TERM ends the debugger, and then what it held.
        victim.ends_with(143);
        assert!(before.elapsed() < SHORT_TIMEOUT);
    }
}

#[test]
fn a_command_that_became_root_is_named_and_waited_for_no_longer_than_kill_is_repeated() {
    if !root() {
        return skip("root", "to make a program that becomes root");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let raised = plan.path("becomes_root");
    let copied = Path::new("/usr/bin/setpriv");
    if !copied.exists() {
        return skip("setpriv", "Debian's package util-linux");
    }
    fs::copy(copied, &raised).unwrap();
    fs::set_permissions(&raised, fs::Permissions::from_mode(0o4755)).unwrap();
    let above = Path::new(&raised).parent().unwrap();
    fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
    let mut victim = plan
        .options(["--grace", "100ms", "--kill-after", "100ms"])
        .through(["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .run([&raised, "--reuid", "0", "--", "sh", "-c", "echo raised; exec sleep 1000"]);
    victim.says("raised");
    // What may not be passed on is said, once for each signal, and nothing else comes of it.
    victim.signal(10);
    wait_until("it says whom it may not signal", || {
        let said = victim.stderr();
        let line = said.lines().find(|line| line.contains(" forward-failed: "));
        line.is_some_and(|line| line.contains("signal=SIGUSR1") && line.contains("pid="))
    });
    assert!(victim.live().iter().any(|process| process.name == "sleep"), "{}", victim.stderr());
    let before = Instant::now();
    victim.signal(15);
    // KILL is repeated for ten seconds; what it would have made of the command is the code.
    assert_eq!(victim.code(), 137, "{}", victim.stderr());
    assert!(before.elapsed() < SHORT_TIMEOUT, "{:?}", before.elapsed());
    assert!(victim.stderr().contains("survived SIGKILL"), "{}", victim.stderr());
    let left = victim.live();
    assert_eq!(left.iter().map(|process| process.name.as_str()).collect::<Vec<_>>(), ["sleep"]);
    send(left[0].pid, 9).unwrap();
    wait_until("it is gone", || victim.live().is_empty());
}

#[test]
fn what_happens_while_it_is_stopped_is_made_up_for_when_it_goes_on() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let script = "trap 'echo heard' USR1; trap 'exit 5' TERM; (setsid sleep 1000 &); (exec setsid sleep 0) & \
                      echo up; while :; do wait; done";
        let mut victim = plan.options(["--grace", NEVER, "--kill-after", NEVER]).run(["sh", "-c", script]);
        victim.says("up");
        let (begun, main, sexton) = (Instant::now(), victim.main().pid, victim.pid());
        send(sexton, libc::SIGSTOP).unwrap();
        wait_until("it stands still", || look(sexton).is_some_and(|one| one.state == 'T'));
        for signal in [libc::SIGUSR1, libc::SIGTERM] {
            send(sexton, signal).unwrap();
        }
        // No signal is passed on, and no zombie is reaped.
        send(main, libc::SIGKILL).unwrap();
        wait_until("it is a zombie", || look(main).is_some_and(|one| one.dead()));
        assert_eq!(victim.stdout(), "up\n");
        send(sexton, libc::SIGCONT).unwrap();
        victim.ends_with(137);
        assert!(begun.elapsed() < SHORT_TIMEOUT, "no window is slept out: {}", victim.stderr());
    }
}

#[test]
fn a_full_standard_error_that_nobody_reads_holds_nothing_up_and_lost_lines_are_counted() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let fifo = plan.path("full");
        nix::unistd::mkfifo(fifo.as_str(), Permissions::S_IRWXU).unwrap();
        let mut pipe =
            File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        while pipe.write(b"x").is_ok() {}
        let mut victim =
            plan.options(["-vv"]).through(["sh", "-c", "exec 2<>\"$0\" && exec \"$@\"", &fifo]).run([
                "sh",
                "-c",
                "trap 'echo heard' USR1; trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done",
            ]);
        victim.says("up");
        victim.signal(10);
        victim.says("heard");
        let mut said = Vec::new();
        let mut drain = || {
            let _ = pipe.read_to_end(&mut said);
            String::from_utf8_lossy(&said).trim_start_matches('x').to_owned()
        };
        drain();
        victim.signal(10);
        wait_until("what was lost is counted", || {
            drain().contains("lines were lost, standard error was full")
        });
        victim.signal(15);
        victim.ends_with(5);
    }
}

#[test]
fn valgrind_finds_nothing_in_a_whole_life() {
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("valgrind", "Debian's package valgrind");
    }
    let Some(plan) = plan(Mode::Pid1) else { return };
    let (state, config, socket) = (plan.path("state"), plan.path("sexton.toml"), plan.path("control.sock"));
    let lock = format!("{state}/agents/main/sessions/one.jsonl.lock");
    fs::create_dir_all(format!("{state}/agents/main/sessions")).unwrap();
    fs::write(&lock, r#"{"pid":4000000,"createdAt":"2026-11-22T06:59:25.232Z"}"#).unwrap();
    let settings = "restart = { on = 'on-failure', delay = '1ms', limit = 3, force_exit_codes = [9] }\n\
                    [units.beside]\ncommand = ['sleep', '1000']\n";
    fs::write(&config, settings).unwrap();
    // A lock of the dead, a unit, a second start, an orphan, a tool, what is asked for over the socket, a signal, and
    // somebody who is left at the end.
    let script = "cd 'DIR'; test -e again || { : >again; exit 9; }
        (setsid true &); 'SEXTON' tool -- true && 'SEXTON' status >status && 'SEXTON' signal CONT
        trap 'sleep 1000 & exit 3' TERM; 'SEXTON' stop; while :; do sleep 0.01; done"
        .replace("DIR", plan.path("").trim_end_matches('/'))
        .replace("SEXTON", sexton().to_str().unwrap());
    let valgrind = [
        "valgrind",
        "--quiet",
        "--vgdb=no",
        "--error-exitcode=99",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--child-silent-after-fork=yes",
    ];
    let plan = plan.through(valgrind).options(["--config", &config, "--control", &socket]);
    let mut victim = plan.options(["--lock-root", &state, "--kill-after", NEVER]).run(["sh", "-c", &script]);
    victim.ends_with(3);
    assert!(!fs::exists(&lock).unwrap() && victim.read("status").contains("beside"), "{}", victim.stderr());
    assert!(!victim.stderr().contains("=="), "{}", victim.stderr());
}

#[test]
fn the_next_sexton_removes_the_empty_cgroup_of_a_killed_one_and_no_live_ones() {
    const SLEEPER: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 1000"];
    let Some(shared) = Cgroup::v2() else { return };
    let inside = || Some(plan(Mode::Cgroup)?.born([&format!("cgroup={}", shared.dir.display())]));
    let dir_of = |victim: &Victim| shared.dir.join(format!("sexton-{}", victim.pid()));
    let empty = |dir: &Path| {
        fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|events| events.contains("populated 0"))
    };

    let Some(plan) = inside() else { return };
    let mut killed = plan.run(SLEEPER);
    killed.says("ready");
    let left = dir_of(&killed);
    assert!(left.exists());
    killed.signal(9);
    killed.status();
    wait_until("the command has died with its sexton", || empty(&left));

    // One whose command waits to be started again: its cgroup is as empty.
    let Some(plan) = inside() else { return };
    let config = plan.path("sexton.toml");
    let text = "command = ['true']\nrestart = { on = 'always', delay = '10m', max_delay = '10m' }\n";
    fs::write(&config, text).unwrap();
    let live = plan.variable("SEXTON_CONFIG", &config).run_as_typed([] as [&str; 0]);
    wait_until("it waits", || live.stderr().contains("is started again after this pause"));
    let lives = dir_of(&live);
    assert!(empty(&lives));

    let Some(plan) = inside() else { return };
    let mut next = plan.run(SLEEPER);
    next.says("ready");
    wait_until("what the killed one left is removed", || !left.exists());
    assert!(lives.exists(), "its sexton lives");
    for (mut victim, code) in [(next, 143), (live, 0)] {
        victim.signal(15);
        victim.ends_with(code);
    }
    assert_eq!(shared.below_it(), [] as [PathBuf; 0]);
}

/// The kernel tells who writes to a file that may not grow any more by a signal (setrlimit(2), `RLIMIT_FSIZE`). The log
/// is sexton's, and the gateway has nothing to do with it.
#[test]
fn a_log_that_may_not_grow_any_more_costs_the_command_nothing() {
    for more in ["-v", "-vv"] {
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", "ulimit -f 0; exec \"$@\"", "bash"]).arg(sexton());
        command.args([more, "--no-locks", "--control", "off", "--", "sh", "-c", "sleep 0.2; exit 7"]);
        let ended = command.stdin(Stdio::null()).stderr(log).status().unwrap();
        assert_eq!(ended.code(), Some(7), "{more}");
    }
}
