//! The real gateway in a container of the image that packaging/docker makes, with what compose.yaml allows it: killed
//! with everything in the middle of a turn, started again with the same pid, and killed alone.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::common::process;
use crate::engine::{Container, Engine};
use crate::image::Root;
use crate::shipped::{HARDENED, gateway_image, sexton_image};
use crate::wait::{SHORT_TIMEOUT, START, say, wait_for};
use crate::world::World;
use crate::{http, locks};

/// What the image, its healthcheck and its settings are made for.
const PORT: u16 = 18789;
/// Where the container has its state directory.
const STATE: &str = "/home/node/.openclaw";

/// The gateway's image as its publisher makes it: Node and a small Debian, of this machine's files. OpenClaw itself,
/// hundreds of megabytes, is mounted over `/app/node_modules`.
fn root() -> Root {
    let root = Root::without_sexton();
    root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n");
    fs::create_dir_all(root.path().join("app/node_modules")).unwrap();
    symlink("node_modules/openclaw/openclaw.mjs", root.path().join("app/openclaw.mjs")).unwrap();
    root
}

/// One container, and what its gateway says and does.
struct Gateway<'a> {
    container: Container<'a>,
    world: &'a World,
}

impl Gateway<'_> {
    /// Waits for something, and fails at once with what was said when the container has ended.
    fn wait_for<T>(&self, what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
        wait_for(what, limit, || {
            let answer = ask();
            let ended = answer.is_none() && self.container.shows("{{.State.Status}}") == "exited";
            assert!(
                !ended,
                "the container ended while the test waited for {what}: {}",
                self.container.says()
            );
            answer
        })
    }

    /// Waits until sexton has started it, and gives its pid in the container. It is looked up from out here: what runs
    /// in the container for the purpose would take pids away.
    fn pid(&self) -> i64 {
        let line = |pid: i32, label: &str| process::status(pid, label).unwrap_or_default();
        let inner = |pid: i32| line(pid, "NSpid").split_whitespace().last()?.parse::<i64>().ok();
        self.wait_for("the gateway's pid", SHORT_TIMEOUT, || {
            let all = self.container.processes();
            let sexton = *all.iter().find(|pid| inner(**pid) == Some(1))?;
            let own = |pid: &&i32| {
                line(**pid, "PPid") == sexton.to_string() && !line(**pid, "Name").starts_with("sexton")
            };
            inner(*all.iter().find(own)?)
        })
    }

    /// Starts the container until the gateway has this pid again. Mostly it has at once, but the engine's threads take
    /// pids in there before sexton is, and are not always as many. Each start finds what the first one found.
    fn starts_again_as(&self, pid: i64) {
        let (state, copy) = (self.world.state(), self.world.path("state-copy"));
        copy_all(&state, &copy);
        for _ in 0..10 {
            self.container.does(&["start"]);
            if self.pid() == pid {
                return;
            }
            self.container.does(&["kill"]);
            for entry in fs::read_dir(&state).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
            copy_all(&copy, &state);
        }
        panic!("the gateway does not get pid {pid} again");
    }

    /// Waits until it serves.
    fn serves(&self) {
        self.wait_for("200 from /readyz", START, || {
            (http::get_status(PORT, "/readyz", SHORT_TIMEOUT) == Some(200)).then_some(())
        });
    }

    /// The session locks that this pid owns.
    fn session_locks(&self, pid: i64) -> Vec<PathBuf> {
        let mut found = locks::find(&[self.world.state()]);
        found.retain(|lock| {
            lock.to_string_lossy().ends_with(".jsonl.lock") && locks::owner_pid(lock) == Some(pid)
        });
        found
    }

    /// Waits until a line with all these words has been written.
    fn says(&self, words: &[&str]) {
        let line = self.wait_for(&format!("{words:?}"), START, || {
            let says = self.container.says();
            says.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        });
        say(&format!("container: {}", line.chars().take(200).collect::<String>()));
    }
}

