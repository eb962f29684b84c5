//! Finding the processes of lost tools and of lost units' supervisors, and reaching them.
//!
//! Whose a process is stands in its environment, which is its own memory: reading it can take as long as the
//! process likes. So it is read by a helper, and what it has found comes back through a pipe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tracing::{debug, warn};

use super::tool::MARK;
use super::{EventLoop, units};
use crate::control::attribution::LeftBehind;
use crate::control::protocol::ToolRecord;
use crate::control::registry::Place;
use crate::control::server::Server;
use crate::os::pidfd::Process;
use crate::os::procfs::{self, Stat};
use crate::os::{children, clock, process, seqpacket, signals, tree};
use crate::supervisor::{Event, ToolKey};
use crate::types::{Escaped, Outcome, Pid, Signal, StartTime};

/// How many children one look goes through.
const LOOKED_AT: usize = 1024;
/// How many processes one look asks about.
const ASKED: usize = 512;
/// What a helper says of them at most, in bytes: more than a pipe holds would make it wait for us.
const ANSWER: usize = 60 * 1024;
/// How long it may take to write the record of a lost tool.
const RECORDING: Duration = Duration::from_secs(10);
/// What stands before a unit's name, so that it is no tool's id.
const UNIT: &str = "unit:";

/// What is known of lost tools.
#[derive(Default)]
pub(super) struct Orphans {
    /// The helper that looks, and where its answer comes.
    helper: Option<(Pid, OwnedFd)>,
    /// Those whom it looks at and who are not reaped yet: nobody else has their numbers.
    asked: BTreeSet<Pid>,
    /// Those of ours whose tool is known, until they are reaped.
    members: BTreeMap<Pid, (StartTime, ToolKey)>,
    /// The ids of the tools, each at the place of its key.
    tools: Vec<String>,
}

impl Orphans {
    /// It was reaped: its number is anybody's.
    pub(super) fn reaped(&mut self, pid: Pid) {
        self.asked.remove(&pid);
        self.members.remove(&pid);
    }

    fn key(&mut self, id: &str) -> ToolKey {
        let place = self.tools.iter().position(|known| known == id).unwrap_or_else(|| {
            self.tools.push(id.to_owned());
            self.tools.len() - 1
        });
        ToolKey::try_from(place).unwrap_or(ToolKey::MAX)
    }

    fn id(&self, tool: ToolKey) -> &str {
        usize::try_from(tool).ok().and_then(|place| self.tools.get(place)).map_or("?", String::as_str)
    }
}

