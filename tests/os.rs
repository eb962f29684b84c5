//! What we rely on the kernel for, one promise a test.
//!
//! Each test runs in a process of its own, so that it can block signals, become a subreaper and wait for
//! anybody's death without its neighbours' knowledge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use sexton::os::cgroup::Cgroup;
use sexton::os::children::{self, Change, Dead};
use sexton::os::poll::Interest;
use sexton::os::privileges::Identity;
use sexton::os::signals::{ExtraFds, WakeUp};
use sexton::os::spawn::{self, Output, Started};
use sexton::os::{clock, poll, process, procfs, seqpacket, signals, startup, tree};
use sexton::types::{ExitStatus, Pid, Signal, StartStep};

/// Helpers that stand behind each other in one test program must not reap each other's children.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `test` in a forked process with all signals blocked, and fails if it panics.
fn alone(test: impl FnOnce() + std::panic::UnwindSafe) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let child = helper(&[], || {
        startup::inherited();
        u8::from(std::panic::catch_unwind(test).is_err())
    });
    assert_eq!(wait_for(child).status, ExitStatus::Exited(0), "see the panic above");
    children::reap(child).unwrap();
}

/// A helper that speaks as we do.
fn helper(keep: &[BorrowedFd<'_>], work: impl FnOnce() -> u8) -> Pid {
    spawn::fork_helper(Output::To(std::io::stderr().as_fd()), keep, || (), work).expect("fork")
}

/// Waits until this child has died, and leaves it a zombie.
fn wait_for(child: Pid) -> Dead {
    until("a death", || match children::peek().unwrap() {
        Some(Change::Died(dead)) if dead.pid == child => Some(dead),
        _ => None,
    })
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now().after(Duration::from_secs(20));
    let (quiet, _other) = seqpacket::pair().unwrap();
    while clock::now() < deadline {
        if let Some(value) = condition() {
            return value;
        }
        poll::until(quiet.as_fd(), Some(clock::now().after(Duration::from_millis(2)))).unwrap();
    }
    panic!("waited in vain for {what}");
}

fn start(command: &[&str]) -> Started {
    let command: Vec<CString> = command.iter().map(|word| CString::new(*word).unwrap()).collect();
    spawn::spawn(&spawn::Request::new(&command, startup::inherited())).expect("fork")
}

#[test]
fn a_zombie_that_was_peeked_at_keeps_its_pid_until_it_is_reaped() {
    alone(|| {
        let child = start(&["sh", "-c", "exit 3"]).pid;
        assert_eq!(wait_for(child), Dead { pid: child, status: ExitStatus::Exited(3) });
        assert!(procfs::stat(child).unwrap().unwrap().is_dead());
        signals::send(child, Signal::TERM).expect("a zombie still takes signals");
        children::reap(child).unwrap();
        assert!(signals::send(child, Signal::TERM).is_err());
        assert_eq!(children::peek().unwrap(), None);
        assert!(!children::exist());
    });
}

#[test]
fn a_held_zombie_does_not_hide_the_others() {
    alone(|| {
        let held = start(&["true"]).pid;
        wait_for(held);
        assert_eq!(children::peek_others(held, 256).unwrap(), []);
        let other = start(&["sh", "-c", "kill -9 $$"]).pid;
        let found = until("the other's death", || children::peek_others(held, 256).unwrap().pop());
        let status = ExitStatus::Signaled { signal: 9, core: false };
        assert_eq!(found, Change::Died(Dead { pid: other, status }));
        assert_eq!(children::list().map(|list| list.len()), Some(2));
        children::reap(other).unwrap();
        let stopped = start(&["sh", "-c", "kill -STOP $$"]).pid;
        let found = until("a stop", || children::peek_others(held, 256).unwrap().pop());
        assert_eq!(found, Change::Stopped { pid: stopped, signal: Signal::STOP });
        assert_eq!(children::peek_others(held, 256).unwrap(), [], "a stop is told once");
        children::reap(held).unwrap();
    });
}

/// Their list is longer than what one reading takes, and processes that die faster than we reap would make it ever
/// longer.
#[test]
fn of_a_crowd_of_the_dead_as_many_are_told_as_were_asked_for() {
    alone(|| {
        let held = start(&["true"]).pid;
        let mut crowd: Vec<Pid> = (0..1000).map(|_| start(&["true"]).pid).collect();
        let dead = |pid: &Pid| procfs::stat(*pid).unwrap().unwrap().is_dead();
        until("their deaths", || crowd.iter().all(dead).then_some(()));
        let told = children::peek_others(held, 5).unwrap();
        let oldest =
            crowd.iter().take(5).map(|pid| Change::Died(Dead { pid: *pid, status: ExitStatus::Exited(0) }));
        assert_eq!(told, oldest.collect::<Vec<_>>());
        assert_eq!(children::any(|pid| pid != held), Some(true));
        assert_eq!(children::any(|pid| pid == process::own_pid()), Some(false));
        crowd.insert(0, held);
        assert_eq!(children::list(), Some(crowd));
    });
}

#[test]
fn a_group_exists_as_soon_as_spawn_returns() {
    alone(|| {
        for _ in 0..50 {
            let child = start(&["sleep", "1000"]).pid;
            signals::send_to_group(child, Signal::KILL).expect("the group is there");
            assert_eq!(wait_for(child).status, ExitStatus::Signaled { signal: 9, core: false });
            children::reap(child).unwrap();
        }
    });
}

#[test]
fn the_child_has_an_empty_mask_though_we_block_everything() {
    alone(|| {
        let child = start(&["sh", "-c", "grep -q 'SigBlk:.0000000000000000' /proc/self/status"]).pid;
        assert_eq!(wait_for(child).status, ExitStatus::Exited(0));
    });
}

#[test]
fn a_failed_exec_tells_its_stage_and_errno() {
    alone(|| {
        for (command, errno, code) in
            [("/nonexistent/x", libc::ENOENT, 127), ("/etc/passwd", libc::EACCES, 126)]
        {
            let mut child = start(&[command]);
            assert_eq!(wait_for(child.pid).status, ExitStatus::Exited(code));
            let (step, error) = child.failure().expect("a failure");
            assert_eq!((step, error.0), (StartStep::Exec, errno));
            children::reap(child.pid).unwrap();
        }
        let mut fine = start(&["true"]);
        wait_for(fine.pid);
        assert_eq!(fine.failure(), None);
    });
}

fn shell(script: &str) -> [CString; 3] {
    ["sh", "-c", script].map(|word| CString::new(word).unwrap())
}

/// Runs it to its end.
fn status_of(request: &spawn::Request<'_>) -> ExitStatus {
    let child = spawn::spawn(request).expect("fork").pid;
    let status = wait_for(child).status;
    children::reap(child).unwrap();
    status
}

#[test]
fn the_child_has_what_is_set_in_its_environment_and_the_rest_of_ours() {
    alone(|| {
        let set = [("A", "b c"), ("PATH", "/usr/bin:/bin:/x"), ("EMPTY", "")];
        let env = set.map(|(name, value)| (name.into(), value.into()));
        let script = r#"test "$A" = 'b c' && test "$PATH" = /usr/bin:/bin:/x && test "${EMPTY-x}" = '' && test -n "$HOME""#;
        assert_eq!(
            status_of(&spawn::Request {
                env: &env,
                ..spawn::Request::new(&shell(script), startup::inherited())
            }),
            ExitStatus::Exited(0)
        );
        assert!(std::env::var_os("A").is_none(), "ours stays as it is");
        let command = [c"true".to_owned()];
        for (name, value) in [("", "x"), ("a=b", "x"), ("a", "x\0"), ("a\0", "x")] {
            let env = [(name.into(), value.into())];
            let request = spawn::Request { env: &env, ..spawn::Request::new(&command, startup::inherited()) };
            let mut child = spawn::spawn(&request).expect("fork");
            assert_eq!(wait_for(child.pid).status, ExitStatus::Exited(125));
            assert_eq!(
                child.failure().map(|(step, errno)| (step, errno.0)),
                Some((StartStep::Environment, libc::EINVAL))
            );
            children::reap(child.pid).unwrap();
        }
    });
}

#[test]
fn the_child_begins_in_its_directory_or_says_why_not() {
    alone(|| {
        let directory = Some(std::path::Path::new("/usr/bin"));
        let script = shell(r#"test "$(pwd -P)" = "$(cd /usr/bin && pwd -P)""#);
        let plain = spawn::Request::new(&script, startup::inherited());
        let in_it = status_of(&spawn::Request { directory, ..plain });
        assert_eq!(in_it, ExitStatus::Exited(0));
        let command = [c"true".to_owned()];
        let directory = Some(std::path::Path::new("/nonexistent"));
        let request = spawn::Request { directory, ..spawn::Request::new(&command, startup::inherited()) };
        let mut child = spawn::spawn(&request).expect("fork");
        wait_for(child.pid);
        assert_eq!(
            child.failure().map(|(step, errno)| (step, errno.0)),
            Some((StartStep::Directory, libc::ENOENT))
        );
        children::reap(child.pid).unwrap();
    });
}

#[test]
fn the_child_becomes_its_user_for_good_and_still_dies_with_us() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("SEXTON_TESTS_REQUIRED").is_none(), "SKIPPED: needs root (sudo)");
        return println!("SKIPPED: needs root (sudo)");
    }
    alone(|| {
        // Not by the account database: 65534 is `nobody` on every Linux in use.
        let user = Some(Identity { uid: 65534, gid: 65534 });
        let script = r#"
            test "$(id -u):$(id -g):$(id -G)" = 65534:65534:65534 || exit 1
            grep -q '^CapPrm:.0000000000000000$' /proc/self/status || exit 2
            grep -q '^Uid:.65534.65534.65534.65534$' /proc/self/status || exit 3
            test "$USER" = "$LOGNAME" && test "$HOME" != "$OLD" || exit 4
            kill -0 1 2>/dev/null && exit 5
            exit 0"#;
        let env = [("OLD".into(), std::env::var_os("HOME").unwrap_or_default())];
        let status = status_of(&spawn::Request {
            user,
            env: &env,
            ..spawn::Request::new(&shell(script), startup::inherited())
        });
        assert_eq!(status, ExitStatus::Exited(0));
        let parent = helper(&[], || {
            let command = ["sleep", "1000"].map(|word| CString::new(word).unwrap());
            let plain = spawn::Request::new(&command, startup::inherited());
            let _ = spawn::spawn(&spawn::Request { user, ..plain });
            let (quiet, _other) = seqpacket::pair().unwrap();
            let _ = poll::until(quiet.as_fd(), None);
            0
        });
        process::become_subreaper().unwrap();
        let sleeper =
            until("the sleeper", || tree::below_us().unwrap().into_iter().find(|stat| stat.name == b"sleep"));
        signals::send(parent, Signal::KILL).unwrap();
        until("the sleeper's end", || {
            procfs::stat(sleeper.pid).unwrap().is_none_or(|stat| stat.is_dead()).then_some(())
        });
    });
}

