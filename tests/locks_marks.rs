//! Marks: a lock whose owner sexton has seen alive is known to be a dead one's in sexton's next life. None of them may
//! ever cost a living owner its lock.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/container.rs"]
mod container;
#[path = "locks/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use container::{Container, UNTIL_MARKED};
use house::{House, in_a_namespace};

const MARKS: &str = ".sexton.marks";
const OPEN: &str = "run/open.pid";
const PLAIN: &str = "run/plain.pid";
const DEPS: &str = "plugin-runtime-deps/.openclaw-runtime-deps.lock/owner.json";
const SERVER: &str = "run/server.pid";
const RULE: &str = "[[locks.rule]]\npath = \"run/server.pid\"\nformat = \"pid\"\nsocket = \"server.sock\"\n";

/// Takes locks of every sort that a mark can be made of, and one of which none can: a pid file that was closed. The
/// server is another sexton, for its socket.
const TAKE: &str = r#"
    exec 9>run/open.pid; echo $$ >&9
    echo $$ >run/plain.pid
    start=$(cut -d' ' -f22 /proc/$$/stat)
    echo "{\"pid\":$$,\"starttime\":$start}" >plugin-runtime-deps/.openclaw-runtime-deps.lock/owner.json
    "$SEXTON" --no-locks --control run/server.sock -- sleep 1000 9>&- & echo $! >run/server.pid
    until [ -S run/server.sock ]; do :; done
"#;

/// What sexton says of the locks at its start as PID 1 of a new container, and which of them are left then.
fn next_life(house: &House, config: &str) -> (String, Vec<&'static str>) {
    let file = House::beside(house);
    file.put("sexton.toml", config);
    let mut command = in_a_namespace();
    command.arg(env!("CARGO_BIN_EXE_sexton")).args(["-v", "--control", "off", "--config"]);
    command.arg(file.path("sexton.toml")).arg("--lock-root").arg(house.path("")).args(["--", "true"]);
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let left = [OPEN, PLAIN, DEPS, SERVER].into_iter().filter(|path| house.has(path)).collect();
    (log, left)
}

const SEXTON: Option<&[&str]> = Some(&["--control", "off"]);

/// The options with a configuration file in the house beside it.
fn with_rule(config: &House) -> Vec<String> {
    config.put("sexton.toml", RULE);
    let path = config.path("sexton.toml").into_os_string().into_string().unwrap();
    ["--control", "off", "--config", &path].map(str::to_owned).to_vec()
}

