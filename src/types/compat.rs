//! The name that sexton was called by, which decides whose command line, exit codes and texts it has.

/// Whose command line, exit codes and texts are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CompatMode {
    /// sexton's own.
    #[default]
    Native,
    /// Those of `tini`, which container engines also call `docker-init`.
    Tini,
    /// Those of `dumb-init`.
    DumbInit,
    /// Those of `catatonit`.
    Catatonit,
}

impl CompatMode {
    /// Every compatibility mode but sexton's own.
    pub const IMITATED: [CompatMode; 3] = [CompatMode::Tini, CompatMode::DumbInit, CompatMode::Catatonit];

    /// The mode that belongs to the file name of `argv[0]`.
    #[must_use]
    pub fn of(file_name: &str) -> CompatMode {
        match file_name {
            "tini" | "tini-static" | "docker-init" => CompatMode::Tini,
            "dumb-init" => CompatMode::DumbInit,
            // podman mounts the init that it was told of under the second name.
            "catatonit" | "podman-init" => CompatMode::Catatonit,
            _ => CompatMode::Native,
        }
    }

    /// The exit code after a failure of our own: a command line that is not understood, or no process to be
    /// had.
    #[must_use]
    pub fn failed(self) -> u8 {
        if self == CompatMode::Native { super::exit_code::SEXTON_FAILED } else { 1 }
    }
}
