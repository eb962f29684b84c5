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

const NESTED: [Nested; 4] =
    [Nested::NotSeen, Nested::NoOwner, Nested::Owner(Pid::INIT), Nested::MayBeOwner(Pid::INIT)];

const WITNESSES: [Witness; 3] = [Witness::NoAnswer, Witness::Open, Witness::NotOpen];

const SOCKETS: [Socket; 4] =
    [Socket::NoAnswer, Socket::Listens(None), Socket::Listens(Some(Pid::INIT)), Socket::Refused];

/// Evidence with these yes and no: one bit each.
fn with_bits(
    content: Content,
    lease: Lease,
    process: Process,
    (nested, witness, socket): (Nested, Witness, Socket),
    bits: u16,
) -> Evidence {
    Evidence {
        content,
        lease,
        local: bits & 1 != 0,
        keeps_open: bits & 2 != 0,
        witness,
        socket,
        process,
        nested,
        // It decides nothing, so that it may come with anything.
        origin: ORIGINS[usize::from(bits & 3)],
        quiet: bits & 4 != 0,
        alive: bits & 8 != 0,
        shared: bits & 16 != 0,
        before_boot: bits & 32 != 0,
        all_visible: bits & 64 != 0,
        declared_exclusive: bits & 128 != 0,
        mark: if bits & 256 != 0 { MarkSays::OwnerGone } else { MarkSays::Nothing },
        nobody_else: bits & 512 != 0,
    }
}

/// How many values those take.
const BITS: u16 = 1024;

/// All of it, one after the other: there are millions.
fn every() -> impl Iterator<Item = Evidence> {
    let beside = || {
        let all = NESTED.into_iter().flat_map(|nested| WITNESSES.map(|witness| (nested, witness)));
        all.flat_map(|(nested, witness)| SOCKETS.map(|socket| (nested, witness, socket)))
    };
    let first = contents().into_iter().flat_map(|content| LEASES.map(|lease| (content, lease)));
    let first = first.flat_map(|(content, lease)| PROCESSES.map(|process| (content, lease, process)));
    first.flat_map(move |(content, lease, process)| {
        let bits = move |more| (0..BITS).map(move |bits| with_bits(content, lease, process, more, bits));
        beside().flat_map(bits)
    })
}

