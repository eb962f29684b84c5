//! The only loop: wait, tell the supervisor what happened, carry out what it asks for.
//!
//! It decides nothing. After the first process is started nothing in here ends the program but
//! [`Action::Exit`]: an error becomes a log line or an event.

pub mod aside;
mod by_hand;
mod carry_out;
mod control;
mod install;
mod memory;
mod notify;
mod orphans;
mod policy;
mod programs;
mod reach;
mod relay;
mod reload;
mod snapshot;
mod standstill;
mod sweeper;
mod tool;
mod tool_shell;
mod turn;
mod units;
mod watch;

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::rc::Rc;

use tracing::{debug, error, info, warn};

use crate::config::Plan;
use crate::config::change::Fresh;
use crate::config::unit::Unit;
use crate::control::pace::Pace;
use crate::control::protocol::Counters;
use crate::control::server::Server;
use crate::ids::{Dress, Outcome, Pid, exit_code};
use crate::locks::Shown;
use crate::os::board::Board;
use crate::os::children;
use crate::os::early::{self, Inherited};
use crate::os::halt::Halt;
use crate::os::signals::Inlet;
use crate::os::spawn::Started;
use crate::os::terminal::Modes;
use crate::os::{let_go, process, spawn, terminal};
use crate::report::words;
use crate::supervisor::{Action, On, Policy, Snapshot, Supervisor, Terminal as Foreground};
pub use by_hand::run as look_after_locks;
pub use install::run as install;
use notify::Link;
use policy::{Surroundings, policy};
use reach::Reach;
use relay::Relay;
use snapshot::Began;
use sweeper::Sweeper;
use tool::Tool;
pub use tool::run as run_tool;
use units::Units;
use watch::Watch;

/// Carries the plan out, from the first sweep to the last, and gives the exit code.
#[must_use]
#[inline(never)]
pub fn run(plan: &Rc<Plan>, reread: Reread<'_>) -> u8 {
    let_it_run(plan, |runtime| runtime.reread = Some(reread))
}

/// How the configuration is read again: the settings, or what is wrong with them in one line.
pub type Reread<'a> = &'a dyn Fn() -> Result<Fresh, String>;

/// Looks after one unit by this plan, and notes on the board how it is. Names before lines take this much room.
fn run_unit(plan: &Rc<Plan>, board: Option<&Board>, name_width: usize) -> u8 {
    let_it_run(plan, |runtime| (runtime.board, runtime.name_width) = (board, name_width))
}

fn let_it_run<'a>(plan: &'a Rc<Plan>, prepare: impl FnOnce(&mut Runtime<'a>)) -> u8 {
    match Runtime::new(plan, None) {
        Ok(mut runtime) => {
            prepare(&mut runtime);
            match runtime.run().0 {
                failed @ Outcome::StartFailed { .. } => failed.code(plan.dress),
                outcome => plan.exit_code(outcome.code(plan.dress)),
            }
        }
        Err(failure) => {
            error!(name: "cannot-start", "{failure}");
            plan.dress.failed()
        }
    }
}

/// Becomes the command, with everything that sexton was started with. Comes back only with the exit code of a
/// failure, which was said.
#[must_use]
pub fn become_command(command: &[CString]) -> u8 {
    let (stage, errno) = spawn::become_plain(command, early::inherited());
    let name = command.first().map(|name| name.as_c_str()).unwrap_or_default();
    error!(name: "start-failed", "{}", words::failed_start(Dress::Own, name, stage, errno));
    exit_code::of_failed_start(Dress::Own, stage, errno)
}

