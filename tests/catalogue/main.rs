//! The catalogue of lock kinds, proved by the programs themselves: each leaves its lock behind in one container that is
//! killed, and is started in the next one, below nothing, tini and sexton.
//!
//! ```text
//! tests/catalogue/run        the whole table, printed; CI has the programs that `.ci/run` installs
//! ```

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "../common/mod.rs"]
mod common;
mod programs;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use programs::{PROGRAMS, Program, UNTRIED};

/// What a container begins with: a name of its own, sexton, and the directories that its earlier life had. X servers compile their
/// keyboard's map into a file of /var/lib/xkb that is named for the display, so that each has its own.
const CONTAINER: &str = r#"
    hostname "$1"; ip link set lo up 2>/dev/null
    mount -t tmpfs none /mnt && : >/mnt/sexton && mount --bind "$3" /mnt/sexton || exit
    mount --bind "$2/run" /run; mount --bind "$2/home" /root; mount --bind "$2/tmp" /tmp
    [ ! -d /var/lib/xkb ] || mount -t tmpfs none /var/lib/xkb
    export HOME=/root XDG_RUNTIME_DIR=/run/user/0; cd /root; shift 3; exec "$@"
"#;

/// Where sexton is in it: the directories that are its own may hide where it was built.
const SEXTON: &str = "/mnt/sexton";

/// A life in it: the program with a number that is chosen, and a word for what came of it. $1: what is there when it
/// starts; $2: its number; $3: what is done afterwards.
const LIFE: &str = r#"
    numbered() { echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid; }
    if [ "$1" = live ]; then numbered 100; sleep 1000 >/dev/null 2>&1 & fi
    numbered "$2"
    sh -c 'exec sh /root/program' >/root/said 2>&1 &
    program=$!; word=hangs
    for look in $(seq 150); do
        if PROGRAM=$program sh /root/serves >/dev/null 2>&1; then word=serves; break; fi
        if ! kill -0 $program 2>/dev/null; then wait $program; word="exit $?"; break; fi
        sleep 0.1
    done
    echo "$word"
    [ "$3" = stay ] && wait
    exit 0
"#;

/// The same in a pid namespace below.
const NESTED: &str = "exec unshare --pid --fork --kill-child --mount-proc sh /root/life \"$@\"";

/// The number that a program has in its first life.
const NUMBER: &str = "100";

/// What a container holds, kept from life to life.
struct Volume {
    directory: tempfile::TempDir,
}

