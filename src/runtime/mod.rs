//! The only loop: wait, tell the supervisor what happened, carry out what it asks for.
//!
//! The supervisor decides what happens to processes. What a request may ask, whose process an orphan is, and what a
//! sweep does with an orphaned lock is decided in here. After the first process is started nothing in here ends the
//! program but [`Action::Exit`]: an error becomes a log line or an event.

mod containment;
mod control;
mod death_pact;
mod event_loop;
mod execute;
mod freeze;
mod helper_log;
mod inquiry;
mod install;
mod locks_command;
mod manager_link;
mod oom;
mod orphans;
mod output_prefix;
mod policy;
mod programs;
mod reload;
mod status;
mod step;
mod sweeper;
mod tool;
mod tool_shell;
mod units;
mod versions;
mod watch;

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::rc::Rc;

use tracing::{debug, error, info, warn};

use crate::config::Plan;
use crate::config::file_access::FileAccess;
use crate::config::unit::Unit;
use crate::control::protocol::Counters;
use crate::control::rate_limit::RateLimiter;
use crate::control::server::Server;
use crate::control::socket_path::BoundSocket;
use crate::os::freeze::Freezer;
use crate::os::shared_page::SharedPage;
use crate::os::signals::SignalSource;
use crate::os::spawn::Started;
use crate::os::startup::{self, Inherited};
use crate::os::terminal::{Modes, Presence};
use crate::os::{let_go, process, signals, spawn, terminal};
use crate::report::line_limit::LineLimit;
use crate::report::messages;
use crate::supervisor::{Action, Policy, RestartOn, Snapshot, Supervisor, Terminal as Foreground};
use crate::types::{CompatMode, Escaped, MonoTime, Outcome, Pid, Signal, exit_code};
use containment::Containment;
use inquiry::Inquiry;
pub use install::run as install;
pub use locks_command::run as look_after_locks;
use manager_link::ManagerLink;
use output_prefix::Relay;
use policy::{HostFacts, policy};
use programs::Programs;
use reload::Reload;
pub use reload::Reread;
use status::StartTimes;
use step::{RunningStep, Subject};
use sweeper::Sweeper;
use tool::Tool;
pub use tool::run as run_tool;
use units::Units;
use watch::Watch;

/// Carries the plan out, from the first sweep to the last, and gives the exit code.
#[must_use]
#[inline(never)]
pub fn run(plan: &Rc<Plan>, reread: Reread<'_>) -> u8 {
    run_with(plan, |runtime| runtime.reread = Some(reread))
}

/// Looks after one unit by this plan, and notes on the board how it is. Names before lines take this much room.
fn run_unit(plan: &Rc<Plan>, board: Option<&SharedPage>, name_width: usize) -> u8 {
    run_with(plan, |runtime| (runtime.status_page, runtime.name_width) = (board, name_width))
}

fn run_with<'a>(plan: &'a Rc<Plan>, prepare: impl FnOnce(&mut EventLoop<'a>)) -> u8 {
    match EventLoop::new(plan, None) {
        Ok(mut runtime) => {
            prepare(&mut runtime);
            runtime.tell_version();
            let outcome = runtime.run().0;
            let code = outcome.code(plan.compat);
            match outcome {
                Outcome::StartFailed { .. } => return code,
                // One that is called success is no death by a signal.
                Outcome::Signaled { signal, .. } if plan.pass_signal && plan.exit_code(code) == code => {
                    Signal::new(signal).into_iter().for_each(process::exit_by_signal);
                }
                _ => {}
            }
            plan.exit_code(code)
        }
        Err(failure) => {
            error!(name: "cannot-start", "{failure}");
            plan.compat.failed()
        }
    }
}

