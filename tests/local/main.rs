//! sexton on a developer's machine: below the programs that developers call it from, each the real one.
//!
//! The project has a server that takes a moment to close, and a worker that no Ctrl-C reaches. Each test has an address
//! of its own below 127.0.0.0/8, so that no other process has its ports.
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

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use common::console::{blocks, commands};
use common::process::{kill_if, marked, send};
use common::pty::Shell;
use common::{SHORT_TIMEOUT, sexton, skip, wait_until};
use tempfile::TempDir;

const PACKAGE: &str = r#"{ "name": "project", "private": true, "scripts": { "dev": "node server.mjs", "start": "sexton -- node server.mjs" } }"#;
const MAKEFILE: &str = "dev:\n\t@sexton -- npm run dev\n";
/// A server's neighbour has to be there before it, and is stopped after it.
const SETTINGS: &str = "command = ['npm', 'run', 'dev']\noutput = 'prefix'\n\
    [units.db]\ncommand = ['sh', '-c', 'echo ready; exec sleep 1000']\noutput = 'prefix'\n";

/// A folder with a project in it.
struct Project {
    dir: TempDir,
    host: String,
}

/// The start of every test: `None`, after a line that says so, where a tool is missing.
fn project(tools: &[&str]) -> Option<Project> {
    let there = |tool: &&str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(tool).exists())
    };
    if let Some(tool) = ["node", "npm"].iter().chain(tools).find(|tool| !there(tool)) {
        skip(tool, &format!("apt-get install {tool}"));
        return None;
    }
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = process::id().to_le_bytes();
    let host = format!("127.{}.{high}.{low}", 100 + COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("package.json", PACKAGE),
        ("server.mjs", include_str!("server.mjs")),
        ("Makefile", MAKEFILE),
        ("sexton.toml", SETTINGS),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Some(Project { dir, host })
}

impl Project {
    /// What every line here begins with.
    fn here(&self) -> String {
        let Project { dir, host } = self;
        let bin = sexton();
        let bin = bin.parent().unwrap().display();
        format!(
            "cd {} && export HOST={host} PATH={bin}:$PATH npm_config_update_notifier=false",
            dir.path().display()
        )
    }

    /// A terminal in it.
    fn shell(&self) -> Shell {
        let mut shell = Shell::start();
        shell.line(&self.here());
        shell
    }

    fn port_is_free(&self, port: u16) -> bool {
        TcpListener::bind((self.host.as_str(), port)).is_ok()
    }

    /// What is promised for the moment in which the prompt is back.
    #[track_caller]
    fn nothing_is_left(&self) {
        let left = marked(&format!("HOST={}", self.host));
        assert!(left.is_empty(), "{left:?}");
        assert!(self.port_is_free(3000) && self.port_is_free(3001), "a port of {} is taken", self.host);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let mark = format!("HOST={}", self.host);
        for process in marked(&mark) {
            kill_if(process.pid, || marked(&mark).iter().any(|one| one.pid == process.pid));
        }
    }
}

/// Runs a line, presses Ctrl-C once, and gives `$?`.
#[track_caller]
fn interrupted(shell: &mut Shell, line: &str) -> String {
    shell.line(line);
    shell.sees("listening");
    shell.keys("\x03");
    shell.sees("closed");
    code(shell)
}

/// `$?`, once the shell has its prompt again.
#[track_caller]
fn code(shell: &mut Shell) -> String {
    shell.line("echo code=$?.");
    shell.sees("code=");
    shell.sees_until(".")
}

#[test]
fn one_ctrl_c_is_graceful_and_the_port_is_free_when_the_prompt_is_back() {
    let Some(project) = project(&[]) else { return };
    let mut shell = project.shell();
    assert_eq!(interrupted(&mut shell, "sexton -- node server.mjs"), "7");
    project.nothing_is_left();
    let line = "sexton -- npm run dev";
    let with = interrupted(&mut shell, line);
    project.nothing_is_left();
    // As the README shows it.
    let shown = blocks(include_str!("../../README.md"), "text");
    let shown = shown
        .iter()
        .filter(|block| block.starts_with("$ "))
        .flat_map(|block| commands(block))
        .find(|one| one.command == line)
        .unwrap();
    shell.line(line);
    for part in shown.lines.iter().flat_map(|line| line.split("...")).filter(|part| !part.is_empty()) {
        match part.strip_prefix("^C") {
            Some(rest) => {
                shell.keys("\x03");
                shell.sees(rest);
            }
            None => shell.sees(part),
        }
    }
    assert_eq!(code(&mut shell), with);
    project.nothing_is_left();
    // And this is what sexton is good for here: the worker keeps its port.
    let without = interrupted(&mut shell, line.strip_prefix("sexton -- ").unwrap());
    assert!(!project.port_is_free(3001));
    for process in marked(&format!("HOST={}", project.host)) {
        send(process.pid, 9).unwrap();
    }
    assert_eq!(with, without, "the code is npm's own");
}

#[test]
fn the_second_ctrl_c_is_for_those_who_do_not_listen_to_the_first() {
    let Some(project) = project(&[]) else { return };
    let mut shell = project.shell();
    shell.line("export STUBBORN=1");
    shell.line("sexton -- node server.mjs");
    shell.sees("listening");
    shell.keys("\x03");
    shell.sees("not now");
    let begin = Instant::now();
    shell.keys("\x03");
    assert_eq!(code(&mut shell), "143", "it had TERM");
    project.nothing_is_left();
    assert!(begin.elapsed() < SHORT_TIMEOUT);
}

