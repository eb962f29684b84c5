//! The files of packaging/systemd, installed and used as an operator would do it.

use std::path::Path;

use super::common::console;
use super::machine::{Machine, machine};

/// With the package that `SEXTON_TEST_DEB` names, or else with the files of packaging/systemd where it puts them.
fn packaged(machine: Machine) -> Machine {
    let machine = machine.file("/srv/gateway.mjs", include_str!("gateway.mjs")).file("/usr/bin/words", WORDS);
    if let Some(deb) = std::env::var_os("SEXTON_TEST_DEB") {
        return machine.copy("/srv/sexton.deb", Path::new(&deb));
    }
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
}

/// What the stories here have in common.
const WORDS: &str = r#"
if [[ -e /srv/sexton.deb ]]; then
    dpkg --install /srv/sexton.deb || note GAVE-UP "the package does not install"
    note owner "$(dpkg --search /usr/bin/sexton)"
else
    systemd-sysusers
    systemd-tmpfiles --create sexton.conf
fi
get() { exec 3<>/dev/tcp/127.0.0.1/18789 && printf 'GET /%s HTTP/1.0\r\n\r\n' "$1" >&3 && cat <&3; exec 3>&-; }
pid() { get pid | sed -n 's/.*"pid":\([0-9]*\).*/\1/p'; }
free() { ! (exec 3<>/dev/tcp/127.0.0.1/18789) 2>/dev/null; }
gw() { systemctl "${@:2}" show -P "$1" sexton-gateway; }
is() { [[ $(gw "$1") == "$2" ]]; }
deaf() { ps -eo args | grep -c "^bash -c trap"; }
"#;

/// A Node gateway that is looked at, with nothing to wait long for.
const SETTINGS: &str = "preset = 'openclaw'\ncommand = ['node', '/srv/gateway.mjs']\nlog = 'info'\n\
    kill_after = '1s'\n[health]\nurl = 'http://127.0.0.1:18789/readyz'\ninterval = '200ms'\ntimeout = '500ms'\n\
    failure_threshold = 2\nstart_period = '2s'\n";

/// The unit waits 30 s for a sign of life and 5 s before a new start, which are an operator's to change.
const QUICK: &str = "[Service]\nWatchdogSec=3\nRestartSec=100ms\n";

