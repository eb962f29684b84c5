//! Exit codes, and who is left at the end.

use super::common::helper;
use super::common::process::send;
use super::common::victim::Mode;
use super::{Program, Row, command, gone, within};

pub const ROWS: &[Row] = &[
    ("exit code 128+n after signal n", |program| {
        let code = |mode| program.start(mode, &[], &["sh", "-c", "kill -9 $$"]).code();
        Mode::PID1_AND_NOT.map(code) == [137, 137]
    }),
    ("126 and 127 when the command cannot be executed", |program| {
        ["/etc/passwd", "/nope"].map(|command| program.start(Mode::Pid1, &[], &[command]).code())
            == [126, 127]
    }),
    ("what called setsid gets TERM before the end", |program| {
        let mut victim = leaves_behind(program, Mode::Pid1);
        victim.code();
        victim.read("journal").matches("got 15").count() == 3
    }),
    ("nothing is left behind, below another process too", |program| {
        let mut victim = leaves_behind(program, Mode::Tree);
        victim.code();
        victim.live().is_empty()
    }),
    ("can live until the last descendant is gone", |program| {
        let script = "(sleep 0.3; echo last) & exit 7";
        let mut victim = program.start(Mode::Pid1, &["--wait", "all"], &["sh", "-c", script]);
        victim.code() == 7 && victim.stdout() == "last\n"
    }),
    ("a command that ignores TERM is ended after a window", |program| {
        let options = ["--grace", "200ms", "--kill-after", "200ms"];
        let mut victim = program.start(Mode::Tree, &options, &[&helper("ignores_term")]);
        victim.says("ready");
        victim.signal(15);
        within(|| gone(victim.pid()))
    }),
    ("a repeated TERM hurries", |program| {
        let mut victim = program.start(Mode::Tree, &[], &[&helper("ignores_term")]);
        victim.says("ready");
        within(|| {
            // Once it is dead, and not reaped yet, this changes nothing.
            let _ = send(victim.pid(), 15);
            gone(victim.pid())
        })
    }),
    ("can stop in several steps", |program| {
        let options = ["--stop-sequence", "USR1:200ms,USR2:100s"];
        let mut victim = program.start(Mode::Tree, &options, &[&helper("prints_signals"), "12"]);
        victim.says("ready");
        victim.signal(15);
        within(|| victim.stdout() == "ready\n10\n12\n")
    }),
    ("its own death takes the command with it", |program| {
        let victim = program.start(Mode::Tree, &[], &["sleep", "1000"]);
        let main = command(&victim, "sleep");
        victim.signal(9);
        within(|| gone(main))
    }),
];

/// A main process that leaves three daemons behind.
fn leaves_behind(program: Program, mode: Mode) -> super::Victim {
    let plan = program.plan(mode);
    let journal = format!("journal={}", plan.path("journal"));
    plan.run([helper("leaves_behind").as_str(), &journal, "shape=setsid", "main=exits"])
}
