//! Terminals and job control: an interactive bash is the outer party, and keys are typed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use common::process::{children, look, send};
use common::pty::Shell;
use common::{NEVER, helper, wait_until};

fn stopped(pid: i32) -> bool {
    look(pid).is_some_and(|process| process.state == 'T')
}

#[test]
fn the_foreground_is_given_to_a_command_that_reads() {
    let mut shell = Shell::start();
    shell.line("$S -- sh -c 'read word; echo \"got <$word>\"'");
    shell.line("hello");
    shell.sees("got <hello>");
    shell.line("echo code=$?");
    shell.sees("code=0");
}

#[test]
fn ctrl_c_ends_the_command_and_its_code_comes_back() {
    let mut shell = Shell::start();
    shell.line("$S -- sleep 1000; echo code=$?");
    shell.main();
    shell.keys("\x03");
    shell.sees("code=130");
    // bash goes on after an interrupt that its own command did not get.
    shell.line("$S -- bash -c 'echo set; while :; do sleep 1000; done'; echo code=$?");
    shell.sees("set");
    let main = shell.main().pid;
    let sleeps = || children(main).iter().any(|child| child.name == "sleep");
    wait_until("the script's command runs", sleeps);
    shell.keys("\x03");
    shell.sees("code=130");
}

#[test]
fn ctrl_z_stops_both_sides_and_fg_resumes_both() {
    let mut shell = Shell::start();
    // A stop in the middle of a vfork(2), as dash forks, hangs below any shell: this one has no need to fork.
    let script = "trap \"echo resumed\" CONT; sleep 1000 & echo set; while :; do wait; done";
    shell.line(&format!("$S -- sh -c '{script}'"));
    shell.sees("set");
    let (init, main) = (shell.init().pid, shell.main().pid);
    for _ in 0..2 {
        shell.keys("\x1a");
        wait_until("both are stopped", || stopped(init) && stopped(main));
        shell.sees("Stopped");
        shell.line("fg");
        shell.sees("resumed");
        wait_until("both go on", || !stopped(init) && !stopped(main));
    }
    shell.keys("\x03");
    wait_until("it is gone", || look(init).is_none());
}

#[test]
fn ctrl_z_stops_both_sides_under_dumb_inits_name_too() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("dumb-init");
    std::os::unix::fs::symlink(common::sexton(), &name).unwrap();
    let mut shell = Shell::of(name.to_str().unwrap());
    // In a session of its own no key reaches the command, and it has no terminal to read from.
    shell.line("$S -- sh -c 'trap \"echo resumed\" CONT; sleep 1000 & echo set; while :; do wait; done'");
    shell.sees("set");
    let (init, main) = (shell.init().pid, shell.main().pid);
    shell.keys("\x1a");
    wait_until("both are stopped", || stopped(init) && stopped(main));
    shell.sees("Stopped");
    shell.line("fg");
    shell.sees("resumed");
    wait_until("both go on", || !stopped(init) && !stopped(main));
    shell.keys("\x03");
    wait_until("it is gone", || look(init).is_none());
}

#[test]
fn writing_from_the_background_never_stops_us() {
    let mut shell = Shell::start();
    // With this mode, a write from the background stops the writer by SIGTTOU; the log is written there.
    shell.line("stty tostop; $S -vv -- sh -c 'exit 3' & wait $!; echo code=$?; stty -tostop");
    shell.sees("the main process has ended");
    shell.sees("code=3");
}

#[test]
fn without_any_terminal_it_runs_all_the_same() {
    let mut shell = Shell::start();
    shell.line("setsid --wait $S -vv -- sh -c 'true </dev/tty && exit 1; exit 5' 2>log; echo code=$?");
    shell.sees("code=5");
    let log = std::fs::read_to_string(shell.path("log")).unwrap();
    assert!(!log.contains(" WARN ") && log.contains("code=5"), "{log}");
}

