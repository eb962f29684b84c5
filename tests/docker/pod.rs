//! `packaging/kubernetes`: valid by the published schemas, and a gateway runs under what the pod allows it. No kubelet
//! runs here: its part is played with `docker run`.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::common::{SHORT_TIMEOUT, skip, wait_until};
use crate::engine::{Container, Engine};
use crate::packaged;
use crate::shipped::packaging;

/// Everything that packaging/kubernetes comes to, once it has been found valid.
fn objects() -> Option<Vec<Value>> {
    for (tool, package) in [("kubectl", "kubernetes-client"), ("npm", "npm"), ("pip", "python3-pip")] {
        let found = Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            skip(tool, &format!("apt-get install {package}"));
            return None;
        }
    }
    let bed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbeds/kubernetes");
    let output = Command::new(bed).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("there is no {kind}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The pod's volumes as the kubelet makes them: directories that belong to root and the pod's group.
struct Volumes<'a> {
    directory: tempfile::TempDir,
    pod: &'a Value,
    objects: &'a [Value],
}

impl Volumes<'_> {
    /// Where the volume is, made when it is asked for first.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.directory.path().join(name);
        if place.exists() {
            return place;
        }
        fs::create_dir(&place).unwrap();
        let volume =
            list(&self.pod["volumes"]).find(|volume| volume["name"] == name).cloned().unwrap_or_default();
        if let Some(map) = volume["configMap"]["name"].as_str() {
            let map =
                list(&Value::from(self.objects)).find(|object| object["metadata"]["name"] == map).cloned();
            for (file, content) in map.expect("there is that map")["data"].as_object().unwrap() {
                fs::write(place.join(file), text(content)).unwrap();
            }
        } else {
            let group = self.pod["securityContext"]["fsGroup"].as_u64().unwrap();
            chown(&place, Some(0), Some(group.try_into().unwrap())).unwrap();
            let mode = if volume["emptyDir"].is_object() { 0o2777 } else { 0o2775 };
            fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
        }
        place
    }
}

/// The words of `docker run` for one container of the pod, without its life's length.
fn words(container: &Value, volumes: &Volumes<'_>) -> Vec<String> {
    let (pod, own) = (&volumes.pod["securityContext"], &container["securityContext"]);
    // What docker does without being asked to, and what it has no word for.
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["runAsNonRoot"], true);
    let mut words = vec!["--user".to_owned(), format!("{}:{}", pod["runAsUser"], pod["runAsGroup"])];
    words.extend(["--group-add".to_owned(), pod["fsGroup"].to_string()]);
    assert_eq!(own["readOnlyRootFilesystem"], true);
    words.push("--read-only".to_owned());
    assert_eq!(own["allowPrivilegeEscalation"], false);
    words.extend(["--security-opt", "no-new-privileges"].map(str::to_owned));
    for capability in list(&own["capabilities"]["drop"]) {
        words.extend(["--cap-drop".to_owned(), text(capability).to_owned()]);
    }
    assert!(words.contains(&"ALL".to_owned()));
    for mount in list(&container["volumeMounts"]) {
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        let place = volumes.place(text(&mount["name"]));
        words.extend([
            "--volume".to_owned(),
            format!("{}:{}:{mode}", place.display(), text(&mount["mountPath"])),
        ]);
    }
    for variable in list(&container["env"]) {
        let value = variable["value"].as_str().unwrap_or("secret");
        words.extend(["--env".to_owned(), format!("{}={value}", text(&variable["name"]))]);
    }
    let command: Vec<&str> = list(&container["command"]).map(text).collect();
    if let Some(program) = command.first() {
        words.extend(["--entrypoint", *program].map(str::to_owned));
    }
    words.push(text(&container["image"]).to_owned());
    words.extend(command.iter().skip(1).map(|word| (*word).to_owned()));
    words.extend(list(&container["args"]).map(text).map(str::to_owned));
    words
}

/// What the container answers on one of its ports, as the kubelet would ask.
fn asked(container: &Container<'_>, port: u64, path: &str) -> String {
    let Some(pid) = container.processes().first().copied() else { return String::new() };
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat >&3; cat <&3");
    let mut client = Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--net", "bash", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    // Perhaps no process listens there yet.
    let _ = client.stdin.take().unwrap().write_all(request.as_bytes());
    String::from_utf8_lossy(&client.wait_with_output().unwrap().stdout).into_owned()
}

