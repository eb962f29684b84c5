//! The control socket, through the whole binary: what it answers, to whom, and what it withstands.
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
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1, SYS_rt_sigtimedwait};
use serde_json::{Value, json};

use common::process::{look, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, PATIENCE, SHORT_TIMEOUT, helper, root, sexton, skip, text, wait_until};

/// A plan with a control socket in the victim's own directory.
fn controlled(mode: Mode) -> Option<(Plan, PathBuf)> {
    let plan = plan(mode)?.options(["--grace", NEVER, "--kill-after", NEVER]);
    let socket = PathBuf::from(plan.path("run/control.sock"));
    let plan = plan.variable("SEXTON_CONTROL", socket.to_str().unwrap());
    Some((plan, socket))
}

/// A sexton that runs `sleep`, listening.
fn sleeper(mode: Mode) -> Option<(Victim, PathBuf)> {
    let (plan, socket) = controlled(mode)?;
    let mut victim = plan.run(["sh", "-c", "echo up; exec sleep 1000"]);
    victim.says("up");
    Some((victim, socket))
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says a line and takes the reply.
fn ask(stream: &UnixStream, request: &Value) -> Value {
    let mut writer = stream;
    writer.write_all(format!("{request}\n").as_bytes()).unwrap();
    reply(stream)
}

/// The next line. One byte at a time, so that nothing of the one after it is lost.
fn reply(stream: &UnixStream) -> Value {
    let mut line = Vec::new();
    for byte in BufReader::with_capacity(1, stream).bytes() {
        match byte.unwrap() {
            b'\n' => return serde_json::from_slice(&line).unwrap(),
            byte => line.push(byte),
        }
    }
    panic!("closed after {:?}", String::from_utf8_lossy(&line));
}

fn status(socket: &Path) -> Value {
    ask(&connect(socket), &json!({ "op": "status" }))["status"].clone()
}

/// Runs a subcommand from outside.
fn run<const N: usize>(socket: &Path, words: [&str; N]) -> Output {
    let mut command = Command::new(sexton());
    command.args(words).env_clear().env("SEXTON_CONTROL", socket).stdin(Stdio::null()).output().unwrap()
}

fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory in KiB.
fn memory(pid: i32) -> u64 {
    common::process::status(pid, "VmRSS").unwrap().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn status_shows_the_tree_and_whose_each_process_is() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, socket)) = controlled(mode) else { return };
        let program = sexton();
        let script = format!(
            "(SEXTON_TOOL_ID=gone setsid sh -c 'echo $$ >orphan; exec sleep 1000' &) \n sleep 1000 & \n \
             while ! grep -q sleep /proc/$!/comm; do :; done \n \
             until grep -qs sleep \"/proc/$(cat orphan)/comm\"; do :; done \n \
             {0} status --json > status.json; {0} ps > ps.txt; {0} status > status.txt; echo seen; wait",
            program.display()
        );
        let directory = Path::new(&plan.path("")).to_owned();
        let mut victim = plan.run(["sh", "-c", &format!("cd {}\n{script}", directory.display())]);
        victim.says("seen");

        let seen: Value = serde_json::from_str(&victim.read("status.json")).unwrap();
        assert_eq!(seen["gateway"]["state"], "running");
        assert_eq!(seen["reach"], victim.mode().reach());
        let gateway = &seen["gateway"]["pid"];
        let processes = seen["processes"].as_array().unwrap();
        let named = |of: &str, name: &str| {
            processes.iter().find(|one| one["of"] == of && one["name"] == name).unwrap_or_else(|| {
                panic!("no {name} of {of} in {seen:#}");
            })
        };
        assert_eq!(&named("gateway", "sh")["pid"], gateway);
        assert_eq!(&named("gateway", "sleep")["parent"], gateway);
        let orphan = named("gone", "sleep");
        assert_eq!((&orphan["orphan"], &orphan["parent"]), (&json!(true), &seen["pid"]));
        assert!(orphan["rss"].as_u64().unwrap() > 0 && orphan["group"] == orphan["pid"]);
        assert!(victim.read("ps.txt").contains("orphan of gone"), "{}", victim.read("ps.txt"));
        assert!(victim.read("status.txt").contains("\ngateway  running"), "{}", victim.read("status.txt"));

        assert_eq!(
            text(&run(&socket, ["stop"]).stdout),
            format!("the gateway was asked to end; it has 2m\n")
        );
        victim.ends_with(143);
        assert!(!socket.exists(), "the socket goes with its sexton");
    }
}

