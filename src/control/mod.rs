//! The control socket: its protocol, the server and the clients.
//!
//! Each message is one line with one JSON object, in both directions. [`protocol`] has every request and reply. The
//! server must never make the supervisor wait: lines, clients, time and the work of one turn are bounded.
//!
//! | file | what it owns |
//! |---|---|
//! | [`protocol`] | the messages |
//! | [`socket_path`] | where the socket is, and whose it is |
//! | [`lines`], [`registry`], [`incidents`], [`rate_limit`] | the pure half of the server |
//! | [`server`], `connection` | the server's connections |
//! | [`client`] | the client's side, for tools as well |
//! | [`kinship`] | which run or unit an adopted process belongs to, to end a lost tool's processes (pure) |
//! | [`processes`], [`attribution`] | the processes, which the client looks up, and their owners |
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
