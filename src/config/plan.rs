//! The plan: everything that sexton was told, checked.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::catalogue::{self, Placed};
use super::file_access::Answers;
use super::lock_rule::LockRule;
use super::preset::Row;
use super::settings::Settings;
use super::unit::{Tools, Unit, User};
use super::watch_settings::WatchSettings;
use crate::locks::listing::VerdictName;
use crate::locks::{Action, LockKinds, Root};
use crate::supervisor::{AFTER_OTHERS, Ready, Restart};
use crate::types::{CompatMode, IncidentKind};

/// One run of sexton.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose manners sexton has in this run.
    pub compat: CompatMode,
    /// Something that the operator should know before the start.
    pub warning: Option<&'static str>,
    /// The command and its arguments. Empty for a pause: nothing runs, and a stop signal ends it.
    pub command: Vec<CString>,
    /// The settings that an option can give.
    pub settings: Settings,
    /// The main process gets a session of its own, and the terminal with it.
    pub session: bool,
    /// What is done about locks; `None` if nothing.
    pub locks: Option<Locks>,
    /// Descriptors that the command gets besides those that sexton was started with, from number 3 on.
    pub passed: Vec<Rc<OwnedFd>>,
    /// What is set in the command's environment besides sexton's own.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; sexton's own if there is none.
    pub directory: Option<PathBuf>,
    /// Who it runs as; as sexton does if there is none.
    pub user: Option<User>,
    /// Its output is a part of our log, and comes through us: it is a helper, which may hang and outlive us.
    pub is_helper: bool,
    /// What stands in front of each line of its output; it writes where sexton does if there is nothing.
    pub prefix: Option<String>,
    /// What follows the command's end.
    pub restart: Restart,
    /// What says whether the command's end with 0 is a stop, if anything does; `{pid}` in it stands for the number of the
    /// main process.
    pub handoff: Option<StepCommand>,
    /// What comes before the stop signal, if anything does.
    pub before_stop: Option<StepCommand>,
    /// The conditions under which the command is stopped by its ladder and started again.
    pub replace_on: Vec<IncidentKind>,
    /// The command's neighbours, in their order of start.
    pub units: Vec<Unit>,
    /// How the command's tools are run.
    pub tools: Tools,
    /// When the command counts as ready for the service manager above.
    pub ready: Ready,
    /// Whether sexton ends by the signal that ended the command, where it can.
    pub pass_signal: bool,
    /// What sexton-watch looks at; it is not started if there is nothing.
    pub watching: Option<WatchSettings>,
    /// The configuration file that was read, and the preset.
    pub origin: Origin,
}

/// A command that speaks with the gateway, or about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCommand {
    /// The command and its arguments.
    pub command: Vec<CString>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Where a plan comes from, besides the command line and the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The preset.
    pub preset: Option<String>,
    /// What of it the gateway's version has chosen.
    pub row: Option<Row>,
    /// How long a stop may take is said by the preset alone.
    pub windows_of_preset: bool,
    /// What was seen of files when all of this was read, if a version has chosen something: with another version,
    /// another plan can be made of it.
    pub seen: Answers,
}

/// Where the control socket is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Control {
    /// At the first of the usual places that can be had: /run/sexton/control.sock, or sexton/control.sock below
    /// `XDG_RUNTIME_DIR`, or sexton-UID in /tmp or /dev/shm.
    #[default]
    Default,
    /// At this path.
    At(PathBuf),
    /// There is none.
    Off,
}

impl Control {
    /// `off`, or a path.
    ///
    /// # Errors
    /// It is empty or longer than the 107 bytes that a socket's path can have (unix(7)).
    pub fn named(text: &(impl AsRef<OsStr> + ?Sized)) -> Result<Control, String> {
        let text = text.as_ref();
        match text.as_bytes() {
            b"off" => Ok(Control::Off),
            b"" => Err("it is empty; write a path, or 'off'".to_owned()),
            bytes if bytes.len() > 107 || bytes.contains(&0) => {
                Err("a socket's path has at most 107 bytes; choose a shorter one".to_owned())
            }
            _ => Ok(Control::At(text.into())),
        }
    }

    /// At this path, which was completed.
    ///
    /// # Errors
    /// It is longer than a socket's path can be: who asks for it by that name would not reach it.
    pub fn at(path: PathBuf) -> Result<Control, Problem> {
        if path.as_os_str().len() > 107 { Err(Problem::LongControl(path)) } else { Ok(Control::At(path)) }
    }
}

