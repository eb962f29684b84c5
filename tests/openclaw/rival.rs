//! A live second process in another PID namespace, on the same state directory: the owner whose locks
//! nobody may remove, whatever pid they name.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use crate::cage::{Cage, command_in_cage};
use crate::locks::{self, Owner};
use crate::wait::{SHORT_TIMEOUT, wait_for};
use crate::world::World;

/// A pid that no process has: the largest that Linux can give, which a test machine never reaches.
const NOBODY: i32 = 4_194_303;

pub struct Rival {
    cage: Cage,
    stdin: ChildStdin,
    output: PathBuf,
    pid: i32,
    starttime: u64,
    held: Vec<Held>,
}

struct Held {
    path: PathBuf,
    text: String,
    inode: u64,
}

impl Rival {
    pub fn start(world: &World) -> Self {
        let output = world.path("rival.log");
        let mut command = command_in_cage();
        command.arg(world.node()).arg(World::script("rival.mjs"));
        command
            .stdin(Stdio::piped())
            .stdout(world.create_file("rival.log"))
            .stderr(world.create_file("rival.err"));
        let mut cage = Cage::spawn(&mut command);
        let stdin = cage.stdin().expect("stdin is a pipe");
        let (pid, starttime) = wait_for("the rival to be up", SHORT_TIMEOUT, || {
            let text = fs::read_to_string(&output).ok()?;
            let (pid, starttime) = text.strip_prefix("up ")?.strip_suffix('\n')?.split_once(' ')?;
            Some((pid.parse().ok()?, starttime.parse().ok()?))
        });
        Self { cage, stdin, output, pid, starttime, held: Vec::new() }
    }

    /// Takes a session lock and a sidecar lock under each of three names: the rival's own pid as it knows
    /// it, a pid that exists nowhere, and the one that the gateway has in its own namespace.
    pub fn hold_under_every_pid(&mut self, world: &World, gateway: i32) {
        for (name, pid) in [("own", self.pid), ("nobody", NOBODY), ("gateway", gateway)] {
            let owner = Owner { pid, starttime: self.starttime };
            let session = world.state().join(format!("agents/rival/sessions/held-{name}.jsonl.lock"));
            self.hold(session, locks::session_text(&owner));
            let sidecar = world.state().join(format!("locks/oauth-refresh/sha256-held-{name}.lock"));
            self.hold(sidecar, locks::sidecar_text(&owner, 0));
        }
    }

    fn hold(&mut self, path: PathBuf, text: String) {
        let request = serde_json::json!({ "path": path, "text": text });
        writeln!(self.stdin, "{request}").expect("the rival reads its stdin");
        let answer = format!("held {}\n", path.display());
        wait_for("the rival to hold its lock", SHORT_TIMEOUT, || {
            fs::read_to_string(&self.output).ok()?.contains(&answer).then_some(())
        });
        let inode = fs::metadata(&path).expect("the rival has created its lock").ino();
        self.held.push(Held { path, text, inode });
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.held.iter().map(|held| held.path.clone()).collect()
    }

    /// Fails unless every lock is there still: the same file, with the same bytes.
    pub fn assert_untouched(&mut self, when: &str) {
        assert!(self.cage.exit_status().is_none(), "the rival must be alive {when}");
        for held in &self.held {
            let path = held.path.display();
            let text = fs::read_to_string(&held.path)
                .unwrap_or_else(|error| panic!("{when}, a live owner's lock {path} is lost: {error}"));
            assert_eq!(text, held.text, "{when}, a live owner's lock {path} has other bytes");
            let inode = fs::metadata(&held.path).expect("it was just read").ino();
            assert_eq!(inode, held.inode, "{when}, a live owner's lock {path} is another file");
        }
    }

    /// Gives up watching the locks whose path has this in it, for the reason that the caller gives.
    pub fn forget(&mut self, part: &str) {
        self.held.retain(|held| !names(&held.path, part));
    }

    /// Kills the rival. Its locks stay behind, and are stale from now on.
    pub fn kill(mut self) {
        self.cage.destroy();
    }
}

fn names(path: &Path, part: &str) -> bool {
    path.to_string_lossy().contains(part)
}