#[test]
fn descriptors_arrive_under_their_numbers_even_crosswise() {
    alone(|| {
        let files = ["one", "two"].map(|text| {
            use std::io::{Seek, Write};
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            file
        });
        let [one, two] = &files;
        // Each has the number that the other one is to get, and 5 to 12 are where pipes of ours may lie.
        let mut given = vec![(one.as_fd(), two.as_raw_fd()), (two.as_fd(), one.as_raw_fd())];
        given.extend((one.as_raw_fd().max(two.as_raw_fd()) + 1..40).map(|number| (one.as_fd(), number)));
        let script = format!(
            "test \"$(cat <&{}),$(cat <&{})\" = two,one && test -e /dev/fd/39",
            one.as_raw_fd(),
            two.as_raw_fd()
        );
        let status = status_of(&spawn::Request {
            descriptors: &given,
            ..spawn::Request::new(&shell(&script), startup::inherited())
        });
        assert_eq!(status, ExitStatus::Exited(0));
    });
}

#[test]
fn orphans_come_to_a_subreaper_even_after_setsid_and_two_forks() {
    alone(|| {
        process::become_subreaper().unwrap();
        let leader = start(&["sh", "-c", "setsid sh -c 'sleep 1000 & exit' & wait"]).pid;
        wait_for(leader);
        children::reap(leader).unwrap();
        let us = process::own_pid();
        let orphan = until("the orphan", || {
            let left = tree::below_us().unwrap();
            left.into_iter().find(|stat| stat.name == b"sleep" && stat.parent == us.raw())
        });
        assert_ne!(orphan.session, procfs::stat(us).unwrap().unwrap().session);
        signals::send(orphan.pid, Signal::KILL).unwrap();
        wait_for(orphan.pid);
    });
}

