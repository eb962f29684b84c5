//! What a lock says: bytes in, its owner out.
//!
//! | format | written as | module |
//! |---|---|---|
//! | [`JsonOwner`](Format::JsonOwner) | `{"pid":7,"createdAt":…,"starttime":…}` | `json` |
//! | [`Json`](Format::Json) | JSON with the fields that an operator names | `json_at` |
//! | [`PidAndTime`](Format::PidAndTime) | `7:1795330765232` | `text` |
//! | [`Pid`](Format::Pid) | `7` | `text` |
//! | [`FirstLine`](Format::FirstLine) | `7`, and more lines | `text` |
//! | [`HostAndPid`](Format::HostAndPid) | a link to `host-7` | `link` |
//! | [`UserHostPid`](Format::UserHostPid) | a link to `user@host.7:1795330765` | `link` |
//! | [`Empty`](Format::Empty) | nothing | here |
//!
//! It never asks the system anything and never guesses: bytes that are not exactly what a known writer writes
//! come out as [`Content::Invalid`], and no file is removed because of those.

mod json;
mod json_at;
mod link;
mod text;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use json_at::Keys;

use crate::types::{Pid, StartTime};

/// Who wrote a lock, in the writer's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The process, by its number in the pid namespace that it lived in.
    pub pid: Pid,
    /// When that process was started; older writers leave it out.
    pub start: Option<StartTime>,
    /// When the lock was taken. Only ever shown: clocks are set forwards and backwards.
    pub created: Option<SystemTime>,
    /// How long the writer meant to hold it at most.
    pub max_hold: Option<Duration>,
}

/// What the bytes of a lock file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A lock as its writer writes it.
    Owner(Owner),
    /// Not one byte: its writer died between creating the file and writing to it.
    Empty,
    /// Something else.
    Invalid(Defect),
}

impl Content {
    /// The owner, where there is one to be read.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Content::Owner(owner) => Some(owner),
            Content::Empty | Content::Invalid(_) => None,
        }
    }
}

/// What is wrong with the bytes of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It is not UTF-8.
    NotText,
    /// It ends in the middle.
    Truncated,
    /// It is not JSON from this line and column on (both counted from 1).
    NotJson {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// It is JSON, but not an object.
    NotAnObject,
    /// A field that counts stands in it twice.
    Twice(&'static str),
    /// Some field stands in it twice.
    TwiceAny,
    /// `starttime` and `startTime` say different things.
    TwoStartTimes,
    /// There is no `pid`.
    NoPid,
    /// `pid` is not a whole number.
    PidIsNoNumber,
    /// `pid` is a number that no process can have: zero, negative, or above 2^31 - 1.
    PidOutOfRange,
    /// It is not a pid and nothing else.
    NotAPid,
    /// Its first line is not a pid, or has no end.
    NotFirstLine,
    /// It is not a pid, a colon and milliseconds.
    NotPidAndTime,
    /// It is not a host's name, a hyphen and a pid.
    NotHostAndPid,
    /// It is not a user, a host, a pid and the time of a boot.
    NotUserHostPid,
    /// Something stands in it.
    NotEmpty,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::NotText => f.write_str("it is not text"),
            Defect::Truncated => f.write_str("it ends in the middle"),
            Defect::NotJson { line, column } => write!(f, "it is not JSON (line {line}, column {column})"),
            Defect::NotAnObject => f.write_str("it is not a JSON object"),
            Defect::Twice(field) => write!(f, "it has two fields '{field}'"),
            Defect::TwiceAny => f.write_str("it has one of its fields twice"),
            Defect::TwoStartTimes => f.write_str("its two start times disagree"),
            Defect::NoPid => f.write_str("it names no pid"),
            Defect::PidIsNoNumber => f.write_str("its pid is not a whole number"),
            Defect::PidOutOfRange => f.write_str("its pid is a number that no process can have"),
            Defect::NotAPid => f.write_str("it is not a pid and nothing else"),
            Defect::NotFirstLine => f.write_str("its first line is not a pid"),
            Defect::NotPidAndTime => f.write_str("it is not PID:MILLISECONDS"),
            Defect::NotHostAndPid => f.write_str("it does not point to HOST-PID"),
            Defect::NotUserHostPid => f.write_str("it does not point to USER@HOST.PID:BOOT"),
            Defect::NotEmpty => f.write_str("it is not empty"),
        }
    }
}

