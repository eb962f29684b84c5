//! Running a command for a bounded time, with everything that it starts.
//!
//! A [`command_guard`] runs between us and the command. When the guard ends, the command ends; when we end, the guard
//! ends.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use sexton::os::{clock, signals};
use sexton::types::{MonoTime, Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::Outcome;
use super::command_guard;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this code, as a shell has it, and the last that it said on standard error.
    Code(i32, String),
    /// It was ended, because its time was over.
    TimedOut,
    /// It could not be started.
    Failed(String),
}

/// What a command had to say besides its end.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its end.
    pub end: End,
    /// What it said on standard output, as much as is kept.
    pub said: String,
    /// When it first said anything, on standard output or standard error.
    pub first: Option<Duration>,
    /// How long it took altogether.
    pub took: Duration,
}

/// How much of its output is kept, in bytes. More output is discarded.
const KEPT: usize = 512;
/// The guard counts the time too, so that this is only for one that hangs: longer than its ladder takes.
const SLACK: Duration = Duration::from_secs(5);

/// What a guard ends with when the command's time was over, as timeout(1) has it: with KILL in the end, or without.
const TIMED_OUT: i32 = 124;
const KILLED: i32 = 137;

/// The question: 0 means well.
pub async fn ask(argv: &[String], timeout: Duration) -> Outcome {
    match run(argv, timeout, b"").await {
        End::Code(0, _) => Outcome::Good,
        End::Code(code, said) if said.is_empty() => Outcome::Bad(format!("the command ended with {code}")),
        End::Code(code, said) => Outcome::Bad(format!("the command ended with {code}: {said}")),
        End::TimedOut => Outcome::Bad(format!("no end within {}", humantime::format_duration(timeout))),
        End::Failed(why) => Outcome::Bad(why),
    }
}

/// Runs a command with `input` on its standard input, for at most `timeout`. If this future is dropped, the
/// command ends.
pub async fn run(argv: &[String], timeout: Duration, input: &[u8]) -> End {
    attend(argv, timeout, input, Stdio::null()).await.end
}

/// Runs a command with nothing on its standard input, for at most `timeout`, and listens to its standard output.
pub async fn hear(argv: &[String], timeout: Duration) -> Heard {
    attend(argv, timeout, b"", Stdio::piped()).await
}

async fn attend(argv: &[String], timeout: Duration, input: &[u8], output: Stdio) -> Heard {
    match start(argv, timeout, output) {
        Ok(guard) => guard.attend(timeout, input).await,
        Err(error) => {
            let end = End::Failed(format!("the command cannot be started: {error}"));
            Heard { end, said: String::new(), first: None, took: Duration::ZERO }
        }
    }
}

/// The guard's process. Dropped before its end, it is asked to end, and takes the command with it.
struct Guard {
    child: Child,
    /// A moment before it counts the time: on a busy machine it can be far ahead when we next come to run, and what it
    /// ends in time would seem to have ended early.
    begun: MonoTime,
}

fn start(argv: &[String], timeout: Duration, output: Stdio) -> io::Result<Guard> {
    let begun = clock::now();
    let child = Command::new("/proc/self/exe")
        .arg0("sexton-watch")
        .args(command_guard::arguments(timeout))
        .args(argv.iter().map(OsStr::new))
        .env_remove(sexton::control::protocol::WATCH_VARIABLE)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    child.map(|child| Guard { child, begun })
}

impl Drop for Guard {
    fn drop(&mut self) {
        // tokio gives the pid only as long as the process has not been waited for, so no other process can have it.
        let pid = self.child.id().and_then(|id| Pid::new(id.cast_signed()));
        let _ = pid.map(|pid| signals::send(pid, Signal::TERM));
    }
}

impl Guard {
    async fn attend(mut self, timeout: Duration, input: &[u8]) -> Heard {
        let begun = self.begun;
        let child = &mut self.child;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let first = Cell::new(None);
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command need not read its input.
                let _ = stdin.write_all(input).await;
            }
        };
        let said = RefCell::new(Vec::new());
        let all = async {
            let heard = || first.set(first.get().or(Some(clock::now().since(begun))));
            let mut complaint = Vec::new();
            let ((), (), (), status) = tokio::join!(
                feed,
                listen(stdout, &heard, |bytes| keep(&mut said.borrow_mut(), bytes)),
                listen(stderr, &heard, |bytes| keep(&mut complaint, bytes)),
                child.wait()
            );
            (complaint, status)
        };
        let end = match tokio::time::timeout(timeout + SLACK, all).await {
            Ok((said, Ok(status))) => match status.code() {
                // A command can have ended with these by itself, but not so late.
                Some(TIMED_OUT | KILLED) if clock::now().since(begun) >= timeout => End::TimedOut,
                Some(code) => End::Code(code, words(&said)),
                None => End::Failed("the command's guard was killed".to_owned()),
            },
            Ok((_, Err(error))) => End::Failed(format!("the command cannot be waited for: {error}")),
            Err(_) => End::TimedOut,
        };
        let said = String::from_utf8_lossy(&said.into_inner()).into_owned();
        Heard { end, said, first: first.get(), took: clock::now().since(begun) }
    }
}

async fn listen(pipe: Option<impl AsyncRead + Unpin>, heard: &impl Fn(), mut keep: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        heard();
        keep(buffer.get(..length).unwrap_or_default());
    }
}

fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    said.extend(bytes.iter().take(KEPT.saturating_sub(said.len())));
}

/// The last line that was said, on one line.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).collect()
}
