//! Every reachable state of a small world: one gateway, one orphan that appears and dies, one stop signal
//! that comes again and again, sweeps that end or hang, a start that fails or not, in every order; and the same
//! for each of the operator's rules: held and rewritten signals, a stop in steps, those who live on.
//!
//! The world keeps its own books and checks the promises after each step. Time is part of the state only as
//! "how far are the deadlines", so that the walk ends.

use super::super::live_sweep::State;
use super::*;

/// Processes as the kernel would see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Life {
    Unborn,
    Alive,
    Zombie,
    Reaped,
}

#[derive(Clone)]
struct World {
    supervisor: Supervisor,
    main: Life,
    /// It died of the stop signal, as a launcher does.
    obeyed: bool,
    orphan: Life,
    /// The orphan is in the main process's group.
    in_group: bool,
    /// What the main process does not hear and its group is about to get.
    unheard: Option<Signal>,
    /// KILL was for those outside that group, and this is the answer.
    answer: Option<Event>,
    sweeping: bool,
    /// The main process was seen as a zombie by a sweep, or there was none to do.
    judged: bool,
    told_main: bool,
    told_orphan: bool,
    counting: bool,
    exited: bool,
    got_term: bool,
    /// All processes were sent STOP by us; whether they are stopped is being checked; they were seen stopped.
    asked_to_stop: bool,
    asked: bool,
    is_stopped: bool,
    /// The running sweep removes locks while all processes are frozen, and one that was given up may still do so.
    removing: bool,
    dying: bool,
    /// When the stop signals came, and how many of its stop sequence the main process got.
    stops: Vec<MonoTime>,
    steps: usize,
    /// The sweep under way looks while the main process runs, or waits for a word.
    beside: bool,
    waits: bool,
    /// The step before the stop signal runs, and it was its turn.
    stepping: bool,
    stepped: bool,
}

const ORPHAN: i32 = 9;

/// What the world can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Begin,
    Started,
    StartFailed,
    SweepEnds,
    SweepFindsSomething,
    SweepFails,
    SweepWaits,
    AllStandStill,
    OneRuns,
    CannotStop,
    TellStop,
    KeyStops,
    SweepDies,
    MainDies,
    MainDiesOfTerm,
    OrphanAppears,
    ChildAppears,
    OrphanDies,
    OrphanVanishes,
    TellDeaths,
    Count,
    StopSignal,
    OtherSignal,
    CommandEnds,
    Deadline,
}

const STEPS: [Step; 25] = [
    Step::Begin,
    Step::Started,
    Step::StartFailed,
    Step::SweepEnds,
    Step::SweepFindsSomething,
    Step::SweepFails,
    Step::SweepWaits,
    Step::AllStandStill,
    Step::OneRuns,
    Step::CannotStop,
    Step::TellStop,
    Step::KeyStops,
    Step::SweepDies,
    Step::MainDies,
    Step::MainDiesOfTerm,
    Step::OrphanAppears,
    Step::ChildAppears,
    Step::OrphanDies,
    Step::OrphanVanishes,
    Step::TellDeaths,
    Step::Count,
    Step::StopSignal,
    Step::OtherSignal,
    Step::CommandEnds,
    Step::Deadline,
];

impl World {
    fn new(policy: Policy) -> World {
        World {
            supervisor: Supervisor::new(policy),
            main: Life::Unborn,
            obeyed: false,
            orphan: Life::Unborn,
            in_group: false,
            unheard: None,
            answer: None,
            sweeping: false,
            judged: false,
            told_main: false,
            told_orphan: false,
            counting: false,
            exited: false,
            got_term: false,
            asked_to_stop: false,
            asked: false,
            is_stopped: false,
            removing: false,
            dying: false,
            stops: Vec::new(),
            steps: 0,
            beside: false,
            waits: false,
            stepping: false,
            stepped: false,
        }
    }