/// Becomes the command, with everything that sexton was started with. Comes back only with the exit code of a
/// failure, which was said.
#[must_use]
pub fn exec_command(command: &[CString]) -> u8 {
    let (step, errno) = spawn::become_plain(command, startup::inherited());
    let name = command.first().map(|name| name.as_c_str()).unwrap_or_default();
    error!(name: "start-failed", "{}", messages::failed_start(CompatMode::Native, name, step, errno));
    exit_code::of_failed_start(CompatMode::Native, step, errno)
}

/// Becomes sexton-watch with these words, to do what sexton itself does not. Comes back only with the exit code of a
/// failure, which was said.
#[must_use]
#[inline(never)]
pub fn exec_watch(words: &[OsString]) -> u8 {
    let Some(program) = programs::find(watch::NAME) else {
        let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        error!(name: "no-watch",
            "sexton {word} is done by sexton-watch, which is neither beside sexton nor in PATH; put it there");
        return exit_code::SEXTON_FAILED;
    };
    let line = std::iter::once(program.into_os_string()).chain(words.iter().cloned()).collect();
    match Plan::command_of(line) {
        Ok(command) => exec_command(&command),
        Err(problem) => {
            error!(name: "usage-error", "{problem}");
            exit_code::SEXTON_FAILED
        }
    }
}

struct EventLoop<'a> {
    plan: Rc<Plan>,
    /// How the configuration is read again, if it can be.
    reread: Option<Reread<'a>>,
    reload: Reload,
    /// The look at the gateway's package that a start waits for.
    look: Option<Inquiry>,
    /// Where the other programs of the package are.
    programs: Programs,
    /// Where it is noted how we are, if this is the supervisor of a unit.
    status_page: Option<&'a SharedPage>,
    /// What was noted last.
    last_status: Option<Snapshot>,
    inherited: &'static Inherited,
    supervisor: Supervisor,
    /// What its next deadline is, if it was asked since it was told something.
    deadline: Option<Option<MonoTime>>,
    signals: SignalSource,
    containment: Containment,
    sweeper: Sweeper<'a>,
    /// The control socket, until its server begins.
    socket: Option<BoundSocket>,
    /// The side of it that answers, and of sexton-watch's.
    server: Option<Server>,
    /// The service manager above.
    manager: Option<ManagerLink>,
    /// How much of our time those who are connected, and the gateway's messages, have had.
    rate_limiter: RateLimiter,
    /// The lines of incidents, and those of orphans and lost tools.
    incident_lines: LineLimit,
    orphan_lines: LineLimit,
    counters: Counters,
    began: StartTimes,
    units: Units,
    /// sexton-watch, if something is watched.
    watch: Option<Watch>,
    /// How much room names before lines take, so that the lines of all stand below each other.
    name_width: usize,
    /// What passes the command's output on, line by line.
    relay: Option<Relay>,
    main: Option<Started>,
    /// The step that runs, and what is known of the main process that has died.
    step: Option<RunningStep>,
    ended_main: Option<Subject>,
    /// Whom the kernel kills for want of memory.
    oom: oom::OomWatch,
    /// That the main process dies with us.
    death_pact: death_pact::DeathPact,
    /// The working directory that we were started in, once we have left it.
    initial_cwd: Option<PathBuf>,
    /// What is known of the run, if the main process is a tool.
    tool: Option<Tool<'a>>,
    /// What is known of lost tools.
    orphans: orphans::Orphans,
    /// How the terminal was, if it was ours at the start.
    saved_termios: Option<Modes>,
    /// Whether our terminal is still there, if its end is a stop.
    presence: Option<Presence>,
    /// The command has been given the foreground of the terminal.
    gave_terminal: bool,
    /// Whom we have stopped for a removal of locks, and who was the last to be seen running.
    freezer: Option<Freezer>,
    last_running: Option<Pid>,
    /// The main process's zombie, kept unreaped while its pid is evidence.
    held: Option<Pid>,
    /// What only the start needed was given back.
    start_memory_released: bool,
    /// Who has been reaped before the supervisor has asked for it.
    reaped: Option<Pid>,
    /// The last turn left some of the dead to the next one.
    reap_pending: bool,
    /// The helpers may have said more than the last turn wrote.
    log_pending: bool,
    /// It was said that signals are not heard.
    signal_wait_failed: bool,
    /// A buffer that lives from turn to turn.
    actions: Vec<Action>,
}

