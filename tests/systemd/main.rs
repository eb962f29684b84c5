//! sexton as a service of a real systemd, booted in a container (`tests/testbeds/systemd`).
//!
//! Each test gives the machine its units and a story, which is a script that runs in it, and looks at the notes that
//! the story made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "tests are not PID 1: they start processes")]

#[path = "../common/mod.rs"]
mod common;
mod machine;
mod packaged;

use machine::machine;

/// A unit of `Type=notify` that runs this under sexton.
fn unit(service: &str, line: &str) -> String {
    format!(
        "[Service]\nType=notify\nNotifyAccess=main\nKillMode=mixed\n{service}\n\
         ExecStartPre=sh -c 'test -p /run/gw.fifo || mkfifo /run/gw.fifo'\n\
         ExecStart=/usr/bin/sexton -vv --no-locks {line}\n"
    )
}

/// The gateway says itself when it is ready.
const NOTIFIED: &str = "[systemd]\nready = 'notified'\n";
const GATEWAY: &str = "--config /etc/gw.toml -- /usr/bin/notifies /run/gw.fifo";

#[test]
fn a_unit_is_active_only_when_its_gateway_says_that_it_is_ready() {
    let Some(machine) = machine() else { return };
    let machine = machine.file("/etc/systemd/system/gw.service", &unit("Delegate=yes", GATEWAY));
    let told = machine.file("/etc/gw.toml", NOTIFIED).helper("notifies").story(
        r#"
        systemctl start --no-block gw
        wait_for said gw ready
        note before "$(prop ActiveState)"
        echo "STATUS=warm" >/run/gw.fifo
        wait_for text gw "starting; warm"
        note still "$(prop ActiveState)"
        echo "READY=1|MAINPID=1" >/run/gw.fifo
        wait_for systemctl is-active --quiet gw
        wait_for text gw "running; warm"
        note main "$(readlink "/proc/$(prop MainPID)/exe")"
        note reach "$(journalctl -u gw -o cat | grep -c 'containment.*cgroup')"
        journalctl -u gw -o json --output-fields=PRIORITY,MESSAGE >/out/journal
        echo "exit 0" >/run/gw.fifo
        wait_for_not systemctl is-active --quiet gw
        note after "$(prop ActiveState) $(prop Result)"
        "#,
    );
    assert_eq!(told.note("before"), "activating");
    assert_eq!(told.note("still"), "activating");
    assert_eq!(told.note("main"), "/usr/bin/sexton", "the main process stays sexton");
    assert_eq!(told.note("after"), "inactive success");
    assert_ne!(told.note("reach"), "0", "{told}");
    assert!(told.priorities("journal").contains(&6), "{told}");
}

#[test]
fn a_hung_gateway_is_sexton_s_business_and_a_hung_sexton_is_systemd_s() {
    let Some(machine) = machine() else { return };
    let service = "WatchdogSec=2\nRestart=on-failure\nRestartSec=100ms";
    let settings = format!(
        "{NOTIFIED}[health]\ncommand = ['true']\naction = 'restart'\n[restart]\ndelay = '3s'\nmax_delay = '3s'\n"
    );
    let told = machine
        .file("/etc/systemd/system/gw.service", &unit(service, GATEWAY))
        .file("/etc/gw.toml", &settings)
        .helper("notifies")
        .story(
            r#"
            systemctl start --no-block gw
            wait_for said gw ready
            echo "READY=1|WATCHDOG=1" >/run/gw.fifo
            wait_for systemctl is-active --quiet gw
            sexton=$(prop MainPID)
            wait_for said gw restarting
            wait_for text gw "restarting in "
            wait_for text gw running
            wait_for eval '(($(journalctl -u gw -o cat | grep -cx ready) == 2))'
            note gateway "$(prop NRestarts) $(prop ActiveState)"
            [[ $(prop MainPID) == "$sexton" ]] && note same yes
            kill -STOP "$sexton"
            wait_for said gw "Watchdog timeout"
            wait_for eval '[[ $(prop NRestarts) == 1 ]]'
            wait_for eval '(($(journalctl -u gw -o cat | grep -cx ready) == 3))'
            echo "READY=1" >/run/gw.fifo
            wait_for systemctl is-active --quiet gw
            [[ $(prop MainPID) != "$sexton" ]] && note other yes
            note at-once "$(prop NRestarts)"
            echo "exit 3" >/run/gw.fifo
            wait_for eval '(($(journalctl -u gw -o cat | grep -cx ready) == 4))'
            note after-an-end "$(prop NRestarts)"
            "#,
        );
    assert_eq!(told.note("gateway"), "0 active", "systemd had nothing to do: {told}");
    assert_eq!(told.note("same"), "yes");
    assert_eq!(told.note("other"), "yes");
    assert_eq!(told.note("at-once"), "1");
    assert_eq!(
        told.note("after-an-end"),
        "2",
        "an end that was told of is followed by Restart=, too: {told}"
    );
}

