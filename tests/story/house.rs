//! One sexton with its sexton-watch above a stand-in of a gateway.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::process::{Process, all, look};
use crate::common::victim::{Mode, Plan, Victim, plan};
use crate::common::{PATIENCE, helper, sexton, wait_until};

/// A running house.
pub struct House {
    /// sexton and everything below it.
    pub victim: Victim,
    port: u16,
    socket: String,
}

/// What a house is built from: a plan, and the port of its gateway.
pub struct Site {
    plan: Plan,
    port: u16,
}

/// A place for a house; `None`, after a line that says so, if the machine cannot do it.
pub fn site(mode: Mode) -> Option<Site> {
    // No other process gets this port soon: the kernel hands them out at random.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Some(Site { plan: plan(mode)?, port })
}

/// Probes of the gateway that are known to have gone wrong after `3 x 200 ms + 500 ms`.
pub const HEALTH: &str = "[health]
url = \"http://127.0.0.1:PORT/readyz\"
interval = \"200ms\"
timeout = \"500ms\"
slow_after = \"400ms\"
failure_threshold = 3
start_period = \"0s\"
";

impl Site {
    /// The plan, changed.
    pub fn with(self, change: impl FnOnce(Plan) -> Plan) -> Site {
        Site { plan: change(self.plan), ..self }
    }

    /// A path in the house's own directory.
    pub fn path(&self, name: &str) -> String {
        self.plan.path(name)
    }

    /// Starts the gateway's stand-in with these settings; `PORT`, `STATE` and `DIR` stand for what they say.
    pub fn start(self, settings: &str) -> House {
        let socket = self.plan.path("control.sock");
        let (state, log) = (self.plan.path("state"), self.plan.path("gateway.log"));
        let port = self.port.to_string();
        let text = settings
            .replace("PORT", &port)
            .replace("STATE", &state)
            .replace("DIR", self.plan.path("").trim_end_matches('/'));
        let file = self.plan.path("sexton.toml");
        fs::write(&file, text).unwrap();
        fs::create_dir_all(&state).unwrap();
        let plan =
            self.plan.options(["--log", "info", "--config", &file]).variable("SEXTON_CONTROL", &socket);
        let victim = plan.run([helper("gateway"), port, state, log]);
        let mut house = House { victim, port: self.port, socket };
        house.victim.says("up");
        house
    }
}

impl House {
    /// GETs a path of the gateway: the status and the body, or what went wrong.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        get(self.port, path, PATIENCE)
    }

    /// The same, of a gateway that answers.
    #[track_caller]
    pub fn got(&self, path: &str) -> (u16, String) {
        self.get(path).unwrap_or_else(|error| panic!("{path}: {error}; {}", self.victim.stderr()))
    }

    /// The gateway's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a subcommand of sexton's from outside.
    pub fn ask<const N: usize>(&self, words: [&str; N]) -> Output {
        let mut command = Command::new(sexton());
        command.args(words).env_clear().env("SEXTON_CONTROL", &self.socket).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// `sexton status --json`; null if it does not answer.
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.ask(["status", "--json"]).stdout).unwrap_or_default()
    }

    /// Waits until the status shows what is wanted, and gives it.
    #[track_caller]
    pub fn shows<T>(&self, what: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if let Some(found) = wanted(&status) {
                return found;
            }
            let over = std::time::Instant::now() > end;
            assert!(!over, "waited in vain for {what}: {status:#}\n{}", self.victim.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the gateway is healthy.
    #[track_caller]
    pub fn is_well(&self) {
        self.shows("health", |status| (status["health"]["state"] == "healthy").then_some(()));
    }

    /// Waits for an incident of this kind that lasts, and gives it.
    #[track_caller]
    pub fn incident(&self, kind: &str) -> Value {
        self.shows(kind, |status| lasting(status, kind).into_iter().next())
    }

    /// The sexton-watch of this house, if it runs: the process, and not its supervisor.
    pub fn watch(&self) -> Option<Process> {
        let sexton = self.victim.pid();
        let ours =
            |pid: i32| std::iter::successors(look(pid), |one| look(one.parent)).any(|one| one.pid == sexton);
        let named = all().into_iter().filter(|one| one.name == "sexton-watch" && !one.dead());
        named.filter(|one| runs_watch(one.pid)).find(|one| ours(one.pid))
    }

    /// Waits until sexton-watch looks.
    #[track_caller]
    pub fn watched(&self) -> Process {
        wait_until("sexton-watch runs", || self.watch().is_some());
        self.watch().unwrap()
    }

    /// Ends it with TERM.
    #[track_caller]
    pub fn stop(&mut self, code: i32) {
        self.victim.signal(15);
        self.victim.ends_with(code);
    }

    /// How many log lines of sexton's hold this.
    pub fn said(&self, words: &str) -> usize {
        self.victim.stderr().lines().filter(|line| line.contains(words)).count()
    }
}

fn runs_watch(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.file_name() == Some("sexton-watch".as_ref()))
        && !fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.windows(7).any(|part| part == b"--guard"))
}

/// The incidents of a kind that last.
pub fn lasting(status: &Value, kind: &str) -> Vec<Value> {
    of_kind(status, kind).into_iter().filter(|one| one["ended"].is_null()).collect()
}

/// All incidents of a kind.
pub fn of_kind(status: &Value, kind: &str) -> Vec<Value> {
    let all = status["incidents"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["kind"] == kind).collect()
}

/// GETs a path of a server on this machine.
pub fn get(port: u16, path: &str, patience: Duration) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// Whether a lock file of the gateway is there.
pub fn has_lock(state: &Path) -> bool {
    fs::read_dir(state.join("agents/main/sessions")).is_ok_and(|mut locks| locks.next().is_some())
}
