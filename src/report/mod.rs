//! What sexton says: log lines and the texts of its errors.
//!
//! It must never wait for a reader: a line that standard error does not take is dropped and counted.

pub mod fold;
pub mod line_limit;
pub mod log;
pub mod messages;
pub mod output;
pub mod record;
pub mod render;
pub mod table;
