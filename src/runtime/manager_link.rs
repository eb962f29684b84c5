//! The service manager above us, and the gateway below that takes us for one.
//!
//! With `NotifyAccess=main` systemd hears its main process alone, which is sexton: what the gateway has to say
//! comes through a socket of ours, and only that of it goes on which is the gateway's to say.

use std::env;
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::EventLoop;
use crate::config::Plan;
use crate::os::notify::{Datagram, NotifySender, NotifySocket};
use crate::os::poll::{EpollSet, Interest};
use crate::os::spawn::Started;
use crate::os::{clock, privileges, process, seqpacket, signals, tree};
use crate::supervisor::{Event, ManagerState, Message, Notify, NotifyMessage, Ready, notify_message};
use crate::types::{CompatMode, HealthState, MonoTime, Outcome, Pid, Signal, one_line};

const SOCKET: &str = "NOTIFY_SOCKET";
const WINDOW: &str = "WATCHDOG_USEC";
const WHOSE: &str = "WATCHDOG_PID";
/// That the manager keeps descriptors, and how many (sd_pid_notify_with_fds(3)).
const STORE: &str = "FDSTORE";

/// How many of the gateway's messages one turn takes at most.
const LETTERS_A_TURN: usize = 4;

/// What is waited for.
const EXECUTED: u64 = 0;
const INBOX: u64 = 1;
const OTHERS: u64 = 2;
const TAKEN: u64 = 3;

/// How many helpers may hang over the descriptors of messages. With more of them the gateway is not heard any more.
const HANGING: usize = 8;

/// How long the gateway is not listened to where its message could not be taken: there was no process, memory or
/// descriptor for it, and the next turn would have none either.
const PAUSE: Duration = Duration::from_secs(1);

/// The way up, and the way for the gateway.
pub(super) struct ManagerLink {
    outlet: NotifySender,
    inbox: Option<NotifySocket>,
    watchdog: Option<Duration>,
    /// How many descriptors the manager keeps, as it was said to us.
    store: Option<OsString>,
    many: EpollSet,
    /// The gateway's own text.
    text: String,
    /// The command was created, and whether it was executed is not known yet.
    waits_for_exec: bool,
    /// The manager could not be told, which was said.
    lost: bool,
    /// The manager did not take what it was to keep, which was said.
    not_kept: bool,
    /// Ends when a helper has taken the message whose descriptors it must close. Until then no other process reads.
    taking: Option<File>,
    /// What else that message says. The manager has the descriptors before it hears of it.
    says: Vec<NotifyMessage>,
    /// The helpers that have taken one, and may hang over it.
    closing: Vec<Pid>,
    /// When the gateway is listened to again, whose message could not be taken.
    listens_again: Option<MonoTime>,
    /// That it could not, which was said.
    not_heard: bool,
}

impl ManagerLink {
    /// The link to the service manager that started us, if one did.
    ///
    /// Its variables are removed from the environment, because they are meant for us. In a compatibility mode they
    /// stay, as they do with the other program.
    pub(super) fn open(plan: &Plan) -> Option<ManagerLink> {
        let name =
            env::var_os(SOCKET).filter(|name| !name.is_empty() && plan.compat == CompatMode::Native)?;
        let opened = NotifySender::to(&name).and_then(|outlet| Ok((outlet, EpollSet::new()?)));
        let (outlet, many) = opened
            .map_err(|error| {
                let name = name.display();
                warn!(name: "notify-off", %error, "the service manager is not told anything: {SOCKET}={name}");
            })
            .ok()?;
        let watchdog = watchdog();
        let store = env::var_os(STORE);
        for variable in [SOCKET, WINDOW, WHOSE, STORE] {
            process::remove_variable(variable);
        }
        signals::show_reload_signals();
        let inbox = (plan.ready == Ready::Notified).then(|| open_inbox(&many)).flatten();
        info!(name: "notify", "a service manager is told how things are");
        Some(ManagerLink {
            outlet,
            inbox,
            watchdog,
            store,
            many,
            text: String::new(),
            waits_for_exec: false,
            lost: false,
            not_kept: false,
            taking: None,
            says: Vec::new(),
            closing: Vec::new(),
            listens_again: None,
            not_heard: false,
        })
    }

    /// What the supervisor must know of it. A gateway that cannot send messages, or whose health is not monitored, is
    /// ready when it runs.
    pub(super) fn policy(&self, plan: &Plan, watched: bool) -> Notify {
        let known = match plan.ready {
            Ready::Started => true,
            Ready::Healthy => watched,
            Ready::Notified => self.inbox.is_some(),
        };
        if plan.ready == Ready::Healthy && !watched {
            warn!(name: "health-unmonitored", "the gateway's health is not monitored; it counts as ready when it runs");
        }
        Notify {
            ready: if known { plan.ready } else { Ready::Started },
            watchdog: self.watchdog,
            start_period: plan.watching.as_ref().map(|watching| watching.start_period).unwrap_or_default(),
        }
    }

