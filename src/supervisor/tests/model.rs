//! Every reachable state of a small world with restarts: a gateway that may die and be started again, a unit before it
//! and one after it, stop signals, conditions under which the gateway is replaced; and beside them, one after the
//! other, an orphan, tools that lose their supervisor, starts that are refused, sweeps that end late or never. Then
//! long random histories with all of it at once.

mod steps;
mod world;

use proptest::prelude::*;
use steps::{Cast, STEPS, Step};
use world::World;

use super::*;
use crate::types::IncidentKind;

/// Every state that can be reached with no more than this many starts.
fn walk(policy: Policy, cast: Cast, starts: u32) -> usize {
    let first = World::new(policy, cast);
    let mut seen = HashSet::from([first.key()]);
    let mut open = VecDeque::from([(first, MonoTime::default())]);
    while let Some((world, now)) = open.pop_front() {
        for step in STEPS {
            if !world.can(step, now) {
                continue;
            }
            let (mut next, mut then) = (world.clone(), now);
            next.step(step, &mut then);
            if next.exited || next.starts > starts {
                continue;
            }
            if seen.insert(next.key()) {
                check(&next, then);
                open.push_back((next, then));
            }
        }
    }
    seen.len()
}

/// What must be true of where it goes from here.
fn check(world: &World, now: MonoTime) {
    if world.stop_sent {
        assert!(world.clone().ends(now), "a stop always ends: {}", world.key());
        assert!(world.clone().ends_by_force(now), "whether processes obey or not: {}", world.key());
    } else if world.is_calm() {
        assert!(
            world.clone().rests(now),
            "an idle supervisor never wakes, and owes no sweep: {}",
            world.key()
        );
    }
}

fn rule(after_gateway: bool, required: bool, on: RestartOn) -> UnitRule {
    let restart = Restart { on, limit: 1, ..Restart::default() };
    UnitRule { window: SWEEP, restart, ..units::unit(after_gateway, required) }
}

fn with_units(units: Vec<UnitRule>, on: RestartOn, limit: u32) -> Policy {
    let restart = Restart { on, limit, ..Restart::default() };
    Policy {
        units,
        restart,
        replace_on: vec![IncidentKind::Unhealthy],
        end_orphans: Some(STRAGGLERS),
        adopted_deaths_trigger_scan: true,
        ..policy()
    }
}

#[test]
fn every_order_of_lives_keeps_the_promises() {
    let [before, after] = [false, true].map(|after| rule(after, after, RestartOn::Never));
    // Its supervisor was killed, and it comes back, once.
    let lasting = rule(false, false, RestartOn::Failure);
    let worlds = [
        ("a gateway", vec![], RestartOn::Always, 3),
        ("a unit before it", vec![before.clone()], RestartOn::Failure, 2),
        ("a required unit after it", vec![after.clone()], RestartOn::Failure, 2),
        ("a lasting unit", vec![lasting], RestartOn::Failure, 1),
        ("two units", vec![before, after], RestartOn::Never, 1),
    ];
    for (name, units, on, starts) in worlds {
        let policy = Policy { end_orphans: None, ..with_units(units, on, 1) };
        let states = walk(policy, Cast::default(), starts);
        println!("{name}: {states} states");
        assert!(states > 100, "{name}: the walk reaches the whole world: {states}");
    }
}

#[test]
fn every_order_of_mishaps_keeps_the_promises() {
    let plain = Cast::default();
    let unit = rule(false, false, RestartOn::Never);
    let late = Cast { delays: true, ..plain };
    let worlds = [
        ("an orphan", Cast { stranger: true, ..plain }),
        ("a session that is not ours", Cast { stranger: true, foreign: true, ..plain }),
        ("a child that dies unheard", Cast { stranger: true, unheard: true, ..plain }),
        ("a lost tool", Cast { tools: true, ..plain }),
        ("refused starts", Cast { refusals: true, ..plain }),
        ("late sweeps", late),
        ("no process can be killed", Cast { stranger: true, stuck: true, ..plain }),
        ("idle words", Cast { words: true, ..plain }),
    ];
    let worlds = worlds.map(|(name, cast)| (name, cast, vec![]));
    for (name, cast, units) in worlds.into_iter().chain([("late sweeps beside a unit", late, vec![unit])]) {
        let states = walk(with_units(units, RestartOn::Failure, 1), cast, 2);
        println!("{name}: {states} states");
        assert!(states > 100, "{name}: the walk reaches the whole world: {states}");
    }
}

