//! sexton, the process above an AI-agent gateway: it starts the gateway, passes signals on, reaps zombies, stops the
//! whole process tree within a bounded time, and removes the locks of processes that have ended.
//!
//! # The modules
//!
//! | module | what it owns |
//! |---|---|
//! | [`cli`] | what the user typed; its `compat` has tini's, dumb-init's and catatonit's command lines |
//! | [`config`] | one validated, fully resolved plan |
//! | [`control`] | the control socket: its language, the side that answers and the side that asks |
//! | [`supervisor`] | the decisions, pure: events and the time go in, actions come out |
//! | [`locks`] | who owns a lock, and its removal |
//! | [`os`] | the only place with system calls and `unsafe` |
//! | [`runtime`] | the only loop: wait, tell the supervisor, carry out |
//! | [`report`] | log lines and error texts |
//! | [`types`] | the small values that all of them speak in |
//!
//! `src/bin/sexton-watch` is a program of its own, with network and an async runtime, that looks and tells; it uses
//! this library, and nothing here knows it but by the language of [`control::protocol`]. `sexton doctor` and its
//! neighbour become it with the words that were typed.
//!
//! Imports run one way, and `tests/layering.rs` fails on any other:
//!
//! ```text
//! main -> cli -> config -> { supervisor, locks, control, report, os } -> types
//! main -> runtime -> { config, supervisor, locks, control, report, os } -> types
//! ```
//!
//! `supervisor` and the pure half of `locks` import `types` alone, `os` imports `types` alone, and only
//! the two programs import `runtime`.
//!
//! # One turn
//!
//! [`runtime`] waits until a signal comes or the supervisor's next deadline; drains the signals; looks at
//! each zombie, lets the supervisor decide, and reaps it; tells the supervisor when a deadline has passed; and
//! carries out what the supervisor asks for. Before the first process is started, an error ends the program with a
//! message. After it only an action does: if PID 1 dies, the container is killed.

pub mod cli;
pub mod config;
pub mod control;
pub mod locks;
#[allow(unsafe_code, reason = "the one module that talks to the kernel")]
pub mod os;
pub mod report;
pub mod runtime;
pub mod supervisor;
pub mod types;
