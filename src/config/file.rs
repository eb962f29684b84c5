//! The configuration file: TOML, read whole, and refused whole if anything in it is not understood.
//!
//! It says what stands in the file and resolves nothing: the command line and the environment, which win over
//! it, are not its business.
//!
//! ```toml
//! [locks]
//! roots = ["/data"]            # as --lock-root
//! action = "hand-over"         # as --lock-action
//! report_after = "30m"         # as --lock-report-after
//!
//! [[locks.rule]]
//! name = "worker"              # in log lines; without it, the path
//! path = "workers/*/run.lock"  # below a root; '*' stands for any bytes but '/'
//! format = "json"              # json, pid (a pid file) or symlink (to HOST-PID)
//! pid = "owner.pid"            # where the pid is; without it, "pid"
//! started = "owner.starttime"  # field 22 of /proc/PID/stat
//! host = "owner.host"          # the host's name
//! boot = "owner.boot"          # /proc/sys/kernel/random/boot_id
//! keeps_open = true            # the owner has the file open as long as it holds the lock
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::locks::format::{Format, Keys};
use crate::locks::kind::{Form, Kind};
use crate::locks::rule::Pattern;
use crate::locks::{Action, Shown};
use crate::supervisor::Ready;

/// The largest file that is read, in bytes. One that was named by mistake need not be read to its end.
const LARGEST: u64 = 1 << 20;

/// What a configuration file says.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// The lock roots.
    pub roots: Vec<PathBuf>,
    /// What becomes of locks left behind.
    pub action: Option<Action>,
    /// How long a lock may be held before that is reported.
    pub report_after: Option<Duration>,
    /// The operator's own kinds of locks.
    pub kinds: Vec<(Pattern, Kind)>,
    /// When the command counts as ready.
    pub ready: Option<Ready>,
}