impl EventLoop<'_> {
    /// Sends a helper to look whose those are that came to us and are nobody's yet. The answer, if there is nobody to
    /// ask about.
    pub(super) fn find_orphans(&mut self) -> Option<Event> {
        if let Some((helper, _)) = self.orphans.helper.take() {
            // It takes too long over somebody who will not be read.
            let _ = signals::send(helper, Signal::KILL);
        }
        let mut unknown = self.adopted_children();
        self.orphans.members.retain(|pid, (start, _)| {
            procfs::stat(*pid).ok().flatten().is_some_and(|stat| stat.start == *start && !stat.is_dead())
        });
        let known =
            |stat: &Stat| self.orphans.members.get(&stat.pid).is_some_and(|(start, _)| *start == stat.start);
        unknown.retain(|stat| !known(stat));
        unknown.truncate(ASKED);
        self.orphans.asked = unknown.iter().map(|stat| stat.pid).collect();
        if unknown.is_empty() {
            return Some(Event::OrphansFound);
        }
        let tools = self.plan.tools.end_orphans;
        let places = self.server.as_ref().map(Server::tool_places).unwrap_or_default();
        let begun = seqpacket::pipe().and_then(|(ours, theirs)| {
            let helper = self.sweeper.start_helper(&[theirs.as_fd()], || {
                let answer = answer(&unknown, tools, &places);
                let said = theirs.try_clone().and_then(|pipe| File::from(pipe).write_all(&answer));
                u8::from(said.is_err())
            })?;
            Ok((helper, ours))
        });
        match begun {
            Ok((helper, answer)) => {
                self.orphans.helper = Some((helper, answer));
                None
            }
            Err(error) => {
                warn!(name: "orphans-unknown", %error, "could not look whose orphans are");
                Some(Event::OrphansFound)
            }
        }
    }

    /// Everybody alive who is our child and was not started by us.
    fn adopted_children(&self) -> Vec<Stat> {
        let ours = |pid: &Pid| {
            self.main_pid() == Some(*pid)
                || self.sweeper.helpers().contains(pid)
                || self.containment.spares(*pid)
        };
        let children = children::list().unwrap_or_default().into_iter().filter(|pid| !ours(pid));
        // Thousands can be dead and wait for their turn; those that came last are the ones that are new.
        let last = children.rev().take(LOOKED_AT);
        last.filter_map(|pid| procfs::stat(pid).ok().flatten()).filter(|stat| !stat.is_dead()).collect()
    }

    /// Writes the record that a lost supervisor could not write. A helper does so, because the file's system may
    /// hang.
    pub(super) fn record_lost(&mut self, record: &ToolRecord) {
        warn!(name: "tool-lost", tool = record.id, "a tool's supervisor died before its tool");
        let (Some(path), Ok(mut line)) = (&self.plan.tools.record, serde_json::to_vec(record)) else {
            return;
        };
        line.push(b'\n');
        let helper = self.sweeper.start_helper(&[], || {
            // Without an alarm it may hang as long as we run.
            let _ = clock::set_alarm(RECORDING);
            let written = super::tool::append_for_another(path, &line);
            if let Err(error) = &written {
                let path = Escaped(path);
                warn!(name: "record-failed", %path, %error, "could not write the record of a lost tool");
            }
            u8::from(written.is_err())
        });
        if let Err(error) = helper {
            warn!(name: "record-failed", %error, "could not write the record of a lost tool");
        }
    }

    /// A helper of ours has ended. If it is the one that looked, this is what it found.
    pub(super) fn found_orphans(&mut self, helper: Pid) -> Result<(), Outcome> {
        let Some((_, answer)) = self.orphans.helper.take_if(|(pid, _)| *pid == helper) else {
            return Ok(());
        };
        let mut text = Vec::new();
        // The pipe never blocks, and nobody writes to it any more.
        let _ = File::from(answer).read_to_end(&mut text);
        let mut tools = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.splitn(5, ' ');
            let pid = words.next().and_then(|word| Pid::new(word.parse().ok()?));
            let start = words.next().and_then(|word| word.parse().ok()).map(StartTime);
            let mut number = || words.next().and_then(|word| word.parse::<i32>().ok());
            let (Some(group), Some(session)) = (number(), number()) else { continue };
            let (Some(pid), Some(start), Some(mark)) = (pid, start, words.next()) else { continue };
            if !self.orphans.asked.contains(&pid) {
                continue;
            }
            let known = self.server.as_ref().filter(|_| !mark.starts_with(UNIT));
            let one = LeftBehind { group, session, began: began(start) };
            let id = known.map_or_else(|| mark.to_owned(), |server| server.run_of(one, mark));
            let id = id.as_str();
            let tool = self.orphans.key(id);
            self.orphans.members.insert(pid, (start, tool));
            let pid = pid.raw();
            match id.strip_prefix(UNIT) {
                Some(unit) => {
                    warn!(name: "orphan", pid, unit, "a process whose unit's supervisor died came to us")
                }
                None => {
                    warn!(name: "orphan", pid, tool = id, "a process whose tool's supervisor died came to us")
                }
            }
            if !tools.contains(&tool) {
                tools.push(tool);
            }
        }
        for tool in tools {
            self.dispatch(Event::OrphanFound { tool })?;
        }
        self.dispatch(Event::OrphansFound)
    }

    /// Sends this signal to everybody of a lost tool and to all below them, and CONT behind any but KILL.
    pub(super) fn send_to_orphans(&mut self, tool: ToolKey, signal: Signal) -> Option<Event> {
        let mut all = self.adopted_children();
        all.retain(|stat| self.orphans.members.get(&stat.pid) == Some(&(stat.start, tool)));
        if all.is_empty() {
            return Some(Event::OrphansGone { tool });
        }
        let below: Vec<Stat> =
            all.iter().flat_map(|stat| tree::below(stat.pid).unwrap_or_default()).collect();
        // Nobody is reaped before this is done, so that these numbers are theirs.
        let children: Vec<Pid> = all.iter().map(|stat| stat.pid).collect();
        for stat in all.iter().chain(below.iter().filter(|stat| !stat.is_dead())) {
            let (pid, name) = (stat.pid.raw(), String::from_utf8_lossy(&stat.name));
            debug!(name: "orphan-signalled", pid, %name, tool = self.orphans.id(tool), %signal, "is ended with its tool");
            // One that has ended meanwhile is what we want, and another with its number is not meant.
            let is_meant = |pid| tree::is_of_children(pid, &children);
            let Some(process) = Process::open(stat.pid, stat.start, is_meant) else { continue };
            let _ = process.send(signal);
            if signal != Signal::KILL {
                let _ = process.send(Signal::CONT);
            }
        }
        None
    }
}

