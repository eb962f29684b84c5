//! What is done to sexton from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::checker::SHORT_TIMEOUT;
use crate::common::PATIENCE;
use crate::common::process::{children, mask, send};
use crate::common::victim::Victim;

const KILL: i32 = 9;
const STOP: i32 = 19;
const CONT: i32 = 18;
const TERM: i32 = 15;

/// The signals of a burst; the gateway takes no notice of any.
// RTMIN+3 to RTMIN+6 and PWR ask an init for a halt.
const HARMLESS: [i32; 6] = [1, 10, 12, 28, 34, 41];

/// How many clients are connected at most.
const CLIENTS: usize = 8;

/// Lines for the control socket, and pieces of lines.
const LINES: [&str; 8] = [
    "{\"op\":\"status\"}\n",
    "{\"op\":\"subscribe\"}\n",
    "{\"op\":\"stat",
    "\u{0}\u{1}\n\n\n",
    "{\"op\":\"cancel\",\"tool\":\"soak\"}\n",
    "{\"op\":\"signal\",\"signal\":\"USR1\"}\n",
    "{\"op\":\"reload\"}\n",
    "{\"op\":\"tool-began\",\"id\":\"x\",\"name\":\"x\",\"argv\":[],\"pid\":1,\"supervisor\":1,\"began\":1}\n",
];

pub struct FaultInjector {
    random: u64,
    sexton: i32,
    socket: PathBuf,
    clock: Option<String>,
    clients: Vec<UnixStream>,
    /// How often each thing was done.
    done: [(&'static str, u32); 7],
}

impl FaultInjector {
    pub fn new(seed: u64, sexton: i32, socket: PathBuf, clock: Option<String>) -> FaultInjector {
        let names = [
            "gateways killed",
            "bursts",
            "clients",
            "watches killed",
            "stops",
            "clock steps",
            "restarts asked for",
        ];
        let done = names.map(|name| (name, 0));
        FaultInjector { random: seed | 1, sexton, socket, clock, clients: Vec::new(), done }
    }

    fn next(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % below
    }

    /// A child of sexton's, or a unit's main process, which is the child of one.
    fn child(&self, name: &str) -> Option<i32> {
        let near = children(self.sexton);
        let far = near.iter().filter(|child| child.name == "sexton").flat_map(|child| children(child.pid));
        let mut all = near.iter().cloned().chain(far);
        all.find(|child| child.name == name && !child.dead()).map(|child| child.pid)
    }

    /// One deed, or none.
    pub fn act(&mut self) {
        let deed = match self.next(100) {
            0 => self.kill("restless", 0),
            1..4 => self.burst(),
            4..20 => self.speak(),
            20 => self.kill("sexton-watch", 3),
            21..23 => self.stop(),
            23..25 => self.set_clock(),
            25 if self.next(4) == 0 => self.restart(),
            _ => None,
        };
        if let Some(deed) = deed {
            self.done[deed].1 += 1;
        }
    }

    fn kill(&self, name: &str, deed: usize) -> Option<usize> {
        send(self.child(name)?, KILL).ok().map(|()| deed)
    }

    fn burst(&mut self) -> Option<usize> {
        for _ in 0..50 {
            let signal = HARMLESS[self.next(HARMLESS.len() as u64) as usize];
            send(self.sexton, signal).unwrap();
        }
        Some(1)
    }

    /// A client says something, and hangs up at some time or never.
    fn speak(&mut self) -> Option<usize> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_nonblocking(true).unwrap();
        for _ in 0..=self.next(3) {
            let line = LINES[self.next(LINES.len() as u64) as usize];
            // One whom sexton has had enough of may find the door shut.
            let _ = stream.write_all(line.as_bytes());
        }
        self.clients.push(stream);
        if self.clients.len() > CLIENTS {
            let whom = self.next(CLIENTS as u64) as usize;
            self.clients.swap_remove(whom);
        }
        Some(2)
    }

    fn stop(&mut self) -> Option<usize> {
        send(self.sexton, STOP).unwrap();
        thread::sleep(Duration::from_millis(self.next(300)));
        send(self.sexton, CONT).unwrap();
        Some(4)
    }

    fn set_clock(&mut self) -> Option<usize> {
        let file = self.clock.clone()?;
        let steps = ["-3600", "+0", "+86400", "-86400", "+3"];
        let step = steps[self.next(steps.len() as u64) as usize];
        // Whoever reads it sees all of it or the old one.
        let aside = format!("{file}.new");
        fs::write(&aside, step).unwrap();
        fs::rename(&aside, &file).unwrap();
        Some(5)
    }

    fn restart(&self) -> Option<usize> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.write_all(b"{\"op\":\"restart\"}\n").ok().map(|()| 6)
    }

    /// No more of it: sexton says that the gateway runs, and that can hear a TERM. One that was started a moment ago,
    /// after a kill or a restart, would be ended by it, and its code would be the signal's.
    pub fn settle(&mut self, victim: &Victim) {
        self.clients.clear();
        // As long as the checker gives a gateway for its start.
        let end = Instant::now() + SHORT_TIMEOUT;
        let hears_term = |pid| mask(pid, "SigCgt") & 1 << (TERM - 1) != 0;
        while !(self.runs() && self.child("restless").is_some_and(hears_term) && self.runs()) {
            if Instant::now() > end {
                let gateway = self.child("restless").map(|pid| (pid, hears_term(pid)));
                let said = victim.stderr();
                let tail: Vec<&str> = said.lines().rev().take(50).collect();
                panic!("after the chaos: runs {}, gateway {gateway:?}: {tail:#?}", self.runs());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether sexton answers, and says that the gateway runs and is about to be neither stopped nor started.
    fn runs(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = String::new();
        let asked = stream.write_all(b"{\"op\":\"status\"}\n");
        let told = asked.and_then(|()| BufReader::new(stream).read_line(&mut line));
        let reply: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        told.is_ok() && reply["status"]["gateway"]["state"] == "running"
    }

    pub fn tally(&self) -> String {
        let words = self.done.iter().map(|(name, count)| format!("{count} {name}"));
        words.collect::<Vec<_>>().join(", ")
    }
}
