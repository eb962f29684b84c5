//! The subscriber of `tracing` events: filters by level, renders a line, writes it without waiting.
//!
//! It knows events only, no spans, and allocates nothing between two lines, which keeps PID 1 lean.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::render::{self, Fields};
use crate::ids::Dress;
use crate::os::clock;
use crate::os::stderr::{LONGEST_LINE, Stderr};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `sexton[1] WARN event: message key=value`.
    #[default]
    Text,
    /// One object a line.
    Json,
    /// Text with the beginning that scripts know from another program.
    As(Dress),
}

/// Sends every event of at most this level to standard error. The first call counts.
pub fn install(level: LevelFilter, format: Format) {
    let log =
        Log { pid: std::process::id(), level, format, out: Mutex::new(None), dropped: AtomicU64::new(0) };
    // A second call has nothing to add, and the first one's choice stands.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Lines that standard error did not take since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines standard error did not take since the start.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

struct Log {
    /// sexton's, also in the lines of its short-lived children.
    pid: u32,
    level: LevelFilter,
    format: Format,
    /// Opened with the first line, because most runs have nothing to say.
    out: Mutex<Option<Stderr>>,
    /// Lines that standard error did not take.
    dropped: AtomicU64,
}

impl Log {
    fn line(&self, level: Level, event: &str, fields: Fields) -> Vec<u8> {
        let line = match self.format {
            Format::Text => render::text(self.pid, level, event, &fields),
            Format::As(dress) => render::as_dress(dress, self.pid, level, &fields, event),
            Format::Json => {
                let time = humantime::format_rfc3339_millis(clock::wall()).to_string();
                render::json(&time, self.pid, level, event, fields)
            }
        };
        let mut line = line.into_bytes();
        if line.len() > LONGEST_LINE {
            line.truncate(LONGEST_LINE - 1);
            line.push(b'\n');
        }
        line
    }

    fn write(&self, line: &[u8]) {
        // A poisoned lock would mean a panic in here, and then the program has ended.
        let Ok(mut out) = self.out.lock() else {
            return;
        };
        let out = out.get_or_insert_with(Stderr::open);
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            let fields = Fields::of_message(format!("{dropped} lines were lost, standard error was full"));
            if out.write(&self.line(Level::WARN, "log-dropped", fields)).is_ok() {
                self.dropped.store(0, Ordering::Relaxed);
            }
        }
        if out.write(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
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
