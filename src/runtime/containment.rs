//! How the whole tree can be reached, the best way that this system allows.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::os::cgroup::Cgroup;
use crate::os::pidfd::Process;
use crate::os::procfs::{self, Stat};
use crate::os::{children, clock, process, signals, tree};
use crate::supervisor::Remaining;
use crate::types::{Pid, Signal, StartTime};

/// How long one round of KILL through /proc, or a look for a report, may take before signals and deaths are looked at
/// again.
const ROUND: Duration = Duration::from_millis(100);

/// How many children are looked at in one reading of their list. What lives of a line that forks for ever is at its
/// end.
const YOUNGEST: usize = 64;

/// How long the checks of one round may take.
const CHECKS: Duration = Duration::from_secs(1);

/// How all processes of the tree are reached, and which ones are spared.
pub(super) struct Containment {
    way: Method,
    /// The supervisors of units, who with all that is theirs are no part of the gateway's tree.
    units: Vec<Pid>,
    /// That the cgroup could not be killed, which was said.
    kill_failed: Cell<bool>,
    /// Nor are the sessions of `docker exec` and the like, which were opened beside us in our pid namespace, with
    /// what descends from them.
    spares_sessions: bool,
}

/// Best first. Chosen once.
enum Method {
    /// We are the init of our pid namespace: kill(-1) reaches all processes at once.
    KillAll,
    /// A cgroup of our own: `cgroup.kill` reaches all processes in it at once. Processes that left it are found in
    /// /proc.
    Cgroup(Cgroup),
    /// The descendants that /proc shows, again and again until none is left.
    Tree,
}

/// A process that is alive, for a report.
pub(super) struct Alive {
    pub(super) stat: Stat,
    pub(super) age: Duration,
}

impl Alive {
    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(&self.stat.name).into_owned()
    }
}

impl Method {
    fn choose(init: bool, grouped: bool) -> Method {
        if init {
            info!(name: "containment", method = "kill-all", "as init, kill(-1) reaches all processes");
            return Method::KillAll;
        }
        if let Err(error) = process::become_subreaper() {
            warn!(name: "no-subreaper", %error, "orphans will not come to sexton");
        }
        if !grouped {
            return Method::Tree;
        }
        match Cgroup::create(process::own_pid()) {
            Ok(cgroup) => {
                info!(name: "containment", method = "cgroup", "cgroup.kill reaches all processes");
                Method::Cgroup(cgroup)
            }
            Err(error) => {
                info!(name: "containment", method = "tree", %error, "without a cgroup, /proc shows the descendants");
                Method::Tree
            }
        }
    }
}

/// Those whose parent is outside of our pid namespace, where we are its init: they were put in beside us.
fn sessions(all: &[Stat]) -> Vec<Pid> {
    all.iter().filter(|stat| stat.parent == 0).map(|stat| stat.pid).collect()
}

impl Containment {
    /// Chooses, with or without a cgroup.
    pub(super) fn choose(init: bool, grouped: bool) -> Containment {
        Containment {
            way: Method::choose(init, grouped),
            units: Vec::new(),
            kill_failed: Cell::new(false),
            spares_sessions: false,
        }
    }

    /// This supervisor of a unit and everything below it are not meant from now on.
    pub(super) fn exclude(&mut self, supervisor: Pid) {
        self.units.push(supervisor);
    }

    /// Whether the sessions beside us are spared from now on. Only an init has such, and is to end them with all the rest.
    pub(super) fn spare_sessions(&mut self, spares: bool) {
        self.spares_sessions = spares && self.is_init();
    }

    /// It has died: what it left behind is meant again.
    pub(super) fn include(&mut self, supervisor: Pid) {
        self.units.retain(|unit| *unit != supervisor);
    }

