//! The HTTP listener: what it answers, and that it stays small.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use sexton::config::watch_settings::{HeldLocks, Limits, Log, Probe, ProbeKind, WatchSettings};
use sexton::control::protocol::{
    Counters, HealthState, Incident, IncidentKind, Process, Status, ToolRun, UnitState, UnitStatus,
    WatchReport,
};

use crate::common::{PATIENCE, skip, wait_until};
use crate::fake::{Watched, now_ms, running};
use crate::stand_in::{Mood, StandIn};

const EVIL: &str = "<script>alert('1')</script>\"&\u{202e}";

/// What a sexton would say. Names that others have chosen are as bad as they can be.
pub fn status() -> Status {
    let process = |pid: i32, parent: i32, state: char, name: &str, of: Option<&str>| Process {
        pid,
        parent,
        group: pid,
        session: pid,
        state,
        age: 754_000,
        rss: 73 << 20,
        name: name.into(),
        of: of.map(str::to_owned),
        orphan: false,
    };
    let incident = |kind, ended| Incident {
        kind,
        subject: EVIL.into(),
        detail: format!("it was {EVIL}"),
        began: now_ms() - 90_000,
        ended,
    };
    Status {
        version: "9.9.9".into(),
        pid: 1,
        since: now_ms() - 800_000,
        reach: "kill-all".into(),
        gateway: UnitStatus { restarts: 3, since: now_ms() - 754_000, ..running(7) },
        units: vec![UnitStatus { name: EVIL.into(), state: UnitState::Waiting, ..running(9) }],
        tools: vec![ToolRun {
            id: "t1".into(),
            name: "bash".into(),
            argv: vec!["bash".into(), "-c".into(), EVIL.into()],
            supervisor: 20,
            pid: 21,
            began: now_ms() - 5_000,
            timeout: Some(60_000),
        }],
        incidents: vec![
            incident(IncidentKind::RestartLimit, None),
            incident(IncidentKind::UnitEnded, Some(now_ms() - 1_000)),
        ],
        counters: Counters { reaped: 1234, restarts: 3, locks_removed: 5, signals: 6, ..Counters::default() },
        processes: vec![
            process(7, 1, 'S', "openclaw", Some("gateway")),
            process(15, 7, 'S', "node", Some("gateway")),
            process(16, 15, 'Z', EVIL, Some("gateway")),
            process(9, 1, 'R', "redis-server", Some(EVIL)),
        ],
        ..Status::default()
    }
}

