//! What is started and stopped when, and what the end of a unit means.

use std::time::{Duration, Instant};

use nix::libc::{SIGKILL, SIGTERM};

use super::common::process::{children, look, send};
use super::common::pty::Shell;
use super::common::victim::Mode;
use super::common::{SHORT_TIMEOUT, helper, log, root, skip, wait_until};
use super::{ask, begin, configured, lines, named, status, text};

/// Writes its name when it begins and when it ends.
const TELLS: &str = r#"command = ["sh", "-c", "trap 'echo $0 ends >>DIR/journal; exit 0' TERM; echo $0 >>DIR/journal; while :; do sleep 0.01; done", "NAME"]"#;

fn tells(name: &str) -> String {
    TELLS.replace("NAME", name)
}

#[test]
fn units_start_in_order_and_stop_in_reverse_around_the_gateway() {
    for mode in Mode::ALL {
        let config = format!(
            "{}\n[units.log]\n{}\n[units.db]\n{}\nafter = ['log']\n[units.proxy]\n{}\nafter = ['gateway']\n",
            tells("gateway"),
            tells("log"),
            tells("db"),
            tells("proxy")
        );
        let Some((mut victim, _)) = begin(mode, &config) else { return };
        // Each is started when the one before it was; that it has come so far as to write is another matter.
        let mut begun = lines(&victim, "journal", 4);
        begun.sort();
        assert_eq!(begun, ["db", "gateway", "log", "proxy"]);
        victim.signal(SIGTERM);
        victim.ends_with(0);
        let ended: Vec<String> = lines(&victim, "journal", 8).split_off(4);
        assert_eq!(ended, ["proxy ends", "gateway ends", "db ends", "log ends"], "{mode:?}");
        let log = victim.stderr();
        let started: Vec<String> =
            log::events(&log, "unit-started").iter().map(|line| line.field("unit")).collect();
        assert_eq!(started, ["log", "db", "proxy"]);
        let order: Vec<String> = log::json(&log)
            .iter()
            .filter(|line| {
                line.event == "unit-started" || line.event == "started" && line.field("unit").is_empty()
            })
            .map(|line| line.field("unit"))
            .collect();
        assert_eq!(order, ["log", "db", "", "proxy"]);
    }
}

#[test]
fn a_unit_that_ignores_term_is_bounded_by_its_windows() {
    for mode in Mode::PID1_AND_NOT {
        let config = format!(
            "command = ['true']\n[units.deaf]\ncommand = ['{}']\ngrace = '300ms'\nkill_after = '300ms'\n",
            helper("ignores_term")
        );
        let config = config.replace("['true']", "['sh', '-c', 'echo up; exec sleep 1000']");
        let Some((mut victim, _)) = begin(mode, &config) else { return };
        victim.says("up");
        victim.says("ready");
        let begun = Instant::now();
        victim.signal(SIGTERM);
        victim.ends_with(143);
        assert!(begun.elapsed() >= Duration::from_millis(600) && begun.elapsed() < SHORT_TIMEOUT);
    }
}

#[test]
fn what_leaves_a_unit_ends_with_it_and_neither_side_hurts_the_other() {
    for mode in Mode::ALL {
        let behind = helper("leaves_behind");
        let leaves = |journal: &str, main: &str, more: &str| {
            format!(
                "command = ['sh', '-c', 'mv DIR/{journal} DIR/{journal}.1; exec \"$@\"', 'sh', \
                 '{behind}', 'journal=DIR/{journal}', 'shape=setsid', 'count=2', 'main={main}'{more}]"
            )
        };
        let config = format!(
            "kill_after = '200ms'\n{}\n[restart]\non = 'always'\ndelay = '1ms'\n[units.a]\n{}\n",
            // The gateway's escapees ignore TERM, so that it takes KILL to end them.
            leaves("gateway", "obeys", ", 'escapee=ignores'"),
            leaves("unit", "obeys", ", 'code=0'"),
        );
        let Some((mut victim, socket)) = begin(mode, &config) else { return };
        lines(&victim, "unit", 3);
        lines(&victim, "gateway", 3);

        // The gateway is replaced while the unit lives: everything of the one goes, nothing of the other.
        assert_eq!(ask(&socket, ["restart"]).status.code(), Some(0));
        lines(&victim, "gateway.1", 6);
        lines(&victim, "gateway", 3);
        assert_eq!(lines(&victim, "unit", 3).len(), 3, "no process of the unit got a signal");
        assert_eq!(victim.live().iter().filter(|one| one.name == "leaves_behind").count(), 6);

        // The unit is replaced while the gateway lives.
        assert_eq!(ask(&socket, ["restart", "a"]).status.code(), Some(0));
        let unit = lines(&victim, "unit.1", 9);
        lines(&victim, "unit", 3);
        for name in ["main", "escapee-0", "escapee-1"] {
            assert!(unit.contains(&format!("{name} leaves")), "{unit:?}");
        }
        assert_eq!(lines(&victim, "gateway", 3).len(), 3, "no process of the gateway got a signal");
        assert_eq!(victim.live().iter().filter(|one| one.name == "leaves_behind").count(), 6);
        victim.signal(SIGTERM);
        victim.ends_with(7);
    }
}