    /// The state without absolute times: the walk uses a clock that stands still but for deadlines.
    fn key(&self) -> String {
        let s = &self.supervisor;
        let ladder = match s.ladder {
            Ladder::Idle => 0,
            Ladder::Leftovers { look: Some(_), others: None, .. } => 100,
            Ladder::Leftovers { look: Some(_), others: Some(_), .. } => 101,
            Ladder::Leftovers { .. } => 1,
            Ladder::Kill { .. } => 2,
            Ladder::Drain { others: None, .. } => 3,
            Ladder::Drain { others: Some(_), .. } => 4,
            Ladder::Before { .. } => 200,
            Ladder::Grace { step, look: Some(_), .. } => 5 + step,
            Ladder::Grace { step, asked, .. } => step + if asked.group { 60 } else { 50 },
        };
        let live_sweep = match s.live_sweep.state {
            State::Idle => 'r',
            State::Sweeping { .. } => 'l',
            State::Freezing { .. } => 's',
            State::Frozen { .. } => 'S',
            State::Thawing { .. } => 'e',
        };
        let phase = match s.phase {
            Phase::New => 0,
            Phase::FirstSweep { .. } => 1,
            Phase::Starting { .. } => 2,
            Phase::ForkRetry { .. } => 8,
            Phase::Running { .. } => 3,
            Phase::StoppingLeftovers { recount: None, .. } => 4,
            Phase::StoppingLeftovers { .. } => 5,
            Phase::LastSweep { .. } => 6,
            Phase::Exited => 7,
            Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::AskingHandoff { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::RestartDelay { .. } => {
                panic!("no units and no restarts in this world")
            }
        };
        let sweep = match s.phase {
            Phase::FirstSweep { sweep } | Phase::LastSweep { sweep, .. } => Some((sweep.waits, sweep.tries)),
            _ => None,
        };
        format!(
            "{sweep:?}{phase}{ladder}{live_sweep}{}{}{}{:?}{:?}{:?}{}{}{}{}{}{}{}{}{}{}{}{:?}",
            s.live_sweep.wanted,
            s.pending.len().min(2),
            s.delayed.deadline().is_some(),
            s.start_failed,
            self.main,
            self.orphan,
            self.sweeping,
            self.judged,
            self.told_main,
            self.told_orphan,
            self.counting,
            self.got_term,
            self.is_stopped,
            self.removing,
            self.dying,
            self.asked,
            s.stopped.is_some(),
            (self.beside, self.waits, self.obeyed, self.in_group, self.stepping, self.stepped),
        )
    }

    fn events(&self, step: Step, now: &mut MonoTime) -> Option<Vec<Event>> {
        let starting = matches!(self.supervisor.phase, Phase::Starting { .. }) && self.main == Life::Unborn;
        let events = match step {
            Step::Begin if self.supervisor.phase == Phase::New => vec![Event::Begin],
            Step::Started if starting => vec![Event::Started { pid: pid(MAIN) }],
            Step::StartFailed if starting => {
                vec![Event::StartFailed { step: StartStep::Fork, errno: Errno(11) }]
            }
            Step::SweepEnds if self.sweeping && !self.asked => vec![SWEPT],
            Step::SweepFindsSomething if self.sweeping && !self.asked => {
                vec![Event::SweepDone(SweepSummary { waiting: 1, ..SweepSummary::default() })]
            }
            Step::SweepFails if self.sweeping && !self.asked => vec![STARVED],
            Step::SweepWaits if self.beside && !self.waits && !self.asked => vec![Event::SweepReady],
            Step::AllStandStill if self.asked => vec![Event::FreezeDone(FreezeResult::Still)],
            Step::OneRuns if self.asked => vec![Event::FreezeDone(FreezeResult::NotYet)],
            Step::CannotStop if self.asked => vec![Event::FreezeDone(FreezeResult::Cannot)],
            // The kernel tells of a stop as long as it lasts.
            Step::TellStop if self.main == Life::Alive && self.asked_to_stop && !self.asked => {
                vec![Event::Stopped { signal: Signal::STOP, terminal: Terminal::None }]
            }
            Step::KeyStops if self.main == Life::Alive && self.asked_to_stop && !self.asked => {
                vec![Event::Stopped { signal: Signal::TSTP, terminal: Terminal::Main }]
            }
            Step::SweepDies if self.dying => vec![Event::SweeperExited],
            // A question is answered before anything else happens.
            _ if self.asked => return None,
            Step::MainDies if self.main == Life::Alive => vec![],
            Step::MainDiesOfTerm if self.main == Life::Alive && !self.stops.is_empty() => vec![],
            Step::OrphanAppears | Step::ChildAppears
                if self.orphan == Life::Unborn && self.main == Life::Alive =>
            {
                vec![]
            }
            Step::OrphanDies if self.orphan == Life::Alive => vec![],
            // The kernel reaps it without a word.
            Step::OrphanVanishes if self.orphan == Life::Alive => vec![],
            Step::TellDeaths => {
                let mut events = vec![];
                // The kernel names the oldest child first, but the order is not promised.
                if self.main == Life::Zombie && !self.told_main {
                    events.push(if self.obeyed { died_of(Signal::TERM) } else { died(MAIN) });
                }
                if self.orphan == Life::Zombie && !self.told_orphan {
                    events.push(died(ORPHAN));
                }
                if events.is_empty() {
                    return None;
                }
                events.push(Event::QueueDrained);
                events
            }
            Step::Count if self.counting => {
                let left = matches!(self.orphan, Life::Alive | Life::Zombie);
                vec![Event::Remaining(if left { Remaining::Children } else { Remaining::Gone })]
            }
            Step::StopSignal => vec![sent(Signal::TERM)],
            Step::OtherSignal => vec![sent(Signal::HUP)],
            Step::CommandEnds if self.stepping => vec![Event::StepEnded(StepAnswer::None)],
            Step::Deadline => {
                *now = self.supervisor.next_deadline()?;
                vec![Event::Tick]
            }
            _ => return None,
        };
        Some(events)
    }

    fn step(&mut self, step: Step, now: &mut MonoTime) -> bool {
        let Some(events) = self.events(step, now) else {
            return false;
        };
        match step {
            Step::StopSignal => self.stops.push(*now),
            Step::Started => self.main = Life::Alive,
            Step::MainDies | Step::MainDiesOfTerm => {
                (self.main, self.obeyed) = (Life::Zombie, step == Step::MainDiesOfTerm);
            }
            Step::OrphanAppears | Step::ChildAppears => {
                (self.orphan, self.in_group) = (Life::Alive, step == Step::ChildAppears);
            }
            Step::OrphanDies => self.orphan = Life::Zombie,
            Step::OrphanVanishes => self.orphan = Life::Reaped,
            Step::SweepWaits => (self.waits, self.removing) = (true, false),
            Step::SweepEnds | Step::SweepFindsSomething => {
                (self.sweeping, self.removing, self.beside, self.waits) = (false, false, false, false);
                self.judged |= self.main != Life::Unborn;
            }
            Step::SweepFails => {
                (self.sweeping, self.removing, self.beside, self.waits) = (false, false, false, false);
            }
            Step::AllStandStill => (self.asked, self.is_stopped) = (false, true),
            Step::OneRuns | Step::CannotStop => self.asked = false,
            Step::SweepDies => self.dying = false,
            Step::Count => self.counting = false,
            Step::CommandEnds => self.stepping = false,
            _ => {}
        }
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            match event {
                // A step is one of those that are left behind from now on.
                Event::Died { pid, .. } if pid.raw() == MAIN => {
                    (self.told_main, self.stepping) = (true, false)
                }
                Event::Died { .. } => self.told_orphan = true,
                _ => {}
            }
            let mut actions = Vec::new();
            self.supervisor.handle(*now, event, &mut actions);
            for action in actions {
                self.check_rules(*now, action);
                self.check_and_do(action);
            }
            if let Some(answer) = self.answer.take() {
                events.push_front(answer);
            }
        }
        true
    }