#[test]
fn a_gateway_runs_under_what_its_pod_allows() {
    let (Some(engine), Some(objects)) = (Engine::start(), objects()) else { return };
    if packaged::images(&engine).is_none() {
        return;
    }
    let pod = &the(&objects, "StatefulSet")["spec"]["template"]["spec"];
    let volumes = Volumes { directory: tempfile::tempdir().unwrap(), pod, objects: &objects };
    fs::set_permissions(volumes.directory.path(), Permissions::from_mode(0o755)).unwrap();
    let settings = packaging("kubernetes/base/sexton.toml");
    assert_eq!(pod["terminationGracePeriodSeconds"], packaged::windows(&settings) + 10);
    for container in list(&pod["initContainers"]) {
        let ran = engine.runs(words(container, &volumes));
        assert_eq!(ran.code(), 0, "{}", ran.says());
    }
    let containers: Vec<&Value> = list(&pod["containers"]).collect();
    let [container] = containers[..] else { panic!("a design without a sidecar: {containers:?}") };
    let gateway = engine.runs(words(container, &volumes));

    let port = |name: &Value| {
        let port = list(&container["ports"]).find(|port| port["name"] == *name);
        port.unwrap_or_else(|| panic!("there is no port {name}"))["containerPort"].as_u64().unwrap()
    };
    let passes = |probe: &str| {
        let get = &container[probe]["httpGet"];
        asked(&gateway, port(&get["port"]), text(&get["path"])).starts_with("HTTP/1.0 200")
    };
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        wait_until(&format!("the {probe} passes: {}", gateway.says()), || passes(probe));
    }
    for selector in ["PodMonitor", "Service", "NetworkPolicy"].map(|kind| &the(&objects, kind)["spec"]) {
        let labels = &the(&objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"];
        let selected = ["podSelector", "selector"].map(|key| &selector[key]);
        let selected = selected.iter().find(|selector| selector.is_object()).unwrap();
        let wanted = selected.get("matchLabels").unwrap_or(selected);
        assert_eq!(wanted, labels);
    }
    let endpoint = &the(&objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0];
    wait_until("what the PodMonitor scrapes says that sexton is up", || {
        let metrics = asked(&gateway, port(&endpoint["port"]), text(&endpoint["path"]));
        metrics.lines().any(|line| line == "sexton_up 1")
    });
    assert_eq!(endpoint["relabelings"][0]["replacement"], "sexton", "as the alert rules call the job");

    let said = gateway.exec(&["/sexton/sexton", "health"]);
    assert_eq!(said.code, 0, "{said:?}");
    let status = gateway.exec(&["/sexton/sexton", "status", "--json"]).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    let environment = gateway.exec(&["cat", &format!("/proc/{}/environ", status["gateway"]["pid"])]).out;
    assert!(environment.split('\0').any(|variable| variable == "SHELL=/sexton/sexton-sh"), "{environment}");

    let grace = pod["terminationGracePeriodSeconds"].to_string();
    let before = Instant::now();
    gateway.does(&["stop", "--time", &grace]);
    assert!(before.elapsed() < SHORT_TIMEOUT, "{:?}", before.elapsed());
    assert_eq!(gateway.code(), 0, "{}", gateway.says());
}

/// One source: the rules of packaging/grafana.
#[test]
fn the_prometheus_rules_are_those_of_the_file_for_prometheus() {
    let source = fs::read_to_string(packaging("grafana/sexton-alerts.yml")).unwrap();
    let rules: String =
        source.lines().filter(|line| !line.starts_with('#')).map(|line| format!("  {line}\n")).collect();
    let path = packaging("kubernetes/monitoring/prometheusrule.yaml");
    let shipped = fs::read_to_string(&path).unwrap();
    let (head, old) = shipped.split_once("spec:\n").unwrap();
    if std::env::var_os("SEXTON_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, format!("{head}spec:\n{rules}")).unwrap();
    } else {
        assert_eq!(old, rules, "SEXTON_BLESS=1 cargo test --test docker rules");
    }
}
