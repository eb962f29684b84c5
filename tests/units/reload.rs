//! `sexton reload`.

use std::fs;
use std::time::Instant;

use nix::libc::SIGTERM;
use nix::unistd::{Uid, chown};

use super::common::victim::Mode;
use super::common::{SHORT_TIMEOUT, helper, log, root, skip, wait_until};
use super::{ask, begin, configured, lines, status, text};

#[test]
fn what_can_change_changes_and_the_rest_is_named() {
    for mode in Mode::PID1_AND_NOT {
        let before = format!("grace = '120s'\nlog = 'info'\ncommand = ['{}']\n", helper("ignores_term"));
        let Some((plan, socket)) = configured(mode, &before) else { return };
        // A relative name, and a sexton that has left the directory.
        let (dir, config) = (plan.path(""), plan.path("sexton.toml"));
        let begins = format!("cd '{dir}' && exec \"$@\" --config sexton.toml");
        let mut victim = plan.through(["sh", "-c", &begins, "sh"]).run_as_typed([] as [&str; 0]);
        victim.says("ready");
        let unchanged = ask(&socket, ["reload"]);
        assert_eq!(
            (unchanged.status.code(), text(&unchanged.stdout)),
            (Some(0), "changed: nothing\n".to_owned())
        );

        let after = before.replace("120s", "100ms").replace("'info'", "'debug'")
            + "kill_after = '100ms'\nrestart = { on = 'on-failure', limit = 1, delay = '1ms' }\n\
               [env]\nA = 'b'\n[units.new]\ncommand = ['true']\n";
        fs::write(&config, after).unwrap();
        let done = text(&ask(&socket, ["reload"]).stdout);
        let expected = "changed: grace, kill_after, log, restart.delay, restart.limit, restart.on; \
                        after a new start of sexton only: env.A, units.new\n";
        assert_eq!(done, expected);
        assert!(victim.stderr().contains("INFO reloaded: "), "{}", victim.stderr());

        // The new windows are those of the next stop, and the policy that of the next end.
        let first = status(&socket)["gateway"]["pid"].clone();
        let begun = Instant::now();
        assert_eq!(ask(&socket, ["restart"]).status.code(), Some(0));
        wait_until("it was started again", || {
            let gateway = status(&socket)["gateway"].clone();
            gateway["state"] == "running" && gateway["pid"] != first
        });
        // It ignores TERM from then on.
        assert_eq!(lines(&victim, "stdout", 2), ["ready", "ready"]);
        assert!(victim.stderr().contains("DEBUG "), "{}", victim.stderr());
        victim.signal(SIGTERM);
        victim.ends_with(137);
        assert!(begun.elapsed() < SHORT_TIMEOUT);
    }
}

#[test]
fn a_broken_file_is_refused_in_one_line_and_changes_nothing() {
    let config = "grace = '120s'\ncommand = ['sh', '-c', 'echo up; exec sleep 1000']\n";
    let Some((mut victim, socket)) = begin(Mode::Tree, config) else { return };
    victim.says("up");
    let file = victim.path("sexton.toml");
    fs::write(&file, format!("{config}\ngarce = '1s'\n")).unwrap();
    let refused = ask(&socket, ["reload"]);
    let said = text(&refused.stderr);
    assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("line 4, column 1: garce is not known; did you mean 'grace'?"), "{said}");

    fs::remove_file(&file).unwrap();
    assert_eq!(ask(&socket, ["reload"]).status.code(), Some(1));
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    assert!(
        text(&ask(&socket, ["reload"]).stderr).contains("not an ordinary file"),
        "a pipe blocks no reload"
    );
    fs::remove_file(&file).unwrap();
    fs::write(&file, "command = ['true']\ngrace = '1s'\n").unwrap();
    if root() {
        chown(&file, Some(Uid::from_raw(65_534)), None).unwrap();
        let said = text(&ask(&socket, ["reload"]).stderr);
        assert!(said.contains("it belongs to uid 65534"), "{said}");
    } else {
        skip("root", "sudo");
    }
    assert!(log::events(&victim.stderr(), "reloaded").is_empty());
    assert_eq!(lines(&victim, "stdout", 1), ["up"]);
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn sexton_watch_is_told_of_new_settings() {
    let config = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n[health]\ncommand = ['true']\n\
                  interval = '50ms'\ntimeout = '2s'\nstart_period = '0s'\nfailure_threshold = 1\n";
    let Some((mut victim, socket)) = begin(Mode::Tree, config) else { return };
    victim.says("up");
    wait_until("it is well", || status(&socket)["health"]["state"] == "healthy");
    fs::write(victim.path("sexton.toml"), config.replace("'true'", "'false'")).unwrap();
    assert_eq!(text(&ask(&socket, ["reload"]).stdout), "changed: health.command\n");
    wait_until("it is not, by the new measure", || status(&socket)["health"]["state"] == "unhealthy");
    wait_until("that is told once", || status(&socket)["incidents"][0]["kind"] == "unhealthy");
    fs::write(victim.path("sexton.toml"), config).unwrap();
    assert_eq!(ask(&socket, ["reload"]).status.code(), Some(0));
    wait_until("the incident is over", || status(&socket)["incidents"][0]["ended"].is_u64());
    victim.signal(SIGTERM);
    victim.ends_with(143);
}

#[test]
fn what_is_to_be_watched_from_now_on_is() {
    let plain = "command = ['sh', '-c', 'echo up; exec sleep 1000']\n";
    let watched = format!(
        "{plain}[health]\ncommand = ['false']\ninterval = '50ms'\ntimeout = '2s'\nstart_period = '0s'\nfailure_threshold = 1\n\
         action = 'restart'\n[restart]\nlimit = 1000\n"
    );
    for mode in Mode::PID1_AND_NOT {
        let Some((mut victim, socket)) = begin(mode, plain) else { return };
        victim.says("up");
        fs::write(victim.path("sexton.toml"), &watched).unwrap();
        let done = text(&ask(&socket, ["reload"]).stdout);
        let left = "; after a new start of sexton only: systemd.ready\n";
        assert!(done.starts_with("changed: health.action, ") && done.ends_with(left), "{done}");
        wait_until("it is asked, is not well, and is replaced", || {
            status(&socket)["counters"]["restarts"].as_u64().is_some_and(|restarts| restarts > 0)
        });
        let now = status(&socket);
        assert_eq!(now["units"][0]["name"], "sexton-watch", "{now:#}");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}
