//! `sexton status` and its neighbours, from the request to the exit code.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::client::{Connection, Failure};
use super::protocol::{Answer, Request, Status};
use super::{health, processes, render};
use crate::os::{clock, startup};
use crate::report::{log, output};
use crate::types::{exit_code, one_line};

/// How often a status that is watched is shown anew.
const AGAIN: Duration = Duration::from_secs(2);

/// What an operator wants of a sexton that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCommand {
    /// What it is.
    pub what: What,
    /// The socket, if it was named.
    pub control: Option<PathBuf>,
    /// JSON is wanted.
    pub json: bool,
    /// How long sexton may take to answer.
    pub deadline: Duration,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// To see how everything is, once or for as long as somebody looks.
    Status {
        /// Again and again.
        watch: bool,
    },
    /// To see the processes.
    Processes,
    /// To know whether the gateway is well.
    Health,
    /// To have something done.
    Mutate(Request),
}

/// Asks, prints the answer to standard output, or to standard error what went wrong, and gives the exit code.
#[must_use]
#[inline(never)]
pub fn run(errand: &ClientCommand) -> u8 {
    // Nothing here needs the signals that were blocked for the sake of a gateway.
    startup::unblock();
    match ask(errand) {
        Ok(code) => code,
        Err(failure) => {
            log::print_error(&one_line(&format!("sexton: {failure}")));
            // Whoever asks for health knows two codes: docker's HEALTHCHECK has no others.
            if errand.what == What::Health { exit_code::UNHEALTHY } else { exit_code::CONTROL_UNAVAILABLE }
        }
    }
}

fn ask(errand: &ClientCommand) -> Result<u8, Failure> {
    let deadline = clock::now().after(errand.deadline);
    let mut sexton = Connection::open(errand.control.as_deref(), deadline)?;
    let request = match &errand.what {
        What::Status { watch: true } => Request::Subscribe,
        What::Status { watch: false } | What::Processes | What::Health => Request::Status,
        What::Mutate(request) => request.clone(),
    };
    let mut answer = sexton.ask(&request, deadline)?;
    loop {
        let code = match &answer {
            Answer::Status(status) if errand.what == What::Health => return Ok(tell_health(errand, status)),
            Answer::Status(status) => {
                let printed = print(errand, status.as_ref().clone(), sexton.pid());
                if printed.is_err() {
                    // Nobody looks any more, or nothing can be shown.
                    return Ok(output::code_after(printed, exit_code::CONTROL_DONE));
                }
                exit_code::CONTROL_DONE
            }
            Answer::Done(text) | Answer::Cancelled(text) => {
                // It repeats what a tool or another client has called itself.
                let text =
                    if errand.json { json!({ "done": text }).to_string().into() } else { one_line(text) };
                output::print(&format!("{text}\n"), exit_code::CONTROL_DONE)
            }
            Answer::Refused(why) => {
                if errand.json {
                    output::print(&format!("{}\n", json!({ "refused": why })), exit_code::CONTROL_REFUSED)
                } else {
                    log::print_error(&format!("sexton: {}", one_line(why)));
                    exit_code::CONTROL_REFUSED
                }
            }
        };
        if errand.what != (What::Status { watch: true }) || code != exit_code::CONTROL_DONE {
            return Ok(code);
        }
        // sexton tells of changes; how the processes are is shown anew in any case.
        match sexton.next(clock::now().after(AGAIN)) {
            Ok(news) => answer = news,
            Err(Failure::Timeout) => {}
            Err(failure) => return Err(failure),
        }
    }
}

fn tell_health(errand: &ClientCommand, status: &Status) -> u8 {
    let verdict = health::judge(status, clock::wall_millis());
    let text = if errand.json { health::as_json(&verdict, status).to_string() } else { verdict.words };
    output::print(&format!("{text}\n"), if verdict.well { exit_code::HEALTHY } else { exit_code::UNHEALTHY })
}

fn print(errand: &ClientCommand, mut status: Status, pid: i32) -> io::Result<()> {
    let seen = processes::add(&mut status, pid);
    let mut text = match (&errand.what, errand.json) {
        (What::Processes, true) => format!("{:#}\n", json!(status.processes)),
        (What::Processes, false) => render::processes(&status.processes),
        (What::Status { watch: true }, true) => format!("{}\n", json!(status)),
        (_, true) => format!("{:#}\n", json!(status)),
        (_, false) => render::status(&status, clock::wall_millis()),
    };
    if !seen && !errand.json {
        text.push_str("\nits processes are in another pid namespace; ask from within its container\n");
    }
    let again = errand.what == (What::Status { watch: true }) && io::stdout().is_terminal();
    if again { output::redraw(&text) } else { output::write(&text) }
}
