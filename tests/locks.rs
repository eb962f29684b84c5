//! What a sweep does to the files of a state directory, on real files and with real processes.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/fuse.rs"]
mod fuse;
#[path = "locks/house.rs"]
mod house;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use house::{House, Live, Sweep, is_root, there_is};
use nix::sys::stat::{Mode, SFlag, mknod};
use sexton::locks::Root;
use sexton::types::{Pid, StartTime};

const SESSION: &str = include_str!("locks/session.jsonl.lock");
const GATEWAY: &str = include_str!("locks/gateway.lock");
const SESSION_PATH: &str = "agents/main/sessions/one.jsonl.lock";
const USAGE_PATH: &str = "agents/main/sessions/.usage-cost-cache.json.lock";

fn sidecar(pid: Pid) -> String {
    format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"2026-11-22T06:59:25.232Z\"\n}}\n")
}

fn session(pid: Pid, start: StartTime) -> String {
    format!(r#"{{"pid":{pid},"createdAt":"2026-11-22T06:59:25.232Z","starttime":{}}}"#, start.0)
}

#[test]
fn what_the_dead_left_behind_is_removed_and_nothing_else() {
    let house = House::new();
    let dead = house::dead_pid();
    let locks = [
        (SESSION_PATH, SESSION.to_owned()),
        ("agents/main/sessions/empty.jsonl.lock", String::new()),
        ("agents/main/sessions/padded.jsonl.lock", format!("{SESSION}\t\t\t\t\t\t\t\t \t \t\n")),
        ("agents/second/sessions/two.jsonl.lock", SESSION.to_owned()),
        ("agents/main/agent/auth-profiles.json.lock", sidecar(dead)),
        ("locks/oauth-refresh/sha256-00ff.lock", sidecar(dead)),
        (USAGE_PATH, format!("{{\"pid\":{dead},\"startedAt\":1795330765232,\"token\":\"x\"}}\n")),
        ("gateway.acb44012.lock", GATEWAY.to_owned()),
        ("tmp/openclaw-1000/gateway.state.lock", GATEWAY.to_owned()),
    ];
    let others = [
        "agents/main/sessions/one.jsonl",
        "agents/main/sessions/sessions.json",
        "agents/main/sessions/one.jsonl.lock.reclaim",
        "tmp/openclaw-1000/gateway.state.lock.sqlite",
        "gateway.acb44012.lock-wal",
        "agents/main/sessions/deeper/one.jsonl.lock",
        "somewhere.lock",
    ];
    for (path, content) in &locks {
        house.put(path, content);
    }
    for path in others {
        house.put(path, SESSION);
    }
    let report = Sweep::of(&house).run();
    assert_eq!(
        (report.removed, report.held, report.unclear, report.failed),
        (9, 0, 0, 0),
        "{}",
        report.log()
    );
    assert!(report.alone && report.registration.is_some());
    for (path, _) in locks {
        assert!(!house.has(path), "{path}");
    }
    for path in others {
        assert_eq!(house.read(path), SESSION, "{path}");
    }
    let line = report.lines("lock-removed").into_iter().find(|line| line["kind"] == "gateway").unwrap();
    assert_eq!(line["pid"], "2");
    assert!(line["path"].ends_with("gateway.acb44012.lock") || line["path"].ends_with("gateway.state.lock"));
    assert!(
        !line["age"].is_empty() && line["reason"].starts_with("no process has it open, and "),
        "{line:?}"
    );
    // There is nothing left for a second one.
    drop(report);
    assert_eq!(Sweep::of(&house).run().removed, 0);
}

#[test]
fn a_lock_that_somebody_has_open_stays_byte_for_byte() {
    let house = House::new();
    // It names a dead process, an empty file names none, and the pid of the holder is another process's.
    for (path, content) in [
        (SESSION_PATH, sidecar(house::dead_pid())),
        ("agents/main/sessions/empty.jsonl.lock", String::new()),
        (USAGE_PATH, sidecar(house::dead_pid())),
        ("gateway.x.lock", GATEWAY.to_owned()),
    ] {
        house.put(path, &content);
        let before = fs::metadata(house.path(path)).unwrap();
        let holder = Live::holding(&house.path(path));
        let report = Sweep::of(&house).run();
        assert_eq!((report.removed, report.held), (0, 1), "{path}: {}", report.log());
        assert_eq!(house.read(path), content);
        let after = fs::metadata(house.path(path)).unwrap();
        assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
        drop((holder, report));
        assert_eq!(Sweep::of(&house).run().removed, 1, "{path}: its holder is dead");
    }
}

#[test]
fn in_a_crowd_that_two_threads_share_each_lock_gets_its_own_verdict() {
    let house = House::new();
    let dead = house::dead_pid();
    let path = |number: usize| format!("agents/main/sessions/{number:03}.jsonl.lock");
    for number in 0..900 {
        house.put(path(number), &sidecar(dead));
    }
    let held: Vec<File> =
        (0..900).step_by(3).map(|number| File::open(house.path(path(number))).unwrap()).collect();
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.held, report.unclear, report.failed), (600, 300, 0, 0));
    assert_eq!(report.lines("lock-removed").len(), 600, "each has its line");
    assert!((0..900).all(|number| house.has(path(number)) == (number % 3 == 0)));
    drop((held, report));
    assert_eq!(Sweep::of(&house).run().removed, 300);
}

