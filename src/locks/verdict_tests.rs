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

const LEASES: [Lease; 4] = [Lease::Busy, Lease::Granted, Lease::NoInformation(Errno(13)), Lease::NotAFile];

const ORIGINS: [Origin; 4] = [Origin::NotRecorded, Origin::Here, Origin::OtherHost, Origin::OtherBoot];

const PROCESSES: [Process; 9] = [
    Process::NotNamed,
    Process::Absent,
    Process::Zombie,
    Process::HeldZombie,
    Process::OwnProcess,
    Process::Lives(RECORDED),
    Process::Lives(OTHER),
    Process::OtherTimeNs,
    Process::Hidden,
];

fn every() -> Vec<Evidence> {
    let mut all = Vec::new();
    for content in contents() {
        for lease in LEASES {
            for process in PROCESSES {
                for bits in 0..128_u8 {
                    all.push(Evidence {
                        content,
                        lease,
                        local: bits & 1 != 0,
                        keeps_open: bits & 2 != 0,
                        process,
                        origin: ORIGINS[usize::from(bits >> 4 & 3)],
                        quiet: bits & 4 != 0,
                        exclusive: bits & 8 != 0,
                        alive: bits & 64 != 0,
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
    let named = e.content.owner().is_some();
    let told_apart = !matches!(e.origin, Origin::NotRecorded | Origin::Here);
    let wears_the_number = matches!(
        (e.process, recorded),
        (Process::OtherTimeNs | Process::Hidden | Process::NotNamed, _) | (Process::Lives(_), None)
    );
    let free = free && !(e.alive && named && wears_the_number && !told_apart);
    let earlier = named && e.origin == Origin::OtherBoot;
    let elsewhere = named && (earlier || e.origin == Origin::OtherHost);
    let dead_here = named
        && !elsewhere
        && match e.process {
            Process::Absent | Process::Zombie | Process::HeldZombie | Process::OwnProcess => true,
            Process::Lives(found) => recorded.is_some_and(|recorded| recorded != found),
            Process::NotNamed | Process::OtherTimeNs | Process::Hidden => false,
        };
    match () {
        () if e.lease == Lease::Busy => 'h',
        () if same => 'h',
        () if invalid => 'u',
        () if e.quiet && (free || (dead_here && e.exclusive)) => 'o',
        () if e.quiet && earlier && (e.local || e.exclusive) => 'o',
        () if e.quiet && elsewhere && e.local && e.exclusive => 'o',
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
    assert_eq!(all.len(), CONTENTS * 4 * 9 * 128);
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
        let earlier = evidence.origin == Origin::OtherBoot && evidence.local;
        assert!(free || earlier || evidence.exclusive, "nobody ruled out another container: {evidence:?}");
        let elsewhere = matches!(evidence.origin, Origin::OtherBoot | Origin::OtherHost);
        if elsewhere && !free {
            let shared = evidence.origin == Origin::OtherHost && !evidence.local;
            assert!(evidence.content.owner().is_some() && !shared, "another machine's: {evidence:?}");
        }
        let shown = !matches!(evidence.process, Process::OtherTimeNs | Process::Hidden | Process::NotNamed);
        assert!(free || elsewhere || shown, "{evidence:?}");
        if let (Some(owner), Process::Lives(found)) = (evidence.content.owner(), evidence.process) {
            assert_ne!(owner.start, Some(found), "its owner lives: {evidence:?}");
            assert!(owner.start.is_some() || free || elsewhere, "its owner may live: {evidence:?}");
        }
    }
}

/// A noisy moment changes nothing but the removal: what was orphaned becomes a doubt that says so.
#[test]
fn a_noisy_moment_only_postpones() {
    for evidence in every().into_iter().filter(|evidence| evidence.quiet) {
        let noisy = judge(&Evidence { quiet: false, ..evidence });
        match judge(&evidence) {
            Verdict::Orphaned(orphan) => assert_eq!(noisy, Verdict::Unclear(UnclearReason::Busy(orphan))),
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
        origin: Origin::NotRecorded,
        quiet: true,
        exclusive: true,
        alive: false,
    };
    assert!(matches!(judge(&before), Verdict::Orphaned(Orphan { proof: Proof::NotOpen, .. })));
    // The same on a filesystem that gives no leases: nothing tells the two apart.
    let blind = Evidence { lease: Lease::NoInformation(Errno(22)), ..before };
    assert_eq!(judge(&blind), Verdict::Unclear(UnclearReason::NumberInUse(PID)));
    // Beside a living gateway it may be the owner, between closing the lock and removing it.
    let beside = Evidence { alive: true, ..before };
    assert_eq!(judge(&beside), Verdict::Unclear(UnclearReason::NumberInUse(PID)));
    assert!(matches!(judge(&Evidence { process: Process::Absent, ..beside }), Verdict::Orphaned(_)));
    // Unless the number is one of sexton's own.
    let ours = Evidence { process: Process::OwnProcess, ..blind };
    assert!(matches!(judge(&ours), Verdict::Orphaned(Orphan { proof: Proof::Exclusive, .. })));
    // And a living owner keeps its lock, even one that closed the file.
    let alive = Evidence { content: owner(Some(OTHER)), ..before };
    assert_eq!(judge(&alive), Verdict::Held(Holder::Lives(PID)));
}

/// Any evidence at all, with any start times: what is open, or whose owner lives, is never given up.
mod property {
    use proptest::prelude::*;

    use super::*;

    fn process() -> impl Strategy<Value = Process> {
        prop_oneof![
            Just(Process::NotNamed),
            Just(Process::Absent),
            Just(Process::Zombie),
            Just(Process::HeldZombie),
            Just(Process::OwnProcess),
            Just(Process::OtherTimeNs),
            Just(Process::Hidden),
            (0..4_u64).prop_map(|start| Process::Lives(StartTime(start))),
        ]
    }

    fn lease() -> impl Strategy<Value = Lease> {
        let refused = any::<i32>().prop_map(|errno| Lease::NoInformation(Errno(errno)));
        prop_oneof![Just(Lease::Busy), Just(Lease::Granted), Just(Lease::NotAFile), refused]
    }

    fn content() -> impl Strategy<Value = Content> {
        let owned = (1..=i32::MAX, proptest::option::of(0..4_u64)).prop_map(|(pid, start)| {
            let owner = Owner::of(Pid::new(pid).unwrap());
            Content::Owner(Owner { start: start.map(StartTime), ..owner })
        });
        prop_oneof![Just(Content::Empty), Just(Content::Invalid(Defect::NotText)), owned]
    }

    proptest! {
        #[test]
        fn what_is_open_or_whose_owner_lives_is_held(
            content in content(), lease in lease(), process in process(), origin in 0..4_usize, bits in 0..32_u8,
        ) {
            let evidence = Evidence {
                content,
                lease,
                local: bits & 1 != 0,
                keeps_open: bits & 2 != 0,
                process,
                origin: ORIGINS[origin],
                quiet: bits & 4 != 0,
                exclusive: bits & 8 != 0,
                alive: bits & 16 != 0,
            };
            let start = content.owner().and_then(|owner| owner.start);
            let same = start.is_some_and(|start| process == Process::Lives(start));
            let verdict = judge(&evidence);
            if lease == Lease::Busy || same {
                let invalid = matches!(content, Content::Invalid(_));
                prop_assert!(matches!(verdict, Verdict::Held(_)) || invalid, "{:?}", evidence);
                prop_assert!(!matches!(verdict, Verdict::Orphaned(_)), "{:?}", evidence);
            }
            prop_assert_eq!(letter(&verdict), expected(&evidence));
        }
    }
}

#[test]
fn an_owner_from_before_this_boot_is_dead_where_only_we_reach_the_file() {
    let evidence = Evidence {
        content: owner(None),
        lease: Lease::NotAFile,
        local: true,
        keeps_open: false,
        process: Process::Lives(OTHER),
        origin: Origin::OtherBoot,
        quiet: true,
        exclusive: false,
        alive: false,
    };
    assert!(matches!(judge(&evidence), Verdict::Orphaned(Orphan { proof: Proof::EarlierBoot, .. })));
    let remote = Evidence { local: false, ..evidence };
    assert!(matches!(judge(&remote), Verdict::Unclear(UnclearReason::SharedRoot(OwnerState::OtherBoot(_)))));
    // Another host's name proves a death only where no other machine and no other sexton can be.
    let host = Evidence { origin: Origin::OtherHost, ..evidence };
    assert!(matches!(judge(&host), Verdict::Unclear(UnclearReason::SharedRoot(OwnerState::OtherHost(_)))));
    assert!(matches!(judge(&Evidence { exclusive: true, ..host }), Verdict::Orphaned(_)));
    assert!(matches!(judge(&Evidence { exclusive: true, local: false, ..host }), Verdict::Unclear(_)));
}

#[test]
fn every_verdict_says_why_in_words() {
    for evidence in every() {
        let text = judge(&evidence).to_string();
        assert!(text.len() > 20 && !text.contains('{'), "{text}");
    }
}
