//! The way to a lock root: only root and sexton's own user can lead it to something of another's, at the first
//! sweep or later, and as whom a root is swept is decided once.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use house::{House, Sweep, is_root, there_is};
use sexton::locks::{KnownRoot, Root, RootOwner};

const USER: u32 = 1000;
/// Of a process that is long dead, and of a kind that no process has open then.
const SESSION: &str = include_str!("locks/session.jsonl.lock");

fn lock_in(root: &str) -> String {
    format!("{root}/sessions/own.jsonl.lock")
}

/// A tree in a directory of root's that every user may enter. In `sys` root has what a sweep would like to remove.
struct Tree {
    house: House,
    sys: Vec<String>,
}

impl Tree {
    fn new() -> Tree {
        let house = House::new();
        fs::set_permissions(house.path(""), Permissions::from_mode(0o755)).unwrap();
        let tree = Tree { house, sys: Vec::new() };
        for path in ["sys/run/sessions/roots.jsonl.lock", "sys/sessions/roots.jsonl.lock"] {
            tree.house.put(path, SESSION);
        }
        Tree { sys: tree.listing("sys"), ..tree }
    }

    fn path(&self, path: &str) -> String {
        self.house.path(path).into_os_string().into_string().unwrap()
    }

    /// A directory of this user's, with a lock of the dead in it.
    fn root_of(&self, path: &str, uid: u32) {
        self.directory(path, uid, 0o755);
        self.house.put(lock_in(path), SESSION);
        for made in [format!("{path}/sessions"), lock_in(path)] {
            chown(self.path(&made), Some(uid), Some(uid)).unwrap();
        }
    }

    fn has_lock(&self, root: &str) -> bool {
        self.house.has(lock_in(root))
    }

    fn directory(&self, path: &str, uid: u32, mode: u32) {
        fs::create_dir_all(self.path(path)).unwrap();
        fs::set_permissions(self.path(path), Permissions::from_mode(mode)).unwrap();
        chown(self.path(path), Some(uid), Some(uid)).unwrap();
    }

    fn link(&self, path: &str, uid: u32, target: &str) {
        symlink(target, self.path(path)).unwrap();
        lchown(self.path(path), Some(uid), Some(uid)).unwrap();
    }

    /// Everything below a directory: what it is, whose, since when, and what it holds.
    fn listing(&self, below: &str) -> Vec<String> {
        fn look(path: &Path, found: &mut Vec<String>) {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
            let when = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            found.push(format!(
                "{path:?} {} {:o} {} {when:?} {content:?}",
                meta.ino(),
                meta.mode(),
                meta.uid()
            ));
            if meta.is_dir() {
                let entries = fs::read_dir(path).unwrap();
                entries.for_each(|entry| look(&entry.unwrap().path(), found));
            }
        }
        let mut found = Vec::new();
        look(Path::new(&self.path(below)), &mut found);
        found.sort();
        found
    }

    /// That root's things are as they were. A directory that was renamed is looked at under its new name.
    fn assert_untouched(&self, what: &str) {
        assert_eq!(self.listing("sys"), self.sys, "{what}");
    }

    fn sexton(&self, root: &str) -> Command {
        self.through(&[], root)
    }

    /// sexton with this root, started by another program.
    fn through(&self, launcher: &[&str], root: &str) -> Command {
        let words =
            [launcher, &[env!("CARGO_BIN_EXE_sexton"), "-vv", "--control", "off", "--lock-root"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.path(root)).arg("--").stdin(Stdio::null());
        command
    }
}

const AS_USER: [&str; 4] = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];

fn log_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let log = log_of(&output);
    assert!(output.status.success(), "{log}");
    log
}

/// The only line of this name, which has to have these words.
fn assert_said_once(log: &str, name: &str, words: &[&str]) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!(" {name}: "))).collect();
    assert_eq!(lines.len(), 1, "{name}: {log}");
    assert!(lines[0].contains("WARN"), "{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
}

/// A trap: its name, how it is made, and what is said of it.
type Trap = (&'static str, fn(&Tree), [&'static str; 2]);

