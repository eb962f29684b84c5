//! `sexton reload` of a file that another process keeps from being opened or read: sexton goes on, and says so.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc::SIGTERM;
use serde_json::Value;

use super::common::victim::{Mode, Plan, Victim};
use super::common::{SHORT_TIMEOUT, crowd, lease, log, root, skip, wait_until};
use super::{ask, begin, configured, named, status, text};

const UP: &str = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n";

/// Begins `sexton reload`, to be looked at later.
fn begin_reload(socket: &Path) -> Child {
    let mut reload = Command::new(super::sexton());
    reload.arg("reload").env_clear().env("SEXTON_CONTROL", socket);
    reload.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asks for the status until the reload has its answer, which is given. Each status comes at once.
#[track_caller]
fn answers_meanwhile(socket: &Path, mut reload: Child) -> Output {
    let begun = Instant::now();
    loop {
        let ended = reload.try_wait().unwrap().is_some();
        let asked = Instant::now();
        assert_eq!(status(socket)["gateway"]["state"], "running");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1) * crowd(), "{took:?} after {:?}", begun.elapsed());
        if ended {
            return reload.wait_with_output().unwrap();
        }
    }
}

/// That it was refused in one line with this in it, and that nothing changed.
#[track_caller]
fn refused(victim: &Victim, answer: &Output, says: &str) {
    let said = text(&answer.stderr);
    assert_eq!((answer.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(says), "{said}");
    assert!(log::events(&victim.stderr(), "reloaded").is_empty());
}

#[track_caller]
fn ends(mut victim: Victim) {
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn a_lease_on_the_configuration_holds_nobody_up() {
    for mode in Mode::PID1_AND_NOT {
        let Some((mut victim, socket)) = begin(mode, UP) else { return };
        victim.says("up");
        let file = victim.path("sexton.toml");
        let holder = lease(&file);
        let answer = answers_meanwhile(&socket, begin_reload(&socket));
        refused(
            &victim,
            &answer,
            &format!("{} cannot be read: another process holds a lease", file.display()),
        );
        drop(holder);
        assert_eq!(text(&ask(&socket, ["reload"]).stdout), "changed: nothing\n");
        ends(victim);
    }
}

/// A look at the file and its opening are two calls, between which something else can come to its name.
#[test]
fn a_pipe_that_comes_and_goes_under_the_configurations_name_holds_nobody_up() {
    /// How often it is asked for: before it was opened without waiting, one of some hundred was never answered.
    const READINGS: usize = 1000;
    let Some((mut victim, socket)) = begin(Mode::Pid1, UP) else { return };
    victim.says("up");
    let (file, pipe) = (victim.path("sexton.toml"), victim.path("pipe"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let over = AtomicBool::new(false);
    let (mut read, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &file, AT_FDCWD, &pipe, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let asked = std::panic::catch_unwind(|| {
            let stream = UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(SHORT_TIMEOUT / 4)).unwrap();
            let mut answers = BufReader::new(&stream);
            let (mut read, mut refused) = (0, 0);
            for number in 0..READINGS {
                (&stream).write_all(b"{\"op\":\"reload\"}\n").unwrap();
                let mut answer = String::new();
                answers.read_line(&mut answer).unwrap_or_else(|error| panic!("{number}: {error}"));
                let answer: Value = serde_json::from_str(&answer).unwrap();
                match (answer["done"].as_str(), answer["refused"].as_str()) {
                    (Some("changed: nothing"), None) => read += 1,
                    (None, Some(why)) if why.contains("not an ordinary file") => refused += 1,
                    other => panic!("{number}: {other:?}"),
                }
            }
            (read, refused)
        });
        over.store(true, Ordering::Relaxed);
        (read, refused) = asked.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
    assert!(read > 0 && refused > 0, "{read} {refused}");
    assert_eq!(status(&socket)["gateway"]["state"], "running");
    ends(victim);
}

/// A plan whose directory `hung` is a FUSE file system whose server never says a word: every question waits for ever.
/// `None`, after a line that says so, where there is none.
fn with_a_hung_filesystem(plan: Plan) -> Option<Plan> {
    if !root() || !Path::new("/dev/fuse").exists() {
        skip("root and /dev/fuse", "modprobe fuse");
        return None;
    }
    let hung = plan.path("hung");
    fs::create_dir(&hung).unwrap();
    let script = format!(
        "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none '{hung}' && exec \"$@\""
    );
    Some(plan.through(["sh", "-c", &script, "sh"]))
}

/// Lets `link` lead to `to` from now on, without a moment in which it leads nowhere.
fn lead(link: &Path, to: &str) {
    let new = link.with_extension("new");
    symlink(to, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[test]
fn a_filesystem_that_hangs_costs_a_reload_its_deadline_and_nobody_else_anything() {
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, socket)) = configured(mode, UP) else { return };
        let Some(plan) = with_a_hung_filesystem(plan) else { return };
        let place = plan.path("place/sexton.toml");
        lead(Path::new(&plan.path("place")), ".");
        let plan = plan.variable("SEXTON_CONFIG", &place).options(["-v", "--log-format", "json"]);
        let mut victim = plan.run_as_typed([] as [&str; 0]);
        victim.says("up");
        let link = victim.path("place");
        assert_eq!(text(&ask(&socket, ["reload"]).stdout), "changed: nothing\n");
        let log = log::events(&victim.stderr(), "reloaded").len();
        lead(&link, "hung");
        // Who asks while it is read is answered as well.
        let (first, second) = (begin_reload(&socket), begin_reload(&socket));
        for reload in [first, second] {
            let answer = answers_meanwhile(&socket, reload);
            let said = text(&answer.stderr);
            assert_eq!((answer.status.code(), said.lines().count()), (Some(1), 1), "{said}");
            assert!(said.contains("was not read within 3s") && said.contains(&place), "{said}");
        }
        assert_eq!(log::events(&victim.stderr(), "reloaded").len(), log);
        lead(&link, ".");
        wait_until("what hung has ended", || ask(&socket, ["reload"]).status.code() == Some(0));
        ends(victim);
    }
}

/// A gateway's `SHELL` is looked for in `PATH`.
#[test]
fn a_directory_in_path_that_hangs_does_not_hold_up_a_restart() {
    for mode in Mode::PID1_AND_NOT {
        let config = format!("{UP}tools = {{ shell = true }}\n");
        let Some((plan, socket)) = configured(mode, &config) else { return };
        let Some(plan) = with_a_hung_filesystem(plan) else { return };
        let place = plan.path("place");
        lead(Path::new(&place), ".");
        let path = format!("{}:{place}", std::env::var("PATH").unwrap());
        // A socket that was passed to sexton outlives the command, and without its server the file system would be
        // gone.
        let plan = plan.variable("PATH", &path).variable("LISTEN_FDS", "1");
        let mut victim = plan.run_as_typed([] as [&str; 0]);
        victim.says("up");
        lead(&victim.path("place"), "hung");
        let first = status(&socket)["gateway"]["pid"].clone();
        assert_eq!(ask(&socket, ["restart"]).status.code(), Some(0));
        wait_until("it was started again", || {
            let gateway = status(&socket)["gateway"].clone();
            gateway["state"] == "running" && gateway["pid"] != first
        });
        wait_until("it is the command", || !named(&victim, "sleep").is_empty());
        ends(victim);
    }
}
