//! There is no sexton-watch: that is said once, and everything else works.

use std::fs;

use crate::common::victim::{Mode, Plan};
use crate::house::{HEALTH, site};

#[test]
fn without_sexton_watch_the_gateway_runs_and_somebody_knows_that_nobody_looks() {
    let Some(site) = site(Mode::Pid1) else { return };
    let alone = site.path("alone");
    fs::create_dir(&alone).unwrap();
    let copy = format!("{alone}/sexton");
    fs::copy(env!("CARGO_BIN_EXE_sexton"), &copy).unwrap();
    let mut house = site.with(|plan: Plan| plan.instead(&copy)).start(HEALTH);
    let incident = house.incident("watch-lost");
    assert_eq!(incident["subject"], "sexton-watch");
    assert_eq!(house.got("/turn/one").0, 200);
    let health = house.ask(["health"]);
    assert_eq!(health.status.code(), Some(0), "a gateway that runs is healthy if its health is not measured");
    assert!(String::from_utf8_lossy(&health.stdout).contains("sexton-watch does not run"), "{health:?}");
    assert_eq!(house.got("/pid").0, 200);
    house.stop(0);
    let said = house.victim.stderr();
    let words: Vec<&str> =
        said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(matches!(words[..], [line] if line.contains("neither beside sexton nor in PATH")), "{said}");
}
