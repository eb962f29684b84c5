//! `injects PID [WHOM CALL ERRNO FIRST LAST]`: traces a process that is about to become sexton, and has one of its system
//! calls fail.
//!
//! It promises: `attached` is on standard output when the process is traced. From the first statement of sexton's main
//! (which blocks all signals), or the birth of one of its helpers (which never executes another program), the calls of each
//! process are counted, by the numbers of the kernel. Of `sexton`, or of each `helper`, the calls number FIRST to LAST of CALL
//! are not made and fail with ERRNO. If ERRNO is a path, they are made, and before each of them what is called that with
//! `.new` behind it takes its place, if it is there. Whoever executes another program is left alone from there on: what is broken
//! is sexton, and not the command below it. When nobody is left that is traced, it writes for each call that was made
//! `sexton CALL COUNT` or `helper CALL COUNT` (the most that any of them made) and `failed COUNT`, and ends.
//!
//! What it changes are registers, so that it knows its machine: x86-64.
#![allow(clippy::unwrap_used, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "ptrace(2)")]

#[cfg(target_arch = "x86_64")]
fn main() {
    x86_64::main();
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("injects: it knows the registers of x86-64 alone");
    std::process::exit(77);
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::collections::{BTreeMap, HashMap};
    use std::ffi::c_void;
    use std::io;

    use nix::libc::{self, c_long};

    const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC;

    /// Where x86-64 keeps the number of a call and its result, in the user area (sys/reg.h).
    const ORIG_RAX: usize = 15 * 8;
    const RAX: usize = 10 * 8;

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Whom {
        Sexton,
        Helper,
    }

    struct Fault {
        whom: Whom,
        call: u64,
        effect: Effect,
        first: u64,
        last: u64,
    }

    enum Effect {
        Fails(c_long),
        Replaces(String),
    }

    /// One process or thread that is traced.
    #[derive(Default)]
    struct Tracee {
        /// Nobody's calls count before main.
        whom: Option<Whom>,
        is_sexton: bool,
        calls: HashMap<u64, u64>,
        /// The call that it is in is to fail.
        failing: bool,
    }

    fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> io::Result<c_long> {
        let (address, data) = (std::ptr::without_provenance_mut::<c_void>(address), data);
        // SAFETY: the requests that come here take numbers, or the address of something of ours that is large enough.
        let result = unsafe { libc::ptrace(request, pid, address, data) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// Tracees can be killed at any moment, and then there is nothing to do but to wait for the news of it.
    fn gone(result: io::Result<c_long>) {
        if let Err(error) = result {
            assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "{error}");
        }
    }

    struct Tracer {
        root: i32,
        fault: Option<Fault>,
        tracees: HashMap<i32, Tracee>,
        most: BTreeMap<(Whom, u64), u64>,
        failed: u64,
    }

    impl Tracer {
        /// The entry into a call, or the way out of it.
        fn call(&mut self, pid: i32) {
            // SAFETY: it is plain numbers, for which all zeroes are a value.
            let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
            let size = size_of_val(&info);
            let told = ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, (&raw mut info).expose_provenance());
            if told.is_err() {
                return;
            }
            let Some(tracee) = self.tracees.get_mut(&pid) else { return };
            if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                // SAFETY: this is the member that the kernel has filled in at an entry.
                let number = unsafe { info.u.entry.nr };
                // SAFETY: as above.
                let how = unsafe { info.u.entry.args[0] };
                let begins = number == libc::SYS_rt_sigprocmask as u64 && how == libc::SIG_SETMASK as u64;
                if pid == self.root && tracee.is_sexton && begins {
                    tracee.whom = Some(Whom::Sexton);
                }
                let Some(whom) = tracee.whom else { return };
                let count = tracee.calls.entry(number).or_default();
                *count += 1;
                let most = self.most.entry((whom, number)).or_default();
                *most = (*most).max(*count);
                let fails = |fault: &Fault| {
                    fault.whom == whom && fault.call == number && (fault.first..=fault.last).contains(count)
                };
                match self.fault.as_ref().filter(|fault| fails(fault)).map(|fault| &fault.effect) {
                    // There is no call of this number, so that nothing is done.
                    Some(Effect::Fails(_)) => {
                        tracee.failing = ptrace(libc::PTRACE_POKEUSER, pid, ORIG_RAX, usize::MAX).is_ok();
                    }
                    Some(Effect::Replaces(path)) => {
                        let replaced = std::fs::rename(format!("{path}.new"), path);
                        self.failed += u64::from(replaced.is_ok());
                    }
                    None => {}
                }
            } else if info.op == libc::PTRACE_SYSCALL_INFO_EXIT && std::mem::take(&mut tracee.failing) {
                let errno = match &self.fault {
                    Some(Fault { effect: Effect::Fails(errno), .. }) => *errno,
                    _ => 0,
                };
                gone(ptrace(libc::PTRACE_POKEUSER, pid, RAX, (-errno).cast_unsigned() as usize));
                self.failed += 1;
            }
        }

        /// What a stop asks for before the tracee goes on. `true` if it is on its way already.
        fn event(&mut self, pid: i32, event: i32, signal: i32) -> bool {
            match event {
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                    let mut child: libc::c_ulong = 0;
                    let told = (&raw mut child).expose_provenance();
                    if ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, told).is_ok() {
                        self.born(child as i32);
                    }
                }
                libc::PTRACE_EVENT_EXEC if pid != self.root => {
                    self.tracees.remove(&pid);
                    gone(ptrace(libc::PTRACE_DETACH, pid, 0, 0));
                    return true;
                }
                libc::PTRACE_EVENT_EXEC => {
                    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                    self.tracees.entry(pid).or_default().is_sexton = name == "sexton\n";
                }
                // A signal has stopped it, and it stays so until CONT (ptrace(2), "Group-stop").
                libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                    gone(ptrace(libc::PTRACE_LISTEN, pid, 0, 0));
                    return true;
                }
                _ => {}
            }
            false
        }

        /// Heard of by itself or by its parent, whichever comes first.
        fn born(&mut self, pid: i32) {
            let helper = || Tracee { whom: Some(Whom::Helper), ..Tracee::default() };
            self.tracees.entry(pid).or_insert_with(helper);
        }

        fn follow(&mut self) {
            loop {
                let mut status = 0;
                // SAFETY: the pointer is to a number of ours.
                let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
                if pid == -1 {
                    let error = io::Error::last_os_error();
                    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
                    return;
                }
                if !libc::WIFSTOPPED(status) {
                    // The number may be given to a newborn.
                    self.tracees.remove(&pid);
                    continue;
                }
                let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
                if pid != self.root {
                    self.born(pid);
                }
                let mut deliver = 0;
                if signal == libc::SIGTRAP | 0x80 {
                    self.call(pid);
                } else if event != 0 {
                    if self.event(pid, event, signal) {
                        continue;
                    }
                } else {
                    deliver = signal as usize;
                }
                gone(ptrace(libc::PTRACE_SYSCALL, pid, 0, deliver));
            }
        }
    }

    fn fault(words: &[String]) -> Option<Fault> {
        let [whom, call, errno, first, last] = words else { return None };
        let number = |word: &String| word.parse::<u64>().unwrap();
        let whom = if whom == "helper" { Whom::Helper } else { Whom::Sexton };
        let effect = match errno.strip_prefix('/') {
            Some(_) => Effect::Replaces(errno.clone()),
            None => Effect::Fails(number(errno).cast_signed()),
        };
        Some(Fault { whom, call: number(call), effect, first: number(first), last: number(last) })
    }

    pub fn main() {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let (root, words) = words.split_first().unwrap();
        let root = root.parse().unwrap();
        ptrace(libc::PTRACE_SEIZE, root, 0, OPTIONS as usize).unwrap();
        ptrace(libc::PTRACE_INTERRUPT, root, 0, 0).unwrap();
        println!("attached");
        let tracees = HashMap::from([(root, Tracee::default())]);
        let mut tracer = Tracer { root, fault: fault(words), tracees, most: BTreeMap::new(), failed: 0 };
        tracer.follow();
        for ((whom, call), count) in tracer.most {
            println!("{} {call} {count}", if whom == Whom::Sexton { "sexton" } else { "helper" });
        }
        println!("failed {}", tracer.failed);
    }
}
