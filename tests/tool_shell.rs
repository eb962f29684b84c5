//! `sexton-sh`: a shell to its caller, and a managed tool to the sexton above it.
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
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::process::{Process, children, marked, send};
use common::pty::Shell;
use common::victim::{Mode, Plan, plan};
use common::{SHORT_TIMEOUT, helper, lease, root, sexton, skip, wait_until};
use nix::unistd::{Uid, chown};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with sexton-sh in it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let shell = dir.path().join("sexton-sh");
    symlink(sexton(), &shell).unwrap();
    (dir, shell)
}

/// Runs it to its end, with these variables and no others that matter.
fn shell(words: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let (_dir, shell) = place();
    let mut command = Command::new(shell);
    command.args(words).env_remove("SEXTON_SOCKET").env("SEXTON_SHELL", "/bin/sh");
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that ends without reading closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn it_is_the_shell_that_it_runs() {
    let said = |words: &[&str], input: &str| {
        let output = shell(words, &[], input);
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    assert_eq!(
        said(&["-c", "echo \"$0 $*\"; exit 3", "name", "a b", "c"], ""),
        ("name a b c\n".into(), Some(3))
    );
    assert_eq!(said(&["-s", "x"], "echo \"$1\""), ("x\n".into(), Some(0)));
    assert_eq!(said(&[], "echo script; false"), ("script\n".into(), Some(1)));
    assert_eq!(said(&["-ec", "false; echo no"], ""), (String::new(), Some(1)));
    assert_eq!(said(&["-c", "cat"], "through"), ("through".into(), Some(0)));
    assert_eq!(said(&["-c", "no-such-command 2>/dev/null"], "").1, Some(127));
    let killed = shell(&["-c", "kill -SEGV $$"], &[], "");
    assert_eq!(killed.status.signal(), Some(11), "a caller sees what the shell would have shown");
}

#[test]
fn it_finds_a_shell_and_never_itself() {
    let (_dir, ours) = place();
    for named in [ours.to_str().unwrap(), ""] {
        let output = shell(&["-c", "echo ${BASH_VERSION:+bash}"], &[("SEXTON_SHELL", named)], "");
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"bash\n".as_slice()),
            "{named}"
        );
    }
    let output = shell(&["-c", "true"], &[("SEXTON_SHELL", "/nonexistent/shell")], "");
    assert_eq!(output.status.code(), Some(127));
    let output = shell(&["-c", "true"], &[("SEXTON_TOOL_TIMEOUT", "soon")], "");
    assert_eq!(output.status.code(), Some(125));
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("SEXTON_TOOL_TIMEOUT"),
        "it names the variable"
    );
}

#[test]
fn a_bash_reads_no_profile_though_its_input_is_a_socket() {
    let (dir, shell) = place();
    fs::write(dir.path().join(".bashrc"), "echo rc\n").unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new(shell);
    command
        .args(["-c", "echo done"])
        .env("SEXTON_SHELL", "/bin/bash")
        .env("HOME", dir.path())
        .env_remove("SHLVL");
    let output = command.stdin(std::os::fd::OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.stdout, b"done\n");
    drop(ours);
}

#[test]
fn its_deadline_comes_from_the_environment() {
    let begun = Instant::now();
    let variables = [("SEXTON_TOOL_TIMEOUT", "100ms"), ("SEXTON_TOOL_GRACE", "100ms")];
    let output = shell(&["-c", "trap '' TERM; while :; do sleep 1; done"], &variables, "");
    assert_eq!(output.status.code(), Some(137));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// The window that the configuration below gives a tool.
const GRACE: Duration = Duration::from_millis(500);

/// A sexton above a shell, whose tools are managed.
fn above(mode: Mode) -> Option<Plan> {
    let plan = plan(mode)?;
    symlink(sexton(), plan.path("sexton-sh")).unwrap();
    let (record, socket) = (plan.path("record"), plan.path("c.sock"));
    let text = format!("[tools]\nshell = true\ngrace = \"500ms\"\ntimeout = \"90s\"\nrecord = '{record}'\n");
    fs::write(plan.path("sexton.toml"), text).unwrap();
    let file = plan.path("sexton.toml");
    let path = format!("{}:{}", plan.path(""), std::env::var("PATH").unwrap());
    Some(plan.options(["--config", &file, "--control", &socket, "--no-locks"]).variable("PATH", &path))
}

#[test]
fn the_gateway_gets_it_as_its_shell() {
    let Some(plan) = above(Mode::Tree) else { return };
    let mut victim = plan.variable("SHELL", "/bin/bash").run([
        "sh",
        "-c",
        "echo $SHELL; echo $SEXTON_SHELL $SEXTON_TOOL_GRACE $SEXTON_TOOL_TIMEOUT; \"$SHELL\" -c 'echo ${SEXTON_TOOL_ID:+managed}; exit 4'",
    ]);
    assert_eq!(victim.code(), 4);
    let said = victim.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with("/sexton-sh"), "{said}");
    assert_eq!(
        lines[1..],
        ["/bin/bash 500ms 1m", "managed"].map(|line| line.replace("1m", "1m 30s")),
        "{said}"
    );
    let record: Value = serde_json::from_str(&victim.read("record")).unwrap();
    assert_eq!(record["outcome"]["exited"]["code"], 4, "{record}");
}

