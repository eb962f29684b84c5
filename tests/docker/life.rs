//! A container's whole life, in each of the ways in which sexton can be its init.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use crate::common::process;
use crate::common::{SHORT_TIMEOUT, wait_until};
use crate::engine::{Container, Engine};
use crate::image::Root;
use crate::shipped::HARDENED;

/// Where the image has its init; the engine's own.
const OWN: [&str; 1] = ["demo"];
const INIT: [&str; 2] = ["--init", "plain"];

fn with_images(engine: &Engine) {
    let root = Root::new();
    engine.image("demo", &root, &[r#"ENTRYPOINT ["sexton", "--"]"#]);
    engine.image("plain", &root, &[]);
}

/// A main process with three daemons, each in a session of its own: what an operator does to it, and what he sees.
fn lives(engine: &Engine, options: &[&str], image: &[&str]) {
    let who = [options, image].concat().join(" ");
    let notes = tempfile::tempdir().unwrap();
    // Whatever user it has.
    fs::set_permissions(notes.path(), Permissions::from_mode(0o777)).unwrap();
    let volume = format!("{}:/notes", notes.path().display());
    let command = ["leaves_behind", "journal=/notes/journal", "shape=setsid", "main=obeys"];
    let container = engine.runs([&["--volume", &volume], options, image, &command].concat());
    container.waits_for("ready");
    let journal = || fs::read_to_string(notes.path().join("journal")).unwrap_or_default();
    let noted = |line: &str| {
        wait_until(&format!("{who}: {line:?} is noted"), || journal().lines().any(|noted| noted == line));
    };

    // RTMIN+3 to RTMIN+6 ask an init for a halt, so that they are a stop.
    for (name, number) in [("HUP", 1), ("USR1", 10), ("RTMIN+7", 41)] {
        container.does(&["kill", "--signal", name]);
        noted(&format!("main got {number}"));
    }

    // Beside it: exit codes come back, and what is left behind is sexton's.
    assert_eq!(container.exec(&["sh", "-c", "exit 5"]).code, 5, "{who}");
    assert!(container.processes().len() >= 5, "{who}: sexton, main, and three daemons");
    assert_eq!(container.exec(&["sh", "-c", "setsid sleep 1000 & exec true"]).code, 0, "{who}");
    wait_until(&format!("{who}: the orphan is there"), || named(&container, "sleep"));
    let limits = container.exec(&["grep", "-E", "^(Uid|CapEff|NoNewPrivs)", "/proc/1/status"]).out;
    if options.contains(&"1000:1000") {
        let shown: Vec<&str> = limits.split_whitespace().collect();
        let expected =
            ["Uid:", "1000", "1000", "1000", "1000", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"];
        assert_eq!(shown, expected, "{who}");
        assert_ne!(container.exec(&["sh", "-c", "echo >/written"]).code, 0, "{who}: the root is read-only");
    }

    let before = Instant::now();
    // The engine would kill it after this time.
    container.does(&["stop", "--time", "120"]);
    assert!(before.elapsed() < SHORT_TIMEOUT, "{who}: the engine waited for {:?}", before.elapsed());
    assert_eq!(container.shows("{{.State.ExitCode}} {{.State.OOMKilled}}"), "7 false", "{who}");
    assert_eq!(journal().matches("got 15").count(), 4, "{who}: every process got the signal: {}", journal());
    assert_eq!(journal().matches("leaves").count(), 4, "{who}: and went by himself: {}", journal());
    gone(&container, &who);
    container.does(&["rm"]);
}

/// Whether a process of this name is in the container.
fn named(container: &Container<'_>, name: &str) -> bool {
    container.processes().iter().any(|pid| process::look(*pid).is_some_and(|found| found.name == name))
}

fn gone(container: &Container<'_>, who: &str) {
    wait_until(&format!("{who}: no process is left in the engine's cgroup"), || {
        container.processes().is_empty()
    });
}

#[test]
fn its_own_entry_point() {
    let Some(engine) = Engine::start() else { return };
    with_images(&engine);
    lives(&engine, &[], &OWN);
    lives(&engine, &HARDENED, &OWN);
}

#[test]
fn the_engines_init() {
    let Some(engine) = Engine::start() else { return };
    with_images(&engine);
    lives(&engine, &[], &INIT);
    lives(&engine, &HARDENED, &INIT);
}

#[test]
fn an_engine_with_cgroups_of_version_1() {
    let Some(engine) = Engine::start_v1() else { return };
    assert_eq!(engine.does(["info", "--format", "{{.CgroupVersion}}"]), "1");
    with_images(&engine);
    lives(&engine, &HARDENED, &OWN);
    lives(&engine, &HARDENED, &INIT);
}

#[test]
fn inspect_shows_the_exit_code() {
    let Some(engine) = Engine::start() else { return };
    with_images(&engine);
    for (words, code) in [
        (&["sh", "-c", "exit 7"][..], "7"),
        (&["sh", "-c", "kill -9 $$"], "137"),
        (&["sh", "-c", "kill -15 $$"], "143"),
        (&["nope"], "127"),
        (&["/etc/passwd"], "126"),
        (&["--bad-option"], "125"),
    ] {
        // A word that is an option is sexton's own, as there is no "--" before it.
        let image = if words == ["--bad-option"] { &["--entrypoint", "sexton", "demo"][..] } else { &OWN };
        let container = engine.runs([&HARDENED, image, words].concat());
        container.code();
        let shown = container.shows("{{.State.Status}} {{.State.ExitCode}}");
        assert_eq!(shown, format!("exited {code}"), "{words:?}: {}", container.says());
        container.does(&["rm"]);
    }
    // Killed from outside, all at once.
    let container = engine.runs([&HARDENED, &OWN[..], &["serve"]].concat());
    container.waits_for("ready");
    container.does(&["kill"]);
    assert_eq!(container.code(), 137);
    gone(&container, "killed");
}
