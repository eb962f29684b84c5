//! `gateway PORT STATE LOG`: a gateway's stand-in with one event loop, on 127.0.0.1.
//!
//! It answers one connection after another, and TERM between two of them; while the loop is blocked the port stays
//! bound and the kernel still takes connections. A GET of each path does this:
//!
//! * `/readyz`, `/healthz`: says that it is well, with the fields that OpenClaw has.
//! * `/pid`: says its pid.
//! * `/turn/NAME`: takes the lock of that session below STATE, and releases it. Where somebody has it, it tries 160 times, writes
//!   `SessionWriteLockTimeoutError` to LOG each time, and says 500.
//! * `/leak/NAME`: a run that times out: the lock stays taken, with 1000 ms as its own limit, and memory grows by 10 MiB
//!   a second from then on.
//! * `/grow`: memory grows by 20 MiB a second.
//! * `/log`: writes one `SessionWriteLockTimeoutError` to LOG.
//! * `/zombies`: starts 20 children, and reaps none.
//! * `/hog`: starts a child that takes memory as fast as it can, until somebody ends it.
//! * `/swell`: takes memory as fast as it can itself.
//! * `/block`: answers, and then blocks the event loop for ever.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a helper of the tests: what goes wrong must be loud"
)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;

struct Gateway {
    state: PathBuf,
    log: PathBuf,
    /// The lock that a run which timed out has left taken.
    leaked: Option<File>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[1] == "hog" {
        hog();
    }
    let [_, port, state, log] = &arguments[..] else { panic!("gateway PORT STATE LOG") };
    let over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&over)).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut gateway = Gateway { state: state.into(), log: log.into(), leaked: None };
    println!("up");
    while !over.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                // Whoever hangs up early has his reasons.
                let _ = gateway.serve(stream);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Gateway {
    fn serve(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = self.answer(path);
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        if path == "/block" {
            // The client sees the end of the answer.
            drop(stream);
            loop {
                std::thread::park();
            }
        }
        Ok(())
    }

    fn answer(&mut self, path: &str) -> (u16, String) {
        let done = |body: &str| (200, body.to_owned());
        let (what, session) = path.rsplit_once('/').unwrap_or_default();
        match path {
            _ if what == "/turn" => match self.turn(session) {
                true => done("done"),
                false => (500, "the session is locked".to_owned()),
            },
            _ if what == "/leak" => {
                self.leaked = self.take(session);
                grow(10);
                done("leaked")
            }
            "/readyz" | "/healthz" => {
                let event_loop = json!({"degraded": false, "delayP99Ms": 21.5, "utilization": 0.25});
                done(&json!({"ready": true, "eventLoop": event_loop}).to_string())
            }
            "/pid" => done(&process::id().to_string()),
            "/grow" => {
                grow(20);
                done("grows")
            }
            "/log" => {
                self.print_error();
                done("logged")
            }
            "/zombies" => {
                for _ in 0..20 {
                    // A child that nobody waits for.
                    drop(Command::new("true").spawn().unwrap());
                }
                done("20")
            }
            "/hog" => {
                drop(Command::new(std::env::current_exe().unwrap()).arg("hog").spawn().unwrap());
                done("started")
            }
            "/swell" => swell(),
            "/block" => done("blocked"),
            _ => (404, String::new()),
        }
    }

    fn lock(&self, session: &str) -> PathBuf {
        self.state.join(format!("agents/main/sessions/{session}.jsonl.lock"))
    }

    /// OpenClaw's way: the file is made exclusively and stays open as long as the lock is held.
    fn take(&self, session: &str) -> Option<File> {
        let path = self.lock(session);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create_new(&path).ok()?;
        let created = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let payload = json!({
            "pid": process::id(), "createdAt": created, "maxHoldMs": 1000, "starttime": started(),
        });
        writeln!(file, "{payload:#}").unwrap();
        Some(file)
    }

    fn turn(&self, session: &str) -> bool {
        for _ in 0..160 {
            if let Some(file) = self.take(session) {
                drop(file);
                fs::remove_file(self.lock(session)).unwrap();
                return true;
            }
            self.print_error();
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    fn print_error(&self) {
        let mut log = File::options().append(true).create(true).open(&self.log).unwrap();
        let line = json!({"level": "error", "msg": "SessionWriteLockTimeoutError: session file locked"});
        writeln!(log, "{line}").unwrap();
    }
}

/// When we were started: field 22 of /proc/PID/stat.
fn started() -> u64 {
    let stat = fs::read_to_string(Path::new("/proc/self/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(19).unwrap().parse().unwrap()
}

/// So many MiB a second, in steps of a tenth, on a thread of its own.
fn grow(rate: usize) {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            kept.push(vec![1_u8; (rate << 20) / 10]);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

fn hog() -> ! {
    // Whoever has to be killed for want of memory: us.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    swell()
}

fn swell() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
    }
}
