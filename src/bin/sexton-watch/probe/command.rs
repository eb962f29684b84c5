//! Running a command for a bounded time, with everything that it starts.
//!
//! Between us and the command stands a [`guard`]: its end is the command's end, and ours is its.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use sexton::ids::{Pid, Signal};
use sexton::os::{clock, signals};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::guard;
use crate::health::Outcome;

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

/// How much of what it says is kept, in bytes. It may say more, which nobody reads.
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
    match start(argv, timeout) {
        Ok(guard) => guard.attend(timeout, input).await,
        Err(error) => End::Failed(format!("the command cannot be started: {error}")),
    }
}

/// The guard's process. Dropped before its end, it is asked to end, and takes the command with it.
struct Guard(Child);

fn start(argv: &[String], timeout: Duration) -> io::Result<Guard> {
    let child = Command::new("/proc/self/exe")
        .arg0("sexton-watch")
        .args(guard::arguments(timeout))
        .args(argv.iter().map(OsStr::new))
        .env_remove(crate::link::VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    child.map(Guard)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // There is an id as long as nobody has waited for it, so that it is nobody else's.
        let pid = self.0.id().and_then(|id| Pid::new(id.cast_signed()));
        let _ = pid.map(|pid| signals::send(pid, Signal::TERM));
    }
}

impl Guard {
    async fn attend(mut self, timeout: Duration, input: &[u8]) -> End {
        let begun = clock::now();
        let child = &mut self.0;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not want to know is free not to.
                let _ = stdin.write_all(input).await;
            }
        };
        let listen = async {
            let mut said = Vec::new();
            let mut buffer = [0; 512];
            if let Some(mut stderr) = stderr {
                while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
                    said.extend(buffer.iter().take(length.min(KEPT.saturating_sub(said.len()))));
                }
            }
            said
        };
        let all = async {
            let ((), said, status) = tokio::join!(feed, listen, child.wait());
            (said, status)
        };
        match tokio::time::timeout(timeout + SLACK, all).await {
            Ok((said, Ok(status))) => match status.code() {
                // A command can have ended with these by itself, but not so late.
                Some(TIMED_OUT | KILLED) if clock::now().since(begun) >= timeout => End::TimedOut,
                Some(code) => End::Code(code, words(&said)),
                None => End::Failed("the command's guard was killed".to_owned()),
            },
            Ok((_, Err(error))) => End::Failed(format!("the command cannot be waited for: {error}")),
            Err(_) => End::TimedOut,
        }
    }
}

/// The last line that was said, on one line.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).collect()
}
