//! Locks, from outside: what lies in a state directory before a run and after it.
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

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::log::events;
use common::process::{children, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, SHORT_TIMEOUT, helper, root, skip, wait_until};
use tempfile::TempDir;

const KILL: i32 = 9;
const TERM: i32 = 15;

const SESSION: &str = "agents/main/sessions/sess-one.jsonl.lock";
const AUTH_PROFILES: &str = "agents/main/agent/auth-profiles.json.lock";
const OAUTH: &str = "locks/oauth-refresh/sha256-00ff.lock";
const USAGE_COST: &str = "agents/main/sessions/.usage-cost-cache.json.lock";
const GATEWAY: &str = "gateway.acb44012.lock";

/// A state directory, and a configuration that says that no other container uses it.
struct State {
    dir: TempDir,
    config: TempDir,
}

impl State {
    fn new() -> State {
        let state = State { dir: tempfile::tempdir().unwrap(), config: tempfile::tempdir().unwrap() };
        for path in [state.dir.path(), state.config.path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(state.config(), "[locks]\nsharing = \"exclusive\"\n").unwrap();
        for path in [SESSION, AUTH_PROFILES, OAUTH] {
            fs::create_dir_all(state.path(path).parent().unwrap()).unwrap();
        }
        state
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.config.path().join("sexton.toml")
    }

    fn name(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    fn plant(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// What OpenClaw 2026.5.22 writes, of a process that is not there.
    fn plant_all(&self, pid: i32) {
        let created = "2026-11-22T06:59:25.232Z";
        self.plant(SESSION, &format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\",\n  \"maxHoldMs\": 1020000,\n  \"starttime\": 107252\n}}\n"));
        let sidecar = format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\"\n}}\n");
        self.plant(AUTH_PROFILES, &sidecar);
        self.plant(OAUTH, &sidecar);
        self.plant(
            USAGE_COST,
            &format!("{{\"pid\":{pid},\"startedAt\":1795330765232,\"token\":\"{pid}:1795330765232:99\"}}\n"),
        );
        self.plant(GATEWAY, &format!("{{\"pid\":{pid},\"createdAt\":\"{created}\",\"configPath\":\"/x/openclaw.json\",\"startTime\":107252}}"));
        self.plant("agents/main/sessions/empty.jsonl.lock", "");
    }

    /// Every lock that is still there, without sexton's own.
    fn locks(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, found);
                } else if name.ends_with(".lock") && name != ".sexton.lock" {
                    found.push(name);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), &mut found);
        found.sort();
        found
    }

    /// A plan with this directory as the root, and the log in JSON.
    fn plan(&self, mode: Mode) -> Option<Plan> {
        let config = self.config();
        let options =
            ["--config", config.to_str().unwrap(), "--lock-root", self.dir.path().to_str().unwrap()];
        Some(plan(mode)?.options(options).options(["--log-format", "json"]))
    }
}

/// A command that prints its pid, then the locks that it finds, and exits with 0.
fn look_around(state: &State) -> [String; 4] {
    let script = "echo $$; find \"$0\" -name '*.lock' ! -name .sexton.lock -printf '%f\\n'";
    ["sh".to_owned(), "-c".to_owned(), script.to_owned(), state.name("")]
}

/// Starts a gateway stand-in that holds a lock, and waits until it has it.
fn holder(plan: Plan, path: &str, fields: &str) -> Victim {
    let mut victim = plan.run([&helper("holds_lock"), "hold", path, fields]);
    victim.says("ready");
    victim
}

