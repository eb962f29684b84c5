//! Whether the gateway is healthy, from the results of its probes. Pure: results and times go in, a state comes out.
//!
//! - A good answer in time makes a probe content at once.
//! - A wrong one (none, not the right one, or one that is late) counts as one miss; one that took longer than the
//!   probe's interval counts once for each interval it took, so that a gateway that hangs is known within
//!   `every x misses + timeout`, whatever the three are.
//! - After `misses` in a row the probe is slow, or failing if none of them was a good answer.
//! - Draining is an answer, and at once believed.
//! - What is said is true at every moment: misses count from the first good answer of a start on, and without one from
//!   the end of the start period on. What is done about a gateway waits: for that, only what was asked after the start
//!   period counts. A gateway that has answered once and then stalls for 80 seconds, as OpenClaw does after its start,
//!   is called unhealthy, and is excused.
//! - A gateway that starts anew within its process has one more start period, if it was well in the last one. Otherwise
//!   one that shows the sign again and again would never be replaced.
//!
//! All probes together are as well as the worst of them.

use std::time::Duration;

use sexton::config::watch_settings::Probe;
use sexton::types::{HealthState, MonoTime};

use crate::probe::{Answer, Outcome};

/// The gateway's state, as PID 1 reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// It does not run.
    Absent,
    /// It runs since this moment.
    Runs(MonoTime),
    /// It is being stopped.
    Stops,
}

/// The state of one probe.
#[derive(Debug, Clone)]
struct ProbeState {
    name: String,
    every: Duration,
    latency: Duration,
    misses: u32,
    /// It has had a good answer since the gateway was started.
    answered: bool,
    /// The misses that count for the reported state.
    said: Misses,
    /// The misses that count for an action: only those of probes sent after the start period.
    done: Misses,
    draining: bool,
    /// Why the last answer was not a good one.
    why: String,
}

/// Misses in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Misses {
    /// Wrong answers, late ones included.
    wrong: u32,
    /// Answers that were none, or not the right ones.
    bad: u32,
}

/// How the gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: HealthState,
    /// It is not well, and nothing is done about it yet: too few of the misses came after the start period.
    pub excused: bool,
    /// Why, in words.
    pub reason: String,
}

/// How all of them do.
#[derive(Debug, Clone)]
pub struct HealthFsm {
    probes: Vec<ProbeState>,
    start_period: Duration,
    gateway: Gateway,
}

impl HealthFsm {
    /// No probe has been answered yet.
    pub fn new(probes: &[Probe], start_period: Duration) -> HealthFsm {
        let probe_state = |probe: &Probe| ProbeState {
            name: probe.name.clone(),
            every: probe.interval,
            latency: probe.slow_after,
            misses: probe.failure_threshold.max(1),
            answered: false,
            said: Misses::default(),
            done: Misses::default(),
            draining: false,
            why: String::new(),
        };
        HealthFsm { probes: probes.iter().map(probe_state).collect(), start_period, gateway: Gateway::Absent }
    }

    /// The gateway was started, is being stopped, or is gone: what was known of it is void.
    pub fn gateway(&mut self, gateway: Gateway) {
        if self.gateway != gateway {
            self.gateway = gateway;
            for probe_state in &mut self.probes {
                probe_state.begin();
            }
        }
    }

    /// There is a sign that the gateway starts anew within its process since this moment. `true` if that begins a start
    /// period: every probe has had a good answer in the last one.
    pub fn starts_anew(&mut self, since: MonoTime) -> bool {
        let runs = matches!(self.gateway, Gateway::Runs(_));
        let begins =
            runs && !self.probes.is_empty() && self.probes.iter().all(|probe_state| probe_state.answered);
        if begins {
            self.gateway(Gateway::Runs(since));
        }
        begins
    }

    /// Whether probe number `index` waits for its first good answer, within the start period.
    pub fn is_starting(&self, index: usize, now: MonoTime) -> bool {
        let Gateway::Runs(since) = self.gateway else { return false };
        now < since.after(self.start_period)
            && self.probes.get(index).is_some_and(|probe_state| !probe_state.answered)
    }

