//! Locks whose owner lives where sexton does not see it: in a container without sexton, or in a namespace below.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use house::{House, Live, Mounted, Sweep, in_a_namespace};
use sexton::types::Pid;

const USAGE: &str = "agents/main/sessions/.usage-cost-cache.json.lock";
const DEPS: &str = "plugin-runtime-deps/.openclaw-runtime-deps.lock/owner.json";
const PROFILE: &str = "browser/openclaw/user-data";

/// A container without sexton: a shell that is PID 1 of a pid namespace, with a child that owns locks of every kind
/// that is not kept open. It ends with its input.
struct Container {
    child: Child,
    input: Option<ChildStdin>,
    /// The owner's number in there, which no process has outside: near the end of those that the kernel gives away.
    owner: String,
}

impl Container {
    fn start(house: &House) -> Container {
        for directory in
            ["agents/main/sessions", "plugin-runtime-deps/.openclaw-runtime-deps.lock", PROFILE, "run"]
        {
            fs::create_dir_all(house.path(directory)).unwrap();
        }
        let script = format!(
            r#"cd "$1"; echo $(($(cat /proc/sys/kernel/pid_max) - 40)) >/proc/sys/kernel/ns_last_pid; sleep 1000 & owner=$!; read -r stat </proc/$owner/stat; start=$(echo "$stat" | cut -d' ' -f22)
            echo $owner >run/worker.pid
            echo "{{\"pid\":$owner,\"startedAt\":5}}" >{USAGE}
            echo "{{\"pid\":$owner,\"starttime\":$start}}" >{DEPS}
            ln -s "some-container-$owner" {PROFILE}/SingletonLock
            echo $owner; read -r _; kill $owner"#
        );
        let mut command = in_a_namespace();
        command.args(["sh", "-c", &script, "sh"]).arg(house.path(""));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let mut owner = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut owner).unwrap();
        assert!(owner.ends_with('\n'), "{owner}");
        Container { child, input, owner: owner.trim().to_owned() }
    }

    /// Whether the owner still lives, seen from outside.
    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The log of a sexton that is PID 1 of another container on the same directory, whose command ends at once.
