//! Where the gateway lives: its directories, its configuration, its environment, its model.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::wait::{SHORT_TIMEOUT, START, wait_for};

/// What the client shows to the gateway. It guards nothing.
pub const TOKEN: &str = "sexton-test";

/// One temporary directory with everything in it, removed at the end.
pub struct World {
    directory: TempDir,
    /// The installed `openclaw` and `node`.
    bin: PathBuf,
    pub port: u16,
    model: Child,
}

impl World {
    pub fn set_up(bin: &Path) -> Self {
        Self::set_up_at(bin, free_port())
    }

    /// The same for a gateway whose port is given.
    pub fn set_up_at(bin: &Path, port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("sexton-openclaw-").tempdir();
        let directory = directory.expect("the temporary directory is writable");
        for name in ["state/workspace", "home", "tmp", "bin"] {
            fs::create_dir_all(directory.path().join(name)).expect("the directory is ours");
        }
        let model = spawn_model(bin, directory.path());
        let world = Self { directory, bin: bin.to_owned(), port, model };
        world.write_configuration(world.model_port());
        world.write_gate();
        world
    }

    /// A path in the world's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new file in it, for a process's output.
    pub fn create_file(&self, name: &str) -> File {
        create(&self.path(name))
    }

    /// A script that lies beside this source.
    pub fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openclaw").join(name)
    }

    pub fn node(&self) -> PathBuf {
        self.bin.join("node")
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Where OpenClaw's locks are: the state directory, and the gateway lock's own place.
    pub fn lock_roots(&self) -> [PathBuf; 2] {
        [self.state(), self.path(&format!("tmp/openclaw-{}", geteuid()))]
    }

    /// The models that the gateway has asked our server for, in order.
    pub fn asked_models(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("model.log")).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix("asked ")).map(str::to_owned).collect()
    }

    /// Asks the gateway for a turn on this model. It gives the turn up when the connection is closed.
    ///
    /// `openclaw agent` would ask for the same turn, but when it loses the gateway it takes the session lock
    /// itself and goes on alone. A connection can't.
    pub fn begin_turn(&self, session: &str, model: &str) -> TcpStream {
        let (bearer, model) = (format!("Bearer {TOKEN}"), format!("test/{model}"));
        let headers =
            [("Authorization", &*bearer), ("X-OpenClaw-Session-Key", session), ("X-OpenClaw-Model", &model)];
        let body = r#"{ "model": "openclaw", "messages": [{ "role": "user", "content": "ping" }] }"#;
        http::post(self.port, "/v1/chat/completions", &headers, body, START)
            .unwrap_or_else(|error| panic!("failed to ask the gateway for a turn: {error}"))
    }

    /// Has the gateway give up a turn that takes longer, from its next start on.
    pub fn limit_turns_to(&self, limit: Duration) {
        let path = self.path("state/openclaw.json");
        let text = fs::read_to_string(&path).expect("the configuration was written");
        let mut configuration: Value = serde_json::from_str(&text).expect("it is JSON");
        configuration["agents"]["defaults"]["timeoutSeconds"] = limit.as_secs().into();
        // Otherwise a command that takes longer than 10 s goes on beside its turn, which then ends by itself.
        configuration["tools"]["exec"]["backgroundMs"] = 120_000.into();
        fs::write(path, configuration.to_string()).expect("the directory is ours");
    }

    /// Gives a command the gateway's environment and nothing else: what a developer or a service manager
    /// has set (`INVOCATION_ID`, a state directory of one's own) changes what OpenClaw does.
    pub fn compat(&self, command: &mut Command) {
        let path =
            format!("{}:{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display(), self.bin.display());
        command.env_clear().env("PATH", path);
        command.env("HOME", self.path("home"));
        command.env("TMPDIR", self.path("tmp"));
        command.env("OPENCLAW_STATE_DIR", self.state());
        // Restarts stay in the process, and nothing reaches for the network or for other ports.
        command.env("OPENCLAW_NO_RESPAWN", "1");
        for what in ["SKIP_CHANNELS", "SKIP_BROWSER_CONTROL_SERVER", "DISABLE_BONJOUR", "NO_AUTO_UPDATE"] {
            command.env(format!("OPENCLAW_{what}"), "1");
        }
    }

    fn model_port(&self) -> u16 {
        wait_for("the model server's port", SHORT_TIMEOUT, || {
            let log = fs::read_to_string(self.path("model.log")).ok()?;
            log.strip_prefix("port ")?.split_once('\n')?.0.parse().ok()
        })
    }

    fn write_configuration(&self, model_port: u16) {
        let model = |name: &str| {
            let cost = serde_json::json!({ "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 });
            serde_json::json!({ "id": name, "name": name, "reasoning": false, "input": ["text"], "cost": cost,
                "contextWindow": 128_000, "maxTokens": 4096 })
        };
        let configuration = serde_json::json!({
            "gateway": {
                "mode": "local",
                "bind": "loopback",
                "port": self.port,
                "auth": { "mode": "token", "token": TOKEN },
                "http": { "endpoints": { "chatCompletions": { "enabled": true } } },
            },
            "agents": { "defaults": {
                "workspace": self.path("state/workspace"),
                "skipBootstrap": true,
                "timeoutSeconds": 600,
                "model": { "primary": "test/text" },
                // A heartbeat is a turn without a request, with a session lock of its own.
                "heartbeat": { "every": "0m" },
            } },
            "models": { "mode": "replace", "providers": { "test": {
                "baseUrl": format!("http://127.0.0.1:{model_port}/v1"),
                "apiKey": "none",
                "api": "openai-completions",
                "timeoutSeconds": 3600,
                "models": [model("hang"), model("text"), model("exec")],
            } } },
            // The exec tool asks for no approval.
            "tools": { "exec": { "security": "full", "ask": "off", "host": "gateway" } },
            "discovery": { "mdns": { "mode": "off" } },
            "update": { "checkOnStart": false },
            // Otherwise the log goes to /tmp/openclaw, whatever TMPDIR says.
            "logging": { "file": self.path("openclaw.log") },
        });
        fs::write(self.path("state/openclaw.json"), configuration.to_string())
            .expect("the directory is ours");
    }

    /// An `openclaw` that stands in front of the real one in PATH: it says which pid it has, waits to be
    /// let through, and then becomes the gateway.
    ///
    /// While it waits, sexton has swept and the gateway has not: OpenClaw has a sweep of its own, which
    /// removes even the locks of live owners whose pid it can't see.
    fn write_gate(&self) {
        let (launched, gate) = (self.path("launched"), self.path("gate"));
        let script = format!(
            "#!/bin/sh\necho $$ >'{}'\nread -r _ <'{}'\nexec '{}' \"$@\"\n",
            launched.display(),
            gate.display(),
            self.bin.join("openclaw").display()
        );
        mkfifo(&gate, Mode::S_IRUSR | Mode::S_IWUSR).expect("the directory is ours");
        fs::write(self.path("bin/openclaw"), script).expect("the directory is ours");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("bin/openclaw"), executable).expect("the script is ours");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Both fail only for a process that has already been waited for.
        let _ = self.model.kill();
        let _ = self.model.wait();
    }
}

/// The server lives as long as the pipe on its stdin, which `Child` keeps open.
fn spawn_model(bin: &Path, directory: &Path) -> Child {
    Command::new(bin.join("node"))
        .arg(World::script("model-server.mjs"))
        .env("COMMAND", directory.join("tool.sh"))
        .stdin(Stdio::piped())
        .stdout(create(&directory.join("model.log")))
        .stderr(create(&directory.join("model.err")))
        .spawn()
        .expect("the installed node runs")
}

fn create(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("failed to create {}: {error}", path.display()))
}

/// A port for the gateway, which can't choose one itself.
///
/// It lies below the range that the kernel takes the ports of outgoing connections from: another port could
/// be gone again by the time that the gateway, slow to start, comes to bind it.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("a remainder below 10,000");
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (first..32_000).find(free).expect("one port of thousands is free")
}
