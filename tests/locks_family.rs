//! Every kind of lock on real files: the orphaned ones go whole, the others stay whole.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use house::{House, Live, Sweep, is_root};
use sexton::locks::{Action, LockKinds, format, kind, rule};
use sexton::types::{Pid, StartTime};

const SESSION: &str = include_str!("locks/session.jsonl.lock");
const GATEWAY_96: &str = include_str!("locks/samples/gateway-9.6.lock");
const SESSION_PATH: &str = "agents/main/sessions/one.jsonl.lock";
const USAGE_PATH: &str = "agents/main/sessions/.usage-cost-cache.json.lock";
const USAGE_TWIN: &str = "agents/main/sessions/.usage-cost-cache.json.lock.7.99.tmp";

/// One kind: where it lies, and how it is written for an owner.
struct Sample {
    path: &'static str,
    /// Where the file with the owner lies, if the lock is a directory.
    record: Option<&'static str>,
    keeps_open: bool,
    records_start: bool,
    text: fn(Pid, StartTime) -> String,
}

const CREATED: &str = "2026-11-22T06:59:25.232Z";

const SAMPLES: &[Sample] = &[
    Sample {
        path: SESSION_PATH,
        record: None,
        keeps_open: true,
        records_start: true,
        text: |pid, start| {
            format!(
                "{{\n  \"pid\": {pid},\n  \"createdAt\": \"{CREATED}\",\n  \"maxHoldMs\": 1020000,\n  \"starttime\": {}\n}}\n",
                start.0
            )
        },
    },
    Sample {
        path: "sessions/old.jsonl.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{CREATED}\"\n}}"),
    },
    Sample {
        path: "gateway.acb44012.lock",
        record: None,
        keeps_open: true,
        records_start: true,
        text: |pid, start| {
            format!(r#"{{"pid":{pid},"createdAt":"{CREATED}","configPath":"/c","startTime":{}}}"#, start.0)
        },
    },
    Sample {
        path: "gateway.0fedcba9.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!(r#"{{"pid":{pid},"createdAt":"{CREATED}","configPath":"/c"}}"#),
    },
    Sample {
        path: "tmp/openclaw-1000/gateway.state.lock",
        record: None,
        keeps_open: true,
        records_start: true,
        text: |pid, start| {
            GATEWAY_96
                .replace("\"pid\": 7", &format!("\"pid\": {pid}"))
                .replace("107252", &start.0.to_string())
        },
    },
    Sample {
        path: "agents/main/agent/auth-profiles.json.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{CREATED}\"\n}}\n"),
    },
    Sample {
        path: "openclaw.json.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{CREATED}\"\n}}\n"),
    },
    Sample {
        path: "locks/oauth-refresh/sha256-00ff.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{CREATED}\"\n}}\n"),
    },
    Sample {
        path: USAGE_PATH,
        record: None,
        keeps_open: false,
        records_start: false,
        text: |pid, _| {
            format!("{{\"pid\":{pid},\"startedAt\":1795330765232,\"token\":\"{pid}:1795330765232:9\"}}\n")
        },
    },
    Sample {
        path: "workspace/memory/.dreams/short-term-promotion.lock",
        record: None,
        keeps_open: true,
        records_start: false,
        text: |pid, _| format!("{pid}:1795330765232\n"),
    },
    Sample {
        path: "plugin-runtime-deps/openclaw-2026.4.1/.openclaw-runtime-mirror.lock",
        record: Some("owner.json"),
        keeps_open: false,
        records_start: false,
        text: |pid, _| format!("{{\"pid\":{pid},\"startedAt\":\"{CREATED}\"}}\n"),
    },
    Sample {
        path: "gateway.pid",
        record: None,
        keeps_open: false,
        records_start: false,
        text: |pid, _| format!("{pid}\n"),
    },
];

impl Sample {
    fn file(&self) -> String {
        self.record.map_or(self.path.to_owned(), |record| format!("{}/{record}", self.path))
    }

    fn put(&self, house: &House, pid: Pid, start: StartTime) -> String {
        let text = (self.text)(pid, start);
        house.put(self.file(), &text);
        text
    }
}

