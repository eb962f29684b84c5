//! `packaging/docker`: the images are built and the compose file is run, as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::{SHORT_TIMEOUT, helper, sexton, skip, wait_until};
use crate::engine::Engine;
use crate::image::Root;
use crate::shipped::{SEXTON, gateway_image, packaging, sexton_image};

/// Both images, of a gateway whose `node` is a stand-in: that of the other tests, which answers the preset's probes.
pub fn images(engine: &Engine) -> Option<()> {
    sexton_image(engine)?;
    let root = Root::without_sexton();
    root.program(Path::new(&helper("gateway")), "usr/bin/gateway");
    root.script(
        "usr/bin/node",
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'openclaw.mjs gateway run' ] && exec gateway 18789 /tmp /tmp/log\n",
    );
    gateway_image(engine, &root);
    Some(())
}

/// How long the windows of these settings are, in seconds.
pub fn windows(settings: &Path) -> u64 {
    let output =
        Command::new(sexton()).args(["check", "--json", "--config"]).arg(settings).arg("true").output();
    let plan: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let window = |name: &str| humantime::parse_duration(plan[name].as_str().unwrap()).unwrap().as_secs();
    window("grace") + window("kill_after")
}

#[test]
fn the_image_of_the_programs_holds_nothing_else() {
    let Some(engine) = Engine::start() else { return };
    if sexton_image(&engine).is_none() {
        return;
    }
    let made = engine.does(["create", SEXTON]);
    let list = format!("docker export {made} | tar --list --file -");
    let list = Command::new("sh").args(["-c", &list]).env("DOCKER_HOST", engine.host()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    // What the engine mounts over is its own.
    let own = [".dockerenv", "dev/", "etc/", "proc/", "sys/"];
    let files: Vec<&str> = list.lines().filter(|name| !own.iter().any(|own| name.starts_with(own))).collect();
    assert_eq!(files, ["usr/", "usr/bin/", "usr/bin/sexton", "usr/bin/sexton-watch"]);
    let said = engine.does(["run", "--rm", "--network", "none", "--read-only", SEXTON, "--version"]);
    assert_eq!(said, format!("sexton {}", env!("CARGO_PKG_VERSION")));
    assert!(SEXTON.ends_with(env!("CARGO_PKG_VERSION")), "the packaging names the version");
}

/// How often the shipped image is asked, in seconds.
fn gateway_interval() -> u64 {
    let text = fs::read_to_string(packaging("docker/gateway.Dockerfile")).unwrap();
    let line = text.lines().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    let interval = line.split("--interval=").nth(1).and_then(|rest| rest.split('s').next()).unwrap();
    interval.parse().unwrap()
}

/// `docker-compose` or `docker compose`, whichever there is.
fn compose() -> Option<Vec<&'static str>> {
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = [vec!["docker-compose"], vec!["docker", "compose"]].into_iter().find(|words| works(words));
    if found.is_none() {
        skip("docker-compose", "apt-get install docker-compose");
    }
    found
}