#[test]
fn the_packaged_service_lives_through_all_that_a_service_meets() {
    let Some(machine) = machine() else { return };
    let told = packaged(machine)
        .file("/etc/sexton/sexton.toml", SETTINGS)
        .file("/etc/systemd/system/sexton-gateway.service.d/quick.conf", QUICK)
        .story(
            r#"
            . words

            # It is active when the gateway answers, and not before.
            systemctl start --no-block sexton-gateway
            wait_for text sexton-gateway starting
            note before "$(gw ActiveState)"
            touch /var/lib/sexton-gateway/go
            wait_for systemctl is-active --quiet sexton-gateway
            wait_for text sexton-gateway "running, healthy in"
            note reach "$(journalctl -u sexton-gateway -o cat | grep -c 'cgroup.kill reaches all processes')"
            note deaf "$(deaf)"

            # A reload is read by sexton, and the gateway goes on.
            first=$(pid)
            sed -i "s/log = 'info'/log = 'debug'/" /etc/sexton/sexton.toml
            systemctl reload sexton-gateway || note reload failed
            wait_for said sexton-gateway ' reloaded: '
            sed -i "s/log = 'debug'/lag = 'info'/" /etc/sexton/sexton.toml
            systemctl reload sexton-gateway && note reload "a file that is wrong was taken"
            sed -i "s/lag = 'info'/log = 'info'/" /etc/sexton/sexton.toml
            [[ $(pid) == "$first" ]] && note same yes

            # A hung gateway that sexton is not to replace gets no more signs of life.
            get block
            wait_for said sexton-gateway 'Watchdog timeout'
            wait_for is NRestarts 1
            wait_for systemctl is-active --quiet sexton-gateway
            [[ $(pid) != "$first" ]] && note replaced yes
            note deaf-then "$(deaf)"

            # A restart, and a stop by the whole ladder.
            second=$(pid) main=$(gw MainPID)
            systemctl restart sexton-gateway
            [[ $(pid) != "$second" && $(gw MainPID) != "$main" ]] && note restarted "$(gw ActiveState)"
            systemctl stop sexton-gateway
            note stopped "$(gw ActiveState) $(gw Result)"
            note deaf-after "$(deaf)"
            free && note port free
            ls -d /sys/fs/cgroup/system.slice/sexton-gateway.service* && note cgroup left

            # What will not mend itself is not tried again: exit code 78, and a configuration that is wrong.
            systemctl start sexton-gateway
            get exit/78
            wait_for_not in_state sexton-gateway deactivating
            wait_for in_state sexton-gateway failed
            note seventy-eight "$(gw ExecMainStatus) $(gw NRestarts)"
            echo 'lag = "info"' >/etc/sexton/sexton.toml
            systemctl start sexton-gateway && note wrong started
            note wrong "$(gw ActiveState) $(gw ExecMainStatus) $(gw NRestarts)"
            journalctl -u sexton-gateway -o json --output-fields=PRIORITY,MESSAGE >/out/journal
            journalctl -u sexton-gateway -p warning -o cat >/out/warnings
            "#,
        );
    if std::env::var_os("SEXTON_TEST_DEB").is_some() {
        assert_eq!(told.note("owner"), "sexton: /usr/bin/sexton", "{told}");
    }
    assert_eq!(told.note("before"), "activating");
    assert_ne!(told.note("reach"), "0", "the log says what reaches all processes: {told}");
    assert_eq!(told.note("deaf"), "1", "there is one that does not heed TERM: {told}");
    assert_eq!(told.noted("reload"), None, "{told}");
    assert_eq!(told.note("same"), "yes", "a reload does not touch the gateway: {told}");
    assert_eq!(told.note("replaced"), "yes", "{told}");
    assert_eq!(told.note("deaf-then"), "1", "the old gateway's child is gone: {told}");
    assert_eq!(told.note("restarted"), "active", "{told}");
    assert_eq!(told.note("stopped"), "inactive success", "{told}");
    assert_eq!(told.note("deaf-after"), "0", "{told}");
    assert_eq!(told.note("port"), "free");
    assert_eq!(told.noted("cgroup"), None, "{told}");
    assert_eq!(told.note("seventy-eight"), "78 0", "{told}");
    assert_eq!(told.note("wrong"), "failed 125 0", "{told}");
    let seen = told.priorities("journal");
    assert!([3, 4, 6, 7].iter().all(|priority| seen.contains(priority)), "all levels were said: {seen:?}");
    let warnings = told.read("warnings");
    assert!(warnings.contains("stage=kill"), "what held up the stop is a warning: {warnings}");
    assert!(!warnings.contains(" INFO ") && !warnings.contains("listening"), "{warnings}");
}

/// What `systemd-analyze security` says at most; 10 is no protection at all. Lower it when it has become better.
const EXPOSURE: f32 = 2.0;

