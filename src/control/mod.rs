//! The control socket: what is said over it, the side that answers, and the side that asks.
//!
//! One JSON object a line, in both directions; [`protocol`] has every request and reply. It must never make
//! the supervisor wait: lines, clients, time and the work of one turn are bounded.
//!
//! | file | what it owns |
//! |---|---|
//! | [`protocol`] | the words |
//! | [`socket_path`] | where the socket is, and whose it is |
//! | [`lines`], [`registry`], [`incidents`], [`rate_limit`] | the pure half of the side that answers |
//! | [`server`], `connection` | its connections |
//! | [`client`] | the side that asks, for tools as well |
//! | [`kinship`] | whose a process is that came to sexton: what is ended with a lost tool (pure) |
//! | [`processes`], [`attribution`] | the processes, which whoever asks looks up, and whose they are |
//! | [`client_command`], [`render`] | `sexton status` and its neighbours, from the request to the exit code |

pub mod attribution;
pub mod client;
pub mod client_command;
mod connection;
pub mod health;
pub mod incidents;
pub mod kinship;
pub mod lines;
pub mod processes;
pub mod protocol;
pub mod rate_limit;
pub mod registry;
pub mod render;
pub mod server;
pub mod socket_path;