/// Becomes sexton-watch with these words, to do what sexton itself does not. Comes back only with the exit code of a
/// failure, which was said.
#[must_use]
#[inline(never)]
pub fn become_watch(words: &[OsString]) -> u8 {
    let Some(program) = programs::find(watch::NAME) else {
        let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        error!(name: "no-watch",
            "sexton {word} is done by sexton-watch, which is neither beside sexton nor in PATH; put it there");
        return exit_code::SEXTON_FAILED;
    };
    let line = std::iter::once(program.into_os_string()).chain(words.iter().cloned()).collect();
    match Plan::command_of(line) {
        Ok(command) => become_command(&command),
        Err(problem) => {
            error!(name: "usage", "{problem}");
            exit_code::SEXTON_FAILED
        }
    }
}

struct Runtime<'a> {
    plan: Rc<Plan>,
    /// How the configuration is read again, if it can be.
    reread: Option<Reread<'a>>,
    /// Where it is noted how we are, if this is the supervisor of a unit.
    board: Option<&'a Board>,
    /// What was noted last.
    noted: Option<Snapshot>,
    inherited: &'static Inherited,
    supervisor: Supervisor,
    inlet: Inlet,
    reach: Reach,
    sweeper: Sweeper<'a>,
    /// The control socket, and sexton-watch's.
    server: Option<Server>,
    /// The service manager above.
    link: Option<Link>,
    /// How much of our time goes to those who are connected.
    pace: Pace,
    counters: Counters,
    began: Began,
    units: Units,
    /// sexton-watch, if something is watched.
    watch: Option<Watch>,
    /// How much room names before lines take, so that the lines of all stand below each other.
    name_width: usize,
    /// What passes the command's output on, line by line.
    relay: Option<Relay>,
    main: Option<Started>,
    /// Whom the kernel kills for want of memory.
    kills: memory::Kills,
    /// The working directory that we were started in, once we have left it.
    began_in: Option<PathBuf>,
    /// What is known of the run, if the main process is a tool.
    tool: Option<Tool<'a>>,
    /// What is known of lost tools.
    orphans: orphans::Orphans,
    /// How the terminal was, if it was ours at the start.
    modes: Option<Modes>,
    /// Whom we have stopped for a removal of locks, and who was the last to be seen running.
    halt: Option<Halt>,
    restless: Option<Pid>,
    /// The main process's zombie, kept unreaped while its pid is evidence.
    held: Option<Pid>,
    /// What only the start needed was given back.
    settled: bool,
    /// Who has been reaped before the supervisor has asked for it.
    reaped: Option<Pid>,
    /// The last turn left some of the dead to the next one.
    more_dead: bool,
    /// It was said that signals are not heard.
    blind: bool,
    /// A buffer that lives from turn to turn.
    actions: Vec<Action>,
}