impl<'a> EventLoop<'a> {
    /// On the heap, and not moved about: what it takes of the stack stays with us for as long as we run.
    #[inline(never)]
    fn new(plan: &'a Rc<Plan>, tool: Option<Tool<'a>>) -> std::io::Result<Box<EventLoop<'a>>> {
        let inherited = startup::inherited();
        if let Some(signal) = plan.settings.parent_death {
            process::set_parent_death_signal(signal)?;
        }
        let init = process::own_pid() == Pid::INIT;
        if let Some(text) = plan.warning {
            warn!(name: "not-subreaper", "{text}");
        }
        if let Some(path) = &plan.origin.file {
            let path = Escaped(path);
            info!(name: "config-loaded", path = %path, "settings come from {path}");
        }
        if plan.session
            && let Err(error) = terminal::detach()
        {
            debug!(name: "terminal-failed", %error, "there is no terminal to hand over");
        }
        // First of all: whatever is opened from now on announces itself to it.
        let inlet = SignalSource::open()?;
        let mut socket = control::bind(&plan.settings.control, plan.compat);
        let registers = socket.is_some();
        // sexton-watch is reached through the same server, and is started before the command.
        let mut server = socket.take_if(|_| plan.watching.is_some()).and_then(control::listen);
        let programs = Programs::of(plan, &FileAccess::Direct);
        let (looks, watch) = watch::prepare(plan, &mut server, programs.watch.clone()).unzip();
        let units: Vec<Unit> = looks.into_iter().chain(plan.units.iter().cloned()).collect();
        let link = if tool.is_none() { ManagerLink::open(plan) } else { None };
        if let (Some(link), Some(server)) = (&link, &server) {
            link.wait_for_others(server.waits_for());
        }
        let surroundings = HostFacts { tool: tool.is_some(), neighbours: !units.is_empty(), registers };
        let terminal = terminal::Terminal::open();
        let policy = Policy {
            tool: tool.as_ref().map(Tool::policy),
            init,
            seed: policy::seed(),
            units: units.iter().map(units::rule).collect(),
            notify: link.as_ref().map(|link| link.policy(plan, watch.is_some())),
            ..policy(plan, surroundings)
        };
        Ok(Box::new(EventLoop {
            plan: Rc::clone(plan),
            reread: None,
            reload: Reload::default(),
            look: None,
            programs,
            status_page: None,
            last_status: None,
            inherited,
            supervisor: Supervisor::new(policy),
            deadline: None,
            signals: inlet,
            // A cgroup for each of many short runs costs more than it gives.
            containment: Containment::choose(init, tool.is_none()),
            sweeper: Sweeper::new(plan.locks.as_ref()),
            socket,
            server,
            watch,
            manager: link,
            rate_limiter: RateLimiter::default(),
            incident_lines: LineLimit::default(),
            orphan_lines: LineLimit::default(),
            counters: Counters::default(),
            began: StartTimes::now(),
            name_width: units::name_width(&units, plan.prefix.as_deref()),
            units: Units::new(units),
            relay: None,
            main: None,
            step: None,
            ended_main: None,
            oom: oom::OomWatch::default(),
            death_pact: death_pact::DeathPact::default(),
            initial_cwd: None,
            tool,
            orphans: orphans::Orphans::default(),
            presence: presence(plan, &terminal),
            saved_termios: terminal.as_ref().and_then(saved_termios),
            gave_terminal: false,
            freezer: None,
            last_running: None,
            held: None,
            start_memory_released: false,
            reaped: None,
            reap_pending: false,
            log_pending: false,
            signal_wait_failed: false,
            actions: Vec::new(),
        }))
    }

    /// To the end: how it ended, and the tool with all that is known of its run.
    fn run(mut self: Box<Self>) -> (Outcome, Option<Tool<'a>>) {
        let Err(outcome) = self.run_loop();
        self.leave();
        self.notify_end(outcome);
        if !matches!(outcome, Outcome::Exited { .. } | Outcome::StartFailed { .. }) {
            self.restore_modes();
        }
        if let Outcome::StartFailed { step, errno } = outcome {
            let command = self.plan.command.first().map(|name| name.as_c_str()).unwrap_or_default();
            error!(name: "start-failed", "{}", messages::failed_start(self.plan.compat, command, step, errno));
        }
        (outcome, self.tool)
    }

    /// The child has what sexton was started with, and nothing of it must wait for sexton's end.
    #[inline(never)]
    fn let_go(&mut self) {
        let_go::close_inherited(self.sockets_to_keep());
        // Processes that are started later begin there all the same.
        self.initial_cwd = self.initial_cwd.take().or_else(|| std::env::current_dir().ok());
        if let Err(error) = let_go::leave_directory() {
            debug!(name: "directory-kept", %error, "could not leave the working directory");
        }
    }

    /// The command may be started again, and is then to have the sockets that a service manager passed to us.
    fn sockets_to_keep(&self) -> usize {
        let once = self.plan.restart.on == RestartOn::Never
            && self.plan.restart.force_exit_codes.is_empty()
            && self.plan.replace_on.is_empty()
            && self.socket.is_none()
            && self.server.is_none();
        let passed = std::env::var("LISTEN_FDS").ok().and_then(|number| number.parse().ok());
        if once { 0 } else { passed.unwrap_or(0) }
    }

    fn main_pid(&self) -> Option<Pid> {
        self.main.as_ref().map(|main| main.pid)
    }

    /// A command that crashed could not put the terminal's modes back; what one leaves behind that ended by
    /// itself, it may have meant.
    fn restore_modes(&self) {
        // Whose command never had the terminal has nothing to repair there: another program may be using it.
        let Some(before) = self.saved_termios.as_ref().filter(|_| self.gave_terminal) else { return };
        let Some(terminal) = terminal::Terminal::open() else { return };
        let Some(now) = saved_termios(&terminal).filter(|now| before != now) else { return };
        let mut restored = terminal.set_modes(before);
        if before.by_lines() && !now.by_lines() {
            restored = restored.and(terminal.leave_full_screen());
        }
        if let Err(error) = restored {
            debug!(name: "terminal-failed", %error, "could not restore the terminal's modes");
        }
    }

    /// Puts the terminal and the cgroups back as they were found.
    fn leave(&mut self) {
        self.sweeper.pass_log_on();
        if let Some(main) = self.main_pid() {
            execute::take_terminal(main);
        }
        self.containment.leave();
        self.death_pact.leave();
        self.leave_units();
        if let Some(relay) = &self.relay {
            relay.drain();
        }
        info!(name: "exited", "nothing is left");
    }
}

/// How the end of the terminal is heard of, where it is a stop: not for one who has a hang-up ignored, as nohup(1)
/// does, nor under the name of a program to which a HUP is any signal.
fn presence(plan: &Plan, terminal: &Option<terminal::Terminal>) -> Option<Presence> {
    let stops = plan.compat == CompatMode::Native && !signals::is_ignored(Signal::HUP);
    terminal.as_ref().filter(|_| stops).and_then(Presence::of)
}

/// The modes of the terminal, if it is in our hands.
fn saved_termios(terminal: &terminal::Terminal) -> Option<Modes> {
    let ours = terminal.foreground().ok()? == process::own_group();
    if ours { terminal.termios().ok() } else { None }
}

/// So that the carrying-out speaks of the terminal as the supervisor does.
type Terminal = Foreground;
