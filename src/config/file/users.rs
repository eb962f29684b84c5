//! Who a unit runs as: names looked up in /etc/passwd and /etc/group.
//!
//! The files are read here and not through the C library: a static binary's getpwnam(3) loads shared objects
//! of the very libc that it was built with, which a foreign image does not have. Users that only a directory
//! service knows are written by their numbers.

use std::fs;

use crate::config::file_access::FileAccess;
use crate::config::unit::User;

/// `name`, `uid`, `name:group` or `uid:gid`.
pub(super) fn look_up(text: &str, files: &FileAccess) -> Result<User, String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (uid, gid) = files.ask(&format!("the user {text}"), || {
        let User { uid, gid } = resolve(text, &read("/etc/passwd"), &read("/etc/group"))?;
        Ok((uid, gid))
    })?;
    Ok(User { uid, gid })
}

fn resolve(text: &str, passwd: &str, groups: &str) -> Result<User, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.lines().map(fields).find(|fields| {
        fields.first() == Some(&user)
            || number.is_some() && fields.get(2).and_then(|uid| uid.parse().ok()) == number
    });
    let known = entry.and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)));
    let uid = number.or(known.map(|(uid, _)| uid)).ok_or_else(|| {
        format!("there is no user '{user}' in /etc/passwd; name another, or write it as UID:GID")
    })?;
    let gid = match group {
        Some(group) => group.parse().ok().or_else(|| gid_of(group, groups)).ok_or_else(|| {
            format!("there is no group '{group}' in /etc/group; name another, or write its number")
        })?,
        None => known
            .map(|(_, gid)| gid)
            .ok_or_else(|| format!("/etc/passwd has no group for the user {uid}; write it as {uid}:GID"))?,
    };
    Ok(User { uid, gid })
}

fn gid_of(name: &str, groups: &str) -> Option<u32> {
    let entry = groups.lines().map(fields).find(|fields| fields.first() == Some(&name))?;
    entry.get(2)?.parse().ok()
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken\n";
        let groups = "root:x:0:\nnode:x:1001:\ndocker:x:998:node\n";
        for (text, uid, gid) in [
            ("node", 1000, 1001),
            ("1000", 1000, 1001),
            ("node:docker", 1000, 998),
            ("7:8", 7, 8),
            ("0", 0, 0),
            ("7:node", 7, 1001),
        ] {
            assert_eq!(resolve(text, passwd, groups), Ok(User { uid, gid }), "{text}");
        }
        for text in ["", "nobody", "7", "node:", "node:wheel", "broken", ":8", "-1", "7:-8"] {
            assert!(resolve(text, passwd, groups).is_err(), "{text}");
        }
    }
}