#[test]
fn a_signal_a_restart_and_a_stop_can_be_asked_for() {
    let Some((plan, socket)) = controlled(Mode::Tree) else { return };
    let mut victim = plan.run([helper("prints_signals")]);
    victim.says("ready");
    let first = status(&socket)["gateway"]["pid"].clone();

    let signalled = run(&socket, ["signal", "USR1"]);
    assert_eq!(signalled.status.code(), Some(0), "{signalled:?}");
    victim.says("10");
    for (words, why) in [
        (["signal", "NOSUCH"], "not a signal"),
        (["restart", "nobody"], "there is no unit 'nobody'"),
        (["cancel", "nothing"], "no tool 'nothing' runs"),
    ] {
        let refused = run(&socket, words);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(run(&socket, ["restart", "nobody"]).status.code(), Some(1));

    // It takes TERM for what it prints, and is ended by the next stage.
    assert_eq!(run(&socket, ["restart"]).status.code(), Some(0));
    wait_until("TERM has come", || victim.stdout().lines().any(|line| line == "15"));
    send(i32::try_from(first.as_i64().unwrap()).unwrap(), SIGKILL).unwrap();
    wait_until("it was started again", || {
        let gateway = &status(&socket)["gateway"];
        gateway["state"] == "running" && gateway["pid"] != first
    });
    wait_until("it hears signals", || victim.stdout().lines().filter(|line| *line == "ready").count() == 2);
    let now = status(&socket);
    assert_eq!((&now["gateway"]["restarts"], &now["counters"]["restarts"]), (&json!(1), &json!(1)));
    assert_eq!(now["gateway"]["last"], "ended by SIGKILL");

    assert_eq!(run(&socket, ["stop"]).status.code(), Some(0));
    assert_eq!(status(&socket)["gateway"]["state"], "stopping");
    for _ in 0..2 {
        // Each one more is the next stage.
        let _ = run(&socket, ["stop", "--json"]);
    }
    victim.ends_with(137);
}

#[test]
fn a_dead_sextons_socket_is_replaced_and_a_live_ones_is_not() {
    let Some((mut first, socket)) = sleeper(Mode::Tree) else { return };
    send(first.pid(), SIGKILL).unwrap();
    first.status();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket(), "it was left behind");

    let again = || {
        let plan = plan(Mode::Tree).unwrap();
        plan.options(["--control", socket.to_str().unwrap()])
    };
    let mut second = again().run(["sh", "-c", "echo $SEXTON_SOCKET; exec sleep 1000"]);
    second.says(socket.to_str().unwrap());
    assert_eq!(status(&socket)["pid"], second.pid());

    let mut third = again().run(["sh", "-c", "echo \"none: $SEXTON_SOCKET\""]);
    third.ends_with(0);
    assert_eq!(third.stdout(), "none: \n");
    let said = third.stderr();
    assert!(said.contains("control-off") && said.contains("another sexton has the control socket"), "{said}");
    assert_eq!(status(&socket)["pid"], second.pid(), "the second one is still there");
    second.signal(SIGTERM);
    second.ends_with(143);
}

