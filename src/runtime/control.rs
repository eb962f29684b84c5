//! What is asked over the control socket, and the answers that are sexton's own.

use tracing::{info, warn};

use super::EventLoop;
use super::inquiry::Inquiry;
use crate::config::Control;
use crate::config::unit::GATEWAY;
use crate::control::protocol::{Answer, Request};
use crate::control::registry::Key;
use crate::control::server::{Server, ServerEvent};
use crate::control::socket_path::{self, BindError, BoundSocket, VARIABLE};
use crate::os::{clock, process, signals};
use crate::supervisor::{Event, Origin, Received, UnitId};
use crate::types::{CompatMode, MonoTime, Outcome, Signal, UnitState};

/// Makes the control socket and tells its name to all that sexton starts. Who comes before [`listen`] waits. Without
/// one everything else works the same, so that no failure is an end.
pub(super) fn bind(wanted: &Control, compat: CompatMode) -> Option<BoundSocket> {
    let bound = match wanted {
        Control::Off => return None,
        Control::Default => socket_path::bind_default(),
        Control::At(path) => socket_path::bind(path),
    };
    match bound {
        Ok(socket) => {
            process::set_variable(VARIABLE, socket.path().as_os_str());
            Some(socket)
        }
        // Another program's name is worn, whose users miss nothing, or there are as many as there can be.
        Err(problem)
            if compat != CompatMode::Native
                || (matches!(problem, BindError::InUse(_)) && *wanted == Control::Default) =>
        {
            info!(name: "control-off", "there is no control socket: {problem}");
            None
        }
        Err(problem) => {
            warn!(name: "control-off",
                "there is no control socket, and 'sexton health', 'status' and the like find no sexton: {problem}");
            None
        }
    }
}

/// Begins to answer those who come to the control socket.
pub(super) fn listen(socket: BoundSocket) -> Option<Server> {
    let path = socket.path().to_owned();
    match Server::new(Some(socket)) {
        Ok(server) => {
            info!(name: "control-listening", path = %path.display(), "the control socket is open");
            Some(server)
        }
        Err(error) => {
            let problem = BindError::System { path, error };
            warn!(name: "control-off", "there is no control socket: {problem}");
            None
        }
    }
}

