//! The only loop: wait, tell the supervisor what happened, carry out what it asks for.
//!
//! It decides nothing. After the first process is started nothing in here ends the program but
//! [`Action::Exit`]: an error becomes a log line or an event.

pub mod aside;
mod by_hand;
mod carry_out;
mod control;
mod notify;
mod orphans;
mod programs;
mod reach;
mod relay;
mod reload;
mod snapshot;
mod standstill;
mod sweeper;
mod tool;
mod tool_shell;
mod units;
mod watch;

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use tracing::{debug, error, info, warn};

use crate::config::change::Fresh;
use crate::config::unit::Unit;
use crate::config::{Control, Locks, Plan};
use crate::control::protocol::Counters;
use crate::control::server::Server;
use crate::ids::{Dress, Outcome, Pid, Signal, SignalSet, exit_code};
use crate::locks::Shown;
use crate::os::board::Board;
use crate::os::children::{self, Change, Dead};
use crate::os::early::{self, Inherited};
use crate::os::halt::Halt;
use crate::os::signals::{Info, Inlet, Woken};
use crate::os::spawn::Started;
use crate::os::terminal::Modes;
use crate::os::{clock, let_go, process, signals, spawn, terminal};
use crate::report::words;
use crate::supervisor::{
    Action, Event, Forwarding, On, Origin, Policy, Received, Snapshot, Supervisor, Terminal as Foreground,
};
pub use by_hand::run as look_after_locks;
use notify::Link;
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
pub fn run(plan: &Plan, reread: Reread<'_>) -> u8 {
    let runtime = Runtime::new(plan, None).map(|runtime| Runtime { reread: Some(reread), ..runtime });
    let_it_run(plan, runtime)
}

/// How the configuration is read again: the settings, or what is wrong with them in one line.
pub type Reread<'a> = &'a dyn Fn() -> Result<Fresh, String>;

/// Looks after one unit by this plan, and notes on the board how it is.
fn run_unit(plan: &Plan, board: Option<&Board>) -> u8 {
    let_it_run(plan, Runtime::new(plan, None).map(|runtime| Runtime { board, ..runtime }))
}

