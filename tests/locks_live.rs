//! Locks under the whole program: what it clears while its command runs, and how it leaves the command alone.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use house::House;

const SESSION_PATH: &str = "sessions/one.jsonl.lock";
const SESSION: &str = include_str!("locks/session.jsonl.lock");

/// Runs `script` under sexton with the house as its only lock root.
fn sexton(house: &House, options: &[&str], script: &str) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
    command.args(["-vv", "--kill-after", "1s", "--lock-root"]).arg(house.path("")).args(options);
    command.args(["--", "sh", "-c", script, "sh"]).arg(house.path("")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, log)
}

/// What it takes to leave a lock behind as an orphan, and to wait for its end.
const ORPHAN: &str = r#"
    (setsid sh -c 'exec 9>"$0/sessions/one.jsonl.lock"; echo "{\"pid\":$$,\"createdAt\":\"2026-11-22T06:59:25.232Z\"}" >&9; sleep 0.2' "$1" &)
"#;

/// A gateway with no process beside it: a shell would start one for each `sleep`, and nothing is removed while
/// anybody but the gateway lives. Perl is a part of every Debian.
const ALONE: &str = "perl -e";

#[test]
fn a_dead_orphans_lock_goes_while_the_gateway_stands_still_for_a_moment() {
    let house = House::new();
    house.put("sessions/one.jsonl", "");
    let script = format!(
        "{ORPHAN} exec {ALONE} 'for (1..50) {{ select undef, undef, undef, 0.1; \
         exit 42 if $_ > 5 && ! -e $ARGV[0] }} exit 1' \"$1/{SESSION_PATH}\""
    );
    let (output, log) = sexton(&house, &[], &script);
    assert_eq!(output.status.code(), Some(42), "{log}");
    assert!(log.contains("lock-removed") && log.contains("no process has it open"), "{log}");
    let stood = log.lines().find(|line| line.contains("tree-frozen")).unwrap_or_else(|| panic!("{log}"));
    assert!(!stood.contains("stood=1s") && !log.contains("sweep-overdue"), "{log}");
}

#[test]
fn a_lock_that_the_gateway_itself_holds_is_not_touched_by_any_of_this() {
    let house = House::new();
    house.put("sessions/one.jsonl", "");
    let script = format!(
        "exec 8>\"$1/sessions/two.jsonl.lock\"; echo '{{\"pid\":4000000}}' >&8; {ORPHAN} exec {ALONE} \
         'sleep 2; exit(-e $ARGV[0] && ! -e $ARGV[1] ? 0 : 1)' \"$1/sessions/two.jsonl.lock\" \"$1/{SESSION_PATH}\""
    );
    let (output, log) = sexton(&house, &[], &script);
    assert_eq!(output.status.code(), Some(0), "{log}");
    // And when it is dead, its lock goes too.
    assert!(!house.has("sessions/two.jsonl.lock"), "{log}");
}

#[test]
fn handed_over_before_the_start_and_removed_when_nobody_wanted_it() {
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    let script = format!(
        "grep -q 2147483647 \"$1/{SESSION_PATH}\" || exit 3; \
         exec {ALONE} 'sleep 3; exit(-e $ARGV[0] ? 1 : 0)' \"$1/{SESSION_PATH}\""
    );
    let (output, log) = sexton(&house, &["--lock-action", "hand-over", "--start-window", "1s"], &script);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("lock-handed-over") && log.contains("tree-frozen"), "{log}");

    // A clean end leaves nothing of ours behind; one by a signal leaves it for the next start.
    for (script, left) in [("exit 0", false), ("kill -KILL $$", true)] {
        house.put(SESSION_PATH, SESSION);
        let (_, log) = sexton(&house, &["--lock-action", "hand-over"], script);
        assert_eq!(house.has(SESSION_PATH), left, "{script}: {log}");
        assert!(!left || house.read(SESSION_PATH).contains("2147483647"), "{log}");
    }
    // The same without handing over: gone before the command runs.
    house.put(SESSION_PATH, SESSION);
    let (output, log) = sexton(&house, &[], &format!("[ ! -e \"$1/{SESSION_PATH}\" ]"));
    assert_eq!(output.status.code(), Some(0), "{log}");
}

