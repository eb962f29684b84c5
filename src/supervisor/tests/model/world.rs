//! A small world around the supervisor. It keeps its own books of who lives, does what is asked of it, and checks the
//! promises at every action.

mod course;

use super::steps::{Cast, Step};
use super::*;
use crate::types::{CancelledBy, HealthReport, HealthState};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    Unborn,
    Asked,
    Alive,
    Zombie,
    Reaped,
}

impl Life {
    pub fn is_there(self) -> bool {
        matches!(self, Life::Alive | Life::Zombie)
    }
}

const KILLED: ExitStatus = ExitStatus::Signaled { signal: 9, core: false };
const UNITS: [i32; 2] = [20, 21];
const STRANGER: i32 = 30;
const LOST: u32 = 1;

#[derive(Clone)]
pub struct World {
    pub supervisor: Supervisor,
    cast: Cast,
    pub main: Life,
    units: [Life; 2],
    /// Whose supervisor was killed.
    killed: [bool; 2],
    stranger: Life,
    /// The scan for the lost is running; they are there; none of them is left, and that was not reported.
    finding: bool,
    lost: bool,
    lost_gone: bool,
    sweeping: bool,
    /// The running sweep scans while a process lives; it waits for permission; it removes.
    beside: bool,
    waits: bool,
    removing: bool,
    /// One that was given up has not ended yet.
    hanging: bool,
    /// The locks of the last main process are judged, or it was said that they are not.
    swept: bool,
    /// A start went on before everything was swept, and no sweep has followed yet.
    owed: bool,
    counting: bool,
    /// KILL was for those outside the gateway's group, and there was no process.
    no_others: bool,
    /// Something was asked, and this is the answer.
    answer: Option<Event>,
    /// A stop signal came that is for good.
    pub stop_sent: bool,
    /// Something was asked to end before it is killed.
    asked_to_end: bool,
    /// All processes were told to stop, and whether they have.
    asked_still: bool,
    still: bool,
    /// A step runs.
    stepping: bool,
    /// KILL ended the gateway, and that was not reported yet.
    untold: bool,
    /// It was just started, and may not be the command yet; it could not become it.
    fresh: bool,
    cannot_execute: bool,
    pub exited: bool,
    pub starts: u32,
    refused: bool,
    /// An operator asked for the next start; and the times of the starts that were not requested.
    wanted: bool,
    unasked: Vec<MonoTime>,
}

impl World {
    pub fn new(policy: Policy, cast: Cast) -> World {
        World {
            swept: policy.sweep.is_none(),
            supervisor: Supervisor::new(policy),
            cast,
            main: Life::Unborn,
            units: [Life::Unborn; 2],
            killed: [false; 2],
            stranger: Life::Unborn,
            finding: false,
            lost: false,
            lost_gone: false,
            sweeping: false,
            beside: false,
            waits: false,
            removing: false,
            hanging: false,
            owed: false,
            counting: false,
            no_others: false,
            answer: None,
            stop_sent: false,
            asked_to_end: false,
            asked_still: false,
            still: false,
            stepping: false,
            untold: false,
            fresh: false,
            cannot_execute: false,
            exited: false,
            starts: 0,
            refused: false,
            wanted: false,
            unasked: Vec::new(),
        }
    }

