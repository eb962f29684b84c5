//! Reading the configuration again, because an operator asks for it.
//!
//! PID 1 opens no file for that: another process can keep it from being opened, for a while or for ever. A helper
//! reads and checks the configuration, and leaves what it has seen in memory that both share. When the helper has
//! ended, PID 1 makes the same settings of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tracing::info;

use super::EventLoop;
use super::inquiry::Inquiry;
use super::policy::{HostFacts, policy};
use super::programs::Programs;
use crate::config::Plan;
use crate::config::file_access::{Answers, FileAccess};
use crate::config::reload::{self, Change};
use crate::control::protocol::Answer;
use crate::control::registry::Key;
use crate::control::server::Server;
use crate::os::memory;
use crate::report::log;
use crate::supervisor::Event;
use crate::types::{Escaped, MonoTime, Outcome, Pid};

/// How the configuration is read again: the settings, or what is wrong with them in one line.
pub type Reread<'a> = &'a dyn Fn(&FileAccess) -> Result<Plan, String>;

/// How long it may take. Who asks waits for five seconds, and for two readings if one is under way.
const DEADLINE: Duration = Duration::from_secs(3);
/// How many can wait for the next reading.
const WAITING: usize = 64;
/// How much a helper can have seen, in bytes: the largest file with every letter escaped, and a little more.
const LARGEST: u64 = 8 << 20;

/// The readings of one run.
#[derive(Default)]
pub(super) struct Reload {
    /// The one that is under way.
    reading: Option<Reading>,
    /// Who asked since it began. The file may have changed after it was read, so that another reading answers them.
    next: Vec<Key>,
    /// A helper that was killed and has not ended yet.
    given_up: Option<Pid>,
}

/// One reading of the configuration.
struct Reading {
    /// What the helper has seen, or what is wrong.
    seen: Inquiry,
    /// Who waits for it.
    asked: Vec<Key>,
}

impl Reload {
    /// When the reading that is under way is given up.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.reading.as_ref().map(|reading| reading.seen.deadline())
    }
}

impl EventLoop<'_> {
    /// Begins to read the configuration for the one who asks over this connection. The answer, if that is known at
    /// once.
    pub(super) fn begin_reload(&mut self, asked: Key) -> Option<Answer> {
        if self.reload.reading.is_none() {
            return self.read_again(vec![asked]).err().map(Answer::Refused);
        }
        if self.reload.next.len() >= WAITING {
            return Some(Answer::Refused("too many ask for it at once; ask again later".to_owned()));
        }
        self.reload.next.push(asked);
        None
    }

    /// Has a helper read it.
    fn read_again(&mut self, asked: Vec<Key>) -> Result<(), String> {
        let reread = self.reread.ok_or("this sexton reads no configuration")?;
        if let Some(helper) = self.reload.given_up {
            return Err(format!(
                "process {helper}, which was to read the configuration before, still hangs; ask again when it has ended"
            ));
        }
        let seen = Inquiry::begin(&mut self.sweeper, c"sexton-reload", DEADLINE, || look(reread))
            .map_err(|error| format!("no process can be made that reads the configuration: {error}"))?;
        self.reload.reading = Some(Reading { seen, asked });
        Ok(())
    }

    /// Gives the reading up that takes too long. Something keeps a file from being read, and it would not be read by
    /// those who wait for the next one either.
    pub(super) fn end_late_reload(&mut self) {
        let late = |reading: &mut Reading| reading.seen.is_late();
        let Some(reading) = self.reload.reading.take_if(late) else { return };
        self.reload.given_up = Some(reading.seen.give_up());
        let file = self.plan.origin.file.as_ref();
        let file = file.map_or("of its file".to_owned(), |path| format!("of {}", Escaped(path)));
        let answer = Answer::Refused(format!(
            "the configuration was not read within {}, and nothing has changed; the filesystem {file} may hang: see \
             that the file can be read, and ask again",
            humantime::format_duration(DEADLINE)
        ));
        let next = std::mem::take(&mut self.reload.next);
        self.answer_all(reading.asked.into_iter().chain(next), &answer);
    }

    /// A helper of ours has ended and is reaped. If it is the one that read, its settings count from now on.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn reload_read(&mut self, helper: Pid) -> Result<(), Outcome> {
        self.reload.given_up.take_if(|given_up| *given_up == helper);
        let ended = |reading: &mut Reading| reading.seen.is_of(helper);
        let Some(Reading { seen, asked }) = self.reload.reading.take_if(ended) else { return Ok(()) };
        let answer = self.take_over(seen)?;
        self.answer_all(asked.into_iter(), &answer);
        // What it took is not needed again soon.
        memory::give_back();
        let next = std::mem::take(&mut self.reload.next);
        if !next.is_empty()
            && let Err(why) = self.read_again(next.clone())
        {
            self.answer_all(next.into_iter(), &Answer::Refused(why));
        }
        Ok(())
    }

    fn answer_all(&mut self, asked: impl Iterator<Item = Key>, answer: &Answer) {
        let Some(server) = &mut self.server else { return };
        asked.for_each(|key| server.answer(key, answer.clone()));
    }

    /// Takes over what can change while everything runs, and says what cannot. What is wrong with the configuration
    /// is said, and nothing changes.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    fn take_over(&mut self, seen: Inquiry) -> Result<Answer, Outcome> {
        let (reloaded, programs) = match self.settings_of(seen) {
            Ok(settings) => settings,
            Err(why) => return Ok(Answer::Refused(why)),
        };
        self.programs = programs;
        let Change { now, taken, left } = reload::between(&self.plan, reloaded);
        self.adopt(now);
        self.dispatch(Event::Reloaded)?;
        let (taken, left) = (taken.join(", "), left.join(", "));
        info!(name: "reloaded", taken, left, "the configuration was read again");
        let left = if left.is_empty() { left } else { format!("; after a new start of sexton only: {left}") };
        let taken = if taken.is_empty() { "nothing".to_owned() } else { taken };
        let blind = self.plan.watching.is_some() && self.watch.is_none();
        let blind = if blind { "; nothing is watched, because sexton-watch does not run" } else { "" };
        Ok(Answer::Done(format!("changed: {taken}{left}{blind}")))
    }

    /// Goes on by this plan.
    pub(super) fn adopt(&mut self, now: Plan) {
        let watching = now.watching != self.plan.watching;
        log::set_level(now.settings.log);
        self.plan = Rc::new(now);
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
        self.deadline = None;
        if watched && watching {
            self.send_config_again();
        }
    }

    /// The settings that come of what the helper has seen, without a look at any file.
    fn settings_of(&self, seen: Inquiry) -> Result<(Plan, Programs), String> {
        let reread = self.reread.ok_or("this sexton reads no configuration")?;
        let answers: Option<Result<Answers, String>> = seen.answer(LARGEST);
        let broke_off = || "the process that read the configuration broke off; ask again".to_owned();
        let seen = FileAccess::Recorded(answers.ok_or_else(broke_off)??);
        let mut reloaded = reread(&seen)?;
        let programs = Programs::of(&reloaded, &seen);
        if reloaded.origin.row.is_some() {
            reloaded.origin.seen = seen.into_answers();
        }
        Ok((reloaded, programs))
    }
}

/// Runs in the helper: reads the configuration. What was seen, or what is wrong.
fn look(reread: Reread<'_>) -> Result<Answers, String> {
    let recording = FileAccess::Recording(RefCell::default());
    let reloaded = reread(&recording)?;
    Programs::of(&reloaded, &recording);
    Ok(recording.into_answers())
}
