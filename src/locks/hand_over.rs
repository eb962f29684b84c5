//! Hands an orphaned lock over to the gateway that is about to start, instead of removing it.
//!
//! OpenClaw 2026.5 to 2026.7 resumes an interrupted turn only if it finds the turn's lock stale at its start. A
//! lock whose owner is a pid that no kernel gives away is stale to every version, whatever pids the new
//! gateway and its children get. The old lock stays as it was unless the whole new one is in its place.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::format::{Content, Owner};
use super::lock_file::LockFile;
use super::remove::{Removal, if_unchanged};
use super::walk::DirEntry;
use crate::os::files;
use crate::types::Pid;

/// The pid that a lock gets which is handed over: far above [`Pid::PID_MAX_LIMIT`], and still one to every reader.
const NO_PROCESS: i32 = i32::MAX;

/// Whether this lock names an owner that no kernel ever gave a pid to: it was handed over.
pub fn is_handed_over(content: &Content) -> bool {
    content.owner().is_some_and(|owner: &Owner| owner.pid.raw() > Pid::PID_MAX_LIMIT)
}

/// Compares what lies at `spot` with `lock_file` and rewrites its owner's pid to an impossible one.
pub fn hand_over(spot: &DirEntry<'_>, lock_file: &LockFile) -> Removal {
    let LockFile::File { lock, temp_link: None } = lock_file else {
        return Removal::Failed(std::io::ErrorKind::Unsupported.into());
    };
    let content = tombstone(&lock.bytes, lock.meta.modified);
    // One name for one lock, so that the next try clears what a try that was killed has left.
    let aside = OsString::from(format!(".sexton-{:x}.tmp", lock.meta.inode));
    if_unchanged(spot, lock_file, || files::replace(spot.directory, spot.name, &aside, &content, &lock.meta))
}

/// The same lock with another owner: every field as it was, but for the pid, and without the start time, which
/// was the old owner's. What is not an object, as an empty file, becomes one that is as old as its file.
fn tombstone(bytes: &[u8], modified: (i64, i64)) -> Vec<u8> {
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
    fields.insert("pid".to_owned(), Value::from(NO_PROCESS));
    fields.remove("starttime");
    fields.remove("startTime");
    if !fields.contains_key("createdAt") {
        let since = Duration::from_secs(u64::try_from(modified.0).unwrap_or(0));
        let created = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
        let created = humantime::format_rfc3339_millis(created).to_string();
        fields.insert("createdAt".to_owned(), Value::from(created));
    }
    format!("{:#}\n", Value::Object(fields)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::format::Format;

    #[test]
    fn everything_but_the_owner_stays() {
        let session = include_bytes!("../../tests/locks/session.jsonl.lock");
        let old = Format::JsonOwner.read(session).content;
        let new = Format::JsonOwner.read(&tombstone(session, (0, 0))).content;
        assert!(!is_handed_over(&old) && is_handed_over(&new));
        let (old, new) = (*old.owner().unwrap(), *new.owner().unwrap());
        assert_eq!(new, Owner { pid: Pid::new(NO_PROCESS).unwrap(), start: None, ..old });

        let odd = tombstone(br#"{"pid":7,"createdAt":"x","sessionId":"s","a":[1]}"#, (5, 0));
        let odd: Value = serde_json::from_slice(&odd).unwrap();
        assert_eq!(odd, serde_json::json!({"pid": NO_PROCESS, "createdAt": "x", "sessionId": "s", "a": [1]}));
        let empty: Value = serde_json::from_slice(&tombstone(b"", (5, 0))).unwrap();
        assert_eq!(empty, serde_json::json!({"pid": NO_PROCESS, "createdAt": "1970-01-01T00:00:05.000Z"}));
    }
}
