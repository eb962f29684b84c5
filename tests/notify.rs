//! What a service manager is told (sd_notify(3)), seen by one that is a socket of the test's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use common::process::{look, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, PATIENCE, SHORT_TIMEOUT, helper, wait_until};
use nix::libc;

/// The manager, with what it has heard.
struct Manager {
    socket: UnixDatagram,
    name: String,
    heard: Vec<(Instant, String)>,
}

impl Manager {
    fn at_path(plan: &Plan) -> Manager {
        let name = plan.path("notify");
        Manager::new(UnixDatagram::bind(&name).unwrap(), name)
    }

    fn without_path(plan: &Plan) -> Manager {
        let name = plan.path("").replace('/', "-");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Manager::new(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
    }

    fn new(socket: UnixDatagram, name: String) -> Manager {
        socket.set_nonblocking(true).unwrap();
        Manager { socket, name, heard: Vec::new() }
    }

    fn listen(&mut self) {
        let mut message = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = std::str::from_utf8(&message[..length]).unwrap().to_owned();
            self.heard.push((Instant::now(), text));
        }
    }

    /// Every line so far that begins so, without that.
    fn all(&mut self, beginning: &str) -> Vec<String> {
        self.listen();
        let lines = self.heard.iter().flat_map(|(_, message)| message.lines());
        lines.filter_map(|line| line.strip_prefix(beginning).map(str::to_owned)).collect()
    }

    /// Waits for a line that begins so, and gives the rest of it.
    #[track_caller]
    fn hears(&mut self, beginning: &str) -> String {
        let mut found = None;
        let end = Instant::now() + PATIENCE;
        while found.is_none() {
            found = self.all(beginning).into_iter().next_back();
            assert!(Instant::now() < end, "no {beginning:?} came, but {:#?}", self.heard);
            std::thread::sleep(Duration::from_millis(2));
        }
        found.unwrap()
    }

    /// The next message, which has to come with a descriptor, and that.
    #[track_caller]
    fn hears_with_a_descriptor(&self) -> (String, fs::File) {
        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
        let (mut text, mut space) = (vec![0; 8192], nix::cmsg_space!([i32; 4]));
        let (mut length, mut numbers) = (0, Vec::new());
        wait_until("a message with a descriptor comes", || {
            let mut parts = [std::io::IoSliceMut::new(&mut text)];
            let number = std::os::fd::AsRawFd::as_raw_fd(&self.socket);
            let Ok(got) = recvmsg::<()>(number, &mut parts, Some(&mut space), MsgFlags::empty()) else {
                return false;
            };
            length = got.bytes;
            for control in got.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(given) = control {
                    numbers = given;
                }
            }
            !numbers.is_empty()
        });
        // Through /proc, so that nothing unsafe has to be done to own it.
        let file = fs::File::open(format!("/proc/self/fd/{}", numbers[0])).unwrap();
        (String::from_utf8(text[..length].to_vec()).unwrap(), file)
    }

    /// Forgets what it has heard.
    fn forget(&mut self) {
        self.listen();
        self.heard.clear();
    }
}

/// A run under this manager.
fn under(manager: &Manager, plan: Plan) -> Plan {
    plan.variable("NOTIFY_SOCKET", &manager.name)
}