/// What the gateway's user can put above a root before sexton starts.
const TRAPS: &[Trap] = &[
    ("relative", |tree| tree.link("gw/app", USER, "../sys"), ["gw/app", "symbolic link, of user 1000"]),
    (
        "absolute",
        |tree| tree.link("gw/app", USER, &tree.path("sys")),
        ["gw/app", "symbolic link, of user 1000"],
    ),
    (
        "over two",
        |tree| {
            tree.directory("gw/between", USER, 0o755);
            tree.link("gw/app", USER, "between/next");
            tree.link("gw/between/next", USER, "../../sys");
        },
        ["gw/app", "symbolic link, of user 1000"],
    ),
    (
        "root's own link in the user's directory",
        |tree| tree.link("gw/app", 0, "../sys"),
        ["gw/app", "symbolic link, of user 0"],
    ),
    (
        "in a directory for everybody",
        |tree| {
            tree.directory("gw", 0, 0o1777);
            tree.link("gw/app", USER, "../sys");
        },
        ["gw/app", "symbolic link, of user 1000"],
    ),
    (
        "a directory of root's",
        |tree| {
            fs::rename(tree.path("sys"), tree.path("gw/app")).unwrap();
        },
        ["gw on its way belongs to user 1000", "gw/app to user 0"],
    ),
    (
        "a directory of another user's",
        |tree| {
            tree.root_of("gw/app", 1001);
            tree.root_of("gw/app/run", 1001);
        },
        ["gw on its way belongs to user 1000", "gw/app to user 1001"],
    ),
];

fn trapped(set: fn(&Tree)) -> Tree {
    let tree = Tree::new();
    tree.directory("gw", USER, 0o755);
    set(&tree);
    tree
}

#[test]
fn what_a_user_put_above_a_root_before_the_start_leads_nowhere() {
    if !is_root("what_a_user_put_above_a_root: changes its user") {
        return;
    }
    for (name, set, words) in TRAPS {
        let tree = trapped(*set);
        let before = tree.listing("");
        let log = run(tree.sexton("gw/app/run").arg("true"));
        assert_said_once(&log, "root-unsafe-path", words);
        assert_eq!(tree.listing(""), before, "{name}: {log}");
    }
}

#[test]
fn locks_and_doctor_go_no_other_way_than_a_sweep() {
    if !is_root("locks_and_doctor_go_no_other_way: changes its user") {
        return;
    }
    let ask = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sexton")).args(words).stdin(Stdio::null()).output();
        let output = output.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), log_of(&output));
        (output.status.code(), text)
    };
    for (name, set, words) in TRAPS {
        let tree = trapped(*set);
        let before = tree.listing("");
        let root = tree.path("gw/app/run");
        for command in [&["locks", "--root", &root][..], &["locks", "sweep", "--root", &root]] {
            let (code, text) = ask(command);
            assert_eq!(code, Some(2), "{name}: {text}");
            assert_said_once(&text, "root-unsafe-path", words);
            assert!(!text.contains(".jsonl.lock"), "{name}: {text}");
        }
        let (code, text) = ask(&["doctor", "--lock-root", &root, "--", "true"]);
        assert_eq!(code, Some(1), "{name}: {text}");
        // It is folded.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.iter().all(|word| text.contains(word)) && !text.contains(".jsonl.lock"),
            "{name}: {text}"
        );
        assert_eq!(tree.listing(""), before, "{name}");
    }
}

/// sexton above a shell of the user's, which does this between the first sweep and the one at the end.
fn meanwhile(tree: &Tree, root: &str, script: &str) -> String {
    let mut command = tree.sexton(root);
    command.args(AS_USER).args(["sh", "-c", &format!("set -e; cd \"$0\"; {script}"), &tree.path("")]);
    run(&mut command)
}

#[test]
fn what_a_user_puts_above_a_root_between_two_sweeps_leads_nowhere() {
    if !is_root("what_a_user_puts_above_a_root: changes its user") {
        return;
    }
    for target in ["../sys", "TOP/sys"] {
        let tree = Tree::new();
        tree.directory("gw", USER, 0o755);
        tree.directory("gw/app", USER, 0o755);
        tree.root_of("gw/app/run", USER);
        let target = target.replace("TOP", &tree.path(""));
        let log = meanwhile(&tree, "gw/app/run", &format!("mv gw/app gw/old; ln -s '{target}' gw/app"));
        assert!(!tree.has_lock("gw/old/run"), "it was swept at the start: {log}");
        assert_said_once(&log, "root-unsafe-path", &["gw/app", "symbolic link, of user 1000"]);
        tree.assert_untouched(&log);
    }
}