#[test]
fn a_lock_with_the_pid_that_the_command_is_about_to_get_is_gone_before_the_command_runs() {
    let state = State::new();
    let Some(plan) = state.plan(Mode::Pid1) else { return };
    state.plant_all(4_000_000);
    let mut first = plan.run(look_around(&state));
    first.ends_with(0);
    let pid: i32 = first.stdout().trim().parse().expect("the pid, and no lock");

    state.plant_all(pid);
    let mut second = state.plan(Mode::Pid1).unwrap().run(look_around(&state));
    second.ends_with(0);
    assert_eq!(second.stdout(), format!("{pid}\n"), "the same pid again, and no lock");

    let mut removed = events(&second.stderr(), "lock-removed");
    removed.sort_by_key(|line| line.field("path"));
    let expected = [
        (AUTH_PROFILES, "auth-profiles"),
        (USAGE_COST, "usage-cost"),
        ("agents/main/sessions/empty.jsonl.lock", "session"),
        (SESSION, "session"),
        (GATEWAY, "gateway"),
        (OAUTH, "oauth-refresh"),
    ];
    assert_eq!(removed.len(), expected.len(), "{removed:#?}");
    for (line, (path, kind)) in removed.iter().zip(expected) {
        assert_eq!((line.field("path"), line.field("kind").as_str()), (state.name(path), kind));
        let owner = if path.contains("empty") { String::new() } else { pid.to_string() };
        assert_eq!(line.field("pid"), owner, "{line:?}");
        assert!(!line.field("reason").is_empty() && !line.field("age").is_empty(), "{line:?}");
    }
}

#[test]
fn a_lock_with_the_pid_of_sexton_or_of_its_helper_is_nobodys() {
    // In a container these numbers are the same every time, and some of them exist while locks are judged.
    for pid in 1..5 {
        let state = State::new();
        let Some(plan) = state.plan(Mode::Pid1) else { return };
        state.plant_all(pid);
        let mut victim = plan.run(look_around(&state));
        victim.ends_with(0);
        assert_eq!(victim.stdout().lines().count(), 1, "pid {pid}: {} {}", victim.stdout(), victim.stderr());
    }
}

#[test]
fn a_number_that_somebody_else_wears_now_saves_no_lock_that_its_owner_would_keep_open() {
    let state = State::new();
    let Some(plan) = state.plan(Mode::Pid1) else { return };
    // A process that is no gateway and was there before sexton, as of a `docker exec`.
    let script = format!("'{}' >/dev/null & exec \"$@\"", helper("ignores_term"));
    let plan = plan.through(["sh", "-c", &script, "sh"]).options(["--kill-after", "0s"]);
    state.plant_all(2);
    let mut victim = plan.run(["sh", "-c", "cat /proc/2/comm; test -e \"$0\"", &state.name(USAGE_COST)]);
    victim.ends_with(0);
    assert_eq!(victim.stdout(), "ignores_term\n", "pid 2 is another process");
    let removed = events(&victim.stderr(), "lock-removed");
    // The usage-cost lock is the one that its owner does not keep open: it must wait until that process is gone, too.
    assert_eq!(removed.len(), 6, "{}", victim.stderr());
    assert_eq!(removed.last().unwrap().field("kind"), "usage-cost", "{}", victim.stderr());
}

#[test]
fn a_removed_lock_is_one_line_for_people_too() {
    let state = State::new();
    state.plant_all(4_000_000);
    let Some(plan) = plan(Mode::Pid1) else { return };
    let mut victim = plan
        .options(["--config", state.config().to_str().unwrap(), "--lock-root", &state.name("")])
        .run(["true"]);
    victim.ends_with(0);
    let said = victim.stderr();
    assert_eq!(said.lines().count(), 6, "{said}");
    let line = said.lines().find(|line| line.contains(&state.name(SESSION))).unwrap();
    assert!(line.starts_with("sexton[1] WARN lock-removed: "), "{line}");
    for field in
        [&format!(" path={}", state.name(SESSION)), " kind=session", " pid=4000000", " age=", " reason="]
    {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[test]
fn where_it_is_not_pid_1_the_locks_of_the_dead_are_gone_too() {
    for mode in [Mode::Tree, Mode::Cgroup] {
        let state = State::new();
        state.plant_all(4_000_000);
        let Some(plan) = state.plan(mode) else { return };
        let mut victim = plan.run(look_around(&state));
        victim.ends_with(0);
        assert_eq!(victim.stdout().lines().count(), 1, "{mode:?}: {}", victim.stdout());
    }
}

#[test]
fn roots_come_from_the_option_the_variable_or_openclaws_own_places() {
    let state = State::new();
    let path = state.name("");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("SEXTON_LOCK_ROOTS", &path)], ""),
        (&[("SEXTON_LOCK_ROOTS", &format!("/nowhere:{path}"))], ""),
        (&[("OPENCLAW_STATE_DIR", &path)], ""),
        (&[("OPENCLAW_HOME", &path)], ".openclaw"),
        (&[("HOME", &path)], ".clawdbot"),
    ];
    for (variables, below) in cases {
        let Some(mut plan) = plan(Mode::Pid1) else { return };
        state.plant_all(4_000_000);
        let home = state.path(below);
        let there = |name: &str| if below.is_empty() { state.path(name) } else { home.join(name) };
        if !below.is_empty() {
            for path in [SESSION, OAUTH] {
                fs::create_dir_all(there(path).parent().unwrap()).unwrap();
                fs::copy(state.path(path), there(path)).unwrap();
            }
        }
        for (name, value) in variables {
            plan = plan.variable(name, value);
        }
        plan.run(["true"]).ends_with(0);
        assert!(!there(SESSION).exists() && !there(OAUTH).exists(), "{variables:?}: {:?}", state.locks());
        if !below.is_empty() {
            assert!(state.path(SESSION).exists(), "{variables:?} reaches out of the state directory");
            fs::remove_dir_all(home).unwrap();
        }
    }
}

