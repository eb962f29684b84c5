//! The family of locks that sexton knows: where each lies, how it is written, and what an open file says of it.
//!
//! A table and nothing else. A kind of lock is one entry here, with a sample in the tests; nothing else in
//! the room knows any kind by name.

use std::borrow::Cow;

use super::format::Format;
use super::rule::{NotOurs, Pattern, Rules};
pub use super::socket::SocketPath;

/// One kind of lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name in log lines and reports, which stays the same for ever.
    pub name: Cow<'static, str>,
    /// What it is made of.
    pub form: LockShape,
    /// How it is written.
    pub format: Format,
    /// Whether its owner has the file open from the instant it exists until the lock is given up. Only then
    /// does "no process has it open" mean that no process holds it.
    pub keeps_open: bool,
    /// The files that its owner has open instead, from soon after it has taken the lock until shortly before it gives
    /// it up: a path below the lock's directory. The owner has one of them open or all.
    pub witness: Option<Pattern>,
    /// Where its owner listens, from soon after it has taken the lock until shortly before it gives it up.
    pub socket: Option<SocketPath>,
    /// Whether its owner holds it for its whole life, so that holding it long is nothing special.
    pub lifelong: bool,
    /// Whether programs that are not known here give their files the same name, so that another format there is nothing
    /// special.
    pub common_name: bool,
    /// Whether a gateway that finds it stale at its start recovers the work that it guarded.
    pub recovers: bool,
}

/// What a lock is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockShape {
    /// An ordinary file.
    File,
    /// An ordinary file that was written under a name of this pattern, in the same directory, and got its own as a hard
    /// link: it can have both names.
    Linked(Pattern),
    /// A symbolic link, and others of these names beside it that go when it goes, or not at all.
    Symlink(Vec<String>),
    /// A directory with the one file of this name in it.
    Directory(String),
}

/// A kind and where it lies below a root.
struct KindSpec {
    paths: &'static [&'static str],
    kind: Kind,
}

/// A plain file of OpenClaw's own writing, kept open while it is held.
fn own(name: &'static str) -> Kind {
    Kind {
        name: Cow::Borrowed(name),
        form: LockShape::File,
        format: Format::JsonOwner,
        keeps_open: true,
        witness: None,
        socket: None,
        lifelong: false,
        common_name: false,
        recovers: false,
    }
}

/// What OpenClaw leaves in its state directory and in `${TMPDIR}/openclaw-<uid>`.
///
/// The writers of those that are kept open create the file exclusively and keep that descriptor until they
/// let go (read in 2026.5.22). The usage-cost lock is written under another name and hard-linked into place,
/// and its descriptor is closed at once. A directory or a link cannot be kept open in that sense.
fn openclaw() -> Vec<KindSpec> {
    vec![
        // Up to 2026.7; sessions live in SQLite after that. A root may also be given further down.
        KindSpec {
            paths: &["agents/*/sessions/*.jsonl.lock", "sessions/*.jsonl.lock", "*.jsonl.lock"],
            kind: Kind { recovers: true, ..own("session") },
        },
        // Of the temporary directory itself, of old state directories, and of 2026.9's state directory.
        KindSpec {
            paths: &["gateway.*.lock", "tmp/openclaw-*/gateway.*.lock"],
            kind: Kind { lifelong: true, ..own("gateway") },
        },
        KindSpec { paths: &["agents/*/agent/auth-profiles.json.lock"], kind: own("auth-profiles") },
        KindSpec { paths: &["locks/oauth-refresh/*.lock"], kind: own("oauth-refresh") },
        // The same writer, for whatever else the gateway and its plugins guard: the configuration, pairings, the
        // ledger of agent connections, the queue of embeddings.
        KindSpec {
            paths: &[
                "*.json.lock",
                "acp/*.json.lock",
                "credentials/*.json.lock",
                "devices/*.json.lock",
                "agents/*/agent/*.json.lock",
                "qmd/embed.lock.lock",
                "agents/*/qmd/embed.lock.lock",
            ],
            kind: own("sidecar"),
        },
        KindSpec {
            paths: &["agents/*/sessions/.usage-cost-cache.json.lock"],
            // Whoever died between the two left both names.
            kind: Kind {
                form: Pattern::new(".usage-cost-cache.json.lock.*.tmp")
                    .map_or(LockShape::File, LockShape::Linked),
                keeps_open: false,
                ..own("usage-cost")
            },
        },
        KindSpec {
            paths: &[
                "memory/.dreams/short-term-promotion.lock",
                "workspace*/memory/.dreams/short-term-promotion.lock",
            ],
            kind: Kind { format: Format::PidAndTime, ..own("memory-promotion") },
        },
        // Up to 2026.4.
        KindSpec {
            paths: &[
                "plugin-runtime-deps/.openclaw-runtime-*.lock",
                "plugin-runtime-deps/*/.openclaw-runtime-*.lock",
                "plugin-runtime-deps/*/*/.openclaw-runtime-*.lock",
            ],
            kind: Kind {
                form: LockShape::Directory("owner.json".to_owned()),
                keeps_open: false,
                ..own("runtime-deps")
            },
        },
        KindSpec {
            paths: &["browser/*/user-data/SingletonLock"],
            kind: Kind {
                form: LockShape::Symlink(["SingletonSocket", "SingletonCookie"].map(str::to_owned).into()),
                format: Format::HostAndPid,
                keeps_open: false,
                witness: Pattern::new("*/History"),
                lifelong: true,
                ..own("chromium")
            },
        },
        KindSpec {
            paths: &["*.pid", "run/*.pid"],
            kind: Kind {
                format: Format::Pid,
                keeps_open: false,
                lifelong: true,
                common_name: true,
                ..own("pid-file")
            },
        },
    ]
}