    /// The state without times.
    pub fn key(&self) -> String {
        let s = &self.supervisor;
        let first_word = |text: String| text.split([' ', '(']).next().unwrap().to_owned();
        let [phase, ladder, live_sweep] =
            [format!("{:?}", s.phase), format!("{:?}", s.ladder), format!("{:?}", s.live_sweep.state)]
                .map(first_word);
        let others_left = match s.ladder {
            Ladder::Drain { others, .. } => (others.is_some(), false),
            Ladder::Grace { look, asked, .. } => (look.is_some(), asked.group),
            Ladder::Leftovers { look, others, .. } => (look.is_some(), others.is_some()),
            _ => (false, false),
        };
        let units = format!("{:?}", s.units);
        let units = (
            units.matches("again: true").count(),
            units.split("rule: ").map(|unit| unit.contains("Waiting")).collect::<Vec<_>>(),
            units.split("in_a_row: ").map(|rest| rest.chars().next()).collect::<Vec<_>>(),
        );
        let sweep = match s.phase {
            Phase::FirstSweep { sweep } | Phase::LastSweep { sweep, .. } => Some((sweep.waits, sweep.tries)),
            _ => None,
        };
        format!(
            "{sweep:?}{phase}{ladder}{live_sweep}{units:?}{:?}{:?}{:?}{:?}{:?}{:?}",
            (
                s.after_exit,
                s.failed_unit,
                s.pending_exit_signal.is_some(),
                s.pending.len().min(2),
                s.live_sweep.wanted
            ),
            (self.main, self.units, self.killed, self.stranger, self.untold, others_left),
            (self.finding, self.lost, self.lost_gone, s.orphans.is_busy()),
            (self.sweeping, self.waits, self.removing, self.hanging, self.swept, self.owed),
            (self.asked_still, self.still, self.counting, self.stop_sent, self.stepping),
            (self.starts, self.refused, self.fresh, s.start_failed.is_some(), s.restart_limit_hit, s.tool),
        )
    }

    fn unit_asked(&self) -> Option<usize> {
        self.units.iter().position(|unit| *unit == Life::Asked)
    }

