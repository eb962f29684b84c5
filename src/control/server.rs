//! The server's connections.
//!
//! One [`turn`](Server::turn) does one small thing: it accepts one connection, reads one line, or sends as much of one
//! reply as the socket takes. The caller handles signals and ended processes between two turns. Nothing blocks. The
//! memory for all peers together is bounded: the incomplete lines, the replies that are not read yet, and the number of
//! connections. When a bound is reached, the connection that has been quiet for longest is closed, so that silent
//! clients cannot shut others out.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tracing::{debug, warn};

use super::connection::{Client, ReadResult, Role};
use super::incidents::truncate_escaped;
use super::kinship::{LeftBehind, Place};
use super::lines::LONGEST;
use super::protocol::{Answer, Condition, Incident, Request, Status, ToolRecord, WatchCommand};
use super::registry::{Key, Registry, Reply, Speaker};
use super::socket_path::BoundSocket;
use crate::os::poll::{EpollSet, Interest};
use crate::os::unix_socket::{self, Peer};
use crate::os::{clock, descriptors, privileges, process, procfs};
use crate::report::line_limit::LineLimit;
use crate::types::{HealthReport, MonoTime, Pid};

/// How epoll connections there can be that are not a tool's.
const CLIENTS: usize = 64;
/// How epoll descriptors stay free for sexton itself, and for clients that are not tools.
const RESERVE: u64 = 32;
const FOR_CLIENTS: u64 = 8;
/// How epoll bytes of incomplete lines are kept, of all connections together.
const LINES: usize = 256 * 1024;
/// How epoll bytes of unread replies are kept, of all connections together. A reply that several connections share
/// counts once. There is room for two of the longest replies, so that two clients that do read do not evict each other.
const REPLIES: usize = 2 * 1024 * 1024;
/// No connection is closed for an unread reply that is no longer than this.
const SHORT: usize = 8192;
/// The longest text of an answer, in bytes of JSON.
const TEXT: usize = 4096;
/// How long a client's connection may go without sending a complete line or reading its reply. Tools and sexton-watch
/// have no such limit.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often connections are checked, and subscribers told of changes.
const PULSE: Duration = Duration::from_secs(1);
/// The answer to a client for which there is no descriptor.
const CROWDED: &str =
    "sexton has no more descriptors for connections; raise the limit on open files (ulimit -n)";
/// The listener's key; connections have those above.
const LISTENER: Key = 0;

/// What sexton itself must do.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// Answer this request over this connection.
    Request(Key, Request),
    /// An incident began or ended.
    Noted(Incident),
    /// The gateway's health was reported.
    Health(HealthReport),
    /// A sexton-watch has started: send it its settings and these incidents, which still last.
    Greeted(Vec<Incident>),
    /// A tool has ended.
    ToolEnded,
    /// A tool's supervisor was lost; this is the record of the run.
    Lost(Box<ToolRecord>),
}

/// The server of the control socket.
pub struct Server {
    epoll: EpollSet,
    bound: Option<BoundSocket>,
    clients: BTreeMap<Key, Client>,
    last_key: Key,
    registry: Registry,
    /// The status that was sent last, as long as a connection still has to send it. Connections with the same status
    /// share it.
    told: Weak<Vec<u8>>,
    /// Limits the log lines about sexton-watch's mistakes.
    mistakes: LineLimit,
    /// sexton-watch's connection.
    watch: Option<Key>,
    /// Tools that were lost while another connection was served.
    lost: VecDeque<ToolRecord>,
    /// When connections are checked next; `None` if there is nothing to check.
    pulse: Option<MonoTime>,
    /// The system gave no descriptor for a connection. Until the next check none is accepted.
    full: bool,
}