#[test]
fn the_end_of_a_required_unit_is_the_end_and_that_of_another_is_not() {
    for mode in Mode::PID1_AND_NOT {
        let config = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n\
                      [units.other]\ncommand = ['sh', '-c', 'exit 4']\n\
                      [units.needed]\nrequired = true\n\
                      command = ['sh', '-c', 'while [ ! -e DIR/go ]; do sleep 0.01; done; exit 3']\n";
        let Some((mut victim, socket)) = begin(mode, config) else { return };
        victim.says("up");
        wait_until("the other unit has ended", || status(&socket)["units"][1]["state"] == "ended");
        let now = status(&socket);
        assert_eq!(
            (&now["gateway"]["state"], &now["units"][1]["last"]),
            (&"running".into(), &"exited with 4".into())
        );
        assert_eq!(now["incidents"][0]["kind"], "unit-ended");
        std::fs::write(victim.path("go"), "").unwrap();
        victim.ends_with(69);
        let said = log::events(&victim.stderr(), "required-unit-ended");
        assert_eq!((said.len(), said[0].field("unit")), (1, "needed".to_owned()));
    }
}

#[test]
fn a_unit_has_restarts_of_its_own_with_a_ceiling_and_status_tells_of_them() {
    let config = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n\
                  [units.weak]\ncommand = ['sh', '-c', 'echo x >>DIR/runs; exit 5']\n\
                  restart = { on = 'on-failure', delay = '1ms', limit = 3 }\n\
                  [units.well]\ncommand = ['sh', '-c', 'echo x >>DIR/well; exec sleep 1000']\n\
                  restart = 'always'\n";
    let Some((mut victim, socket)) = begin(Mode::Tree, config) else { return };
    victim.says("up");
    wait_until("it gave up", || status(&socket)["units"][0]["state"] == "ended");
    assert_eq!(lines(&victim, "runs", 4).len(), 4, "one start and three restarts");
    let now = status(&socket);
    let weak = &now["units"][0];
    assert_eq!((&weak["restarts"], &weak["last"]), (&3.into(), &"exited with 5".into()), "{weak}");
    let well = &now["units"][1];
    let main = i32::try_from(well["main"].as_i64().unwrap()).unwrap();
    assert_eq!(i64::from(look(main).unwrap().parent), well["pid"].as_i64().unwrap());
    let ceiling = log::events(&victim.stderr(), "restart-limit");
    assert_eq!((ceiling.len(), ceiling[0].field("unit")), (1, "weak".to_owned()));

    send(main, SIGKILL).unwrap();
    wait_until("it was started again", || {
        let well = &status(&socket)["units"][1];
        well["restarts"] == 1 && well["main"].is_i64() && well["last"] == "ended by SIGKILL"
    });
    assert!(text(&ask(&socket, ["status"]).stdout).contains("ended by SIGKILL"));
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn a_unit_can_be_signalled_and_started_again_by_an_operator() {
    for mode in Mode::PID1_AND_NOT {
        let config = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n\
                      [units.a]\ncommand = ['sh', '-c', '''trap 'echo hup >>DIR/heard' HUP; \
                      echo x >>DIR/runs; while :; do sleep 0.01; done''']\n";
        let Some((mut victim, socket)) = begin(mode, config) else { return };
        victim.says("up");
        lines(&victim, "runs", 1);
        assert_eq!(ask(&socket, ["signal", "HUP", "a"]).status.code(), Some(0));
        assert_eq!(lines(&victim, "heard", 1), ["hup"]);
        let before = status(&socket)["units"][0].clone();
        assert_eq!(ask(&socket, ["restart", "a"]).status.code(), Some(0));
        lines(&victim, "runs", 2);
        wait_until("it is another one", || {
            let now = status(&socket)["units"][0].clone();
            now["state"] == "running" && now["pid"] != before["pid"]
        });
        assert!(log::events(&victim.stderr(), "incident").is_empty(), "an operator's restart is none");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}

#[test]
fn a_unit_has_its_own_surroundings() {
    let Some((plan, _)) = configured(
        Mode::Tree,
        "command = ['sh', '-c', 'while [ ! -e DIR/seen ]; do sleep 0.01; done']\n\
         [units.a]\ncwd = '/usr'\nenv = { COLOUR = 'blue' }\nuser = '65534:65534'\n\
         command = ['sh', '-c', '{ pwd; echo $COLOUR; id -u; id -g; readlink /proc/self/fd/0; ls /proc/self/fd; } \
         >DIR/all; mv DIR/all DIR/seen']\n",
    ) else {
        return;
    };
    if !root() {
        return skip("root", "sudo");
    }
    let mut victim = plan.run_as_typed([] as [&str; 0]);
    victim.ends_with(0);
    let seen = lines(&victim, "seen", 5);
    assert_eq!(seen[..5], ["/usr", "blue", "65534", "65534", "/dev/null"].map(str::to_owned));
    // Standard ones, and what ls itself opens.
    assert_eq!(seen[5..], ["0", "1", "2", "3"].map(str::to_owned));
}

#[test]
fn what_a_killed_supervisor_was_above_ends_and_is_reported() {
    for mode in Mode::ALL {
        let config = format!(
            "command = ['sh', '-c', 'echo up; exec sleep 1000']\n[tools]\ngrace = '200ms'\norphans = 'report'\n\
             [units.a]\ncommand = ['{}', 'journal=DIR/unit', 'shape=setsid', 'escapee=ignores', 'main=ignores']\n",
            helper("leaves_behind")
        );
        let Some((mut victim, socket)) = begin(mode, &config) else { return };
        victim.says("up");
        lines(&victim, "unit", 4);
        let mut supervisor = None;
        wait_until("the unit's supervisor is known", || {
            let below = children(victim.pid()).into_iter();
            supervisor = below
                .filter(|child| children(child.pid).iter().any(|one| one.name == "leaves_behind"))
                .map(|child| child.pid)
                .next();
            supervisor.is_some()
        });
        send(supervisor.unwrap(), SIGKILL).unwrap();
        wait_until("no process of the unit is left", || named(&victim, "leaves_behind").is_empty());
        let now = status(&socket);
        assert_eq!(
            (&now["gateway"]["state"], &now["units"][0]["state"]),
            (&"running".into(), &"ended".into())
        );
        assert_eq!(now["incidents"][0]["subject"], "a");
        assert_eq!(log::events(&victim.stderr(), "orphan").first().unwrap().field("unit"), "a");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}

#[test]
fn units_end_in_order_when_sexton_is_killed() {
    let config = format!("command = ['sh', '-c', 'echo up; exec sleep 1000']\n[units.a]\n{}\n", tells("a"));
    let Some((mut victim, _)) = begin(Mode::Tree, &config) else { return };
    victim.says("up");
    lines(&victim, "journal", 1);
    send(victim.pid(), SIGKILL).unwrap();
    victim.status();
    wait_until("the unit was asked to end", || victim.read("journal").lines().any(|line| line == "a ends"));
    wait_until("nothing is left", || victim.live().is_empty());
}

#[test]
fn ctrl_c_reaches_the_gateway_and_units_end_in_order() {
    let mut shell = Shell::start();
    let dir = shell.path("").into_os_string().into_string().unwrap();
    let dir = dir.trim_end_matches('/');
    let int =
        "trap 'echo $0 ends >>DIR/journal; exit 0' INT; echo $0 >>DIR/journal; while :; do sleep 0.01; done";
    let config = format!(
        "command = [\"sh\", \"-c\", \"{int}\", \"gateway\"]\n[units.a]\n{}\n[units.b]\n{}\nafter = ['gateway']\n",
        tells("a"),
        tells("b")
    );
    std::fs::write(shell.path("sexton.toml"), config.replace("DIR", dir)).unwrap();
    shell.line("$S; echo code $?");
    let journal = || std::fs::read_to_string(format!("{dir}/journal")).unwrap_or_default();
    wait_until("all three run", || journal().lines().count() == 3);
    shell.keys("\x03");
    shell.sees("code 0");
    let ended: Vec<String> = journal().lines().skip(3).map(str::to_owned).collect();
    // The terminal's key reaches the gateway's group at once, and so it may be the first.
    assert_eq!(ended, ["b ends", "gateway ends", "a ends"]);
}
