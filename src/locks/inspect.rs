//! Looks at one file and gives a verdict on it, with everything that led there.
//!
//! It changes nothing, and it opens nothing before it knows what it is.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use super::evidence::{self, Patience};
use super::format::Content;
use super::kind::Kind;
use super::scene::Scene;
use super::verdict::{Doubt, Evidence, Lease, Process, Verdict, judge};
use super::walk::Spot;
use crate::ids::Errno;
use crate::os::files::{self, FileKind, Meta};

/// No lock is larger; whatever is larger is not read.
const LARGEST: usize = 64 * 1024;

/// Why something with a lock's name is not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// It is not an ordinary file.
    Kind(FileKind),
    /// It has several names, and removing one gives up nothing.
    Links(u64),
    /// It is larger than any lock, in bytes.
    Size(i64),
    /// Something is mounted on it.
    Mounted,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oddity::Kind(FileKind::Directory) => f.write_str("it is a directory"),
            Oddity::Kind(FileKind::Symlink) => f.write_str("it is a symbolic link"),
            Oddity::Kind(FileKind::Fifo) => f.write_str("it is a named pipe"),
            Oddity::Kind(FileKind::Socket) => f.write_str("it is a socket"),
            Oddity::Kind(FileKind::Device | FileKind::Regular) => f.write_str("it is a device"),
            Oddity::Links(links) => write!(f, "it has {links} names (hard links)"),
            Oddity::Size(size) => write!(f, "it is too large for a lock ({size} bytes)"),
            Oddity::Mounted => f.write_str("something is mounted on it"),
        }
    }
}

/// The file as it was when it was judged, held open so that its inode's number cannot be given away.
pub struct Specimen {
    /// The open file.
    pub file: OwnedFd,
    /// What it was.
    pub meta: Meta,
    /// What it held.
    pub bytes: Vec<u8>,
}

/// What came of a look at one file.
pub enum Finding {
    /// It was gone, or had become another file, before it could be judged.
    Vanished,
    /// It is nothing that could be judged.
    Odd(Oddity),
    /// It was judged.
    Judged {
        /// The verdict.
        verdict: Verdict,
        /// What stands in it; `None` if it could not be read.
        content: Option<Content>,
        /// How old it is by its own word, or else by its file's time; zero if that lies in the future.
        age: Duration,
        /// The file, if it could be opened.
        specimen: Option<Specimen>,
    },
}

/// Looks at what lies at `spot` and judges it as a lock of kind `kind`.
pub fn inspect(
    spot: &Spot<'_>,
    kind: &Kind,
    scene: &Scene<'_>,
    exclusive: bool,
    patience: &mut Patience,
) -> Finding {
    let unreadable = |error: &io::Error, age| Finding::Judged {
        verdict: Verdict::Unclear(Doubt::Unreadable(Errno(error.raw_os_error().unwrap_or(0)))),
        content: None,
        age,
        specimen: None,
    };
    let seen = match files::look_in(spot.directory, spot.name).and_then(|seen| files::meta(seen.as_fd())) {
        Ok(seen) => seen,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => return Finding::Vanished,
            io::ErrorKind::CrossesDevices => return Finding::Odd(Oddity::Mounted),
            _ => return unreadable(&error, Duration::ZERO),
        },
    };
    if let Some(oddity) = oddity(&seen) {
        return Finding::Odd(oddity);
    }
    let written = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(u64::try_from(seen.modified.0).unwrap_or(0)))
        .unwrap_or(scene.now);
    let age = |since: SystemTime| scene.now.duration_since(since).unwrap_or(Duration::ZERO);

    let opened = files::open_to_read(spot.directory, spot.name).and_then(|file| {
        let meta = files::meta(file.as_fd())?;
        let bytes =
            if meta.same_file(&seen) { files::read_up_to(file.as_fd(), LARGEST + 1)? } else { Vec::new() };
        Ok(Specimen { file, meta, bytes })
    });
    let specimen = match opened {
        Ok(specimen) => specimen,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Finding::Vanished,
        Err(error) => return unreadable(&error, age(written)),
    };
    if !specimen.meta.same_file(&seen) {
        return Finding::Vanished;
    }
    if specimen.bytes.len() > LARGEST {
        return Finding::Odd(Oddity::Size(specimen.meta.size));
    }

    let content = kind.format.read(&specimen.bytes);
    let file = specimen.file.as_fd();
    let mut evidence = Evidence {
        content,
        lease: evidence::lease(file, specimen.meta.uid),
        local: evidence::filesystem(file).local,
        keeps_open: kind.keeps_open,
        process: content.owner().map_or(Process::NotNamed, |owner| evidence::process(owner, scene)),
        quiet: scene.quiet,
        exclusive,
    };
    if evidence.lease == Lease::Busy && would_be_orphaned(&evidence) {
        evidence.lease = patience.ask_again(file, specimen.meta.uid);
    }
    let created = content.owner().and_then(|owner| owner.created);
    Finding::Judged {
        verdict: judge(&evidence),
        content: Some(content),
        age: age(created.unwrap_or(written)),
        specimen: Some(specimen),
    }
}

/// Whether the lock's owner is dead here and only the open file speaks for it. Somebody who has it open and
/// is not its owner may be a reader that lets go in an instant.
fn would_be_orphaned(evidence: &Evidence) -> bool {
    let recorded = evidence.content.owner().and_then(|owner| owner.start);
    let may_live = match evidence.process {
        Process::Lives(_) => recorded.is_none(),
        Process::Hidden => true,
        _ => false,
    };
    let closed = Evidence { lease: Lease::Granted, ..*evidence };
    !may_live && matches!(judge(&closed), Verdict::Orphaned(_))
}

fn oddity(meta: &Meta) -> Option<Oddity> {
    if meta.kind != FileKind::Regular {
        Some(Oddity::Kind(meta.kind))
    } else if meta.links > 1 {
        Some(Oddity::Links(meta.links))
    } else if usize::try_from(meta.size).is_ok_and(|size| size > LARGEST) {
        Some(Oddity::Size(meta.size))
    } else {
        None
    }
}
