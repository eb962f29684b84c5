//! The event loop is blocked: the port is bound, the kernel accepts connections, and no answer comes.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::process::look;
use crate::common::victim::Mode;
use crate::common::{PATIENCE, wait_until};
use crate::house::{HEALTH, House, get, has_lock, lasting, of_kind, site};

/// `every x misses + timeout`, and what a busy machine needs to say it.
const BOUND: Duration = Duration::from_millis(3 * 200 + 500);
const SLACK: Duration = Duration::from_secs(3);

fn block(house: &House) -> Instant {
    assert_eq!(house.got("/block").1, "blocked");
    Instant::now()
}

#[test]
fn a_blocked_gateway_is_reported_in_time_and_left_alone() {
    let Some(site) = site(Mode::Tree) else { return };
    let mut house = site.start(&format!("grace = \"1s\"\nkill_after = \"1s\"\n{HEALTH}"));
    house.is_well();
    assert_eq!(house.ask(["health"]).status.code(), Some(0));
    let gateway = house.victim.main();
    let blocked = block(&house);
    let incident = house.incident("unhealthy");
    let took = blocked.elapsed();
    assert!(took < BOUND + SLACK, "{took:?}");
    assert!(incident["detail"].as_str().unwrap().contains("no answer within 500ms"), "{incident}");
    // The port says nothing of that.
    TcpStream::connect(("127.0.0.1", house.port())).unwrap();
    let health = house.ask(["health"]);
    assert_eq!(health.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&health.stdout).starts_with("unhealthy for "), "{health:?}");
    // It is the same incident for ever, and nothing but a word.
    let first = incident["began"].clone();
    std::thread::sleep(Duration::from_secs(2));
    let status = house.status();
    let still = lasting(&status, "unhealthy");
    assert_eq!((still.len(), &still[0]["began"]), (1, &first));
    assert_eq!(status["counters"]["restarts"], 0);
    assert_eq!(house.victim.main().pid, gateway.pid);
    house.stop(137);
}

#[test]
fn a_blocked_gateway_is_replaced_with_its_locks_swept() {
    for mode in Mode::PID1_AND_NOT {
        let Some(site) = site(mode) else { return };
        let settings = format!(
            "grace = \"1s\"\nkill_after = \"1s\"\n[locks]\nroots = [\"STATE\"]\n[restart]\ndelay = \"100ms\"\n\
             {HEALTH}action = \"restart\"\n"
        );
        let mut house = site.start(&settings);
        house.is_well();
        assert_eq!(house.got("/leak/one").1, "leaked");
        let state = house.victim.path("state");
        assert!(has_lock(&state));
        let (before, pid) = (house.victim.main(), house.got("/pid").1);
        let blocked = block(&house);
        // Another process answers: not before the first one is gone, and its lock.
        let mut other = None;
        wait_until("another gateway answers", || {
            let answer = get(house.port(), "/pid", Duration::from_millis(300)).ok();
            other = answer.filter(|(status, _)| *status == 200);
            other.is_some()
        });
        let took = blocked.elapsed();
        assert!(!has_lock(&state), "the lock is swept before the start: {}", house.victim.stderr());
        assert!(look(before.pid).is_none_or(|now| now.start != before.start), "the first one is gone");
        assert_ne!(other.unwrap().1, pid);
        // The measuring, one window, and the pause.
        assert!(took < BOUND + SLACK + Duration::from_secs(1 + 1) + SLACK, "{took:?}");
        house.is_well();
        assert_eq!(house.got("/turn/one"), (200, "done".to_owned()));
        let status = house.status();
        assert_eq!(status["counters"]["restarts"], 1, "{}", house.victim.stderr());
        assert_eq!(of_kind(&status, "unhealthy").len(), 1);
        assert_eq!(lasting(&status, "unhealthy").len(), 0);
        house.stop(0);
        assert_eq!(house.said(" why=unhealthy"), 1, "{}", house.victim.stderr());
        assert!(took < PATIENCE);
    }
}
