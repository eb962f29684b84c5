//! Finding the processes of lost tools and of lost units' supervisors, and reaching them.
//!
//! Whose a process is stands in its environment, which is its own memory: reading it can take as long as the
//! process likes. So it is read by a helper, and what it has found comes back through a pipe.
//!
//! How many orphans there are, and of how many tools, is for others to choose. So sexton itself looks at a few
//! processes a turn at most, and remembers of a lost tool nothing longer than its last process lives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tracing::{debug, warn};

use super::EventLoop;
use crate::control::kinship::{self, LeftBehind, Maker, Newcomer, Place, TOOL_VARIABLE, UNIT, UNIT_VARIABLE};
use crate::control::protocol::ToolRecord;
use crate::control::rate_limit::RateLimiter;
use crate::control::server::Server;
use crate::os::pidfd::Process;
use crate::os::procfs::{self, Stat};
use crate::os::{children, clock, process, seqpacket, signals, tree};
use crate::supervisor::{Event, ToolKey};
use crate::types::{Escaped, MonoTime, Outcome, Pid, Signal, StartTime};

/// How many children one look goes through.
const LOOKED_AT: usize = 1024;
/// How many processes one look asks about.
const ASKED: usize = 512;
/// What a helper says of them at most, in bytes: more than a pipe holds would make it wait for us.
const ANSWER: usize = 60 * 1024;
/// How long it may take to write the record of a lost tool.
const RECORDING: Duration = Duration::from_secs(10);

/// How long a helper may look before the next one is sent in its place.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many processes of lost tools are known at once. Who finds no room is found by a later look.
const MEMBERS: usize = 1024;
/// How many helpers there are at most when one is started to write a record: one that is written to can hang.
const HELPERS: usize = 32;
/// How many processes a signal to a member goes to, with those below it. The others are reached when it is repeated, or
/// when they come to us.
const REACHED: usize = 256;
/// How much of a processor one turn spends on signals to orphans before it ends.
const TURN: Duration = Duration::from_millis(1);

/// What is known of lost tools.
#[derive(Default)]
pub(super) struct Orphans {
    look: Option<Look>,
    /// Those of ours whose tool is known. Being ours, each is here until it is reaped.
    members: BTreeMap<Pid, (StartTime, ToolKey)>,
    /// The tools that have members: the id, and who they are.
    tools: BTreeMap<ToolKey, (String, BTreeSet<Pid>)>,
    keys: BTreeMap<String, ToolKey>,
    last: ToolKey,
    /// The members who are to be signalled, with all below them.
    due: BTreeMap<Pid, Signal>,
    /// How much of our time signals to orphans have had.
    limiter: RateLimiter,
}

/// A look of a helper.
struct Look {
    helper: Pid,
    /// Whom it asks about. Who has been reaped since is taken out: another can have the number.
    asked: BTreeSet<Pid>,
    /// Where its answer comes.
    answer: OwnedFd,
    began: MonoTime,
    /// sexton may have adopted more processes since.
    again: bool,
}

impl Orphans {
    /// When there is something to be done.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        if self.due.is_empty() {
            return None;
        }
        let now = clock::now();
        Some(self.limiter.wait_until(now).unwrap_or(now))
    }

    /// A process of this tool has come to us. The tool's key, if there is room.
    fn add(&mut self, pid: Pid, start: StartTime, id: &str) -> Option<ToolKey> {
        if self.members.len() >= MEMBERS || self.members.contains_key(&pid) {
            return None;
        }
        let key = self.keys.get(id).copied().unwrap_or_else(|| {
            self.last = self.last.wrapping_add(1);
            self.keys.insert(id.to_owned(), self.last);
            self.last
        });
        self.tools.entry(key).or_insert_with(|| (id.to_owned(), BTreeSet::new())).1.insert(pid);
        self.members.insert(pid, (start, key));
        Some(key)
    }

    /// This child is no more.
    pub(super) fn reaped(&mut self, pid: Pid) {
        if let Some(look) = &mut self.look {
            look.asked.remove(&pid);
        }
        let Some((_, key)) = self.members.remove(&pid) else { return };
        self.due.remove(&pid);
        let Some((id, members)) = self.tools.get_mut(&key) else { return };
        members.remove(&pid);
        if members.is_empty() {
            self.keys.remove(id);
            self.tools.remove(&key);
        }
    }

    /// Signals the next member that is to be, and all below it. `false` if there is none.
    fn signal_next(&mut self) -> bool {
        let Some((pid, signal)) = self.due.pop_first() else { return false };
        if let Some((start, _)) = self.members.get(&pid) {
            send_to_all_of(pid, *start, signal);
        }
        true
    }
}