/// What looks like a lock there, and is shown with its reason and never judged.
const NOT_JUDGED: &[(&str, NotOurs)] = &[
    ("openclaw.json.clobber.lock", NotOurs::Heartbeat),
    ("*.lock.sqlite", NotOurs::Sqlite),
    ("tmp/openclaw-*/*.lock.sqlite", NotOurs::Sqlite),
    ("*.lock.reclaim", NotOurs::Reclaim),
    ("tmp/openclaw-*/*.lock.reclaim", NotOurs::Reclaim),
    ("agents/*/sessions/*.lock.reclaim", NotOurs::Reclaim),
    ("agents/*/agent/*.lock.reclaim", NotOurs::Reclaim),
    ("locks/oauth-refresh/*.lock.reclaim", NotOurs::Reclaim),
    ("credentials/*.lock.reclaim", NotOurs::Reclaim),
    ("workspace*/.git/index.lock", NotOurs::Git),
];

/// What a name turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'a> {
    /// A lock to be judged.
    Lock(&'a Kind),
    /// It belongs to another program.
    NotOurs(NotOurs),
}

/// The kinds that one run of sexton knows in a root: an operator's own, those of the catalogue, and OpenClaw's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockKinds {
    kinds: Vec<(Vec<Pattern>, Kind)>,
    /// What only looks like a lock of OpenClaw's is shown.
    of_openclaw: bool,
}

impl LockKinds {
    /// OpenClaw's alone.
    #[must_use]
    pub fn openclaw() -> LockKinds {
        LockKinds::with(Vec::new())
    }

    /// An operator's kinds, which win over OpenClaw's where both fit, and OpenClaw's.
    #[must_use]
    pub fn with(own: Vec<(Pattern, Kind)>) -> LockKinds {
        let patterns = |row: &KindSpec| row.paths.iter().filter_map(|path| Pattern::new(path)).collect();
        let known = openclaw();
        let known = known.into_iter().map(|row| (patterns(&row), row.kind));
        let own = LockKinds::only(own).kinds.into_iter();
        LockKinds { kinds: own.chain(known).collect(), of_openclaw: true }
    }

