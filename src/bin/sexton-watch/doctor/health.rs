//! How the gateway answers: ten questions, one after the other.

use std::time::Duration;

use sexton::config::watch_settings::{Probe, ProbeKind};
use sexton::control::protocol::EventLoop;
use sexton::os::clock;
use sexton::report::messages::latency;

use super::finding::Finding;
use crate::probe;
use crate::probe::Outcome;

/// How many questions there are.
const QUESTIONS: usize = 10;

/// What came of them.
#[derive(Debug, Clone, Default, PartialEq)]
struct Asked {
    /// The latencies of the good answers.
    took: Vec<Duration>,
    /// The first that was not good.
    wrong: Option<Outcome>,
    event_loop: Option<EventLoop>,
}

/// Asks as `probe` says, and for no longer than `time`. `up` is for how long the gateway runs, if sexton knows.
pub async fn check(
    probe: &Probe,
    time: Duration,
    up: Option<Duration>,
    start_period: Duration,
) -> Vec<Finding> {
    let until = clock::now().after(time);
    let mut asked = Asked::default();
    let often = questions(&probe.ask);
    while asked.took.len() < often && asked.wrong.is_none() {
        // A timeout that is shown is one that can be read.
        let left =
            Duration::from_millis(u64::try_from(until.since(clock::now()).as_millis()).unwrap_or(u64::MAX));
        if left.is_zero() {
            break;
        }
        let once = Probe { timeout: probe.timeout.min(left), ..probe.clone() };
        let answer = probe::ask(&once, up).await;
        asked.event_loop = answer.event_loop.or(asked.event_loop);
        match answer.answer {
            Some(answer) if answer.outcome == Outcome::Good => asked.took.push(answer.latency),
            Some(answer) => asked.wrong = Some(answer.outcome),
            None => break,
        }
    }
    vec![judge(probe, asked, up, start_period)]
}

fn place(ask: &ProbeKind) -> String {
    match ask {
        ProbeKind::Http { url, .. } => url.clone(),
        ProbeKind::Tcp { address } => address.clone(),
        ProbeKind::Heartbeat { file, .. } => file.display().to_string(),
        ProbeKind::Command { argv } => argv.join(" "),
    }
}

/// How often this is asked. A command costs what it costs, and a file says the same again.
fn questions(ask: &ProbeKind) -> usize {
    match ask {
        ProbeKind::Http { .. } | ProbeKind::Tcp { .. } => QUESTIONS,
        ProbeKind::Heartbeat { .. } | ProbeKind::Command { .. } => 1,
    }
}

fn judge(probe: &Probe, asked: Asked, up: Option<Duration>, start_period: Duration) -> Finding {
    let name = "health";
    let place = place(&probe.ask);
    let answered = asked.took.len();
    let starting = up.is_some_and(|up| up < start_period);
    if let Some(wrong) = asked.wrong {
        let why = match wrong {
            Outcome::Bad(why) => why,
            Outcome::Draining => {
                return Finding::warning(
                    name,
                    format!("{place}: it drains, and takes no new work"),
                    "It is about to stop or to start again; look again when it is back",
                );
            }
            Outcome::Starting => {
                return Finding::warning(
                    name,
                    format!("{place}: it says that it is starting"),
                    "Look again in a minute",
                );
            }
            Outcome::Good => String::new(),
        };
        let (none, hangs) = (up.is_none(), why.starts_with("no answer"));
        if starting {
            let what = format!("{place}: {why}; it is still within its start_period");
            return Finding::warning(name, what, "Look again in a minute");
        }
        if none && why.starts_with("cannot connect") {
            return Finding::ok(name, format!("{place}: nothing listens, and nothing runs"));
        }
        let advice = if hangs {
            "The port is bound and the event loop stands: 'sexton restart'; [health] action = \"restart\" does it by itself"
        } else {
            "The gateway's log says why; 'sexton status' says since when"
        };
        return Finding::problem(
            name,
            format!("{place}: {why} ({answered} of {} answered)", questions(&probe.ask)),
            advice,
        );
    }
    let mut took = asked.took;
    took.sort_unstable();
    let (Some(worst), Some(middle)) = (took.last(), took.get(answered / 2)) else {
        return Finding::warning(
            name,
            format!("{place}: this machine stood still, and nothing was learned"),
            "Look again",
        );
    };
    let ms = |time: &Duration| latency(time.as_secs_f64() * 1000.0);
    let loops = asked.event_loop.map(|event_loop| {
        let delay =
            event_loop.delay_p99_ms.map(|delay| format!(", event loop delayed by {}", latency(delay)));
        format!(
            "{}{}",
            delay.unwrap_or_default(),
            if event_loop.degraded { ", and it calls itself degraded" } else { "" }
        )
    });
    let what = format!(
        "{place}: {answered} answers, median {}, worst {}{}",
        ms(middle),
        ms(worst),
        loops.unwrap_or_default()
    );
    if *worst > probe.slow_after || answered < questions(&probe.ask) {
        let limit = humantime::format_duration(probe.slow_after);
        Finding::warning(
            name,
            format!("{what}; its limit is {limit}"),
            "Its event loop is busy: 'sexton status' has the percentiles",
        )
    } else if asked.event_loop.is_some_and(|event_loop| event_loop.degraded) {
        Finding::warning(name, what, "Its event loop is busy: 'sexton status' has the percentiles")
    } else {
        Finding::ok(name, what)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn judged(ms: &[u64], wrong: Option<Outcome>, up: Option<u64>) -> Finding {
        let probe = Probe {
            name: "x".into(),
            ask: ProbeKind::Tcp { address: "localhost:1".into() },
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            slow_after: Duration::from_millis(500),
            failure_threshold: 3,
        };
        let asked =
            Asked { took: ms.iter().copied().map(Duration::from_millis).collect(), wrong, event_loop: None };
        judge(&probe, asked, up.map(Duration::from_secs), Duration::from_secs(180))
    }

    #[test]
    fn answers_are_counted_and_judged_by_the_worst() {
        let good = judged(&[2; 10], None, Some(999));
        assert_eq!(good.what, "localhost:1: 10 answers, median 2.0 ms, worst 2.0 ms");
        assert_eq!(good.grade, Severity::Ok);
        assert_eq!(judged(&[2, 2, 2, 2, 2, 2, 2, 2, 2, 501], None, Some(999)).grade, Severity::Warning);
        assert_eq!(judged(&[2; 4], None, Some(999)).grade, Severity::Warning, "there was no time for all");
        assert_eq!(judged(&[], None, Some(999)).grade, Severity::Warning);
    }

    #[test]
    fn what_is_wrong_depends_on_what_runs() {
        let bad = |why: &str| Some(Outcome::Bad(why.to_owned()));
        let hangs = judged(&[], bad("no answer within 2s"), Some(999));
        assert!(hangs.grade == Severity::Problem && hangs.advice.contains("event loop stands"));
        assert_eq!(judged(&[], bad("no answer within 2s"), None).grade, Severity::Problem);
        assert_eq!(judged(&[], bad("no answer within 2s"), Some(9)).grade, Severity::Warning);
        assert_eq!(judged(&[], bad("cannot connect to x"), None).grade, Severity::Ok);
        assert_eq!(judged(&[], bad("cannot connect to x"), Some(999)).grade, Severity::Problem);
        assert_eq!(judged(&[], bad("status 500"), Some(999)).grade, Severity::Problem);
        assert_eq!(judged(&[], Some(Outcome::Draining), Some(999)).grade, Severity::Warning);
    }
}