/// Everything that can be looked at, and is.
pub fn everything(stand_in: &StandIn, watched: &Watched) -> WatchSettings {
    let probe = Probe {
        name: "readyz".into(),
        ask: ProbeKind::Http { url: stand_in.url("/readyz"), status: 200, fields: vec![] },
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(1000),
        slow_after: Duration::from_millis(300),
        failure_threshold: 3,
    };
    let roots = watched.path("state");
    let sessions = roots.join("agents/main/sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    let lock = format!("{{\"pid\":{},\"createdAt\":\"2026-01-01T00:00:00.000Z\"}}", std::process::id());
    std::fs::write(sessions.join("a.jsonl.lock"), lock).unwrap();
    let log = Log {
        name: "write-lock".into(),
        files: vec![watched.path("*.log").display().to_string()],
        pattern: "Error".into(),
        count: 3,
        interval: Duration::from_secs(60),
        restart: false,
    };
    WatchSettings {
        health: vec![probe],
        window: 100,
        limits: Limits { interval: Duration::from_millis(100), memory: Some(1 << 40), zombies: Some(10) },
        logs: vec![log],
        locks: Some(HeldLocks {
            roots: vec![roots],
            report_after: None,
            interval: Duration::from_millis(200),
            rules: vec![],
        }),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..WatchSettings::default()
    }
}

/// Where it listens.
pub fn listens(watched: &mut Watched) -> SocketAddr {
    watched.wait_for("the address", |fact| match fact {
        WatchReport::Listening { address } => Some(address.parse().unwrap()),
        _ => None,
    })
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Asks in the background, while `watched` is served.
pub fn ask(watched: &mut Watched, address: SocketAddr, request: &str) -> Answer {
    let (send, answer) = mpsc::channel();
    let request = request.to_owned();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        send.send(String::from_utf8(text).unwrap()).unwrap();
    });
    let mut text = None;
    watched.serve_until("an answer", || {
        text = text.take().or_else(|| answer.try_recv().ok());
        text.is_some()
    });
    let text = text.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn get(watched: &mut Watched, address: SocketAddr, path: &str) -> Answer {
    ask(watched, address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

/// A sexton-watch that looks at everything, with a healthy gateway, a sexton that answers, and its address.
pub fn serving(stand_in: &StandIn) -> (Watched, SocketAddr) {
    serving_by(Watched::silent(), stand_in)
}

fn serving_by(mut watched: Watched, stand_in: &StandIn) -> (Watched, SocketAddr) {
    stand_in.answers(
        200,
        r#"{"ready":true,"eventLoop":{"degraded":false,"delayP99Ms":21.5,"utilization":0.31}}"#,
    );
    let settings = everything(stand_in, &watched);
    watched.status = Some(status());
    watched.brief(settings, Some(running(7)));
    let address = listens(&mut watched);
    watched.health(HealthState::Healthy);
    (watched, address)
}

#[test]
fn probes_of_others_get_their_answer() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    assert_eq!(get(&mut watched, address, "/livez").status, 200);
    let ready = get(&mut watched, address, "/readyz");
    assert_eq!(ready.status, 200);
    let json: Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!((&json["ready"], &json["state"]), (&true.into(), &"healthy".into()));
    // Slow is ready.
    stand_in.be(Mood::Late(Duration::from_millis(400)));
    watched.condition(IncidentKind::Slow, true);
    assert_eq!(get(&mut watched, address, "/readyz").status, 200);
    // One that does not answer, that drains or that does not run is not.
    stand_in.be(Mood::Hangs);
    watched.condition(IncidentKind::Unhealthy, true);
    assert_eq!(get(&mut watched, address, "/readyz").status, 503);
    stand_in.answers(503, r#"{"ready":false,"unhealthy":["gateway-draining"]}"#);
    watched.health(HealthState::Draining);
    assert_eq!(get(&mut watched, address, "/readyz").status, 503);
    watched.gateway(UnitStatus { state: UnitState::Ended, ..running(7) });
    watched.health(HealthState::Unknown);
    assert_eq!(get(&mut watched, address, "/readyz").status, 503);
    assert_eq!(get(&mut watched, address, "/livez").status, 200);
}

#[test]
fn where_nobody_asks_a_gateway_that_runs_is_ready() {
    let settings = WatchSettings { listen: Some("127.0.0.1:0".parse().unwrap()), ..WatchSettings::default() };
    let mut watched = Watched::start(settings);
    let address = listens(&mut watched);
    assert_eq!(get(&mut watched, address, "/readyz").status, 200);
    watched.gateway(UnitStatus { state: UnitState::Stopping, ..running(7) });
    watched.health(HealthState::Draining);
    assert_eq!(get(&mut watched, address, "/readyz").status, 503);
}

#[test]
fn only_what_is_there_is_answered() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    assert_eq!(get(&mut watched, address, "/etc/passwd").status, 404);
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let post = ask(&mut watched, address, post);
    assert!(post.status == 405 && post.head.contains("allow: GET, HEAD"), "{}", post.head);
    let head = ask(&mut watched, address, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.status == 200 && head.body.is_empty(), "{}", head.body);
    assert!(head.head.contains("content-security-policy: default-src 'none'"), "{}", head.head);
    let huge = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(address).unwrap();
    // It may hang up in the middle.
    let _ = stream.write_all(huge.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(get(&mut watched, address, "/livez").status, 200);
}

#[test]
fn sexton_is_asked_once_a_second_however_many_want_to_know() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    let begun = std::time::Instant::now();
    for path in ["/status", "/metrics", "/", "/status", "/metrics", "/"].repeat(5) {
        assert_eq!(get(&mut watched, address, path).status, 200);
    }
    let most = begun.elapsed().as_secs() + 2;
    assert!(watched.asked >= 1 && u64::from(watched.asked) <= most, "{} in {most} s", watched.asked);
    // Nobody asks: nor does it.
    watched.hear_for(Duration::from_millis(100));
    let asked = watched.asked;
    watched.hear_for(Duration::from_millis(1500));
    assert_eq!(watched.asked, asked);
}

#[test]
fn a_sexton_that_does_not_answer_is_not_pestered() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    watched.status = None;
    let begun = std::time::Instant::now();
    let scrapes: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            })
        })
        .collect();
    watched.serve_until("twenty scrapes", || scrapes.iter().all(std::thread::JoinHandle::is_finished));
    let most = begun.elapsed().as_secs() + 1;
    assert!(watched.asked >= 1 && u64::from(watched.asked) <= most, "{} in {most} s", watched.asked);
}