#[test]
fn every_kind_goes_when_its_owner_is_dead_and_stays_when_it_lives() {
    let house = House::new();
    let live = Live::idle();
    let later = StartTime(live.start.0 + 1);
    for sample in SAMPLES {
        let path = sample.path;
        let judged = |what: &str, expected: (u32, u32, u32), unreaped: &[(Pid, StartTime)]| {
            let before = house.listing();
            let report = Sweep::of(&house).unreaped(unreaped).run();
            let counts = (report.removed, report.held, report.unclear);
            assert_eq!(counts, expected, "{path}: {what}: {}", report.log());
            assert_eq!(house.has(path), expected.0 == 0, "{path}: {what}");
            if expected.0 == 0 {
                assert_eq!(house.listing(), before, "{path}: {what}");
            }
        };
        // No process has that number.
        sample.put(&house, house::dead_pid(), StartTime(1));
        judged("dead", (1, 0, 0), &[]);
        // Another process has the number: only a start time or the open file tells them apart.
        sample.put(&house, live.pid, later);
        judged("reused", if sample.records_start || sample.keeps_open { (1, 0, 0) } else { (0, 0, 1) }, &[]);
        // The owner lives, and has the file open if its kind is kept open.
        sample.put(&house, live.pid, live.start);
        let holder = sample.keeps_open.then(|| Live::holding(&house.path(sample.file())));
        let alive = if sample.keeps_open || sample.records_start { (0, 1, 0) } else { (0, 0, 1) };
        judged("alive", alive, &[]);
        // It lives in another container, where we cannot see its number.
        if sample.keeps_open {
            sample.put(&house, Pid::new(4_000_000).unwrap(), StartTime(1));
            judged("elsewhere", (0, 1, 0), &[]);
        }
        drop(holder);
        // It is the zombie that sexton holds.
        let corpse = Live::idle().into_corpse();
        sample.put(&house, corpse.pid, corpse.start);
        judged("in hand", (1, 0, 0), &[(corpse.pid, corpse.start)]);
        // Any zombie.
        sample.put(&house, corpse.pid, corpse.start);
        judged("zombie", (1, 0, 0), &[]);
        // Another container shares the root: what is not kept open stays.
        let other = Sweep::of(&house).run();
        sample.put(&house, house::dead_pid(), StartTime(1));
        judged("shared", if sample.keeps_open { (1, 0, 0) } else { (0, 0, 1) }, &[]);
        drop(other);
        let _ = fs::remove_file(house.path(sample.file()));
        let _ = fs::remove_dir(house.path(path));
    }
}

fn own_host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[test]
fn chromium_loses_all_three_or_none() {
    let house = House::new();
    let profile = "browser/openclaw/user-data";
    house.put(format!("{profile}/Default/Preferences"), "{}");
    let names = ["SingletonLock", "SingletonSocket", "SingletonCookie"];
    let put = |target: &str| {
        for (name, target) in names.iter().zip([target, "/tmp/.org.chromium.x/SingletonSocket", "1234567"]) {
            let _ = fs::remove_file(house.path(format!("{profile}/{name}")));
            symlink(target, house.path(format!("{profile}/{name}"))).unwrap();
        }
    };
    let there = || names.map(|name| house.has(format!("{profile}/{name}")));
    let live = Live::idle();
    let dead = house::dead_pid();

    put(&format!("{}-{}", own_host(), live.pid));
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.unclear), (0, 1), "{}", report.log());
    assert_eq!(there(), [true; 3]);
    put(&format!("{}-{dead}", own_host()));
    drop(report);
    // A link cannot be watched, so it is removed only when no process runs.
    let report = Sweep::of(&house).noisy().run();
    assert_eq!((report.waiting, there()), (1, [true; 3]), "{}", report.log());
    assert!(report.lines("lock-waiting")[0]["message"].contains("cannot be watched"), "{}", report.log());
    drop(report);
    assert_eq!(Sweep::of(&house).run().removed, 1);
    assert_eq!(there(), [false; 3]);

    // The owner is dead and not yet reaped, in hand or not.
    let corpse = Live::idle().into_corpse();
    for unreaped in [&[(corpse.pid, corpse.start)][..], &[]] {
        put(&format!("{}-{}", own_host(), corpse.pid));
        assert_eq!(Sweep::of(&house).unreaped(unreaped).run().removed, 1);
        assert_eq!(there(), [false; 3]);
    }

    // The container had another name in its former life; where another sexton is, it may be that one's.
    put(&format!("6f2c01ab9d11-{}", live.pid));
    let report = Sweep::of(&house).run();
    assert_eq!((report.unclear, there()), (1, [true; 3]), "another process has the number: {}", report.log());
    drop(report);
    let former = format!("6f2c01ab9d11-{dead}");
    put(&former);
    let other = Sweep::of(&house).run();
    assert_eq!((other.removed, there()), (1, [false; 3]), "{}", other.log());
    put(&former);
    let shared = Sweep::of(&house).run();
    assert_eq!((shared.removed, shared.unclear, there()), (0, 1, [true; 3]), "{}", shared.log());
    drop((other, shared));

    // One of the three is no link: then none goes.
    fs::remove_file(house.path(format!("{profile}/SingletonCookie"))).unwrap();
    house.put(format!("{profile}/SingletonCookie"), "a file");
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.skipped, there()), (0, 1, [true; 3]), "{}", report.log());
    drop(report);
    // Those that are missing are not waited for.
    fs::remove_file(house.path(format!("{profile}/SingletonCookie"))).unwrap();
    assert_eq!(Sweep::of(&house).run().removed, 1);
    assert_eq!(there(), [false; 3]);
    assert!(house.has(format!("{profile}/Default/Preferences")));
}

