//! Every combination of evidence, and what must never be said.

use super::*;
use crate::locks::format::Owner;

const PID: Pid = Pid::INIT;
const RECORDED: StartTime = StartTime(1000);
const OTHER: StartTime = StartTime(2000);

fn owner(start: Option<StartTime>) -> Content {
    Content::Owner(Owner { pid: PID, start, created: None, max_hold: None })
}

const CONTENTS: usize = 4;
fn contents() -> [Content; CONTENTS] {
    [owner(Some(RECORDED)), owner(None), Content::Empty, Content::Invalid(Defect::NoPid)]
}

const LEASES: [Lease; 3] = [Lease::Busy, Lease::Granted, Lease::NoInformation(Errno(13))];

const PROCESSES: [Process; 8] = [
    Process::NotNamed,
    Process::Absent,
    Process::Zombie,
    Process::InHand,
    Process::Ours,
    Process::Lives(RECORDED),
    Process::Lives(OTHER),
    Process::Hidden,
];

fn every() -> Vec<Evidence> {
    let mut all = Vec::new();
    for content in contents() {
        for lease in LEASES {
            for process in PROCESSES {
                for bits in 0..16_u8 {
                    all.push(Evidence {
                        content,
                        lease,
                        local: bits & 1 != 0,
                        keeps_open: bits & 2 != 0,
                        process,
                        quiet: bits & 4 != 0,
                        exclusive: bits & 8 != 0,
                    });
                }
            }
        }
    }
    all
}

/// The rules once more, written as a table of conditions and not as a sequence of decisions.
fn expected(e: &Evidence) -> char {
    let invalid = matches!(e.content, Content::Invalid(_));
    let recorded = e.content.owner().and_then(|owner| owner.start);
    let same = matches!((recorded, e.process), (Some(a), Process::Lives(b)) if a == b);
    let free = e.lease == Lease::Granted && e.local && e.keeps_open;
    let dead_here = e.content.owner().is_some()
        && match e.process {
            Process::Absent | Process::Zombie | Process::InHand | Process::Ours => true,
            Process::Lives(found) => recorded.is_some_and(|recorded| recorded != found),
            Process::NotNamed | Process::Hidden => false,
        };
    match () {
        () if e.lease == Lease::Busy => 'h',
        () if same => 'h',
        () if invalid => 'u',
        () if e.quiet && (free || (dead_here && e.exclusive)) => 'o',
        () => 'u',
    }
}

fn letter(verdict: &Verdict) -> char {
    match verdict {
        Verdict::Held(_) => 'h',
        Verdict::Orphaned(_) => 'o',
        Verdict::Unclear(_) => 'u',
    }
}

#[test]
fn every_combination_is_judged_by_the_rules() {
    let all = every();
    assert_eq!(all.len(), CONTENTS * 3 * 8 * 16);
    let mut counts = [0; 3];
    for evidence in &all {
        let verdict = judge(evidence);
        assert_eq!(letter(&verdict), expected(evidence), "{evidence:?} gave {verdict}");
        counts["hou".find(letter(&verdict)).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

/// The promises that stand whatever the rules above become.
#[test]
fn what_is_never_orphaned() {
    for evidence in every() {
        if !matches!(judge(&evidence), Verdict::Orphaned(_)) {
            continue;
        }
        assert_ne!(evidence.lease, Lease::Busy, "somebody has it open: {evidence:?}");
        assert!(evidence.quiet, "{evidence:?}");
        assert!(!matches!(evidence.content, Content::Invalid(_)), "{evidence:?}");
        let free = evidence.lease == Lease::Granted && evidence.local && evidence.keeps_open;
        assert!(free || evidence.exclusive, "nobody ruled out another container: {evidence:?}");
        assert!(free || !matches!(evidence.process, Process::Hidden | Process::NotNamed), "{evidence:?}");
        if let (Some(owner), Process::Lives(found)) = (evidence.content.owner(), evidence.process) {
            assert_ne!(owner.start, Some(found), "its owner lives: {evidence:?}");
            assert!(owner.start.is_some() || free, "its owner may live: {evidence:?}");
        }
    }
}

/// A noisy moment changes nothing but the removal: what was orphaned becomes a doubt that says so.
#[test]
fn a_noisy_moment_only_postpones() {
    for evidence in every().into_iter().filter(|evidence| evidence.quiet) {
        let noisy = judge(&Evidence { quiet: false, ..evidence });
        match judge(&evidence) {
            Verdict::Orphaned(orphan) => assert_eq!(noisy, Verdict::Unclear(Doubt::Busy(orphan))),
            other => assert_eq!(noisy, other),
        }
    }
}

#[test]
fn the_same_pid_restart_is_told_from_a_living_owner() {
    // Pid 7 before, pid 7 now, on a volume of our own: the case that everybody gets wrong.
    let before = Evidence {
        content: owner(None),
        lease: Lease::Granted,
        local: true,
        keeps_open: true,
        process: Process::Lives(OTHER),
        quiet: true,
        exclusive: true,
    };
    assert!(matches!(judge(&before), Verdict::Orphaned(Orphan { proof: Proof::NotOpen, .. })));
    // The same on a filesystem that gives no leases: nothing tells the two apart.
    let blind = Evidence { lease: Lease::NoInformation(Errno(22)), ..before };
    assert_eq!(judge(&blind), Verdict::Unclear(Doubt::NumberInUse(PID)));
    // Unless the number is one of sexton's own.
    let ours = Evidence { process: Process::Ours, ..blind };
    assert!(matches!(judge(&ours), Verdict::Orphaned(Orphan { proof: Proof::Exclusive, .. })));
    // And a living owner keeps its lock, even one that closed the file.
    let alive = Evidence { content: owner(Some(OTHER)), ..before };
    assert_eq!(judge(&alive), Verdict::Held(Holder::Lives(PID)));
}

#[test]
fn every_verdict_says_why_in_words() {
    for evidence in every() {
        let text = judge(&evidence).to_string();
        assert!(text.len() > 20 && !text.contains('{'), "{text}");
    }
}
