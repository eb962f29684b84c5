//! What follows the gateway's end.

use std::fs;
use std::time::{Duration, Instant};

use nix::libc::{SIGKILL, SIGTERM};

use super::common::process::{look, send};
use super::common::victim::{Mode, Victim};
use super::common::{SHORT_TIMEOUT, helper, log, text, wait_until};
use super::{ask, begin, configured, lines, named, status};

/// A gateway that notes its start and ends with the code that stands in a file.
fn ends_with(code: u8, restart: &str) -> String {
    format!("command = ['sh', '-c', 'echo x >>DIR/runs; exit {code}']\nrestart = {{ {restart} }}\n")
}

#[test]
fn the_policy_says_which_ends_are_followed() {
    for (code, restart, runs, end) in [
        (3, "on = 'never'", 1, 3),
        (0, "on = 'on-failure'", 1, 0),
        (3, "on = 'on-failure', limit = 2, delay = '1ms'", 3, 69),
        (0, "on = 'always', limit = 2, delay = '1ms'", 3, 69),
        (78, "on = 'always', prevent_exit_codes = [78], delay = '1ms'", 1, 78),
        (75, "on = 'never', force_exit_codes = [75], limit = 1, delay = '1ms'", 2, 69),
    ] {
        for mode in Mode::PID1_AND_NOT {
            let Some((mut victim, _)) = begin(mode, &ends_with(code, restart)) else { return };
            victim.ends_with(end);
            assert_eq!(victim.read("runs").lines().count(), runs, "{code} {restart}");
            let said = log::events(&victim.stderr(), "restart-limit");
            assert_eq!(said.len(), usize::from(end == 69), "{code} {restart}: {said:?}");
            if let [line] = said.as_slice() {
                assert_eq!(line.field("restarts"), (runs - 1).to_string());
            }
        }
    }
}

#[test]
fn pauses_grow_and_a_stop_signal_ends_them() {
    let config = ends_with(5, "on = 'on-failure', delay = '20ms', max_delay = '10m', limit = 30");
    for mode in Mode::PID1_AND_NOT {
        let Some((mut victim, socket)) = begin(mode, &config) else { return };
        let pause = |line: &log::Line| humantime::parse_duration(&line.field("pause")).unwrap();
        wait_until("a pause is long", || {
            let text = victim.stderr();
            // The last line may be in the making.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            log::events(whole, "restarting")
                .last()
                .is_some_and(|line| pause(line) > Duration::from_millis(600))
        });
        let now = status(&socket);
        assert_eq!(
            (&now["gateway"]["state"], &now["gateway"]["last"]),
            (&"waiting".into(), &"exited with 5".into())
        );
        let pauses: Vec<Duration> = log::events(&victim.stderr(), "restarting").iter().map(pause).collect();
        // Each is the double of the one before, less a quarter at most.
        assert!(pauses.windows(2).all(|two| two[1] * 2 > two[0] * 2 && two[1] <= two[0] * 3), "{pauses:?}");
        victim.signal(SIGTERM);
        victim.ends_with(5);
    }
}