#[test]
fn the_packaged_units_are_sound_hardened_and_work() {
    let Some(machine) = machine() else { return };
    let settings = "command = ['/usr/bin/prints_signals', '15', '0']\nlog = 'info'\n[locks]\n\
        roots = ['/var/lib/sexton-gateway']\n";
    let told = packaged(machine)
        .helper("prints_signals")
        .file("/etc/sexton/sexton.toml", settings)
        .file("/etc/sexton/home.toml", "command = ['/usr/bin/prints_signals', '15', '0']\nlog = 'info'\n")
        .story(
            r#"
            . words
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
                note "reach-$unit" "$(journalctl -u "$unit" -o cat | grep -c 'containment.*cgroup')"
                pid=$(systemctl show -P MainPID "$unit")
                note "caps-$unit" "$(sed -n 's/^CapBnd:\t//p; s/^NoNewPrivs:\t//p' "/proc/$pid/status" | tr '\n' ' ')"
                socket=$(find /run/sexton* -name control.sock)
                note "doctor-$unit" "$(sexton doctor --control "$socket" | grep -A 2 'stop windows' | tr -s ' \n' ' ')"
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
fn the_packaged_user_unit_works_for_a_user() {
    let Some(machine) = machine() else { return };
    let told = packaged(machine).file("/etc/skel/.config/sexton/sexton.toml", SETTINGS).story(
        r#"
        . words
        useradd --create-home dev
        touch /home/dev/go
        systemctl start dbus systemd-logind
        loginctl enable-linger dev
        wait_for systemctl is-active --quiet "user@$(id -u dev)"
        runtime=/run/user/$(id -u dev)
        as() { setpriv --reuid=dev --regid=dev --init-groups env HOME=/home/dev XDG_RUNTIME_DIR="$runtime" "$@"; }
        as systemctl --user start sexton-gateway
        note state "$(as systemctl --user is-active sexton-gateway)"
        note user "$(ps -o user= -p "$(pid)")"
        note reach "$(journalctl _UID="$(id -u dev)" -o cat | grep -c 'cgroup.kill reaches all processes')"
        note health "$(as sexton health)"
        as systemctl --user reload sexton-gateway && note reload done
        as systemctl --user stop sexton-gateway
        note end "$(as systemctl --user is-active sexton-gateway) $(as systemctl --user show -P Result sexton-gateway)"
        note deaf "$(deaf)"
        free && note port free
        journalctl _UID="$(id -u dev)" -o json --output-fields=PRIORITY,MESSAGE >/out/journal
        "#,
    );
    assert_eq!(told.note("state"), "active", "{told}");
    assert_eq!(told.note("user"), "dev");
    assert_ne!(told.note("reach"), "0", "{told}");
    assert!(told.note("health").starts_with("healthy"), "{told}");
    assert_eq!(told.note("reload"), "done", "{told}");
    assert_eq!(told.note("end"), "inactive success", "{told}");
    assert_eq!(told.note("deaf"), "0", "{told}");
    assert_eq!(told.note("port"), "free", "{told}");
    assert!(told.priorities("journal").contains(&4), "the stage of KILL is a warning: {told}");
}

/// As OpenClaw: without a configuration in its home it refuses to start.
const OPENCLAW: &str = "#!/bin/sh\ncd\n[ \"$1\" = onboard ] && exec mkdir .openclaw\n[ -w .openclaw ] || exit 78\n\
    touch go\nMEEK=1 exec node /srv/gateway.mjs\n";

#[test]
fn what_the_readme_says_of_systemd_is_seen() {
    let Some(machine) = machine() else { return };
    let readme = concat!(include_str!("../../README.md"), include_str!("../../docs/deploy.md"));
    let block = |language: &str, of: &str| {
        let blocks = console::blocks(readme, language);
        blocks.into_iter().find(|block| block.contains(of)).unwrap_or_else(|| panic!("no block has {of}"))
    };
    let paste = block("sh", "systemctl enable --now sexton-gateway");
    let shown = block("text", "Active: active");
    let told = packaged(machine)
        .file("/usr/bin/openclaw", OPENCLAW)
        .file("/srv/paste", &paste)
        .file("/etc/systemd/system/openclaw.service", &block("ini", "ExecStart="))
        .story(
            r#"
            . words
            chmod +x /usr/bin/openclaw
            # The package is installed by now.
            sed -i '/^sudo apt install/d' /srv/paste
            sudo() { "$@"; }
            . /srv/paste
            wait_for text sexton-gateway "running, healthy in"
            systemctl status sexton-gateway >/out/status
            systemctl disable --now sexton-gateway
            note own-stopped "$(gw ActiveState)"
            # Without a user it has no home, and looks where it starts.
            mkdir /.openclaw && systemctl start openclaw
            note own "$(systemctl is-active openclaw)"
            first=$(systemctl show -P MainPID openclaw)
            systemctl reload openclaw && note reload done
            [[ $(systemctl show -P MainPID openclaw) == "$first" ]] && systemctl is-active openclaw && note goes-on yes
            systemctl stop openclaw
            note end "$(systemctl is-active openclaw) $(systemctl show -P Result openclaw)"
            "#,
        );
    let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
    let status = told.read("status");
    assert!(console::fits(&shown, &status.lines().collect::<Vec<_>>()), "{status}{told}");
    assert_eq!(told.note("own-stopped"), "inactive", "{told}");
    assert_eq!(told.note("own"), "active", "{told}");
    assert_eq!(told.note("reload"), "done", "{told}");
    assert_eq!(told.note("goes-on"), "yes", "{told}");
    assert_eq!(told.note("end"), "inactive success", "{told}");
}
