//! A hostile tool, or one that only shares a machine with others: no other process, lock or file suffers from it.
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
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc::SIGTERM;
use serde_json::{Value, json};

use common::log::events;
use common::process::{look, marked, send, status};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, PATIENCE, SHORT_TIMEOUT, lease, root, sexton, skip, wait_until};

/// A plan with a control socket in the victim's own directory, and log lines in JSON.
fn controlled(mode: Mode) -> Option<(Plan, PathBuf)> {
    let plan = plan(mode)?.options(["-v", "--log-format", "json", "--grace", NEVER, "--kill-after", NEVER]);
    let socket = PathBuf::from(plan.path("run/control.sock"));
    let plan = plan.variable("SEXTON_CONTROL", socket.to_str().unwrap());
    Some((plan, socket))
}

/// Says a line and takes the reply.
fn ask(stream: &UnixStream, request: &Value) -> Value {
    let mut writer = stream;
    writer.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A process whose number, as it is outside, the command has put into this file of its directory.
fn numbered(victim: &mut Victim, file: &str) -> i32 {
    wait_until(file, || !victim.read(file).trim().is_empty());
    let inside: i32 = victim.read(file).trim().parse().unwrap();
    let same = |pid: &i32| {
        let numbers = status(*pid, "NSpid").unwrap_or_default();
        numbers.split_whitespace().last().and_then(|last| last.parse().ok()) == Some(inside)
    };
    marked(victim.mark()).into_iter().map(|one| one.pid).find(same).unwrap()
}

/// Waits until this process's parent is gone, so that sexton has adopted it.
#[track_caller]
fn comes_to(victim: &Victim, pid: i32) {
    let init = victim.pid();
    wait_until("the process comes to sexton", || look(pid).is_some_and(|process| process.parent == init));
}

fn lives(pid: i32) -> bool {
    look(pid).is_some_and(|process| !process.dead())
}

/// A gateway that has put a process of its own into the background, in its own session, and runs a tool.
const HOUSE: &str = "cd 'DIR'; (sh -c 'echo $$ >innocent; exec sleep 1000' &)
    'SEXTON' tool -- sh -c 'TOOL' & echo $! >supervisor; MORE; wait; exec sleep 1000";

fn house(plan: Plan, tool: &str, more: &str) -> Victim {
    let script = HOUSE.replace("DIR", plan.path("").trim_end_matches('/'));
    let script = script.replace("SEXTON", sexton().to_str().unwrap()).replace("TOOL", tool);
    plan.run(["sh", "-c", &script.replace("MORE", more)])
}

#[test]
fn of_a_lost_tool_its_own_are_ended_and_nobody_who_shares_a_session_with_it() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, _)) = controlled(mode) else { return };
        // One of its processes bears no mark: its group tells whose it is.
        let tool = r#"env -i sh -c "echo \$\$ >bare; exec sleep 1000" &
                      sh -c "echo \$\$ >child; exec sleep 1000" & sleep 1000; true"#;
        let mut victim = house(plan, tool, ":");
        let innocent = numbered(&mut victim, "innocent");
        let (child, supervisor) = (numbered(&mut victim, "child"), numbered(&mut victim, "supervisor"));
        // Without its environment it has no mark of this test's either.
        wait_until("the process without a mark is there", || !victim.read("bare").trim().is_empty());
        let group = group_of(child);
        let in_group = || common::process::all().into_iter().filter(|one| group_of(one.pid) == group);
        wait_until("both sleep", || in_group().filter(|one| one.name == "sleep").count() == 3);
        assert_ne!(group, group_of(innocent));
        comes_to(&victim, innocent);
        send(supervisor, 9).unwrap();
        wait_until("the tool's own are gone", || in_group().all(|one| one.dead()));
        let found: Vec<String> =
            events(&victim.stderr(), "orphan").iter().map(|one| one.field("pid")).collect();
        // The one above them may have been found before it was dead, and they below it.
        assert!(!found.is_empty(), "{}", victim.stderr());
        // Who is found in the same look is told, and asked to end, at the same time.
        assert!(!found.contains(&victim.read("innocent").trim().to_owned()) && lives(innocent), "{found:?}");
        victim.signal(15);
        victim.ends_with(143);
    }
}

