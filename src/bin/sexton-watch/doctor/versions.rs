//! What is known of OpenClaw's releases. Pure; the table is of 2026-11-22, and each line names where it was read.

use super::finding::Finding;

/// A release: year, month, number.
pub type Version = (u32, u32, u32);

/// What is known of some releases.
struct Known {
    from: Version,
    to: Version,
    what: &'static str,
    advice: &'static str,
    /// Issues and pull requests of github.com/openclaw/openclaw.
    sources: &'static [u32],
}

const TABLE: &[Known] = &[
    Known {
        from: (0, 0, 0),
        to: (2026, 1, 30),
        what: "a session lock has no start time, so that one left by the same pid blocks the session for 30 minutes",
        advice: "sexton clears it before the start; keep lock roots on",
        sources: &[5006, 4015, 49603, 18140, 26579],
    },
    Known {
        from: (0, 0, 0),
        to: (2026, 4, 999),
        what: "a plugin lock left by the same pid holds each plugin's start up for 300 s",
        advice: "sexton clears it before the start; keep lock roots on",
        sources: &[75028],
    },
    // Read in the code of these two; 2026.9.6 writes the start time.
    Known {
        from: (2026, 5, 20),
        to: (2026, 5, 22),
        what: "the lock of a file (auth profiles, configuration, pairing) has no start time, so that one left by the same pid is never given up",
        advice: "sexton clears it before the start; keep lock roots on",
        sources: &[],
    },
    Known {
        from: (2026, 5, 20),
        to: (2026, 5, 22),
        what: "after a run that timed out the live gateway keeps its session lock, and every turn waits 60 s and fails",
        advice: "No one may remove a live owner's lock: set [locks] held_too_long = \"restart\", or update",
        sources: &[86014, 86427, 87278],
    },
    Known {
        from: (2026, 5, 20),
        to: (2026, 5, 22),
        what: "right after it says ready its event loop can stand for up to a minute: no answer, no stop",
        advice: "Give probes a start_period of 3m, and the stop more than its 25 s; or update",
        sources: &[86031, 86044, 86815],
    },
    Known {
        from: (2026, 5, 20),
        to: (2026, 7, 35),
        what: "an interrupted turn is resumed only if its stale lock is still there at the next start",
        advice: "--lock-action hand-over leaves it to be found",
        sources: &[],
    },
];

/// The version in what `openclaw --version` prints: the first word that is three numbers.
pub fn version(said: &str) -> Option<Version> {
    said.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v');
        let numbers = word.split_once('-').map_or(word, |(numbers, _)| numbers);
        let mut parts = numbers.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(year)), Some(Ok(month)), Some(Ok(number)), None) => Some((year, month, number)),
            _ => None,
        }
    })
}

/// What is known of this release.
pub fn known(version: Version) -> Vec<Finding> {
    let name = "known bugs";
    let shown = |(year, month, number): Version| format!("{year}.{month}.{number}");
    let of_it = TABLE.iter().filter(|known| (known.from..=known.to).contains(&version));
    let mut found: Vec<Finding> = of_it
        .map(|known| {
            let sources: Vec<String> = known.sources.iter().map(|number| format!("#{number}")).collect();
            let sources =
                if sources.is_empty() { String::new() } else { format!(" ({})", sources.join(", ")) };
            let what = format!("OpenClaw {}: {}{sources}", shown(version), known.what);
            Finding::warning(name, what, known.advice)
        })
        .collect();
    if found.is_empty() {
        found.push(Finding::ok(name, format!("none of OpenClaw {}, as of 2026-11-22", shown(version))));
    }
    found
}

/// How long this release lets itself drain when it is stopped, in seconds.
pub fn drains(version: Version) -> u64 {
    if version >= (2026, 8, 0) { 325 } else { 25 }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_version_is_found_in_what_is_printed() {
        for (said, expected) in [
            ("2026.5.22", Some((2026, 5, 22))),
            ("OpenClaw 2026.5.22 (a374c3a)\n", Some((2026, 5, 22))),
            ("v2026.9.6-beta.1", Some((2026, 9, 6))),
            ("(node:7) Warning\nOpenClaw 2026.8.1", Some((2026, 8, 1))),
            ("1.2", None),
            ("1.2.3.4", None),
            ("", None),
        ] {
            assert_eq!(version(said), expected, "{said}");
        }
    }

    #[test]
    fn each_release_has_its_own() {
        let count = |version| known(version).iter().filter(|found| found.grade == Severity::Warning).count();
        assert_eq!(count((2026, 1, 30)), 2);
        assert_eq!(count((2026, 5, 19)), 0);
        assert_eq!(count((2026, 5, 22)), 4);
        assert_eq!(count((2026, 7, 1)), 1);
        assert_eq!(count((2026, 9, 6)), 0);
        assert!(known((2026, 5, 22))[1].what.contains("#86014"));
    }

    #[test]
    fn later_ones_drain() {
        assert_eq!(
            [(2026, 5, 22), (2026, 7, 35), (2026, 8, 1), (2027, 1, 1)].map(drains),
            [25, 25, 325, 325]
        );
    }
}