    /// What the operator ruled is kept.
    fn check_rules(&mut self, now: MonoTime, action: Action) {
        let policy = &self.supervisor.policy;
        match action {
            // What the main process got before, and did not hear.
            Action::Send { signal, group: true, .. } if self.unheard == Some(signal) => {
                assert!(!self.stops.is_empty(), "nobody is asked to end before a stop signal");
                self.unheard = None;
            }
            Action::Send { signal, .. } => {
                let rules = &policy.forwarding;
                assert_eq!(
                    rules.rewritten(signal),
                    Some(signal),
                    "only signals without a rewrite rule are sent"
                );
                if let Some(delay) = rules.delay(signal) {
                    let due = self.stops.first().is_some_and(|first| now.since(*first) >= delay);
                    assert!(due || self.stops.len() > 1, "it is held, unless it comes again");
                }
                let step = policy.stop_sequence.iter().position(|(step, _)| *step == signal);
                assert!(step.is_none_or(|step| step == self.steps), "one step after the other");
                assert!(step.is_some() || signal != Signal::TERM || policy.stop_sequence.is_empty());
                self.steps += usize::from(step.is_some());
            }
            Action::SignalAll(_) if policy.wait_all => {
                assert!(!self.stops.is_empty(), "no process is ended before a stop signal");
            }
            Action::SignalAll(_) if self.main == Life::Alive => {
                assert!(self.steps >= policy.stop_sequence.len(), "the whole sequence comes first");
            }
            _ => {}
        }
    }