/// Why a configuration file is refused, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("the configuration file {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: String,
    },
    /// It is not what it has to be.
    #[error("the configuration file {path}, line {line}: {what}")]
    Content {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there, with the key's name.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    locks: Locks,
    #[serde(default)]
    systemd: Systemd,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Systemd {
    ready: Option<RawReady>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawReady {
    Started,
    Healthy,
    Notified,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Locks {
    #[serde(default)]
    roots: Vec<PathBuf>,
    action: Option<RawAction>,
    report_after: Option<toml::Spanned<String>>,
    #[serde(default)]
    rule: Vec<toml::Spanned<Rule>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawAction {
    Remove,
    HandOver,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: Option<String>,
    path: toml::Spanned<String>,
    format: RawFormat,
    pid: Option<String>,
    started: Option<String>,
    host: Option<String>,
    boot: Option<String>,
    #[serde(default)]
    keeps_open: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RawFormat {
    Json,
    Pid,
    Symlink,
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: &Path) -> Result<File, Refused> {
        let shown = Shown(path).to_string();
        let unreadable =
            |error: std::io::Error| Refused::Unreadable { path: shown.clone(), error: error.to_string() };
        let meta = fs::metadata(path).map_err(unreadable)?;
        if !meta.is_file() || meta.len() > LARGEST {
            let error = if meta.is_file() { "it is larger than 1 MiB" } else { "it is not an ordinary file" };
            return Err(Refused::Unreadable { path: shown, error: error.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        File::parse(&text).map_err(|(at, what)| {
            let before = text.get(..at).unwrap_or(&text);
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            Refused::Content { path: shown, line, what }
        })
    }

    /// The text as a whole, or the place in it where something is wrong, and what.
    fn parse(text: &str) -> Result<File, (usize, String)> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // The message may have a second line that shows the place, which we name in our own way.
            (at, error.message().lines().next().unwrap_or_default().to_owned())
        })?;
        let report_after = raw.locks.report_after.map(|text| {
            let what = |error| (text.span().start, format!("report_after: {error}"));
            humantime::parse_duration(text.get_ref()).map_err(what)
        });
        Ok(File {
            roots: raw.locks.roots,
            action: raw.locks.action.map(|action| match action {
                RawAction::Remove => Action::Remove,
                RawAction::HandOver => Action::HandOver,
            }),
            report_after: report_after.transpose()?,
            ready: raw.systemd.ready.map(|ready| match ready {
                RawReady::Started => Ready::Started,
                RawReady::Healthy => Ready::Healthy,
                RawReady::Notified => Ready::Notified,
            }),
            kinds: raw.locks.rule.into_iter().map(kind).collect::<Result<_, _>>()?,
        })
    }
}

fn kind(rule: toml::Spanned<Rule>) -> Result<(Pattern, Kind), (usize, String)> {
    let at = rule.span().start;
    let rule = rule.into_inner();
    let path = rule.path.get_ref().clone();
    let pattern = Pattern::new(&path).ok_or_else(|| {
        let what = format!("path: '{path}' has to be a path below a root, without '.', '..' and empty parts");
        (rule.path.span().start, what)
    })?;
    let fields = [("pid", &rule.pid), ("started", &rule.started), ("host", &rule.host), ("boot", &rule.boot)];
    let named = fields.iter().find(|(_, field)| field.is_some());
    if let Some((field, _)) = named.filter(|_| rule.format != RawFormat::Json) {
        return Err((at, format!("{field}: only a rule of format \"json\" can name a field")));
    }
    let (form, format) = match rule.format {
        RawFormat::Pid => (Form::File, Format::Pid),
        RawFormat::Symlink => (Form::Symlink(&[]), Format::HostAndPid),
        RawFormat::Json => {
            let pid = rule.pid.unwrap_or_else(|| "pid".to_owned());
            let keys = Keys { pid, started: rule.started, host: rule.host, boot: rule.boot };
            (Form::File, Format::Json(Box::new(keys)))
        }
    };
    let kind = Kind {
        name: rule.name.unwrap_or(path).into(),
        form,
        format,
        keeps_open: rule.keeps_open && form == Form::File,
        lifelong: false,
        recovers: false,
    };
    Ok((pattern, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sexton.toml");
        fs::write(&path, text).unwrap();
        let here = path.display().to_string();
        File::read(&path).map_err(|refused| refused.to_string().replace(&here, "FILE"))
    }

    #[test]
    fn the_example_in_the_documentation_reads() {
        let source = include_str!("file.rs");
        let example: Vec<&str> = source
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//!"))
            .collect();
        let file = read(&example.join("\n")).unwrap();
        assert_eq!(file.roots, [PathBuf::from("/data")]);
        assert_eq!(file.action, Some(Action::HandOver));
        assert_eq!(file.report_after, Some(Duration::from_secs(1800)));
        let [(_, kind)] = file.kinds.as_slice() else { panic!("{:?}", file.kinds) };
        assert_eq!(kind.name, "worker");
        assert!(kind.keeps_open && matches!(&kind.format, Format::Json(keys) if keys.pid == "owner.pid"));
        assert!(read("").unwrap().kinds.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_key() {
        for (text, line, said) in [
            ("[locks]\nroot = []\n", 2, "unknown field `root`"),
            ("[lock]\n", 1, "unknown field `lock`"),
            ("\n\n[locks]\nreport_after = \"soon\"\n", 4, "report_after"),
            ("[locks]\naction = \"keep\"\n", 2, "unknown variant `keep`"),
            ("[locks]\n[[locks.rule]]\npath = \"../x\"\nformat = \"pid\"\n", 3, "path: '../x'"),
            ("[[locks.rule]]\npath = \"x\"\n", 1, "missing field `format`"),
            ("[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nhost = \"h\"\n", 1, "host: only"),
            ("[locks\n", 1, ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with(&format!("the configuration file FILE, line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(said) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(File::read(Path::new("/nowhere.toml")).unwrap_err().to_string().contains("cannot be read"));
        assert!(File::read(Path::new("/")).unwrap_err().to_string().contains("ordinary file"));
    }
}