#[test]
fn a_sweeper_that_never_answers_delays_the_start_to_its_deadline_and_no_longer() {
    if !house::is_root("a_sweeper_that_never_answers: stops a process of another user") {
        return;
    }
    let house = House::new();
    house.put(SESSION_PATH, SESSION);
    // An older sexton holds the registration alone and stands still: the sweep waits for it at its end.
    let _older = house::older_sexton(&house);
    let begun = Instant::now();
    let (output, log) = sexton(&house, &["--sweep-timeout", "300ms"], "exit 7");
    assert_eq!(output.status.code(), Some(7), "{log}");
    assert!(log.contains("sweep-overdue") && log.contains("was not swept in time"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{log}");
}

/// Runs the race between sexton's removal and a gateway that takes stale locks over, and gives how it ended.
fn race(mode: &str, rounds: u32) -> (i32, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_sexton")).with_file_name("examples").join("lock_race");
    assert!(program.exists(), "{} is missing: run `cargo build --examples` first", program.display());
    let output = Command::new(program).args([mode, &rounds.to_string()]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn no_live_lock_is_lost_in_a_race_and_the_control_shows_that_it_could_be() {
    for (mode, rounds) in [("quiet", 1500), ("still", 1500), ("beside", 1500)] {
        let (code, said) = race(mode, rounds);
        assert_eq!(code, 0, "{said}");
        let removed = said.split("removed ").nth(1).and_then(|rest| rest.split(';').next());
        assert!(removed.is_some_and(|removed| removed != "0"), "nothing was at stake: {said}");
    }
    // The control loses some within seconds, or the race is none.
    let lost = (0..20).find_map(|_| Some(race("plain", 5000)).filter(|(code, _)| *code == 1));
    assert!(lost.is_some(), "a plain unlink never lost a live lock");
}

/// Two containers: two pid namespaces, both with a gateway at the same pid, on one state directory.
#[test]
fn of_two_containers_with_the_same_pids_only_the_dead_ones_lock_goes() {
    if !house::is_root("of_two_containers_with_the_same_pids: makes pid namespaces") {
        return;
    }
    let house = House::new();
    house.put("sessions/x.jsonl", "");
    let config = House::beside(&house);
    config.put("sexton.toml", "[locks]\nsharing = \"exclusive\"\n");
    // Holds a session lock, and a usage-cost lock, which is not kept open.
    let script = r#"exec 9>"$1/sessions/$2.jsonl.lock"; echo "{\"pid\":$$}" >&9
        mkdir -p "$1/agents/$2/sessions"; echo "{\"pid\":$$,\"startedAt\":5}" > "$1/agents/$2/sessions/.usage-cost-cache.json.lock"
        echo "$$"; read -r _; exit 0"#;
    let container = |name: &str| {
        let mut unshare = house::in_a_namespace();
        unshare.arg(env!("CARGO_BIN_EXE_sexton")).args(["-v", "--config"]).arg(config.path("sexton.toml"));
        unshare.arg("--lock-root").arg(house.path(""));
        unshare.args(["--", "sh", "-c", script, "sh"]).arg(house.path("")).arg(name);
        let mut child =
            unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    };
    let locks = |name: &str| {
        [format!("sessions/{name}.jsonl.lock"), format!("agents/{name}/sessions/.usage-cost-cache.json.lock")]
    };
    let (mut one, pid_of_one) = container("one");
    let (mut two, pid_of_two) = container("two");
    assert_eq!(pid_of_one, pid_of_two, "or this shows nothing");
    let before: Vec<String> = locks("two").iter().map(|path| house.read(path)).collect();

    // The gateway of the first is killed; its sexton sweeps and ends, while the other's gateway lives.
    let gateway = child_of(child_of(one.id()));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(gateway.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(one.wait().unwrap().code(), Some(137));
    let mut log = String::new();
    one.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!house.has(&locks("one")[0]), "{log}");
    // While the other sexton is there, the closed one stays, whatever the configuration says.
    assert!(house.has(&locks("one")[1]), "{log}");
    let after: Vec<String> = locks("two").iter().map(|path| house.read(path)).collect();
    assert_eq!(after, before);

    drop(two.stdin.take());
    assert_eq!(two.wait().unwrap().code(), Some(0));
    assert!(locks("two").iter().chain(&locks("one")).all(|path| !house.has(path)), "the last one clears all");
}

/// The one child of a process.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(path).unwrap().split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// The words that have a command live in a time namespace of its own, whose clocks are far ahead; `None`, after a line
/// that says so, where nobody can make one.
fn ahead() -> Option<[&'static str; 6]> {
    let words = ["unshare", "--time", "--boottime=5000000", "--monotonic=3000000", "--fork", "--kill-child"];
    let made = Command::new(words[0]).args(&words[1..]).arg("true").stderr(Stdio::null()).status();
    let works = made.is_ok_and(|status| status.success());
    house::there_is("a time namespace", works, "clocks that are ahead").then_some(words)
}

/// Writes the lock $2 of a kind that is not kept open and that bears a start time: $3, or that of the shell.
const TAKE: &str = r#"
    take() { mkdir -p "$1/plugin-runtime-deps/.openclaw-runtime-$2.lock"
        read -r stat </proc/$$/stat; set -- "$1" "$2" "${3:-$(echo "$stat" | cut -d' ' -f22)}"
        echo "{\"pid\":$$,\"starttime\":$3}" >"$1/plugin-runtime-deps/.openclaw-runtime-$2.lock/owner.json"; }
"#;

fn taken(house: &House, name: &str) -> bool {
    house.has(format!("plugin-runtime-deps/.openclaw-runtime-{name}.lock"))
}

/// What `sexton locks` says of the house, with these words more.
fn by_hand(house: &House, command: &mut Command, words: &[&str]) -> String {
    let output = command.arg("locks").args(words).arg("--root").arg(house.path("")).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// Who may not see a process must not take it for dead, however /proc hides it (proc(5), hidepid).
#[test]
fn an_owner_whom_proc_does_not_show_keeps_its_lock() {
    if !house::is_root("an_owner_whom_proc_does_not_show: mounts /proc anew") {
        return;
    }
    let path = "agents/main/sessions/.usage-cost-cache.json.lock";
    for hidden in ["noaccess", "invisible", "ptraceable", "2"] {
        let house = House::new();
        // The second process of the namespace is root's. A lock of this kind is not kept open.
        house.put(path, r#"{"pid":2,"startedAt":5}"#);
        house.put("agents/main/sessions/dead.jsonl.lock", r#"{"pid":4000000}"#);
        house.give_to(1000);
        let sexton = house.path("sexton");
        std::fs::copy(env!("CARGO_BIN_EXE_sexton"), &sexton).unwrap();
        std::fs::set_permissions(house.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let script = format!("sleep 1000 & mount -o remount,hidepid={hidden} /proc && exec \"$@\"");
        let by_a_user = |words: &[&str]| {
            let mut command = house::in_a_namespace();
            command.args(["sh", "-c", &script, "sh"]);
            command.args(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"]);
            by_hand(&house, command.arg(&sexton), words)
        };
        let (shown, swept) = (by_a_user(&[]), by_a_user(&["sweep"]));
        assert!(shown.contains("a process 2 exists, but /proc does not show it"), "{hidden}: {shown}");
        assert!(house.has(path) && swept.starts_with("1 removed, 0 orphaned left"), "{hidden}: {swept}");
    }
}

/// Start times in /proc are shifted by the time namespace of the process that reads them (time_namespaces(7)). Not
/// every user may see which one another user's process has: the sweeper is the root's owner.
#[test]
fn an_owner_in_another_time_namespace_keeps_its_lock() {
    let Some(words) = ahead() else { return };
    let below: &[&str] = &["--pid", "--mount-proc"];
    let cases: &[(bool, &[&str])] = if house::is_root("another user's locks, and in a pid namespace below") {
        &[(false, &[]), (true, &[]), (false, below), (true, below)]
    } else {
        &[(false, &[])]
    };
    for (other_user, more) in cases {
        let house = House::new();
        let mut owner = Command::new(words[0]);
        owner
            .args(&words[1..])
            .args(*more)
            .args(["sh", "-c", &format!("{TAKE} take \"$1\" one; echo up; read -r _"), "sh"])
            .arg(house.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut owner = owner.spawn().unwrap();
        let mut up = String::new();
        BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut up).unwrap();
        assert!(up == "up\n" && taken(&house, "one"));
        if *other_user {
            // Of the same user as the owner, who lives in our time, so that the number is another process's for sure.
            let ours = std::process::id();
            let lock = "plugin-runtime-deps/.openclaw-runtime-ours.lock/owner.json";
            house.put(lock, &format!("{{\"pid\":{ours},\"starttime\":7}}"));
            house.give_to(1000);
        }
        let sexton = || Command::new(env!("CARGO_BIN_EXE_sexton"));
        let (said, swept) = (by_hand(&house, &mut sexton(), &[]), by_hand(&house, &mut sexton(), &["sweep"]));
        let why = if more.is_empty() {
            "may live in another time namespace"
        } else {
            "in a pid namespace of its own, and nothing tells whether it is the owner"
        };
        assert!(taken(&house, "one") && said.contains(why), "{other_user} {more:?}: {said}{swept}");
        if *other_user {
            let ours = said.lines().find(|line| line.contains("-ours.lock")).unwrap();
            assert!(ours.contains("is another process now"), "{said}");
        }
        // Its death shows in any of them.
        drop(owner.stdin.take());
        owner.wait().unwrap();
        let said = by_hand(&house, &mut sexton(), &["sweep"]);
        assert!(!taken(&house, "one"), "{other_user} {more:?}: {said}");
    }
}

#[test]
fn where_the_clocks_are_ahead_the_living_the_recycled_and_the_deadlines_are_told_as_ever() {
    let Some(words) = ahead() else { return };
    let house = House::new();
    let script = format!("{TAKE} take \"$1\" own; take \"$1\" recycled 7; shift; \"$@\"");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["sh", "-c", &script, "sh"]).arg(house.path(""));
    let said = by_hand(&house, command.arg(env!("CARGO_BIN_EXE_sexton")), &[]);
    let of = |name: &str| said.lines().find(|line| line.contains(&format!("-{name}.lock"))).unwrap();
    assert!(of("own").starts_with("held") && of("own").contains("with the start time it records"), "{said}");
    assert!(
        of("recycled").starts_with("orphaned") && of("recycled").contains("another process now"),
        "{said}"
    );

    let begun = Instant::now();
    let script = "trap '' TERM; kill -TERM $PPID; while :; do sleep 0.1; done";
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args([env!("CARGO_BIN_EXE_sexton"), "--control", "off", "--grace", "300ms"]);
    let output = command.args(["--kill-after", "300ms", "--", "sh", "-c", script]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(137), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{log}");
    let ages: Vec<&str> =
        log.split(" age=").skip(1).map(|rest| rest.split_whitespace().next().unwrap()).collect();
    let young = |age: &&str| age.strip_suffix('s').is_some_and(|age| age.parse::<u32>().is_ok());
    assert!(!ages.is_empty() && ages.iter().all(young), "{ages:?}: {log}");
}
