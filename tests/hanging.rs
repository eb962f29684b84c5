//! A filesystem that hangs: a process that accesses it waits for ever, cannot be killed and outlives sexton. No other
//! process waits.
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
#[path = "locks/fuse.rs"]
mod fuse;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, root, sexton, skip, text};
use fuse::Fuse;
use tempfile::TempDir;

/// Longer than the four seconds by which what hangs may delay the end, on a busy machine too.
const SHORTLY: Duration = Duration::from_secs(9);

/// A directory with a filesystem in it that hangs, and how sexton is started beside it.
struct Beside {
    // Unmounted first.
    _hung: Fuse,
    dir: TempDir,
}

impl Beside {
    fn new() -> Option<Beside> {
        if !root() || !Path::new("/dev/fuse").exists() {
            skip("root and /dev/fuse", "modprobe fuse");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let hung = dir.path().join("root/sessions");
        fs::create_dir_all(&hung).unwrap();
        Some(Beside { _hung: Fuse::hanging(&hung), dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What comes of this line of a shell, for which `$S` is sexton, `$R` a lock root of which a part hangs, and `$H`
    /// the part. The end of its output is waited for.
    #[track_caller]
    fn run(&self, line: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        shell.env("S", sexton()).env("R", self.path("root")).env("H", self.path("root/sessions"));
        shell.env("D", self.dir.path()).env("SEXTON_CONTROL", "off").env("HOME", self.dir.path());
        let shell = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(shell.wait_with_output().unwrap()));
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => output,
            Err(_) => panic!("a process holds the output of: {line}"),
        }
    }
}

#[test]
fn who_reads_the_output_to_its_end_does_not_wait_for_a_sweep_that_hangs() {
    let Some(beside) = Beside::new() else { return };
    for owner in [0, 1000] {
        chown(beside.path("root"), Some(owner), Some(owner)).unwrap();
        for root in ["$H", "$R"] {
            let start = format!("\"$S\" --sweep-timeout 500ms --lock-root \"{root}\" -- echo hello");
            for (line, said) in [
                // Only standard output.
                (format!("x=$({start} 2>\"$D/log\"); echo \"got $x\""), "got hello\n"),
                // Both, and the log is complete.
                (
                    format!("{start} 2>&1 | grep -o -e hello -e sweep-overdue"),
                    "sweep-overdue\nhello\nsweep-overdue\n",
                ),
                // Another one that is the command's.
                (format!("{start} 3>&1 >\"$D/out\" 2>\"$D/log\" | cat; cat \"$D/out\""), "hello\n"),
            ] {
                let output = beside.run(&line);
                assert_eq!(text(&output.stdout), said, "{line}: {}", text(&output.stderr));
                // It does not wait for its own helper.
                let log = fs::read_to_string(beside.path("log")).unwrap();
                assert!(!log.contains("still-alive"), "{line}: {log}");
            }
        }
    }
}

#[test]
fn the_commands_that_look_end_at_their_deadline_and_say_what_hangs() {
    let Some(beside) = Beside::new() else { return };
    let hung = beside.path("root/sessions").into_os_string().into_string().unwrap();
    for verb in ["", "sweep", "--json"] {
        let line =
            format!("\"$S\" locks {verb} --sweep-timeout 500ms --root \"$H\" 2>\"$D/log\"; echo \"code $?\"");
        let output = beside.run(&line);
        assert!(text(&output.stdout).ends_with("code 2\n"), "{line}: {output:?}");
        let log = fs::read_to_string(beside.path("log")).unwrap();
        let said = [&*hung, "did not answer within 500ms", "--sweep-timeout"];
        assert!(log.lines().count() == 1 && said.iter().all(|word| log.contains(word)), "{line}: {log}");
    }
    // The same where both go the same way, and by the time that it takes by itself.
    let output = beside.run("\"$S\" locks --root \"$H\" 2>&1 | grep -o 'did not answer within 10s'");
    assert_eq!(text(&output.stdout), "did not answer within 10s\n");
    let said = "the check 'configuration': it did not answer within 500ms";
    let line = format!(
        "\"$S\" doctor --deadline 500ms --config \"$H/c.toml\" 2>&1 | tr -s '\\n ' ' ' | grep -o \"{said}\""
    );
    assert_eq!(text(&beside.run(&line).stdout), format!("{said}\n"));
}

#[test]
fn on_a_terminal_it_is_said_what_is_waited_for() {
    let Some(beside) = Beside::new() else { return };
    let line = "script -qec '\"$S\" locks --sweep-timeout 3s --root \"$H\"' /dev/null; echo \"code $?\"";
    let said = text(&beside.run(line).stdout);
    let waiting = format!("waiting for {}: 2s of at most 3s", beside.path("root/sessions").display());
    assert!(said.contains(&waiting) && said.ends_with("code 2\n"), "{said}");
}

#[test]
fn the_record_of_a_lost_tool_keeps_nobody_waiting() {
    let Some(beside) = Beside::new() else { return };
    let record = beside.path("root/sessions/record");
    fs::write(beside.path("sexton.toml"), format!("[tools]\nrecord = {record:?}\n")).unwrap();
    // On a busy machine a tool may run without having been registered.
    let gateway = r#"while :; do
            SEXTON_TOOL_RECORD="$D/own" "$S" tool -- sh -c 'echo up >"$D/up"; exec sleep 1000' & tool=$!
            until test -s "$D/up"; do sleep 0.01; done
            "$S" status --control "$D/c.sock" --json | grep -q supervisor && break
            kill $tool; wait; rm "$D/up"
        done
        kill -KILL $tool
        until grep -q tool-lost "$D/log"; do sleep 0.01; done
        echo hello"#;
    fs::write(beside.path("gateway"), gateway).unwrap();
    let line = "x=$(\"$S\" --config \"$D/sexton.toml\" --control \"$D/c.sock\" --no-locks --kill-after 1s -- \
                sh \"$D/gateway\" 2>\"$D/log\"); echo \"got $x\"";
    let output = beside.run(line);
    let log = fs::read_to_string(beside.path("log")).unwrap();
    assert_eq!(text(&output.stdout), "got hello\n", "{log}");
    // sexton does not wait for the helper that writes it.
    assert!(!log.contains("name=sexton"), "{log}");
}

#[test]
fn a_sexton_watch_that_hangs_delays_the_end_by_four_seconds_at_most() {
    let Some(beside) = Beside::new() else { return };
    let hung = beside.path("root/sessions/log");
    let settings = format!("[logs.own]\nfiles = [{hung:?}]\npattern = \"x\"\n");
    fs::write(beside.path("sexton.toml"), settings).unwrap();
    // It hangs when a thread of it has come to the filesystem.
    let gateway = r#"
        until grep -qs request_wait_answer $(grep -ls '^sexton-watch' /proc/[0-9]*/comm | sed 's,comm$,task/*/wchan,'); do
            sleep 0.01
        done
        echo hello"#;
    fs::write(beside.path("gateway"), gateway).unwrap();
    let line = "x=$(\"$S\" -v --config \"$D/sexton.toml\" --kill-after 200ms --no-locks -- sh \"$D/gateway\" 2>&1); echo \"got $x\"";
    let begun = Instant::now();
    let said = text(&beside.run(line).stdout);
    // What it says itself is a part of the log.
    assert!(said.contains("\nhello\n") && said.contains("name=sexton-watch"), "{said}");
    // Its two windows and a second of KILL; and nobody waits for it a second time.
    assert!(begun.elapsed() < SHORTLY, "{:?}: {said}", begun.elapsed());
}

#[test]
fn a_lock_root_that_hangs_delays_neither_the_end_nor_who_reads_the_output() {
    let Some(beside) = Beside::new() else { return };
    fs::write(beside.path("sexton.toml"), "[limits]\nzombies = 100\n").unwrap();
    for root in ["$H", "$R"] {
        let line = format!(
            "x=$(\"$S\" -v --config \"$D/sexton.toml\" --sweep-timeout 500ms --kill-after 200ms --lock-root \"{root}\" -- \
             echo hello 2>&1); echo \"got $x\""
        );
        let begun = Instant::now();
        let said = text(&beside.run(&line).stdout);
        assert!(said.contains("\nhello\n") && said.contains("unit=sexton-watch"), "{said}");
        assert!(begun.elapsed() < SHORTLY, "{:?}: {said}", begun.elapsed());
    }
}