/// A lock as it was read: its owner, and where that owner says it lived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The owner, or why there is none.
    pub content: Content,
    /// The name of the host on which the owner lived, where its kind records one.
    pub host: Option<Vec<u8>>,
    /// The boot in which it lived (`/proc/sys/kernel/random/boot_id`), where its kind records one.
    pub boot: Option<Vec<u8>>,
}

impl From<Content> for Record {
    fn from(content: Content) -> Record {
        Record { content, host: None, boot: None }
    }
}

/// How the writers of a kind of lock put their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A JSON object with `pid`, and `createdAt` (ISO 8601) or `startedAt` (either that or milliseconds since
    /// 1970), `maxHoldMs`, `starttime` or `startTime` where the writer knows them. White space may follow:
    /// newer writers append a line of blanks and tabs.
    JsonOwner,
    /// JSON with fields of other names.
    Json(Box<Keys>),
    /// A pid, a colon, and milliseconds since 1970, as text.
    PidAndTime,
    /// A pid as text, and white space.
    Pid,
    /// A line with a pid and blanks around it, and any other lines: `postmaster.pid`, filelock's `SoftFileLock`.
    /// Without the end of the line it may be torn.
    FirstLine,
    /// The name of a host, a hyphen and a pid: what a symbolic link points to.
    HostAndPid,
    /// A user, `@`, the name of a host, a dot, a pid, and perhaps a colon and when the machine was booted, in seconds since
    /// 1970: what Emacs's links point to.
    UserHostPid,
    /// Not one byte: it names no owner.
    Empty,
}

impl Format {
    /// Reads the whole content of a lock file, or the target of a link.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Record {
        if bytes.is_empty() {
            return Content::Empty.into();
        }
        let content = |read: Result<Owner, Defect>| read.map_or_else(Content::Invalid, Content::Owner);
        let read = match self {
            Format::JsonOwner => return content(json::owner(bytes)).into(),
            Format::PidAndTime => return content(text::pid_and_time(bytes)).into(),
            Format::Pid => return content(text::pid(bytes)).into(),
            Format::FirstLine => return content(text::first_line(bytes)).into(),
            Format::Json(keys) => json_at::record(bytes, keys),
            Format::HostAndPid => link::record(bytes),
            Format::UserHostPid => link::user_host_pid(bytes),
            Format::Empty => Err(Defect::NotEmpty),
        };
        read.unwrap_or_else(|defect| Content::Invalid(defect).into())
    }
}

/// Whether a file that is no pid file as [`Format::Pid`] has them is a sound one of another format.
#[must_use]
pub fn is_pid_and_more(bytes: &[u8]) -> bool {
    text::is_pid_and_more(bytes)
}

impl Owner {
    /// An owner of whom only the pid is known.
    #[must_use]
    pub fn of(pid: Pid) -> Owner {
        Owner { pid, start: None, created: None, max_hold: None }
    }
}

/// A pid in decimal digits and nothing else.
fn decimal_pid(digits: &[u8], otherwise: Defect) -> Result<Pid, Defect> {
    let text = std::str::from_utf8(digits).map_err(|_| Defect::NotText)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(otherwise);
    }
    text.parse().ok().and_then(Pid::new).ok_or(Defect::PidOutOfRange)
}

/// Milliseconds since 1970 as a moment; zero is none.
fn since_1970(milliseconds: u64) -> Option<SystemTime> {
    let since = Some(milliseconds).filter(|n| *n > 0).map(Duration::from_millis)?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}
