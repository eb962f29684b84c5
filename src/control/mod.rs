//! The control socket: what is said over it, the side that answers, and the side that asks.
//!
//! One JSON object a line, in both directions; [`protocol`] has every request and reply. It must never make
//! the supervisor wait: lines, clients and time are bounded.

pub mod protocol;
