//! `output = "prefix"`: whole lines with names, whatever reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::libc::SIGTERM;

use super::common::pty::Shell;
use super::common::victim::{Mode, Victim};
use super::common::{SHORT_TIMEOUT, log, wait_until};
use super::{configured, lines};

/// Writes this many lines of ten kilobytes, each of one letter, and then one without an end.
fn floods(letter: char, count: usize) -> String {
    format!(
        "['sh', '-c', '''line=$(head -c 10239 /dev/zero | tr '\\0' {letter}); \
         for i in $(seq {count}); do echo $line; done; printf %s {letter}end; echo x >>DIR/done; exec sleep 1000''']"
    )
}

fn run_into_one_pipe(mode: Mode, config: &str) -> Option<(Victim, OwnedFd)> {
    let (plan, _) = configured(mode, config)?;
    let fifo = plan.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let begins = format!("exec \"$@\" >'{fifo}' 2>&1");
    let victim = plan.through(["sh", "-c", &begins, "sh"]).run_as_typed([] as [&str; 0]);
    let reader = File::open(&fifo).unwrap();
    Some((victim, reader.into()))
}

#[test]
fn lines_of_several_writers_are_whole_and_named() {
    const COUNT: usize = 60;
    for mode in Mode::PID1_AND_NOT {
        let config = format!(
            "output = 'prefix'\ncommand = {}\n\
             [units.a]\noutput = 'prefix'\ncommand = {}\n[units.bb]\noutput = 'prefix'\ncommand = {}\n\
             [units.longest-name]\noutput = 'prefix'\ncommand = {}\n",
            floods('g', COUNT),
            floods('a', COUNT),
            floods('b', COUNT),
            floods('l', COUNT),
        );
        let Some((mut victim, reader)) = run_into_one_pipe(mode, &config) else { return };
        let reads = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            File::from(reader).read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        lines(&victim, "done", 4);
        victim.signal(SIGTERM);
        victim.ends_with(143);
        let said = reads.join().unwrap();
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for line in said.lines() {
            let (name, rest) = line.split_once(" | ").unwrap_or_else(|| panic!("{:.80}", line));
            assert_eq!(name.len(), "longest-name".len(), "names stand in one column");
            let letter = name.chars().next().unwrap();
            let whole = rest.len() == 10_239 && rest.chars().all(|one| one == letter);
            assert!(whole || rest == format!("{letter}end"), "{name}: {} bytes: {rest:.80}", rest.len());
            *counted.entry(name.trim_end()).or_default() += 1;
        }
        let each = COUNT + 1;
        let expected = [("a", each), ("bb", each), ("gateway", each), ("longest-name", each)];
        assert_eq!(counted, BTreeMap::from(expected), "none is lost, the last ones included");
    }
}

#[test]
fn a_long_line_is_one_line_beside_others() {
    for mode in Mode::PID1_AND_NOT {
        let line = |letter: char, size: usize| {
            format!(
                "['sh', '-c', 'head -c {size} /dev/zero | tr \"\\\\0\" {letter}; echo; echo x >>DIR/done; exec sleep 1000']"
            )
        };
        let config = format!(
            "output = 'prefix'\ncommand = {}\n[units.a]\noutput = 'prefix'\ncommand = {}\n",
            line('g', 1_000_000),
            line('a', 70_000),
        );
        let Some((mut victim, reader)) = run_into_one_pipe(mode, &config) else { return };
        let reads = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            File::from(reader).read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        lines(&victim, "done", 2);
        victim.signal(SIGTERM);
        victim.ends_with(143);
        let said = reads.join().unwrap();
        let mut sizes: Vec<(&str, usize)> = said
            .lines()
            .filter_map(|line| line.split_once(" | "))
            .map(|(name, rest)| (name, rest.len()))
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [("a      ", 70_000), ("gateway", 1_000_000)]);
    }
}

#[test]
fn a_prompt_is_shown_before_its_line_ends() {
    let mut shell = Shell::start();
    let config = "output = 'prefix'\ncommand = ['sh', '-c', 'printf Name:; read answer; echo got $answer']\n";
    std::fs::write(shell.path("sexton.toml"), config).unwrap();
    shell.line("NO_COLOR=1 $S; echo code $?");
    shell.sees("gateway | Name:");
    shell.line("x");
    shell.sees("got x");
    shell.sees("code 0");
}

#[test]
fn the_output_of_a_unit_that_dies_is_complete_and_codes_pass_through() {
    for mode in Mode::PID1_AND_NOT {
        let config = "output = 'prefix'\ncommand = ['sh', '-c', 'while [ ! -e DIR/dead ]; do sleep 0.01; done; \
                      echo last >&2; exit 9']\n\
                      [units.a]\noutput = 'prefix'\ncommand = ['sh', '-c', 'seq 2000; printf end; touch DIR/dead; \
                      kill -9 $$']\n";
        let Some((plan, _)) = configured(mode, config) else { return };
        let mut victim = plan.run_as_typed([] as [&str; 0]);
        victim.ends_with(9);
        let said = victim.stdout();
        let of_unit: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("a       | ")).collect();
        assert_eq!((of_unit.len(), of_unit[0], of_unit[2000]), (2001, "1", "end"), "{said}");
        assert!(victim.stderr().lines().any(|line| line == "gateway | last"), "{}", victim.stderr());
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up_but_the_writers() {
    for mode in Mode::PID1_AND_NOT {
        let config = format!(
            "output = 'prefix'\nkill_after = '300ms'\ngrace = '300ms'\ncommand = {}\n\
             [units.a]\noutput = 'prefix'\ngrace = '300ms'\nkill_after = '300ms'\ncommand = {}\n",
            floods('g', 1000),
            floods('a', 1000),
        );
        let Some((mut victim, _reader)) = run_into_one_pipe(mode, &config) else { return };
        wait_until("both are stuck", || {
            let stuck = |name: &str| {
                victim.live().iter().filter(|one| one.name == name && one.state == 'S').count() == 2
            };
            stuck("sh")
        });
        let begun = Instant::now();
        victim.signal(SIGTERM);
        victim.ends_with(143);
        assert!(begun.elapsed() < SHORT_TIMEOUT);
    }
}

#[test]
fn names_have_a_colour_on_a_terminal_alone() {
    for (variables, coloured) in [("", true), ("NO_COLOR=1 ", false)] {
        let mut shell = Shell::start();
        let config = "output = 'prefix'\ncommand = ['sh', '-c', 'echo hello; echo oops >&2']\n";
        std::fs::write(shell.path("sexton.toml"), config).unwrap();
        shell.line(&format!("{variables}$S; echo code $?"));
        if coloured {
            shell.sees("\x1b[");
            shell.sees("mgateway |\x1b[0m ");
        } else {
            shell.sees("gateway | ");
        }
        shell.sees("code 0");
        shell.line(&format!("{variables}$S | cat; echo code $?"));
        shell.sees("gateway | hello");
        shell.sees("code 0");
    }
    let _ = log::json("");
}