#[test]
fn in_its_container_the_gateway_recovers_the_turn_that_a_kill_interrupted() {
    let Some(bin) = crate::installed_openclaw() else { return };
    let Some(engine) = Engine::start() else { return };
    if sexton_image(&engine).is_none() {
        return;
    }
    let modules = bin.parent().unwrap();
    let root = root();
    let node = bin.join("node").canonicalize().unwrap();
    root.libraries(&node);
    root.link(
        &format!("/app/node_modules/{}", node.strip_prefix(modules).unwrap().display()),
        "usr/bin/node",
    );
    gateway_image(&engine, &root);

    // As a pod has it: a network that outlives the gateway's container. Here live the model and this test, too.
    let network = engine.runs(["--entrypoint", "sleep", "sexton-gateway", "100000"]);
    let pid = *network.processes().first().unwrap();
    setns(File::open(format!("/proc/{pid}/ns/net")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    let world = World::set_up_at(&bin, PORT);
    let state = world.state();
    as_the_container_sees_it(&state.join("openclaw.json"), &world);
    let owned = Command::new("chown").args(["-R", "1000:1000"]).arg(&state).status();
    assert!(owned.unwrap().success());

    let volumes =
        [format!("{}:/app/node_modules:ro", modules.display()), format!("{}:{STATE}", state.display())];
    let mut words: Vec<String> = HARDENED.map(str::to_owned).into();
    for volume in &volumes {
        words.extend(["--volume", volume].map(str::to_owned));
    }
    for variable in ["SKIP_CHANNELS", "SKIP_BROWSER_CONTROL_SERVER", "DISABLE_BONJOUR", "NO_AUTO_UPDATE"] {
        words.extend(["--env".to_owned(), format!("OPENCLAW_{variable}=1")]);
    }
    let network = format!("container:{}", network.id);
    let rest = ["--tmpfs", "/tmp:mode=1777,exec", "--restart", "on-failure", "sexton-gateway"];
    words.extend(rest.map(str::to_owned));
    let gateway = Gateway { container: engine.starts(&network, words), world: &world };
    gateway.serves();
    let pid = gateway.pid();
    say(&format!("container: serves, as pid {pid}"));

    let turn = world.begin_turn("agent:main:sexton-test", "hang");
    gateway.wait_for("the session lock of a turn that hangs", START, || {
        let asked = world.asked_models().contains(&"hang".to_owned());
        (asked && !gateway.session_locks(pid).is_empty()).then_some(())
    });
    // Sexton, too: no process is left that could remove the lock.
    gateway.container.does(&["kill"]);
    assert_eq!(gateway.container.shows("{{.State.ExitCode}}"), "137");
    assert_eq!(gateway.session_locks(pid).len(), 1, "the lock is left behind");
    drop(turn);
    say("container: everything was killed in the middle of a turn");
    gateway.starts_again_as(pid);
    gateway.serves();
    gateway.says(&["lock-handed-over", ".jsonl.lock", &format!("pid={pid}")]);
    gateway.says(&["removed stale session lock", "(dead-pid)"]);
    gateway.says(&["marked", "interrupted main session"]);

    // Alone: sexton ends with it, and the engine starts both again.
    gateway.container.exec(&["kill", "-s", "KILL", &pid.to_string()]);
    wait_for("the engine to start it again", SHORT_TIMEOUT, || {
        (gateway.container.shows("{{.RestartCount}} {{.State.Running}}") == "1 true").then_some(())
    });
    say(&format!("container: started again by the engine, as pid {}", gateway.pid()));
}

/// Copies what is in the directory, owners and times included.
fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["--archive", "--no-target-directory"]).args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Names the state directory as it is called in the container.
fn as_the_container_sees_it(configuration: &Path, world: &World) {
    let text = fs::read_to_string(configuration).unwrap();
    let (state, log) =
        (world.state().display().to_string(), world.path("openclaw.log").display().to_string());
    let text = text.replace(&state, STATE).replace(&log, &format!("{STATE}/openclaw.log"));
    fs::write(configuration, text).unwrap();
}