#[test]
fn an_ordinary_life_is_told_in_order() {
    for mode in Mode::PID1_AND_NOT {
        for place in [Manager::at_path, Manager::without_path] {
            let Some(plan) = plan(mode) else { return };
            let mut manager = place(&plan);
            let mut victim = under(&manager, plan).run([&helper("prints_signals"), "15", "0"]);
            victim.says("ready");
            manager.hears("READY=1");
            assert_eq!(manager.hears("STATUS=running"), "");
            victim.signal(15);
            victim.ends_with(0);
            manager.hears("STOPPING=1");
            let heard: Vec<String> =
                manager.heard.iter().flat_map(|(_, text)| text.lines()).map(str::to_owned).collect();
            let place = |line: &str| heard.iter().position(|found| found == line).unwrap();
            assert!(
                heard[0].starts_with("EXTEND_TIMEOUT_USEC=15"),
                "the first sweep has five seconds: {heard:?}"
            );
            assert_eq!(heard[1], "STATUS=sweeping locks");
            assert!(place("READY=1") < place("STATUS=running"), "{heard:?}");
            assert!(place("STATUS=running") < place("STOPPING=1"), "{heard:?}");
            for once in ["READY=1", "STOPPING=1"] {
                assert_eq!(manager.all(once).len(), 1, "{once} is said once");
            }
            for never in ["MAINPID", "WATCHDOG", "RELOADING"] {
                assert!(manager.all(never).is_empty(), "{heard:?}");
            }
        }
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_never_ready() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::at_path(&plan);
    let mut victim = under(&manager, plan).run(["/no/such/command"]);
    victim.ends_with(127);
    assert_eq!(manager.all("READY=1"), [""; 0], "{:?}", manager.heard);
}

#[test]
fn each_rung_of_a_stop_asks_for_its_time_and_says_who_is_waited_for() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut manager = Manager::without_path(&plan);
        let plan = under(&manager, plan).options(["--grace", "2s", "--kill-after", "1s"]);
        let mut victim = plan.run([&helper("ignores_term")]);
        manager.hears("STATUS=running");
        let (main, name) = (victim.main().pid, "ignores_term");
        manager.forget();
        victim.signal(15);
        manager.hears("STOPPING=1");
        let status = manager.hears("STATUS=stopping: waiting for ");
        victim.ends_with(137);
        let times: Vec<u64> =
            manager.all("EXTEND_TIMEOUT_USEC=").iter().map(|time| time.parse().unwrap()).collect();
        for (time, window) in times.iter().zip([2, 1, 10]) {
            let window = 1_000_000 * (10 + window);
            assert!((window - 500_000..=window).contains(time), "{times:?}");
        }
        assert!(times.len() >= 3, "{times:?}");
        assert!(status.contains(name) && status.ends_with("s left"), "{status}");
        if mode == Mode::Tree {
            assert!(status.contains(&format!("pid {main} ")), "{status}");
        }
    }
}

#[test]
fn texts_come_at_most_once_a_second() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let plan = under(&manager, plan).options(["--grace", "3s", "--kill-after", "100ms"]);
    let mut victim = plan.run([&helper("ignores_term")]);
    manager.hears("STATUS=running");
    victim.signal(15);
    while victim.live().iter().any(|process| process.pid == victim.pid()) {
        manager.listen();
        std::thread::sleep(Duration::from_millis(5));
    }
    victim.ends_with(137);
    let heard: Vec<Instant> =
        manager.heard.iter().filter(|(_, text)| text.contains("STATUS=")).map(|(at, _)| *at).collect();
    assert!(heard.len() >= 5, "{:?}", manager.heard);
    assert_eq!(
        manager.all("STATUS=").pop().unwrap(),
        "ended by SIGKILL",
        "the last one comes when it is true"
    );
    for pair in heard[..heard.len() - 1].windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(900), "{:?}", manager.heard);
    }
}

#[test]
fn signs_of_life_come_at_half_the_interval_and_not_from_a_sexton_that_hangs() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "400000");
    let victim = plan.run(["sleep", NEVER]);
    wait_until("ten signs came", || manager.all("WATCHDOG=1").len() >= 10);
    let times: Vec<Instant> =
        manager.heard.iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| *at).collect();
    let took = *times.last().unwrap() - times[0];
    let (least, most) = (Duration::from_millis(1700), Duration::from_millis(3600));
    assert!(took > least && took < most, "nine intervals of 200 ms took {took:?}");
    send(victim.pid(), 19).unwrap();
    wait_until("sexton stands still", || look(victim.pid()).unwrap().state == 'T');
    manager.forget();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(manager.all("WATCHDOG=1").len(), 0, "who hangs gives no sign of life");
    send(victim.pid(), 18).unwrap();
    manager.hears("WATCHDOG=1");
}

#[test]
fn another_process_s_watchdog_is_not_ours() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "1000").variable("WATCHDOG_PID", "1");
    let mut victim = plan.run([&helper("prints_signals"), "15", "0"]);
    manager.hears("STATUS=running");
    victim.says("ready");
    victim.signal(15);
    victim.ends_with(0);
    assert_eq!(manager.all("WATCHDOG=1").len(), 0);
}

#[test]
fn without_a_manager_nothing_is_opened_and_nothing_is_changed() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let plan = plan.options(["--control", "off"]).variable("WATCHDOG_USEC", "77");
    let mut victim = plan.run(["sh", "-c", "echo usec=$WATCHDOG_USEC; sleep 120"]);
    victim.says("usec=77");
    let open: Vec<String> = fs::read_dir(format!("/proc/{}/fd", victim.pid()))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
        .collect();
    let suspicious = |name: &&String| name.starts_with("socket:") || name.contains("[eventpoll]");
    assert_eq!(open.iter().find(suspicious), None, "{open:?}");
}

