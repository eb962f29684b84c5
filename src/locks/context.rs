//! The moment at which locks are looked at, as the supervisor knows it.
//!
//! Plain values, handed in; nothing here asks the system.

use std::time::SystemTime;

use crate::types::{Pid, StartTime};

/// What the sweeper knows of the world around it.
#[derive(Debug, Clone, Copy)]
pub struct SweepContext<'a> {
    /// Nothing that sexton watches over can take or give up a lock before the sweep is over: nothing was
    /// started yet, or everything is dead or stopped.
    pub quiet: bool,
    /// The gateway lives, whether it stands still or not.
    pub alive: bool,
    /// It is worth waiting some milliseconds for a process that may have a lock open just to read it. Not while the
    /// processes that are most likely to do so are frozen by us.
    pub patient: bool,
    /// The first sweep of this root: what is to be said of the root itself is said now, and not every time.
    pub first: bool,
    /// sexton itself.
    pub sexton: Pid,
    /// The process that sweeps.
    pub sweeper: Pid,
    /// Other processes that sexton runs for itself and that never take a lock of the gateway's.
    pub helpers: &'a [Pid],
    /// The dead whom sexton holds unreaped, with their start times.
    pub unreaped: &'a [(Pid, StartTime)],
    /// The wall clock, for the ages that are shown.
    pub now: SystemTime,
}

impl SweepContext<'static> {
    /// For `us`, who looks by hand, and takes it that what is not held now will not be held in a moment.
    #[must_use]
    pub fn by_hand(us: Pid, now: SystemTime) -> SweepContext<'static> {
        SweepContext {
            quiet: true,
            alive: false,
            patient: true,
            first: true,
            sexton: us,
            sweeper: us,
            helpers: &[],
            unreaped: &[],
            now,
        }
    }
}