#[test]
fn below_make_the_prompt_is_back_when_all_is_gone() {
    let Some(project) = project(&["make"]) else { return };
    let mut shell = project.shell();
    let code = interrupted(&mut shell, "make dev");
    project.nothing_is_left();
    assert!(["2", "130"].contains(&code.as_str()), "make says that it failed: {code}");
}

#[test]
fn as_an_npm_script_it_ends_all_too() {
    let Some(project) = project(&[]) else { return };
    let mut shell = project.shell();
    let code = interrupted(&mut shell, "npm start");
    project.nothing_is_left();
    assert_ne!(code, "0");
}

#[test]
fn sexton_alone_runs_the_project_s_units_with_a_name_before_each_line() {
    let Some(project) = project(&[]) else { return };
    let mut shell = project.shell();
    shell.line("sexton");
    shell.sees("ready");
    shell.sees("gateway |");
    shell.sees("listening");
    shell.keys("\x03");
    shell.sees("closed");
    assert_ne!(code(&mut shell), "0");
    project.nothing_is_left();
}

#[test]
fn in_tmux_a_closed_window_leaves_nothing() {
    let Some(project) = project(&["tmux"]) else { return };
    let tmux = |words: &str| {
        let line = format!("{}; TMUX_TMPDIR=$PWD tmux -f /dev/null {words}", project.here());
        let output = Command::new("bash")
            .args(["-c", &line])
            .env_remove("TMUX")
            .env("TERM", "xterm")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shows = |text: &str| tmux("capture-pane -p -t dev").contains(text);
    let start = || {
        tmux("new-session -d -s dev -x 200 -y 50 'exec bash --norc --noprofile -i'");
        tmux("send-keys -t dev 'sexton -- node server.mjs' Enter");
        wait_until("the server listens", || shows("listening"));
    };
    start();
    tmux("send-keys -t dev C-c");
    wait_until("it has closed", || shows("closed"));
    tmux("send-keys -t dev 'echo code=$?.' Enter");
    wait_until("the prompt is back", || shows("code=7."));
    assert!(project.port_is_free(3000) && project.port_is_free(3001));
    tmux("kill-server");
    wait_until("the first server is gone", || marked(&format!("HOST={}", project.host)).is_empty());
    start();
    tmux("kill-session -t dev");
    wait_until("all is gone", || marked(&format!("HOST={}", project.host)).is_empty());
    project.nothing_is_left();
}

#[test]
fn an_editor_s_task_that_is_terminated_leaves_nothing() {
    let Some(project) = project(&[]) else { return };
    // VS Code runs a task by `bash -c` at a terminal of its own; "Terminate Task" sends HUP to that process alone and
    // closes the terminal, and the trash can too (node-pty's kill).
    let mut task = Shell::task(&format!("{}; exec sexton -- node server.mjs", project.here()));
    task.sees("listening");
    send(task.pid(), 1).unwrap();
    task.line_hung_up();
    assert_eq!(task.ends(), 129, "HUP ended it");
    project.nothing_is_left();
    // Ctrl-C in it is what it is in any terminal.
    let mut task = Shell::task(&format!("{}; sexton -- npm run dev", project.here()));
    task.sees("listening");
    task.keys("\x03");
    task.sees("closed");
    assert_ne!(task.ends(), 0, "npm was interrupted");
    project.nothing_is_left();
}

#[test]
fn a_build_without_a_terminal_is_cancelled_as_a_whole_and_its_pipe_ends() {
    let Some(project) = project(&[]) else { return };
    // A runner starts `bash -e SCRIPT` with pipes and no terminal, sends INT, TERM some seconds later (GitHub's), and
    // waits for the pipe to end. npm takes no notice of an INT that it alone gets, as from no terminal.
    for (line, signals, expected) in [
        ("exec sexton -g -- npm run dev", &[2][..], None),
        ("exec sexton -- node server.mjs", &[15], Some(143)),
        ("STUBBORN=1 exec sexton -- node server.mjs", &[2, 15], Some(143)),
    ] {
        let script = format!("{}; {line}", project.here());
        let mut command = Command::new("setsid");
        command.args(["bash", "-e", "-c", &script]).env("SEXTON_CONTROL", "off");
        let mut step = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = step.stdout.take().unwrap();
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut said = String::new();
        let mut ended = || {
            let mut piece = [0; 1024];
            let length = pipe.read(&mut piece);
            said.push_str(&String::from_utf8_lossy(&piece[..*length.as_ref().unwrap_or(&0)]));
            (matches!(length, Ok(0)), said.contains("listening"))
        };
        wait_until("the server listens", || ended().1);
        let begin = Instant::now();
        signals.iter().for_each(|signal| send(step.id().cast_signed(), *signal).unwrap());
        wait_until("the pipe ends", || ended().0);
        let code = step.wait().unwrap().code();
        assert!(code != Some(0) && (expected.is_none() || code == expected), "{line} {signals:?}: {code:?}");
        assert!(begin.elapsed() < Duration::from_secs(25), "no window was waited for");
        project.nothing_is_left();
    }
}
