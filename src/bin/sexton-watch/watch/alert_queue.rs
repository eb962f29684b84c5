//! The incidents on their way to the operator's command: each beginning once, and each end once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sexton::control::protocol::{Condition, Incident, IncidentKind};
use sexton::os::clock;
use tokio::sync::Notify;
use tracing::warn;

/// The most incidents that wait for the command.
const WAITING: usize = 64;
/// The most subjects that are remembered.
const REMEMBERED: usize = 1024;

type Key = (IncidentKind, String);

/// The incidents on their way to the command.
///
/// What we see ourselves is told at once. sexton tells of its own incidents, and may tell us of ours too: those
/// are known already.
#[derive(Default)]
pub struct AlertQueue {
    inner: RefCell<Inner>,
    news: Notify,
}

#[derive(Default)]
struct Inner {
    wanted: bool,
    waiting: VecDeque<Incident>,
    /// What lasts and was told, with its beginning.
    open: BTreeMap<Key, u64>,
    /// What we have said ourselves in this life.
    ours: BTreeSet<Key>,
    counts: Counts,
}

/// What became of the alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The command ended with 0.
    pub delivered: u64,
    /// It ended otherwise, or could not be started.
    pub failed: u64,
    /// Its time was over.
    pub timed_out: u64,
    /// There were too many of them waiting.
    pub dropped: u64,
}

impl AlertQueue {
    /// A queue for the kinds of incidents that are `wanted`. `lasting` has those that an earlier sexton-watch reported
    /// and that still last.
    pub fn new(wanted: bool, lasting: &[Incident]) -> AlertQueue {
        let lasting = lasting.iter().filter(|incident| incident.ended.is_none());
        let open =
            lasting.map(|incident| ((incident.kind, incident.subject.clone()), incident.began)).collect();
        AlertQueue { inner: RefCell::new(Inner { wanted, open, ..Inner::default() }), news: Notify::new() }
    }

    /// We have seen this.
    pub fn seen(&self, condition: &Condition) {
        let mut inner = self.inner.borrow_mut();
        let key = (condition.kind, condition.subject.clone());
        if inner.ours.len() < REMEMBERED {
            inner.ours.insert(key.clone());
        }
        let now = clock::wall_millis();
        let began = inner.open.get(&key).copied().unwrap_or(now);
        let ended = (!condition.holds).then_some(now);
        let (kind, subject) = key;
        inner.tell(Incident { kind, subject, detail: condition.detail.clone(), began, ended });
        self.news.notify_one();
    }

    /// sexton tells us of this.
    pub fn told(&self, incident: Incident) {
        let mut inner = self.inner.borrow_mut();
        if !inner.ours.contains(&(incident.kind, incident.subject.clone())) {
            inner.tell(incident);
            self.news.notify_one();
        }
    }

    /// When what lasts began, in milliseconds since the epoch.
    pub fn began(&self, kind: IncidentKind, subject: &str) -> Option<u64> {
        self.inner.borrow().open.get(&(kind, subject.to_owned())).copied()
    }

    /// Waits for the next one that is to be told.
    pub async fn next(&self) -> Incident {
        loop {
            if let Some(next) = self.inner.borrow_mut().waiting.pop_front() {
                return next;
            }
            self.news.notified().await;
        }
    }

    /// What became of them so far.
    pub fn counts(&self) -> Counts {
        self.inner.borrow().counts
    }

    /// Counts what has become of one.
    pub fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.inner.borrow_mut().counts);
    }
}

impl Inner {
    /// Each beginning once, and each end once.
    fn tell(&mut self, incident: Incident) {
        let key = (incident.kind, incident.subject.clone());
        let news = match incident.ended {
            Some(_) => self.open.remove(&key).is_some(),
            None if self.open.len() >= REMEMBERED => false,
            None => self.open.insert(key, incident.began).is_none(),
        };
        if !news || !self.wanted {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.counts.dropped += 1;
            warn!(name: "alert-dropped", kind = ?incident.kind, subject = incident.subject,
                "an alert was dropped: {WAITING} others wait for the alert command");
            return;
        }
        self.waiting.push_back(incident);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(subject: &str, ended: Option<u64>) -> Incident {
        Incident {
            kind: IncidentKind::RestartLimit,
            subject: subject.into(),
            detail: String::new(),
            began: 5,
            ended,
        }
    }

    fn condition(subject: &str, holds: bool) -> Condition {
        Condition { kind: IncidentKind::RestartLimit, subject: subject.into(), holds, detail: String::new() }
    }

    /// What the command would be told: the subject, and whether it is the end.
    fn waiting(alarm: &AlertQueue) -> Vec<(String, bool)> {
        let mut inner = alarm.inner.borrow_mut();
        inner.waiting.drain(..).map(|incident| (incident.subject, incident.ended.is_some())).collect()
    }

    #[test]
    fn nobody_is_told_twice() {
        let alarm = AlertQueue::new(true, &[incident("old", None), incident("over", Some(6))]);
        alarm.seen(&condition("a", true));
        alarm.told(incident("a", None));
        alarm.told(incident("b", None));
        alarm.told(incident("b", None));
        alarm.seen(&condition("a", false));
        alarm.told(incident("a", Some(7)));
        alarm.seen(&condition("a", true));
        alarm.told(incident("b", Some(7)));
        alarm.told(incident("c", Some(7)));
        let told = [("a", false), ("b", false), ("a", true), ("a", false), ("b", true)];
        assert_eq!(waiting(&alarm), told.map(|(subject, ended)| (subject.to_owned(), ended)));
        // What an earlier life has told of is told of only when it ends.
        alarm.seen(&condition("old", true));
        assert_eq!(waiting(&alarm), []);
        alarm.seen(&condition("old", false));
        assert_eq!(waiting(&alarm), [("old".to_owned(), true)]);
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let alarm = AlertQueue::new(true, &[]);
        (0..100).for_each(|number| alarm.seen(&condition(&number.to_string(), true)));
        assert_eq!(waiting(&alarm).len(), WAITING);
        assert_eq!(alarm.counts().dropped, 36);
        let silent = AlertQueue::new(false, &[]);
        silent.seen(&condition("a", true));
        assert_eq!(waiting(&silent), []);
    }
}