#[test]
fn a_directory_lock_goes_with_its_record_and_only_then() {
    let house = House::new();
    let path = "plugin-runtime-deps/x/.openclaw-runtime-deps.lock";
    let record = format!("{path}/owner.json");
    let text = format!("{{\"pid\":{}}}", house::dead_pid());
    house.put(&record, &text);
    house.put(format!("{path}/more"), "");
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.skipped), (0, 1), "{}", report.log());
    assert!(house.has(&record));
    drop(report);
    house.remove(&format!("{path}/more"));
    assert_eq!(Sweep::of(&house).run().removed, 1);
    assert!(!house.has(path));
    // The process that made it died before writing the record, or is about to write it.
    fs::create_dir(house.path(path)).unwrap();
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.unclear), (0, 1), "{}", report.log());
    // A record that is a link out of the root is not read.
    house.put("outside.json", &text);
    symlink(house.path("outside.json"), house.path(&record)).unwrap();
    assert_eq!(Sweep::of(&house).run().skipped, 1);
    assert_eq!(house.read("outside.json"), text);
}

#[test]
fn a_usage_lock_with_its_second_name_goes_whole() {
    let house = House::new();
    let text = format!("{{\"pid\":{},\"startedAt\":5}}", house::dead_pid());
    house.put(USAGE_TWIN, &text);
    fs::hard_link(house.path(USAGE_TWIN), house.path(USAGE_PATH)).unwrap();
    let report = Sweep::of(&house).run();
    assert_eq!(report.removed, 1, "{}", report.log());
    assert!(!house.has(USAGE_PATH) && !house.has(USAGE_TWIN));
    // A living owner that is between the two steps.
    let live = Live::idle();
    house.put(USAGE_TWIN, &format!("{{\"pid\":{},\"startedAt\":5}}", live.pid));
    fs::hard_link(house.path(USAGE_TWIN), house.path(USAGE_PATH)).unwrap();
    assert_eq!(Sweep::of(&house).run().unclear, 1);
    assert!(house.has(USAGE_PATH) && house.has(USAGE_TWIN));
    // A second name that is not the writer's.
    house.remove(USAGE_PATH);
    house.put(USAGE_TWIN, &text);
    fs::rename(house.path(USAGE_TWIN), house.path("agents/main/sessions/transcript")).unwrap();
    fs::hard_link(house.path("agents/main/sessions/transcript"), house.path(USAGE_PATH)).unwrap();
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.skipped), (0, 1), "{}", report.log());
    assert_eq!(house.read("agents/main/sessions/transcript"), text);
}

#[test]
fn what_nobody_may_touch_stays_and_is_named_with_its_reason() {
    let house = House::new();
    house.put("state.lock.sqlite", SESSION);
    house.put("workspace/.git/index.lock", "");
    house.put("agents/main/sessions/one.jsonl.lock.reclaim", SESSION);
    fs::create_dir(house.path("openclaw.json.clobber.lock")).unwrap();
    let before = house.listing();
    let report = Sweep::of(&house).run();
    assert_eq!((report.removed, report.unclear, report.failed), (0, 0, 0));
    assert_eq!(house.listing(), before);
    let reasons: Vec<&String> = report.lines("lock-not-judged").iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons.len(), 4, "{}", report.log());
    for word in ["SQLite", "git", "guard", "time fresh"] {
        assert!(reasons.iter().any(|reason| reason.contains(word)), "{word}: {reasons:?}");
    }
}

