//! The control socket: what is said over it, the side that answers, and the side that asks.
//!
//! One JSON object a line, in both directions; [`protocol`] has every request and reply. It must never make
//! the supervisor wait: lines, clients, time and the work of one turn are bounded.
//!
//! | file | what it owns |
//! |---|---|
//! | [`protocol`] | the words |
//! | [`place`] | where the socket is, and whose it is |
//! | [`lines`], [`desk`], [`incidents`], [`pace`] | the pure half of the side that answers |
//! | [`server`], `connection` | its connections |
//! | [`client`] | the side that asks, for tools as well |
//! | [`processes`], [`attribution`] | the processes, which whoever asks looks up, and whose they are |
//! | [`errand`], [`shown`] | `sexton status` and its neighbours, from the request to the exit code |

pub mod attribution;
pub mod client;
mod connection;
pub mod desk;
pub mod errand;
pub mod health;
pub mod incidents;
pub mod lines;
pub mod pace;
pub mod place;
pub mod processes;
pub mod protocol;
pub mod server;
pub mod shown;
