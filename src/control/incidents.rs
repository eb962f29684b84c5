//! What is wrong, and what was lately: each condition once, with when it began and when it ended.

use super::protocol::{Condition, Incident};

/// How many are remembered, those that last included.
const REMEMBERED: usize = 64;
/// The longest subject, in bytes of JSON.
const SUBJECT: usize = 256;
/// The longest detail, in bytes of JSON.
const DETAIL: usize = 1024;

/// The incidents of one run of sexton.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Incidents {
    /// In the order in which they began.
    all: Vec<Incident>,
}

impl Incidents {
    /// Notes a condition at `wall`, in milliseconds since the epoch. Returns the incident if it begins or ends with
    /// this, and `None` if it merely goes on.
    ///
    /// When there is no room, the incident that ended first is forgotten. If all others still last, the new one is not
    /// remembered.
    pub fn note(&mut self, mut condition: Condition, wall: u64) -> Option<Incident> {
        truncate_escaped(&mut condition.subject, SUBJECT);
        truncate_escaped(&mut condition.detail, DETAIL);
        let Condition { kind, subject, holds, detail } = condition;
        let lasting = |incident: &&mut Incident| {
            incident.ended.is_none() && incident.kind == kind && incident.subject == subject
        };
        match self.all.iter_mut().find(lasting) {
            Some(incident) => {
                incident.detail = detail;
                incident.ended = (!holds).then_some(wall);
                (!holds).then(|| incident.clone())
            }
            None if holds => {
                if self.all.len() >= REMEMBERED {
                    let first = self.all.iter().enumerate().filter_map(|(at, old)| Some((old.ended?, at)));
                    if let Some((_, at)) = first.min() {
                        self.all.remove(at);
                    }
                }
                let incident = Incident { kind, subject, detail, began: wall, ended: None };
                if self.all.len() < REMEMBERED {
                    self.all.push(incident.clone());
                }
                Some(incident)
            }
            None => None,
        }
    }

    /// The incidents that sexton-watch has reported and that still last. sexton-watch reports their end, or the next
    /// sexton-watch does.
    #[must_use]
    pub fn from_watch(&self) -> Vec<Incident> {
        self.all.iter().filter(|one| one.ended.is_none() && one.kind.is_of_watch()).cloned().collect()
    }

    /// Those that still last, then those that have ended; the latest first in each group.
    #[must_use]
    pub fn list(&self) -> Vec<Incident> {
        let lasting = self.all.iter().rev().filter(|incident| incident.ended.is_none());
        let mut ended: Vec<&Incident> = self.all.iter().rev().filter(|one| one.ended.is_some()).collect();
        ended.sort_by_key(|incident| std::cmp::Reverse(incident.ended));
        lasting.chain(ended).cloned().collect()
    }
}

/// What stands at the end of a text that was cut.
const CUT: char = '…';

/// How long a text is as a string of JSON, without its quotation marks.
#[must_use]
pub fn escaped_length(text: &str) -> usize {
    text.chars().map(escaped_char).sum()
}