#[test]
fn every_order_of_a_tools_life_keeps_the_promises() {
    let tool = Policy {
        tool: Some(ToolPolicy { timeout: Some(GRACE), shell: false }),
        sweep: None,
        can_hold: false,
        ..policy()
    };
    for (name, policy) in [("a tool", tool.clone()), ("all of a tool", Policy { wait_all: true, ..tool })] {
        let cast = Cast { stranger: true, refusals: true, words: true, ..Cast::default() };
        let states = walk(policy, cast, 1);
        println!("{name}: {states} states");
        assert!(states > 30, "{name}: the walk reaches the whole world: {states}");
    }
}

/// Some way to run.
fn any_policy() -> impl Strategy<Value = Policy> {
    let on = || prop_oneof![Just(RestartOn::Never), Just(RestartOn::Failure), Just(RestartOn::Always)];
    let unit =
        || (any::<bool>(), any::<bool>(), on()).prop_map(|(after, required, on)| rule(after, required, on));
    let units = proptest::collection::vec(unit(), 0..3).prop_map(|mut units| {
        units.sort_by_key(|unit| unit.after_gateway);
        units
    });
    let tool =
        any::<bool>().prop_map(|limited| ToolPolicy { timeout: limited.then_some(GRACE), shell: false });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (units, on(), 0..4_u32, proptest::option::weighted(0.1, tool), flags).prop_map(
        |(units, on, limit, tool, (swept, holds, waits, hurried, spared))| {
            let gateway = with_units(units, on, limit);
            let policy = Policy {
                grace: if hurried { Duration::ZERO } else { GRACE },
                sweep: swept.then_some(SWEEP),
                can_hold: holds,
                hand_over: spared.then_some(STRAGGLERS),
                look_later: spared,
                handoff: (holds != hurried).then_some(SWEEP),
                before_stop: (spared != hurried).then_some(STRAGGLERS),
                ..gateway
            };
            match tool {
                Some(_) => {
                    Policy { units: Vec::new(), restart: Restart::default(), wait_all: waits, tool, ..policy }
                }
                None => policy,
            }
        },
    )
}

fn any_cast() -> impl Strategy<Value = Cast> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (any::<bool>(), any::<bool>());
    (flags, prop_oneof![9 => Just(false), 1 => Just(true)], rest).prop_map(
        |((stranger, foreign, tools, refusals, delays), stuck, (words, unheard))| Cast {
            stranger,
            crowd: stranger,
            foreign,
            unheard,
            tools,
            refusals,
            delays,
            stuck,
            words,
        },
    )
}

/// What happens next, and after how many milliseconds: what ends everything is rare.
fn any_step() -> impl Strategy<Value = (usize, u64)> {
    let often: Vec<usize> = (0..STEPS.len()).filter(|step| !STEPS[*step].is_final()).collect();
    let step = prop_oneof![60 => proptest::sample::select(often), 1 => 0..STEPS.len()];
    let pause = prop_oneof![4 => Just(0_u64), 4 => 0..50_u64, 1 => 0..20_000_u64];
    (step, pause)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), ..ProptestConfig::default() })]
    #[test]
    fn long_histories_keep_the_promises(
        policy in any_policy(),
        cast in any_cast(),
        steps in proptest::collection::vec(any_step(), 0..400),
    ) {
        let mut world = World::new(policy, cast);
        let mut now = MonoTime::default();
        world.step(Step::Begin, &mut now);
        for (step, pause) in steps {
            world.pass(Duration::from_millis(pause), &mut now);
            world.step(STEPS[step], &mut now);
            if world.exited {
                return Ok(());
            }
            if world.is_calm() {
                prop_assert!(world.clone().rests(now), "it does not come to rest: {}", world.key());
            }
        }
        world.step(Step::StopSignal, &mut now);
        prop_assert!(world.clone().ends(now), "a stop always ends: {}", world.key());
        prop_assert!(world.clone().ends_by_force(now), "whether processes obey or not: {}", world.key());
    }
}

/// How many long histories are told.
fn histories() -> u32 {
    std::env::var("SEXTON_HISTORIES").map_or(256, |text| text.parse().unwrap())
}
