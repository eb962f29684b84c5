//! HEALTHCHECK: what `docker ps` shows of a gateway that hangs, and of one that goes on.

use std::path::Path;

use crate::common::{helper, wait_until};
use crate::engine::{Container, Engine};
use crate::image::Root;
use crate::shipped::HARDENED;

const SETTINGS: &str = "\
[health]
url = \"http://127.0.0.1:18789/readyz\"
interval = \"200ms\"
timeout = \"1s\"
failure_threshold = 2
start_period = \"1s\"
";

fn turns(container: &Container<'_>, state: &str) {
    wait_until(&format!("it is {state}: {}", container.shows("{{json .State.Health}}")), || {
        container.shows("{{.State.Health.Status}}") == state
    });
}

#[test]
fn a_gateway_that_hangs_turns_unhealthy_and_then_healthy() {
    if let Some(engine) = Engine::start() {
        turns_unhealthy_and_then_healthy(&engine);
    }
}

#[test]
fn so_it_does_with_cgroups_of_version_1() {
    if let Some(engine) = Engine::start_v1() {
        turns_unhealthy_and_then_healthy(&engine);
    }
}

fn turns_unhealthy_and_then_healthy(engine: &Engine) {
    let root = Root::new();
    root.program(Path::new(env!("CARGO_BIN_EXE_sexton-watch")), "usr/bin/sexton-watch");
    root.program(Path::new(&helper("gateway")), "usr/bin/gateway");
    root.text("etc/sexton.toml", SETTINGS);
    let changes = [
        "ENV SEXTON_CONFIG=/etc/sexton.toml",
        r#"ENTRYPOINT ["sexton", "--"]"#,
        r#"CMD ["gateway", "18789", "/tmp", "/tmp/log"]"#,
        r#"HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD ["sexton", "health"]"#,
    ];
    engine.image("demo", &root, &changes);
    let container = engine.runs(HARDENED.iter().chain(&["--tmpfs", "/tmp", "demo"]));
    turns(&container, "healthy");
    let last = "{{range .State.Health.Log}}{{.Output}}{{end}}";
    assert!(container.shows(last).contains("healthy for "), "{}", container.shows(last));

    // The event loop stands still, and the port stays bound.
    let status: serde_json::Value =
        serde_json::from_str(&container.exec(&["sexton", "status", "--json"]).out).unwrap();
    let gateway = status["gateway"]["pid"].to_string();
    // Asked from within, it sees the processes, and whose they are.
    let seen =
        status["processes"].as_array().unwrap().iter().find(|one| one["pid"] == status["gateway"]["pid"]);
    assert_eq!(
        seen.map(|one| (&one["of"], &one["name"])),
        Some((&"gateway".into(), &"gateway".into())),
        "{status:#}"
    );
    let table = container.exec(&["sexton", "status"]).out;
    assert!(table.contains("UNIT") && table.lines().any(|line| line.starts_with("sexton-watch ")), "{table}");
    let stand = |signal: &str| {
        assert_eq!(container.exec(&["kill", "-s", signal, &gateway]).code, 0, "{signal} to {gateway}");
    };
    stand("STOP");
    turns(&container, "unhealthy");
    wait_until("it says why", || container.shows(last).contains("unhealthy"));
    assert_eq!(container.shows("{{.State.Running}}"), "true", "it is only reported");
    stand("CONT");
    turns(&container, "healthy");
    container.does(&["stop", "--time", "120"]);
    assert_eq!(container.code(), 0);
}