    /// The word for it in the log and in status.
    pub(super) fn name(&self) -> &'static str {
        match self.way {
            Method::KillAll => "kill-all",
            Method::Cgroup(_) => "cgroup",
            Method::Tree => "tree",
        }
    }

    /// Whether this one is not meant.
    pub(super) fn spares(&self, pid: Pid) -> bool {
        self.units.contains(&pid)
    }

    pub(super) fn is_init(&self) -> bool {
        matches!(self.way, Method::KillAll)
    }

    /// The cgroup in which the main process is born.
    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        match &self.way {
            Method::Cgroup(cgroup) => Some(cgroup),
            Method::KillAll | Method::Tree => None,
        }
    }

    /// Sends `signal` to everything but us and our helpers; CONT follows all but KILL.
    pub(super) fn send(&self, signal: Signal, helpers: &[Pid]) {
        match &self.way {
            // kill(-1) spares no process.
            Method::KillAll if !self.units.is_empty() || self.spares_sessions => {
                self.send_one_by_one(signal, helpers)
            }
            Method::KillAll => {
                let sent = signals::send_to_all(signal);
                if signal != Signal::KILL && sent.is_ok() {
                    let _ = signals::send_to_all(Signal::CONT);
                }
                // ESRCH means that no process is left, and that is what we want.
                if let Err(error) = sent {
                    debug!(name: "send-failed", %signal, %error, "no process got a signal");
                }
            }
            Method::Cgroup(cgroup) => {
                // It is repeated a hundred times a second.
                if signal == Signal::KILL
                    && let Err(error) = cgroup.kill()
                    && !self.kill_failed.replace(true)
                {
                    warn!(name: "cgroup-kill-failed", %error, "falling back to /proc");
                }
                self.send_one_by_one(signal, helpers);
            }
            Method::Tree => self.send_one_by_one(signal, helpers),
        }
    }

    /// Sends `signal` to all processes but us, our helpers and this process group; CONT follows any signal but KILL.
    /// Returns whether there was a process. Where /proc does not show the groups of processes, none is found, and all
    /// processes have as much time as the group.
    pub(super) fn send_to_others(&self, group: Pid, signal: Signal, helpers: &[Pid]) -> bool {
        self.send_to_each(signal, helpers, |stat| stat.group != group.raw())
    }

    /// Whether a process of this group is alive, as far as /proc shows.
    pub(super) fn has_group(&self, group: Pid, helpers: &[Pid]) -> bool {
        self.living(helpers).into_iter().any(|stat| stat.group == group.raw())
    }

    /// Whether anybody is alive besides the main process and its own children that run the same program: those are a
    /// part of it, as Node's are that start tools for a gateway, and end with it.
    pub(super) fn has_others(&self, main: Pid, helpers: &[Pid]) -> bool {
        let program = procfs::program(main);
        let part = |stat: &Stat| {
            stat.parent == main.raw() && program.is_some() && procfs::program(stat.pid) == program
        };
        self.living(helpers).iter().any(|stat| stat.pid != main && !part(stat))
    }

    fn send_one_by_one(&self, signal: Signal, helpers: &[Pid]) {
        if signal == Signal::KILL {
            self.kill_children(helpers);
        }
        self.send_to_each(signal, helpers, |_| true);
    }

    /// KILL to our own children, the youngest first, until a reading of their list shows no new one.
    ///
    /// Where each process of a line forks and ends at once, it comes to us as soon as its parent has ended, and has as
    /// long to live as its fork takes. A look at the whole tree, with all the zombies that such a line leaves, takes
    /// longer than that.
    fn kill_children(&self, helpers: &[Pid]) {
        let until = clock::now().after(ROUND);
        let mut reached = BTreeSet::new();
        while clock::now() < until {
            let children = children::list().unwrap_or_default();
            let mut somebody_new = false;
            for pid in children.into_iter().rev().take(YOUNGEST) {
                if helpers.contains(&pid) || self.units.contains(&pid) || !reached.insert(pid) {
                    continue;
                }
                if let Some(child) = Process::open_child(pid) {
                    somebody_new = true;
                    // One that has ended meanwhile is what we want.
                    let _ = child.send(Signal::KILL);
                }
            }
            if !somebody_new {
                return;
            }
        }
    }

    /// Reads /proc again until a reading shows no new process: a process can fork while /proc is read. KILL goes to
    /// every process that is alive in each reading. Returns whether a process was found.
    fn send_to_each(&self, signal: Signal, helpers: &[Pid], wanted: impl Fn(&Stat) -> bool) -> bool {
        let (until, checked_until) = (clock::now().after(ROUND), clock::now().after(CHECKS));
        let mut found = false;
        let mut reached: BTreeSet<(Pid, StartTime)> = BTreeSet::new();
        loop {
            let mut somebody_new = false;
            for Stat { pid, start, .. } in self.living(helpers).into_iter().filter(&wanted) {
                let new = !reached.contains(&(pid, start));
                somebody_new |= new;
                if (new || signal == Signal::KILL)
                    && let Some(process) = Process::open(pid, start, |pid| self.is_meant(pid))
                {
                    reached.insert((pid, start));
                    // One that has ended meanwhile is what we want.
                    let _ = process.send(signal);
                    if signal != Signal::KILL {
                        let _ = process.send(Signal::CONT);
                    }
                }
                // A tree that is very deep takes long to be checked. The next round goes on with those that are left.
                if clock::now() >= checked_until {
                    return true;
                }
            }
            found |= somebody_new;
            if !somebody_new || clock::now() >= until {
                return found;
            }
        }
    }

    /// Whether a process that was found a moment ago is still one of those that are meant.
    fn is_meant(&self, pid: Pid) -> bool {
        match &self.way {
            Method::KillAll | Method::Tree => tree::is_ours_but_for(pid, &self.units),
            Method::Cgroup(cgroup) => {
                tree::is_ours_but_for(pid, &self.units)
                    || cgroup.members().is_ok_and(|members| members.contains(&pid))
            }
        }
    }

    /// All living processes that belong to no unit, except us and our helpers.
    fn living(&self, helpers: &[Pid]) -> Vec<Stat> {
        self.living_while(helpers, || true)
    }

    /// The same, but the look ends as soon as `go_on` says no.
    fn living_while(&self, helpers: &[Pid], go_on: impl Fn() -> bool) -> Vec<Stat> {
        let mut found = self.living_with_units(helpers, go_on);
        if !self.units.is_empty() {
            let spared = tree::descending_from(&self.units, &found);
            found.retain(|stat| !self.units.contains(&stat.pid) && !spared.contains(&stat.pid));
        }
        if self.spares_sessions {
            let roots = sessions(&found);
            let spared = tree::descending_from(&roots, &found);
            found.retain(|stat| !roots.contains(&stat.pid) && !spared.contains(&stat.pid));
        }
        found
    }

    /// All living processes, except us and our helpers.
    fn living_with_units(&self, helpers: &[Pid], go_on: impl Fn() -> bool) -> Vec<Stat> {
        let us = process::own_pid();
        let mut found = match &self.way {
            Method::KillAll if !procfs::is_of_our_namespace() => Vec::new(),
            Method::KillAll => procfs::all_while(go_on).unwrap_or_default(),
            Method::Cgroup(_) | Method::Tree => tree::below_us_while(go_on).unwrap_or_default(),
        };
        if let Method::Cgroup(cgroup) = &self.way {
            let known: BTreeSet<Pid> = found.iter().map(|stat| stat.pid).collect();
            let members = cgroup.members().unwrap_or_default();
            let others = members.into_iter().filter(|pid| !known.contains(pid));
            found.extend(others.filter_map(|pid| procfs::stat(pid).ok().flatten()));
        }
        found.retain(|stat| {
            stat.pid != us && !stat.is_dead() && !stat.is_kernel_thread() && !helpers.contains(&stat.pid)
        });
        found
    }

    /// All living processes, those of units included, parents before their children. The supervisors of units are left
    /// out, as we are.
    pub(super) fn top_down(&self, helpers: &[Pid]) -> Vec<Stat> {
        let mut found = self.living_with_units(helpers, || true);
        found.retain(|stat| !self.units.contains(&stat.pid));
        tree::top_down(found)
    }

    /// Those who are alive, with their ages, for a report: no more than a look of [`ROUND`] shows. Where processes end
    /// faster than they are reaped, no signal waits until all of them have been looked at.
    pub(super) fn alive(&self, helpers: &[Pid]) -> Vec<Alive> {
        let until = clock::now().after(ROUND);
        let now = clock::since_boot();
        let ticks = clock::ticks_per_second();
        let living = self.living_while(helpers, || clock::now() < until);
        let aged = living.into_iter().map(|stat| {
            let started = Duration::from_secs(stat.start.0 / ticks);
            Alive { age: Duration::from_secs(now.saturating_sub(started).as_secs()), stat }
        });
        aged.collect()
    }

    /// What is left apart from the zombie and our helpers.
    pub(super) fn rest(&self, zombie: Option<Pid>, helpers: &[Pid]) -> Remaining {
        // Of an init that is alone the kernel says so, which costs less than a look at /proc.
        if self.is_init() && zombie.is_none() && helpers.is_empty() && signals::is_nobody_else_here() {
            return Remaining::Gone;
        }
        let ours = |pid: &Pid| Some(*pid) == zombie || helpers.contains(pid) || self.units.contains(pid);
        let children = children::any(|pid| !ours(&pid)).unwrap_or_else(children::exist);
        if children {
            return Remaining::Children;
        }
        // A subreaper's descendants are all below its children. Only an init can have others beside them,
        // and only a cgroup can hold processes that are not our descendants.
        let others = match &self.way {
            Method::Tree => false,
            Method::KillAll => {
                let us = process::own_pid();
                // Mostly there is no process whose state must be read.
                let shown = procfs::pids().unwrap_or_default();
                procfs::is_of_our_namespace()
                    && shown.iter().any(|pid| *pid != us && !ours(pid))
                    && self.living(helpers).iter().any(|stat| !ours(&stat.pid))
            }
            Method::Cgroup(cgroup) => cgroup.is_populated(),
        };
        match others {
            true => Remaining::Strangers,
            false
                if self.spares_sessions
                    && !sessions(&self.living_with_units(helpers, || true)).is_empty() =>
            {
                Remaining::Sessions
            }
            false => Remaining::Gone,
        }
    }

    /// Removes what earlier runs have left that were killed. It is not a part of the start, which would take longer.
    pub(super) fn tidy(&self) {
        if let Method::Cgroup(cgroup) = &self.way {
            cgroup.remove_abandoned();
        }
    }

    /// Removes what was made for the run.
    pub(super) fn leave(&self) {
        if let Method::Cgroup(cgroup) = &self.way
            && let Err(error) = cgroup.remove()
        {
            warn!(name: "cgroup-remove-failed", %error, "could not remove the cgroup");
        }
    }
}