fn refs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn what_was_seen_alive_in_one_life_is_dead_in_the_next() {
    if !house::is_root("what_was_seen_alive: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let config = House::beside(&house);
    let options = with_rule(&config);
    let script = format!("{TAKE}\n until_marked 3; echo up; read -r _");
    Container::start(&house, Some(&refs(&options)), &script).kill();
    assert_eq!(fs::metadata(house.path(MARKS)).unwrap().permissions().mode() & 0o777, 0o600);
    let (log, left) = next_life(&house, RULE);
    // Of a pid file that was closed nothing shows that its owner was ours.
    assert_eq!(left, [PLAIN], "{log}");
    assert_eq!(log.matches("sexton has seen its owner alive, which is dead").count(), 3, "{log}");
    let (log, left) = next_life(&house, "[locks]\nsharing = \"exclusive\"\n");
    assert_eq!(left, [""; 0], "{log}");
}

/// Beside a command that goes on, or whose successor comes: a dead process holds no lock any more.
#[test]
fn who_was_seen_alive_and_dies_in_the_same_life_holds_no_lock() {
    if !house::is_root("who_was_seen_alive_and_dies: makes a pid namespace") {
        return;
    }
    let house = House::new();
    let script = r#"
        sh -c 'exec 9>run/open.pid; echo $$ >&9; echo $$ >run/plain.pid; exec sleep 1000' & worker=$!
        until [ -s run/plain.pid ]; do :; done
        until_marked 1; echo up; read -r _
        kill -9 $worker; exec 9>&-"#;
    let mut container = Container::start(&house, SEXTON, script);
    assert!(house.has(OPEN) && container.is_alive());
    assert_eq!(container.ends(), Some(0));
    assert_eq!((house.has(OPEN), house.has(PLAIN)), (false, true));
}

/// Two containers of one image on one volume. The neighbour has no sexton and the same numbers: its locks name a
/// process of ours that lives.
#[test]
fn a_neighbours_lock_with_a_number_of_ours_is_never_marked() {
    if !house::is_root("a_neighbours_lock_with_a_number_of_ours: makes pid namespaces") {
        return;
    }
    let house = House::new();
    // Near the end of those that the kernel gives away.
    let number = r#"number=$(($(cat /proc/sys/kernel/pid_max) - 30)); echo $((number - 1)) >/proc/sys/kernel/ns_last_pid"#;
    let neighbour = format!(
        r#"{number}; sh -c 'echo $$ >run/plain.pid; exec sleep 1000' & until [ -s run/plain.pid ]; do :; done
        [ $! = $number ] && [ "$(cat run/plain.pid)" = $number ] && echo up; read -r _; kill $!"#
    );
    let mut neighbour = Container::start(&house, None, &neighbour);
    // Our process of that number has read the lock open, and holds it so: it is only a reader. Another lock is marked.
    let ours = format!(
        r#"{number}; sh -c 'exec 8<run/plain.pid; echo >run/is-open; exec sleep 1000' & until [ -e run/is-open ]; do :; done
        exec 9>run/open.pid; echo $$ >&9; until_marked 1; [ $! = $number ] && echo up; read -r _"#
    );
    let ours = Container::start(&house, SEXTON, &ours);
    ours.kill();
    let (log, left) = next_life(&house, "");
    assert!(neighbour.is_alive());
    assert_eq!(left, [PLAIN], "{log}");
    assert!(log.contains("the owner may live in another container"), "{log}");
}

/// A lock that was taken anew since it was marked is another one, however like the old one it is.
#[test]
fn a_mark_is_of_one_lock_and_not_of_the_next_one_at_its_path() {
    if !house::is_root("a_mark_is_of_one_lock: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let script = format!("{TAKE}\n until_marked 2; echo up; read -r _");
    Container::start(&house, SEXTON, &script).kill();
    let before = fs::read_to_string(house.path(OPEN)).unwrap();
    // In its place, with the same bytes: by a successor without sexton, which lives and has closed it.
    let again = r#"printf '%s\n' "$(cat run/open.pid)" >run/open.pid; echo up; read -r _"#;
    let mut neighbour = Container::start(&house, None, again);
    assert_eq!(fs::read_to_string(house.path(OPEN)).unwrap(), before);
    let (log, left) = next_life(&house, "");
    assert!(neighbour.is_alive());
    assert_eq!(left, [OPEN, PLAIN, SERVER], "{log}");
}

/// A wrapper that was killed leaves processes behind that live on, with locks that it has marked.
#[test]
fn the_marks_of_a_wrapper_that_was_killed_prove_nothing() {
    if !house::is_root("the_marks_of_a_wrapper: makes pid namespaces") {
        return;
    }
    let house = House::new();
    let owner = r#"start=$(cut -d" " -f22 /proc/$$/stat)
        echo "{\"pid\":$$,\"starttime\":$start}" >plugin-runtime-deps/.openclaw-runtime-deps.lock/owner.json
        until [ -e run/marked ]; do sleep 0.05; done; echo up; exec sleep 1000"#;
    fs::create_dir_all(house.path("run")).unwrap();
    house.put("run/owner.sh", owner);
    let script = r#""$SEXTON" --control off --lock-root "$1" -- sh -c '
            . run/functions
            setsid sh run/owner.sh & until_marked 1; echo >run/marked; sleep 1000' & wrapper=$!
        until [ -e run/marked ]; do sleep 0.05; done; kill -9 $wrapper; wait $wrapper; read -r _"#;
    house.put("run/functions", UNTIL_MARKED);
    let mut container = Container::start(&house, None, script);
    let (log, left) = next_life(&house, "");
    assert!(container.is_alive());
    assert_eq!(left, [DEPS], "{log}");
}

/// The file counts only where it was written, and only as it was.
#[test]
fn a_mark_file_that_was_copied_forged_or_opened_to_others_counts_for_nothing() {
    if !house::is_root("a_mark_file_that_was_copied: makes pid namespaces and gives files away") {
        return;
    }
    let house = House::new();
    let path = house.path(MARKS);
    // The owner lives: its container was not killed. Only the lock on the file says so.
    let script = format!("{TAKE}\n until_marked 2; echo up; read -r _");
    let mut owner = Container::start(&house, SEXTON, &script);
    let marks = fs::read(&path).unwrap();
    let mut stays = |what: &str, plant: &dyn Fn(&Path)| {
        let _ = fs::remove_file(&path);
        plant(&path);
        // As if no sexton used the root: each looks for itself alone.
        house.remove(".sexton.lock");
        let (log, left) = next_life(&house, "");
        assert!(owner.is_alive());
        assert_eq!(left, [OPEN, PLAIN, DEPS, SERVER], "{what}: {log}");
        house.remove(".sexton.lock");
    };
    let text = String::from_utf8(marks).unwrap();
    let put = |path: &Path, bytes: &str, mode: u32| {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let own = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        let old = text.find("\"file\":[").map(|at| (at, at + text[at..].find(']').unwrap() + 1)).unwrap();
        format!("{}\"file\":[{},{}]{}", &text[..old.0], meta.dev(), meta.ino(), &text[old.1..])
    };
    stays("a copy", &|path| put(path, &text, 0o600));
    stays("one that others can read", &|path| {
        put(path, "", 0o644);
        put(path, &own(path), 0o644);
    });
    stays("another user's", &|path| {
        put(path, "", 0o600);
        put(path, &own(path), 0o600);
        std::os::unix::fs::chown(path, Some(1000), None).unwrap();
    });
    stays("one with two names", &|path| {
        put(path, "", 0o600);
        put(path, &own(path), 0o600);
        fs::hard_link(path, house.path("other")).unwrap();
    });
    stays("a link", &|path| {
        let elsewhere = house.path("elsewhere");
        put(&elsewhere, "", 0o600);
        put(&elsewhere, &own(&elsewhere), 0o600);
        std::os::unix::fs::symlink(&elsewhere, path).unwrap();
    });
    stays("a torn one", &|path| {
        put(path, "", 0o600);
        let whole = own(path);
        put(path, &whole[..whole.len() - 1], 0o600);
    });
    stays("one in a directory that others can write", &|path| {
        put(path, "", 0o600);
        put(path, &own(path), 0o600);
        fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o1777)).unwrap();
    });
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // That all of this was wrong with them and nothing else: with the right file, root forges what it likes.
    let _ = fs::remove_file(&path);
    put(&path, "", 0o600);
    put(&path, &own(&path), 0o600);
    house.remove(".sexton.lock");
    let (log, left) = next_life(&house, "");
    assert_eq!(left, [OPEN, PLAIN, SERVER], "{log}");
}
