//! Locks that are a symbolic link and say everything in where it points.

use super::{Content, Defect, Owner, Record, decimal_pid};

/// `host-7`: Chromium's `SingletonLock`. A host's name may itself have hyphens in it.
pub(super) fn record(target: &[u8]) -> Result<Record, Defect> {
    let hyphen = target.iter().rposition(|byte| *byte == b'-').ok_or(Defect::NotHostAndPid)?;
    let (host, pid) = target.split_at_checked(hyphen).ok_or(Defect::NotHostAndPid)?;
    let pid = pid.get(1..).unwrap_or_default();
    if host.is_empty() || host.contains(&b'/') {
        return Err(Defect::NotHostAndPid);
    }
    let pid = decimal_pid(pid, Defect::NotHostAndPid)?;
    Ok(Record { content: Content::Owner(Owner::of(pid)), host: Some(host.to_vec()), boot: None })
}

/// `user@host.7:1795330765`, Emacs's lock of a file; without the colon on a system that does not tell when it was
/// booted. Both names may have any of its marks in them, so that they are looked for from the end.
pub(super) fn user_host_pid(target: &[u8]) -> Result<Record, Defect> {
    let defect = Defect::NotUserHostPid;
    let (before, boot) = match target.iter().rposition(|byte| *byte == b':') {
        Some(colon) => target.split_at_checked(colon).ok_or(defect)?,
        None => (target, &b":0"[..]),
    };
    if !boot.get(1..).is_some_and(|boot| !boot.is_empty() && boot.iter().all(u8::is_ascii_digit)) {
        return Err(defect);
    }
    let dot = before.iter().rposition(|byte| *byte == b'.').ok_or(defect)?;
    let (whom, pid) = before.split_at_checked(dot).ok_or(defect)?;
    let at = whom.iter().rposition(|byte| *byte == b'@').ok_or(defect)?;
    let (user, host) = whom.split_at_checked(at).ok_or(defect)?;
    let host = host.get(1..).unwrap_or_default();
    if user.is_empty() || host.is_empty() || whom.contains(&b'/') {
        return Err(defect);
    }
    let pid = decimal_pid(pid.get(1..).unwrap_or_default(), defect)?;
    Ok(Record { content: Content::Owner(Owner::of(pid)), host: Some(host.to_vec()), boot: None })
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::types::Pid;

    #[test]
    fn the_last_hyphen_parts_the_host_from_the_pid() {
        for (target, host, pid) in
            [(&b"6f2c01ab9d11-42"[..], &b"6f2c01ab9d11"[..], 42), (b"my-host-7", b"my-host", 7)]
        {
            let record = Format::HostAndPid.read(target);
            assert_eq!(record.content, Content::Owner(Owner::of(Pid::new(pid).unwrap())));
            assert_eq!(record.host.as_deref(), Some(host));
        }
        for target in [&b"host"[..], b"-7", b"host-", b"host-7x", b"../etc/x-7", b"host--1x"] {
            assert_eq!(Format::HostAndPid.read(target).content, Content::Invalid(Defect::NotHostAndPid));
        }
    }

    #[test]
    fn an_editors_link_is_read_from_its_end() {
        for (target, host, pid) in [
            (&b"root@box1.42:1795330765"[..], &b"box1"[..], 42),
            (b"root@box1.42", b"box1", 42),
            (b"a@b.c@my.host-7.example.7:1", b"my.host-7.example", 7),
        ] {
            let record = Format::UserHostPid.read(target);
            assert_eq!(record.content, Content::Owner(Owner::of(Pid::new(pid).unwrap())));
            assert_eq!(record.host.as_deref(), Some(host));
        }
        for target in [
            &b"root"[..],
            b"root@box1",
            b"root@box1.42:",
            b"root@box1.42:x",
            b"root@box1.:1",
            b"@box1.42:1",
            b"root@.42:1",
            b"../etc@box1.42:1",
            b"root@box1.42:1:",
            b"root@box1.-1:1",
        ] {
            let read = Format::UserHostPid.read(target).content;
            assert_eq!(read, Content::Invalid(Defect::NotUserHostPid), "{}", target.escape_ascii());
        }
        let too_large = Format::UserHostPid.read(b"root@box1.4294967296:1").content;
        assert_eq!(too_large, Content::Invalid(Defect::PidOutOfRange));
    }

    proptest::proptest! {
        #[test]
        fn any_link_is_read_without_a_panic_and_names_the_pid_that_it_ends_with(
            target in proptest::collection::vec(proptest::sample::select(&b"a@.:-/07\xff"[..]), 0..40)
        ) {
            for format in [Format::HostAndPid, Format::UserHostPid] {
                if let Some(owner) = format.read(&target).content.owner() {
                    let text = String::from_utf8_lossy(&target).into_owned();
                    let before = if format == Format::UserHostPid { text.split(':').next().unwrap() } else { &text };
                    proptest::prop_assert!(before.ends_with(&owner.pid.to_string()), "{text}");
                }
            }
        }
    }
}