    fn check_and_do(&mut self, action: Action) {
        assert!(!self.exited, "nothing is asked for after the exit: {action:?}");
        let unreaped = |life| matches!(life, Life::Alive | Life::Zombie);
        match action {
            Action::Sweep(occasion) => {
                assert!(!self.sweeping, "one sweep at a time");
                match occasion {
                    SweepTrigger::Live { .. } => self.beside = true,
                    SweepTrigger::Startup => assert_eq!(self.main, Life::Unborn),
                    SweepTrigger::TreeGone(Gone { zombie, .. }) => {
                        assert!(!unreaped(self.orphan), "locks are swept at quiet moments only");
                        assert_eq!(zombie, Some(pid(MAIN)));
                        assert_eq!(self.main, Life::Zombie, "locks are judged before their owner is reaped");
                        self.judged = false;
                    }
                }
                self.sweeping = true;
            }
            Action::AbandonSweep => {
                assert!(self.sweeping);
                self.dying = true;
                (self.sweeping, self.removing, self.beside, self.waits) = (false, false, false, false);
                self.judged |= self.main != Life::Unborn;
            }
            Action::Start => {
                assert_eq!(self.main, Life::Unborn, "one start");
                assert!(!self.sweeping, "nothing starts during a sweep");
            }
            Action::Send { pid, signal, .. } => {
                assert_eq!(pid.raw(), MAIN);
                assert!(unreaped(self.main), "no signal to a reaped pid");
                let before = self.supervisor.policy.before_stop.is_some();
                assert!(signal != Signal::TERM || self.stepped || !before, "the step comes first");
                assert!(signal != Signal::TERM || !self.stepping, "and has ended or was given up");
                self.got_term |= signal == Signal::TERM;
                assert!(
                    signal != Signal::CONT || !self.removing,
                    "it is not continued while locks are removed"
                );
            }
            Action::Freeze => {
                assert!(unreaped(self.main));
                assert!(!self.removing && !self.asked);
                (self.asked_to_stop, self.asked) = (true, true);
            }
            Action::AllowRemoval { still } => {
                assert!(self.waits, "only who waits is woken");
                assert_eq!(still, self.is_stopped, "locks are removed while all processes are frozen");
                (self.waits, self.removing) = (false, still);
            }
            Action::Thaw { .. } => {
                assert!(!self.removing, "they are not continued while locks are removed");
                (self.asked_to_stop, self.is_stopped) = (false, false);
            }
            Action::SignalAll(Signal::KILL) => {
                assert!(self.got_term, "TERM comes before KILL");
                for life in [&mut self.main, &mut self.orphan] {
                    if *life == Life::Alive {
                        *life = Life::Zombie;
                    }
                }
            }
            Action::SignalAll(_) => {
                // What is not KILL is followed by CONT.
                assert!(!self.removing, "it is not continued while locks are removed");
                assert!(!self.asked_to_stop, "it is continued before all get a signal");
                self.got_term = true;
            }
            Action::SignalOthers { group, signal } => {
                assert_eq!(group, pid(MAIN));
                assert_eq!(self.main, Life::Zombie, "its zombie keeps the number of its group");
                assert!(self.got_term || signal == Signal::TERM, "TERM comes before KILL");
                assert!(!self.removing, "it is not continued while locks are removed");
                self.got_term = true;
                if signal == Signal::KILL {
                    let other = self.orphan == Life::Alive && !self.in_group;
                    // There is one besides the main process, in the group or not.
                    self.answer = Some(if other { Event::GroupGone } else { Event::OthersGone });
                    self.orphan = if other { Life::Zombie } else { self.orphan };
                }
            }
            Action::LookWhetherHeard { main, signal, sent } => {
                assert!(main == pid(MAIN) && unreaped(self.main), "its number is its own");
                assert!(signal != Signal::KILL, "everybody takes that");
                // A launcher has launched somebody. It ignores INT and blocks the others.
                let lost = self.in_group && sent != (signal == Signal::INT);
                self.answer = lost.then_some(Event::NotHeard);
                self.unheard = lost.then_some(signal);
            }
            Action::LookForOthers { main } => {
                assert!(main == pid(MAIN) && unreaped(self.main), "its number is its own");
                self.answer = Some(Event::OthersSeen { alive: self.orphan == Life::Alive });
            }
            Action::CountRemaining => self.counting = true,
            Action::Reap(dead) => {
                let life = if dead.raw() == MAIN { &mut self.main } else { &mut self.orphan };
                assert_eq!(*life, Life::Zombie, "only a zombie is reaped, and once");
                *life = Life::Reaped;
            }
            Action::Exit(_) => {
                assert!(
                    matches!(self.main, Life::Unborn | Life::Reaped),
                    "every zombie is reaped: {:?}",
                    self.main
                );
                assert!(matches!(self.orphan, Life::Unborn | Life::Reaped), "no process is left");
                assert!(self.judged || self.main == Life::Unborn, "locks are judged before the exit");
                assert_eq!(self.supervisor.next_deadline(), None, "no deadline without an owner");
                self.exited = true;
            }
            Action::StartUnit(_) => panic!("there is no unit in this world"),
            Action::GiveTerminal(_) | Action::Suspend(_) | Action::StopSelf => {
                panic!("there is no terminal in this world")
            }
            // It was said, after it was tried often enough.
            Action::Note(Note::SweepFailed) => self.judged |= self.main != Life::Unborn,
            Action::ReportAlive(_) | Action::ReportOthers { .. } | Action::Note(_) | Action::Notify(_) => {}
            Action::FindOrphans | Action::SendToOrphans { .. } => panic!("orphans are only shown here"),
            Action::RunStep(_) => {
                assert!(unreaped(self.main) && !self.got_term, "it comes before the stop signal");
                assert!(!self.stepped, "it has one turn");
                (self.stepping, self.stepped) = (true, true);
            }
            Action::EndStep => {
                assert!(self.stepping, "only what runs is ended");
                self.stepping = false;
            }
        }
    }

