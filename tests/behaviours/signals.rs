//! Signals on their way to the command.

use super::common::helper;
use super::common::process::{queue, send};
use super::common::victim::{Mode, Plan};
use super::{Program, Row, within};

pub const ROWS: &[Row] = &[
    ("a real-time signal keeps its value", |program| {
        let mut victim = program.start(Mode::Tree, &[], &[&helper("prints_signals"), "40"]);
        victim.says("ready");
        queue(victim.pid(), 40, 7).unwrap();
        victim.code();
        victim.stdout().contains("40 7")
    }),
    ("a signal can be rewritten or dropped", |program| {
        let options: &[&str] = match program {
            Program::Sexton => &["--rewrite", "HUP:0", "--rewrite", "TERM:QUIT"],
            Program::DumbInit => &["-r", "1:0", "-r", "15:3"],
            Program::Tini | Program::Catatonit => return false,
        };
        let plan = options.iter().fold(program.plan(Mode::Tree), |plan, option| plan.options([*option]));
        let mut victim = plan.run([helper("prints_signals"), "3".to_owned()]);
        victim.says("ready");
        victim.signal(1);
        victim.signal(15);
        within(|| victim.stdout() == "ready\n3\n")
    }),
    ("a signal can be held before it is passed on", |program| {
        let options = ["--delay", "TERM=300ms"];
        let mut victim = program.start(Mode::Tree, &options, &[&helper("prints_signals"), "15"]);
        victim.says("ready");
        victim.signal(15);
        // Sent later and of a higher number, so that it is always the second one that is passed on.
        victim.signal(28);
        within(|| victim.stdout() == "ready\n28\n15\n")
    }),
    ("RTMIN+3, the halt signal, is a stop", |program| {
        let options = ["--grace", "200ms", "--kill-after", "200ms"];
        let mut victim = program.start(Mode::Tree, &options, &[&helper("ignores_term")]);
        victim.says("ready");
        victim.signal(37);
        within(|| super::gone(victim.pid()))
    }),
    ("ignored signals (nohup) and the mask stay, and nothing is added", |program| {
        let of = |plan: Plan| {
            let plan = plan.born(["ignore=1", "block=10"]);
            let mut victim = plan.run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
            (victim.code() == 0).then(|| victim.stdout())
        };
        let without = of(program.plan(Mode::Tree).without_sexton());
        without.is_some() && of(program.plan(Mode::Tree)) == without
    }),
    ("in a shared pid namespace, the neighbours are left alone", |program| {
        let mut neighbour = program.start(Mode::Tree, &[], &[&helper("prints_signals"), "12"]);
        neighbour.says("ready");
        let options = ["--grace", "100ms", "--kill-after", "100ms"];
        let mut victim = program.start(Mode::Tree, &options, &[&helper("prints_signals"), "15"]);
        victim.says("ready");
        victim.signal(15);
        let ended = victim.code() == 0;
        send(neighbour.pid(), 12).unwrap();
        ended && neighbour.code() == 0 && neighbour.stdout() == "ready\n12\n"
    }),
];