impl EventLoop<'_> {
    /// Does what is not needed before the command runs, and begins to wait for its events.
    pub(super) fn finish_start(&mut self) {
        let Some(server) = self.socket.take().and_then(listen) else { return };
        if let Some(link) = &self.manager {
            link.wait_for_others(server.waits_for());
        }
        self.server = Some(server);
    }

    /// When this turn has to end, whatever comes.
    pub(super) fn next_deadline(&mut self) -> Option<MonoTime> {
        let server = self.server.as_ref().and_then(Server::next_deadline);
        let others = [
            self.supervisor_deadline(),
            self.oom.deadline(),
            self.reload.deadline(),
            self.look.as_ref().map(Inquiry::deadline),
            self.orphans.deadline(),
        ];
        server.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Does one small thing for those who are connected, if there is something to do.
    pub(super) fn hear(&mut self, ready: bool) -> Result<(), Outcome> {
        let Some(server) = &self.server else { return Ok(()) };
        let due = server.next_deadline().is_some_and(|due| due <= clock::now());
        if ready || due { self.hear_connections(ready) } else { Ok(()) }
    }

    /// Not inlined: it takes more of the stack than all the rest of a turn, and most turns have nothing to do here.
    #[inline(never)]
    fn hear_connections(&mut self, ready: bool) -> Result<(), Outcome> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let asked = if ready { server.turn() } else { server.take_lost() };
        let wants_news = server.next_deadline().is_some_and(|due| {
            let now = clock::now();
            due <= now && server.publish_tick(now)
        });
        if wants_news {
            let status = self.status();
            if let Some(server) = &mut self.server {
                server.publish(status);
            }
        }
        match asked {
            None => Ok(()),
            Some(ServerEvent::Lost(record)) => {
                self.record_lost(&record);
                self.dispatch(Event::ToolLost)
            }
            Some(ServerEvent::ToolEnded) => self.dispatch(Event::ToolEnded),
            Some(ServerEvent::Noted(incident)) => self.incident(incident),
            Some(ServerEvent::Health(report)) => self.dispatch(Event::Health(report)),
            Some(ServerEvent::Greeted(lasted)) => {
                self.send_config(lasted);
                Ok(())
            }
            Some(ServerEvent::Request(key, request)) => {
                let answer = self.asked(key, request)?;
                if let (Some(answer), Some(server)) = (answer, &mut self.server) {
                    server.answer(key, answer);
                }
                Ok(())
            }
        }
    }

    /// Notes the locks that a sweep has removed in the records of the tools whose they were.
    pub(super) fn note_released(&mut self) {
        for lock in self.sweeper.take_released() {
            let tool = self
                .server
                .as_mut()
                .and_then(|server| server.lock_released(&lock.path, lock.pid, clock::millis_of(lock.taken)));
            if let Some(tool) = tool {
                info!(name: "lock-of-tool", tool, path = lock.path, "a lock that was removed was this tool's");
            }
        }
    }

    /// Does what was asked for over this connection, or begins it, and says so. No answer, if that comes later.
    ///
    /// # Errors
    /// The outcome, if it is the end.
    fn asked(&mut self, key: Key, request: Request) -> Result<Option<Answer>, Outcome> {
        Ok(Some(match request {
            Request::Status | Request::Subscribe => Answer::Status(Box::new(self.status())),
            Request::Stop => {
                info!(name: "control-request", request = "stop", "asked to stop over the control socket");
                let before = self.supervisor.gateway().state;
                self.dispatch(Event::Stop)?;
                Answer::Done(match (before, self.supervisor.gateway().state) {
                    (UnitState::Running, UnitState::Stopping) => {
                        let grace = humantime::format_duration(self.plan.settings.grace);
                        format!("the gateway was asked to end; it has {grace}")
                    }
                    (UnitState::Stopping, _) => "the stop goes on with its next step".to_owned(),
                    _ => "noted".to_owned(),
                })
            }
            Request::Signal { signal, unit } => match signal.parse() {
                Ok(signal) => self.asked_to_signal(signal, unit.as_deref())?,
                Err(error) => Answer::Refused(error.to_string()),
            },
            Request::Restart { unit } => match self.unit_id(unit.as_deref()) {
                Ok(id) => {
                    info!(name: "control-request", request = "restart", "asked to restart over the control socket");
                    self.dispatch(Event::RestartWanted { unit: id })?;
                    Answer::Done(format!(
                        "{} is stopped and started again",
                        unit.as_deref().unwrap_or(GATEWAY)
                    ))
                }
                Err(refused) => refused,
            },
            Request::Reload => return Ok(self.begin_reload(key)),
            // The server sees to these itself.
            Request::Cancel { .. }
            | Request::ToolBegan(_)
            | Request::ToolEnded(_)
            | Request::WatchReport(_) => Answer::Refused("this is not for sexton's main loop".to_owned()),
        }))
    }

    fn asked_to_signal(&mut self, signal: Signal, unit: Option<&str>) -> Result<Answer, Outcome> {
        let unit = match self.unit_id(unit) {
            Ok(unit) => unit,
            Err(refused) => return Ok(refused),
        };
        let snapshot = match unit {
            None => Some(self.supervisor.gateway()),
            Some(id) => self.supervisor.units().get(id).copied(),
        };
        let Some(pid) = snapshot.and_then(|snapshot| snapshot.pid) else {
            return Ok(Answer::Refused("it does not run at this moment".to_owned()));
        };
        info!(name: "control-request", request = "signal", %signal, pid = pid.raw(), "asked over the control socket");
        if unit.is_none() {
            self.dispatch(Event::Signal(Received { signal, origin: Origin::Process }))?;
            return Ok(Answer::Done(format!("{signal} goes to the gateway, pid {pid}")));
        }
        if matches!(signal, Signal::KILL | Signal::STOP) {
            // Nothing passes these on, and the unit's supervisor would be gone, or stand still, itself.
            let why =
                format!("a unit's supervisor cannot pass {signal} on; stop a unit with restart or TERM");
            return Ok(Answer::Refused(why));
        }
        Ok(match signals::send(pid, signal) {
            Ok(()) => Answer::Done(format!("{signal} goes to the unit's supervisor, pid {pid}")),
            Err(error) => Answer::Refused(format!("could not send {signal} to {pid}: {error}")),
        })
    }

    /// The unit of this name; `None` is the gateway, which has no number.
    fn unit_id(&self, name: Option<&str>) -> Result<Option<UnitId>, Answer> {
        let Some(name) = name.filter(|name| *name != GATEWAY) else {
            return Ok(None);
        };
        let place = self.units.list.iter().position(|unit| unit.name == name);
        let why = || Answer::Refused(format!("there is no unit '{name}'; status shows those that there are"));
        place.map(Some).ok_or_else(why)
    }
}
