//! The socket to sexton: packets in, packets out.
//!
//! The outgoing queue is bounded, however slowly sexton reads: only the latest message of each kind is kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;

use sexton::control::protocol::{
    Condition, Health, IncidentKind, Request, TreeStats, WATCH_VARIABLE, WatchCommand, WatchReport,
};
use sexton::os::{poll, seqpacket, unix_socket};
use sexton::types::{Errno, Pid};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;

/// The longest packet that is taken, in bytes. A status with every process of a large tree is the longest.
const LONGEST: usize = 4 << 20;

/// The socket. tokio knows no sockets that keep messages apart on a connection; to its type for datagrams the
/// difference shows in nothing that is used here.
pub struct Link(UnixDatagram);

/// What has come.
#[derive(Debug)]
pub enum Packet {
    /// What sexton tells.
    Told(WatchCommand),
    /// Something that is not understood: why.
    Malformed(String),
}

impl Link {
    /// Takes the descriptor over that [`WATCH_VARIABLE`] names. To be called once, within the runtime.
    ///
    /// # Errors
    /// It is not named, or is not what it should be; in words.
    pub fn inherited() -> Result<Link, String> {
        let number = std::env::var(WATCH_VARIABLE)
            .map_err(|_| "sexton starts it, and it is of no use alone".to_owned())?;
        let wrong = |what: &dyn std::fmt::Display| {
            format!("{WATCH_VARIABLE}={number} is not the socket to sexton: {what}")
        };
        let descriptor = number.parse().map_err(|error: std::num::ParseIntError| wrong(&error))?;
        let socket = seqpacket::inherited(descriptor).map_err(|error| wrong(&error))?;
        UnixDatagram::from_std(socket.into()).map(Link).map_err(|error| wrong(&error))
    }

    /// sexton's pid: the process that made the socket. Our parent may be one of sexton's helpers instead.
    pub fn sexton(&self) -> Option<Pid> {
        Pid::new(unix_socket::peer(self.0.as_fd()).ok()?.pid)
    }

