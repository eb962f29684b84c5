//! A fake PID 1: it starts the real `sexton-watch` with a socket, tells it what to watch, and hears what it says.
#![allow(unsafe_code, reason = "a descriptor is handed on to the child, and to it alone")]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "tests panic, and each test program uses a part of it"
)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair};
use sexton::config::watch_settings::WatchSettings;
use sexton::control::protocol::{
    Condition, Health, HealthState, Incident, IncidentKind, Request, Status, UnitState, UnitStatus,
    WatchCommand, WatchConfig, WatchReport,
};
use tempfile::TempDir;

/// A running sexton-watch, and the other end of its socket.
pub struct Watched {
    pub child: Child,
    /// What it may write to; it goes away with the test.
    pub dir: TempDir,
    socket: Option<OwnedFd>,
    /// Everything that it has said, in order.
    pub said: Vec<Request>,
    /// What it gets when it asks how everything is; nothing, if there is nothing.
    pub status: Option<Status>,
    /// How often it has asked.
    pub asked: u32,
    /// How long it is waited for what it must say.
    pub patience: Duration,
    looked_at: usize,
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

pub fn running(pid: i32) -> UnitStatus {
    UnitStatus {
        name: "gateway".into(),
        state: UnitState::Running,
        pid: Some(pid),
        since: now_ms(),
        ..UnitStatus::default()
    }
}

impl Watched {
    /// Starts it and tells it nothing.
    pub fn silent() -> Watched {
        Watched::silent_of(Path::new(env!("CARGO_BIN_EXE_sexton-watch")))
    }

    /// The same for another build of it.
    pub fn silent_of(program: &Path) -> Watched {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.env("SEXTON_WATCH_FD", theirs.as_raw_fd().to_string()).env("SEXTON_LOG", "debug");
        command.stdin(Stdio::null()).stderr(std::fs::File::create(dir.path().join("stderr")).unwrap());
        let number = theirs.as_raw_fd();
        let keep = move || {
            // SAFETY: the descriptor is open until the child has been started.
            let theirs = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).map_err(Into::into)
        };
        // SAFETY: fcntl(2) may be called between fork and exec.
        unsafe { command.pre_exec(keep) };
        let child = command.spawn().unwrap();
        let socket = Some(ours);
        Watched {
            child,
            dir,
            socket,
            said: vec![],
            status: None,
            asked: 0,
            patience: Duration::from_secs(30),
            looked_at: 0,
        }
    }

    /// Starts it for a gateway that has just been started.
    pub fn start(settings: WatchSettings) -> Watched {
        let mut watched = Watched::silent();
        watched.brief(settings, Some(running(4242)));
        watched
    }

    pub fn brief(&mut self, settings: WatchSettings, gateway: Option<UnitStatus>) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.tell(&WatchCommand::Settings(Box::new(WatchConfig {
            settings,
            gateway,
            incidents: vec![],
            version,
        })));
    }

    pub fn tell(&self, packet: &WatchCommand) {
        self.send(&serde_json::to_vec(packet).unwrap());
    }

    pub fn gateway(&self, unit: UnitStatus) {
        self.tell(&WatchCommand::Gateway(unit));
    }

    pub fn incident(&self, incident: Incident) {
        self.tell(&WatchCommand::Incident(incident));
    }

    pub fn send(&self, bytes: &[u8]) {
        let socket = self.socket.as_ref().unwrap().as_raw_fd();
        sendmsg::<()>(socket, &[IoSlice::new(bytes)], &[], MsgFlags::MSG_NOSIGNAL, None).unwrap();
    }

    /// Takes one packet, if one comes before `until`.
    fn hear(&mut self, until: Instant) -> Option<Request> {
        let socket = self.socket.as_ref().unwrap();
        let left = until.saturating_duration_since(Instant::now());
        let mut wanted = [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left.as_millis() as i32 + 1).unwrap();
        if poll(&mut wanted, timeout).unwrap() == 0 {
            return None;
        }
        let mut buffer = vec![0; 1 << 20];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let length = recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()).unwrap().bytes;
        assert!(length > 0, "sexton-watch has ended: {}", self.stderr());
        let request: Request = serde_json::from_slice(&buffer[..length]).unwrap();
        self.said.push(request.clone());
        if request == Request::Status {
            self.asked += 1;
            if let Some(status) = &self.status {
                self.tell(&WatchCommand::Status(Box::new(status.clone())));
            }
        }
        Some(request)
    }

    /// The first fact from here on of which `wanted` makes something. What lies before it counts as heard.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&WatchReport) -> Option<T>) -> T {
        let end = Instant::now() + self.patience;
        loop {
            while let Some(request) = self.said.get(self.looked_at) {
                self.looked_at += 1;
                if let Request::WatchReport(fact) = request
                    && let Some(found) = wanted(fact)
                {
                    return found;
                }
            }
            let heard = self.hear(end);
            assert!(
                heard.is_some(),
                "waited in vain for {what}; it said {:#?}\n{}",
                self.said,
                self.stderr()
            );
        }
    }

    #[track_caller]
    pub fn health(&mut self, state: HealthState) -> Health {
        self.wait_for(&format!("{state:?}"), |fact| match fact {
            WatchReport::Health(health) if health.state == state => Some(health.clone()),
            _ => None,
        })
    }

    #[track_caller]
    pub fn condition(&mut self, kind: IncidentKind, holds: bool) -> Condition {
        self.wait_for(&format!("{kind:?} {holds}"), |fact| match fact {
            WatchReport::Condition(condition) if condition.kind == kind && condition.holds == holds => {
                Some(condition.clone())
            }
            _ => None,
        })
    }

    /// What was heard so far is not waited for any more.
    pub fn forget(&mut self) {
        self.looked_at = self.said.len();
    }

    /// Hears everything that is said within `time`.
    pub fn hear_for(&mut self, time: Duration) -> Vec<Request> {
        let before = self.said.len();
        let end = Instant::now() + time;
        while self.hear(end).is_some() {}
        self.said[before..].to_vec()
    }

    /// Serves it until `condition` holds.
    #[track_caller]
    pub fn serve_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + self.patience;
        while !condition() {
            assert!(Instant::now() < end, "waited in vain for {what}: {}", self.stderr());
            self.hear(Instant::now() + Duration::from_millis(5));
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// Hangs up, as a sexton that is gone, and gives its end.
    pub fn hang_up(&mut self) -> ExitStatus {
        self.socket = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