fn with_action(house: &House, action: Action) -> Sweep<'static> {
    let mut sweep = Sweep::of(house);
    sweep.action = action;
    sweep
}

#[test]
fn a_lock_is_handed_over_once_and_removed_when_nobody_took_it() {
    let house = House::new();
    let dead = house::dead_pid();
    house.put(SESSION_PATH, SESSION);
    house.put(USAGE_PATH, &format!("{{\"pid\":{dead},\"startedAt\":5}}"));
    fs::set_permissions(house.path(SESSION_PATH), fs::Permissions::from_mode(0o600)).unwrap();
    let report = with_action(&house, Action::HandOver).run();
    assert_eq!((report.removed, report.handed_over), (1, 1), "{}", report.log());
    let text = house.read(SESSION_PATH);
    assert!(text.contains("2147483647") && text.contains("\"maxHoldMs\": 1020000"), "{text}");
    assert!(text.contains("2026-11-22T06:59:25.232Z") && !text.contains("starttime"), "{text}");
    assert_eq!(fs::metadata(house.path(SESSION_PATH)).unwrap().mode() & 0o777, 0o600);
    drop(report);
    // The next ones leave it as it is, until one comes that removes it.
    let before = house.listing();
    for action in [Action::HandOver, Action::Spare] {
        let report = with_action(&house, action).run();
        assert_eq!((report.removed, report.handed_over, report.waiting), (0, 1, 0), "{}", report.log());
        assert_eq!(house.listing(), before);
    }
    let noisy = with_action(&house, Action::Remove).noisy().run();
    assert_eq!((noisy.removed, noisy.waiting), (0, 1), "{}", noisy.log());
    drop(noisy);
    assert_eq!(with_action(&house, Action::Remove).run().removed, 1);
    assert_eq!(
        fs::read_dir(house.path("agents/main/sessions")).unwrap().count(),
        0,
        "nothing of ours is left"
    );
}

#[test]
fn an_empty_lock_and_one_of_a_killed_try_are_handed_over_too() {
    let house = House::new();
    house.put(SESSION_PATH, "");
    let inode = fs::metadata(house.path(SESSION_PATH)).unwrap().ino();
    house.put(format!("agents/main/sessions/.sexton-{inode:x}.tmp"), "half");
    let report = with_action(&house, Action::HandOver).run();
    assert_eq!(report.handed_over, 1, "{}", report.log());
    assert!(house.read(SESSION_PATH).contains("createdAt"));
    assert_eq!(fs::read_dir(house.path("agents/main/sessions")).unwrap().count(), 1);
}

#[test]
fn a_full_disk_leaves_the_old_lock_as_it_was() {
    if !is_root("a_full_disk_leaves_the_old_lock_as_it_was: mounts a small filesystem") {
        return;
    }
    let house = House::new();
    let _mounted = house::Mounted::tmpfs(&house, "size=64k");
    house.put(SESSION_PATH, SESSION);
    // Fill it to the last page.
    let mut filler = vec![0_u8; 1 << 20];
    while fs::write(house.path("filler"), &filler).is_err() && filler.len() > 1 {
        let room = fs::metadata(house.path("filler")).map_or(0, |meta| meta.len());
        filler.truncate(usize::try_from(room).unwrap().max(1));
    }
    let before = (house.read(SESSION_PATH), fs::metadata(house.path(SESSION_PATH)).unwrap().ino());
    let report = with_action(&house, Action::HandOver).run();
    assert_eq!((report.handed_over, report.failed), (0, 1), "{}", report.log());
    let line = &report.lines("lock-remove-failed")[0];
    assert!(line["error"].contains("No space left"), "{line:?}");
    assert_eq!((house.read(SESSION_PATH), fs::metadata(house.path(SESSION_PATH)).unwrap().ino()), before);
    assert_eq!(
        fs::read_dir(house.path("agents/main/sessions")).unwrap().count(),
        1,
        "nothing is left behind"
    );
    // A lock is removed all the same: that takes no room.
    assert_eq!(with_action(&house, Action::Remove).run().removed, 1);
}

