//! Reading the configuration again, because an operator asks for it.

use std::rc::Rc;

use tracing::info;

use super::Runtime;
use super::policy::{Surroundings, policy};
use crate::config::change::{self, Change, Fresh};
use crate::config::spelled::Log;
use crate::control::protocol::Answer;
use crate::control::server::Server;
use crate::ids::Outcome;
use crate::report::log;
use crate::supervisor::Event;

impl Runtime<'_> {
    /// Takes over what can change while everything runs, and says what cannot. What is wrong with the configuration
    /// is said, and nothing changes.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn reload(&mut self) -> Result<Answer, Outcome> {
        let Some(reread) = self.reread else {
            return Ok(Answer::Refused("this sexton reads no configuration".to_owned()));
        };
        let fresh = match reread() {
            Ok(fresh) => fresh,
            Err(why) => return Ok(Answer::Refused(why)),
        };
        let log = Log { level: log::level(), json: log::is_json() };
        let Change { now, taken, left } = change::between(&Fresh { plan: (*self.plan).clone(), log }, fresh);
        let watching = now.plan.watching != self.plan.watching;
        log::set_level(now.log.level);
        self.plan = Rc::new(now.plan);
        let watched = self.watch.is_some();
        if !watched && self.plan.watching.is_some() {
            self.begin_to_watch();
        }
        let surroundings = Surroundings {
            tool: false,
            neighbours: !self.units.list.is_empty(),
            registers: self.server.as_ref().is_some_and(Server::listens),
        };
        self.supervisor.amend(policy(&self.plan, surroundings));
        self.tell(Event::Reloaded)?;
        if watched && watching {
            self.brief_watch_again();
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
