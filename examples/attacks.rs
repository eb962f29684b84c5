//! `attacks serve ANSWERS ORDERS`, and `attacks CLASS ROOT DECOY MILLISECONDS SOCKET`: what a gateway's user can try against
//! the sexton above it.
//!
//! The first is the main process: it writes `r` into ANSWERS when it is ready, `u` for each SIGUSR1, and `d` when an order
//! has been carried out. Each line of ORDERS is one: the arguments of several attacks, separated by `;`, which run at once.
//!
//! The second tries one class for so long:
//!
//! - `links`: each step of the way to ROOT and below it becomes a link into DECOY, and itself again;
//! - `hardlinks`: files of DECOY come and go under the names of locks;
//! - `specials`: FIFOs, sockets, directories and loops with the names of locks;
//! - `contents`: locks that are huge, torn, endless, forged, and rewritten all the time;
//! - `records`: `.sexton.lock` and `.sexton.marks` that are forged, locked, linked, or no files;
//! - `leases`: leases and locks on everything that a sweep opens;
//! - `orphans`: bursts of orphans that bear the marks of tools and leave locks;
//! - `notices`: forged messages of a gateway, with descriptors;
//! - `clients`: forged registrations, ends and cancellations, and half lines, on SOCKET;
//! - `rights`: everything by which a process could get a right that it has not, through PID 1 or a file below ROOT.
//!
//! Whatever of the last one has succeeded is written into the file `gained` above ROOT.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test helper: a failure must be loud"
)]
#![allow(unsafe_code, reason = "fork(2), and calls that nix has no name for")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::{Gid, Pid, Uid, chroot, setgid, setgroups, setresuid, setuid};

/// What lies below ROOT and below each tree of DECOY.
const STEPS: [&str; 7] =
    ["", "agents", "agents/main", "agents/main/sessions", "run", "browser", "browser/p/user-data"];
/// Names that are locks to sexton.
const LOCKS: [&str; 6] = [
    "agents/main/sessions/a.jsonl.lock",
    "agents/main/sessions/b.jsonl.lock",
    "run/worker.pid",
    "gateway.1.lock",
    "browser/p/user-data/SingletonLock",
    "locks/oauth-refresh/x.lock",
];
/// A number that no kernel gives to a process.
const DEAD: &str = r#"{"pid":4194304,"createdAt":"2026-11-22T06:59:25.232Z","starttime":1}"#;

/// Short pauses and choices that differ from process to process.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    /// So that the others have their time, too.
    fn pause(&mut self) {
        sleep(Duration::from_micros(200 + self.next(800) as u64));
    }
}

struct Attack {
    root: PathBuf,
    decoy: PathBuf,
    until: Instant,
    socket: PathBuf,
    chance: Chance,
}

impl Attack {
    fn goes_on(&mut self) -> bool {
        self.chance.pause();
        Instant::now() < self.until
    }

    /// One of the trees of DECOY, which belong to root, to somebody else, and to us.
    fn tree(&mut self) -> PathBuf {
        self.decoy.join(["root", "other", "own"][self.chance.next(3)])
    }

    fn lock(&mut self) -> PathBuf {
        self.root.join(LOCKS[self.chance.next(LOCKS.len())])
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [word, answers, orders] if word == "serve" => serve(answers, orders),
        [class, root, decoy, millis, socket] => {
            let mut attack = Attack {
                root: root.into(),
                decoy: decoy.into(),
                until: Instant::now() + Duration::from_millis(millis.parse().unwrap()),
                socket: socket.into(),
                chance: Chance(u64::from(std::process::id())),
            };
            match class.as_str() {
                "links" => links(&mut attack),
                "hardlinks" => hard_links(&mut attack),
                "specials" => specials(&mut attack),
                "contents" => contents(&mut attack),
                "records" => records(&mut attack),
                "leases" => leases(&mut attack),
                "orphans" => orphans(&mut attack),
                "notices" => notices(&mut attack),
                "clients" => clients(&mut attack),
                "rights" => rights(&mut attack),
                _ => exit(64),
            }
        }
        _ => exit(64),
    }
}