#[test]
fn the_command_takes_itself_for_nobody_s_service() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let manager = Manager::without_path(&plan);
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "60000000");
    let mut victim = plan.run(["sh", "-c", "env | grep -c -e ^NOTIFY_SOCKET -e ^WATCHDOG_; echo end"]);
    victim.ends_with(0);
    assert_eq!(victim.stdout(), "0\nend\n");
}

#[test]
fn under_another_name_the_variables_are_the_command_s() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let expected = format!("{} 60000000\n", manager.name);
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "60000000").named("tini");
    let mut victim = plan.run(["sh", "-c", "echo $NOTIFY_SOCKET $WATCHDOG_USEC"]);
    victim.ends_with(0);
    assert_eq!(victim.stdout(), expected);
    manager.listen();
    assert_eq!(manager.heard, []);
}

#[test]
fn a_manager_that_does_not_listen_holds_nothing_up_and_hears_it_later() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::at_path(&plan);
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    let mut filled = 0;
    while other.send_to(b"X=1", &manager.name).is_ok() {
        filled += 1;
        assert!(filled < 1_000_000, "a queue has an end");
    }
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "100000");
    let mut victim = plan.run([&helper("prints_signals"), "15", "0"]);
    victim.says("ready");
    victim.signal(10);
    victim.says("10");
    manager.hears("READY=1");
    manager.hears("STATUS=running");
    victim.signal(15);
    victim.ends_with(0);
}

#[test]
fn a_manager_that_vanishes_holds_nothing_up() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::at_path(&plan);
    let path = manager.name.clone();
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "50000");
    let mut victim = plan.run([&helper("prints_signals"), "15", "0"]);
    manager.hears("READY=1");
    drop(manager);
    fs::remove_file(path).unwrap();
    wait_until("it is noticed", || victim.stderr().contains("notify-failed"));
    victim.says("ready");
    victim.signal(15);
    victim.ends_with(0);
    assert_eq!(victim.stderr().matches("notify-failed").count(), 1, "it is said once: {}", victim.stderr());
}

#[test]
fn a_name_that_is_none_is_said_once_and_does_not_matter() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = plan.variable("NOTIFY_SOCKET", "nonsense").run(["true"]);
    victim.ends_with(0);
    assert_eq!(victim.stderr().matches("notify-off").count(), 1, "{}", victim.stderr());
}

#[test]
fn a_reload_is_told_around_the_signal() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let mut victim = under(&manager, plan).run([&helper("prints_signals"), "15", "0"]);
    victim.says("ready");
    manager.hears("READY=1");
    manager.forget();
    victim.signal(1);
    victim.says("1");
    manager.hears("READY=1");
    let first = manager.heard[0].1.clone();
    let time = first.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{first:?}"));
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    let age = Duration::from(now) - Duration::from_micros(time.parse().unwrap());
    assert!(age < PATIENCE, "{age:?}");
}

/// A gateway that speaks for itself, and the pipe through which it is told what to say.
fn gateway(manager: &Manager, plan: Plan) -> (Victim, std::path::PathBuf) {
    let [config, fifo] = [plan.path("sexton.toml"), plan.path("fifo")];
    fs::write(&config, "[systemd]\nready = \"notified\"\n").unwrap();
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut victim = under(manager, plan).options(["--config", &config]).run([&helper("notifies"), &fifo]);
    victim.says("ready");
    (victim, fifo.into())
}

#[test]
fn a_gateway_says_itself_when_it_is_ready_and_only_what_is_its_to_say() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut manager = Manager::without_path(&plan);
        let (mut victim, fifo) = gateway(&manager, plan);
        manager.hears("STATUS=starting");
        assert_eq!(manager.all("READY=1").len(), 0, "it runs, and has not said so");
        let say = |victim: &mut Victim, line: &str| {
            fs::write(&fifo, format!("{line}\n")).unwrap();
            victim.says(line);
        };
        say(&mut victim, "STATUS=loading models|EXTEND_TIMEOUT_USEC=7000000");
        assert_eq!(manager.hears("EXTEND_TIMEOUT_USEC=7"), "000000");
        manager.hears("STATUS=starting; loading models");
        say(&mut victim, "MAINPID=1|FDSTORE=1|BUSERROR=x|READY=1|STATUS=serving");
        manager.hears("READY=1");
        manager.hears("STATUS=running; serving");
        say(&mut victim, "RELOADING=1");
        manager.hears("MONOTONIC_USEC=");
        manager.forget();
        say(&mut victim, "READY=1");
        manager.hears("READY=1");
        for never in ["MAINPID", "FDSTORE", "BUSERROR"] {
            assert_eq!(manager.all(never).len(), 0, "{never}: {:?}", manager.heard);
        }
        fs::write(&fifo, "exit 3\n").unwrap();
        victim.ends_with(3);
    }
}

