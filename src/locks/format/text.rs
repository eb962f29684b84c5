//! Locks that are a line of text.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::{Defect, Owner, decimal_pid, since_1970};

/// `7`, with white space around it: a pid file.
pub(super) fn pid(bytes: &[u8]) -> Result<Owner, Defect> {
    decimal_pid(bytes.trim_ascii(), Defect::NotAPid).map(Owner::of)
}

/// A line that is `7` with blanks around it, and any lines behind it.
pub(super) fn first_line(bytes: &[u8]) -> Result<Owner, Defect> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Defect::NotFirstLine)?;
    let line = bytes.get(..end).unwrap_or_default();
    decimal_pid(line.trim_ascii(), Defect::NotFirstLine).map(Owner::of)
}

/// Whether it is a sound pid file of another format: a pid and more lines, as PostgreSQL's, or a JSON object.
pub(super) fn is_pid_and_more(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut lines = text.trim_end().lines();
    let first = lines.next().is_some_and(|line| pid(line.as_bytes()).is_ok());
    let is_object = || serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text).is_ok();
    (first && lines.next().is_some()) || is_object()
}

/// `7:1795330765232`, with white space behind it: OpenClaw's memory promotion.
pub(super) fn pid_and_time(bytes: &[u8]) -> Result<Owner, Defect> {
    let mut parts = bytes.trim_ascii_end().splitn(2, |byte| *byte == b':');
    let (Some(pid), Some(time)) = (parts.next(), parts.next()) else { return Err(Defect::NotPidAndTime) };
    let pid = decimal_pid(pid, Defect::NotPidAndTime)?;
    let digits = std::str::from_utf8(time).ok().filter(|time| time.bytes().all(|b| b.is_ascii_digit()));
    let time = digits.and_then(|digits| digits.parse().ok()).ok_or(Defect::NotPidAndTime)?;
    Ok(Owner { created: since_1970(time), ..Owner::of(pid) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::super::{Content, Format};
    use super::*;
    use crate::types::Pid;

    #[test]
    fn a_promotion_is_a_pid_and_a_time() {
        let read = |bytes: &[u8]| Format::PidAndTime.read(bytes).content;
        let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(1_795_330_765_232));
        let owner = Owner { created, ..Owner::of(Pid::new(31).unwrap()) };
        assert_eq!(read(b"31:1795330765232\n"), Content::Owner(owner));
        assert_eq!(read(b"31:1795330765232"), Content::Owner(owner));
        assert_eq!(read(b""), Content::Empty);
        for (bytes, defect) in [
            (&b"31"[..], Defect::NotPidAndTime),
            (b"31:", Defect::NotPidAndTime),
            (b":5", Defect::NotPidAndTime),
            (b"31:5:6", Defect::NotPidAndTime),
            (b"31:5x", Defect::NotPidAndTime),
            (b"-1:5", Defect::NotPidAndTime),
            (b"0:5", Defect::PidOutOfRange),
            (b"99999999999:5", Defect::PidOutOfRange),
            (b"\xff:5", Defect::NotText),
            (b"\n", Defect::NotPidAndTime),
        ] {
            assert_eq!(read(bytes), Content::Invalid(defect), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_pid_file_is_a_pid_and_nothing_else() {
        let read = |bytes: &[u8]| Format::Pid.read(bytes).content;
        for bytes in [&b"31\n"[..], b"31", b" 31 \n\n", b"00031"] {
            assert_eq!(read(bytes), Content::Owner(Owner::of(Pid::new(31).unwrap())));
        }
        assert_eq!(read(b"31\n32\n"), Content::Invalid(Defect::NotAPid));
        assert_eq!(read(b"+31"), Content::Invalid(Defect::NotAPid));
        assert_eq!(read(b"0"), Content::Invalid(Defect::PidOutOfRange));
    }

    #[test]
    fn the_pid_can_be_on_the_first_of_several_lines() {
        let read = |bytes: &[u8]| Format::FirstLine.read(bytes).content;
        let owner = Content::Owner(Owner::of(Pid::new(31).unwrap()));
        for bytes in [
            // PostgreSQL's postmaster.pid, and filelock's SoftFileLock.
            &b"31\n/var/lib/postgresql/data\n1795330765\n5432\n/tmp\n*\n  262219      32783\nready   \n"[..],
            b"31\nbox1?pidns-f000015e\n1234567\n",
            b"        31\n",
            b"31\r\nmore",
            b"31\n\xff",
        ] {
            assert_eq!(read(bytes), owner, "{}", bytes.escape_ascii());
        }
        // Without the end of the line it may be the beginning of 3100.
        for bytes in [&b"31"[..], b"\n31\n", b"31 32\n", b"x31\n", b"-31\n"] {
            assert_eq!(read(bytes), Content::Invalid(Defect::NotFirstLine), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(b"0\n"), Content::Invalid(Defect::PidOutOfRange));
        assert_eq!(read(b""), Content::Empty);
    }

    #[test]
    fn a_sound_pid_file_of_another_format_is_told_from_a_broken_one() {
        for (bytes, sound) in [
            (&b"31\n/var/lib/postgresql/data\n1795330765\n5432\n"[..], true),
            (b"31\r\nmore", true),
            (b"{\"pid\":31,\"port\":18789}\n", true),
            (b"{}", true),
            (b"31\n", false),
            (b"31\n\n", false),
            (b"0\nmore", false),
            (b"more\n31\n", false),
            (b"{\"pid\":31", false),
            (b"[31]", false),
            (b"31 32", false),
            (b"31\n\xff", false),
            (b"", false),
        ] {
            assert_eq!(is_pid_and_more(bytes), sound, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = is_pid_and_more(&bytes);
            for format in [Format::Pid, Format::FirstLine, Format::PidAndTime, Format::HostAndPid] {
                let _ = format.read(&bytes);
            }
        }
    }
}
