//! Every reachable state of a small world with restarts: a gateway that may die and be started again, a unit
//! before it and one after it, stop signals, and a condition under which the gateway is replaced.

use super::*;
use crate::ids::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Life {
    Unborn,
    Asked,
    Alive,
    Zombie,
    Reaped,
}

impl Life {
    fn is_there(self) -> bool {
        matches!(self, Life::Alive | Life::Zombie)
    }
}

#[derive(Clone)]
struct World {
    supervisor: Supervisor,
    main: Life,
    units: [Life; 2],
    /// Whose supervisor was killed.
    killed: [bool; 2],
    sweeping: bool,
    counting: bool,
    swept: bool,
    stop_sent: bool,
    /// Everybody was asked to stand still, and whether they do.
    asked_still: bool,
    still: bool,
    /// The sweep under way looks while units live; it waits for a word; it removes.
    beside: bool,
    waits: bool,
    removing: bool,
    /// KILL ended the gateway, and nobody has said so yet.
    untold: bool,
    exited: bool,
    starts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Begin,
    SweepEnds,
    SweepWaits,
    StandStill,
    CannotStandStill,
    Started,
    StartFails,
    UnitStarted,
    UnitStartFails,
    MainDies,
    MainEndsWell,
    UnitDies(usize),
    UnitIsKilled(usize),
    TellDeaths,
    Count,
    StopSignal,
    Condition,
    RestartWanted,
    UnitRestartWanted,
    Deadline,
}

const STEPS: [Step; 22] = [
    Step::Begin,
    Step::SweepEnds,
    Step::SweepWaits,
    Step::StandStill,
    Step::CannotStandStill,
    Step::Started,
    Step::StartFails,
    Step::UnitStarted,
    Step::UnitStartFails,
    Step::MainDies,
    Step::MainEndsWell,
    Step::UnitDies(0),
    Step::UnitDies(1),
    Step::UnitIsKilled(0),
    Step::UnitIsKilled(1),
    Step::TellDeaths,
    Step::Count,
    Step::StopSignal,
    Step::Condition,
    Step::RestartWanted,
    Step::UnitRestartWanted,
    Step::Deadline,
];

const KILLED: ExitStatus = ExitStatus::Signaled { signal: 9, core: false };
const UNITS: [i32; 2] = [20, 21];
/// The gateway's restarts that nobody asked for.
const CEILING: u32 = 2;
/// No history needs more starts than this to show everything.
const STARTS: u32 = 4;

impl World {
    fn new(policy: Policy) -> World {
        World {
            supervisor: Supervisor::new(policy),
            main: Life::Unborn,
            units: [Life::Unborn; 2],
            killed: [false; 2],
            sweeping: false,
            counting: false,
            swept: false,
            stop_sent: false,
            asked_still: false,
            still: false,
            beside: false,
            waits: false,
            removing: false,
            untold: false,
            exited: false,
            starts: 0,
        }
    }

    fn key(&self) -> String {
        let s = &self.supervisor;
        let phase = format!("{:?}", s.phase);
        let phase = phase.split(' ').next().unwrap();
        let ladder = format!("{:?}", s.ladder);
        let ladder = ladder.split(' ').next().unwrap();
        let units = format!("{:?}", s.units);
        let units = (
            units.matches("again: true").count(),
            units.split("rule: ").map(|unit| unit.contains("Waiting")).collect::<Vec<_>>(),
            units.split("in_a_row: ").map(|rest| rest.chars().next()).collect::<Vec<_>>(),
        );
        format!(
            "{phase}{ladder}{:?}{:?}{:?}{}{units:?}{:?}{:?}{}{:?}{}{}{}{}{}",
            s.purpose,
            s.failed_unit,
            s.leaving.is_some(),
            s.pending.len().min(2),
            self.main,
            (self.units, self.killed),
            self.sweeping || self.untold,
            (self.asked_still, self.still, self.beside, self.waits, self.removing),
            self.counting,
            self.stop_sent,
            self.starts,
            s.start_failed.is_some(),
            s.gave_up,
        )
    }

