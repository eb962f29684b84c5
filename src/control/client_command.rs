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

/// How often a watched status is shown again if nothing changes.
const AGAIN: Duration = Duration::from_secs(2);

/// A request of an operator to a running sexton.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCommand {
    /// What is requested.
    pub what: What,
    /// The socket, if the operator named one.
    pub control: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
    /// How long sexton may take to answer.
    pub deadline: Duration,
}

/// What is requested.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Show the status once, or repeatedly until its reader goes away.
    Status {
        /// Repeatedly.
        watch: bool,
    },
    /// Show the processes.
    Processes,
    /// Tell whether the gateway is healthy.
    Health,
    /// Change something.
    Mutate(Request),
}

/// Sends the request and returns the exit code. Prints the answer to standard output, or an error to standard error.
#[must_use]
#[inline(never)]
pub fn run(command: &ClientCommand) -> u8 {
    // Signals are blocked at the start for a gateway's sake. There is none here.
    startup::unblock();
    match ask(command) {
        Ok(code) => code,
        Err(failure) => {
            log::print_error(&one_line(&format!("sexton: {failure}")));
            // `sexton health` has two exit codes only, because Docker's HEALTHCHECK has no others.
            if command.what == What::Health { exit_code::UNHEALTHY } else { exit_code::CONTROL_UNAVAILABLE }
        }
    }
}

fn ask(command: &ClientCommand) -> Result<u8, Failure> {
    let deadline = clock::now().after(command.deadline);
    let mut sexton = Connection::open(command.control.as_deref(), deadline)?;
    let request = match &command.what {
        What::Status { watch: true } => Request::Subscribe,
        What::Status { watch: false } | What::Processes | What::Health => Request::Status,
        What::Mutate(request) => request.clone(),
    };
    let mut answer = sexton.ask(&request, deadline)?;
    loop {
        let code = match &answer {
            Answer::Status(status) if command.what == What::Health => {
                return Ok(tell_health(command, status));
            }
            Answer::Status(status) => {
                let printed = print(command, status.as_ref().clone(), sexton.pid());
                if printed.is_err() {
                    // The reader has gone away, or the output cannot be written.
                    return Ok(output::code_after(printed, exit_code::CONTROL_DONE));
                }
                exit_code::CONTROL_DONE
            }
            Answer::Done(text) | Answer::Cancelled(text) => {
                // The text contains the names that a tool or another client gave itself.
                let text =
                    if command.json { json!({ "done": text }).to_string().into() } else { one_line(text) };
                output::print(&format!("{text}\n"), exit_code::CONTROL_DONE)
            }
            Answer::Refused(why) => {
                if command.json {
                    output::print(&format!("{}\n", json!({ "refused": why })), exit_code::CONTROL_REFUSED)
                } else {
                    log::print_error(&format!("sexton: {}", one_line(why)));
                    exit_code::CONTROL_REFUSED
                }
            }
        };
        if command.what != (What::Status { watch: true }) || code != exit_code::CONTROL_DONE {
            return Ok(code);
        }
        // sexton sends changes of its status. The processes change without that, so they are shown again in any case.
        match sexton.next(clock::now().after(AGAIN)) {
            Ok(news) => answer = news,
            Err(Failure::Timeout) => {}
            Err(failure) => return Err(failure),
        }
    }
}

fn tell_health(command: &ClientCommand, status: &Status) -> u8 {
    let verdict = health::judge(status, clock::wall_millis());
    let text = if command.json { health::as_json(&verdict, status).to_string() } else { verdict.words };
    output::print(&format!("{text}\n"), if verdict.well { exit_code::HEALTHY } else { exit_code::UNHEALTHY })
}

fn print(command: &ClientCommand, mut status: Status, pid: i32) -> io::Result<()> {
    let seen = processes::add(&mut status, pid);
    let mut text = match (&command.what, command.json) {
        (What::Processes, true) => format!("{:#}\n", json!(status.processes)),
        (What::Processes, false) => render::processes(&status.processes),
        (What::Status { watch: true }, true) => format!("{}\n", json!(status)),
        (_, true) => format!("{:#}\n", json!(status)),
        (_, false) => render::status(&status, clock::wall_millis()),
    };
    if !seen && !command.json {
        text.push_str("\nits processes are in another pid namespace; ask from within its container\n");
    }
    let again = command.what == (What::Status { watch: true }) && io::stdout().is_terminal();
    if again { output::redraw(&text) } else { output::write(&text) }
}