fn let_it_run(plan: &Plan, runtime: std::io::Result<Runtime<'_>>) -> u8 {
    match runtime {
        Ok(runtime) => match runtime.run().0 {
            failed @ Outcome::StartFailed { .. } => failed.code(plan.dress),
            outcome => plan.exit_code(outcome.code(plan.dress)),
        },
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
    counters: Counters,
    began: Began,
    units: Units,
    /// sexton-watch, if something is watched.
    watch: Option<Watch>,
    /// What passes the command's output on, line by line.
    relay: Option<Relay>,
    main: Option<Started>,
    /// How many the kernel had killed for want of memory when the main process was started, if it counts them.
    oom_kills: Option<u64>,
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
    /// The last turn left some of the dead, or some of the signals, to the next one.
    more_dead: bool,
    more_signals: bool,
    /// Buffers that live from turn to turn.
    signals: Vec<Info>,
    actions: Vec<Action>,
}

/// How many deaths one turn tells of at most. Whoever forks for ever can die faster than we reap, and must
/// not keep us from signals and deadlines.
const DEATHS_A_TURN: usize = 256;

impl<'a> Runtime<'a> {
    fn new(plan: &'a Plan, tool: Option<Tool<'a>>) -> std::io::Result<Runtime<'a>> {
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
        let mut server = control::open(&plan.control);
        let (looks, watch) = watch::prepare(plan, &mut server).unzip();
        let units: Vec<Unit> = looks.into_iter().chain(plan.units.iter().cloned()).collect();
        let link = if tool.is_none() { Link::open(plan) } else { None };
        if let (Some(link), Some(server)) = (&link, &server) {
            link.wait_for_others(server.waits_for());
        }
        let policy = Policy {
            tool: tool.as_ref().map(Tool::policy),
            can_hold: plan.locks.is_some() && children::list().is_some(),
            init,
            seed: seed(),
            units: units::rules(&units),
            notify: link.as_ref().map(|link| link.policy(plan)),
            strangers_tell: plan.tools.shell || plan.control == Control::Off || server.is_none(),
            ..policy(plan, tool.is_some(), !units.is_empty())
        };
        Ok(Runtime {
            plan: Rc::new(plan.clone()),
            reread: None,
            board: None,
            noted: None,
            inherited,
            supervisor: Supervisor::new(policy),
            inlet: Inlet::open()?,
            // A cgroup for each of many short runs costs more than it gives.
            reach: Reach::choose(init, tool.is_none()),
            sweeper: Sweeper::new(plan.locks.as_ref()),
            server,
            watch,
            link,
            counters: Counters::default(),
            began: Began::now(),
            units: Units::new(units),
            relay: None,
            main: None,
            oom_kills: None,
            began_in: None,
            tool,
            orphans: orphans::Orphans::default(),
            modes: modes_of_ours(),
            halt: None,
            restless: None,
            held: None,
            more_dead: false,
            more_signals: false,
            signals: Vec::new(),
            actions: Vec::new(),
        })
    }

    /// To the end: how it ended, and the tool with all that is known of its run.
    fn run(mut self) -> (Outcome, Option<Tool<'a>>) {
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

    /// Turn after turn, until the supervisor says how it ended.
    fn live(&mut self) -> Result<Infallible, Outcome> {
        self.tell(Event::Begin)?;
        // Children from before our time, of a shell that executed us, may have died unheard.
        self.bury()?;
        loop {
            self.turn()?;
        }
    }

    /// Waits for something to happen, and takes all of it in.
    fn turn(&mut self) -> Result<(), Outcome> {
        let left_over = self.more_dead || self.more_signals;
        let deadline = if left_over { Some(clock::now()) } else { self.next_deadline() };
        let mut signals = std::mem::take(&mut self.signals);
        // A tool has no server, and a server is above no tool.
        let server = || self.server.as_ref().map(|server| server.waits_for().as_fd());
        let above = || self.link.as_ref().map(Link::waits_for);
        let beside = self.tool.as_ref().map(Tool::beside).or_else(above).or_else(server);
        let woken = self.inlet.wait(deadline, beside, &mut signals).unwrap_or_else(|error| {
            // Waiting failed, which no kernel in use is known to do. The turn still looks at everything.
            warn!(name: "wait-failed", %error, "could not wait for signals");
            self.more_dead = true;
            Woken::default()
        });
        self.more_signals = woken.more_signals;
        let mut child_changed = self.more_dead;
        for signal in signals.drain(..) {
            if signal.signal == Signal::CHLD {
                debug!(name: "received", "Received SIGCHLD");
                child_changed = true;
            } else if !self.is_a_hint(signal) {
                self.tell(Event::Signal(received(signal)))?;
            }
        }
        self.signals = signals;
        if child_changed {
            self.bury()?;
        }
        self.hear_of_tool()?;
        let due = self.supervisor.next_deadline().is_some_and(|deadline| deadline <= clock::now());
        if due {
            self.tell(Event::Tick)?;
        }
        self.hear(woken.beside)?;
        if woken.beside { self.hear_gateway() } else { Ok(()) }
    }

    /// Tells of each death while the dead is still a zombie. SIGCHLD coalesces, so that this goes on until
    /// there is nobody left, if need be in the next turn.
    fn bury(&mut self) -> Result<(), Outcome> {
        let mut told = 0;
        self.more_dead = true;
        while told < DEATHS_A_TURN {
            let found = match self.held {
                None => self.bury_next(),
                Some(held) => self.bury_all_but(held),
            }?;
            if found == 0 {
                self.more_dead = false;
                break;
            }
            told += found;
        }
        if told > 0 { self.tell(Event::Drained) } else { Ok(()) }
    }

    fn bury_next(&mut self) -> Result<usize, Outcome> {
        match children::peek() {
            Ok(None) => Ok(0),
            Ok(Some(change)) => self.take_in(change).map(|()| 1),
            Err(error) => {
                warn!(name: "wait-failed", %error, "could not look for dead children");
                Ok(0)
            }
        }
    }

    fn bury_all_but(&mut self, held: Pid) -> Result<usize, Outcome> {
        let changes = children::peek_all_but(held).unwrap_or_else(|error| {
            warn!(name: "wait-failed", %error, "could not look for dead children");
            Vec::new()
        });
        for change in &changes {
            self.take_in(*change)?;
        }
        Ok(changes.len())
    }

    fn take_in(&mut self, change: Change) -> Result<(), Outcome> {
        match change {
            Change::Died(dead) => self.bury_one(dead),
            Change::Stopped { pid, signal } if self.main_pid() == Some(pid) => {
                let terminal = carry_out::foreground(pid);
                debug!(name: "main-stopped", pid = pid.raw(), %signal, "the main process was stopped");
                self.tell(Event::Stopped { signal, terminal })
            }
            Change::Stopped { pid, .. } if self.sweeper.sweeps(pid) => self.tell(Event::SweepReady),
            // A stopped orphan is nobody's concern before the end, and then it gets CONT.
            Change::Stopped { .. } => Ok(()),
        }
    }

    fn bury_one(&mut self, dead: Dead) -> Result<(), Outcome> {
        if self.sweeper.owns(dead.pid) {
            self.reap(dead.pid);
            self.found_orphans(dead.pid)?;
            return match self.sweeper.ended(dead.pid) {
                Some(event) => self.tell(event),
                None => Ok(()),
            };
        }
        if self.main_pid() == Some(dead.pid) {
            self.held = Some(dead.pid);
            if let Some(tool) = &mut self.tool {
                tool.ended(dead.status);
            }
            let failure = self.main.as_mut().and_then(Started::failure);
            if let Some((stage, errno)) = failure {
                self.tell(Event::StartFailed { stage, errno })?;
            }
        }
        self.tell(Event::Died { pid: dead.pid, status: dead.status })
    }

    /// Tells the supervisor and carries out what it asks for, and what follows from that, until it is quiet.
    ///
    /// # Errors
    /// The outcome, when the supervisor has asked for the end.
    fn tell(&mut self, event: Event) -> Result<(), Outcome> {
        // The buffer is handed round, because one reap should not cost one allocation.
        let mut actions = std::mem::take(&mut self.actions);
        self.supervisor.handle(clock::now(), event, &mut actions);
        for action in actions.drain(..) {
            if let Some(answer) = self.carry_out(action)? {
                self.tell(answer)?;
            }
        }
        self.actions = actions;
        self.tell_watch_of_gateway();
        self.note_on_board();
        Ok(())
    }

    fn main_pid(&self) -> Option<Pid> {
        self.main.as_ref().map(|main| main.pid)
    }

    /// A command that crashed could not put the terminal's modes back; what one leaves behind that ended by
    /// itself, it may have meant.
    fn restore_modes(&self) {
        let (Some(before), Some(now)) = (&self.modes, modes_of_ours()) else {
            return;
        };
        if *before != now
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

/// What the plan says of the supervisor's business, for a tool or for a gateway, with neighbours or without.
fn policy(plan: &Plan, tool: bool, neighbours: bool) -> Policy {
    Policy {
        grace: plan.grace,
        stragglers: plan.stragglers,
        group: plan.group,
        stop_signals: plan.stop_signals.unwrap_or_else(|| stop_signals(tool)),
        forwarding: Forwarding { rewrite: plan.rewrite.clone(), delay: plan.delay.clone() },
        stop_sequence: plan.stop_sequence.clone(),
        wait_all: plan.wait_all,
        session: plan.session,
        tool: None,
        // A tool ends its own tree as a whole, and soon enough.
        end_orphans: ((plan.tools.end_orphans || neighbours) && !tool).then_some(plan.tools.grace),
        strangers_tell: plan.tools.shell,
        sweep: plan.locks.as_ref().map(|locks| locks.deadline),
        hand_over: plan.locks.as_ref().and_then(Locks::start_window),
        look_later: plan.locks.as_ref().is_some_and(|locks| locks.look_later),
        can_hold: false,
        init: false,
        restart: plan.restart.clone(),
        seed: 0,
        replace_on: plan.replace_on.clone(),
        units: Vec::new(),
        notify: None,
    }
}

/// TERM, INT and RTMIN+3, the halt signal of systemd and podman, and for a tool HUP; but not what whoever started us wanted
/// ignored, as a shell does with INT for a background command.
fn stop_signals(tool: bool) -> SignalSet {
    let halt = Signal::new(Signal::RTMIN.number() + 3);
    let hang_up = tool.then_some(Signal::HUP);
    [Some(Signal::TERM), Some(Signal::INT), halt, hang_up]
        .into_iter()
        .flatten()
        .filter(|signal| !signals::is_ignored(*signal))
        .collect()
}

/// Differs from sexton to sexton, also where many start in one moment with the same pid.
fn seed() -> u64 {
    let moment = u64::from(clock::now().0.subsec_nanos());
    (moment << 32) ^ u64::from(std::process::id())
}

fn received(info: Info) -> Received {
    let origin = match info.code {
        libc::SI_KERNEL => Origin::Kernel,
        libc::SI_QUEUE => Origin::Queue(info.value),
        _ => Origin::Process,
    };
    Received { signal: info.signal, origin }
}

/// So that the carrying-out speaks of the terminal as the supervisor does.
type Terminal = Foreground;
