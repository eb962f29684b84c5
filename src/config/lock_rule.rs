//! A kind of lock as a table spells it: an operator's own in the configuration file, one of the catalogue, and as
//! sexton-watch is told of them.

use serde::{Deserialize, Serialize};

use crate::locks::LockKinds;
use crate::locks::format::{Format, Keys};
use crate::locks::kind::{Kind, LockShape, SocketPath};
use crate::locks::rule::Pattern;

/// A kind of lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LockRule {
    /// Its name in log lines; without it, the path.
    pub name: Option<String>,
    /// Where it lies below a root; `*` stands for any bytes but `/`.
    pub path: String,
    /// One of the kinds that `sexton locks kinds` shows, of which this is a lock in another place. The rest of the rule
    /// is what stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How it is written: `json`, `pid` (a pid file), `first-line` (a pid file with more lines), `symlink` (to
    /// HOST-PID), `symlink-user` (to USER@HOST.PID:BOOT) or `empty`.
    pub format: Option<LockFormat>,
    /// The field with the owner's pid; without it, `pid`. A dotted path leads deeper.
    pub pid: Option<String>,
    /// The field with the owner's start time, as field 22 of /proc/PID/stat has it.
    pub started: Option<String>,
    /// The field with the host's name.
    pub host: Option<String>,
    /// The field with /proc/sys/kernel/random/boot_id.
    pub boot: Option<String>,
    /// Whether its owner has the file open as long as it holds the lock.
    #[serde(default)]
    pub keeps_open: bool,
    /// The files that its owner has open instead, from soon after it has taken the lock until shortly before it gives it up:
    /// a path below the lock's directory; `*` stands for any bytes but `/`.
    pub witness: Option<String>,
    /// Where its owner listens as long as it holds the lock: a path below the lock's directory. `*` in it stands for what
    /// the `*` in the lock's name stands for.
    pub socket: Option<String>,
    /// Whether its owner listens there before it takes the lock, and not soon after it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub socket_first: bool,
    /// The other name that the file can have in its directory, under which its owner has made it; `*` stands for any
    /// bytes. Both are removed.
    pub second_name: Option<String>,
    /// Links beside it, if it is one, that are removed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like that")]
fn is_false(truth: &bool) -> bool {
    !truth
}

/// How a lock is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LockFormat {
    /// JSON.
    Json,
    /// A pid file.
    Pid,
    /// A pid file with more lines: the pid is on the first one.
    FirstLine,
    /// A symbolic link to HOST-PID.
    Symlink,
    /// A symbolic link to USER@HOST.PID:BOOT.
    SymlinkUser,
    /// Nothing stands in it.
    Empty,
}

/// What is wrong with a rule: the key, and what to write instead.
pub type RuleFlaw = (&'static str, String);

impl LockRule {
    /// Where their owner listens; `None` if the path leads out of the lock's directory, or its `*` stands for nothing.
    #[must_use]
    pub fn socket_path(&self) -> Option<SocketPath> {
        SocketPath::new(self.socket.as_ref()?, &self.path, self.socket_first)
    }

    /// Where such locks lie and what they are; `None` if the path leads out of a root, or nothing says how they are
    /// written.
    #[must_use]
    pub fn kind(&self) -> Option<(Pattern, Kind)> {
        let file =
            || self.second_name.as_deref().and_then(Pattern::new).map_or(LockShape::File, LockShape::Linked);
        let (form, format) = match self.format? {
            LockFormat::Pid => (file(), Format::Pid),
            LockFormat::FirstLine => (file(), Format::FirstLine),
            LockFormat::Empty => (file(), Format::Empty),
            LockFormat::Symlink => (LockShape::Symlink(self.links.clone()), Format::HostAndPid),
            LockFormat::SymlinkUser => (LockShape::Symlink(self.links.clone()), Format::UserHostPid),
            LockFormat::Json => {
                let pid = self.pid.clone().unwrap_or_else(|| "pid".to_owned());
                let (started, host, boot) = (self.started.clone(), self.host.clone(), self.boot.clone());
                (file(), Format::Json(Box::new(Keys { pid, started, host, boot })))
            }
        };
        let is_link = matches!(form, LockShape::Symlink(_));
        let kind = Kind {
            name: self.name.as_ref().unwrap_or(&self.path).clone().into(),
            form,
            format,
            keeps_open: self.keeps_open && !is_link,
            witness: self.witness.as_deref().and_then(Pattern::new),
            socket: self.socket_path(),
            lifelong: false,
            common_name: false,
            recovers: false,
        };
        Some((Pattern::new(&self.path)?, kind))
    }

    /// Says what is wrong with a rule; nothing, if it stands for a kind of lock.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), RuleFlaw> {
        let Some(format) = self.format else {
            let what = "it is missing; write how the lock is written, or with 'kind' whose it is";
            return Err(("format", what.to_owned()));
        };
        let fields =
            [("pid", &self.pid), ("started", &self.started), ("host", &self.host), ("boot", &self.boot)];
        let named = fields.iter().find(|(_, field)| field.is_some());
        if let Some((field, _)) = named.filter(|_| format != LockFormat::Json) {
            let what = "only a rule of format \"json\" can name a field; remove it, or change the format";
            return Err((field, what.to_owned()));
        }
        let is_link = matches!(format, LockFormat::Symlink | LockFormat::SymlinkUser);
        if !self.links.is_empty() && !is_link {
            let what = "only a rule of format \"symlink\" can have links beside it; remove them, or change the format";
            return Err(("links", what.to_owned()));
        }
        let is_name = |name: &String| !name.contains('/') && Pattern::new(name).is_some();
        if let Some(link) = self.links.iter().find(|link| !is_name(link)) {
            return Err(("links", format!("'{link}' has to be a name in the lock's directory")));
        }
        if self.second_name.as_ref().is_some_and(|name| is_link || !is_name(name)) {
            let what = "it has to be a name in the lock's directory, of a lock that is a file";
            return Err(("second_name", what.to_owned()));
        }
        if let (Some(socket), None) = (&self.socket, self.socket_path()) {
            let what = format!(
                "'{socket}' has to be a path below the lock's directory, without '.', '..' and empty parts; it can have a '*' if the last part of 'path' has one"
            );
            return Err(("socket", what));
        }
        if self.socket_first && self.socket.is_none() {
            return Err(("socket_first", "there is no 'socket'; write where the owner listens".to_owned()));
        }
        if let Some(witness) = self.witness.as_ref().filter(|text| Pattern::new(text).is_none()) {
            let what = format!(
                "'{witness}' has to be a path below the lock's directory, without '.', '..' and empty parts"
            );
            return Err(("witness", what));
        }
        if self.kind().is_none() {
            let path = &self.path;
            let what = format!("'{path}' has to be a path below a root, without '.', '..' and empty parts");
            return Err(("path", what));
        }
        Ok(())
    }

    /// Whether it says how a lock is made, besides where it lies.
    #[must_use]
    pub fn says_how(&self) -> bool {
        let bare = LockRule { name: None, path: String::new(), kind: None, ..self.clone() };
        bare != LockRule::default()
    }
}

/// All kinds that are known where these rules are.
#[must_use]
pub fn lock_kinds(rules: &[LockRule]) -> LockKinds {
    LockKinds::with(rules.iter().filter_map(LockRule::kind).collect())
}