#[test]
fn ctrl_z_stops_a_command_that_holds_the_terminal_too() {
    let mut shell = Shell::start();
    shell.line("$S -- cat");
    let (init, main) = (shell.init().pid, shell.main().pid);
    shell.line("one");
    shell.sees("one");
    wait_until("the command has the terminal", || shell.foreground() == main);
    shell.keys("\x1a");
    wait_until("both are stopped", || stopped(init) && stopped(main));
    shell.sees("Stopped");
    shell.line("fg");
    wait_until("the command has the terminal again", || shell.foreground() == main);
    shell.line("two");
    shell.sees("two");
    shell.keys("\x04");
    wait_until("it is gone", || look(init).is_none());
    shell.line("echo code=$?");
    shell.sees("code=0");
}

#[test]
fn a_background_start_stays_in_the_background() {
    let mut shell = Shell::start();
    shell.line("$S -- sh -c 'echo there; exec sleep 1000' &");
    shell.sees("there");
    assert_eq!(shell.foreground(), shell.pid(), "the terminal is the shell's");
    // One that reads is stopped as a whole, and takes the terminal from no process.
    shell.line("kill %1; wait; $S -- sh -c 'read word; echo \"got <$word>\"' & echo behind");
    shell.sees("behind");
    let (init, main) = (shell.init().pid, shell.main().pid);
    wait_until("both wait", || stopped(init) && stopped(main));
    assert_eq!(shell.foreground(), shell.pid());
    shell.line("fg %%");
    wait_until("it has the terminal", || shell.foreground() == main);
    shell.line("late");
    shell.sees("got <late>");
}

#[test]
fn a_new_window_size_reaches_the_command() {
    let mut shell = Shell::start();
    shell.line("$S -- sh -c 'trap \"echo winch; stty size </dev/tty\" WINCH; echo set; while :; do sleep 0.05; done'");
    shell.sees("set");
    shell.resize(33);
    shell.sees("winch");
    shell.keys("\x03");
}

#[test]
fn a_hang_up_reaches_the_command() {
    let mut shell = Shell::start();
    let note = shell.path("note").into_os_string().into_string().unwrap();
    shell.line(&format!(
        "$S -- sh -c 'trap \"echo hup >{note}; exit\" HUP; echo set; while :; do sleep 0.05; done'"
    ));
    shell.sees("set");
    shell.line_hung_up();
    wait_until("it has noted the hang-up", || {
        std::fs::read_to_string(&note).is_ok_and(|text| text.contains("hup"))
    });
}

/// Starts this line in a terminal of its own, waits until `out` says ready, and has the terminal go away.
fn hung_up(line: &str) -> Shell {
    let mut shell = Shell::task(line);
    wait_until("it is ready", || said(&shell).starts_with("ready\n"));
    shell.line_hung_up();
    shell
}

fn said(shell: &Shell) -> String {
    std::fs::read_to_string(shell.path("out")).unwrap_or_default()
}

const DEAF: &str = "sh -c 'trap \"\" HUP; echo ready >out; while :; do sleep 0.05; done'";

#[test]
fn a_terminal_that_is_gone_is_a_stop() {
    let prints = helper("prints_signals");
    for log in ["", "2>log"] {
        // Who lives on after a HUP is on the ladder.
        let line = format!("exec $S --grace 100ms --kill-after 100ms -- {prints} >out {log}");
        let mut shell = hung_up(&line);
        assert_eq!(shell.ends(), 128 + 9, "{log:?}");
        assert!(
            said(&shell).starts_with("ready\n1\n") && said(&shell).contains("\n15\n"),
            "{}",
            said(&shell)
        );
        // Who ignores it is asked by TERM, and not only when its window is over.
        let mut shell = hung_up(&format!("exec $S --grace {NEVER} -- {DEAF} {log}"));
        assert_eq!(shell.ends(), 128 + 15, "{log:?}");
    }
}

#[test]
fn a_job_of_a_shell_whose_terminal_is_gone_ends() {
    let mut shell = Shell::start();
    shell.line(&format!("$S --grace {NEVER} -- {DEAF}"));
    let (init, main) = (shell.init().pid, shell.main().pid);
    wait_until("it is ready", || said(&shell) == "ready\n");
    shell.line_hung_up();
    wait_until("both are gone", || look(init).is_none() && look(main).is_none());
}

