//! On a real Docker engine, which each test starts for itself with `tests/testbeds/docker`: terminals, and the other
//! inits' names in images that used them.
//!
//! It takes root and Debian's docker.io; without them it skips itself and says so. Set `SEXTON_TEST_INIT` to a static
//! build to see what is shipped instead of what was just compiled.
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

#[path = "../common/mod.rs"]
mod common;
mod engine;
mod health;
mod image;
mod life;
mod names;
mod packaged;
mod pod;
mod readme;
mod restarts;
mod shipped;
mod terminal;
