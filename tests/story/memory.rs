//! Memory: too much of it is mended before the kernel does, and what the kernel does is called by its name.

use crate::common::cgroup::Cgroup;
use crate::common::process::send;
use crate::common::victim::{Mode, Plan};
use crate::common::wait_until;
use crate::house::{House, lasting, site};

const GROWS: &str = "grace = \"5s\"\n[restart]\ndelay = \"50ms\"\n[limits]\nmemory = \"100M\"\ninterval = \"100ms\"\n\
    action = \"restart\"\n";

#[test]
fn the_soft_limit_ends_a_gateway_in_order_before_the_kernel_kills_it() {
    let Some(site) = site(Mode::Pid1) else { return };
    let Some(group) = Cgroup::with_memory_limit(300 << 20) else { return };
    let kills = group.oom_kills();
    let mut house = site.with(|plan: Plan| plan.inside(group)).start(GROWS);
    house.watched();
    house.got("/grow");
    let status = house.shows("a restart", |status| {
        let runs = status["gateway"]["state"] == "running";
        (status["counters"]["restarts"] == 1 && runs).then(|| status.clone())
    });
    assert_eq!(lasting(&status, "out-of-memory").len(), 0);
    house.shows("the end of it", |status| lasting(status, "memory").is_empty().then_some(()));
    let said = house.victim.stderr();
    assert!(said.contains(" incident: the tree has "), "{said}");
    assert!(said.contains("MiB, 100 are the limit; +"), "{said}");
    assert!(said.contains("main-ended") && !said.contains("signal=SIGKILL"), "it ended by itself: {said}");
    assert_eq!(house.victim.cgroups[0].oom_kills(), kills);
    house.stop(0);
}

#[test]
fn what_the_kernel_kills_for_want_of_memory_is_called_that() {
    let Some(site) = site(Mode::Pid1) else { return };
    let Some(group) = Cgroup::with_memory_limit(200 << 20) else { return };
    let mut house = site.with(|plan: Plan| plan.inside(group)).start("[limits]\ninterval = \"100ms\"\n");
    house.shows("the census", |status| status["census"]["processes"].as_u64());
    house.got("/hog");
    let incident = house.incident("out-of-memory");
    assert_eq!(incident["detail"], "the kernel has killed 1 of the tree for want of memory");
    house.stop(0);
}

#[test]
fn a_gateway_that_the_kernel_killed_for_want_of_memory_ends_with_a_line_that_says_so() {
    let Some(site) = site(Mode::Pid1) else { return };
    let Some(group) = Cgroup::with_memory_limit(200 << 20) else { return };
    // No sexton-watch is needed: sexton itself reports it.
    let mut house = site.with(|plan: Plan| plan.inside(group)).start("");
    assert!(house.get("/swell").is_err(), "it is gone before it answers");
    house.victim.ends_with(137);
    let said = house.victim.stderr();
    assert!(
        said.contains(
            " WARN out-of-memory: the main process was killed, and the kernel has killed for want of"
        ),
        "{said}"
    );
    assert!(said.contains(" kills=1"), "{said}");
}

#[test]
fn one_that_the_kernel_killed_and_one_that_somebody_did_are_told_apart() {
    let Some(site) = site(Mode::Pid1) else { return };
    let Some(group) = Cgroup::with_memory_limit(200 << 20) else { return };
    let restart = "[restart]\non = 'on-failure'\ndelay = \"10ms\"\n";
    let mut house = site.with(|plan: Plan| plan.inside(group)).start(restart);
    let last = |house: &House, restarts: u64| {
        house.shows("another run", |status| {
            let gateway = &status["gateway"];
            (gateway["restarts"] == restarts && gateway["state"] == "running")
                .then(|| gateway["last"].clone())
        })
    };
    assert!(house.get("/swell").is_err(), "it is gone before it answers");
    assert_eq!(last(&house, 1), "ended by SIGKILL, for want of memory");
    // The count stays where it is, and the next end has another reason.
    wait_until("another one answers", || house.get("/pid").is_ok());
    send(house.victim.main().pid, 9).unwrap();
    assert_eq!(last(&house, 2), "ended by SIGKILL");
    wait_until("another one answers", || house.get("/pid").is_ok());
    house.stop(0);
}