/// When a process began, in milliseconds since the epoch.
fn began(start: StartTime) -> u64 {
    let ticks = clock::ticks_per_second();
    let start = start.0.saturating_mul(1000).checked_div(ticks).unwrap_or_default();
    let boot = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    clock::wall_millis().saturating_sub(boot.saturating_sub(start))
}

/// When the run with this id began, in milliseconds since the epoch: the first part of an id that sexton has made.
fn began_of(id: &str) -> Option<u64> {
    u64::from_str_radix(id.split_once('-')?.0, 16).ok()
}

/// What the helper says: pid, start time, group, session and the mark of a tool or a unit, of each of which it can tell
/// that. One without a mark that shares its group or session with a marked one is the same one's, if whoever made that
/// group or session bears the mark or is gone, as a tool's first process is by now.
///
/// A tool can be in a session and a group that it has not made: the gateway's and ours, or that of a daemon which has
/// started it. These make nobody its kin. They are those of its supervisor, if that one has registered. Of a run that
/// nobody knows they are not known: then those of no supervisor make kin, and nobody is kin who is older than the run.
///
/// A mark that we carry ourselves is of something that we are in, and says nothing.
fn answer(unknown: &[Stat], tools: bool, places: &[Place]) -> Vec<u8> {
    let ours = |name: &str| std::env::var_os(name).map(|value| value.as_bytes().to_vec());
    let known = if tools { &[(units::MARK, UNIT), (MARK, "")][..] } else { &[(units::MARK, UNIT)] };
    let known: Vec<_> = known.iter().map(|(name, front)| (*name, *front, ours(name))).collect();
    let marked = |stat: &Stat| {
        let text = procfs::environment(stat.pid);
        known.iter().find_map(|(name, front, ours)| {
            let value = mark(&text, name).filter(|value| Some(*value) != ours.as_deref())?;
            Some(format!("{front}{}", String::from_utf8_lossy(value)))
        })
    };
    let marks: Vec<(&Stat, Option<String>)> = unknown.iter().map(|stat| (stat, marked(stat))).collect();
    let us = procfs::stat(process::own_pid()).ok().flatten();
    let (our_group, our_session) = us.map_or((0, 0), |us| (us.group, us.session));
    let made_by = |number: i32, ours: i32, mark: &str| {
        let maker = || procfs::stat(Pid::new(number)?).ok().flatten().filter(|maker| !maker.is_dead());
        number > 0 && number != ours && maker().is_none_or(|maker| marked(&maker).as_deref() == Some(mark))
    };
    let starts_too_early = |stat: &Stat, mark: &str| {
        let known = mark.starts_with(UNIT) || places.iter().any(|place| place.id == mark);
        !known && began_of(mark).is_none_or(|run| began(stat.start) + 20 < run)
    };
    let made_by = |number: i32, ours: i32, mark: &str| {
        let place = places.iter().find(|place| place.id == mark);
        let was_there = |place: &Place| place.session == number || place.group == number;
        let foreign = place.map_or_else(|| places.iter().any(was_there), was_there);
        !foreign && made_by(number, ours, mark)
    };
    let akin = |stat: &Stat| {
        marks.iter().find_map(|(other, mark)| {
            let mark = mark.as_deref().filter(|mark| !starts_too_early(stat, mark))?;
            let by_group = other.group == stat.group && made_by(stat.group, our_group, mark);
            let by_session = other.session == stat.session && made_by(stat.session, our_session, mark);
            (by_group || by_session).then(|| mark.to_owned())
        })
    };
    let mut text = Vec::new();
    for (stat, mark) in &marks {
        let Some(mark) = mark.clone().or_else(|| akin(stat)) else { continue };
        let line = format!("{} {} {} {} {mark}\n", stat.pid, stat.start.0, stat.group, stat.session);
        if text.len() + line.len() <= ANSWER {
            text.extend(line.into_bytes());
        }
    }
    text
}

/// The value of this variable in an environment. One that cannot be ours is nobody's.
fn mark<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (value.len() <= 64 && value.iter().all(sound) && !value.is_empty()).then_some(value)
}
