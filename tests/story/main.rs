//! sexton and sexton-watch together, above a gateway's stand-in: what goes wrong is seen, said and mended.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure must be loud")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod blocked;
#[path = "../common/mod.rs"]
mod common;
mod house;
mod memory;
mod reports;
mod seed;
mod without;
