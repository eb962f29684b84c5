//! What has to happen first: signals are blocked, and what we were started with is remembered.
//!
//! The kernel discards a signal that is sent to PID 1 while its action is the default one, but keeps it
//! while it is blocked (`sig_ignored` in kernel/signal.c; measured on 6.18). So the sooner all are blocked,
//! the shorter the moment in which a `docker stop` is lost.
//!
//! For that reason `sexton` has the C library call it at once ([`begin_with`](crate::begin_with)), without the
//! start-up code of the standard library, which reads /proc and prepares for threads that there never are. What it
//! does besides is done here: it replaces closed standard descriptors and ignores SIGPIPE.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use crate::os::signals;
use crate::types::{Signal, SignalSet};

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// What sexton was started with and hands on to the main process.
pub struct Inherited {
    /// The signal mask.
    pub(super) mask: SignalSet,
    /// Whether SIGCHLD was ignored, which [`SignalSource::open`](signals::SignalSource::open) undoes for us.
    pub(super) children_ignored: bool,
    /// Which of the descriptors 0, 1 and 2 were closed.
    pub(super) closed: [bool; 3],
}

impl Inherited {
    /// The same for a command that a helper of ours starts. [`unblock`] leaves SIGIO blocked in the process that
    /// started the helper; the command must not inherit that.
    #[must_use]
    pub fn for_a_command(&self) -> Inherited {
        Inherited { mask: self.mask.without(Signal::IO), ..*self }
    }
}

/// Blocks every signal, once, and remembers what was there before. Meant to be run before main, by
/// [`block_signals_before_main`](crate::block_signals_before_main); a later call returns what the first one
/// found.
pub fn inherited() -> &'static Inherited {
    INHERITED.get_or_init(|| {
        Inherited {
            // The call cannot fail with a set of our own.
            mask: signals::set_mask(SignalSet::ALL).unwrap_or_default(),
            children_ignored: signals::is_ignored(Signal::CHLD),
            closed: [0, 1, 2].map(is_closed),
        }
    })
}

/// Makes the calling program run [`inherited`] before main, for one that needs the standard library's start-up code.
///
/// The linker collects the functions in `.init_array`, and the C library calls them before main.
#[macro_export]
macro_rules! block_signals_before_main {
    () => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BLOCK_SIGNALS: extern "C" fn() = $crate::os::startup::run_before_main;
    };
}

/// The function that [`block_signals_before_main`](crate::block_signals_before_main) registers.
pub extern "C" fn run_before_main() {
    inherited();
}

/// Defines the C library's `main`, which blocks every signal as its first statement, and then calls a function from
/// the words of the command line to the exit code. What the function leaves in a buffer is lost. The program's heap begins
/// with the [memory of a start](crate::os::start_heap).
///
/// To be used with `#![no_main]`.
#[macro_export]
macro_rules! begin_with {
    ($run:path) => {
        #[global_allocator]
        static HEAP: $crate::os::start_heap::StartHeap = $crate::os::start_heap::StartHeap::new();

        #[unsafe(no_mangle)]
        extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: these are the C library's own arguments of main.
            unsafe { $crate::os::startup::begin(count, words, $run) }
        }
    };
}

/// What [`begin_with`](crate::begin_with) defines, with the C library's arguments of main.
///
/// # Safety
/// `words` must be an array of `count` strings that end with a NUL byte and stay for the program's life.
pub unsafe fn begin(count: c_int, words: *const *const c_char, run: fn(&[OsString]) -> u8) -> c_int {
    let closed = inherited().closed;
    // Ours comes as an error of the write; a signal would be passed on to the command. It cannot fail.
    let _ = signals::set_ignored(Signal::PIPE);
    for (number, _) in closed.iter().enumerate().filter(|(_, closed)| **closed) {
        hold_lowest_number(number == 0);
    }
    let words: Vec<OsString> = (0..usize::try_from(count).unwrap_or_default())
        .map(|index| {
            // SAFETY: the array has so many words.
            let word = unsafe { words.add(index) };
            // SAFETY: as above.
            let word = unsafe { word.read() };
            // SAFETY: each is a string that ends with a NUL byte and stays for the program's life.
            let word = unsafe { CStr::from_ptr(word) };
            OsStr::from_bytes(word.to_bytes()).to_owned()
        })
        .collect();
    c_int::from(run(&words))
}

/// Whether this standard descriptor (0, 1 or 2) was closed when the program was started. Something else has its number
/// since then.
#[must_use]
pub fn was_closed(number: usize) -> bool {
    inherited().closed.get(number).copied().unwrap_or_default()
}

/// Takes the lowest number that no descriptor has, in the place of a closed standard one: else a socket of ours would
/// get it, and whatever is written to standard error.
///
/// Where there is no /dev/null, an end of a pipe without the other one does: as `to_read` it is empty, else each write
/// fails. A program that is started with it finds a descriptor of the usual kind.
fn hold_lowest_number(to_read: bool) {
    let open = |path: &CStr, flags| {
        // SAFETY: the path is a string that ends with a NUL byte.
        unsafe { libc::open(path.as_ptr(), flags) != -1 }
    };
    let _ = open(c"/dev/null", libc::O_RDWR) || hold_pipe(to_read) || open(c"/", libc::O_PATH);
}

/// Puts nothing in the place of this standard descriptor, in a process that owns none of the three.
pub(super) fn hold_nothing(number: RawFd) {
    // SAFETY: nothing in this process owns it, and the next statement takes the number again: it is the lowest one that
    // is free, as those below it are taken.
    unsafe { libc::close(number) };
    hold_lowest_number(number == 0);
}

/// Leaves one end of a new pipe open at the lowest number that is free, and closes the other.
fn hold_pipe(to_read: bool) -> bool {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for the two numbers that the call writes.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } == -1 {
        return false;
    }
    let [reading, writing] = ends;
    if !to_read {
        // The reading end has the lowest number, and is replaced by the writing one.
        // SAFETY: both numbers were just made, and nothing else knows them.
        unsafe { libc::dup2(writing, reading) };
    }
    // SAFETY: as above.
    unsafe { libc::close(writing) };
    true
}

/// Puts the signal mask back to what we were started with, for work in which nothing has to be passed on.
/// SIGIO stays blocked: a process that has a lease gets it when another process opens the file.
pub fn unblock() {
    // It cannot fail with a set of our own.
    let _ = signals::set_mask(inherited().mask.with(Signal::IO));
}

fn is_closed(descriptor: i32) -> bool {
    // SAFETY: F_GETFD only asks; a number that is no descriptor gives EBADF.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    flags == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
}
