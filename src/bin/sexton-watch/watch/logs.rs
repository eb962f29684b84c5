//! What comes too often in a log.

use std::collections::BTreeSet;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use sexton::config::watch_settings::Log;
use sexton::control::protocol::IncidentKind;
use sexton::os::clock;
use sexton::types::MonoTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::blocking;
use super::follow::Follower;
use super::rate::Rate;
use super::state::SharedState;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How long a look may take before that is worth a line.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of a line an operator gets to see, in letters.
const SHOWN: usize = 200;
/// What a pattern may take of memory, compiled and at work, in bytes.
const ROOM: usize = 1 << 20;

/// One rule at work; it wanders between this thread and the one that reads.
struct Watcher {
    follower: Follower,
    pattern: Regex,
}

/// What one look has found.
struct Seen {
    number: u64,
    last: String,
}

/// Follows the files of rule number `index` for ever.
pub async fn follow_for_ever(known: SharedState, index: usize, rule: Log) {
    let mut watcher = match watcher(&rule) {
        Ok(watcher) => watcher,
        Err(why) => {
            // The rule would never match, and the operator should know.
            warn!(name: "log-rule-invalid", rule = rule.name, "the log rule {} is not followed: {why}", rule.name);
            known.condition(
                IncidentKind::Log,
                &rule.name,
                Some(&format!("this rule is not followed: {why}")),
            );
            return;
        }
    };
    let mut rate = Rate::new(rule.count, rule.interval);
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut passed_over = 0;
    let mut not_files = BTreeSet::new();
    loop {
        due.tick().await;
        let now = clock::now();
        let looked = blocking::run("the look at the logs", DEADLINE, move || {
            let seen = watcher.look(now);
            (watcher, seen)
        });
        let Some((back, seen)) = looked.await else { return };
        watcher = back;
        if watcher.follower.passed_over > passed_over {
            warn!(name: "log-skipped", rule = rule.name, bytes = watcher.follower.passed_over - passed_over,
                "a log of the rule {} grows faster than it is read; a part of it was passed over", rule.name);
            passed_over = watcher.follower.passed_over;
        }
        for path in watcher.follower.not_files.difference(&not_files) {
            let path = sexton::types::one_line(&path.to_string_lossy()).into_owned();
            warn!(name: "log-rule-invalid", rule = rule.name, path,
                "{path} is no regular file and is not followed by the rule {}", rule.name);
        }
        not_files.clone_from(&watcher.follower.not_files);
        // As many as make no difference any more need not be counted one by one.
        for _ in 0..seen.number.min(u64::from(rule.count.max(1))) {
            rate.hit(now);
        }
        if let Some(matches) = known.state.borrow_mut().log_matches.get_mut(index) {
            *matches += seen.number;
        }
        let interval = humantime::format_duration(rule.interval);
        let detail = rate.holds(now).then(|| {
            format!("at least {} lines within {interval}, the last of them: {}", rule.count.max(1), seen.last)
        });
        known.condition(IncidentKind::Log, &rule.name, detail.as_deref());
    }
}

fn watcher(rule: &Log) -> Result<Watcher, String> {
    let pattern = RegexBuilder::new(&rule.pattern).size_limit(ROOM).dfa_size_limit(ROOM).build();
    // The last line of the regex crate's message says what is wrong; those before show where.
    let why = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
    Ok(Watcher {
        pattern: pattern.map_err(|error| format!("'{}' is no pattern: {}", rule.pattern, why(error)))?,
        follower: Follower::new(&rule.files)?,
    })
}

impl Watcher {
    fn look(&mut self, now: MonoTime) -> Seen {
        let mut seen = Seen { number: 0, last: String::new() };
        let pattern = &self.pattern;
        self.follower.look(now, &mut |line| {
            if pattern.is_match(line) {
                seen.number += 1;
                // Only the last one is shown, so that this is cheap enough for all.
                seen.last.clear();
                let start = line.get(..4 * SHOWN).unwrap_or(line);
                seen.last
                    .extend(String::from_utf8_lossy(start).chars().filter(|c| !c.is_control()).take(SHOWN));
                return true;
            }
            false
        });
        seen
    }
}
