//! The one match that carries actions out.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::notify::Link;
use super::relay::{Inlets, Relay};
use super::tool_shell;
use super::{Runtime, Terminal, Tool};
use crate::config::unit::User;
use crate::ids::{ExitStatus, Outcome, Pid, Rung, Signal};
use crate::os::privileges::Identity;
use crate::os::{children, process, signals, spawn, terminal};
use crate::supervisor::{Action, Event, Note};

impl Runtime<'_> {
    /// Does it, and gives the event that answers it, if there is one.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn carry_out(&mut self, action: Action) -> Result<Option<Event>, Outcome> {
        match action {
            Action::Sweep(occasion) => {
                if let Some(found) = self.sweeper.start(occasion) {
                    return Ok(Some(Event::SweepDone(found)));
                }
            }
            Action::Proceed { still } => self.sweeper.proceed(still),
            Action::AbandonSweep => self.sweeper.abandon(),
            Action::StandStill => return Ok(Some(self.stand_still())),
            Action::GoOn { stood } => self.go_on(stood),
            Action::Start => return Ok(Some(self.start())),
            Action::StartUnit(unit) => return self.start_unit(unit).map(Some),
            Action::Send { pid, group, signal, value } => send(pid, group, signal, value),
            Action::SendToRest(signal) => self.reach.send(signal, self.sweeper.helpers()),
            Action::CountRest => {
                return Ok(Some(Event::Rest(self.reach.rest(self.held, self.sweeper.helpers()))));
            }
            Action::FindOrphans => return Ok(self.find_orphans()),
            Action::SendToOrphans { tool, signal } => return Ok(self.send_to_orphans(tool, signal)),
            Action::Reap(pid) => self.reap(pid),
            Action::GiveTerminal(pid) => give_terminal(pid),
            Action::Suspend => {
                self.suspend();
                return Ok(Some(Event::Resumed));
            }
            Action::StopSelf => {
                if let Err(error) = signals::stop_self() {
                    warn!(name: "suspend-failed", %error, "could not stop with the command");
                }
                return Ok(Some(Event::Resumed));
            }
            Action::Notify(message) => return Ok(self.notify(message)),
            Action::ReportAlive(rung) => self.report_alive(rung),
            Action::Note(note) => {
                self.count(note);
                self.note(note);
                if let Note::UnitEnded { unit, status, asked: false } = note {
                    self.unit_is_missed(unit, status)?;
                }
            }
            Action::Exit(outcome) => return Err(outcome),
        }
        Ok(None)
    }

    fn suspend(&self) {
        if let Some(main) = self.main_pid() {
            take_terminal(main);
        }
        if let Err(error) = signals::suspend_own_group() {
            warn!(name: "suspend-failed", %error, "could not stop with the command");
        }
    }

    fn start(&mut self) -> Event {
        let plan = Rc::clone(&self.plan);
        let inlets = self.relay_output();
        let relayed = inlets.iter().flat_map(|inlets| [(inlets.out.as_fd(), 1), (inlets.err.as_fd(), 2)]);
        let passed = plan.passed.iter().map(|passed| passed.as_fd()).zip(3..);
        let descriptors: Vec<_> = relayed.chain(passed).collect();
        let mut env = plan.env.clone();
        env.extend(self.link.iter().flat_map(Link::environment));
        env.extend(self.tool.as_ref().map(Tool::mark));
        env.extend(tool_shell::variables(&plan));
        let request = spawn::Request {
            command: &plan.command,
            dress: plan.dress,
            session: plan.session,
            inherited: self.inherited,
            die_with_us: !self.reach.is_init(),
            cgroup: self.reach.cgroup(),
            env: &env,
            directory: plan.directory.as_deref().or(self.began_in.as_deref()),
            user: plan.user.map(|User { uid, gid }| Identity { uid, gid }),
            descriptors: &descriptors,
        };
        match spawn::spawn(&request) {
            Ok(started) => {
                let pid = started.pid;
                if let Some(link) = &mut self.link {
                    link.wait_for_exec(&started);
                }
                self.let_go();
                if let Some(tool) = &mut self.tool {
                    tool.started(&started);
                }
                self.main = Some(started);
                if self.tool.is_none() {
                    let first = self.supervisor.gateway().restarts == 0;
                    self.kills.began(first && self.reach.is_init());
                }
                info!(name: "started", pid = pid.raw(), "the main process was started");
                Event::Started { pid }
            }
            Err(errno) => Event::StartFailed { stage: crate::ids::Stage::Fork, errno },
        }
    }

    /// Puts somebody between the command and the terminal who names each line, if that is wanted.
    fn relay_output(&mut self) -> Option<Inlets> {
        let width = self.name_width;
        let name = format!("{:<width$}", self.plan.prefix.as_deref()?);
        match Relay::start(&name) {
            Ok((relay, inlets)) => {
                for pid in relay.pids {
                    self.sweeper.count_as_ours(pid);
                    self.reach.spare(pid);
                }
                self.relay = Some(relay);
                Some(inlets)
            }
            Err(error) => {
                warn!(name: "no-prefix", %error, "the lines of the command's output get no name");
                None
            }
        }
    }

    pub(super) fn reap(&mut self, pid: Pid) {
        if self.reaped.take() != Some(pid)
            && let Err(error) = children::reap(pid)
        {
            warn!(name: "reap-failed", pid = pid.raw(), %error, "could not reap a zombie");
        }
        if self.held == Some(pid) {
            self.held = None;
        }
        if self.main_pid() == Some(pid) {
            // Its number can be anybody's from now on.
            take_terminal(pid);
            if let (Some(link), Some(main)) = (&mut self.link, &self.main) {
                link.has_news(main);
            }
            self.main = None;
        }
        self.unit_reaped(pid);
        self.reach.spare_no_more(pid);
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Forwarded(signal) => debug!(name: "forwarded", %signal, "passed a signal on"),
            Note::Kept(signal) => debug!(name: "kept", %signal, "a signal waits for the start"),
            Note::Dropped(signal) => debug!(name: "dropped", %signal, "nobody is left to get this signal"),
            Note::Delayed(signal, delay) => {
                let delay = humantime::format_duration(delay);
                info!(name: "delayed", %signal, %delay, "a signal is held before it is passed on");
            }
            Note::Refused(signal) => debug!(name: "refused", %signal, "this signal is not to be passed on"),
            Note::StartAgain(pause) => {
                let pause = humantime::format_duration(pause);
                warn!(name: "start-again", %pause, "a limit on processes is reached; the start is tried again");
            }
            Note::Stopping { signal, grace } => {
                let grace = humantime::format_duration(grace);
                info!(name: "stopping", %signal, %grace, "the main process was asked to stop");
            }
            Note::Hurried(signal) => {
                warn!(name: "hurried", %signal, "a repeated stop signal ends this window");
            }
            Note::MainEnded(pid, status) => {
                let (code, kills) = (status.code(), self.kills.ended(status));
                match status {
                    ExitStatus::Exited(_) => {
                        info!(name: "main-ended", pid = pid.raw(), code, "the main process has ended");
                    }
                    ExitStatus::Signaled { signal, core } => {
                        let by = Signal::new(signal).map(|signal| signal.to_string()).unwrap_or_default();
                        match kills {
                            Some(kills) => {
                                warn!(name: "out-of-memory", pid = pid.raw(), code, kills,
                                      "the main process was killed, and the kernel has killed for want of memory");
                            }
                            None => info!(name: "main-ended", pid = pid.raw(), code, signal = by, core,
                                       "the main process was ended by a signal"),
                        }
                    }
                }
            }
            Note::Reaped(pid, status) => {
                let (pid, code) = (pid.raw(), status.code());
                if self.plan.warn_reaped {
                    warn!(name: "reaped", pid, code, "Reaped zombie process with pid={pid}");
                } else {
                    debug!(name: "reaped", pid, code, "Reaped zombie process with pid={pid}");
                }
            }
            Note::Silent(window) => {
                let window = humantime::format_duration(window);
                warn!(name: "silent", %window, "the gateway gave signs of life, and gives none any more");
            }
            Note::NotStill(window) => self.not_still(window),
            Note::SweepOverdue(window) => {
                let deadline = humantime::format_duration(window);
                warn!(name: "sweep-overdue", %deadline,
                      "the lock sweep did not end in time and was given up; locks may be left until the next one");
            }
            Note::Again(pause) => {
                let pause = humantime::format_duration(Duration::from_millis(pause.as_millis() as u64));
                warn!(name: "restarting", %pause, "the command is started again after this pause");
            }
            Note::Ceiling(restarts) => {
                let within = humantime::format_duration(self.plan.restart.within);
                error!(name: "ceiling", restarts, ceiling = self.plan.restart.ceiling, %within,
                       "the command was started again as often as it may be; sexton ends");
            }
            Note::Replacing(kind) => {
                warn!(name: "replacing", why = kind.word(), "the command is stopped to be started again");
            }
            Note::EndsInstead(signal) => {
                info!(name: "no-restart", %signal, "a stop signal came; the command is not started again");
            }
            Note::UnitStartFailed(unit, errno) => self.note_unit_start_failed(unit, errno),
            Note::UnitStopping(unit) => self.note_unit_stopping(unit),
            Note::UnitEnded { unit, status, asked } => self.note_unit_ended(unit, status, asked),
            Note::UnitLost { unit, status, pause } => self.note_unit_lost(unit, status, pause),
            Note::Unwatched => {
                warn!(name: "unwatched", "nobody asks the gateway any more whether it is well; it counts as ready \
                      when it runs");
            }
            Note::RequiredUnitEnded(unit) => self.note_required(unit),
            Note::UnitHangs(unit) => self.note_unit_hangs(unit),
        }
    }

    fn report_alive(&mut self, rung: Rung) {
        /// A fork bomb need not fill the log.
        const SHOWN: usize = 20;
        // Finding out who is alive costs a walk through /proc.
        if rung == Rung::Grace && self.tool.is_none() && !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let mut alive = self.reach.alive(self.sweeper.helpers());
        alive.retain(|process| Some(process.stat.pid) != self.held);
        if let Some(tool) = &mut self.tool {
            tool.reached(rung, &alive);
        }
        let more = alive.len().saturating_sub(SHOWN);
        for process in alive.iter().take(SHOWN) {
            let pid = process.stat.pid.raw();
            let name = process.name();
            let age = humantime::format_duration(process.age);
            match rung {
                Rung::Grace => info!(name: "still-alive", rung = "grace", pid, name, %age, "is asked to end"),
                Rung::Stragglers => {
                    warn!(name: "still-alive", rung = "stragglers", pid, name, %age, "gets SIGTERM");
                }
                Rung::Kill => warn!(name: "still-alive", rung = "kill", pid, name, %age, "gets SIGKILL"),
                Rung::GivenUp => {
                    error!(name: "still-alive", rung = "given-up", pid, name, %age, "survived SIGKILL");
                }
            }
        }
        if more > 0 {
            warn!(name: "still-alive", more, "and more");
        }
    }
}