/// What is done about locks.
#[derive(Debug, Clone)]
pub struct Locks {
    /// The directories that are swept: those that were named, or those in which OpenClaw would look.
    pub roots: Vec<Root>,
    /// How long one sweep may take.
    pub deadline: Duration,
    /// The operator's own kinds of locks, which come before those that sexton knows by itself.
    pub rules: Vec<LockRule>,
    /// The words for the kinds of the catalogue that are looked for.
    pub kinds: Vec<String>,
    /// Those kinds, in the places where they lie.
    pub placed: Vec<Placed>,
    /// What becomes of a lock that was left behind.
    pub action: Action,
    /// Whether the operator says that no owner of a lock lives outside sexton's pid namespace.
    pub exclusive: bool,
    /// How long a lock that was handed over is left for the starting gateway to find.
    pub start_window: Duration,
    /// How long any lock may be held before that is reported, besides the limit that it sets itself.
    pub report_after: Option<Duration>,
    /// Whether roots that do not exist before the start are likely to be made by the command.
    pub look_later: bool,
}

impl Locks {
    /// Which programs of the kinds that count only beside their program are here. For a process that may hang: it looks
    /// along the path.
    #[must_use]
    pub fn programs_here(&self) -> BTreeSet<&str> {
        let wanted: BTreeSet<&str> =
            self.placed.iter().flat_map(|placed| placed.only_with.iter().map(String::as_str)).collect();
        if wanted.is_empty() {
            return wanted;
        }
        catalogue::present(&wanted, std::env::var_os("PATH").as_deref())
    }

    /// All kinds of locks that are known in a root, where these programs are. They are put together when locks are looked
    /// for, and not kept: PID 1 itself never does.
    #[must_use]
    pub fn lock_kinds(&self, root: &Root, programs: &BTreeSet<&str>) -> LockKinds {
        let lies_here = |placed: &&Placed| match (&placed.root, root) {
            (Some(place), Root::Catalogue(path) | Root::Given(path)) => place == path,
            (None, Root::Catalogue(_)) | (Some(_), _) => false,
            (None, _) => true,
        };
        let is_on = |placed: &&Placed| {
            placed.only_with.is_empty()
                || placed.only_with.iter().any(|name| programs.contains(name.as_str()))
        };
        let kinds = self.placed.iter().filter(lies_here).filter(is_on).filter_map(Placed::kind);
        match root {
            Root::Catalogue(_) => LockKinds::only(kinds.collect()),
            _ => LockKinds::with(self.rules.iter().filter_map(LockRule::kind).chain(kinds).collect()),
        }
    }

    /// Adds kinds of the catalogue, and the roots where they lie. `auto` says whether that word counts, and `home` is what
    /// `~` stands for.
    pub fn add_kinds(&mut self, words: &[String], auto: bool, home: Option<&Path>) {
        let counts = |word: &&String| auto || *word != catalogue::AUTO;
        let meant: Vec<String> = words.iter().filter(counts).cloned().collect();
        self.kinds = words.to_vec();
        self.placed = catalogue::placed(&meant, home);
        for place in self.placed.iter().filter_map(|placed| placed.root.as_ref()) {
            let is_it =
                |root: &Root| matches!(root, Root::Given(path) | Root::Catalogue(path) if path == place);
            if !self.roots.iter().any(is_it) {
                self.roots.push(Root::Catalogue(place.clone()));
            }
        }
    }

    /// The start window, where locks are handed over.
    #[must_use]
    pub fn start_window(&self) -> Option<Duration> {
        (self.action == Action::HandOver).then_some(self.start_window)
    }
}

/// What is to be done about locks by hand, on a machine where sexton need not run.
#[derive(Debug, Clone)]
pub struct LocksCommand {
    /// The roots, the kinds and the limits.
    pub locks: Locks,
    /// What is asked for.
    pub task: Task,
    /// The answer is wanted as JSON.
    pub json: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Show the locks that have one of these verdicts; all, if there are none.
    List(Vec<VerdictName>),
    /// Show the evidence for the lock at this path.
    Explain(PathBuf),
    /// Show what would be removed.
    DryRun,
    /// Remove what is orphaned.
    Sweep,
}

/// Why a plan cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing to run.
    #[error(
        "no command was given; write it behind the options, sexton -- COMMAND [ARG...], or into the configuration file"
    )]
    NoCommand,
    /// A NUL byte cannot be passed to execve(2).
    #[error("argument {0} of the command contains a NUL byte; no program can be given such an argument")]
    NulByte(usize),
    /// The control socket's path is too long once it is complete.
    #[error("the control socket's path is {0}, and has at most 107 bytes; name a shorter one with --control")]
    LongControl(PathBuf),
}

