//! Which directories are swept: those that were given, or those in which OpenClaw would look.
//!
//! It works on names alone. Whether any of them exists is found out by the sweep, in its own process, because
//! the question may hang with the filesystem.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::types::Escaped;

/// A directory with locks in it, as far as its name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The operator named it. That it does not exist is worth a warning.
    Given(PathBuf),
    /// Programs of the catalogue keep their locks there, among what is others'. That it does not exist is nothing
    /// special.
    Catalogue(PathBuf),
    /// The first of these that exists; that none does is nothing special.
    Discovered(Vec<PathBuf>),
    /// `openclaw-<uid>` in this directory for temporary files, if it belongs to that user.
    Temporary {
        /// The directory for temporary files.
        base: PathBuf,
        /// The user.
        uid: u32,
    },
    /// The same for the user who owns the first of `states` that exists, unless that is `uid`: a sexton that
    /// runs as root often starts a gateway that changes its user.
    TemporaryOfOwner {
        /// The directory for temporary files.
        base: PathBuf,
        /// Where the gateway's state may lie.
        states: Vec<PathBuf>,
        /// The user whose directory is looked for anyway.
        uid: u32,
    },
}

impl Root {
    /// A directory that the operator named.
    #[must_use]
    pub fn given(path: &Path) -> Root {
        Root::Given(normalize(path))
    }

    /// Whether only programs of the catalogue keep locks there.
    #[must_use]
    pub fn is_catalogue(&self) -> bool {
        matches!(self, Root::Catalogue(_))
    }

    /// Every directory that it may turn out to be, as far as that can be known without a look.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        match self {
            Root::Given(path) | Root::Catalogue(path) => vec![path.clone()],
            Root::Discovered(paths) => paths.clone(),
            Root::Temporary { base, uid } | Root::TemporaryOfOwner { base, uid, .. } => {
                vec![temporary(base, *uid)]
            }
        }
    }

    /// The same below `directory`, if the name is a relative one: sexton leaves its working directory.
    #[must_use]
    pub fn below(mut self, directory: &Path) -> Root {
        let (one, several): (_, &mut [PathBuf]) = match &mut self {
            Root::Given(path) | Root::Catalogue(path) | Root::Temporary { base: path, .. } => {
                (Some(path), &mut [])
            }
            Root::Discovered(paths) => (None, paths),
            Root::TemporaryOfOwner { base, states, .. } => (Some(base), states),
        };
        for path in several.iter_mut().chain(one).filter(|path| !path.as_os_str().is_empty()) {
            *path = directory.join(&*path);
        }
        self
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::Given(path) | Root::Catalogue(path) => Escaped(path).fmt(f),
            Root::Discovered(places) => places.first().map_or(Ok(()), |path| Escaped(path).fmt(f)),
            Root::Temporary { base, uid } => Escaped(&temporary(base, *uid)).fmt(f),
            Root::TemporaryOfOwner { base, .. } => Escaped(&base.join("openclaw-*")).fmt(f),
        }
    }
}

/// The name of OpenClaw's directory for user `uid` within that for temporary files.
pub(super) fn temporary(base: &Path, uid: u32) -> PathBuf {
    base.join(format!("openclaw-{uid}"))
}

/// A trailing slash would have a link in the last component followed.
fn normalize(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The roots in a list as `SEXTON_LOCK_ROOTS` holds it: separated by colons, empty ones left out.
#[must_use]
pub fn split(list: &OsStr) -> Vec<PathBuf> {
    let paths = list.as_bytes().split(|byte| *byte == b':').filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

/// Where OpenClaw of user `uid` keeps its locks, by the environment that it is going to have: the state
/// directory (`OPENCLAW_STATE_DIR`, else `.openclaw` or its older name `.clawdbot` in `OPENCLAW_HOME` or
/// `HOME`), and its directory for temporary files.
#[must_use]
pub fn discover(variable: &dyn Fn(&str) -> Option<OsString>, uid: u32) -> Vec<Root> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME");
    let claw_home = set("OPENCLAW_HOME").map(|path| expand(&path, home.as_deref())).or_else(|| home.clone());
    let states: Vec<PathBuf> = match (set("OPENCLAW_STATE_DIR"), &claw_home) {
        (Some(state), _) => vec![normalize(&expand(&state, claw_home.as_deref()))],
        (None, Some(home)) => [".openclaw", ".clawdbot"].iter().map(|name| home.join(name)).collect(),
        (None, None) => Vec::new(),
    };
    let base = set("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let mut roots = vec![Root::Temporary { base: base.clone(), uid }];
    if !states.is_empty() {
        roots.insert(0, Root::Discovered(states.clone()));
        if uid == 0 {
            roots.push(Root::TemporaryOfOwner { base, states, uid });
        }
    }
    roots
}

/// `~` and `~/x` as a shell has them.
fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variable = (&'static str, &'static str);

    fn discovered(variables: &[Variable], uid: u32) -> Vec<String> {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let show = |root: &Root| match root {
            Root::Discovered(places) => {
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join("|")
            }
            other => other.to_string(),
        };
        discover(&lookup, uid).iter().map(show).collect()
    }

    #[test]
    fn openclaw_is_followed() {
        let table: [(&[Variable], &[&str]); 7] = [
            (&[("HOME", "/home/node")], &["/home/node/.openclaw|/home/node/.clawdbot", "/tmp/openclaw-1000"]),
            (
                &[("HOME", "/h"), ("OPENCLAW_HOME", "~/x")],
                &["/h/x/.openclaw|/h/x/.clawdbot", "/tmp/openclaw-1000"],
            ),
            (&[("HOME", "/h"), ("OPENCLAW_STATE_DIR", "/data/")], &["/data", "/tmp/openclaw-1000"]),
            (&[("HOME", "/h"), ("OPENCLAW_STATE_DIR", "~/s")], &["/h/s", "/tmp/openclaw-1000"]),
            (&[("HOME", "/h"), ("OPENCLAW_STATE_DIR", "~")], &["/h", "/tmp/openclaw-1000"]),
            (&[("HOME", ""), ("TMPDIR", "/t/")], &["/t/openclaw-1000"]),
            (&[("OPENCLAW_STATE_DIR", "~user/s")], &["~user/s", "/tmp/openclaw-1000"]),
        ];
        for (variables, roots) in table {
            assert_eq!(discovered(variables, 1000), roots, "{variables:?}");
        }
        let as_root = ["/root/.openclaw|/root/.clawdbot", "/tmp/openclaw-0", "/tmp/openclaw-*"];
        assert_eq!(discovered(&[("HOME", "/root")], 0), as_root);
    }

    #[test]
    fn given_roots_are_taken_by_their_word() {
        assert_eq!(split("/a:/b/::c".as_ref()), ["/a", "/b", "c"].map(PathBuf::from));
        assert!(split("".as_ref()).is_empty());
    }
}
