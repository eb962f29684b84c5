//! What comes of asking the gateway.

use std::time::Duration;

use sexton::types::MonoTime;

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The right answer.
    Good,
    /// The answer that no new work is taken.
    Draining,
    /// The answer that the gateway is being started.
    Starting,
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