/// A gateway that gives its tool up as OpenClaw 2026.5 does: TERM to the group, and at once KILL to its leader.
const GIVES_UP: &str = "setsid \"$SHELL\" -c '
      setsid sh -c \"echo in >daemon; exec sleep 1000\" &
      sh -c \"trap \\\"\\\" TERM; echo in >deaf; while :; do sleep 1; done\" &
      echo in >leader; sleep 1000' & tool=$!
    until test -s daemon && test -s deaf && test -s leader; do sleep 0.01; done
    kill -TERM -$tool; kill -KILL $tool; wait $tool; echo gave up; : >gave-up; exec sleep 1001";

#[test]
fn what_a_killed_tool_leaves_with_us_is_ended_and_its_record_says_lost() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = above(mode) else { return };
        let script = format!("cd '{}' || exit 1; {GIVES_UP}", plan.path(""));
        let mut victim = plan.run(["sh", "-c", &script]);
        victim.says("gave up");
        let begun = Instant::now();
        let left = |mark: &str| -> Vec<Process> {
            let gateway = |process: &Process| process.name == "sexton" || is_gateway(process.pid);
            marked(mark).into_iter().filter(|process| !gateway(process)).collect()
        };
        wait_until("nothing of the tool is left", || left(victim.mark()).is_empty());
        let took = begun.elapsed();
        assert!(took <= GRACE + Duration::from_secs(1), "{mode:?}: {took:?}");
        wait_until("the record is there", || victim.read("record").ends_with('\n'));
        let record: Value = serde_json::from_str(&victim.read("record")).unwrap();
        // TERM came a moment before KILL, and may have been heard.
        assert!(
            record["outcome"]["lost"].is_object() || record["outcome"]["cancelled"].is_object(),
            "{record}"
        );
        assert!(marked(victim.mark()).iter().any(|process| is_gateway(process.pid)), "the gateway lives on");
        victim.signal(15);
        assert_eq!(victim.code(), 143);
    }
}

fn is_gateway(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().windows(4).any(|part| part == b"1001")
}