impl Volume {
    fn new(program: &Program, config: &str) -> Volume {
        let volume =
            Volume { directory: tempfile::Builder::new().prefix("sexton-catalogue-").tempdir().unwrap() };
        fs::set_permissions(volume.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("run", 0o755), ("home", 0o755), ("tmp", 0o1777)] {
            fs::create_dir(volume.path(name)).unwrap();
            fs::set_permissions(volume.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for (name, text) in [
            ("life", LIFE),
            ("nested", NESTED),
            ("program", program.start),
            ("serves", program.serves),
            ("sexton.toml", config),
        ] {
            fs::write(volume.path("home").join(name), text).unwrap();
        }
        let setup = volume.run("one", &["sh", "-euc", program.setup]).output().unwrap();
        assert!(setup.status.success(), "{}: {setup:?}", program.name);
        volume
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// Where a path of the container lies.
    fn outside(&self, path: &str) -> PathBuf {
        self.path(path.replacen("/root", "/home", 1).trim_start_matches('/'))
    }

    /// Words in a container of this name.
    fn run(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--uts",
            "--ipc",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ]);
        command.args(["sh", "-c", CONTAINER, "sh", name]).arg(self.path(""));
        command.arg(env!("CARGO_BIN_EXE_sexton")).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn live(&self, init: &str, name: &str, script: &str, life: [&str; 3]) -> Life {
        let mut words = match init {
            "bare" => vec![],
            "tini" => vec!["tini", "--"],
            _ => vec![SEXTON, "--control", "off", "--config", "/root/sexton.toml", "--"],
        };
        words.extend(["sh", script]);
        words.extend(life);
        let mut child = self.run(name, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut word = String::new();
        output.read_line(&mut word).unwrap();
        Life { child, output, word: word.trim_end().to_owned() }
    }

    /// The very file.
    fn identity(&self, lock: &str) -> Option<(u64, i64, i64)> {
        let meta = fs::symlink_metadata(self.outside(lock)).ok()?;
        Some((meta.ino(), meta.ctime(), meta.ctime_nsec()))
    }
}

struct Life {
    child: Child,
    output: BufReader<ChildStdout>,
    word: String,
}

impl Drop for Life {
    /// A test that fails leaves nothing running.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Life {
    fn serves(&self, program: &Program) {
        assert_eq!(self.word, "serves", "{}", program.name);
    }

    /// Ends all of it at once, as an engine kills a container. What it said to its log.
    fn kill(mut self) -> String {
        let mut log = String::new();
        // Whoever waits for PID 1 has it when all others are dead. Their output is closed before that: a server of which
        // some still lives then has its socket.
        let unshare = self.child.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        for init in children.split_whitespace() {
            let _ = kill(Pid::from_raw(init.parse().unwrap()), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        let _ = self.output.read_to_end(&mut Vec::new());
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut log);
        log
    }
}

fn config(program: &Program, exclusive: bool) -> String {
    let sharing = if exclusive { "sharing = \"exclusive\"\n" } else { "" };
    format!("[locks]\nroots = [\"/root\"]\nkinds = [{}]\n{sharing}{}", program.kinds, program.rule)
}

fn is_here(program: &Program) -> bool {
    let mut look = Command::new("sh");
    look.args(["-c", program.needs]).stdout(Stdio::null()).stderr(Stdio::null());
    look.status().unwrap().success()
}

/// Those that are here. In CI those that it installs have to be.
fn programs() -> Vec<&'static Program> {
    let all = std::env::var_os("SEXTON_CATALOGUE").is_some();
    let wanted = PROGRAMS.iter().filter(|program| all || program.in_ci);
    let (here, missing): (Vec<&Program>, Vec<&Program>) = wanted.partition(|program| is_here(program));
    for program in &missing {
        assert!(
            !program.in_ci || std::env::var_os("SEXTON_TESTS_REQUIRED").is_none(),
            "{} is not installed",
            program.name
        );
        eprintln!("skipped: {} is not installed", program.name);
    }
    here
}

const SITUATIONS: [(&str, &str, &str); 5] = [
    ("dead", "one", "500"),
    ("live", "one", "500"),
    ("own", "one", NUMBER),
    ("new-host", "two", "500"),
    ("empty", "one", "500"),
];

/// What becomes of the program in each situation, one word each.
fn row(program: &Program, init: &str, exclusive: bool, log: &mut String) -> Vec<String> {
    let mut words = Vec::new();
    for (situation, host, number) in SITUATIONS {
        let volume = Volume::new(program, &config(program, exclusive));
        // Who is killed had no sexton above him: no mark of an earlier life helps.
        let first = volume.live("tini", "one", "/root/life", ["first", NUMBER, "stay"]);
        first.serves(program);
        first.kill();
        let lock = volume.outside(program.lock);
        assert!(fs::symlink_metadata(&lock).is_ok(), "{} leaves {}", program.name, program.lock);
        if situation == "empty" {
            if fs::symlink_metadata(&lock).unwrap().is_symlink() {
                words.push("-".to_owned());
                continue;
            }
            fs::write(&lock, "").unwrap();
        }
        let second = volume.live(init, host, "/root/life", [situation, number, "stay"]);
        words.push(second.word.clone());
        log.push_str(&second.kill());
    }
    words
}

/// What a container's program does with what its earlier life left, below each init.
fn table(program: &Program) {
    if program.bare == UNTRIED {
        return println!("{:<12} was not yet tried in every situation", program.name);
    }
    let mut log = String::new();
    let bare = row(program, "bare", false, &mut log);
    // CI has no time for what comes out the same.
    let all = std::env::var_os("SEXTON_CATALOGUE").is_some();
    let tini = if all { row(program, "tini", false, &mut log) } else { bare.clone() };
    let rows = [
        ("bare", bare),
        ("tini", tini),
        ("sexton, without the word", row(program, "sexton", false, &mut log)),
        ("sexton, exclusive", row(program, "sexton", true, &mut log)),
    ];
    let head: Vec<&str> = SITUATIONS.iter().map(|(name, ..)| *name).collect();
    let mut shown = format!("{:<12} {:<26} {}\n", program.name, "", head.join(" | "));
    for (init, words) in &rows {
        shown.push_str(&format!("{:<12} {init:<26} {}\n", program.name, words.join(" | ")));
    }
    println!("{shown}");
    let said: Vec<String> = rows.iter().map(|(_, words)| words.join(" | ")).collect();
    assert_eq!(said[0], said[1], "{}: tini is no help", program.name);
    assert_eq!(said[0], program.bare, "{}", program.name);
    assert_eq!(said[2], program.without_word, "{}: {log}", program.name);
    assert!(
        rows[3].1.iter().all(|word| word == "serves" || word == "-"),
        "{}: {:?}\n{log}",
        program.name,
        rows[3]
    );
}

/// No lock goes whose owner lives: in the same container, in a pid namespace below, in another container.
fn living(program: &Program) {
    let by_hand = |owner: &Life, place: &str| {
        let inside = owner.child.id().to_string();
        let child = fs::read_to_string(format!("/proc/{inside}/task/{inside}/children")).unwrap();
        let enter =
            ["--all", "--target", child.trim(), SEXTON, "--control", "off", "--config", "/root/sexton.toml"];
        let done = Command::new("nsenter").args(enter).args(["--", "true"]).output().unwrap();
        assert!(done.status.success(), "{} {place}: {done:?}", program.name);
    };
    for (owner, script, exclusive) in [
        ("tini", "/root/life", true),
        ("tini", "/root/nested", true),
        ("tini", "/root/life", false),
        ("sexton", "/root/life", false),
    ] {
        let volume = Volume::new(program, &config(program, exclusive));
        let first = volume.live(owner, "one", script, ["first", NUMBER, "stay"]);
        first.serves(program);
        let before = volume.identity(program.lock);
        assert!(before.is_some(), "{}", program.name);
        if exclusive {
            by_hand(&first, script);
        } else {
            let other = volume
                .run("two", &[SEXTON, "--control", "off", "--config", "/root/sexton.toml", "--", "true"]);
            let done = { other }.output().unwrap();
            assert!(done.status.success(), "{}: {done:?}", program.name);
        }
        assert_eq!(
            volume.identity(program.lock),
            before,
            "{}: the lock of one that lives below {owner} ({script})",
            program.name
        );
        first.kill();
    }
}

fn each(work: fn(&Program)) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    // Two at a time.
    let programs = programs();
    let (some, others) = programs.split_at(programs.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| some.iter().for_each(|program| work(program)));
        others.iter().for_each(|program| work(program));
    });
}

#[test]
fn what_its_earlier_life_left_keeps_no_program_from_serving() {
    each(table);
}

#[test]
fn no_lock_goes_whose_owner_lives() {
    each(living);
}

#[test]
fn every_program_is_of_the_catalogue() {
    let names: Vec<&str> = sexton::config::catalogue::names().collect();
    for program in PROGRAMS {
        for kind in
            program.kinds.split(',').map(|kind| kind.trim().trim_matches('"')).filter(|it| !it.is_empty())
        {
            assert!(names.contains(&kind), "{kind}");
        }
    }
    assert!(Path::new("tests/catalogue/run").exists());
}