    fn event(&self, step: Step, now: &mut Moment) -> Option<Vec<Event>> {
        let asked = self.units.iter().position(|unit| *unit == Life::Asked);
        let events = match step {
            Step::Begin if self.supervisor.phase == Phase::New => vec![Event::Begin],
            Step::SweepEnds if self.sweeping && !self.waits && !self.removing => vec![SWEPT],
            Step::SweepWaits if self.sweeping && self.beside && !self.waits => vec![Event::SweepReady],
            Step::StandStill if self.asked_still => vec![Event::Stood(Stood::Still)],
            Step::CannotStandStill if self.asked_still => vec![Event::Stood(Stood::Cannot)],
            Step::Started if self.main == Life::Asked => vec![Event::Started { pid: pid(MAIN) }],
            Step::StartFails if self.main == Life::Asked => {
                vec![Event::StartFailed { stage: Stage::Fork, errno: Errno(12) }]
            }
            Step::UnitStarted => {
                let unit = asked?;
                vec![Event::UnitStarted { unit, pid: pid(UNITS[unit]) }]
            }
            Step::UnitStartFails => vec![Event::UnitStartFailed { unit: asked?, errno: Errno(11) }],
            Step::MainDies | Step::MainEndsWell if self.main == Life::Alive => {
                let code = u8::from(step == Step::MainDies);
                vec![Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(code) }, Event::Drained]
            }
            Step::UnitDies(unit) if self.units[unit] == Life::Alive => vec![],
            // Where nothing follows, it is a death as any other.
            Step::UnitIsKilled(unit) if self.units[unit] == Life::Alive && self.follows(unit) => vec![],
            Step::TellDeaths => {
                let dead = (0..2).filter(|unit| self.units[*unit] == Life::Zombie);
                let tell = |unit: usize| match self.killed[unit] {
                    true => Event::Died { pid: pid(UNITS[unit]), status: KILLED },
                    false => died(UNITS[unit]),
                };
                let mut told: Vec<Event> = dead.map(tell).collect();
                told.extend(self.untold.then(|| died(MAIN)));
                if told.is_empty() {
                    return None;
                }
                told.push(Event::Drained);
                told
            }
            Step::Count if self.counting => vec![Event::Rest(Rest::Gone)],
            Step::StopSignal => vec![sent(Signal::TERM)],
            Step::Condition => vec![Event::Condition { kind: Kind::Failing }],
            Step::RestartWanted => vec![Event::RestartWanted { unit: None }],
            Step::UnitRestartWanted => vec![Event::RestartWanted { unit: Some(0) }],
            Step::Deadline => {
                *now = self.supervisor.next_deadline()?;
                vec![Event::Tick]
            }
            _ => return None,
        };
        Some(events)
    }

    fn follows(&self, unit: usize) -> bool {
        self.supervisor.policy.units[unit].restart.on != On::Never
    }

    fn step(&mut self, step: Step, now: &mut Moment) -> bool {
        let Some(events) = self.event(step, now) else {
            return false;
        };
        match step {
            Step::Started => self.main = Life::Alive,
            Step::StartFails => self.main = Life::Unborn,
            Step::UnitStarted | Step::UnitStartFails => {
                let unit = self.units.iter().position(|unit| *unit == Life::Asked).unwrap();
                self.units[unit] = if step == Step::UnitStarted { Life::Alive } else { Life::Reaped };
            }
            Step::MainDies | Step::MainEndsWell => self.main = Life::Zombie,
            Step::UnitDies(unit) | Step::UnitIsKilled(unit) => {
                (self.units[unit], self.killed[unit]) = (Life::Zombie, step == Step::UnitIsKilled(unit));
            }
            Step::TellDeaths => self.untold = false,
            Step::SweepEnds => (self.sweeping, self.swept) = (false, true),
            Step::SweepWaits => (self.waits, self.removing) = (true, false),
            Step::StandStill => (self.asked_still, self.still) = (false, true),
            Step::CannotStandStill => self.asked_still = false,
            Step::Count => self.counting = false,
            Step::StopSignal => self.stop_sent |= self.main == Life::Alive,
            _ => {}
        }
        for event in events {
            let mut actions = Vec::new();
            self.supervisor.handle(*now, event, &mut actions);
            for action in actions {
                self.check_and_do(action);
            }
        }
        true
    }

    fn check_and_do(&mut self, action: Action) {
        assert!(!self.exited, "nothing is asked for after the exit: {action:?}");
        match action {
            Action::Sweep(occasion) => {
                assert!(!self.sweeping, "one sweep at a time");
                self.beside = matches!(occasion, Occasion::Beside { .. });
                let alone = self.main != Life::Alive && !self.units.iter().any(|unit| unit.is_there());
                assert!(self.beside || alone, "locks are removed at quiet moments only");
                self.sweeping = true;
            }
            Action::Proceed { still } => {
                assert!(self.sweeping && self.waits, "only who waits is woken");
                assert!(!still || self.still, "locks are removed while everybody stands still");
                (self.waits, self.removing) = (false, still);
            }
            Action::StandStill => self.asked_still = true,
            Action::GoOn { .. } => {
                assert!(!self.removing, "nobody goes on while locks are removed");
                (self.asked_still, self.still) = (false, false);
            }
            Action::AbandonSweep => {
                (self.sweeping, self.swept) = (false, true);
                (self.waits, self.removing) = (false, false);
            }
            Action::Start => {
                assert!(!self.main.is_there(), "never beside the old one: {:?}", self.main);
                assert!(self.swept && !self.sweeping, "never before the locks are swept");
                assert!(!self.stop_sent, "never after a stop signal");
                assert!(!self.asked_still && !self.still, "everybody goes on first");
                assert!(self.units[0] != Life::Unborn, "the unit before it comes first");
                (self.main, self.swept) = (Life::Asked, true);
                self.starts += 1;
            }
            Action::StartUnit(unit) => {
                assert!(!self.units[unit].is_there(), "a unit is started once");
                assert!(unit == 0 || self.main == Life::Alive, "the unit after it comes later");
                assert!(!self.stop_sent, "never after a stop signal: {}", self.key());
                self.units[unit] = Life::Asked;
            }
            Action::Send { pid, signal, .. } if pid.raw() == MAIN => {
                assert!(self.main.is_there(), "no signal to a reaped pid");
                let ending = signal == Signal::TERM && self.supervisor.purpose == Purpose::End;
                assert!(!ending || !self.units[1].is_there(), "the unit after it is stopped before it");
            }
            Action::Send { pid, .. } => {
                let unit = UNITS.iter().position(|unit| *unit == pid.raw()).unwrap();
                assert!(self.units[unit].is_there(), "no signal to a reaped pid");
            }
            Action::Reap(dead) => {
                let unit = UNITS.iter().position(|unit| *unit == dead.raw());
                let life = unit.map_or(&mut self.main, |unit| &mut self.units[unit]);
                assert_eq!(*life, Life::Zombie, "only a zombie is reaped, and once");
                if dead.raw() == MAIN {
                    assert!(self.swept, "its locks are judged first");
                }
                *life = Life::Reaped;
            }
            Action::SendToRest(Signal::KILL) if self.main == Life::Alive => {
                (self.main, self.untold) = (Life::Zombie, true);
            }
            Action::CountRest => self.counting = true,
            Action::Exit(_) => {
                assert!(!self.main.is_there(), "the gateway is gone");
                assert!(!self.units.iter().any(|unit| unit.is_there()), "no unit is left: {:?}", self.units);
                assert_eq!(self.supervisor.next_deadline(), None, "no deadline without an owner");
                self.exited = true;
            }
            _ => {}
        }
    }

    /// After a stop signal, with everybody obedient, it ends.
    fn ends(mut self, mut now: Moment) -> bool {
        for _ in 0..80 {
            if self.exited {
                return true;
            }
            // Whoever was told to end does; a kill that the world does not know of is one of these too.
            let obedient = [
                Step::Begin,
                Step::UnitStarted,
                Step::Started,
                Step::TellDeaths,
                Step::Count,
                Step::SweepEnds,
                Step::StandStill,
                Step::SweepWaits,
                Step::MainEndsWell,
                Step::UnitDies(1),
                Step::UnitDies(0),
                Step::Deadline,
            ];
            if !obedient.iter().any(|step| self.step(*step, &mut now)) {
                return false;
            }
        }
        false
    }
}