impl<'a> Runtime<'a> {
    /// On the heap, and not moved about: what it takes of the stack stays with us for as long as we run.
    #[inline(never)]
    fn new(plan: &'a Rc<Plan>, tool: Option<Tool<'a>>) -> std::io::Result<Box<Runtime<'a>>> {
        let inherited = early::inherited();
        if let Some(signal) = plan.parent_death {
            process::set_parent_death_signal(signal)?;
        }
        let init = process::own_pid() == Pid::INIT;
        if let Some(text) = plan.warning {
            warn!(name: "not-subreaper", "{text}");
        }
        if let Some(path) = &plan.origin.file {
            let path = Shown(path);
            info!(name: "configuration", path = %path, "settings come from {path}");
        }
        if plan.session
            && let Err(error) = terminal::give_up()
        {
            debug!(name: "terminal", %error, "there is no terminal to hand over");
        }
        // First of all: whatever is opened from now on announces itself to it.
        let inlet = Inlet::open()?;
        let mut server = control::open(&plan.control);
        let (looks, watch) = watch::prepare(plan, &mut server).unzip();
        let units: Vec<Unit> = looks.into_iter().chain(plan.units.iter().cloned()).collect();
        let link = if tool.is_none() { Link::open(plan) } else { None };
        if let (Some(link), Some(server)) = (&link, &server) {
            link.wait_for_others(server.waits_for());
        }
        let surroundings = Surroundings {
            tool: tool.is_some(),
            neighbours: !units.is_empty(),
            registers: server.as_ref().is_some_and(Server::listens),
        };
        let policy = Policy {
            tool: tool.as_ref().map(Tool::policy),
            can_hold: plan.locks.is_some() && children::list().is_some(),
            init,
            seed: policy::seed(),
            units: units.iter().map(units::rule).collect(),
            notify: link.as_ref().map(|link| link.policy(plan, watch.is_some())),
            ..policy(plan, surroundings)
        };
        Ok(Box::new(Runtime {
            plan: Rc::clone(plan),
            reread: None,
            board: None,
            noted: None,
            inherited,
            supervisor: Supervisor::new(policy),
            inlet,
            // A cgroup for each of many short runs costs more than it gives.
            reach: Reach::choose(init, tool.is_none()),
            sweeper: Sweeper::new(plan.locks.as_ref()),
            server,
            watch,
            link,
            pace: Pace::default(),
            counters: Counters::default(),
            began: Began::now(),
            name_width: units::name_width(&units, plan.prefix.as_deref()),
            units: Units::new(units),
            relay: None,
            main: None,
            kills: memory::Kills::default(),
            began_in: None,
            tool,
            orphans: orphans::Orphans::default(),
            modes: modes_of_ours(),
            halt: None,
            restless: None,
            held: None,
            settled: false,
            reaped: None,
            more_dead: false,
            blind: false,
            actions: Vec::new(),
        }))
    }

    /// To the end: how it ended, and the tool with all that is known of its run.
    fn run(mut self: Box<Self>) -> (Outcome, Option<Tool<'a>>) {
        let Err(outcome) = self.live();
        self.leave();
        if !matches!(outcome, Outcome::Exited { .. } | Outcome::StartFailed { .. }) {
            self.restore_modes();
        }
        if let Outcome::StartFailed { stage, errno } = outcome {
            let command = self.plan.command.first().map(|name| name.as_c_str()).unwrap_or_default();
            error!(name: "start-failed", "{}", words::failed_start(self.plan.dress, command, stage, errno));
        }
        (outcome, self.tool)
    }

    /// The child has what sexton was started with, and nothing of it must wait for sexton's end.
    #[inline(never)]
    fn let_go(&mut self) {
        let_go::close_inherited(self.sockets_to_keep());
        // Whoever is started later begins there all the same.
        self.began_in = self.began_in.take().or_else(|| std::env::current_dir().ok());
        if let Err(error) = let_go::leave_directory() {
            debug!(name: "directory-kept", %error, "could not leave the working directory");
        }
    }

    /// The command may be started again, and is then to have the sockets that a service manager passed to us.
    fn sockets_to_keep(&self) -> usize {
        let once = self.plan.restart.on == On::Never
            && self.plan.restart.means.is_empty()
            && self.plan.replace_on.is_empty()
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
        let Some(before) = &self.modes else { return };
        if modes_of_ours().is_some_and(|now| *before != now)
            && let Some(Err(error)) = terminal::Terminal::open().map(|terminal| terminal.set_modes(before))
        {
            debug!(name: "terminal", %error, "could not restore the terminal's modes");
        }
    }

    /// Puts the terminal and the cgroups back as they were found.
    fn leave(&mut self) {
        if let Some(main) = self.main_pid() {
            carry_out::take_terminal(main);
        }
        self.reach.leave();
        self.leave_units();
        if let Some(relay) = &self.relay {
            relay.drain();
        }
        info!(name: "end", "nothing is left");
    }
}

/// The modes of the terminal, if it is in our hands.
fn modes_of_ours() -> Option<Modes> {
    let terminal = terminal::Terminal::open()?;
    let ours = terminal.foreground().ok()? == process::own_group();
    if ours { terminal.modes().ok() } else { None }
}

/// So that the carrying-out speaks of the terminal as the supervisor does.
type Terminal = Foreground;