    /// Waits for the next packet; `None` when sexton is gone.
    pub async fn next(&self) -> Option<Packet> {
        loop {
            self.0.readable().await.ok()?;
            let received = self.0.try_io(Interest::READABLE, || {
                seqpacket::receive_whole(self.0.as_fd(), LONGEST).map_err(as_io)
            });
            match received {
                // An empty packet and the end look the same.
                Ok(bytes) if bytes.is_empty() && poll::hung_up(self.0.as_fd()) => return None,
                Ok(bytes) => return Some(understand(&bytes)),
                Err(error) if is_passing(&error) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends what `outbox` has, for ever; comes back when sexton is gone.
    pub async fn deliver(&self, outbox: &Outbox) {
        loop {
            let Some(request) = outbox.next() else {
                outbox.news.notified().await;
                continue;
            };
            let Ok(packet) = serde_json::to_vec(&request) else { continue };
            loop {
                if self.0.writable().await.is_err() {
                    return;
                }
                let sent = self.0.try_io(Interest::WRITABLE, || {
                    seqpacket::send(self.0.as_fd(), &packet, None).map_err(as_io)
                });
                match sent {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(TOO_LONG) => break,
                    Err(error) if is_passing(&error) => {}
                    Err(_) => return,
                }
            }
        }
    }
}

fn as_io(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// EMSGSIZE: the packet will never fit; the number is the same on every Linux.
const TOO_LONG: i32 = 90;

fn understand(bytes: &[u8]) -> Packet {
    match serde_json::from_slice(bytes) {
        Ok(told) => Packet::Told(told),
        Err(error) => Packet::Malformed(error.to_string()),
    }
}

/// What is still to be said.
#[derive(Default)]
pub struct Outbox {
    waiting: RefCell<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    hello: bool,
    listens: Option<String>,
    health: Option<Health>,
    order: VecDeque<(IncidentKind, String)>,
    conditions: BTreeMap<(IncidentKind, String), Condition>,
    census: Option<TreeStats>,
    asks: bool,
}

impl Outbox {
    /// Says that we are there, and want to know what to do.
    pub fn hello(&self) {
        self.waiting.borrow_mut().hello = true;
        self.news.notify_one();
    }

    /// What is to be watched was said anew: what is not yet said is void.
    pub fn begin_anew(&self) {
        *self.waiting.borrow_mut() = Waiting::default();
    }

    /// Tells where we listen.
    pub fn listens(&self, address: String) {
        self.waiting.borrow_mut().listens = Some(address);
        self.news.notify_one();
    }

    /// Tells of the gateway's health.
    pub fn health(&self, health: Health) {
        self.waiting.borrow_mut().health = Some(health);
        self.news.notify_one();
    }

    /// Tells of a count.
    pub fn census(&self, census: TreeStats) {
        self.waiting.borrow_mut().census = Some(census);
        self.news.notify_one();
    }

    /// Tells of a condition.
    pub fn condition(&self, condition: Condition) {
        let key = (condition.kind, condition.subject.clone());
        let mut waiting = self.waiting.borrow_mut();
        if waiting.conditions.insert(key.clone(), condition).is_none() {
            waiting.order.push_back(key);
        }
        self.news.notify_one();
    }

    /// Asks how everything is.
    pub fn ask(&self) {
        self.waiting.borrow_mut().asks = true;
        self.news.notify_one();
    }

    fn next(&self) -> Option<Request> {
        let mut waiting = self.waiting.borrow_mut();
        let fact = if std::mem::take(&mut waiting.hello) {
            Some(WatchReport::Hello { version: env!("CARGO_PKG_VERSION").to_owned() })
        } else if let Some(address) = waiting.listens.take() {
            Some(WatchReport::Listening { address })
        } else if let Some(key) = waiting.order.pop_front() {
            // Before the health, which the gateway may be replaced for: the log says first why.
            waiting.conditions.remove(&key).map(WatchReport::Condition)
        } else {
            waiting.health.take().map(WatchReport::Health)
        };
        if let Some(fact) = fact {
            return Some(Request::WatchReport(fact));
        }
        if let Some(census) = waiting.census.take() {
            return Some(Request::WatchReport(WatchReport::TreeStats(census)));
        }
        std::mem::take(&mut waiting.asks).then_some(Request::Status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(subject: &str, holds: bool) -> Condition {
        Condition { kind: IncidentKind::Log, subject: subject.into(), holds, detail: String::new() }
    }

    #[test]
    fn only_the_latest_word_waits() {
        let outbox = Outbox::default();
        outbox.ask();
        outbox.ask();
        outbox.census(TreeStats::default());
        outbox.condition(condition("a", true));
        outbox.condition(condition("b", true));
        outbox.condition(condition("a", false));
        for rss in [1, 2] {
            outbox.census(TreeStats { rss, ..TreeStats::default() });
        }
        let said: Vec<Request> = std::iter::from_fn(|| outbox.next()).collect();
        assert_eq!(
            said,
            [
                Request::WatchReport(WatchReport::Condition(condition("a", false))),
                Request::WatchReport(WatchReport::Condition(condition("b", true))),
                Request::WatchReport(WatchReport::TreeStats(TreeStats { rss: 2, ..TreeStats::default() })),
                Request::Status,
            ]
        );
    }

    #[test]
    fn a_new_life_voids_what_was_not_yet_said() {
        let outbox = Outbox::default();
        outbox.condition(condition("a", true));
        outbox.begin_anew();
        outbox.listens("[::1]:9".into());
        outbox.health(Health::default());
        let said: Vec<Request> = std::iter::from_fn(|| outbox.next()).collect();
        assert!(matches!(
            said.as_slice(),
            [
                Request::WatchReport(WatchReport::Listening { .. }),
                Request::WatchReport(WatchReport::Health(_))
            ]
        ));
    }
}