fn serve(answers: &str, orders: &str) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGUSR1);
    // Of all threads, and of what they start.
    signals.thread_block().unwrap();
    // Open for both, so that it does not end when whoever writes has closed it.
    let orders = File::options().read(true).write(true).open(orders).unwrap();
    let mut done = File::options().write(true).open(answers).unwrap();
    let mut heard = done.try_clone().unwrap();
    heard.write_all(b"r").unwrap();
    std::thread::spawn(move || {
        for order in BufReader::new(orders).lines() {
            let begin = |words: &str| {
                let mut one = Command::new(std::env::current_exe().unwrap());
                one.args(words.split_whitespace()).stdin(Stdio::null()).spawn().ok()
            };
            let running: Vec<Child> = order.unwrap().split(';').filter_map(begin).collect();
            for mut one in running {
                let _ = one.wait();
            }
            done.write_all(b"d").unwrap();
        }
    });
    loop {
        signals.wait().unwrap();
        heard.write_all(b"u").unwrap();
    }
}

/// Opens a file to write into, made if there is none. One that is a FIFO, or has a lease of another attacker's, fails.
fn open(path: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = open(path)?;
    file.set_len(0)?;
    file.write_all(bytes)
}

/// Moves, links and exchanges fail all the time, as the others do the same: the next round tries again.
fn links(attack: &mut Attack) {
    let spare = attack.root.parent().unwrap().join(format!("spare-{}", std::process::id()));
    // Each step from the first directory of ours on.
    let above = [attack.root.parent().unwrap().to_owned(), attack.root.clone()];
    let ours: Vec<(PathBuf, String)> = above
        .into_iter()
        .zip(["..".to_owned(), String::new()])
        .chain(STEPS.iter().skip(1).map(|step| (attack.root.join(step), (*step).to_owned())))
        .collect();
    while attack.goes_on() {
        let tree = attack.tree();
        let (place, step) = &ours[attack.chance.next(ours.len())];
        let mut target = if step == ".." { tree } else { tree.join("state").join(step) };
        if attack.chance.next(8) == 0 {
            let odd = ["/etc", "..", "/", "/proc/1/root", "loop", "/root"][attack.chance.next(6)];
            target = PathBuf::from(odd);
        }
        let _ = fs::remove_file(&spare);
        if symlink(&target, &spare).is_ok() {
            let exchange = || renameat2(AT_FDCWD, &spare, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE);
            if exchange().is_ok() {
                attack.chance.pause();
                let _ = exchange();
            }
        }
        // A lock itself, or what sexton notes there.
        let name = attack.lock();
        let name = if attack.chance.next(3) == 0 { attack.root.join(".sexton.marks") } else { name };
        let inside = name.strip_prefix(&attack.root).unwrap().to_owned();
        let _ = fs::remove_file(&spare);
        if symlink(attack.tree().join("state").join(inside), &spare).is_ok() {
            let _ = fs::rename(&spare, &name);
        }
    }
    let _ = fs::remove_file(&spare);
}

fn hard_links(attack: &mut Attack) {
    let pool = attack.root.parent().unwrap().join("pool");
    while attack.goes_on() {
        for entry in fs::read_dir(&pool).into_iter().flatten().flatten() {
            let lock = attack.lock();
            if fs::rename(entry.path(), &lock).is_ok() {
                attack.chance.pause();
                let _ = fs::rename(&lock, entry.path());
            }
        }
    }
}

fn specials(attack: &mut Attack) {
    while attack.goes_on() {
        let lock = attack.lock();
        let _ = fs::remove_file(&lock);
        let _ = fs::remove_dir(&lock);
        match attack.chance.next(5) {
            0 => drop(nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::from_bits_truncate(0o666))),
            1 => drop(UnixListener::bind(&lock)),
            2 => drop(fs::create_dir(&lock)),
            3 => drop(symlink(&lock, &lock)),
            _ => drop(put(&lock, DEAD.as_bytes())),
        }
    }
    for lock in LOCKS.map(|name| attack.root.join(name)) {
        let _ = fs::remove_file(&lock).or_else(|_| fs::remove_dir(&lock));
    }
}

fn contents(attack: &mut Attack) {
    while attack.goes_on() {
        let lock = attack.lock();
        let Ok(mut file) = open(&lock) else { continue };
        let _ = file.set_len(0);
        let _ = match attack.chance.next(9) {
            0 => file.set_len(1 << 40),
            1 => file.write_all(&vec![b'{'; 1 << 20]),
            2 => file.write_all(&DEAD.as_bytes()[..attack.chance.next(DEAD.len())]),
            3 => file.write_all(&[0; 4096]),
            4 => file.write_all(b"{\"pid\":1}"),
            5 => file.write_all(b"{\"pid\":-1,\"pid\":99999999999999999999}"),
            6 => file.write_all(format!("{{\"pid\":{}}}", std::process::id()).as_bytes()),
            7 => file.set_permissions(fs::Permissions::from_mode(0o6777)),
            _ => file.write_all(DEAD.as_bytes()),
        };
    }
}

