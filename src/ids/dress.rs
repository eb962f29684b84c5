//! The name that sexton was called by, which decides whose manners it has.

/// Whose command line, exit codes and texts are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dress {
    /// sexton's own.
    #[default]
    Own,
    /// Those of `tini`, which container engines also call `docker-init`.
    Tini,
    /// Those of `dumb-init`.
    DumbInit,
    /// Those of `catatonit`.
    Catatonit,
}

impl Dress {
    /// Every dress but sexton's own.
    pub const FACES: [Dress; 3] = [Dress::Tini, Dress::DumbInit, Dress::Catatonit];

    /// The dress that belongs to the file name of `argv[0]`.
    #[must_use]
    pub fn of(file_name: &str) -> Dress {
        match file_name {
            "tini" | "tini-static" | "docker-init" => Dress::Tini,
            "dumb-init" => Dress::DumbInit,
            "catatonit" => Dress::Catatonit,
            _ => Dress::Own,
        }
    }

    /// The exit code after a failure of our own: a command line that is not understood, or no process to be
    /// had.
    #[must_use]
    pub fn failed(self) -> u8 {
        if self == Dress::Own { super::exit_code::SEXTON_FAILED } else { 1 }
    }
}
