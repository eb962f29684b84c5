//! `control_hostile [SEXTON [SIGNALS]]`: how long a signal takes through sexton while a thousand hostile
//! connections come to its control socket, beside how long it takes without them.
//!
//! It starts SEXTON (the one beside it) with itself as the command, sends SIGUSR1 again and again, and measures
//! the time until the command says that it came. The quiet and the hostile rounds take turns, so that what else
//! the machine does meets both.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement: a failure must be loud"
)]

use std::env;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

/// How many rounds there are of each kind.
const ROUNDS: usize = 10;
/// How many connections come in all, over the hostile rounds.
const CONNECTIONS: usize = 1000;

fn main() {
    let mut arguments = env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("say") {
        return say();
    }
    let beside = || env::current_exe().unwrap().parent().unwrap().with_file_name("sexton");
    let sexton = first.map_or_else(beside, PathBuf::from);
    let signals: usize = arguments.next().map_or(2000, |number| number.parse().unwrap());

    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let mut child = Command::new(&sexton)
        .args(["--no-locks", "--control", socket.to_str().unwrap(), "--"])
        .arg(env::current_exe().unwrap())
        .arg("say")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut said = child.stdout.take().unwrap();
    said.read_exact(&mut [0]).unwrap();

    let mut times = [Vec::new(), Vec::new()];
    let mut answers = 0;
    for _ in 0..ROUNDS {
        for (hostile, times) in [false, true].into_iter().zip(&mut times) {
            let over = AtomicBool::new(false);
            let sent = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                if hostile {
                    scope.spawn(|| be_hostile(&socket, &sent, &over));
                }
                for number in 0..signals / ROUNDS {
                    // The connections are spread over the round.
                    sent.store(number * CONNECTIONS / signals + 1, Ordering::Relaxed);
                    let begun = Instant::now();
                    kill(pid, Signal::SIGUSR1).unwrap();
                    said.read_exact(&mut [0]).unwrap();
                    times.push(begun.elapsed());
                    std::thread::sleep(Duration::from_micros(500));
                }
                over.store(true, Ordering::Relaxed);
            });
        }
        answers += usize::from(is_answered(&socket));
        // The rest of what the hostile round has left behind is not to meet the quiet one.
        std::thread::sleep(Duration::from_millis(200));
    }
    kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let [quiet, hostile] = times.map(|mut times| {
        times.sort();
        [50, 99].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6)
    });
    println!(
        "{} signals each, {CONNECTIONS} hostile connections, {answers} calls in between answered",
        signals
    );
    println!("quiet    median {:6.1} us   p99 {:6.1} us", quiet[0], quiet[1]);
    println!("hostile  median {:6.1} us   p99 {:6.1} us", hostile[0], hostile[1]);
    println!("p99 hostile to quiet: {:.2}", hostile[1] / quiet[1]);
}

/// Whether somebody who asks how things are is told, in a second.
fn is_answered(socket: &Path) -> bool {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(b"{\"op\":\"status\"}\n").unwrap();
    stream.read(&mut [0; 16]).is_ok_and(|length| length > 0)
}

/// The command: one byte when it is ready, and one for each signal.
fn say() {
    SigSet::all().thread_block().unwrap();
    let signals = SignalFd::new(&SigSet::all()).unwrap();
    let mut out = std::io::stdout();
    loop {
        out.write_all(b"x").unwrap();
        out.flush().unwrap();
        signals.read_signal().unwrap().unwrap();
    }
}

/// Opens as many connections as `wanted` says, of every kind in turn, and lets them all be until it is over.
fn be_hostile(socket: &Path, wanted: &AtomicUsize, over: &AtomicBool) {
    let mut held = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if held.len() >= wanted.load(Ordering::Relaxed) {
            for stream in &held {
                drip(stream);
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let Ok(stream) = UnixStream::connect(socket) else { continue };
        stream.set_nonblocking(true).unwrap();
        let mut writer = &stream;
        // What is not taken is not the point.
        let _ = match held.len() % 6 {
            0 => Ok(0),
            1 => writer.write(b"{\"op\":"),
            2 => writer.write(&[b'x'; 100_000]),
            3 => writer.write(&b"[[[[{\"\0\n\n\n".repeat(200)),
            4 => writer.write(&b"{\"op\":\"status\"}\n".repeat(1000)),
            _ => stream.shutdown(Shutdown::Write).map(|()| 0),
        };
        held.push(stream);
    }
}

fn drip(mut stream: &UnixStream) {
    let _ = stream.write(b" ");
}
