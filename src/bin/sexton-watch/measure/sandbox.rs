//! What a run stands on: a directory and a port of its own, gone afterwards.

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sexton::os::process;

use crate::probe::{self, End};

/// It is removed with the value.
pub struct Sandbox {
    directory: PathBuf,
    port: u16,
    openclaw: bool,
    variables: Vec<(String, String)>,
}

/// How long a copy of the state directory may take.
const COPY: Duration = Duration::from_secs(300);

impl Sandbox {
    /// A new one, with a copy of `state` if there is one; for an OpenClaw gateway, else one that it can start with.
    pub async fn new(state: Option<&Path>, openclaw: bool) -> Result<Sandbox, String> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| format!("no free port: {error}"))?.port();
        let directory = std::env::temp_dir().join(format!("sexton-measure-{}-{port}", process::own_pid()));
        let mut ground = Sandbox { directory, port, openclaw, variables: Vec::new() };
        let failed = |error: std::io::Error| format!("{}: {error}", ground.directory.display());
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path).map_err(failed);
        make(&ground.directory)?;
        make(&ground.path("tmp"))?;
        make(&ground.path("home"))?;
        match state {
            None => make(&ground.path("state"))?,
            Some(state) => {
                let [from, to] =
                    [state, &ground.path("state")].map(|path| path.to_string_lossy().into_owned());
                let words = ["cp".to_owned(), "-a".to_owned(), "--".to_owned(), from, to];
                match probe::hear(&words, COPY).await.end {
                    End::Code(0, _) => {}
                    other => return Err(format!("{} cannot be copied: {other:?}", state.display())),
                }
            }
        }
        if openclaw && state.is_none() {
            let text =
                configuration(&ground.path("state/workspace"), &ground.path("openclaw.log")).to_string();
            fs::write(ground.path("state/openclaw.json"), text).map_err(failed)?;
        }
        ground.variables = variables(&ground);
        Ok(ground)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A word with `{port}` and `{state}` filled in.
    pub fn fill(&self, word: &str) -> String {
        word.replace("{port}", &self.port.to_string())
            .replace("{state}", &self.path("state").to_string_lossy())
    }

    /// Whether an OpenClaw gateway stands on it.
    pub fn is_openclaw(&self) -> bool {
        self.openclaw
    }

    /// What is set for everything that runs on it.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The words of env(1) that set it.
    pub fn environment(&self) -> Vec<String> {
        let set = self.variables.iter().map(|(name, value)| format!("{name}={value}"));
        std::iter::once("env".to_owned()).chain(set).collect()
    }

    /// How long the output is by now, in bytes.
    pub fn output_length(&self) -> usize {
        fs::metadata(self.path("output")).map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX))
    }

    /// How many locks sexton says that it has removed, behind this place of the output.
    pub fn removed_locks(&self, from: usize) -> u32 {
        let output = fs::read(self.path("output")).unwrap_or_default();
        removed(&String::from_utf8_lossy(output.get(from..).unwrap_or_default()))
    }

    /// The last that was said.
    pub fn last_words(&self) -> String {
        let output = fs::read(self.path("output")).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        line.chars().filter(|letter| !letter.is_control()).take(300).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nothing can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The lines of sexton's log that tell of a lock that was removed.
fn removed(output: &str) -> u32 {
    let of_it = |line: &&str| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line.get("event").and_then(Value::as_str) == Some("lock-removed"))
    };
    u32::try_from(output.lines().filter(of_it).count()).unwrap_or(u32::MAX)
}

fn variables(ground: &Sandbox) -> Vec<(String, String)> {
    let path = |name: &str| ground.path(name).to_string_lossy().into_owned();
    let mut set = vec![("OPENCLAW_STATE_DIR".to_owned(), path("state")), ("TMPDIR".to_owned(), path("tmp"))];
    if ground.openclaw {
        set.push(("HOME".to_owned(), path("home")));
        set.push(("OPENCLAW_GATEWAY_PORT".to_owned(), ground.port.to_string()));
        // A measured gateway must not answer the operator's real messages.
        let off = [
            "NO_RESPAWN",
            "SKIP_CHANNELS",
            "SKIP_BROWSER_CONTROL_SERVER",
            "DISABLE_BONJOUR",
            "NO_AUTO_UPDATE",
        ];
        set.extend(off.map(|name| (format!("OPENCLAW_{name}"), "1".to_owned())));
    }
    set
}

/// The least that an OpenClaw gateway starts with. The token guards nothing: it listens on this machine alone.
fn configuration(workspace: &Path, log: &Path) -> Value {
    json!({
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "auth": { "mode": "token", "token": "sexton-measure" },
        },
        "agents": { "defaults": { "workspace": workspace, "skipBootstrap": true, "heartbeat": { "every": "0m" } } },
        "discovery": { "mdns": { "mode": "off" } },
        "update": { "checkOnStart": false },
        "logging": { "file": log },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sexton_says_of_removed_locks_counts() {
        let output = "ready\n{\"event\":\"lock-removed\",\"path\":\"/a\"}\n{\"event\":\"lock-held\"}\n{\"x\":1}\n\
            lock-removed\n{\"event\":\"lock-removed\"}\n";
        assert_eq!(removed(output), 2);
        assert_eq!(removed(""), 0);
    }
}
