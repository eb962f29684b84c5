//! A state directory whose owner means ill, while sexton is root: nothing outside it is read, changed or removed.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use house::{House, Mounted, Sweep, is_root};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

const SESSION: &str = include_str!("locks/session.jsonl.lock");

/// Something beside the root that would tempt a sweep: locks of the dead in every place that rules name. It is
/// watched: every open, read, change and removal in it is seen.
struct Decoy {
    house: House,
    before: Vec<String>,
    watch: Inotify,
}

impl Decoy {
    fn beside(house: &House) -> Decoy {
        let decoy = House::beside(house);
        for path in [
            "one.jsonl.lock",
            "sessions/one.jsonl.lock",
            "agents/main/sessions/one.jsonl.lock",
            "main/sessions/one.jsonl.lock",
            "owner.json",
            ".openclaw-runtime-mirror.lock/owner.json",
        ] {
            decoy.put(path, SESSION);
        }
        let before = decoy.listing();
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        let all = AddWatchFlags::IN_ALL_EVENTS;
        for line in [
            "",
            "sessions",
            "agents",
            "agents/main",
            "agents/main/sessions",
            "main",
            "main/sessions",
            ".openclaw-runtime-mirror.lock",
        ] {
            watch.add_watch(&decoy.path(line), all).unwrap();
        }
        Decoy { house: decoy, before, watch }
    }