#[test]
fn at_the_usual_place_each_sexton_has_a_socket_of_its_own() {
    if !root() {
        return skip("root", "sudo");
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let start = || {
        let plan = plan(Mode::Tree)?.by_user(65_534).through(["env", "-u", "SEXTON_CONTROL"]);
        let plan = plan.options(["--grace", NEVER]).variable("XDG_RUNTIME_DIR", place.path().to_str()?);
        Some(plan.run(["sh", "-c", "echo $SEXTON_SOCKET; exec sleep 1000"]))
    };
    let Some(mut first) = start() else { return };
    let path = |name: &str| place.path().join("sexton").join(name);
    first.says(path("control.sock").to_str().unwrap());
    let mut second = start().unwrap();
    second.says(path("control-2.sock").to_str().unwrap());
    let directory = fs::metadata(path("")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(path("control.sock")).unwrap().permissions().mode() & 0o777, 0o600);
    // Root may ask as well, and finds the one that is left.
    first.signal(SIGTERM);
    first.ends_with(143);
    let found = Command::new(sexton())
        .args(["status", "--json"])
        .env_clear()
        .env("XDG_RUNTIME_DIR", place.path())
        .output()
        .unwrap();
    // Another sexton may have the first default path on this machine.
    if !Path::new("/run/sexton").exists() {
        let found: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(found["pid"], second.pid());
    }
    second.signal(SIGTERM);
    second.ends_with(143);
}

/// A user whom no other test has.
const LONELY: u32 = 61_234;

/// What that user's own client says, in the namespaces that `through` makes.
fn asked_by_lonely(sexton: &str, through: &[&str]) -> Output {
    let user = [format!("--reuid={LONELY}"), format!("--regid={LONELY}")];
    let mut command = Command::new("setpriv");
    command.args(["--clear-groups", &user[0], &user[1]]);
    command.args(through).args([sexton, "status", "--json"]).env_clear().env("PATH", "/usr/bin:/bin");
    command.output().unwrap()
}

/// A user who may write neither in /run nor in a directory of the session, as in an image without /run.
#[test]
fn who_may_write_nowhere_else_has_a_socket_in_a_closed_directory_below_tmp_or_shm() {
    if !root() {
        return skip("root", "sudo");
    }
    let places = ["/tmp", "/dev/shm"].map(|path| PathBuf::from(format!("{path}/sexton-{LONELY}")));
    let start = |script: &str| {
        let plan = plan(Mode::Tree)?.by_user(LONELY).through(["env", "-u", "SEXTON_CONTROL"]);
        let program = plan.path("sexton");
        Some((plan.run(["sh", "-c", script]), program))
    };
    let idle = "echo $SEXTON_SOCKET; exec sleep 1000";
    let Some((mut victim, program)) = start(idle) else { return };
    victim.says(places[0].join("control.sock").to_str().unwrap());
    let directory = fs::metadata(&places[0]).unwrap();
    assert_eq!((directory.permissions().mode() & 0o7777, directory.uid()), (0o700, LONELY));
    let said: Value = serde_json::from_slice(&asked_by_lonely(&program, &[]).stdout).unwrap();
    assert_eq!(said["pid"], victim.pid());
    // Another container may have the same /tmp: who lives in no pid namespace of ours is not believed.
    let apart = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"];
    let said = asked_by_lonely(&program, &apart);
    assert_eq!(said.status.code(), Some(69), "{said:?}");
    victim.signal(SIGTERM);
    victim.ends_with(143);
    assert!(!places[0].exists(), "it goes with its sexton");

    // Others can make it first.
    let theirs = || fs::set_permissions(&places[0], PermissionsExt::from_mode(0o777));
    fs::create_dir(&places[0]).unwrap();
    theirs().unwrap();
    let (mut victim, program) = start(idle).unwrap();
    victim.says(places[1].join("control.sock").to_str().unwrap());
    drop(UnixListener::bind(places[0].join("control.sock")).unwrap());
    let said: Value = serde_json::from_slice(&asked_by_lonely(&program, &[]).stdout).unwrap();
    assert_eq!(said["pid"], victim.pid(), "what lies in a directory of another's does not count");
    victim.signal(SIGTERM);
    victim.ends_with(143);
    fs::remove_dir_all(&places[0]).unwrap();

    // A link, and a directory that is another's: nothing is left, and that is said in one line.
    let elsewhere = tempfile::tempdir().unwrap();
    chown(elsewhere.path(), Some(LONELY), Some(LONELY)).unwrap();
    symlink(elsewhere.path(), &places[0]).unwrap();
    fs::create_dir(&places[1]).unwrap();
    let (mut victim, _) = start("test -z \"$SEXTON_SOCKET\"").unwrap();
    let code = victim.code();
    fs::remove_file(&places[0]).unwrap();
    fs::remove_dir(&places[1]).unwrap();
    assert_eq!(code, 0);
    let line = victim.stderr();
    assert!(line.lines().count() == 1 && line.contains("WARN control-off: "), "{line}");
    assert!(line.contains("'sexton health'"), "{line}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// A place for a control socket, what lies in the way there, and what is said of it.
struct InTheWay {
    name: &'static str,
    lay: fn(&Path),
    said: &'static str,
}

const IN_THE_WAY: [InTheWay; 6] = [
    InTheWay {
        name: "a link to a socket",
        lay: |place| {
            drop(UnixListener::bind(place.join("elsewhere")).unwrap());
            symlink("elsewhere", place.join("control.sock")).unwrap();
        },
        said: "is no socket",
    },
    InTheWay {
        name: "another user's socket",
        lay: |place| {
            drop(UnixListener::bind(place.join("control.sock")).unwrap());
            chown(place.join("control.sock"), Some(1000), Some(1000)).unwrap();
        },
        said: "is a socket of uid 1000",
    },
    InTheWay {
        name: "another user's socket, in that one's directory",
        lay: |place| {
            drop(UnixListener::bind(place.join("control.sock")).unwrap());
            lchown(place.join("control.sock"), Some(1000), Some(1000)).unwrap();
            chown(place, Some(1000), Some(1000)).unwrap();
        },
        said: "is a socket of uid 1000",
    },
    InTheWay {
        name: "another user's socket, in a directory that is everybody's",
        lay: |place| {
            drop(UnixListener::bind(place.join("control.sock")).unwrap());
            lchown(place.join("control.sock"), Some(1000), Some(1000)).unwrap();
            fs::set_permissions(place, PermissionsExt::from_mode(0o777)).unwrap();
        },
        said: "is a socket of uid 1000",
    },
    InTheWay {
        name: "a file, in a directory that is everybody's",
        lay: |place| {
            fs::write(place.join("control.sock"), "precious").unwrap();
            fs::set_permissions(place, PermissionsExt::from_mode(0o777)).unwrap();
        },
        said: "is no socket",
    },
    InTheWay {
        name: "a directory that is another user's link to ours",
        lay: |place| {
            let real = place.with_file_name("real");
            fs::rename(place, &real).unwrap();
            drop(UnixListener::bind(real.join("control.sock")).unwrap());
            symlink(&real, place).unwrap();
            lchown(place, Some(1000), Some(1000)).unwrap();
        },
        said: "can be written by others or is not ours",
    },
];

#[test]
fn nothing_is_removed_or_bound_over_that_is_not_sextons_own() {
    if !root() {
        return skip("root", "sudo");
    }
    for InTheWay { name, lay, said } in IN_THE_WAY {
        let Some(plan) = plan(Mode::Tree) else { return };
        let place = PathBuf::from(plan.path("place"));
        fs::create_dir(&place).unwrap();
        lay(&place);
        let socket = place.join("control.sock");
        let names = || {
            let entry = |entry: std::io::Result<fs::DirEntry>| {
                let (entry, path) = (entry.as_ref().unwrap(), entry.as_ref().unwrap().path());
                let meta = fs::symlink_metadata(&path).unwrap();
                (entry.file_name(), meta.ino(), meta.uid(), meta.mode(), meta.len())
            };
            let mut all: Vec<_> = fs::read_dir(&place).unwrap().map(entry).collect();
            all.sort();
            all
        };
        let before = names();
        // The gateway runs all the same.
        let mut victim = plan.options(["--control", socket.to_str().unwrap()]).run(["sh", "-c", "exit 7"]);
        victim.ends_with(7);
        let line = victim.stderr();
        assert!(line.contains(" control-off: ") && line.contains(said), "{name}: {line}");
        assert!(line.lines().count() == 1 && line.contains("--control"), "{name}: {line}");
        assert_eq!(names(), before, "{name}");
    }
}

#[test]
fn another_user_is_refused() {
    if !root() {
        return skip("root", "sudo");
    }
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    // Even if the way to the socket was opened to others.
    fs::set_permissions(socket.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let program = victim.path("sexton");
    fs::copy(sexton(), &program).unwrap();
    let stop = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["stop", "--control", socket.to_str().unwrap()])
        .output()
        .unwrap();
    let said = text(&stop.stderr);
    assert!(stop.status.code() == Some(1) && said.contains("root and its own user"), "{stop:?}");
    assert_eq!(status(&socket)["gateway"]["state"], "running");
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn a_client_does_not_wait_for_a_sexton_that_stands_still() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    send(victim.pid(), SIGSTOP).unwrap();
    wait_until("it stands still", || look(victim.pid()).is_some_and(|one| one.state == 'T'));
    let begun = Instant::now();
    for words in [["status", "--deadline", "300ms"], ["stop", "--deadline", "300ms"]] {
        let late = run(&socket, words);
        assert_eq!(late.status.code(), Some(69));
        let said = text(&late.stderr);
        assert!(said.contains("did not answer in time") && said.lines().count() == 1, "{said}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(600) && begun.elapsed() < SHORT_TIMEOUT);
    send(victim.pid(), SIGCONT).unwrap();
    // What was asked for meanwhile is done.
    victim.ends_with(143);
    let unanswered = run(&socket, ["status"]);
    assert_eq!(unanswered.status.code(), Some(69));
    assert!(text(&unanswered.stderr).starts_with("sexton: no sexton answers at "), "{unanswered:?}");
}

#[test]
fn a_client_does_not_wait_for_an_answer_that_never_ends() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let end = Instant::now() + PATIENCE;
        // Never a whole line, and always something to be read.
        while Instant::now() < end && stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let begun = Instant::now();
    let late = run(&socket, ["status", "--deadline", "300ms"]);
    assert!(begun.elapsed() < SHORT_TIMEOUT, "after {:?}: {late:?}", begun.elapsed());
    assert_eq!(late.status.code(), Some(69), "{late:?}");
    let said = text(&late.stderr);
    // On a fast machine more has come until then than any answer has.
    let why = said.contains("did not answer in time") || said.contains("it is too long");
    assert!(why && said.lines().count() == 1, "{said}");
    answers.join().unwrap();
}

/// A life that says whether the lock of the one before it is still there, and takes it.
const LIFE: &str = r#"test -e "$0/one.jsonl.lock" && echo stale >>"$0/../lives" || echo clean >>"$0/../lives"
    echo "{\"pid\":$$,\"createdAt\":\"2026-11-22T06:59:25.232Z\"}" >"$0/one.jsonl.lock"; exec sleep 1000"#;

#[test]
fn tools_that_take_every_connection_leave_sexton_what_it_needs_itself() {
    let Some((plan, socket)) = controlled(Mode::Tree) else { return };
    let (state, config) = (plan.path("state"), plan.path("sexton.toml"));
    fs::create_dir(&state).unwrap();
    fs::write(&config, "restart = { on = 'always', delay = '1ms' }\n").unwrap();
    let plan = plan.through(["prlimit", "--nofile=64:64"]).variable("SEXTON_CONFIG", &config);
    let mut victim = plan.options(["--lock-root", &state]).run(["sh", "-c", LIFE, &state]);
    let taken = || fs::metadata(format!("{state}/one.jsonl.lock")).is_ok_and(|meta| meta.len() > 0);
    wait_until("the lock is taken", taken);
    let (mut tools, mut refused) = (Vec::new(), 0);
    for number in 0..100 {
        let tool = connect(&socket);
        let began = json!({ "op": "tool-began", "id": format!("t{number}"), "name": "exec", "argv": [],
                            "supervisor": 1, "pid": 4_194_303, "began": 5 });
        // Who is refused may be hung up on before.
        let _ = (&tool).write_all(format!("{began}\n").as_bytes());
        let answer = reply(&tool);
        if answer["done"].is_string() {
            tools.push(tool);
        } else {
            assert!(answer["refused"].as_str().unwrap().contains("limit on open files"), "{answer}");
            refused += 1;
        }
    }
    assert!(tools.len() >= 8 && refused >= 40, "{} and {refused}", tools.len());
    // A client that asks is still answered.
    assert_eq!(run(&socket, ["status"]).status.code(), Some(0));
    send(victim.main().pid, SIGKILL).unwrap();
    wait_until("it lives again", || victim.read("lives").lines().count() == 2);
    assert_eq!(victim.read("lives"), "clean\nclean\n", "{}", victim.stderr());
    assert!(!victim.stderr().contains("sweep-failed"), "{}", victim.stderr());
    drop(tools);
    victim.signal(SIGTERM);
    victim.code();
}

#[test]
fn a_tool_whose_id_is_longer_than_what_is_kept_of_it_can_be_cancelled() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    let id = "x".repeat(300);
    let tool = connect(&socket);
    let began = json!({ "op": "tool-began", "id": id, "name": "exec", "argv": [], "supervisor": 1,
                        "pid": 4_194_303, "began": 5 });
    assert!(ask(&tool, &began)["done"].is_string());
    let cancelled = run(&socket, ["cancel", &id]);
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    assert!(reply(&tool)["cancelled"].is_string());
    victim.signal(SIGTERM);
    victim.code();
}

#[test]
fn a_tool_is_shown_told_to_end_and_remembered() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    let begin = |id: &str| {
        let tool = connect(&socket);
        let began = json!({ "op": "tool-began", "id": id, "name": "exec", "argv": ["sleep", "9"],
                            "supervisor": 1, "pid": 4_194_303, "began": 5 });
        assert!(ask(&tool, &began)["done"].is_string());
        tool
    };
    let (one, other) = (begin("t1"), begin("t2"));
    let tools = status(&socket)["tools"].clone();
    assert_eq!((&tools[0]["id"], &tools[1]["id"]), (&json!("t1"), &json!("t2")));
    assert_eq!(tools[0]["supervisor"], std::process::id(), "as the kernel says");

    let cancelled = run(&socket, ["cancel", "t1"]);
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    assert!(reply(&one)["cancelled"].is_string());
    let record = json!({ "op": "tool-ended", "id": "t1", "name": "exec", "ended": 9, "duration": 4,
                         "outcome": { "cancelled": {} }, "pid": 4_194_303, "anything": [1] });
    assert!(ask(&one, &record)["done"].is_string());
    drop(other);
    wait_until("the broken connection is seen", || status(&socket)["tools"] == json!([]));
    let now = status(&socket);
    assert_eq!(now["ended"][0]["outcome"], json!({ "lost": {} }));
    assert_eq!((&now["ended"][1]["id"], &now["ended"][1]["anything"]), (&json!("t1"), &json!([1])));
    assert_eq!(now["counters"]["tools"], 2);
    // Not every client may report facts.
    let fact = json!({ "op": "watch-report", "report": "condition", "kind": "unhealthy", "subject": "", "holds": true,
                       "detail": "" });
    assert!(ask(&connect(&socket), &fact)["refused"].as_str().unwrap().contains("sexton-watch alone"));
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

/// It registers with a sexton that stands still, and has waited as long as it does for the answer.
#[test]
fn a_tool_that_registers_late_is_shown_while_it_runs_and_can_be_cancelled() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    send(victim.pid(), SIGSTOP).unwrap();
    wait_until("it stands still", || look(victim.pid()).is_some_and(|one| one.state == 'T'));
    let mut tool = common::command(["tool", "--", "sleep", "1000"]);
    let mut tool = common::KillOnDrop(tool.env("SEXTON_SOCKET", &socket).spawn().unwrap());
    // It has gone on to wait for what may happen.
    let waits = format!("{} ", SYS_rt_sigtimedwait);
    let call = format!("/proc/{}/syscall", tool.0.id());
    wait_until("the tool runs", || fs::read_to_string(&call).is_ok_and(|text| text.starts_with(&waits)));
    send(victim.pid(), SIGCONT).unwrap();
    wait_until("it is heard of", || {
        let now = status(&socket);
        now["tools"] != json!([]) || now["ended"] != json!([])
    });
    let now = status(&socket);
    assert_eq!((&now["tools"][0]["supervisor"], &now["ended"]), (&json!(tool.0.id()), &json!([])), "{now}");
    assert_eq!(run(&socket, ["cancel", "sleep"]).status.code(), Some(0));
    assert_eq!(tool.0.wait().unwrap().code(), Some(143), "cancelled");
    wait_until("its end is told", || status(&socket)["ended"][0]["outcome"]["cancelled"].is_object());
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn subscribers_hear_of_changes() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    let subscriber = connect(&socket);
    let first = ask(&subscriber, &json!({ "op": "subscribe" }));
    assert_eq!(first["status"]["counters"]["signals"], 0);
    let other = connect(&socket);
    ask(&other, &json!({ "op": "signal", "signal": "CONT" }));
    loop {
        let news = reply(&subscriber);
        if news["status"]["counters"]["signals"] == 1 {
            break;
        }
    }
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn twenty_thousand_requests_leave_nothing_behind() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    let pid = victim.pid();
    let many = |requests: usize, connections: usize| {
        for _ in 0..connections {
            let stream = connect(&socket);
            for _ in 0..requests {
                assert!(ask_fast(&stream)["status"]["pid"] == pid);
            }
        }
    };
    many(50, 10);
    wait_until("connections are gone", || open_descriptors(pid) < 12);
    let (descriptors, before) = (open_descriptors(pid), memory(pid));
    many(9500, 2);
    many(1, 1000);
    wait_until("connections are gone", || open_descriptors(pid) <= descriptors);
    let after = memory(pid);
    assert!(after < before + 256, "{before} KiB became {after} KiB");
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

/// The status, as one write and as few reads as it takes.
fn ask_fast(stream: &UnixStream) -> Value {
    let mut writer = stream;
    writer.write_all(b"{\"op\":\"status\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// The ways in which a peer can be a nuisance.
#[derive(Clone, Copy)]
enum Hostile {
    Silent,
    Drips,
    Huge,
    Garbage,
    NeverReads,
    HalfClosed,
    Gone,
}

const HOSTILE: [Hostile; 7] = [
    Hostile::Silent,
    Hostile::Drips,
    Hostile::Huge,
    Hostile::Garbage,
    Hostile::NeverReads,
    Hostile::HalfClosed,
    Hostile::Gone,
];

fn be(hostile: Hostile, socket: &Path) -> UnixStream {
    let stream = connect(socket);
    stream.set_nonblocking(true).unwrap();
    let mut writer = &stream;
    // What is not taken is not the point.
    let _ = match hostile {
        Hostile::Silent => Ok(0),
        Hostile::Drips => writer.write(b"{\"op\":"),
        Hostile::Huge => writer.write(&[b'x'; 100_000]),
        Hostile::Garbage => writer.write(&b"[[[[{\"\0\n\n\n".repeat(200)),
        Hostile::NeverReads => writer.write(&b"{\"op\":\"status\"}\n".repeat(5000)),
        Hostile::HalfClosed => {
            stream.shutdown(Shutdown::Write).unwrap();
            Ok(0)
        }
        Hostile::Gone => {
            let _ = writer.write(b"{\"op\":\"status\"}\n");
            stream.shutdown(Shutdown::Both).unwrap();
            Ok(0)
        }
    };
    stream
}

#[test]
fn a_thousand_hostile_connections_delay_no_signal_and_shut_nobody_out() {
    let Some((plan, socket)) = controlled(Mode::Tree) else { return };
    let mut victim = plan.run([helper("prints_signals")]);
    victim.says("ready");
    let pid = victim.pid();
    let (before, begun) = (memory(pid), Instant::now());
    let mut held = Vec::new();
    for round in 0..1000 / HOSTILE.len() + 1 {
        held.extend(HOSTILE.map(|hostile| be(hostile, &socket)));
        if round % 20 == 0 {
            let seen = victim.stdout().lines().filter(|line| *line == "10").count();
            victim.signal(SIGUSR1);
            wait_until("the signal is passed on", || {
                victim.stdout().lines().filter(|line| *line == "10").count() > seen
            });
            let answered = run(&socket, ["status", "--json"]);
            assert_eq!(answered.status.code(), Some(0), "{answered:?}");
            assert!(open_descriptors(pid) < 64 + 20, "{}", open_descriptors(pid));
        }
    }
    assert!(held.len() >= 1000 && begun.elapsed() < SHORT_TIMEOUT);
    let after = memory(pid);
    // Each of the 64 that are kept may have a line and a reply in memory.
    assert!(after < before + 16 * 1024, "{before} KiB became {after} KiB");
    drop(held);
    wait_until("they are all gone", || open_descriptors(pid) < 16);
    victim.signal(SIGKILL);
    let _ = victim.status();
}

#[test]
fn a_connection_that_says_nothing_complete_is_closed() {
    let Some((mut victim, socket)) = sleeper(Mode::Tree) else { return };
    let drips = connect(&socket);
    drips.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let subscriber = connect(&socket);
    ask(&subscriber, &json!({ "op": "subscribe" }));
    let begun = Instant::now();
    loop {
        let written = (&drips).write(b" ");
        match (&drips).read(&mut [0; 64]) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Closed with what was written still unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            other => panic!("{other:?}"),
        }
        assert!(written.is_ok() || begun.elapsed() > Duration::from_secs(9));
        assert!(begun.elapsed() < PATIENCE, "it is still open");
    }
    assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
    // A subscriber may be quiet for as long as it likes.
    ask(&connect(&socket), &json!({ "op": "signal", "signal": "CONT" }));
    assert_eq!(reply(&subscriber)["status"]["counters"]["signals"], 1);
    victim.signal(SIGTERM);
    victim.ends_with(143);
}