/// How long a character is in a string of JSON (RFC 8259, section 7), as serde_json writes it.
fn escaped_char(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

/// Cuts a text that is longer than `limit` bytes as a string of JSON, and shows that it was. One byte can take six
/// there, so that a limit on the bytes themselves bounds no reply.
pub fn truncate_escaped(text: &mut String, limit: usize) {
    if text.len().saturating_mul(6) <= limit || escaped_length(text) <= limit {
        return;
    }
    let (mut length, mut end) = (CUT.len_utf8(), 0);
    for (place, letter) in text.char_indices() {
        length += escaped_char(letter);
        if length > limit {
            break;
        }
        end = place + letter.len_utf8();
    }
    text.truncate(end);
    text.push(CUT);
}

/// Cuts a text that is longer than `limit` bytes, and shows that it was.
pub fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut end = limit.saturating_sub(CUT.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push(CUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::IncidentKind;

    fn condition(kind: IncidentKind, subject: &str, holds: bool) -> Condition {
        Condition { kind, subject: subject.to_owned(), holds, detail: format!("{holds}") }
    }

    /// Whether an incident begins or ends with it.
    fn noted(book: &mut Incidents, condition: Condition, wall: u64) -> bool {
        book.note(condition, wall).is_some()
    }

    fn lasts(book: &Incidents, kind: IncidentKind) -> bool {
        book.list().iter().any(|incident| incident.kind == kind && incident.ended.is_none())
    }

    #[test]
    fn a_condition_is_one_incident_however_often_it_is_said() {
        let mut book = Incidents::default();
        assert!(noted(&mut book, condition(IncidentKind::LockHeld, "a", true), 1));
        assert!(!noted(&mut book, condition(IncidentKind::LockHeld, "a", true), 2));
        assert!(noted(&mut book, condition(IncidentKind::LockHeld, "b", true), 3));
        assert!(noted(&mut book, condition(IncidentKind::Slow, "a", true), 4));
        assert!(lasts(&book, IncidentKind::LockHeld));
        assert!(noted(&mut book, condition(IncidentKind::LockHeld, "a", false), 5));
        assert!(!noted(&mut book, condition(IncidentKind::LockHeld, "a", false), 6), "it has ended");
        assert!(!noted(&mut book, condition(IncidentKind::Unhealthy, "", false), 6), "it never began");
        let list: Vec<(IncidentKind, String, u64, Option<u64>)> =
            book.list().into_iter().map(|one| (one.kind, one.subject, one.began, one.ended)).collect();
        assert_eq!(
            list,
            [
                (IncidentKind::Slow, "a".to_owned(), 4, None),
                (IncidentKind::LockHeld, "b".to_owned(), 3, None),
                (IncidentKind::LockHeld, "a".to_owned(), 1, Some(5)),
            ]
        );
        // What comes back is another incident.
        assert!(noted(&mut book, condition(IncidentKind::LockHeld, "a", true), 7));
        assert_eq!(book.list().len(), 4);
    }

    #[test]
    fn what_an_earlier_watch_said_lasts_until_a_later_one_says_otherwise() {
        let mut book = Incidents::default();
        for (kind, at) in [
            (IncidentKind::Slow, 1),
            (IncidentKind::LockHeld, 2),
            (IncidentKind::LockHeld, 3),
            (IncidentKind::RestartLimit, 4),
        ] {
            book.note(condition(kind, &at.to_string(), true), at);
        }
        book.note(condition(IncidentKind::LockHeld, "2", false), 5);
        let lasting: Vec<IncidentKind> = book.from_watch().into_iter().map(|one| one.kind).collect();
        assert_eq!(lasting, [IncidentKind::Slow, IncidentKind::LockHeld]);
        assert!(!noted(&mut book, condition(IncidentKind::LockHeld, "3", true), 6), "it goes on");
        assert!(noted(&mut book, condition(IncidentKind::Slow, "1", false), 7));
    }

    #[test]
    fn the_book_is_bounded_and_forgets_what_ended_first() {
        let mut book = Incidents::default();
        for at in 0..64 {
            assert!(noted(&mut book, condition(IncidentKind::LockHeld, &at.to_string(), true), at));
        }
        assert!(noted(&mut book, condition(IncidentKind::Slow, "none has ended", true), 64));
        assert!(!lasts(&book, IncidentKind::Slow));
        book.note(condition(IncidentKind::LockHeld, "7", false), 65);
        book.note(condition(IncidentKind::LockHeld, "3", false), 66);
        book.note(condition(IncidentKind::Slow, "", true), 67);
        assert!(lasts(&book, IncidentKind::Slow));
        let subjects: Vec<String> = book.list().into_iter().map(|one| one.subject).collect();
        assert_eq!(subjects.len(), 64);
        assert!(!subjects.contains(&"7".to_owned()) && subjects.contains(&"3".to_owned()));
    }

    #[test]
    fn a_text_is_cut_by_its_length_in_json() {
        for text in [
            "",
            "plain",
            "\u{1}\u{1}\u{1}\u{1}",
            "\"\\\n\r\t\u{8}\u{c}\u{7f}",
            "größer\u{1f600}",
            "a\u{1}b\u{1}c",
        ] {
            assert_eq!(serde_json::to_string(text).unwrap().len(), escaped_length(text) + 2, "{text:?}");
            for limit in 3..40 {
                let mut cut = text.to_owned();
                truncate_escaped(&mut cut, limit);
                assert!(escaped_length(&cut) <= limit, "{text:?} {limit}");
                let whole = escaped_length(text) <= limit;
                assert_eq!(cut == text, whole, "{text:?} {limit}");
                assert!(whole || text.starts_with(cut.strip_suffix('…').unwrap()), "{text:?} {limit}");
            }
        }
    }

    #[test]
    fn texts_are_cut_at_a_letter() {
        let mut book = Incidents::default();
        book.note(condition(IncidentKind::LockHeld, &"ü".repeat(200), true), 0);
        let subject = &book.list()[0].subject;
        assert!(subject.len() <= 256 && subject.ends_with("ü…"), "{subject}");
        // It is the same one when it ends.
        assert!(noted(&mut book, condition(IncidentKind::LockHeld, &"ü".repeat(200), false), 1));
    }
}