/// What is said of orphans: each one's number, and its tool.
fn orphans_of(victim: &Victim) -> Vec<(String, String)> {
    let whole = victim.stderr();
    let whole = whole.rfind('\n').map_or("", |end| &whole[..end]);
    events(whole, "orphan").iter().map(|one| (one.field("pid"), one.field("tool"))).collect()
}

#[test]
fn a_daemon_whose_tool_is_lost_is_not_that_tools_kin() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, _)) = controlled(mode) else { return };
        // It is sexton's child, in a session whose leader is dead, and runs a tool in that.
        let daemon = "echo $$ >daemon; 'SEXTON' tool -- sh tool.sh & echo $! >supervisor; exec sleep 1000";
        let tool = "sh -c 'echo $$ >child; exec sleep 1000' & sleep 1000; true";
        for (name, text) in [("daemon.sh", daemon), ("tool.sh", tool)] {
            fs::write(plan.path(name), text.replace("SEXTON", sexton().to_str().unwrap())).unwrap();
        }
        let script = format!(
            "cd '{}'; (setsid sh -c 'sh daemon.sh & exit 0' &); exec sleep 1000",
            plan.path("").trim_end_matches('/')
        );
        let mut victim = plan.run(["sh", "-c", &script]);
        let [daemon, child, supervisor] =
            ["daemon", "child", "supervisor"].map(|file| numbered(&mut victim, file));
        comes_to(&victim, daemon);
        assert_eq!(session_of(daemon), session_of(child));
        assert!(look(session_of(daemon).unwrap()).is_none(), "its leader is dead");
        send(supervisor, 9).unwrap();
        wait_until("the tool's own are gone", || !lives(child));
        // Who is found in the same look is told at the same time.
        let found = orphans_of(&victim);
        let number = victim.read("daemon").trim().to_owned();
        assert!(!found.is_empty() && found.iter().all(|(pid, _)| *pid != number), "{found:?}");
        assert!(lives(daemon), "{}", victim.stderr());
        victim.signal(15);
        victim.ends_with(143);
    }
}

/// A shell reads an environment back that an earlier run has saved, with that run's mark.
#[test]
fn what_a_lost_tool_leaves_is_named_after_it_whatever_mark_it_bears() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, socket)) = controlled(mode) else { return };
        let tool = r#"echo $SEXTON_TOOL_ID >id; . ./saved; setsid sh -c "echo \$\$ >child; exec sleep 1000" & sleep 1000; true"#;
        let script = HOUSE.replace(
            "'SEXTON' tool -- sh -c 'TOOL'",
            "'SEXTON' tool -- sh -c 'export -p >saved'; 'SEXTON' tool -- sh -c 'TOOL'",
        );
        let script = script.replace("DIR", plan.path("").trim_end_matches('/'));
        let script = script.replace("SEXTON'", &format!("{}'", sexton().display()));
        let mut victim =
            plan.run(["sh", "-c", &script.replace("TOOL'", &format!("{tool}'")).replace("MORE", ":")]);
        let (child, supervisor) = (numbered(&mut victim, "child"), numbered(&mut victim, "supervisor"));
        let id = victim.read("id").trim().to_owned();
        let saved = victim.read("saved");
        assert!(saved.contains("SEXTON_TOOL_ID=") && !saved.contains(&id), "{saved}");
        let state = || ask(&connect(&socket), &json!({ "op": "status" }))["status"].clone();
        wait_until("it is registered", || state()["tools"][0]["id"] == json!(id));
        send(supervisor, 9).unwrap();
        wait_until("the tool's own is gone", || !lives(child));
        let number = victim.read("child").trim().to_owned();
        let found = orphans_of(&victim);
        let named = found.iter().find(|(pid, _)| *pid == number).map(|(_, tool)| tool.as_str());
        assert_eq!(named, Some(id.as_str()), "{found:?}");
        victim.signal(15);
        victim.ends_with(143);
    }
}

