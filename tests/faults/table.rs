//! The system calls that sexton makes, and what the manual of each says that can befall it. Errors that only a wrong
//! argument brings (EFAULT, and most of EINVAL and EBADF) are left out.

use nix::errno::Errno::{self, *};
use nix::libc::{self, c_long};

use crate::Whom;

/// A system call.
pub struct Call {
    pub name: &'static str,
    pub number: c_long,
    pub errnos: &'static [Errno],
    /// Whether it may fail for good in sexton itself. Nobody can end a process without kill(2), hear of a death without
    /// waitid(2), or of a signal without the call that takes one in.
    for_good: bool,
}

impl Call {
    /// Whether this may happen again and again. Whoever is interrupted for ever tries for ever, and so does the
    /// standard library. A helper may fail at whatever it does, as sexton goes on without it.
    pub fn lasts(&self, whom: Whom, errno: Errno) -> bool {
        (self.for_good || whom == Whom::Helper) && errno != EINTR
    }
}

const fn call(name: &'static str, number: c_long, errnos: &'static [Errno]) -> Call {
    Call { name, number, errnos, for_good: true }
}

const fn once(name: &'static str, number: c_long, errnos: &'static [Errno]) -> Call {
    Call { name, number, errnos, for_good: false }
}

/// One that cannot fail with good arguments, or whose result is not used.
const fn never(name: &'static str, number: c_long) -> Call {
    Call { name, number, errnos: &[], for_good: false }
}