fn records(attack: &mut Attack) {
    while attack.goes_on() {
        let name = [".sexton.lock", ".sexton.marks"][attack.chance.next(2)];
        let place = attack.root.join(name);
        let _ = fs::remove_file(&place);
        let _ = fs::remove_dir(&place);
        let write = |bytes: &[u8]| put(&place, bytes);
        match attack.chance.next(7) {
            0 => drop(symlink(attack.tree().join("state").join(name), &place)),
            1 => drop(nix::unistd::mkfifo(&place, nix::sys::stat::Mode::from_bits_truncate(0o666))),
            2 => drop(fs::create_dir(&place)),
            3 => drop(write(&[0xff; 65_536])),
            // The marks of another root, and half of them.
            4 => drop(fs::read(attack.decoy.join("own/state/.sexton.marks")).and_then(|all| write(&all))),
            5 => drop(write(b"1 1 1 1 1 1\n")),
            _ => {
                if let Ok(file) = open(&place) {
                    // SAFETY: the descriptor is open.
                    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
                    attack.chance.pause();
                }
            }
        }
    }
    for name in [".sexton.lock", ".sexton.marks"] {
        let place = attack.root.join(name);
        let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir(&place));
    }
}

fn leases(attack: &mut Attack) {
    // Whoever breaks a lease sends SIGIO.
    // SAFETY: the call takes plain values.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    let mut held = Vec::new();
    while attack.goes_on() {
        let place = if attack.chance.next(4) == 0 { attack.root.join(".sexton.lock") } else { attack.lock() };
        if fs::symlink_metadata(&place).is_ok_and(|meta| !meta.is_file()) {
            continue;
        }
        let Ok(file) = open(&place) else { continue };
        let kind = [libc::F_WRLCK, libc::F_RDLCK][attack.chance.next(2)];
        // SAFETY: the descriptor is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        // SAFETY: as above.
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        held.push(file);
        if held.len() > 4 {
            held.remove(attack.chance.next(4));
        }
    }
}

fn orphans(attack: &mut Attack) {
    let sessions = attack.root.join("agents/main/sessions");
    let mut round = 0;
    while attack.goes_on() {
        round += 1;
        for number in 0..40 {
            let mut orphan = Command::new("sh");
            // The shell leaves its child to PID 1 at once. It dies with a lock in its name.
            let script = "(setsid sh -c 'exec 3>\"$0\"; echo \"{\\\"pid\\\":$$}\" >&3; read -t 1 x; kill -9 $$' \"$0\" &)";
            let lock = sessions.join(format!("o{number}.jsonl.lock"));
            orphan.arg("-c").arg(script).arg(lock).env("SEXTON_TOOL_ID", format!("forged-{round}-{number}"));
            let _ = orphan.stdin(Stdio::null()).stderr(Stdio::null()).status();
            if Instant::now() > attack.until {
                break;
            }
        }
        sleep(Duration::from_millis(50));
    }
}

fn notices(attack: &mut Attack) {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok() else { return };
    let name = name.trim_start_matches('@').to_owned();
    let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    let plain = SocketAddr::from_abstract_name(&name).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    let null = File::open("/dev/null").unwrap();
    let descriptors = [null.as_raw_fd(); 100];
    let long = format!("STATUS={}", "x".repeat(60_000));
    while attack.goes_on() {
        for text in ["MAINPID=1", "MAINPID=-1\nMAINPIDFDID=1", "\0\0", "STATUS=\u{1b}]0;x\u{7}", "=", &long] {
            let _ = sender.send_to_addr(text.as_bytes(), &plain);
        }
        let parts = [IoSlice::new(b"FDSTORE=1\nFDNAME=x")];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let _ = sendmsg(sender.as_raw_fd(), &parts, &rights, MsgFlags::MSG_DONTWAIT, Some(&address));
    }
}

