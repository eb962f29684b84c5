//! The system calls that sexton makes, and what the manual of each says that can befall it. Errors that only a wrong
//! argument brings (EFAULT, and most of EINVAL and EBADF) are left out.

/// A system call.
pub struct Call {
    pub name: &'static str,
    pub errnos: &'static [&'static str],
    /// Whether it may fail for good. Nobody can end a process without kill(2), hear of a death without waitid(2), or of a
    /// signal without read(2).
    pub for_good: bool,
    /// Whether the children that sexton makes for sweeps and starts are what is interesting.
    pub children: bool,
}

impl Call {
    /// Whether this may happen again and again. Whoever is interrupted for ever tries for ever, and so does the standard
    /// library.
    pub fn lasts(&self, errno: &str) -> bool {
        self.for_good && errno != "EINTR"
    }
}

const fn call(name: &'static str, errnos: &'static [&'static str]) -> Call {
    Call { name, errnos, for_good: true, children: false }
}

const fn once(name: &'static str, errnos: &'static [&'static str]) -> Call {
    Call { name, errnos, for_good: false, children: false }
}

const fn child(name: &'static str, errnos: &'static [&'static str]) -> Call {
    Call { name, errnos, for_good: true, children: true }
}

pub const CALLS: &[Call] = &[
    // Processes.
    once("clone", &["EAGAIN", "ENOMEM"]),
    once("clone3", &["EAGAIN", "ENOMEM", "ENOSYS", "EBUSY"]),
    once("waitid", &["EINTR"]),
    once("kill", &["EPERM", "ESRCH"]),
    call("pidfd_open", &["EMFILE", "ENOMEM", "ENOSYS"]),
    call("pidfd_send_signal", &["EPERM", "ESRCH", "ENOSYS"]),
    call("prctl", &["EINVAL", "EPERM"]),
    call("setpgid", &["EACCES", "EPERM", "ESRCH"]),
    call("prlimit64", &["EPERM"]),
    // Waiting.
    once("ppoll", &["EINTR", "ENOMEM"]),
    once("poll", &["EINTR", "ENOMEM"]),
    call("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    call("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    once("epoll_wait", &["EINTR"]),
    once("epoll_pwait", &["EINTR"]),
    once("rt_sigtimedwait", &["EINTR", "EAGAIN", "EINVAL"]),
    // Files.
    call("openat", &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "ENOENT"]),
    once("read", &["EIO", "EINTR"]),
    call("pread64", &["EIO"]),
    call("write", &["ENOSPC", "EIO", "EPIPE", "EAGAIN"]),
    call("close", &["EIO", "EINTR"]),
    call("statx", &["ENOMEM", "EACCES"]),
    call("newfstatat", &["ENOMEM", "EACCES"]),
    call("getdents64", &["EIO", "ENOENT"]),
    call("mkdir", &["EACCES", "ENOSPC", "EROFS"]),
    call("rmdir", &["EBUSY", "EACCES"]),
    call("unlink", &["EACCES", "EROFS"]),
    call("fchmod", &["EPERM", "EROFS"]),
    call("pipe2", &["EMFILE", "ENFILE"]),
    call("fcntl", &["EAGAIN", "ENOLCK", "EINVAL"]),
    call("getcwd", &["ENOENT"]),
    call("chdir", &["EACCES", "ENOENT"]),
    // Sockets.
    call("socket", &["EMFILE", "ENOBUFS"]),
    call("socketpair", &["EMFILE", "ENOBUFS"]),
    call("bind", &["EADDRINUSE", "EACCES", "EROFS"]),
    call("listen", &["EADDRINUSE"]),
    call("accept4", &["EMFILE", "ENFILE", "ECONNABORTED"]),
    call("recvmsg", &["ENOMEM", "EINTR"]),
    call("sendmsg", &["ENOBUFS", "ENOMEM", "EPIPE"]),
    // Memory. One that fails for good ends any program.
    once("brk", &["ENOMEM"]),
    once("madvise", &["ENOMEM", "EAGAIN"]),
    once("munmap", &["ENOMEM"]),
    // What a sweep does, and what a child does before its program.
    child("openat2", &["EMFILE", "EAGAIN", "ENOSYS", "EXDEV"]),
    child("fcntl", &["EAGAIN", "ENOLCK", "EINVAL"]),
    child("flock", &["ENOLCK", "EINTR", "EAGAIN"]),
    child("fstatfs", &["EIO", "ENOSYS"]),
    child("unlinkat", &["EACCES", "EROFS", "EBUSY", "ENOENT"]),
    child("sendmsg", &["ENOBUFS", "EPIPE"]),
    child("read", &["EIO"]),
    child("getdents64", &["EIO"]),
];
