//! The only room that talks to the kernel: about one system call a function, and no policy.
//!
//! All `unsafe` of the project lives here, one operation a block, each with the reason why it is sound.
//! Nothing here decides; what a call returned goes back as a value.

pub mod board;
pub mod cgroup;
pub mod children;
pub mod clock;
pub mod descriptors;
pub mod directory;
pub mod early;
pub mod files;
pub mod halt;
pub mod host;
pub mod lease;
pub mod let_go;
pub mod memory;
pub mod messages;
pub mod notify;
pub mod pipe;
pub mod poll;
pub mod presence;
pub mod privileges;
pub mod process;
pub mod procfs;
pub mod session;
pub mod signals;
pub mod spawn;
pub mod stderr;
pub mod terminal;
pub mod tree;
pub mod unix_socket;

/// An error number of the nix crate as the value that the other rooms carry.
fn errno(error: nix::Error) -> crate::ids::Errno {
    crate::ids::Errno(error as i32)
}