/// Where the kernel remembers that there was no state directory, nobody need look for one. It is swept all the same
/// as soon as there is one.
#[test]
fn a_state_directory_that_was_missing_before_is_swept_at_the_end() {
    for mode in Mode::ALL {
        let state = State::new();
        let home = state.path(".openclaw");
        let planted = home.join(SESSION);
        // More than once, so that a missing name is remembered wherever the filesystem lets it be.
        for _ in 0..2 {
            assert!(!planted.exists());
            let Some(plan) = plan(mode) else { return };
            plan.variable("HOME", &state.name("")).run(["true"]).ends_with(0);
        }
        let Some(plan) = plan(mode) else { return };
        let script =
            "mkdir -p \"${0%/*}\"; echo \"{\\\"pid\\\":$$,\\\"createdAt\\\":\\\"x\\\"}\" >\"$0\"; ls \"$0\"";
        let mut victim =
            plan.variable("HOME", &state.name("")).run(["sh", "-c", script, planted.to_str().unwrap()]);
        victim.ends_with(0);
        assert!(victim.stdout().contains(SESSION), "{mode:?}: {}", victim.stderr());
        assert!(home.exists() && !planted.exists(), "{mode:?}: {}", victim.stderr());
    }
}

#[test]
fn the_gateways_lock_in_the_temporary_directory_is_found() {
    let state = State::new();
    // In the new namespace we are root, whatever user we are outside.
    let dir = state.path("openclaw-0");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    state.plant(&format!("openclaw-0/{GATEWAY}"), "{\"pid\":4000000,\"createdAt\":\"2026-11-22T06:58:42.764Z\",\"configPath\":\"/x\",\"startTime\":107252}");
    let Some(plan) = plan(Mode::Pid1) else { return };
    plan.variable("TMPDIR", &state.name("")).run(["true"]).ends_with(0);
    assert_eq!(state.locks(), Vec::<String>::new());
}

#[test]
fn a_lock_that_a_live_process_outside_holds_is_kept_byte_for_byte() {
    for fields in ["session", "sidecar", "empty"] {
        // One holder in our own pid namespace; one in a namespace of its own, where its pid is 1 as sexton's.
        for outside in [Mode::Tree, Mode::Pid1] {
            for mode in Mode::PID1_AND_NOT {
                let state = State::new();
                let (Some(beside), Some(plan)) = (plan(outside), state.plan(mode)) else { return };
                let _holder = holder(beside.without_sexton(), &state.name(SESSION), fields);
                let before =
                    (fs::read(state.path(SESSION)).unwrap(), fs::metadata(state.path(SESSION)).unwrap());
                let mut victim = plan.run(["true"]);
                victim.ends_with(0);
                let after = fs::metadata(state.path(SESSION)).expect("the lock of a live process is gone");
                assert_eq!(fs::read(state.path(SESSION)).unwrap(), before.0);
                let identity = |file: &fs::Metadata| (file.ino(), file.mtime_nsec(), file.uid(), file.mode());
                assert_eq!(identity(&after), identity(&before.1), "{fields} {outside:?} {mode:?}");
                assert!(events(&victim.stderr(), "lock-removed").is_empty(), "{}", victim.stderr());
            }
        }
    }
}