fn send(pid: Pid, group: bool, signal: Signal, value: Option<i32>) {
    let sent = match value {
        // A session is made by the process itself, and may not be there yet.
        _ if group => signals::send_to_group(pid, signal).or_else(|_| signals::send(pid, signal)),
        Some(value) => signals::queue(pid, signal, value),
        None => signals::send(pid, signal),
    };
    if let Err(error) = sent {
        warn!(name: "forward-failed", pid = pid.raw(), %signal, %error, "could not pass a signal on");
    }
}

/// Who is in the foreground of the terminal, seen from `main`, the main process and its group.
pub(super) fn foreground(main: Pid) -> Terminal {
    let group = terminal::Terminal::open().and_then(|terminal| terminal.foreground().ok());
    match group {
        None => Terminal::None,
        Some(group) if group == process::own_group() => Terminal::Ours,
        Some(group) if group == main.raw() => Terminal::Main,
        Some(_) => Terminal::Others,
    }
}

fn give_terminal(main: Pid) {
    let given = terminal::Terminal::open().map_or(Ok(()), |terminal| {
        if terminal.foreground()? == process::own_group() {
            terminal.set_foreground(main.raw())
        } else {
            Ok(())
        }
    });
    if let Err(error) = given {
        debug!(name: "terminal", %error, "could not give the terminal to the command");
    }
}

/// The other way round: only what the main process's group holds is taken.
pub(super) fn take_terminal(main: Pid) {
    let taken = terminal::Terminal::open().map_or(Ok(()), |terminal| {
        if terminal.foreground()? == main.raw() {
            terminal.set_foreground(process::own_group())
        } else {
            Ok(())
        }
    });
    if let Err(error) = taken {
        debug!(name: "terminal", %error, "could not take the terminal back");
    }
}