#[test]
fn an_ignored_sigchld_of_the_parent_would_lose_deaths_and_the_inlet_prevents_it() {
    alone(|| {
        signals::set_ignored(Signal::CHLD).unwrap();
        let _inlet = signals::SignalSource::open().unwrap();
        let child = start(&["sh", "-c", "exit 5"]).pid;
        assert_eq!(wait_for(child).status, ExitStatus::Exited(5));
    });
}

#[test]
fn blocked_signals_wait_in_the_inlet_with_their_values_and_makers() {
    alone(|| {
        let mut inlet = signals::SignalSource::open().unwrap();
        let us = process::own_pid();
        let mut pending = || inlet.wait(Some(clock::now()), ExtraFds::None).unwrap().signal;
        assert_eq!(pending(), None);
        let values = [1, -1, i32::MAX, i32::MIN, 0, 5, 6, 7, 8, 9];
        for value in values {
            signals::queue(us, Signal::RTMIN, value).unwrap();
        }
        signals::send(us, Signal::HUP).unwrap();
        let first = pending().unwrap();
        assert_eq!((first.signal, first.code, first.sender), (Signal::HUP, libc::SI_USER, us.raw()));
        for value in values {
            let info = pending().unwrap();
            assert_eq!((info.signal, info.code, info.value), (Signal::RTMIN, libc::SI_QUEUE, value));
        }
        assert_eq!(pending(), None);
    });
}

