//! `slow_gateway PORT START ANSWER [LOCK]`: a gateway's stand-in on 127.0.0.1 that takes START milliseconds to begin and
//! ANSWER milliseconds for each answer. It takes LOCK and does not release it, until TERM ends it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a helper of the tests: what goes wrong must be loud"
)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let time = |place: usize| Duration::from_millis(arguments[place].parse().unwrap());
    // It is open as long as we live, as OpenClaw's session locks are.
    let _lock = arguments.get(4).map(|path| {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        let mut lock = File::create_new(path).unwrap();
        let text = format!("{{\"pid\":{},\"createdAt\":\"2026-11-22T06:59:25.232Z\"}}\n", std::process::id());
        lock.write_all(text.as_bytes()).unwrap();
        lock
    });
    std::thread::sleep(time(2));
    let listener = TcpListener::bind(("127.0.0.1", arguments[1].parse().unwrap())).unwrap();
    while let Ok((stream, _)) = listener.accept() {
        // Whoever hangs up early has his reasons.
        let _ = answer(stream, time(3));
    }
}

fn answer(mut stream: TcpStream, after: Duration) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    std::thread::sleep(after);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
}