fn sexton_beside(house: &House, config: Option<&str>) -> String {
    let file = House::beside(house);
    file.put("sexton.toml", config.unwrap_or_default());
    let mut command = in_a_namespace();
    command.arg(env!("CARGO_BIN_EXE_sexton"));
    command.args(["-v", "--control", "off", "--config"]).arg(file.path("sexton.toml"));
    let output = command.arg("--lock-root").arg(house.path("")).args(["--", "true"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    log
}

#[test]
fn the_locks_of_a_living_neighbour_without_sexton_stay() {
    if !house::is_root("the_locks_of_a_living_neighbour: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let mut neighbour = Container::start(&house);
    let before = house.listing();
    let log = sexton_beside(&house, None);
    assert!(neighbour.is_alive());
    assert_eq!(house.listing(), before, "{log}");
    assert!(!log.contains("lock-removed"), "{log}");
    let unclear: Vec<&str> = log.lines().filter(|line| line.contains("lock-unclear")).collect();
    assert_eq!(unclear.len(), 8, "before the command and after it: {log}");
    for line in unclear {
        assert!(line.contains(&format!("pid={}", neighbour.owner)), "{line}");
        assert!(line.contains("set sharing = 'exclusive' in [locks]"), "the line names the word: {line}");
    }
}

#[test]
fn where_the_operator_says_that_no_owner_lives_elsewhere_the_locks_of_the_dead_go() {
    if !house::is_root("where_the_operator_says: makes pid namespaces") {
        return;
    }
    let house = House::new();
    drop(Container::start(&house));
    let log = sexton_beside(&house, Some("[locks]\nsharing = \"exclusive\"\n"));
    assert_eq!(log.matches("lock-removed").count(), 4, "{log}");
    assert!(log.contains("locks.sharing says"), "the reason names the word: {log}");
    assert_eq!(fs::read_dir(house.path("run")).unwrap().count(), 0, "{log}");
}

#[test]
fn the_lock_of_a_process_in_a_namespace_below_stays_against_every_word() {
    if !house::is_root("the_lock_of_a_process_in_a_namespace_below: makes a pid namespace") {
        return;
    }
    let house = House::new();
    // A number that no process has out here: near the end of those that the kernel gives away.
    let script = r#"echo $(($(cat /proc/sys/kernel/pid_max) - 20)) >/proc/sys/kernel/ns_last_pid
        sleep 1000 & echo "$! $(cut -d' ' -f22 /proc/$!/stat)"; read -r _; kill $!"#;
    let mut command = in_a_namespace();
    command.args(["sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (number, start) = line.trim().split_once(' ').unwrap();
    let number: i32 = number.parse().unwrap();
    let absent = !sexton::os::presence::exists(Pid::new(number).unwrap()).unwrap();
    assert!(absent, "or this shows nothing: {number}");
    let look = |content: &str| {
        house.put("run/worker.pid", &format!("{number}\n"));
        house.put(USAGE, content);
        let swept = Sweep::of(&house).run();
        (swept.removed, swept.held, swept.unclear, swept.log())
    };
    // Without a start time it may be the owner; with the right one it is; with another one it is not.
    let (removed, held, unclear, log) = look(&format!("{{\"pid\":{number}}}"));
    assert_eq!((removed, held, unclear), (0, 0, 2), "{log}");
    assert!(log.contains(&format!("is {number} in a pid namespace of its own")), "{log}");
    let (removed, held, unclear, log) = look(&format!("{{\"pid\":{number},\"starttime\":{start}}}"));
    assert_eq!((removed, held, unclear), (0, 1, 1), "{log}");
    let (removed, held, unclear, log) = look(&format!("{{\"pid\":{number},\"starttime\":7}}"));
    assert_eq!((removed, held, unclear), (1, 0, 1), "{log}");
    drop(child.stdin.take());
    child.wait().unwrap();
    let (removed, _, _, log) = look(&format!("{{\"pid\":{number}}}"));
    assert_eq!(removed, 2, "its owner is dead: {log}");
}

/// A tool in a namespace of its own writes the number down that it has in there. An orphan's death has sexton sweep
/// beside it.
#[test]
fn sexton_keeps_the_lock_of_its_own_descendant_in_a_namespace_below() {
    if !house::is_root("sexton_keeps_the_lock_of_its_own_descendant: makes pid namespaces") {
        return;
    }
    let house = House::new();
    fs::create_dir_all(house.path("run")).unwrap();
    fs::create_dir_all(house.path("sessions")).unwrap();
    let config = House::beside(&house);
    config.put("sexton.toml", "[locks]\nsharing = \"exclusive\"\n");
    // PID 1 below is a number of sexton's out here. The orphan leaves a session lock, whose end shows the sweep.
    let script = r#"cd "$1"
        unshare --fork --pid --kill-child --mount-proc sh -c 'echo $$ >run/tool.pid; echo up; exec sleep 1000' >up &
        until [ -s up ]; do :; done
        (setsid sh -c 'exec 9>sessions/one.jsonl.lock; echo "{\"pid\":$$}" >&9; sleep 0.2' &)
        until [ -e sessions/one.jsonl.lock ]; do :; done
        for i in $(seq 300); do [ -e sessions/one.jsonl.lock ] || break; sleep 0.1; done
        [ ! -e sessions/one.jsonl.lock ] && [ -e run/tool.pid ]"#;
    let mut command = in_a_namespace();
    command.arg(env!("CARGO_BIN_EXE_sexton")).args(["-v", "--config"]);
    command.arg(config.path("sexton.toml")).args([
        "--control",
        "off",
        "--kill-after",
        "1s",
        "--sweep-timeout",
        "60s",
        "--lock-root",
    ]);
    command.arg(house.path("")).args(["--", "sh", "-c", script, "sh"]).arg(house.path(""));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    // When the tool is dead as well, nothing is left.
    assert!(!house.has("run/tool.pid"), "{log}");
}

/// In the first pid namespace of a kernel every owner is visible, whatever container it lives in.
#[test]
fn where_every_process_is_visible_no_word_is_needed() {
    let what = "where_every_process_is_visible: has to run in the kernel's first pid namespace";
    if !house::is_root(what) || !sexton::os::boot::every_process_is_visible() {
        return;
    }
    let house = House::new();
    house.put("run/dead.pid", &format!("{}\n", house::dead_pid()));
    let neighbour = Container::start(&house);
    let swept = Sweep::of(&house).undeclared().run();
    assert_eq!((swept.removed, house.has("run/dead.pid")), (1, false), "{}", swept.log());
    assert!(swept.log().contains("every process of this machine is visible"), "{}", swept.log());
    assert!(house.has("run/worker.pid") && house.has(USAGE) && house.has(DEPS), "{}", swept.log());
    assert!(house.path(PROFILE).join("SingletonLock").is_symlink(), "{}", swept.log());
    drop((swept, neighbour));
    let swept = Sweep::of(&house).undeclared().run();
    assert_eq!(swept.removed, 4, "all of them are dead: {}", swept.log());
}

/// The number of a lock that names a living process of ours is in use, whatever the operator says.
#[test]
fn a_number_in_use_stands_against_every_word() {
    let house = House::new();
    let live = Live::idle();
    house.put("run/worker.pid", &format!("{}\n", live.pid));
    fs::create_dir_all(house.path(PROFILE)).unwrap();
    symlink(format!("another-host-{}", live.pid), house.path(format!("{PROFILE}/SingletonLock"))).unwrap();
    let swept = Sweep::of(&house).run();
    assert_eq!((swept.removed, swept.unclear), (0, 2), "{}", swept.log());
}

/// A browser's link names no process that could be asked for; its history databases are open as long as it runs.
#[test]
fn a_browsers_lock_goes_once_none_of_its_databases_is_open() {
    if !house::is_root("a_browsers_lock_goes: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let plant = || {
        house.put(format!("{PROFILE}/Default/History"), "");
        house.put(format!("{PROFILE}/Profile 1/History"), "");
        house.put(format!("{PROFILE}/Local State"), "");
        symlink("some-container-32700", house.path(format!("{PROFILE}/SingletonLock"))).unwrap();
    };
    let there = || house.path(format!("{PROFILE}/SingletonLock")).is_symlink();
    plant();
    for profile in ["Default", "Profile 1"] {
        let browser = Live::holding_in_a_namespace(&house.path(format!("{PROFILE}/{profile}/History")));
        let log = sexton_beside(&house, Some("[locks]\nsharing = \"exclusive\"\n"));
        assert!(there(), "{profile}: {log}");
        assert!(!log.contains("lock-removed"), "{profile}: {log}");
        drop(browser);
    }
    let begun = Instant::now();
    let log = sexton_beside(&house, None);
    assert!(!there(), "{log}");
    assert!(log.contains("no process has the files open that its owner keeps open"), "{log}");
    // A lock as new as this one may be a browser's that has not come to its database yet.
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was asked twice");

    // Without any database, or with one of another user, there is no answer.
    plant();
    chown(house.path(format!("{PROFILE}/Default/History")), Some(1000), None).unwrap();
    let log = sexton_beside(&house, None);
    assert!(there() && log.contains("lock-unclear"), "{log}");
    fs::remove_dir_all(house.path(format!("{PROFILE}/Default"))).unwrap();
    fs::remove_dir_all(house.path(format!("{PROFILE}/Profile 1"))).unwrap();
    let log = sexton_beside(&house, None);
    assert!(there() && log.contains("lock-unclear"), "{log}");
}

const X_LOCK: &str = ".X99-lock";
const X_SOCKET: &str = ".X11-unix/X99";
const X_RULE: &str =
    "[[locks.rule]]\nname = \"x\"\npath = \".X*-lock\"\nformat = \"pid\"\nsocket = \".X11-unix/X*\"\n";

/// The lock of an X server of another container, with its socket, which is bound after it.
fn x_server<T>(house: &House, bind: impl Fn(&Path) -> T) -> T {
    let _ = fs::remove_file(house.path(X_SOCKET));
    house.remove(X_LOCK);
    house.put(X_LOCK, "     32700\n");
    fs::create_dir_all(house.path(".X11-unix")).unwrap();
    bind(&house.path(X_SOCKET))
}

/// The test itself is the neighbour: it lives in another pid namespace than sexton.
#[test]
fn a_socket_that_answers_keeps_its_lock_against_every_word() {
    if !house::is_root("a_socket_that_answers: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let word = format!("[locks]\nsharing = \"exclusive\"\n{X_RULE}");
    let stays = |what: &str| {
        let log = sexton_beside(&house, Some(&word));
        assert!(house.has(X_LOCK), "{what}: {log}");
        assert!(log.contains("a process on this machine listens at its owner's socket"), "{what}: {log}");
    };
    let listener = x_server(&house, |path| UnixListener::bind(path).unwrap());
    stays("a server that does not accept");
    // As many as may wait there: the kernel says EAGAIN.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    stays("a server with a full queue");
    // A server that ends takes no more connections, and holds the lock until its clients are gone.
    nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Read).unwrap();
    stays("a server that listens no longer");
    drop(listener);
    let early = x_server(&house, |path| {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
        let early = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(early.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        early
    });
    stays("a server that does not listen yet");
    drop(early);
    let datagrams = x_server(&house, |path| UnixDatagram::bind(path).unwrap());
    stays("a server of another protocol");
    drop(datagrams);
    let log = sexton_beside(&house, Some(&word));
    assert!(!house.has(X_LOCK), "{log}");
}

#[test]
fn the_lock_of_a_server_goes_once_its_socket_refuses() {
    if !house::is_root("the_lock_of_a_server_goes: makes pid namespaces and mounts") {
        return;
    }
    let house = House::new();
    let dead = |path: &Path| drop(UnixListener::bind(path).unwrap());
    let begun = Instant::now();
    x_server(&house, dead);
    let log = sexton_beside(&house, Some(X_RULE));
    assert!(!house.has(X_LOCK), "{log}");
    assert!(log.contains("no process listens at its owner's socket"), "{log}");
    // A lock as new as this one may be a server's that does not listen yet.
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was asked twice");

    // What is not its owner's, not of its mount, older than it, or no socket proves nothing.
    let stays = |what: &str, spoil: &dyn Fn() -> Option<Mounted>| {
        x_server(&house, dead);
        let _mounted = spoil();
        let log = sexton_beside(&house, Some(X_RULE));
        assert!(house.has(X_LOCK) && log.contains("lock-unclear"), "{what}: {log}");
    };
    stays("another user's", &|| {
        chown(house.path(X_SOCKET), Some(1000), None).unwrap();
        None
    });
    stays("older", &|| {
        std::thread::sleep(Duration::from_millis(20));
        chown(house.path(X_LOCK), Some(0), None).unwrap();
        None
    });
    stays("another mount's", &|| Some(Mounted::on_itself(house.path(".X11-unix"))));
    stays("a file", &|| {
        fs::remove_file(house.path(X_SOCKET)).unwrap();
        house.put(X_SOCKET, "");
        None
    });
    stays("a link to a socket", &|| {
        fs::rename(house.path(X_SOCKET), house.path("elsewhere")).unwrap();
        symlink(house.path("elsewhere"), house.path(X_SOCKET)).unwrap();
        None
    });
    stays("missing", &|| {
        fs::remove_file(house.path(X_SOCKET)).unwrap();
        None
    });
}

/// A server that knows who connects must not meet root for what is another user's business.
#[test]
fn a_socket_is_asked_as_the_locks_owner() {
    if !house::is_root("a_socket_is_asked_as_the_locks_owner: makes pid namespaces and gives files away") {
        return;
    }
    let house = House::new();
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    let listener = x_server(&house, |path| UnixListener::bind(path).unwrap());
    for path in [X_LOCK, X_SOCKET] {
        chown(house.path(path), Some(1000), Some(1001)).unwrap();
    }
    sexton_beside(&house, Some(X_RULE));
    let (asked, _) = listener.accept().unwrap();
    let who = nix::sys::socket::getsockopt(&asked, nix::sys::socket::sockopt::PeerCredentials).unwrap();
    assert_eq!((who.uid(), who.gid()), (1000, 1001));
    let mut heard = Vec::new();
    std::io::Read::read_to_end(&mut &asked, &mut heard).unwrap();
    assert!(heard.is_empty(), "not one byte: {heard:?}");
}

/// A database's lock has its pid on the first of several lines; what its owner has open are other files.
#[test]
fn a_rule_can_name_the_files_that_the_owner_keeps_open_instead() {
    if !house::is_root("a_rule_can_name_the_files: makes pid namespaces") {
        return;
    }
    const LOCK: &str = "db/postmaster.pid";
    let rule = "[[locks.rule]]\npath = \"db/*.pid\"\nformat = \"first-line\"\nwitness = \"base/*/1*\"\n";
    let house = House::new();
    house.put(LOCK, "32700\n/db\n1795330765\n5432\n");
    house.put("db/base/5/1249", "");
    house.put("db/base/5/2600", "");
    house.put("db/base/16384/1249", "");
    house.put("db/base/README", "");
    let server = Live::holding_in_a_namespace(&house.path("db/base/16384/1249"));
    let word = format!("[locks]\nsharing = \"exclusive\"\n{rule}");
    let log = sexton_beside(&house, Some(&word));
    assert!(house.has(LOCK) && log.contains("has a file open that only its owner keeps open"), "{log}");
    drop(server);
    // Another file beside them says nothing.
    let _other = Live::holding_in_a_namespace(&house.path("db/base/5/2600"));
    let log = sexton_beside(&house, Some(rule));
    assert!(!house.has(LOCK) && log.contains("no process has the files open"), "{log}");
    // A line without its end may be torn.
    house.put(LOCK, "32700");
    let log = sexton_beside(&house, Some(&word));
    assert!(house.has(LOCK) && log.contains("its first line is not a pid"), "{log}");
}