impl Plan {
    /// A plan that has no command yet and asks for nothing but what every run gets.
    #[must_use]
    pub fn bare(compat: CompatMode) -> Plan {
        Plan {
            compat,
            warning: None,
            command: Vec::new(),
            settings: Settings::without_control(),
            session: false,
            locks: None,
            passed: Vec::new(),
            env: Vec::new(),
            directory: None,
            user: None,
            is_helper: false,
            prefix: None,
            restart: Restart::default(),
            handoff: None,
            before_stop: None,
            replace_on: Vec::new(),
            units: Vec::new(),
            tools: Tools::default(),
            ready: Ready::default(),
            pass_signal: false,
            watching: None,
            origin: Origin::default(),
        }
    }

    /// The command as execve(2) takes it.
    ///
    /// # Errors
    /// It is empty, or has a NUL byte in it.
    pub fn command_of(words: Vec<OsString>) -> Result<Vec<CString>, Problem> {
        let command = words
            .into_iter()
            .enumerate()
            .map(|(index, word)| CString::new(word.into_vec()).map_err(|_| Problem::NulByte(index)));
        let command: Vec<CString> = command.collect::<Result<_, _>>()?;
        if command.first().is_none_or(|name| name.is_empty()) { Err(Problem::NoCommand) } else { Ok(command) }
    }

    /// Whether the command is stopped by its ladder and started again when a condition of this kind begins, about
    /// this subject. Of logs, each has its own answer, and its name is the subject. A gateway that is not well may be
    /// excused, which the reports of its health say, and this does not.
    #[must_use]
    pub fn replaces(&self, kind: IncidentKind, subject: &str) -> bool {
        let logs = || self.watching.iter().flat_map(|watching| &watching.logs);
        self.replace_on.contains(&kind)
            && kind != IncidentKind::Unhealthy
            && (kind != IncidentKind::Log || logs().any(|log| log.restart && log.name == subject))
    }

    /// How long a stop may take at most: the windows of the step before it, of the main process, of what it leaves behind and of the units,
    /// what the main process may have after the last other one, and the sweep.
    #[must_use]
    pub fn longest_stop(&self) -> Duration {
        let steps: Duration = self.settings.stop_sequence.iter().map(|step| step.1).sum();
        let main = if self.settings.stop_sequence.is_empty() { self.settings.grace } else { steps };
        let units: Duration = self.units.iter().map(|unit| unit.grace + unit.kill_after).sum();
        let sweep = self.locks.as_ref().map_or(Duration::ZERO, |locks| locks.deadline);
        let before = self.before_stop.as_ref().map_or(Duration::ZERO, |before| before.timeout);
        before + main + self.settings.kill_after + AFTER_OTHERS + units + sweep
    }

    /// The exit code to give for the main process's own.
    #[must_use]
    pub fn exit_code(&self, code: u8) -> u8 {
        if self.settings.remap_exit.contains(&code) { 0 } else { code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::watch_settings::Log;

    #[test]
    fn of_logs_each_says_for_itself_whether_the_command_is_replaced() {
        let log = |name: &str, restart| Log {
            name: name.to_owned(),
            files: Vec::new(),
            pattern: String::new(),
            count: 1,
            interval: Duration::ZERO,
            restart,
        };
        let watching =
            WatchSettings { logs: vec![log("a", true), log("b", false)], ..WatchSettings::default() };
        let replace_on = vec![IncidentKind::Memory, IncidentKind::Log];
        let plan = Plan { replace_on, watching: Some(watching), ..Plan::bare(CompatMode::Native) };
        assert!(plan.replaces(IncidentKind::Log, "a") && plan.replaces(IncidentKind::Memory, "anything"));
        assert!(!plan.replaces(IncidentKind::Log, "b") && !plan.replaces(IncidentKind::Unhealthy, "a"));
    }

    #[test]
    fn a_command_has_a_name() {
        assert_eq!(Plan::command_of(vec![]), Err(Problem::NoCommand));
        assert_eq!(Plan::command_of(vec!["".into()]), Err(Problem::NoCommand));
        assert_eq!(Plan::command_of(vec!["a".into(), "b\0".into()]), Err(Problem::NulByte(1)));
        assert_eq!(Plan::command_of(vec!["a".into(), "".into()]).unwrap().len(), 2);
    }
}