#[test]
fn an_operators_restart_does_not_count() {
    let config = "command = ['sh', '-c', 'echo x >>DIR/runs; exec sleep 1000']\n\
                  restart = { on = 'on-failure', limit = 1, delay = '1ms' }\n";
    let Some((mut victim, socket)) = begin(Mode::Tree, config) else { return };
    for runs in 1..=4 {
        lines(&victim, "runs", runs);
        wait_until("it runs", || status(&socket)["gateway"]["state"] == "running");
        assert_eq!(ask(&socket, ["restart"]).status.code(), Some(0));
    }
    lines(&victim, "runs", 5);
    assert!(log::events(&victim.stderr(), "restart-limit").is_empty());
    assert_eq!(status(&socket)["gateway"]["restarts"], 4);
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn the_old_tree_is_gone_and_its_locks_are_swept_before_the_next_start() {
    for mode in Mode::ALL {
        for unit in ["", "[units.worker]\ncommand = ['sleep', '1000']\n"] {
            // The first gateway leaves a daemon behind that ignores TERM, holds a lock and lives on. Each start
            // notes what it finds.
            let script = "ls DIR/state/agents/a/sessions >>DIR/found; \
                          pgrep -c holds_lock >>DIR/found; pgrep -c ignores_term >>DIR/found; \
                          if [ ! -e DIR/once ]; then touch DIR/once; \
                          setsid IGNORES & setsid HOLDS dies DIR/state/agents/a/sessions/1.jsonl.lock </dev/zero & \
                          while [ ! -s DIR/state/agents/a/sessions/1.jsonl.lock ]; do sleep 0.01; done; exit 1; fi; \
                          echo up; exec sleep 1000";
            let config = format!(
                "kill_after = '200ms'\ncommand = ['sh', '-c', '''{}''']\n\
                 restart = {{ on = 'on-failure', delay = '1ms' }}\nlocks = {{ roots = ['DIR/state'] }}\n{unit}",
                script.replace("IGNORES", &helper("ignores_term")).replace("HOLDS", &helper("holds_lock"))
            );
            let Some((plan, _)) = configured(mode, &config) else { return };
            fs::create_dir_all(plan.path("state/agents/a/sessions")).unwrap();
            // As PID 1 /proc shows no others; elsewhere other tests have such processes.
            let alone = mode == Mode::Pid1;
            let mut victim = plan.options(["-v", "--log-format", "json"]).run_as_typed([] as [&str; 0]);
            victim.says("up");
            let found = victim.read("found");
            assert!(!found.contains("lock"), "{mode:?}, {unit:?}: {found}; {}", victim.stderr());
            if alone {
                assert_eq!(found, "0\n0\n0\n0\n", "{unit:?}");
            }
            let left = [named(&victim, "holds_lock"), named(&victim, "ignores_term")];
            assert!(left.iter().all(Vec::is_empty), "{left:?}");
            let removed = log::events(&victim.stderr(), "lock-removed");
            assert_eq!(removed.len(), 1, "{mode:?}, {unit:?}: {}", victim.stderr());
            victim.signal(SIGTERM);
            victim.ends_with(143);
        }
    }
}

/// OpenClaw's `update.run`: the gateway starts its own successor, detached, and ends with 0.
#[test]
fn a_gateways_own_successor_is_ended_and_never_doubled() {
    for mode in Mode::ALL {
        let script = "echo \"begins $$\" >>DIR/runs; n=$(wc -l <DIR/runs); \
                      if [ $n = 1 ]; then setsid sh -c 'echo successor; touch DIR/there; exec sleep 777' & \
                      while [ ! -e DIR/there ]; do sleep 0.01; done; exit 0; fi; \
                      echo up; exec sleep 888";
        let config = format!(
            "command = ['sh', '-c', '''{script}''']\nrestart = {{ on = 'always', delay = '1ms', limit = 3 }}\n"
        );
        let Some((mut victim, socket)) = begin(mode, &config) else { return };
        victim.says("up");
        assert!(victim.stdout().lines().any(|line| line == "successor"), "it had our standard output");
        wait_until("one gateway runs", || named(&victim, "sleep").len() == 1);
        let gateway = status(&socket)["gateway"]["pid"].clone();
        if mode != Mode::Pid1 {
            assert_eq!(gateway, named(&victim, "sleep")[0], "it is the one that sexton has started");
        }
        assert_eq!(victim.read("runs").lines().count(), 2);
        let gone = log::events(&victim.stderr(), "still-alive");
        assert!(gone.iter().any(|line| line.field("stage") == "leftovers"), "its end is said: {gone:?}");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}

#[test]
fn there_are_never_two_gateways() {
    // Who finds another one says so. Its child outlives it for as long as nobody ends it.
    let script = "mkdir DIR/one 2>/dev/null || echo doubled >>DIR/doubled; \
                  echo x >>DIR/runs; trap '' TERM; (sleep 0.05; rmdir DIR/one) & exit 1";
    let config = format!(
        "kill_after = '10s'\ncommand = ['sh', '-c', '''{script}''']\n\
         restart = {{ on = 'on-failure', delay = '1ms', max_delay = '1ms', limit = 8 }}\n\
         [units.a]\ncommand = ['sleep', '1000']\n"
    );
    for mode in Mode::PID1_AND_NOT {
        let Some((mut victim, _)) = begin(mode, &config) else { return };
        victim.ends_with(69);
        assert_eq!(victim.read("runs").lines().count(), 9);
        assert_eq!(victim.read("doubled"), "");
    }
}

#[test]
fn what_sexton_was_started_with_is_there_again() {
    let script = "pwd >>DIR/seen; echo \"$LISTEN_FDS $([ \"$LISTEN_PID\" = $$ ] && echo mine)\" >>DIR/seen; \
                  readlink /proc/self/fd/3 >>DIR/seen; exit 1";
    let config = format!(
        "command = ['sh', '-c', '''{script}''']\nrestart = {{ on = 'always', delay = '1ms', limit = 2 }}\n"
    );
    for mode in Mode::PID1_AND_NOT {
        let Some((plan, _)) = configured(mode, &config) else { return };
        let begins = "cd /usr && LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3</etc/passwd";
        let mut victim = plan.through(["sh", "-c", begins, "sh"]).run_as_typed([] as [&str; 0]);
        victim.ends_with(69);
        assert_eq!(victim.read("seen"), "/usr\n1 mine\n/etc/passwd\n".repeat(3));
    }
}

#[test]
fn a_stop_while_it_is_replaced_is_a_stop() {
    let config = format!("grace = '120s'\ncommand = ['{}']\nrestart = 'always'\n", helper("prints_signals"));
    let Some((mut victim, socket)) = begin(Mode::Tree, &config) else { return };
    victim.says("ready");
    let begun = Instant::now();
    assert_eq!(ask(&socket, ["restart"]).status.code(), Some(0));
    wait_until("it was asked", || victim.stdout().lines().any(|line| line == "15"));
    victim.signal(SIGTERM);
    wait_until("it is for good", || !log::events(&victim.stderr(), "restart-cancelled").is_empty());
    send(named(&victim, "prints_signals")[0], SIGKILL).unwrap();
    victim.ends_with(137);
    assert!(begun.elapsed() < SHORT_TIMEOUT);
}

#[test]
fn a_unit_whose_supervisor_was_killed_is_started_again_and_nothing_is_doubled() {
    // The unit has a daemon in a session of its own, that ignores TERM and outlives its supervisor.
    let script = "echo x >>DIR/runs; setsid IGNORES >/dev/null & exec sleep 1000";
    let config = format!(
        "command = ['sh', '-c', 'echo up; exec tail -f /dev/null']\n[units.a]\nrequired = true\nkill_after = '200ms'\n\
         command = ['sh', '-c', '''{}''']\nrestart = {{ on = 'on-failure', delay = '50ms' }}\n",
        script.replace("IGNORES", &helper("ignores_term"))
    );
    for mode in Mode::ALL {
        let Some((mut victim, socket)) = begin(mode, &config) else { return };
        victim.says("up");
        let both = |victim: &Victim| [named(victim, "sleep"), named(victim, "ignores_term")];
        let once = |victim: &Victim| both(victim).iter().all(|found| found.len() == 1);
        lines(&victim, "runs", 1);
        wait_until("the unit and its daemon run", || once(&victim));
        let [unit, daemon] = both(&victim).map(|found| found[0]);
        send(look(unit).unwrap().parent, SIGKILL).unwrap();
        lines(&victim, "runs", 2);
        let gone = |pid: i32| look(pid).is_none_or(|one| one.dead());
        assert!(gone(unit) && gone(daemon), "the next one begins when nothing is left of the first");
        wait_until("they run once", || once(&victim));
        wait_until("it is shown as running", || status(&socket)["units"][0]["state"] == "running");
        let now = status(&socket);
        assert_eq!(now["incidents"].as_array().map(Vec::len), Some(0), "{now:#}");
        assert_eq!(log::events(&victim.stderr(), "unit-lost").len(), 1);
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}

/// OpenClaw 2026.5.22 answers and then stalls for 41 to 80 seconds. The status shows it, and it is left alone.
#[test]
fn a_gateway_that_stalls_within_its_start_period_is_said_to_and_replaced_only_after_it() {
    let config = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n[health]\ncommand = ['test', '-e', 'WELL']\n\
                  interval = '50ms'\ntimeout = '5s'\nslow_after = '5s'\nstart_period = '6s'\nfailure_threshold = 2\n\
                  action = 'restart'\n[restart]\ndelay = '1ms'\n";
    for mode in Mode::PID1_AND_NOT {
        let Some((mut victim, socket)) = begin(mode, &config.replace("WELL", "DIR/well")) else { return };
        let begun = Instant::now();
        victim.says("up");
        let well = victim.path("well");
        fs::write(&well, "").unwrap();
        wait_until("it is well", || status(&socket)["health"]["state"] == "healthy");
        let gateway = status(&socket)["gateway"]["pid"].clone();
        fs::remove_file(&well).unwrap();
        wait_until("it is not, and that is said", || status(&socket)["health"]["state"] == "unhealthy");
        let said = begun.elapsed();
        let now = status(&socket);
        assert!(said < Duration::from_secs(6), "within the start period: {said:?}");
        assert_eq!(now["health"]["excused"], true, "{now:#}");
        assert_eq!(now["incidents"][0]["kind"], "unhealthy", "{now:#}");
        let health = ask(&socket, ["health"]);
        assert_eq!(health.status.code(), Some(1));
        let words = text(&health.stdout);
        assert!(words.contains("command: the command ended with 1 (start period)"), "{words}");
        assert_eq!((&now["gateway"]["pid"], &now["counters"]["restarts"]), (&gateway, &0.into()));
        wait_until("it is replaced", || status(&socket)["counters"]["restarts"] == 1);
        assert!(begun.elapsed() > Duration::from_secs(6), "after {:?}", begun.elapsed());
        fs::write(&well, "").unwrap();
        wait_until("the incident is over", || status(&socket)["incidents"][0]["ended"].is_u64());
        let replaced = log::events(&victim.stderr(), "restart-requested");
        assert_eq!(replaced.len(), 1, "{replaced:?}");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}