/// All processes that can be seen.
fn numbers() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn clients(attack: &mut Attack) {
    let mut held = Vec::new();
    let mut round = 0;
    while attack.goes_on() {
        round += 1;
        let Ok(mut stream) = UnixStream::connect(&attack.socket) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let all = numbers();
        let pid = all[attack.chance.next(all.len())];
        let deep = "[".repeat(2000);
        let line = match attack.chance.next(8) {
            // Only who may not use the socket at all tries these.
            0 if !nix::unistd::getuid().is_root() => "{\"op\":\"stop\"}".to_owned(),
            1 if !nix::unistd::getuid().is_root() => "{\"op\":\"signal\",\"signal\":\"KILL\"}".to_owned(),
            0 | 1 => format!("{{\"op\":\"status\",\"x\":{deep}"),
            2 | 3 => format!(
                "{{\"op\":\"tool-began\",\"id\":\"f{round}\",\"name\":\"\\u0001\",\"argv\":[],\"supervisor\":{pid},\
                 \"pid\":{pid},\"began\":1}}"
            ),
            4 => format!(
                "{{\"op\":\"tool-ended\",\"id\":\"f{round}\",\"name\":\"x\",\"ended\":9,\"duration\":4,\
                 \"outcome\":{{\"lost\":{{}}}},\"pid\":{pid},\"killed\":[{{\"pid\":{pid}}}]}}"
            ),
            5 => format!("{{\"op\":\"cancel\",\"tool\":\"f{}\"}}", round - 1),
            6 => "{\"op\":\"reload\"}".to_owned(),
            _ => "{\"op\":\"sta".to_owned(),
        };
        let _ = stream.write_all(line.as_bytes());
        if attack.chance.next(3) > 0 {
            let _ = stream.write_all(b"\n");
            let _ = stream.read(&mut [0; 4096]);
        }
        held.push(stream);
        if held.len() > 40 {
            held.remove(0);
        }
    }
}

fn rights(attack: &mut Attack) {
    let gained = attack.root.parent().unwrap().join("gained");
    let say = |what: &str| {
        let mut file = File::options().append(true).create(true).open(&gained).unwrap();
        writeln!(file, "{what}").unwrap();
    };
    while attack.goes_on() {
        let (root, init) = (Uid::from_raw(0), Pid::from_raw(1));
        let few = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
        // SAFETY: the limits are only read.
        let limited = unsafe { libc::prlimit(1, libc::RLIMIT_NOFILE, &raw const few, std::ptr::null_mut()) };
        // SAFETY: the call takes plain values.
        let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, 1, 0, 0) };
        for (name, done) in [
            ("setuid", setuid(root).is_ok()),
            ("setresuid", setresuid(root, root, root).is_ok()),
            ("setgid", setgid(Gid::from_raw(0)).is_ok()),
            ("setgroups", setgroups(&[Gid::from_raw(0)]).is_ok()),
            ("kill", kill(init, Signal::SIGKILL).is_ok()),
            ("stop", kill(init, Signal::SIGSTOP).is_ok()),
            ("chroot", chroot("/").is_ok()),
            ("prlimit", limited == 0),
            ("ptrace", traced == 0),
        ] {
            if done {
                say(name);
            }
        }
        for file in ["mem", "environ", "oom_score_adj", "root/etc/shadow", "cwd/.", "fd/0", "coredump_filter"]
        {
            let path = format!("/proc/1/{file}");
            if File::options().write(true).open(&path).is_ok() {
                say(&path);
            }
        }
        for namespace in ["mnt", "pid", "user", "net"] {
            if let Ok(file) = File::open(format!("/proc/1/ns/{namespace}")) {
                // SAFETY: the descriptor is open.
                if unsafe { libc::setns(file.as_raw_fd(), 0) } == 0 {
                    say(namespace);
                }
            }
        }
        // A file of root's below the root, and one that makes root of whoever executes it.
        let mut places = vec![attack.root.clone()];
        while let Some(place) = places.pop() {
            for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    places.push(entry.path());
                } else if meta.is_file()
                    && meta.mode() & 0o6000 != 0
                    && meta.uid() != nix::unistd::getuid().as_raw()
                {
                    say(&format!(
                        "{} has the mode {:o} and is {}'s",
                        entry.path().display(),
                        meta.mode(),
                        meta.uid()
                    ));
                }
            }
        }
        // A program of ours in the place of a lock, with every bit that there is.
        let lock = attack.root.join("agents/main/sessions/program.jsonl.lock");
        if fs::read("/bin/true").and_then(|program| put(&lock, &program)).is_ok() {
            let _ = fs::set_permissions(&lock, fs::Permissions::from_mode(0o6777));
            if std::os::unix::fs::chown(&lock, Some(0), Some(0)).is_ok() {
                say("chown");
            }
        }
    }
}