    /// Without faults, every stopped process is continued.
    fn goes_on(mut self, mut now: MonoTime) -> bool {
        // A process runs all the time; that is checked once a millisecond.
        for _ in 0..1000 {
            if !self.asked_to_stop && !self.is_stopped {
                return true;
            }
            if !self.step(Step::OneRuns, &mut now) && !self.step(Step::Deadline, &mut now) {
                return false;
            }
        }
        false
    }

    /// No process is left to wait for.
    fn all_dead(&self) -> bool {
        self.main == Life::Zombie && self.orphan != Life::Alive
    }

    /// Goes on without any more mischief: deaths are told, questions answered, deadlines pass. When it has ended.
    fn ends(mut self, mut now: MonoTime) -> Option<MonoTime> {
        const OBEDIENT: [Step; 7] = [
            Step::AllStandStill,
            Step::Begin,
            Step::Started,
            Step::TellDeaths,
            Step::Count,
            Step::SweepEnds,
            Step::Deadline,
        ];
        for steps in 0..1000 {
            if self.exited {
                return Some(now);
            }
            // Those who may live on end by themselves; they are counted again and again until then.
            let lives_on = self.supervisor.policy.wait_all && steps > 500;
            let moved = lives_on && self.step(Step::OrphanDies, &mut now);
            if !moved && !OBEDIENT.iter().any(|step| self.step(*step, &mut now)) {
                return None;
            }
        }
        None
    }
}