#[test]
fn the_status_is_sextons_with_what_is_known_better() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    let answer = get(&mut watched, address, "/status");
    let status: Status = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((status.version.as_str(), status.counters.reaped), ("9.9.9", 1234));
    let health = status.health.unwrap();
    assert!(health.state == HealthState::Healthy && health.p99_ms.is_some(), "{health:?}");
    assert_eq!(status.incidents.len(), 2);
    stand_in.be(Mood::Hangs);
    watched.condition(IncidentKind::Unhealthy, true);
    let answer = get(&mut watched, address, "/status");
    let status: Status = serde_json::from_str(&answer.body).unwrap();
    let kinds: Vec<IncidentKind> = status.incidents.iter().map(|incident| incident.kind).collect();
    assert_eq!(kinds, [IncidentKind::RestartLimit, IncidentKind::Unhealthy, IncidentKind::UnitEnded]);
    // A sexton that does not answer is said to be one.
    watched.status = None;
    watched.hear_for(Duration::from_millis(1100));
    assert_eq!(get(&mut watched, address, "/status").status, 503);
    let metrics = get(&mut watched, address, "/metrics");
    assert!(metrics.status == 200 && metrics.body.contains("\nsexton_up 0\n"), "{}", metrics.body);
}

/// Checks a text with `promtool`; `false`, after a line that says so, if there is none.
pub fn promtool(arguments: &[&str], input: &str) -> bool {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skip("promtool", "Debian: apt-get install prometheus");
        return false;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && !said.contains("lint"), "{said}\n{input}");
    true
}

/// The families of a page of metrics.
pub fn families(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn prometheus_finds_nothing_to_complain_about_and_every_metric_is_documented() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    let mut page = String::new();
    // Everything has been looked at once.
    for _ in 0..100 {
        page = get(&mut watched, address, "/metrics").body;
        if page.contains("\nsexton_locks 1\n") && page.contains("\nsexton_tree_processes ") {
            break;
        }
    }
    for line in [
        "sexton_up 1",
        "sexton_gateway_health{state=\"healthy\"} 1",
        "sexton_gateway_event_loop_delay_p99_seconds 0.0215",
        "sexton_gateway_restarts_total 3",
        "sexton_incidents_active{kind=\"restart-limit\"} 1",
        "sexton_incidents_active{kind=\"unhealthy\"} 0",
        "sexton_log_matches_total{rule=\"write-lock\"} 0",
        "sexton_unit_state{unit=\"gateway\",state=\"running\"} 1",
        "sexton_info{version=\"9.9.9\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    let table = include_str!("../../packaging/grafana/README.md");
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect();
    assert_eq!(families(&page), documented, "packaging/grafana/README.md has the table");
    promtool(&["check", "metrics"], &page);

    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let open = ask(&mut watched, address, request);
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("\n# EOF\n") && open.body.contains("# TYPE sexton_reaped counter\n"));
}