/// Sends this signal to a member and to all processes below it, and CONT after any signal but KILL. All of them are
/// found before the first one is signalled, because the children of a process that ends get another parent. No child of
/// ours is reaped meanwhile, so no number is reused.
fn send_to_all_of(member: Pid, start: StartTime, signal: Signal) {
    let us = process::own_pid();
    let mut open = VecDeque::from([(us, member)]);
    let mut found: Vec<Stat> = Vec::new();
    while let Some((parent, pid)) = open.pop_front().filter(|_| found.len() < REACHED) {
        // Another process can have got a number that was listed.
        let stat = procfs::stat(pid).ok().flatten().filter(|stat| stat.parent == parent.raw());
        let Some(stat) = stat.filter(|stat| !stat.is_dead() && (pid != member || stat.start == start)) else {
            continue;
        };
        found.push(stat);
        open.extend(tree::children_of(pid).into_iter().take(REACHED).map(|child| (pid, child)));
    }
    for stat in &found {
        let (pid, name) = (stat.pid.raw(), String::from_utf8_lossy(&stat.name));
        debug!(name: "orphan-signalled", pid, %name, %signal, "is ended with its tool");
        // One that has ended meanwhile is what we want, and another with its number is not meant. So is one whose
        // parent has ended by now: it comes to us, and is found there.
        let still = |pid| procfs::stat(pid).ok().flatten().is_some_and(|now| now.parent == stat.parent);
        let Some(process) = Process::open(stat.pid, stat.start, still) else { continue };
        let _ = process.send(signal);
        if signal != Signal::KILL {
            let _ = process.send(Signal::CONT);
        }
    }
}

impl EventLoop<'_> {
    /// Starts a helper that finds out which tools the adopted processes belong to that have no known owner yet. Returns
    /// the answer at once if there is no such process.
    pub(super) fn find_orphans(&mut self) -> Option<Event> {
        let now = clock::now();
        match &mut self.orphans.look {
            Some(look) if now.since(look.began) < PATIENCE => {
                look.again = true;
                return None;
            }
            Some(look) => {
                // It takes too long over a process whose environment cannot be read.
                let _ = signals::send(look.helper, Signal::KILL);
                self.orphans.look = None;
            }
            None => {}
        }
        let unknown = self.unknown_children();
        if unknown.is_empty() {
            return Some(Event::OrphansFound);
        }
        let asked = unknown.iter().copied().collect();
        let tools = self.plan.tools.end_orphans;
        let places = self.server.as_ref().map(Server::tool_places).unwrap_or_default();
        let begun = seqpacket::pipe().and_then(|(ours, theirs)| {
            let helper = self.sweeper.start_helper(&[theirs.as_fd()], || {
                let answer = answer(&alive(&unknown), tools, &places);
                let said = theirs.try_clone().and_then(|pipe| File::from(pipe).write_all(&answer));
                u8::from(said.is_err())
            })?;
            Ok((helper, ours))
        });
        match begun {
            Ok((helper, answer)) => {
                self.orphans.look = Some(Look { helper, asked, answer, began: now, again: false });
                None
            }
            Err(error) => {
                if self.orphan_lines.has_room("orphans-unknown") {
                    warn!(name: "orphans-unknown", %error, "could not look whose orphans are");
                }
                Some(Event::OrphansFound)
            }
        }
    }

    /// The children that were not started by us and are not known to be a lost tool's. Thousands can be dead and wait
    /// for their turn; those that came last are the ones that are new.
    fn unknown_children(&self) -> Vec<Pid> {
        let children = children::list().unwrap_or_default();
        let known = |pid: &Pid| {
            self.main_pid() == Some(*pid)
                || self.orphans.members.contains_key(pid)
                || self.sweeper.helpers().contains(pid)
                || self.containment.spares(*pid)
        };
        children.into_iter().rev().filter(|pid| !known(pid)).take(LOOKED_AT).collect()
    }

    /// Writes the record that a lost supervisor could not write. A helper does so, because the file's system may
    /// hang.
    pub(super) fn record_lost(&mut self, record: &ToolRecord) {
        if self.orphan_lines.has_room("tool-lost") {
            warn!(name: "tool-lost", tool = record.id, "a tool's supervisor died before its tool");
        }
        let (Some(path), Ok(mut line)) = (&self.plan.tools.record, serde_json::to_vec(record)) else {
            return;
        };
        if self.sweeper.helpers().len() >= HELPERS {
            if self.orphan_lines.has_room("record-failed") {
                warn!(name: "record-failed", tool = record.id, "too many records of lost tools are being written");
            }
            return;
        }
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
        let Some(look) = self.orphans.look.take_if(|look| look.helper == helper) else {
            return Ok(());
        };
        let mut text = Vec::new();
        // The pipe never blocks, and no process writes to it any more.
        let _ = File::from(look.answer).read_to_end(&mut text);
        let mut tools = BTreeSet::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.splitn(5, ' ');
            let pid = words.next().and_then(|word| Pid::new(word.parse().ok()?));
            let start = words.next().and_then(|word| word.parse().ok()).map(StartTime);
            let mut number = || words.next().and_then(|word| word.parse::<i32>().ok());
            let (Some(group), Some(session)) = (number(), number()) else { continue };
            let (Some(pid), Some(start), Some(mark)) = (pid, start, words.next()) else { continue };
            if !look.asked.contains(&pid) {
                continue;
            }
            let known = self.server.as_ref().filter(|_| !mark.starts_with(UNIT));
            let one = LeftBehind { group, session, began: began(start) };
            let id = known.map_or_else(|| mark.to_owned(), |server| server.run_of(one, mark));
            let id = id.as_str();
            let Some(tool) = self.orphans.add(pid, start, id) else { continue };
            let pid = pid.raw();
            match id.strip_prefix(UNIT) {
                _ if !self.orphan_lines.has_room("orphan") => {}
                Some(unit) => {
                    warn!(name: "orphan", pid, unit, "a process whose unit's supervisor died came to us")
                }
                None => {
                    warn!(name: "orphan", pid, tool = id, "a process whose tool's supervisor died came to us")
                }
            }
            tools.insert(tool);
        }
        for tool in tools {
            self.dispatch(Event::OrphanFound { tool })?;
        }
        let looked = if look.again { self.find_orphans() } else { Some(Event::OrphansFound) };
        looked.map_or(Ok(()), |event| self.dispatch(event))
    }

    /// Has this signal sent to all processes of a lost tool and to all below them in the next turns. Returns the answer
    /// at once if no process is left.
    pub(super) fn send_to_orphans(&mut self, tool: ToolKey, signal: Signal) -> Option<Event> {
        let Some((_, members)) = self.orphans.tools.get(&tool) else {
            return Some(Event::OrphansGone { tool });
        };
        self.orphans.due.extend(members.iter().map(|pid| (*pid, signal)));
        None
    }

    /// Goes on with the signals to orphans for as long as one turn may.
    pub(super) fn signal_orphans(&mut self) {
        if self.orphans.deadline().is_none_or(|due| due > clock::now()) {
            return;
        }
        let begun = clock::own_time();
        let spent = || clock::own_time().saturating_sub(begun);
        while self.orphans.signal_next() && spent() < TURN {}
        self.orphans.limiter.charge(clock::now(), spent());
    }
}

