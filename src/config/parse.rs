//! Values that have parts, as the command line and the configuration file write them.

use std::time::Duration;

use crate::types::Signal;

/// `S:R`: what is sent in a signal's place; 0 for nothing.
pub(crate) fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text.split_once(':').ok_or("write it as S:R, such as TERM:QUIT or HUP:0")?;
    let to = if to == "0" { None } else { Some(signal(to)?) };
    Ok((signal(from)?, to))
}

/// `SIG=D`: how long a signal is held.
pub(crate) fn delay(text: &str) -> Result<(Signal, Duration), String> {
    let (held, time) = text.split_once('=').ok_or("write it as SIG=D, such as TERM=10s")?;
    Ok((signal(held)?, duration(time)?))
}

/// `SIG:D`, one step of a stop. A step without a window is followed by the next one at once.
pub(crate) fn step(text: &str) -> Result<(Signal, Duration), String> {
    match text.split_once(':') {
        Some((sent, window)) => Ok((signal(sent)?, duration(window)?)),
        None => Ok((signal(text)?, Duration::ZERO)),
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    text.trim().parse().map_err(|error: crate::types::ParseSignalError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|error| error.to_string())
}
