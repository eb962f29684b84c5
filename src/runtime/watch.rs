//! sexton-watch: the unit that looks, what it is told, and what it tells.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tracing::{info, warn};

use super::EventLoop;
use super::sweeper::Sweeper;
use crate::config::Plan;
use crate::config::unit::{GATEWAY, Unit};
use crate::control::protocol::{
    Condition, Incident, IncidentKind, WATCH_VARIABLE, WatchCommand, WatchConfig,
};
use crate::control::server::Server;
use crate::os::privileges::Identity;
use crate::os::shared_page::SharedPage;
use crate::os::{clock, path_owner, pipe, poll, privileges, procfs, seqpacket};
use crate::supervisor::{Event, Restart, RestartOn};
use crate::types::{Errno, Outcome, Pid, StartTime, UnitState};

/// The unit's name, and the program's.
pub(super) const NAME: &str = "sexton-watch";
/// The descriptor that leads to us.
const NUMBER: &str = "3";
/// The user `nobody`: it owns no files.
const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };

/// How long it may take to find out whose the lock roots are. If it takes longer, sexton-watch runs as nobody.
const IDENTIFYING: Duration = Duration::from_secs(2);

/// What sexton-watch is reached by.
pub(super) struct Watch {
    /// Its end of the socket, for the next sexton-watch that is started.
    theirs: Rc<OwnedFd>,
    /// What it was told last of the gateway.
    told: Option<(UnitState, Option<i32>)>,
    /// The user that it runs as, noted for its first supervisor and all that follow.
    identity: Option<SharedPage>,
    /// The process, once its supervisor is to stop it.
    stopping: Option<(Pid, StartTime)>,
}

/// The unit that looks, and what it is reached by, if something is to be looked at.
pub(super) fn prepare(
    plan: &Plan,
    server: &mut Option<Server>,
    program: Option<PathBuf>,
) -> Option<(Unit, Watch)> {
    plan.watching.as_ref()?;
    let made = program
        .ok_or_else(|| "sexton-watch is neither beside sexton nor in PATH; put it there".to_owned())
        .and_then(|program| {
            Ok((program, connect(server).map_err(|error| format!("it has no socket: {error}"))?))
        });
    match made {
        Ok((program, theirs)) => {
            let identity = SharedPage::new().ok();
            Some((unit(program), Watch { theirs: Rc::new(theirs), told: None, identity, stopping: None }))
        }
        Err(why) => {
            warn!(name: "no-watch", "nothing is watched: {why}");
            // The status shows it, too.
            let condition = Condition {
                kind: IncidentKind::WatchLost,
                subject: NAME.to_owned(),
                holds: true,
                detail: why,
            };
            server.as_mut().and_then(|server| server.note(condition, clock::wall_millis()));
            None
        }
    }
}

fn connect(server: &mut Option<Server>) -> Result<OwnedFd, Errno> {
    let passing = |error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let (ours, theirs) = seqpacket::pair()?;
    let server = match server {
        Some(server) => server,
        None => server.insert(Server::new(None).map_err(passing)?),
    };
    server.attach_watch(ours).map_err(passing)?;
    Ok(theirs)
}

fn unit(program: PathBuf) -> Unit {
    Unit {
        name: NAME.to_owned(),
        command: Plan::command_of(vec![program.into_os_string()])
            .unwrap_or_else(|_| vec![CString::from(c"sexton-watch")]),
        after_gateway: false,
        restart: Restart {
            on: RestartOn::Always,
            // It has no arguments, and nothing that it cannot do will be mended by trying.
            prevent_exit_codes: vec![126, 127],
            limit: u32::MAX,
            interval: Duration::from_secs(60),
            ..Restart::default()
        },
        env: vec![(WATCH_VARIABLE.into(), NUMBER.into())],
        directory: Some(PathBuf::from("/")),
        user: None,
        required: false,
        prefix: false,
        grace: Duration::from_secs(2),
        kill_after: Duration::from_secs(1),
    }
}

