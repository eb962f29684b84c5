//! Terminals: a shell with job control is the outer party, and keys are typed.

use super::common::process::look;
use super::{Row, within};

fn stopped(pid: i32) -> bool {
    look(pid).is_some_and(|process| process.state == 'T')
}

pub const ROWS: &[Row] = &[
    ("a command that reads from the terminal gets it", |program| {
        let mut shell = program.shell();
        shell.line("$S -- sh -c 'read word; echo \"got <$word>\"'");
        shell.line("hello");
        shell.sees_within(super::limit(), "got <hello>")
    }),
    ("Ctrl-C ends the whole job", |program| {
        let mut shell = program.shell();
        shell.line("$S -- bash -c 'echo armed; while :; do sleep 1000; done'; echo code=$?");
        shell.sees("armed");
        let main = shell.main().pid;
        let sleeps = || super::children(main).iter().any(|child| child.name == "sleep");
        super::common::wait_until("the script's command runs", sleeps);
        shell.keys("\x03");
        shell.sees_within(super::limit(), "code=130")
    }),
    ("Ctrl-Z stops both sides, and fg resumes both", |program| {
        let mut shell = program.shell();
        shell.line("$S -- sleep 1000");
        let (init, main) = (shell.init().pid, shell.main().pid);
        shell.keys("\x1a");
        if !within(|| stopped(init) && stopped(main)) {
            return false;
        }
        shell.sees("Stopped");
        shell.line("fg");
        within(|| !stopped(init) && !stopped(main))
    }),
    ("a background start leaves the terminal alone", |program| {
        let mut shell = program.shell();
        shell.line("$S -- sh -c 'echo there; exec sleep 1000' &");
        shell.sees("there");
        shell.foreground() == shell.pid()
    }),
    ("in the background, one that reads waits for fg as a whole", |program| {
        let mut shell = program.shell();
        shell.line("$S -- sh -c 'read word; echo \"got <$word>\"' & echo behind");
        shell.sees("behind");
        let (init, main) = (shell.init().pid, shell.main().pid);
        if !within(|| stopped(init) && stopped(main)) || shell.foreground() != shell.pid() {
            return false;
        }
        shell.line("fg");
        shell.line("late");
        shell.sees_within(super::limit(), "got <late>")
    }),
    ("SIGTTOU never stops it", |program| {
        let mut shell = program.shell();
        // With this mode a write from the background does, and changing the terminal does at any time.
        shell.line("stty tostop; $S -- sh -c 'exit 3' & wait $!; echo code=$?; stty -tostop");
        shell.sees_within(super::limit(), "code=3")
    }),
    ("a new window size reaches the command", |program| {
        let mut shell = program.shell();
        shell.line("$S -- bash -c 'trap \"stty size\" WINCH; echo armed; while :; do sleep 0.05; done'");
        shell.sees("armed");
        shell.resize(33);
        shell.sees_within(super::limit(), "33 100")
    }),
    ("a hang-up reaches the command", |program| {
        let mut shell = program.shell();
        let note = shell.path("note");
        let script = format!(
            "trap \"echo hup >{}; exit\" HUP; echo armed; while :; do sleep 0.05; done",
            note.display()
        );
        shell.line(&format!("$S -- bash -c '{script}'"));
        shell.sees("armed");
        shell.line_hung_up();
        within(|| std::fs::read_to_string(&note).is_ok_and(|text| text == "hup\n"))
    }),
    ("an interactive shell has job control", |program| {
        let mut shell = program.shell();
        shell.line("$S -- bash --norc --noprofile --noediting -i");
        let inner = shell.main().pid;
        if !within(|| shell.foreground() == inner) {
            return false;
        }
        shell.line("bash -c 'echo ready; exec sleep 1000'");
        shell.sees("ready");
        shell.keys("\x1a");
        shell.sees_within(super::limit(), "Stopped")
    }),
    ("without a terminal it runs all the same", |program| {
        let mut shell = program.shell();
        shell.line("setsid --wait $S -- sh -c 'exit 5'; echo code=$?");
        shell.sees_within(super::limit(), "code=5")
    }),
    ("the terminal's modes are restored after a crash", |program| {
        let mut shell = program.shell();
        // The shell in between has no job control, because bash would repair the modes itself.
        shell.line(
            "stty echo; bash --norc --noprofile +m -c \
             '$S -- sh -c \"stty -echo; kill -9 \\$\\$\"; echo mode=$(stty -a | grep -wo -e -echo -e echo).'; stty -echo",
        );
        shell.sees_within(super::limit(), "mode=echo.")
    }),
];