/// The rules once more, written as a table of conditions and not as a sequence of decisions.
fn expected(e: &Evidence) -> char {
    let invalid = matches!(e.content, Content::Invalid(_));
    let owner = e.content.owner();
    let named = owner.is_some();
    let recorded = owner.and_then(|owner| owner.start);
    let same = matches!((recorded, e.process), (Some(a), Process::Lives(b)) if a == b)
        || (recorded.is_some() && matches!(e.nested, Nested::Owner(_)));
    let may_live = named
        && (matches!(
            (e.process, recorded),
            (Process::OtherTimeNs | Process::Hidden | Process::NotNamed, _) | (Process::Lives(_), None)
        ) || matches!(e.nested, Nested::Owner(_) | Nested::MayBeOwner(_)));
    let not_open = e.lease == Lease::Granted && e.local && e.keeps_open && !(e.alive && may_live);
    let just_died = recorded.is_some() && e.process == Process::HeldZombie;
    let earlier_boot = e.local && e.before_boot;
    let none_visible = named && e.local && e.all_visible && e.nested == Nested::NoOwner;
    let witness = e.local && e.witness == Witness::NotOpen;
    let refused = e.local && e.socket == Socket::Refused;
    let marked = e.mark == MarkSays::OwnerGone;
    let listens = matches!(e.socket, Socket::Listens(_));
    let nobody = if named { e.nested == Nested::NoOwner } else { e.nobody_else };
    let declared = e.declared_exclusive && nobody;
    let dead = !may_live
        && !e.shared
        && (just_died || marked || witness || refused || earlier_boot || none_visible || declared);
    match () {
        () if e.lease == Lease::Busy || e.witness == Witness::Open || listens => 'h',
        () if same => 'h',
        () if invalid => 'u',
        () if e.quiet && (not_open || dead) => 'o',
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
    let mut counts = [0; 3];
    for evidence in every() {
        let verdict = judge(&evidence);
        assert_eq!(letter(&verdict), expected(&evidence), "{evidence:?} gave {verdict}");
        counts["hou".find(letter(&verdict)).unwrap()] += 1;
    }
    assert_eq!(counts.iter().sum::<usize>(), CONTENTS * 4 * 9 * 4 * 3 * 4 * usize::from(BITS));
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

/// The promises that stand whatever the rules above become.
#[test]
fn what_is_never_orphaned() {
    for evidence in every() {
        let Verdict::Orphaned(Orphan { proof, .. }) = judge(&evidence) else { continue };
        assert_ne!(evidence.lease, Lease::Busy, "a process has it open: {evidence:?}");
        assert_ne!(evidence.witness, Witness::Open, "a process has its files open: {evidence:?}");
        assert!(!matches!(evidence.socket, Socket::Listens(_)), "a process listens: {evidence:?}");
        assert!(evidence.quiet, "{evidence:?}");
        assert!(!matches!(evidence.content, Content::Invalid(_)), "{evidence:?}");
        let owner = evidence.content.owner();
        if let (Some(owner), Process::Lives(found)) = (owner, evidence.process) {
            assert_ne!(owner.start, Some(found), "its owner lives: {evidence:?}");
        }
        if proof == Proof::NotOpen {
            assert!(
                evidence.local && evidence.lease == Lease::Granted && evidence.keeps_open,
                "{evidence:?}"
            );
            continue;
        }
        assert!(!evidence.shared, "another sexton uses the root: {evidence:?}");
        assert!(
            !matches!(evidence.nested, Nested::Owner(_) | Nested::MayBeOwner(_)) || owner.is_none(),
            "its owner may live below: {evidence:?}"
        );
        let number_in_use = matches!(evidence.process, Process::Lives(_)) && recorded(&evidence).is_none();
        let is_shown =
            !matches!(evidence.process, Process::OtherTimeNs | Process::Hidden | Process::NotNamed);
        assert!(owner.is_none() || (is_shown && !number_in_use), "its owner may live: {evidence:?}");
        // No pid alone: something has to speak of the owners that are out of sight.
        let just_died = evidence.process == Process::HeldZombie && recorded(&evidence).is_some();
        let closed = evidence.witness == Witness::NotOpen || evidence.socket == Socket::Refused;
        let kernel = evidence.local && (closed || evidence.before_boot || evidence.all_visible);
        let marked = evidence.mark == MarkSays::OwnerGone;
        assert!(just_died || marked || kernel || evidence.declared_exclusive, "{evidence:?}");
    }
}

fn recorded(evidence: &Evidence) -> Option<StartTime> {
    evidence.content.owner().and_then(|owner| owner.start)
}

/// A noisy moment changes nothing but the removal: what was orphaned becomes a doubt that says so.
#[test]
fn a_noisy_moment_only_postpones() {
    for evidence in every().filter(|evidence| evidence.quiet) {
        let noisy = judge(&Evidence { quiet: false, ..evidence });
        match judge(&evidence) {
            Verdict::Orphaned(orphan) => assert_eq!(noisy, Verdict::Unclear(UnclearReason::Busy(orphan))),
            other => assert_eq!(noisy, other),
        }
    }
}

/// A lock without a start time on a volume of our own, and a moment at which nothing else runs.
const PLAIN: Evidence = Evidence {
    content: Content::Empty,
    lease: Lease::Granted,
    local: true,
    keeps_open: false,
    witness: Witness::NoAnswer,
    socket: Socket::NoAnswer,
    mark: MarkSays::Nothing,
    process: Process::Absent,
    nested: Nested::NoOwner,
    origin: Origin::NotRecorded,
    quiet: true,
    alive: false,
    shared: false,
    before_boot: false,
    all_visible: false,
    declared_exclusive: false,
    nobody_else: false,
};

fn proof_of(evidence: &Evidence) -> Option<Proof> {
    match judge(evidence) {
        Verdict::Orphaned(orphan) => Some(orphan.proof),
        Verdict::Held(_) | Verdict::Unclear(_) => None,
    }
}

#[test]
fn the_same_pid_restart_is_told_from_a_living_owner() {
    // Pid 7 before, pid 7 now, on a volume of our own: the case that programs usually get wrong.
    let before = Evidence { content: owner(None), keeps_open: true, process: Process::Lives(OTHER), ..PLAIN };
    assert_eq!(proof_of(&before), Some(Proof::NotOpen));
    // The same on a filesystem that gives no leases: nothing tells the two apart.
    let blind = Evidence { lease: Lease::NoInformation(Errno(22)), ..before };
    assert_eq!(judge(&blind), Verdict::Unclear(UnclearReason::NumberInUse(PID)));
    // Beside a living gateway it may be the owner, between closing the lock and removing it.
    let beside = Evidence { alive: true, ..before };
    assert_eq!(judge(&beside), Verdict::Unclear(UnclearReason::NumberInUse(PID)));
    assert_eq!(proof_of(&Evidence { process: Process::Absent, ..beside }), Some(Proof::NotOpen));
    // Nor is it clear if the number is a nested process's.
    let below = Evidence { process: Process::Absent, nested: Nested::MayBeOwner(Pid::INIT), ..beside };
    assert!(matches!(judge(&below), Verdict::Unclear(UnclearReason::NestedNumber { .. })));
    // And a living owner keeps its lock, even one that closed the file.
    let alive = Evidence { content: owner(Some(OTHER)), ..before };
    assert_eq!(judge(&alive), Verdict::Held(Holder::Lives(PID)));
}

#[test]
fn a_number_that_is_missing_here_proves_nothing_for_other_containers() {
    let missing = Evidence { content: owner(None), ..PLAIN };
    for process in [Process::Absent, Process::Zombie, Process::OwnProcess, Process::HeldZombie] {
        let verdict = judge(&Evidence { process, ..missing });
        assert!(matches!(verdict, Verdict::Unclear(UnclearReason::NoProof(_))), "{process:?}: {verdict}");
    }
    // Another start time, either: a process of another container can have this number and the recorded start.
    let recycled = Evidence { content: owner(Some(RECORDED)), process: Process::Lives(OTHER), ..PLAIN };
    assert!(matches!(judge(&recycled), Verdict::Unclear(UnclearReason::NoProof(_))));
    // Of the process that has just died sexton knows the start time.
    let died = Evidence { content: owner(Some(RECORDED)), process: Process::HeldZombie, ..PLAIN };
    assert_eq!(proof_of(&died), Some(Proof::JustDied));

    for dead in [missing, recycled] {
        assert_eq!(proof_of(&Evidence { declared_exclusive: true, ..dead }), Some(Proof::Declared));
        assert_eq!(proof_of(&Evidence { all_visible: true, ..dead }), Some(Proof::AllVisible));
        let remote = Evidence { local: false, all_visible: true, before_boot: true, ..dead };
        assert_eq!(proof_of(&remote), None);
        assert_eq!(proof_of(&Evidence { declared_exclusive: true, ..remote }), Some(Proof::Declared));
        // Another sexton and a nested process stand against every word.
        let certain = Evidence { declared_exclusive: true, all_visible: true, before_boot: true, ..dead };
        let shared = Evidence { shared: true, ..certain };
        assert!(matches!(judge(&shared), Verdict::Unclear(UnclearReason::SharedRoot(_))));
        let below = Evidence { nested: Nested::MayBeOwner(Pid::INIT), ..certain };
        assert!(matches!(judge(&below), Verdict::Unclear(UnclearReason::NestedNumber { .. })));
    }
    // What cannot be seen below is no proof that there is nothing, whatever the operator's word is: it is of those
    // outside.
    let unseen = Evidence { nested: Nested::NotSeen, all_visible: true, ..missing };
    assert_eq!(proof_of(&unseen), None);
    assert_eq!(proof_of(&Evidence { declared_exclusive: true, ..unseen }), None);
}

#[test]
fn the_files_that_an_owner_keeps_open_speak_for_it() {
    let lock = Evidence { content: owner(None), lease: Lease::NotAFile, ..PLAIN };
    let closed = Evidence { witness: Witness::NotOpen, ..lock };
    assert_eq!(proof_of(&closed), Some(Proof::WitnessNotOpen));
    assert_eq!(proof_of(&Evidence { local: false, ..closed }), None);
    assert_eq!(proof_of(&Evidence { process: Process::Lives(OTHER), ..closed }), None);
    // Against every word.
    let open = Evidence { witness: Witness::Open, declared_exclusive: true, before_boot: true, ..lock };
    assert_eq!(judge(&open), Verdict::Held(Holder::HasWitnessOpen));
}

#[test]
fn the_socket_that_an_owner_listens_at_speaks_for_it() {
    let lock = Evidence { content: owner(None), ..PLAIN };
    let refused = Evidence { socket: Socket::Refused, ..lock };
    assert_eq!(proof_of(&refused), Some(Proof::SocketRefused));
    assert_eq!(proof_of(&Evidence { local: false, ..refused }), None);
    assert_eq!(proof_of(&Evidence { shared: true, ..refused }), None);
    assert_eq!(proof_of(&Evidence { process: Process::Lives(OTHER), ..refused }), None);
    // Against every word.
    let certain = Evidence { declared_exclusive: true, before_boot: true, witness: Witness::NotOpen, ..lock };
    let listens = Evidence { socket: Socket::Listens(None), ..certain };
    assert_eq!(judge(&listens), Verdict::Held(Holder::Listens));
}

#[test]
fn who_was_seen_alive_and_is_dead_holds_no_lock() {
    let lock = Evidence { content: owner(None), local: false, ..PLAIN };
    for mark in [MarkSays::OwnerGone, MarkSays::LifeOver] {
        let dead = Evidence { mark, ..lock };
        assert_eq!(proof_of(&dead), Some(Proof::Marked));
        assert_eq!(proof_of(&Evidence { process: Process::OwnProcess, ..dead }), Some(Proof::Marked));
        // What stands against every word stands against it as well.
        assert_eq!(proof_of(&Evidence { shared: true, ..dead }), None);
        assert_eq!(proof_of(&Evidence { process: Process::Lives(OTHER), ..dead }), None);
        assert_eq!(proof_of(&Evidence { socket: Socket::Listens(None), ..dead }), None);
        assert_eq!(proof_of(&Evidence { lease: Lease::Busy, ..dead }), None);
    }
    for mark in [MarkSays::Nothing, MarkSays::OwnerLives] {
        assert_eq!(proof_of(&Evidence { mark, ..lock }), None);
    }
}

#[test]
fn an_owner_that_lives_below_keeps_its_lock() {
    let lock = Evidence { content: owner(Some(RECORDED)), declared_exclusive: true, ..PLAIN };
    let other = Pid::new(4711).unwrap();
    let held = judge(&Evidence { nested: Nested::Owner(other), ..lock });
    assert_eq!(held, Verdict::Held(Holder::LivesBelow { number: PID, pid: other }));
}

#[test]
fn an_empty_lock_goes_by_the_kernels_word_alone() {
    assert_eq!(judge(&PLAIN), Verdict::Unclear(UnclearReason::Empty));
    assert_eq!(proof_of(&Evidence { keeps_open: true, ..PLAIN }), Some(Proof::NotOpen));
    assert_eq!(proof_of(&Evidence { before_boot: true, ..PLAIN }), Some(Proof::EarlierBoot));
    let all = Evidence { declared_exclusive: true, all_visible: true, ..PLAIN };
    assert_eq!(judge(&all), Verdict::Unclear(UnclearReason::Empty));
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
            content in content(), lease in lease(), process in process(), more in (0..4_usize, 0..3_usize, 0..4_usize), bits in 0..BITS,
        ) {
            let evidence = with_bits(content, lease, process, (NESTED[more.0], WITNESSES[more.1], SOCKETS[more.2]), bits);
            let start = content.owner().and_then(|owner| owner.start);
            let below = matches!(evidence.nested, Nested::Owner(_));
            let same = start.is_some_and(|start| process == Process::Lives(start) || below);
            let verdict = judge(&evidence);
            let listens = matches!(evidence.socket, Socket::Listens(_));
            if lease == Lease::Busy || evidence.witness == Witness::Open || listens || same {
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
    let lock = Evidence { content: owner(None), lease: Lease::NotAFile, before_boot: true, ..PLAIN };
    assert_eq!(proof_of(&lock), Some(Proof::EarlierBoot));
    assert_eq!(proof_of(&Evidence { local: false, ..lock }), None);
    // What an owner says of its boot or its host is no proof: a container can have its own of both.
    for origin in [Origin::OtherBoot, Origin::OtherHost] {
        let said = Evidence { before_boot: false, origin, ..lock };
        assert!(matches!(judge(&said), Verdict::Unclear(UnclearReason::NoProof(_))), "{origin:?}");
    }
}

#[test]
fn every_verdict_says_why_in_words() {
    for evidence in every() {
        let text = judge(&evidence).to_string();
        assert!(text.len() > 20 && !text.contains('{'), "{text}");
    }
}
