//! The story that sexton was made for: a run times out, its lock stays taken, every turn from then on fails, memory
//! grows, and an operator has to start the gateway again by hand.

use std::fs;

use crate::common::PATIENCE;
use crate::common::victim::Mode;
use crate::common::wait_until;
use crate::house::{get, has_lock, lasting, site};

const SETTINGS: &str = "
grace = \"5s\"
kill_after = \"1s\"

[locks]
roots = [\"STATE\"]
held_too_long = \"restart\"

[restart]
delay = \"50ms\"
max_delay = \"100ms\"
limit = 2
interval = \"10m\"

[limits]
interval = \"500ms\"

[logs.session-lock]
files = [\"DIR/gateway.log\"]
pattern = \"SessionWriteLock(Timeout|Stale)Error\"
count = 100
interval = \"10m\"
";

#[test]
fn a_leaked_lock_is_reported_and_the_gateway_restarted_at_its_limit_and_not_for_ever() {
    let Some(site) = site(Mode::Pid1) else { return };
    let mut house = site.start(SETTINGS);
    let state = house.victim.path("state");
    let mut pid = String::new();
    for round in 1..=3 {
        // The session of the round before, in which no turn succeeded.
        assert_eq!(house.got(&format!("/turn/{}", round - 1)).1, "done", "a turn as any other");
        let before = house.got("/pid").1;
        assert_ne!(before, pid, "another gateway");
        pid = before;
        house.watched();
        // A run times out, and its lock stays. From then on no turn succeeds, and memory grows.
        assert_eq!(house.got(&format!("/leak/{round}")).1, "leaked");
        if round == 1 {
            assert_eq!(house.got("/turn/1").0, 500);
            let log = fs::read_to_string(house.victim.path("gateway.log")).unwrap();
            assert_eq!(log.lines().count(), 160);
        }
        if round == 3 {
            break;
        }
        // No operator is needed: the lock is held past its limit by an owner that lives, and is not touched before
        // that owner has ended.
        let status = house.shows("a restart", |status| {
            let restarts = status["counters"]["restarts"].as_u64()?;
            let runs = status["gateway"]["state"] == "running";
            (restarts >= round && runs).then(|| status.clone())
        });
        assert_eq!(status["counters"]["restarts"], round);
        wait_until("the next gateway answers", || get(house.port(), "/readyz", PATIENCE).is_ok());
        assert!(!has_lock(&state), "{}", house.victim.stderr());
        if round == 1 {
            let said = house.victim.stderr();
            let held = said
                .lines()
                .find(|line| line.contains(" incident: ") && line.contains("kind=lock-held"))
                .unwrap();
            assert!(held.contains("agents/main/sessions/1.jsonl.lock"), "{held}");
            assert!(held.contains("has held this lock"), "{held}");
            house.shows("growth", |status| (status["census"]["rss"].as_u64()? > 1 << 20).then_some(()));
            assert_eq!(lasting(&house.status(), "log").len(), 1, "its log was read, too");
        }
    }
    // The third time is one too many.
    house.victim.ends_with(69);
    assert!(!has_lock(&state), "the last sweep is made all the same");
    let said = house.victim.stderr();
    assert_eq!(said.matches(" restarting: ").count(), 2, "{said}");
    let why: Vec<&str> =
        said.lines().filter(|line| line.contains("as often as it may be; sexton ends")).collect();
    assert_eq!(why.len(), 1, "{said}");
}