fn walk(policy: Policy) -> usize {
    let first = World::new(policy);
    let mut seen = HashSet::from([first.key()]);
    let mut open = VecDeque::from([(first, MonoTime::default())]);
    while let Some((world, now)) = open.pop_front() {
        for step in STEPS {
            let (mut next, mut then) = (world.clone(), now);
            if !next.step(step, &mut then) || next.exited || !seen.insert(next.key()) {
                continue;
            }
            if next.main == Life::Alive {
                assert!(next.clone().goes_on(then), "no process is left stopped: {}", next.key());
            }
            let stopping = next.supervisor.ladder != Ladder::Idle || next.main == Life::Zombie;
            if stopping {
                let ended = next.clone().ends(then);
                assert!(ended.is_some(), "the ladder always ends: {}", next.key());
                let waited = ended.unwrap().since(then);
                // A sweep that could not be made is waited for; it is no process.
                let sweep_waits =
                    matches!(next.supervisor.phase, Phase::LastSweep { sweep, .. } if sweep.waits);
                assert!(
                    !next.all_dead() || waited <= RECOUNT_CHILDREN || sweep_waits,
                    "no ended process is waited for: {waited:?}, {}",
                    next.key()
                );
            }
            open.push_back((next, then));
        }
    }
    seen.len()
}

#[test]
fn every_order_of_everything_keeps_the_promises() {
    let mut states = walk(policy());
    states += walk(Policy { grace: Duration::ZERO, kill_after: Duration::ZERO, ..policy() });
    println!("{states} states");
    assert!(states > 100, "the walk reaches the whole world: {states}");
}

#[test]
fn the_operators_rules_are_kept_in_every_order() {
    let second = Duration::from_secs(1);
    let rules = [
        (
            "delay",
            Policy {
                forwarding: Forwarding { delay: vec![(Signal::TERM, 60 * second)], ..Forwarding::default() },
                ..policy()
            },
        ),
        (
            "rewrite",
            Policy {
                forwarding: Forwarding {
                    rewrite: vec![(Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None)],
                    ..Forwarding::default()
                },
                ..policy()
            },
        ),
        (
            "stop sequence",
            Policy {
                stop_sequence: vec![
                    (Signal::QUIT, 20 * second),
                    (Signal::INT, 5 * second),
                    (Signal::KILL, Duration::ZERO),
                ],
                ..policy()
            },
        ),
        ("a step before", Policy { before_stop: Some(20 * second), ..policy() }),
        ("wait all", Policy { wait_all: true, ..policy() }),
    ];
    let plain = walk(policy());
    for (name, rule) in rules {
        let states = walk(rule);
        println!("{name}: {states} states");
        // A rule that drops what it gets makes the world no larger.
        assert!(states > plain || name == "rewrite", "the rule is met: {states} states, {plain} without it");
    }
}