impl Server {
    /// A server that listens on the bound socket, if there is one.
    ///
    /// # Errors
    /// What epoll_create1(2) and epoll_ctl(2) say.
    pub fn new(bound: Option<BoundSocket>) -> io::Result<Server> {
        let epoll = EpollSet::new()?;
        if let Some(bound) = &bound {
            epoll.add(&bound.listener, LISTENER, Interest::Read)?;
        }
        Ok(Server {
            epoll,
            bound,
            clients: BTreeMap::new(),
            last_key: LISTENER,
            registry: Registry::default(),
            told: Weak::new(),
            mistakes: LineLimit::default(),
            watch: None,
            lost: VecDeque::new(),
            pulse: None,
            full: false,
        })
    }

    /// Takes our end of the packet socket whose other end sexton-watch has. sexton-watch may send a
    /// [`Request::WatchReport`] over it, and gets [`WatchCommand`]s. There is one sexton-watch at a time.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn attach_watch(&mut self, socket: OwnedFd) -> io::Result<()> {
        let peer = unix_socket::peer(socket.as_fd())?;
        if let Some(before) = self.watch.take() {
            self.drop_meanwhile(before);
        }
        self.add(socket, peer, Role::Watch)?;
        self.watch = Some(self.last_key);
        Ok(())
    }

    /// Whether it has a socket that clients can connect to.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.bound.is_some()
    }

    /// The descriptors that are ready when there is something to do.
    #[must_use]
    pub fn waits_for(&self) -> &EpollSet {
        &self.epoll
    }

    /// When to call `publish_tick`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.pulse
    }

    /// Does one small thing. Returns what sexton itself must do, if anything.
    pub fn turn(&mut self) -> Option<ServerEvent> {
        let event = match self.epoll.ready() {
            Ok(Some(LISTENER)) => {
                self.accept();
                None
            }
            Ok(Some(key)) => self.serve(key),
            Ok(None) => None,
            Err(error) => {
                debug!(name: "control-accept-failed", %error, "could not look at the control socket");
                None
            }
        };
        event.or_else(|| self.take_lost())
    }

    /// A tool that was lost while another connection was served.
    pub fn take_lost(&mut self) -> Option<ServerEvent> {
        self.lost.pop_front().map(|record| ServerEvent::Lost(Box::new(record)))
    }

    fn accept(&mut self) {
        let Some(bound) = &self.bound else { return };
        let socket = match unix_socket::accept(bound.listener.as_fd()) {
            Ok(Some(socket)) => socket,
            Ok(None) => return,
            Err(error) => {
                // Out of descriptors or memory. The connection stays in the backlog, and must not keep us busy.
                let _ = self.epoll.change(&bound.listener, LISTENER, Interest::Nothing);
                self.full = true;
                self.arm();
                warn!(name: "control-full", %error, "could not take a connection to the control socket");
                return;
            }
        };
        let Ok(peer) = unix_socket::peer(socket.as_fd()) else { return };
        if peer.uid != 0 && peer.uid != privileges::effective_uid() {
            debug!(name: "control-denied", uid = peer.uid, "refused a connection of another user");
            let why = format!("sexton answers root and its own user, and you are {}", peer.uid);
            let _ = unix_socket::send(socket.as_fd(), &line(Answer::Refused(why)));
            return;
        }
        let crowded = self.clients.values().filter(|client| !client.lasts()).count() >= CLIENTS;
        let leaves_room = descriptors::leaves_free(socket.as_fd(), RESERVE);
        let gave_way = (crowded || !leaves_room) && self.drop_quietest();
        if !leaves_room && !gave_way {
            debug!(name: "control-denied", pid = peer.pid, "refused a connection, as there are too few descriptors");
            let _ = unix_socket::send(socket.as_fd(), &line(Answer::Refused(CROWDED.to_owned())));
            return;
        }
        if let Err(error) = self.add(socket, peer, Role::Client) {
            debug!(name: "control-accept-failed", %error, "could not wait for a connection");
        }
    }

    /// Closes the connection that has been quiet for longest, if there is one that may be closed.
    fn drop_quietest(&mut self) -> bool {
        let quietest = self.clients.iter().filter(|(_, client)| !client.lasts());
        let quietest = quietest.min_by_key(|(_, client)| (client.peer.uid == 0, client.quiet));
        let Some(key) = quietest.map(|(key, _)| *key) else { return false };
        self.drop_client(key);
        true
    }

    fn add(&mut self, socket: OwnedFd, peer: Peer, role: Role) -> io::Result<()> {
        self.last_key += 1;
        self.epoll.add(&socket, self.last_key, Interest::Read)?;
        self.clients.insert(self.last_key, Client::new(socket, peer, role));
        self.arm();
        Ok(())
    }

    /// Schedules the next check, if there is anything to check.
    fn arm(&mut self) {
        if self.pulse.is_none() && (self.full || self.clients.values().any(|client| !client.lasts())) {
            self.pulse = Some(clock::now().after(PULSE));
        }
    }

    /// Closes a connection. Returns the record of its run, if that is lost by this.
    fn drop_client(&mut self, key: Key) -> Option<ToolRecord> {
        let client = self.clients.remove(&key)?;
        self.watch = self.watch.filter(|watch| *watch != key);
        self.epoll.remove(&client.socket);
        unix_socket::hang_up(&client.socket);
        if client.unconfirmed && is_alive(client.peer.pid) {
            // The client stopped waiting for the answer and runs its tool all the same: nothing is lost.
            self.registry.forget(key);
            return None;
        }
        self.registry.peer_lost(key, clock::wall_millis())
    }

    /// Closes a connection while another one is served. A tool that is lost by this is reported in the next turn.
    fn drop_meanwhile(&mut self, key: Key) {
        if let Some(record) = self.drop_client(key) {
            self.lost.push_back(record);
            self.pulse = Some(clock::now());
        }
    }

    /// Closes a connection because a bound is reached. A tool whose supervisor lives runs on without being shown.
    fn evict(&mut self, key: Key) {
        if self.clients.get(&key).is_some_and(|client| is_alive(client.peer.pid)) {
            self.registry.forget(key);
        }
        self.drop_meanwhile(key);
    }

    fn serve(&mut self, key: Key) -> Option<ServerEvent> {
        let client = self.clients.get_mut(&key)?;
        if client.has_reply() {
            self.send(key);
            return None;
        }
        let watch = client.role == Role::Watch;
        let line = match client.receive() {
            ReadResult::Nothing => {
                self.bound_lines();
                return None;
            }
            ReadResult::Line(line) => line,
            ReadResult::TooLong => {
                client.last = true;
                let why = format!("a line has at most {LONGEST} bytes");
                self.answer(key, Answer::Refused(why));
                return None;
            }
            ReadResult::PacketTooLong => {
                if self.mistakes.has_room("watch-too-long") {
                    warn!(name: "watch-too-long", "sexton-watch sent a packet that is too long; it is not read");
                }
                return None;
            }
            ReadResult::End => {
                return self.drop_client(key).map(|record| ServerEvent::Lost(Box::new(record)));
            }
        };
        client.quiet = clock::now();
        let speaker = Speaker { key, pid: client.peer.pid, trusted: watch };
        match self.registry.handle_line(speaker, &line, clock::wall_millis()) {
            Reply::Answer(answer) => self.answer(key, answer),
            Reply::ToolEnded(answer) => {
                self.answer(key, answer);
                return Some(ServerEvent::ToolEnded);
            }
            Reply::Tool(_) if !descriptors::leaves_free(client.socket.as_fd(), RESERVE + FOR_CLIENTS) => {
                self.registry.forget(key);
                self.answer(key, Answer::Refused(CROWDED.to_owned()));
            }
            Reply::Tool(answer) => {
                (client.role, client.unconfirmed) = (Role::Tool, true);
                if let Some((session, group)) = Pid::new(client.peer.pid).and_then(process::place_of) {
                    self.registry.place(key, session, group);
                }
                self.answer(key, answer);
            }
            Reply::Cancel { tool, told, answer } => {
                self.cancel(tool, told);
                self.answer(key, answer);
            }
            Reply::Ask(request) => {
                if request == Request::Subscribe && !watch {
                    client.role = Role::Subscribes(0);
                }
                return Some(ServerEvent::Request(key, request));
            }
            Reply::Noted(incident) => return incident.map(ServerEvent::Noted),
            Reply::Health(report) => return Some(ServerEvent::Health(report)),
            Reply::Greeted(lasted) => return Some(ServerEvent::Greeted(lasted)),
        }
        None
    }

    /// Answers over a connection, if it is still open.
    pub fn answer(&mut self, key: Key, answer: Answer) {
        if self.watch == Some(key) {
            match answer {
                Answer::Status(status) => {
                    let text = self.registry.status_text(*status);
                    self.send_to_watch(&text);
                }
                Answer::Refused(mut why) if self.mistakes.has_room("watch-refused") => {
                    truncate_escaped(&mut why, TEXT);
                    warn!(name: "watch-refused", "sexton-watch was refused: {why}");
                }
                Answer::Refused(_) | Answer::Done(_) | Answer::Cancelled(_) => {}
            }
            return;
        }
        if !self.clients.contains_key(&key) {
            return;
        }
        let text = match answer {
            Answer::Status(status) => self.status_line(*status),
            answer => Rc::new(line(answer)),
        };
        self.say(key, text);
    }

    /// Tells a tool to end, unless an earlier such message is still unread.
    fn cancel(&mut self, key: Key, told: Answer) {
        if let Some(client) = self.clients.get_mut(&key).filter(|client| !client.cancelled) {
            client.cancelled = true;
            self.say(key, Rc::new(line(told)));
        }
    }

    /// The status as a line. Connections with the same status share it.
    fn status_line(&mut self, status: Status) -> Rc<Vec<u8>> {
        let mut text = self.registry.status_text(status);
        text.push(b'\n');
        if let Some(told) = self.told.upgrade().filter(|told| **told == text) {
            return told;
        }
        let text = Rc::new(text);
        self.told = Rc::downgrade(&text);
        text
    }

    /// Adds to a connection's reply.
    fn say(&mut self, key: Key, text: Rc<Vec<u8>>) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if let Role::Subscribes(known) = &mut client.role {
            *known = hash(&text);
        }
        if client.has_reply() {
            let rest = client.reply.get(client.taken..).unwrap_or_default();
            client.reply = Rc::new([rest, &text].concat());
        } else {
            client.reply = text;
        }
        client.taken = 0;
        self.send(key);
    }

    fn send(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if !client.send() {
            self.drop_meanwhile(key);
            return;
        }
        let wanted = if client.has_reply() {
            Interest::Write
        } else {
            // Free the memory of a long reply.
            client.reply = Rc::default();
            client.taken = 0;
            client.cancelled = false;
            Interest::Read
        };
        if self.epoll.change(&client.socket, key, wanted).is_err() {
            self.drop_meanwhile(key);
        }
        if wanted == Interest::Write {
            self.bound_replies();
        }
    }

    /// Closes the connections that have been sending an incomplete line for longest, until the bound holds again.
    fn bound_lines(&mut self) {
        while self.clients.values().map(Client::held).sum::<usize>() > LINES {
            let unfinished = self.clients.iter().filter_map(|(key, client)| Some((client.unfinished?, *key)));
            let Some((_, key)) = unfinished.min() else { return };
            self.evict(key);
        }
    }

    /// Closes the quietest connections with a long unread reply, until the bound holds again.
    fn bound_replies(&mut self) {
        loop {
            let long = |client: &&Client| client.has_reply() && client.reply.len() > SHORT;
            let waiting = self.clients.values().filter(long);
            let texts: BTreeMap<_, _> =
                waiting.map(|client| (Rc::as_ptr(&client.reply), client.reply.len())).collect();
            if texts.len() <= 1 || texts.values().sum::<usize>() <= REPLIES {
                return;
            }
            let quietest = self.clients.iter().filter(|(_, client)| long(client));
            let Some(key) = quietest.min_by_key(|(_, client)| client.quiet).map(|(key, _)| *key) else {
                return;
            };
            self.evict(key);
        }
    }

    /// Closes connections that have been quiet for too long. `true` if there are subscribers to send the status to.
    pub fn publish_tick(&mut self, now: MonoTime) -> bool {
        if self.pulse.is_none_or(|pulse| now < pulse) {
            return false;
        }
        self.pulse = None;
        if std::mem::take(&mut self.full)
            && let Some(bound) = &self.bound
            && let Err(error) = self.epoll.change(&bound.listener, LISTENER, Interest::Read)
        {
            warn!(name: "control-lost", %error, "the control socket takes no more connections");
        }
        let late = |client: &Client| {
            let waits = !matches!(client.role, Role::Subscribes(_)) || client.has_reply();
            !client.lasts() && waits && now.since(client.quiet) >= IDLE_TIMEOUT
        };
        let gone: Vec<Key> =
            self.clients.iter().filter(|(_, client)| late(client)).map(|(key, _)| *key).collect();
        for key in gone {
            self.drop_meanwhile(key);
        }
        self.arm();
        self.clients.values().any(|client| matches!(client.role, Role::Subscribes(_)) && !client.has_reply())
    }

    /// Sends the status to the subscribers that do not have it yet.
    pub fn publish(&mut self, status: Status) {
        let news = self.status_line(status);
        let hash = hash(&news);
        let told = |(key, client): (&Key, &Client)| {
            let wants = matches!(client.role, Role::Subscribes(known) if known != hash);
            (wants && !client.has_reply()).then_some(*key)
        };
        let told: Vec<Key> = self.clients.iter().filter_map(told).collect();
        told.into_iter().for_each(|key| self.say(key, Rc::clone(&news)));
    }

    /// Notes a condition that sexton itself has found, at `wall`. Returns the incident, if it begins or ends with that.
    pub fn note(&mut self, condition: Condition, wall: u64) -> Option<Incident> {
        self.registry.incidents().note(condition, wall)
    }

    /// Adds a removed lock to the record of the tool that had taken it, if a tool had, and returns that tool's id. The
    /// lock named `pid` as its owner and was taken at `taken`, in milliseconds since the epoch.
    pub fn lock_released(&mut self, path: &str, pid: i32, taken: u64) -> Option<String> {
        self.registry.lock_released(path, pid, taken)
    }

    /// The sessions and groups of the supervisors of running and of lost tools.
    #[must_use]
    pub fn tool_places(&self) -> Vec<Place> {
        self.registry.places().cloned().collect()
    }

    /// The id of the run that left this process behind. The process bears `mark`.
    #[must_use]
    pub fn run_of(&self, one: LeftBehind, mark: &str) -> String {
        self.registry.run_of(one, mark, &|pid| is_alive(pid))
    }

    /// The incidents that sexton-watch has reported and that still last.
    pub fn ongoing(&mut self) -> Vec<Incident> {
        self.registry.incidents().from_watch()
    }

    /// Sends a command to sexton-watch, if there is one. What the socket does not take at once is lost.
    pub fn tell_watch(&mut self, told: &WatchCommand) {
        if let Ok(packet) = serde_json::to_vec(told) {
            self.send_to_watch(&packet);
        }
    }

    fn send_to_watch(&self, packet: &[u8]) {
        let Some(watch) = self.watch.and_then(|key| self.clients.get(&key)) else { return };
        if let Err(error) = unix_socket::send(watch.socket.as_fd(), packet) {
            debug!(name: "watch-send-failed", %error, "sexton-watch did not take what it was told");
        }
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = Pid::new(pid).and_then(|pid| procfs::stat(pid).ok().flatten());
    stat.is_some_and(|stat| !stat.is_ending())
}

/// A short answer, as a line.
fn line(mut answer: Answer) -> Vec<u8> {
    match &mut answer {
        Answer::Done(text) | Answer::Refused(text) | Answer::Cancelled(text) => truncate_escaped(text, TEXT),
        Answer::Status(_) => {}
    }
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A hash that tells two texts apart.
fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

#[cfg(test)]
mod tests;
