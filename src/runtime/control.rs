//! What is asked over the control socket, and the answers that are sexton's own.

use tracing::{info, warn};

use super::Runtime;
use crate::config::Control;
use crate::control::place::{self, Problem, VARIABLE};
use crate::control::protocol::{Answer, Request};
use crate::control::server::{Asked, Server};
use crate::ids::{Moment, Signal, UnitState};
use crate::os::{clock, process};
use crate::supervisor::{Event, Origin, Outcome, Received};

/// Opens the control socket. Without one everything else works the same, so that no failure is an end.
pub(super) fn open(wanted: &Control) -> Option<Server> {
    let claimed = match wanted {
        Control::Off => return None,
        Control::Usual => place::claim_usual(),
        Control::At(path) => place::claim(path),
    };
    let server = claimed.and_then(|claimed| {
        let path = claimed.path().to_owned();
        let server =
            Server::new(Some(claimed)).map_err(|error| Problem::System { path: path.clone(), error })?;
        process::set_variable(VARIABLE, path.as_os_str());
        info!(name: "control", path = %path.display(), "the control socket is open");
        Ok(server)
    });
    match server {
        Ok(server) => Some(server),
        Err(problem) if *wanted == Control::Usual => {
            info!(name: "control-off", "there is no control socket: {problem}");
            None
        }
        Err(problem) => {
            warn!(name: "control-off", "there is no control socket: {problem}");
            None
        }
    }
}

impl Runtime<'_> {
    /// When this turn has to end, whatever comes.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let server = self.server.as_ref().and_then(Server::next_deadline);
        let supervisor = self.supervisor.next_deadline();
        match (server, supervisor) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Does one small thing for those who are connected, if there is something to do.
    pub(super) fn hear(&mut self, ready: bool) -> Result<(), Outcome> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let asked = if ready { server.turn() } else { None };
        let wants_news = server.next_deadline().is_some_and(|due| {
            let now = clock::now();
            due <= now && server.pulse(now)
        });
        if wants_news {
            let status = self.status();
            if let Some(server) = &mut self.server {
                server.publish(status);
            }
        }
        match asked {
            None => Ok(()),
            Some(Asked::Noted(kinds)) => {
                for (kind, holds) in kinds {
                    self.tell(Event::Fact { kind, holds })?;
                }
                Ok(())
            }
            Some(Asked::Request(key, request)) => {
                let answer = self.asked(request)?;
                if let Some(server) = &mut self.server {
                    server.answer(key, &answer);
                }
                Ok(())
            }
        }
    }

    /// Does what was asked for, or begins it, and says so.
    ///
    /// # Errors
    /// The outcome, if it is the end.
    fn asked(&mut self, request: Request) -> Result<Answer, Outcome> {
        Ok(match request {
            Request::Status | Request::Subscribe => Answer::Status(Box::new(self.status())),
            Request::Stop => {
                info!(name: "asked", request = "stop", "asked to stop over the control socket");
                let before = self.supervisor.gateway().state;
                self.tell(Event::Stop)?;
                Answer::Done(match (before, self.supervisor.gateway().state) {
                    (UnitState::Running, UnitState::Stopping) => {
                        let grace = humantime::format_duration(self.plan.grace);
                        format!("the gateway was asked to end; it has {grace}")
                    }
                    (UnitState::Stopping, _) => "the stop goes on with its next step".to_owned(),
                    _ => "noted".to_owned(),
                })
            }
            Request::Signal { signal, unit } => match (signal.parse::<Signal>(), is_gateway(unit.as_deref()))
            {
                (Err(error), _) => Answer::Refused(error.to_string()),
                (_, false) => no_unit(unit),
                (Ok(signal), true) => match self.main_pid().filter(|_| self.held.is_none()) {
                    Some(pid) => {
                        info!(name: "asked", request = "signal", %signal, "asked over the control socket");
                        let received = Received { signal, origin: Origin::Process };
                        self.tell(Event::Signal(received))?;
                        Answer::Done(format!("{signal} goes to the gateway, pid {pid}"))
                    }
                    None => Answer::Refused("the gateway does not run at this moment".to_owned()),
                },
            },
            Request::Restart { unit } if is_gateway(unit.as_deref()) => Answer::Refused(
                "this sexton does not start its gateway again; stop it, and whoever started sexton does"
                    .to_owned(),
            ),
            Request::Restart { unit } => no_unit(unit),
            Request::Reload => Answer::Refused(
                "this sexton does not read its configuration again; it is read at the next start".to_owned(),
            ),
            // The server sees to these itself.
            Request::Cancel { .. } | Request::ToolBegan(_) | Request::ToolEnded(_) | Request::Fact(_) => {
                Answer::Refused("this is not for sexton's main loop".to_owned())
            }
        })
    }
}

fn is_gateway(unit: Option<&str>) -> bool {
    unit.is_none_or(|unit| unit == "gateway")
}

fn no_unit(unit: Option<String>) -> Answer {
    let unit = unit.unwrap_or_default();
    Answer::Refused(format!("there is no unit '{unit}'; status shows those that there are"))
}