#[test]
fn a_hang_up_is_no_stop_while_the_terminal_is_there() {
    let prints = helper("prints_signals");
    let mut shell = Shell::task(&format!("exec $S --grace 0s -- {prints} 28 >out"));
    wait_until("it is ready", || said(&shell) == "ready\n");
    for signal in [1, 28] {
        send(shell.pid(), signal).unwrap();
    }
    assert_eq!(shell.ends(), 0);
    assert_eq!(said(&shell), "ready\n1\n28\n");
}

#[test]
fn who_asked_to_stay_stays_when_the_terminal_is_gone() {
    let prints = helper("prints_signals");
    let named = |name: &str| {
        format!("ln -s $S {name}; SEXTON_GRACE=0s exec ./{name} -- {prints} 28 >out 2>/dev/null </dev/null")
    };
    let nohup = format!("exec nohup $S --grace 0s -- {prints} 28 >out 2>/dev/null </dev/null");
    for line in [nohup, named("tini"), named("catatonit")] {
        let mut shell = hung_up(&line);
        // What came before it is heard before it.
        send(shell.pid(), 28).unwrap();
        assert_eq!(shell.ends(), 0, "{line}");
        let said = said(&shell);
        assert!(said.starts_with("ready\n1\n") && !said.contains("15"), "{line}: {said}");
    }
}

#[test]
fn an_interactive_shell_has_job_control() {
    let mut shell = Shell::start();
    shell.line("$S -- bash --norc --noprofile --noediting -i");
    let (init, inner) = (shell.init().pid, shell.main().pid);
    // What is typed before the inner shell has taken the terminal may be lost.
    wait_until("the inner shell has the terminal", || shell.foreground() == inner);
    shell.line("echo in$((1))");
    shell.sees("in1");
    shell.line("sleep 1000");
    // Until it executes its command, the job has the shell's own actions, to which Ctrl-Z is nothing.
    let job = || children(inner).into_iter().find(|job| job.name == "sleep");
    wait_until("the inner job runs", || job().is_some_and(|job| shell.foreground() == job.pid));
    shell.keys("\x1a");
    shell.sees("Stopped");
    wait_until("the inner shell has the terminal", || shell.foreground() == inner);
    assert!(!stopped(init) && !stopped(inner), "only the inner job is stopped");
    // In the foreground again it has the terminal, so that Ctrl-C ends it and no other process.
    shell.line("fg");
    wait_until("the inner job has the terminal", || job().is_some_and(|job| shell.foreground() == job.pid));
    shell.keys("\x03");
    wait_until("the inner shell has the terminal", || shell.foreground() == inner && job().is_none());
    shell.line("exit 9");
    wait_until("it is gone", || look(init).is_none());
    shell.line("echo code=$?");
    shell.sees("code=9");
}

#[test]
fn the_modes_are_restored_after_a_crash_and_kept_after_an_end() {
    // The outer party has no job control here, because bash would repair the modes itself.
    let mut shell = Shell::start();
    let look = "echo mode=$(stty -a | grep -wo -e -echo -e echo).";
    shell.line(&format!(
        "stty echo; bash --norc --noprofile +m -c '$S -- sh -c \"stty -echo; kill -9 \\$\\$\"; {look}'; stty -echo"
    ));
    shell.sees("mode=echo.");
    shell.line(&format!("stty echo; bash --norc --noprofile +m -c '$S -- sh -c \"stty -echo\"; {look}'"));
    shell.sees("mode=-echo.");
}

#[test]
fn a_sexton_below_a_sexton_gets_the_terminal() {
    let mut shell = Shell::task("$S -- $S -- sh -c 'read word; echo \"got <$word>\"'; echo code=$?");
    shell.line("hello");
    shell.sees("got <hello>");
    shell.sees("code=0");
}

/// How often this process and all below it have left the processor.
fn switches(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let fields = status.lines().filter(|line| line.contains("ctxt_switches"));
    let own: u64 = fields.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum();
    own + children(pid).iter().map(|child| switches(child.pid)).sum::<u64>()
}

