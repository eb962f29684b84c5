//! What is shipped, as a user gets it: the static programs, the .deb and the .rpm.
//!
//! They are made by `packaging/build-packages`, with `--fast` for these tests; what was not made is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a test may start programs")]

#[path = "../common/mod.rs"]
mod common;
mod deb;
mod rpm;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What both packages hold besides the documentation, without the slash before it.
const FILES: &[&str] = &[
    "usr/bin/sexton",
    "usr/bin/sexton-sh -> sexton",
    "usr/bin/sexton-watch",
    "usr/lib/systemd/system/sexton-gateway.service",
    "usr/lib/systemd/system/sexton@.service",
    "usr/lib/systemd/user/sexton-gateway.service",
    "usr/lib/sysusers.d/sexton.conf",
    "usr/lib/tmpfiles.d/sexton.conf",
    "usr/share/bash-completion/completions/sexton",
    "usr/share/doc/sexton/README.md",
    "usr/share/doc/sexton/changelog.gz",
    "usr/share/doc/sexton/docs/comparison.md",
    "usr/share/doc/sexton/docs/configuration.md",
    "usr/share/doc/sexton/docs/control.md",
    "usr/share/doc/sexton/docs/deploy.md",
    "usr/share/doc/sexton/docs/doctor.md",
    "usr/share/doc/sexton/docs/health.md",
    "usr/share/doc/sexton/docs/kernels.md",
    "usr/share/doc/sexton/docs/lock-kinds.md",
    "usr/share/doc/sexton/docs/locks.md",
    "usr/share/doc/sexton/docs/log-events.md",
    "usr/share/doc/sexton/docs/measure.md",
    "usr/share/doc/sexton/docs/migration.md",
    "usr/share/doc/sexton/docs/tools.md",
    "usr/share/doc/sexton/docs/troubleshooting.md",
    "usr/share/doc/sexton/examples/grafana/README.md",
    "usr/share/doc/sexton/examples/grafana/sexton-alerts.yml",
    "usr/share/doc/sexton/examples/grafana/sexton-dashboard.json",
    "usr/share/doc/sexton/examples/sexton.toml",
    "usr/share/fish/vendor_completions.d/sexton.fish",
    "usr/share/man/man1/sexton-sh.1.gz -> sexton.1.gz",
    "usr/share/man/man1/sexton.1.gz",
    "usr/share/man/man5/sexton.toml.5.gz",
    "usr/share/man/man8/sexton-watch.8.gz",
    "usr/share/sexton/sexton.schema.json",
];

/// What only the .deb holds.
const OF_DEBIAN: &[&str] = &[
    "usr/share/doc/sexton/THIRD-PARTY-LICENSES",
    "usr/share/doc/sexton/changelog.Debian.gz",
    "usr/share/doc/sexton/copyright",
    "usr/share/lintian/overrides/sexton",
    "usr/share/zsh/vendor-completions/_sexton",
];

/// What only the .rpm holds.
const OF_RPM: &[&str] = &[
    "usr/share/licenses/sexton/THIRD-PARTY-LICENSES",
    "usr/share/licenses/sexton/copyright",
    "usr/share/zsh/site-functions/_sexton",
];

/// The file of this ending in target/dist, of the version that these tests are of.
fn made(starts_with: &str, ending: &str) -> Option<PathBuf> {
    let dist = common::sexton().parent().unwrap().with_file_name("dist");
    let entries = std::fs::read_dir(&dist).into_iter().flatten().map(|entry| entry.unwrap().path());
    let found = entries.into_iter().find(|path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with(starts_with) && name.ends_with(ending)
    });
    if found.is_none() {
        common::skip(
            &format!("{}/{starts_with}...{ending}", dist.display()),
            "packaging/build-packages --fast",
        );
    }
    found
}

/// What it prints; it must end well.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}, {complaints}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Whether there is such a program.
fn there_is(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        common::skip(program, &format!("apt install {package}"));
    }
    there
}

/// Every file and link below `root`, as the lists above write them.
fn tree(root: &Path) -> BTreeSet<String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            if let Ok(target) = path.read_link() {
                found.insert(format!("{name} -> {}", target.display()));
            } else if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(name.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

/// The lists together.
fn listed(lists: &[&[&str]]) -> BTreeSet<String> {
    lists.concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn the_static_programs_run_where_there_is_nothing_else() {
    let Some(mut unshare) = common::unshare() else { return };
    let (Some(sexton), Some(watch)) = (made("sexton", "sexton"), made("sexton-watch", "sexton-watch")) else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(sexton, root.path().join("sexton")).unwrap();
    std::fs::copy(watch, root.path().join("sexton-watch")).unwrap();
    unshare.extend(["--pid", "--fork", "--kill-child", "--root"].map(str::to_owned));
    unshare.push(root.path().to_str().unwrap().to_owned());

    // As PID 1 with neither /proc nor /dev, and below itself.
    let version = concat!(env!("CARGO_PKG_VERSION"), "\n");
    for (words, code, printed) in [
        (&["/sexton", "--version"][..], 0, format!("sexton {version}")),
        (&["/sexton-watch", "--version"], 0, format!("sexton-watch {version}")),
        (&["/sexton", "--", "/sexton-watch", "--version"], 0, format!("sexton-watch {version}")),
        (&["/sexton", "--", "/sexton", "tool", "--", "/sexton", "--version"], 0, format!("sexton {version}")),
        (&["/sexton", "--", "/sexton", "--grace", "nonsense"], 125, String::new()),
        (&["/sexton", "--", "/missing"], 127, String::new()),
    ] {
        let output = Command::new(&unshare[0]).args(&unshare[1..]).args(words).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {complaints}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{words:?}: {complaints}");
    }
}

#[test]
fn the_checksums_are_those_of_the_files() {
    let Some(sums) = made("SHA256SUMS", "") else { return };
    let dist = sums.parent().unwrap();
    output(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&sums).current_dir(dist));
    let text = std::fs::read_to_string(&sums).unwrap();
    for name in ["sexton", "sexton-watch", "THIRD-PARTY-LICENSES"] {
        assert!(text.lines().any(|line| line.ends_with(&format!("  {name}"))), "{name} is not in {text}");
    }
}

#[test]
fn the_changelog_of_the_package_is_of_this_version() {
    let changelog = include_str!("../../packaging/deb/changelog");
    let first = concat!("sexton (", env!("CARGO_PKG_VERSION"), "-1) ");
    assert!(changelog.starts_with(first), "packaging/deb/changelog does not begin with {first}");
}
