//! sexton, the process above an AI-agent gateway.

pub mod ids;
pub mod locks;
#[allow(unsafe_code, reason = "the one room that talks to the kernel")]
pub mod os;