#[test]
fn a_lock_that_is_held_too_long_is_reported_once_and_stays() {
    let house = House::new();
    let live = Live::idle();
    // Its own limit of 17 minutes, long past.
    house.put(SESSION_PATH, &(SAMPLES[0].text)(live.pid, live.start));
    let old =
        format!(r#"{{"pid":{},"createdAt":"2020-01-01T00:00:00Z","starttime":{}}}"#, live.pid, live.start.0);
    house.put("sessions/no-limit.jsonl.lock", &old);
    house.put("gateway.x.lock", &old);
    let report = Sweep::of(&house).run();
    assert_eq!(report.held, 3, "{}", report.log());
    let lines = report.lines("lock-held-too-long");
    assert!(lines.is_empty() || lines.len() == 1, "the clock decides about the first only: {}", report.log());
    drop(report);

    house.put(SESSION_PATH, &old.replace("}", ",\"maxHoldMs\":1000}"));
    let report = Sweep::of(&house).run();
    let lines = report.lines("lock-held-too-long");
    assert_eq!(lines.len(), 1, "{}", report.log());
    assert_eq!((lines[0]["limit"].as_str(), lines[0]["pid"].as_str()), ("1s", live.pid.to_string().as_str()));
    assert!(lines[0]["message"].contains("not removed"));
    let mut again = Sweep::of(&house);
    again.reported.clone_from(&report.reported);
    drop(report);
    assert_eq!(again.run().lines("lock-held-too-long").len(), 0, "once is enough");
    // The operator's limit is for those without one of their own, and not for what is held for life.
    let mut strict = Sweep::of(&house);
    strict.report_after = Some(Duration::from_secs(60));
    let report = strict.run();
    assert_eq!(report.lines("lock-held-too-long").len(), 2, "{}", report.log());
    assert!(house.has(SESSION_PATH) && house.has("gateway.x.lock"));
}

#[test]
fn an_operators_rules_are_judged_like_all_others() {
    let house = House::new();
    let dead = house::dead_pid();
    let live = Live::idle();
    let keys = format::Keys {
        pid: "owner.pid".to_owned(),
        started: Some("owner.ticks".to_owned()),
        host: None,
        boot: Some("boot".to_owned()),
    };
    let json = kind::Kind {
        name: "mine".into(),
        form: kind::LockShape::File,
        format: format::Format::Json(Box::new(keys)),
        keeps_open: false,
        witness: None,
        socket: None,
        lifelong: false,
        common_name: false,
        recovers: false,
    };
    let pattern = rule::Pattern::new("mine/*.lck").unwrap();
    let lock_kinds = LockKinds::with(vec![(pattern, json)]);
    let run = |text: &str| {
        house.put("mine/a.lck", text);
        let mut sweep = Sweep::of(&house);
        sweep.lock_kinds = lock_kinds.clone();
        sweep.run()
    };
    assert_eq!(run(&format!(r#"{{"owner":{{"pid":{dead}}}}}"#)).removed, 1);
    let own = |start: u64| format!(r#"{{"owner":{{"pid":{},"ticks":{start}}}}}"#, live.pid);
    assert_eq!(run(&own(live.start.0)).held, 1);
    assert_eq!(run(&own(live.start.0 + 1)).removed, 1);
    assert_eq!(run(r#"{"pid":1}"#).unclear, 1);
    // Another boot's id is no proof that the owner lived before this boot: a container can have one of its own.
    let elsewhere = |pid: Pid| format!(r#"{{"owner":{{"pid":{pid}}},"boot":"00000000-0000"}}"#);
    assert_eq!(run(&elsewhere(live.pid)).unclear, 1, "a process has the number");
    let other = Sweep::of(&house).run();
    assert_eq!(run(&elsewhere(dead)).unclear, 1, "another sexton is there");
    drop(other);
    assert_eq!(run(&elsewhere(dead)).removed, 1, "no owner lives elsewhere, says the operator");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let report = run(&format!(r#"{{"owner":{{"pid":{}}},"boot":"{}"}}"#, live.pid, boot.trim()));
    assert_eq!(report.unclear, 1, "{}", report.log());
}