#[test]
fn a_lock_held_from_another_pid_namespace_stays() {
    if !is_root("a_lock_held_from_another_pid_namespace_stays: makes a pid namespace") {
        return;
    }
    let house = House::new();
    house.put(SESSION_PATH, &sidecar(Pid::INIT));
    let holder = Live::holding_in_a_namespace(&house.path(SESSION_PATH));
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.held), (0, 1), "{}", report.log());
    // And the other way round: seen from a namespace in which no such pid exists.
    house.put("sessions/two.jsonl.lock", &sidecar(Pid::new(4_000_000).unwrap()));
    let here = Live::holding(&house.path("sessions/two.jsonl.lock"));
    let elsewhere = house::sweep_elsewhere(&house, house::Where::Namespace);
    assert_eq!((elsewhere["removed"].as_str(), elsewhere["held"].as_str()), ("0", "2"), "{elsewhere:?}");
    drop((holder, here));
    let elsewhere = house::sweep_elsewhere(&house, house::Where::Namespace);
    assert_eq!((elsewhere["removed"].as_str(), elsewhere["held"].as_str()), ("2", "0"), "{elsewhere:?}");
}

#[test]
fn a_pid_is_told_from_the_process_that_wears_it() {
    let house = House::new();
    let live = Live::idle();
    let later = StartTime(live.start.0 + 1);
    let table = [
        // Path, content, removed, held, unclear.
        (SESSION_PATH, session(live.pid, live.start), (0, 1, 0)),
        (SESSION_PATH, session(live.pid, later), (1, 0, 0)),
        (SESSION_PATH, sidecar(live.pid), (1, 0, 0)),
        (USAGE_PATH, session(live.pid, live.start), (0, 1, 0)),
        (USAGE_PATH, session(live.pid, later), (1, 0, 0)),
        (USAGE_PATH, sidecar(live.pid), (0, 0, 1)),
        (USAGE_PATH, String::new(), (0, 0, 1)),
        // Above what any kernel gives away.
        (SESSION_PATH, r#"{"pid":2147483647}"#.to_owned(), (1, 0, 0)),
        (USAGE_PATH, r#"{"pid":4194305}"#.to_owned(), (1, 0, 0)),
    ];
    for (path, content, expected) in table {
        house.put(path, &content);
        let report = Sweep::of(&house).run();
        let counts = (report.removed, report.held, report.unclear);
        assert_eq!(counts, expected, "{path} {content}: {}", report.log());
        assert_eq!(house.has(path), expected.0 == 0);
        house.remove(path);
    }
}

#[test]
fn the_dead_in_hand_and_sextons_own_numbers_own_nothing() {
    let house = House::new();
    let corpse = Live::idle().into_corpse();
    for (content, reason) in [
        (sidecar(corpse.pid), "has just died"),
        (session(corpse.pid, corpse.start), "has just died"),
        (session(corpse.pid, StartTime(corpse.start.0 - 1)), "is another process now"),
    ] {
        house.put(USAGE_PATH, &content);
        let report = Sweep::of(&house).unreaped(&[(corpse.pid, corpse.start)]).run();
        assert_eq!(report.removed, 1, "{}", report.log());
        assert!(report.lines("lock-removed")[0]["reason"].contains(reason), "{}", report.log());
    }
    // The same without being told: it is a zombie.
    house.put(USAGE_PATH, &session(corpse.pid, corpse.start));
    let report = Sweep::of(&house).run();
    assert!(report.lines("lock-removed")[0]["reason"].contains("not yet reaped"), "{}", report.log());
    drop(report);

    // Our own number, even with our own start time, as after a reboot that went exactly the same way.
    let me = sexton::os::procfs::stat(house::own_pid()).unwrap().unwrap();
    house.put(USAGE_PATH, &session(me.pid, me.start));
    assert_eq!(Sweep::of(&house).run().removed, 1);
    let helper = Live::idle();
    house.put(USAGE_PATH, &session(helper.pid, helper.start));
    assert_eq!(Sweep::of(&house).run().held, 1);
    assert_eq!(Sweep::of(&house).helpers(&[helper.pid]).run().removed, 1);
}

#[test]
fn where_another_sexton_is_only_what_nobody_has_open_goes() {
    let house = House::new();
    let other = Sweep::of(&house).run();
    let dead = house::dead_pid();
    house.put(SESSION_PATH, &sidecar(dead));
    house.put(USAGE_PATH, &sidecar(dead));
    let report = Sweep::of(&house).run();
    assert!(!report.alone);
    assert_eq!((report.removed, report.unclear), (1, 1), "{}", report.log());
    assert!(!house.has(SESSION_PATH) && house.has(USAGE_PATH));
    let reason = &report.lines("lock-unclear")[0]["reason"];
    assert!(reason.contains("another sexton uses this root"), "{reason}");

    // The other is gone, and our registration of the first sweep is the one that counts.
    drop(other);
    let registration = report.registration.as_ref().unwrap();
    let report = Sweep::of(&house).registration(registration.as_fd()).run();
    assert!(report.alone && report.registration.is_none());
    assert_eq!(report.removed, 1, "{}", report.log());
}

/// A FUSE filesystem may be another machine's: whatever the kernel says of leases and of holds on it, and though its
/// owner is not visible here, the verdict is unclear.
#[test]
fn on_a_filesystem_that_others_may_use_unseen_a_lock_of_the_dead_is_unclear() {
    let what = "on_a_filesystem_that_others_may_use_unseen: mounts FUSE";
    if !is_root(what) || !there_is("/dev/fuse (modprobe fuse)", Path::new("/dev/fuse").exists(), what) {
        return;
    }
    let house = House::new();
    let mounted = fuse::Fuse::mount(&house.path(""), "one.jsonl.lock", &sidecar(house::dead_pid()));
    let report = Sweep::of(&house).undeclared().run();
    assert_eq!((report.removed, report.held, report.unclear), (0, 0, 1), "{}", report.log());
    assert_eq!(report.lines("root-shared").len(), 1, "{}", report.log());
    let reason = &report.lines("lock-unclear")[0]["reason"];
    assert!(reason.contains("may live in another container"), "{reason}");
    drop(report);
    assert_eq!(mounted.removals(), 0);
}

#[test]
fn at_a_noisy_moment_nothing_is_removed() {
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    house.put(USAGE_PATH, &sidecar(house::dead_pid()));
    let report = Sweep::of(&house).noisy().run();
    assert_eq!((report.removed, report.waiting), (0, 2), "{}", report.log());
    // While the first is registered, a dead pid alone proves nothing to another.
    let second = Sweep::of(&house).run();
    assert_eq!((second.removed, second.unclear), (1, 1), "{}", second.log());
    drop((report, second));
    assert_eq!(Sweep::of(&house).run().removed, 1);
}

#[test]
fn whatever_is_no_lock_stays_with_its_reason() {
    let house = House::new();
    let put = |name: &str| house.path(format!("agents/main/sessions/{name}.jsonl.lock"));
    house.put(SESSION_PATH, SESSION);
    house.remove(SESSION_PATH);
    nix::unistd::mkfifo(&put("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(put("socket")).unwrap();
    fs::create_dir(put("directory")).unwrap();
    fs::write(put("directory").join("owner.json"), SESSION).unwrap();
    fs::write(house.path("decoy"), SESSION).unwrap();
    symlink("../../../decoy", put("symlink")).unwrap();
    fs::hard_link(house.path("decoy"), put("hardlink")).unwrap();
    File::create(put("huge")).unwrap().set_len(300 << 20).unwrap();
    let mut skipped = 6;
    if is_root("whatever_is_no_lock_stays_with_its_reason: makes a device") {
        mknod(&put("device"), SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 5)).unwrap();
        skipped += 1;
    }
    let garbage: [&[u8]; 12] = [
        b"\x7fELF\x00\xff\xfe",
        b"\0\0\0\0\0\0",
        b"{\n  \"pid\": 2,\n  \"createdAt\": \"2026-11",
        b"{\"pid\":0}",
        b"{\"pid\":-1}",
        b"{\"pid\":9223372036854775808}",
        b"{\"pid\":\"2\"}",
        b"{\"pid\":2.5}",
        b"{\"pid\":2,\"pid\":3}",
        b"[]",
        b"{}",
        b"\n",
    ];
    for (index, bytes) in garbage.iter().enumerate() {
        fs::write(put(&format!("garbage-{index}")), bytes).unwrap();
    }
    let before = house.listing();
    let report = Sweep::of(&house).run();
    assert_eq!(house.listing(), before);
    assert_eq!((report.removed, report.skipped, report.unclear), (0, skipped, 12), "{}", report.log());
    assert_eq!(house.read("decoy"), SESSION);
    let reasons: Vec<String> =
        report.lines("lock-skipped").iter().map(|line| line["reason"].clone()).collect();
    for reason in ["named pipe", "socket", "directory", "symbolic link", "2 names", "too large"] {
        assert!(reasons.iter().any(|text| text.contains(reason)), "{reason}: {reasons:?}");
    }
}

#[test]
fn names_of_any_bytes_are_swept_and_shown_on_one_line() {
    let house = House::new();
    for name in [&b"a\nlock removed\x1b[2J.jsonl.lock"[..], b"b\xff\xfe.jsonl.lock"] {
        house.put(Path::new("agents/\u{202e}x/sessions").join(OsStr::from_bytes(name)), SESSION);
    }
    let report = Sweep::of(&house).run();
    assert_eq!(report.removed, 2, "{}", report.log());
    let paths: Vec<String> = report.lines("lock-removed").iter().map(|line| line["path"].clone()).collect();
    assert!(paths.iter().any(|path| path.ends_with("a\\nlock removed\\u{1b}[2J.jsonl.lock")), "{paths:?}");
    assert!(
        paths.iter().any(|path| path.ends_with("/agents/\\u{202e}x/sessions/b\\xff\\xfe.jsonl.lock")),
        "{paths:?}"
    );
}

#[test]
fn a_link_never_leads_out_of_the_root() {
    let house = House::new();
    let outside = House::beside(&house);
    outside.put("sessions/one.jsonl.lock", SESSION);
    outside.put("one.jsonl.lock", SESSION);
    let before = outside.listing();
    fs::create_dir_all(house.path("agents/main")).unwrap();
    symlink(outside.path(""), house.path("agents/link")).unwrap();
    symlink(outside.path("sessions"), house.path("agents/main/sessions")).unwrap();
    symlink(outside.path("sessions"), house.path("sessions")).unwrap();
    symlink(outside.path("one.jsonl.lock"), house.path("one.jsonl.lock")).unwrap();
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.skipped), (0, 4), "{}", report.log());
    assert_eq!(outside.listing(), before);
    assert_eq!(report.lines("directory-symlink").len(), 3);
}

#[test]
fn a_root_that_cannot_be_entered_is_one_clear_line() {
    let house = House::new();
    house.put("file", "");
    house.put("real/one.jsonl.lock", SESSION);
    symlink("real", house.path("link")).unwrap();
    for (name, event, words) in [
        ("nowhere", "root-missing", "does not exist"),
        ("file", "root-not-directory", "is not a directory"),
        ("file/below", "root-unreadable", "cannot be looked at"),
        ("link", "root-symlink", "is a symbolic link to real"),
        ("link/", "root-symlink", "is a symbolic link to real"),
    ] {
        let report = Sweep::at(Root::given(&house.path(name))).run();
        assert!(!report.entered);
        assert_eq!(report.events.len(), 1, "{}", report.log());
        assert_eq!((report.events[0].name, report.events[0].level), (event, tracing::Level::WARN));
        assert!(report.events[0].fields["message"].contains(words), "{}", report.log());
        // It was logged once; the next sweeps log it only at the level debug.
        let report = Sweep::at(Root::given(&house.path(name))).again().run();
        assert_eq!(report.events[0].level, tracing::Level::DEBUG);
    }
    let report = Sweep::at(Root::Discovered(vec![house.path("a"), house.path("b")])).run();
    assert!(report.events.iter().all(|event| event.level == tracing::Level::DEBUG), "{}", report.log());
    let report = Sweep::at(Root::Discovered(vec![house.path("a"), house.path("real")])).run();
    assert_eq!(report.removed, 1, "the first that exists is taken: {}", report.log());
    assert!(house.has("link"));
}

#[test]
fn the_temporary_root_is_its_owners() {
    let house = House::new();
    let uid = nix::unistd::geteuid().as_raw();
    house.put(format!("openclaw-{uid}/gateway.acb44012.lock"), GATEWAY);
    house.put(format!("openclaw-{}/gateway.acb44012.lock", uid + 1), GATEWAY);
    let temporary = |uid| Sweep::at(Root::Temporary { base: house.path(""), uid }).run();
    assert_eq!(temporary(uid).removed, 1);
    let foreign = temporary(uid + 1);
    assert!(!foreign.entered);
    assert_eq!(foreign.events[0].name, "root-wrong-owner", "{}", foreign.log());
    assert!(house.has(format!("openclaw-{}/gateway.acb44012.lock", uid + 1)));
}

#[test]
fn the_sweeper_becomes_the_roots_owner_for_good() {
    if !is_root("the_sweeper_becomes_the_roots_owner_for_good: changes its user") {
        return;
    }
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    house.put("sessions/private.jsonl.lock", SESSION);
    house.give_to(1000);
    chown(house.path("sessions/private.jsonl.lock"), Some(0), Some(0)).unwrap();
    fs::set_permissions(house.path("sessions/private.jsonl.lock"), Permissions::from_mode(0o600)).unwrap();
    let report = house::sweep_elsewhere(&house, house::Where::Here);
    for (key, value) in [
        ("uid", "1000 1000 1000 1000"),
        ("gid", "1000 1000 1000 1000"),
        ("groups", "1000"),
        ("capabilities", "0000000000000000"),
        ("no_new_privs", "1"),
        ("removed", "1"),
        ("unclear", "1"),
        ("exclusive", "true"),
    ] {
        assert_eq!(report[key], value, "{key}: {report:?}");
    }
    assert_eq!(fs::metadata(house.path(".sexton.lock")).unwrap().uid(), 1000);
    assert!(house.has("sessions/private.jsonl.lock"));
}

#[test]
fn a_root_that_is_roots_gives_up_its_users_locks_too() {
    if !is_root("a_root_that_is_roots_gives_up_its_users_locks_too: gives files away") {
        return;
    }
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    chown(house.path(SESSION_PATH), Some(1000), Some(1000)).unwrap();
    // As in a container: root has no CAP_LEASE there, and the kernel gives leases to a file's owner only.
    let report = house::sweep_elsewhere(&house, house::Where::WithoutLease);
    assert_eq!((report["uid"].as_str(), report["removed"].as_str()), ("0 0 0 0", "1"), "{report:?}");
    assert_eq!(report["capabilities"].len(), 16);
    let bits = u64::from_str_radix(&report["capabilities"], 16).unwrap();
    assert_eq!(bits >> 28 & 1, 0, "CAP_LEASE was there, so that this shows nothing");
    assert_ne!(bits, 0, "asking in another's name must not cost the capabilities");
}

#[test]
fn a_root_that_cannot_be_written_keeps_its_locks_and_says_so() {
    if !is_root("a_root_that_cannot_be_written_keeps_its_locks_and_says_so: changes its user") {
        return;
    }
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    house.put(USAGE_PATH, SESSION);
    house.give_to(1000);
    for path in ["", "agents/main/sessions"] {
        fs::set_permissions(house.path(path), Permissions::from_mode(0o555)).unwrap();
    }
    let report = house::sweep_elsewhere(&house, house::Where::Here);
    let counts = ["removed", "failed", "unclear", "exclusive"].map(|key| report[key].as_str());
    assert_eq!(counts, ["0", "1", "1", "false"], "{report:?}");
    fs::set_permissions(house.path(""), Permissions::from_mode(0o000)).unwrap();
    let report = house::sweep_elsewhere(&house, house::Where::Here);
    assert_eq!(report["entered"], "false");
    fs::set_permissions(house.path(""), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn on_a_filesystem_that_is_read_only_every_lock_stays_and_is_judged_all_the_same() {
    if !is_root("on_a_filesystem_that_is_read_only: mounts one") {
        return;
    }
    let house = House::new();
    let mounted = house::Mounted::tmpfs(&house, "size=1m");
    house.put(SESSION_PATH, SESSION);
    house.put(USAGE_PATH, &sidecar(house::dead_pid()));
    mounted.make_read_only();
    let before = house.listing();
    let report = Sweep::of(&house).run();
    // No process has the first open; of the second it is unknown whether another sexton is there.
    assert_eq!((report.removed, report.failed, report.unclear), (0, 1, 1), "{}", report.log());
    assert!(!report.alone && report.lines("root-unregistered").len() == 1, "{}", report.log());
    let line = &report.lines("lock-remove-failed")[0];
    assert!(line["error"].contains("Read-only file system"), "{line:?}");
    assert_eq!(house.listing(), before);
}

/// Not a test of its own: [`house::sweep_elsewhere`] runs it in another process.
#[test]
#[ignore = "a part of other tests, which run it in a process of its own"]
fn sweep_here() {
    let Some(root) = std::env::var_os("SEXTON_TEST_ROOT") else { return };
    let report = Sweep::at(Root::given(Path::new(&root))).run();
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nREPORT;entered={};removed={};held={};unclear={};failed={};exclusive={};uid={};gid={};groups={};\
         capabilities={};no_new_privs={}",
        report.entered,
        report.removed,
        report.held,
        report.unclear,
        report.failed,
        report.alone,
        field("Uid:"),
        field("Gid:"),
        field("Groups:"),
        field("CapEff:"),
        field("NoNewPrivs:"),
    )
    .unwrap();
}
