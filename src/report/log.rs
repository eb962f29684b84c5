//! The subscriber of `tracing` events: filters by level, renders a line, writes it without waiting.
//!
//! It knows events only, no spans, and allocates nothing between two lines, which keeps PID 1 lean.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::render::{self, Fields};
use crate::os::clock;
use crate::os::stderr::{self, LONGEST_LINE, Stderr};
use crate::types::{CompatMode, printable};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `sexton[1] WARN event: message key=value`.
    #[default]
    Text,
    /// One object a line.
    Json,
    /// Text with the beginning that scripts know from another program.
    As(CompatMode),
}

/// Sends every event of at most this level to standard error. The first call counts.
pub fn install(level: LevelFilter, format: Format) {
    let priorities = stderr::is_journal();
    set_level(level);
    JSON.store(format == Format::Json, Ordering::Relaxed);
    let log = Log { pid: std::process::id(), format, priorities };
    // A second call has nothing to add, and the first one's choice stands.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Prints an error for the caller, outside of the log. Where the journal reads standard error, the line has the
/// priority of an error.
pub fn print_error(text: &str) {
    let priority = if stderr::is_journal() { render::priority(Level::ERROR) } else { String::new() };
    let lines: String = printable(text).lines().map(|line| format!("{priority}{line}\n")).collect();
    // If the line cannot be written, the exit code still tells of the error.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// From now on, events of at most this level are said.
pub fn set_level(level: LevelFilter) {
    let place = LEVELS.iter().position(|known| *known == level).unwrap_or_default();
    LEVEL.store(place, Ordering::Relaxed);
    // Each call site caches whether its level is enabled.
    tracing::callsite::rebuild_interest_cache();
}

/// The level, as its place among all.
static LEVEL: AtomicUsize = AtomicUsize::new(0);
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// Whether lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether lines are JSON.
#[must_use]
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// The level up to which events are said.
#[must_use]
pub fn level() -> LevelFilter {
    LEVELS.get(LEVEL.load(Ordering::Relaxed)).copied().unwrap_or(LevelFilter::WARN)
}

/// Lines that standard error did not take since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Those of them that no later line has reported yet.
static UNTOLD: AtomicU64 = AtomicU64::new(0);

fn count_dropped(lines: usize) {
    let lines = u64::try_from(lines).unwrap_or_default();
    UNTOLD.fetch_add(lines, Ordering::Relaxed);
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// The number of lines that standard error did not take since the start.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Standard error, opened with the first line, because most runs have nothing to say.
static OUT: Mutex<Option<Stderr>> = Mutex::new(None);

/// The name in the log lines of a process that is not sexton itself.
static UNIT: OnceLock<(u32, String)> = OnceLock::new();

/// From now on this process speaks as the supervisor of a unit. Call it before the descriptors are closed that
/// came with a fork.
pub fn set_unit(name: &str) {
    // A poisoned lock would mean a panic in here, and then the program has ended.
    if let Ok(mut out) = OUT.lock() {
        *out = None;
    }
    // It is called once in a process's life.
    let _ = UNIT.set((std::process::id(), name.to_owned()));
}

/// From now on this process speaks as a helper, through the one who started it. Call it before the descriptors are
/// closed that came with a fork.
pub fn become_helper() {
    UNTOLD.store(0, Ordering::Relaxed);
    // A poisoned lock would mean a panic in here, and then the program has ended.
    if let Ok(mut out) = OUT.lock() {
        *out = Some(Stderr::Helper);
    }
}

/// Writes the whole lines at the beginning of what helpers have said, and takes them out of it. What is longer than a
/// line can be is written as it is.
pub fn pass_on(said: &mut Vec<u8>) {
    let Ok(mut out) = OUT.lock() else {
        return;
    };
    let out = out.get_or_insert_with(Stderr::open);
    loop {
        let most = said.get(..said.len().min(LONGEST_LINE)).unwrap_or_default();
        let whole = match most.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if most.len() == LONGEST_LINE => LONGEST_LINE,
            None => return,
        };
        let lines: Vec<u8> = said.drain(..whole).collect();
        if out.write(&lines).is_err() {
            count_dropped(lines.iter().filter(|byte| **byte == b'\n').count());
        }
    }
}

struct Log {
    /// sexton's, also in the lines of its short-lived children.
    pid: u32,
    format: Format,
    /// Each line begins with its priority, for the journal.
    priorities: bool,
}

impl Log {
    fn line(&self, level: Level, event: &str, mut fields: Fields) -> Vec<u8> {
        let mut pid = self.pid;
        if let Some((own, name)) = UNIT.get() {
            pid = *own;
            fields.put_unit(name);
        }
        let line = match self.format {
            Format::Text => render::text(pid, level, event, &fields),
            Format::As(compat) => render::compat_line(compat, pid, level, &fields, event),
            Format::Json => {
                let time = humantime::format_rfc3339_millis(clock::wall()).to_string();
                render::json(&time, pid, level, event, fields)
            }
        };
        let line = printable(&line);
        let mut line =
            if self.priorities { render::priority(level) + &line } else { line.into_owned() }.into_bytes();
        if line.len() > LONGEST_LINE {
            line.truncate(LONGEST_LINE - 1);
            line.push(b'\n');
        }
        line
    }

    fn write(&self, line: &[u8]) {
        // A poisoned lock would mean a panic in here, and then the program has ended.
        let Ok(mut out) = OUT.lock() else {
            return;
        };
        let out = out.get_or_insert_with(Stderr::open);
        let dropped = UNTOLD.load(Ordering::Relaxed);
        if dropped > 0 {
            let fields = Fields::of_message(format!("{dropped} lines were lost, standard error was full"));
            if out.write(&self.line(Level::WARN, "log-dropped", fields)).is_ok() {
                UNTOLD.store(0, Ordering::Relaxed);
            }
        }
        if out.write(line).is_err() {
            count_dropped(1);
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.write(&self.line(*metadata.level(), metadata.name(), fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
