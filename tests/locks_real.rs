//! Two containers on one volume, each restarted while the other lives, in all four pairings of tini and sexton, with the
//! real programs. No lock of what lives may go in any of them.
//!
//! It takes minutes and real browsers:
//!
//! ```text
//! apt-get install tini chromium xvfb gunicorn
//! cargo nextest run --test locks_real --run-ignored only --no-capture
//! ```

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use house::{House, kill_namespace};

/// Locks that are kept open, written and closed, a browser's, a web server's and an X server's, each named for its
/// container. Afterwards orphans die, so that sexton looks beside the living.
const WORK: &str = r#"
    me=$1; display=$2
    mkdir -p run sessions browser/$me/user-data
    exec 9>sessions/$me.jsonl.lock; echo "{\"pid\":$$}" >&9
    exec 8>run/open-$me.pid; echo $$ >&8
    echo $$ >run/plain-$me.pid
    Xvfb :$display -nolisten tcp >/dev/null 2>&1 8>&- 9>&- &
    cat >app_$me.py <<END
def app(environ, start):
    start("200 OK", [])
    return [b"x"]
END
    gunicorn --bind unix:$me.sock --pid run/gunicorn-$me.pid app_$me:app >/dev/null 2>&1 8>&- 9>&- &
    chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir=browser/$me/user-data about:blank >/dev/null 2>&1 8>&- 9>&- &
    for look in $(seq 600); do
        [ -S /tmp/.X11-unix/X$display ] && [ -s run/gunicorn-$me.pid ] && [ -L browser/$me/user-data/SingletonLock ] &&
            [ -e browser/$me/user-data/Default/History ] && break
        sleep 0.1
    done
    for orphan in 1 2 3 4; do (setsid true &); sleep 1; done
    echo up; read -r _
"#;
/// The same without the programs: what the next life's sexton says is said before it.
const REST: &str = "for orphan in 1 2 3; do (setsid true &); sleep 1; done; echo up; read -r _";

const CONFIG: &str =
    "[[locks.rule]]\nname = \"xvfb\"\npath = \"tmp/.X*-lock\"\nformat = \"pid\"\nsocket = \".X11-unix/X*\"\n";

/// What a container holds, below the volume.
fn locks(me: &str, display: &str) -> Vec<String> {
    vec![
        format!("sessions/{me}.jsonl.lock"),
        format!("run/open-{me}.pid"),
        format!("run/plain-{me}.pid"),
        format!("run/gunicorn-{me}.pid"),
        format!("browser/{me}/user-data/SingletonLock"),
        format!("tmp/.X{display}-lock"),
    ]
}

struct Container {
    child: Child,
    _input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Container {
    /// A container of its own name with the volume at `/mnt`, and its `/tmp` on it.
    fn start(volume: &House, init: &str, name: &str, script: &str, words: [&str; 2]) -> Container {
        let prepare = r#"hostname "$1"; mount --bind "$2" /mnt && mkdir -p /mnt/tmp && chmod 1777 /mnt/tmp &&
            mount --bind /mnt/tmp /tmp && cd /mnt && shift 2 && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.args(["sh", "-c", prepare, "sh", name]).arg(volume.path(""));
        match init {
            "tini" => command.args(["tini", "--"]),
            _ => command.arg(env!("CARGO_BIN_EXE_sexton")).args([
                "--control",
                "off",
                "--config",
                "/mnt/sexton.toml",
                "--lock-root",
                "/mnt",
                "--",
            ]),
        };
        command.args(["sh", "-c", script, "sh"]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut container = Container { _input: child.stdin.take(), child, output };
        let mut line = String::new();
        container.output.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "{init} {name}");
        container
    }

    fn kill(mut self) {
        kill_namespace(&mut self.child);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            kill_namespace(&mut self.child);
        }
    }
}

/// The very files: number and last change.
fn files(volume: &House, paths: &[String]) -> Vec<(String, u64, i64, i64)> {
    let file = |path: &String| {
        let meta = fs::symlink_metadata(volume.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path.clone(), meta.ino(), meta.ctime(), meta.ctime_nsec())
    };
    paths.iter().map(file).collect()
}

fn left(volume: &House, paths: &[String]) -> Vec<String> {
    paths.iter().filter(|path| volume.has(path)).cloned().collect()
}

#[test]
#[ignore = "takes minutes and real browsers"]
fn each_is_restarted_while_the_other_lives_and_no_live_lock_goes() {
    if !house::is_root("two containers with real programs") {
        return;
    }
    for program in ["tini", "chromium", "Xvfb", "gunicorn"] {
        let there = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap();
        assert!(there.status.success(), "{program} is missing");
    }
    for (first, second) in [("sexton", "sexton"), ("sexton", "tini"), ("tini", "sexton"), ("tini", "tini")] {
        let volume = House::new();
        volume.put("sexton.toml", CONFIG);
        let (ours, theirs) = (locks("first", "98"), locks("second", "99"));
        let one = Container::start(&volume, first, "first-1", WORK, ["first", "98"]);
        let other = Container::start(&volume, second, "second-1", WORK, ["second", "99"]);
        let (before_one, before_other) = (files(&volume, &ours), files(&volume, &theirs));

        one.kill();
        let one = Container::start(&volume, first, "first-2", REST, ["", ""]);
        assert_eq!(files(&volume, &theirs), before_other, "{first} {second}: the second one's live locks");
        eprintln!(
            "{first} (restarted) beside {second}: of its own dead ones are left {:?}",
            left(&volume, &ours)
        );
        one.kill();

        // The other way round, as long as the first one's programs live again.
        for path in &ours {
            volume.remove(path);
        }
        let one = Container::start(&volume, first, "first-3", WORK, ["first", "98"]);
        let again = files(&volume, &ours);
        assert_ne!(again, before_one);
        other.kill();
        let other = Container::start(&volume, second, "second-2", REST, ["", ""]);
        assert_eq!(files(&volume, &ours), again, "{first} {second}: the first one's live locks");
        eprintln!(
            "{second} (restarted) beside {first}: of its own dead ones are left {:?}",
            left(&volume, &theirs)
        );
        drop((one, other));

        // Alone on the volume, with the operator's word.
        volume.put("sexton.toml", &format!("[locks]\nsharing = \"exclusive\"\n{CONFIG}"));
        drop(Container::start(&volume, "sexton", "third", REST, ["", ""]));
        let all: Vec<String> = ours.into_iter().chain(theirs).collect();
        assert_eq!(left(&volume, &all), [""; 0], "{first} {second}");
    }
}
