//! The manual pages and the completions are made of the code: the command line as clap has it, and the schema of the
//! configuration file. What is shipped is compared with what the code gives now.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a test may start programs")]

#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod page;
mod pages;
mod shells;
mod usable;

use std::path::Path;

use clap_complete::Shell;

/// What makes a file.
type Maker = fn() -> String;

/// What is shipped, by its place below packaging/.
const SHIPPED: &[(&str, Maker)] = &[
    ("man/sexton.1", pages::sexton),
    ("man/sexton.toml.5", configuration::page),
    ("man/sexton-watch.8", pages::sexton_watch),
    ("completions/sexton.bash", || shells::completions(Shell::Bash)),
    ("completions/_sexton", || shells::completions(Shell::Zsh)),
    ("completions/sexton.fish", || shells::completions(Shell::Fish)),
];

/// Where it lies.
fn shipped(place: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(place)
}

#[test]
fn what_is_shipped_is_what_the_code_gives() {
    for (place, make) in SHIPPED {
        let (path, fresh) = (shipped(place), make());
        if std::env::var_os("SEXTON_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &fresh).unwrap();
        }
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(old == fresh, "packaging/{place} is stale; run SEXTON_BLESS=1 cargo test --test manual");
    }
}
