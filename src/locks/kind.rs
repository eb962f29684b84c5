//! The family of locks that sexton knows: where each lies, how it is written, and what an open file says of it.
//!
//! A table and nothing else. A kind of lock is one entry here, with a sample in the tests; nothing else in
//! the room knows any kind by name.

use super::format::Format;
use super::rule::{Pattern, Rules};

/// One kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name in log lines and reports, which stays the same for ever.
    pub name: &'static str,
    /// Where it lies below a root.
    pub paths: &'static [&'static str],
    /// How it is written.
    pub format: Format,
    /// Whether its owner has the file open from the instant it exists until the lock is given up. Only then
    /// does "nobody has it open" say that nobody holds it.
    pub keeps_open: bool,
}

/// What OpenClaw leaves in its state directory and in `${TMPDIR}/openclaw-<uid>`.
///
/// The writers of all but the last create the file exclusively and keep that descriptor until they let go
/// (read in 2026.5.22). The usage-cost lock is written under another name and hard-linked into place, and its
/// descriptor is closed at once.
pub const OPENCLAW: &[Kind] = &[
    // Up to 2026.7; sessions live in SQLite after that. A root may also be given further down.
    Kind {
        name: "session",
        paths: &["agents/*/sessions/*.jsonl.lock", "sessions/*.jsonl.lock", "*.jsonl.lock"],
        format: Format::JsonOwner,
        keeps_open: true,
    },
    // Of the temporary directory itself, of old state directories, and of 2026.9's state directory.
    Kind {
        name: "gateway",
        paths: &["gateway.*.lock", "tmp/openclaw-*/gateway.*.lock"],
        format: Format::JsonOwner,
        keeps_open: true,
    },
    Kind {
        name: "auth-profiles",
        paths: &["agents/*/agent/auth-profiles.json.lock"],
        format: Format::JsonOwner,
        keeps_open: true,
    },
    Kind {
        name: "oauth-refresh",
        paths: &["locks/oauth-refresh/*.lock"],
        format: Format::JsonOwner,
        keeps_open: true,
    },
    Kind {
        name: "usage-cost",
        paths: &["agents/*/sessions/.usage-cost-cache.json.lock"],
        format: Format::JsonOwner,
        keeps_open: false,
    },
];

/// The rules by which a walk finds the locks of `kinds`.
#[must_use]
pub fn rules(kinds: &[Kind]) -> Rules<&Kind> {
    let of = |kind| move |text: &&str| Pattern::new(text).map(|pattern| (pattern, kind));
    Rules::new(kinds.iter().flat_map(|kind: &Kind| kind.paths.iter().filter_map(of(kind))).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_a_pattern_and_every_name_is_its_own() {
        for kind in OPENCLAW {
            for path in kind.paths {
                assert!(Pattern::new(path).is_some(), "{path}");
            }
        }
        assert_eq!(OPENCLAW.iter().map(|kind| kind.name).collect::<BTreeSet<_>>().len(), OPENCLAW.len());
    }

    #[test]
    fn each_lock_is_found_where_openclaw_puts_it_and_nothing_beside_it() {
        let rules = rules(OPENCLAW);
        let found = |path: &str| {
            let mut place = rules.start();
            let mut last = None;
            for name in path.split('/') {
                let step = rules.step(&place, name.as_bytes());
                (place, last) = (step.below, step.found);
            }
            last.map(|kind| kind.name)
        };
        for (path, kind) in [
            ("agents/main/sessions/sess-one.jsonl.lock", Some("session")),
            ("sessions/sess-one.jsonl.lock", Some("session")),
            ("sess-one.jsonl.lock", Some("session")),
            ("gateway.acb44012.lock", Some("gateway")),
            ("tmp/openclaw-1000/gateway.state.lock", Some("gateway")),
            ("agents/main/agent/auth-profiles.json.lock", Some("auth-profiles")),
            ("locks/oauth-refresh/sha256-00ff.lock", Some("oauth-refresh")),
            ("agents/main/sessions/.usage-cost-cache.json.lock", Some("usage-cost")),
            ("agents/main/sessions/sess-one.jsonl", None),
            ("agents/main/sessions/sessions.json.lock", None),
            ("agents/main/sessions/deep/sess-one.jsonl.lock", None),
            ("agents/main/sessions/sess-one.jsonl.lock.reclaim", None),
            ("tmp/openclaw-1000/gateway.state.lock.sqlite", None),
            ("gateway.acb44012.lock.sqlite-wal", None),
            ("openclaw.json.clobber.lock", None),
        ] {
            assert_eq!(found(path), kind, "{path}");
        }
    }
}