#[test]
fn a_stranger_is_not_taken_for_the_gateway() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let (mut victim, fifo) = gateway(&manager, plan);
    let environment = fs::read(format!("/proc/{}/environ", victim.main().pid)).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let name = environment.split('\0').find_map(|line| line.strip_prefix("NOTIFY_SOCKET=@")).unwrap();
    let relay = SocketAddr::from_abstract_name(name).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1\nSTATUS=forged", &relay).unwrap();
    // What the gateway says after it comes after it.
    fs::write(&fifo, "STATUS=mine\n").unwrap();
    manager.hears("STATUS=starting; mine");
    assert_eq!(manager.all("READY=1").len(), 0);
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

#[test]
fn a_gateway_that_gave_signs_of_life_owes_them() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let plan = plan.variable("WATCHDOG_USEC", "1000000");
    let (mut victim, fifo) = gateway(&manager, plan);
    let environment = fs::read(format!("/proc/{}/environ", victim.main().pid)).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let whose = format!("WATCHDOG_PID={}", victim.main().pid);
    assert!(environment.split('\0').any(|line| line == whose), "{environment}");
    assert!(environment.split('\0').any(|line| line == "WATCHDOG_USEC=1000000"), "{environment}");
    fs::write(&fifo, "READY=1|WATCHDOG=1\n").unwrap();
    manager.hears("READY=1");
    wait_until("its silence is noticed", || victim.stderr().contains("watchdog-missed"));
    manager.forget();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(manager.all("WATCHDOG=1").len(), 0, "no sign of life is sent for it");
    fs::write(&fifo, "WATCHDOG=1\n").unwrap();
    manager.hears("WATCHDOG=1");
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

#[test]
fn lines_for_the_journal_begin_with_their_priority_and_others_do_not() {
    for (stream, journal) in [("$(stat -L -c %d:%i /proc/self/fd/2)", true), ("1:2", false)] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let script = format!("export JOURNAL_STREAM={stream}; exec \"$@\"");
        let plan = plan.through(["sh", "-c", &script, "sh"]).options(["-vv"]);
        let mut victim = plan.run(["/no/such/command"]);
        victim.ends_with(127);
        let lines = victim.stderr();
        assert!(lines.contains(" INFO ") && lines.contains(" ERROR "), "{lines}");
        for line in lines.lines() {
            let level = line.split_whitespace().nth(1).unwrap();
            let priority = match level {
                "ERROR" => "<3>",
                "WARN" => "<4>",
                "INFO" => "<6>",
                _ => "<7>",
            };
            let expected = if journal { format!("{priority}sexton[") } else { "sexton[".to_owned() };
            assert!(line.starts_with(&expected), "{line}");
        }
    }
}

#[test]
fn a_gateway_that_falls_silent_is_started_again_and_the_manager_never_hears_of_trouble() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let [config, fifo] = [plan.path("sexton.toml"), plan.path("fifo")];
    // Of the ways to have a hanging gateway replaced, this one needs no sexton-watch.
    let settings = "[systemd]\nready = 'notified'\n[health]\ncommand = ['true']\naction = 'restart'\n[restart]\n\
        delay = '1500ms'\nmax_delay = '1500ms'\n";
    fs::write(&config, settings).unwrap();
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "1000000");
    let mut victim = plan.options(["--config", &config]).run([&helper("notifies"), &fifo]);
    victim.says("ready");
    let first = victim.main().pid;
    fs::write(&fifo, "READY=1|WATCHDOG=1\n").unwrap();
    manager.hears("READY=1");
    manager.hears("STATUS=restarting in ");
    wait_until("another one runs", || victim.main().pid != first);
    manager.hears("STATUS=running");
    let pings: Vec<Instant> =
        manager.heard.iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| *at).collect();
    for pair in pings.windows(2) {
        assert!(pair[1] - pair[0] < Duration::from_millis(950), "{:#?}", manager.heard);
    }
    assert_eq!(manager.all("READY=1").len(), 1);
    assert_eq!(manager.all("STOPPING=1").len(), 0);
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

