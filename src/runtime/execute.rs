//! The one match that carries actions out.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::manager_link::ManagerLink;
use super::output_prefix::{PipeReaders, Relay};
use super::tool_shell;
use super::{EventLoop, Terminal, Tool};
use crate::config::unit::User;
use crate::os::privileges::Identity;
use crate::os::{children, process, procfs, signals, spawn, stderr, terminal};
use crate::supervisor::{Action, Event, Note};
use crate::types::{ExitStatus, Outcome, Pid, Signal, StopStage};

impl EventLoop<'_> {
    /// Does it, and gives the event that answers it, if there is one.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn execute(&mut self, action: Action) -> Result<Option<Event>, Outcome> {
        match action {
            Action::Sweep(occasion) => {
                if let Some(found) = self.sweeper.start(occasion) {
                    return Ok(Some(Event::SweepDone(found)));
                }
            }
            Action::AllowRemoval { still } => self.sweeper.proceed(still),
            Action::AbandonSweep => self.sweeper.abandon(),
            Action::Freeze => return Ok(Some(self.freeze())),
            Action::Thaw { stood } => self.thaw(stood),
            Action::Start => return Ok(self.start_by_version()),
            Action::StartUnit(unit) => return self.start_unit(unit).map(Some),
            Action::RunStep(step) => return Ok(self.run_step(step)),
            Action::EndStep => self.end_step(),
            Action::Send { pid, group, signal, value } => send(pid, group, signal, value),
            Action::SignalAll(signal) => {
                self.see_sessions();
                self.containment.send(signal, self.sweeper.helpers());
            }
            Action::SignalOthers { group, signal } => {
                self.see_sessions();
                let reached = self.containment.send_to_others(group, signal, self.sweeper.helpers());
                let event = match reached {
                    false => Some(Event::OthersGone),
                    true if self.containment.has_group(group, self.sweeper.helpers()) => None,
                    true => Some(Event::GroupGone),
                };
                return Ok(event.filter(|_| signal == Signal::KILL));
            }
            Action::LookWhetherHeard { main, signal, sent } => {
                let unheard = procfs::unheard(main).unwrap_or_default();
                let lost = if sent { unheard.lets_wait(signal) } else { unheard.ignores(signal) };
                return Ok(lost.then_some(Event::NotHeard));
            }
            Action::LookForOthers { main } => {
                self.see_sessions();
                let alive = self.containment.has_others(main, self.sweeper.helpers());
                return Ok(Some(Event::OthersSeen { alive }));
            }
            Action::CountRemaining => {
                self.see_sessions();
                return Ok(Some(Event::Remaining(self.containment.rest(self.held, self.sweeper.helpers()))));
            }
            Action::FindOrphans => return Ok(self.find_orphans()),
            Action::SendToOrphans { tool, signal } => return Ok(self.send_to_orphans(tool, signal)),
            Action::Reap(pid) => self.reap(pid),
            Action::GiveTerminal(pid) => self.gave_terminal |= give_terminal(pid),
            Action::Suspend(signal) => {
                self.suspend(signal);
                return Ok(Some(Event::Resumed));
            }
            Action::StopSelf => {
                if let Err(error) = signals::stop_self() {
                    warn!(name: "suspend-failed", %error, "could not stop with the command");
                }
                return Ok(Some(Event::Resumed));
            }
            Action::Notify(message) => return Ok(self.notify(message)),
            Action::ReportAlive(stage) => self.report_alive(stage, None),
            Action::ReportOthers { group, stage } => self.report_alive(stage, Some(group)),
            Action::Note(note) => {
                self.count(note);
                self.note(note);
                if note == Note::HandoffFailed {
                    self.handoff_failed(true)?;
                }
                if let Note::UnitEnded { unit, status, asked: false } = note {
                    self.unit_is_missed(unit, status)?;
                }
            }
            Action::Exit(outcome) => return Err(outcome),
        }
        Ok(None)
    }

    /// Whether the sessions that were opened beside us are meant changes with what comes next.
    fn see_sessions(&mut self) {
        self.containment.spare_sessions(self.supervisor.spares_sessions());
    }

    fn suspend(&self, signal: Signal) {
        if let Some(main) = self.main_pid() {
            take_terminal(main);
        }
        if let Err(error) = signals::suspend_own_group(signal) {
            warn!(name: "suspend-failed", %error, "could not stop with the command");
        }
    }

    pub(super) fn start(&mut self) -> Event {
        let plan = Rc::clone(&self.plan);
        let inlets = if plan.is_helper { self.output_to_log() } else { self.relay_output() };
        let relayed = inlets.iter().flat_map(|inlets| [(inlets.out.as_fd(), 1), (inlets.err.as_fd(), 2)]);
        let passed = plan.passed.iter().map(|passed| passed.as_fd()).zip(3..);
        let descriptors: Vec<_> = relayed.chain(passed).collect();
        let mut env = plan.env.clone();
        env.extend(self.manager.iter().flat_map(ManagerLink::environment));
        env.extend(self.tool.as_ref().map(Tool::mark));
        env.extend(
            inlets
                .iter()
                .filter(|_| plan.is_helper)
                .filter_map(|inlets| stderr::journal_stream(inlets.err.as_fd())),
        );
        env.extend(tool_shell::variables(&plan, self.programs.shell.as_deref()));
        let request = spawn::Request {
            command: &plan.command,
            compat: plan.compat,
            session: plan.session,
            inherited: self.inherited,
            die_with_us: !self.containment.is_init(),
            cgroup: self.containment.cgroup(),
            env: &env,
            directory: plan.directory.as_deref().or(self.initial_cwd.as_deref()),
            user: plan.user.map(|User { uid, gid }| Identity { uid, gid }),
            descriptors: &descriptors,
        };
        match spawn::spawn(&request) {
            Ok(started) => {
                let pid = started.pid;
                if let Some(link) = &mut self.manager {
                    link.wait_for_exec(&started);
                }
                self.let_go();
                if self.plan.locks.is_some() {
                    // When it is needed no file may be to be opened any more.
                    children::keep_list();
                }
                if let Some(tool) = &mut self.tool {
                    tool.started(&started);
                }
                self.main = Some(started);
                if !self.containment.is_init() {
                    self.death_pact.began();
                }
                if self.tool.is_none() {
                    let first = self.supervisor.gateway().restarts == 0;
                    self.oom.began(first && self.containment.is_init());
                }
                info!(name: "started", pid = pid.raw(), "the main process was started");
                Event::Started { pid }
            }
            Err(errno) => Event::StartFailed { step: crate::types::StartStep::Fork, errno },
        }
    }

    /// A command that is a helper has nothing of the caller's: who reads that to its end does not wait for one that
    /// hangs.
    fn output_to_log(&mut self) -> Option<PipeReaders> {
        match self.sweeper.log_for_program() {
            Ok([out, err]) => Some(PipeReaders { out, err }),
            Err(error) => {
                warn!(name: "helper-output-failed", %error, "a helper that hangs can hold sexton's output open");
                None
            }
        }
    }

    /// Starts the process that adds a name to each output line, if that is configured.
    fn relay_output(&mut self) -> Option<PipeReaders> {
        let width = self.name_width;
        let name = format!("{:<width$}", self.plan.prefix.as_deref()?);
        match Relay::start(&name) {
            Ok((relay, inlets)) => {
                for pid in relay.pids {
                    self.sweeper.count_as_ours(pid);
                    self.containment.exclude(pid);
                }
                self.relay = Some(relay);
                Some(inlets)
            }
            Err(error) => {
                warn!(name: "output-prefix-failed", %error, "the lines of the command's output get no name");
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
            if let (Some(link), Some(main)) = (&mut self.manager, &self.main) {
                link.ready_now(main);
            }
            self.main = None;
        }
        self.unit_reaped(pid);
        self.orphans.reaped(pid);
        self.containment.include(pid);
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Forwarded(signal) => debug!(name: "signal-forwarded", %signal, "passed a signal on"),
            Note::SignalQueued(signal) => {
                debug!(name: "signal-queued", %signal, "a signal waits for the start")
            }
            Note::Dropped(signal) => {
                debug!(name: "signal-dropped", %signal, "no process is left to get this signal")
            }
            Note::Delayed(signal, delay) => {
                let delay = humantime::format_duration(delay);
                info!(name: "delayed", %signal, %delay, "a signal is held before it is passed on");
            }
            Note::SignalIgnored(signal) => {
                debug!(name: "signal-ignored", %signal, "this signal is not to be passed on")
            }
            Note::StartRetry(pause) => {
                let pause = humantime::format_duration(pause);
                warn!(name: "start-retry", %pause, "a limit on processes is reached; the start is tried again");
            }
            Note::AskingHandoff(window) => {
                let window = humantime::format_duration(window);
                info!(name: "handoff", %window, "the gateway has ended with 0, and it is asked whether that is a stop");
            }
            Note::HandoffFailed => {
                warn!(name: "handoff-failed", "it was not said whether the gateway's end with 0 is a stop: it counts as a failure");
            }
            Note::BeforeStop(window) => {
                let window = humantime::format_duration(window);
                info!(name: "before-stop", %window, "the step before the stop signal begins");
            }
            Note::BeforeStopOverdue => {
                warn!(name: "before-stop-overdue", "the step before the stop signal did not end in time; the signal follows");
            }
            Note::Stopping { signal, grace } => {
                let grace = humantime::format_duration(grace);
                info!(name: "stopping", %signal, %grace, "the main process was asked to stop");
            }
            Note::NotHeard(signal) => {
                info!(name: "not-heard", %signal, "the main process does not take the stop signal; its process group gets it");
            }
            Note::Draining { left } => {
                let left = humantime::format_duration(left);
                info!(name: "draining", %left, "the main process died of the stop signal; its process group has what is \
                      left of its window");
            }
            Note::StopEscalated(signal) => {
                warn!(name: "stop-escalated", %signal, "a repeated stop signal ends this window");
            }
            Note::MainEnded(pid, status) => {
                let (code, kills) = (status.code(), self.oom.ended(status));
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
                if self.plan.settings.warn_reaped {
                    warn!(name: "reaped", pid, code, "Reaped zombie process with pid={pid}");
                } else {
                    debug!(name: "reaped", pid, code, "Reaped zombie process with pid={pid}");
                }
            }
            Note::WatchdogMissed(window) => {
                let window = humantime::format_duration(window);
                warn!(name: "watchdog-missed", %window, "the gateway gave signs of life, and gives none any more");
            }
            Note::FreezeFailed(window) => self.freeze_failed(window),
            Note::SweepOverdue(window) => {
                let deadline = humantime::format_duration(window);
                warn!(name: "sweep-overdue", %deadline,
                      "the lock sweep did not end in time and was given up; locks may be left until the next one");
            }
            Note::SweepRetry => {
                warn!(name: "sweep-retry", "the lock roots could not be swept; that is tried again, and what comes next waits \
                      for it");
            }
            Note::SweepFailed => {
                warn!(name: "sweep-failed", "the lock roots could not be swept; locks may be left until the next sweep");
            }
            Note::Restarting(pause) => {
                let pause = humantime::format_duration(Duration::from_millis(pause.as_millis() as u64));
                warn!(name: "restarting", %pause, "the command is started again after this pause");
            }
            Note::RestartLimit(restarts) => {
                let interval = humantime::format_duration(self.plan.restart.interval);
                error!(name: "restart-limit", restarts, limit = self.plan.restart.limit, %interval,
                       "the command was started again as often as it may be; sexton ends");
            }
            Note::Replacing(kind) => {
                warn!(name: "restart-requested", why = kind.word(), "the command is stopped to be started again");
            }
            Note::RestartCancelled(signal) => {
                info!(name: "restart-cancelled", %signal, "a stop signal came; the command is not started again");
            }
            Note::UnitStartFailed(unit, errno) => self.note_unit_start_failed(unit, errno),
            Note::UnitStopping(unit) => self.note_unit_stopping(unit),
            Note::UnitEnded { unit, status, asked } => self.note_unit_ended(unit, status, asked),
            Note::UnitLost { unit, status, pause } => self.note_unit_lost(unit, status, pause),
            Note::HealthUnmonitored => {
                warn!(name: "health-unmonitored", "the gateway's health is not monitored any more; it counts as ready \
                      when it runs");
            }
            Note::RequiredUnitEnded(unit) => self.note_required(unit),
            Note::UnitHangs(unit) => self.note_unit_hangs(unit),
        }
    }

    fn report_alive(&mut self, stage: StopStage, but_group: Option<Pid>) {
        /// A fork bomb need not fill the log.
        const SHOWN: usize = 20;
        // Finding out who is alive costs a walk through /proc.
        if stage == StopStage::Grace && self.tool.is_none() && !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        self.see_sessions();
        let mut alive = self.containment.alive(self.sweeper.helpers());
        alive.retain(|process| Some(process.stat.pid) != self.held);
        alive.retain(|process| but_group.is_none_or(|group| process.stat.group != group.raw()));
        if let Some(tool) = &mut self.tool {
            tool.reached(stage, &alive);
        }
        let more = alive.len().saturating_sub(SHOWN);
        for process in alive.iter().take(SHOWN) {
            let pid = process.stat.pid.raw();
            let name = process.name();
            let age = humantime::format_duration(process.age);
            match stage {
                StopStage::Grace => {
                    info!(name: "still-alive", stage = "grace", pid, name, %age, "is asked to end")
                }
                StopStage::Leftovers => {
                    warn!(name: "still-alive", stage = "leftovers", pid, name, %age, "gets SIGTERM");
                }
                StopStage::Kill => {
                    warn!(name: "still-alive", stage = "kill", pid, name, %age, "gets SIGKILL")
                }
                StopStage::Unkillable => {
                    error!(name: "still-alive", stage = "unkillable", pid, name, %age, "survived SIGKILL");
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

/// Whether the command's group has it now.
fn give_terminal(main: Pid) -> bool {
    let given = terminal::Terminal::open().map_or(Ok(false), |terminal| {
        let ours = terminal.foreground()? == process::own_group();
        if ours {
            terminal.set_foreground(main.raw())?;
        }
        Ok::<bool, std::io::Error>(ours)
    });
    given.unwrap_or_else(|error| {
        debug!(name: "terminal-failed", %error, "could not give the terminal to the command");
        false
    })
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
        debug!(name: "terminal-failed", %error, "could not take the terminal back");
    }
}