    /// What the gateway gets in its environment to tell us.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let Some(name) = self.inbox.as_ref().and_then(|inbox| inbox.name().ok()) else {
            return Vec::new();
        };
        let mut variables = vec![(SOCKET.into(), name)];
        variables.extend(self.store.clone().map(|number| (STORE.into(), number)));
        if let Some(window) = self.watchdog {
            variables.push((WINDOW.into(), window.as_micros().to_string().into()));
            // As it is started, it becomes the gateway's.
            variables.push((WHOSE.into(), process::own_pid().to_string().into()));
        }
        variables
    }

    /// What can be read when there is something to be heard, `others` included.
    pub(super) fn waits_for(&self) -> BorrowedFd<'_> {
        self.many.as_fd()
    }

    /// Waits for this, too.
    pub(super) fn wait_for_others(&self, others: &EpollSet) {
        said(self.many.add_all(others, OTHERS));
    }

    /// Waits until the process that was just started has become the command.
    pub(super) fn wait_for_exec(&mut self, main: &Started) {
        self.waits_for_exec = true;
        self.text.clear();
        said(self.many.add(main, EXECUTED, Interest::Read));
    }

    /// The news has come, or never will. A helper that was forked meanwhile keeps a copy open, so that
    /// closing ours would not be enough.
    pub(super) fn ready_now(&mut self, main: &Started) {
        self.waits_for_exec = false;
        self.many.remove(main);
    }

    /// Whether the manager has taken what it is to keep. What it does not take, as it is behind or gone, is not kept:
    /// the gateway's descriptors are not ours to hold on to.
    fn kept(&mut self, taken: std::io::Result<()>) {
        if let Err(error) = &taken
            && !self.not_kept
        {
            warn!(name: "fdstore-failed", %error, "the service manager did not take what the gateway gave it to keep");
        }
        self.not_kept = taken.is_err();
    }

    /// A message could not be taken. That is said once, until one could be.
    fn could_not_hear(&mut self, why: &dyn Display) {
        let Some(inbox) = &self.inbox else { return };
        self.many.remove(inbox);
        self.listens_again = Some(clock::now().after(PAUSE));
        if !std::mem::replace(&mut self.not_heard, true) {
            warn!(name: "notify-recv-failed", "could not take what the gateway sent: {why}; that is tried again and again");
        }
    }

    /// When the gateway is to be listened to again.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.listens_again
    }

    /// Listens to the gateway again, if it is time. Whether it was.
    pub(super) fn listen_again(&mut self) -> bool {
        let is_due = self.listens_again.take_if(|due| *due <= clock::now()).is_some();
        if is_due && let Some(inbox) = &self.inbox {
            said(self.many.add(inbox, INBOX, Interest::Read));
        }
        is_due
    }

    fn send(&mut self, text: &str) -> Option<Event> {
        match self.outlet.send(text.as_bytes()) {
            Ok(()) => {
                self.lost = false;
                debug!(name: "notified", text, "told the service manager");
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                debug!(name: "notify-deferred", "the service manager is behind");
                Some(Event::NotifyFailed)
            }
            Err(error) => {
                if !self.lost {
                    warn!(name: "notify-failed", %error, "could not tell the service manager");
                }
                self.lost = true;
                None
            }
        }
    }
}

/// Says what could not be waited for.
fn said(added: std::io::Result<()>) {
    if let Err(error) = added {
        warn!(name: "wait-failed", %error, "could not wait for what a service manager is to be told");
    }
}

fn open_inbox(many: &EpollSet) -> Option<NotifySocket> {
    let opened = NotifySocket::open().and_then(|inbox| {
        many.add(&inbox, INBOX, Interest::Read)?;
        Ok(inbox)
    });
    opened
        .map_err(|error| {
            warn!(name: "notify-recv-failed", %error, "the gateway cannot be heard; it counts as ready when it runs");
        })
        .ok()
}

/// How long the manager waits for a sign of life, if it is ours to give (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let ours = env::var(WHOSE).map_or(true, |pid| pid == process::own_pid().to_string());
    let window = env::var(WINDOW).ok()?.parse().ok()?;
    (ours && window > 0).then(|| Duration::from_micros(window))
}

