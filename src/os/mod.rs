//! The only room that talks to the kernel: about one system call a function, and no policy.
//!
//! All `unsafe` of the project lives here, one operation a block, each with the reason why it is sound.
//! Nothing here decides; what a call returned goes back as a value.

pub mod files;
pub mod lease;
pub mod presence;
pub mod privileges;
pub mod procfs;