/// The user that sexton-watch runs as. The first root that exists decides. Root is the answer only if every root
/// that exists is root's, and if none but root can have put them there.
fn identity_of(roots: &[PathBuf]) -> Identity {
    let mut first = None;
    let mut doubt = false;
    for root in roots {
        match path_owner::owner(root) {
            Ok(Some(owner)) => {
                let first = first.get_or_insert(owner);
                doubt |= first.uid == 0 && owner.uid != 0;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A link, a root whose place others control, or one that cannot be looked at.
            Ok(None) | Err(_) => doubt = true,
        }
    }
    first.filter(|_| !doubt).unwrap_or(NOBODY)
}

impl Watch {
    /// Has a helper note whose the roots are, the first time. What is given can be read when it has ended.
    ///
    /// A root that hangs makes that helper wait, which holds nothing of the caller's, and neither sexton nor a unit's
    /// supervisor.
    pub(super) fn begin_to_identify(&self, sweeper: &mut Sweeper<'_>, roots: &[PathBuf]) -> Option<OwnedFd> {
        let page = self.identity.as_ref().filter(|page| noted(page).is_none())?;
        if privileges::effective_uid() != 0 || roots.is_empty() {
            return None;
        }
        let begun = pipe::pipe().and_then(|(ended, end)| {
            let find = || {
                note(page, identity_of(roots));
                0
            };
            sweeper.start_helper(&[page.as_fd(), end.as_fd()], find).map(|_| ended)
        });
        begun
            .map_err(
                |error| warn!(name: "watch-privileges", %error, "the owner of the lock roots could not be looked up"),
            )
            .ok()
    }

    /// Runs in the unit's supervisor: sexton-watch needs no privileges but those of the owner of what it looks at.
    ///
    /// The user is decided once. The gateway can kill a sexton-watch of its own user, and could otherwise put
    /// something else in the place of a root before the next one begins.
    pub(super) fn drop_privileges(&self, identified: Option<&OwnedFd>) {
        if privileges::effective_uid() != 0 {
            return;
        }
        if let Some(identified) = identified {
            // A failed wait is as one that took too long.
            let _ = poll::any_until([identified.as_fd()], Some(clock::now().after(IDENTIFYING)));
        }
        let identity = match &self.identity {
            Some(page) => noted(page).unwrap_or_else(|| {
                note(page, NOBODY);
                NOBODY
            }),
            None => NOBODY,
        };
        if let Err(error) = privileges::become_user(identity.uid, identity.gid) {
            warn!(name: "watch-privileges", %error, "sexton-watch could not give up its privileges");
        }
    }

    /// The page with its user.
    fn page(&self) -> Option<BorrowedFd<'_>> {
        self.identity.as_ref().map(SharedPage::as_fd)
    }

    /// The descriptors that its supervisor needs and the unit does not get.
    pub(super) fn for_supervisor<'a>(
        &'a self,
        identified: Option<&'a OwnedFd>,
    ) -> impl Iterator<Item = BorrowedFd<'a>> {
        self.page().into_iter().chain(identified.map(AsFd::as_fd))
    }

    /// The descriptors of the unit.
    pub(super) fn passed(&self) -> Vec<Rc<OwnedFd>> {
        vec![Rc::clone(&self.theirs)]
    }

    /// Its supervisor is to stop it. The process is remembered by its start time, as it may outlive its supervisor.
    pub(super) fn stops(&mut self, supervisor: Pid, main: Pid) {
        let stat = procfs::stat(main).ok().flatten();
        let ours = stat.filter(|stat| stat.parent == supervisor.raw());
        self.stopping = ours.map(|stat| (main, stat.start));
    }

    /// The process that its supervisor could not stop, once that has ended: it hangs in the kernel. As any helper of ours
    /// it holds nothing of the caller's, and it is not waited for.
    pub(super) fn left_behind(&mut self) -> Option<(Pid, StartTime)> {
        let (main, start) = self.stopping.take()?;
        let still = procfs::stat(main).ok().flatten().is_some_and(|stat| stat.start == start);
        still.then_some((main, start))
    }
}