    fn assert_untouched(&self, when: &str) {
        if let Ok(events) = self.watch.read_events() {
            panic!("{when}: a process touched the decoy: {events:?}");
        }
        assert_eq!(self.house.listing(), self.before, "{when}");
        // Looking at it was us.
        let _ = self.watch.read_events();
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let house = House::new();
    let decoy = Decoy::beside(&house);
    fs::create_dir_all(house.path("agents/main/sessions")).unwrap();
    symlink(decoy.house.path("sessions"), house.path("agents/main/swap")).unwrap();
    symlink(decoy.house.path("sessions"), house.path("agents/link")).unwrap();
    // It goes back and forth between a directory and a link to the decoy, as fast as it can.
    let (one, other) = (house.path("agents/main/sessions"), house.path("agents/main/swap"));
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let attacker = std::thread::spawn(move || {
        let mut swaps = 0_u64;
        while !told.load(Ordering::Relaxed) {
            renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
            swaps += 1;
        }
        swaps
    });
    let mut removed = 0;
    for _ in 0..1000 {
        for directory in ["agents/main/sessions", "agents/main/swap"] {
            // Not through the link: only where a directory is at this moment.
            let path = house.path(directory);
            if let Ok(directory) = sexton::os::files::look(&path) {
                use std::os::fd::AsFd;
                let is_directory = sexton::os::files::meta(directory.as_fd())
                    .is_ok_and(|meta| meta.kind == sexton::os::files::FileKind::Directory);
                if is_directory {
                    let directory = std::os::fd::AsRawFd::as_raw_fd(&directory);
                    fs::write(format!("/proc/self/fd/{directory}/x.jsonl.lock"), SESSION).unwrap();
                }
            }
        }
        removed += Sweep::of(&house).again().run().removed;
    }
    over.store(true, Ordering::Relaxed);
    let swaps = attacker.join().unwrap();
    assert!(swaps > 1000 && removed > 10, "the race took place: {swaps} swaps, {removed} removed");
    decoy.assert_untouched("after the race");
}

#[test]
fn a_root_of_another_user_is_swept_as_that_user_and_nothing_beyond_it_is_touched() {
    if !is_root("a_root_of_another_user: changes its user") {
        return;
    }
    let house = House::new();
    let decoy = Decoy::beside(&house);
    house.put("sessions/own.jsonl.lock", SESSION);
    house.put("agents/main/x", "");
    let outside = |path: &str| decoy.house.path(path);
    symlink(outside("sessions"), house.path("agents/main/sessions")).unwrap();
    symlink(outside("agents/main"), house.path("agents/linked")).unwrap();
    symlink(outside("one.jsonl.lock"), house.path("sessions/link.jsonl.lock")).unwrap();
    fs::hard_link(outside("one.jsonl.lock"), house.path("sessions/hard.jsonl.lock")).unwrap();
    fs::create_dir_all(house.path("plugin-runtime-deps/x")).unwrap();
    let mirror = "plugin-runtime-deps/x/.openclaw-runtime-mirror.lock";
    symlink(outside(".openclaw-runtime-mirror.lock"), house.path(mirror)).unwrap();
    fs::create_dir_all(house.path("browser/p/user-data")).unwrap();
    symlink("host-4100000", house.path("browser/p/user-data/SingletonLock")).unwrap();
    symlink(outside("owner.json"), house.path("browser/p/user-data/SingletonCookie")).unwrap();
    let inodes = |path: &str| chown(house.path(path), Some(1000), Some(1000));
    for path in ["", "sessions", "sessions/own.jsonl.lock", "agents", "agents/main", "browser/p/user-data"] {
        inodes(path).unwrap();
    }
    let _ = decoy.watch.read_events();
    let before = decoy.house.listing();
    let _ = decoy.watch.read_events();
    let sexton = Command::new(env!("CARGO_BIN_EXE_sexton"))
        .args(["-v", "--lock-root"])
        .arg(house.path(""))
        .args(["--", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&sexton.stderr);
    assert!(sexton.status.success() && !house.has("sessions/own.jsonl.lock"), "{log}");
    // The links themselves are the user's, and the cookie goes with its lock; where it points stays.
    if let Ok(events) = decoy.watch.read_events() {
        panic!("a process touched the decoy: {events:?}\n{log}");
    }
    assert_eq!(decoy.house.listing(), before, "{log}");
    assert!(house.has("sessions/hard.jsonl.lock") && house.has(mirror), "{log}");
}

/// How many names there are in a crowd: a tenth of a million, or as many as `SEXTON_CROWD` says. Most of the time
/// goes into making them, which a filesystem in memory does five times as fast.
fn crowd(house: &House, suffix: &str, content: &str) -> (u32, Option<Mounted>) {
    let crowd = std::env::var("SEXTON_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000_u32);
    let mounted = is_root("a crowd: mounts a tmpfs").then(|| Mounted::tmpfs(house, "size=90%,nr_inodes=0"));
    fs::create_dir_all(house.path("sessions")).unwrap();
    let begun = std::time::Instant::now();
    for number in 0..crowd {
        fs::write(house.path(format!("sessions/{number}{suffix}")), content).unwrap();
    }
    println!("{crowd} names made in {:?}", begun.elapsed());
    (crowd, mounted)
}

#[test]
fn a_crowd_that_is_no_lock_costs_a_look_at_its_names_and_nothing_else() {
    let house = House::new();
    let (crowd, _mounted) = crowd(&house, ".jsonl", "");
    house.put("sessions/one.jsonl.lock", SESSION);
    let begun = std::time::Instant::now();
    let report = Sweep::of(&house).run();
    let took = begun.elapsed();
    assert_eq!((report.removed, report.skipped, report.unclear), (1, 0, 0), "{}", report.log());
    println!("{crowd} names looked at in {took:?}");
    // A microsecond each is what it takes; the rest is for a busy machine.
    assert!(
        took < std::time::Duration::from_secs(2) + std::time::Duration::from_micros(20) * crowd,
        "{took:?}"
    );
}

/// What /proc/PID/status says of the first process below `sexton` for which that is what `one` looks for.
fn rights_below(sexton: u32, one: &dyn Fn(&str) -> bool) -> Option<Vec<(String, String)>> {
    let children = fs::read_to_string(format!("/proc/{sexton}/task/{sexton}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find_map(|child: u32| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        if !one(&status) {
            return rights_below(child, one);
        }
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        Some(lines.map(|(name, value)| (name.to_owned(), value.trim().replace('\t', " "))).collect())
    })
}

#[test]
fn who_sweeps_another_users_root_has_no_right_of_roots_left() {
    if !is_root("who_sweeps_another_users_root: changes its user") {
        return;
    }
    let house = House::new();
    house.put("sessions/one.jsonl.lock", SESSION);
    house.give_to(1000);
    // An older sexton holds the registration alone and stands still: the sweep waits for it at its end.
    let older = house::older_sexton(&house);
    let mut sexton = Command::new(env!("CARGO_BIN_EXE_sexton"))
        .args(["--sweep-timeout", "60s", "--lock-root"])
        .arg(house.path(""))
        .args(["--", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(50);
    let rights = loop {
        let theirs = |status: &str| status.contains("\nUid:\t1000\t1000\t1000\t1000\n");
        let found = rights_below(sexton.id(), &theirs);
        // NoNewPrivs is the last of what it gives up.
        let complete = |rights: &Vec<(String, String)>| rights.contains(&("NoNewPrivs".into(), "1".into()));
        if let Some(found) = found.filter(|found| complete(found) || std::time::Instant::now() > end) {
            break found;
        }
        assert!(std::time::Instant::now() < end, "no process sweeps as the owner of the root");
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let right = |name: &str| rights.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    for (name, value) in [
        ("Gid", "1000 1000 1000 1000"),
        ("Groups", "1000"),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(right(name), Some(value), "{name}: {rights:?}");
    }
    drop(older);
    assert!(sexton.wait().unwrap().success());
}

#[test]
fn a_crowd_of_locks_is_given_up_at_the_deadline_and_the_launch_goes_on() {
    let house = House::new();
    let (crowd, _mounted) = crowd(&house, ".jsonl.lock", SESSION);
    let begun = std::time::Instant::now();
    let sexton = Command::new(env!("CARGO_BIN_EXE_sexton"))
        .args(["--sweep-timeout", "50ms", "--lock-root"])
        .arg(house.path(""))
        .args(["--", "sh", "-c", "exit 7"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = begun.elapsed();
    let log = String::from_utf8_lossy(&sexton.stderr);
    let last: Vec<&str> = log.lines().filter(|line| !line.contains("lock-removed")).collect();
    assert_eq!(sexton.status.code(), Some(7), "{last:?}");
    assert!(last.iter().any(|line| line.contains("sweep-overdue")), "{last:?}");
    assert!(last.iter().any(|line| line.contains("was not swept in time")), "{last:?}");
    println!("{crowd} locks, given up: the whole run took {took:?}");
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    let left = fs::read_dir(house.path("sessions")).unwrap().count();
    assert!(left > 0, "it was given up, so that some are left");
}

#[test]
fn a_disk_error_on_the_hand_over_leaves_the_lock_as_it_was() {
    let strace = |error: &str| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"]);
        strace.arg(format!("inject=fsync:error={error}"));
        strace
    };
    if !strace("EIO").arg("true").output().is_ok_and(|output| output.status.success()) {
        std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED, needs strace: a disk error\n").unwrap();
        return;
    }
    for (error, words) in [("EIO", "Input/output error"), ("ENOSPC", "No space left")] {
        let house = House::new();
        house.put("sessions/one.jsonl.lock", SESSION);
        let before = house.listing();
        let sexton = strace(error)
            .arg(env!("CARGO_BIN_EXE_sexton"))
            .args(["--lock-action", "hand-over", "--lock-root"])
            .arg(house.path(""))
            .args(["--", "sh", "-c", "kill -KILL $$"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&sexton.stderr);
        assert_eq!(sexton.status.code(), Some(137), "{log}");
        assert!(log.contains("lock-remove-failed") && log.contains(words), "{log}");
        assert_eq!(house.listing(), before, "{log}");
    }
}
