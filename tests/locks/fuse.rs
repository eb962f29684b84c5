//! A FUSE filesystem with two files in it, a lock and the registration of sextons, served by a thread of the test.
//!
//! It speaks just enough of the protocol (linux/fuse.h, version 7.31) for a sweep, and refuses to change anything. Or
//! it hangs: it takes every question and never answers.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const ROOT: u64 = 1;
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const UNLINK: u32 = 10;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
/// The length of what comes before each request, and the largest request.
const HEADER: usize = 40;
const LARGEST: usize = 256 * 1024;

/// The filesystem, until the value goes away.
pub struct Fuse {
    path: PathBuf,
    server: Option<JoinHandle<Vec<u32>>>,
}

impl Fuse {
    /// Mounts it on `path`, with `content` in a lock of the name `name`.
    pub fn mount(path: &Path, name: &str, content: &str) -> Fuse {
        let files = vec![(name.to_owned(), content.to_owned()), (".sexton.lock".to_owned(), String::new())];
        Fuse::serve(path, files, false)
    }

    /// Mounts one on `path` that hangs, where only this thread sees it, and whoever it starts. Who asks it for anything
    /// cannot even be killed, until the value goes away.
    pub fn hanging(path: &Path) -> Fuse {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        Fuse::serve(path, Vec::new(), true)
    }

    fn serve(path: &Path, files: Vec<(String, String)>, hangs: bool) -> Fuse {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let none = MsFlags::empty();
        mount(Some("sexton-test"), path, Some("fuse"), none, Some(options.as_str())).unwrap();
        let server = std::thread::spawn(move || Server { device, files, hangs, asked: Vec::new() }.run());
        Fuse { path: path.to_owned(), server: Some(server) }
    }

    /// How often it was asked to remove something. Nothing on it may be open any more.
    pub fn removals(mut self) -> usize {
        assert!(Command::new("umount").arg(&self.path).status().unwrap().success());
        let asked = self.server.take().unwrap().join().unwrap();
        asked.into_iter().filter(|asked| *asked == UNLINK).count()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if self.server.is_some() {
            // By force, so that who waits for an answer gets an error. The server ends when the last one has closed
            // what it has open there.
            let _ = umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        }
    }
}

struct Server {
    device: File,
    files: Vec<(String, String)>,
    hangs: bool,
    asked: Vec<u32>,
}

impl Server {
    /// Answers until it is unmounted, and gives what it was asked.
    fn run(mut self) -> Vec<u32> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let length = match self.device.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) => {
                    continue;
                }
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
                    return self.asked;
                }
            };
            let (header, body) = buffer[..length].split_at(HEADER);
            let (opcode, node) = (number(header, 4), long(header, 16));
            self.asked.push(opcode);
            if matches!(opcode, FORGET | BATCH_FORGET | INTERRUPT) || (self.hangs && opcode != INIT) {
                continue;
            }
            let (error, answer) = match self.answer(opcode, node, body) {
                Ok(answer) => (0, answer),
                Err(error) => (-error, Vec::new()),
            };
            let length = u32::try_from(16 + answer.len()).unwrap();
            let head = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &header[8..16]].concat();
            // The process that asked may be gone.
            let _ = self.device.write(&[head, answer].concat());
        }
    }

    fn answer(&self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        Ok(match opcode {
            INIT => {
                let mut answer = [7_u32, 31, 0, 0, 0, 65_536, 1, 0].map(u32::to_ne_bytes).concat();
                answer.resize(64, 0);
                answer
            }
            LOOKUP => {
                let name = body.strip_suffix(&[0]).unwrap_or(body);
                let place = self.files.iter().position(|(file, _)| file.as_bytes() == name);
                let node = place.ok_or(libc::ENOENT)? as u64 + ROOT + 1;
                [[node, 0, 0, 0, 0].map(u64::to_ne_bytes).concat(), self.attributes(node)].concat()
            }
            GETATTR => [vec![0; 16], self.attributes(node)].concat(),
            OPEN | OPENDIR => vec![0; 16],
            READ => {
                let text = self.content(node).as_bytes();
                let begin = text.len().min(long(body, 8) as usize);
                text[begin..text.len().min(begin + number(body, 16) as usize)].to_vec()
            }
            READDIR if long(body, 8) == 0 => {
                let mut answer = Vec::new();
                for (place, (name, _)) in (1_u64..).zip(&self.files) {
                    answer.extend([ROOT + place, place].map(u64::to_ne_bytes).concat());
                    // A regular file.
                    answer.extend([name.len() as u32, 8].map(u32::to_ne_bytes).concat());
                    answer.extend(name.as_bytes());
                    answer.resize(answer.len().next_multiple_of(8), 0);
                }
                answer
            }
            STATFS => vec![0; 80],
            READDIR | RELEASE | RELEASEDIR | FLUSH => Vec::new(),
            UNLINK => return Err(libc::EROFS),
            _ => return Err(libc::ENOSYS),
        })
    }

    fn content(&self, node: u64) -> &str {
        let place = node.checked_sub(ROOT + 1).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.files.get(place)).map_or("", |(_, content)| content)
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let (mode, links) = if node == ROOT { (0o040_755, 2) } else { (0o100_644, 1) };
        let longs = [node, self.content(node).len() as u64, 1, 0, 1_000_000, 0];
        let numbers = [0, 0, 0, mode, links, 0, 0, 0, 4096, 0];
        [longs.map(u64::to_ne_bytes).concat(), numbers.map(u32::to_ne_bytes).concat()].concat()
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
