//! Doing something that may hang in a process of its own, and hearing what came of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spawn::{self, Output};
use super::{children, clock, poll, seqpacket, signals};
use crate::types::{Errno, MonoTime, Pid, Signal};

/// After how much time without a word it is told that there is none.
const SILENCE: Duration = Duration::from_secs(1);

/// Why nothing was heard.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// It said nothing in time, and was killed. One that hangs in the kernel is not waited for.
    #[error("it did not answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// It ended without an answer.
    #[error("it ended without an answer")]
    Died,
    /// It could not be begun.
    #[error("no process can be made for it: {0}")]
    Refused(io::Error),
}

/// Runs `work` in a process of its own, which dies with us, and returns its result. That process does not have our
/// standard output: it may outlive us, and then a reader would wait for its end. Call it from a process with one thread
/// only.
///
/// # Errors
/// Why nothing was heard within `deadline`.
pub fn call<T: Serialize + for<'a> Deserialize<'a>>(
    deadline: Duration,
    work: impl FnOnce() -> T,
) -> Result<T, ForkError> {
    let (answer, theirs) = seqpacket::pipe().map_err(refused)?;
    let pid = start(Output::Nowhere, &theirs, || (), work)?;
    drop(theirs);
    read_answer(answer, pid, None, deadline)
}

/// The same, with what it says on standard error and in its log passed on to ours; and `waits` is told each second that
/// passes in silence, with the time since the beginning. `before` runs in it first, as for
/// [`fork_helper`](spawn::fork_helper).
///
/// # Errors
/// Why nothing was heard within `deadline`.
pub fn call_aloud<T: Serialize + for<'a> Deserialize<'a>>(
    deadline: Duration,
    waits: &mut dyn FnMut(Duration),
    before: impl FnOnce(),
    work: impl FnOnce() -> T,
) -> Result<T, ForkError> {
    let (answer, theirs) = seqpacket::pipe().map_err(refused)?;
    let (said, says) = seqpacket::pipe().map_err(refused)?;
    let pid = start(Output::To(says.as_fd()), &theirs, before, work)?;
    drop((theirs, says));
    read_answer(answer, pid, Some(Aloud { said: File::from(said), waits }), deadline)
}

fn refused(error: Errno) -> ForkError {
    ForkError::Refused(io::Error::from_raw_os_error(error.0))
}

fn start<T: Serialize>(
    output: Output<'_>,
    theirs: &OwnedFd,
    before: impl FnOnce(),
    work: impl FnOnce() -> T,
) -> Result<Pid, ForkError> {
    let work = || {
        let said = serde_json::to_vec(&work()).map_err(io::Error::from);
        let sent = theirs.try_clone().and_then(|pipe| File::from(pipe).write_all(&said?));
        u8::from(sent.is_err())
    };
    spawn::fork_helper(output, &[theirs.as_fd()], before, work).map_err(refused)
}

/// What is passed on while an answer is waited for.
struct Aloud<'a> {
    said: File,
    waits: &'a mut dyn FnMut(Duration),
}

/// Takes the answer, which ends with the pipe.
fn read_answer<T: for<'a> Deserialize<'a>>(
    answer: OwnedFd,
    pid: Pid,
    mut aloud: Option<Aloud<'_>>,
    deadline: Duration,
) -> Result<T, ForkError> {
    let began = clock::now();
    let until = began.after(deadline);
    let (mut answer, mut bytes, mut heard) = (File::from(answer), Vec::new(), began);
    loop {
        let waited = match &mut aloud {
            None => poll::until(answer.as_fd(), Some(until)).map(drop),
            Some(aloud) => aloud.wait(&answer, began, &mut heard, until),
        };
        match waited.and_then(|()| take(&mut answer, &mut bytes)) {
            Ok(true) => {
                let _ = children::wait_for(pid);
                aloud.iter_mut().for_each(|aloud| _ = aloud.pass_on());
                return serde_json::from_slice(&bytes).map_err(|_| ForkError::Died);
            }
            Ok(false) if clock::now() < until => {}
            Ok(false) | Err(_) => {
                // It may hang in the kernel, so its end is not waited for.
                let _ = signals::send(pid, Signal::KILL);
                return Err(ForkError::Late(deadline));
            }
        }
    }
}

impl Aloud<'_> {
    /// Waits for more of the answer, or for something to be passed on.
    fn wait(
        &mut self,
        answer: &File,
        began: MonoTime,
        heard: &mut MonoTime,
        until: MonoTime,
    ) -> io::Result<()> {
        let next = heard.after(SILENCE).min(until);
        let [_, speaks] = poll::any_until([answer.as_fd(), self.said.as_fd()], Some(next))?;
        if speaks && self.pass_on() {
            *heard = clock::now();
        } else if clock::now() >= next {
            *heard = next;
            (self.waits)(next.since(began));
        }
        Ok(())
    }

    /// Whether there was anything.
    fn pass_on(&mut self) -> bool {
        let mut bytes = Vec::new();
        let _ = take(&mut self.said, &mut bytes);
        // If this cannot be written, the exit code still tells of the error.
        let _ = io::stderr().write_all(&bytes);
        !bytes.is_empty()
    }
}

/// Takes what there is in a pipe that never blocks. `true` if it has come to its end.
///
/// # Errors
/// What read(2) says.
fn take(pipe: &mut File, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(length) => bytes.extend(buffer.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
