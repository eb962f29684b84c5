//! Races: a gateway that takes and releases locks all the time, a rival that reclaims them, and death at
//! any moment.
//!
//! `SEXTON_RACE_ROUNDS` is the number of rounds (1000), `SEXTON_RACE_SEED` the seed of the first one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::log::events;
use common::process::{children, look, send};
use common::victim::{Mode, Victim, plan};
use common::{NEVER, PATIENCE, helper};

const KILL: i32 = 9;

/// Number two of a lock_kinds of generators that is good enough here: SplitMix64 (Steele, Lea, Flood).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// The locks in a directory.
fn locks(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".lock") && name != ".sexton.lock").collect()
}

/// One round: a gateway, its rival, and SIGKILL for the gateway. Says whether the gateway had taken a lock
/// by then.
fn round(mode: Mode, root: &Path, seed: u64) -> Option<bool> {
    let sessions = root.join("sessions");
    // Left by a process that died before this test.
    fs::write(sessions.join("old.jsonl.lock"), r#"{"pid":4000000,"createdAt":"2026-11-22T06:59:25.232Z"}"#)
        .unwrap();
    let violations = root.join("violations");
    let [dir, file] = [&sessions, &violations].map(|path| path.to_str().unwrap().to_owned());
    let plan = plan(mode)?.options(["--lock-root", root.to_str().unwrap(), "--kill-after", NEVER]);
    let mut victim = plan.run([&helper("holds_lock"), "gateway", &dir, &file, &seed.to_string()]);
    let sexton = victim.pid();
    // The main process by the fastest way: the round begins when it has become the gateway.
    let end = Instant::now() + PATIENCE;
    let main = loop {
        if let Some(main) = children(sexton).into_iter().find(|child| child.name == "holds_lock") {
            break main.pid;
        }
        let alive = look(sexton).is_some_and(|process| !process.dead());
        assert!(alive && Instant::now() < end, "no gateway, seed {seed}: {}", victim.stderr());
    };
    let moment = Instant::now() + Duration::from_micros(mix(seed) % 12_000);
    while Instant::now() < moment {
        spin_loop();
    }
    let busy = !locks(&sessions).is_empty();
    send(main, KILL).unwrap();
    victim.ends_with(128 + KILL);
    assert_eq!(
        fs::read_to_string(&violations).unwrap_or_default(),
        "",
        "a live lock was removed, seed {seed}, {mode:?}"
    );
    assert_eq!(
        locks(&sessions),
        Vec::<String>::new(),
        "dead locks are left, seed {seed}, {mode:?}: {}",
        victim.stderr()
    );
    Some(busy)
}

#[test]
fn whenever_the_gateway_is_killed_no_live_lock_is_removed_and_no_dead_one_is_left() {
    let rounds = number("SEXTON_RACE_ROUNDS", 1000);
    let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = number("SEXTON_RACE_SEED", clock);
    println!("SEXTON_RACE_SEED={seed} SEXTON_RACE_ROUNDS={rounds}");
    let begin = Instant::now();
    let workers = [(Mode::Pid1, 0), (Mode::Tree, 1)].map(|(mode, first)| {
        thread::spawn(move || {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("sessions")).unwrap();
            let mut busy = 0;
            for step in (first..rounds).step_by(2) {
                match round(mode, root.path(), seed + step) {
                    Some(true) => busy += 1,
                    Some(false) => {}
                    None => return None,
                }
            }
            Some(busy)
        })
    });
    let busy: Vec<u64> = workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect();
    println!("{rounds} rounds in {:?}; locks were held at the kill in {busy:?} of them", begin.elapsed());
    // Otherwise nothing was tested.
    assert!(busy.len() < 2 || busy.iter().sum::<u64>() > rounds / 2, "{busy:?}");
}

/// Bursts of tools that die with a lock each while the gateway and others live: a rival reclaims them, and
/// sexton waits. `SEXTON_RACE_BURSTS` is their number (6); there is one a second, as sexton looks no
/// more often.
fn bursts(mode: Mode, gateway: &str) {
    let root = tempfile::tempdir().unwrap();
    let sessions = root.path().join("sessions");
    fs::create_dir(&sessions).unwrap();
    let [dir, file, fifo, bursts] = [
        sessions.clone(),
        root.path().join("violations"),
        root.path().join("fifo"),
        root.path().join("bursts"),
    ]
    .map(|path| path.into_os_string().into_string().unwrap());
    let Some(plan) = plan(mode) else { return };
    let plan = plan.options(["--lock-root", root.path().to_str().unwrap(), "--log-format", "json"]);
    // Each tool takes a lock of a name that no other one ever takes, and dies when the fifo ends: only
    // sexton and the rival ever remove it.
    let tools = "mkfifo \"$3\"; burst=0; while :; do burst=$((burst + 1)); exec 3<>\"$3\"; tool=0; \
        while [ $tool -lt 60 ]; do tool=$((tool + 1)); \
            (\"$0\" dies \"$1/tool-$burst-$tool.jsonl.lock\" <\"$3\" 3>&- &); done; \
        while [ $(ls \"$1\" | grep -c \"^tool-$burst-\") -lt 60 ]; do sleep 0.01; done; \
        exec 3>&-; echo >>\"$4\"; sleep 1.1; done";
    let script = format!("({tools}) & {gateway}");
    let mut victim = plan.run(["sh", "-c", &script, &helper("holds_lock"), &dir, &file, &fifo, &bursts]);
    victim.says("ready");
    let wanted = usize::try_from(number("SEXTON_RACE_BURSTS", 6)).unwrap();
    let end = Instant::now() + PATIENCE + Duration::from_secs(3) * u32::try_from(wanted).unwrap();
    // Gateway, tools and rivals all stand still for each removal. What a rival is busy with is not removed: it
    // rests now and then.
    let removed = |victim: &Victim| events(&victim.stderr(), "lock-removed").len();
    while fs::read(&bursts).unwrap_or_default().len() <= wanted || removed(&victim) == 0 {
        let made = fs::read(&bursts).unwrap_or_default().len();
        assert!(Instant::now() < end, "{made} bursts, {} removed: {}", removed(&victim), victim.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    println!("{} locks removed beside the living, {mode:?}", removed(&victim));
    let main = victim.main().pid;
    send(main, KILL).unwrap();
    victim.ends_with(128 + KILL);
    let said = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(said, "", "a live lock was removed, {mode:?}");
    assert_eq!(locks(&sessions), Vec::<String>::new(), "{mode:?}: {}", victim.stderr());
}

#[test]
fn a_gateway_that_reclaims_loses_no_lock_to_the_sweeps_of_its_dead_tools() {
    for mode in Mode::PID1_AND_NOT {
        bursts(mode, "exec \"$0\" rival \"$1\" \"$2\" 1");
    }
}

#[test]
fn a_rival_beside_the_gateway_loses_no_lock_to_the_sweeps_of_its_dead_tools() {
    for mode in Mode::PID1_AND_NOT {
        bursts(mode, &format!("\"$0\" rival \"$1\" \"$2\" 1 & exec '{}'", helper("ignores_term")));
    }
}