/// Those of these children who are alive, as far as there is room.
fn alive(children: &[Pid]) -> Vec<Stat> {
    let alive = children.iter().filter_map(|pid| procfs::stat(*pid).ok().flatten());
    alive.filter(|stat| !stat.is_dead()).take(ASKED).collect()
}

/// When a process began, in milliseconds since the epoch.
fn began(start: StartTime) -> u64 {
    let ticks = clock::ticks_per_second();
    let start = start.0.saturating_mul(1000).checked_div(ticks).unwrap_or_default();
    let boot = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    clock::wall_millis().saturating_sub(boot.saturating_sub(start))
}

/// What the helper says: pid, start time, group, session and the mark of a tool or a unit, of each of which it can tell
/// that ([`kinship::marks`]).
///
/// A mark that we carry ourselves is of something that we are in, and says nothing.
fn answer(unknown: &[Stat], tools: bool, supervisors: &[Place]) -> Vec<u8> {
    let ours = |name: &str| std::env::var_os(name).map(|value| value.as_bytes().to_vec());
    let known =
        if tools { &[(UNIT_VARIABLE, UNIT), (TOOL_VARIABLE, "")][..] } else { &[(UNIT_VARIABLE, UNIT)] };
    let known: Vec<_> = known.iter().map(|(name, front)| (*name, *front, ours(name))).collect();
    let marked = |stat: &Stat| {
        let text = procfs::environment(stat.pid);
        known.iter().find_map(|(name, front, ours)| {
            let value = mark(&text, name).filter(|value| Some(*value) != ours.as_deref())?;
            Some(format!("{front}{}", String::from_utf8_lossy(value)))
        })
    };
    let newcomer = |stat: &Stat| Newcomer {
        one: LeftBehind { group: stat.group, session: stat.session, began: began(stat.start) },
        mark: marked(stat),
    };
    let newcomers: Vec<Newcomer> = unknown.iter().map(newcomer).collect();
    let own = procfs::stat(process::own_pid()).ok().flatten().map_or((0, 0), |us| (us.group, us.session));
    let maker = |number| match Pid::new(number).and_then(|pid| procfs::stat(pid).ok().flatten()) {
        Some(maker) if !maker.is_dead() => Maker::Lives(marked(&maker)),
        _ => Maker::Ended,
    };
    let mut text = Vec::new();
    for (stat, mark) in unknown.iter().zip(kinship::marks(&newcomers, own, supervisors, &maker)) {
        let Some(mark) = mark else { continue };
        let line = format!("{} {} {} {} {mark}\n", stat.pid, stat.start.0, stat.group, stat.session);
        if text.len() + line.len() <= ANSWER {
            text.extend(line.into_bytes());
        }
    }
    text
}

/// The value of this variable in an environment. A value that sexton cannot have set is no mark.
fn mark<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (value.len() <= 64 && value.iter().all(sound) && !value.is_empty()).then_some(value)
}