fn note(page: &SharedPage, identity: Identity) {
    // A helper that hung for a time does not decide anew.
    if noted(page).is_none() {
        page.store(format!("{} {}", identity.uid, identity.gid).as_bytes());
    }
}

/// The user that was noted before. A note that cannot be understood stands for the user `nobody`.
fn noted(page: &SharedPage) -> Option<Identity> {
    let note = page.read().filter(|note| !note.is_empty())?;
    let numbers = std::str::from_utf8(&note).ok().and_then(|note| note.split_once(' '));
    let identity =
        numbers.and_then(|(uid, gid)| Some(Identity { uid: uid.parse().ok()?, gid: gid.parse().ok()? }));
    Some(identity.unwrap_or(NOBODY))
}

impl EventLoop<'_> {
    /// A sexton-watch begins and is told what to do.
    pub(super) fn send_config(&mut self, lasted: Vec<Incident>) {
        self.tell_settings(lasted);
        info!(name: "watch-started", "sexton-watch looks");
    }

    /// What it is to look at has changed.
    pub(super) fn send_config_again(&mut self) {
        let lasting = self.server.as_mut().map(Server::ongoing);
        self.tell_settings(lasting.unwrap_or_default());
    }

    fn tell_settings(&mut self, lasted: Vec<Incident>) {
        let Some(settings) = self.plan.watching.clone() else { return };
        let status = self.status();
        let running = !matches!(status.gateway.state, UnitState::Pending | UnitState::Ended);
        let briefing = WatchConfig {
            settings,
            gateway: running.then_some(status.gateway),
            incidents: lasted,
            version: status.version,
        };
        if let Some(server) = &mut self.server {
            server.tell_watch(&WatchCommand::Settings(Box::new(briefing)));
        }
    }

    /// The gateway may be in another state than sexton-watch knows of.
    pub(super) fn tell_watch_of_gateway(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let gateway = self.supervisor.gateway();
        let now = (gateway.state, gateway.pid.map(Pid::raw));
        if watch.told == Some(now) {
            return;
        }
        watch.told = Some(now);
        let status = self.unit_status(GATEWAY, &gateway);
        if let Some(server) = &mut self.server {
            server.tell_watch(&WatchCommand::Gateway(status));
        }
    }

    /// Something is wrong, or is so no longer: it is said, told to sexton-watch, and acted on.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn incident(&mut self, incident: Incident) -> Result<(), Outcome> {
        let Incident { kind, subject, detail, ended, .. } = &incident;
        let kind = *kind;
        let word = kind.word();
        match ended {
            // A sexton-watch that means ill, or a log that others write, has as many as it likes.
            _ if !self.incident_lines.has_room("incident") => {}
            None => warn!(name: "incident", kind = word, subject = subject.as_str(), "{detail}"),
            Some(_) => info!(name: "incident-over", kind = word, subject = subject.as_str(), "{detail}"),
        }
        if let Some(server) = &mut self.server {
            server.tell_watch(&WatchCommand::Incident(incident.clone()));
        }
        if ended.is_none() && self.plan.replaces(kind, subject) {
            self.dispatch(Event::IncidentChanged { kind })?;
        }
        Ok(())
    }

    /// sexton itself has found something.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn found(
        &mut self,
        kind: IncidentKind,
        subject: &str,
        holds: bool,
        detail: &str,
    ) -> Result<(), Outcome> {
        let condition = Condition { kind, subject: subject.to_owned(), holds, detail: detail.to_owned() };
        let noted = self.server.as_mut().and_then(|server| server.note(condition, clock::wall_millis()));
        match noted {
            Some(incident) => self.incident(incident),
            None => Ok(()),
        }
    }
}
