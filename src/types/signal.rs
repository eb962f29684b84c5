//! Signals by number and by name.

use std::fmt;
use std::str::FromStr;

/// A signal that exists: 1 to 64.
///
/// 32 and 33 are the C library's own real-time signals (nptl(7)); `RTMIN` is 34, as in the shell's `kill -l`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Linux's numbers for x86_64 and aarch64, which agree (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same numbers.
const ALIASES: [(&str, u8); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// Hang-up.
    pub const HUP: Signal = Signal(1);
    /// Interrupt: Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// Quit: Ctrl-\.
    pub const QUIT: Signal = Signal(3);
    /// The end that cannot be caught.
    pub const KILL: Signal = Signal(9);
    /// The polite request to end.
    pub const TERM: Signal = Signal(15);
    /// A timer has run out.
    pub const ALRM: Signal = Signal(14);
    /// A child changed its state.
    pub const CHLD: Signal = Signal(17);
    /// Go on after a stop.
    pub const CONT: Signal = Signal(18);
    /// The stop that cannot be caught.
    pub const STOP: Signal = Signal(19);
    /// A pipe without a reader.
    pub const PIPE: Signal = Signal(13);
    /// Ctrl-Z.
    pub const TSTP: Signal = Signal(20);
    /// A background process read from the terminal.
    pub const TTIN: Signal = Signal(21);
    /// A background process changed the terminal.
    pub const TTOU: Signal = Signal(22);
    /// Something can be read or written.
    pub const IO: Signal = Signal(29);
    /// The power fails; lxc-stop's request to halt.
    pub const PWR: Signal = Signal(30);
    /// The first real-time signal that programs can use.
    pub const RTMIN: Signal = Signal(34);
    /// The last real-time signal.
    pub const RTMAX: Signal = Signal(64);

    /// `None` unless `number` is a signal's: 1 to 64.
    #[must_use]
    pub fn new(number: i32) -> Option<Signal> {
        u8::try_from(number).ok().filter(|n| (1..=64).contains(n)).map(Signal)
    }

    /// The number, for a system call.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Every signal, 1 to 64.
    pub fn all() -> impl Iterator<Item = Signal> {
        (1..=64).map(Signal)
    }
}

impl fmt::Display for Signal {
    /// `SIGTERM`, `SIGRTMIN+3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = NAMES.get(usize::from(self.0).wrapping_sub(1)) {
            return write!(f, "SIG{name}");
        }
        match self.0.checked_sub(Signal::RTMIN.0) {
            Some(0) => f.write_str("SIGRTMIN"),
            Some(_) if *self == Signal::RTMAX => f.write_str("SIGRTMAX"),
            Some(n) => write!(f, "SIGRTMIN+{n}"),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

/// The text is not a signal's name or number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a signal; give a name such as TERM or SIGUSR1, RTMIN+3, or a number from 1 to 64")]
pub struct ParseSignalError(String);

impl FromStr for Signal {
    type Err = ParseSignalError;

    /// Takes `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Signal, ParseSignalError> {
        let error = || ParseSignalError(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return Signal::new(number).ok_or_else(error);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str, sign: char| -> Option<u8> {
            if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').and_then(|n| Signal::RTMIN.0.checked_add(n))
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').and_then(|n| Signal::RTMAX.0.checked_sub(n))
        } else if let Some(index) = NAMES.iter().position(|known| *known == name) {
            u8::try_from(index + 1).ok()
        } else {
            ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number)
        };
        let in_range = |n: &u8| if name.starts_with("RT") { (34..=64).contains(n) } else { true };
        number.filter(in_range).map(Signal).ok_or_else(error)
    }
}

/// A set of signals, laid out as the kernel has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Every signal, those that a C library keeps for itself included.
    pub const ALL: SignalSet = SignalSet(u64::MAX);

    /// Whether `signal` is in the set.
    #[must_use]
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << (signal.0 - 1)) != 0
    }

    /// The set with `signal` in it.
    #[must_use]
    pub fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | 1 << (signal.0 - 1))
    }

    /// The set without `signal`.
    #[must_use]
    pub fn without(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 & !(1 << (signal.0 - 1)))
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SignalSet {
        signals.into_iter().fold(SignalSet::default(), SignalSet::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_from_its_name_and_number() {
        for signal in Signal::all().filter(|s| !(32..34).contains(&s.number())) {
            assert_eq!(signal.to_string().parse(), Ok(signal));
            assert_eq!(signal.number().to_string().parse(), Ok(signal));
            assert_eq!(signal.to_string().to_lowercase().parse(), Ok(signal));
        }
    }

    #[test]
    fn names_are_the_shells() {
        for (text, number) in [("TERM", 15), ("SIGIOT", 6), ("rtmin+3", 37), ("RTMAX-1", 63), ("RTMAX", 64)] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMAX-31", "RTMIN-1", "SIG", "1.5"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: SignalSet = [Signal::TERM, Signal::RTMAX].into_iter().collect();
        for signal in Signal::all() {
            assert_eq!(set.contains(signal), signal == Signal::TERM || signal == Signal::RTMAX);
        }
    }
}