fn walk(policy: Policy) -> usize {
    let first = World::new(policy);
    let mut seen = HashSet::from([first.key()]);
    let mut open = VecDeque::from([(first, Moment::default())]);
    while let Some((world, now)) = open.pop_front() {
        for step in STEPS {
            let (mut next, mut then) = (world.clone(), now);
            if !next.step(step, &mut then) || next.exited || next.starts > STARTS {
                continue;
            }
            if !seen.insert(next.key()) {
                continue;
            }
            if next.stop_sent {
                assert!(next.clone().ends(then), "a stop always ends: {}", next.key());
            }
            open.push_back((next, then));
        }
    }
    seen.len()
}

#[test]
fn every_order_of_lives_keeps_the_promises() {
    let mut states = 0;
    for required in [false, true] {
        for on in [On::Never, On::Failure, On::Always] {
            let rule = |after_gateway| UnitRule { window: SWEEP, ..units::unit(after_gateway, required) };
            let restart = Restart { on, ceiling: CEILING, ..Restart::default() };
            let units = vec![rule(false), rule(true)];
            states += walk(Policy { units, restart, replace_on: vec![Kind::Failing], ..policy() });
        }
    }
    // And with units that come back when their supervisor was killed, once.
    let restart = Restart { on: On::Failure, ceiling: 1, ..Restart::default() };
    let rule = |after_gateway| UnitRule {
        window: SWEEP,
        restart: restart.clone(),
        ..units::unit(after_gateway, after_gateway)
    };
    let units = vec![rule(false), rule(true)];
    states += walk(Policy { units, restart, ..policy() });
    println!("{states} states");
    assert!(states > 1000, "the walk reaches the whole world: {states}");
}