#[test]
fn one_who_dies_all_the_time_keeps_no_other_signal_waiting() {
    alone(|| {
        let mut inlet = signals::SignalSource::open().unwrap();
        let us = process::own_pid();
        signals::send(us, Signal::RTMAX).unwrap();
        let mut heard = std::iter::repeat_with(|| {
            signals::send(us, Signal::CHLD).unwrap();
            inlet.wait(None, ExtraFds::None).unwrap().signal.unwrap().signal
        });
        assert!(heard.by_ref().take(20).any(|signal| signal == Signal::RTMAX));
        assert_eq!(heard.next(), Some(Signal::CHLD));
    });
}

#[test]
fn what_is_waited_for_beside_the_signals_announces_itself() {
    alone(|| {
        let mut inlet = signals::SignalSource::open().unwrap();
        let many = poll::EpollSet::new().unwrap();
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let (pipe, mut end) = std::io::pipe().unwrap();
        // Ready before it was put in, which nothing announces.
        theirs.write_all(b"x").unwrap();
        many.add(&ours, 1, Interest::Read).unwrap();
        let mut wait =
            |beside| inlet.wait(Some(clock::now().after(Duration::from_secs(20))), beside).unwrap();
        let these = ExtraFds::Poll(many.as_fd());
        assert_eq!(wait(these), WakeUp { signal: None, beside: true });
        // It is told of for as long as it is there.
        assert_eq!(wait(these), WakeUp { signal: None, beside: true });
        (&ours).read_exact(&mut [0]).unwrap();
        many.add(&pipe, 2, Interest::Read).unwrap();
        signals::send(process::own_pid(), Signal::HUP).unwrap();
        assert_eq!(wait(these).signal.unwrap().signal, Signal::HUP);
        // Now nothing is ready, and the wait is for a signal alone.
        let writer = helper(&[theirs.as_fd()], || {
            poll::any_until([], Some(clock::now().after(Duration::from_millis(20)))).unwrap();
            u8::from((&theirs).write_all(b"y").is_err())
        });
        let (mut told, mut died) = (false, false);
        while !(told && died) {
            let woken = wait(these);
            if woken.beside {
                (&ours).read_exact(&mut [0]).unwrap();
                told = true;
            }
            died |= woken.signal.is_some_and(|info| info.signal == Signal::CHLD);
        }
        children::reap(writer).unwrap();
        end.write_all(b"z").unwrap();
        assert!(wait(these).beside);
        many.remove(&pipe);
        drop(end);
        // What a process sent is handed on, and examined all the same.
        signals::send(process::own_pid(), Signal::IO).unwrap();
        let woken = wait(these);
        assert_eq!((woken.signal.unwrap().signal, woken.beside), (Signal::IO, false));
        drop(theirs);
        assert!(wait(these).beside, "the end of the other side is news");
    });
}