fn session_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

fn group_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

#[test]
fn what_a_tool_says_of_others_is_believed_of_nobody() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, socket)) = controlled(mode) else { return };
        // An orphan that bears the mark of a tool that lives: nothing of that tool's can be with us.
        let forge = "until [ -s id ]; do sleep 0.02; done
                     (SEXTON_TOOL_ID=$(cat id) setsid sh -c 'echo $$ >forged; exec sleep 1000' &)";
        let tool = r#"echo $SEXTON_TOOL_ID >id; sh -c "echo \$\$ >child; exec sleep 1000"; true"#;
        let mut victim = house(plan, tool, forge);
        let (innocent, child) = (numbered(&mut victim, "innocent"), numbered(&mut victim, "child"));
        let forged = numbered(&mut victim, "forged");
        comes_to(&victim, innocent);
        comes_to(&victim, forged);
        let number: i32 = victim.read("innocent").trim().parse().unwrap();
        let state = |socket: &Path| ask(&connect(socket), &json!({ "op": "status" }))["status"].clone();
        wait_until("the tool is registered", || state(&socket)["tools"][0]["id"].is_string());
        let id = state(&socket)["tools"][0]["id"].as_str().unwrap().to_owned();

        // A registration with another process's pid, and then nothing: its run is lost, and no process is ended for it.
        let liar = connect(&socket);
        let lie = json!({ "op": "tool-began", "id": "liar", "name": "x", "argv": [], "supervisor": number,
                          "pid": number, "began": 5 });
        assert!(ask(&liar, &lie)["done"].is_string());
        // Another tool's id is taken.
        let second = ask(
            &connect(&socket),
            &json!({ "op": "tool-began", "id": id, "name": "x", "argv": [],
                                                      "supervisor": 1, "pid": number, "began": 5 }),
        );
        assert!(second["refused"].as_str().unwrap().contains("no other"), "{second}");
        drop(liar);
        wait_until("the lie is over", || state(&socket)["tools"].as_array().unwrap().len() == 1);
        // An end that never was, with the innocent as what was to be ended.
        let end = json!({ "op": "tool-ended", "id": "other", "name": "x", "ended": 9, "duration": 4,
                          "outcome": { "lost": {} }, "pid": number, "killed": [{ "pid": number }] });
        assert!(ask(&connect(&socket), &end)["done"].is_string());

        // That one is ended at the first look. The tool itself is below its own supervisor, and hears nothing of it.
        wait_until("who bears another's mark is gone", || !lives(forged));
        assert!(lives(innocent) && lives(child), "{}", victim.stderr());
        victim.signal(15);
        victim.ends_with(143);
    }
}

/// The lines of /proc/PID/status that say what a process may do.
fn rights(pid: i32) -> Vec<(&'static str, String)> {
    ["Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs"]
        .map(|label| (label, status(pid, label).unwrap_or_default().replace('\t', " ")))
        .to_vec()
}