#[test]
fn the_page_shows_everything_and_lets_nothing_through() {
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    // The first look at the locks may take longer than the first answer of the gateway.
    wait_until("the locks have been looked at", || {
        get(&mut watched, address, "/").body.contains("a.jsonl.lock")
    });
    let answer = get(&mut watched, address, "/");
    let page = &answer.body;
    assert!(answer.head.contains("content-type: text/html; charset=utf-8"), "{}", answer.head);
    for part in
        ["<svg ", "class=\"pill good\">healthy<", "redis-server", "a.jsonl.lock", "9.9.9", "restart-limit"]
    {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains('\u{202e}'), "{page}");
    assert!(page.contains("&lt;script&gt;alert('1')&lt;/script&gt;&quot;&amp;"), "{page}");
    // Nothing from elsewhere.
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word} is in the page");
    }
}

#[test]
fn it_stays_small_over_a_thousand_scrapes() {
    // Built for debugging, a program of several commands takes twice as much and more.
    let shipped =
        Path::new(env!("CARGO_BIN_EXE_sexton-watch")).ancestors().nth(2).unwrap().join("dist/sexton-watch");
    if !shipped.is_file() {
        return skip("the static sexton-watch", "packaging/build-release --fast");
    }
    let stand_in = StandIn::start();
    let (mut watched, address) = serving_by(Watched::silent_of(&shipped), &stand_in);
    let scrapes = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..1000 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut page = String::new();
            // The last metric is the last line.
            while !(page.contains("\nsexton_watch_resident_memory_bytes ") && page.ends_with('\n')) {
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0, "it has hung up");
                page.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
        }
    });
    watched.serve_until("a thousand scrapes", || scrapes.is_finished());
    scrapes.join().unwrap();
    for path in ["/", "/status"].repeat(20) {
        get(&mut watched, address, path);
    }
    let rss = crate::common::process::status(watched.child.id().cast_signed(), "VmRSS").unwrap();
    let kib: u64 = rss.strip_suffix(" kB").unwrap().trim().parse().unwrap();
    println!("sexton-watch has {kib} KiB");
    assert!(kib < 12 * 1024, "it has {kib} KiB");
}

/// What a browser makes of it. Where `SEXTON_TEST_PICTURES` names a directory, the pictures stay there.
#[test]
fn a_browser_shows_the_page_without_a_complaint() {
    if Command::new("chromium").arg("--version").output().is_err() {
        return skip("chromium", "Debian: apt-get install chromium");
    }
    let stand_in = StandIn::start();
    let (mut watched, address) = serving(&stand_in);
    watched.hear_for(Duration::from_secs(1));
    stand_in.be(Mood::Late(Duration::from_millis(400)));
    watched.condition(IncidentKind::Slow, true);
    stand_in.answers(200, "{}");
    watched.hear_for(Duration::from_secs(1));
    let kept = std::env::var_os("SEXTON_TEST_PICTURES").map(std::path::PathBuf::from);
    for scheme in ["light", "dark"] {
        let picture = kept.clone().unwrap_or_else(|| watched.path("")).join(format!("{scheme}.png"));
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--window-size=1100,1500", "--enable-logging=stderr", "--v=0"])
            .arg(format!("--user-data-dir={}", watched.path(scheme).display()))
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("--blink-settings=preferredColorScheme={}", if scheme == "dark" { 0 } else { 1 }))
            .arg(format!("http://{address}/"));
        let mut browser = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = browser.stderr.take().unwrap();
        let reading = std::thread::spawn(move || stderr.read_to_string(&mut said).map(|_| said).unwrap());
        watched.serve_until("the browser has a picture", || browser.try_wait().unwrap().is_some());
        let said = reading.join().unwrap();
        assert!(!said.contains("CONSOLE"), "the browser complains: {said}");
        let picture = std::fs::read(&picture).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
    }
}
