//! The only room that talks to the kernel: about one system call a function, and no policy.
//!
//! All `unsafe` of the project lives here, one operation a block, each with the reason why it is sound.
//! Nothing here decides; what a call returned goes back as a value.

pub mod boot;
pub mod cgroup;
pub mod children;
pub mod clock;
pub mod death_guard;
pub mod descriptors;
pub mod directory;
pub mod exec;
pub mod files;
pub mod freeze;
pub mod host;
pub mod isolated;
pub mod lease;
pub mod let_go;
pub mod memory;
pub mod mounts;
pub mod notify;
pub mod path_owner;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod presence;
pub mod privileges;
pub mod process;
pub mod procfs;
pub mod safe_path;
pub mod seqpacket;
pub mod session;
pub mod shared_page;
pub mod signals;
pub mod spawn;
pub mod start_heap;
pub mod startup;
pub mod stderr;
pub mod terminal;
pub mod tree;
pub mod unix_socket;

/// An error number of the nix crate as the value that the other modules carry.
fn errno(error: nix::Error) -> crate::types::Errno {
    crate::types::Errno(error as i32)
}