#[test]
fn a_gateway_that_is_asked_is_ready_when_it_answers_and_vouched_for_while_it_does() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let [config, well] = [plan.path("sexton.toml"), plan.path("well")];
    let settings = format!(
        "[health]\ncommand = ['test', '-e', '{well}']\ninterval = '100ms'\nfailure_threshold = 1\nstart_period = '1s'\n"
    );
    fs::write(&config, settings).unwrap();
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "400000");
    let mut victim = plan.options(["--config", &config]).run([&helper("prints_signals"), "15", "0"]);
    victim.says("ready");
    manager.hears("STATUS=starting");
    assert_eq!(manager.all("READY=1").len(), 0, "it was asked, and is not well yet");
    fs::write(&well, "").unwrap();
    manager.hears("READY=1");
    assert!(manager.hears("STATUS=running, healthy in ").ends_with(" ms"));
    fs::remove_file(&well).unwrap();
    manager.hears("STATUS=running, unhealthy");
    manager.forget();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(manager.all("WATCHDOG=1").len(), 0, "no sign of life is sent for it");
    fs::write(&well, "").unwrap();
    manager.hears("WATCHDOG=1");
    victim.signal(15);
    victim.ends_with(0);
}

#[test]
fn a_gateway_that_nobody_can_ask_is_ready_when_it_runs() {
    // There is no sexton-watch, or one that cannot be executed.
    for (program, warnings) in
        [(None, &["no-watch", "health-unmonitored"][..]), (Some(""), &["health-unmonitored"])]
    {
        let Some(plan) = plan(Mode::Tree) else { return };
        let mut manager = Manager::without_path(&plan);
        let [config, alone] = [plan.path("sexton.toml"), plan.path("alone")];
        fs::write(&config, "[health]\ncommand = ['false']\nstart_period = '10m'\n").unwrap();
        fs::create_dir(&alone).unwrap();
        let copy = format!("{alone}/sexton");
        fs::copy(common::sexton(), &copy).unwrap();
        if let Some(text) = program {
            fs::write(format!("{alone}/sexton-watch"), text).unwrap();
        }
        let plan = under(&manager, plan).instead(&copy).options(["--config", &config]);
        let mut victim = plan.run([&helper("prints_signals"), "15", "0"]);
        victim.says("ready");
        manager.hears("READY=1");
        assert_eq!(manager.hears("STATUS=running"), "");
        victim.signal(15);
        victim.ends_with(0);
        for warning in warnings {
            let warning = format!("WARN {warning}: ");
            let said = victim.stderr().lines().filter(|line| line.contains(&warning)).count();
            assert_eq!(said, 1, "{program:?}, {warning}: {}", victim.stderr());
        }
    }
}

#[test]
fn a_gateway_whose_watcher_is_ended_is_ready_when_it_runs_and_is_vouched_for() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let config = plan.path("sexton.toml");
    let settings =
        "[health]\ncommand = ['false']\ninterval = '100ms'\nfailure_threshold = 1\nstart_period = '10m'\n";
    fs::write(&config, settings).unwrap();
    let plan = under(&manager, plan).variable("WATCHDOG_USEC", "400000");
    let mut victim = plan.options(["--config", &config]).run([&helper("prints_signals"), "15", "0"]);
    victim.says("ready");
    let watch = || victim.live().into_iter().find(|one| runs(one.pid, "sexton-watch"));
    wait_until("sexton-watch runs", || watch().is_some());
    assert_eq!(manager.all("READY=1").len(), 0, "it is asked, and is not well");
    // Its supervisor ends it, and does so for good.
    let ancestors = std::iter::successors(watch(), |one| look(one.parent));
    let supervisor = ancestors.map(|one| one.pid).find(|pid| !runs(*pid, "sexton-watch")).unwrap();
    send(supervisor, 15).unwrap();
    manager.hears("READY=1");
    manager.forget();
    manager.hears("WATCHDOG=1");
    victim.signal(15);
    victim.ends_with(0);
    assert!(victim.stderr().contains("WARN health-unmonitored: "), "{}", victim.stderr());
}

fn runs(pid: i32, program: &str) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe"));
    exe.is_ok_and(|exe| exe.file_name() == Some(program.as_ref()))
}