#[test]
fn a_root_that_becomes_somebody_elses_is_not_swept_any_more() {
    if !is_root("a_root_that_becomes_somebody_elses: changes its user") {
        return;
    }
    // Of a user at the start: neither root nor another user is what sexton becomes for it.
    for later in [0, 1001] {
        let tree = Tree::new();
        tree.root_of("state", USER);
        tree.root_of("other", later);
        let before = tree.listing("other");
        let swap = "mv state old; mv other state";
        let log = run(tree.sexton("state").args(["sh", "-c", &format!("cd \"$0\"; {swap}"), &tree.path("")]));
        assert!(!tree.has_lock("old"), "it was swept at the start: {log}");
        let words = ["belonged to user 1000", &format!("belongs to user {later} now")];
        assert_said_once(&log, "root-owner-changed", &words);
        let renamed: Vec<String> = before.iter().map(|line| line.replacen("/other", "/state", 1)).collect();
        // Its own rename changes the directory's time, and nothing else.
        assert_eq!(tree.listing("state").len(), renamed.len(), "{log}");
        assert_eq!(tree.listing("state")[1..], renamed[1..], "{log}");
    }
}

#[test]
fn whose_a_root_is_stays_decided_when_its_first_sweep_is_given_up() {
    if !is_root("whose_a_root_is: changes its user") {
        return;
    }
    let tree = Tree::new();
    tree.root_of("state", USER);
    tree.root_of("other", 0);
    // For a sexton that holds the registration alone a sweep waits to its deadline.
    let lock = tree.path("state/.sexton.lock");
    let _older = house::hold_alone(Path::new(&lock));
    let mut command = tree.sexton("state");
    let words = ["sh", "-c", "cd \"$0\"; mv state old; mv other state", &tree.path("")];
    let log = run(command.args(words).env("SEXTON_SWEEP_TIMEOUT", "500ms"));
    assert!(log.contains("was not swept in time"), "{log}");
    assert_said_once(&log, "root-owner-changed", &["belonged to user 1000", "belongs to user 0 now"]);
    assert!(tree.has_lock("state"), "{log}");
}

#[test]
fn a_root_that_is_refused_again_and_again_is_said_once() {
    if !is_root("a_root_that_is_refused_again: changes its user") {
        return;
    }
    let tree = Tree::new();
    tree.root_of("state", 0);
    let owner = Some(RootOwner { uid: USER, gid: USER, device: 0, inode: 0 });
    for refused in [false, true] {
        let mut sweep = Sweep::at(Root::given(Path::new(&tree.path("state")))).again();
        sweep.known = KnownRoot { owner, refused };
        let report = sweep.run();
        assert!(report.refused && !report.entered, "{}", report.log());
        assert_eq!(report.lines("root-owner-changed").len(), usize::from(!refused), "{}", report.log());
    }
    assert!(tree.has_lock("state"));
}

#[test]
fn a_user_who_can_rename_directories_of_roots_does_not_make_sexton_root() {
    if !is_root("a_user_who_can_rename: changes its user") {
        return;
    }
    let others = "mv open/state open/old; mv open/sys open/state";
    // The root was the user's, was root's, or did not exist at the start.
    for (owner, script) in [(Some(USER), others), (Some(0), others), (None, "mv open/sys open/state")] {
        let tree = Tree::new();
        tree.directory("open", 0, 0o777);
        fs::rename(tree.path("sys/run"), tree.path("open/sys")).unwrap();
        if let Some(owner) = owner {
            tree.root_of("open/state", owner);
        }
        let before = tree.listing("open/sys").len();
        let log = meanwhile(&tree, "open/state", script);
        assert!(!tree.has_lock("open/old"), "{owner:?}: {log}");
        assert_said_once(&log, "root-owner-changed", &["open/state"]);
        assert!(tree.house.has("open/state/sessions/roots.jsonl.lock"), "{log}");
        assert_eq!(tree.listing("open/state").len(), before, "{owner:?}: {log}");
    }
}