#[test]
fn a_lock_that_its_owner_does_not_keep_open_is_kept_while_another_sexton_uses_the_root() {
    let state = State::new();
    let Some(first) = state.plan(Mode::Pid1) else { return };
    let lock = state.name(USAGE_COST);
    // As OpenClaw writes it: no process has it open, and the pid says nothing in another namespace.
    let script = "printf '{\"pid\":%s,\"startedAt\":1,\"token\":\"x\"}\\n' $$ >\"$1\"; exec \"$0\"";
    let mut gateway = first.run(["sh", "-c", script, &helper("ignores_term"), &lock]);
    gateway.says("ready");
    let before = fs::read(&lock).unwrap();
    for mode in Mode::PID1_AND_NOT {
        let Some(second) = state.plan(mode) else { return };
        second.run(["true"]).ends_with(0);
        assert_eq!(fs::read(&lock).expect("the other gateway's lock is gone"), before, "{mode:?}");
    }
    // Alone again, it is what its owner left behind.
    send(gateway.main().pid, KILL).unwrap();
    gateway.ends_with(128 + KILL);
    assert_eq!(state.locks(), Vec::<String>::new(), "{}", gateway.stderr());
}

#[test]
fn what_a_killed_gateway_held_is_gone_when_sexton_has_exited() {
    for mode in Mode::ALL {
        for fields in ["session", "sidecar", "empty"] {
            let state = State::new();
            let Some(plan) = state.plan(mode) else { return };
            let mut victim = holder(plan, &state.name(SESSION), fields);
            assert_eq!(state.locks().len(), 1);
            send(victim.main().pid, KILL).unwrap();
            victim.ends_with(128 + KILL);
            assert_eq!(state.locks(), Vec::<String>::new(), "{fields} {mode:?}: {}", victim.stderr());
            assert_eq!(events(&victim.stderr(), "lock-removed").len(), 1, "{}", victim.stderr());
        }
    }
}

#[test]
fn what_a_dead_tool_held_is_gone_when_sexton_has_exited() {
    for mode in Mode::ALL {
        let state = State::new();
        let Some(plan) = state.plan(mode) else { return };
        // The shell between them says that it has died; the lock is left to sexton.
        let script =
            "(setsid sh -c '\"$0\" dies \"$1\"; echo yes >\"$2\"' \"$0\" \"$1\" \"$3\" 2>&1 &); exec \"$2\"";
        let taken = plan.path("taken");
        let [lock, waits] = [state.name(SESSION), helper("ignores_term")];
        let words = ["sh", "-c", script, &helper("holds_lock"), &lock, &waits, &taken];
        let mut victim = plan.run(words);
        victim.says("ready");
        // Whether the lock is there by now depends on when its owner dies, and on sexton; in the end it is not.
        victim.notes("taken", "yes");
        let sexton = victim.pid();
        wait_until("it is dead", || children(sexton).len() == 1);
        send(victim.main().pid, KILL).unwrap();
        victim.ends_with(128 + KILL);
        assert_eq!(state.locks(), Vec::<String>::new(), "{mode:?}: {}", victim.stderr());
        assert_eq!(events(&victim.stderr(), "lock-removed").len(), 1, "{mode:?}: {}", victim.stderr());
    }
}

#[test]
fn what_a_dead_orphan_held_is_removed_while_the_gateway_lives() {
    for mode in Mode::PID1_AND_NOT {
        let state = State::new();
        let Some(plan) = state.plan(mode) else { return };
        let script = "(setsid \"$0\" hold \"$1\" >&2 &); exec \"$2\"";
        let words =
            ["sh", "-c", script, &helper("holds_lock"), &state.name(SESSION), &helper("ignores_term")];
        let mut victim = plan.run(words);
        victim.says("ready");
        let sexton = victim.pid();
        wait_until("the lock is taken", || {
            fs::metadata(state.path(SESSION)).is_ok_and(|lock| lock.len() > 0)
        });
        let mut orphan = None;
        wait_until("the holder is an orphan", || {
            orphan = children(sexton).into_iter().find(|child| child.name == "holds_lock");
            orphan.is_some()
        });
        send(orphan.unwrap().pid, KILL).unwrap();
        wait_until(&format!("its lock is gone, {mode:?}"), || !state.path(SESSION).exists());
        // It stood still for the removal.
        wait_until(&format!("the gateway goes on, {mode:?}"), || victim.main().state == 'S');
    }
}

