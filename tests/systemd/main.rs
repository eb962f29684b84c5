//! sexton as a service of a real systemd, booted in a container (`tests/beds/systemd`).
//!
//! Each test gives the machine its units and a story, which is a script that runs in it, and looks at the notes that the
//! story made.
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

use machine::{Machine, machine};

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
        note reach "$(journalctl -u gw -o cat | grep -c 'reach.*cgroup')"
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
    let mut seen = 0;
    for line in told.read("journal").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = line["MESSAGE"].as_str().unwrap_or_default();
        let Some(level) = message.strip_prefix("sexton[").and_then(|rest| rest.split(' ').nth(1)) else {
            continue;
        };
        let priority = match level {
            "ERROR" => "3",
            "WARN" => "4",
            "INFO" => "6",
            _ => "7",
        };
        assert_eq!(line["PRIORITY"], priority, "{message}");
        seen += 1;
    }
    assert!(seen > 2, "{told}");
}

#[test]
fn a_hung_gateway_is_sexton_s_business_and_a_hung_sexton_is_systemd_s() {
    let Some(machine) = machine() else { return };
    let service = "WatchdogSec=2\nRestart=on-failure\nRestartSec=100ms";
    let settings = format!(
        "{NOTIFIED}[health]\ncommand = ['true']\naction = 'restart'\n[restart]\ndelay = '3s'\nlongest = '3s'\n"
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

#[test]
fn a_stop_that_takes_longer_than_systemd_waits_is_not_cut_short() {
    let Some(machine) = machine() else { return };
    let service = "TimeoutStopSec=2\nDelegate=yes";
    let told = machine
        .file(
            "/etc/systemd/system/gw.service",
            &unit(service, "--grace 5s --stragglers 1s -- /usr/bin/ignores_term"),
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
    assert_eq!(told.note("systemd"), "0", "systemd killed nobody: {told}");
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

/// The files of packaging/systemd where a package puts them.
fn packaged(machine: Machine) -> Machine {
    let units = "/usr/lib/systemd/system";
    machine
        .file(
            &format!("{units}/sexton-gateway.service"),
            include_str!("../../packaging/systemd/sexton-gateway.service"),
        )
        .file(&format!("{units}/sexton@.service"), include_str!("../../packaging/systemd/sexton@.service"))
        .file(
            "/usr/lib/systemd/user/sexton-gateway.service",
            include_str!("../../packaging/systemd/user/sexton-gateway.service"),
        )
        .file("/usr/lib/sysusers.d/sexton.conf", include_str!("../../packaging/systemd/sysusers.conf"))
        .file("/usr/lib/tmpfiles.d/sexton.conf", include_str!("../../packaging/systemd/tmpfiles.conf"))
        .helper("prints_signals")
}

/// What `systemd-analyze security` says at most; 10 is no protection at all. Lower it when it has become better.
const EXPOSURE: f32 = 2.0;

#[test]
fn the_packaged_units_are_sound_hardened_and_work() {
    let Some(machine) = machine() else { return };
    let settings = "command = ['/usr/bin/prints_signals', '15', '0']\nlog = 'info'\n[locks]\n\
        roots = ['/var/lib/sexton-gateway']\n";
    let told = packaged(machine)
        .file("/etc/sexton/sexton.toml", settings)
        .file("/etc/sexton/home.toml", "command = ['/usr/bin/prints_signals', '15', '0']\nlog = 'info'\n")
        .story(
            r#"
            systemd-sysusers
            systemd-tmpfiles --create sexton.conf
            note config "$(stat -c '%a %G' /etc/sexton)"
            note verify "$(systemd-analyze verify --man=no sexton-gateway.service sexton@home.service \
                /usr/lib/systemd/user/sexton-gateway.service 2>&1 | grep -i sexton)"
            for unit in sexton-gateway sexton@home; do
                note "exposure-$unit" "$(systemd-analyze security --no-pager "$unit.service" |
                    sed -n 's/.*exposure level for.*: \([0-9.]*\) .*/\1/p')"
            done
            locks=/var/lib/sexton-gateway/agents/main/sessions
            mkdir -p "$locks"
            echo '{"pid":4194303,"createdAt":"2026-01-01T00:00:00.000Z"}' >"$locks/a.jsonl.lock"
            chown -R sexton-gateway: /var/lib/sexton-gateway
            for unit in sexton-gateway sexton@home; do
                systemctl start "$unit"
                note "state-$unit" "$(systemctl show -P ActiveState "$unit")"
                note "reach-$unit" "$(journalctl -u "$unit" -o cat | grep -c 'reach.*cgroup')"
                pid=$(systemctl show -P MainPID "$unit")
                note "caps-$unit" "$(sed -n 's/^CapBnd:\t//p; s/^NoNewPrivs:\t//p' "/proc/$pid/status" | tr '\n' ' ')"
                socket=$(find /run/sexton* -name control.sock)
                note "doctor-$unit" "$(sexton doctor --control "$socket" | grep 'stop windows')"
                note "uid-$unit" "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status")"
                systemctl stop "$unit"
                note "end-$unit" "$(systemctl show -P ActiveState "$unit") $(systemctl show -P Result "$unit")"
            done
            [[ -e $locks/a.jsonl.lock ]] || note swept yes
            "#,
        );
    assert_eq!(told.note("config"), "750 sexton-gateway");
    assert_eq!(told.note("verify"), "", "systemd-analyze verify");
    assert_eq!(told.note("swept"), "yes", "{told}");
    for unit in ["sexton-gateway", "sexton@home"] {
        let note = |what: &str| told.note(&format!("{what}-{unit}"));
        let exposure: f32 = note("exposure").parse().unwrap_or_else(|_| panic!("{told}"));
        println!("{unit}: exposure {exposure}");
        assert!(exposure <= EXPOSURE, "{unit}: {exposure}");
        assert_eq!(note("state"), "active", "{told}");
        assert_ne!(note("reach"), "0", "{told}");
        assert_eq!(note("caps"), "0000000000000000 1");
        assert_ne!(note("uid"), "0");
        let doctor = note("doctor");
        assert!(doctor.starts_with("ok ") && doctor.contains(&format!("{unit}.service has ")), "{doctor}");
        assert_eq!(note("end"), "inactive success");
    }
}

#[test]
fn the_packaged_user_unit_works_in_a_user_s_manager() {
    let Some(machine) = machine() else { return };
    let settings = "command = ['/usr/bin/prints_signals', '15', '0']\nlog = 'info'\n";
    let told = packaged(machine).file("/root/.config/sexton/sexton.toml", settings).story(
        r#"
        systemctl start dbus.service systemd-logind.service
        systemctl start user@0.service
        export XDG_RUNTIME_DIR=/run/user/0
        systemctl --user start sexton-gateway
        note state "$(systemctl --user show -P ActiveState sexton-gateway)"
        note text "$(systemctl --user show -P NotifyAccess sexton-gateway)"
        systemctl --user stop sexton-gateway
        note end "$(systemctl --user show -P ActiveState sexton-gateway) $(systemctl --user show -P Result sexton-gateway)"
        "#,
    );
    assert_eq!(told.note("state"), "active", "{told}");
    assert_eq!(told.note("text"), "main");
    assert_eq!(told.note("end"), "inactive success");
}