/// The signals in a line of /proc/PID/status, a bit for each.
fn signals(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// systemd 262 refuses a service of `Type=notify-reload` whose main process seems to die of the reload signal, and
/// while sigtimedwait(2) waits the kernel shows its signals neither as blocked nor as caught.
#[test]
fn an_idle_sexton_shows_that_it_deals_with_the_reload_signal_and_the_command_has_none_of_it() {
    let (hup, usr2, realtime) = (bit(1), bit(12), bit(35));
    for managed in [false, true] {
        let Some(mut plan) = plan(Mode::Tree) else { return };
        let mut manager = Manager::without_path(&plan);
        if managed {
            plan = under(&manager, plan);
        }
        let mut victim = plan.run(["sh", "-c", "echo up; exec sleep 1000"]);
        victim.says("up");
        if managed {
            manager.hears("READY=1");
        }
        let wanted = if managed { hup | usr2 | realtime } else { hup };
        let deals = || signals(victim.pid(), "SigCgt") & wanted == wanted;
        wait_until("it waits, and shows what it deals with", || {
            look(victim.pid()).unwrap().state == 'S' && signals(victim.pid(), "SigBlk") & hup == 0
        });
        assert!(deals(), "managed: {managed}; {:x}", signals(victim.pid(), "SigCgt"));
        let main = victim.main().pid;
        assert_eq!(signals(main, "SigCgt") & wanted, 0);
        assert_eq!(signals(main, "SigIgn") & wanted, 0);
        // The command still dies of it.
        victim.signal(1);
        victim.ends_with(129);
    }
    // What was to be ignored is.
    let Some(plan) = plan(Mode::Tree) else { return };
    let manager = Manager::without_path(&plan);
    let plan = under(&manager, plan).through(["sh", "-c", "trap '' HUP USR2; exec \"$@\"", "sh"]);
    let mut victim = plan.run(["sh", "-c", "echo up; exec sleep 1000"]);
    victim.says("up");
    let main = victim.main().pid;
    for pid in [victim.pid(), main] {
        assert_eq!(signals(pid, "SigIgn") & (hup | usr2), hup | usr2);
    }
    victim.signal(15);
    victim.ends_with(143);
}

#[test]
fn descriptors_that_the_manager_is_to_keep_reach_it() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let file = plan.path("kept");
    fs::write(&file, "what it was").unwrap();
    let (mut victim, fifo) = gateway(&manager, plan.variable("FDSTORE", "4"));
    let environment = fs::read(format!("/proc/{}/environ", victim.main().pid)).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|one| one == b"FDSTORE=4"), "the promise is kept");
    manager.hears("STATUS=starting");
    manager.forget();
    let line = format!("with {file} FDSTORE=1|FDNAME=kept|READY=1");
    fs::write(&fifo, format!("{line}\n")).unwrap();
    victim.says(&line);
    let (text, mut kept) = manager.hears_with_a_descriptor();
    assert_eq!(text, "FDSTORE=1\nFDNAME=kept");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut kept, &mut said).unwrap();
    assert_eq!(said, "what it was");
    manager.hears("READY=1");
    fs::write(&fifo, "FDSTOREREMOVE=1|FDNAME=kept\n").unwrap();
    victim.says("FDSTOREREMOVE=1|FDNAME=kept");
    manager.hears("FDSTOREREMOVE=1");
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

/// A connection with data that its peer does not take: whoever closes it last waits until it is gone (socket(7),
/// `SO_LINGER`). The peer is the first of the two.
fn lingering() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sends = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    sends.set_nonblocking(true).unwrap();
    let mut refused = 0;
    // What the kernel has moved to the peer meanwhile makes room again.
    wait_until("no more data is taken", || {
        let taken = std::io::Write::write(&mut sends, &[0; 1 << 16]).is_ok();
        refused = if taken { 0 } else { refused + 1 };
        refused > 20
    });
    let linger = libc::linger { l_onoff: 1, l_linger: 600 };
    nix::sys::socket::setsockopt(&sends, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    (peer, sends)
}

