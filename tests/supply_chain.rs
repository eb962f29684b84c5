//! What becomes part of sexton has a licence that allows it, comes from crates.io, and builds with the compiler
//! that Cargo.toml promises.
//!
//! cargo-deny judges the first two better, by the same deny.toml; it takes minutes to build and so is not
//! everywhere.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test may start cargo")]

use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every package of the tree, ours included, as `cargo metadata` describes it.
fn packages() -> Vec<Value> {
    // With no platform given, cargo wants the packages of all of them, and those were never downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> String {
    format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap())
}

/// The list `allow` of deny.toml.
fn allowed_licenses() -> Vec<&'static str> {
    let text = include_str!("../deny.toml");
    let (_, rest) = text.split_once("\nallow = [").unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether a licence expression can be met with `allowed` alone. An exception only widens a licence, so that the
/// licence before `WITH` has to be allowed.
fn can_be_met(expression: &str, allowed: &[&str]) -> bool {
    // The slash is an old form of OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = either(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression} goes on where it should end");
    met
}

fn either(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = both(rest, allowed);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        met |= both(rest, allowed);
    }
    met
}

fn both(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = one(rest, allowed);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let (word, after) = rest.split_first().unwrap();
    *rest = after;
    if *word == "(" {
        let met = either(rest, allowed);
        let (close, after) = rest.split_first().unwrap();
        assert_eq!(*close, ")");
        *rest = after;
        return met;
    }
    if let ["WITH", _, after @ ..] = *rest {
        *rest = after;
    }
    allowed.contains(word)
}

#[test]
fn every_licence_is_on_the_list() {
    let allowed = allowed_licenses();
    for package in packages() {
        let expression = package["license"].as_str().unwrap_or_default();
        assert!(
            !expression.is_empty() && can_be_met(expression, &allowed),
            "{}: '{expression}'",
            name(&package)
        );
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed = ["MIT", "Apache-2.0"];
    for met in
        ["MIT", "MIT/GPL-2.0", "GPL-2.0 OR MIT", "(GPL-2.0 OR MIT) AND Apache-2.0", "Apache-2.0 WITH x"]
    {
        assert!(can_be_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND Zlib", "GPL-2.0 WITH x"] {
        assert!(!can_be_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn everything_comes_from_crates_io() {
    for package in packages() {
        let source = package["source"].as_str();
        assert!(source == Some(CRATES_IO) || package["name"] == "sexton", "{}: {source:?}", name(&package));
    }
}

#[test]
fn nothing_needs_a_newer_compiler_than_we_promise() {
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        let theirs = package["rust_version"].as_str().unwrap_or("1.0");
        assert!(version(theirs) <= ours, "{} needs Rust {theirs}", name(&package));
    }
}
