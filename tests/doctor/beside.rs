//! Beside a sexton that runs, as with `docker exec`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::libc::{SIGCONT, SIGSTOP, SIGTERM};

use crate::common::cgroup::Cgroup;
use crate::common::process::look;
use crate::common::victim::{Mode, Plan, Victim, plan};
use crate::common::{helper, root, sexton, skip, wait_until};
use crate::report::{Report, command};

/// A gateway below a sexton that is PID 1, with health probes.
struct Beside {
    victim: Victim,
    port: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `None`, after a line that says so, where there are no namespaces to be had.
fn start(change: impl FnOnce(Plan) -> Plan) -> Option<Beside> {
    let plan = plan(Mode::Pid1)?;
    let port = free_port();
    let (state, log, settings) = (plan.path("state"), plan.path("log"), plan.path("sexton.toml"));
    let socket = plan.path("control.sock");
    fs::create_dir(&state).unwrap();
    let text = format!(
        "grace = '10s'\n[locks]\nroots = ['{state}']\n[health]\nurl = ['http://127.0.0.1:{port}/readyz']\ninterval = '100ms'\n"
    );
    fs::write(&settings, text).unwrap();
    let plan = change(plan).variable("SEXTON_CONTROL", &socket).options(["--config", &settings]);
    let mut victim = plan.run([helper("gateway"), port.to_string(), state, log]);
    victim.says("up");
    Some(Beside { victim, port })
}

impl Beside {
    /// Asks the doctor in the namespaces of the gateway.
    #[track_caller]
    fn doctor(&self, words: &[&str]) -> Report {
        let target = self.victim.pid().to_string();
        let mut line = vec!["nsenter", "--target", &target, "--pid", "--mount"];
        if !root() {
            line.extend(["--user", "--preserve-credentials"]);
        }
        let sexton = sexton();
        line.extend(["--", sexton.to_str().unwrap(), "doctor", "--json", "--stop-timeout", "60s"]);
        line.extend(words);
        let line: Vec<String> = line.into_iter().map(str::to_owned).collect();
        Report::of(&mut command(&line, &self.victim.path("")))
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until sexton-watch looks.
    fn watched(&self) {
        wait_until("the gateway is known to be well", || {
            self.doctor(&[]).findings.iter().any(|finding| finding[2].ends_with("and it looks"))
        });
    }
}

#[test]
fn a_gateway_that_is_well_is_said_to_be() {
    let Some(beside) = start(|plan| plan) else { return };
    beside.watched();
    let report = Report::in_a_second(|| beside.doctor(&[]));
    report.finds_nothing();
    let says = |check: &str, words: &str| {
        let of_it = report.findings.iter().filter(|finding| finding[1] == check);
        assert!(of_it.clone().any(|finding| finding[2].contains(words)), "{check} {words}: {report:#?}");
    };
    // What it looks at is what the sexton that runs was started with.
    says("configuration", "sexton.toml");
    says("role", "PID 1");
    says("health", "10 answers");
    says("stop windows", "at most 22s, and has 1m");
    says("lock root", "the sexton that runs uses it");
}

#[test]
fn a_sexton_that_is_stopped_is_found() {
    let Some(beside) = start(|plan| plan) else { return };
    beside.watched();
    beside.victim.signal(SIGSTOP);
    let stopped = || look(beside.victim.pid()).is_some_and(|process| process.state == 'T');
    wait_until("sexton stands still", stopped);
    let config = beside.victim.path("sexton.toml");
    let report = beside.doctor(&["--deadline", "500ms", "--config", config.to_str().unwrap()]);
    beside.victim.signal(SIGCONT);
    let wrong = report.wrong();
    assert_eq!(wrong.first().map(String::as_str), Some("problem control socket"), "{report:#?}");
    assert!(report.findings[0][3].contains("kill -CONT"), "{report:#?}");
    assert!(report.took < Duration::from_secs(15), "{report:#?}");
}

#[test]
fn a_lock_that_a_live_gateway_keeps_too_long() {
    let Some(beside) = start(|plan| plan) else { return };
    beside.watched();
    assert!(beside.get("/leak/one").contains("leaked"));
    let held = |report: &Report| report.wrong().iter().any(|wrong| wrong == "problem locks");
    wait_until("it is held too long", || held(&beside.doctor(&[])));
    let report = beside.doctor(&[]);
    let of_it = report.findings.iter().find(|finding| finding[1] == "locks").unwrap();
    assert!(of_it[2].contains("past its limit of 1s") && of_it[3].contains("sexton restart"), "{report:#?}");
    // Sooner or later sexton-watch says so too, as an incident.
    assert!(
        report.wrong().iter().all(|wrong| wrong == "problem locks" || wrong == "problem incidents"),
        "{report:#?}"
    );
}

#[test]
fn a_gateway_whose_event_loop_stands() {
    let Some(beside) = start(|plan| plan) else { return };
    beside.watched();
    assert!(beside.get("/block").contains("blocked"));
    let config = beside.victim.path("sexton.toml");
    // Its start period is over.
    let text = fs::read_to_string(&config).unwrap() + "start_period = '1ms'\n";
    fs::write(&config, text).unwrap();
    let report = beside.doctor(&["--deadline", "500ms", "--config", config.to_str().unwrap()]);
    let of_it = report.findings.iter().find(|finding| finding[1] == "health").unwrap();
    assert!(of_it[0] == "problem" && of_it[2].contains("no answer within"), "{report:#?}");
    assert!(report.took < Duration::from_secs(10), "{report:#?}");
}

#[test]
fn a_cgroup_that_has_no_room_left() {
    let Some(group) = Cgroup::with_pids_limit(1000) else { return };
    let limit = group.pids_max();
    let Some(beside) = start(|plan| plan.inside(group)) else { return };
    beside.watched();
    // Less than there are by now, so that it does not matter which thread has just ended.
    fs::write(&limit, "1").unwrap();
    let report = beside.doctor(&[]);
    let of_it = report.findings.iter().find(|finding| finding[1] == "process limit").unwrap();
    let right = of_it[0] == "problem" && of_it[2].contains(" of 1 are used, 0 left");
    assert!(right && of_it[3].contains("no tool can be started"), "{report:#?}");
}

#[test]
fn a_sexton_without_the_one_who_looks() {
    if !root() {
        return skip("root", "another user's sexton");
    }
    let Some(beside) = start(|plan| {
        let lone = plan.path("lone");
        fs::create_dir(&lone).unwrap();
        fs::copy(sexton(), format!("{lone}/sexton")).unwrap();
        plan.instead(&format!("{lone}/sexton"))
    }) else {
        return;
    };
    let report = beside.doctor(&[]);
    report.finds(&["problem sexton-watch", "problem incidents"], &["does not run"]);
}

#[test]
fn the_sexton_at_a_named_socket_is_the_one_that_is_looked_at() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let (state, socket) = (plan.path("state"), plan.path("named.sock"));
    fs::create_dir(&state).unwrap();
    let plan = plan.options(["--lock-root", &state, "--control", &socket]);
    let mut victim = plan.run(["sh", "-c", "echo up; exec sleep 1000"]);
    victim.says("up");
    for words in [vec!["--control".to_owned(), socket.clone()], vec![format!("--control={socket}")]] {
        let asked =
            std::process::Command::new(sexton()).arg("doctor").args(&words).env_clear().output().unwrap();
        let said = String::from_utf8(asked.stdout).unwrap().replace(['\n', ' '], "");
        let shown = state.replace(' ', "");
        assert!(said.contains("controlsocket"), "{words:?}: {said}");
        assert!(said.contains(&format!("lockroot{shown}")), "the root that it uses: {said}");
        assert!(!said.contains("nocommandisknown"), "{said}");
    }
    victim.signal(SIGTERM);
    victim.ends_with(143);
}
