//! `docker run -it`: the keys are typed into a shell with job control, and go through the engine's client.

use crate::common::pty::Shell;
use crate::engine::Engine;
use crate::image::Root;

/// Under which sexton is in the image.
const NAMES: [&str; 4] = ["sexton", "tini", "dumb-init", "catatonit"];

/// A shell with a terminal, whose `$R` runs a command under sexton in a container with a terminal of its own.
fn shell() -> Option<(Engine, Shell)> {
    Engine::start().map(shell_at)
}

fn shell_at(engine: Engine) -> (Engine, Shell) {
    let root = Root::new();
    for name in NAMES.iter().skip(1) {
        root.link("sexton", &format!("usr/bin/{name}"));
    }
    engine.image("small", &root, &[r#"ENTRYPOINT ["sexton", "--"]"#]);
    let mut shell = Shell::start();
    shell.line(&format!("export DOCKER_HOST={}", engine.host()));
    shell.line("R='docker run --rm --network none --interactive --tty small'; echo set$((1))");
    shell.sees("set1");
    (engine, shell)
}

#[test]
fn keys_reach_the_command_and_its_exit_code_comes_back() {
    if let Some((_engine, mut shell)) = shell() {
        keys_reach(&mut shell);
    }
}

#[test]
fn so_they_do_with_cgroups_of_version_1() {
    if let Some((_engine, mut shell)) = Engine::start_v1().map(shell_at) {
        keys_reach(&mut shell);
    }
}

fn keys_reach(shell: &mut Shell) {
    shell.line("$R sh -c 'read word; echo \"got <$word>\"; exit 7'; echo code=$?");
    shell.line("hello");
    shell.sees("got <hello>");
    shell.sees("code=7");
    shell.line("$R sh -c 'echo ready; exec sleep 1000'; echo code=$?");
    shell.sees("ready");
    shell.keys("\x03");
    shell.sees("code=130");
    for (command, code) in [("nope", 127), ("/etc/passwd", 126), ("sh -c 'kill -9 $$'", 137)] {
        shell.line(&format!("$R {command}; echo code=$?"));
        shell.sees(&format!("code={code}"));
    }
}

#[test]
fn ctrl_z_stops_nobody_where_no_shell_could_resume_them() {
    let Some((_engine, mut shell)) = shell() else { return };
    // Both while sexton has the terminal and when the command has it.
    shell.line("$R sh -c 'echo ready; sleep 1; read word; echo \"got <$word>\"; read word; echo \"got <$word>\"'; echo code=$?");
    shell.sees("ready");
    shell.keys("\x1a");
    shell.line("one");
    shell.sees("got <one>");
    shell.keys("\x1a");
    shell.line("two");
    shell.sees("got <two>");
    shell.sees("code=0");
}

#[test]
fn an_interactive_shell_in_the_container_has_job_control() {
    let Some((_engine, mut shell)) = shell() else { return };
    for name in NAMES {
        interactive(&mut shell, name);
    }
}

/// Starts an interactive bash in a container, below sexton under this name.
fn open(shell: &mut Shell, name: &str) {
    shell.line(&format!(
        "${{R/small/--entrypoint {name} small --}} bash --norc --noprofile --noediting -i; echo code=$?"
    ));
    shell.line("PS1='inner> '; stty -echo; echo in$((1))");
    shell.sees("in1");
}

/// A job that says when it has begun, and when it goes on after a stop: from then on it has the keys.
const JOB: &str = r#"'trap "echo resumed" CONT; sleep 1000 & echo set; while :; do wait; done'"#;

fn interactive(shell: &mut Shell, name: &str) {
    open(shell, name);
    shell.line(&format!("bash -c {JOB}"));
    shell.sees("set");
    stops_and_goes_on(shell);
    shell.line("exit 9");
    shell.sees("code=9");
}

/// Ctrl-Z stops the job, the shell has the terminal, `fg` resumes it, and Ctrl-C ends it.
fn stops_and_goes_on(shell: &mut Shell) {
    shell.keys("\x1a");
    shell.sees("Stopped");
    shell.line("jobs; echo listed$((1))");
    shell.sees("Stopped");
    shell.sees("listed1");
    shell.line("fg");
    shell.sees("resumed\r\n");
    shell.keys("\x03");
    shell.line("echo ended=$?");
    shell.sees("ended=130");
}

#[test]
fn as_a_job_of_a_shell_in_the_container_it_behaves_as_in_any_terminal() {
    let Some((_engine, mut shell)) = shell() else { return };
    open(&mut shell, "sexton");
    shell.line("S='sexton --control off --'; export S; $S sh -c 'read word; echo \"got <$word>\"'");
    shell.line("hello");
    shell.sees("got <hello>");
    shell.line(&format!("$S sh -c {JOB}"));
    shell.sees("set");
    stops_and_goes_on(&mut shell);
    // In the background it takes the terminal from no process, and is stopped as a whole if it wants to read.
    shell.line("$S sh -c 'echo there; exec sleep 1000' & sleep 0; echo here");
    shell.sees("there");
    shell.line("kill %1; wait; echo mine$((1))");
    shell.sees("mine1");
    shell.line("$S sh -c 'read word; echo \"got <$word>\"' &");
    shell.line("until jobs | grep -q Stopped; do sleep 0.1; done; echo waits$((1))");
    shell.sees("waits1");
    shell.line("fg");
    shell.line("late");
    shell.sees("got <late>");
    shell.line("stty tostop; $S sh -c 'exit 3' & wait $!; echo code=$?; stty -tostop");
    shell.sees("code=3");
    shell.line("setsid --wait $S sh -c 'exit 5'; echo code=$?");
    shell.sees("code=5");
    // Without job control in between, as bash would repair the modes itself.
    let look = "echo mode=$(stty -a | grep -wo -e -echo -e echo).";
    shell.line(&format!(
        "stty echo; bash --norc --noprofile +m -c '$S sh -c \"stty -echo; kill -9 \\$\\$\"; {look}'; stty -echo"
    ));
    shell.sees("mode=echo.");
    shell.line("exit 9");
    shell.sees("code=9");
}

#[test]
fn a_new_window_size_reaches_the_command() {
    let Some((_engine, mut shell)) = shell() else { return };
    let script = "trap \"stty size\" WINCH; echo ready; while :; do sleep 0.1; done";
    shell.line(&format!("$R bash -c '{script}'; echo code=$?"));
    shell.sees("ready");
    // The engine's client looks at the size when it begins, and only some time later at the signal.
    let second = std::time::Duration::from_secs(1);
    let told = (33..63).any(|rows| {
        shell.resize(rows);
        shell.sees_within(second, &format!("{rows} 100"))
    });
    assert!(told, "the command sees the new size");
    shell.keys("\x03");
    shell.sees("code=130");
}
