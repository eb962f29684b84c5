//! Doing something that may hang in a process of its own, and hearing what came of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::{children, clock, poll, seqpacket, signals, spawn};
use crate::types::{MonoTime, Pid, Signal};

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

/// Does `work` in a process of its own, which dies with us, and gives what it says. To be called by a process of one
/// thread.
///
/// # Errors
/// Why nothing was heard within `deadline`.
pub fn call<T: Serialize + for<'a> Deserialize<'a>>(
    deadline: Duration,
    work: impl FnOnce() -> T,
) -> Result<T, ForkError> {
    let until = clock::now().after(deadline);
    let refused = |error: crate::types::Errno| ForkError::Refused(io::Error::from_raw_os_error(error.0));
    let (ours, theirs) = seqpacket::pipe().map_err(refused)?;
    let pid = spawn::fork_helper(|| {
        let said = serde_json::to_vec(&work()).map_err(io::Error::from);
        let sent = theirs.try_clone().and_then(|pipe| File::from(pipe).write_all(&said?));
        u8::from(sent.is_err())
    })
    .map_err(refused)?;
    drop(theirs);
    let said = read_answer(ours, pid, until).ok_or(ForkError::Late(deadline))?;
    serde_json::from_slice(&said).map_err(|_| ForkError::Died)
}

/// Everything that comes through the pipe until its other end is closed; `None` if that takes too long.
fn read_answer(pipe: OwnedFd, pid: Pid, until: MonoTime) -> Option<Vec<u8>> {
    let mut pipe = File::from(pipe);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll::until(pipe.as_fd(), Some(until)).ok()?;
        match pipe.read(&mut buffer) {
            Ok(0) => {
                let _ = children::wait_for(pid);
                return Some(bytes);
            }
            Ok(read) => bytes.extend(buffer.iter().take(read)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && clock::now() < until => {}
            Err(_) => {
                // It may hang in the kernel, so that nobody waits for its end.
                let _ = signals::send(pid, Signal::KILL);
                return None;
            }
        }
    }
}
