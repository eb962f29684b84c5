//! Whether the gateway is well, from what its probes come to. Pure: moments go in, a state comes out.
//!
//! - A good answer in time makes a probe content at once.
//! - A wrong one (none, not the right one, or one that is late) counts as one miss; one that took longer than the
//!   probe's interval counts once for each interval it took, so that a gateway that hangs is known within
//!   `every x misses + timeout`, whatever the three are.
//! - After `misses` in a row the probe is slow, or failing if none of them was a good answer.
//! - What was asked within the start period is not counted: a gateway that has answered once and then stalls for
//!   40 seconds, as OpenClaw does after its start, is not yet one to complain about.
//! - Draining is an answer, and at once believed.
//!
//! All probes together are as well as the worst of them.

use std::time::Duration;

use sexton::config::watch_settings::Probe;
use sexton::types::{HealthState, MonoTime};

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The right answer.
    Good,
    /// The answer that no new work is taken.
    Draining,
    /// No answer, or not the right one: why, in words.
    Bad(String),
}

/// One probe that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// When it was asked.
    pub asked: MonoTime,
    /// How long the answer took; the timeout's length if there was none.
    pub latency: Duration,
    /// What it was.
    pub outcome: Outcome,
}

/// Where the gateway stands, as PID 1 tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// It does not run.
    Absent,
    /// It runs since this moment.
    Runs(MonoTime),
    /// It is being stopped.
    Stops,
}

/// How one probe does.
#[derive(Debug, Clone)]
struct Course {
    name: String,
    every: Duration,
    latency: Duration,
    misses: u32,
    /// It has had a good answer since the gateway was started.
    answered: bool,
    /// Wrong answers in a row.
    wrong: u32,
    /// Answers in a row that were none, or not the right ones.
    bad: u32,
    draining: bool,
    /// Why the last answer was not a good one.
    why: String,
}

/// How all of them do.
#[derive(Debug, Clone)]
pub struct HealthFsm {
    courses: Vec<Course>,
    start_period: Duration,
    gateway: Gateway,
}

impl HealthFsm {
    /// Nobody has been asked yet.
    pub fn new(probes: &[Probe], start_period: Duration) -> HealthFsm {
        let course = |probe: &Probe| Course {
            name: probe.name.clone(),
            every: probe.interval,
            latency: probe.slow_after,
            misses: probe.failure_threshold.max(1),
            answered: false,
            wrong: 0,
            bad: 0,
            draining: false,
            why: String::new(),
        };
        HealthFsm { courses: probes.iter().map(course).collect(), start_period, gateway: Gateway::Absent }
    }

    /// The gateway was started, is being stopped, or is gone: what was known of it is void.
    pub fn gateway(&mut self, gateway: Gateway) {
        if self.gateway != gateway {
            self.gateway = gateway;
            for course in &mut self.courses {
                *course = Course { answered: false, draining: false, ..course.clone() };
                course.forget();
            }
        }
    }

    /// Probe number `index` has ended.
    pub fn answered(&mut self, index: usize, answer: &Answer) {
        let Gateway::Runs(since) = self.gateway else { return };
        // Before the start, or within the start period.
        let counts = answer.asked >= since.after(self.start_period);
        let Some(course) = self.courses.get_mut(index) else { return };
        course.draining = answer.outcome == Outcome::Draining;
        match &answer.outcome {
            Outcome::Good if answer.latency <= course.latency => {
                course.answered = true;
                course.forget();
            }
            Outcome::Draining => course.forget(),
            Outcome::Good => {
                course.answered = true;
                course.bad = 0;
                course.why =
                    format!("answered after {:.1?}, {:.1?} is the limit", answer.latency, course.latency);
                if counts {
                    course.wrong = course.wrong.saturating_add(course.weight(answer.latency));
                }
            }
            Outcome::Bad(why) => {
                course.why.clone_from(why);
                if counts {
                    let weight = course.weight(answer.latency);
                    course.wrong = course.wrong.saturating_add(weight);
                    course.bad = course.bad.saturating_add(weight);
                }
            }
        }
    }

    /// How the gateway is, and why, in words.
    pub fn state(&self) -> (HealthState, String) {
        match self.gateway {
            Gateway::Absent => return (HealthState::Unknown, "the gateway does not run".to_owned()),
            Gateway::Stops => return (HealthState::Draining, "it is being stopped".to_owned()),
            Gateway::Runs(_) => {}
        }
        let worst = self.courses.iter().max_by_key(|course| rank(course.state()));
        let Some(worst) = worst else {
            return (HealthState::Unknown, "there is no probe".to_owned());
        };
        let state = worst.state();
        let why = match state {
            HealthState::Healthy => "it answers in time".to_owned(),
            HealthState::Draining => format!("{}: it takes no new work", worst.name),
            HealthState::Starting if worst.why.is_empty() => format!("{}: no answer yet", worst.name),
            _ => format!("{}: {}", worst.name, worst.why),
        };
        (state, why)
    }
}

impl Course {
    fn forget(&mut self) {
        (self.wrong, self.bad) = (0, 0);
        self.why.clear();
    }

    /// How many misses one answer that took `latency` is.
    fn weight(&self, latency: Duration) -> u32 {
        let every = self.every.as_nanos().max(1);
        u32::try_from(latency.as_nanos().div_ceil(every)).unwrap_or(u32::MAX).max(1)
    }

    fn state(&self) -> HealthState {
        if self.bad >= self.misses {
            HealthState::Unhealthy
        } else if self.draining {
            HealthState::Draining
        } else if self.wrong >= self.misses {
            HealthState::Slow
        } else if self.answered {
            HealthState::Healthy
        } else {
            HealthState::Starting
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
