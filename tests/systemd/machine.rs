//! A machine with a systemd of its own, for one story.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::{helper, sexton, skip};

const BED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbeds/systemd");

/// What every story can use.
const WORDS: &str = r#"#!/bin/bash
set -uo pipefail
note() { printf '%s=%s\n' "$1" "$2" >>/out/notes; }
# Two minutes are far longer than anything here takes.
wait_for() {
    for _ in {1..2400}; do
        "$@" && return 0
        sleep 0.05
    done
    note GAVE-UP "$*"
    exit 1
}
wait_for_not() { wait_for eval "! $*"; }
prop() { systemctl show -P "$1" gw; }
said() { journalctl -u "$1" -o cat | grep -q -- "$2"; }
text() { [[ $(systemctl show -P StatusText "$1") == "$2"* ]]; }
in_state() { [[ $(systemctl show -P ActiveState "$1") == "$2" ]]; }
trap 'journalctl --no-pager >/out/all' EXIT
"#;

const UNIT: &str = "[Unit]\nRequires=basic.target\nAfter=basic.target\nSuccessAction=poweroff-force\n\
    FailureAction=poweroff-force\n[Service]\nType=oneshot\nExecStart=/usr/bin/story\n\
    StandardOutput=file:/out/stdout\nStandardError=file:/out/stderr\n";

/// What it will have over this machine's own root.
pub struct Machine {
    extra: TempDir,
}

/// The start of every test: `None`, after a line that says so, where no systemd can be booted.
pub fn machine() -> Option<Machine> {
    let check = Command::new(BED).arg("--check").output().unwrap();
    if !check.status.success() {
        skip("a systemd that can be booted", String::from_utf8_lossy(&check.stderr).trim());
        return None;
    }
    let machine = Machine { extra: tempfile::tempdir().unwrap() };
    let watch = sexton().with_file_name("sexton-watch");
    let machine = machine.program("sexton", &sexton()).program("sexton-sh", &sexton());
    Some(machine.program("sexton-watch", &watch))
}

impl Machine {
    /// With this file.
    pub fn file(self, path: &str, content: &str) -> Machine {
        let path = self.extra.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// With this helper program in /usr/bin.
    pub fn helper(self, name: &str) -> Machine {
        let path = helper(name);
        self.program(name, Path::new(&path))
    }

    fn program(self, name: &str, from: &Path) -> Machine {
        self.copy(&format!("/usr/bin/{name}"), from)
    }

    /// With a copy of this file of ours.
    pub fn copy(self, path: &str, from: &Path) -> Machine {
        let machine = self.file(path, "");
        fs::copy(from, machine.extra.path().join(path.trim_start_matches('/'))).unwrap();
        machine
    }

    /// Boots it, lets the script run, and tells what it noted.
    #[track_caller]
    pub fn story(self, script: &str) -> Told {
        let machine = self
            .file("/etc/systemd/system/story.service", UNIT)
            .file("/usr/bin/story", &format!("{WORDS}{script}"));
        let story = machine.extra.path().join("usr/bin/story");
        fs::set_permissions(story, fs::Permissions::from_mode(0o755)).unwrap();
        let out = tempfile::tempdir().unwrap();
        let boot = Command::new("timeout")
            .args(["--kill-after=5", "150", BED])
            .args([machine.extra.path(), out.path()])
            .arg("story.service")
            .output()
            .unwrap();
        let notes = fs::read_to_string(out.path().join("notes")).unwrap_or_default();
        let notes = notes.lines().filter_map(|line| line.split_once('='));
        let notes = notes.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let console = String::from_utf8_lossy(&[boot.stdout, boot.stderr].concat()).into_owned();
        let told = Told { notes, out, console };
        assert!(!told.notes.contains_key("GAVE-UP"), "{told}");
        told
    }
}

/// What is known when it has been switched off.
pub struct Told {
    notes: BTreeMap<String, String>,
    out: TempDir,
    console: String,
}

impl Told {
    /// What the story noted under this name.
    #[track_caller]
    pub fn note(&self, name: &str) -> String {
        self.notes.get(name).unwrap_or_else(|| panic!("no {name} was noted: {self}")).clone()
    }

    /// The same, if it did.
    pub fn noted(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// The priorities of what sexton said in a journal that the story left in /out as JSON, each of which must be
    /// that of the line's level.
    #[track_caller]
    pub fn priorities(&self, name: &str) -> BTreeSet<u8> {
        let mut seen = BTreeSet::new();
        for line in self.read(name).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let message = line["MESSAGE"].as_str().unwrap_or_default();
            let level = match message.strip_prefix("sexton[") {
                Some(rest) => rest.split(' ').nth(1).unwrap(),
                // What there was no log for.
                None if message.starts_with("sexton: ") => "ERROR",
                None => continue,
            };
            let expected = match level {
                "ERROR" => 3,
                "WARN" => 4,
                "INFO" => 6,
                _ => 7,
            };
            assert_eq!(line["PRIORITY"], expected.to_string(), "{message}");
            seen.insert(expected);
        }
        seen
    }

    /// A file that the story left in /out.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join(name)).unwrap_or_default()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "notes: {:#?}\nconsole:\n{}", self.notes, self.console)?;
        ["stdout", "stderr", "all"].iter().try_for_each(|name| writeln!(f, "{name}:\n{}", self.read(name)))
    }
}
