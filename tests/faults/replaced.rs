//! A lock that another one replaces while sexton looks at it, at one moment after the other: the new one's owner lives.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;

use crate::Whom;
use crate::common::{sexton, wait_until};
use crate::tracer::{self, Done, Tracer};

/// The calls by which a lock is looked at. The last look is the comparison before the removal.
const LOOKS: [i64; 2] = [libc::SYS_newfstatat, libc::SYS_statx];

/// A sexton that finds the lock of a dead owner, in whose place that of this process is put before this look of the
/// sweeper's, or is never put.
fn sweep(look: Option<(i64, u64)>) -> Done {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let lock = at("a.jsonl.lock");
    let write = |path: &str, pid: u32| {
        let mut file = File::create(path).unwrap();
        writeln!(file, r#"{{"pid":{pid},"createdAt":"2026-11-22T06:59:25.232Z"}}"#).unwrap();
        file
    };
    drop(write(&lock, 4_000_000));
    let _held = write(&format!("{lock}.new"), std::process::id());
    let gate = at("gate");
    nix::unistd::mkfifo(Path::new(&gate), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open at both ends, so that no process waits for one that failed to open it.
    let mut opener = File::options().read(true).write(true).open(&gate).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo >"$0.ready"; read _ <"$0"; exec "$@""#, &gate]).arg(sexton());
    command.args(["--control", "off", "--lock-root"]).arg(directory.path()).args(["--", "true"]);
    let mut running = command.stdin(Stdio::null()).spawn().unwrap();
    wait_until("it is about to become sexton", || Path::new(&at("gate.ready")).exists());
    let words = look.map(|(call, number)| {
        let [call, number] = [call.to_string(), number.to_string()];
        vec!["helper".to_owned(), call, lock.clone(), number.clone(), number]
    });
    let tracer = Tracer::attach(running.id().cast_signed(), &words.unwrap_or_default());
    opener.write_all(b"\n").unwrap();
    assert!(running.wait().unwrap().success());
    let done = tracer.done();
    if look.is_some() && done.failed > 0 {
        let left = fs::read_to_string(&lock).unwrap_or_default();
        assert!(left.contains(&std::process::id().to_string()), "{look:?}: the new lock is gone");
    } else {
        assert!(!Path::new(&lock).exists(), "{look:?}: the dead one's lock has stayed");
    }
    done
}

#[test]
fn a_lock_that_was_replaced_since_it_was_judged_stays() {
    if !tracer::works() {
        return;
    }
    let calm = sweep(None);
    let mut tried = 0;
    for call in LOOKS {
        for number in 1..=calm.calls.get(&(Whom::Helper, call)).copied().unwrap_or(0) {
            tried += sweep(Some((call, number))).failed;
        }
    }
    assert!(tried > 0, "no look was met");
}
