//! Images that used another init: its file is replaced, their entry points stay as they are.

use std::time::Instant;

use crate::common::{SHORT_TIMEOUT, skip, wait_until};
use crate::engine::{Container, Engine};
use crate::image::Root;

/// An image in the manner of well-known ones.
struct Image {
    /// The init that it was made with.
    init: &'static str,
    /// Its Dockerfile's last lines.
    entry: &'static [&'static str],
    /// The exit code for a command that is not there, and for one that cannot be executed.
    refused: [i32; 2],
    /// What the server gets when the engine asks it to stop.
    stop: i32,
}

const IMAGES: [Image; 5] = [
    // As jenkins and the elastic stack have it.
    Image {
        init: "tini",
        entry: &[r#"ENTRYPOINT ["/usr/bin/tini", "--", "/docker-entrypoint.sh"]"#, r#"CMD ["serve"]"#],
        // The entry point is there; what it executes is the shell's matter.
        refused: [127, 126],
        stop: 15,
    },
    // As jupyter and spark have it.
    Image {
        init: "tini",
        entry: &[r#"ENTRYPOINT ["tini", "-g", "--"]"#, r#"CMD ["serve"]"#],
        refused: [127, 126],
        stop: 15,
    },
    // As airflow has it.
    Image {
        init: "dumb-init",
        entry: &[r#"ENTRYPOINT ["/usr/bin/dumb-init", "--"]"#, r#"CMD ["/docker-entrypoint.sh", "serve"]"#],
        refused: [2, 2],
        stop: 15,
    },
    // A web server that drains at QUIT.
    Image {
        init: "dumb-init",
        entry: &[r#"ENTRYPOINT ["dumb-init", "--rewrite", "15:3", "--"]"#, "ENV LAST=3", r#"CMD ["serve"]"#],
        refused: [2, 2],
        stop: 3,
    },
    Image {
        init: "catatonit",
        entry: &[r#"ENTRYPOINT ["/usr/bin/catatonit", "--"]"#, r#"CMD ["serve"]"#],
        refused: [1, 1],
        stop: 15,
    },
];

/// What an operator sees of one image, whichever init is in it.
fn behaves(engine: &Engine, name: &str, image: &Image) {
    let run = |words: &[&str]| {
        let line = ["run", "--rm", "--network", "none", name];
        engine.docker(line.iter().chain(words)).code
    };
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]), 137, "{name}");
    assert_eq!([run(&["nope"]), run(&["/etc/passwd"])], image.refused, "{name}");

    let server = engine.runs([name]);
    server.waits_for("ready");
    server.does(&["kill", "--signal", "HUP"]);
    server.waits_for("1");
    let before = Instant::now();
    // The engine would kill it after this time.
    server.does(&["stop", "--time", "120"]);
    assert!(before.elapsed() < SHORT_TIMEOUT, "{name}: the engine waited for {:?}", before.elapsed());
    assert_eq!(server.code(), 3, "{name}");
    assert_eq!(server.says(), format!("ready\n1\n{}\n", image.stop), "{name}");
    server.does(&["rm"]);
}

/// A main process that leaves daemons behind: whether they were asked to end before they were killed.
fn asks_daemons_first(engine: &Engine, name: &str) -> bool {
    let notes = Notes::new();
    let words = ["leaves_behind", "journal=/notes/journal", "shape=setsid", "main=exits"];
    let container = engine.runs(["--volume", &notes.volume(), name].iter().chain(&words));
    assert_eq!(container.code(), 7, "{name}");
    container.does(&["rm"]);
    notes.read().matches("got 15").count() == 3
}

/// A directory that a container writes into, as `/notes`.
struct Notes(tempfile::TempDir);

impl Notes {
    fn new() -> Notes {
        Notes(tempfile::tempdir().unwrap())
    }

    fn volume(&self) -> String {
        format!("{}:/notes", self.0.path().display())
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.0.path().join("journal")).unwrap()
    }
}

#[test]
fn an_image_of_tinis_needs_no_change_but_the_file() {
    needs_no_change("tini");
}

#[test]
fn an_image_of_dumb_inits_needs_no_change_but_the_file() {
    needs_no_change("dumb-init");
}

#[test]
fn an_image_of_catatonits_needs_no_change_but_the_file() {
    needs_no_change("catatonit");
}

fn needs_no_change(init: &str) {
    let Some(engine) = Engine::start() else { return };
    let original = std::path::Path::new("/usr/bin").join(init);
    if original.exists() {
        let root = Root::new();
        root.program(&original, &format!("usr/bin/{init}"));
        images(&engine, &root, init, "was", false);
    } else {
        skip(&format!("the Debian package of {init}"), "apt-get install tini dumb-init catatonit");
    }
    let root = Root::new();
    root.link("sexton", &format!("usr/bin/{init}"));
    images(&engine, &root, init, "is", true);
}

fn images(engine: &Engine, root: &Root, init: &str, tag: &str, ours: bool) {
    for (number, image) in IMAGES.iter().enumerate().filter(|(_, image)| image.init == init) {
        let name = format!("{init}-{number}:{tag}");
        engine.image(&name, root, image.entry);
        behaves(engine, &name, image);
        assert_eq!(asks_daemons_first(engine, &name), ours, "{name}");
    }
}

#[test]
fn the_engines_own_init_can_be_sexton() {
    let Some(engine) = Engine::start() else { return };
    engine.image("plain", &Root::new(), &[]);
    let info = engine.does(["version", "--format", "{{json .Server.Components}}"]);
    assert!(info.contains(r#"{"Name":"docker-init","Version":"0.19.0""#), "{info}");
    let run = |words: &[&str]| engine.docker(["run", "--rm", "--network", "none"].iter().chain(words));
    let said = run(&["--init", "plain", "sh", "-c", "cat /proc/1/comm; exit 7"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "docker-init\n", ""), "{said:?}");
    assert_eq!(run(&["--init", "plain", "nope"]).code, 127);

    let server = engine.runs(["--init", "plain", "serve"]);
    server.waits_for("ready");
    server.does(&["stop", "--time", "120"]);
    assert_eq!((server.code(), server.says().as_str()), (3, "ready\n15\n"));

    // Below another init, sexton is as it is: no complaint, and the signals pass through both.
    let both = engine.runs(["--init", "plain", "sexton", "--", "serve"]);
    both.waits_for("ready");
    both.does(&["stop", "--time", "120"]);
    assert_eq!((both.code(), both.says().as_str()), (3, "ready\n15\n"));
}

#[test]
fn a_shared_pid_namespace_is_not_ours_to_clear() {
    let Some(engine) = Engine::start() else { return };
    engine.image("small", &Root::new(), &[r#"ENTRYPOINT ["sexton", "--"]"#]);
    let neighbour = engine.runs(["small", "serve"]);
    neighbour.waits_for("ready");
    let namespace = format!("container:{}", neighbour.id);
    let notes = Notes::new();
    let words = ["leaves_behind", "journal=/notes/journal", "shape=setsid", "main=obeys", "escapee=ignores"];
    let place =
        ["--pid", &namespace, "--volume", &notes.volume(), "--env", "SEXTON_KILL_AFTER=300ms", "small"];
    let guest = engine.runs(place.iter().chain(&words));
    guest.waits_for("ready");
    guest.does(&["stop", "--time", "120"]);
    assert_eq!(guest.code(), 7, "{}", guest.says());
    assert_eq!(notes.read().matches("got 15").count(), 4, "its own are reached: {}", notes.read());
    assert_eq!(neighbour.says(), "ready\n", "the neighbour got no signal of ours");
    lives(&neighbour);
    neighbour.does(&["stop", "--time", "120"]);
    assert_eq!(neighbour.code(), 3);
}

fn lives(container: &Container<'_>) {
    wait_until("the neighbour lives", || container.shows("{{.State.Running}}") == "true");
}

#[test]
fn a_pod_can_pause_under_catatonits_name() {
    let Some(engine) = Engine::start() else { return };
    let root = Root::new();
    root.link("sexton", "usr/bin/catatonit");
    engine.image("pause", &root, &[r#"ENTRYPOINT ["catatonit", "-P"]"#]);
    let pause = engine.runs(["pause"]);
    lives(&pause);
    let namespace = format!("container:{}", pause.id);
    let place = ["run", "--rm", "--network", "none", "--pid", &namespace, "--entrypoint", "sh", "pause"];
    let member = engine.docker(place.iter().chain(&["-c", "cat /proc/1/comm; (sleep 0 &); exit 4"]));
    assert_eq!((member.code, member.out.as_str()), (4, "catatonit\n"), "{member:?}");
    pause.does(&["stop", "--time", "120"]);
    assert_eq!(pause.code(), 0);
}