#[test]
fn a_helper_can_hand_us_a_descriptor_and_its_flock() {
    use std::io::{Seek, Write};
    alone(|| {
        let (ours, theirs) = seqpacket::pair().unwrap();
        assert!(seqpacket::receive(ours.as_fd(), &mut [0; 8]).is_none(), "nothing was sent yet");
        let helper = helper(&[theirs.as_fd()], || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"from the helper").unwrap();
            u8::from(seqpacket::send(theirs.as_fd(), b"word", Some(file.as_fd())).is_err())
        });
        assert_eq!(wait_for(helper).status, ExitStatus::Exited(0));
        let mut buffer = [0; 8];
        let (message, file) = seqpacket::receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!(message, b"word");
        let mut file = std::fs::File::from(file.unwrap());
        file.rewind().unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "from the helper");
    });
}

/// What has each number in this process, as `number target`, without the list's own.
fn descriptors() -> String {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let target = std::fs::read_link(&path).ok()?.into_os_string().into_string().ok()?;
        let number: i32 = path.file_name()?.to_str()?.parse().ok()?;
        (!target.starts_with("/proc/")).then_some((number, target))
    });
    let mut named: Vec<(i32, String)> = named.collect();
    named.sort();
    named.iter().map(|(number, target)| format!("{number} {target}\n")).collect()
}

#[test]
fn a_helper_has_no_descriptor_of_ours_but_what_it_was_given() {
    alone(|| {
        let name = |descriptor: BorrowedFd<'_>| {
            let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
            std::fs::read_link(path).unwrap().into_os_string().into_string().unwrap()
        };
        let (log, says) = std::io::pipe().unwrap();
        let (out, pipe) = (name(std::io::stdout().as_fd()), name(log.as_fd()));
        let null = "/dev/null".to_owned();
        let outputs = [
            (Output::Nowhere, [&null, &null, &null]),
            (Output::To(says.as_fd()), [&pipe; 3]),
            (Output::Inherited(1), [&null, &out, &null]),
        ];
        for (output, expected) in outputs {
            for survivor in [false, true] {
                if survivor && !matches!(output, Output::Nowhere) {
                    continue;
                }
                let (answer, theirs) = std::io::pipe().unwrap();
                let work = || u8::from((&theirs).write_all(descriptors().as_bytes()).is_err());
                let child = if survivor {
                    spawn::fork_survivor(theirs.as_fd(), work)
                } else {
                    spawn::fork_helper(output, &[theirs.as_fd()], || (), work)
                };
                wait_for(child.unwrap());
                children::reap(child.unwrap()).unwrap();
                let kept = format!("{} {}\n", theirs.as_raw_fd(), name(theirs.as_fd()));
                drop(theirs);
                let standard = (0..).zip(expected).map(|(number, target)| format!("{number} {target}\n"));
                let said = std::io::read_to_string(answer).unwrap();
                assert_eq!(said, standard.collect::<String>() + &kept, "{output:?}");
            }
        }
    });
}

