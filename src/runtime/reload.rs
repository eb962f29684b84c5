//! Reading the configuration again, because an operator asks for it.

use std::rc::Rc;

use tracing::info;

use super::EventLoop;
use super::policy::{HostFacts, policy};
use crate::config::dump::Log;
use crate::config::reload::{self, Change, Reloaded};
use crate::control::protocol::Answer;
use crate::control::server::Server;
use crate::report::log;
use crate::supervisor::Event;
use crate::types::Outcome;

impl EventLoop<'_> {
    /// Takes over what can change while everything runs, and says what cannot. What is wrong with the configuration
    /// is said, and nothing changes.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn reload(&mut self) -> Result<Answer, Outcome> {
        let Some(reread) = self.reread else {
            return Ok(Answer::Refused("this sexton reads no configuration".to_owned()));
        };
        let reloaded = match reread() {
            Ok(reloaded) => reloaded,
            Err(why) => return Ok(Answer::Refused(why)),
        };
        let log = Log { level: log::level(), json: log::is_json() };
        let Change { now, taken, left } =
            reload::between(&Reloaded { plan: (*self.plan).clone(), log }, reloaded);
        let watching = now.plan.watching != self.plan.watching;
        log::set_level(now.log.level);
        self.plan = Rc::new(now.plan);
        let watched = self.watch.is_some();
        if !watched && self.plan.watching.is_some() {
            self.start_watching();
        }
        let surroundings = HostFacts {
            tool: false,
            neighbours: !self.units.list.is_empty(),
            registers: self.server.as_ref().is_some_and(Server::listens),
        };
        self.supervisor.amend(policy(&self.plan, surroundings));
        self.dispatch(Event::Reloaded)?;
        if watched && watching {
            self.send_config_again();
        }
        let (taken, left) = (taken.join(", "), left.join(", "));
        info!(name: "reloaded", taken, left, "the configuration was read again");
        let left = if left.is_empty() { left } else { format!("; after a new start of sexton only: {left}") };
        let taken = if taken.is_empty() { "nothing".to_owned() } else { taken };
        let blind = self.plan.watching.is_some() && self.watch.is_none();
        let blind = if blind { "; nothing is watched, because sexton-watch is not there" } else { "" };
        Ok(Answer::Done(format!("changed: {taken}{left}{blind}")))
    }
}