#[test]
fn a_tool_reads_from_the_terminal_below_every_pair_of_sextons_and_nobody_spins() {
    let names = "for name in tini catatonit dumb-init sexton-sh; do ln -s $S $name; done";
    let reads = "read word </dev/tty; echo \"got <$word>\"";
    let inner = ["$S tool -- sh -c", "$S -- sh -c", "./sexton-sh -c", "./tini -- sh -c"];
    // dumb-init's command has a session of its own, unless it is told not to.
    let outer =
        ["$S --", "$S tool --", "./tini --", "./catatonit --", "./dumb-init -c --", "$S --tool-shell --"];
    for outer in outer {
        for inner in inner {
            let mut shell = Shell::task(&format!("{names}; {outer} {inner} '{reads}'; echo code=$?"));
            let reader = || {
                let group = shell.foreground();
                // sexton-sh runs bash, as the task's leader is one.
                let name = look(group).map(|leader| leader.name);
                group != shell.pid() && name.is_some_and(|name| name == "sh" || name == "bash")
            };
            wait_until(&format!("{outer} {inner}: it has the terminal"), reader);
            let spent = switches(shell.pid());
            shell.line("hello");
            shell.sees("got <hello>");
            shell.sees("code=0");
            assert!(spent < 1000, "{outer} {inner}: {spent} switches");
        }
    }
}

#[test]
fn a_tool_sets_the_terminals_modes_below_a_sexton() {
    let names = "for name in tini catatonit sexton-sh; do ln -s $S $name; done";
    for outer in ["$S --", "$S tool --", "./tini --", "./catatonit --"] {
        for inner in ["$S tool -- stty sane", "$S -- stty sane", "./sexton-sh -c \"stty sane </dev/tty\""] {
            let mut shell = Shell::task(&format!("{names}; {outer} {inner}; echo code=$?"));
            shell.sees("code=0");
        }
    }
}

/// What the terminal shows from the start of this command to its end.
fn shown(command: &str) -> String {
    let mut shell = Shell::task(&format!("stty icanon echo; {command}; stty icanon echo; echo ended=$?"));
    shell.sees_until("ended=")
}

/// Mouse and focus reporting, bracketed paste and the alternate screen off, the cursor on.
const OFF: &str = "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\
                   \x1b[?2004l\x1b[?1047l\x1b[?25h";

#[test]
fn what_a_full_screen_program_switched_on_is_off_after_its_death_by_a_signal() {
    for death in ["kill -9 $$", "kill -15 $$"] {
        let seen = shown(&format!("$S -- sh -c 'stty -icanon -echo; echo on; {death}'"));
        assert!(seen.ends_with(&format!("on\r\n{OFF}")), "{death}: {seen:?}");
    }
    // It was none, or it has ended by itself and may have meant what it left; or it was somebody else's.
    for command in [
        "$S -- sh -c 'stty -echo; kill -9 $$'",
        "$S -- sh -c 'stty -icanon; exit 1'",
        "mkfifo up go; $S -- sh -c 'echo >up; read word <go; kill -9 $$' & read word <up; stty -icanon; echo >go; wait",
    ] {
        let seen = shown(command);
        assert!(!seen.contains('\x1b'), "{command}: {seen:?}");
    }
}

#[test]
fn a_terminal_whose_output_is_held_up_holds_nobody_up() {
    let mut shell = Shell::task(
        "mkfifo go; exec $S -- sh -c 'stty -icanon; echo up >up; read word <go; kill -9 $$' 2>/dev/null",
    );
    wait_until("it is in raw mode", || shell.path("up").exists());
    shell.hold_output();
    std::fs::write(shell.path("go"), "\n").unwrap();
    assert_eq!(shell.ends(), 128 + 9);
}

#[test]
fn whose_command_never_had_the_terminal_does_not_reset_its_modes() {
    // Without job control, all three are in one group. The modes are changed when they have been seen.
    let mut shell = Shell::task(
        "stty echo; mkfifo up go; $S -- sh -c 'echo >up; read word <go; kill -9 $$' & read word <up; stty -echo; \
         echo >go; wait; echo mode=$(stty -a | grep -wo -e -echo -e echo).",
    );
    shell.sees("mode=-echo.");
}
