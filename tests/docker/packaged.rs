//! `packaging/docker`: the images are built and the compose file is run, as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::{SOON, helper, sexton, skip, wait_until};
use crate::engine::Engine;
use crate::image::Root;

/// The gateway's image that the packaging is made for.
pub const GATEWAY: &str = "ghcr.io/openclaw/openclaw:2026.5.22";
/// The image of the programs alone.
const SEXTON: &str = "sexton:0.1.0";

pub fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// Builds the image of the static programs, and takes in a stand-in of the gateway's image: its `node` is the
/// gateway of the other tests, which answers the probes of the preset. `None`, after a line that says so, without
/// static programs.
pub fn images(engine: &Engine) -> Option<()> {
    let dist = Path::new(env!("CARGO_BIN_EXE_sexton")).ancestors().nth(2).unwrap().join("dist");
    if !dist.join("sexton").is_file() {
        skip("the static programs", "packaging/build-release --fast");
        return None;
    }
    // The build's own files are there as well, and would all be sent to the engine.
    let context = tempfile::tempdir().unwrap();
    for name in ["sexton", "sexton-watch"] {
        fs::copy(dist.join(name), context.path().join(name)).unwrap();
    }
    engine.builds(SEXTON, &packaging("docker/Dockerfile"), context.path(), &[]);
    engine.image(GATEWAY, &stand_in(), &["WORKDIR /app", r#"ENTRYPOINT ["tini", "-s", "--"]"#]);
    Some(())
}

fn stand_in() -> Root {
    let root = Root::without_sexton();
    root.program(Path::new(&helper("gateway")), "usr/bin/gateway");
    root.script(
        "usr/bin/node",
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'openclaw.mjs gateway run' ] && exec gateway 18789 /tmp /tmp/log\n",
    );
    for tool in ["chown", "ln"] {
        root.tool(tool);
    }
    for directory in ["app", "home/node", "run"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    root
}

/// How long the windows of these settings are, in seconds.
pub fn windows(settings: &Path) -> u64 {
    let output =
        Command::new(sexton()).args(["check", "--json", "--config"]).arg(settings).arg("true").output();
    let plan: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let window = |name: &str| humantime::parse_duration(plan[name].as_str().unwrap()).unwrap().as_secs();
    window("grace") + window("stragglers")
}

#[test]
fn the_image_of_the_programs_holds_nothing_else() {
    let Some(engine) = Engine::start() else { return };
    if images(&engine).is_none() {
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
    engine.builds("sexton-gateway", &packaging("docker/gateway.Dockerfile"), &packaging("docker"), &[]);
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

    let pid = || {
        let status = gateway.exec(&["sexton", "status", "--json"]).out;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        status["gateway"]["pid"].as_i64()
    };
    let first = pid().unwrap();
    let seen = gateway.exec(&["cat", &format!("/proc/{first}/environ")]).out;
    let seen: Vec<&str> = seen.split('\0').collect();
    for variable in ["SHELL=/usr/bin/sexton-sh", "OPENCLAW_NO_RESPAWN=1", "OPENCLAW_GATEWAY_TOKEN=token"] {
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
    assert_eq!(pid(), Some(first), "the same pid again");

    let before = Instant::now();
    up(&["stop"]);
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
    assert_eq!(gateway.shows("{{.State.ExitCode}}"), "0", "{}", gateway.says());
    up(&["down", "--volumes"]);
}
