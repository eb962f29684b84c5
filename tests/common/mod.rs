//! The harness of the whole-binary tests: starts a command under sexton, looks at it from outside, and leaves
//! nothing running, whatever becomes of the test.
//!
//! A test needs Linux, /proc, util-linux' `unshare` and either root or user namespaces. What a machine
//! cannot do is skipped with a line that says so; with `SEXTON_TESTS_REQUIRED=1` a skip is a failure.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the harness must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

pub mod cgroup;
pub mod console;
pub mod log;
pub mod process;
pub mod pty;
pub mod victim;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen: far longer than it takes, so that a busy machine does not
/// matter.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A window for `--grace` and `--kill-after` that no test waits for.
pub const NEVER: &str = "120s";

/// The limit below which a run has certainly not slept a window of [`NEVER`] out.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(40);

/// The program under test. `SEXTON_TEST_INIT` puts another init in its place, to see which tests it fails.
pub fn sexton() -> PathBuf {
    std::env::var_os("SEXTON_TEST_INIT").map_or_else(|| env!("CARGO_BIN_EXE_sexton").into(), PathBuf::from)
}

/// sexton with these words and nothing in its environment that could mean something to it.
pub fn command<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(sexton());
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("SEXTON_CONTROL", "off").stdin(Stdio::null());
    command
}

/// What a program printed, whatever bytes it is made of.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is gone when the test is, however that ends.
pub struct KillOnDrop(pub std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // One that was waited for is not signalled.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A helper program of `examples/`.
pub fn helper(name: &str) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_sexton")).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    path.into_os_string().into_string().unwrap()
}

/// Holds a write lease on this file until it is dropped: a process that opens the file waits for that, up to 45
/// seconds.
pub fn lease(file: &Path) -> KillOnDrop {
    let mut holder = Command::new(helper("holds_lease"));
    let mut holder = holder.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let holder = KillOnDrop(holder);
    assert_eq!(line, "ready\n");
    holder
}

/// Says why a test does not run here. The test returns after it.
pub fn skip(needs: &str, how: &str) {
    let line = format!("SKIPPED: needs {needs} ({how})");
    assert!(std::env::var_os("SEXTON_TESTS_REQUIRED").is_none_or(|value| value != "1"), "{line}");
    eprintln!("{line}");
}

/// Whether we are root.
pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// How `unshare` is called here; `None`, after a line that says so, if it does not work.
pub fn unshare() -> Option<Vec<String>> {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let mut command = vec!["unshare".to_owned()];
    if !root() {
        command.extend(["--user".to_owned(), "--map-root-user".to_owned()]);
    }
    let works = *WORKS.get_or_init(|| {
        Command::new("unshare")
            .args(&command[1..])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if !works {
        skip(
            "new pid and mount namespaces",
            "root, or user namespaces: sysctl kernel.unprivileged_userns_clone=1",
        );
    }
    works.then_some(command)
}

/// How many processes want each processor at this moment, and at least 1. What somebody has to do takes about as many
/// times longer than on a machine that is all his, so that a bound on time that has no window in it grows with this.
pub fn crowd() -> u32 {
    // "0.20 0.18 0.12 3/80 11206", and one of the three is us: proc_loadavg(5). It comes and goes.
    let wanting = || {
        sleep(Duration::from_millis(1));
        let text = std::fs::read_to_string("/proc/loadavg").unwrap();
        let wanting = text.split(' ').nth(3).and_then(|field| field.split('/').next()?.parse::<u32>().ok());
        wanting.unwrap().saturating_sub(1)
    };
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u32);
    (0..10).map(|_| wanting()).max().unwrap().div_ceil(processors).max(1)
}

/// Waits until `condition` holds, and panics with `what` if it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain until {what}");
        sleep(Duration::from_millis(2));
    }
}
