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
}