#[test]
fn who_sends_what_takes_for_ever_to_be_closed_holds_nobody_up() {
    use nix::errno::Errno;
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::os::fd::AsRawFd as _;
    let Some(plan) = plan(Mode::Tree) else { return };
    let manager = Manager::without_path(&plan);
    let socket = plan.path("control.sock");
    let (mut victim, _fifo) = gateway(&manager, plan.variable("SEXTON_CONTROL", &socket));
    let environment = fs::read(format!("/proc/{}/environ", victim.main().pid)).unwrap();
    let name = environment.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(b"NOTIFY_SOCKET=@"));
    let client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let datagrams = UnixDatagram::unbound().unwrap();
    let address = UnixAddr::new_abstract(name.unwrap()).unwrap();
    let (_first, notice) = lingering();
    let (_second, request) = lingering();
    let parts = [std::io::IoSlice::new(b"STATUS=x\n")];
    let pass = |socket: i32, what: i32, to: Option<&UnixAddr>| {
        sendmsg(socket, &parts, &[ControlMessage::ScmRights(&[what])], MsgFlags::empty(), to)
    };
    // We are not to be the last to close them.
    send(victim.pid(), 19).unwrap();
    pass(datagrams.as_raw_fd(), notice.as_raw_fd(), Some(&address)).unwrap();
    // From Linux 6.16 on it is refused (SO_PASSRIGHTS); before, nothing can be done about it.
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse::<u32>());
    let refuses = matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 16));
    let sent = if refuses { pass(client.as_raw_fd(), request.as_raw_fd(), None) } else { Err(Errno::EPERM) };
    if sent.is_err() {
        let none = libc::linger { l_onoff: 0, l_linger: 0 };
        nix::sys::socket::setsockopt(&request, nix::sys::socket::sockopt::Linger, &none).unwrap();
    }
    drop((notice, request, client));
    send(victim.pid(), 18).unwrap();
    let begun = Instant::now();
    victim.signal(15);
    victim.ends_with(143);
    assert!(begun.elapsed() < SHORT_TIMEOUT, "{:?}, {sent:?}: {}", begun.elapsed(), victim.stderr());
}

#[test]
fn that_the_manager_does_not_take_descriptors_is_said_once() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let file = plan.path("kept");
    fs::write(&file, "x").unwrap();
    let plan = plan.variable("FDSTORE", "9").variable("SEXTON_LOG", "debug");
    let (mut victim, fifo) = gateway(&manager, plan);
    manager.hears("STATUS=starting");
    let say = |victim: &mut Victim, line: &str| {
        fs::write(&fifo, format!("{line}\n")).unwrap();
        victim.says(line);
    };
    let address = SocketAddr::from_abstract_name(&manager.name[1..]).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    for outage in 1..=2 {
        // The manager is behind: it reads nothing, and its socket is full.
        while others.send_to_addr(b"X=other", &address).is_ok() {}
        let deferred = |victim: &Victim| victim.stderr().matches("notify-deferred").count();
        let before = deferred(&victim);
        for number in 0..5 {
            say(&mut victim, &format!("with {file} FDSTORE=1|FDNAME=lost-{outage}-{number}"));
        }
        say(&mut victim, &format!("STATUS=outage {outage}"));
        wait_until("all that was said has been heard", || deferred(&victim) > before);
        let log = victim.stderr();
        assert_eq!(log.matches("fdstore-failed").count(), outage, "{log}");
        // It is there again, and keeps what it is given.
        manager.forget();
        manager.hears(&format!("STATUS=starting; outage {outage}"));
        say(&mut victim, "FDSTOREREMOVE=1|FDNAME=any");
        manager.hears("FDSTOREREMOVE=1");
        assert_eq!(manager.all("FDNAME=lost"), [""; 0]);
        manager.forget();
    }
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

#[test]
fn a_message_for_which_there_is_no_process_is_taken_later_and_costs_nothing_until_then() {
    if !common::root() {
        return common::skip("root", "a limit on processes that is changed from outside");
    }
    let Some(group) = common::cgroup::Cgroup::with_pids_limit(100) else { return };
    let (Some(plan), limit) = (plan(Mode::Tree), group.pids_max()) else { return };
    let mut manager = Manager::without_path(&plan);
    let file = plan.path("kept");
    fs::write(&file, "x").unwrap();
    let (mut victim, fifo) = gateway(&manager, plan.variable("FDSTORE", "9").inside(group));
    manager.hears("STATUS=starting");
    fs::write(&limit, "1").unwrap();
    let line = format!("with {file} FDSTORE=1|FDNAME=late");
    fs::write(&fifo, format!("{line}\n")).unwrap();
    victim.says(&line);
    let said = |victim: &Victim| victim.stderr().matches(" notify-recv-failed: ").count();
    wait_until("it is said", || said(&victim) > 0);
    // Ticks of a hundredth of a second that it has had, which would be some two hundred where it tries in each turn.
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", victim.pid())).unwrap();
        let fields: Vec<i64> =
            stat.rsplit_once(") ").unwrap().1.split(' ').filter_map(|field| field.parse().ok()).collect();
        fields[10] + fields[11]
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(2500));
    let log = victim.stderr();
    assert_eq!(said(&victim), 1, "{log}");
    assert!(ticks() - before < 25, "{} ticks: {log}", ticks() - before);
    fs::write(&limit, "max").unwrap();
    manager.hears("FDNAME=late");
    fs::write(&fifo, "exit 0\n").unwrap();
    victim.ends_with(0);
}

