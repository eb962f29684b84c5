//! `sexton doctor` through the whole binary: each test breaks one thing, and the doctor has to find that thing, nothing
//! else, and its own way out in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod alone;
mod beside;
#[path = "../common/mod.rs"]
mod common;
mod report;