pub const CALLS: &[Call] = &[
    // Processes.
    once("clone", libc::SYS_clone, &[EAGAIN, ENOMEM]),
    once("clone3", libc::SYS_clone3, &[EAGAIN, ENOMEM, ENOSYS, EBUSY]),
    call("execve", libc::SYS_execve, &[EACCES, ENOENT, ENOMEM, ETXTBSY, EIO]),
    once("waitid", libc::SYS_waitid, &[EINTR]),
    once("kill", libc::SYS_kill, &[EPERM, ESRCH]),
    once("tgkill", libc::SYS_tgkill, &[EPERM, ESRCH]),
    once("pidfd_send_signal", libc::SYS_pidfd_send_signal, &[ENOSYS, ESRCH]),
    call("pidfd_open", libc::SYS_pidfd_open, &[EMFILE, ENOSYS]),
    call("prctl", libc::SYS_prctl, &[EINVAL, EPERM]),
    call("setpgid", libc::SYS_setpgid, &[EACCES, EPERM, ESRCH]),
    call("setsid", libc::SYS_setsid, &[EPERM]),
    call("prlimit64", libc::SYS_prlimit64, &[EPERM]),
    never("getpid", libc::SYS_getpid),
    never("getppid", libc::SYS_getppid),
    never("gettid", libc::SYS_gettid),
    never("getpgrp", libc::SYS_getpgrp),
    never("getuid", libc::SYS_getuid),
    never("geteuid", libc::SYS_geteuid),
    never("getgid", libc::SYS_getgid),
    never("getegid", libc::SYS_getegid),
    never("exit", libc::SYS_exit),
    never("exit_group", libc::SYS_exit_group),
    // Waiting.
    once("ppoll", libc::SYS_ppoll, &[EINTR, ENOMEM]),
    once("poll", libc::SYS_poll, &[EINTR, ENOMEM]),
    call("epoll_create1", libc::SYS_epoll_create1, &[EMFILE, ENFILE, ENOMEM]),
    call("epoll_ctl", libc::SYS_epoll_ctl, &[ENOMEM, ENOSPC]),
    once("epoll_wait", libc::SYS_epoll_wait, &[EINTR]),
    once("epoll_pwait", libc::SYS_epoll_pwait, &[EINTR]),
    once("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, &[EINTR, EAGAIN, EINVAL]),
    once("clock_nanosleep", libc::SYS_clock_nanosleep, &[EINTR]),
    once("futex", libc::SYS_futex, &[EINTR, EAGAIN]),
    never("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    never("rt_sigaction", libc::SYS_rt_sigaction),
    never("sigaltstack", libc::SYS_sigaltstack),
    // The time that a process has used; any other clock is read without a system call (vdso(7)).
    never("clock_gettime", libc::SYS_clock_gettime),
    never("setitimer", libc::SYS_setitimer),
    // Files.
    call("openat", libc::SYS_openat, &[EMFILE, ENFILE, ENOMEM, EACCES, ENOENT]),
    call("openat2", libc::SYS_openat2, &[EMFILE, EAGAIN, ENOSYS, EXDEV]),
    call("read", libc::SYS_read, &[EIO, EINTR]),
    call("pread64", libc::SYS_pread64, &[EIO]),
    call("write", libc::SYS_write, &[ENOSPC, EIO, EPIPE, EAGAIN]),
    call("close", libc::SYS_close, &[EIO, EINTR]),
    call("statx", libc::SYS_statx, &[ENOMEM, EACCES]),
    call("newfstatat", libc::SYS_newfstatat, &[ENOMEM, EACCES]),
    call("statfs", libc::SYS_statfs, &[EIO, ENOSYS, EACCES]),
    call("fstatfs", libc::SYS_fstatfs, &[EIO, ENOSYS]),
    call("lseek", libc::SYS_lseek, &[ESPIPE]),
    call("getdents64", libc::SYS_getdents64, &[EIO, ENOENT]),
    call("readlink", libc::SYS_readlink, &[EACCES, ENOENT, EIO]),
    call("mkdir", libc::SYS_mkdir, &[EACCES, ENOSPC, EROFS]),
    call("rmdir", libc::SYS_rmdir, &[EBUSY, EACCES]),
    call("unlink", libc::SYS_unlink, &[EACCES, EROFS]),
    call("unlinkat", libc::SYS_unlinkat, &[EACCES, EROFS, EBUSY, ENOENT]),
    call("fchmod", libc::SYS_fchmod, &[EPERM, EROFS]),
    call("fsync", libc::SYS_fsync, &[EIO, ENOSPC]),
    call("ftruncate", libc::SYS_ftruncate, &[EIO, EPERM]),
    call("dup2", libc::SYS_dup2, &[EBUSY, EINTR]),
    call("close_range", libc::SYS_close_range, &[ENOSYS, EPERM, ENOMEM]),
    call("pipe2", libc::SYS_pipe2, &[EMFILE, ENFILE]),
    call("fcntl", libc::SYS_fcntl, &[EAGAIN, ENOLCK, EINVAL]),
    call("flock", libc::SYS_flock, &[ENOLCK, EINTR, EAGAIN]),
    call("ioctl", libc::SYS_ioctl, &[ENOTTY]),
    call("getcwd", libc::SYS_getcwd, &[ENOENT]),
    call("chdir", libc::SYS_chdir, &[EACCES, ENOENT]),
    never("umask", libc::SYS_umask),
    never("setfsuid", libc::SYS_setfsuid),
    // Sockets.
    call("socket", libc::SYS_socket, &[EMFILE, ENOBUFS]),
    call("setsockopt", libc::SYS_setsockopt, &[ENOPROTOOPT]),
    call("socketpair", libc::SYS_socketpair, &[EMFILE, ENOBUFS]),
    call("connect", libc::SYS_connect, &[ECONNREFUSED, EAGAIN]),
    call("bind", libc::SYS_bind, &[EADDRINUSE, EACCES, EROFS]),
    call("listen", libc::SYS_listen, &[EADDRINUSE]),
    call("accept4", libc::SYS_accept4, &[EMFILE, ENFILE, ECONNABORTED]),
    call("getsockopt", libc::SYS_getsockopt, &[ENOBUFS]),
    call("recvfrom", libc::SYS_recvfrom, &[ENOMEM, EINTR, ECONNRESET]),
    call("recvmsg", libc::SYS_recvmsg, &[ENOMEM, EINTR]),
    call("sendto", libc::SYS_sendto, &[ENOBUFS, ENOMEM, EPIPE]),
    call("sendmsg", libc::SYS_sendmsg, &[ENOBUFS, ENOMEM, EPIPE]),
    call("shutdown", libc::SYS_shutdown, &[ENOTCONN]),
    // Memory. One that fails for good ends any program.
    once("brk", libc::SYS_brk, &[ENOMEM]),
    once("mmap", libc::SYS_mmap, &[ENOMEM]),
    once("mprotect", libc::SYS_mprotect, &[ENOMEM]),
    once("madvise", libc::SYS_madvise, &[ENOMEM, EAGAIN]),
    once("munmap", libc::SYS_munmap, &[ENOMEM]),
    // EAGAIN is for those who begin before the machine has gathered any entropy, and have asked not to wait.
    call("getrandom", libc::SYS_getrandom, &[ENOSYS]),
    never("rseq", libc::SYS_rseq),
    never("set_robust_list", libc::SYS_set_robust_list),
    never("rt_sigreturn", libc::SYS_rt_sigreturn),
];