#[test]
fn sexton_watch_is_who_owns_the_lock_roots_or_nobody_and_can_become_no_more() {
    if !root() {
        return skip("root", "sudo");
    }
    // The last one may not become anybody else: a container's root without capabilities.
    // A root of root's counts only if no other user can replace it: the directory of a victim is open to all.
    for (owner, able, closed) in [
        (Some(1000), true, false),
        (None, true, false),
        (Some(0), true, true),
        (Some(0), true, false),
        (Some(1000), false, false),
    ] {
        let Some(plan) = plan(Mode::Tree) else { return };
        if closed {
            fs::set_permissions(plan.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // The build directory may be closed to that user.
        let watch = sexton().with_file_name("sexton-watch");
        fs::copy(sexton(), plan.path("sexton")).unwrap();
        fs::copy(watch, plan.path("sexton-watch")).unwrap();
        fs::write(plan.path("sexton.toml"), "[limits]\nzombies = 100\n").unwrap();
        let program = plan.path("sexton");
        let plan = plan.instead(&program);
        let (config, state) = (plan.path("sexton.toml"), plan.path("state"));
        fs::create_dir(&state).unwrap();
        chown(&state, owner, owner).unwrap();
        let plan = plan.options(["--config", &config, "--kill-after", NEVER]);
        let plan = match owner {
            Some(_) => plan.options(["--lock-root", &state]),
            None => plan.options(["--no-locks"]),
        };
        let plan = if able { plan } else { plan.through(["setpriv", "--bounding-set=-setuid,-setgid"]) };
        let mut victim = plan.run(["sleep", "1000"]);
        let mut found = Vec::new();
        wait_until("sexton-watch runs", || {
            let watch = victim.live().into_iter().find(|one| one.name == "sexton-watch");
            found = watch.map(|watch| rights(watch.pid)).unwrap_or_default();
            !found.is_empty()
        });
        let trusted = owner.filter(|owner| *owner != 0 || closed);
        let uid = if able { trusted.unwrap_or(65_534) } else { 0 };
        let ours = |label: &str| status(victim.pid(), label).unwrap().replace('\t', " ");
        // Root's own lock roots are looked at by root.
        let capabilities = |label: &str| if uid == 0 { ours(label) } else { "0000000000000000".to_owned() };
        let expected = vec![
            ("Uid", format!("{uid} {uid} {uid} {uid}")),
            ("Gid", format!("{uid} {uid} {uid} {uid}")),
            ("Groups", if uid == 0 { ours("Groups") } else { uid.to_string() }),
            ("CapEff", capabilities("CapEff")),
            ("CapPrm", capabilities("CapPrm")),
            ("CapInh", "0000000000000000".to_owned()),
            ("CapAmb", "0000000000000000".to_owned()),
            ("NoNewPrivs", "1".to_owned()),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            !able,
            victim.stderr().contains("could not give up its privileges"),
            "{}",
            victim.stderr()
        );
        victim.signal(15);
        victim.ends_with(143);
    }
}

/// A root, or a directory above it, that was exchanged for a link to another's directory, before the start or between
/// two starts.
#[test]
fn sexton_watch_is_not_made_root_by_a_lock_root_that_became_a_link() {
    if !root() {
        return skip("root", "sudo");
    }
    for (before, below) in [(true, ""), (false, ""), (true, "/run"), (false, "/run")] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let watch = sexton().with_file_name("sexton-watch");
        fs::copy(sexton(), plan.path("sexton")).unwrap();
        fs::copy(watch, plan.path("sexton-watch")).unwrap();
        fs::write(plan.path("sexton.toml"), "[limits]\nzombies = 100\n").unwrap();
        let (program, config) = (plan.path("sexton"), plan.path("sexton.toml"));
        let (home, state, others) = (plan.path("home"), plan.path("home/state"), plan.path("others"));
        let root = format!("{state}{below}");
        for (path, owner) in [(&root, 1000), (&format!("{others}/run"), 1001)] {
            fs::create_dir_all(path).unwrap();
            chown(path, Some(owner), Some(owner)).unwrap();
        }
        for path in [&home, &state] {
            chown(path, Some(1000), Some(1000)).unwrap();
        }
        let exchange = || {
            fs::rename(&state, Path::new(&home).join("moved")).unwrap();
            symlink(if below.is_empty() { "/root" } else { &others }, &state).unwrap();
            std::os::unix::fs::lchown(&state, Some(1000), Some(1000)).unwrap();
        };
        if before {
            exchange();
        }
        let plan = plan.instead(&program).options(["--config", &config, "--kill-after", NEVER]);
        let mut victim = plan.options(["--lock-root", &root]).run(["sleep", "1000"]);
        let running = |victim: &Victim, not: i32| {
            let mut pid = 0;
            wait_until("sexton-watch runs", || {
                let found =
                    victim.live().into_iter().find(|one| one.name == "sexton-watch" && one.pid != not);
                pid = found.map_or(0, |found| found.pid);
                pid != 0
            });
            pid
        };
        let uid = |pid: i32| status(pid, "Uid").unwrap().replace('\t', " ");
        let first = running(&victim, 0);
        if before {
            assert_eq!(uid(first), "65534 65534 65534 65534", "{}", victim.stderr());
        } else {
            assert_eq!(uid(first), "1000 1000 1000 1000", "{}", victim.stderr());
            exchange();
            // Its supervisor runs as that user, too, and with it the unit is started again from the beginning.
            send(look(first).unwrap().parent, 9).unwrap();
            assert_eq!(uid(running(&victim, first)), "1000 1000 1000 1000", "{}", victim.stderr());
        }
        victim.signal(15);
        victim.ends_with(143);
    }
}

#[test]
fn a_lock_that_names_or_leads_to_something_else_costs_that_nothing() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, _)) = controlled(mode) else { return };
        let state = plan.path("state");
        let sessions = Path::new(&state).join("agents/main/sessions");
        fs::create_dir_all(&sessions).unwrap();
        let script = "cd 'DIR'; (sh -c 'echo $$ >innocent; exec sleep 1000' &)
                      until [ -e go ]; do sleep 0.02; done; 'SEXTON' tool -- true; echo over; exec sleep 1000"
            .replace("DIR", plan.path("").trim_end_matches('/'))
            .replace("SEXTON", sexton().to_str().unwrap());
        let mut victim = plan.options(["--lock-root", &state]).run(["sh", "-c", &script]);
        let innocent = numbered(&mut victim, "innocent");
        // What a tool could leave behind: a lock in somebody else's name, links to a file that would be a lock if it
        // lay here, and one that is what it says.
        let lock = |pid: &str| format!(r#"{{"pid":{pid},"createdAt":"2026-11-22T06:59:25.232Z"}}"#);
        let (precious, named) = (victim.path("precious"), lock(victim.read("innocent").trim()));
        fs::write(&precious, lock("4000000")).unwrap();
        fs::write(sessions.join("named.jsonl.lock"), &named).unwrap();
        symlink(&precious, sessions.join("link.jsonl.lock")).unwrap();
        fs::hard_link(&precious, sessions.join("hard.jsonl.lock")).unwrap();
        fs::write(sessions.join("own.jsonl.lock"), lock("4000000")).unwrap();
        fs::write(victim.path("go"), "").unwrap();
        wait_until("the dead one's lock is gone", || !sessions.join("own.jsonl.lock").exists());
        assert!(lives(innocent), "{}", victim.stderr());
        assert_eq!(fs::read_to_string(sessions.join("named.jsonl.lock")).unwrap(), named);
        victim.signal(15);
        victim.ends_with(143);
        assert_eq!(fs::read_to_string(&precious).unwrap(), lock("4000000"));
        for link in ["link.jsonl.lock", "hard.jsonl.lock"] {
            assert!(sessions.join(link).symlink_metadata().is_ok(), "{link}: {}", victim.stderr());
        }
        // By now its owner is as dead as the other's.
        assert!(!sessions.join("named.jsonl.lock").exists(), "{}", victim.stderr());
    }
}

/// Whose gateway is root can put something else in the place of a device, and holds a lease on that.
#[test]
fn what_lies_in_the_place_of_the_terminal_holds_no_end_up() {
    if !root() {
        return skip("root", "sudo");
    }
    let Some((plan, _)) = controlled(Mode::Pid1) else { return };
    let file = plan.path("tty");
    fs::write(&file, "").unwrap();
    let script = format!("mount --bind '{file}' /dev/tty && exec \"$@\"");
    let mut victim = plan.through(["sh", "-c", &script, "sh"]).run(["sh", "-c", "echo up; exec sleep 1000"]);
    victim.says("up");
    let _lease = lease(Path::new(&file));
    let begun = Instant::now();
    victim.signal(SIGTERM);
    victim.ends_with(143);
    assert!(begun.elapsed() < SHORT_TIMEOUT / 4, "{:?}", begun.elapsed());
}
