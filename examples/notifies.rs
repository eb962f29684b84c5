//! `notifies FIFO`
//!
//! It promises: each line that is written into FIFO is sent to the service manager that `NOTIFY_SOCKET` names, as
//! one message, with a newline for each `|`; the line is printed when that is done. A line `exit N` ends it with N, and
//! `with FILE MESSAGE` sends a descriptor of FILE with the message.
#![allow(clippy::unwrap_used, reason = "a test helper: a failure must be loud")]

use std::io::{BufRead as _, BufReader, IoSlice};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

fn send_with(socket: &UnixDatagram, name: &str, message: &str, file: &str) {
    let address = match name.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(name),
    };
    let file = std::fs::File::open(file).unwrap();
    let (parts, numbers) = ([IoSlice::new(message.as_bytes())], [file.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg(socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), Some(&address.unwrap())).unwrap();
}

fn main() -> ExitCode {
    let fifo = std::env::args_os().nth(1).unwrap();
    let name = std::env::var("NOTIFY_SOCKET").unwrap();
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
        None => SocketAddr::from_pathname(&name).unwrap(),
    };
    let socket = UnixDatagram::unbound().unwrap();
    println!("ready");
    // Open for both, so that it does not end when whoever writes has closed it.
    let fifo = std::fs::File::options().read(true).write(true).open(fifo).unwrap();
    for line in BufReader::new(fifo).lines() {
        let line = line.unwrap();
        if let Some(code) = line.strip_prefix("exit ") {
            return code.parse::<u8>().unwrap().into();
        }
        let message = |text: &str| text.replace('|', "\n");
        match line.strip_prefix("with ").and_then(|rest| rest.split_once(' ')) {
            Some((file, text)) => send_with(&socket, &name, &message(text), file),
            None => drop(socket.send_to_addr(message(&line).as_bytes(), &address).unwrap()),
        }
        println!("{line}");
    }
    ExitCode::SUCCESS
}