#[test]
fn no_locks_leaves_everything() {
    for mode in Mode::PID1_AND_NOT {
        let state = State::new();
        state.plant_all(4_000_000);
        let before = state.locks();
        let held = state.path("agents/main/sessions/held.jsonl.lock");
        let Some(plan) = state.plan(mode) else { return };
        let mut victim = holder(plan.options(["--no-locks"]), held.to_str().unwrap(), "session");
        send(victim.main().pid, KILL).unwrap();
        victim.ends_with(128 + KILL);
        assert!(held.exists());
        fs::remove_file(held).unwrap();
        assert_eq!(state.locks(), before, "{mode:?}");
        assert!(!state.path(".sexton.lock").exists(), "it has nothing to register for");
        assert_eq!(victim.stderr(), "");
    }
}

#[test]
fn what_only_has_a_locks_name_is_never_removed_and_never_stops_the_launch() {
    let state = State::new();
    let session = |name: &str| state.path(&format!("agents/main/sessions/{name}.jsonl.lock"));
    let stale = "{\"pid\":4000000,\"createdAt\":\"2026-11-22T06:59:25.232Z\"}";
    nix::unistd::mkfifo(&session("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(session("directory")).unwrap();
    fs::write(state.path("elsewhere"), stale).unwrap();
    symlink(state.path("elsewhere"), session("symlink")).unwrap();
    symlink("/dev/zero", session("device-link")).unwrap();
    fs::hard_link(state.path("elsewhere"), session("hardlink")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(session("socket")).unwrap());
    File::create(session("huge")).unwrap().set_len(300_000_000).unwrap();
    for (name, content) in [
        ("garbage", &b"\x00\xff\x1b[31m not JSON \n\n"[..]),
        ("truncated", br#"{"pid": 4000000, "createdAt": "2026-1"#),
        ("zero", br#"{"pid": 0, "createdAt": "2026-11-22T06:59:25.232Z"}"#),
        ("negative", br#"{"pid": -1, "createdAt": "2026-11-22T06:59:25.232Z"}"#),
        ("enormous", br#"{"pid": 9223372036854775808, "createdAt": "2026-11-22T06:59:25.232Z"}"#),
        ("text", br#"{"pid": "4000000", "createdAt": "2026-11-22T06:59:25.232Z"}"#),
        ("list", b"[4000000]"),
    ] {
        fs::write(session(name), content).unwrap();
    }
    // Beside them, what must never be touched, and one true orphan.
    for name in ["x.sqlite", "x.jsonl.lock.reclaim", "x.jsonl", "x.sqlite-wal"] {
        fs::write(state.path("agents/main/sessions").join(name), stale).unwrap();
    }
    let all = || {
        let mut names: Vec<_> = fs::read_dir(state.path("agents/main/sessions"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = all();
    fs::write(session("orphan"), stale).unwrap();
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = state.plan(mode) else { return };
        let begin = Instant::now();
        let mut victim = plan.run(["sh", "-c", "exit 6"]);
        victim.ends_with(6);
        assert!(begin.elapsed() < SHORT_TIMEOUT);
        assert_eq!(all(), before, "{mode:?}: {}", victim.stderr());
        let said = common::log::json(&victim.stderr());
        for name in [
            "fifo",
            "directory",
            "symlink",
            "device-link",
            "hardlink",
            "socket",
            "huge",
            "garbage",
            "truncated",
            "zero",
            "negative",
            "enormous",
            "text",
            "list",
        ] {
            let path = session(name).into_os_string().into_string().unwrap();
            let lines: Vec<_> = said.iter().filter(|line| line.field("path") == path).collect();
            assert!(!lines.is_empty(), "{name} is not mentioned: {}", victim.stderr());
            assert!(lines.iter().all(|line| !line.field("reason").is_empty()), "{lines:?}");
        }
    }
}

#[test]
fn a_root_of_another_user_is_swept_as_that_user() {
    if !root() {
        return skip("root", "to make files of another user");
    }
    for mode in Mode::PID1_AND_NOT {
        let state = State::new();
        state.plant_all(4_000_000);
        let own = |path: &Path| chown(path, Some(12_345), Some(12_345)).unwrap();
        fn every(dir: &Path, act: &dyn Fn(&Path)) {
            act(dir);
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { every(&path, act) } else { act(&path) }
            }
        }
        every(state.dir.path(), &own);
        fs::set_permissions(state.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let Some(plan) = state.plan(mode) else { return };
        let mut victim = plan.run(["true"]);
        victim.ends_with(0);
        assert_eq!(state.locks(), Vec::<String>::new(), "{mode:?}: {}", victim.stderr());
        every(state.dir.path(), &|path| {
            assert_eq!(
                fs::metadata(path).unwrap().uid(),
                12_345,
                "{} belongs to another user now",
                path.display()
            );
        });
    }
}

#[test]
fn without_any_privilege_its_own_locks_are_swept_and_escapees_end() {
    if !root() {
        return skip("root", "to become another user");
    }
    for mode in Mode::PID1_AND_NOT {
        let state = State::new();
        for path in ["", "agents/main/sessions", "agents/main/agent", "locks/oauth-refresh"] {
            chown(state.path(path), Some(12_345), Some(12_345)).unwrap();
        }
        state.plant_all(4_000_000);
        for path in
            [SESSION, AUTH_PROFILES, OAUTH, USAGE_COST, GATEWAY, "agents/main/sessions/empty.jsonl.lock"]
        {
            chown(state.path(path), Some(12_345), Some(12_345)).unwrap();
        }
        let Some(plan) = state.plan(mode) else { return };
        let script = "(setsid sleep 1000 &); id -u; exit 3";
        let mut victim = plan.by_user(12_345).options(["--kill-after", NEVER]).run(["sh", "-c", script]);
        victim.ends_with(3);
        assert_eq!(victim.stdout(), "12345\n");
        assert_eq!(state.locks(), Vec::<String>::new(), "{mode:?}: {}", victim.stderr());
    }
}

#[test]
fn a_filesystem_that_does_not_answer_delays_the_launch_by_the_deadline_and_no_more() {
    if !root() || !Path::new("/dev/fuse").exists() {
        return skip("root and /dev/fuse", "modprobe fuse");
    }
    // One that is looked for and not named is asked for by sexton itself too, from what the kernel remembers.
    let ways = Mode::PID1_AND_NOT.into_iter().flat_map(|mode| [(mode, true), (mode, false)]);
    for (mode, named) in ways {
        let Some(plan) = plan(mode) else { return };
        let hung = plan.path("hung");
        fs::create_dir(&hung).unwrap();
        // A FUSE file system whose server never says a word: every question waits for ever.
        let script = format!(
            "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none '{hung}' && exec \"$@\""
        );
        let plan = plan.through(["sh", "-c", &script, "sh"]);
        let plan = plan.options(["--sweep-timeout", "700ms"]);
        let plan = if named {
            plan.options(["--lock-root", &hung])
        } else {
            plan.variable("OPENCLAW_STATE_DIR", &format!("{hung}/state"))
        };
        let begin = Instant::now();
        let mut victim = plan.run(["sh", "-c", "echo started; exit 8"]);
        victim.says("started");
        let launched = begin.elapsed();
        assert!(launched >= Duration::from_millis(700) && launched < SHORT_TIMEOUT, "{mode:?}: {launched:?}");
        let code = victim.code();
        println!("{mode:?}: launched after {launched:?}, ended after {:?}", begin.elapsed());
        assert_eq!(code, 8, "{}", victim.stderr());
        assert!(begin.elapsed() < SHORT_TIMEOUT, "{:?}", begin.elapsed());
        assert!(victim.live().is_empty());
        assert!(
            victim.stderr().lines().any(|line| line.contains(&hung)),
            "it does not say so: {}",
            victim.stderr()
        );
    }
}

#[test]
fn a_lock_that_is_released_in_time_is_nobodys_business() {
    for mode in Mode::PID1_AND_NOT {
        let state = State::new();
        let Some(plan) = state.plan(mode) else { return };
        let mut victim = holder(plan, &state.name(SESSION), "session");
        victim.signal(TERM);
        victim.ends_with(0);
        assert_eq!(victim.stderr(), "", "{mode:?}");
    }
}