#[test]
fn a_killed_sexton_takes_the_gateway_and_its_tools_with_it() {
    let Some(plan) = above(Mode::Tree) else { return };
    let script = format!(
        "cd '{}' || exit 1; \"$SHELL\" -c 'trap \"\" TERM; echo in >deaf; while :; do sleep 1; done' & exec sleep 1001",
        plan.path("")
    );
    let mut victim = plan.run(["sh", "-c", &script]);
    victim.notes("deaf", "in");
    let begun = Instant::now();
    send(victim.pid(), 9).unwrap();
    wait_until("everything is gone", || marked(victim.mark()).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn after_a_killed_sexton_the_next_one_starts_clean() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let (root, socket) = (plan.path("state"), plan.path("c.sock"));
    let lock = format!("{root}/agents/main/sessions/one.jsonl.lock");
    fs::create_dir_all(format!("{root}/agents/main/sessions")).unwrap();
    let options = ["--lock-root", &root, "--control", &socket];
    let holder = helper("holds_lock");
    let mut victim = plan.options(options).run([&holder, "hold", &lock, "session"]);
    victim.says("ready");
    send(victim.pid(), 9).unwrap();
    wait_until("everything is gone", || marked(victim.mark()).is_empty());
    assert!(fs::exists(&lock).unwrap(), "no process was left to release it");

    let again = |words: &[&str]| {
        let output = Command::new(sexton()).env_clear().args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let script = format!("test ! -e '{lock}' && test -S '{socket}' && echo clean");
    let mut words = options.to_vec();
    words.extend(["--", "/bin/sh", "-c", &script]);
    let (code, said, log) = again(&words);
    assert_eq!((code, said.as_str()), (Some(0), "clean\n"), "{log}");
    assert_eq!(log.matches("lock-removed").count(), 1, "{log}");
    let (code, said, log) = again(&words);
    assert_eq!((code, said.as_str(), log.as_str()), (Some(0), "clean\n", ""));
    let (code, said, log) = again(&["locks", "--root", &root, "sweep"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing is orphaned\n"), "{log}");
    assert!(!fs::exists(&socket).unwrap());
}

/// A terminal whose shell has sexton-sh as `$S`. The directory is that of the link.
fn terminal() -> (TempDir, Shell) {
    let (dir, ours) = place();
    let shell = Shell::of(ours.to_str().unwrap());
    (dir, shell)
}

#[test]
fn a_command_has_the_terminal_and_its_size() {
    let (_dir, mut shell) = terminal();
    shell.line("$S -c 'tty; stty size'; echo code=$?");
    for text in ["/dev/pts/", "24 200", "code=0"] {
        shell.sees(text);
    }
    shell.line("$S -c 'read word; echo \"got <$word>\"'; echo code=$?");
    shell.line("hello");
    shell.sees("got <hello>");
    shell.sees("code=0");
    // Without a trap bash goes on where Ctrl-C did not end a sleep(1) of its loop, with sexton-sh and without it.
    shell.line(
        "$S -c 'trap \"stty size\" WINCH; trap \"exit 130\" INT; echo up$((1)); while :; do sleep 0.05; done'",
    );
    shell.sees("up1");
    shell.resize(50);
    shell.sees("50 100");
    shell.keys("\x03");
    shell.line("echo code=$?");
    shell.sees("code=130");
}

/// Whether this process, or one that it runs, waits for a sleep(1).
fn sleeps_below(pid: i32) -> bool {
    children(pid).iter().any(|child| child.name == "sleep" || sleeps_below(child.pid))
}

#[test]
fn ctrl_c_and_ctrl_z_do_to_a_command_what_they_do_to_one_of_bash() {
    let (_dir, mut shell) = terminal();
    for program in ["bash", "$S"] {
        // bash gives up the rest of a line of which a command died by INT.
        shell.line(&format!("went=; {program} -c 'echo up$((1)); sleep 1000; echo no'; went=on"));
        shell.sees("up1");
        shell.keys("\x03");
        shell.line("echo code=$? went=$went.");
        shell.sees("code=130 went=.");
        // A shell that handles it goes on.
        let script = "trap \"echo caught\" INT; echo up$((2)); sleep 1000; exit 5";
        shell.line(&format!("{program} -c '{script}'; went=on$?"));
        shell.sees("up2");
        let job = shell.foreground();
        wait_until("its command runs", || sleeps_below(job));
        shell.keys("\x03");
        shell.sees("caught");
        shell.line("echo went=$went.");
        shell.sees("went=on5.");

        shell.line(&format!("{program} -c 'echo up$((3)); sleep 1000; echo no'"));
        shell.sees("up3");
        let job = shell.foreground();
        wait_until("its command runs", || sleeps_below(job));
        shell.keys("\x1a");
        shell.sees("Stopped");
        let outer = shell.pid();
        wait_until("the shell has the terminal", || shell.foreground() == outer);
        shell.line("fg");
        wait_until("the job has the terminal", || shell.foreground() == job);
        shell.keys("\x03");
        wait_until("the shell has the terminal", || shell.foreground() == outer);
        shell.line("echo code=$?");
        shell.sees("code=130");
    }
}

#[test]
fn an_interactive_one_is_that_shell_with_its_job_control() {
    let (_dir, mut shell) = terminal();
    shell.line("$S --norc --noprofile --noediting -i");
    let mut inner = 0;
    wait_until("it has become bash and has the terminal", || {
        let found = children(shell.pid()).into_iter().find(|child| child.name == "bash");
        inner = found.map_or(0, |found| found.pid);
        shell.foreground() == inner
    });
    shell.line("sleep 1000");
    let job = || children(inner).into_iter().find(|job| job.name == "sleep");
    wait_until("the inner job runs", || job().is_some_and(|job| shell.foreground() == job.pid));
    shell.keys("\x1a");
    shell.sees("Stopped");
    wait_until("the inner shell has the terminal", || shell.foreground() == inner);
    shell.line("fg");
    wait_until("the inner job has the terminal", || job().is_some_and(|job| shell.foreground() == job.pid));
    shell.keys("\x03");
    wait_until("the inner shell has the terminal", || shell.foreground() == inner && job().is_none());
    shell.line("exit 9");
    let outer = shell.pid();
    wait_until("the outer shell has the terminal", || shell.foreground() == outer);
    shell.line("echo code=$?");
    shell.sees("code=9");
}

#[test]
fn a_login_shell_is_one() {
    let (_dir, mut shell) = terminal();
    fs::write(shell.path(".bash_profile"), "echo profile$((1)); PS1='in> '\n").unwrap();
    shell.line("$S -lc 'shopt -q login_shell && echo login$((1)) ${SEXTON_TOOL_ID:+managed}'; echo code=$?");
    for text in ["profile1", "login1 managed", "code=0"] {
        shell.sees(text);
    }
    shell.line("$S -l");
    shell.sees("profile1");
    shell.sees("in> ");
    shell.line("shopt -q login_shell && echo login$((2)) ${SEXTON_TOOL_ID:-unmanaged}; exit 7");
    shell.sees("login2 unmanaged");
    let outer = shell.pid();
    wait_until("the outer shell has the terminal", || shell.foreground() == outer);
    shell.line("echo code=$?");
    shell.sees("code=7");
}

/// The record belongs to all tools, and one of them can put something else in its place.
#[test]
fn a_tool_runs_whatever_lies_in_the_place_of_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("folder")).unwrap();
    nix::unistd::mkfifo(&*at("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    nix::unistd::mkfifo(&*at("read"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    // Both ends, so that the pipe has a reader.
    let _reader = fs::File::options().read(true).write(true).open(at("read")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("loop", at("loop")).unwrap();
    fs::write(at("leased"), "").unwrap();
    let _lease = lease(at("leased").as_ref());
    for (name, why) in [
        ("folder", "not an ordinary file"),
        ("pipe", "not an ordinary file"),
        ("read", "not an ordinary file"),
        ("socket", "not an ordinary file"),
        ("loop", "Too many levels of symbolic links"),
        ("nowhere/record", "No such file or directory"),
        ("leased", "Resource temporarily unavailable"),
    ] {
        let begun = Instant::now();
        let output = shell(&["-c", "echo ran; exit 7"], &[("SEXTON_TOOL_RECORD", &at(name))], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"ran\n"[..], Some(7)), "{said}");
        assert!(said.lines().count() == 1 && said.contains(" record-failed: could not open"), "{said}");
        assert!(said.contains(why) && said.contains(&at(name)), "{said}");
        assert!(begun.elapsed() < SHORT_TIMEOUT / 4, "{:?}", begun.elapsed());
    }
    // A file is one, and whoever names the record himself gets to know it before the tool runs.
    let output = shell(&["-c", "exit 7"], &[("SEXTON_TOOL_RECORD", &at("record"))], "");
    assert_eq!((output.stderr.as_slice(), output.status.code()), (&b""[..], Some(7)));
    assert!(fs::read_to_string(at("record")).unwrap().ends_with("}\n"));
}

/// Root writes what a tool has lost the time for. The tool has a say in the line and in what lies in its directory.
#[test]
fn root_writes_a_lost_record_to_no_file_that_others_have_chosen() {
    if !root() {
        return skip("root", "sudo");
    }
    for (place, owner) in [("record", Some(Uid::from_raw(12_345))), ("others/record", None)] {
        let Some(plan) = plan(Mode::Pid1) else { return };
        let (dir, shells) = (PathBuf::from(plan.path("")), plan.path("shells"));
        fs::create_dir(&shells).unwrap();
        symlink(sexton(), format!("{shells}/sexton-sh")).unwrap();
        let others = dir.join("others");
        fs::create_dir(&others).unwrap();
        chown(&others, Some(Uid::from_raw(12_345)), None).unwrap();
        chown(&dir, owner, None).unwrap();
        // What only root may write to, and may not be made to.
        let precious = dir.join("precious");
        fs::write(&precious, "").unwrap();
        symlink(&precious, dir.join(place)).unwrap();
        let config =
            format!("[tools]\nshell = true\ngrace = '500ms'\nrecord = '{}'\n", dir.join(place).display());
        fs::write(dir.join("sexton.toml"), config).unwrap();
        let path = format!("{shells}:{}", std::env::var("PATH").unwrap());
        let plan =
            plan.variable("PATH", &path).variable("SEXTON_CONFIG", dir.join("sexton.toml").to_str().unwrap());
        let plan = plan.variable("SEXTON_CONTROL", dir.join("c.sock").to_str().unwrap());
        let script = format!("cd '{}' || exit 1; {GIVES_UP}", dir.display());
        let mut victim = plan.options(["--kill-after", "500ms"]).run(["sh", "-c", &script]);
        victim.says("gave up");
        let written = || fs::read_to_string(&precious).unwrap();
        wait_until("it is said, or done", || {
            victim.stderr().contains(" record-failed: ") || !written().is_empty()
        });
        let said = victim.stderr();
        assert_eq!(written(), "", "{said}");
        assert!(said.contains("could not write the record of a lost tool"), "{said}");
        victim.signal(15);
        assert_eq!(victim.code(), 143);
    }
}
