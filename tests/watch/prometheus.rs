//! A real Prometheus scrapes it: it takes everything, and what changes below sexton makes no new series.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sexton::control::protocol::{Incident, IncidentKind, Status, ToolRun};

use crate::common::skip;
use crate::faces::{serving, status};
use crate::fake::{Watched, now_ms};
use crate::stand_in::StandIn;

/// How long it scrapes, once a second; `SEXTON_TEST_SCRAPING` sets another time, in seconds.
fn scraping() -> Duration {
    let seconds = std::env::var("SEXTON_TEST_SCRAPING").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// One that scrapes `target`; `None`, after a line that says so, where there is no Prometheus.
    fn start(watched: &Watched, target: SocketAddr) -> Option<Prometheus> {
        // No other process gets this port soon: the kernel hands them out at random.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = watched.path("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: sexton\n  static_configs:\n  \
             - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", watched.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(watched.path("prometheus.log")).unwrap())
            .spawn();
        let Ok(child) = child else {
            skip("prometheus", "Debian: apt-get install prometheus");
            return None;
        };
        Some(Prometheus { child, address })
    }

    /// The value of a query that has one; nothing before Prometheus listens, and before there are series.
    fn ask(&self, query: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        // HTTP/1.0 has no chunks.
        let body = format!("query={query}");
        let head = "Content-Type: application/x-www-form-urlencoded";
        write!(
            stream,
            "POST /api/v1/query HTTP/1.0\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a sexton would say at its next look: other processes, another tool, and one more incident.
fn later(round: i32) -> Status {
    let mut status = status();
    status.processes.iter_mut().for_each(|process| process.pid += round * 100);
    let tool = ToolRun { id: format!("t{round}"), name: format!("tool {round}"), ..ToolRun::default() };
    status.tools.push(tool);
    status.incidents.push(Incident {
        kind: IncidentKind::LockHeld,
        subject: format!("/data/{round}.lock"),
        detail: format!("held by {round}"),
        began: now_ms(),
        ended: None,
    });
    status
}

#[test]
fn a_real_prometheus_scrapes_it_and_finds_no_series_without_bounds() {
    let stand_in = StandIn::start();
    let (mut watched, target) = serving(&stand_in);
    let Some(prometheus) = Prometheus::start(&watched, target) else { return };
    // All that ever were, and not only those of the last scrape.
    let series = || prometheus.ask("count(last_over_time({job=\"sexton\",__name__=~\"sexton_.%2B\"}[1h]))");
    let scrapes = || prometheus.ask("count_over_time(up{job=\"sexton\"}[1h])").unwrap_or(0.0);
    // Prometheus takes its time to start, and the first scrape may come before everything was looked at once.
    watched.serve_until("three scrapes", || scrapes() >= 3.0);
    let first = series().unwrap();
    let (begun, before) = (Instant::now(), scrapes());
    let memory =
        |how: &str| prometheus.ask(&format!("{how}(sexton_watch_resident_memory_bytes[1h])")).unwrap();
    let small = memory("last_over_time");
    let mut round = 0;
    while begun.elapsed() < scraping() {
        round += 1;
        watched.status = Some(later(round));
        watched.hear_for(Duration::from_millis(250));
    }
    watched.serve_until("scrapes of all that", || scrapes() >= before + 3.0);
    let last = series().unwrap();
    println!("{first} series after {before} scrapes, {last} after {}", scrapes());
    assert!(first > 30.0 && last <= first, "{first} series have become {last}");
    assert_eq!(
        prometheus.ask("min_over_time(up{job=\"sexton\"}[1h])"),
        Some(1.0),
        "every scrape was a good one"
    );
    let most = memory("max_over_time");
    println!("sexton-watch had {small} bytes, and {most} at most");
    // What it is allowed in all is another test's: built for debugging it is larger than what is shipped.
    assert!(most < small + 2.0 * 1024.0 * 1024.0, "{small} bytes have become {most}");
    let said = std::fs::read_to_string(watched.path("prometheus.log")).unwrap();
    assert!(!said.contains("level=warn") && !said.contains("level=error"), "{said}");
}
