//! Races: a gateway that takes and releases locks all the time, a rival that reclaims them, and death at any moment.
//!
//! `SEXTON_RACE_ROUNDS` is the number of rounds (1000), `SEXTON_RACE_SEED` the seed of the first one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test: a failure must be loud"
)]

mod common;

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::process::{children, look, marked, send};
use common::victim::{Mode, plan};
use common::{NEVER, PATIENCE, helper, wait_until};

const KILL: i32 = 9;

/// Number two of a family of generators that is good enough here: SplitMix64 (Steele, Lea, Flood).
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

/// One round: a gateway, its rival, and SIGKILL for the gateway. Says whether the gateway had taken a lock by then.
fn round(mode: Mode, root: &Path, seed: u64) -> Option<bool> {
    let sessions = root.join("sessions");
    // Left by somebody who died before our time.
    fs::write(sessions.join("old.jsonl.lock"), r#"{"pid":4000000,"createdAt":"2026-11-22T06:59:25.232Z"}"#)
        .unwrap();
    let violations = root.join("violations");
    let [dir, file] = [&sessions, &violations].map(|path| path.to_str().unwrap().to_owned());
    let plan = plan(mode)?.options(["--lock-root", root.to_str().unwrap(), "--stragglers", NEVER]);
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

#[test]
fn a_living_gateway_and_its_rival_lose_no_lock_while_tools_die_with_theirs() {
    for mode in Mode::PID1_AND_NOT {
        let root = tempfile::tempdir().unwrap();
        let (sessions, tools) = (root.path().join("sessions"), root.path().join("agents/tool/sessions"));
        fs::create_dir(&sessions).unwrap();
        fs::create_dir_all(&tools).unwrap();
        let violations = root.path().join("violations");
        let [dir, file, tool] =
            [&sessions, &violations, &tools].map(|path| path.to_str().unwrap().to_owned());
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--lock-root", root.path().to_str().unwrap()]);
        // Orphans take a lock each in a directory of their own, and one of the gateway's names now and then.
        let script = "(while :; do \"$0\" hold \"$3/tool.jsonl.lock\" >/dev/null 2>&1; done &); \
            exec \"$0\" gateway \"$1\" \"$2\" 1";
        let mut victim = plan.run(["sh", "-c", script, &helper("holds_lock"), &dir, &file, &tool]);
        victim.says("ready");
        let mark = victim.mark().to_owned();
        for tool_number in 0..5 {
            let lock = tools.join("tool.jsonl.lock");
            let mut owner = 0;
            wait_until("a tool holds its lock", || {
                let text = fs::read_to_string(&lock).unwrap_or_default();
                let holder = marked(&mark).into_iter().find(|process| {
                    let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
                    String::from_utf8_lossy(&line).contains("tool.jsonl.lock") && process.name == "holds_lock"
                });
                owner = holder.map_or(0, |process| process.pid);
                owner != 0 && text.ends_with("}\n")
            });
            let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&lock).unwrap());
            send(owner, KILL).unwrap();
            wait_until(&format!("the lock of tool {tool_number} is gone, {mode:?}"), || {
                fs::metadata(&lock).map_or(true, |now| std::os::unix::fs::MetadataExt::ino(&now) != inode)
            });
        }
        let main = victim.main().pid;
        assert_eq!(
            fs::read_to_string(&violations).unwrap_or_default(),
            "",
            "a live lock was removed, {mode:?}"
        );
        send(main, KILL).unwrap();
        victim.ends_with(128 + KILL);
        assert_eq!(
            fs::read_to_string(&violations).unwrap_or_default(),
            "",
            "a live lock was removed, {mode:?}"
        );
        assert_eq!(locks(&sessions), Vec::<String>::new(), "{mode:?}: {}", victim.stderr());
    }
}