#[test]
fn the_compose_file_runs_a_gateway_that_is_watched_and_started_again() {
    let Some(engine) = Engine::start_with_limits() else { return };
    let (Some(compose), Some(())) = (compose(), images(&engine)) else { return };
    // There is no network here, and who looks only each half minute is no test.
    let changes = tempfile::tempdir().unwrap();
    let changed = changes.path().join("changes.yaml");
    fs::write(&changed, "services: { gateway: { network_mode: none, healthcheck: { interval: 1s } } }\n")
        .unwrap();
    let up = |words: &[&str]| {
        let mut command = Command::new(compose[0]);
        command.args(&compose[1..]).args(["--project-name", "test", "--file"]);
        command.arg(packaging("docker/compose.yaml")).arg("--file").arg(&changed).args(words);
        command.env("DOCKER_HOST", engine.host()).env("OPENCLAW_GATEWAY_TOKEN", "token");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    up(&["up", "--detach", "--no-build"]);
    let gateway = engine.container(up(&["ps", "--quiet", "gateway"]).trim());
    let host = "{{with .HostConfig}}{{.ReadonlyRootfs}} {{.CapDrop}} {{.SecurityOpt}} {{.PidsLimit}} \
                {{.RestartPolicy.Name}} {{.Init}}{{end}}";
    assert_eq!(gateway.shows(host), "true [ALL] [no-new-privileges:true] 1024 unless-stopped false");
    let config = "{{with .Config}}{{.User}} {{.StopSignal}} {{.Entrypoint}} {{.Healthcheck.Test}} {{.StopTimeout}}{{end}}";
    let windows = windows(&packaging("docker/sexton.toml"));
    assert_eq!(
        gateway.shows(config),
        format!("1000:1000 SIGTERM [/usr/bin/sexton --] [CMD /usr/bin/sexton health] {}", windows + 10)
    );
    let healthy = || {
        wait_until(&format!("it is healthy: {}", gateway.says()), || {
            gateway.shows("{{.State.Health.Status}}") == "healthy"
        });
    };
    healthy();
    // What docker and podman both understand, and what does not depend on the modes in the image.
    assert_eq!(gateway.shows("{{json .HostConfig.Tmpfs}}"), r#"{"/tmp":"mode=1777,size=512m,exec"}"#);
    let interval = gateway_interval();
    assert!(interval <= 10, "{interval}: the first question comes after one interval");
    let socket = gateway.exec(&["sh", "-c", "echo /tmp/sexton-*/*"]);
    assert_eq!(socket.out.trim_end(), "/tmp/sexton-1000/control.sock");

    let pid = || {
        let status = gateway.exec(&["sexton", "status", "--json"]).out;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        status["gateway"]["pid"].as_i64()
    };
    let first = pid().unwrap();
    let seen = gateway.exec(&["cat", &format!("/proc/{first}/environ")]).out;
    let seen: Vec<&str> = seen.split('\0').collect();
    for variable in ["SHELL=/usr/bin/sexton-sh", "OPENCLAW_GATEWAY_TOKEN=token"] {
        assert!(seen.contains(&variable), "{variable}: {seen:?}");
    }
    for (place, writable) in
        [("/tmp", true), ("/home/node/.openclaw", true), ("/app", false), ("/etc", false)]
    {
        let said = gateway.exec(&["sh", "-c", &format!("echo >{place}/written")]);
        assert_eq!(said.code == 0, writable, "{place}: {said:?}");
    }

    // The gateway dies, and the engine starts the container again.
    gateway.exec(&["kill", "-s", "KILL", &first.to_string()]);
    wait_until("it is started again", || gateway.shows("{{.RestartCount}}") == "1");
    healthy();
    wait_until("the gateway runs again", || pid().is_some());

    let before = Instant::now();
    up(&["stop"]);
    assert!(before.elapsed() < SHORT_TIMEOUT, "{:?}", before.elapsed());
    assert_eq!(gateway.shows("{{.State.ExitCode}}"), "0", "{}", gateway.says());
    up(&["down", "--volumes"]);
}

/// Each window of the quadlet has to be longer than the one in it, as podman passes nothing on that would extend it.
#[test]
fn the_windows_of_the_quadlet_lie_one_in_the_other() {
    let path = packaging("podman/gateway.container");
    let text = fs::read_to_string(&path).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key} is missing")).to_owned()
    };
    let seconds = |key: &str| value(key).parse::<u64>().unwrap();
    assert_eq!(seconds("StopTimeout"), windows(&packaging("docker/sexton.toml")) + 10);
    assert!(seconds("TimeoutStopSec") >= seconds("StopTimeout") + 15);
    let mut check = Command::new(sexton());
    check.args(["check", "--json", "--config"]).arg(packaging("docker/sexton.toml")).arg("true");
    let plan: serde_json::Value = serde_json::from_slice(&check.output().unwrap().stdout).unwrap();
    let start_period = plan["health"]["start_period"].as_str().unwrap();
    let start_period = humantime::parse_duration(start_period).unwrap().as_secs();
    assert!(seconds("TimeoutStartSec") >= start_period + 60);
    let inside = value("Environment=WATCHDOG_USEC").parse::<u64>().unwrap();
    assert_eq!(inside, seconds("WatchdogSec") * 1_000_000, "podman does not pass it on");
    let wanted =
        [("RestartPreventExitStatus", "78 125 69"), ("SuccessExitStatus", "143"), ("Notify", "true")];
    assert!(wanted.iter().all(|(key, wanted)| value(key) == *wanted));

    let generator = std::env::var_os("SEXTON_TEST_QUADLET")
        .map_or_else(|| "/usr/lib/systemd/system-generators/podman-system-generator".into(), PathBuf::from);
    if !generator.exists() {
        return skip("podman 5's generator", "a podman of 5.0 or newer, or tests/docker/fetch-quadlet");
    }
    let made = Command::new(generator)
        .arg("--dryrun")
        .env("QUADLET_UNIT_DIRS", path.parent().unwrap())
        .output()
        .unwrap();
    let unit = String::from_utf8(made.stdout).unwrap();
    assert!(unit.contains("Type=notify") && unit.contains("--sdnotify=container"), "{unit}");
    assert!(unit.contains("ExecReload=/usr/bin/podman exec systemd-%N /usr/bin/sexton reload"), "{unit}");
}