/// Asks the gateway over HTTP, which is how one whose event loop is blocked is known: its port stays bound.
const ASKED: &str = "grace = '1s'\nkill_after = '1s'\n[health]\nurl = 'http://127.0.0.1:18789/readyz'\n\
    interval = '200ms'\ntimeout = '500ms'\nfailure_threshold = 2\nstart_period = '3s'\naction = 'restart'\n\
    [restart]\ndelay = '100ms'\n";

#[test]
fn a_gateway_whose_event_loop_is_blocked_is_replaced_by_sexton_and_systemd_has_nothing_to_do() {
    let Some(machine) = machine() else { return };
    let service = "WatchdogSec=2\nRestart=on-failure\nRestartSec=100ms\nTimeoutStartSec=20";
    let line = "--config /etc/gw.toml -- /usr/bin/gateway 18789 /run/gw-state /run/gw.log";
    let told = machine
        .file("/etc/systemd/system/gw.service", &unit(service, line))
        .file("/etc/gw.toml", ASKED)
        .helper("gateway")
        .story(
            r#"
            get() { (exec 3<>/dev/tcp/127.0.0.1/18789 && printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3 && timeout 2 tail -n 1 <&3); }
            ip link set lo up 2>/dev/null
            systemctl start gw
            note started "$(prop ActiveState)"
            wait_for text gw "running, healthy"
            sexton=$(prop MainPID)
            first=$(get /pid)
            note blocked "$(get /block)"
            (exec 3<>/dev/tcp/127.0.0.1/18789) && note bound yes
            note answer "$(get /pid)"
            wait_for said gw "restarting"
            wait_for eval '[[ -n $(get /pid) && $(get /pid) != '"$first"' ]]'
            wait_for text gw "running, healthy"
            [[ $(prop MainPID) == "$sexton" ]] && note same yes
            note systemd "$(prop NRestarts) $(prop ActiveState) $(journalctl -u gw -o cat | grep -c 'Watchdog timeout')"
            note why "$(journalctl -u gw -o cat | grep -c 'why=unhealthy')"
            systemctl stop gw
            note end "$(prop ActiveState) $(prop Result)"
            "#,
        );
    assert_eq!(told.note("started"), "active", "{told}");
    assert_eq!((told.note("blocked"), told.note("answer")), ("blocked".to_owned(), String::new()), "{told}");
    assert_eq!(told.note("bound"), "yes", "the port says nothing of it");
    assert_eq!(told.note("same"), "yes", "{told}");
    assert_eq!(told.note("systemd"), "0 active 0", "{told}");
    assert_eq!(told.note("why"), "1", "{told}");
    assert_eq!(told.note("end"), "inactive success", "{told}");
}

#[test]
fn a_stop_that_takes_longer_than_systemd_waits_is_not_cut_short() {
    let Some(machine) = machine() else { return };
    let service = "TimeoutStopSec=2\nDelegate=yes";
    let told = machine
        .file(
            "/etc/systemd/system/gw.service",
            &unit(service, "--grace 5s --kill-after 1s -- /usr/bin/ignores_term"),
        )
        .helper("ignores_term")
        .story(
            r#"
            systemctl start gw
            begin=$SECONDS
            systemctl stop --no-block gw
            wait_for text gw "stopping: waiting for "
            note state "$(prop ActiveState)"
            note status "$(prop StatusText)"
            wait_for_not in_state gw deactivating
            note took $((SECONDS - begin))
            note result "$(prop Result) $(prop ExecMainStatus)"
            note systemd "$(journalctl -u gw -o cat | grep -c -e 'timed out' -e 'Killing process')"
            "#,
        );
    assert_eq!(told.note("state"), "deactivating");
    assert!(told.note("status").contains("ignores_term"), "{told}");
    assert!((5..30).contains(&told.note("took").parse::<u32>().unwrap()), "{told}");
    assert_eq!(told.note("result"), "exit-code 137", "sexton ended by itself, when its ladder was done");
    assert_eq!(told.note("systemd"), "0", "systemd killed no process: {told}");
}

#[test]
fn reload_and_restart_do_what_they_say() {
    let Some(machine) = machine() else { return };
    let told = machine
        .file(
            "/etc/systemd/system/gw.service",
            &unit("ExecReload=kill -HUP $MAINPID", "-- /usr/bin/prints_signals 15 0"),
        )
        .helper("prints_signals")
        .story(
            r#"
            systemctl start gw
            wait_for said gw ready
            first=$(prop MainPID)
            systemctl reload gw
            wait_for eval 'journalctl -u gw -o cat | grep -qx 1'
            wait_for systemctl is-active --quiet gw
            [[ $(prop MainPID) == "$first" ]] && note reloaded yes
            systemctl restart gw
            note restarted "$(prop ActiveState) $(prop Result)"
            [[ $(prop MainPID) != "$first" ]] && note other yes
            systemctl stop gw
            note stopped "$(prop ActiveState) $(prop Result)"
            "#,
        );
    assert_eq!(told.note("reloaded"), "yes");
    assert_eq!(told.note("restarted"), "active success");
    assert_eq!(told.note("other"), "yes");
    assert_eq!(told.note("stopped"), "inactive success");
}