    /// Probe number `index` has ended. `true` if the answer shows that the gateway starts anew within its process: it
    /// says so itself, or it has taken no new work before, and now does not answer.
    pub fn answered(&mut self, index: usize, answer: &Answer) -> bool {
        let draining = self.probes.get(index).is_some_and(|probe_state| probe_state.draining);
        let anew = match answer.outcome {
            Outcome::Starting => true,
            Outcome::Bad(_) => draining,
            Outcome::Good | Outcome::Draining => false,
        };
        let begins = anew && self.starts_anew(answer.asked);
        let Gateway::Runs(since) = self.gateway else { return false };
        // It was asked before this start.
        if answer.asked < since {
            return false;
        }
        let after = answer.asked >= since.after(self.start_period);
        let Some(probe_state) = self.probes.get_mut(index) else { return begins };
        probe_state.draining = answer.outcome == Outcome::Draining;
        match &answer.outcome {
            Outcome::Good if answer.latency <= probe_state.latency => {
                probe_state.answered = true;
                probe_state.forget();
            }
            Outcome::Draining => probe_state.forget(),
            Outcome::Good => {
                probe_state.answered = true;
                (probe_state.said.bad, probe_state.done.bad) = (0, 0);
                probe_state.why = format!(
                    "answered after {:.1?}, {:.1?} is the limit",
                    answer.latency, probe_state.latency
                );
                probe_state.miss(answer.latency, false, after);
            }
            Outcome::Bad(why) => {
                probe_state.why.clone_from(why);
                probe_state.miss(answer.latency, true, after);
            }
            Outcome::Starting => {
                "it says that it is starting".clone_into(&mut probe_state.why);
                probe_state.miss(answer.latency, true, after);
            }
        }
        begins
    }

    /// How the gateway is.
    pub fn verdict(&self) -> Verdict {
        let known = |state, reason: &str| Verdict { state, excused: false, reason: reason.to_owned() };
        match self.gateway {
            Gateway::Absent => return known(HealthState::Unknown, "the gateway does not run"),
            Gateway::Stops => return known(HealthState::Draining, "it is being stopped"),
            Gateway::Runs(_) => {}
        }
        // Of two that are equally well, the one that has missed something says more.
        let worst =
            self.probes.iter().max_by_key(|probe_state| (rank(probe_state.said()), probe_state.said.wrong));
        let Some(worst) = worst else { return known(HealthState::Unknown, "there is no probe") };
        let state = worst.said();
        let (name, why, wrong) = (&worst.name, &worst.why, worst.said.wrong);
        let ill = |state| matches!(state, HealthState::Slow | HealthState::Unhealthy);
        let due = self.probes.iter().map(ProbeState::done).max_by_key(|state| rank(*state));
        // One that does not answer may have been slow for longer than it is excused.
        let excused = ill(state) && due.is_none_or(|due| rank(due) < rank(state));
        let reason = match state {
            HealthState::Healthy if wrong > 0 => {
                format!("{name}: {why} ({wrong} of {} misses)", worst.misses)
            }
            HealthState::Healthy => "it answers in time".to_owned(),
            HealthState::Draining => format!("{name}: it takes no new work"),
            HealthState::Starting if why.is_empty() => format!("{name}: no answer yet"),
            _ if excused => format!("{name}: {why} (start period)"),
            _ => format!("{name}: {why}"),
        };
        Verdict { state, excused, reason }
    }
}

impl ProbeState {
    /// The gateway starts.
    fn begin(&mut self) {
        (self.answered, self.draining) = (false, false);
        self.forget();
    }

    fn forget(&mut self) {
        (self.said, self.done) = (Misses::default(), Misses::default());
        self.why.clear();
    }

    /// Counts a wrong answer that took `latency`, and was asked `after` the start period or within it.
    fn miss(&mut self, latency: Duration, bad: bool, after: bool) {
        let weight = self.weight(latency);
        if self.answered || after {
            self.said.add(weight, bad);
        }
        if after {
            self.done.add(weight, bad);
        }
    }

    /// How many misses one answer that took `latency` is.
    fn weight(&self, latency: Duration) -> u32 {
        let every = self.every.as_nanos().max(1);
        u32::try_from(latency.as_nanos().div_ceil(every)).unwrap_or(u32::MAX).max(1)
    }

    fn said(&self) -> HealthState {
        self.state(self.said)
    }

    fn done(&self) -> HealthState {
        self.state(self.done)
    }

    fn state(&self, misses: Misses) -> HealthState {
        if misses.bad >= self.misses {
            HealthState::Unhealthy
        } else if self.draining {
            HealthState::Draining
        } else if misses.wrong >= self.misses {
            HealthState::Slow
        } else if self.answered {
            HealthState::Healthy
        } else {
            HealthState::Starting
        }
    }
}

impl Misses {
    fn add(&mut self, weight: u32, bad: bool) {
        self.wrong = self.wrong.saturating_add(weight);
        if bad {
            self.bad = self.bad.saturating_add(weight);
        }
    }
}

/// The worse, the higher. A gateway that drains is not called slow for it.
fn rank(state: HealthState) -> u8 {
    match state {
        HealthState::Unhealthy => 5,
        HealthState::Draining => 4,
        HealthState::Slow => 3,
        HealthState::Starting => 2,
        HealthState::Unknown => 1,
        HealthState::Healthy => 0,
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