    /// What is told if `step` comes next, unless it cannot.
    fn events(&self, step: Step, now: &mut MonoTime) -> Option<Vec<Event>> {
        let (cast, s) = (self.cast, &self.supervisor);
        let alive = self.main == Life::Alive;
        let events = match step {
            Step::Begin if s.phase == Phase::New => vec![Event::Begin],
            Step::SweepEnds if self.sweeping && !self.waits && !self.removing => vec![SWEPT],
            Step::SweepLeavesSome if cast.delays && self.sweeping && !self.waits => {
                vec![Event::SweepDone(SweepSummary {
                    waiting: 1,
                    handed_over: 1,
                    missing: true,
                    failed: None,
                })]
            }
            Step::SweepFails if cast.refusals && self.sweeping && !self.waits && !self.removing => {
                vec![STARVED]
            }
            Step::SweepBreaksOff if cast.refusals && self.sweeping && !self.waits => vec![BROKE_OFF],
            Step::SweepWaits if self.sweeping && self.beside && !self.waits => vec![Event::SweepReady],
            Step::SweepDies if self.hanging => vec![Event::SweeperExited],
            Step::Freeze if self.asked_still => vec![Event::FreezeDone(FreezeResult::Still)],
            Step::OneRuns if cast.delays && self.asked_still => vec![Event::FreezeDone(FreezeResult::NotYet)],
            Step::CannotStandStill if self.asked_still => vec![Event::FreezeDone(FreezeResult::Cannot)],
            Step::Started if self.main == Life::Asked => vec![Event::Started { pid: pid(MAIN) }],
            Step::StartFails if self.main == Life::Asked => {
                vec![Event::StartFailed { step: StartStep::Fork, errno: Errno(12) }]
            }
            Step::StartRefused if cast.refusals && self.main == Life::Asked => {
                vec![Event::StartFailed { step: StartStep::Fork, errno: Errno(11) }]
            }
            Step::CannotExecute if cast.refusals && alive && self.fresh => vec![
                Event::StartFailed { step: StartStep::Exec, errno: Errno(2) },
                Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(127) },
                Event::QueueDrained,
            ],
            Step::UnitStarted => {
                let unit = self.unit_asked()?;
                vec![Event::UnitStarted { unit, pid: pid(UNITS[unit]) }]
            }
            Step::UnitStartFails => {
                vec![Event::UnitStartFailed { unit: self.unit_asked()?, errno: Errno(11) }]
            }
            Step::MainDies | Step::MainEndsWell if alive => {
                let code = u8::from(step == Step::MainDies);
                vec![Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(code) }, Event::QueueDrained]
            }
            Step::UnitDies(unit) if self.units[unit] == Life::Alive => vec![],
            // Where nothing follows, it is a death as any other.
            Step::UnitIsKilled(unit) if self.units[unit] == Life::Alive && self.follows(unit) => vec![],
            Step::StrangerComes
                if cast.stranger && alive && (cast.crowd || self.stranger == Life::Unborn) =>
            {
                if self.stranger.is_there() {
                    return None;
                }
                vec![]
            }
            Step::StrangerDies if self.stranger == Life::Alive => vec![],
            Step::TellDeaths => return self.deaths(),
            Step::Count if self.counting => vec![Event::Remaining(match self.stranger {
                _ if alive => Remaining::Children,
                Life::Alive if cast.foreign => Remaining::Strangers,
                Life::Alive | Life::Zombie => Remaining::Children,
                _ => Remaining::Gone,
            })],
            Step::ToolLost if cast.tools && alive && !self.lost => vec![Event::ToolLost],
            Step::LostFound if self.finding && cast.tools && !self.lost => {
                vec![Event::OrphanFound { tool: LOST }, Event::OrphansFound]
            }
            Step::NoneFound if self.finding && !self.lost => vec![Event::OrphansFound],
            Step::LostAreGone if self.lost_gone => vec![Event::OrphansGone { tool: LOST }],
            Step::StopSignal => vec![sent(Signal::TERM)],
            Step::CommandEnds if self.stepping => vec![Event::StepEnded(StepAnswer::None)],
            Step::OtherSignal if cast.words => vec![sent(Signal::HUP)],
            // A tool gets no such request.
            Step::Condition | Step::RestartWanted if s.policy.tool.is_some() => return None,
            Step::Condition => {
                vec![Event::Health(HealthReport { state: HealthState::Unhealthy, ..HealthReport::default() })]
            }
            Step::RestartWanted => vec![Event::RestartWanted { unit: None }],
            Step::UnitRestartWanted if s.units().is_empty() => return None,
            Step::UnitRestartWanted => vec![Event::RestartWanted { unit: Some(0) }],
            Step::Cancel if s.policy.tool.is_some() => vec![Event::Cancel(CancelledBy::Request)],
            Step::Abandoned if s.policy.tool.is_some() => vec![Event::ToolAbandoned],
            Step::EarlyTick if cast.words => vec![Event::Tick],
            Step::LateTick if cast.delays => {
                *now = now.after(Duration::from_secs(1));
                let mut events = self.deaths().unwrap_or_default();
                events.push(Event::Tick);
                events
            }
            Step::Deadline => {
                let due = s.next_deadline()?;
                // A process that dies meanwhile is reported first.
                let mut events = if due > *now { self.deaths().unwrap_or_default() } else { vec![] };
                *now = due.max(*now);
                events.push(Event::Tick);
                events
            }
            _ => return None,
        };
        Some(events)
    }

    fn deaths(&self) -> Option<Vec<Event>> {
        let dead = (0..2).filter(|unit| self.units[*unit] == Life::Zombie);
        let tell = |unit: usize| match self.killed[unit] {
            true => Event::Died { pid: pid(UNITS[unit]), status: KILLED },
            false => died(UNITS[unit]),
        };
        let mut told: Vec<Event> = dead.map(tell).collect();
        told.extend((self.stranger == Life::Zombie).then(|| died(STRANGER)));
        told.extend(self.untold.then(|| Event::Died { pid: pid(MAIN), status: KILLED }));
        if told.is_empty() {
            return None;
        }
        told.push(Event::QueueDrained);
        Some(told)
    }

    fn follows(&self, unit: usize) -> bool {
        self.supervisor.policy.units[unit].restart.on != RestartOn::Never
    }

    pub fn can(&self, step: Step, mut now: MonoTime) -> bool {
        self.events(step, &mut now).is_some()
    }

    /// The step is made, if it can be.
    pub fn step(&mut self, step: Step, now: &mut MonoTime) -> bool {
        let Some(events) = self.events(step, now) else {
            return false;
        };
        match step {
            Step::Started => (self.main, self.fresh) = (Life::Alive, true),
            Step::StartFails => self.main = Life::Unborn,
            Step::StartRefused => (self.main, self.refused) = (Life::Unborn, true),
            Step::UnitStarted | Step::UnitStartFails => {
                let unit = self.unit_asked().unwrap();
                self.units[unit] = if step == Step::UnitStarted { Life::Alive } else { Life::Reaped };
            }
            Step::MainDies | Step::MainEndsWell => self.main_dies(),
            Step::CannotExecute => (self.main, self.cannot_execute) = (Life::Zombie, true),
            Step::UnitDies(unit) | Step::UnitIsKilled(unit) => {
                (self.units[unit], self.killed[unit]) = (Life::Zombie, step == Step::UnitIsKilled(unit));
            }
            Step::StrangerComes => (self.stranger, self.fresh) = (Life::Alive, false),
            Step::StrangerDies => self.stranger_dies(),
            Step::SweepEnds | Step::SweepLeavesSome => {
                (self.sweeping, self.swept) = (false, true);
                (self.waits, self.removing, self.beside) = (false, false, false);
            }
            Step::SweepFails | Step::SweepBreaksOff => {
                self.sweeping = false;
                (self.waits, self.removing, self.beside) = (false, false, false);
            }
            Step::SweepWaits => (self.waits, self.removing) = (true, false),
            Step::SweepDies => self.hanging = false,
            Step::Freeze => (self.asked_still, self.still) = (false, true),
            Step::OneRuns => self.asked_still = false,
            // Nothing more can be done about them while units live.
            Step::CannotStandStill => (self.asked_still, self.swept) = (false, true),
            Step::Count => self.counting = false,
            Step::LostFound => (self.finding, self.lost) = (false, true),
            Step::NoneFound => self.finding = false,
            Step::LostAreGone => (self.lost, self.lost_gone) = (false, false),
            Step::StopSignal => {
                // Before the start it waits for it.
                let phase = self.supervisor.phase;
                let waits = matches!(
                    phase,
                    Phase::New
                        | Phase::FirstSweep { .. }
                        | Phase::UnitsUp
                        | Phase::Starting { .. }
                        | Phase::ForkRetry { .. }
                );
                self.stop_sent |= !waits;
            }
            Step::RestartWanted => self.wanted = true,
            Step::CommandEnds => self.stepping = false,
            _ => {}
        }
        self.tell(*now, events);
        // What is given up is soon gone, as a rule.
        if self.hanging && !self.cast.delays && !self.exited {
            self.hanging = false;
            self.tell(*now, vec![Event::SweeperExited]);
        }
        true
    }

    fn tell(&mut self, now: MonoTime, events: Vec<Event>) {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            self.supervisor.handle(now, event, &mut actions);
            for action in actions {
                self.check_and_do(now, action);
            }
            if let Some(answer) = self.answer.take() {
                events.push_front(answer);
            }
            if std::mem::take(&mut self.no_others) {
                events.push_front(Event::OthersGone);
            }
            if let Event::Died { pid, .. } = event {
                if pid.raw() == MAIN {
                    self.untold = false;
                    continue;
                }
                assert_ne!(*self.life(pid.raw()), Life::Zombie, "every zombie is reaped: {pid:?}");
            }
        }
    }

    fn life(&mut self, raw: i32) -> &mut Life {
        match UNITS.iter().position(|unit| *unit == raw) {
            Some(unit) => &mut self.units[unit],
            None if raw == STRANGER => &mut self.stranger,
            None => &mut self.main,
        }
    }

    /// Time passes, in which the dead are told of.
    pub fn pass(&mut self, pause: Duration, now: &mut MonoTime) {
        if !pause.is_zero() {
            self.step(Step::TellDeaths, now);
            *now = now.after(pause);
        }
    }

    fn main_dies(&mut self) {
        self.stepping = false;
        (self.main, self.swept) = (Life::Zombie, self.supervisor.policy.sweep.is_none());
    }

    fn stranger_dies(&mut self) {
        let untold = self.cast.foreign || self.cast.unheard;
        self.stranger = if untold { Life::Reaped } else { Life::Zombie };
    }

    fn check_and_do(&mut self, now: MonoTime, action: Action) {
        assert!(!self.exited, "nothing is asked for after the exit: {action:?}");
        match action {
            Action::Sweep(occasion) => {
                assert!(!self.sweeping, "one sweep at a time");
                self.beside = matches!(occasion, SweepTrigger::Live { .. });
                // Processes that cannot be killed keep their locks: they live.
                let alone = (self.main != Life::Alive || self.cast.stuck)
                    && !self.units.iter().any(|unit| unit.is_there())
                    && (!self.stranger.is_there() || self.cast.stuck);
                assert!(self.beside || alone, "locks are removed at quiet moments only");
                assert!(!self.beside || !self.hanging, "no look beside one that hangs");
                self.sweeping = true;
                self.owed = false;
            }
            Action::AllowRemoval { still } => {
                assert!(self.sweeping && self.waits, "only who waits is woken");
                assert!(!still || self.still, "locks are removed while all processes are frozen");
                (self.waits, self.removing) = (false, still);
            }
            Action::Freeze => self.asked_still = true,
            Action::Thaw { .. } => {
                assert!(!self.removing, "no process is continued while locks are removed");
                (self.asked_still, self.still) = (false, false);
            }
            Action::AbandonSweep => {
                assert!(self.sweeping, "only what sweeps is given up");
                (self.sweeping, self.hanging) = (false, true);
                (self.waits, self.removing, self.beside) = (false, false, false);
            }
            // It was reported, and so it may go on: but a sweep is still due.
            Action::Note(Note::SweepOverdue(_) | Note::SweepFailed) => {
                (self.owed, self.swept) = (true, true);
            }
            Action::Start => self.check_start(now),
            Action::StartUnit(unit) => {
                assert!(!self.units[unit].is_there(), "a unit is started once");
                let after = self.supervisor.policy.units[unit].after_gateway;
                assert!(!after || self.main == Life::Alive || self.untold, "the unit after it comes later");
                assert!(!self.stop_sent, "never after a stop signal: {}", self.key());
                self.units[unit] = Life::Asked;
            }
            Action::Send { pid, group, signal, .. } if pid.raw() == MAIN => {
                assert!(self.main.is_there(), "no signal to a reaped pid");
                assert!(!group || signal != Signal::TERM || self.asked_to_end, "its group gets what it got");
                let asked = !group && signal == Signal::TERM;
                let ending = asked && self.supervisor.after_exit == AfterExit::Shutdown;
                assert!(signal != Signal::TERM || !self.stepping, "the step has ended, or was given up");
                assert!(!ending || !self.unit_after_lives(), "the unit after it is stopped before it");
                assert!(
                    !self.removing || signal != Signal::CONT,
                    "no process is continued while locks are removed"
                );
                self.asked_to_end |= signal == Signal::TERM;
            }
            Action::Send { pid, signal, .. } => {
                assert!(UNITS.contains(&pid.raw()), "no signal to a stranger");
                let unit = self.life(pid.raw());
                assert!(unit.is_there(), "no signal to a reaped pid");
                if signal == Signal::KILL {
                    *unit = Life::Zombie;
                }
            }
            Action::SignalAll(Signal::KILL) => {
                assert!(self.asked_to_end, "TERM comes before KILL");
                self.kill_all();
            }
            Action::SignalAll(_) => {
                assert!(!self.removing && !self.still, "all processes are continued before all get a signal");
                self.asked_to_end = true;
            }
            Action::SignalOthers { group, signal } => {
                assert_eq!(group, pid(MAIN));
                assert!(matches!(self.main, Life::Zombie | Life::Reaped), "who has died may leave a group");
                assert!(
                    !self.removing && !self.still,
                    "all processes are continued before one gets a signal"
                );
                assert!(self.asked_to_end, "TERM comes before KILL");
                if signal == Signal::KILL {
                    self.no_others = self.stranger != Life::Alive;
                    self.kill_stranger();
                }
            }
            Action::FindOrphans => self.finding = true,
            Action::RunStep(_) => self.stepping = true,
            Action::EndStep => {
                assert!(self.stepping, "only what runs is ended");
                self.stepping = false;
            }
            Action::SendToOrphans { tool, signal } => {
                assert!(tool == LOST && self.lost, "no signal to a tool without processes");
                self.lost_gone |= signal == Signal::KILL;
            }
            Action::LookWhetherHeard { main, .. } => {
                assert!(main == pid(MAIN) && self.main.is_there(), "its number is its own");
                self.answer = (self.stranger == Life::Alive).then_some(Event::NotHeard);
            }
            Action::LookForOthers { main } => {
                assert!(main == pid(MAIN) && self.main.is_there(), "its number is its own");
                self.answer = Some(Event::OthersSeen { alive: self.stranger == Life::Alive });
            }
            Action::CountRemaining => self.counting = true,
            Action::Reap(dead) => self.check_reap(dead.raw()),
            Action::Exit(_) => {
                // The end of processes that cannot be killed is not waited for.
                assert!(self.cast.stuck || !self.main.is_there(), "the gateway is gone");
                assert!(self.cast.stuck || !self.stranger.is_there(), "no process is left");
                assert!(!self.units.iter().any(|unit| unit.is_there()), "no unit is left: {:?}", self.units);
                let deadline = self.supervisor.next_deadline();
                assert_eq!(deadline, None, "no deadline without an owner: {}", self.key());
                self.exited = true;
            }
            _ => {}
        }
    }

    fn unit_after_lives(&self) -> bool {
        let rules = &self.supervisor.policy.units;
        rules.iter().zip(&self.units).any(|(rule, unit)| rule.after_gateway && unit.is_there())
    }

    fn check_start(&mut self, now: MonoTime) {
        assert!(!self.main.is_there(), "never beside the old one: {}", self.key());
        // Whom KILL does not end, nothing does.
        assert!(self.cast.stuck || !self.stranger.is_there(), "never beside what it left: {}", self.key());
        assert!(self.swept && !self.sweeping, "never before the locks are swept, without a word");
        assert!(!self.stop_sent, "never after a stop signal: {}", self.key());
        assert!(!self.asked_still && !self.still, "all processes are continued first");
        let before = self.supervisor.policy.units.first().is_some_and(|unit| !unit.after_gateway);
        assert!(!before || self.units[0] != Life::Unborn, "the unit before it comes first");
        self.main = Life::Asked;
        (self.asked_to_end, self.cannot_execute) = (false, false);
        if std::mem::take(&mut self.refused) {
            return;
        }
        self.starts += 1;
        if !std::mem::take(&mut self.wanted) && self.starts > 1 {
            let Restart { interval, limit, .. } = self.supervisor.policy.restart;
            self.unasked.retain(|at| now.since(*at) < interval);
            self.unasked.push(now);
            // The pause before the first of them is not a part of the time in which they are counted.
            assert!(self.unasked.len() <= limit as usize + 1, "restarts stay below the limit");
        }
    }

    fn check_reap(&mut self, dead: i32) {
        let s = &self.supervisor;
        if dead == MAIN && s.policy.can_hold && !self.cannot_execute {
            assert!(self.swept, "its locks are judged before it is reaped");
        }
        let life = self.life(dead);
        assert_eq!(*life, Life::Zombie, "only a zombie is reaped, and once");
        *life = Life::Reaped;
    }

    fn kill_all(&mut self) {
        if self.cast.stuck {
            return;
        }
        if self.main == Life::Alive {
            self.main_dies();
            self.untold = true;
        }
        self.kill_stranger();
    }

    fn kill_stranger(&mut self) {
        if self.stranger == Life::Alive && !self.cast.stuck {
            self.stranger_dies();
        }
    }
}