impl EventLoop<'_> {
    /// Tells the service manager.
    pub(super) fn notify(&mut self, message: Message) -> Option<Event> {
        let mut text = String::new();
        for (said, line) in [
            (message.ready, "READY=1\n"),
            (message.reloading, "RELOADING=1\n"),
            (message.stopping, "STOPPING=1\n"),
            (message.watchdog, "WATCHDOG=1\n"),
        ] {
            if said {
                text.push_str(line);
            }
        }
        // Writing to a string cannot fail.
        if message.reloading {
            let _ = writeln!(text, "MONOTONIC_USEC={}", clock::now().0.as_micros());
        }
        if let Some(time) = message.extend {
            let _ = writeln!(text, "EXTEND_TIMEOUT_USEC={}", time.as_micros());
        }
        if let Some(situation) = message.status {
            let _ = writeln!(text, "STATUS={}", self.words(situation));
        }
        self.manager.as_mut().and_then(|link| link.send(text.trim_end()))
    }

    /// What has come for us: that the command runs, and what the gateway says.
    ///
    /// # Errors
    /// The outcome, if it is the end.
    #[inline(never)]
    pub(super) fn hear_gateway(&mut self) -> Result<(), Outcome> {
        if let (Some(link), Some(main)) = (&mut self.manager, &mut self.main)
            && link.waits_for_exec
            && let Some(executed) = main.executed()
        {
            link.ready_now(main);
            if executed {
                self.dispatch(Event::Executed)?;
            }
        }
        for _ in 0..LETTERS_A_TURN {
            if !self.is_taken()? || self.manager.as_ref().is_none_or(|link| link.listens_again.is_some()) {
                break;
            }
            let Some(letter) = self.next_message() else { break };
            let mut store = None;
            if self.sender_allowed(&letter) {
                store = self.read(&letter)?;
            } else {
                debug!(name: "notify-rejected", pid = letter.pid, uid = letter.uid, "a stranger's message");
            }
            if letter.has_descriptors {
                self.take_descriptors(store.as_deref());
            }
        }
        Ok(())
    }

    /// Whether the message whose descriptors a helper is to close has been taken, so that the next one can be looked
    /// at.
    fn is_taken(&mut self) -> Result<bool, Outcome> {
        let Some(link) = &mut self.manager else { return Ok(false) };
        let Some(taking) = &mut link.taking else { return Ok(true) };
        let mut errno = [0; 4];
        let stored = match taking.read(&mut errno) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Ok(4) => Some(i32::from_ne_bytes(errno)),
            // There was nothing to be stored, or the helper has ended.
            Ok(_) | Err(_) => None,
        };
        link.many.remove(taking);
        match stored {
            Some(0) => link.kept(Ok(())),
            Some(errno) => link.kept(Err(std::io::Error::from_raw_os_error(errno))),
            None => {}
        }
        link.taking = None;
        if let Some(inbox) = &link.inbox {
            said(link.many.add(inbox, INBOX, Interest::Read));
        }
        for notice in std::mem::take(&mut link.says) {
            self.dispatch(Event::NotifyMessage(notice))?;
        }
        Ok(true)
    }

    /// Has a helper take the message with descriptors that comes next, give them to the manager if that is to `store`
    /// them, and end. The sender chose them, and to close them can take for ever.
    fn take_descriptors(&mut self, store: Option<&str>) {
        let helpers = self.sweeper.helpers();
        let Some(link) = &mut self.manager else { return };
        let Some(inbox) = &link.inbox else { return };
        // Until it has been taken, no other reader may find it.
        link.many.remove(inbox);
        link.closing.retain(|helper| helpers.contains(helper));
        if link.closing.len() >= HANGING {
            return link.could_not_hear(&"what it sent before cannot be closed");
        }
        if link.closing.len() >= HANGING / 2 {
            for helper in &link.closing {
                let _ = signals::send(*helper, Signal::KILL);
            }
        }
        let outlet = &link.outlet;
        let begun = seqpacket::pipe().and_then(|(ours, theirs)| {
            let keep = [inbox.as_fd(), outlet.as_fd(), theirs.as_fd()];
            let helper = self.sweeper.start_helper(&keep, || {
                let Ok(descriptors) = inbox.take_with_descriptors() else { return 1 };
                let sent = store.map(|store| outlet.send_with(store.as_bytes(), &descriptors));
                let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
                let said = sent.map(|sent| sent.map_or_else(errno, |()| 0).to_ne_bytes());
                let told = theirs
                    .try_clone()
                    .and_then(|pipe| File::from(pipe).write_all(said.as_ref().map_or(b"-", |errno| errno)));
                // The end of a process closes a connection without waiting for it.
                descriptors.into_iter().for_each(std::mem::forget);
                u8::from(told.is_err())
            })?;
            Ok((helper, ours))
        });
        match begun {
            Ok((helper, ours)) => {
                link.not_heard = false;
                link.closing.push(helper);
                said(link.many.add(&ours, TAKEN, Interest::Read));
                link.taking = Some(File::from(ours));
            }
            Err(error) => link.could_not_hear(&error),
        }
    }

    fn next_message(&mut self) -> Option<Datagram> {
        let link = self.manager.as_mut()?;
        match link.inbox.as_ref()?.take() {
            Ok(letter) => {
                link.not_heard &= letter.has_descriptors;
                Some(letter)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => {
                link.could_not_hear(&error);
                None
            }
        }
    }

    /// Whether the sender is a process of our tree, and runs as our user or as the gateway's. systemd-notify(1) run by
    /// root sends in the name of its parent. If it is the main process, its parent is sexton. Only root can do that.
    fn sender_allowed(&self, letter: &Datagram) -> bool {
        let user = self.plan.user.map(|user| user.uid);
        let known = letter.uid == privileges::effective_uid() || Some(letter.uid) == user;
        let ours = |pid| self.main_pid() == Some(pid) || pid == process::own_pid() || tree::is_below_us(pid);
        known && Pid::new(letter.pid).is_some_and(ours)
    }

    /// Takes in what it says. What is left is for the manager, with the descriptors that came with it.
    fn read(&mut self, letter: &Datagram) -> Result<Option<String>, Outcome> {
        let notify_message::Heard { notices, own, store } =
            notify_message::read(&letter.text, letter.has_descriptors);
        if let (Some(own), Some(link)) = (own, &mut self.manager) {
            link.text = own;
        }
        let store = store.map(|store| store.trim_end().to_owned());
        if let (true, Some(link)) = (letter.has_descriptors, &mut self.manager) {
            link.says = notices;
            return Ok(store);
        }
        for notice in notices {
            self.dispatch(Event::NotifyMessage(notice))?;
        }
        if let (Some(store), Some(link)) = (store, &mut self.manager) {
            let taken = link.outlet.send(store.as_bytes());
            link.kept(taken);
        }
        Ok(None)
    }

    /// How it ended, which is the last that the manager hears. However soon that is after the text before it: who looks
    /// at a service that has failed is to read why.
    pub(super) fn notify_end(&mut self, outcome: Outcome) {
        if self.manager.is_none() {
            return;
        }
        let text = format!("STATUS={}", one_line(&self.outcome_words(outcome)));
        self.manager.as_mut().and_then(|link| link.send(&text));
    }

    /// The situation in words, for `systemctl status`.
    fn words(&self, situation: ManagerState) -> String {
        let own = self.manager.as_ref().map(|link| link.text.as_str()).unwrap_or_default();
        let with_own = |words: String| if own.is_empty() { words } else { format!("{words}; {own}") };
        match situation {
            ManagerState::Sweeping => "sweeping locks".to_owned(),
            ManagerState::UnitsUp => "starting units".to_owned(),
            ManagerState::Starting { .. } => with_own("starting".to_owned()),
            ManagerState::Running { health, latency, .. } => with_own(running(health, latency)),
            ManagerState::Stopping { until, again } => {
                let what = if again { "stopping to start again" } else { "stopping" };
                format!("{what}: {}{}", self.waited_for(), left(until))
            }
            ManagerState::LivesOn => "waiting for what the command left behind".to_owned(),
            ManagerState::UnitsDown { until } => format!("stopping units{}", left(until)),
            ManagerState::Waiting { until, restart, limit } => {
                let seconds = seconds_until(until);
                let count = if restart > 0 { format!(" ({restart} of {limit})") } else { String::new() };
                format!("restarting in {seconds} s{count}")
            }
        }
    }

    /// Who keeps us from the end.
    fn waited_for(&self) -> String {
        let mut alive = self.containment.alive(self.sweeper.helpers());
        alive.retain(|process| Some(process.stat.pid) != self.held);
        let main = self.main_pid();
        let first = alive.iter().find(|process| Some(process.stat.pid) == main).or(alive.first());
        match first {
            None => "waiting for the last process".to_owned(),
            Some(process) => {
                let (pid, name) = (process.stat.pid, process.name());
                match alive.len() {
                    1 => format!("waiting for pid {pid} {name}"),
                    number => format!("waiting for {number} processes, pid {pid} {name} first"),
                }
            }
        }
    }
}

fn running(health: HealthState, latency: Option<Duration>) -> String {
    let how = match health {
        HealthState::Unknown => return "running".to_owned(),
        HealthState::Starting => "not well yet",
        HealthState::Healthy => "healthy",
        HealthState::Slow => "slow",
        HealthState::Unhealthy => "unhealthy",
        HealthState::Draining => "draining",
    };
    match latency {
        Some(latency) => format!("running, {how} in {} ms", latency.as_millis()),
        None => format!("running, {how}"),
    }
}

fn left(until: Option<MonoTime>) -> String {
    until.map(|until| format!(", {} s left", seconds_until(until))).unwrap_or_default()
}

/// Whole seconds, begun ones included.
fn seconds_until(until: MonoTime) -> u64 {
    until.since(clock::now()).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}
