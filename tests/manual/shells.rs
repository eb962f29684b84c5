//! The completions for shells.

use clap_complete::{Shell, generate};

/// What a shell is to read.
pub fn completions(shell: Shell) -> String {
    let mut written = Vec::new();
    generate(shell, &mut sexton::cli::command(), "sexton", &mut written);
    String::from_utf8(written).unwrap()
}
