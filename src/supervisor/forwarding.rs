//! What becomes of a signal on its way to the main process: passed on, rewritten, dropped, or held for a
//! while.
//!
//! It owns the rules and the signals that are held; it must never decide what a signal means.

use std::time::Duration;

use super::Received;
use crate::types::{MonoTime, Signal};

/// The operator's rules. The last one for a signal counts.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// What is sent in a signal's place; `None` drops it.
    pub rewrite: Vec<(Signal, Option<Signal>)>,
    /// How long a signal is held before it is passed on, so that a load balancer can take notice first.
    pub delay: Vec<(Signal, Duration)>,
}

impl Forwarding {
    /// What the main process gets for `signal`.
    #[must_use]
    pub fn rewritten(&self, signal: Signal) -> Option<Signal> {
        last(&self.rewrite, signal).unwrap_or(Some(signal))
    }

    /// How long `signal` is held.
    #[must_use]
    pub fn delay(&self, signal: Signal) -> Option<Duration> {
        last(&self.delay, signal)
    }
}

fn last<T: Copy>(rules: &[(Signal, T)], signal: Signal) -> Option<T> {
    rules.iter().rev().find(|(ruled, _)| *ruled == signal).map(|(_, rule)| *rule)
}

/// Signals that wait for their time, at most one of each.
#[derive(Debug, Clone, Default)]
pub(super) struct DelayedSignals(Vec<(MonoTime, Received)>);

impl DelayedSignals {
    pub(super) fn push(&mut self, until: MonoTime, received: Received) {
        self.0.push((until, received));
    }

    /// When the first of them is due.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.0.iter().map(|(until, _)| *until).min()
    }

    /// Takes out what waits of this signal.
    pub(super) fn take(&mut self, signal: Signal) -> Option<Received> {
        let place = self.0.iter().position(|(_, received)| received.signal == signal)?;
        Some(self.0.remove(place).1)
    }

    /// Takes out one whose time has come.
    pub(super) fn pop_due(&mut self, now: MonoTime) -> Option<Received> {
        let place = self.0.iter().position(|(until, _)| *until <= now)?;
        Some(self.0.remove(place).1)
    }
}