#[test]
fn a_cgroup_in_which_somebody_lives_is_left_to_them() {
    alone(|| {
        // No process has this number at this moment: it stands for one that was killed.
        let killed = Pid::new(Pid::PID_MAX_LIMIT - 1).unwrap();
        let Ok(first) = Cgroup::create(killed) else {
            return println!("SKIPPED: needs a writable cgroup v2 (run as root, or with a delegated one)");
        };
        // One that begins at the same moment, with the same number in another pid namespace.
        let rival = Cgroup::create(killed).unwrap();
        rival.remove().unwrap();
        let command = [c"sleep".to_owned(), c"1000".to_owned()];
        let plain = spawn::Request::new(&command, startup::inherited());
        let request = spawn::Request { cgroup: Some(&first), ..plain };
        let left = spawn::spawn(&request).expect("fork").pid;
        assert!(first.is_populated());
        let second = Cgroup::create(killed).unwrap();
        assert!(!second.is_populated());
        second.kill().unwrap();
        assert!(first.is_populated(), "it was not ours to kill");
        second.remove().unwrap();
        signals::send(left, Signal::KILL).unwrap();
        wait_for(left);
        children::reap(left).unwrap();
        first.remove().unwrap();
    });
}

#[test]
fn what_is_born_in_a_cgroup_that_a_killed_sexton_had_killed_lives() {
    alone(|| {
        // No process has this number at this moment: it stands for one that was killed.
        let killed = Pid::new(Pid::PID_MAX_LIMIT - 2).unwrap();
        let Ok(first) = Cgroup::create(killed) else {
            return println!("SKIPPED: needs a writable cgroup v2 (run as root, or with a delegated one)");
        };
        first.kill().unwrap();
        drop(first);
        let second = Cgroup::create(killed).unwrap();
        let command = [c"sh".to_owned(), c"-c".to_owned(), c"exit 7".to_owned()];
        let request =
            spawn::Request { cgroup: Some(&second), ..spawn::Request::new(&command, startup::inherited()) };
        let born = spawn::spawn(&request).expect("fork").pid;
        wait_for(born);
        assert_eq!(children::reap(born).unwrap().unwrap().status, ExitStatus::Exited(7));
        second.remove().unwrap();
    });
}

#[test]
fn a_stop_is_told_once_and_with_its_signal() {
    alone(|| {
        let child = start(&["sleep", "1000"]).pid;
        assert_eq!(children::peek().unwrap(), None);
        signals::send(child, Signal::TSTP).unwrap();
        let stopped = Change::Stopped { pid: child, signal: Signal::TSTP };
        assert_eq!(until("the stop", || children::peek().unwrap()), stopped);
        assert_eq!(children::peek().unwrap(), None);
        signals::send(child, Signal::KILL).unwrap();
        wait_for(child);
    });
}

#[test]
fn a_child_dies_with_us() {
    alone(|| {
        process::become_subreaper().unwrap();
        let parent = helper(&[], || {
            start(&["sleep", "1000"]);
            let (quiet, _other) = seqpacket::pair().unwrap();
            let _ = poll::until(quiet.as_fd(), None);
            0
        });
        let sleeper =
            until("the sleeper", || tree::below_us().unwrap().into_iter().find(|stat| stat.name == b"sleep"));
        signals::send(parent, Signal::KILL).unwrap();
        let status = until("the sleeper's end", || {
            children::peek_others(parent, 256).unwrap().into_iter().find_map(|change| match change {
                Change::Died(dead) if dead.pid == sleeper.pid => Some(dead.status),
                _ => None,
            })
        });
        assert_eq!(status, ExitStatus::Signaled { signal: 9, core: false });
    });
}
