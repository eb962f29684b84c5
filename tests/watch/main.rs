//! `sexton-watch` from outside: a fake PID 1 tells it what to watch and hears what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test says what is wrong by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod alerts;
#[path = "../common/mod.rs"]
mod common;
mod faces;
mod fake;
mod health;
mod link;
mod packaging;
mod prometheus;
mod stand_in;
mod tree;
