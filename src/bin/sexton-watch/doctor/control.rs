//! The control socket, and what the sexton behind it says of itself.

use std::path::Path;
use std::time::Duration;

use sexton::config::Control;
use sexton::control::client::{Connection, Failure};
use sexton::control::protocol::{Answer, IncidentKind, Request, Status};
use sexton::os::{clock, procfs};
use sexton::report::messages::latency;

use super::finding::Finding;

const NAME: &str = "control socket";

/// Asks the running sexton for its status.
pub fn check(control: &Control, deadline: Duration) -> (Vec<Finding>, Option<Status>) {
    let named = match control {
        Control::Off => {
            let what = "switched off: no client can ask sexton for its status, this doctor included";
            return (vec![Finding::ok(NAME, what)], None);
        }
        Control::At(path) => Some(path.as_path()),
        Control::Default => None,
    };
    match ask(named, deadline) {
        Ok((status, took)) => {
            let what = format!(
                "sexton {}, pid {}, answers in {}",
                status.version,
                status.pid,
                latency(took.as_secs_f64() * 1000.0)
            );
            (vec![Finding::ok(NAME, what)], Some(status))
        }
        Err(failure) => (vec![silent(&failure, sexton_by_name())], None),
    }
}

fn ask(named: Option<&Path>, deadline: Duration) -> Result<(Status, Duration), Failure> {
    let begun = clock::now();
    let until = begun.after(deadline);
    let mut connection = Connection::open(named, until)?;
    match connection.ask(&Request::Status, until)? {
        Answer::Status(status) => Ok((*status, clock::now().since(begun))),
        other => Err(Failure::Unknown(format!("{other:?}"))),
    }
}

/// A process that is called sexton, where none answers.
pub fn sexton_by_name() -> Option<i32> {
    let all = procfs::all().unwrap_or_default();
    let found = all.iter().find(|stat| stat.name == b"sexton" && !stat.is_dead());
    found.map(|stat| stat.pid.raw())
}

fn silent(failure: &Failure, runs: Option<i32>) -> Finding {
    match (failure, runs) {
        (Failure::NotRunning(_), None) => {
            Finding::ok(NAME, "no sexton runs here: this is what a start would find")
        }
        (Failure::NotRunning(place), Some(pid)) => Finding::warning(
            NAME,
            format!("a sexton runs, pid {pid}, and none answers at {place}"),
            "If it is the one that is meant, say where its socket is with --control",
        ),
        (Failure::Timeout, _) => Finding::problem(
            NAME,
            "sexton takes connections and does not answer: it is stopped, or hangs, and would not act on a stop",
            "Look at its state in ps: T is stopped (kill -CONT), D waits for a disk",
        ),
        (failure, _) => Finding::problem(
            NAME,
            failure.to_string(),
            "Run the doctor as the user of the sexton that is meant",
        ),
    }
}

/// What sexton knows to be wrong at this moment.
pub fn incidents(status: Option<&Status>) -> Vec<Finding> {
    let Some(status) = status else { return Vec::new() };
    let lasting: Vec<_> = status.incidents.iter().filter(|incident| incident.ended.is_none()).collect();
    if lasting.is_empty() {
        return vec![Finding::ok("incidents", "none at this moment")];
    }
    let advice = |kind| match kind {
        IncidentKind::WatchLost => "Until it is back nothing is watched: sexton-watch belongs beside sexton",
        IncidentKind::LockHeld => "'sexton locks' says who holds it; a restart of the gateway frees it",
        _ => "'sexton status' says since when, and sexton's log what was done",
    };
    let finding = |incident: &&sexton::control::protocol::Incident| {
        let what = format!("{}, {}: {}", incident.kind.word(), incident.subject, incident.detail);
        Finding::problem("incidents", what, advice(incident.kind))
    };
    lasting.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use sexton::control::protocol::Incident;

    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn silence_means_different_things() {
        let not_running = || Failure::NotRunning("/run/sexton".into());
        let grade = |failure: Failure, runs| silent(&failure, runs).grade;
        assert_eq!(grade(not_running(), None), Severity::Ok);
        assert_eq!(grade(not_running(), Some(7)), Severity::Warning);
        assert_eq!(grade(Failure::Timeout, None), Severity::Problem);
        assert_eq!(grade(Failure::WrongOwner("/x".into()), None), Severity::Problem);
    }

    #[test]
    fn what_is_over_is_over() {
        let incident = |ended| Incident {
            kind: IncidentKind::LockHeld,
            subject: "/a".into(),
            detail: "held".into(),
            began: 1,
            ended,
        };
        let grades = |incidents| {
            let status = Status { incidents, ..Status::default() };
            super::incidents(Some(&status)).iter().map(|finding| finding.grade).collect::<Vec<_>>()
        };
        assert_eq!(grades(vec![incident(Some(2))]), [Severity::Ok]);
        assert_eq!(grades(vec![incident(None), incident(Some(2))]), [Severity::Problem]);
    }
}