    /// These alone.
    #[must_use]
    pub fn only(kinds: Vec<(Pattern, Kind)>) -> LockKinds {
        let kinds = kinds.into_iter().map(|(pattern, kind)| (vec![pattern], kind)).collect();
        LockKinds { kinds, of_openclaw: false }
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The rules by which a walk finds all of them.
    #[must_use]
    pub fn rules(&self) -> Rules<Match<'_>> {
        let known = self
            .kinds
            .iter()
            .flat_map(|(patterns, kind)| patterns.iter().map(move |it| (it.clone(), Match::Lock(kind))));
        let foreign = NOT_JUDGED
            .iter()
            .filter(|_| self.of_openclaw)
            .filter_map(|(path, why)| Pattern::new(path).map(|pattern| (pattern, Match::NotOurs(*why))));
        Rules::new(known.chain(foreign).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_a_pattern_and_every_name_is_its_own() {
        let rows = openclaw();
        for path in rows.iter().flat_map(|row| row.paths).chain(NOT_JUDGED.iter().map(|(path, _)| path)) {
            assert!(Pattern::new(path).is_some(), "{path}");
        }
        let names: BTreeSet<_> = rows.iter().map(|row| &row.kind.name).collect();
        assert_eq!(names.len(), rows.len());
    }

    fn found(lock_kinds: &LockKinds, path: &str) -> Option<String> {
        let rules = lock_kinds.rules();
        let mut place = rules.start();
        let mut last = None;
        for name in path.split('/') {
            let step = rules.step(&place, name.as_bytes());
            let foreign = step.foreign.map(|why| format!("{why:?}"));
            let kind = step.found.map(|what| match what {
                Match::Lock(kind) => kind.name.to_string(),
                Match::NotOurs(why) => format!("{why:?}"),
            });
            (place, last) = (step.below, foreign.or(kind));
        }
        last
    }

    #[test]
    fn each_lock_is_found_where_its_writer_puts_it_and_nothing_beside_it() {
        for (path, kind) in [
            ("agents/main/sessions/sess-one.jsonl.lock", Some("session")),
            ("sessions/sess-one.jsonl.lock", Some("session")),
            ("sess-one.jsonl.lock", Some("session")),
            ("gateway.acb44012.lock", Some("gateway")),
            ("tmp/openclaw-1000/gateway.state.lock", Some("gateway")),
            ("agents/main/agent/auth-profiles.json.lock", Some("auth-profiles")),
            ("agents/main/agent/models.json.lock", Some("sidecar")),
            ("openclaw.json.lock", Some("sidecar")),
            ("agents/main/qmd/embed.lock.lock", Some("sidecar")),
            ("locks/oauth-refresh/sha256-00ff.lock", Some("oauth-refresh")),
            ("agents/main/sessions/.usage-cost-cache.json.lock", Some("usage-cost")),
            ("workspace-two/memory/.dreams/short-term-promotion.lock", Some("memory-promotion")),
            ("plugin-runtime-deps/openclaw-2026.4.1/.openclaw-runtime-mirror.lock", Some("runtime-deps")),
            ("browser/openclaw/user-data/SingletonLock", Some("chromium")),
            ("gateway.pid", Some("pid-file")),
            ("agents/main/sessions/sess-one.jsonl", None),
            ("agents/main/sessions/sessions.json.lock", None),
            ("agents/main/sessions/deep/sess-one.jsonl.lock", None),
            ("agents/main/sessions/sess-one.jsonl.lock.reclaim", Some("Reclaim")),
            ("tmp/openclaw-1000/gateway.state.lock.sqlite", Some("Sqlite")),
            ("gateway.acb44012.lock.sqlite-wal", None),
            ("workspace/.git/index.lock", Some("Git")),
            ("openclaw.json.clobber.lock", Some("Heartbeat")),
            ("browser/openclaw/user-data/SingletonCookie", None),
        ] {
            assert_eq!(found(&LockKinds::openclaw(), path).as_deref(), kind, "{path}");
        }
    }

    #[test]
    fn an_operators_rule_comes_first_and_cannot_touch_what_is_untouchable() {
        let own = Kind { format: Format::Pid, keeps_open: false, ..own("mine") };
        let lock_kinds = LockKinds::with(vec![(Pattern::new("*").unwrap(), own)]);
        assert_eq!(found(&lock_kinds, "openclaw.json.lock").as_deref(), Some("mine"));
        assert_eq!(found(&lock_kinds, "state.sqlite").as_deref(), Some("Sqlite"));
        assert_eq!(found(&lock_kinds, "index.lock").as_deref(), Some("Git"));
    }
}