/// A filesystem of its own on a directory, until the value goes away.
struct Mount(String);

impl Mount {
    fn tmpfs(path: String) -> Mount {
        assert!(
            Command::new("mount").args(["-t", "tmpfs", "sexton-test", &path]).status().unwrap().success()
        );
        Mount(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn the_ways_that_people_use_lead_to_their_roots() {
    if !is_root("the_ways_that_people_use: changes its user and mounts") {
        return;
    }
    let tree = Tree::new();
    let mut mounts = Vec::new();
    let swept = |launcher: &[&str], root: &str, uid: u32| {
        tree.root_of(root, uid);
        let log = run(tree.through(launcher, root).arg("true"));
        assert!(!tree.has_lock(root), "{launcher:?} {root}: {log}");
        assert_eq!(fs::metadata(tree.path(&format!("{root}/.sexton.lock"))).unwrap().uid(), uid);
        assert!(!log.contains("WARN root-"), "{log}");
        fs::remove_file(tree.path(&format!("{root}/.sexton.lock"))).unwrap();
    };
    // As /var/run, as /tmp, as a volume, and as a volume for everybody.
    tree.directory("run", 0, 0o755);
    tree.directory("var", 0, 0o755);
    tree.link("var/run", 0, "../run");
    tree.link("var/volatile", 0, &tree.path("var/run"));
    for launcher in [&[][..], &AS_USER] {
        swept(launcher, "var/run/gateway", USER);
        swept(launcher, "var/volatile/gateway", USER);
        tree.directory("tmp", 0, 0o1777);
        swept(launcher, "tmp/openclaw", USER);
        swept(launcher, "tmp/openclaw/inner", USER);
        tree.directory("open", 0, 0o777);
        swept(launcher, "open/state", USER);
    }
    swept(&[], "open/roots", 0);
    tree.directory("volume", 0, 0o755);
    mounts.push(Mount::tmpfs(tree.path("volume")));
    tree.directory("volume", USER, 0o755);
    swept(&[], "volume", USER);
    // What the operator mounts in a home is his to choose.
    for (volume, uid) in [("home/of-another", 1001), ("home/of-root", 0)] {
        tree.directory("home", USER, 0o755);
        tree.directory(volume, USER, 0o755);
        mounts.push(Mount::tmpfs(tree.path(volume)));
        tree.directory(volume, uid, 0o755);
        swept(&[], volume, uid);
    }
    // A user's own home with a link of his own, and a directory of his own in another user's home.
    tree.directory("home/data", USER, 0o755);
    tree.link("home/link", USER, "data");
    swept(&AS_USER, "home/link/state", USER);
    tree.directory("image", 1001, 0o777);
    swept(&AS_USER, "image/state", USER);
    tree.assert_untouched("at the end");
}

#[test]
fn in_a_user_namespace_what_is_roots_outside_is_roots() {
    if !is_root("in_a_user_namespace: changes its user") {
        return;
    }
    let inside = [&AS_USER[..], &["unshare", "--user", "--map-root-user"]].concat();
    let tree = Tree::new();
    let possible = Command::new(inside[0]).args(&inside[1..]).arg("true").status().unwrap().success();
    if !there_is("user namespaces for everybody", possible, "in_a_user_namespace") {
        return;
    }
    tree.directory("var", 0, 0o755);
    tree.directory("run", 0, 0o755);
    tree.link("var/run", 0, "../run");
    tree.directory("open", 0, 0o1777);
    tree.link("open/run", 1001, "../run");
    // As root of the namespace, and as nobody in particular in one without any numbers.
    for inside in [&inside[..], &[&AS_USER[..], &["unshare", "--user"]].concat()] {
        for root in ["run/state", "var/run/state"] {
            tree.root_of(root, USER);
            let log = run(tree.through(inside, root).arg("true"));
            assert!(!tree.has_lock(root) && !log.contains("WARN root-"), "{root}: {log}");
        }
        tree.root_of("run/state", USER);
        let log = run(tree.through(inside, "open/run/state").arg("true"));
        assert_said_once(&log, "root-unsafe-path", &["open/run"]);
        assert!(tree.has_lock("run/state"), "{log}");
    }
}

/// What sexton says of a root as root of a user namespace in which our users from `OUTER` on have the numbers from 0
/// on, as in a container of a user's.
fn log_of_a_container(tree: &Tree, root: &str) -> String {
    let ids = [format!("--reuid={OUTER}"), format!("--regid={OUTER}")];
    let wait = "echo ready; read -r _; exec \"$@\"";
    let launcher =
        ["setpriv", &ids[0], &ids[1], "--clear-groups", "unshare", "--user", "sh", "-c", wait, "sh"];
    let mut command = tree.through(&launcher, root);
    let mut child = command
        .args(["cat", "/proc/self/uid_map"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    for map in ["gid_map", "uid_map"] {
        fs::write(format!("/proc/{}/{map}", child.id()), format!("0 {OUTER} 65535")).unwrap();
    }
    drop(child.stdin.take());
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert!(line.split_whitespace().eq(["0", "100000", "65535"]), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", log_of(&output));
    log_of(&output)
}

const OUTER: u32 = 100_000;

#[test]
fn in_a_users_container_nobodys_directory_is_not_taken_for_roots() {
    if !is_root("in_a_users_container: changes its user") {
        return;
    }
    let tree = Tree::new();
    // Root outside goes by the number that is also that of nobody in the container, and they are told apart.
    let nobody = OUTER + 65_534;
    tree.directory("var", 0, 0o755);
    tree.directory("nobody", nobody, 0o755);
    tree.directory("run", 0, 0o755);
    for way in ["var", "nobody"] {
        let owner = fs::metadata(tree.path(way)).unwrap().uid();
        tree.link(&format!("{way}/run"), owner, "../run");
        tree.root_of("run/state", OUTER + USER);
        let log = log_of_a_container(&tree, &format!("{way}/run/state"));
        if way == "var" {
            assert!(!tree.has_lock("run/state") && !log.contains("WARN root-"), "{log}");
        } else {
            assert_said_once(&log, "root-unsafe-path", &["nobody/run", "of user 65534"]);
            assert!(tree.has_lock("run/state"), "{log}");
        }
    }
}

/// A directory for everybody, as /tmp is, with locks of the dead in it.
fn for_everybody(mode: u32, locks: &[(&str, u32)]) -> Tree {
    let tree = Tree::new();
    tree.directory("all", 0, mode);
    for (lock, uid) in locks {
        let lock = format!("all/{lock}");
        tree.house.put(&lock, SESSION);
        chown(tree.path(&lock), Some(*uid), Some(*uid)).unwrap();
    }
    tree
}

#[test]
fn where_everybody_can_write_each_lock_goes_as_its_owners() {
    if !is_root("where_everybody_can_write: changes its user") {
        return;
    }
    let goes = [
        ("users.jsonl.lock", USER),
        ("others.jsonl.lock", 1001),
        ("roots.jsonl.lock", 0),
        ("sessions/roots.jsonl.lock", 0),
    ];
    // Neither of them may remove something there, whoever sexton is.
    let stays = [
        ("agents/of-another/sessions/own.jsonl.lock", USER),
        ("agents/of-root/sessions/own.jsonl.lock", USER),
    ];
    let tree = for_everybody(0o1777, &[&goes[..], &stays[..]].concat());
    tree.directory("all/agents/of-another/sessions", 1001, 0o755);
    let log = run(tree.sexton("all").arg("true"));
    for (lock, _) in goes {
        assert!(!tree.house.has(format!("all/{lock}")), "{lock}: {log}");
    }
    for (lock, _) in stays {
        assert!(tree.house.has(format!("all/{lock}")), "{lock}: {log}");
        let said = |line: &str| line.contains(" lock-remove-failed: ") && line.contains(lock);
        assert!(log.lines().any(|line| said(line) && line.contains("Permission denied")), "{lock}: {log}");
    }
    drop(tree);
    // What its own user cannot read, root does not read for him.
    let tree = for_everybody(0o1777, &[("users.jsonl.lock", USER)]);
    fs::set_permissions(tree.path("all/users.jsonl.lock"), Permissions::from_mode(0o000)).unwrap();
    let log = run(tree.sexton("all").arg("true"));
    assert!(tree.house.has("all/users.jsonl.lock"), "{log}");
}

#[test]
fn a_lock_of_roots_stays_where_another_user_decides_what_lies_there() {
    if !is_root("a_lock_of_roots_stays: changes its user") {
        return;
    }
    let lock = "agents/main/sessions/roots.jsonl.lock";
    // Whose each directory above it is, and who may write in it.
    for (mode, above, stays) in [
        (
            0o1777,
            [("agents", 0, 0o755), ("agents/main", 0, 0o755), ("agents/main/sessions", 0, 0o755)],
            false,
        ),
        (
            0o1777,
            [("agents", 0, 0o755), ("agents/main", 0, 0o1777), ("agents/main/sessions", 0, 0o1777)],
            false,
        ),
        (
            0o1777,
            [("agents", 0, 0o755), ("agents/main", 0, 0o755), ("agents/main/sessions", USER, 0o755)],
            true,
        ),
        (
            0o1777,
            [("agents", USER, 0o755), ("agents/main", 0, 0o755), ("agents/main/sessions", 0, 0o755)],
            true,
        ),
        (0o1777, [("agents", 0, 0o755), ("agents/main", 0, 0o777), ("agents/main/sessions", 0, 0o755)], true),
        (0o1777, [("agents", 0, 0o775), ("agents/main", 0, 0o755), ("agents/main/sessions", 0, 0o755)], true),
        (0o777, [("agents", 0, 0o755), ("agents/main", 0, 0o755), ("agents/main/sessions", 0, 0o755)], true),
    ] {
        let tree = for_everybody(mode, &[(lock, 0)]);
        for (directory, uid, mode) in above {
            tree.directory(&format!("all/{directory}"), uid, mode);
        }
        let before = tree.listing("all/agents");
        let log = run(tree.sexton("all").arg("true"));
        assert_eq!(tree.house.has(format!("all/{lock}")), stays, "{mode:o} {above:?}: {log}");
        if stays {
            assert_eq!(tree.listing("all/agents"), before, "{above:?}: {log}");
            let said = |line: &str| line.contains(" lock-skipped: ") && line.contains("another user decides");
            assert!(log.lines().any(said), "{above:?}: {log}");
        }
    }
}

#[test]
fn a_lock_with_a_second_name_goes_with_both_and_with_no_other() {
    if !is_root("a_lock_with_a_second_name: has a pid namespace") {
        return;
    }
    const LOCK: &str = ".gnupg/pubring.kbx.lock";
    const OWNERS: &str = ".gnupg/.#lk0x000055d0c8a4e2b0.box1.4242";
    // Its names besides the one of the lock, and whether it goes.
    for (others, goes) in [
        (&[][..], true),
        (&[OWNERS], true),
        (&[".gnupg/pubring.kbx"], false),
        (&[".gnupg/deep/.#lk0x000055d0c8a4e2b0.box1.4242"], false),
        (&[OWNERS, ".gnupg/pubring.kbx"], false),
    ] {
        let house = House::new();
        house.put("sexton.toml", "[locks]\nkinds = [\"gnupg\"]\nsharing = \"exclusive\"\n");
        house.put(LOCK, "      4242\nbox1\n");
        fs::create_dir(house.path(".gnupg/deep")).unwrap();
        for other in others {
            fs::hard_link(house.path(LOCK), house.path(other)).unwrap();
        }
        // Another lock's, whose owner made it and died before it had the lock.
        house.put(".gnupg/.#lk0x000055d0c8a4e2c0.box1.17", "        17\nbox1\n");
        let mut sexton = house::in_a_namespace();
        sexton.arg(env!("CARGO_BIN_EXE_sexton")).args(["--control", "off", "--config"]);
        sexton.arg(house.path("sexton.toml")).args(["--", "true"]).env("HOME", house.path(""));
        let log = run(sexton.stdin(Stdio::null()));
        for name in others.iter().chain([&LOCK]) {
            assert_eq!(house.has(name), !goes, "{name} of {others:?}: {log}");
        }
        assert!(house.has(".gnupg/.#lk0x000055d0c8a4e2c0.box1.17"), "{others:?}: {log}");
    }
}