#[test]
fn a_promise_that_nobody_could_keep_is_not_passed_on() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let manager = Manager::without_path(&plan);
    let script = "echo \"store=${FDSTORE-none}\"";
    let mut victim = under(&manager, plan).variable("FDSTORE", "4").run(["sh", "-c", script]);
    victim.says("store=none");
    victim.ends_with(0);
}

#[test]
fn the_last_text_says_how_it_ended() {
    for (script, code, text) in [
        ("exit 7", 7, "exited with 7"),
        ("kill -SEGV $$", 139, "ended by SIGSEGV"),
        ("exec /no/such/program", 127, "exited with 127"),
    ] {
        for mode in Mode::PID1_AND_NOT {
            let Some(plan) = plan(mode) else { return };
            let mut manager = Manager::without_path(&plan);
            let mut victim = under(&manager, plan).run(["sh", "-c", script]);
            victim.ends_with(code);
            let last = manager.all("STATUS=").pop().unwrap();
            assert!(last.starts_with(text), "{script}: {last}; {:?}", manager.heard);
        }
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let mut victim = under(&manager, plan).run(["/no/such/command"]);
    victim.ends_with(127);
    let last = manager.all("STATUS=").pop().unwrap();
    assert!(last.contains("/no/such/command"), "{last}");
}

#[test]
fn a_debug_invocation_makes_sexton_say_more_and_none_below_it() {
    let exec = "export SYSTEMD_EXEC_PID=$$; exec \"$@\"";
    for (variable, debug) in [("1", true), ("0", false)] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let nested = format!("{} --no-locks -- true 2>{}", common::sexton().display(), plan.path("nested"));
        let plan = plan.through(["sh", "-c", exec, "sh"]).variable("DEBUG_INVOCATION", variable);
        let mut victim = plan.run(["sh", "-c", &nested]);
        victim.ends_with(0);
        assert_eq!(victim.stderr().contains(" DEBUG "), debug, "{}", victim.stderr());
        assert_eq!(victim.read("nested"), "");
    }
    // Of a process that the manager has not started itself it says nothing.
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = plan.variable("DEBUG_INVOCATION", "1").variable("SYSTEMD_EXEC_PID", "1").run(["true"]);
    victim.ends_with(0);
    assert_eq!(victim.stderr(), "");
}

#[test]
fn a_death_by_a_signal_is_passed_on_as_one_where_that_is_wanted() {
    for (wanted, signal) in [(true, Some(11)), (false, None)] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let config = plan.path("sexton.toml");
        fs::write(&config, format!("[systemd]\npass_signal = {wanted}\n")).unwrap();
        let mut victim = plan.options(["--config", &config]).run(["sh", "-c", "kill -SEGV $$"]);
        let status = victim.status();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), signal);
        assert_eq!(status.code(), (!wanted).then_some(139));
    }
    let passing = |mode| {
        let plan = plan(mode)?;
        let config = plan.path("sexton.toml");
        fs::write(&config, "[systemd]\npass_signal = true\n").unwrap();
        Some(plan.options(["--config", &config]))
    };
    // What the operator calls success, an ordinary end, and an init, which no signal of its own can end.
    let Some(plan) = passing(Mode::Tree) else { return };
    plan.options(["--remap-exit", "143"]).run(["sh", "-c", "kill -TERM $$"]).ends_with(0);
    let Some(plan) = passing(Mode::Tree) else { return };
    plan.run(["sh", "-c", "exit 5"]).ends_with(5);
    let Some(plan) = passing(Mode::Pid1) else { return };
    plan.run(["sh", "-c", "kill -SEGV $$"]).ends_with(139);
}

/// systemd-notify(1) of root speaks in the name of its parent, and its parent is sexton then.
#[test]
fn systemd_notify_as_the_main_process_is_heard() {
    if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/usr/bin/systemd-notify").exists() {
        return common::skip("systemd-notify and root", "apt-get install systemd");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut manager = Manager::without_path(&plan);
    let config = plan.path("sexton.toml");
    fs::write(&config, "[systemd]\nready = \"notified\"\n").unwrap();
    let plan = under(&manager, plan).options(["--config", &config]);
    let mut victim = plan.run(["systemd-notify", "--ready", "--status=mine"]);
    victim.ends_with(0);
    manager.hears("READY=1");
}
