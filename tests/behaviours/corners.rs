//! What a program is started with, and what it holds on to.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::sys::stat::Mode as Permissions;

use super::common::cgroup::Cgroup;
use super::common::helper;
use super::common::victim::Mode;
use super::{Row, gone, within};

pub const ROWS: &[Row] = &[
    ("survives a parent that ignores SIGCHLD", |program| {
        let mut victim = program.plan(Mode::Tree).born(["ignore=17"]).run(["sh", "-c", "exit 7"]);
        within(|| gone(victim.pid())) && victim.code() == 7
    }),
    ("runs with standard input, output and error closed", |program| {
        let plan = program.plan(Mode::Tree).born(["close=0", "close=1", "close=2"]);
        let note = plan.path("note");
        let look = "for fd in 0 1 2; do test -e /proc/$$/fd/$fd && echo $fd >&9; done; exit 7";
        let mut victim = plan.run(["sh", "-c", &format!("exec 9>'{note}'; {look}")]);
        victim.code() == 7 && victim.path("note").exists() && victim.read("note").is_empty()
    }),
    ("a pipe ends when the command closes it", |program| {
        let plan = program.plan(Mode::Tree);
        let pipe = plan.path("pipe");
        nix::unistd::mkfifo(pipe.as_str(), Permissions::S_IRWXU).unwrap();
        let mut reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        let script = "echo written >&9; exec 9>&-; exec sleep 1000";
        let _victim = plan.born([&format!("open=9:{pipe}")]).run(["sh", "-c", script]);
        let mut read = String::new();
        within(|| reader.read_to_string(&mut read).is_ok() && read == "written\n")
    }),
    ("its working directory can be unmounted", |program| {
        let plan = program.plan(Mode::Pid1);
        let place = plan.path("mounted");
        fs::create_dir(&place).unwrap();
        let enter = format!("mount -t tmpfs none '{place}' && cd '{place}' && exec \"$@\"");
        let leave = format!("cd /; until umount '{place}' 2>/dev/null; do sleep 0.01; done; echo unmounted");
        let victim = plan.through(["sh", "-c", &enter, "sh"]).run(["sh", "-c", &leave]);
        within(|| victim.stdout() == "unmounted\n")
    }),
    ("a main process whose first thread has ended is alive", |program| {
        let mut victim = program.start(Mode::Pid1, &[], &[&helper("dies_in_parts")]);
        victim.says("ready");
        victim.signal(15);
        victim.code() == 6
    }),
    ("a limit on processes at the start is waited out", |program| {
        let Some(group) = Cgroup::with_pids_limit(1) else { return false };
        let limit = group.pids_max();
        let mut victim = program.plan(Mode::Tree).inside(group).run(["sh", "-c", "exit 7"]);
        // It has met the limit when it has said so.
        super::common::wait_until("it says something", || !victim.stderr().is_empty());
        fs::write(limit, "max").unwrap();
        victim.code() == 7
    }),
    ("runs below another init without a complaint", |program| {
        let mut victim = program.start(Mode::Tree, &[], &["true"]);
        victim.code() == 0 && victim.stderr().is_empty()
    }),
];
