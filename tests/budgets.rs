//! What others can cost sexton at most, however many they are: its memory, its time, and the answer to a probe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc::SIGTERM;
use serde_json::Value;

use common::victim::{Mode, Plan, plan};
use common::{NEVER, PATIENCE, sexton, wait_until};

/// A plan with a control socket in the victim's own directory.
fn controlled(mode: Mode) -> Option<(Plan, PathBuf)> {
    let plan = plan(mode)?.options(["--grace", NEVER, "--kill-after", NEVER]);
    let socket = PathBuf::from(plan.path("run/control.sock"));
    let plan = plan.variable("SEXTON_CONTROL", socket.to_str().unwrap());
    Some((plan, socket))
}

/// How things are, as `sexton status` tells it.
fn status(socket: &Path) -> Option<Value> {
    let words = ["status", "--json", "--control", socket.to_str().unwrap()];
    serde_json::from_slice(&Command::new(sexton()).args(words).output().unwrap().stdout).ok()
}

/// Asks for `/livez` over a connection of its own, as the probe of a container does. How long the answer took.
fn livez(address: SocketAddr) -> Result<Duration, String> {
    /// Longer than any probe has, so that a failure tells by how much it is too late.
    const LIMIT: Duration = Duration::from_secs(8);
    let begun = Instant::now();
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    match asked() {
        Ok(text) if text.starts_with("HTTP/1.1 200 ") => Ok(begun.elapsed()),
        other => Err(format!("{other:?} after {:?}", begun.elapsed())),
    }
}

#[test]
fn http_clients_that_say_nothing_keep_no_probe_from_its_answer() {
    let Some((plan, socket)) = controlled(Mode::Tree) else { return };
    let config = plan.path("sexton.toml");
    fs::write(&config, "[watch]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let mut victim = plan.options(["--config", &config]).run(["sleep", "1000"]);
    let mut address = None;
    wait_until("it listens", || {
        let status = status(&socket);
        address = status.and_then(|status| status["watch"].as_str()?.parse::<SocketAddr>().ok());
        address.is_some()
    });
    let address = address.unwrap();
    livez(address).unwrap();
    // Three times as many as it takes at once, in three kinds: mute, in the middle of a request, and idle after one.
    let quiet: Vec<TcpStream> = (0..192)
        .map(|number| {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET / HTTP/1.1\r\nX").unwrap(),
                _ => stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(),
            }
            stream
        })
        .collect();
    // A probe that misses its second once is asked again before a gateway is killed for it.
    let times: Vec<_> = (0..5).map(|_| livez(address)).collect();
    let in_time = times.iter().filter(|time| matches!(time, Ok(time) if *time < Duration::from_secs(1)));
    assert!(in_time.count() >= 4, "{times:?}; {}", victim.stderr());
    drop(quiet);
    // Who connects has a request to send, and need not be waited for as long as one who may have another.
    let mut mute = TcpStream::connect(address).unwrap();
    mute.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(mute.read(&mut [0]).map_err(|error| error.kind()), Ok(0), "it is hung up on");
    victim.signal(SIGTERM);
    victim.ends_with(143);
}
